//! What is on its way: which frame went out under which packet id. Sans-IO.
//!
//! The MQTT library numbers packets in a ring as large as its in-flight limit. A packet id that comes round while
//! its old owner is unanswered would stall that library, so [`Window::has_room`] never lets it come to that.

use super::feed::Item;
use crate::lanes::LaneIndex;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Slots on top of the window that only alarms may use: a full window of waveforms never holds an alarm back.
pub(crate) const ALARM_SLOTS: u16 = 4;

/// A frame between hand-over and answer.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) lane: LaneIndex,
    pub(crate) item: Item,
    pub(crate) handed_at: Instant,
    turn: u64,
}

/// Frames handed over and not answered.
#[derive(Debug)]
pub(crate) struct Window {
    size: u16,
    ring: u16,
    next_turn: u64,
    handed: VecDeque<Flight>,
    flying: BTreeMap<u16, Flight>,
}

impl Window {
    /// `size` frames in flight, alarms [`ALARM_SLOTS`] more.
    pub(crate) fn new(size: u16) -> Self {
        let ring = size.saturating_add(ALARM_SLOTS);
        Self { size, ring, next_turn: 0, handed: VecDeque::new(), flying: BTreeMap::new() }
    }

    /// The ring of packet ids, also what the MQTT library must be given as its in-flight limit.
    pub(crate) fn ring(&self) -> u16 {
        self.ring
    }

    /// Takes the server's receive maximum into account. Called before the first hand-over.
    pub(crate) fn limit(&mut self, receive_maximum: u16) {
        self.ring = self.ring.min(receive_maximum.max(1));
        self.size = self.size.min(self.ring.saturating_sub(ALARM_SLOTS).max(1));
    }

    /// Says whether a frame of `lane` may be handed over now.
    pub(crate) fn has_room(&self, lane: LaneIndex) -> bool {
        let limit = if lane == LaneIndex::ALARM { self.ring } else { self.size };
        let oldest = self.oldest().map_or(self.next_turn, |flight| flight.turn);
        self.len() < usize::from(limit) && self.next_turn - oldest < u64::from(self.ring)
    }

    /// Notes that a frame was given to the MQTT library.
    pub(crate) fn hand_over(&mut self, lane: LaneIndex, item: Item, now: Instant) {
        self.handed.push_back(Flight { lane, item, handed_at: now, turn: self.next_turn });
        self.next_turn += 1;
    }

    /// Notes that the library sent the next frame as `packet_id`; returns its lane. `None` when none was handed over
    /// or the id is in use: then nothing that follows can be trusted.
    pub(crate) fn sent(&mut self, packet_id: u16) -> Option<LaneIndex> {
        if self.flying.contains_key(&packet_id) {
            return None;
        }
        let flight = self.handed.pop_front()?;
        let lane = flight.lane;
        self.flying.insert(packet_id, flight);
        Some(lane)
    }

    /// Takes the frame that `packet_id` answers.
    pub(crate) fn answered(&mut self, packet_id: u16) -> Option<Flight> {
        self.flying.remove(&packet_id)
    }

    /// Takes everything back: the connection is gone.
    pub(crate) fn take_all(&mut self) -> Vec<Flight> {
        let mut all: Vec<_> = std::mem::take(&mut self.flying).into_values().collect();
        all.extend(self.handed.drain(..));
        all.sort_by_key(|flight| flight.turn);
        all
    }

    /// When the oldest of the frames was taken from the device, edge clock.
    pub(crate) fn oldest_taken_at_us(&self) -> Option<i64> {
        self.flying.values().chain(&self.handed).map(|flight| flight.item.taken_at_us).min()
    }

    /// When the longest-waiting frame was handed over.
    pub(crate) fn oldest_at(&self) -> Option<Instant> {
        self.oldest().map(|flight| flight.handed_at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.handed.len() + self.flying.len()
    }

    fn oldest(&self) -> Option<&Flight> {
        self.flying.values().chain(self.handed.front()).min_by_key(|flight| flight.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const NUMERICS: LaneIndex = LaneIndex::NUMERICS;

    fn hand(window: &mut Window, lane: LaneIndex, offset: u64) {
        let item = Item { first: offset, last: offset, taken_at_us: 0, payload: Some(Bytes::new()) };
        window.hand_over(lane, item, Instant::now());
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
    fn a_packet_id_never_comes_round_on_an_unanswered_frame() {
        let mut window = Window::new(4);
        let ring = u64::from(window.ring());
        hand(&mut window, NUMERICS, 0);
        assert!(window.sent(1).is_some());
        for turn in 1..ring {
            assert!(window.has_room(NUMERICS));
            hand(&mut window, NUMERICS, turn);
            let packet_id = u16::try_from(turn + 1).unwrap();
            assert!(window.sent(packet_id).is_some() && window.answered(packet_id).is_some());
        }
        assert!(!window.has_room(NUMERICS), "id 1 would be used twice");
        assert_eq!(window.answered(1).unwrap().item.first, 0);
        assert!(window.has_room(NUMERICS));
    }

    #[test]
    fn answers_may_come_in_any_order_and_the_rest_comes_back_in_its_own() {
        let mut window = Window::new(8);
        for offset in 0..5 {
            hand(&mut window, NUMERICS, offset);
        }
        assert!((1..=4).all(|packet_id| window.sent(packet_id).is_some()));
        assert_eq!(window.answered(3).unwrap().item.first, 2);
        assert!(window.answered(3).is_none());
        let rest: Vec<_> = window.take_all().iter().map(|flight| flight.item.first).collect();
        assert_eq!(rest, [0, 1, 3, 4]);
        assert!(window.is_empty() && window.sent(5).is_none());
    }

    #[test]
    fn the_servers_receive_maximum_shrinks_the_ring() {
        let mut window = Window::new(16);
        window.limit(1);
        assert_eq!(window.ring(), 1);
        hand(&mut window, LaneIndex::ALARM, 0);
        assert!(!window.has_room(LaneIndex::ALARM));
    }
}
