//! The library itself: its version, and this thread's last message.
#![expect(unsafe_code, reason = "exported entries")]

use std::ffi::{CStr, c_char};

use super::fence::{last_message, silent_fence};
use super::memory;
use super::status::PalisadeStatus;
use super::types::PALISADE_ABI_VERSION;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library, such as `"0.1.0"`. The text is static.
///
/// [any thread] [callback-safe]
#[unsafe(no_mangle)]
pub extern "C" fn palisade_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The ABI level of the library. A program built with this header works with every library of the same level:
///
/// ```c
/// if (palisade_abi_version() != PALISADE_ABI_VERSION) { ... another library than this header's was loaded ... }
/// ```
///
/// [any thread] [callback-safe]
#[unsafe(no_mangle)]
pub extern "C" fn palisade_abi_version() -> u32 {
    PALISADE_ABI_VERSION
}

/// Copies the message of the last call that failed on this thread, with its NUL, into `buf`. It is kept until the next
/// call fails on this thread; it is empty when none has. At most 1000 bytes and the NUL.
///
/// `needed` gets the size of the message with its NUL, also when `cap` is too small for it (`PALISADE_BUFFER`; `buf`
/// is left as it is then). With `cap` 0 `buf` may be NULL.
///
/// ```c
/// char message[1024];
/// size_t needed;
/// if (palisade_last_error(message, sizeof message, &needed) == PALISADE_OK) puts(message);
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_BUFFER`. This function leaves the message alone when it fails itself.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `buf` points to `cap` bytes, `needed` to a `size_t`; both may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_last_error(buf: *mut c_char, cap: usize, needed: *mut usize) -> PalisadeStatus {
    silent_fence(|| {
        // SAFETY: as the header asks.
        unsafe { memory::copy_out(&last_message(), buf, cap, needed) }
    })
}
