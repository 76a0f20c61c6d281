//! What cannot be audited is not done: with no room for audit events, or a journal that has failed, nobody gets in.

use crate::full::{fill, room, small};
use crate::gateway::{client_config, connect_packet, key};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wardline::node::{Node, NodeOptions, Role, Roles};
use wardline::operate;
use wardline_journal::fault::{Fault, FaultStorage};

/// Return code of a 3.1.1 CONNACK: server unavailable.
const UNAVAILABLE: [u8; 4] = [0x20, 2, 0, 3];
const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

async fn node(disk: &FaultStorage) -> (TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    operate::init(dir.path(), "wardline.local", &["localhost".to_owned()]).await.unwrap();
    operate::issue_device(dir.path(), &key("mon-1"), &dir.path().join("mon-1")).await.unwrap();
    let mut options = NodeOptions::on_loopback(dir.path());
    options.roles = Roles::new(&[Role::Front]);
    small(&mut options);
    let node = Node::start_with(options, disk.process()).await.unwrap();
    (dir, node)
}

async fn connack(dir: &TempDir, node: &Node) -> [u8; 4] {
    let tcp = TcpStream::connect(node.addrs().mqtt).await.unwrap();
    let connector = TlsConnector::from(client_config(&dir.path().join("mon-1")));
    let mut tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
    tls.write_all(&connect_packet("mon-1")).await.unwrap();
    let mut connack = [0; 4];
    tls.read_exact(&mut connack).await.unwrap();
    connack
}

async fn ready(node: &Node) -> String {
    let mut http = TcpStream::connect(node.addrs().http).await.unwrap();
    http.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut told = String::new();
    http.read_to_string(&mut told).await.unwrap();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_audit_events_connects_are_refused_until_there_is() {
    let disk = FaultStorage::new(12, 1 << 20);
    let (dir, node) = node(&disk).await;
    assert_eq!(connack(&dir, &node).await, ACCEPTED);
    disk.set_free_bytes(0);
    fill(&node).await;
    assert_eq!(connack(&dir, &node).await, UNAVAILABLE);
    let told = ready(&node).await;
    assert!(told.contains("503") && told.contains("audit events cannot be journaled"), "{told}");
    disk.set_free_bytes(1 << 20);
    room(&node).await;
    assert_eq!(connack(&dir, &node).await, ACCEPTED);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_whose_event_never_becomes_durable_is_refused_and_so_is_every_later_one() {
    let disk = FaultStorage::new(12, 1 << 20);
    let (dir, node) = node(&disk).await;
    let (dir, node) = (Arc::new(dir), Arc::new(node));
    assert_eq!(connack(&dir, &node).await, ACCEPTED);
    // What the first session left behind is durable.
    tokio::time::sleep(Duration::from_millis(300)).await;
    disk.inject(Fault::Sync, 0);
    assert_eq!(connack(&dir, &node).await, UNAVAILABLE, "the event of this one failed");
    assert_eq!(connack(&dir, &node).await, UNAVAILABLE);
    assert!(ready(&node).await.contains("the journal has failed"));
}
