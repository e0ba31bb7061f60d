//! The model's licence: its text, whether it was accepted, accepting it.
#![expect(unsafe_code, reason = "exported entries")]

use std::ffi::c_char;

use super::engine::PalisadeEngine;
use super::fence::fence;
use super::handle;
use super::log::{PALISADE_LOG_WARN, log};
use super::memory::{self, fixed};
use super::sized::{self, Versioned, borders};
use super::status::PalisadeStatus;
use super::types::{PALISADE_NAME_SIZE, PALISADE_SHA256_SIZE, PalisadeStr};
use crate::license::{Acceptance, Status};
use crate::session::Engine;

/// Which licence a model has, and whether it was accepted.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeLicense {
    /// The size that the caller gave.
    pub struct_size: u32,
    /// 1 when a receipt covers exactly the present text, else 0.
    pub accepted: u32,
    /// When it was accepted, in seconds since 1970; 0 when it was not.
    pub accepted_unix: i64,
    /// The licence's identifier, such as `llama4`.
    pub id: [c_char; PALISADE_NAME_SIZE],
    /// Its name for people.
    pub name: [c_char; PALISADE_NAME_SIZE],
    /// The model it is for.
    pub model: [c_char; PALISADE_NAME_SIZE],
    /// Who accepted it; empty when nobody did.
    pub party: [c_char; PALISADE_NAME_SIZE],
    /// SHA-256 of the text, in hexadecimal digits: what an acceptance must name.
    pub text_sha256: [c_char; PALISADE_SHA256_SIZE],
}

// SAFETY: integers and bytes, the size first; `borders!` adds up the fields.
unsafe impl Versioned for PalisadeLicense {
    const BORDERS: &'static [usize] = borders!(PalisadeLicense: accepted_unix, id, name, model, party, text_sha256);
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            accepted: 0,
            accepted_unix: 0,
            id: [0; _],
            name: [0; _],
            model: [0; _],
            party: [0; _],
            text_sha256: [0; _],
        }
    }
}

/// Who accepts which text. Fill it with `palisade_acceptance_init` first. Texts are read during the call only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeAcceptance {
    /// Set by the init function.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// SHA-256 of the text that was shown, in hexadecimal digits.
    pub text_sha256: PalisadeStr,
    /// The person or organisation that accepts, in their own words; at most 1024 bytes.
    pub party: PalisadeStr,
    /// When, in seconds since 1970. The library reads no clock.
    pub time_unix: i64,
}

// SAFETY: integers and views, the size first; `borders!` adds up the fields.
unsafe impl Versioned for PalisadeAcceptance {
    const BORDERS: &'static [usize] = borders!(PalisadeAcceptance: text_sha256, party, time_unix);
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            reserved: 0,
            text_sha256: PalisadeStr::EMPTY,
            party: PalisadeStr::EMPTY,
            time_unix: 0,
        }
    }
}

/// Copies the text of the model's licence, with a NUL, into `buf`: what is to be shown before it is accepted. Where there is
/// a guard model, its licence comes once the model's was accepted.
/// `needed`, `cap` and `buf` are as in `palisade_last_error`.
///
/// ```c
/// size_t needed;
/// palisade_license_text(engine, NULL, 0, &needed);
/// char *text = malloc(needed);
/// if (text != NULL && palisade_license_text(engine, text, needed, &needed) == PALISADE_OK) puts(text);
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_BUFFER`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `buf` points to `cap` bytes, `needed` to a `size_t`; both may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_license_text(
    engine: *const PalisadeEngine,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(engine, "engine")?;
        let _watch = slot.poison.watch("engine")?;
        // SAFETY: as the header asks.
        unsafe { memory::copy_out(&slot.engine.next_license()?.0.text, buf, cap, needed) }
    })
}

/// Copies the lines that the model's licence asks its users to display or to ship, one below the other, with a NUL; empty
/// when it is known to ask for none. For Llama 4 they are "Built with Llama" and the notice of its licence.
/// `needed`, `cap` and `buf` are as in `palisade_last_error`.
///
/// ```c
/// char lines[256];
/// if (palisade_license_notices(engine, lines, sizeof lines, &needed) == PALISADE_OK) show_on_about_page(lines);
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_BUFFER`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `buf` points to `cap` bytes, `needed` to a `size_t`; both may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_license_notices(
    engine: *const PalisadeEngine,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(engine, "engine")?;
        let _watch = slot.poison.watch("engine")?;
        // SAFETY: as the header asks.
        unsafe { memory::copy_out(&notices(&slot.engine).join("\n"), buf, cap, needed) }
    })
}

/// Tells which licence the model has and whether it was accepted. `size` is the size of the struct as the program knows
/// it. With a guard model there are two: the one told of is the first that was not accepted, so that a program shows and
/// accepts until it reads that all is accepted. A receipt that is damaged counts as none, and the log says so.
///
/// ```c
/// palisade_license_t license;
/// if (palisade_license_status(engine, &license, sizeof license) == PALISADE_OK && !license.accepted) { ... }
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_IO`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `license` points to `size` bytes that may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_license_status(
    engine: *const PalisadeEngine,
    license: *mut PalisadeLicense,
    size: usize,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(engine, "engine")?;
        let _watch = slot.poison.watch("engine")?;
        memory::check(license, "license")?;
        let shown = PalisadeLicense::of(&slot.engine)?;
        // SAFETY: as the header asks.
        unsafe { sized::write(license, size, &shown, "license") }
    })
}

/// What the licences of the model and of the guard model ask for, each line once.
fn notices(engine: &Engine) -> Vec<&'static str> {
    let mut lines = engine.license().notices().to_vec();
    let more = engine.guard().license().map_or(&[][..], |license| license.notices());
    lines.extend(more.iter().filter(|line| !engine.license().notices().contains(line)));
    lines
}

impl PalisadeLicense {
    fn of(engine: &Engine) -> crate::Result<Self> {
        let (license, status) = engine.next_license()?;
        let mut shown = Self {
            id: fixed(&license.id),
            name: fixed(&license.name),
            model: fixed(&license.model),
            text_sha256: fixed(&license.sha256),
            ..Self::defaults()
        };
        if let Status::Accepted(receipt) = status {
            shown.accepted = 1;
            shown.accepted_unix = receipt.time_unix;
            shown.party = fixed(&receipt.party);
        }
        Ok(shown)
    }
}

/// Fills an acceptance with zeros and its size. Call it before setting any field, with the size of the struct as the
/// program knows it.
///
/// ```c
/// palisade_acceptance_t acceptance;
/// palisade_acceptance_init(&acceptance, sizeof acceptance);
/// ```
///
/// Errors: `PALISADE_ARG`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `acceptance` points to `size` bytes that may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_acceptance_init(acceptance: *mut PalisadeAcceptance, size: usize) -> PalisadeStatus {
    fence(|| {
        // SAFETY: as the header asks.
        unsafe { sized::init(acceptance, size, "acceptance") }
    })
}

/// Accepts the model's licence in the name of a party and writes the receipt. The acceptance must name the SHA-256 of
/// exactly the present text, so a program cannot accept what it has never held.
///
/// ```c
/// acceptance.text_sha256 = palisade_str(license.text_sha256);
/// acceptance.party = palisade_str("Example Museum");
/// acceptance.time_unix = (int64_t)time(NULL);
/// if (palisade_license_accept(engine, &acceptance) != PALISADE_OK) { ... }
/// ```
///
/// Errors: `PALISADE_LICENSE` when the hash is that of another text, `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_IO` when
/// the receipt cannot be written (the licence is not accepted then), `PALISADE_BUSY` when another process holds the
/// state folder, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread]
///
/// The caller vouches: `acceptance` points to a struct of the size it says, its texts to their bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_license_accept(
    engine: *mut PalisadeEngine,
    acceptance: *const PalisadeAcceptance,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(engine, "engine")?;
        let _watch = slot.poison.watch("engine")?;
        // SAFETY: as the header asks.
        let host = unsafe { sized::read(acceptance, "acceptance") }?;
        sized::reserved(&host.reserved.to_ne_bytes(), "acceptance.reserved")?;
        // SAFETY: as the header asks.
        let (sha256, party) = unsafe {
            (memory::text(host.text_sha256, "acceptance.text_sha256")?, memory::text(host.party, "acceptance.party")?)
        };
        let acceptance = Acceptance { sha256: sha256.to_owned(), party: party.to_owned(), time_unix: host.time_unix };
        Ok(slot.engine.accept_license(&acceptance)?)
    })
}

/// Tells the host's log of a receipt that does not count, or cannot be read.
pub(super) fn warn_of_receipt(engine: &Engine) {
    match engine.license_status() {
        Ok(Status::Required { warning: Some(warning) }) => log(PALISADE_LOG_WARN, &warning),
        Err(e) => log(PALISADE_LOG_WARN, e.message()),
        Ok(_) => {}
    }
}
