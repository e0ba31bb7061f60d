//! Which guard model a file is.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::tokenizer::{Control, Tokenizer};

/// The families of guard models whose prompts are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuardFamily {
    /// Llama Guard 3 8B, made of Llama 3.1: S1 to S14.
    Guard3,
    /// Llama Guard 3 1B, made of Llama 3.2: S1 to S13.
    Guard3Small,
    /// Llama Guard 4 12B, made of Llama 4: S1 to S14.
    Guard4,
}

/// What a chat template, or a name, of a guard model has and one of a chat model has not.
const MARK: &str = "UNSAFE CONTENT CATEGORIES";
/// Layers of the largest model whose prompt is that of the small family (Llama 3.2 1B has 16, the pruned one 12).
const SMALL_LAYERS: u32 = 16;

impl GuardFamily {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Guard3, Self::Guard3Small, Self::Guard4];

    /// `llama-guard-3-8b`, `llama-guard-3-1b` or `llama-guard-4`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Guard3 => "llama-guard-3-8b",
            Self::Guard3Small => "llama-guard-3-1b",
            Self::Guard4 => "llama-guard-4",
        }
    }

    /// The family of a model file: `told` where the host says so and the vocabulary agrees, else what the file says of
    /// itself. Every Llama 3 or 4 model has the words of a guard in its vocabulary, so a file that says nothing is refused.
    pub(super) fn of(gguf: &Gguf, tokenizer: &Tokenizer, told: Option<Self>) -> Result<Self> {
        let header = tokenizer.control(Control::HeaderStart).map(|id| tokenizer.name(id));
        let llama4 = header == Some(b"<|header_start|>".as_slice());
        let architecture = gguf.architecture()?;
        if architecture != if llama4 { "llama4" } else { "llama" } {
            let vocabulary = if llama4 { "Llama 4" } else { "Llama 3" };
            return Err(Error::unsupported(format!(
                "no guard model that is known: architecture {architecture:?} with the vocabulary of {vocabulary}"
            )));
        }
        if let Some(told) = told {
            if (told == Self::Guard4) != llama4 {
                return Err(Error::argument(format!(
                    "the model is called {told}, its architecture is {architecture:?}"
                )));
            }
            return Ok(told);
        }
        let said = gguf.metadata();
        let template = said.get_str("tokenizer.chat_template")?.unwrap_or_default();
        let mut named = false;
        for key in ["general.name", "general.basename"] {
            named |= said.get_str(key)?.is_some_and(|name| name.to_ascii_lowercase().contains("guard"));
        }
        if !named && !template.contains(MARK) {
            let families = Self::ALL.map(Self::name).join(", ");
            return Err(Error::argument(format!(
                "nothing in the file says that it is a guard model (its name, its chat template); if it is one, say of which family: {families}"
            )));
        }
        if llama4 {
            return Ok(Self::Guard4);
        }
        let small = match template {
            "" => said.get_u32("llama.block_count")?.is_some_and(|layers| layers <= SMALL_LAYERS),
            _ => !template.contains("S14"),
        };
        Ok(if small { Self::Guard3Small } else { Self::Guard3 })
    }
}

impl fmt::Display for GuardFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for GuardFamily {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| {
            let families = Self::ALL.map(Self::name).join(", ");
            Error::argument(format!(
                "guard family {:?}: there are {families}",
                name.chars().take(40).collect::<String>()
            ))
        })
    }
}
