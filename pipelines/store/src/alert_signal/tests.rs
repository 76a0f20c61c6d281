//! The machine by itself: scripts of what happens, and the states and timers that must follow.

use super::{Act, Condition, Paused, Policy, Said, Signal};
use wardline_proto::v1::{AlarmPhase, AlertState, Priority};

const POLICY: Policy = Policy {
    latching: false,
    escalate_after_us: 10,
    escalations_max: 2,
    escalate_from: Priority::High as i32,
    realarm_after_us: 0,
};

fn change(phase: AlarmPhase, priority: Priority, policy: Policy) -> Condition {
    Condition { condition_id: "c".into(), phase, priority, policy }
}

fn started(priority: Priority, policy: Policy) -> Signal {
    Signal::follow(None, &change(AlarmPhase::Start, priority, policy), None, 100).signal
}

fn by(name: &str) -> Act {
    Act::Acknowledge { by: name.into() }
}

fn pause(until_us: i64) -> Act {
    Act::Pause { by: "nurse".into(), until_us }
}

fn said(said: &Said) -> (AlarmPhase, &str, AlertState) {
    (said.phase(), &said.reason, said.signal.state())
}

#[test]
fn nobody_acknowledges_and_it_escalates_up_to_the_bound() {
    let mut signal = started(Priority::High, POLICY);
    assert_eq!(signal.due_us(), 110);
    assert_eq!(signal.clone().act(&Act::Expire, 109), None, "not before its time");
    for (at_us, next_us) in [(112, 122), (122, 0)] {
        let escalated = signal.act(&Act::Expire, at_us).unwrap();
        assert_eq!(said(&escalated), (AlarmPhase::Escalate, "unacknowledged", AlertState::Present));
        signal = escalated.signal;
        assert_eq!(signal.due_us(), next_us);
    }
    assert_eq!(signal.escalations, 2);
    assert_eq!(started(Priority::Medium, POLICY).due_us(), 0, "below the policy's priority");
}

#[test]
fn an_acknowledgement_is_told_once_and_ends_escalation() {
    let acknowledged = started(Priority::High, POLICY).act(&by("nurse"), 105).unwrap();
    assert_eq!(said(&acknowledged), (AlarmPhase::Update, "acknowledged", AlertState::Acknowledged));
    let signal = acknowledged.signal;
    assert_eq!((signal.told().acknowledged_by.as_str(), signal.acknowledged_at_us), ("nurse", 105));
    assert_eq!(signal.due_us(), 0);
    assert_eq!(signal.clone().act(&by("other"), 106), None, "who came first stays");
    let end = change(AlarmPhase::End, Priority::High, POLICY);
    let ended = Signal::follow(Some(signal), &end, None, 120);
    assert_eq!(said(&ended), (AlarmPhase::End, "", AlertState::Ended));
    assert_eq!(ended.signal.act(&by("late"), 130), None);
}

#[test]
fn a_latched_signal_stays_until_it_is_acknowledged() {
    let policy = Policy { latching: true, ..POLICY };
    let end = change(AlarmPhase::End, Priority::High, policy);
    let latched = Signal::follow(Some(started(Priority::High, policy)), &end, None, 105);
    assert_eq!(said(&latched), (AlarmPhase::Update, "latched", AlertState::Latched));
    assert_eq!(latched.signal.due_us(), 110, "it goes on escalating");
    assert_eq!(latched.signal.clone().act(&pause(900), 106), None, "there is nothing to pause");
    let ended = latched.signal.act(&by("nurse"), 107).unwrap();
    assert_eq!(said(&ended), (AlarmPhase::End, "acknowledged", AlertState::Ended));
    // What was seen to before it ended does not stay.
    let seen_to = started(Priority::High, policy).act(&by("nurse"), 101).unwrap().signal;
    assert_eq!(Signal::follow(Some(seen_to), &end, None, 105).signal.state(), AlertState::Ended);
}

#[test]
fn a_pause_ends_by_time_by_hand_or_by_a_higher_priority() {
    let paused = started(Priority::Medium, POLICY).act(&pause(500), 101).unwrap();
    assert_eq!(said(&paused), (AlarmPhase::Update, "paused", AlertState::Paused));
    let paused = paused.signal;
    assert_eq!(paused.due_us(), 500);
    assert_eq!(paused.clone().act(&pause(500), 102), None, "the same again");
    let over = paused.clone().act(&Act::Expire, 500).unwrap();
    assert_eq!(said(&over), (AlarmPhase::Update, "pause_expired", AlertState::Present));
    assert_eq!(over.signal.paused_by, "");
    assert_eq!(paused.clone().act(&Act::Resume, 200).unwrap().reason, "pause_ended");
    let same = change(AlarmPhase::Update, Priority::Medium, POLICY);
    assert_eq!(Signal::follow(Some(paused.clone()), &same, None, 200).signal.state(), AlertState::Paused);
    let higher = change(AlarmPhase::Escalate, Priority::High, POLICY);
    let raised = Signal::follow(Some(paused), &higher, None, 200);
    assert_eq!(said(&raised), (AlarmPhase::Escalate, "", AlertState::Present));
    assert_eq!(raised.signal.due_us(), 210);
}

#[test]
fn a_higher_priority_is_not_covered_by_an_acknowledgement_or_a_pause_of_a_lower_one() {
    let seen_to = started(Priority::Medium, POLICY).act(&by("nurse"), 101).unwrap().signal;
    let higher = change(AlarmPhase::Escalate, Priority::High, POLICY);
    let raised = Signal::follow(Some(seen_to), &higher, None, 102).signal;
    assert_eq!((raised.state(), raised.acknowledged_by.as_str()), (AlertState::Present, ""));
    let start = |priority, until_us| {
        let paused = Paused { priority: Priority::Medium.into(), until_us, by: "nurse".into() };
        Signal::follow(None, &change(AlarmPhase::Start, priority, POLICY), Some(paused), 100).signal.state()
    };
    assert_eq!(start(Priority::Medium, 200), AlertState::Paused, "it came back while it is paused");
    assert_eq!(start(Priority::High, 200), AlertState::Present);
    assert_eq!(start(Priority::Medium, 100), AlertState::Present, "the pause is over");
}

#[test]
fn an_acknowledged_condition_that_stays_alarms_again() {
    let policy = Policy { realarm_after_us: 50, ..POLICY };
    let signal = started(Priority::High, policy).act(&by("nurse"), 101).unwrap().signal;
    assert_eq!(signal.due_us(), 151);
    let again = signal.act(&Act::Expire, 151).unwrap();
    assert_eq!(said(&again), (AlarmPhase::Continue, "re_alarm", AlertState::Present));
    assert_eq!((again.signal.due_us(), again.signal.acknowledged_by.as_str()), (161, ""));
}

#[test]
fn an_update_of_the_condition_leaves_the_signal_as_it_is() {
    let latching = Policy { latching: true, ..POLICY };
    let over = change(AlarmPhase::End, Priority::High, latching);
    let latched = Signal::follow(Some(started(Priority::High, latching)), &over, None, 105).signal;
    let acknowledged = started(Priority::High, latching).act(&by("nurse"), 105).unwrap().signal;
    let paused = started(Priority::High, latching).act(&pause(500), 105).unwrap().signal;
    let ended = latched.clone().act(&by("nurse"), 106).unwrap().signal;
    let update = change(AlarmPhase::Update, Priority::High, latching);
    for signal in [started(Priority::High, latching), latched, acknowledged, paused, ended] {
        let told = Signal::follow(Some(signal.clone()), &update, None, 107);
        assert_eq!((told.phase(), told.reason.as_str()), (AlarmPhase::Update, ""));
        assert_eq!(told.signal, signal, "neither its state nor its timer");
    }
}

#[test]
fn what_the_device_starts_again_is_not_seen_to() {
    let seen_to = || started(Priority::High, POLICY).act(&by("nurse"), 101).unwrap().signal;
    let again = |signal| {
        let restarted = change(AlarmPhase::Continue, Priority::High, POLICY);
        Signal::follow(Some(signal), &restarted, None, 150)
    };
    let told = again(seen_to());
    assert_eq!(said(&told), (AlarmPhase::Continue, "", AlertState::Present));
    assert_eq!((told.signal.acknowledged_by.as_str(), told.signal.due_us()), ("", 160));
    let paused = started(Priority::High, POLICY).act(&pause(500), 101).unwrap().signal;
    assert_eq!(again(paused).signal.state(), AlertState::Paused, "a pause is for its time");
}

#[test]
fn a_rise_escalates_anew_and_never_later() {
    let policy = Policy { escalate_from: Priority::Medium.into(), ..POLICY };
    let mut signal = started(Priority::Medium, policy);
    for at_us in [110, 120] {
        signal = signal.act(&Act::Expire, at_us).unwrap().signal;
    }
    assert_eq!((signal.escalations, signal.due_us()), (2, 0), "as often as it may");
    let rise = change(AlarmPhase::Escalate, Priority::High, policy);
    let risen = Signal::follow(Some(signal), &rise, None, 130).signal;
    assert_eq!((risen.escalations, risen.due_us()), (0, 140));
    let sooner = Signal::follow(Some(started(Priority::Medium, policy)), &rise, None, 105).signal;
    assert_eq!(sooner.due_us(), 110, "the time that runs is not put off");
    assert_eq!(risen.told().highest_priority(), Priority::High);
    let falls = change(AlarmPhase::Deescalate, Priority::Low, policy);
    let fallen = Signal::follow(Some(risen), &falls, None, 131).signal;
    assert_eq!(fallen.told().highest_priority(), Priority::High, "it was");
}
