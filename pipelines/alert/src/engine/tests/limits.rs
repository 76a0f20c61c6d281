//! Limits: onset, hysteresis, staleness, and what must never raise.

use super::{check, run, script, told};
use crate::engine::Engine;
use wardline_proto::codes::status;
use wardline_proto::v1::{AlarmKind, AlertState, Priority};

#[test]
fn one_desaturation_is_one_alert() {
    let fall = [97, 96, 95, 93, 91, 90, 89, 88, 86, 85];
    let low = [84, 85, 84, 83, 84, 86, 84, 85, 84, 84, 83, 84, 85, 84, 84, 84, 84, 85, 84, 84];
    let rise = [86, 88, 89, 91, 90, 89, 91, 92, 93, 95, 96, 97, 97, 97, 97, 97];
    let values = fall.iter().chain(&low).chain(&rise);
    let text: String = values.enumerate().map(|(t, v)| format!("{t} spo2 {v}\n")).collect();
    let out = run(&script(&text));
    assert_eq!(
        told(&out),
        ["start spo2-low onset 6 at 11 onset", "end spo2-low onset 6 at 40 cleared"],
        "noise around the limit neither ends nor repeats it"
    );
    let alert = &out[0].alert;
    assert_eq!((alert.kind(), alert.priority()), (AlarmKind::Physiological, Priority::High));
    assert_eq!((alert.value, alert.limit), (Some(85.0), Some(90.0)));
    assert_eq!(out[1].alert.alert_id, alert.alert_id);
    assert_eq!(out[1].alert.state(), AlertState::Ended);
}

#[test]
fn each_side_of_each_limit() {
    let table = [
        ("0-10 spo2 90", None),
        ("0-10 spo2 89", Some("start spo2-low onset 0 at 5 onset")),
        ("0-10 hr 130", None),
        ("0-10 hr 131", Some("start hr-high onset 0 at 5 onset")),
        ("0-10 hr 40", None),
        ("0-10 hr 39", Some("start hr-low onset 0 at 5 onset")),
        ("0-20 rr 30", None),
        ("0-20 rr 31", Some("start rr-high onset 0 at 15 onset")),
        ("0-20 rr 8", None),
        ("0-20 rr 7", Some("start rr-low onset 0 at 15 onset")),
    ];
    for (text, expected) in table {
        check(text, &expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_short_dip_does_not_raise() {
    check("0-4 spo2 85\n5-20 spo2 95\n21-25 spo2 85\n26 spo2 95", &[]);
}

#[test]
fn a_stale_value_cannot_satisfy_a_duration() {
    check("0 spo2 80\n6 spo2 80", &[]);
    check("0 spo2 80\n6-9 spo2 80", &[]);
    check("0 spo2 80\n6-11 spo2 80", &["start spo2-low onset 6 at 11 onset"]);
    // Silence ends nothing either: 97 once before and once after a gap is not three seconds of 97.
    check("0-5 spo2 80\n6 spo2 97\n15 spo2 97", &["start spo2-low onset 0 at 5 onset"]);
}

#[test]
fn unusable_readings_neither_raise_nor_clear() {
    for bit in [status::INVALID, status::NOT_AVAILABLE, status::CALIBRATION, status::TEST, status::DEMO] {
        check(&format!("0-20 spo2 80 s{bit}"), &[]);
        let raised = ["start spo2-low onset 0 at 5 onset"];
        check(&format!("0-5 spo2 80\n6-20 spo2 97 s{bit}"), &raised);
    }
    check("0-20 spo2 80 s2", &["start spo2-low onset 0 at 5 onset"]);
    check("0-20 hr 400", &[]);
    check("0-20 hr NaN", &[]);
}

#[test]
fn backfill_and_wrong_clocks_make_no_page() {
    // What came late is told as a finding, which is over; nobody is paged.
    check("0-20 spo2 80 in400", &["end late/spo2-low onset 0 at 5 retrospective"]);
    check("100-120 spo2 80 in10", &[]);
}

#[test]
fn another_unit_is_not_compared() {
    let mut inputs = script("0-20 spo2 80");
    for input in &mut inputs {
        if let super::Input::Seen(seen) = input {
            seen.body.numerics[0].ucum_unit = "1".into();
        }
    }
    assert!(run(&inputs).is_empty());
}

#[test]
fn the_edge_clock_mends_the_devices() {
    let mut inputs = script("0-6 spo2 80");
    for input in &mut inputs {
        if let super::Input::Seen(seen) = input {
            seen.body.numerics[0].start_us -= 3_600_000_000;
            seen.device_offset_us = 3_600_000_000;
        }
    }
    assert_eq!(told(&run(&inputs)), ["start spo2-low onset 0 at 5 onset"]);
}

#[test]
fn device_alarms_pass_through() {
    check(
        "0 alarm c1 start\n1 alarm c1 start\n2 alarm c1 continue\n3 alarm c1 escalate\n4 alarm c1 end\n5 alarm c1 end",
        &[
            "start device/c1 onset 0 at 0 device",
            "escalate device/c1 onset 0 at 3 device",
            "end device/c1 onset 0 at 4 device",
        ],
    );
    check("2 alarm c1 continue", &["start device/c1 onset 2 at 2 device"]);
    check("5 alarm c1 start\n4 alarm c1 end", &["start device/c1 onset 5 at 5 device"]);
    check("0 alarm c1 end", &[]);
}

#[test]
fn a_backfilled_device_alarm_is_raised_only_when_it_has_no_end() {
    // That it was is a finding, as of any limit: nobody is paged, and nothing is lost.
    check(
        "0 alarm c1 start in400\n9 alarm c1 end in401\ntick 500",
        &["end late/device/c1 onset 0 at 9 retrospective"],
    );
    check("0 alarm c1 start in400\ntick 414\ntick 415", &["start device/c1 onset 0 at 415 device"]);
    check("0 alarm c1 start in400\n401 alarm c1 continue", &["start device/c1 onset 0 at 401 device"]);
}

#[test]
fn devices_past_the_bound_are_not_watched_and_that_is_said() {
    let mut engine = Engine::new(super::defaults()).with_devices_max(1);
    let mut out = Vec::new();
    for input in script("0 spo2 97\n1-10 spo2 80 dev=mon-2\n90000 spo2 97 dev=mon-3") {
        super::feed(&mut engine, &input, &mut out);
    }
    assert_eq!(
        told(&out),
        [
            "start  system/capacity onset 1.2 at 1.2 system",
            "start spo2-missing onset 0.2 at 30.2 data_missing",
            "end spo2-missing onset 0.2 at 90000.2 forgotten",
            "end  system/capacity onset 1.2 at 90000.2 system",
        ]
    );
    assert_eq!(engine.counts().devices_refused, 10);
}
