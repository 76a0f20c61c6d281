//! What a device keeps until its agent has it: a queue of bodies, and a window of numbered messages in flight.
//!
//! ```text
//! push -> queue (bounded, not numbered) -> next_to_send -> window (numbered, bounded) -> acknowledge
//! ```
//! A body gets its link position when it enters the window, so that dropping from the queue leaves no hole in the
//! numbers. After a reconnect or a silent agent the window is sent again from its oldest message.
//!
//! **Invariant:** what is in the window is never dropped. **Does not** know sockets or clocks.

use std::collections::VecDeque;
use wardline_proto::frame::lane_of;
use wardline_proto::v1::{Body, Lane, LinkUp, link_up};

/// Lanes in the order in which a live device gives them up. Alarms and events are never given up.
const DROP_ORDER: [Lane; 2] = [Lane::Waveforms, Lane::Numerics];

/// Bounds of an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bodies that wait for a place in the window.
    pub queue_bodies_max: usize,
    /// Messages that are sent and not acknowledged.
    pub window_messages_max: usize,
}

impl Default for OutboxLimits {
    /// Two minutes of a busy monitor in the queue.
    fn default() -> Self {
        Self { queue_bodies_max: 512, window_messages_max: 256 }
    }
}

/// What to do with a body for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Give it back: the source waits.
    Wait,
    /// Drop the oldest waveforms, then numerics, and count them.
    DropOldest,
}

/// Bodies that were dropped, by lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bodies of waveforms.
    pub waveforms: u64,
    /// Bodies of numerics.
    pub numerics: u64,
}

/// The bounded replay buffer of a device.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    queue: VecDeque<Body>,
    /// Numbered messages above the acknowledged position, oldest first, without holes.
    window: VecDeque<LinkUp>,
    /// How many of `window` were sent on this connection.
    sent: usize,
    next_seq: u64,
    acked_seq: u64,
    pushed: u64,
    dropped: Dropped,
    resent: u64,
    highest_sent: u64,
}

impl Outbox {
    /// Makes an empty outbox. The first message gets position 1.
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            window: VecDeque::new(),
            sent: 0,
            next_seq: 1,
            acked_seq: 0,
            pushed: 0,
            dropped: Dropped::default(),
            resent: 0,
            highest_sent: 0,
        }
    }

    /// Takes a body; gives it back when there is no room for it under `overflow`.
    pub fn push(&mut self, body: Body, overflow: Overflow) -> Result<(), Body> {
        if self.is_full() && (overflow == Overflow::Wait || !self.drop_one()) {
            return Err(body);
        }
        self.queue.push_back(body);
        self.pushed += 1;
        Ok(())
    }

    fn drop_one(&mut self) -> bool {
        for lane in DROP_ORDER {
            let Some(oldest) = self.queue.iter().position(|b| lane_of(b) == lane) else { continue };
            self.queue.remove(oldest);
            match lane {
                Lane::Waveforms => self.dropped.waveforms += 1,
                _ => self.dropped.numerics += 1,
            }
            return true;
        }
        false
    }

    /// Returns the next message for this connection; `None` while the window is full or nothing waits.
    pub fn next_to_send(&mut self) -> Option<&LinkUp> {
        if self.sent == self.window.len() {
            if self.window.len() >= self.limits.window_messages_max {
                return None;
            }
            let body = self.take_most_urgent()?;
            self.window.push_back(LinkUp { seq: self.next_seq, kind: Some(link_up::Kind::Body(body)) });
            self.next_seq += 1;
        }
        let message = self.window.get(self.sent)?;
        self.sent += 1;
        if message.seq <= self.highest_sent {
            self.resent += 1;
        }
        self.highest_sent = self.highest_sent.max(message.seq);
        Some(message)
    }

    /// Alarms overtake what waits; the rest goes in order.
    fn take_most_urgent(&mut self) -> Option<Body> {
        let alarm = self.queue.iter().position(|b| lane_of(b) == Lane::Alarm);
        self.queue.remove(alarm.unwrap_or(0))
    }

    /// Forgets everything up to `acked_seq`. An acknowledgement of what was never sent is taken as far as sent.
    /// Returns how many messages were acknowledged by it.
    pub fn acknowledge(&mut self, acked_seq: u64) -> usize {
        let acked = self.window.iter().take(self.sent).take_while(|m| m.seq <= acked_seq).count();
        if let Some(last) = self.window.drain(..acked).next_back() {
            self.acked_seq = last.seq;
        }
        self.sent -= acked;
        acked
    }

    /// Starts again from the oldest message that is not acknowledged: after a reconnect, or when acks stay away.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Says whether everything that was pushed is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.window.is_empty()
    }

    /// Says whether messages are sent and not acknowledged on this connection.
    pub fn awaits_ack(&self) -> bool {
        self.sent > 0
    }

    /// Says whether the queue has no room for another body.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= self.limits.queue_bodies_max
    }

    /// Returns the highest position that the agent acknowledged; 0 at first.
    pub fn acked_seq(&self) -> u64 {
        self.acked_seq
    }

    /// Returns how many bodies were taken.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Returns what was dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Returns how many messages were sent more than once.
    pub fn resent(&self) -> u64 {
        self.resent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wardline_proto::v1::{DeviceAlarm, NumericSeries, WaveformBlock};

    fn waveform() -> Body {
        Body { waveforms: vec![WaveformBlock::default()], ..Body::default() }
    }

    fn numeric(value: f64) -> Body {
        let series = NumericSeries { values: vec![value], ..NumericSeries::default() };
        Body { numerics: vec![series], ..Body::default() }
    }

    fn alarm() -> Body {
        Body { alarms: vec![DeviceAlarm::default()], ..Body::default() }
    }

    fn send_all(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next_to_send().map(|m| m.seq)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_after_a_reconnect() {
        let mut outbox = Outbox::new(OutboxLimits::default());
        (0..5).for_each(|i| outbox.push(numeric(f64::from(i)), Overflow::Wait).unwrap());
        assert_eq!(send_all(&mut outbox), [1, 2, 3, 4, 5]);
        assert_eq!(outbox.acknowledge(3), 3);
        outbox.rewind();
        assert_eq!(send_all(&mut outbox), [4, 5]);
        assert_eq!(outbox.resent(), 2);
        assert_eq!(outbox.acknowledge(9), 2);
        assert!(outbox.is_empty());
        assert_eq!(outbox.acked_seq(), 5);
    }

    #[test]
    fn a_full_live_outbox_gives_up_waveforms_before_numerics_and_alarms_never() {
        let mut outbox = Outbox::new(OutboxLimits { queue_bodies_max: 3, window_messages_max: 1 });
        for body in [numeric(1.0), waveform(), alarm()] {
            outbox.push(body, Overflow::DropOldest).unwrap();
        }
        outbox.push(alarm(), Overflow::DropOldest).unwrap();
        outbox.push(alarm(), Overflow::DropOldest).unwrap();
        assert_eq!(outbox.dropped(), Dropped { waveforms: 1, numerics: 1 });
        assert!(outbox.push(numeric(2.0), Overflow::DropOldest).is_err());
    }

    #[test]
    fn alarms_overtake_what_waits() {
        let mut outbox = Outbox::new(OutboxLimits::default());
        outbox.push(waveform(), Overflow::Wait).unwrap();
        outbox.push(alarm(), Overflow::Wait).unwrap();
        let first = outbox.next_to_send().unwrap();
        assert!(matches!(&first.kind, Some(link_up::Kind::Body(b)) if !b.alarms.is_empty()));
    }

    proptest! {
        /// An agent that keeps only what is next in line, over links that break anywhere, gets everything in order.
        #[test]
        fn nothing_is_lost_or_renumbered(steps in prop::collection::vec((0_u8..4, 0_u64..9), 1..200)) {
            let mut outbox = Outbox::new(OutboxLimits { queue_bodies_max: 4, window_messages_max: 3 });
            let (mut pushed, mut durable) = (0_u64, 0_u64);
            for (step, n) in steps {
                match step {
                    0 => pushed += u64::from(outbox.push(numeric(n as f64), Overflow::Wait).is_ok()),
                    1 => if let Some(m) = outbox.next_to_send() && m.seq == durable + 1 { durable += 1 },
                    2 => { outbox.acknowledge(durable.saturating_sub(n)); }
                    _ => outbox.rewind(),
                }
            }
            outbox.rewind();
            while !outbox.is_empty() {
                while let Some(m) = outbox.next_to_send() {
                    if m.seq == durable + 1 { durable += 1 }
                }
                outbox.acknowledge(durable);
            }
            prop_assert_eq!((pushed, outbox.acked_seq()), (durable, durable));
        }
    }
}
