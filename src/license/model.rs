//! Which licence text binds the user of a model file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Part};

/// What the Llama 4 Community License (clause 1.b.i) asks to be displayed prominently.
pub const LLAMA4_ATTRIBUTION: &str = "Built with Llama";

/// The line that clause 1.b.iii of the Llama 4 Community License asks for in a "Notice" file of every copy.
pub const LLAMA4_NOTICE: &str =
    "Llama 4 is licensed under the Llama 4 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved.";

/// The longest licence text that is read, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// The longest id or name that is taken from a file, in characters.
const MAX_NAME: usize = 128;

/// What a model file says about itself, as far as its licence is concerned.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// `general.license`: usually a short identifier such as `mit`, or `other`.
    pub license: Option<&'a str>,
    /// `general.license.name`: the identifier when `general.license` says `other`.
    pub license_name: Option<&'a str>,
    /// `general.license.link`: where the text is published.
    pub license_link: Option<&'a str>,
    /// `palisade.license.text`: the whole text.
    pub license_text: Option<&'a str>,
    /// `general.name`.
    pub model_name: Option<&'a str>,
    /// `general.architecture`.
    pub architecture: Option<&'a str>,
    /// Where the file lies: a licence text may lie beside it.
    pub path: Option<&'a Path>,
}

/// Where a licence text was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextSource {
    /// In the model file itself.
    Model,
    /// In these files beside the model, in this order.
    Beside(Vec<PathBuf>),
    /// Nowhere: the text is a statement that says so and names what the user must obtain.
    Statement,
}

/// The licence of one model: what is shown, hashed and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLicense {
    /// A short identifier: `general.license`, or `general.license.name` where that says `other`; else `unknown`.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// The text to show. Exactly these bytes are hashed.
    pub text: String,
    /// SHA-256 of `text`, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The model's name, for the receipt.
    pub model: String,
    /// Where `text` comes from.
    pub source: TextSource,
}

impl ModelLicense {
    /// The licence of an opened model file, from its metadata and the files beside its first part.
    ///
    /// # Errors
    /// Those of [`ModelLicense::find`]; [`crate::Kind::Corrupt`] when one of the keys holds something other than a text.
    pub fn of(model: &Gguf) -> Result<Self> {
        let said = model.metadata();
        Self::find(&Facts {
            license: said.get_str("general.license")?,
            license_name: said.get_str("general.license.name")?,
            license_link: said.get_str("general.license.link")?,
            license_text: said.get_str("palisade.license.text")?,
            model_name: said.get_str("general.name")?,
            architecture: said.get_str("general.architecture")?,
            path: model.parts().first().filter(|part| part.file().is_some()).map(Part::path),
        })
    }

    /// Finds the licence of a model: the text inside the file, else the files beside it, else a statement.
    ///
    /// # Errors
    /// [`crate::Kind::Limit`] for a text of more than 1 MiB, [`crate::Kind::Utf8`] for a text file that is not UTF-8,
    /// [`crate::Kind::Io`] when a file beside the model exists and cannot be read.
    pub fn find(facts: &Facts<'_>) -> Result<Self> {
        let id = license_id(facts);
        let model = short(facts.model_name).or_else(|| stem(facts.path)).unwrap_or_else(|| "unnamed model".to_owned());
        let (text, source) = match facts.license_text.filter(|text| !text.trim().is_empty()) {
            Some(text) if text.len() as u64 > MAX_TEXT => return Err(too_long("palisade.license.text")),
            Some(text) => (text.to_owned(), TextSource::Model),
            None => match texts_beside(facts.path)? {
                (text, files) if !files.is_empty() => (text, TextSource::Beside(files)),
                _ => (statement(facts, &id, &model), TextSource::Statement),
            },
        };
        let name = short(facts.license_name).unwrap_or_else(|| id.clone());
        Ok(Self { sha256: sha256_hex(text.as_bytes()), id, name, text, model, source })
    }

    /// The display line and the notice line that the licence asks of whoever ships the model, when it is one of the
    /// Llama 4 family.
    #[must_use]
    pub fn notices(&self) -> &'static [&'static str] {
        if is_llama4(&self.id) || is_llama4(&self.name) { &[LLAMA4_ATTRIBUTION, LLAMA4_NOTICE] } else { &[] }
    }
}

/// The identifier, lower case: two spellings of one identifier ask for one acceptance.
fn license_id(facts: &Facts<'_>) -> String {
    let said = short(facts.license).filter(|id| !matches!(id.to_ascii_lowercase().as_str(), "other" | "unknown"));
    said.or_else(|| short(facts.license_name)).unwrap_or_else(|| "unknown".to_owned()).to_ascii_lowercase()
}

/// A value from the file as one short printable line, or nothing.
fn short(value: Option<&str>) -> Option<String> {
    let line: String = value?.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn stem(path: Option<&Path>) -> Option<String> {
    short(path?.file_stem()?.to_str())
}

fn is_llama4(id: &str) -> bool {
    let folded: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    folded.to_ascii_lowercase().starts_with("llama4")
}

/// The licence beside the model (its own, else the folder's), followed by the use policy where there is one.
fn texts_beside(model: Option<&Path>) -> Result<(String, Vec<PathBuf>)> {
    let Some((folder, stem)) = model.and_then(|path| Some((path.parent()?, path.file_stem()?.to_str()?))) else {
        return Ok((String::new(), Vec::new()));
    };
    let own = format!("{stem}.LICENSE");
    let license = first_of(folder, &[&own, "LICENSE", "LICENSE.txt", "LICENSE.md"])?;
    let policy = first_of(folder, &["USE_POLICY.md", "USE_POLICY.txt", "USE_POLICY"])?;
    let mut text = String::new();
    let mut files = Vec::new();
    for (path, part) in [license, policy].into_iter().flatten() {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&part);
        files.push(path);
    }
    Ok((text, files))
}

fn first_of(folder: &Path, names: &[&str]) -> Result<Option<(PathBuf, String)>> {
    for name in names {
        let path = folder.join(name);
        // A folder or a pipe of that name is not a text, and opening a pipe would wait for its writer.
        if std::fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
            let text = read_text(&path)?;
            if !text.trim().is_empty() {
                return Ok(Some((path, text)));
            }
        }
    }
    Ok(None)
}

fn read_text(path: &Path) -> Result<String> {
    let what = || format!("reading the licence text {}", path.display());
    let file = File::open(path).map_err(|e| Error::io(what(), &e))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|e| Error::io(what(), &e))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(too_long(path.display()));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::utf8(format!("the licence text {} is not UTF-8 at byte {at}", path.display()))
    })
}

fn too_long(what: impl std::fmt::Display) -> Error {
    Error::limit(format!("{what}: a licence text may have at most {MAX_TEXT} bytes"))
}

/// What is shown when no text came with the model. It names the model, so that accepting it for one is not accepting
/// it for all.
fn statement(facts: &Facts<'_>, id: &str, model: &str) -> String {
    let mut text = if id == "unknown" {
        format!("The file of the model \"{model}\" names no licence (unknown licence) and carries no licence text.\n")
    } else {
        format!("The file of the model \"{model}\" names the licence \"{id}\" but carries no licence text.\n")
    };
    if let Some(link) = short(facts.license_link) {
        text.push_str(&format!("It says the text is published at: {link}\n"));
    }
    text.push_str(
        "\nYou must obtain the licence of this model from its publisher, read it, and follow it. By accepting this\n\
         statement you say that you have done so and that you may bind the party you name. To have the text itself\n\
         shown and recorded here, put it beside the model file as LICENSE or LICENSE.txt.\n",
    );
    let family = id == "unknown" && facts.architecture.is_some_and(is_llama4);
    if is_llama4(id) || family {
        text.push_str(&format!(
            "\nModels derived from Meta's Llama 4 come under the Llama 4 Community License and its Acceptable Use\n\
             Policy. Among other things they ask you to ship a copy of the agreement, to display \"{LLAMA4_ATTRIBUTION}\",\n\
             and to keep this line in a text file named \"Notice\":\n{LLAMA4_NOTICE}\n"
        ));
    }
    text
}
