//! Whether a node works on its part of what several share: what it says of itself when it starts.
//!
//! A role has begun when its leases were looked at, what of them was free for this node is taken, and the work under each
//! of them moves. A node beyond the number of partitions has nothing to take, and has begun as well. Once begun, a role
//! stays so: work that ends later is started again, and no front is kept from its devices for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Tells when a role has begun.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun(Arc<AtomicBool>);

impl Begun {
    /// Notes that the role has begun.
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Says whether the role has begun.
    pub(super) fn has(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The roles of a node that begin.
#[derive(Debug, Clone, Default)]
pub(super) struct Beginning(Arc<Mutex<Vec<(&'static str, Begun)>>>);

impl Beginning {
    /// Waits for one role more.
    pub(super) fn of(&self, role: &'static str) -> Begun {
        let begun = Begun::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((role, begun.clone()));
        begun
    }

    /// Names the first role that has not begun.
    pub(super) fn trouble(&self) -> Option<String> {
        let roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (role, _not_begun) = roles.iter().find(|(_, begun)| !begun.has())?;
        Some(format!("the role {role} does not work on its partitions yet"))
    }
}
