//! Revocations as a running front sees them: among very many, and when what changed was not written down (SEC-2).

use crate::support::{Client, Stand, key};
use std::time::{Duration, Instant};
use wardline::operate;
use wardline_proto::DeviceKey;
use wardline_store::registry::{Revocation, RevokeBy};
use wardline_store::testing::{execute, fill_revoked};

const FLEET: i64 = 100_000;
/// SEC-2.
const CUT_MAX: Duration = Duration::from_secs(2);
/// What is left of it for one look at the registry and one row: reading the fleet again would take longer.
const SEEN_MAX: Duration = Duration::from_millis(1_000);

async fn revoke(stand: &Stand, device: DeviceKey) -> usize {
    let by = RevokeBy::Device(device);
    let revocation = Revocation { by, compromised_at_us: None, reason: "lost".into() };
    stand.node.store().revoke(&operate::local_change(), &revocation).await.unwrap().len()
}

/// Waits for the DISCONNECT of a session, and returns after how long it came.
async fn cut(mut client: Client, since: Instant) -> Duration {
    assert_eq!(client.packet().await, Some(vec![0xe0, 2, 0x87, 0]));
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_revocation_is_seen_at_once_among_a_hundred_thousand() {
    let stand = Stand::new().await;
    fill_revoked(stand.node.store(), FLEET, i64::MAX).await.unwrap();
    // A device that is not known makes the front look at the registry: after this session it has read them all.
    operate::issue_device(stand.dir.path(), &key("mon-3"), &stand.certs("mon-3")).await.unwrap();
    stand.session("mon-3", 5).await;
    let one = stand.session("mon-1", 5).await;
    let since = Instant::now();
    assert_eq!(revoke(&stand, key("mon-1")).await, 1);
    let seen = cut(one, since).await;
    println!("cut {seen:?} after the revocation began, {FLEET} revoked before it");
    assert!(seen < SEEN_MAX, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_seen_in_time_when_nobody_wrote_it_down() {
    let stand = Stand::new().await;
    let (one, other) = (stand.session("mon-1", 5).await, stand.session("mon-2", 5).await);
    // A release of before revokes: the version rises, and nothing says why.
    let since = Instant::now();
    let update = "UPDATE certificate SET revoked_at_us = 1 WHERE spiffe_uri LIKE '%/device/mon-1'";
    assert_eq!(execute(stand.node.store(), update).await.unwrap(), 1);
    fill_revoked(stand.node.store(), 1_000, i64::MAX).await.unwrap();
    let seen = cut(one, since).await;
    assert!(seen < CUT_MAX, "{seen:?}");
    // Together with a thousand others, of one change.
    let issue = "INSERT INTO certificate (serial, spiffe_uri, not_before_us, not_after_us) SELECT 'ab' || serial, \
                 (SELECT MIN(spiffe_uri) FROM certificate WHERE spiffe_uri LIKE '%/device/mon-2'), 0, not_after_us \
                 FROM certificate WHERE spiffe_uri = 'filled'";
    assert_eq!(execute(stand.node.store(), issue).await.unwrap(), 1_000);
    assert_eq!(revoke(&stand, key("mon-2")).await, 1_001);
    let since = Instant::now();
    let seen = cut(other, since).await;
    assert!(seen < CUT_MAX, "{seen:?} after the commit");
}
