//! Other people's readers: PyArrow with its own `CryptoFactory`. Needs the interpreter that `tests/run` installs.

use crate::rig::{NOW_US, Rig, readings, samples};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wardline_archive::Table;
use wardline_proto::v1::{Body, DeviceAlarm, DeviceEvent, PayloadFormat};

/// Returns the interpreter that `tests/run` installs.
pub(crate) fn python() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/wardline/venv"));
    let venv = std::env::var_os("WARDLINE_VENV").map(PathBuf::from).or(home)?;
    Some(venv.join("bin/python")).filter(|python| python.exists())
}

fn read(python: &Path, rig: &Rig, arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/read_archive.py");
    let mut command = Command::new(python);
    command.arg(script).arg("--data-dir").arg(rig.folder.path()).args(arguments);
    command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()
}

async fn filled() -> Rig {
    let rig = Rig::new().await;
    rig.frame(1, &readings(&[97.5, 96.0]));
    rig.frame(1, &samples(NOW_US, &[-5, 70_000, 3]));
    let alarm = DeviceAlarm {
        condition_id: "spo2-low".into(),
        mdc_code: 196_670,
        source_mdc_code: 150_456,
        kind: 1,
        priority: 3,
        phase: 1,
        at_us: NOW_US,
        ..DeviceAlarm::default()
    };
    rig.frame(1, &Body { alarms: vec![alarm], ..Body::default() });
    let event = DeviceEvent { name: "probe_off".into(), at_us: NOW_US, ..DeviceEvent::default() };
    rig.frame(1, &Body { events: vec![event], ..Body::default() });
    rig.publish(b"nonsense".to_vec(), PayloadFormat::Frame);
    rig.archive().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn pyarrow_reads_every_table_with_the_keyring_and_nothing_without() {
    let Some(python) = python() else {
        println!("SKIPPED: no interpreter; tests/run installs it, and runs this again end to end");
        return;
    };
    let rig = filled().await;
    let expected = [
        (Table::Numerics, "97.5"),
        (Table::Waveforms, "[-5, 70000, 3]"),
        (Table::Alarms, "spo2-low"),
        (Table::Events, "probe_off"),
        (Table::Quarantine, "WL-PAY-002"),
        (Table::Audit, "marker"),
    ];
    for (table, text) in expected {
        let output = read(&python, &rig, &["--table", table.name(), "--json"]);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains(text), "{table}: {out}{err}");
    }
    let empty = rig.folder.path().join("empty.json");
    std::fs::write(&empty, br#"{"version":1,"keys":[]}"#).unwrap();
    let output = read(&python, &rig, &["--keyring", empty.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the keyring has no key"));
}
