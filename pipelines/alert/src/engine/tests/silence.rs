//! Missing data: noticed by the watermark or a tick, once, with one id; restarts neither lose nor invent it.

use super::{Engine, check, defaults, feed, key, script, told, us};

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
fn what_was_never_seen_is_not_missed_and_test_data_counts_as_never_seen() {
    check("tick 100", &[]);
    check("0-5 spo2 97 s16\ntick 100", &[]);
}

#[test]
fn a_restart_gives_devices_time_but_not_for_ever() {
    let mut out = Vec::new();
    let mut engine = Engine::new(defaults());
    for input in script("0-10 spo2 97\ntick 35") {
        feed(&mut engine, &input, &mut out);
    }
    let mut now = 35.0;
    for _ in 0..2 {
        engine = reopen(&mut engine);
        now += 100.0;
        engine.resume(us(now));
        engine.advance(us(now + 4.0), &mut out);
        now += 4.0;
    }
    assert_eq!(told(&out), [""; 0]);
    engine.advance(us(now + 16.0), &mut out);
    let at = "start spo2-missing onset 10.2 at 254 data_missing";
    assert_eq!(told(&out), [at], "once, with the onset of before the restarts");
    engine = reopen(&mut engine);
    engine.resume(us(now + 200.0));
    engine.advance(us(now + 400.0), &mut out);
    assert_eq!(out.len(), 1, "not again after another restart");
}

fn reopen(engine: &mut Engine) -> Engine {
    let changes = engine.take_changes();
    let devices: Vec<_> = changes.devices.into_iter().filter_map(|(k, s)| Some((k, s?))).collect();
    assert_eq!(devices.first().map(|d| &d.0), Some(&key("mon-1")));
    Engine::restore(defaults(), &changes.global, devices, &mut Vec::new()).unwrap()
}
