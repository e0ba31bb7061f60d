//! Categories of the house: lists, patterns and criteria that a policy adds to the taxonomy, with the examples that show
//! what they mean.

use std::sync::Arc;

use serde::Deserialize;

use super::Setting;
use super::file::{File, Rule, between};
use crate::error::{Error, Result};
use crate::guard::taxonomy::Category;
use crate::guard::verdict::{Action, Side};

/// So many categories may a policy add.
const MOST: usize = 32;

/// One `[[custom]]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomFile {
    id: String,
    name: String,
    input: Option<Rule>,
    output: Option<Rule>,
    #[serde(default)]
    list: Vec<String>,
    #[serde(default)]
    regex: Vec<String>,
    criteria: Option<String>,
    matches: Vec<String>,
    passes: Vec<String>,
}

/// A category of the house.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) settings: [Setting; 2],
    /// Phrases, in any letter case.
    pub(crate) list: Vec<String>,
    /// Regular expressions in the syntax of the rule files.
    pub(crate) regex: Vec<String>,
    /// What it covers, in words for the LLM guard.
    pub(crate) criteria: Option<String>,
    /// Texts that it covers …
    pub(crate) matches: Vec<String>,
    /// … and texts near them that it does not.
    pub(crate) passes: Vec<String>,
}

impl Custom {
    /// Whether rules can see it; otherwise only an LLM guard can.
    pub(crate) fn has_rules(&self) -> bool {
        !self.list.is_empty() || !self.regex.is_empty()
    }
}

pub(super) fn load(file: &File) -> Result<Vec<Custom>> {
    between("custom (tables)", file.custom.len(), 0, MOST)?;
    let mut all: Vec<Custom> = Vec::with_capacity(file.custom.len());
    for table in &file.custom {
        let key = format!("custom.{}", table.id.chars().take(40).collect::<String>());
        if all.iter().any(|c| *c.id == *table.id) {
            return Err(Error::corrupt(format!("{key}: named twice")));
        }
        all.push(table.load(file, &key)?);
    }
    Ok(all)
}

impl CustomFile {
    fn load(&self, file: &File, key: &str) -> Result<Custom> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if self.id.is_empty() || self.id.len() > 40 || !self.id.bytes().all(plain) {
            return Err(Error::corrupt(format!("{key}.id: 1 to 40 of a-z, 0-9, - and _ are expected")));
        }
        if self.id.parse::<Category>().is_ok() {
            return Err(Error::corrupt(format!("{key}.id: a category of the taxonomy has this name")));
        }
        between(&format!("{key}.name (length)"), self.name.trim().len(), 1, 120)?;
        between(&format!("{key}.list (entries)"), self.list.len(), 0, 10_000)?;
        between(&format!("{key}.regex (entries)"), self.regex.len(), 0, 256)?;
        let criteria = self.criteria.as_deref().map(str::trim).filter(|c| !c.is_empty());
        if let Some(text) = criteria {
            between(&format!("{key}.criteria (length)"), text.len(), 1, 4096)?;
        }
        if self.list.is_empty() && self.regex.is_empty() && criteria.is_none() {
            return Err(Error::corrupt(format!("{key}: one of list, regex and criteria is needed")));
        }
        // What separates nothing is no category: both kinds of example are asked for, and tried when the guard opens.
        between(&format!("{key}.matches (examples)"), self.matches.len(), 1, 256)?;
        between(&format!("{key}.passes (examples)"), self.passes.len(), 1, 256)?;
        Ok(Custom {
            id: self.id.as_str().into(),
            name: self.name.trim().to_owned(),
            settings: [self.side(file, Side::Input, key)?, self.side(file, Side::Output, key)?],
            list: self.list.clone(),
            regex: self.regex.clone(),
            criteria: criteria.map(str::to_owned),
            matches: self.matches.clone(),
            passes: self.passes.clone(),
        })
    }

    fn side(&self, file: &File, side: Side, key: &str) -> Result<Setting> {
        let Some(rule) = (if side == Side::Input { self.input } else { self.output }) else {
            return Ok(file.default_setting(side));
        };
        rule.check(&format!("{key}.{side}"))?;
        if rule.action == Action::Allow {
            // The house may let one of its own categories pass on one side; a flag would be noise there.
            return Ok(Setting { action: Action::Allow, threshold: None, flag_from: None });
        }
        Ok(rule.setting())
    }
}
