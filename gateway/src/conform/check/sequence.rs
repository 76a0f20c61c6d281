//! Positions: epoch and seq of each lane.

use super::Verdict;
use crate::conform::seen::{Position, Seen};
use std::collections::{BTreeMap, BTreeSet};
use wardline_proto::v1::Lane;

fn lane_name(lane: i32) -> &'static str {
    match Lane::try_from(lane).unwrap_or_default() {
        Lane::Unspecified => "none",
        Lane::Alarm => "alarm",
        Lane::Numerics => "numerics",
        Lane::Waveforms => "waveforms",
        Lane::Events => "events",
    }
}

/// From 1, without a hole, but for what the device itself recorded as given up. A device whose identity is kept from
/// run to run goes on where it was.
pub(super) fn contiguous(seen: &Seen) -> Verdict {
    if seen.first.is_empty() {
        return Verdict::not_observed(format!(
            "no frame; {} JSON messages carry no position here",
            seen.json
        ));
    }
    let mut streams: BTreeMap<(u64, i32), BTreeSet<u64>> = BTreeMap::new();
    for Position { epoch, lane, seq } in seen.first.keys() {
        streams.entry((*epoch, *lane)).or_default().insert(*seq);
    }
    let told = |epoch: u64, lane: i32, seq: u64| {
        let mut gaps = seen.frames.iter().filter(|f| f.position.epoch == epoch).filter_map(|f| f.gap);
        gaps.any(|gap| gap.lane == lane && (gap.first_seq..=gap.last_seq).contains(&seq))
    };
    let mut holes = Vec::new();
    for ((epoch, lane), seqs) in &streams {
        let mut next = if seen.continues { seqs.first().copied().unwrap_or(1) } else { 1 };
        for seq in seqs {
            if *seq > next && !(told(*epoch, *lane, next) && told(*epoch, *lane, seq - 1)) {
                holes.push(format!("{} {next}-{}", lane_name(*lane), seq - 1));
            }
            next = seq + 1;
        }
    }
    let (positions, lanes) = (seen.first.len(), streams.len());
    let evidence = match holes.is_empty() {
        true => format!("{positions} positions in {lanes} streams"),
        false => {
            let first: Vec<&str> = holes.iter().take(5).map(String::as_str).collect();
            format!("{} holes in {lanes} streams: {}", holes.len(), first.join(", "))
        }
    };
    Verdict::when(holes.is_empty(), evidence)
}

/// A new epoch per connection makes every repeat a new frame.
pub(super) fn epoch(seen: &Seen) -> Verdict {
    let epochs: BTreeSet<u64> = seen.first.keys().map(|position| position.epoch).collect();
    if epochs.is_empty() {
        return Verdict::not_observed("no frame");
    }
    let evidence = format!("{} epochs in {} sessions", epochs.len(), seen.sessions.len());
    if seen.sessions.len() < 2 {
        return Verdict::not_observed(evidence);
    }
    Verdict::when(epochs.len() == 1, evidence)
}

pub(super) fn content(seen: &Seen) -> Verdict {
    if seen.first.is_empty() {
        return Verdict::not_observed("no frame");
    }
    let repeats = seen.frames.iter().filter(|frame| !frame.first).count();
    let changed = seen.frames.iter().filter(|f| seen.first.get(&f.position) != Some(&f.digest)).count();
    if repeats == 0 {
        return Verdict::not_observed("nothing was sent twice");
    }
    Verdict::when(changed == 0, format!("{repeats} repeats, {changed} with another content (WL-Q-007)"))
}
