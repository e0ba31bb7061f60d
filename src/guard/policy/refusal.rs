//! What the end user reads when a text was blocked: for each category and language that the policy names, else one text.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::between;
use crate::error::{Error, Result};
use crate::guard::taxonomy::Category;

/// `[refusal]`: `text`, `languages.de = "…"`, and the same for one category under `[refusal.category.S11]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefusalFile {
    text: String,
    #[serde(default)]
    languages: BTreeMap<String, String>,
    #[serde(default)]
    category: BTreeMap<String, TextFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextFile {
    text: String,
    #[serde(default)]
    languages: BTreeMap<String, String>,
}

/// Texts by category and language tag.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    plain: Texts,
    category: BTreeMap<String, Texts>,
}

#[derive(Clone, Debug)]
struct Texts {
    text: String,
    /// By lower-case tag, `de` or `pt-br`.
    languages: BTreeMap<String, String>,
}

impl Refusals {
    pub(super) fn load(file: &RefusalFile) -> Result<Self> {
        let plain = Texts::load("refusal", &file.text, &file.languages)?;
        let mut category = BTreeMap::new();
        for (id, texts) in &file.category {
            let _known: Category = id.parse().map_err(|e: Error| Error::corrupt(format!("refusal.category: {e}")))?;
            let key = format!("refusal.category.{id}");
            category.insert(id.clone(), Texts::load(&key, &texts.text, &texts.languages)?);
        }
        Ok(Self { plain, category })
    }

    pub(super) fn text(&self, locale: &str, category: Option<&str>) -> &str {
        let locale = locale.to_ascii_lowercase().replace('_', "-");
        let own = category.and_then(|id| self.category.get(id));
        // Words that fit the category are worth less than words the reader knows.
        own.and_then(|t| t.in_language(&locale))
            .or_else(|| self.plain.in_language(&locale))
            .or(own.map(|t| t.text.as_str()))
            .unwrap_or(&self.plain.text)
    }
}

impl Texts {
    fn load(key: &str, text: &str, languages: &BTreeMap<String, String>) -> Result<Self> {
        between(&format!("{key}.text (length)"), text.trim().len(), 1, 4096)?;
        between(&format!("{key}.languages (entries)"), languages.len(), 0, 256)?;
        let mut known = BTreeMap::new();
        for (tag, text) in languages {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if tag.len() < 2 || tag.len() > 35 || !tag.bytes().all(plain) {
                return Err(Error::corrupt(format!("{key}.languages: {tag:?} is no language tag such as de or pt-BR")));
            }
            between(&format!("{key}.languages.{tag} (length)"), text.trim().len(), 1, 4096)?;
            known.insert(tag.to_ascii_lowercase(), text.clone());
        }
        Ok(Self { text: text.to_owned(), languages: known })
    }

    /// The text for `pt-br`, else for `pt`.
    fn in_language(&self, locale: &str) -> Option<&str> {
        let mut tag = locale;
        loop {
            if let Some(text) = self.languages.get(tag) {
                return Some(text);
            }
            tag = tag.rsplit_once('-')?.0;
        }
    }
}
