//! The commands for sites, peripherals, people and manufacturers: what they print, what they keep, how they fail.

use crate::support::{Stand, key};
use serde_json::{Value, json};
use std::process::Output;
use wardline::pki::PkiDir;
use wardline_store::registry::Role;

/// Checks that a command ends with 1 and tells a code.
fn refused(output: &Output, code: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told.contains(code), "no {code} in {told}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_are_created_once_and_listed_by_tenant() {
    let stand = Stand::new(&[("demo", "ann", Some(Role::Analyst))]).await;
    let create = ["site", "create", "icu-2", "--tenant", "demo", "--name", "ICU 2"];
    assert_eq!(stand.ok(&create).await, "site demo/icu-2 is registered\n");
    assert_eq!(stand.json(&create).await, [json!({ "tenant": "demo", "site": "icu-2" })]);
    stand.ok(&["site", "create", "er", "--tenant", "demo"]).await;
    stand.ok(&["site", "create", "er", "--tenant", "other"]).await;
    let listed = stand.json(&["site", "list", "--tenant", "demo"]).await;
    assert_eq!(column(&listed, "site"), ["er", "icu-2"]);
    assert_eq!(column(&listed, "name"), ["er", "ICU 2"]);
    let table = stand.ok(&["site", "list", "--tenant", "demo"]).await;
    assert!(table.starts_with("TENANT") && table.lines().count() == 3, "{table}");
    let other = ["site", "create", "icu-2", "--tenant", "demo", "--name", "Another"];
    refused(&stand.run(&other).await, "WL-REG-003");
    refused(&stand.run(&["site", "create", "ICU 2", "--tenant", "demo"]).await, "WL-REG-001");
    let certs = stand.certs("ann");
    let as_ann = ["--certs", certs.to_str().unwrap()];
    refused(&stand.run(&[&create[..], &as_ann].concat()).await, "WL-ID-007");
    refused(&stand.run(&[&["site", "list", "--tenant", "other"][..], &as_ann].concat()).await, "WL-REG-004");
}

#[tokio::test(flavor = "multi_thread")]
async fn peripherals_hang_behind_a_hub() {
    let stand = Stand::new(&[]).await;
    let hub = ["--tenant", "demo", "--hub", "mon-1"];
    let probe = ["--model", "probe", "--serial", "0042"];
    let create = [&["peripheral", "create", "spo2"][..], &hub, &probe].concat();
    for _again in 0..2 {
        assert_eq!(stand.ok(&create).await, "spo2 is registered behind demo/mon-1\n");
    }
    let listed = stand.json(&[&["peripheral", "list"][..], &hub].concat()).await;
    let expected =
        json!({ "tenant": "demo", "hub": "mon-1", "peripheral": "spo2", "model": "probe", "serial": "0042" });
    assert_eq!(listed, [expected]);
    let other = [&["peripheral", "create", "spo2", "--serial", "0043"][..], &hub].concat();
    refused(&stand.run(&other).await, "WL-REG-003");
    let nowhere = ["peripheral", "create", "spo2", "--tenant", "demo", "--hub", "none"];
    refused(&stand.run(&nowhere).await, "WL-REG-002");
    assert_eq!(
        stand.json(&["peripheral", "list", "--tenant", "demo", "--hub", "none"]).await,
        Vec::<Value>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_has_exactly_the_roles_that_it_was_given_last() {
    let stand = Stand::new(&[]).await;
    let ada = ["--tenant", "demo", "--kind", "user", "--name", "ada"];
    let roles = ["--role", "auditor", "--role", "clinician"];
    let said = stand.ok(&[&["principal", "create"][..], &ada, &roles].concat()).await;
    assert_eq!(said, "demo/ada has roles: auditor, clinician\n");
    let list = ["principal", "list", "--tenant", "demo"];
    let listed = stand.json(&list).await;
    assert_eq!((&listed[0]["kind"], &listed[0]["roles"]), (&"user".into(), &json!(["clinician", "auditor"])));
    stand.ok(&[&["principal", "create"][..], &ada, &["--role", "analyst"]].concat()).await;
    assert_eq!(column(&stand.json(&list).await, "roles"), [json!(["analyst"])]);
    stand.ok(&[&["principal", "create"][..], &ada].concat()).await;
    let left = column(&stand.json(&list).await, "roles");
    assert!(left.iter().all(|roles| *roles == json!([])), "{left:?}");
    let unknown = [&["principal", "create"][..], &ada, &["--role", "king"]].concat();
    refused(&stand.run(&unknown).await, "WL-REG-001");
    let kind = ["principal", "create", "--tenant", "demo", "--kind", "robot", "--name", "ada"];
    assert_eq!(
        stand.run(&kind).await.status.code(),
        Some(64),
        "the command line tells which kinds there are"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manufacturer_is_registered_and_its_serial_numbers_are_allowed_once() {
    let stand = Stand::new(&[]).await;
    // Any authority's certificate will do; the node's own is at hand.
    let pem = PkiDir::of(stand.dir.path()).path("root.pem");
    let create =
        ["manufacturer", "create", "--maker", "acme", "--tenant", "demo", "--model", "oxi-1", "--pem"];
    let create = [&create[..], &[pem.to_str().unwrap()]].concat();
    let added = stand.json(&create).await;
    let ca = added[0]["ca"].as_str().unwrap().to_owned();
    assert_eq!(ca.len(), 64, "{ca}");
    assert_eq!(stand.ok(&create).await, format!("authority {ca} is registered\n"));
    let listed = stand.json(&["manufacturer", "list"]).await;
    assert_eq!((listed.len(), &listed[0]["ca"], &listed[0]["maker"]), (1, &json!(ca), &json!("acme")));
    assert_eq!((&listed[0]["tenant"], &listed[0]["model"]), (&json!("demo"), &json!("oxi-1")));
    let serials = stand.dir.path().join("serials.txt");
    std::fs::write(&serials, "0001\n\n 0002 \n0001\n").unwrap();
    let file = ["--file", serials.to_str().unwrap()];
    let allow = [&["manufacturer", "allow", "--ca", &ca][..], &file].concat();
    assert_eq!(stand.ok(&allow).await, "2 new serial numbers allowed\n");
    assert_eq!(stand.json(&allow).await[0]["added"], 0);
    let nobody = "00".repeat(32);
    let unknown = [&["manufacturer", "allow", "--ca", &nobody][..], &file].concat();
    refused(&stand.run(&unknown).await, "WL-REG-002");
    std::fs::write(stand.dir.path().join("no.pem"), "nothing").unwrap();
    let no_pem = stand.dir.path().join("no.pem");
    let bad = ["manufacturer", "create", "--maker", "acme", "--pem", no_pem.to_str().unwrap()];
    refused(&stand.run(&bad).await, "WL-REG-001");
    let other = ["manufacturer", "create", "--maker", "other", "--pem", pem.to_str().unwrap()];
    refused(&stand.run(&other).await, "WL-REG-003");
    assert!(
        stand.node.store().get_device(&key("demo", "0001")).await.unwrap().is_none(),
        "nothing enrolled yet"
    );
}
