//! What the gateway told the device on its notice topic, and what it refused: the last few, for the status.
//!
//! Shown, never acted upon.

use crate::clock::now_us;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Notices that are kept.
const NOTICES_MAX: usize = 16;
/// Characters of one that are kept.
const NOTICE_CHARS_MAX: usize = 300;

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When it came, edge clock, unix microseconds.
    pub at_us: i64,
    /// Its words, control characters replaced.
    pub text: String,
}

/// The last notices.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<VecDeque<Notice>>);

impl Notices {
    /// Keeps a notice; the oldest makes room.
    pub(crate) fn keep(&self, payload: &[u8]) {
        let words = String::from_utf8_lossy(payload);
        let clean = words.chars().map(|c| if c.is_control() { ' ' } else { c });
        let notice = Notice { at_us: now_us(), text: clean.take(NOTICE_CHARS_MAX).collect() };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(NOTICES_MAX - 1);
        kept.push_front(notice);
    }

    /// Returns them, newest first.
    pub(crate) fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_clean_and_short() {
        let notices = Notices::default();
        (0..40).for_each(|n| notices.keep(format!("n{n}\n\x1b[2J{}", "x".repeat(1000)).as_bytes()));
        let all = notices.all();
        assert_eq!(all.len(), NOTICES_MAX);
        assert!(all[0].text.starts_with("n39  [2Jx") && all[15].text.starts_with("n24 "));
        assert!(all.iter().all(|notice| notice.text.chars().count() == NOTICE_CHARS_MAX));
    }
}
