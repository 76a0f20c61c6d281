//! What is on its way: which frame went out under which packet id. Sans-IO.

use super::feed::Item;
use crate::lanes::LaneIndex;
use std::collections::BTreeMap;
use std::time::Instant;

/// Slots on top of the window that only alarms may use: a full window of waveforms never holds an alarm back.
pub(crate) const ALARM_SLOTS: u16 = 4;
/// Frames that were acknowledged before take this part of the window at most.
const AGAIN_PART: u16 = 4;
/// Packet ids of frames end here; those above are for other packets.
pub(crate) const FRAME_ID_MAX: u16 = 0x7FFF;

/// A frame between hand-over and answer.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) lane: LaneIndex,
    pub(crate) item: Item,
    pub(crate) handed_at: Instant,
    /// It was acknowledged before, and the gateway asked for it.
    pub(crate) is_again: bool,
    turn: u64,
}

/// Frames handed over and not answered.
#[derive(Debug)]
pub(crate) struct Window {
    size: u16,
    alarm_size: u16,
    next_id: u16,
    next_turn: u64,
    flying: BTreeMap<u16, Flight>,
}

impl Window {
    /// `size` frames in flight, alarms [`ALARM_SLOTS`] more.
    pub(crate) fn new(size: u16) -> Self {
        let size = size.min(FRAME_ID_MAX / 2);
        Self { size, alarm_size: size + ALARM_SLOTS, next_id: 1, next_turn: 0, flying: BTreeMap::new() }
    }

    /// Returns how many frames may be in flight, alarms among them.
    pub(crate) fn capacity(&self) -> usize {
        usize::from(self.alarm_size)
    }

    /// Takes the server's receive maximum into account. Called before the first hand-over.
    pub(crate) fn limit(&mut self, receive_maximum: u16) {
        self.alarm_size = self.alarm_size.min(receive_maximum.max(1));
        self.size = self.size.min(self.alarm_size.saturating_sub(ALARM_SLOTS).max(1));
    }

    /// Says whether a frame of `lane` may be handed over now.
    pub(crate) fn has_room(&self, lane: LaneIndex) -> bool {
        let limit = if lane == LaneIndex::ALARM { self.alarm_size } else { self.size };
        self.flying.len() < usize::from(limit)
    }

    /// Takes a frame that goes out and returns its packet id: one that no unanswered frame has.
    pub(crate) fn hand_over(&mut self, lane: LaneIndex, item: Item, now: Instant) -> u16 {
        while self.flying.contains_key(&self.next_id) {
            self.next_id = self.next_id % FRAME_ID_MAX + 1;
        }
        let packet_id = self.next_id;
        self.next_id = self.next_id % FRAME_ID_MAX + 1;
        let flight = Flight { lane, item, handed_at: now, is_again: false, turn: self.next_turn };
        self.flying.insert(packet_id, flight);
        self.next_turn += 1;
        packet_id
    }

    /// The same of a frame that was acknowledged before.
    pub(crate) fn hand_over_again(&mut self, lane: LaneIndex, item: Item, now: Instant) -> u16 {
        let packet_id = self.hand_over(lane, item, now);
        if let Some(flight) = self.flying.get_mut(&packet_id) {
            flight.is_again = true;
        }
        packet_id
    }

    /// Says whether a frame that was acknowledged before may be handed over: a few at a time, and never the last slots.
    pub(crate) fn has_room_again(&self) -> bool {
        let again = self.flying.values().filter(|flight| flight.is_again).count();
        let few = usize::from(self.size / AGAIN_PART).max(1);
        again < few && self.flying.len() + 1 < usize::from(self.size).max(2)
    }

    /// Takes the frame that `packet_id` answers.
    pub(crate) fn answered(&mut self, packet_id: u16) -> Option<Flight> {
        self.flying.remove(&packet_id)
    }

    /// Takes everything back: the connection is gone.
    pub(crate) fn take_all(&mut self) -> Vec<Flight> {
        let mut all: Vec<_> = std::mem::take(&mut self.flying).into_values().collect();
        all.sort_by_key(|flight| flight.turn);
        all
    }

    /// When the oldest of the frames was taken from the device, edge clock.
    pub(crate) fn oldest_taken_at_us(&self) -> Option<i64> {
        self.flying.values().filter(|flight| !flight.is_again).map(|flight| flight.item.taken_at_us).min()
    }

    /// When the longest-waiting frame was handed over.
    pub(crate) fn oldest_at(&self) -> Option<Instant> {
        self.oldest().map(|flight| flight.handed_at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    fn oldest(&self) -> Option<&Flight> {
        self.flying.values().min_by_key(|flight| flight.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const NUMERICS: LaneIndex = LaneIndex::NUMERICS;

    fn hand(window: &mut Window, lane: LaneIndex, offset: u64) -> u16 {
        let item = Item { first: offset, last: offset, taken_at_us: 0, payload: Some(Bytes::new()) };
        window.hand_over(lane, item, Instant::now())
    }

    #[test]
    fn alarms_keep_slots_of_their_own() {
        let mut window = Window::new(2);
        hand(&mut window, NUMERICS, 0);
        hand(&mut window, NUMERICS, 1);
        assert!(!window.has_room(NUMERICS));
        for offset in 0..u64::from(ALARM_SLOTS) {
            assert!(window.has_room(LaneIndex::ALARM));
            hand(&mut window, LaneIndex::ALARM, offset);
        }
        assert!(!window.has_room(LaneIndex::ALARM));
    }

    #[test]
    fn what_is_sent_again_leaves_the_window_to_what_never_was() {
        let mut window = Window::new(8);
        let again = |window: &mut Window| {
            let item = Item { first: 0, last: 0, taken_at_us: -5, payload: Some(Bytes::new()) };
            window.hand_over_again(NUMERICS, item, Instant::now())
        };
        again(&mut window);
        assert!(window.has_room_again());
        again(&mut window);
        assert!(!window.has_room_again() && window.has_room(NUMERICS));
        assert_eq!(window.oldest_taken_at_us(), None, "old frames are no lag");
        for offset in 0..6 {
            hand(&mut window, NUMERICS, offset);
        }
        assert!(!window.has_room(NUMERICS) && window.answered(1).is_some_and(|flight| flight.is_again));
        assert!(!window.has_room_again(), "the last slot is for what never was sent");
    }

    #[test]
    fn a_packet_id_never_comes_round_on_an_unanswered_frame() {
        let mut window = Window::new(4);
        let first = hand(&mut window, NUMERICS, 0);
        for turn in 1..=2 * u64::from(FRAME_ID_MAX) {
            let packet_id = hand(&mut window, NUMERICS, turn);
            assert!(packet_id != first && (1..=FRAME_ID_MAX).contains(&packet_id));
            assert_eq!(window.answered(packet_id).unwrap().item.first, turn);
        }
        assert_eq!(window.answered(first).unwrap().item.first, 0);
    }

    #[test]
    fn answers_may_come_in_any_order_and_the_rest_comes_back_in_its_own() {
        let mut window = Window::new(8);
        let ids: Vec<_> = (0..5).map(|offset| hand(&mut window, NUMERICS, offset)).collect();
        assert_eq!(window.answered(ids[2]).unwrap().item.first, 2);
        assert!(window.answered(ids[2]).is_none());
        let rest: Vec<_> = window.take_all().iter().map(|flight| flight.item.first).collect();
        assert_eq!(rest, [0, 1, 3, 4]);
        assert!(window.is_empty());
    }

    #[test]
    fn the_servers_receive_maximum_shrinks_the_window() {
        let mut window = Window::new(16);
        window.limit(1);
        assert_eq!(window.capacity(), 1);
        hand(&mut window, LaneIndex::ALARM, 0);
        assert!(!window.has_room(LaneIndex::ALARM));
    }
}
