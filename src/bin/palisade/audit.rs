//! `palisade audit`: whether a log was left as it was written, and a page that shows what is in it.

use std::path::PathBuf;

use palisade::audit;
use palisade::signature::{PublicKey, SIGNATURE, unhex};
use palisade::{Error, Result};
use serde_json::Value;

use crate::{output, report};

/// Verify and show audit logs.
#[derive(clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  palisade audit verify audit.log\n  palisade audit verify audit.log --checkpoint-key <public key>\n  \
                  palisade audit report audit.log -o audit.html"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check the chain of a log and of the files that were set aside from it; names the first bad record.
    Verify(Verify),
    /// One HTML page: blocks by category, stage and hour, guard latency, appeals.
    Report(Report),
}

#[derive(clap::Args)]
struct Verify {
    /// The log.
    file: PathBuf,
    /// Public key whose signature every checkpoint has to carry.
    #[arg(long, value_name = "HEX")]
    checkpoint_key: Option<String>,
    /// One JSON line instead of words.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Report {
    /// The log.
    file: PathBuf,
    /// The page.
    #[arg(short, long, default_value = "audit.html")]
    out: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Verify(args) => verify(args),
        Command::Report(args) => {
            let mut page = report::Page::default();
            let summary = audit::read_all(&args.file, &mut |record| {
                page.add(record);
                Ok(())
            })?;
            let name = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            std::fs::write(&args.out, page.html(&name, &summary)).map_err(|e| Error::io(args.out.display(), &e))?;
            eprintln!("{}: {} records", args.out.display(), summary.records);
            Ok(())
        }
    }
}

fn verify(args: &Verify) -> Result<()> {
    let key = args.checkpoint_key.as_deref().map(PublicKey::from_hex).transpose()?;
    let (mut checkpoints, mut signed, mut after) = (0u64, 0u64, 0u64);
    let summary = audit::read_all(&args.file, &mut |record| {
        after += 1;
        if record["event"] == "checkpoint" {
            checkpoints += 1;
            after = 0;
            if let Some(key) = &key {
                check_signature(record, key)?;
                signed += 1;
            }
        }
        Ok(())
    })?;
    if args.json {
        return output::json(&serde_json::json!({
            "records": summary.records, "first": summary.first, "last": summary.last, "torn": summary.torn,
            "checkpoints": checkpoints, "signed": signed, "after_checkpoint": after,
        }));
    }
    let mut text = format!("{} records, chained without a break; the last hash is {}", summary.records, summary.last);
    if summary.first > 0 {
        text += &format!("\nthey begin with record {}: older files were taken away", summary.first);
    }
    if summary.torn > 0 {
        text += &format!("\n{} bytes at the end are a record that was not written to its end", summary.torn);
    }
    text += &match key {
        Some(_) => format!("\n{signed} checkpoints, all signed by the key; {after} records after the last of them"),
        None => format!("\n{checkpoints} checkpoints; {after} records after the last of them"),
    };
    output::line(&text)
}

fn check_signature(record: &Value, key: &PublicKey) -> Result<()> {
    let bad = |why: &str| Error::corrupt(format!("audit record {}: its checkpoint {why}", record["seq"]));
    let hash = record["hash"].as_str().filter(|h| record["prev"].as_str() == Some(h));
    let hash = hash.ok_or_else(|| bad("does not name the hash before it"))?;
    let signature = record["signature"].as_str().ok_or_else(|| bad("is not signed"))?;
    let signature = unhex::<SIGNATURE>(signature).ok_or_else(|| bad("has no Ed25519 signature"))?;
    if key.verifies(&audit::checkpoint_digest(hash), &signature) {
        Ok(())
    } else {
        Err(bad("was signed by another key"))
    }
}
