//! The check that knows which languages the other guards are certified for. It says in which language a text is, where
//! that can be told; what follows is the policy's (`[languages]`).

use whatlang::Lang;

use super::check::{Check, Control};
use super::taxonomy::Category;
use super::text::{JudgedText, ViewKind};
use super::verdict::{Action, CheckId, Evidence, Finding, Side};
use crate::error::{Error, Result};

/// Shorter texts do not tell their language.
const FEWEST_LETTERS: usize = 24;
/// So many letters are looked at: more do not change the answer.
const MOST_LETTERS: usize = 2000;

/// The check. Without a list of languages there is nothing for it to say, so none is made.
pub(super) struct LanguageCheck {
    certified: Vec<Lang>,
}

impl LanguageCheck {
    /// `None` when the policy certifies no language in particular.
    pub(super) fn new(certified: &[String]) -> Result<Option<Self>> {
        if certified.is_empty() {
            return Ok(None);
        }
        let certified = certified.iter().map(|code| known(code)).collect::<Result<_>>()?;
        Ok(Some(Self { certified }))
    }

    /// Whether `text` is written in a language outside the list. A text whose language cannot be told is not.
    pub(super) fn is_outside(&self, text: &str) -> bool {
        let letters: String =
            text.chars().filter(|c| c.is_alphabetic() || c.is_whitespace()).take(MOST_LETTERS).collect();
        let count = letters.chars().filter(|c| c.is_alphabetic()).count();
        let Some(found) = whatlang::detect(&letters) else { return false };
        // A script of its own names its language whatever the length.
        let own_script = !matches!(found.script(), whatlang::Script::Latin);
        let told = if own_script { count >= 4 } else { count >= FEWEST_LETTERS && found.is_reliable() };
        told && !self.certified.contains(&found.lang())
    }
}

impl Check for LanguageCheck {
    fn id(&self) -> CheckId {
        CheckId::LANGUAGE
    }

    fn judge(&self, text: &JudgedText<'_>, _: Side, control: &Control) -> Result<Vec<Finding>> {
        control.check()?;
        // What a reader sees counts: the cleaned view where there is one.
        let clean = text.views().iter().find(|v| v.kind() == ViewKind::Clean).or(text.views().first());
        let outside = clean.is_some_and(|v| self.is_outside(v.text()));
        let finding = || Finding::new(Category::Language, Evidence::Match(Action::Block), None);
        Ok(outside.then(finding).into_iter().collect())
    }
}

/// The language of an ISO 639-3 code, or of an ISO 639-1 code where that is usual.
pub(super) fn known(code: &str) -> Result<Lang> {
    const SHORT: [(&str, Lang); 24] = [
        ("en", Lang::Eng),
        ("es", Lang::Spa),
        ("fr", Lang::Fra),
        ("de", Lang::Deu),
        ("it", Lang::Ita),
        ("pt", Lang::Por),
        ("hi", Lang::Hin),
        ("th", Lang::Tha),
        ("ru", Lang::Rus),
        ("tr", Lang::Tur),
        ("ar", Lang::Ara),
        ("fa", Lang::Pes),
        ("zh", Lang::Cmn),
        ("ja", Lang::Jpn),
        ("ko", Lang::Kor),
        ("id", Lang::Ind),
        ("vi", Lang::Vie),
        ("pl", Lang::Pol),
        ("nl", Lang::Nld),
        ("sv", Lang::Swe),
        ("uk", Lang::Ukr),
        ("el", Lang::Ell),
        ("he", Lang::Heb),
        ("cs", Lang::Ces),
    ];
    let short = SHORT.iter().find(|(s, _)| *s == code).map(|(_, lang)| *lang);
    short.or_else(|| Lang::from_code(code)).ok_or_else(|| {
        let known: Vec<&str> = SHORT.iter().map(|(s, _)| *s).collect();
        let found: String = code.chars().take(16).collect();
        Error::corrupt(format!(
            "{found:?} is no language that can be told; known are {} and ISO 639-3 codes",
            known.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_outside_the_list_are_told() {
        let check = LanguageCheck::new(&["en".to_owned(), "deu".to_owned()]).unwrap().unwrap();
        for (text, outside) in [
            ("Where is the nearest train station, and when does the last train leave?", false),
            ("Wo ist der nächste Bahnhof, und wann fährt der letzte Zug am Abend ab?", false),
            ("¿Dónde está la estación de tren más cercana y a qué hora sale el último tren?", true),
            ("Где находится ближайший вокзал?", true),
            ("ok thanks", false),
            ("4711 0815", false),
        ] {
            assert_eq!(check.is_outside(text), outside, "{text}");
        }
        assert!(LanguageCheck::new(&[]).unwrap().is_none());
        assert!(known("xx").unwrap_err().message().contains("xx"));
    }
}
