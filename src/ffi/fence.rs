//! The fence around every entry: no panic gets out, an error becomes a code and this thread's last message.
//!
//! The only file that uses `ffi-support`, for what it does well: `call_with_result` is the barrier, `ExternError` the
//! pair of code and text. Two of its habits are kept away from callers: it panics on a NUL inside a message, outside of
//! its own barrier when the message is a panic's, so panics are turned into errors before it sees them and messages
//! are freed of NUL; and its texts are owned by the receiver, so they are copied into this thread's slot and released.
#![expect(unsafe_code, reason = "taking back the text that ffi-support allocated")]

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ffi_support::{ErrorCode, ExternError, call_with_result};

use super::status::{self, PALISADE_INTERNAL, PALISADE_OK, PalisadeStatus};
use crate::error::Error;

/// Why an entry did not do its work: a code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: PalisadeStatus,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(status: PalisadeStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// What a caught panic leaves.
    pub(super) fn panic(payload: Box<dyn Any + Send>) -> Self {
        let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => {
                // An unknown payload may panic again when it is dropped.
                std::mem::forget(payload);
                "an unknown fault".to_owned()
            }
        };
        Self::new(PALISADE_INTERNAL, format!("a fault inside the library: {text}"))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::new(status::of(error.kind()), error.message())
    }
}

impl From<Fault> for ExternError {
    fn from(fault: Fault) -> Self {
        Self::new_error(ErrorCode::new(fault.status), fault.message.replace('\0', "\u{FFFD}"))
    }
}

/// Runs the body of an entry. Whatever happens inside, a code comes out, and on failure this thread's last message is
/// replaced.
pub(super) fn fence(body: impl FnOnce() -> Result<(), Fault>) -> PalisadeStatus {
    let (status, message) = contain(body);
    if status != PALISADE_OK {
        keep(&message);
    }
    status
}

/// The fence of `palisade_last_error` itself, which leaves the message alone.
pub(super) fn silent_fence(body: impl FnOnce() -> Result<(), Fault>) -> PalisadeStatus {
    contain(body).0
}

fn contain(body: impl FnOnce() -> Result<(), Fault>) -> (PalisadeStatus, String) {
    let mut out = ExternError::success();
    call_with_result(
        &mut out,
        AssertUnwindSafe(|| catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(Fault::panic(payload)))),
    );
    let code = out.get_code();
    // SAFETY: `out` was filled just above, by this library, and nobody else has seen its text.
    let message = unsafe { out.get_and_consume_message() }.unwrap_or_default();
    // Its own code for a panic is left for one inside the conversion above.
    (if code == ErrorCode::PANIC { PALISADE_INTERNAL } else { code.code() }, message)
}

/// The longest message that is kept, in bytes.
const MAX_MESSAGE: usize = 1000;

/// A thread's message in place: no allocation, and no destructor that would run when a thread ends after the library
/// was unloaded.
#[derive(Clone, Copy)]
struct Kept {
    len: usize,
    bytes: [u8; MAX_MESSAGE],
}

thread_local! {
    static LAST: Cell<Kept> = const { Cell::new(Kept { len: 0, bytes: [0; MAX_MESSAGE] }) };
}

fn keep(message: &str) {
    let text = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    let mut kept = Kept { len: text.len(), bytes: [0; MAX_MESSAGE] };
    kept.bytes[..text.len()].copy_from_slice(text.as_bytes());
    LAST.set(kept);
}

/// This thread's last message; empty when nothing has failed on it yet.
pub(super) fn last_message() -> String {
    let kept = LAST.get();
    String::from_utf8_lossy(&kept.bytes[..kept.len]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::{PALISADE_ARG, PALISADE_BUSY};

    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn an_error_becomes_its_code_and_text() {
        assert_eq!(fence(|| Err(Error::busy("in use").into())), PALISADE_BUSY);
        assert_eq!(last_message(), "in use");
    }

    #[test]
    fn success_leaves_the_last_message() {
        assert_eq!(fence(|| Err(Fault::new(PALISADE_ARG, "first"))), PALISADE_ARG);
        assert_eq!(fence(|| Ok(())), PALISADE_OK);
        assert_eq!(silent_fence(|| Err(Fault::new(PALISADE_ARG, "second"))), PALISADE_ARG);
        assert_eq!(last_message(), "first");
    }

    #[test]
    fn every_sort_of_panic_stops_at_the_fence() {
        let bodies: [fn(); 5] = [
            || panic!("plain"),
            || panic!("formatted {}", 1),
            || panic!("with a \0 inside"),
            || std::panic::panic_any(7_i32),
            || std::panic::panic_any(PanicsWhenDropped),
        ];
        for body in bodies {
            assert_eq!(
                fence(|| {
                    body();
                    Ok(())
                }),
                PALISADE_INTERNAL
            );
            assert!(last_message().starts_with("a fault inside the library: "), "{}", last_message());
        }
    }

    #[test]
    fn a_message_with_nul_is_kept_without_it() {
        assert_eq!(fence(|| Err(Fault::new(PALISADE_ARG, "a\0b"))), PALISADE_ARG);
        assert_eq!(last_message(), "a\u{FFFD}b");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = format!("x{}", "é".repeat(2000));
        assert_eq!(fence(|| Err(Fault::new(PALISADE_ARG, long.clone()))), PALISADE_ARG);
        assert_eq!(last_message(), long[..999]);
    }

    #[test]
    fn messages_belong_to_their_thread() {
        fence(|| Err(Fault::new(PALISADE_ARG, "mine")));
        std::thread::scope(|s| s.spawn(|| assert_eq!(last_message(), "")).join().unwrap_or_default());
        assert_eq!(last_message(), "mine");
    }
}
