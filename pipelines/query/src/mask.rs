//! What hides who somebody is: pseudonyms by a key of the tenant, and coarse times.

use ring::hmac;
use std::fmt::{self, Write};

/// Bytes of the keyed hash that a pseudonym shows: no two names of a tenant meet.
const PSEUDONYM_BYTES: usize = 12;

/// How one tenant's rows are shown to who may not know whose they are.
pub(crate) struct Mask {
    key: hmac::Key,
    step_us: i64,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask(step {} us)", self.step_us)
    }
}

impl Mask {
    /// Makes the mask of a tenant's key; times are cut to steps of `step_us`.
    pub(crate) fn new(key: &[u8], step_us: i64) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), step_us: step_us.max(1) }
    }

    /// Returns how far apart shown times are.
    pub(crate) fn step_us(&self) -> i64 {
        self.step_us
    }

    /// Returns a keyed hash of what is of a kind: without the key it tells nothing.
    pub(crate) fn tag(&self, kind: &str, bytes: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &[kind.as_bytes(), b"\0", bytes].concat())
    }

    /// Returns what a name is called instead. Names of different kinds never have the same one.
    pub(crate) fn pseudonym(&self, kind: &str, name: &str) -> String {
        let tag = self.tag(kind, name.as_bytes());
        let mut text = String::from(&kind[..1]);
        text.push('-');
        for byte in tag.as_ref().iter().take(PSEUDONYM_BYTES) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Returns the start of the step that a time is in.
    pub(crate) fn coarse(&self, at_us: i64) -> i64 {
        at_us.saturating_sub(at_us.rem_euclid(self.step_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_of_the_key_the_kind_and_the_name() {
        let mask = Mask::new(b"one", 10);
        let first = mask.pseudonym("device", "mon-1");
        assert_eq!(first, mask.pseudonym("device", "mon-1"));
        assert!(first.starts_with("d-") && first.len() == 26 && !first.contains("mon"), "{first}");
        assert_ne!(first[1..], mask.pseudonym("subject", "mon-1")[1..]);
        assert_ne!(first, Mask::new(b"other", 10).pseudonym("device", "mon-1"));
    }

    #[test]
    fn times_are_cut_down_before_and_after_the_epoch() {
        let mask = Mask::new(b"", 10);
        assert_eq!([-11, -10, -1, 0, 9, 10].map(|at| mask.coarse(at)), [-20, -10, -10, 0, 0, 10]);
        assert_eq!(mask.coarse(i64::MIN), i64::MIN);
    }
}
