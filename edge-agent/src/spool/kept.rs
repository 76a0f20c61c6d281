//! How long settled records stay, so that the gateway can ask for them again. Sans-IO.
//!
//! Whole segments go, oldest first: when all of one was settled long enough ago, when kept ones are more than their bound,
//! and at once when the log wants the room: what was never sent outranks all that was.

use super::watermark::Watermarks;
use crate::lanes::LANES;
use std::collections::VecDeque;
use std::time::Duration;

/// Times that are remembered per lane; so exact is the time that a record is kept.
const MARKS_MAX: usize = 64;
/// Kept records may take this part of what may wait, at most.
const BYTES_PART: u64 = 4;

/// How long settled records are kept, and how many bytes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KeepOptions {
    pub(crate) time: Duration,
    pub(crate) bytes_max: u64,
}

/// A sealed segment that holds nothing but settled records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Offset after its last record.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
}

/// What of one lane may be dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaneRoom {
    /// Its sealed segments below the watermark, oldest first.
    pub(crate) sealed: Vec<Sealed>,
    /// Bytes that must go, so that the log has room for what comes.
    pub(crate) over: u64,
}

/// When what was settled.
#[derive(Debug)]
pub(crate) struct Kept {
    options: KeepOptions,
    lanes: [Marks; LANES],
}

#[derive(Debug, Default)]
struct Marks {
    /// Everything below the offset was settled at the time or before; both ascend.
    marks: VecDeque<(u64, i64)>,
    /// When the newest mark was made.
    begun_us: i64,
    /// Everything below it may go by its time.
    expired: u64,
}

impl Kept {
    pub(crate) fn new(options: KeepOptions, spool_bytes_max: u64) -> Self {
        let bytes_max = options.bytes_max.min(spool_bytes_max / BYTES_PART);
        Self { options: KeepOptions { bytes_max, ..options }, lanes: Default::default() }
    }

    /// Notes that everything of a lane below an offset is settled at a time, or was taken then at the latest: after a
    /// restart nothing else is known.
    pub(crate) fn note(&mut self, lane: usize, offset: u64, now_us: i64) {
        let step_us = micros(self.options.time) / MARKS_MAX as i64;
        let Marks { marks, begun_us, expired } = &mut self.lanes[lane];
        // A clock that went back must not keep for ever.
        marks.iter_mut().for_each(|(_, at_us)| *at_us = now_us.min(*at_us));
        let begun_before_us = now_us.saturating_sub(*begun_us);
        match marks.back_mut() {
            Some((last, _)) if *last >= offset => {}
            Some(newest) if (0..step_us).contains(&begun_before_us) => *newest = (offset, now_us),
            _ => {
                marks.push_back((offset, now_us));
                *begun_us = now_us;
            }
        }
        while marks.len() > MARKS_MAX + 1 {
            *expired = marks.pop_front().map_or(*expired, |(offset, _)| offset);
        }
    }

    /// Says below which offset each lane's log may be dropped: never above its watermark.
    pub(crate) fn floors(
        &mut self,
        marks: &Watermarks,
        rooms: &[LaneRoom; LANES],
        now_us: i64,
    ) -> Watermarks {
        if self.options.time.is_zero() || self.options.bytes_max == 0 {
            return *marks;
        }
        let until_us = now_us.saturating_sub(micros(self.options.time));
        let mut floors = Watermarks::default();
        for (lane, floor) in self.lanes.iter_mut().zip(&mut floors) {
            while let Some((offset, _)) = lane.marks.front().copied().filter(|(_, at_us)| *at_us <= until_us)
            {
                lane.marks.pop_front();
                lane.expired = offset;
            }
            *floor = lane.expired;
        }
        let kept = |floor: u64, room: &LaneRoom| -> u64 {
            room.sealed.iter().filter(|sealed| sealed.end > floor).map(|sealed| sealed.bytes).sum()
        };
        let total: u64 = floors.iter().zip(rooms).map(|(floor, room)| kept(*floor, room)).sum();
        let mut over = total.saturating_sub(self.options.bytes_max);
        // Waveforms give way first, alarms last.
        for (floor, room) in floors.iter_mut().zip(rooms).rev() {
            let mut own = room.over;
            for sealed in &room.sealed {
                let goes = sealed.end <= *floor || own > 0 || over > 0;
                if !goes {
                    break;
                }
                if sealed.end > *floor {
                    over = over.saturating_sub(sealed.bytes);
                }
                own = own.saturating_sub(sealed.bytes);
                *floor = (*floor).max(sealed.end);
            }
        }
        for (floor, mark) in floors.iter_mut().zip(marks) {
            *floor = (*floor).min(*mark);
        }
        floors
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);

    /// Segments of ten records and 100 bytes each.
    fn room(segments: u64, over: u64) -> LaneRoom {
        LaneRoom { sealed: (1..=segments).map(|n| Sealed { end: 10 * n, bytes: 100 }).collect(), over }
    }

    fn kept(hours: u32, bytes_max: u64) -> Kept {
        let mut kept = Kept::new(KeepOptions { time: HOUR * hours, bytes_max }, u64::MAX);
        (0..LANES).for_each(|lane| kept.note(lane, 50, HOUR_US));
        kept
    }

    #[test]
    fn nothing_goes_before_its_time_and_everything_after_it() {
        let mut kept = kept(2, 10_000);
        let rooms = [(); LANES].map(|()| room(5, 0));
        assert_eq!(kept.floors(&[50; LANES], &rooms, 3 * HOUR_US - 1), [0; LANES]);
        kept.note(0, 80, 3 * HOUR_US);
        assert_eq!(kept.floors(&[80, 50, 50, 40], &rooms, 3 * HOUR_US), [50, 50, 50, 40]);
        assert_eq!(kept.floors(&[80, 50, 50, 50], &rooms, 5 * HOUR_US), [80, 50, 50, 50]);
    }

    #[test]
    fn waveforms_give_way_first_and_a_log_that_wants_room_gets_it() {
        let rooms = [(); LANES].map(|()| room(5, 0));
        assert_eq!(kept(9, 1_350).floors(&[50; LANES], &rooms, HOUR_US), [0, 0, 20, 50]);
        assert_eq!(kept(9, 0).floors(&[50; LANES], &rooms, HOUR_US), [50; LANES]);
        let rooms = [room(5, 150), room(5, 0), room(5, u64::MAX), room(5, 0)];
        assert_eq!(kept(9, 10_000).floors(&[50; LANES], &rooms, HOUR_US), [20, 0, 50, 0]);
        let all = Kept::new(KeepOptions { time: HOUR, bytes_max: 1_000 }, 800);
        assert_eq!(all.options.bytes_max, 200, "a small spool keeps little");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_a_clock_that_goes_back_keeps_nothing_for_ever() {
        let mut kept = kept(24, 10_000);
        let minutes = 60 * 24 * 7;
        for minute in 0..minutes {
            kept.note(2, 100 + minute, HOUR_US + minute as i64 * 60_000_000);
            kept.floors(&[u64::MAX; LANES], &Default::default(), HOUR_US + minute as i64 * 60_000_000);
        }
        assert!(kept.lanes[2].marks.len() <= MARKS_MAX + 1, "{}", kept.lanes[2].marks.len());
        kept.note(2, 99_999, HOUR_US);
        assert_eq!(kept.floors(&[u64::MAX; LANES], &Default::default(), 25 * HOUR_US)[2], 99_999);
    }
}
