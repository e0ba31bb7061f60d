//! One flag that any thread may raise and that long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// A shared stop flag: raising it is one atomic store, so it is safe from any thread and from a signal handler.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// A lowered flag.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop. Asking twice is asking once.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Makes the flag ready for the next piece of work.
    pub fn lower(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether the work was asked to stop.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// `Err(Cancelled)` once the flag is raised.
    ///
    /// # Errors
    /// [`crate::error::Kind::Cancelled`] when the flag is raised.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() { Err(Error::cancelled("cancelled by the host")) } else { Ok(()) }
    }
}
