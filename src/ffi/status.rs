//! The status codes: pinned numbers, grouped by who can act. A number is never used again for something else.
#![expect(unsafe_code, reason = "an exported entry")]

use std::ffi::{CStr, c_char};

use crate::error::Kind;

/// What every function returns: `PALISADE_OK` or the reason why nothing was done. The hundreds say who can act:
/// 1xx the calling code, 2xx whoever supplies the model and its licence, 3xx whoever sizes the device,
/// 4xx whoever owns the guards, 5xx nobody (the work was stopped), 9xx the makers of this library.
pub type PalisadeStatus = i32;

/// Done.
pub const PALISADE_OK: PalisadeStatus = 0;

/// A parameter has a value that the function cannot take; the message names it.
pub const PALISADE_ARG: PalisadeStatus = 100;
/// A text is not UTF-8; the message gives the byte.
pub const PALISADE_UTF8: PalisadeStatus = 101;
/// The call has no meaning at this moment.
pub const PALISADE_STATE: PalisadeStatus = 102;
/// The handle is in use on another thread, or could not be freed in time.
pub const PALISADE_BUSY: PalisadeStatus = 103;
/// The call was made from inside a callback of the same session, which allows only the calls marked
/// `[callback-safe]`.
pub const PALISADE_REENTRANT: PalisadeStatus = 104;
/// The handle was freed.
pub const PALISADE_CLOSED: PalisadeStatus = 105;
/// The output buffer is too small; the needed size was written.
pub const PALISADE_BUFFER: PalisadeStatus = 106;
/// The handle was made before a fork, by the parent process.
pub const PALISADE_FORKED: PalisadeStatus = 107;
/// A callback returned a value that has no meaning, or did not return.
pub const PALISADE_CALLBACK: PalisadeStatus = 108;

/// The model's licence has not been accepted for exactly its present text.
pub const PALISADE_LICENSE: PalisadeStatus = 200;
/// A file is damaged or is not what it claims to be.
pub const PALISADE_CORRUPT: PalisadeStatus = 201;
/// The file or the call asks for something this version does not do.
pub const PALISADE_UNSUPPORTED: PalisadeStatus = 202;

/// A stated limit would be passed.
pub const PALISADE_LIMIT: PalisadeStatus = 300;
/// The memory budget does not allow it, or memory could not be had.
pub const PALISADE_MEMORY: PalisadeStatus = 301;
/// The operating system refused to read or write.
pub const PALISADE_IO: PalisadeStatus = 302;

/// A guard could not judge; nothing was released.
pub const PALISADE_GUARD_UNAVAILABLE: PalisadeStatus = 400;
/// A guard did not judge in time; nothing was released.
pub const PALISADE_GUARD_TIMEOUT: PalisadeStatus = 401;
/// A guard answered with something that is no verdict; nothing was released.
pub const PALISADE_GUARD_INVALID: PalisadeStatus = 402;

/// The host asked to stop.
pub const PALISADE_CANCELLED: PalisadeStatus = 500;

/// The computation produced a value that is not a number.
pub const PALISADE_NUMERIC: PalisadeStatus = 900;
/// A fault inside the library. The handle is poisoned: only its free function works.
pub const PALISADE_INTERNAL: PalisadeStatus = 901;

/// The code of an error. Every kind is named: a new one asks for its code at compile time.
pub(super) fn of(kind: Kind) -> PalisadeStatus {
    match kind {
        Kind::Argument => PALISADE_ARG,
        Kind::Utf8 => PALISADE_UTF8,
        Kind::State => PALISADE_STATE,
        Kind::Busy => PALISADE_BUSY,
        Kind::Closed => PALISADE_CLOSED,
        Kind::Buffer => PALISADE_BUFFER,
        Kind::Callback => PALISADE_CALLBACK,
        Kind::License => PALISADE_LICENSE,
        Kind::Corrupt => PALISADE_CORRUPT,
        Kind::Unsupported => PALISADE_UNSUPPORTED,
        Kind::Limit => PALISADE_LIMIT,
        Kind::Memory => PALISADE_MEMORY,
        Kind::Io => PALISADE_IO,
        Kind::GuardUnavailable => PALISADE_GUARD_UNAVAILABLE,
        Kind::GuardTimeout => PALISADE_GUARD_TIMEOUT,
        Kind::GuardInvalid => PALISADE_GUARD_INVALID,
        Kind::Cancelled => PALISADE_CANCELLED,
        Kind::Numeric => PALISADE_NUMERIC,
        Kind::Internal => PALISADE_INTERNAL,
    }
}

/// Every code with its name.
const NAMES: [(PalisadeStatus, &CStr); 22] = [
    (PALISADE_OK, c"PALISADE_OK"),
    (PALISADE_ARG, c"PALISADE_ARG"),
    (PALISADE_UTF8, c"PALISADE_UTF8"),
    (PALISADE_STATE, c"PALISADE_STATE"),
    (PALISADE_BUSY, c"PALISADE_BUSY"),
    (PALISADE_REENTRANT, c"PALISADE_REENTRANT"),
    (PALISADE_CLOSED, c"PALISADE_CLOSED"),
    (PALISADE_BUFFER, c"PALISADE_BUFFER"),
    (PALISADE_FORKED, c"PALISADE_FORKED"),
    (PALISADE_CALLBACK, c"PALISADE_CALLBACK"),
    (PALISADE_LICENSE, c"PALISADE_LICENSE"),
    (PALISADE_CORRUPT, c"PALISADE_CORRUPT"),
    (PALISADE_UNSUPPORTED, c"PALISADE_UNSUPPORTED"),
    (PALISADE_LIMIT, c"PALISADE_LIMIT"),
    (PALISADE_MEMORY, c"PALISADE_MEMORY"),
    (PALISADE_IO, c"PALISADE_IO"),
    (PALISADE_GUARD_UNAVAILABLE, c"PALISADE_GUARD_UNAVAILABLE"),
    (PALISADE_GUARD_TIMEOUT, c"PALISADE_GUARD_TIMEOUT"),
    (PALISADE_GUARD_INVALID, c"PALISADE_GUARD_INVALID"),
    (PALISADE_CANCELLED, c"PALISADE_CANCELLED"),
    (PALISADE_NUMERIC, c"PALISADE_NUMERIC"),
    (PALISADE_INTERNAL, c"PALISADE_INTERNAL"),
];

/// The name of a status code, such as `"PALISADE_BUSY"`; `"PALISADE_UNKNOWN"` for a number that is none.
/// The text is static.
///
/// [any thread] [callback-safe]
#[unsafe(no_mangle)]
pub extern "C" fn palisade_status_name(status: PalisadeStatus) -> *const c_char {
    NAMES.iter().find(|(code, _)| *code == status).map_or(c"PALISADE_UNKNOWN", |(_, name)| name).as_ptr()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_and_numbers_are_the_frozen_ones() {
        // One line of the file: a number, a space, a name. Lines are added, never changed.
        let frozen = include_str!("../../tests/data/status-codes.txt");
        let here: Vec<String> = NAMES.iter().map(|(code, name)| format!("{code} {}", name.to_str().unwrap())).collect();
        assert_eq!(here, frozen.lines().collect::<Vec<_>>());
    }

    #[test]
    fn numbers_rise_and_stay_out_of_the_reserved_range() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(NAMES.iter().all(|(code, _)| (0..1000).contains(code)));
    }

    #[test]
    fn an_unknown_number_has_a_name_too() {
        for code in [-1, 1, 99, 999, i32::MIN, i32::MAX] {
            // SAFETY: the function returns a static text that ends with NUL.
            let name = unsafe { CStr::from_ptr(palisade_status_name(code)) };
            assert_eq!(name, c"PALISADE_UNKNOWN");
        }
    }
}
