//! The session: one dialog, and asking with a callback.
#![expect(unsafe_code, reason = "exported entries, and calling the host back")]

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::engine::PalisadeEngine;
use super::event::{Held, PalisadeEvent, PalisadeEventFn};
use super::fence::{Fault, fence};
use super::gate::Gate;
use super::request::{PalisadeRequestOptions, Stream};
use super::sized::{self, Versioned, borders};
use super::status::{PALISADE_ARG, PALISADE_CALLBACK, PalisadeStatus};
use super::types::PalisadeStr;
use super::{handle, memory};
use crate::session::{Session, SessionOptions};

/// How long freeing waits for a call that was asked to stop.
pub(super) const FREE_WAITS: Duration = Duration::from_secs(2);

/// One dialog with an engine. Made by `palisade_session_open`, given up by `palisade_session_free`.
pub struct PalisadeSession {
    _ticket: (),
}

/// What stands behind a session handle.
pub(super) struct SessionSlot {
    pub(super) session: Arc<Session>,
    pub(super) gate: Gate,
}

/// What `palisade_session_open` needs. Fill it with `palisade_session_options_init` first. Texts are read during the call
/// only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeSessionOptions {
    /// Set by the init function.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// The system prompt: what the model is told before the dialog; empty = none.
    pub system: PalisadeStr,
    /// Language tag of the end user, such as `de` or `pt-BR`: refusals are worded in it where the policy can; empty = not
    /// known.
    pub locale: PalisadeStr,
}

// SAFETY: integers and a view, the size first; `borders!` adds up the fields.
unsafe impl Versioned for PalisadeSessionOptions {
    const BORDERS: &'static [usize] = borders!(PalisadeSessionOptions: system, locale);
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            reserved: 0,
            system: PalisadeStr::EMPTY,
            locale: PalisadeStr::EMPTY,
        }
    }
}

/// Fills session options with their defaults. Call it before setting any field, with the size of the struct as the
/// program knows it.
///
/// ```c
/// palisade_session_options_t options;
/// palisade_session_options_init(&options, sizeof options);
/// ```
///
/// Errors: `PALISADE_ARG`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `options` points to `size` bytes that may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_session_options_init(
    options: *mut PalisadeSessionOptions,
    size: usize,
) -> PalisadeStatus {
    fence(|| {
        // SAFETY: as the header asks.
        unsafe { sized::init(options, size, "options") }
    })
}

/// Opens a session of an engine.
///
/// Ownership: on success `*session` is the caller's, who gives it up with `palisade_session_free`. It keeps what it
/// needs of the engine alive. On failure nothing is written.
///
/// ```c
/// palisade_session_t *session = NULL;
/// options.system = palisade_str("You answer questions about the museum.");
/// if (palisade_session_open(engine, &options, &session) != PALISADE_OK) { ... }
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_LIMIT`, `PALISADE_MEMORY`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread]
///
/// The caller vouches: `options` points to a struct of the size it says, its texts to their bytes; `session` may be
/// written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_session_open(
    engine: *mut PalisadeEngine,
    options: *const PalisadeSessionOptions,
    session: *mut *mut PalisadeSession,
) -> PalisadeStatus {
    fence(|| {
        let engine = handle::borrow(engine, "engine")?;
        let _watch = engine.poison.watch("engine")?;
        // SAFETY: as the header asks.
        let (host, out) = unsafe { (sized::read(options, "options")?, memory::out(session, "session")?) };
        sized::reserved(&host.reserved.to_ne_bytes(), "options.reserved")?;
        // SAFETY: as the header asks.
        let (system, locale) =
            unsafe { (memory::text(host.system, "options.system")?, memory::text(host.locale, "options.locale")?) };
        let system = (!system.is_empty()).then(|| system.to_owned());
        let options = SessionOptions { system, locale: locale.to_owned() };
        let session = engine.engine.session(&options)?;
        out.set(handle::hand_out(Arc::new(SessionSlot { session, gate: Gate::default() }))?);
        Ok(())
    })
}

/// Asks, and gives the events of the answer to `on_event` as they come: STARTED, PROGRESS, TEXT and VERDICT in their
/// order, END last and exactly once. It returns after END.
///
/// A call that is refused before it began (a bad argument, a licence that was not accepted, a session in use) gives no
/// event. Once there was an event there is an END, also after a cancel, a block or an error. Blocked and cancelled are
/// ends, not errors: `PALISADE_OK`. With `PALISADE_END_ERROR` the function returns that end's status.
///
/// ```c
/// static int32_t on_event(const palisade_event_t *event, void *user) {
///     if (event->kind == PALISADE_EVENT_TEXT) fwrite(event->text.data, 1, event->text.len, user);
///     return 0;
/// }
/// request.text = palisade_str("When do you open?");
/// if (palisade_session_ask(session, &request, on_event, stdout) != PALISADE_OK) { ... }
/// ```
///
/// Errors: `PALISADE_LICENSE`, `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_LIMIT` (the text does not fit the context; the
/// message gives the numbers), `PALISADE_BUSY`, `PALISADE_REENTRANT`, `PALISADE_MEMORY`, `PALISADE_GUARD_...`,
/// `PALISADE_NUMERIC`, `PALISADE_IO`, `PALISADE_CALLBACK` when `on_event` returned something other than 0 and 1 (the
/// request was cancelled then), `PALISADE_INTERNAL`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [one thread at a time]
///
/// The caller vouches: `request` points to a struct of the size it says, its texts to their bytes; `on_event` does not
/// unwind and does not `longjmp`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_session_ask(
    session: *mut PalisadeSession,
    request: *const PalisadeRequestOptions,
    on_event: PalisadeEventFn,
    user: *mut c_void,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(session, "session")?;
        // SAFETY: as the header asks.
        let request = unsafe { PalisadeRequestOptions::read(request) }?;
        let callback = on_event.ok_or_else(|| Fault::new(PALISADE_ARG, "on_event is NULL"))?;
        let _pass = slot.gate.enter("session")?;
        let mut stream = Stream::start(&slot, request)?;
        let mut answer = Ok(());
        let mut stopped = false;
        while let Some(event) = stream.next() {
            let end = event.end();
            // After a cancel the host wants no more of the answer, only to know that it is over.
            if !stopped || end.is_some() {
                // SAFETY: the host vouches for its callback.
                match call_back(&event, |event| unsafe { callback(event, user) }) {
                    Ok(go_on) => stopped |= !go_on,
                    Err(fault) => {
                        stopped = true;
                        answer = answer.and(Err(fault));
                    }
                }
            }
            match end {
                Some(end) => return answer.and(end),
                None if stopped => stream.cancel(),
                None => {}
            }
        }
        answer
    })
}

/// What the host's callback says to an event: whether to go on.
fn call_back(event: &Held, callback: impl FnOnce(*const PalisadeEvent) -> i32) -> Result<bool, Fault> {
    match catch_unwind(AssertUnwindSafe(|| callback(event.view()))) {
        Ok(0) => Ok(true),
        Ok(1) => Ok(false),
        Ok(other) => Err(Fault::new(PALISADE_CALLBACK, format!("on_event returned {other}; it is 0 or 1"))),
        Err(payload) => {
            // Its drop could unwind again.
            std::mem::forget(payload);
            Err(Fault::new(PALISADE_CALLBACK, "on_event did not return but unwound"))
        }
    }
}

/// Asks the running request of a session to stop, in either form, and returns at once; its END tells when it has. Without
/// a running request nothing happens, and the next one is not concerned. Not for signal handlers.
///
/// ```c
/// palisade_session_cancel(session);
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread] [callback-safe]
#[unsafe(no_mangle)]
pub extern "C" fn palisade_session_cancel(session: *mut PalisadeSession) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(session, "session")?;
        let _watch = slot.gate.poison.watch("session")?;
        slot.session.cancel();
        Ok(())
    })
}

/// Forgets the dialog; what the session was opened with stays.
///
/// ```c
/// if (palisade_session_reset(session) != PALISADE_OK) { ... }
/// ```
///
/// Errors: `PALISADE_BUSY` while a request runs, `PALISADE_REENTRANT`, `PALISADE_ARG`, `PALISADE_CLOSED`,
/// `PALISADE_FORKED`.
///
/// [one thread at a time]
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn palisade_session_reset(session: *mut PalisadeSession) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(session, "session")?;
        let _pass = slot.gate.enter("session")?;
        Ok(slot.session.reset()?)
    })
}

/// Counts the tokens of a text as a person's words, without those of the chat format around it.
///
/// ```c
/// size_t count;
/// if (palisade_tokens_count(session, palisade_str("When do you open?"), &count) == PALISADE_OK) { ... }
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_LIMIT`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `text` points to its bytes, `count` may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_tokens_count(
    session: *const PalisadeSession,
    text: PalisadeStr,
    count: *mut usize,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(session, "session")?;
        let _watch = slot.gate.poison.watch("session")?;
        // SAFETY: as the header asks.
        let (text, out) = unsafe { (memory::text(text, "text")?, memory::out(count, "count")?) };
        out.set(slot.session.count_tokens(text)?);
        Ok(())
    })
}

/// Gives up a session and sets `*session` to NULL. A request that runs is cancelled; when `palisade_session_ask` runs on
/// another thread, this waits until its callback and it have returned, at most 2 seconds. A request in the pull form
/// stays to be read to its END and freed. NULL, and a pointer to NULL, is a harmless no-op.
///
/// ```c
/// palisade_session_free(&session);
/// ```
///
/// Errors: `PALISADE_BUSY` when the call did not return in time, or is the one whose callback this is called from: it
/// was asked to stop, and nothing is freed. `PALISADE_CLOSED` when the session was freed through a copy of the handle
/// before (nothing happens), `PALISADE_ARG`. In a forked child the parent's handle is only set to NULL.
///
/// [any thread]
///
/// The caller vouches: `session` is NULL or points to a handle that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_session_free(session: *mut *mut PalisadeSession) -> PalisadeStatus {
    fence(|| {
        let ready = |slot: &SessionSlot| {
            slot.session.cancel();
            slot.gate.close(FREE_WAITS, "session")
        };
        // SAFETY: as the header asks.
        unsafe { handle::free(session, "session", ready) }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::path::Path;

    use super::*;
    use crate::ffi::engine::{EngineSlot, palisade_engine_free};
    use crate::ffi::gate::Poison;
    use crate::ffi::status::{PALISADE_INTERNAL, PALISADE_OK};
    use crate::session::{Engine, EngineOptions};

    #[test]
    fn a_panic_poisons_its_session_and_nothing_else() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/palisade-demo.gguf");
        let open = || Engine::open(&EngineOptions { context: 64, ..EngineOptions::new(&model) }, &mut |_| true);
        let slot = Arc::new(EngineSlot { engine: open().unwrap(), poison: Poison::default() });
        let mut engine = handle::hand_out::<PalisadeEngine>(slot).unwrap();
        let options = PalisadeSessionOptions::defaults();
        let (mut hurt, mut well) = (std::ptr::null_mut(), std::ptr::null_mut());
        for session in [&mut hurt, &mut well] {
            // SAFETY: the options and the outputs are this function's.
            assert_eq!(unsafe { palisade_session_open(engine, &raw const options, session) }, PALISADE_OK);
        }

        let status = fence(|| {
            let slot = handle::borrow::<PalisadeSession>(hurt, "session")?;
            let _pass = slot.gate.enter("session")?;
            panic!("a fault");
        });
        assert_eq!(status, PALISADE_INTERNAL);
        let (text, mut count) = (PalisadeStr::of("words"), 0);
        assert_eq!(palisade_session_reset(hurt), PALISADE_INTERNAL);
        assert_eq!(palisade_session_cancel(hurt), PALISADE_INTERNAL);
        // SAFETY: the text and the outputs are this function's.
        unsafe {
            assert_eq!(palisade_tokens_count(hurt, text, &raw mut count), PALISADE_INTERNAL);
            assert_eq!(palisade_tokens_count(well, text, &raw mut count), PALISADE_OK);
            assert_eq!(palisade_session_reset(well), PALISADE_OK);
            assert_eq!(palisade_session_free(&raw mut hurt), PALISADE_OK);
            assert_eq!(palisade_session_free(&raw mut well), PALISADE_OK);
            assert_eq!(palisade_engine_free(&raw mut engine), PALISADE_OK);
        }
        assert!(hurt.is_null() && well.is_null() && engine.is_null() && count > 0);
    }
}
