//! What all entries share: the text view, the sizes of fixed fields, the version numbers.

use std::ffi::c_char;

/// The version of this header. The library's own is `palisade_version()`.
pub const PALISADE_VERSION_MAJOR: u32 = 0;
/// See `PALISADE_VERSION_MAJOR`.
pub const PALISADE_VERSION_MINOR: u32 = 1;
/// See `PALISADE_VERSION_MAJOR`.
pub const PALISADE_VERSION_PATCH: u32 = 0;
/// The ABI level of this header: part of the shared library's name, and `palisade_abi_version()`.
pub const PALISADE_ABI_VERSION: u32 = 1;

/// Bytes of a field that holds a name, with its NUL.
pub const PALISADE_NAME_SIZE: usize = 128;
/// Bytes of a field that holds a SHA-256 in hexadecimal digits, with its NUL, rounded up to 8.
pub const PALISADE_SHA256_SIZE: usize = 72;

/// A view of UTF-8 text: pointer and length in bytes, no NUL needed. With `len` 0 the pointer is ignored.
/// As an argument it is read during the call only. In an event it is borrowed: valid until the callback returns, or
/// in the pull form until the next call on the request.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeStr {
    /// The first byte. Where the library gives a text, a NUL does not follow it.
    pub data: *const c_char,
    /// How many bytes.
    pub len: usize,
}

impl PalisadeStr {
    /// No text.
    pub(super) const EMPTY: Self = Self { data: std::ptr::null(), len: 0 };

    /// A view of a text that the caller keeps alive.
    pub(super) fn of(text: &str) -> Self {
        Self { data: text.as_ptr().cast(), len: text.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_version_is_the_packages() {
        let version = format!("{PALISADE_VERSION_MAJOR}.{PALISADE_VERSION_MINOR}.{PALISADE_VERSION_PATCH}");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
    }
}
