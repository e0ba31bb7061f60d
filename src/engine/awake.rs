//! Keeps the pool's threads from falling asleep between the phases of one pass, and between the passes of one answer.
//!
//! A decoded token is some hundred short parallel phases with a little serial work between them. Threads that find nothing to
//! do go to sleep within microseconds, and waking one costs as much as a small phase takes. So for the time of a short pass,
//! and until the host has sampled the next token, the others look for work without pause. They are the pool's own threads;
//! nobody spins on a thread that another pass needs or while two passes share the pool.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;

thread_local! {
    /// Work that this thread leads at the moment: a watch must not begin on top of it.
    static LEADING: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread keeps a watch.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Passes that run on one pool.
pub(super) type Passes = Arc<AtomicUsize>;

/// Looks for work before the clock is read and the system is asked whether somebody else needs the processor.
const LOOKS: usize = 16;
/// Time in vain after which a watch ends: the thread that leads the pass was held up, or the host does not come back.
const VAIN: Duration = Duration::from_millis(1);
/// Looks at whether the others are through, a quarter of a millisecond of them, before a thread may sleep over it.
const PATIENCE: usize = 1 << 14;

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

/// Counts a pass as over, however it ends.
struct Pass(Passes);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs `work` on the pool's thread that this is called on; where it is `short`, the pool's other threads stay awake.
pub(super) fn pass<T>(passes: &Passes, short: bool, work: impl FnOnce() -> T) -> T {
    let alone = passes.fetch_add(1, Ordering::AcqRel) == 0;
    let _pass = Pass(Arc::clone(passes));
    if short && alone && rayon::current_num_threads() > 1 {
        let passes = Arc::clone(passes);
        rayon::spawn_broadcast(move |_| watch(&passes));
    }
    leading(work)
}

/// Takes whatever work there is until there was none for a while, or until there is a second pass. A watch that outlasts its
/// pass serves the next one too.
fn watch(passes: &AtomicUsize) {
    if LEADING.get() > 0 || WATCHING.replace(true) {
        return;
    }
    let (mut looks, mut since) = (0_usize, Instant::now());
    while passes.load(Ordering::Acquire) <= 1 {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            since = Instant::now();
            continue;
        }
        looks += 1;
        if !looks.is_multiple_of(LOOKS) {
            std::hint::spin_loop();
        } else if since.elapsed() < VAIN {
            std::thread::yield_now();
        } else {
            break;
        }
    }
    WATCHING.set(false);
}

/// Does `work` to every task on the pool's threads. Each takes the next task when it is through with its own, so that the
/// first may be long if the last are short; nobody falls asleep while the last ones are under way.
///
/// # Errors
/// The first one of `work`; the other tasks are done nevertheless.
pub(super) fn share<T: Send>(tasks: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let (count, threads) = (tasks.len(), rayon::current_num_threads());
    if count < 2 || threads < 2 {
        return tasks.into_iter().try_for_each(work);
    }
    let (tasks, failed, done) = (Mutex::new(tasks.into_iter()), Mutex::new(None), AtomicUsize::new(0));
    let next = || lock(&tasks).next();
    hands(threads.min(count), &|| {
        while let Some(task) = next() {
            if let Err(e) = work(task) {
                lock(&failed).get_or_insert(e);
            }
            done.fetch_add(1, Ordering::Release);
        }
        let mut looks = 0;
        while done.load(Ordering::Acquire) < count && looks < PATIENCE {
            looks += 1;
            std::hint::spin_loop();
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Calls `hand` so many times, side by side on the threads that are free.
fn hands(count: usize, hand: &(impl Fn() + Sync)) {
    if count < 2 {
        return hand();
    }
    rayon::join(|| hands(count - count / 2, hand), || hands(count / 2, hand));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rayon::prelude::*;

    use super::{Passes, leading, pass, share};
    use crate::error::Error;

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

    #[test]
    fn every_task_is_done_once_and_the_first_error_is_told() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for count in [0, 1, 2, 7, 300] {
                let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                let one = |task: &AtomicUsize| {
                    task.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                assert!(pool.install(|| share(done.iter().collect(), one)).is_ok());
                assert!(done.iter().all(|task| task.load(Ordering::Relaxed) == 1));
            }
            let failing = |task: i32| if task == 3 { Err(Error::internal("three")) } else { Ok(()) };
            let told = pool.install(|| share((0..9).collect(), failing));
            assert!(told.is_err_and(|e| e.to_string().contains("three")));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.install(|| {
                    share((0..9).collect(), |task: i32| if task == 5 { std::panic::panic_any(5) } else { Ok(()) })
                })
            }));
            assert!(panicked.is_err());
        }
    }
}
