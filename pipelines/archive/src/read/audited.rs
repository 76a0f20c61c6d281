//! Who reads the archive from this machine is told to the audit trail before anything is read (AUD-1).

use crate::error::ArchiveError;
use crate::place::Place;
use crate::worker::now_us;
use ring::digest::{SHA256, digest};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use wardline_store::outbox::Change;

/// Tells that this process is about to read, and what; to be called before it does. An error: nothing may be read.
pub async fn audit_read(data_dir: &Path, action: &str, target: &str) -> Result<(), ArchiveError> {
    let change = Change { actor: local_actor(), at_us: now_us() };
    let store = Place::of(data_dir)?.store().open_existing().await.map_err(ArchiveError::NotAudited)?;
    let recorded = store.record_audit(&change, action, "ok", target).await;
    store.close().await;
    recorded.map_err(ArchiveError::NotAudited)
}

/// The same for a query: the statement by its hash, since its text may name somebody, and the tables that it reads.
pub async fn audit_query(data_dir: &Path, sql: &str, tables: &[String]) -> Result<(), ArchiveError> {
    audit_read(data_dir, "archive_queried", &query_target(sql, tables)).await
}

/// Names a query in the audit trail: the hash of the statement, and the tables that it reads.
pub fn query_target(sql: &str, tables: &[String]) -> String {
    let mut target = String::from("sha256 ");
    for byte in digest(&SHA256, sql.as_bytes()).as_ref() {
        // Writing to a string does not fail.
        let _ = write!(target, "{byte:02x}");
    }
    let _ = write!(target, " tables {}", tables.join(","));
    target
}

/// Returns who runs this process: `os:USER@HOST`, the user by number where it has no name.
pub fn local_actor() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname");
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("localhost");
    format!("os:{}@{host}", user(&read("/proc/self/status"), &read("/etc/passwd")))
}

/// Finds the effective user of a process status, by name where `passwd` has one.
fn user(status: &str, passwd: &str) -> String {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let Some(id) = ids.and_then(|ids| ids.split_whitespace().nth(1)) else { return "unknown".into() };
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then_some(name)
    });
    name.unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_a_number() {
        let status = "Name:\tx\nUid:\t0\t1000\t0\t0\n";
        let passwd = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";
        assert_eq!(user(status, passwd), "alice");
        assert_eq!(user(status, "root:x:0:0::/:/bin/sh\n"), "1000");
        assert_eq!(user("", passwd), "unknown");
        assert!(local_actor().starts_with("os:") && local_actor().contains('@'));
    }
}
