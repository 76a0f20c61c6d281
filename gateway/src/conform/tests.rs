//! The kit at work on simulated devices: real gateway, real sockets, real TLS.

use super::*;
use wardline_profile::lint::lint;

fn options(simulate: Option<Fault>) -> ConformOptions {
    ConformOptions {
        profile: lint(include_str!("../../../docs/profiles/bedside-monitor.toml")).profile.unwrap(),
        device: DeviceId::new("sim-1").unwrap(),
        listen: ([127, 0, 0, 1], 0).into(),
        hosts: Vec::new(),
        identity: None,
        duration: DURATION_MIN,
        wait: Duration::from_secs(10),
        simulate: Some(simulate),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_behind_the_agent_conforms() {
    let mut lines = Vec::new();
    let report = run(&options(None), &mut |line| lines.push(line.to_owned())).await.unwrap();
    assert!(report.conforms(), "{}", lines.join("\n"));
    for id in ["delivery.resend", "delivery.spool", "delivery.once", "session.reconnect", "clock.skew"] {
        assert!(report.ids("pass").contains(&id), "{id} was not seen to pass:\n{}", lines.join("\n"));
    }
    assert!(lines.iter().any(|line| line.starts_with("connect to   mqtts://127.0.0.1:")));
    let dir = tempfile::tempdir().unwrap();
    let (json, markdown) = (dir.path().join("report.json"), dir.path().join("report.md"));
    report.write(&json).unwrap();
    report.write(&markdown).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(
        (&json["conforms"], &json["profile"]["model"]),
        (&true.into(), &"wardline-sim-monitor".into())
    );
    assert_eq!(json["checks"].as_array().map(Vec::len), Some(check::CHECKS.len()));
    let markdown = std::fs::read_to_string(markdown).unwrap();
    assert!(markdown.contains("| `delivery.resend` | must | pass |"), "{markdown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_spool_does_not_conform() {
    let mut lines = Vec::new();
    let report = run(&options(Some(Fault::NoSpool)), &mut |line| lines.push(line.to_owned())).await.unwrap();
    assert!(!report.conforms(), "{}", lines.join("\n"));
    for id in ["delivery.resend", "delivery.spool"] {
        assert!(report.ids("fail").contains(&id), "{id} did not fail:\n{}", lines.join("\n"));
    }
    for id in ["identity.certificate", "topics.own", "payload.units", "clock.skew"] {
        assert!(report.ids("pass").contains(&id), "{id} did not pass:\n{}", lines.join("\n"));
    }
}
