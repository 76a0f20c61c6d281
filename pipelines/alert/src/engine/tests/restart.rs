//! A restart from any checkpoint gives the same events; the checkpoint's bytes are a format.

use super::{Engine, Input, defaults, feed, run, script};
use crate::engine::Transition;
use crate::rules::Rules;
use std::collections::BTreeMap;
use wardline_proto::DeviceKey;

const STORY: &str = "
    0-20 spo2 97
    0-20 hr 80 dev=mon-2
    21-40 spo2 84
    30 alarm c1 start
    35-45 hr 140 dev=mon-2
    41-50 spo2 97
    52 alarm c1 end
    tick 90
    95 spo2 97
    tick 200
";

/// Keeps checkpoints as the store does.
#[derive(Default)]
pub(super) struct Kept {
    global: Vec<u8>,
    devices: BTreeMap<DeviceKey, Vec<u8>>,
}

impl Kept {
    pub(super) fn commit(&mut self, engine: &mut Engine) {
        let changes = engine.take_changes();
        self.global = changes.global;
        for (key, state) in changes.devices {
            match state {
                Some(state) => self.devices.insert(key, state),
                None => self.devices.remove(&key),
            };
        }
    }

    pub(super) fn restore(&self, rules: Rules, out: &mut Vec<Transition>) -> Engine {
        Engine::restore(rules, &self.global, self.devices.clone(), out).unwrap()
    }
}

#[test]
fn a_restart_at_any_record_changes_nothing() {
    let inputs = script(STORY);
    let expected = run(&inputs);
    assert!(expected.len() >= 8, "the story has events: {}", expected.len());
    for stop in 0..=inputs.len() {
        let (mut engine, mut out, mut kept) = (Engine::new(defaults()), Vec::new(), Kept::default());
        for input in &inputs[..stop] {
            feed(&mut engine, input, &mut out);
            kept.commit(&mut engine);
        }
        let mut engine = kept.restore(defaults(), &mut out);
        inputs[stop..].iter().for_each(|input| feed(&mut engine, input, &mut out));
        assert_eq!(out, expected, "restarted after {stop} inputs");
    }
}

#[test]
fn a_restart_from_an_old_checkpoint_repeats_the_same_events() {
    let inputs = script(STORY);
    let expected = run(&inputs);
    for stop in (0..inputs.len()).step_by(7) {
        let (mut engine, mut before, mut kept) = (Engine::new(defaults()), Vec::new(), Kept::default());
        inputs[..stop].iter().for_each(|input| feed(&mut engine, input, &mut before));
        kept.commit(&mut engine);
        let ahead = inputs.len().min(stop + 10);
        inputs[stop..ahead].iter().for_each(|input| feed(&mut engine, input, &mut Vec::new()));
        let mut engine = kept.restore(defaults(), &mut before);
        inputs[stop..].iter().for_each(|input| feed(&mut engine, input, &mut before));
        assert_eq!(before, expected, "from the checkpoint after {stop} inputs");
    }
}

#[test]
fn alerts_of_a_removed_rule_end() {
    let (mut engine, mut out, mut kept) = (Engine::new(defaults()), Vec::new(), Kept::default());
    script("0-10 spo2 80").iter().for_each(|input| feed(&mut engine, input, &mut out));
    kept.commit(&mut engine);
    out.clear();
    let none = Rules::parse("version = 1").unwrap();
    kept.restore(none, &mut out);
    assert_eq!(super::told(&out), ["end spo2-low onset 0 at 10.2 rule_removed"]);
}

#[test]
fn damaged_state_is_an_error_not_an_empty_engine() {
    let devices = vec![(super::key("mon-1"), vec![0xFF; 9])];
    assert!(Engine::restore(defaults(), &[], devices, &mut Vec::new()).is_err());
}

/// Golden bytes of each version: a checkpoint written today must be read by every later version.
#[test]
fn golden_state() {
    let mut engine = Engine::new(defaults());
    for input in script("0-1 spo2 80\n1 alarm c1 start") {
        if let Input::Seen(_) = input {
            feed(&mut engine, &input, &mut Vec::new());
        }
    }
    let changes = engine.take_changes();
    let state = changes.devices[0].1.as_ref().unwrap();
    let hex: String = state.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN_2);
}

/// What a version before this one wrote goes on: what it knew nothing of is not known, and changes nothing.
#[test]
fn the_state_of_a_version_before_goes_on_as_its_own_would() {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect()
    };
    let later = &script("0-1 spo2 80\n1 alarm c1 start\n2-5 spo2 80\n6 alarm c1 end\ntick 40")[3..];
    let told = |state: &str| {
        let (key, mut out) = (super::key("mon-1"), Vec::new());
        let mut engine = Engine::restore(defaults(), &[], [(key, bytes(state))], &mut out).unwrap();
        later.iter().for_each(|input| feed(&mut engine, input, &mut out));
        super::told(&out)
    };
    assert_eq!(told(GOLDEN), told(GOLDEN_2));
    assert_eq!(
        told(GOLDEN),
        [
            "start spo2-low onset 0 at 5 onset",
            "end device/c1 onset 1 at 6 device",
            "start spo2-missing onset 5.2 at 35.2 data_missing",
        ]
    );
}

/// Before a state knew what it is about and when it was heard of.
const GOLDEN: &str = concat!(
    "0a5108011002180222400600000000000000000000000000000000000000000000000000000000000000000000000000",
    "000000000000000000000000000000000000000000000000000028809fc2c1c1c482030a510801100118032240080000",
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000028809fc2c1c1c48203120d08b8970910c084b6c1c1c482031a130a0873706f322d6c6f",
    "77108080f9c0c1c4820322200a0c73706f322d6d697373696e6710809fc2c1c1c482031880a6e9cfc1c482032a780a02",
    "633110c084b6c1c1c4820322690a40366261666162626565343737373430376562366166636461386164366335363737",
    "34323164366564346232626162653639383032366238396430383563623234120464656d6f1a056d6f6e2d3122096465",
    "766963652f633128023002380168c084b6c1c1c4820330809fc2c1c1c48203",
);

const GOLDEN_2: &str = concat!(
    "0a5108011002180222400600000000000000000000000000000000000000000000000000000000000000000000000000",
    "000000000000000000000000000000000000000000000000000028809fc2c1c1c482030a510801100118032240080000",
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000028809fc2c1c1c48203120d08b8970910c084b6c1c1c482031a190a0873706f322d6c6f",
    "77108080f9c0c1c482032a0408b8970922240a0c73706f322d6d697373696e6710809fc2c1c1c482031880a6e9cfc1c4",
    "820328b897092a83010a02633110c084b6c1c1c4820322690a4036626166616262656534373737343037656236616663",
    "646138616436633536373734323164366564346232626162653639383032366238396430383563623234120464656d6f",
    "1a056d6f6e2d3122096465766963652f633128023002380168c084b6c1c1c48203280130809fc2c1c1c4820330809fc2",
    "c1c1c48203",
);
