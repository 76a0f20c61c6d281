//! Publishes in flight on one session, and what outlives the session: frames that are not acknowledged.
//!
//! A packet id is a slot's number plus one, so a lookup is an index. **Invariant:** a frame leaves the window by its
//! PUBACK only; a new session sends what is left again, oldest first. **Does not** know sockets.

use super::frames::Numbered;
use wardline_proto::frame::FrameHeader;

/// A frame in the window. `T` is a moment in time.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub(super) frame: Numbered,
    pub(super) due: T,
    pub(super) written: T,
}

/// The window of one device.
#[derive(Debug)]
pub(super) struct Window<T> {
    slots: Vec<Option<InFlight<T>>>,
    free: Vec<u16>,
    /// Packet ids that this session still has to send again.
    again: Vec<u16>,
}

/// What an acknowledgement was for.
#[derive(Debug, PartialEq)]
pub(super) struct Acked<T> {
    pub(super) header: FrameHeader,
    pub(super) due: T,
    pub(super) written: T,
}

impl<T: Copy + Ord> Window<T> {
    /// Makes a window of `size` publishes.
    pub(super) fn new(size: u16) -> Self {
        let slots = (0..size).map(|_| None).collect();
        Self { slots, free: (1..=size).rev().collect(), again: Vec::new() }
    }

    /// Says whether another frame fits.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Says whether every frame is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Puts a frame in and returns its packet id; `None`, the frame dropped, when there is no room: ask first.
    pub(super) fn insert(&mut self, frame: Numbered, due: T, now: T) -> Option<u16> {
        let packet_id = self.free.pop()?;
        self.slots[usize::from(packet_id) - 1] = Some(InFlight { frame, due, written: now });
        Some(packet_id)
    }

    /// Begins a session: everything in the window is to be sent again.
    pub(super) fn restart(&mut self) {
        let mut held: Vec<_> = (1..=self.slots.len() as u16)
            .filter_map(|id| Some((self.slots[usize::from(id) - 1].as_ref()?.written, id)))
            .collect();
        // Popped from the end, so the oldest comes last.
        held.sort_by(|a, b| b.cmp(a));
        self.again = held.into_iter().map(|(_, id)| id).collect();
    }

    /// Returns the next frame that this session has to send again.
    pub(super) fn next_again(&mut self, now: T) -> Option<(u16, &InFlight<T>)> {
        let packet_id = self.again.pop()?;
        let held = self.slots[usize::from(packet_id) - 1].as_mut()?;
        held.written = now;
        Some((packet_id, held))
    }

    /// Takes a PUBACK. `None`: no publish with this packet id is in flight.
    pub(super) fn acknowledge(&mut self, packet_id: u16) -> Option<Acked<T>> {
        let held = self.slots.get_mut(usize::from(packet_id).checked_sub(1)?)?.take()?;
        self.free.push(packet_id);
        Some(Acked { header: held.frame.header, due: held.due, written: held.written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::v1::Lane;

    fn frame(seq: u64) -> Numbered {
        Numbered { header: FrameHeader { epoch: 1, seq, lane: Lane::Numerics }, payload: Default::default() }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order() {
        let mut window = Window::new(3);
        let ids: Vec<u16> = (1..=3).map(|s| window.insert(frame(s), s, s).unwrap()).collect();
        assert!(!window.has_room() && window.insert(frame(4), 4, 4).is_none());
        assert_eq!(window.acknowledge(ids[1]).unwrap().header.seq, 2);
        assert!(window.acknowledge(ids[1]).is_none());
        assert!(window.acknowledge(0).is_none() && window.acknowledge(9).is_none());
        window.insert(frame(4), 4, 4).unwrap();
        window.restart();
        let again: Vec<u64> =
            std::iter::from_fn(|| window.next_again(9).map(|(_, f)| f.frame.header.seq)).collect();
        assert_eq!(again, [1, 3, 4]);
        let written = window.acknowledge(ids[0]).unwrap().written;
        assert_eq!(written, 9);
        assert!(!window.is_empty());
    }
}
