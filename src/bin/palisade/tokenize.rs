//! `palisade tokenize`: text to ids and back, by the vocabulary of a model, a tokenizer.model or a tokenizer.json.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use palisade::gguf::Gguf;
use palisade::tokenizer::{PreTokenizer, TokenId, Tokenizer};
use palisade::{Error, Result};
use serde_json::json;

use crate::{load, output};

/// Prints {"ids":[…]}: the text alone, without any chat structure or begin-of-text. With --decode prints the text of ids.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  palisade tokenize MODEL.gguf --text 'Hello, world!'                  {\"ids\":[19873,24,3817,13]}
  palisade tokenize MODEL.gguf --file text.txt --count                 how many ids a file has
  palisade tokenize --tiktoken tokenizer.model --file - --plain        standard input, ids alone
  palisade tokenize --tokenizer-json tokenizer.json --text hi
  palisade tokenize MODEL.gguf --decode --text '19873 24 3817 13'      Hello, world!
  palisade tokenize MODEL.gguf --file text.txt | palisade tokenize MODEL.gguf --decode --file -")]
pub struct Args {
    /// GGUF file whose vocabulary is used.
    #[arg(required_unless_present_any = ["tiktoken", "tokenizer_json"])]
    model: Option<PathBuf>,
    /// A tokenizer.model in tiktoken's format, with Meta's pattern and special ids (see --family).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "tokenizer_json"])]
    tiktoken: Option<PathBuf>,
    /// Whose pattern and special ids --tiktoken is read with; the other two files say it themselves.
    #[arg(long, value_enum, default_value = "llama4", requires = "tiktoken")]
    family: Family,
    /// Hugging Face's tokenizer.json of a Llama 4 or Llama 3 model.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    tokenizer_json: Option<PathBuf>,
    /// UTF-8 text file; - reads standard input.
    #[arg(long, required_unless_present = "text", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// The text itself.
    #[arg(long)]
    text: Option<String>,
    /// Read ids instead of text, separated by anything that is no digit, and write the bytes that they make together,
    /// without a newline at the end; control ids make none. With --json half a character becomes U+FFFD.
    #[arg(long, conflicts_with_all = ["count", "plain"])]
    decode: bool,
    /// Print how many ids there are instead of the ids.
    #[arg(long)]
    count: bool,
    /// Load the vocabulary and encode the text so many times, and print the milliseconds of each time as JSON.
    #[arg(long, value_name = "ROUNDS", conflicts_with_all = ["decode", "count", "plain"])]
    time: Option<u32>,
    /// Print ids (or, with --count, the number) without JSON.
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Print JSON: the default for ids and counts; with --decode {"text":…} instead of the text.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Family {
    Llama4,
    Llama3,
}

pub fn run(args: &Args) -> Result<()> {
    let tokenizer = open(args)?;
    for warning in tokenizer.warnings() {
        eprintln!("palisade: {warning}");
    }
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => load::text(file)?,
        (None, None) => return Err(Error::argument("give --file or --text")),
    };
    if let Some(rounds) = args.time {
        return time(args, &text, rounds);
    }
    if args.decode {
        let bytes = tokenizer.decode(&ids(&text, tokenizer.vocab_size())?);
        if args.json {
            return output::json(&json!({ "text": String::from_utf8_lossy(&bytes) }));
        }
        return io::stdout().write_all(&bytes).map_err(|error| Error::io("standard output", &error));
    }
    let ids = tokenizer.encode_text(&text);
    match (args.count, args.plain) {
        (true, true) => output::line(&ids.len().to_string()),
        (true, false) => output::json(&json!({ "count": ids.len() })),
        (false, true) => output::line(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")),
        (false, false) => output::json(&json!({ "ids": ids })),
    }
}

fn time(args: &Args, text: &str, rounds: u32) -> Result<()> {
    let (mut load, mut encode, mut count) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let start = Instant::now();
        let tokenizer = open(args)?;
        load.push(output::millis(start.elapsed()));
        let start = Instant::now();
        count = tokenizer.encode_text(text).len();
        encode.push(output::millis(start.elapsed()));
    }
    output::json(&json!({ "bytes": text.len(), "count": count, "load_ms": load, "encode_ms": encode }))
}

fn open(args: &Args) -> Result<Tokenizer> {
    let family = match args.family {
        Family::Llama4 => PreTokenizer::Llama4,
        Family::Llama3 => PreTokenizer::Llama3,
    };
    match (&args.tiktoken, &args.tokenizer_json, &args.model) {
        (Some(path), _, _) => Tokenizer::open_tiktoken(path, family),
        (None, Some(path), _) => Tokenizer::open_tokenizer_json(path),
        (None, None, Some(model)) => Tokenizer::from_gguf(Gguf::open(model)?.metadata()),
        (None, None, None) => Err(Error::argument("name a MODEL or give --tiktoken or --tokenizer-json")),
    }
}

/// The numbers in a text, each an id of the vocabulary.
fn ids(text: &str, size: usize) -> Result<Vec<TokenId>> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    numbers
        .map(|number| match number.parse::<TokenId>() {
            Ok(id) if (id as usize) < size => Ok(id),
            _ => Err(Error::argument(format!("--decode: {number} is no id; expected 0 to {}", size.saturating_sub(1)))),
        })
        .collect()
}
