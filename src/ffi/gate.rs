//! One call at a time on one object: the second caller is told so at once, a call from inside the callback is told apart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fence::Fault;
use super::status::{PALISADE_BUSY, PALISADE_INTERNAL, PALISADE_REENTRANT};

/// Whether a call on an object panicked: what it left behind is not used again.
#[derive(Debug, Default)]
pub(super) struct Poison(AtomicBool);

/// Watches one call; a panic that drops it poisons the object.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    poison: &'a Poison,
    /// The host may call us while it is unwinding itself; that is no fault of ours.
    was_panicking: bool,
}

impl Poison {
    /// Begins to watch; `INTERNAL` when the object is poisoned.
    pub(super) fn watch(&self, what: &str) -> Result<Watch<'_>, Fault> {
        if self.0.load(Ordering::Acquire) {
            let message = format!("the {what} met a fault inside the library earlier; only freeing it works");
            return Err(Fault::new(PALISADE_INTERNAL, message));
        }
        Ok(Watch { poison: self, was_panicking: std::thread::panicking() })
    }

    /// Marks the object as unusable but for freeing it.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.poison.set();
        }
    }
}

/// Lets one call in.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) poison: Poison,
    inside: Mutex<Inside>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    /// The thread of the call that is inside.
    thread: Option<usize>,
    /// Somebody waits to free the object.
    closing: bool,
}

/// The right to be inside; leaving is dropping it.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    _watch: Watch<'a>,
}

impl Gate {
    /// Goes in.
    ///
    /// `BUSY` when a call of another thread is inside or the object is being freed, `REENTRANT` when it is this
    /// thread's own, `INTERNAL` when the object is poisoned.
    pub(super) fn enter(&self, what: &str) -> Result<Pass<'_>, Fault> {
        let watch = self.poison.watch(what)?;
        let mut inside = self.lock();
        if inside.thread == Some(this_thread()) {
            let message = format!("the {what} is in the middle of a call on this thread: not from inside a callback");
            return Err(Fault::new(PALISADE_REENTRANT, message));
        }
        if inside.thread.is_some() || inside.closing {
            return Err(Fault::new(PALISADE_BUSY, format!("the {what} is in use on another thread")));
        }
        inside.thread = Some(this_thread());
        Ok(Pass { gate: self, _watch: watch })
    }

    /// Waits until no call is inside and lets none in any more. `BUSY` after `limit`, or at once when the call inside
    /// is this thread's own; everything is then as before.
    pub(super) fn close(&self, limit: Duration, what: &str) -> Result<(), Fault> {
        let busy = |why: &str| Fault::new(PALISADE_BUSY, format!("the {what} was not freed: {why}"));
        let until = Instant::now() + limit;
        let mut inside = self.lock();
        if inside.closing {
            return Err(busy("another thread is freeing it"));
        }
        if inside.thread == Some(this_thread()) {
            return Err(busy("this is a callback of its own call; it was asked to stop"));
        }
        inside.closing = true;
        while inside.thread.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                inside.closing = false;
                return Err(busy("its call was asked to stop and has not returned"));
            }
            inside = self.left.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.lock().thread = None;
        self.gate.left.notify_all();
    }
}

/// A mark of the running thread that costs no allocation and no destructor: the address of a thread-local.
fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn the_second_caller_is_told_and_the_first_unharmed() {
        let gate = Gate::default();
        let pass = gate.enter("session").unwrap();
        assert_eq!(gate.enter("session").unwrap_err().status, PALISADE_REENTRANT);
        std::thread::scope(|s| {
            s.spawn(|| assert_eq!(gate.enter("session").unwrap_err().status, PALISADE_BUSY));
        });
        drop(pass);
        gate.enter("session").unwrap();
    }

    #[test]
    fn closing_waits_for_the_call_inside_but_not_longer_than_said() {
        let gate = Gate::default();
        std::thread::scope(|s| {
            let (entered, told) = std::sync::mpsc::channel();
            let gate = &gate;
            s.spawn(move || {
                let pass = gate.enter("session").unwrap();
                entered.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(200));
                drop(pass);
            });
            told.recv().unwrap();
            assert_eq!(gate.close(Duration::from_millis(10), "session").unwrap_err().status, PALISADE_BUSY);
            gate.close(Duration::from_secs(60), "session").unwrap();
        });
        assert_eq!(gate.enter("session").unwrap_err().status, PALISADE_BUSY, "nobody gets in after it was closed");
    }

    #[test]
    fn closing_from_inside_gives_up_at_once_and_leaves_the_gate_open() {
        let gate = Gate::default();
        let pass = gate.enter("session").unwrap();
        assert_eq!(gate.close(Duration::from_secs(60), "session").unwrap_err().status, PALISADE_BUSY);
        drop(pass);
        drop(gate.enter("session").unwrap());
        gate.close(NOW, "session").unwrap();
    }

    #[test]
    fn a_panic_inside_poisons_and_freeing_still_works() {
        let gate = Gate::default();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _pass = gate.enter("session").unwrap();
            panic!("inside");
        }));
        assert!(caught.is_err());
        assert_eq!(gate.enter("session").unwrap_err().status, PALISADE_INTERNAL);
        assert_eq!(gate.poison.watch("session").unwrap_err().status, PALISADE_INTERNAL);
        gate.close(NOW, "session").unwrap();
    }

    #[test]
    fn a_call_during_the_hosts_own_unwinding_does_not_poison() {
        struct CallsWhenDropped<'a>(&'a Gate);
        impl Drop for CallsWhenDropped<'_> {
            fn drop(&mut self) {
                drop(self.0.enter("session"));
            }
        }
        let gate = Gate::default();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _calls = CallsWhenDropped(&gate);
            panic!("the host's");
        }));
        assert!(caught.is_err());
        gate.enter("session").unwrap();
    }
}
