//! Whether all that was measured arrives, once, and alarms first.

use super::Verdict;
use crate::conform::seen::{FrameSeen, Seen, Step};
use wardline_proto::v1::Lane;

/// An alarm younger than this when the session opened may still have been on its way through the device.
const ON_ITS_WAY_US: i64 = 500_000;

/// Frames that arrived after answers were swallowed got no acknowledgement: each must come again.
pub(super) fn resend(seen: &Seen) -> Verdict {
    let Some(span) = seen.span(Step::LostAck) else {
        return Verdict::not_observed("no answer was swallowed");
    };
    let Some((cut_us, _)) = seen.cuts.iter().find(|(_, step)| *step == Step::LostAck).copied() else {
        return Verdict::not_observed("no answer was swallowed");
    };
    let lost: Vec<&FrameSeen> =
        seen.frames_in(span).filter(|frame| frame.first && frame.at_us < cut_us).collect();
    if lost.is_empty() {
        return Verdict::not_observed("no frame arrived while answers were swallowed");
    }
    let again = |lost: &&&FrameSeen| {
        let repeats = seen.frames.iter().filter(|f| f.at_us > cut_us && f.position == lost.position);
        repeats.into_iter().any(|f| f.digest == lost.digest)
    };
    let (count, same) = (lost.len(), lost.iter().filter(again).count());
    let changed = |lost: &&&FrameSeen| {
        let mut repeats = seen.frames.iter().filter(|f| f.at_us > cut_us && f.position == lost.position);
        repeats.any(|f| f.digest != lost.digest)
    };
    let changed = lost.iter().filter(changed).count();
    let evidence = format!(
        "{count} frames unacknowledged, {same} came again with the same content, {changed} with another"
    );
    Verdict::when(same == count && changed == 0, evidence)
}

/// Per measurement that is fast enough to be due in the outage: no longer interval than declared, from before it to
/// after it. Device times are corrected by the skew of the undisturbed step, which is judged by itself.
pub(super) fn spool(seen: &Seen) -> Verdict {
    let (Some(outage), Some(recover)) = (seen.span(Step::Outage), seen.span(Step::Recover)) else {
        return Verdict::not_observed("no outage");
    };
    let lag_us = seen.device_lag_us().unwrap_or(0);
    let length_us = outage.until_us - outage.from_us;
    let (mut judged, mut inside, mut holes) = (0, 0, Vec::new());
    for measurement in &seen.profile().measurements {
        let Some(cadence) = measurement.cadence.filter(|c| c.longest_us() <= length_us) else { continue };
        let longest_us = cadence.longest_us();
        let mut times: Vec<i64> =
            seen.tally.times_us(measurement.mdc_code).iter().map(|us| us + lag_us).collect();
        times.sort_unstable();
        times.dedup();
        judged += 1;
        inside += times.iter().filter(|us| outage.holds(**us)).count();
        let (from, until) = (outage.from_us - longest_us, recover.until_us - longest_us);
        let around: Vec<i64> =
            times.into_iter().filter(|us| (from..=recover.until_us).contains(us)).collect();
        let edges = [
            around.first().map_or(i64::MAX, |first| first - from),
            around.last().map_or(i64::MAX, |last| until - last),
        ];
        let gaps = around.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = gaps.chain(edges).max().unwrap_or(i64::MAX);
        if longest > longest_us {
            let told = if longest == i64::MAX {
                "nothing came".to_owned()
            } else {
                format!("{:.1} s", longest as f64 / 1e6)
            };
            holes.push(format!("{} {told}", measurement.ref_id));
        }
    }
    if judged == 0 {
        return Verdict::not_observed("the outage was shorter than every declared interval");
    }
    let evidence = match holes.is_empty() {
        true => format!(
            "outage of {:.1} s: {inside} rows of {judged} measurements arrived afterwards",
            outage.seconds()
        ),
        false => format!("outage of {:.1} s left holes: {}", outage.seconds(), holes.join("; ")),
    };
    Verdict::when(holes.is_empty(), evidence)
}

pub(super) fn alarms_first(seen: &Seen) -> Verdict {
    let Some(outage) = seen.span(Step::Outage) else { return Verdict::not_observed("no outage") };
    let Some(session) = seen.session_after(outage.until_us) else {
        return Verdict::not_observed("no session after the outage");
    };
    let lag_us = seen.device_lag_us().unwrap_or(0);
    let is_old = |frame: &FrameSeen| {
        let device_us = frame.device_us.map_or(i64::MAX, |us| us.saturating_add(lag_us));
        (outage.from_us..session.opened_us - ON_ITS_WAY_US).contains(&device_us)
    };
    let after: Vec<&FrameSeen> = seen.frames.iter().filter(|f| f.at_us >= session.opened_us).collect();
    let is_backlog_alarm = |f: &&&FrameSeen| f.lane() == Lane::Alarm && f.first && is_old(f);
    let alarms = after.iter().filter(is_backlog_alarm).count();
    let Some(last) = after.iter().rposition(|f| is_backlog_alarm(&f)) else {
        return Verdict::not_observed("no alarm was raised in the outage");
    };
    let telemetry = |f: &&&FrameSeen| matches!(f.lane(), Lane::Numerics | Lane::Waveforms);
    let before = after[..last].iter().filter(telemetry).count();
    let behind = after[last..].iter().filter(telemetry).filter(|f| is_old(f)).count();
    let evidence = format!(
        "{alarms} alarms of the outage, {before} telemetry frames before the last of them, {behind} after"
    );
    Verdict::when(before == 0, evidence)
}

/// The archive's own count against what was seen to arrive. What is bad or missing is for other checks to say.
pub(super) fn once(seen: &Seen) -> Verdict {
    let Some(archived) = &seen.archived else { return Verdict::not_observed("the archive was not read") };
    if seen.frames.is_empty() {
        return Verdict::not_observed("no frame");
    }
    let repeats = seen.frames.iter().filter(|frame| !frame.first).count() as u64;
    let positions = seen.first.len() as u64;
    let evidence = format!(
        "{positions} positions and {repeats} repeats arrived; archived {}, quarantined {}, duplicates {}, missing [{}]",
        archived.archived,
        archived.quarantined,
        archived.duplicates,
        archived.missing.join(", ")
    );
    let arrived = positions + repeats + seen.json;
    let holds = archived.archived <= positions + seen.json
        && archived.archived + archived.quarantined + archived.duplicates == arrived;
    Verdict::when(holds, evidence)
}
