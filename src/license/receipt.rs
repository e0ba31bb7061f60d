//! The record of one acceptance, and its one-line form on disk.

use serde::{Deserialize, Serialize};

use super::ModelLicense;
use crate::digest::sha256_hex;
use crate::error::{Error, Result};

/// The longest name of an accepting party, in bytes.
pub const MAX_PARTY: usize = 1024;

/// The longest receipt that is read, in bytes.
pub(super) const MAX_RECEIPT: u64 = 16 << 10;

/// The only layout there is so far; a reader refuses any other.
const FORMAT: u32 = 1;

/// What the host says when somebody accepts a licence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// SHA-256 of the text that was shown, 64 hexadecimal digits.
    pub sha256: String,
    /// Who accepts: a person or an organisation, in their own words.
    pub party: String,
    /// When, in seconds since 1970 by the host's clock.
    pub time_unix: i64,
}

/// Who accepted which text for which model, when, and through which version of this library.
// The fields stand in alphabetical order: the form on disk has sorted keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The licence's identifier.
    pub license_id: String,
    /// SHA-256 of the accepted text, 64 lower-case hexadecimal digits.
    pub license_sha256: String,
    /// The model's name. Information only: another quantization of the same model needs no new acceptance.
    pub model: String,
    /// Who accepted.
    pub party: String,
    /// The version of this library.
    pub sdk_version: String,
    /// When, in seconds since 1970 by the host's clock. Never used for expiry.
    pub time_unix: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    format: u32,
    receipt: Receipt,
    /// Of the receipt's own line. It finds accidents; against a person with write access it proves nothing.
    sha256: String,
}

impl Receipt {
    /// Checks an acceptance against the licence it is for.
    ///
    /// # Errors
    /// [`crate::Kind::License`] when the hash is not that of the present text, [`crate::Kind::Argument`] when the party
    /// is empty, longer than [`MAX_PARTY`] or holds control or direction-changing characters.
    pub fn new(license: &ModelLicense, acceptance: &Acceptance) -> Result<Self> {
        if !acceptance.sha256.eq_ignore_ascii_case(&license.sha256) {
            return Err(Error::license(format!(
                "accepting licence \"{}\": the acceptance names a text with SHA-256 {:.80}, the model's text has {}; \
                 show the present text and accept that",
                license.id, acceptance.sha256, license.sha256
            )));
        }
        Ok(Self {
            license_id: license.id.clone(),
            license_sha256: license.sha256.clone(),
            model: license.model.clone(),
            party: checked_party(&acceptance.party)?,
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            time_unix: acceptance.time_unix,
        })
    }

    /// Whether this receipt is for this licence and exactly its present text.
    #[must_use]
    pub fn covers(&self, license: &ModelLicense) -> bool {
        self.license_sha256 == license.sha256 && self.license_id == license.id
    }

    /// One line of JSON with sorted keys and a checksum.
    pub(super) fn to_line(&self) -> Result<String> {
        let failed = |e: serde_json::Error| Error::internal(format!("writing a licence receipt: {e}"));
        let sha256 = sha256_hex(&serde_json::to_vec(self).map_err(failed)?);
        let disk = OnDisk { format: FORMAT, receipt: self.clone(), sha256 };
        let mut line = serde_json::to_string(&disk).map_err(failed)?;
        line.push('\n');
        Ok(line)
    }

    /// Reads a line back. Anything but the very bytes that [`Receipt::to_line`] writes is damage.
    pub(super) fn from_line(line: &str) -> Result<Self, String> {
        let disk: OnDisk = serde_json::from_str(line).map_err(|e| format!("it is not a receipt ({e})"))?;
        if disk.format != FORMAT {
            return Err(format!("it has format {}, this version reads format {FORMAT}", disk.format));
        }
        if disk.receipt.to_line().ok().as_deref() != Some(line) {
            return Err("its checksum or its form is wrong".to_owned());
        }
        Ok(disk.receipt)
    }
}

fn checked_party(party: &str) -> Result<String> {
    let party = party.trim();
    if party.is_empty() {
        return Err(Error::argument("accepting a licence: the party must be named"));
    }
    if party.len() > MAX_PARTY {
        return Err(Error::argument(format!(
            "accepting a licence: the party's name has {} bytes, at most {MAX_PARTY} are kept",
            party.len()
        )));
    }
    match party.chars().find(|&c| c.is_control() || reorders(c)) {
        Some(c) => Err(Error::argument(format!("accepting a licence: the party's name holds U+{:04X}", u32::from(c)))),
        None => Ok(party.to_owned()),
    }
}

/// Characters that change the order in which others are shown.
fn reorders(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
