//! `wardline keys` through the binary, on a data directory without a gateway.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use wardline::operate;
use wardline_store::Store;

fn keys(data: &Path, words: &[&str], typed: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardline"));
    command.arg("keys").args(words).arg("--data-dir").arg(data);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not ask has closed its input.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(data: &Path, words: &[&str], typed: &str) -> String {
    let output = keys(data, words, typed);
    assert!(output.status.success(), "{words:?}: {}", told(&output));
    told(&output)
}

fn refused(data: &Path, words: &[&str], typed: &str) -> String {
    let output = keys(data, words, typed);
    assert!(!output.status.success(), "{words:?}: {}", told(&output));
    told(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_renewed_held_and_destroyed_only_when_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    operate::init(data, "test.wardline.local", &["localhost".to_owned()]).await.unwrap();
    let keyring = || std::fs::read_to_string(data.join("keyring.json")).unwrap();
    let of = |purpose: &str| {
        let listed = done(data, &["list", "--tenant", "demo"], "");
        listed.lines().filter(|line| line.contains(purpose)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(refused(data, &["rotate", "--tenant", "demo"], "").contains("has no key yet"));
    done(data, &["create", "--tenant", "demo"], "");
    assert_eq!(of("active").len(), 3);
    done(data, &["rotate", "--tenant", "demo", "--purpose", "measurements"], "");
    let measurements = of("measurements");
    assert!(
        measurements[0].contains("unwraps only") && measurements[1].contains("active"),
        "{measurements:?}"
    );
    let before = keyring();
    let key = before.split("\"key\": \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(!done(data, &["list", "--json"], "").contains(key), "no key is printed");
    let shred = ["shred", "--tenant", "demo", "--yes"];
    assert!(refused(data, &shred[..3], "demo\n").contains("--yes"));
    assert!(refused(data, &shred, "dmeo\n").contains("nothing was destroyed"));
    assert!(refused(data, &shred, "").contains("nothing was destroyed"));
    done(data, &["hold", "--tenant", "demo", "--reason", "case 17"], "");
    assert!(refused(data, &shred, "demo\n").contains("legal hold"));
    assert_eq!(keyring(), before, "not one key has changed");
    done(data, &["release", "--tenant", "demo"], "");
    assert!(done(data, &shred, "demo\n").contains("4 keys of demo are destroyed"));
    assert!(!keyring().contains("demo") && keyring().contains("journal"));
    assert!(done(data, &["list"], "").contains("shredded: demo"));
    let store = Store::open_existing(&data.join("wardline.db")).await.unwrap();
    let audited = store.audit_outbox_pending(1000).await.unwrap();
    let acts: Vec<_> =
        audited.iter().filter(|act| act.target.starts_with("demo")).map(|act| &act.action[..]).collect();
    let expected = [
        "keys_created",
        "keys_rotated",
        "legal_hold_set",
        "tenant_shred_asked",
        "legal_hold_released",
        "tenant_shred_asked",
        "tenant_shredded",
    ];
    assert_eq!(acts, expected);
}
