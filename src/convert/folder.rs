//! A Hugging Face folder as the plan of a GGUF file.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::config::Config;
use super::json::{self, Object};
use super::pieces::{Content, Made, Origin};
use super::shards::Shards;
use super::tensors::{self, Mapped};
use super::types::{EMBEDDING, Misfits};
use super::{Conversion, Options, keys, vision, vocabulary};
use crate::error::{Error, Kind, Result};
use crate::gguf::{Part, Writer};

/// Files that hold the licence, as `license::ModelLicense` looks for them.
const LICENSES: [&str; 3] = ["LICENSE", "LICENSE.txt", "LICENSE.md"];
const POLICIES: [&str; 3] = ["USE_POLICY.md", "USE_POLICY.txt", "USE_POLICY"];
/// The longest licence text that is carried over, as `license::ModelLicense` bounds it.
const LONGEST_LICENSE: usize = 1 << 20;

pub(super) fn text(folder: &Path, options: &Options) -> Result<Conversion> {
    let root = config(folder)?;
    let place = folder.join("config.json").display().to_string();
    let root = Object { place: &place, value: &root };
    let config = Config::read(&root)?;
    let shards = Shards::open(folder)?;
    let mapped = tensors::decoder(&shards, &config).map_err(|e| e.context(folder.display()))?;
    let mut w = Writer::new();
    w.set("general.architecture", config.architecture.name())?;
    general(&mut w, "model", folder, options)?;
    keys::decoder(&mut w, &config, options.types.main)?;
    vocabulary::set(&mut w, folder, &root, config.vocab)?;
    build(w, shards, mapped, config.tied, options, config.notes)
}

pub(super) fn vision(folder: &Path, options: &Options) -> Result<Conversion> {
    let root = config(folder)?;
    let place = folder.join("config.json").display().to_string();
    let root = Object { place: &place, value: &root };
    let shards = Shards::open(folder)?;
    let mut w = Writer::new();
    w.set("general.architecture", "clip")?;
    general(&mut w, "mmproj", folder, options)?;
    let mapped = vision::tower(&mut w, &root, folder, &shards)?;
    keys::set_types(&mut w, options.types.main)?;
    build(w, shards, mapped, false, options, vec![])
}

fn config(folder: &Path) -> Result<Value> {
    let path = folder.join("config.json");
    json::value(&path)?.ok_or_else(|| {
        Error::new(Kind::Io, format!("{} is missing: expected the folder of a Hugging Face model", path.display()))
    })
}

/// Chooses the types and joins everything to a plan.
fn build(
    writer: Writer,
    shards: Shards,
    mapped: Vec<Mapped>,
    tied: bool,
    options: &Options,
    notes: Vec<String>,
) -> Result<Conversion> {
    let key = format!("folder {}{}", stamps(&shards.parts)?, options.describe());
    let content = Content { origin: Origin::Nothing, made: vec![], importance: options.importance.clone() };
    let mut this = Conversion { writer, planned: vec![], content, key, notes };
    let mut misfits = Misfits::default();
    for Mapped { name, dims, made } in mapped {
        let ty = options.types.of(&name, &dims, tied && name == EMBEDDING, &mut misfits)?;
        let from = match &made {
            Made::Views(views) => views.first().map(|v| v.ty),
            Made::Values(_) | Made::Random(_) => None,
        };
        this.plan(&name, &dims, from, ty)?;
        this.content.made.push(made);
    }
    this.content.origin = Origin::Shards(shards);
    this.notes.extend(misfits.notes());
    this.note_importance()?;
    Ok(this)
}

impl Options {
    /// What the bytes depend on beside the header and the sources.
    pub(super) fn describe(&self) -> String {
        let weights = self.importance.as_ref().map(super::Importance::digest);
        format!("types {} importance {weights:?}", self.types.describe())
    }
}

impl Conversion {
    /// Checks that the importance fits the tensors, and says what is rounded without it.
    pub(super) fn note_importance(&mut self) -> Result<()> {
        let Some(importance) = &self.content.importance else { return Ok(()) };
        self.planned.iter().try_for_each(|t| importance.check(&t.name, &t.dims))?;
        let quantized = self.planned.iter().filter(|t| t.ty.block_len() > 1);
        let without: Vec<&str> = quantized.map(|t| t.name.as_str()).filter(|name| !importance.has(name)).collect();
        if let Some(first) = without.first() {
            let n = without.len();
            self.notes.push(format!("{n} quantized tensors are rounded without importance, {first} the first of them"));
        }
        Ok(())
    }
}

/// Names, sizes and times of change of files: what they were when a journal was begun.
pub(super) fn stamps(parts: &[Part]) -> Result<String> {
    let mut out = String::new();
    for part in parts {
        let path = part.path();
        let changed = part.file().map(|f| f.metadata().and_then(|meta| meta.modified()));
        let changed = changed.transpose().map_err(|e| Error::io(path.display(), &e))?;
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{} {} {changed:?}", path.display(), part.len());
    }
    Ok(out)
}

/// What the file is, its name and licence.
fn general(w: &mut Writer, kind: &str, folder: &Path, options: &Options) -> Result<()> {
    w.set("general.type", kind)?;
    let own = std::fs::canonicalize(folder).ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let name = options.name.clone().or(own).unwrap_or_else(|| "model".to_owned());
    w.set("general.name", name)?;
    for (key, value) in card(folder)? {
        w.set(key, value)?;
    }
    let mut text = String::new();
    for names in [LICENSES, POLICIES] {
        if let Some(part) = first_text(folder, &names)? {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&part);
        }
    }
    if text.len() > LONGEST_LICENSE {
        return Err(Error::limit(format!(
            "{}: a licence of {} bytes, the limit is {LONGEST_LICENSE}",
            folder.display(),
            text.len()
        )));
    }
    if !text.is_empty() {
        w.set("palisade.license.text", text)?;
    }
    Ok(())
}

fn first_text(folder: &Path, names: &[&str]) -> Result<Option<String>> {
    for name in names {
        let path = folder.join(name);
        let Some(bytes) = json::bytes(&path)? else { continue };
        let text = String::from_utf8(bytes).map_err(|_| Error::utf8(format!("{} is not UTF-8", path.display())))?;
        if !text.trim().is_empty() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The licence that the model card names between its first two lines of three dashes.
fn card(folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let Some(bytes) = json::bytes(&folder.join("README.md"))? else { return Ok(vec![]) };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("---") {
        return Ok(vec![]);
    }
    let mut out = vec![];
    for line in lines.take_while(|line| line.trim() != "---") {
        let Some((key, value)) = line.split_once(':') else { continue };
        let key = match key {
            "license" => "general.license",
            "license_name" => "general.license.name",
            "license_link" => "general.license.link",
            _ => continue,
        };
        let value = value.trim().trim_matches(['"', '\'']);
        if !value.is_empty() {
            out.push((key, value.to_owned()));
        }
    }
    Ok(out)
}
