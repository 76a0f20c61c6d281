//! A patient's own limit follows the patient from device to device; afterwards the archive tells what other rules would
//! have done.

use crate::compromise::utc;
use crate::frames::{frame, now_us, series};
use crate::process::{eventually, run, run_to_fail};
use crate::stand::{Stand, TENANT};
use crate::ward::{Sender, Subscriber, devices, runtime};
use anyhow::{Context, ensure};
use std::time::Duration;
use wardline_alert::rules::Rules;
use wardline_proto::v1::{AlarmPhase, Body};

const SPO2: u32 = 150_456;
const EPOCH: u64 = 1_790_000_000_000_000;
/// What is decided counts from five seconds later.
const LEAD: Duration = Duration::from_millis(5_200);
const WAIT: Duration = Duration::from_secs(30);

/// Sends nine seconds of 86 %, the last one now.
async fn desaturate(senders: &mut [Sender], seq: u64) -> anyhow::Result<()> {
    for sender in senders {
        let start_us = now_us() - 8_000_000;
        let body = Body { numerics: vec![series(SPO2, "%", start_us, &[86.0; 9])], ..Body::default() };
        sender.deliver(&frame(EPOCH, seq, &body)).await?;
    }
    Ok(())
}

/// Waits for so many events of the limit; returns device and phase of each.
fn told(subscriber: &Subscriber, count: usize) -> anyhow::Result<Vec<(String, AlarmPhase)>> {
    let heard = eventually("the limit is told", WAIT, || {
        Ok(Some(subscriber.heard("spo2-low")).filter(|heard| heard.len() >= count))
    })?;
    let line =
        |event: &wardline_proto::v1::AlertEvent| Some((event.alert.as_ref()?.device.clone(), event.phase()));
    heard.iter().map(|event| line(event).context("an alert")).collect()
}

#[test]
fn a_patients_limit_goes_with_the_patient_and_a_replay_compares_rules() -> anyhow::Result<()> {
    let (mut stand, runtime) = (Stand::new()?, runtime()?);
    let ward = stand.service("ward-7")?;
    let mut senders = runtime.block_on(devices(&stand, 2))?;
    stand.start()?;
    let subscriber = Subscriber::start(&runtime, stand.grpc, ward);
    let operator = |words: &[&str]| run(&mut stand.operator(&[words, &["--tenant", TENANT]].concat())?);
    let bind = |device: &str, subject: &str| {
        operator(&["binding", "create", "--device", device, "--subject", subject])
    };
    bind("mon-0", "s-4711")?;
    let set = ["alerts", "override", "set", "spo2-low"];
    let for_patient = ["--below", "84", "--subject", "s-4711", "--reason", "COPD, 88 to 92 %"];
    println!("{}", operator(&[&set[..], &for_patient].concat())?.trim());
    let wrong = [&set[..], &["--above", "84", "--reason", "x", "--tenant", TENANT]].concat();
    let refused = run_to_fail(&mut stand.operator(&wrong)?)?;
    ensure!(refused.contains("WL-ALR-001"), "{refused}");

    std::thread::sleep(LEAD);
    runtime.block_on(desaturate(&mut senders, 1))?;
    let first = told(&subscriber, 1)?;
    ensure!(first == [("mon-1".to_owned(), AlarmPhase::Start)], "86 % is the patient's own: {first:?}");

    bind("mon-1", "s-4711")?;
    bind("mon-0", "")?;
    std::thread::sleep(LEAD);
    let second_us = now_us();
    runtime.block_on(desaturate(&mut senders, 2))?;
    let mut moved = told(&subscriber, 3)?.split_off(1);
    moved.sort();
    let expected = [("mon-0".to_owned(), AlarmPhase::Start), ("mon-1".to_owned(), AlarmPhase::End)];
    ensure!(moved == expected, "the limit went with the patient: {moved:?}");

    println!("{}", operator(&["alerts", "override", "end", "1"])?.trim());
    let listed = operator(&["alerts", "override", "list", "--all", "--json"])?;
    let listed: serde_json::Value = serde_json::from_str(listed.trim())?;
    ensure!(listed["subject"] == "s-4711" && listed["ended_at_us"].is_i64(), "{listed}");
    // The outbox's relay journals what the change committed.
    let trail = eventually("both are audited", WAIT, || {
        let trail = stand.trail()?;
        let audited = |action: &str| trail.iter().filter(|event| event["action"] == action).count();
        let both = audited("alert_override_set") == 1 && audited("alert_override_ended") == 1;
        Ok(both.then_some(trail))
    })?;
    ensure!(!trail.iter().any(|event| event.to_string().contains("s-4711")), "no patient in the trail");
    eventually("the readings are archived", WAIT, || Ok((stand.rows("numerics")? >= 36).then_some(())))?;
    stand.stop()?;
    replay(&stand, second_us)
}

/// What the patient's limit does to the difference: of the readings after it had moved to the other device, one device
/// alarms by the rules in force then, and two without it.
fn bedside(stand: &Stand, words: &[&str], second_us: i64) -> anyhow::Result<()> {
    let from = utc(second_us)?;
    let gone = |more: &[&str]| -> anyhow::Result<(serde_json::Value, Vec<String>)> {
        let told = run(&mut stand.on_data(&[words, &["--from", &from, "--json"], more].concat())?)?;
        let told: serde_json::Value = serde_json::from_str(told.trim())?;
        let lines = told["rules"].as_array().context("rules")?;
        let line = lines.iter().find(|line| line["rule_id"] == "spo2-low").context("a line")?;
        let examples = line["gone_examples"].as_array().context("examples")?;
        let devices = examples.iter().filter_map(|one| one["device"].as_str().map(str::to_owned));
        Ok((told["overrides"].clone(), devices.collect()))
    };
    let (known, by_bedside) = gone(&[])?;
    let (ignored, without) = gone(&["--without-overrides"])?;
    println!("with the override {by_bedside:?}, without it {without:?}");
    ensure!(known == 1 && by_bedside == ["mon-0"], "the patient wears mon-1: {by_bedside:?}");
    ensure!(ignored == 0 && without.len() == 2, "{without:?}");
    Ok(())
}

/// Limits of 80 and 90 % over the same readings.
fn replay(stand: &Stand, second_us: i64) -> anyhow::Result<()> {
    let candidate = stand.path("candidate.toml");
    std::fs::write(&candidate, Rules::defaults_text().replacen("below = 90", "below = 80", 1))?;
    let file = candidate.display().to_string();
    let linted = run(&mut stand.offline(&["alerts", "lint", &file])?)?;
    ensure!(linted.contains("nothing is wrong"), "{linted}");
    let words = ["alerts", "replay", "--rules", &file];
    let table = run(&mut stand.on_data(&words)?)?;
    println!("{}", table.trim());
    let json = run(&mut stand.on_data(&[&words[..], &["--json"]].concat())?)?;
    let json: serde_json::Value = serde_json::from_str(json.trim())?;
    let lines = json["rules"].as_array().context("rules")?;
    let line = |rule: &str| lines.iter().find(|line| line["rule_id"] == rule).context("a line");
    let limit = line("spo2-low")?;
    ensure!(limit["before"] == 2 && limit["after"] == 0 && limit["gone"] == 2, "{limit}");
    let example = &limit["gone_examples"][0];
    ensure!(limit["priority"] == "high" && example["value"] == 86.0, "{limit}");
    let per_day = limit["before_per_patient_day"].as_f64().context("a rate")?;
    let days = json["patient_days"].as_f64().context("days")?;
    ensure!(days > 0.0 && (per_day - 2.0 / days).abs() < 1e-6, "{per_day} a day in {days} days");
    let missing = line("spo2-missing")?;
    ensure!(missing["before"] == missing["after"], "what did not change is not different: {missing}");
    bedside(stand, &words, second_us)?;
    let spoilt = std::fs::read_to_string(&candidate)?.replacen("hysteresis", "hysterisis", 1);
    let at = spoilt.lines().position(|line| line.contains("hysterisis")).context("a line")? + 1;
    std::fs::write(&candidate, spoilt)?;
    let wrong = run_to_fail(&mut stand.offline(&["alerts", "lint", &file])?)?;
    println!("{}", wrong.trim());
    ensure!(wrong.contains("WL-RUL-002") && wrong.contains(&format!("{file}:{at}:")), "{wrong}");
    let schema: serde_json::Value =
        serde_json::from_str(run(&mut stand.offline(&["alerts", "schema"])?)?.trim())?;
    ensure!(schema["properties"]["threshold"].is_object(), "the schema is printed");
    Ok(())
}
