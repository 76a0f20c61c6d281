//! How many statements run at a time, of all callers and of one.

use crate::error::QueryError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts running statements.
#[derive(Debug)]
pub(crate) struct Slots {
    of_all_max: usize,
    of_one_max: usize,
    /// By caller; none with zero.
    running: Mutex<HashMap<String, usize>>,
}

/// A place among them, free again when every clone of it is dropped: whatever works for a statement has one.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    _taken: Arc<Taken>,
}

#[derive(Debug)]
struct Taken {
    slots: Arc<Slots>,
    caller: String,
}

impl Slots {
    /// Makes so many.
    pub(crate) fn new(of_all_max: usize, of_one_max: usize) -> Arc<Self> {
        Arc::new(Self { of_all_max, of_one_max, running: Mutex::default() })
    }

    /// Takes one, or says that there is none.
    pub(crate) fn take(self: &Arc<Self>, caller: &str) -> Result<Slot, QueryError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let of_all: usize = running.values().sum();
        let of_one = running.get(caller).copied().unwrap_or(0);
        if of_all >= self.of_all_max || of_one >= self.of_one_max {
            return Err(QueryError::Busy(of_one.max(of_all)));
        }
        *running.entry(caller.to_owned()).or_default() += 1;
        Ok(Slot { _taken: Arc::new(Taken { slots: self.clone(), caller: caller.to_owned() }) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut running = self.slots.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_statement_ends() {
        let slots = Slots::new(3, 2);
        let (first, _second) = (slots.take("a").unwrap(), slots.take("a").unwrap());
        let works = first.clone();
        assert!(matches!(slots.take("a"), Err(QueryError::Busy(2))));
        let _third = slots.take("b").unwrap();
        assert!(matches!(slots.take("c"), Err(QueryError::Busy(3))));
        drop(first);
        assert!(slots.take("c").is_err(), "something works for it still");
        drop(works);
        assert!(slots.take("c").is_ok());
        assert_eq!(slots.running.lock().unwrap().len(), 2, "who runs nothing is forgotten");
    }
}
