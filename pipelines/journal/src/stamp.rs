//! The times that batches are stamped with: never falling, and for a reader without records a way to know how far time
//! has come.
//!
//! A batch is stamped before it is written and seen by readers after its sync. Between the two a clock says nothing: a
//! reader that trusted it would find a record of before the time that it had reached. So who waits asks here, and what
//! it is told is a promise to it.

use crate::journal::now_us;

/// What the writer has promised and what it is about. Times are unix microseconds.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// No batch from here on is stamped earlier.
    floor_us: i64,
    /// The stamp of a batch that no reader sees yet.
    open_us: Option<i64>,
}

impl Stamps {
    /// Goes on behind what was recovered.
    pub(crate) fn new(recovered_us: i64) -> Self {
        Self { floor_us: recovered_us, open_us: None }
    }

    /// Returns the stamp of a batch that is about to be written.
    pub(crate) fn open(&mut self) -> i64 {
        self.floor_us = self.floor_us.max(now_us());
        self.open_us = Some(self.floor_us);
        self.floor_us
    }

    /// Notes that readers see the batch, or never will.
    pub(crate) fn close(&mut self) {
        self.open_us = None;
    }

    /// Returns a time, and promises that what readers do not see yet is stamped with it or later. It is at least
    /// `reached_us`, which an earlier process was told, unless a batch is open.
    pub(crate) fn promise(&mut self, reached_us: i64) -> i64 {
        if let Some(open_us) = self.open_us {
            return open_us;
        }
        self.floor_us = self.floor_us.max(now_us()).max(reached_us);
        self.floor_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_stamped_before_what_was_promised() {
        let mut stamps = Stamps::new(0);
        let ahead = now_us() + 3_600_000_000;
        assert_eq!(stamps.promise(ahead), ahead, "what an earlier process was told holds on");
        assert_eq!(stamps.open(), ahead);
        stamps.close();
        assert!(stamps.promise(0) >= ahead);
    }

    #[test]
    fn time_stands_still_while_a_batch_is_open() {
        let mut stamps = Stamps::new(0);
        let open = stamps.open();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(stamps.promise(0), open, "its records are not there yet");
        stamps.close();
        assert!(stamps.promise(0) > open);
    }
}
