//! The policy: one TOML file that says, for every category and side, which score counts and what is then done; how the
//! answer is held back; which guards must have spoken; what is refused and in which words.

mod bundle;
mod custom;
mod file;
mod refusal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use bundle::PolicyBundle;
pub(crate) use custom::Custom;
pub use file::{LanguagePolicy, LlmWhen, PausePolicy, StagePolicy};
use refusal::Refusals;

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
    /// So many letters after a unit are seen before it is judged. No rule may match more than this.
    pub hold: usize,
    /// A unit without a sentence end is closed at the next space after so many characters.
    pub stride: usize,
    /// So much of the text already released is judged again with each unit.
    pub context: usize,
    /// The longest that text which could be judged is kept waiting, in milliseconds; 0 sets no limit. Near it the guard
    /// runs early, on a shorter unit; text never leaves unjudged or without its look-ahead.
    pub max_hold_ms: u64,
}

impl Default for StreamPolicy {
    fn default() -> Self {
        Self { mode: StreamMode::Sentence, hold: 96, stride: 256, context: 512, max_hold_ms: 4000 }
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
        Self { judge_ms: 30_000, text_bytes: 256 * 1024, windows: 512 }
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
    refusals: Refusals,
    settings: Vec<[Setting; 2]>,
    custom: Vec<Custom>,
    stages: StagePolicy,
    languages: LanguagePolicy,
    pause: Option<PausePolicy>,
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
        Self::parse(include_str!("../../../guards/policies/default.toml")).map_err(|e| e.context("the embedded policy"))
    }

    /// Reads a policy file: plain TOML, or a bundle whose signature is then checked against the key it names. Whose key
    /// that is, only [`PolicyBundle::open`] asks.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when it cannot be read, [`crate::Kind::Corrupt`] for a broken signature, and as
    /// [`Policy::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display();
        let bytes = read_regular(path, MAX_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| Error::corrupt(format!("policy {name}: not UTF-8: {e}")))?;
        Self::from_text(text).map_err(|e| e.context(format!("policy {name}")))
    }

    /// As [`Policy::load`], for text that was read already.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn from_text(text: &str) -> Result<Self> {
        match PolicyBundle::recognize(text)? {
            Some(bundle) => Self::parse(bundle.policy_text()),
            None => Self::parse(text),
        }
    }

    /// Reads a policy from text.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] naming the key: one that does not exist, a category that does not exist, an action or a
    /// number that is no such thing, a threshold outside 0 to 1, a category of the house that its own examples do not
    /// bear out, or a setting weaker than what S3, S4 and S9 ask for.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(Error::limit(format!("a policy of {} bytes, at most {MAX_BYTES}", text.len())));
        }
        let file = file::File::read(text)?;
        let settings = Category::ALL.iter().map(|c| file.settings(*c)).collect();
        let policy = Self {
            settings,
            custom: custom::load(&file)?,
            refusals: Refusals::load(&file.refusal)?,
            name: file.name,
            stages: file.stages,
            languages: file.languages,
            pause: file.pause,
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

    /// What the end user reads in the place of a blocked text, when nothing is known of their language.
    #[must_use]
    pub fn refusal(&self) -> &str {
        self.refusals.text("", None)
    }

    /// What the end user reads in the place of a text blocked for `category`, in the language of `locale` ("de",
    /// "pt-BR") where the policy has it. It does not tell which check fired.
    #[must_use]
    pub fn refusal_for(&self, locale: &str, category: Option<&str>) -> &str {
        self.refusals.text(locale, category)
    }

    /// What happens to `category` on `side`.
    #[must_use]
    pub fn setting(&self, category: Category, side: Side) -> Setting {
        let strictest = Setting { action: Action::Block, threshold: Some(0.0), flag_from: None };
        let both = match category {
            Category::Custom(n) => self.custom.get(usize::from(n)).map(|c| &c.settings),
            _ => self.settings.get(category.index()),
        };
        both.map_or(strictest, |both| match side {
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

    /// The id of a category of the house; `None` for one this policy does not have.
    #[must_use]
    pub fn custom_id(&self, number: u8) -> Option<Arc<str>> {
        self.custom.get(usize::from(number)).map(|c| Arc::clone(&c.id))
    }

    pub(crate) fn custom(&self) -> &[Custom] {
        &self.custom
    }

    /// Which guards must have spoken, and when the LLM guard is asked.
    #[must_use]
    pub fn stages(&self) -> &StagePolicy {
        &self.stages
    }

    /// Which languages the guards are certified for, and what happens to others.
    #[must_use]
    pub fn languages(&self) -> &LanguagePolicy {
        &self.languages
    }

    /// After how many blocks a session has to pause, where the policy says so.
    #[must_use]
    pub fn pause(&self) -> Option<&PausePolicy> {
        self.pause.as_ref()
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

    /// SHA-256 of the policy's TOML.
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
