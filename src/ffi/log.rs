//! Where the library's messages go: to the host's callback, or nowhere.
#![expect(unsafe_code, reason = "exported entries, and calling the host back")]

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{PoisonError, RwLock};

use super::fence::{Fault, fence};
use super::status::{PALISADE_ARG, PalisadeStatus};
use super::types::PalisadeStr;

/// Something does not work.
pub const PALISADE_LOG_ERROR: i32 = 1;
/// Something works, but not as the host may expect.
pub const PALISADE_LOG_WARN: i32 = 2;
/// What was opened and chosen.
pub const PALISADE_LOG_INFO: i32 = 3;

/// Receives one message of the library: a whole line, valid during the call. Never text of a prompt or an answer.
/// It is called on the thread that made the call the message is about, with no lock held: it may call the library.
pub type PalisadeLogFn = Option<unsafe extern "C-unwind" fn(level: i32, message: PalisadeStr, user: *mut c_void)>;

/// The host's own pointer.
#[derive(Clone, Copy)]
struct User(*mut c_void);

// SAFETY: the pointer is carried, never followed; the header says on which threads it comes back.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

#[derive(Clone, Copy)]
struct Sink {
    callback: unsafe extern "C-unwind" fn(i32, PalisadeStr, *mut c_void),
    user: User,
    level: i32,
}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// Sets where the library's messages go, for the whole process: those of `level` and of smaller numbers are given to
/// `callback`, with `user` untouched. NULL for `callback` ends it, which is how a process begins.
/// A message that another thread is giving out at that moment may still arrive at the old callback.
///
/// ```c
/// palisade_log_set(print_line, stderr, PALISADE_LOG_WARN);
/// ```
///
/// Errors: `PALISADE_ARG` for a level that is none.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: The callback may be called until another one is set; it does not unwind and does not `longjmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_log_set(callback: PalisadeLogFn, user: *mut c_void, level: i32) -> PalisadeStatus {
    fence(|| {
        if !(PALISADE_LOG_ERROR..=PALISADE_LOG_INFO).contains(&level) {
            return Err(Fault::new(PALISADE_ARG, format!("level is {level}; it is 1 to 3")));
        }
        let sink = callback.map(|callback| Sink { callback, user: User(user), level });
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
        Ok(())
    })
}

/// Gives a message to the host. No lock is held while its callback runs.
pub(super) fn log(level: i32, message: &str) {
    let sink = *SINK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(sink) = sink.filter(|sink| level <= sink.level) {
        // What goes wrong in the host's log is no reason to fail the call that the message is about.
        // SAFETY: the host vouched for its callback when it set it.
        let _ = catch_unwind(AssertUnwindSafe(|| unsafe {
            (sink.callback)(level, PalisadeStr::of(message), sink.user.0);
        }));
    }
}
