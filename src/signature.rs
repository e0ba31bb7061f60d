//! Ed25519 keys (RFC 8032): whoever signs policies or checkpoints of a log has one half, whoever checks them the other.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::digest::hex;
use crate::error::{Error, Result};

/// Bytes of a signature.
pub const SIGNATURE: usize = 64;

/// The half that devices know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// The secret half: 32 random bytes. It never belongs on a device.
pub struct SecretKey(SigningKey);

impl PublicKey {
    /// Takes 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] for anything that is no Ed25519 public key.
    pub fn from_hex(text: &str) -> Result<Self> {
        let bytes =
            unhex::<32>(text.trim()).ok_or_else(|| Error::argument("public key: expected 64 hexadecimal digits"))?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| Error::argument("public key: not an Ed25519 key"))?;
        // A key of low order would accept signatures that nobody made.
        if key.is_weak() {
            return Err(Error::argument("public key: a weak Ed25519 key"));
        }
        Ok(Self(key))
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(self.0.as_bytes())
    }

    /// Whether the secret half signed `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_hex())
    }
}

impl SecretKey {
    /// Takes 64 hexadecimal digits, the form of [`SecretKey::to_hex`].
    ///
    /// # Errors
    /// [`crate::Kind::Argument`]; the message does not repeat what was given.
    pub fn from_hex(text: &str) -> Result<Self> {
        let bytes =
            unhex::<32>(text.trim()).ok_or_else(|| Error::argument("secret key: expected 64 hexadecimal digits"))?;
        Ok(Self::from_bytes(bytes))
    }

    /// Takes 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&bytes))
    }

    /// For the file that keeps it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(self.0.as_bytes())
    }

    /// The other half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// `2 N` hexadecimal digits as bytes.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0u8; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |b: u8| char::from(b).to_digit(16);
        let &[high, low] = pair else { return None };
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let secret = SecretKey::from_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(secret.public().to_hex(), public);
        let signature = secret.sign(&[0x72]);
        assert!(hex(&signature).starts_with("92a009a9f0d4cab8720e820b5f642540"));
        assert!(secret.public().verifies(&[0x72], &signature));
        assert!(!secret.public().verifies(&[0x73], &signature));
        assert!(!format!("{secret:?}").contains("4c"));
    }
}
