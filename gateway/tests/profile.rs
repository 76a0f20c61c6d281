//! `wardline profile` on real files and a real archive, through the binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use firmware_sim::{DeviceOptions, SourceOptions, Speed, SynthOptions, run_device};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use wardline::node::{Node, NodeOptions};
use wardline::operate;
use wardline_edge::{Agent, AgentOptions, FrontAddr, LinkAddr};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

const MONITOR: &str = include_str!("../../docs/profiles/bedside-monitor.toml");
/// Device time that is archived: as fast as it is acknowledged.
const MEASURED: Duration = Duration::from_secs(70);

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/profiles").join(name)
}

fn wardline(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardline")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes the monitor's profile with one text put in the place of another.
fn changed(dir: &TempDir, from: &str, to: &str) -> String {
    assert!(MONITOR.contains(from), "{from}");
    let path = dir.path().join("changed.toml");
    std::fs::write(&path, MONITOR.replacen(from, to, 1)).unwrap();
    path.display().to_string()
}

/// Archives what a simulated monitor measures in a minute.
async fn archive(data: &Path) {
    operate::init(data, "test.wardline.local", &["localhost".to_owned()]).await.unwrap();
    let key = DeviceKey { tenant: TenantId::new("t").unwrap(), device: DeviceId::new("m-1").unwrap() };
    let certs = data.join("m-1");
    operate::issue_device(data, &key, &certs).await.unwrap();
    let node = Node::start(NodeOptions::on_loopback(data)).await.unwrap();
    let front = FrontAddr { host: "localhost".to_owned(), port: node.addrs().mqtt.port() };
    let mut options = AgentOptions::new(Some(front), certs, data.join("spool"));
    options.link = LinkAddr::Tcp(([127, 0, 0, 1], 0).into());
    let agent = Agent::start(options).await.unwrap();
    let mut device = DeviceOptions::new(agent.link_addr().to_string().parse().unwrap(), "m-1");
    device.source = SourceOptions::Synthetic(SynthOptions::default());
    (device.speed, device.duration) = (Speed::Max, Some(MEASURED));
    let (_stop, stopped) = watch::channel(false);
    let report = run_device(device, stopped).await.unwrap();
    assert!(report.complete && agent.wait_until_sent(Duration::from_secs(20)).await);
    agent.shutdown().await.unwrap();
    node.archive().unwrap().flush_to(node.journal().durable_end()).await.unwrap();
    node.shutdown().await.unwrap();
}

#[test]
fn shipped_profiles_lint_and_a_mistake_is_told_with_its_line() {
    let (monitor, oximeter) = (shipped("bedside-monitor.toml"), shipped("pulse-oximeter.toml"));
    let good =
        wardline(&["profile", "lint", &monitor.display().to_string(), &oximeter.display().to_string()]);
    assert_eq!(
        (good.status.code(), text(&good).matches(" 0 warnings").count()),
        (Some(0), 2),
        "{}",
        text(&good)
    );

    let dir = tempfile::tempdir().unwrap();
    let wrong = changed(&dir, "mdc_code = 150456", "mdc_code = 150457");
    let told = wardline(&["profile", "lint", &wrong]);
    assert_eq!(told.status.code(), Some(1));
    let line = MONITOR.lines().position(|l| l == "mdc_code = 150456").unwrap() + 1;
    assert!(text(&told).contains(&format!("line {line}: error WL-PRF-003 MDC_PULS_OXIM_SAT_O2.mdc_code")));
    let json: serde_json::Value =
        serde_json::from_slice(&wardline(&["profile", "lint", "--json", &wrong]).stdout).unwrap();
    assert_eq!((&json[0]["good"], &json[0]["findings"][0]["line"]), (&false.into(), &line.into()));
}

#[test]
fn changed_content_needs_a_higher_version() {
    let dir = tempfile::tempdir().unwrap();
    let old = shipped("bedside-monitor.toml").display().to_string();
    let against = |new: &str| wardline(&["profile", "lint", new, "--against", &old]);
    assert_eq!(against(&old).status.code(), Some(0));
    let same_version = against(&changed(&dir, "below = 90", "below = 88"));
    assert_eq!(same_version.status.code(), Some(1));
    assert!(text(&same_version).contains("WL-PRF-008"), "{}", text(&same_version));
    let path = changed(&dir, "version = 1", "version = 2");
    let risen = std::fs::read_to_string(&path).unwrap().replace("below = 90", "below = 88");
    std::fs::write(&path, risen).unwrap();
    assert_eq!(against(&path).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_keeps_its_profile_and_breaks_a_stricter_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("gateway");
    archive(&data).await;
    let data = data.display().to_string();
    let test = |profile: &str| {
        wardline(&["profile", "test", profile, "--archive", &data, "--device", "m-1", "--json"])
    };
    let good = test(&shipped("bedside-monitor.toml").display().to_string());
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let json: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    let rows = |ref_id: &str| {
        let measured = json["measurements"].as_array().unwrap();
        measured.iter().find(|m| m["ref_id"] == ref_id).map(|m| m["rows"].clone())
    };
    assert_eq!(rows("MDC_ECG_HEART_RATE"), Some(MEASURED.as_secs().into()));
    assert_eq!(rows("MDC_ECG_ELEC_POTL_II"), Some(MEASURED.as_secs().into()));

    let monitor = shipped("bedside-monitor.toml").display().to_string();
    let nobody = wardline(&["profile", "test", &monitor, "--archive", &data, "--device", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1), "nothing to check is no pass");
    let stricter = [
        (
            "interval_ms = 1000\ntolerance_ms = 250",
            "interval_ms = 2000\ntolerance_ms = 250",
            "cadence_kept",
            false.into(),
        ),
        ("low = -5\nhigh = 5", "low = -0.01\nhigh = 0.01", "implausible", serde_json::Value::Null),
        ("sample_rate_hz = 250", "sample_rate_hz = 500", "wrong_rate", MEASURED.as_secs().into()),
    ];
    for (from, to, field, expected) in stricter {
        let broken = test(&changed(&dir, from, to));
        assert_eq!(broken.status.code(), Some(1), "{to}: {}", text(&broken));
        let json: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
        let mut values = json["measurements"].as_array().unwrap().iter().map(|m| m[field].clone());
        let found = values.any(|v| if expected.is_null() { v.as_u64() > Some(1000) } else { v == expected });
        assert!(found, "{to}: {json}");
    }
    let other = test(&shipped("pulse-oximeter.toml").display().to_string());
    assert_eq!(other.status.code(), Some(1), "a monitor is no oximeter");
}
