//! A database that cannot be read is seen: what a node knows grows old, and says so.

use crate::rig::Rig;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Returns the value of a gauge.
async fn gauge(rig: &Rig, name: &str) -> u64 {
    let mut http = TcpStream::connect(rig.node.addrs().http).await.unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut told = String::new();
    http.read_to_string(&mut told).await.unwrap();
    let value = told.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    value.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_the_registry_rises_while_the_database_cannot_be_read() {
    let rig = Rig::new().await;
    assert!(gauge(&rig, "wardline_registry_age_seconds").await < 2, "it is read twice a second");
    assert!(gauge(&rig, "wardline_crl_age_seconds").await < 30);
    let database = SqliteConnectOptions::new().filename(rig.path("wardline.db"));
    let mut database = SqliteConnection::connect_with(&database).await.unwrap();
    sqlx::query("ALTER TABLE registry_version RENAME TO away").execute(&mut database).await.unwrap();
    rig.until("it is old", async || gauge(&rig, "wardline_registry_age_seconds").await >= 3).await;
    sqlx::query("ALTER TABLE away RENAME TO registry_version").execute(&mut database).await.unwrap();
    rig.until("it is read again", async || gauge(&rig, "wardline_registry_age_seconds").await < 2).await;
}
