//! Alarms of a device whose end is missing, whose clock is wrong, or that find no room.

use super::{Input, check, defaults, feed, run, script, told};
use crate::engine::{ALARM_LOST_RULE, Engine};
use crate::limits::CONDITIONS_MAX;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Priority};

/// Gives the alarms of these inputs a priority, by number of the input.
fn with_priorities(text: &str, priorities: &[(usize, Priority)]) -> Vec<Input> {
    let mut inputs = script(text);
    for (at, priority) in priorities {
        if let Input::Seen(seen) = &mut inputs[*at] {
            seen.body.alarms.iter_mut().for_each(|alarm| alarm.set_priority(*priority));
        }
    }
    inputs
}

#[test]
fn a_start_after_a_break_is_another_alarm_and_ends_the_one_before() {
    // Powered off without an end; the next patient's alarm has the same id.
    let after_a_break = [
        "start device/c1 onset 0 at 0 device",
        "end device/c1 onset 0 at 70 superseded",
        "start device/c1 onset 70 at 70 device",
        "end device/c1 onset 70 at 80 device",
    ];
    check("0 alarm c1 start\n70 alarm c1 start\n80 alarm c1 end", &after_a_break);
    // The device went on meanwhile: it is the same alarm, which alarms again.
    check(
        "0 alarm c1 start\n30 rr 15\n70 alarm c1 start\n71 alarm c1 start",
        &["start device/c1 onset 0 at 0 device", "continue device/c1 onset 0 at 70 restarted"],
    );
    // A sign of life after a break says that it is still the same.
    check("0 alarm c1 start\n70 alarm c1 continue", &["start device/c1 onset 0 at 0 device"]);
}

#[test]
fn a_start_in_a_new_spool_is_another_alarm() {
    let mut inputs = script("0 alarm c1 start\n5 alarm c1 start");
    if let Input::Seen(seen) = &mut inputs[1] {
        seen.header.as_mut().unwrap().epoch = 2;
    }
    assert_eq!(
        told(&run(&inputs)),
        [
            "start device/c1 onset 0 at 0 device",
            "end device/c1 onset 0 at 5 superseded",
            "start device/c1 onset 5 at 5 device",
        ]
    );
}

#[test]
fn a_higher_priority_is_told_whatever_phase_it_comes_in() {
    for phase in ["start", "continue"] {
        let text = format!("0 alarm c1 start\n1 alarm c1 {phase}\n2 alarm c1 {phase}");
        let out = run(&with_priorities(&text, &[(1, Priority::High), (2, Priority::Low)]));
        let phases: Vec<_> = out.iter().map(|t| (t.phase, t.alert.priority())).collect();
        let expected = [(AlarmPhase::Start, Priority::Medium), (AlarmPhase::Escalate, Priority::High)];
        assert_eq!(phases, expected, "{phase}");
    }
    let held = with_priorities(
        "0 alarm c1 start in400\n1 alarm c1 continue in401\ntick 500",
        &[(1, Priority::High)],
    );
    let out = run(&held);
    assert_eq!((out.len(), out[0].alert.priority()), (1, Priority::High), "{:?}", told(&out));
}

#[test]
fn a_clock_ahead_hides_nothing_once_it_is_right() {
    check(
        "7200 alarm c1 start in0\n7201 alarm c1 end in1\n10 alarm c1 start",
        &[
            "start device/c1 onset 7200 at 7200 device",
            "end device/c1 onset 7200 at 7201 device",
            "start device/c1 onset 10 at 10 device",
        ],
    );
}

#[test]
fn an_alarm_that_cannot_be_told_is_told_of() {
    let broken: [fn(&mut wardline_proto::v1::DeviceAlarm); 4] = [
        |alarm| alarm.condition_id = "x".repeat(65),
        |alarm| alarm.condition_id = "c\u{1b}[2J".into(),
        |alarm| alarm.ucum_unit = "u".repeat(65),
        |alarm| alarm.set_phase(AlarmPhase::Unspecified),
    ];
    for (number, change) in broken.into_iter().enumerate() {
        let (mut engine, mut out) = (Engine::new(defaults()), Vec::new());
        let mut inputs = script("0 alarm c1 start\ntick 601");
        if let Input::Seen(seen) = &mut inputs[0] {
            change(&mut seen.body.alarms[0]);
        }
        inputs.iter().for_each(|input| feed(&mut engine, input, &mut out));
        let expected = [
            "start system/alarm-lost onset 0.2 at 0.2 alarm_lost",
            "end system/alarm-lost onset 0.2 at 600.2 quiet",
        ];
        assert_eq!(told(&out), expected, "{number}");
        assert_eq!((out[0].alert.kind(), out[0].alert.priority()), (AlarmKind::Technical, Priority::High));
        assert_eq!(engine.counts().conditions_refused, 1);
    }
}

#[test]
fn where_there_is_no_room_the_lowest_gives_way_and_it_is_said() {
    let full: String = (0..CONDITIONS_MAX).map(|n| format!("{n} alarm c{n} start\n")).collect();
    let mut lows: Vec<_> = (0..CONDITIONS_MAX).map(|n| (n, Priority::Low)).collect();
    lows[0].1 = Priority::Medium;
    let with = |priority| {
        let text = format!("{full}70 alarm more start\n71 alarm other end");
        let mut priorities = lows.clone();
        priorities.push((CONDITIONS_MAX, priority));
        let out = run(&with_priorities(&text, &priorities));
        told(&out[CONDITIONS_MAX..])
    };
    let lost = format!("start {ALARM_LOST_RULE} onset 70.2 at 70.2 alarm_lost");
    assert_eq!(
        with(Priority::High),
        ["end device/c1 onset 1 at 70 displaced", "start device/more onset 70 at 70 device", lost.as_str(),]
    );
    assert_eq!(with(Priority::Low), [lost]);
}
