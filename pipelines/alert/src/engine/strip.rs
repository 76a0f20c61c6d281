//! Which waveforms had come around an onset, told when they should have come.
//!
//! An alarm travels before its waveforms, and ten seconds of them lie behind its onset. So an alert begins with a window
//! alone, and an event of its own tells what is in it, [`STRIP_US`] and [`STRIP_SETTLE_US`] after the alert was told, by
//! the journal's time like everything that must be noticed without data. It changes nothing of the condition, and comes
//! also when that is over by then. A device without waveforms makes no such event.

use super::transition::Transition;
use crate::limits::{
    STRIP_KEEP_US, STRIP_SETTLE_US, STRIP_SPANS_MAX, STRIP_STREAMS_MAX, STRIP_US, STRIPS_MAX,
};
use wardline_proto::codes;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Alert, WaveformBlock, WaveformGap, WaveformStream, WaveformWindow,
};

/// Blocks that begin this many intervals late are still contiguous.
const SLACK_INTERVALS: i64 = 2;
/// A waveform that ended so long before a window is none that is missing in it.
const NEAR_US: i64 = 60_000_000;

/// What is remembered of a device's waveforms. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StripState {
    /// Which came.
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<StreamSpans>,
    /// Alerts whose waveforms are still to be looked at, in the order of telling.
    #[prost(message, repeated, tag = "2")]
    pub open: Vec<OpenStrip>,
}

/// One waveform. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamSpans {
    /// Metric.
    #[prost(uint32, tag = "1")]
    pub mdc_code: u32,
    /// What came, in order and apart.
    #[prost(message, repeated, tag = "2")]
    pub came: Vec<Span>,
    /// What of it the device says that it did not measure.
    #[prost(message, repeated, tag = "3")]
    pub unmeasured: Vec<Span>,
}

/// A span of edge time. Persisted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Span {
    /// First microsecond.
    #[prost(int64, tag = "1")]
    pub from_us: i64,
    /// First one behind it.
    #[prost(int64, tag = "2")]
    pub to_us: i64,
}

/// An alert that waits for its waveforms. Persisted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OpenStrip {
    /// The alert as it was told last.
    #[prost(message, required, tag = "1")]
    pub alert: Alert,
    /// When to look, journal time.
    #[prost(int64, tag = "2")]
    pub due_us: i64,
}

/// Notes a live block whose first sample was taken at `start_us`, edge time.
pub(super) fn feed(state: &mut Option<StripState>, block: &WaveformBlock, start_us: i64) {
    let after_us = |samples: u64| {
        let ahead_us = block.interval_ns.saturating_mul(samples) / 1000;
        start_us.saturating_add(i64::try_from(ahead_us).unwrap_or(i64::MAX))
    };
    let samples = block.sample_deltas.len() as u64;
    let whole = Span { from_us: start_us, to_us: after_us(samples) };
    if whole.to_us <= whole.from_us {
        return;
    }
    let slack_us = SLACK_INTERVALS.saturating_mul(after_us(1).saturating_sub(start_us));
    let stream = stream_of(&mut state.get_or_insert_default().streams, block.mdc_code);
    add(&mut stream.came, whole, slack_us);
    for gap in &block.gaps {
        let first = u64::from(gap.first).min(samples);
        let end = u64::from(gap.first).saturating_add(gap.count.into()).min(samples);
        if first < end {
            add(&mut stream.unmeasured, Span { from_us: after_us(first), to_us: after_us(end) }, 0);
            // At once: a block has as many gaps as its sender likes, and each is compared with what is kept.
            stream.unmeasured.drain(..stream.unmeasured.len().saturating_sub(STRIP_SPANS_MAX));
        }
    }
    let keep_us = stream.until_us().saturating_sub(STRIP_KEEP_US);
    for spans in [&mut stream.came, &mut stream.unmeasured] {
        spans.retain(|span| span.to_us > keep_us);
        spans.drain(..spans.len().saturating_sub(STRIP_SPANS_MAX));
    }
}

fn stream_of(streams: &mut Vec<StreamSpans>, mdc_code: u32) -> &mut StreamSpans {
    let at = streams.iter().position(|stream| stream.mdc_code == mdc_code).unwrap_or_else(|| {
        if streams.len() >= STRIP_STREAMS_MAX {
            let oldest = (0..streams.len()).min_by_key(|at| streams[*at].until_us());
            oldest.map(|at| streams.remove(at));
        }
        streams.push(StreamSpans { mdc_code, ..StreamSpans::default() });
        streams.len() - 1
    });
    &mut streams[at]
}

/// Adds a span to others that are in order and apart; those that lie within `slack_us` of each other become one.
fn add(spans: &mut Vec<Span>, mut new: Span, slack_us: i64) {
    spans.retain(|old| {
        let apart = old.to_us.saturating_add(slack_us) < new.from_us
            || new.to_us.saturating_add(slack_us) < old.from_us;
        if !apart {
            new = Span { from_us: new.from_us.min(old.from_us), to_us: new.to_us.max(old.to_us) };
        }
        apart
    });
    let at = spans.partition_point(|old| old.from_us < new.from_us);
    spans.insert(at, new);
}

/// Notes what was told since `mark`, at `now_us`.
pub(super) fn follow(
    state: &mut Option<StripState>,
    now_us: i64,
    (out, mark): (&mut Vec<Transition>, usize),
) {
    let mut crowded = Vec::new();
    for told in out.get(mark..).unwrap_or_default() {
        let alert = &told.alert;
        let known =
            state.as_mut().and_then(|s| s.open.iter_mut().find(|o| o.alert.alert_id == alert.alert_id));
        if let Some(open) = known {
            open.alert.clone_from(alert);
        } else if told.phase == AlarmPhase::Start && alert.kind() == AlarmKind::Physiological {
            // Of what began long ago the waveforms are forgotten.
            if alert.onset_us < now_us.saturating_sub(STRIP_KEEP_US - 2 * STRIP_US - STRIP_SETTLE_US) {
                continue;
            }
            let state = state.get_or_insert_default();
            if state.open.len() >= STRIPS_MAX {
                crowded.push(state.open.remove(0));
            }
            let due_us = now_us.saturating_add(STRIP_US + STRIP_SETTLE_US);
            state.open.push(OpenStrip { alert: alert.clone(), due_us });
        }
    }
    if let Some(state) = state {
        out.extend(crowded.into_iter().filter_map(|open| state.look(open.alert, now_us)));
    }
}

/// Tells what is due at `now_us`, and puts it into the copies that are remembered of those alerts.
pub(super) fn expire<'a>(
    state: &mut Option<StripState>,
    now_us: i64,
    out: &mut Vec<Transition>,
    remembered: impl Iterator<Item = &'a mut Alert>,
) {
    let Some(waiting) = state else { return };
    let (due, open) = std::mem::take(&mut waiting.open).into_iter().partition(|open| open.due_us <= now_us);
    waiting.open = open;
    let due: Vec<OpenStrip> = due;
    let told: Vec<_> = due.into_iter().filter_map(|open| waiting.look(open.alert, now_us)).collect();
    if waiting.open.is_empty() && waiting.streams.is_empty() {
        *state = None;
    }
    if told.is_empty() {
        return;
    }
    for alert in remembered {
        if let Some(one) = told.iter().find(|one| one.alert.alert_id == alert.alert_id) {
            alert.strip.clone_from(&one.alert.strip);
        }
    }
    out.extend(told);
}

impl StripState {
    /// Returns when to look next.
    pub(super) fn wake_us(&self) -> Option<i64> {
        self.open.iter().map(|open| open.due_us).min()
    }

    /// Says what there is around an alert's onset; nothing without waveforms.
    fn look(&self, mut alert: Alert, now_us: i64) -> Option<Transition> {
        let window = Span {
            from_us: alert.onset_us.saturating_sub(STRIP_US),
            to_us: alert.onset_us.saturating_add(STRIP_US),
        };
        let near = |stream: &&StreamSpans| {
            let of_then = |span: &Span| {
                span.from_us < window.to_us && span.to_us > window.from_us.saturating_sub(NEAR_US)
            };
            stream.came.iter().any(of_then)
        };
        let mut streams: Vec<_> = self.streams.iter().filter(near).map(|s| s.told(window)).collect();
        if streams.is_empty() {
            return None;
        }
        streams.sort_by_key(|stream| stream.mdc_code);
        let device = alert.device.clone();
        let Span { from_us, to_us } = window;
        alert.strip = Some(WaveformWindow { device, from_us, to_us, streams, as_of_us: now_us });
        Some(Transition { phase: AlarmPhase::Update, reason: "strip", at_us: now_us, alert })
    }
}

impl StreamSpans {
    fn until_us(&self) -> i64 {
        self.came.last().map_or(i64::MIN, |span| span.to_us)
    }

    fn told(&self, window: Span) -> WaveformStream {
        let mut gaps = Vec::new();
        let mut gap = |from_us: i64, to_us: i64, why: &str| {
            let (from_us, to_us) = (from_us.max(window.from_us), to_us.min(window.to_us));
            if from_us < to_us {
                gaps.push(WaveformGap { from_us, to_us, why: why.to_owned() });
            }
        };
        let mut at_us = window.from_us;
        for span in &self.came {
            gap(at_us, span.from_us, "missing");
            at_us = at_us.max(span.to_us);
        }
        gap(at_us, window.to_us, "missing");
        self.unmeasured.iter().for_each(|span| gap(span.from_us, span.to_us, "not_measured"));
        gaps.sort_by_key(|gap| gap.from_us);
        let mdc_ref_id = codes::by_code(self.mdc_code).map(|m| m.ref_id.to_owned()).unwrap_or_default();
        WaveformStream { mdc_code: self.mdc_code, mdc_ref_id, gaps }
    }
}
