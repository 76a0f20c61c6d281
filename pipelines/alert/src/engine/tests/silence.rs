//! Missing data: noticed by the watermark or a tick, once, with one id; restarts neither lose nor invent it.

use super::{Engine, check, defaults, feed, script, told, us};

#[test]
fn silence_is_noticed_by_others_or_by_a_tick_with_the_same_id() {
    let noticed = ["start spo2-missing onset 10.2 at 40.2 data_missing"];
    check("0-10 spo2 97\ntick 40\ntick 41\ntick 60", &noticed);
    check("0-10 spo2 97\n41 rr 15 dev=mon-2", &noticed);
    check("0-10 spo2 97\ntick 39", &[]);
}

#[test]
fn data_that_comes_back_ends_it() {
    check(
        "0 spo2 97\ntick 31\n50 spo2 97\ntick 79",
        &[
            "start spo2-missing onset 0.2 at 30.2 data_missing",
            "end spo2-missing onset 0.2 at 50.2 data_resumed",
        ],
    );
}

#[test]
fn unusable_data_is_missing_data() {
    check("0 spo2 97\n1-40 spo2 0 s4", &["start spo2-missing onset 0.2 at 30.2 data_missing"]);
}

#[test]
fn a_device_whose_data_is_never_live_is_said_to_be_unwatched() {
    check(
        "0-3 spo2 97 in1000\n4-6 spo2 97 in1020\ntick 1031",
        &["start spo2-missing onset 1000 at 1030 data_missing"],
    );
}

#[test]
fn a_device_clock_that_jumps_ahead_moves_no_timer() {
    let due = "start spo2-missing onset 10.2 at 40.2 data_missing";
    // An hour ahead no reading counts as seen; seconds ahead one does, from when it came.
    check("0-10 spo2 97\n3600 spo2 97 in11\n3601 spo2 97 in12\ntick 60", &[due]);
    check(
        "0-10 spo2 97\n13 spo2 97 in11.2\ntick 60",
        &["start spo2-missing onset 11.2 at 41.2 data_missing"],
    );
    // Set back again, it is behind what was decided on: it is not being watched, and that is said.
    check(
        "0-10 spo2 97\n40 spo2 97 in11\n12-39 spo2 97\ntick 51",
        &["start spo2-missing onset 11 at 41 data_missing"],
    );
}

#[test]
fn what_was_never_seen_is_not_missed_and_test_data_counts_as_never_seen() {
    check("tick 100", &[]);
    check("0-5 spo2 97 s16\ntick 100", &[]);
}

#[test]
fn a_restart_moves_no_timer() {
    let due = "start spo2-missing onset 10.2 at 40.2 data_missing";
    let (mut engine, mut out) = (Engine::new(defaults()), Vec::new());
    let inputs = script("0-10 spo2 97\ntick 35");
    inputs.iter().for_each(|input| feed(&mut engine, input, &mut out));
    let kept = engine.take_changes();
    let devices: Vec<_> = kept.devices.into_iter().filter_map(|(key, state)| Some((key, state?))).collect();
    for times in [[35.0, 40.1, 40.2], [36.0, 36.0, 140.0], [140.0, 141.0, 400.0]] {
        let mut engine = Engine::restore(defaults(), &kept.global, devices.clone(), &mut out).unwrap();
        let mut out = Vec::new();
        times.iter().for_each(|now| engine.advance(us(*now), &mut out));
        assert_eq!(told(&out), [due], "due while nothing ran: at once, with the time that it was due");
    }
}
