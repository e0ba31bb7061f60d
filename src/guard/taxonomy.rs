//! The categories: Llama Guard 4's hazards S1 to S14 and those of this library. `guards/taxonomy.toml` defines each.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What a text can be blocked, masked or flagged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Category {
    /// Violent crimes.
    S1,
    /// Non-violent crimes.
    S2,
    /// Sex-related crimes.
    S3,
    /// Sexual exploitation of children.
    S4,
    /// Defamation.
    S5,
    /// Specialized advice.
    S6,
    /// Privacy.
    S7,
    /// Intellectual property.
    S8,
    /// Indiscriminate weapons.
    S9,
    /// Hate.
    S10,
    /// Suicide and self-harm.
    S11,
    /// Sexual content.
    S12,
    /// Elections.
    S13,
    /// Abuse of a code interpreter.
    S14,
    /// Text that tries to give the model orders in the place of the host.
    PromptInjection,
    /// Text that tries to talk the model out of its safeguards.
    Jailbreak,
    /// Personal data, recognised by its form.
    Pii,
    /// Control-token text of a model family, such as `<|eot|>`.
    SpecialToken,
    /// A language that the policy's guards are not certified for.
    Language,
    /// A category of the house, by its place in the policy; [`crate::guard::Policy::custom_id`] has its id.
    Custom(u8),
}

/// One row of the table: the category, its id, its name.
const TABLE: [(Category, &str, &str); Category::COUNT] = [
    (Category::S1, "S1", "Violent Crimes"),
    (Category::S2, "S2", "Non-Violent Crimes"),
    (Category::S3, "S3", "Sex-Related Crimes"),
    (Category::S4, "S4", "Child Sexual Exploitation"),
    (Category::S5, "S5", "Defamation"),
    (Category::S6, "S6", "Specialized Advice"),
    (Category::S7, "S7", "Privacy"),
    (Category::S8, "S8", "Intellectual Property"),
    (Category::S9, "S9", "Indiscriminate Weapons"),
    (Category::S10, "S10", "Hate"),
    (Category::S11, "S11", "Suicide & Self-Harm"),
    (Category::S12, "S12", "Sexual Content"),
    (Category::S13, "S13", "Elections"),
    (Category::S14, "S14", "Code Interpreter Abuse"),
    (Category::PromptInjection, "prompt_injection", "Prompt Injection"),
    (Category::Jailbreak, "jailbreak", "Jailbreak"),
    (Category::Pii, "pii", "Personal Data"),
    (Category::SpecialToken, "special_token", "Special Token"),
    (Category::Language, "language", "Language"),
];

impl Category {
    /// How many categories there are without those of the house.
    pub const COUNT: usize = 19;

    /// Every category but those of the house, in the order of `guards/taxonomy.toml`.
    pub const ALL: [Category; Category::COUNT] = {
        let mut all = [Category::S1; Category::COUNT];
        let mut i = 0;
        while i < Category::COUNT {
            all[i] = TABLE[i].0;
            i += 1;
        }
        all
    };

    /// The id used in policies, rules, labels and logs: `S1` … `S14`, `prompt_injection`, `jailbreak`, `pii`,
    /// `special_token`, `language`; `custom` for every category of the house.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.row().map_or("custom", |row| row.1)
    }

    /// The name for people, as Llama Guard 4 writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("House Rule", |row| row.2)
    }

    /// Categories whose action no policy can weaken: S3, S4 and S9.
    #[must_use]
    pub fn has_floor(self) -> bool {
        matches!(self, Category::S3 | Category::S4 | Category::S9)
    }

    /// The position in [`Category::ALL`]; categories of the house come after all of them.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Category::Custom(n) => Category::COUNT + usize::from(n),
            _ => TABLE.iter().position(|row| row.0 == self).unwrap_or(Category::COUNT),
        }
    }

    fn row(self) -> Option<&'static (Category, &'static str, &'static str)> {
        TABLE.get(self.index())
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Category {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        TABLE.iter().find(|row| row.1 == id).map(|row| row.0).ok_or_else(|| {
            let known: Vec<&str> = TABLE.iter().map(|row| row.1).collect();
            let found: String = id.chars().take(40).collect();
            Error::argument(format!("unknown category {found:?}; known are {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        category: Vec<Row>,
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        id: String,
        name: String,
        meaning: String,
        benign: String,
    }

    #[test]
    fn taxonomy_file_defines_exactly_the_compiled_categories() {
        let file: File = toml::from_str(include_str!("../../guards/taxonomy.toml")).unwrap();
        let found: Vec<(&str, &str)> = file.category.iter().map(|r| (r.id.as_str(), r.name.as_str())).collect();
        let compiled: Vec<(&str, &str)> = Category::ALL.iter().map(|c| (c.id(), c.name())).collect();
        assert_eq!(found, compiled);
        for row in &file.category {
            assert!(
                row.meaning.len() > 20 && row.benign.len() > 20,
                "{}: say what it means and what it is not",
                row.id
            );
        }
    }

    #[test]
    fn ids_come_back_and_strangers_are_refused() {
        for c in Category::ALL {
            assert_eq!(c.id().parse::<Category>().unwrap(), c);
            assert_eq!(Category::ALL[c.index()], c);
        }
        for bad in ["", "s1", "S15", "S0", "PII", "off"] {
            assert!(bad.parse::<Category>().is_err(), "{bad}");
        }
    }
}
