//! The device's clock against the gateway's, in the undisturbed step.

use super::Verdict;
use crate::conform::seen::{Seen, Step, middle};
use wardline_proto::v1::SyncState;

/// Device time and sending time may each differ by the declared skew; the middle of all frames counts, so that one
/// late frame is no wrong clock.
pub(super) fn skew(seen: &Seen) -> Verdict {
    let bound_s = seen.profile().clock.max_skew_s;
    let Some(device_us) = seen.device_lag_us() else { return Verdict::not_observed("no reading in a frame") };
    let sent_us = seen.sent_lag_us();
    let offsets =
        seen.span(Step::Measure).map(|span| seen.frames_in(span).map(|f| f.clock_offset_us).collect());
    let offset_us = offsets.and_then(middle).unwrap_or(0);
    let seconds = |us: i64| us as f64 / 1e6;
    let sent = sent_us.map_or_else(|| "not told".to_owned(), |us| format!("{:.3} s", seconds(us)));
    let evidence = format!(
        "arrival after reading {:.3} s, after sending {sent}, told offset {:.3} s; declared {bound_s} s",
        seconds(device_us),
        seconds(offset_us)
    );
    let worst_us = [Some(device_us), sent_us, Some(offset_us)].into_iter().flatten().map(i64::abs).max();
    Verdict::when(worst_us.is_some_and(|us| seconds(us) <= bound_s), evidence)
}

pub(super) fn sync(seen: &Seen) -> Verdict {
    let declared = seen.profile().clock.sync;
    let frames = seen.frames.iter().filter(|frame| frame.device_us.is_some());
    let (mut right, mut unsaid, mut other) = (0_u64, 0_u64, 0_u64);
    for frame in frames {
        match frame.sync {
            SyncState::Unspecified => unsaid += 1,
            state if state == declared.state() => right += 1,
            _ => other += 1,
        }
    }
    if right + unsaid + other == 0 {
        return Verdict::not_observed("no frame");
    }
    let evidence = format!(
        "declared {}: {right} frames say so, {other} say otherwise, {unsaid} say nothing",
        declared.word()
    );
    Verdict::when(other == 0 && unsaid == 0, evidence)
}
