//! The commands themselves, as a person and as a program reads them.

use crate::support::Stand;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

impl Stand {
    pub(crate) async fn run(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_wardline"));
        command.args(args).env("WARDLINE_SERVER", self.url()).env("WARDLINE_DATA_DIR", self.dir.path());
        command.env_remove("WARDLINE_CERTS").output().await.unwrap()
    }

    pub(crate) async fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn json(&self, args: &[&str]) -> Vec<Value> {
        let text = self.ok(&[args, &["--json"]].concat()).await;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_registers_lists_binds_and_revokes() {
    let stand = Stand::new(&[]).await;
    stand.ok(&["tenant", "create", "st-mary", "--name", "St Mary"]).await;
    let tenants = stand.ok(&["tenant", "list"]).await;
    assert!(tenants.starts_with("TENANT"), "{tenants}");
    assert!(tenants.contains("St Mary"), "{tenants}");
    let device = ["--tenant", "st-mary", "--device", "mon-7"];
    stand.ok(&[&["device", "create", "--model", "wd-200"], &device[..]].concat()).await;
    let listed = stand.json(&["device", "list", "--tenant", "st-mary"]).await;
    assert_eq!((&listed[0]["device"], &listed[0]["state"]), (&"mon-7".into(), &"active".into()));
    stand.ok(&[&["binding", "create", "--subject", "p-1"], &device[..]].concat()).await;
    assert_eq!(stand.ok(&[&["binding", "show"], &device[..]].concat()).await, "p-1\n");
    let out = stand.certs("mon-7");
    stand.ok(&[&["device", "issue", "--out", out.to_str().unwrap()], &device[..]].concat()).await;
    let revoked = stand.json(&[&["cert", "revoke", "--reason", "stolen"], &device[..]].concat()).await;
    assert_eq!(revoked[0]["revoked"].as_array().unwrap().len(), 1);
    let certs = stand.json(&["cert", "search", "--tenant", "st-mary", "--state", "revoked"]).await;
    assert_eq!((certs.len(), &certs[0]["reason"]), (1, &"stolen".into()));
    let who = stand.json(&["whoami"]).await;
    assert_eq!(who[0]["roles"], serde_json::json!(["operator"]));
    let since = ["--since", "2026-01-01T00:00:00Z"];
    let counted = stand.ok(&[&["device", "accepted-after"], &device[..], &since].concat()).await;
    assert!(counted.ends_with("0 rows accepted from st-mary/mon-7 since then\n"), "{counted}");
    let missing = stand.run(&["device", "show", "--tenant", "st-mary", "--device", "none"]).await;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("WL-REG-002"), "{missing:?}");
    assert!(stand.ok(&["completions", "bash"]).await.contains("manufacturer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_told_once_into_a_file_of_ones_own() {
    let stand = Stand::new(&[]).await;
    let file = stand.dir.path().join("tokens");
    let out = file.to_str().unwrap();
    let create = ["claim", "create", "--tenant", "demo", "--count", "3", "--batch", "b", "--out", out];
    let said = stand.ok(&create).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let tokens = std::fs::read_to_string(&file).unwrap();
    let secret = tokens.lines().next().unwrap().split('.').nth(1).unwrap().to_owned();
    assert_eq!(tokens.lines().filter(|line| line.starts_with("wl1.")).count(), 3);
    let listed = stand.ok(&["claim", "list", "--tenant", "demo"]).await;
    assert!(!said.contains(&secret) && !listed.contains(&secret), "{said} {listed}");
    let revoked = stand.json(&["claim", "revoke", "--tenant", "demo", "--batch", "b"]).await;
    assert_eq!(revoked[0]["revoked"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_reports_bad_rows_and_keeps_the_good_ones() {
    let stand = Stand::new(&[]).await;
    let (file, report) = (stand.dir.path().join("fleet.csv"), stand.dir.path().join("report.csv"));
    let text = "tenant,device,model,for_test\nfleet,m-1,wd,false\nfleet,M 2,wd,false\nfleet,m-3,wd,maybe\nfleet,m-4,wd\n";
    std::fs::write(&file, text).unwrap();
    let import = ["device", "import", file.to_str().unwrap(), "--report", report.to_str().unwrap(), "--json"];
    for (created, same) in [(1, 0), (0, 1)] {
        let output = stand.run(&import).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&counts["created"], &counts["same"]), (&created.into(), &same.into()), "{counts}");
        assert_eq!((&counts["rows"], &counts["refused"]), (&4.into(), &3.into()), "{counts}");
    }
    let report = std::fs::read_to_string(report).unwrap();
    let lines: Vec<_> = report.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(lines, ["line", "3", "4", "5"], "{report}");
}
