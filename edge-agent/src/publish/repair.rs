//! What must be recorded before something leaves the spool unsent: gaps and refusals become events of their own.
//!
//! The order is what makes it safe: the event is durable in the events lane *before* what it tells of is settled.
//! A crash between the two tells it twice; it is never untold.

use super::answer::Answer;
use super::feed::{Feeds, Item};
use super::session::refused_frame;
use super::window::Flight;
use crate::clock::{ClockOptions, ClockState, now_us};
use crate::lanes::LaneIndex;
use crate::notices::Notices;
use crate::spool::record::LinkPosition;
use crate::spool::{Mark, Part, Patience, Spool, SpoolError};
use crate::stats::Counters;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_proto::v1::{Body, DeviceEvent, SpoolGap};

/// How often an event that found no room is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// An item that leaves when its event is durable.
struct Repair {
    lane: LaneIndex,
    item: Item,
    event: DeviceEvent,
    mark: Option<Mark>,
}

/// Items that wait for their events. Bounded: gaps and refusals come one by one from a bounded window.
pub(super) struct Repairs {
    waiting: VecDeque<Repair>,
    clock: ClockState,
    counters: Arc<Counters>,
    notices: Arc<Notices>,
}

impl Repairs {
    pub(super) fn new(clock: ClockOptions, counters: Arc<Counters>, notices: Arc<Notices>) -> Self {
        Self { waiting: VecDeque::new(), clock: ClockState::new(clock), counters, notices }
    }

    /// Acts on the answer to a frame.
    pub(super) async fn settle(
        &mut self,
        spool: &Arc<Spool>,
        feeds: &mut Feeds,
        flight: Flight,
        answer: Answer,
    ) -> Result<(), SpoolError> {
        let lane = flight.lane;
        let counters = self.counters.lane(lane);
        match answer {
            Answer::Acked => {
                let fresh = feeds.settle(lane, &flight.item);
                feeds.accepted(lane);
                counters.acked.add(fresh);
                counters.spooled.sub(fresh);
            }
            Answer::Later(reason) => {
                let seq = flight.item.first + 1;
                if feeds.hold(flight, Instant::now()) {
                    tracing::warn!(lane = lane.name(), seq, reason, "the gateway wants the lane to wait");
                }
            }
            Answer::Refused(reason) => {
                counters.refused.add(1);
                self.refuse(spool, flight, reason).await?;
            }
        }
        Ok(())
    }

    async fn refuse(&mut self, spool: &Arc<Spool>, flight: Flight, reason: u8) -> Result<(), SpoolError> {
        let (lane, item) = (flight.lane, flight.item);
        let seq = item.first + 1;
        tracing::warn!(lane = lane.name(), seq, reason, "the gateway refused a frame for good");
        let frame = refused_frame(spool, lane, &item)?;
        let keeper = Arc::clone(spool);
        let keep = move || keeper.keep_refused(lane, reason, &frame);
        let kept = tokio::task::spawn_blocking(keep).await.map_err(|_| SpoolError::Failed)?;
        // Sent again it would be refused again: the agent goes on without it, and says so.
        let lost = if let Err(error) = &kept {
            tracing::error!(lane = lane.name(), seq, %error, "a refused frame could not be kept");
            self.counters.refused_lost.add(1);
            " kept=no"
        } else {
            ""
        };
        let detail = format!("lane={} seq={seq} reason=0x{reason:02x}{lost}", lane.name());
        self.notices.keep(format!("frame refused: {detail}").as_bytes());
        let event = DeviceEvent {
            at_us: now_us(),
            name: "frame_refused".to_owned(),
            detail,
            ..DeviceEvent::default()
        };
        // An event about a refused event could be refused in turn, without end: that one is only counted.
        let mark = (lane == LaneIndex::EVENTS).then(Mark::default);
        self.wait_for(spool, Repair { lane, item, event, mark });
        Ok(())
    }

    /// Records a run of dropped frames.
    pub(super) fn report_gap(&mut self, spool: &Spool, lane: LaneIndex, item: Item) {
        let (first_seq, last_seq) = (item.first + 1, item.last + 1);
        tracing::warn!(lane = lane.name(), first_seq, last_seq, "frames were dropped by policy");
        let gap = SpoolGap { lane: lane.lane().into(), first_seq, last_seq };
        let event = DeviceEvent {
            at_us: item.taken_at_us,
            name: "spool_gap".to_owned(),
            detail: String::new(),
            spool_gap: Some(gap),
            resend_done: None,
        };
        self.wait_for(spool, Repair { lane, item, event, mark: None });
    }

    /// Settles the items whose events are durable.
    pub(super) fn finish(&mut self, spool: &Spool, feeds: &mut Feeds) {
        for mut repair in std::mem::take(&mut self.waiting) {
            repair.mark = repair.mark.or_else(|| put_event(spool, &self.clock, &repair.event));
            if repair.mark.as_ref().is_some_and(|mark| spool.prove(mark).is_some()) {
                let fresh = feeds.settle(repair.lane, &repair.item);
                if repair.item.payload.is_some() {
                    self.counters.lane(repair.lane).spooled.sub(fresh);
                }
            } else {
                self.waiting.push_back(repair);
            }
        }
    }

    /// When an event that found no room is tried again.
    pub(super) fn retry_at(&self, now: Instant) -> Option<Instant> {
        self.waiting.iter().any(|repair| repair.mark.is_none()).then(|| now + RETRY_EVERY)
    }

    fn wait_for(&mut self, spool: &Spool, mut repair: Repair) {
        repair.mark = repair.mark.or_else(|| put_event(spool, &self.clock, &repair.event));
        self.waiting.push_back(repair);
    }
}

/// Puts an event of the agent itself into the events lane; `None` when there is no room now. A failed log is
/// noticed by whoever waits on it.
fn put_event(spool: &Spool, clock: &ClockState, event: &DeviceEvent) -> Option<Mark> {
    put_events(spool, clock, vec![event.clone()])
}

/// The same of several that stand in one frame: they become durable together.
pub(super) fn put_events(spool: &Spool, clock: &ClockState, events: Vec<DeviceEvent>) -> Option<Mark> {
    let parts = Part::split(Body { events, ..Body::default() });
    spool.put(LinkPosition::default(), now_us(), &clock.of_agent(), &parts, Patience::Wait).ok()
}
