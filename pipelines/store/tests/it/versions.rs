//! Programs of two releases on one database: what a later one adds does not matter to an earlier one, also while it is
//! added; what it takes away is known by the floor, and refused before anything is read.

use crate::rig::{change, key, name, tenant};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wardline_store::registry::{NewDevice, PrincipalKind, Role};
use wardline_store::testing::{self, TestPostgres};
use wardline_store::{ErrorKind, StoreError, StoreUrl, newest_migration};

/// What a release wrote whose newest migration was 42, by its own statements.
const AT: i64 = 42;
const WRITES: [&str; 4] = [
    "INSERT INTO tenant (tenant, display_name, state, created_at_us) \
     VALUES ('t-' || (SELECT count(*) FROM tenant), 'T', 'active', 1)",
    "INSERT INTO principal (tenant, kind, name, roles, state, created_at_us) \
     VALUES ('st-mary', 'user', 'u-' || (SELECT count(*) FROM principal), 'auditor', 'active', 1)",
    "UPDATE registry_version SET version = version + 1 WHERE id = 1",
    "INSERT INTO cluster_member (role, node, beats) VALUES ('archive', 'n-' || (SELECT count(*) FROM cluster_member), 1)",
];

fn on_each(test: impl AsyncFn(StoreUrl)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        println!("on SQLite");
        test(StoreUrl::file(folder.path().join("db"))).await;
        println!("on PostgreSQL");
        test(StoreUrl::postgres(&TestPostgres::fresh().unwrap()).unwrap()).await;
    });
}

#[test]
fn a_release_of_before_writes_on_while_a_later_one_migrates() {
    on_each(async |url| {
        let old = Arc::new(testing::open_at(&url, AT).await.unwrap());
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = tokio::spawn({
            let (old, stop, written) = (old.clone(), stop.clone(), written.clone());
            async move {
                while !stop.load(Ordering::Relaxed) {
                    for sql in WRITES {
                        assert_eq!(testing::execute(&old, sql).await.unwrap(), 1, "{sql}");
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let reached = async |count: u64| {
            while written.load(Ordering::Relaxed) < count && !writer.is_finished() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        reached(40).await;
        let new = url.open().await.unwrap();
        let at_the_end = written.load(Ordering::Relaxed);
        reached(at_the_end + 40).await;
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        let all = written.load(Ordering::Relaxed);
        println!(
            "{at_the_end} writes of the release of before while the later one migrated, {} after",
            all - at_the_end
        );
        // Both see what the other wrote.
        new.import_devices(&change(), &[NewDevice::bare(key("mon-1"))]).await.unwrap();
        let version = new.registry_version().await.unwrap();
        assert_eq!(old.registry_version().await.unwrap(), version);
        assert!(version.unsigned_abs() >= all / WRITES.len() as u64);
        new.close().await;
        old.close().await;
    });
}

#[test]
fn what_a_later_release_adds_is_left_alone_and_what_it_takes_away_is_refused() {
    on_each(async |url| {
        let later = url.open().await.unwrap();
        testing::apply_later(&later, newest_migration() + 7).await.unwrap();
        testing::execute(&later, "ALTER TABLE principal ADD COLUMN later TEXT NOT NULL DEFAULT ''")
            .await
            .unwrap();
        // A node that was started again, a command, a query: as before.
        let store = url.open().await.unwrap();
        let (tenant, ada) = (tenant("st-mary"), name("ada"));
        store.put_principal(&change(), (&tenant, PrincipalKind::User, &ada), &[Role::Auditor]).await.unwrap();
        store.close().await;
        for opened in [url.open_existing().await, url.open_read_only().await] {
            opened.unwrap().close().await;
        }
        let version = later.registry_version().await.unwrap();
        testing::execute(&later, "UPDATE schema_floor SET least = least + 100000").await.unwrap();
        for opened in [url.open().await, url.open_existing().await, url.open_read_only().await] {
            let error = opened.unwrap_err();
            assert!(matches!(error, StoreError::Later { .. }) && error.kind() == ErrorKind::Fatal);
            assert!(error.to_string().starts_with("WL-SRV-004: "), "{error}");
        }
        assert_eq!(later.registry_version().await.unwrap(), version, "nothing was changed");
        later.close().await;
    });
}

/// Whoever takes something away says so by the floor: that is what lets the release of before go on meanwhile.
#[test]
fn a_migration_that_takes_away_raises_the_floor() {
    assert_eq!(
        takes_away("CREATE TABLE a (b TEXT);\nALTER TABLE c ADD COLUMN d TEXT NOT NULL DEFAULT '';"),
        None
    );
    for wrong in [
        "ALTER TABLE a DROP COLUMN b;",
        "DROP TABLE a;",
        "ALTER TABLE a RENAME TO b;",
        "ALTER TABLE a ADD COLUMN b BIGINT NOT NULL;",
        "CREATE UNIQUE INDEX a ON b (c);",
        "DELETE FROM a;",
    ] {
        assert!(takes_away(wrong).is_some(), "{wrong}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut seen = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let number: i64 = name.split('_').next().unwrap().parse().unwrap();
        let sql = std::fs::read_to_string(file.path()).unwrap();
        seen.insert(number);
        if number > AT && !sql.contains("UPDATE schema_floor") {
            assert_eq!(
                takes_away(&sql),
                None,
                "{name}: raise schema_floor in it, or change it in two releases"
            );
        }
    }
    assert_eq!(seen.last(), Some(&newest_migration()));
}

/// Names the first statement that a program of before may stumble over.
fn takes_away(sql: &str) -> Option<String> {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join(" ").to_uppercase();
    let adds = |statement: &str| {
        let words: Vec<_> = statement.split_whitespace().collect();
        match words[..] {
            ["CREATE", "TABLE" | "INDEX", ..] | ["INSERT" | "UPDATE", ..] => true,
            ["ALTER", "TABLE", _, "ADD", "COLUMN", ..] => {
                !statement.contains("NOT NULL") || statement.contains("DEFAULT")
            }
            _ => false,
        }
    };
    text.split(';').map(str::trim).find(|s| !s.is_empty() && !adds(s)).map(ToOwned::to_owned)
}
