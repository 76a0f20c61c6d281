//! Whether work moves: a future that is never asked again, or never answers, hangs.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When a piece of work last took a step to its end. Work with a turn of its own is never silent for longer than that.
#[derive(Debug, Clone)]
pub(super) struct Pulse(Arc<Mutex<Steps>>);

#[derive(Debug)]
struct Steps {
    last: Instant,
    has_begun: bool,
}

impl Pulse {
    /// Begins with now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Steps { last: Instant::now(), has_begun: false })))
    }

    /// Runs work to its end, and notes each of its steps.
    pub(super) async fn over<F: Future>(self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            let step = work.as_mut().poll(context);
            *self.steps() = Steps { last: Instant::now(), has_begun: true };
            step
        })
        .await
    }

    /// Notes that all is well.
    pub(super) fn note(&self) {
        self.steps().last = Instant::now();
    }

    /// Returns for how long nothing was noted.
    pub(super) fn silent(&self) -> Duration {
        self.steps().last.elapsed()
    }

    /// Says whether the work has taken a step.
    pub(super) fn has_begun(&self) -> bool {
        self.steps().has_begun
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
