//! The family's own words: the hazards of its prompt, and how its last instruction ends.
//!
//! A file that brings the model's chat template is taken at its word. The template is looked at, not run: what is taken from it
//! are the names after `S1` to `S14` and one blank.

use super::family::GuardFamily;
use crate::guard::taxonomy::Category;

/// The hazards as the published templates of Llama Guard 3 write them.
const WORDS: [(Category, &str); 14] = [
    (Category::S1, "Violent Crimes."),
    (Category::S2, "Non-Violent Crimes."),
    (Category::S3, "Sex Crimes."),
    (Category::S4, "Child Exploitation."),
    (Category::S5, "Defamation."),
    (Category::S6, "Specialized Advice."),
    (Category::S7, "Privacy."),
    (Category::S8, "Intellectual Property."),
    (Category::S9, "Indiscriminate Weapons."),
    (Category::S10, "Hate."),
    (Category::S11, "Self-Harm."),
    (Category::S12, "Sexual Content."),
    (Category::S13, "Elections."),
    (Category::S14, "Code Interpreter Abuse."),
];
/// Sentences of the prompt by which a template is known to be the one that is built here.
const KNOWN: [&str; 3] = [
    "messages in conversations according our safety policy with the below categories.",
    "Provide your safety assessment for ONLY THE LAST ",
    "If unsafe, a second line must include a comma-separated list of violated categories.",
];
/// A longer name is none.
const LONGEST: usize = 80;

/// What differs between models whose prompts are otherwise alike.
#[derive(Debug)]
pub(super) struct Wording {
    /// The number of each hazard, itself, and its name in the prompt.
    pub(super) hazards: Vec<(usize, Category, String)>,
    /// What stands between the last instruction and the end of the turn.
    pub(super) tail: &'static str,
    /// What a user of this file should know.
    pub(super) warning: Option<String>,
}

impl Wording {
    /// That of a family, corrected by the file's own `template`, which may be empty.
    pub(super) fn of(family: GuardFamily, template: &str) -> Self {
        let named = |(n, (category, _)): (usize, (Category, &str))| Some((n, category, name(template, n)?));
        let mut hazards: Vec<_> = (1..).zip(WORDS).filter_map(named).collect();
        if hazards.len() < WORDS.len() - 1 {
            let of_family = |n: &usize| family != GuardFamily::Guard3Small || *n < WORDS.len();
            let own = (1..).zip(WORDS).filter(|(n, _)| of_family(n));
            hazards = own.map(|(n, (category, words))| (n, category, words.to_owned())).collect();
        }
        let tail = match template {
            t if t.contains("violated categories. <") => " ",
            t if t.contains("violated categories.<") => "",
            _ if family == GuardFamily::Guard3 => "",
            _ => " ",
        };
        let foreign = !template.is_empty() && KNOWN.iter().any(|sentence| !template.contains(sentence));
        let warning = foreign
            .then(|| format!("the file's chat template is not the one that is known of {family}, which is used"));
        Self { hazards, tail, warning }
    }
}

/// The name of hazard `n`, as `S1: Violent Crimes.` in a line or `"S1": "Violent Crimes."` in a table.
fn name(template: &str, n: usize) -> Option<String> {
    let written = |before: String, ends: &[char]| {
        let (_, rest) = template.split_once(&before)?;
        let name = rest.get(..rest.find(ends)?)?.trim_end();
        let plain = |c: char| c.is_alphanumeric() || " .,&/()'-".contains(c);
        (!name.is_empty() && name.len() <= LONGEST && name.chars().all(plain)).then(|| name.to_owned())
    };
    written(format!("\"S{n}\": \""), &['"']).or_else(|| written(format!("S{n}: "), &['\n', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wording: &Wording) -> Vec<String> {
        wording.hazards.iter().map(|(n, category, name)| format!("S{n} {category} {name}")).collect()
    }

    #[test]
    fn a_template_gives_its_own_names() {
        let lines: String = (1..15).map(|n| format!("S{n}: Name {n}.\\n")).collect();
        let said = Wording::of(GuardFamily::Guard4, &format!("{lines} violated categories.<|eot|>"));
        assert_eq!((said.hazards.len(), said.tail), (14, ""));
        assert_eq!(names(&said)[10], "S11 S11 Name 11.");
        assert!(said.warning.is_some());
        let table: String = (1..14).map(|n| format!("\"S{n}\": \"Other {n}.\",\n")).collect();
        let said = Wording::of(GuardFamily::Guard3, &format!("{table}{} <|eot|>", KNOWN.join("\n")));
        assert_eq!((said.hazards.len(), said.tail, said.warning.is_none()), (13, " ", true));
        assert_eq!(names(&said)[0], "S1 S1 Other 1.");
    }

    #[test]
    fn without_one_the_family_is_known() {
        let said = |family| Wording::of(family, "");
        assert_eq!(names(&said(GuardFamily::Guard3Small)).last().unwrap(), "S13 S13 Elections.");
        assert_eq!(said(GuardFamily::Guard3).hazards.len(), 14);
        assert_eq!(said(GuardFamily::Guard3).tail, "");
        assert_eq!(said(GuardFamily::Guard4).tail, " ");
        // Names that are more than names are not taken.
        let odd = (1..15).map(|n| format!("S{n}: <|eot|>{n}\n")).collect::<String>();
        assert_eq!(names(&Wording::of(GuardFamily::Guard3, &odd)), names(&said(GuardFamily::Guard3)));
    }
}
