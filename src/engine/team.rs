//! Threads that share the tasks of one phase after the other: one number says which tasks nobody has taken and how many are
//! through, so that a thread is through with one and has the next in one step.
#![expect(
    unsafe_code,
    reason = "work that borrows from the leader's stack is called by threads that no scope encloses"
)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is done to each task, by its number.
type Work = dyn Fn(usize) + Sync;

/// Looks at whether the others are through, some tens of microseconds of them, before the system is asked whether they wait for
/// this processor.
const PATIENCE: usize = 1 << 11;
/// One task that is through, in [`Team::state`]; below it stand the tasks that nobody has taken.
const DONE: u64 = 1 << 32;

/// Tasks of the phase that goes on, if any.
pub(super) struct Team {
    state: Line,
    /// Whether a phase goes on.
    led: AtomicBool,
    /// What the phase does, and to how many tasks.
    phase: UnsafeCell<Option<(*const Work, u32)>>,
    /// What a task panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A cache line that nothing else shares, nor its neighbour, which processors fetch with it.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

// SAFETY: `phase` is written by `run` alone, which one thread at a time goes through (`led`), and only while no task is under
// way. It is read only by a thread that has a task under way (`take`), which sees what was written before the task could be taken.
// The work behind the pointer may be called by several threads at once: it is `Sync`.
unsafe impl Sync for Team {}
// SAFETY: as above; between phases the pointer is never followed.
unsafe impl Send for Team {}

impl Default for Team {
    fn default() -> Self {
        Self {
            state: Line::default(),
            led: AtomicBool::new(false),
            phase: UnsafeCell::new(None),
            panic: Mutex::default(),
        }
    }
}

impl Team {
    /// Does `work` to the tasks `0..count`, which are begun in this order, and comes back when all are through. False, and nothing
    /// done, where a phase goes on already.
    ///
    /// # Panics
    /// With what the work panics with, when all tasks are through.
    pub(super) fn run(&self, count: u32, work: &(dyn Fn(usize) + Sync)) -> bool {
        if count == 0 || self.led.swap(true, Ordering::Acquire) {
            return count == 0;
        }
        // SAFETY: only the lifetime changes. The pointer is followed for tasks of this phase alone, all of which are through when
        // this function returns or unwinds, and `work` lives as long.
        let work = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const Work>(work) };
        // SAFETY: `led` was false: the last phase's tasks are through, and nobody else is here.
        unsafe { *self.phase.get() = Some((work, count)) };
        self.state.0.store(u64::from(count), Ordering::Release);
        self.help();
        // Nothing here may unwind: others are at work.
        let mut looks = 0_usize;
        while self.state.0.load(Ordering::Acquire) != u64::from(count) * DONE {
            looks += 1;
            if looks.is_multiple_of(PATIENCE) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.led.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        true
    }

    /// Takes part in the phase that goes on, until none of its tasks is left. Whether there was any.
    pub(super) fn help(&self) -> bool {
        let mut own = 0;
        let mut state = self.state.0.load(Ordering::Relaxed);
        loop {
            // The task that this thread is through with, and the next one, in one step.
            let left = state as u32;
            let next = (state + own).wrapping_sub(u64::from(left > 0));
            if next == state {
                return false;
            }
            // Acquire: who takes a task sees its phase. Release: who sees it done sees what it did; and steps of others between
            // the leader's store and this one do not come in the way, since each of them reads and writes at once.
            match self.state.0.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Err(now) => state = now,
                Ok(_) if left == 0 => return true,
                Ok(_) => {
                    self.call(left);
                    own = DONE;
                    state = self.state.0.load(Ordering::Relaxed);
                }
            }
        }
    }

    /// Does the task that was taken when `left` were left.
    fn call(&self, left: u32) {
        // SAFETY: this thread has a task of the phase under way, so that `run` neither returns nor writes before it is through.
        let Some((work, count)) = (unsafe { *self.phase.get() }) else { return };
        // SAFETY: as above: the work lives until `run` returns.
        let work = unsafe { &*work };
        let task = (count - left) as usize;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(task))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::Team;

    /// Calls `lead` while so many threads help.
    fn with_helpers(team: &Team, helpers: usize, lead: impl FnOnce()) {
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..helpers {
                threads.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        team.help();
                    }
                });
            }
            let _end = End(&over);
            lead();
        });
    }

    #[test]
    fn every_task_of_every_phase_is_done_once_before_the_phase_ends() {
        for helpers in 0..4 {
            let team = Team::default();
            with_helpers(&team, helpers, || {
                for phase in 0..20_000_u32 {
                    let count = phase % 9;
                    // On the leader's stack, and gone when the phase is over.
                    let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    let first = AtomicUsize::new(usize::MAX);
                    let work = |task: usize| {
                        done[task].fetch_add(1 + phase as usize, Ordering::Relaxed);
                        first.fetch_min(task, Ordering::Relaxed);
                    };
                    assert!(team.run(count, &work));
                    assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1 + phase as usize));
                    assert!(count == 0 || first.into_inner() == 0);
                }
            });
        }
    }

    #[test]
    fn what_tasks_wrote_is_seen_when_the_phase_is_over() {
        let team = Team::default();
        with_helpers(&team, 3, || {
            let slots: Vec<Mutex<u64>> = (0..5).map(|_| Mutex::new(0)).collect();
            for phase in 1..5_000 {
                let work = |task: usize| *slots[task].lock().unwrap() += phase;
                assert!(team.run(5, &work));
            }
            assert!(slots.iter().all(|slot| *slot.lock().unwrap() == 4_999 * 5_000 / 2));
        });
    }

    #[test]
    fn a_panic_is_told_when_all_tasks_are_through_and_the_team_goes_on() {
        let team = Team::default();
        with_helpers(&team, 2, || {
            for round in 0..200 {
                let done = AtomicUsize::new(0);
                let work = |task: usize| {
                    if task == round % 7 {
                        std::panic::panic_any(round);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                };
                let told = catch_unwind(AssertUnwindSafe(|| team.run(7, &work)));
                assert_eq!(told.unwrap_err().downcast_ref::<usize>(), Some(&round));
                assert_eq!(done.into_inner(), 6);
            }
        });
    }

    #[test]
    fn a_second_leader_is_turned_away() {
        let team = Arc::new(Team::default());
        let inner = Arc::clone(&team);
        let work = |_| assert!(!inner.run(1, &|_| unreachable!("a phase goes on")));
        assert!(team.run(3, &work));
        assert!(team.run(1, &|_| ()), "the phase is over");
        assert!(!team.help(), "and nothing is left");
    }
}
