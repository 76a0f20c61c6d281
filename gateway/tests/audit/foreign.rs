//! Another program, in another language, comes to the same verdict from the archive alone. Needs the interpreter that
//! `tests/run` installs.

use crate::gateway::{Gateway, Seen, client_config, flood};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn python() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/wardline/venv"));
    let venv = std::env::var_os("WARDLINE_VENV").map(PathBuf::from).or(home)?;
    Some(venv.join("bin/python")).filter(|python| python.exists())
}

fn head(told: &str) -> Option<&str> {
    told.split("head ").nth(1)?.split_whitespace().next()
}

#[tokio::test(flavor = "multi_thread")]
async fn python_verifies_the_archived_chain() {
    let Some(python) = python() else {
        println!("SKIPPED: no interpreter; tests/run installs it");
        return;
    };
    let mut gateway = Gateway::new(&["mon-1"]).await;
    let (at, seen) = (gateway.start(), Arc::new(Seen::default()));
    let config = client_config(&gateway.dir.path().join("mon-1"));
    let client = {
        let seen = seen.clone();
        tokio::spawn(async move { flood(config, at, "mon-1", &seen).await })
    };
    while seen.accepted.load(Ordering::SeqCst) < 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.stop();
    client.await.unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/verify_audit.py");
    let mut command = Command::new(python);
    command.arg(script).arg("--data-dir").arg(gateway.dir.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("  whole") && told.contains("events 1.."), "{told}");
    assert_eq!(head(&told).map(str::len), Some(64), "{told}");
    let listed = gateway.run(&["audit", "list", "--json", "--limit", "100000"]);
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.contains(head(&told).unwrap()), "its head is one of ours");
}
