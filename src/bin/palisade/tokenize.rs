//! `palisade tokenize`: text to ids, by a model's vocabulary or by Meta's `tokenizer.model`.

use std::path::PathBuf;

use palisade::gguf::Gguf;
use palisade::tokenizer::{PreTokenizer, Tokenizer};
use palisade::{Error, Result};

use crate::{load, output};

/// Prints {"ids":[…]}: the text alone, without any chat structure or begin-of-text.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade tokenize MODEL.gguf --file text.txt\n  palisade tokenize --tiktoken tokenizer.model --file text.txt\n  palisade tokenize MODEL.gguf --text 'Hello, world!' --plain"
)]
pub struct Args {
    /// GGUF file whose vocabulary is used.
    #[arg(required_unless_present = "tiktoken", conflicts_with = "tiktoken")]
    model: Option<PathBuf>,
    /// A tokenizer.model in tiktoken's format, with Meta's Llama 4 pattern and special ids.
    #[arg(long)]
    tiktoken: Option<PathBuf>,
    /// UTF-8 text file; - reads standard input.
    #[arg(long, required_unless_present = "text", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// The text itself.
    #[arg(long)]
    text: Option<String>,
    /// Print the ids alone, separated by spaces.
    #[arg(long)]
    plain: bool,
    /// Accepted for symmetry: the output is JSON unless --plain is given.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let tokenizer = match (&args.tiktoken, &args.model) {
        (Some(path), _) => Tokenizer::open_tiktoken(path, PreTokenizer::Llama4)?,
        (None, Some(model)) => Tokenizer::from_gguf(Gguf::open(model)?.metadata())?,
        (None, None) => return Err(Error::argument("name a MODEL or give --tiktoken")),
    };
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => load::text(file)?,
        (None, None) => return Err(Error::argument("give --file or --text")),
    };
    let ids = tokenizer.encode_text(&text);
    if args.plain {
        return output::line(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    }
    output::json(&serde_json::json!({ "ids": ids }))
}
