//! Duplicated, late and reordered frames.

use super::{Engine, Input, defaults, feed, run, script};
use crate::engine::Transition;
use proptest::prelude::*;
use std::collections::BTreeMap;
use wardline_proto::frame::FrameHeader;
use wardline_proto::v1::AlarmPhase;

const STORY: &str = "
    0-10 spo2 97
    11-30 spo2 84
    15 alarm c1 start
    31-45 spo2 97
    40 alarm c1 end
    46-60 hr 140
";

/// Every alert starts once, before its end, and ends at most once.
fn is_well_formed(out: &[Transition]) -> bool {
    let mut phases: BTreeMap<&str, Vec<AlarmPhase>> = BTreeMap::new();
    out.iter().for_each(|t| phases.entry(&t.alert.alert_id).or_default().push(t.phase));
    phases.values().all(|p| matches!(p[..], [AlarmPhase::Start] | [AlarmPhase::Start, AlarmPhase::End]))
}

/// Repeats inputs later on: `(which, how much later)`.
fn with_repeats(inputs: &[Input], repeats: &[(prop::sample::Index, usize)]) -> Vec<Input> {
    let mut slots: Vec<Vec<&Input>> = inputs.iter().map(|i| vec![i]).collect();
    for (which, later) in repeats {
        let at = which.index(inputs.len());
        slots[(at + later).min(inputs.len() - 1)].push(&inputs[at]);
    }
    slots.into_iter().flatten().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn duplicates_change_nothing(repeats in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..50), 0..40)) {
        let inputs = script(STORY);
        prop_assert_eq!(run(&with_repeats(&inputs, &repeats)), run(&inputs));
    }

    #[test]
    fn any_order_is_deterministic_and_well_formed(
        inputs in Just(script(STORY)).prop_shuffle(),
        repeats in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..50), 0..20),
    ) {
        let inputs = with_repeats(&inputs, &repeats);
        let out = run(&inputs);
        prop_assert!(is_well_formed(&out), "{:?}", super::told(&out));
        prop_assert_eq!(run(&inputs), out);
    }

    /// Neighbours that swap places (a resend overtaken by fresh data) neither hide an episode nor double it.
    #[test]
    fn a_long_episode_survives_swaps(swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let mut inputs = script("0-10 spo2 97\n11-40 spo2 84\n41-60 spo2 97");
        for swap in swaps {
            let at = swap.index(inputs.len() - 1);
            inputs.swap(at, at + 1);
        }
        let out = run(&inputs);
        prop_assert!(is_well_formed(&out));
        let starts = out.iter().filter(|t| t.phase == AlarmPhase::Start && t.alert.rule_id == "spo2-low");
        prop_assert_eq!(starts.count(), 1);
    }
}

#[test]
fn frames_are_told_apart_by_lane_and_epoch() {
    let mut inputs = script("0-6 spo2 80");
    for (i, input) in inputs.iter_mut().enumerate() {
        if let Input::Seen(seen) = input {
            let header = seen.header.as_mut().unwrap();
            (header.epoch, header.seq) = (i as u64 + 1, 1);
        }
    }
    let (mut engine, mut out) = (Engine::new(defaults()), Vec::new());
    inputs.iter().for_each(|input| feed(&mut engine, input, &mut out));
    assert_eq!((out.len(), engine.counts().duplicates), (1, 0));
    inputs.iter().for_each(|input| feed(&mut engine, input, &mut out));
    assert_eq!((out.len(), engine.counts().duplicates), (1, 7));
}

/// Moves a frame's ingest to a later second, as a frame that the archive asked for comes.
fn again(input: &Input, at_s: f64) -> Input {
    let Input::Seen(seen) = input else { return input.clone() };
    let mut seen = seen.clone();
    seen.ingested_at_us = super::us(at_s);
    Input::Seen(seen)
}

#[test]
fn what_is_sent_again_for_the_archive_raises_nothing_anew() {
    const DAY_S: f64 = 86_400.0;
    let (mut engine, mut out) = (Engine::new(defaults()), Vec::new());
    let story = script(STORY);
    story.iter().for_each(|input| feed(&mut engine, input, &mut out));
    let ours = |line: &&String| line.starts_with("start") && (line.contains("c1") || line.contains("spo2"));
    assert_eq!(super::told(&out).iter().filter(ours).count(), 2, "{:?}", super::told(&out));
    // At once, a day later, and when so much came since that no position of it is remembered.
    let mut later: Vec<_> = story.iter().map(|input| again(input, 65.0)).collect();
    later.extend(story.iter().map(|input| again(input, DAY_S)));
    for (nth, of) in (0_u32..20_000).zip(story.iter().cycle()) {
        if let Input::Seen(seen) = of {
            let (mut seen, at_s) = (seen.clone(), DAY_S + f64::from(nth));
            (seen.ingested_at_us, seen.body) = (super::us(at_s), Default::default());
            seen.header = seen.header.map(|header| FrameHeader { seq: u64::from(nth) + 1_000, ..header });
            later.push(Input::Seen(seen));
        }
    }
    later.extend(story.iter().map(|input| again(input, 2.0 * DAY_S)));
    let mut anew = Vec::new();
    later.iter().for_each(|input| feed(&mut engine, input, &mut anew));
    let raised: Vec<_> = super::told(&anew).into_iter().filter(|line| !line.contains("missing")).collect();
    assert_eq!(raised.iter().filter(ours).collect::<Vec<_>>(), Vec::<&String>::new(), "{raised:?}");
}

#[test]
fn an_old_alarm_that_was_never_seen_is_a_finding_and_not_an_alarm() {
    // The gateway's state is of a backup: the alarm began and ended after it, and comes again a day later.
    let restored = "0-10 hr 70\n86400 hr 71\n20 alarm c1 start in86401\n40 alarm c1 end in86402\ntick 90000";
    let lines = super::told(&run(&script(restored)));
    let about: Vec<_> = lines.iter().filter(|line| line.contains("c1")).collect();
    assert!(about.iter().all(|line| line.contains("late/device/c1")), "{about:?}");
    // Its end came first, live: the start that comes again is older than that.
    let ended = "0-10 hr 70\n86400 alarm c1 end\n20 alarm c1 start in86401\ntick 90000";
    let lines = super::told(&run(&script(ended)));
    assert!(!lines.iter().any(|line| line.contains("c1")), "{lines:?}");
}
