//! Sets of positions as sorted intervals.
//!
//! Encoding: for each interval the distance of its first position from the end of the one before, then its
//! length minus one, both LEB128. An unbroken stream of any length takes 11 bytes or fewer.

use std::ops::RangeInclusive;

/// Intervals kept per stream; each hole costs one.
const INTERVALS_MAX: usize = 1024;
const VARINT_BYTES_MAX: usize = 10;

/// A set of positions from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals {
    /// Invariant: ascending, and at least one missing position between neighbours.
    ranges: Vec<(u64, u64)>,
}

impl Intervals {
    /// Says whether `position` is in the set.
    pub fn contains(&self, position: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= position);
        after > 0 && self.ranges[after - 1].1 >= position
    }

    /// Adds a position. `false` when it would make more intervals than are kept: nothing changes then.
    pub fn insert(&mut self, position: u64) -> bool {
        // Mostly it is the next one.
        if let Some((_, last)) = self.ranges.last_mut()
            && last.checked_add(1) == Some(position)
        {
            *last = position;
            return true;
        }
        if self.contains(position) {
            return true;
        }
        let at = self.ranges.partition_point(|(first, _)| *first < position);
        let joins_before = at > 0 && self.ranges[at - 1].1 + 1 == position;
        let joins_after = self.ranges.get(at).is_some_and(|(first, _)| position + 1 == *first);
        match (joins_before, joins_after) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = position,
            (false, true) => self.ranges[at].0 = position,
            (false, false) if self.ranges.len() == INTERVALS_MAX => return false,
            (false, false) => self.ranges.insert(at, (position, position)),
        }
        true
    }

    /// Returns the intervals, in order.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.ranges.iter().map(|(first, last)| *first..=*last)
    }

    /// Returns the least position.
    pub fn first(&self) -> Option<u64> {
        self.ranges.first().map(|(first, _)| *first)
    }

    /// Returns the greatest position.
    pub fn last(&self) -> Option<u64> {
        self.ranges.last().map(|(_, last)| *last)
    }

    /// Returns how many positions are in the set.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Says whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the holes below the greatest position, from 1.
    pub fn missing(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let mut next = 1;
        self.ranges.iter().filter_map(move |(first, last)| {
            let hole = next..=first - 1;
            next = last + 1;
            (!hole.is_empty()).then_some(hole)
        })
    }

    /// Encodes the set.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut end = 0;
        for (first, last) in &self.ranges {
            put_varint(&mut bytes, first - end);
            put_varint(&mut bytes, last - first);
            end = *last;
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; none when it is damaged.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut ranges = Vec::new();
        let mut end = 0_u64;
        while !bytes.is_empty() {
            let distance = take_varint(&mut bytes)?;
            let least = if ranges.is_empty() { 1 } else { 2 };
            let first = end.checked_add(distance).filter(|_| distance >= least)?;
            end = first.checked_add(take_varint(&mut bytes)?).filter(|last| *last <= i64::MAX as u64)?;
            ranges.push((first, end));
        }
        (ranges.len() <= INTERVALS_MAX).then_some(Self { ranges })
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let length = bytes.iter().take(VARINT_BYTES_MAX).position(|b| b & 0x80 == 0)? + 1;
    let (varint, rest) = bytes.split_at(length);
    *bytes = rest;
    varint
        .iter()
        .rev()
        .try_fold(0_u64, |number, byte| number.checked_mul(128)?.checked_add(u64::from(byte & 0x7F)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn damage_is_no_set() {
        for damaged in [&[0x80_u8][..], &[0, 0], &[1], &[1, 0, 1, 0], &[0xFF; 24]] {
            assert_eq!(Intervals::decode(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn holes_past_the_bound_are_refused() {
        let mut set = Intervals::default();
        assert!((1..=INTERVALS_MAX as u64).all(|n| set.insert(n * 2)));
        assert!(!set.insert(1_000_000) && set.insert(3));
    }

    proptest! {
        #[test]
        fn intervals_are_a_set(positions in proptest::collection::vec(1_u64..200, 0..150)) {
            let mut set = Intervals::default();
            let model: BTreeSet<u64> = positions.iter().copied().collect();
            positions.iter().for_each(|p| { set.insert(*p); });
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.last(), model.last().copied());
            let holes: BTreeSet<u64> = set.missing().flatten().collect();
            let expected = (1..=model.last().copied().unwrap_or(0)).filter(|p| !model.contains(p)).collect();
            prop_assert_eq!(holes, expected);
            prop_assert!((1..200).all(|p| set.contains(p) == model.contains(&p)));
            prop_assert_eq!(Intervals::decode(&set.encode()), Some(set));
        }

        #[test]
        fn any_bytes_are_a_set_or_none(bytes: Vec<u8>) {
            if let Some(set) = Intervals::decode(&bytes) {
                prop_assert_eq!(Intervals::decode(&set.encode()), Some(set));
            }
        }
    }
}
