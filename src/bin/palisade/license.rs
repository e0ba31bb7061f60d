//! `palisade license`: show, accept, and the state of the acceptance.

use std::path::{Path, PathBuf};

use palisade::gguf::Gguf;
use palisade::license::{Acceptance, ModelLicense, ReceiptStore, Status};
use palisade::{Error, Result};

use crate::{load, output};

/// Shows or accepts a model's licence. Nothing is generated before a receipt exists for exactly its text.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade license show MODEL.gguf\n  palisade license accept MODEL.gguf --party 'Riverside Museum'"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print the licence text.
    Show(Target),
    /// Record that the licence is accepted.
    Accept {
        #[command(flatten)]
        target: Target,
        /// Who accepts.
        #[arg(long)]
        party: String,
        /// SHA-256 of the text that was read; without it, that of the present text.
        #[arg(long)]
        sha256: Option<String>,
    },
    /// Say whether it was accepted, by whom and when.
    Status(Target),
}

#[derive(clap::Args)]
struct Target {
    /// GGUF file (the first one of a split model).
    model: PathBuf,
    /// Where receipts are kept.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Target {
    fn open(&self) -> Result<(ModelLicense, ReceiptStore)> {
        let license = ModelLicense::of(&Gguf::open(&self.model)?)?;
        Ok((license, ReceiptStore::open(state_dir(self.state_dir.as_deref())?.as_deref())?))
    }
}

pub fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::Show(target) => show(target),
        Action::Status(target) => status(target),
        Action::Accept { target, party, sha256 } => {
            let (license, receipts) = target.open()?;
            let sha256 = sha256.clone().unwrap_or_else(|| license.sha256.clone());
            receipts.accept(&license, &Acceptance { sha256, party: party.clone(), time_unix: load::now() })?;
            status(target)
        }
    }
}

fn show(target: &Target) -> Result<()> {
    let (license, _) = target.open()?;
    if target.json {
        return output::json(&serde_json::json!({
            "id": license.id, "name": license.name, "sha256": license.sha256, "text": license.text,
            "notices": license.notices(),
        }));
    }
    output::line(&license.text)?;
    for notice in license.notices() {
        eprintln!("notice: {notice}");
    }
    eprintln!("licence {} ({}), SHA-256 {}", license.id, license.model, license.sha256);
    Ok(())
}

fn status(target: &Target) -> Result<()> {
    let (license, receipts) = target.open()?;
    let status = receipts.status(&license)?;
    if let Status::Required { warning: Some(warning) } = &status {
        eprintln!("palisade: warning: {warning}");
    }
    let receipt = match &status {
        Status::Accepted(receipt) => Some(receipt),
        Status::Required { .. } => None,
    };
    if target.json {
        return output::json(&serde_json::json!({
            "id": license.id, "sha256": license.sha256, "accepted": receipt.is_some(),
            "party": receipt.map(|r| &r.party), "time_unix": receipt.map(|r| r.time_unix),
        }));
    }
    match receipt {
        Some(r) => output::line(&format!(
            "licence {} accepted by {} at {} (seconds since 1970)",
            license.id, r.party, r.time_unix
        )),
        None => output::line(&format!(
            "licence {} not accepted; read it with `palisade license show {}`",
            license.id,
            target.model.display()
        )),
    }
}

/// The folder of receipts: the one given, else this tool's own below the user's state folder.
pub fn state_dir(given: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(dir) = given {
        return Ok(Some(dir.to_owned()));
    }
    let home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(|| {
        Some(PathBuf::from(std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"))?).join(".local/state"))
    });
    let Some(dir) = home.map(|h| h.join("palisade")) else { return Ok(None) };
    std::fs::create_dir_all(&dir).map_err(|e| Error::io(dir.display(), &e))?;
    Ok(Some(dir))
}
