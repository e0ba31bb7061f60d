//! Keeps the pool's threads from falling asleep between the phases of one pass.
//!
//! A decoded token is some hundred short parallel phases with a little serial work between them. Threads that find nothing to
//! do go to sleep within microseconds, and waking one costs as much as a small phase takes. So for the time of a short pass
//! the others look for work without pause. They are the pool's own threads; nothing spins between passes, and nobody spins
//! on a thread that another pass needs or while two passes share the pool.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

thread_local! {
    /// Work that this thread leads at the moment: a watch must not begin on top of it.
    static LEADING: Cell<usize> = const { Cell::new(0) };
}

/// Passes that run on one pool.
pub(super) type Passes = Arc<AtomicUsize>;

/// Looks for work before the system is asked whether somebody else needs the processor.
const LOOKS: usize = 16;
/// Looks in vain, a tenth of a millisecond of them, after which the watch ends: the thread that leads the pass was held up.
const VAIN: usize = 2000;

/// Runs `work` as something that no watch may interrupt.
pub(super) fn leading<T>(work: impl FnOnce() -> T) -> T {
    struct Led;
    impl Drop for Led {
        fn drop(&mut self) {
            LEADING.set(LEADING.get().saturating_sub(1));
        }
    }
    LEADING.set(LEADING.get() + 1);
    let _led = Led;
    work()
}

/// Ends the watch when the pass ends, however it ends.
struct Pass {
    passes: Passes,
    over: Arc<AtomicBool>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.passes.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs `work` on the pool's thread that this is called on; where it is `short`, the pool's other threads stay awake.
pub(super) fn pass<T>(passes: &Passes, short: bool, work: impl FnOnce() -> T) -> T {
    let alone = passes.fetch_add(1, Ordering::AcqRel) == 0;
    let pass = Pass { passes: Arc::clone(passes), over: Arc::new(AtomicBool::new(false)) };
    if short && alone && rayon::current_num_threads() > 1 {
        let (passes, over) = (Arc::clone(passes), Arc::clone(&pass.over));
        rayon::spawn_broadcast(move |_| watch(&passes, &over));
    }
    leading(work)
}

/// Takes whatever work there is until the pass is over, or until there is a second one.
fn watch(passes: &AtomicUsize, over: &AtomicBool) {
    if LEADING.get() > 0 {
        return;
    }
    let mut idle = 0;
    while !over.load(Ordering::Acquire) && passes.load(Ordering::Acquire) == 1 {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle == VAIN {
            return;
        }
        if idle % LOOKS == 0 {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rayon::prelude::*;

    use super::{Passes, leading, pass};

    fn sum(n: u32) -> u64 {
        (0..n).into_par_iter().with_max_len(1).map(|i| u64::from(i * i)).sum()
    }

    #[test]
    fn passes_side_by_side_and_inside_each_other_end() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let (passes, done): (Passes, _) = (Arc::default(), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for host in 0..4 {
                let (pool, passes, done) = (&pool, &passes, &done);
                threads.spawn(move || {
                    for _ in 0..200 {
                        let got = pool.install(|| match host {
                            0 => leading(|| sum(64)),
                            _ => pass(passes, true, || (sum(64), sum(64)).0),
                        });
                        assert_eq!(got, 85344);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((done.into_inner(), passes.load(Ordering::Relaxed)), (800, 0));
    }

    #[test]
    fn a_pass_that_panics_ends_the_watch() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let passes = Passes::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.install(|| pass(&passes, true, || std::panic::panic_any(sum(4))));
        }));
        assert!(panicked.is_err() && passes.load(Ordering::Relaxed) == 0);
        assert_eq!(pool.install(|| pass(&passes, true, || sum(64))), 85344);
    }
}
