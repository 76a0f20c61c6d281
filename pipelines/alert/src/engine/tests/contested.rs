//! A certificate in two places, on a clock of the test's own.

use super::{T0_US, defaults, key};
use crate::engine::{CONTESTED_RULE, Engine};
use crate::limits::QUIET_US;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Priority};

#[test]
fn it_is_raised_once_kept_up_and_ended_when_quiet_over_a_restart() {
    let mut out = Vec::new();
    let mut engine = Engine::new(defaults());
    engine.contested(&key("mon-1"), T0_US, &mut out);
    engine.contested(&key("mon-1"), T0_US + QUIET_US / 2, &mut out);
    assert_eq!(out.len(), 1, "{out:?}");
    let alert = &out[0].alert;
    assert_eq!((alert.device.as_str(), alert.rule_id.as_str()), ("mon-1", CONTESTED_RULE));
    assert_eq!((alert.kind(), alert.priority()), (AlarmKind::Technical, Priority::Medium));
    let changes = engine.take_changes();
    let devices = changes.devices.into_iter().filter_map(|(key, state)| Some((key, state?)));
    let mut engine = Engine::restore(defaults(), &changes.global, devices, &mut out).unwrap();
    engine.advance(T0_US + QUIET_US, &mut out);
    assert_eq!(out.len(), 1, "not quiet yet");
    engine.advance(T0_US + 2 * QUIET_US, &mut out);
    assert_eq!(out.len(), 2);
    assert_eq!((out[1].phase, out[1].reason), (AlarmPhase::End, "quiet"));
    assert_eq!(out[1].alert.alert_id, out[0].alert.alert_id);
}
