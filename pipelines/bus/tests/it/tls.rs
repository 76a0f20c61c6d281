//! A JetStream that verifies its clients: who has a certificate of the authority publishes, nobody else does.

use crate::nats::Nats;
use crate::pump::{bus, outgoing};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wardline_bus::jetstream::{JetStream, JetStreamOptions, JetStreamTls};
use wardline_bus::{BusError, BusOptions, ErrorKind, Topic};

/// Writes an authority, a server's certificate and a client's of that authority.
fn write_authority(folder: &Path, name: &str) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join(format!("{name}-ca.pem")), authority.pem()).unwrap();
    for whose in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{name}-{whose}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}-{whose}.key")), key.serialize_pem()).unwrap();
    }
}

async fn publish(nats: &Nats, tls: Option<JetStreamTls>, limit: Duration) -> Result<(), BusError> {
    let topic = Topic { name: "tls".into(), partitions: 1, bytes_max: 8 * 1024 * 1024, ..Topic::default() };
    let options = JetStreamOptions { servers: nats.servers(), tls, topic, timeout: Duration::from_secs(2) };
    let bus = bus(Arc::new(JetStream::new(options).unwrap()), BusOptions::default());
    let until = tokio::time::Instant::now() + limit;
    loop {
        match bus.submit(&outgoing(0, 1)).await.unwrap().position().await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Retry && tokio::time::Instant::now() < until => {}
            Err(error) => return Err(error),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_takes_records_from_its_own_clients_alone() {
    let folder = tempfile::tempdir().unwrap();
    write_authority(folder.path(), "own");
    write_authority(folder.path(), "other");
    let path = |name: &str| folder.path().join(name);
    let tls = |authority: &str, client: Option<&str>| JetStreamTls {
        authority: path(&format!("{authority}-ca.pem")),
        identity: client.map(|c| (path(&format!("{c}-client.pem")), path(&format!("{c}-client.key")))),
    };
    let (own, nobody, stranger, deceived) = (
        tls("own", Some("own")),
        tls("own", None),
        tls("own", Some("other")),
        // Who trusts another authority does not speak to these servers.
        tls("other", Some("own")),
    );
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        path("own-server.pem"),
        path("own-server.key"),
        path("own-ca.pem")
    );
    let nats = Nats::start_with(folder, config);
    publish(&nats, Some(own.clone()), Duration::from_secs(60)).await.unwrap();
    for (who, tls) in [("nobody", Some(nobody)), ("stranger", Some(stranger)), ("deceived", Some(deceived))] {
        let refused = publish(&nats, tls, Duration::from_secs(2)).await;
        assert!(refused.is_err(), "{who} published");
        println!("  {who}: {}", refused.unwrap_err());
    }
    let plain = publish(&nats, None, Duration::from_secs(2)).await;
    assert!(plain.is_err(), "without TLS");
    publish(&nats, Some(own), Duration::from_secs(10)).await.unwrap();
}
