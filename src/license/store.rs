//! Where receipts are kept: a folder the host names, or memory only.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::receipt::MAX_RECEIPT;
use super::{Acceptance, ModelLicense, Receipt};
use crate::error::{Error, Result};
use crate::files::durable;

/// Whether a licence has been accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// A receipt covers exactly the model's present text.
    Accepted(Receipt),
    /// No receipt does.
    Required {
        /// Why a receipt file that is there does not count, for the host's log.
        warning: Option<String>,
    },
}

impl Status {
    /// Whether the licence has been accepted.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }
}

/// The receipts of one state folder, or of this process only. May be used from any thread.
#[derive(Debug)]
pub struct ReceiptStore {
    /// `<state folder>/licenses`
    folder: Option<PathBuf>,
    memory: Mutex<Vec<Receipt>>,
}

impl ReceiptStore {
    /// The receipts in a state folder; `None` keeps them in memory. Nothing is written before something is accepted.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when the folder is a symlink, no folder, or open to anybody's writing.
    pub fn open(state: Option<&Path>) -> Result<Self> {
        let folder = state.map(|dir| dir.join("licenses"));
        for dir in [state, folder.as_deref()].into_iter().flatten() {
            durable::check_folder(dir)?;
        }
        Ok(Self { folder, memory: Mutex::default() })
    }

    /// Whether this licence has been accepted. A damaged receipt is no receipt, with a warning.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when the folder cannot be read.
    pub fn status(&self, license: &ModelLicense) -> Result<Status> {
        let Some(folder) = &self.folder else {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let found = memory.iter().find(|receipt| receipt.covers(license)).cloned();
            return Ok(found.map_or(Status::Required { warning: None }, Status::Accepted));
        };
        durable::check_folder(folder)?;
        let path = folder.join(file_name(license));
        let found = match durable::read(&path, MAX_RECEIPT)? {
            None => return Ok(Status::Required { warning: None }),
            Some(text) => text.and_then(|text| Receipt::from_line(&text)),
        };
        let why = match found {
            Ok(receipt) if receipt.covers(license) => return Ok(Status::Accepted(receipt)),
            Ok(_) => "it is for another licence or another text".to_owned(),
            Err(why) => why,
        };
        Ok(Status::Required { warning: Some(format!("the licence receipt {} does not count: {why}", path.display())) })
    }

    /// Writes the receipt of an acceptance. It counts only once it is on the disk.
    ///
    /// # Errors
    /// Those of [`Receipt::new`]; [`crate::Kind::Io`] when it cannot be written (a receipt that was there stays),
    /// [`crate::Kind::Busy`] when another process holds the folder's lock for two seconds.
    pub fn accept(&self, license: &ModelLicense, acceptance: &Acceptance) -> Result<Receipt> {
        let receipt = Receipt::new(license, acceptance)?;
        match &self.folder {
            Some(folder) => durable::replace(folder, &file_name(license), receipt.to_line()?.as_bytes())?,
            None => {
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.retain(|old| !old.covers(license));
                memory.push(receipt.clone());
            }
        }
        Ok(receipt)
    }

    /// The gate: `Ok` only when the licence has been accepted.
    ///
    /// # Errors
    /// [`crate::Kind::License`] naming the licence and what to do; [`crate::Kind::Io`] when the folder cannot be read.
    pub fn require(&self, license: &ModelLicense) -> Result<Receipt> {
        let why = match self.status(license)? {
            Status::Accepted(receipt) => return Ok(receipt),
            Status::Required { warning } => warning.map(|w| format!(" ({w})")).unwrap_or_default(),
        };
        Err(Error::license(format!(
            "the licence \"{}\" of \"{}\" has not been accepted{why}: show its text (SHA-256 {}) and accept it by that hash",
            license.id, license.model, license.sha256
        )))
    }
}

/// A readable name: the identifier as far as it is plain, and the whole hash of the text.
fn file_name(license: &ModelLicense) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let id: String = license.id.chars().take(40).map(plain).collect();
    format!("{id}-{}.json", license.sha256)
}
