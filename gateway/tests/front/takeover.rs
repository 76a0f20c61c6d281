//! The newest session wins; a certificate in two places is told of, a device that comes back is not.

use crate::support::{Client, PATIENCE, Stand, client_config, connect, key};
use rustls_pki_types::ServerName;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use wardline::node::{Role, Roles};
use wardline_proto::TenantId;
use wardline_proto::v1::{AlarmKind, Alert, Priority};

async fn stand() -> Stand {
    Stand::with(|options| options.roles = Roles::new(&[Role::Front, Role::Alert])).await
}

async fn session_from(stand: &Stand, address: &str) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    let tcp = socket.connect(stand.node.addrs().mqtt).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(client_config(&stand.certs("mon-1"))).connect(name, tcp).await.unwrap();
    let mut client = Client { tls };
    client.send(&connect(5, "mon-1", 60)).await;
    assert_eq!(client.packet().await.unwrap()[3], 0);
    client
}

async fn alerts(stand: &Stand) -> Vec<Alert> {
    let tenant = TenantId::new("demo").unwrap();
    stand.node.alerts().unwrap().list(&tenant, true, 10).await.unwrap()
}

async fn until_alert(stand: &Stand) -> Alert {
    let raised = async {
        loop {
            if let Some(alert) = alerts(stand).await.pop() {
                return alert;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, raised).await.expect("an alert")
}

#[tokio::test]
async fn a_certificate_in_two_places_raises_an_alert_that_is_durable_first() {
    let stand = stand().await;
    let mut older = session_from(&stand, "127.0.0.1").await;
    older.send(&[0xc0, 0]).await;
    assert_eq!(older.packet().await, Some(vec![0xd0, 0]));
    let _newer = session_from(&stand, "127.0.0.2").await;
    assert_eq!(older.packet().await, Some(vec![0xe0, 2, 0x8e, 0]), "the newest wins");
    let alert = until_alert(&stand).await;
    assert_eq!((alert.device.as_str(), alert.rule_id.as_str()), ("mon-1", "system/certificate-contested"));
    assert_eq!((alert.kind(), alert.priority()), (AlarmKind::Technical, Priority::Medium));
    stand.audited("session_contested", "WL-MQTT-007").await;
    stand.audited("session_closed", "WL-MQTT-007").await;
    let told = stand.audits().into_iter().find(|event| event.action == "session_contested").unwrap();
    assert!(told.target.contains("from another address loopback, before loopback"), "{}", told.target);
}

#[tokio::test]
async fn a_device_that_comes_back_raises_nothing_until_two_fight_for_it() {
    let stand = stand().await;
    let mut open = vec![session_from(&stand, "127.0.0.1").await];
    // The network dropped: the old session is still there, and was active a moment ago.
    for _ in 0..2 {
        open.push(session_from(&stand, "127.0.0.1").await);
    }
    stand.audited("session_taken_over", "WL-MQTT-007").await;
    // From elsewhere, but long after the old session was heard.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(alerts(&stand).await, []);
    assert!(stand.audits().iter().all(|event| event.action != "session_contested"));
    open.push(session_from(&stand, "127.0.0.1").await);
    assert_eq!(until_alert(&stand).await.device, "mon-1", "the third within a minute");
    assert_eq!(stand.node.front_stats()[&key("mon-1")].refused.len(), 0);
}

#[tokio::test]
async fn a_device_that_comes_back_from_elsewhere_after_a_silence_raises_nothing() {
    let stand = stand().await;
    let _older = session_from(&stand, "127.0.0.1").await;
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    let _newer = session_from(&stand, "127.0.0.2").await;
    stand.audited("session_taken_over", "WL-MQTT-007").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(alerts(&stand).await, []);
}
