//! The audit log through the C ABI: its options, the host's signing, appeals.
#![expect(unsafe_code, reason = "calls the host's signing function")]

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::engine::PalisadeEngineOptions;
use super::fence::{Fault, fence};
use super::session::PalisadeSession;
use super::status::{PALISADE_ARG, PalisadeStatus};
use super::{handle, memory, sized};
use crate::audit::{AuditOptions, MOST_SIGNATURE, SignCheckpoint, SyncPolicy};
use crate::error::{Error, Kind};
use crate::signature::unhex;

/// The audit log is flushed to the disk after every request.
pub const PALISADE_SYNC_REQUEST: u8 = 0;
/// After every record.
pub const PALISADE_SYNC_RECORD: u8 = 1;
/// When the system likes: a killed process loses nothing, a power failure may.
pub const PALISADE_SYNC_NEVER: u8 = 2;

/// Signs a checkpoint of the audit log: `digest` points to 32 bytes, `signature` has room for `capacity` bytes, and
/// `*written` takes how many were written; 0 leaves the checkpoint unsigned. Returns 0, or 1 when it failed; then the
/// request in which it failed ends with `PALISADE_CALLBACK`.
///
/// It is called on whichever thread appends to the log, until the engine is freed, never at the same time twice. It must
/// not call into the library and not unwind.
pub type PalisadeCheckpointFn = Option<
    unsafe extern "C-unwind" fn(
        digest: *const u8,
        signature: *mut u8,
        capacity: usize,
        written: *mut usize,
        user: *mut c_void,
    ) -> i32,
>;

/// The host's pointer, given back to the host's function and never looked at.
struct User(*mut c_void);

// SAFETY: the header asks that the pointer may be used from any thread; this side only carries it.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

/// What the engine's options say of the log.
///
/// # Safety
/// The texts are as the header asks.
pub(super) unsafe fn options(host: &PalisadeEngineOptions) -> Result<Option<AuditOptions>, Fault> {
    // SAFETY: as this function asks.
    let (path, key) = unsafe {
        (memory::optional_path(host.audit, "options.audit")?, memory::text(host.audit_key, "options.audit_key")?)
    };
    let key = match key {
        "" => None,
        digits => Some(unhex::<32>(digits).ok_or_else(|| {
            // The key is not repeated.
            Fault::new(PALISADE_ARG, "options.audit_key: expected 64 hexadecimal digits")
        })?),
    };
    let sync = match host.audit_sync {
        PALISADE_SYNC_REQUEST => SyncPolicy::Request,
        PALISADE_SYNC_RECORD => SyncPolicy::Record,
        PALISADE_SYNC_NEVER => SyncPolicy::Never,
        other => return Err(Fault::new(PALISADE_ARG, format!("options.audit_sync: {other} is no PALISADE_SYNC_…"))),
    };
    let plain_text = sized::flag(host.audit_plain_text, "options.audit_plain_text")?;
    Ok(path.map(|path| AuditOptions {
        sync,
        key,
        plain_text,
        rotate_bytes: host.audit_rotate_bytes,
        checkpoint_every: host.audit_checkpoint_every,
        sign: signing(host.on_checkpoint, host.checkpoint_user),
        ..AuditOptions::new(path, host.time_unix)
    }))
}

fn signing(callback: PalisadeCheckpointFn, user: *mut c_void) -> Option<SignCheckpoint> {
    let callback = callback?;
    let user = User(user);
    Some(Arc::new(move |digest: &[u8; 32]| {
        let mut signature = vec![0u8; MOST_SIGNATURE];
        let mut written = 0usize;
        let (room, user) = (signature.as_mut_ptr(), user.get());
        let called = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the buffers live through the call and are as large as it is told; the host vouches for the rest.
            unsafe { callback(digest.as_ptr(), room, MOST_SIGNATURE, &raw mut written, user) }
        }));
        match called {
            Ok(0) if written == 0 => Ok(None),
            Ok(0) if written <= MOST_SIGNATURE => {
                signature.truncate(written);
                Ok(Some(signature))
            }
            Ok(0) => Err(Error::new(
                Kind::Callback,
                format!("on_checkpoint says it wrote {written} bytes of {MOST_SIGNATURE}"),
            )),
            Ok(_) => Err(Error::new(Kind::Callback, "on_checkpoint failed")),
            Err(payload) => {
                // Its drop could unwind again.
                std::mem::forget(payload);
                Err(Error::new(Kind::Callback, "on_checkpoint did not return but unwound"))
            }
        }
    }))
}

/// Notes in the audit log that the end user calls the last refusal of the session wrong. Without a log it only checks its
/// arguments.
///
/// ```c
/// if (palisade_session_appeal(session, time(NULL)) == PALISADE_OK) puts("Thank you, we will look at it.");
/// ```
///
/// Errors: `PALISADE_ARG` when nothing was refused since the last appeal, `PALISADE_BUSY` while a request runs,
/// `PALISADE_IO`, `PALISADE_REENTRANT`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [one thread at a time]
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn palisade_session_appeal(session: *mut PalisadeSession, time_unix: i64) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(session, "session")?;
        let _pass = slot.gate.enter("session")?;
        Ok(slot.session.appeal(time_unix)?)
    })
}
