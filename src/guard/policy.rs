//! The policy: one TOML file that gives every category, on each side, a threshold and an action.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::taxonomy::Category;
use super::verdict::{Action, Side};
use crate::error::{Error, Result};
use crate::files::read_regular;

/// The format this build reads.
const VERSION: u32 = 1;
/// Larger files are refused before they are parsed.
const MAX_BYTES: usize = 1 << 20;
/// For S3, S4 and S9 no threshold, whoever set it, counts above this.
pub(crate) const FLOOR_THRESHOLD: f32 = 0.9;
/// What counts when neither the policy nor the classifier names a threshold.
const PLAIN_THRESHOLD: f32 = 0.5;

/// How the output stream is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamMode {
    /// Text leaves sentence by sentence, each judged with what came before and with the look-ahead after it.
    Sentence,
    /// The answer leaves as one piece after all of it was judged.
    Whole,
}

/// The knobs of the hold-back. Lengths are in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamPolicy {
    /// How text leaves.
    pub mode: StreamMode,
    /// A unit without a sentence end is closed at the next space after so many characters.
    pub unit_chars: usize,
    /// So many letters after a unit are seen before it is judged. No rule may match more than this.
    pub lookahead_chars: usize,
    /// So much of the text already released is judged again with each unit.
    pub context_chars: usize,
}

impl Default for StreamPolicy {
    fn default() -> Self {
        Self { mode: StreamMode::Sentence, unit_chars: 256, lookahead_chars: 96, context_chars: 512 }
    }
}

/// What one judgement may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A judgement that takes longer is a block with [`crate::Kind::GuardTimeout`].
    pub judge_ms: u64,
    /// A longer text is a block with [`crate::Kind::Limit`].
    pub text_bytes: usize,
    /// A text that needs more classifier windows is a block with [`crate::Kind::Limit`].
    pub windows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { judge_ms: 30_000, text_bytes: 256 * 1024, windows: 256 }
    }
}

impl Limits {
    /// The time limit of one judgement.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.judge_ms)
    }
}

/// What happens to one category on one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The action from the threshold on.
    pub action: Action,
    /// The score from which `action` applies; `None` takes the classifier's own.
    pub threshold: Option<f32>,
    /// The score from which the text is at least flagged.
    pub flag_from: Option<f32>,
}

/// A loaded policy. It answers every category on both sides.
#[derive(Clone)]
pub struct Policy {
    name: String,
    refusal: String,
    settings: Vec<[Setting; 2]>,
    stream: StreamPolicy,
    limits: Limits,
    public: Vec<String>,
    hash: [u8; 32],
}

impl Policy {
    /// The policy inside the library (`guards/policies/default.toml`).
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] when the build embedded a damaged file.
    pub fn default_embedded() -> Result<Self> {
        Self::parse(include_str!("../../guards/policies/default.toml")).map_err(|e| e.context("the embedded policy"))
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when it cannot be read, and as [`Policy::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display();
        let bytes = read_regular(path, MAX_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| Error::corrupt(format!("policy {name}: not UTF-8: {e}")))?;
        Self::parse(text).map_err(|e| e.context(format!("policy {name}")))
    }

    /// Reads a policy from text.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] naming the key: one that does not exist, a category that does not exist, an action or a
    /// number that is no such thing, a threshold outside 0 to 1, or a setting weaker than what S3, S4 and S9 ask for.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(Error::limit(format!("a policy of {} bytes, at most {MAX_BYTES}", text.len())));
        }
        let file: File = toml::from_str(text).map_err(|e| Error::corrupt(e.to_string().trim().to_owned()))?;
        file.check()?;
        let mut settings = Vec::with_capacity(Category::COUNT);
        for category in Category::ALL {
            let own = file.category.get(category.id());
            let input = own.and_then(|s| s.input).unwrap_or(file.default.input);
            let output = own.and_then(|s| s.output).unwrap_or(file.default.output);
            settings.push([input.setting(), output.setting()]);
        }
        let policy = Self {
            name: file.name,
            refusal: file.refusal.text,
            settings,
            stream: file.stream,
            limits: file.limits,
            public: file.personal_data.public,
            hash: Sha256::digest(text.as_bytes()).into(),
        };
        policy.check_floors()?;
        Ok(policy)
    }

    /// The name the file gives itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the end user reads in the place of a blocked text. It does not tell which check fired.
    #[must_use]
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// What happens to `category` on `side`.
    #[must_use]
    pub fn setting(&self, category: Category, side: Side) -> Setting {
        let strictest = Setting { action: Action::Block, threshold: Some(0.0), flag_from: None };
        self.settings.get(category.index()).map_or(strictest, |both| match side {
            Side::Input => both[0],
            Side::Output => both[1],
        })
    }

    /// The threshold for `category` on `side`, given what the classifier recommends.
    #[must_use]
    pub fn threshold(&self, category: Category, side: Side, recommended: Option<f32>) -> f32 {
        let threshold = self.setting(category, side).threshold.or(recommended).unwrap_or(PLAIN_THRESHOLD);
        if category.has_floor() { threshold.min(FLOOR_THRESHOLD) } else { threshold }
    }

    /// How output is held back.
    #[must_use]
    pub fn stream(&self) -> &StreamPolicy {
        &self.stream
    }

    /// What a judgement may cost.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// E-mail addresses and numbers of the house itself, which are not personal data.
    #[must_use]
    pub fn public_contacts(&self) -> &[String] {
        &self.public
    }

    /// SHA-256 of the file's bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// No file can weaken these, and a missing line cannot either.
    fn check_floors(&self) -> Result<()> {
        for category in Category::ALL.into_iter().filter(|c| c.has_floor()) {
            for side in [Side::Input, Side::Output] {
                let set = self.setting(category, side);
                let key = format!("category.{category}.{side}");
                if set.action != Action::Block {
                    return Err(Error::corrupt(format!("{key}.action: must be \"block\", found \"{}\"", set.action)));
                }
                if let Some(t) = set.threshold.filter(|t| *t > FLOOR_THRESHOLD) {
                    return Err(Error::corrupt(format!("{key}.threshold: at most {FLOOR_THRESHOLD}, found {t}")));
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    name: String,
    refusal: Refusal,
    default: Defaults,
    #[serde(default)]
    category: BTreeMap<String, Sides>,
    #[serde(default)]
    personal_data: PersonalData,
    #[serde(default)]
    stream: StreamPolicy,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PersonalData {
    #[serde(default)]
    public: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    input: Rule,
    output: Rule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sides {
    input: Option<Rule>,
    output: Option<Rule>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: Action,
    threshold: Option<f32>,
    flag_from: Option<f32>,
}

impl Rule {
    fn setting(self) -> Setting {
        Setting { action: self.action, threshold: self.threshold, flag_from: self.flag_from }
    }
}

impl File {
    fn check(&self) -> Result<()> {
        if self.version != VERSION {
            return Err(Error::unsupported(format!("version: {} is not {VERSION}", self.version)));
        }
        between("refusal.text (length)", self.refusal.text.trim().len(), 1, 4096)?;
        check_rule("default.input", self.default.input)?;
        check_rule("default.output", self.default.output)?;
        for (key, rule) in [("input", self.default.input), ("output", self.default.output)] {
            if rule.action == Action::Allow {
                let why = "categories that no line names cannot be let through";
                return Err(Error::corrupt(format!("default.{key}.action: \"allow\": {why}")));
            }
        }
        for (id, sides) in &self.category {
            let _known: Category = id.parse().map_err(|e: Error| Error::corrupt(format!("category: {e}")))?;
            for (side, rule) in [("input", sides.input), ("output", sides.output)] {
                if let Some(rule) = rule {
                    check_rule(&format!("category.{id}.{side}"), rule)?;
                }
            }
        }
        between("personal_data.public (entries)", self.personal_data.public.len(), 0, 256)?;
        between("stream.unit_chars", self.stream.unit_chars, 32, 4096)?;
        between("stream.lookahead_chars", self.stream.lookahead_chars, 32, 1024)?;
        between("stream.context_chars", self.stream.context_chars, 0, 8192)?;
        between("limits.text_bytes", self.limits.text_bytes, 1024, 16 << 20)?;
        between("limits.windows", self.limits.windows, 4, 4096)?;
        let ms = usize::try_from(self.limits.judge_ms).unwrap_or(usize::MAX);
        between("limits.judge_ms", ms, 1, 600_000)
    }
}

fn check_rule(key: &str, rule: Rule) -> Result<()> {
    for (name, value) in [("threshold", rule.threshold), ("flag_from", rule.flag_from)] {
        if let Some(v) = value.filter(|v| !(0.0..=1.0).contains(v)) {
            return Err(Error::corrupt(format!("{key}.{name}: {v} is not between 0 and 1")));
        }
    }
    Ok(())
}

fn between(key: &str, found: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(Error::corrupt(format!("{key}: {found} is not between {least} and {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "version = 1\nname = \"t\"\nrefusal.text = \"No.\"\n\
        [default]\ninput = { action = \"block\" }\noutput = { action = \"block\", threshold = 0.4 }\n";

    fn parse(rest: &str) -> Result<Policy> {
        Policy::parse(&format!("{HEAD}{rest}"))
    }

    #[test]
    fn every_shipped_policy_loads() {
        for text in [
            include_str!("../../guards/policies/default.toml"),
            include_str!("../../guards/policies/kiosk.toml"),
            include_str!("../../guards/policies/strict.toml"),
        ] {
            Policy::parse(text).unwrap();
        }
    }

    #[test]
    fn an_unnamed_category_takes_the_default() {
        let p = parse("[category.S6]\ninput = { action = \"flag\", threshold = 0.9 }\n").unwrap();
        assert_eq!(p.setting(Category::S6, Side::Input).action, Action::Flag);
        assert_eq!(p.setting(Category::S6, Side::Output).action, Action::Block);
        assert_eq!(p.threshold(Category::S1, Side::Output, Some(0.7)), 0.4);
        assert_eq!(p.threshold(Category::S1, Side::Input, Some(0.7)), 0.7);
        assert_eq!(p.threshold(Category::S1, Side::Input, None), 0.5);
    }

    #[test]
    fn floors_hold_against_policy_and_classifier() {
        for id in ["S3", "S4", "S9"] {
            for rule in ["{ action = \"flag\" }", "{ action = \"mask\" }", "{ action = \"block\", threshold = 0.95 }"] {
                let error = parse(&format!("[category.{id}]\noutput = {rule}\n")).unwrap_err();
                assert!(error.message().contains(&format!("category.{id}.output")), "{error}");
            }
        }
        let p = parse("").unwrap();
        assert_eq!(p.threshold(Category::S4, Side::Input, Some(1.0)), FLOOR_THRESHOLD);
        let weak = HEAD.replace("input = { action = \"block\" }", "input = { action = \"flag\" }");
        assert!(Policy::parse(&weak).unwrap_err().message().contains("category.S3.input"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("[category.S15]\ninput = { action = \"block\" }\n", "S15"),
            ("[category.S1]\ninput = { action = \"off\" }\n", "off"),
            ("[category.S1]\ninput = { action = \"block\", threshold = nan }\n", "category.S1.input.threshold"),
            ("[category.S1]\ninput = { action = \"block\", threshold = -0.1 }\n", "category.S1.input.threshold"),
            ("[category.S1]\ninput = { action = \"block\", threshold = 1.5 }\n", "category.S1.input.threshold"),
            ("[category.S1]\ninput = { action = \"flag\", flag_from = inf }\n", "flag_from"),
            ("[category.S1]\ninput = { threshold = 0.5 }\n", "action"),
            ("[stream]\nmode = \"none\"\n", "none"),
            ("[stream]\nunit_chars = 1\n", "stream.unit_chars"),
            ("[stream]\nhold = 1\n", "hold"),
            ("[limits]\njudge_ms = 0\n", "limits.judge_ms"),
            ("[guard]\nenabled = false\n", "guard"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message().contains(word), "{text}: {error}");
        }
        let open = HEAD.replace("output = { action = \"block\", threshold = 0.4 }", "output = { action = \"allow\" }");
        assert!(Policy::parse(&open).unwrap_err().message().contains("default.output.action"));
        assert!(Policy::parse("").is_err());
        assert!(Policy::parse(&HEAD.replace("version = 1", "version = 2")).is_err());
    }

    #[test]
    fn the_hash_is_of_the_bytes() {
        assert_ne!(parse("").unwrap().hash(), parse("# a comment\n").unwrap().hash());
    }
}
