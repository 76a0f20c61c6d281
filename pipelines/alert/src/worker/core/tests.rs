//! The same journal gives the same events: from scratch, from every checkpoint, and however its devices are shared out
//! among engines.

use super::decide;
use crate::engine::{Engine, Transition};
use crate::rules::Rules;
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, AuditEvent, Body, DeviceAlarm, Frame, JournalRecord, Lane, NumericSeries,
    Priority, Publish,
};
use wardline_proto::{DeviceId, DeviceKey, TenantId, frame};

const T0_US: i64 = 1_700_000_000_000_000;
const SECOND_US: i64 = 1_000_000;
const DEVICES: usize = 6;
/// Rules of each kind that has a memory.
const RULES: &str = r#"
[[rate]]
id = "hr-jump"
metric = "MDC_ECG_HEART_RATE"
mdc_code = 147842
unit = "/min"
rises_by = 30
within_s = 10
hysteresis = 5
onset_delay_s = 0
clear_delay_s = 2
max_gap_s = 10
priority = "low"
source = "test"
[[composite]]
id = "both"
all_of = ["spo2-low", "device/c1"]
within_s = 5
onset_delay_s = 3
priority = "high"
source = "test"
[[suppress]]
cause = "device/off"
rules = ["spo2-low"]
settle_s = 4
source = "test"
[[news2]]
id = "news2"
population = "adult-not-pregnant"
spo2_scale = 1
breathing = "air"
consciousness = "presumed-alert"
from_band = "low-medium"
stale_after_s = 30
spot_stale_after_s = 600
onset_delay_s = 2
clear_delay_s = 2
source = "test"
"#;

/// A record of a journal: when it was stamped, whose it is, its bytes.
#[derive(Debug, Clone)]
struct Line {
    time_us: i64,
    device: Option<usize>,
    payload: Bytes,
}

fn key(device: usize) -> DeviceKey {
    let tenant = if device.is_multiple_of(2) { "north" } else { "south" };
    DeviceKey {
        tenant: TenantId::new(tenant).unwrap(),
        device: DeviceId::new(&format!("mon-{device}")).unwrap(),
    }
}

fn rules() -> Rules {
    Rules::parse(&format!("{}{RULES}", Rules::defaults_text())).unwrap()
}

/// What happens next in a journal.
#[derive(Debug, Clone)]
enum Act {
    Reading {
        device: usize,
        mdc: (u32, &'static str),
        value: f64,
        late_s: i64,
    },
    Alarm {
        device: usize,
        condition: &'static str,
        phase: AlarmPhase,
        priority: Priority,
        late_s: i64,
    },
    /// An alarm that cannot be told.
    Broken {
        device: usize,
    },
    /// A frame of before, sent once more.
    Again {
        back: usize,
    },
    /// Something of no device: the audit's.
    Audit,
    Poison,
}

fn act() -> impl Strategy<Value = Act> {
    let device = 0..DEVICES;
    let late = || prop_oneof![8 => Just(0_i64), 2 => 1_i64..6, 1 => 130_i64..400];
    let mdc = prop_oneof![Just((150_456, "%")), Just((147_842, "/min")), Just((151_562, "/min")),];
    let value = prop_oneof![Just(97.0), Just(84.0), Just(30.0), Just(150.0)];
    let condition = prop_oneof![Just("c1"), Just("off")];
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::Medium), Just(Priority::High)];
    let phase = prop_oneof![Just(AlarmPhase::Start), Just(AlarmPhase::Continue), Just(AlarmPhase::End)];
    prop_oneof![
        12 => (device.clone(), mdc, value, late())
            .prop_map(|(device, mdc, value, late_s)| Act::Reading { device, mdc, value, late_s }),
        4 => (device.clone(), condition, phase, priority, late()).prop_map(
            |(device, condition, phase, priority, late_s)| Act::Alarm { device, condition, phase, priority, late_s }),
        1 => device.prop_map(|device| Act::Broken { device }),
        2 => (0_usize..40).prop_map(|back| Act::Again { back }),
        1 => Just(Act::Audit),
        1 => Just(Act::Poison),
    ]
}

/// Writes a journal: each act some milliseconds after the one before, now and then a silence.
fn journal() -> impl Strategy<Value = Vec<Line>> {
    let pause = prop_oneof![4 => Just(0_i64), 12 => 1_i64..1_500, 1 => 20_000_i64..50_000];
    prop::collection::vec((pause, act()), 50..250).prop_map(|acts| {
        let (mut lines, mut time_us): (Vec<Line>, i64) = (Vec::new(), T0_US);
        for (pause_ms, act) in acts {
            time_us += pause_ms * 1000;
            let seq = lines.len() as u64 + 1;
            lines.push(match act {
                Act::Again { back } => {
                    let again = lines.len().checked_sub(back + 1).map(|at| lines[at].clone());
                    Line { time_us, ..again.unwrap_or_else(|| nobodys(time_us, vec![])) }
                }
                Act::Reading { device, mdc, value, late_s } => {
                    let body = reading(mdc, value, time_us - late_s * SECOND_US);
                    of_device(device, seq, Lane::Numerics, &body, time_us)
                }
                Act::Broken { device } => {
                    let body = alarm("c\u{7}", AlarmPhase::Start, Priority::High, time_us);
                    of_device(device, seq, Lane::Alarm, &body, time_us)
                }
                Act::Alarm { device, condition, phase, priority, late_s } => {
                    let body = alarm(condition, phase, priority, time_us - late_s * SECOND_US);
                    of_device(device, seq, Lane::Alarm, &body, time_us)
                }
                Act::Audit => {
                    let kind = Some(Kind::Audit(AuditEvent::default()));
                    nobodys(time_us, JournalRecord { ingested_at_us: time_us, kind }.encode_to_vec())
                }
                Act::Poison => nobodys(time_us, vec![0xFF; 3]),
            });
        }
        lines
    })
}

fn nobodys(time_us: i64, payload: Vec<u8>) -> Line {
    Line { time_us, device: None, payload: payload.into() }
}

fn reading((mdc_code, unit): (u32, &str), value: f64, start_us: i64) -> Body {
    // Eight seconds of it: what crosses a limit does so for its onset delay.
    let series = NumericSeries {
        mdc_code,
        ucum_unit: unit.into(),
        start_us: start_us - 7 * SECOND_US,
        time_deltas_us: vec![0, SECOND_US, SECOND_US, SECOND_US, SECOND_US, SECOND_US, SECOND_US, SECOND_US],
        values: vec![value; 8],
        statuses: Vec::new(),
    };
    Body { numerics: vec![series], ..Body::default() }
}

fn alarm(condition: &str, phase: AlarmPhase, priority: Priority, at_us: i64) -> Body {
    let alarm = DeviceAlarm {
        condition_id: condition.into(),
        kind: AlarmKind::Technical.into(),
        priority: priority.into(),
        phase: phase.into(),
        at_us,
        ..DeviceAlarm::default()
    };
    Body { alarms: vec![alarm], ..Body::default() }
}

fn of_device(device: usize, seq: u64, lane: Lane, body: &Body, time_us: i64) -> Line {
    let (encoding, body) = frame::encode_body(body);
    let (encoding, lane) = (encoding.into(), lane.into());
    let frame = Frame { epoch: 1, seq, encoding, lane, body, ..Frame::default() };
    let DeviceKey { tenant, device: name } = key(device);
    let publish = Publish {
        tenant: tenant.as_str().into(),
        device: name.as_str().into(),
        payload: frame.encode_to_vec().into(),
        ..Publish::default()
    };
    // The front's stamp is a little earlier, and not in order: what depends on it is of the record alone.
    let ingested_at_us = time_us - (seq as i64 * 7919) % 40_000;
    let payload = JournalRecord { ingested_at_us, kind: Some(Kind::Publish(publish)) }.encode_to_vec();
    Line { time_us, device: Some(device), payload: payload.into() }
}

/// The end of every journal here: time goes on, and all that was armed falls due.
const END_US: i64 = 120 * SECOND_US;

/// One engine over the lines that are its own. It is stopped and opened again from its checkpoint before the lines in
/// `stops`, and told the time before those in `ticks`.
fn replay(lines: &[&Line], stops: &[usize], ticks: &[usize]) -> Vec<Transition> {
    let (mut engine, mut out, mut kept) = (Engine::new(rules()), Vec::new(), BTreeMap::new());
    for (at, line) in lines.iter().enumerate() {
        if stops.contains(&at) {
            engine = reopened(&mut engine, &mut kept, &mut out);
        }
        if ticks.contains(&at) {
            // As far as a tick may go: what comes next is not before it.
            engine.advance(line.time_us, &mut out);
        }
        decide(&mut engine, line.payload.clone(), line.time_us, &mut out);
    }
    let end_us = lines.last().map_or(T0_US, |line| line.time_us) + END_US;
    engine.advance(end_us, &mut out);
    out
}

fn reopened(
    engine: &mut Engine,
    kept: &mut BTreeMap<DeviceKey, Vec<u8>>,
    out: &mut Vec<Transition>,
) -> Engine {
    let changes = engine.take_changes();
    for (key, state) in changes.devices {
        match state {
            Some(state) => kept.insert(key, state),
            None => kept.remove(&key),
        };
    }
    Engine::restore(rules(), &changes.global, kept.clone(), out).unwrap()
}

/// Replays a journal in `engines` parts: a record of a device goes to the engine of its partition, all else to each.
fn shared_out(journal: &[Line], engines: u16, stops: &[usize], ticks: &[usize]) -> Vec<Transition> {
    let end = journal.last().map(|line| Line { payload: Bytes::new(), device: None, ..line.clone() });
    let mut out = Vec::new();
    for engine in 0..engines {
        let is_ours = |line: &&Line| line.device.is_none_or(|d| key(d).partition().get() % engines == engine);
        let lines: Vec<&Line> = journal.iter().filter(is_ours).chain(&end).collect();
        out.extend(replay(&lines, stops, ticks));
    }
    out
}

/// Puts what was said in order of device: between two devices there is no order over partitions.
fn by_device(out: Vec<Transition>) -> BTreeMap<(String, String), Vec<Transition>> {
    let mut devices: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for said in out {
        let device = (said.alert.tenant.clone(), said.alert.device.clone());
        devices.entry(device).or_default().push(said);
    }
    devices
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_journal_says_the_same_in_any_number_of_partitions(
        journal in journal(),
        stops in prop::collection::vec(0_usize..250, 0..6),
        ticks in prop::collection::vec(0_usize..250, 0..20),
    ) {
        let once = by_device(shared_out(&journal, 1, &[], &[]));
        prop_assert_eq!(&by_device(shared_out(&journal, 1, &[], &[])), &once, "replayed twice");
        for engines in [1, 2, 4] {
            let again = by_device(shared_out(&journal, engines, &stops, &ticks));
            prop_assert_eq!(&again, &once, "{} partitions, restarts {:?}, ticks {:?}", engines, stops, ticks);
        }
    }

    /// What came after the live window is found, not paged.
    #[test]
    fn what_comes_late_never_begins_an_alert(
        journal in journal(),
        late in prop::collection::vec((0..DEVICES, 130_i64..4000, prop_oneof![Just(84.0), Just(97.0)]), 1..30),
    ) {
        let numbered = late.iter().enumerate();
        let end_us = journal.last().map_or(T0_US, |line| line.time_us);
        let backfill = numbered.map(|(n, (device, late_s, value))| {
            let body = reading((150_456, "%"), *value, end_us - late_s * SECOND_US);
            of_device(*device, 10_000 + n as u64, Lane::Numerics, &body, end_us)
        });
        let with: Vec<Line> = journal.iter().cloned().chain(backfill).collect();
        let began = |journal: &[Line]| {
            let out = shared_out(journal, 1, &[], &[]);
            let began = out.into_iter().filter(|t| t.phase == AlarmPhase::Start);
            let began = began.filter(|t| t.alert.kind() == AlarmKind::Physiological);
            // Not when: a device that is heard of explains for longer what is held back.
            began.map(|t| (t.alert.rule_id, t.alert.alert_id)).collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(began(&with), began(&journal));
    }
}

/// A fixed journal, from every record on.
#[test]
fn every_checkpoint_of_every_partition_goes_on_the_same() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let journal = journal().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let whole = by_device(shared_out(&journal, 1, &[], &[]));
    let said: usize = whole.values().map(Vec::len).sum();
    assert!(said > 50 && whole.len() >= DEVICES, "{said} events of {} devices", whole.len());
    for engines in [1, 2, 4] {
        for stop in 0..journal.len() {
            assert_eq!(by_device(shared_out(&journal, engines, &[stop], &[])), whole, "{engines}, {stop}");
        }
    }
    println!(
        "{} records, {said} events: the same from {} checkpoints in 1, 2 and 4 partitions",
        journal.len(),
        journal.len()
    );
}
