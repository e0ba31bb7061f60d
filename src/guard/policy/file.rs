//! The TOML of a policy, and the checks that need nothing but one key at a time.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::custom::CustomFile;
use super::refusal::RefusalFile;
use super::{Limits, Setting, StreamPolicy, VERSION};
use crate::error::{Error, Result};
use crate::guard::taxonomy::Category;
use crate::guard::verdict::{Action, Side};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    version: u32,
    pub(super) name: String,
    pub(super) refusal: RefusalFile,
    default: Defaults,
    #[serde(default)]
    category: BTreeMap<String, Sides>,
    #[serde(default)]
    pub(super) custom: Vec<CustomFile>,
    #[serde(default)]
    pub(super) personal_data: PersonalData,
    #[serde(default)]
    pub(super) stages: StagePolicy,
    #[serde(default)]
    pub(super) languages: LanguagePolicy,
    pub(super) pause: Option<PausePolicy>,
    #[serde(default)]
    pub(super) stream: StreamPolicy,
    #[serde(default)]
    pub(super) limits: Limits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonalData {
    #[serde(default)]
    pub(super) public: Vec<String>,
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

/// The setting of one side as a file writes it.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) action: Action,
    threshold: Option<f32>,
    flag_from: Option<f32>,
}

/// When the LLM guard is asked, where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LlmWhen {
    /// For every text that no earlier stage has blocked.
    #[default]
    Always,
    /// Where the classifier's best score lies in the band of doubt, or the text is in a language it is not certified for;
    /// and for the whole answer at its end.
    Doubt,
}

/// Which guards must have spoken before text passes. Rules and classifier always do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StagePolicy {
    /// A guard without an LLM guard does not open under this policy.
    pub require_llm_guard: bool,
    /// A guard without Prompt Guard does not open under this policy.
    pub require_prompt_guard: bool,
    /// When the LLM guard is asked.
    pub llm_guard: LlmWhen,
    /// The scores, as parts of the threshold, between which the classifier is in doubt: from here …
    pub doubt_from: f32,
    /// … to here.
    pub doubt_to: f32,
}

impl Default for StagePolicy {
    fn default() -> Self {
        Self {
            require_llm_guard: false,
            require_prompt_guard: false,
            llm_guard: LlmWhen::Always,
            doubt_from: 0.1,
            doubt_to: 1.0,
        }
    }
}

/// Which languages the guards are certified for. Without a list every language is taken as it comes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanguagePolicy {
    /// ISO 639-3 codes ("eng", "spa") or the two letters of ISO 639-1 ("en", "es"); none: no language is outside.
    pub certified: Vec<String>,
    /// What happens to a text in another language. The output guard judges in any case.
    pub outside: Action,
}

impl Default for LanguagePolicy {
    fn default() -> Self {
        Self { certified: Vec::new(), outside: Action::Flag }
    }
}

/// How often a session may be refused before it has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PausePolicy {
    /// So many blocked requests …
    pub blocks: u32,
    /// … within so many seconds …
    pub within_s: u32,
    /// … and the session takes no request for so many seconds.
    pub for_s: u32,
}

impl Rule {
    pub(super) fn setting(self) -> Setting {
        Setting { action: self.action, threshold: self.threshold, flag_from: self.flag_from }
    }

    pub(super) fn check(self, key: &str) -> Result<()> {
        for (name, value) in [("threshold", self.threshold), ("flag_from", self.flag_from)] {
            if let Some(v) = value.filter(|v| !(0.0..=1.0).contains(v)) {
                return Err(Error::corrupt(format!("{key}.{name}: {v} is not between 0 and 1")));
            }
        }
        Ok(())
    }
}

impl File {
    /// Parses and checks.
    pub(super) fn read(text: &str) -> Result<Self> {
        let file: Self = toml::from_str(text).map_err(|e| Error::corrupt(e.to_string().trim().to_owned()))?;
        file.check()?;
        Ok(file)
    }

    /// What a category does on the input side and on the output side.
    pub(super) fn settings(&self, category: Category) -> [Setting; 2] {
        if category == Category::Language {
            let both = Setting { action: self.languages.outside, threshold: None, flag_from: None };
            return [both, both];
        }
        let own = self.category.get(category.id());
        let input = own.and_then(|s| s.input).unwrap_or(self.default.input);
        let output = own.and_then(|s| s.output).unwrap_or(self.default.output);
        [input.setting(), output.setting()]
    }

    /// The default for a side.
    pub(super) fn default_setting(&self, side: Side) -> Setting {
        match side {
            Side::Input => self.default.input.setting(),
            Side::Output => self.default.output.setting(),
        }
    }

    fn check(&self) -> Result<()> {
        if self.version != VERSION {
            return Err(Error::unsupported(format!("version: {} is not {VERSION}", self.version)));
        }
        self.default.input.check("default.input")?;
        self.default.output.check("default.output")?;
        for (key, rule) in [("input", self.default.input), ("output", self.default.output)] {
            if rule.action == Action::Allow {
                let why = "categories that no line names cannot be let through";
                return Err(Error::corrupt(format!("default.{key}.action: \"allow\": {why}")));
            }
        }
        for (id, sides) in &self.category {
            let known: Category = id.parse().map_err(|e: Error| Error::corrupt(format!("category: {e}")))?;
            if known == Category::Language {
                return Err(Error::corrupt("category.language: set it in [languages]"));
            }
            for (side, rule) in [("input", sides.input), ("output", sides.output)] {
                if let Some(rule) = rule {
                    rule.check(&format!("category.{id}.{side}"))?;
                }
            }
        }
        self.check_stages()?;
        self.check_numbers()
    }

    fn check_stages(&self) -> Result<()> {
        for (key, v) in [("doubt_from", self.stages.doubt_from), ("doubt_to", self.stages.doubt_to)] {
            if !(0.0..=1.0).contains(&v) {
                return Err(Error::corrupt(format!("stages.{key}: {v} is not between 0 and 1")));
            }
        }
        if self.stages.doubt_from > self.stages.doubt_to {
            return Err(Error::corrupt("stages.doubt_from: lies above stages.doubt_to"));
        }
        if self.languages.outside == Action::Mask {
            return Err(Error::corrupt("languages.outside: \"mask\": a language has no place in a text"));
        }
        for code in &self.languages.certified {
            crate::guard::language::known(code).map_err(|e| e.context("languages.certified"))?;
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<()> {
        between("personal_data.public (entries)", self.personal_data.public.len(), 0, 256)?;
        between("stream.stride", self.stream.stride, 32, 4096)?;
        between("stream.hold", self.stream.hold, 32, 1024)?;
        between("stream.context", self.stream.context, 0, 8192)?;
        between_u64("stream.max_hold_ms", self.stream.max_hold_ms, 0, 600_000)?;
        between("limits.text_bytes", self.limits.text_bytes, 1024, 16 << 20)?;
        between("limits.windows", self.limits.windows, 4, 4096)?;
        between_u64("limits.judge_ms", self.limits.judge_ms, 1, 600_000)?;
        if let Some(p) = self.pause {
            between_u64("pause.blocks", p.blocks.into(), 1, 1000)?;
            between_u64("pause.within_s", p.within_s.into(), 1, 86_400)?;
            between_u64("pause.for_s", p.for_s.into(), 1, 86_400)?;
        }
        Ok(())
    }
}

pub(super) fn between(key: &str, found: usize, least: usize, most: usize) -> Result<()> {
    between_u64(key, found as u64, least as u64, most as u64)
}

fn between_u64(key: &str, found: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(Error::corrupt(format!("{key}: {found} is not between {least} and {most}")))
}
