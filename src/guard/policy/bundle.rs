//! Signed policies: one text file of a few header lines and the policy's TOML, an Ed25519 signature over both, and a
//! counter that only grows, so that an older policy cannot be put back.
//!
//! ```text
//! palisade policy bundle 1
//! counter 7
//! key 3b6a…            (32 bytes, hexadecimal)
//! signature 92a0…      (64 bytes, hexadecimal)
//!
//! version = 1          (the policy, to the end of the file)
//! ```
//!
//! What is signed is everything but the signature's line: the first line, the counter, the key, the empty line and the
//! policy, byte for byte (Ed25519 as in RFC 8032, verified strictly).

use std::path::Path;

use super::{MAX_BYTES, Policy};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::files::{durable, read_regular};
use crate::signature::{PublicKey, SIGNATURE, SecretKey, unhex};

const FIRST: &str = "palisade policy bundle 1";
/// The name begins so; a later version has another number.
const FAMILY: &str = "palisade policy bundle";
/// Bytes that the header lines may add to a policy.
const MOST_HEADER: usize = 1024;

/// A policy whose signature was checked.
#[derive(Clone, Debug)]
pub struct PolicyBundle {
    counter: u64,
    key: PublicKey,
    text: String,
}

impl PolicyBundle {
    /// Makes the text of a bundle from the TOML of a policy, which has to be one.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn sign(policy: &str, counter: u64, seed: &SecretKey) -> Result<String> {
        Policy::parse(policy)?;
        let key = seed.public();
        let signature = seed.sign(&signed_bytes(counter, key, policy));
        let (key, signature) = (key.to_hex(), hex(&signature));
        Ok(format!("{FIRST}\ncounter {counter}\nkey {key}\nsignature {signature}\n\n{policy}"))
    }

    /// Reads a bundle and checks that `key` signed it.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] for a file that is no bundle, another key or a broken signature; [`crate::Kind::Io`].
    pub fn open(path: &Path, key: PublicKey) -> Result<Self> {
        let name = path.display();
        let bytes = read_regular(path, MAX_BYTES + MOST_HEADER)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| Error::corrupt(format!("policy {name}: not UTF-8: {e}")))?;
        Self::accept(text, key).map_err(|e| e.context(format!("policy {name}")))
    }

    /// As [`PolicyBundle::open`], for text that was read already.
    ///
    /// # Errors
    /// As [`PolicyBundle::open`].
    pub fn accept(text: &str, key: PublicKey) -> Result<Self> {
        let bundle = Self::recognize(text)?
            .ok_or_else(|| Error::corrupt("it is not signed; with a policy key only signed bundles are taken"))?;
        if bundle.key != key {
            let found = bundle.key.to_hex();
            return Err(Error::corrupt(format!("signed by key {found}, expected {}", key.to_hex())));
        }
        Ok(bundle)
    }

    /// A bundle whose signature is good for the key it names; `None` for a text that does not begin like one.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] for a damaged bundle, [`crate::Kind::Unsupported`] for one of another version.
    pub fn recognize(text: &str) -> Result<Option<Self>> {
        if !text.starts_with(FAMILY) {
            return Ok(None);
        }
        let (header, policy) = text.split_once("\n\n").ok_or_else(|| Error::corrupt("bundle: no policy in it"))?;
        let mut lines = header.split('\n');
        if lines.next() != Some(FIRST) {
            return Err(Error::unsupported(format!("bundle: the first line is not {FIRST:?}")));
        }
        let mut field = |name: &str| {
            let line = lines.next().unwrap_or_default();
            let value = line.strip_prefix(name).and_then(|v| v.strip_prefix(' '));
            value.ok_or_else(|| Error::corrupt(format!("bundle: the line {name:?} is missing")))
        };
        let (counter, key, signature) = (field("counter")?, field("key")?, field("signature")?);
        let counter: u64 = counter.parse().map_err(|_| Error::corrupt("bundle: the counter is not a number"))?;
        let key = PublicKey::from_hex(key).map_err(|e| Error::corrupt(format!("bundle: {}", e.message())))?;
        let signature =
            unhex::<SIGNATURE>(signature).ok_or_else(|| Error::corrupt("bundle: the signature is damaged"))?;
        if lines.next().is_some() {
            return Err(Error::corrupt("bundle: a header line too many"));
        }
        let signed = signed_bytes(counter, key, policy);
        if !key.verifies(&signed, &signature) {
            return Err(Error::corrupt(
                "bundle: the signature does not fit; the policy was changed after it was signed",
            ));
        }
        Ok(Some(Self { counter, key, text: policy.to_owned() }))
    }

    /// The policy's TOML.
    #[must_use]
    pub fn policy_text(&self) -> &str {
        &self.text
    }

    /// The counter.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// The key it names.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Holds the counter against the highest one kept in `folder`.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] when it is lower, or when the kept one cannot be read; [`crate::Kind::Io`].
    pub fn check_counter(&self, folder: &Path) -> Result<()> {
        self.is_newer(folder).map(|_| ())
    }

    /// Keeps the counter in `folder`, once the policy is in force: one that did not come into force must not shut out the
    /// one before it.
    ///
    /// # Errors
    /// As [`PolicyBundle::check_counter`].
    pub fn remember(&self, folder: &Path) -> Result<()> {
        if self.is_newer(folder)? {
            durable::replace(folder, &self.counter_file(), format!("{}\n", self.counter).as_bytes())?;
        }
        Ok(())
    }

    /// Named after the key, so that products do not disturb each other.
    fn counter_file(&self) -> String {
        let key = self.key.to_hex();
        format!("policy-{}.counter", key.get(..16).unwrap_or(&key))
    }

    /// Whether the counter is higher than the kept one; a lower one is an error.
    fn is_newer(&self, folder: &Path) -> Result<bool> {
        let path = folder.join(self.counter_file());
        let kept = match durable::read(&path, 64)? {
            None => None,
            Some(Ok(text)) => Some(text.trim().parse::<u64>().map_err(|_| "it is not a number".to_owned())),
            Some(Err(why)) => Some(Err(why)),
        };
        match kept {
            Some(Err(why)) => Err(Error::corrupt(format!("the policy counter {}: {why}", path.display()))),
            Some(Ok(kept)) if kept > self.counter => Err(Error::corrupt(format!(
                "its counter is {}, and a policy with counter {kept} was in force: an older policy is not taken",
                self.counter
            ))),
            Some(Ok(kept)) => Ok(kept < self.counter),
            None => Ok(true),
        }
    }
}

fn signed_bytes(counter: u64, key: PublicKey, policy: &str) -> Vec<u8> {
    format!("{FIRST}\ncounter {counter}\nkey {}\n\n{policy}", key.to_hex()).into_bytes()
}
