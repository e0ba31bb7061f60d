//! Keeps the pool's threads from falling asleep between the phases of one pass, and between the passes of one answer.
//!
//! A decoded token is some hundred short parallel phases with a little serial work between them. Threads that find nothing to
//! do go to sleep within microseconds, and waking one costs as much as a small phase takes. So for the time of a pass, and until
//! the host has sampled the next token, the others look for work without pause: for tasks of the pass's phases, and for jobs of
//! the pool. They are the pool's own threads; nobody spins on a thread that another pass needs or while two passes share the pool.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::team::Team;
use crate::error::Result;

thread_local! {
    /// Work that this thread leads at the moment: a watch must not begin on top of it.
    static LEADING: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread keeps a watch.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// Whose pass this thread leads.
    static LED: RefCell<Option<Arc<Crew>>> = const { RefCell::new(None) };
}

/// The threads of one pool.
#[derive(Default)]
pub(super) struct Crew {
    /// Passes that go on.
    passes: AtomicUsize,
    /// Threads that keep a watch, and lead nothing on top of it.
    watches: AtomicUsize,
    /// Threads that were asked to and have not looked up yet.
    asked: AtomicUsize,
    team: Team,
}

/// Looks for tasks before one for a job of the pool, which costs more.
const TASKS: usize = 8;
/// Looks for tasks before the clock is read and the system is asked whether somebody else needs the processor.
const LOOKS: usize = 128;
/// Time in vain after which a watch ends: the thread that leads the pass was held up, or the host does not come back.
const VAIN: Duration = Duration::from_millis(1);

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
struct Pass {
    crew: Arc<Crew>,
    before: Option<Arc<Crew>>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if WATCHING.get() {
            self.crew.watches.fetch_add(1, Ordering::Relaxed);
        }
        self.crew.passes.fetch_sub(1, Ordering::AcqRel);
        LED.set(self.before.take());
    }
}

/// Runs `work` on the pool's thread that this is called on, while the pool's other threads stay awake.
pub(super) fn pass<T>(crew: &Arc<Crew>, work: impl FnOnce() -> T) -> T {
    crew.passes.fetch_add(1, Ordering::AcqRel);
    // A watch that has found a pass to lead watches over nothing until it is through.
    if WATCHING.get() {
        crew.watches.fetch_sub(1, Ordering::Relaxed);
    }
    let _pass = Pass { crew: Arc::clone(crew), before: LED.replace(Some(Arc::clone(crew))) };
    leading(work)
}

impl Crew {
    /// Whether a single pass goes on, or none.
    fn is_calm(&self) -> bool {
        self.passes.load(Ordering::Acquire) <= 1
    }

    /// Asks the other threads to keep a watch, if one of them does not. Called by the thread that leads.
    fn wake(self: &Arc<Self>) {
        let others = rayon::current_num_threads().saturating_sub(1);
        let leader = rayon::current_thread_index();
        let awake = self.watches.load(Ordering::Relaxed) >= others;
        if awake
            || leader.is_none()
            || self.asked.compare_exchange(0, others, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let crew = Arc::clone(self);
        rayon::spawn_broadcast(move |thread| {
            if Some(thread.index()) != leader {
                crew.asked.fetch_sub(1, Ordering::Relaxed);
                crew.watch();
            }
        });
    }

    /// Takes whatever work there is until there was none for a while, or until there is a second pass. A watch that outlasts its
    /// pass serves the next one too.
    fn watch(&self) {
        if LEADING.get() > 0 || WATCHING.replace(true) {
            return;
        }
        self.watches.fetch_add(1, Ordering::Relaxed);
        let (mut looks, mut since) = (0_usize, Instant::now());
        while self.is_calm() {
            looks += 1;
            if self.team.help() || (looks.is_multiple_of(TASKS) && rayon::yield_now() == Some(rayon::Yield::Executed)) {
                since = Instant::now();
            } else if !looks.is_multiple_of(LOOKS) {
                std::hint::spin_loop();
            } else if since.elapsed() < VAIN {
                std::thread::yield_now();
            } else {
                break;
            }
        }
        self.watches.fetch_sub(1, Ordering::Relaxed);
        WATCHING.set(false);
    }
}

/// Does `work` to every task on the pool's threads. Each takes the next task when it is through with its own, so that the
/// first may be long if the last are short.
pub(super) fn each<T: Send>(tasks: Vec<T>, work: impl Fn(T) + Sync) {
    if tasks.len() < 2 || rayon::current_num_threads() < 2 {
        return tasks.into_iter().for_each(work);
    }
    let tasks: Vec<_> = tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
    let one = |i: usize| {
        tasks.get(i).and_then(|task| lock(task).take()).map(&work);
    };
    let crew = LED.with_borrow(Clone::clone).filter(|crew| crew.is_calm());
    let shared = crew.zip(u32::try_from(tasks.len()).ok()).is_some_and(|(crew, count)| {
        crew.wake();
        crew.team.run(count, &one)
    });
    if !shared {
        (0..tasks.len()).into_par_iter().with_max_len(1).for_each(one);
    }
}

/// As [`each`] for work that may fail.
///
/// # Errors
/// The first one of `work`; the other tasks are done nevertheless.
pub(super) fn share<T: Send>(tasks: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let failed = Mutex::new(None);
    each(tasks, |task| {
        if let Err(e) = work(task) {
            lock(&failed).get_or_insert(e);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use rayon::prelude::*;

    use super::{Crew, VAIN, leading, lock, pass, share};
    use crate::error::Error;

    fn sum(n: u32) -> u64 {
        (0..n).into_par_iter().with_max_len(1).map(|i| u64::from(i * i)).sum()
    }

    fn shared_sum(n: u32) -> u64 {
        let sum = AtomicU64::new(0);
        let add = |i| {
            sum.fetch_add(u64::from(i * i), Ordering::Relaxed);
            Ok(())
        };
        share((0..n).collect(), add).unwrap();
        sum.into_inner()
    }

    /// Threads that wait for a watch nobody keeps would make this last for ever or alone.
    #[test]
    fn a_pass_gets_the_other_threads_again_after_a_long_silence() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let crew = Arc::<Crew>::default();
        for _ in 0..5 {
            std::thread::sleep(3 * VAIN);
            let threads = Mutex::new(HashSet::new());
            let meet = |_: i32| {
                lock(&threads).insert(std::thread::current().id());
                std::thread::sleep(VAIN / 4);
                Ok(())
            };
            // The pass itself falls silent too. A thread that was just about to fall asleep may miss a phase.
            let work = || {
                share((0..2).collect(), meet).unwrap();
                std::thread::sleep(3 * VAIN);
                lock(&threads).clear();
                (0..1000).take_while(|_| lock(&threads).len() < 3).for_each(|_| share((0..3).collect(), meet).unwrap());
            };
            pool.install(|| pass(&crew, work));
            assert_eq!(threads.into_inner().unwrap().len(), 3);
        }
    }

    #[test]
    fn passes_side_by_side_and_inside_each_other_end() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let (crew, done): (Arc<Crew>, _) = (Arc::default(), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for host in 0..4 {
                let (pool, crew, done) = (&pool, &crew, &done);
                threads.spawn(move || {
                    for _ in 0..200 {
                        let got = pool.install(|| match host {
                            0 => leading(|| sum(64)),
                            1 => pass(crew, || sum(64)),
                            _ => pass(crew, || (shared_sum(64), shared_sum(64)).0),
                        });
                        assert_eq!(got, 85344);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((done.into_inner(), crew.passes.load(Ordering::Relaxed)), (800, 0));
    }

    #[test]
    fn a_pass_that_panics_ends_the_watch() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let crew = Arc::<Crew>::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.install(|| pass(&crew, || std::panic::panic_any(shared_sum(4))));
        }));
        assert!(panicked.is_err() && crew.passes.load(Ordering::Relaxed) == 0);
        assert_eq!(pool.install(|| pass(&crew, || shared_sum(64))), 85344);
    }

    #[test]
    fn every_task_is_done_once_and_the_first_error_is_told() {
        for (threads, in_pass) in [(1, true), (2, false), (2, true), (5, true)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let crew = Arc::<Crew>::default();
            let share = |tasks, work: &(dyn Fn(i32) -> Result<(), Error> + Sync)| {
                pool.install(|| if in_pass { pass(&crew, || share(tasks, work)) } else { share(tasks, work) })
            };
            for count in [0, 1, 2, 7, 300] {
                let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                let one = |task: i32| {
                    done[task as usize].fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                assert!(share((0..count).collect(), &one).is_ok());
                assert!(done.iter().all(|task| task.load(Ordering::Relaxed) == 1));
            }
            let failing = |task| if task == 3 { Err(Error::internal("three")) } else { Ok(()) };
            assert!(share((0..9).collect(), &failing).is_err_and(|e| e.to_string().contains("three")));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                share((0..9).collect(), &|task| if task == 5 { std::panic::panic_any(5) } else { Ok(()) })
            }));
            assert!(panicked.is_err());
        }
    }
}
