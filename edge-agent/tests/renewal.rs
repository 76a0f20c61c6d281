//! The certificate is renewed in time, and the old one stays in force until the new one has connected.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use rumqttc::v5::mqttbytes::v5::ConnectReturnCode;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Device, Est, Gateway, Life, PATIENCE, Pki, Welcome, enrolled, numeric, start, until};
use tempfile::tempdir;
use wardline_edge::{AgentOptions, CertificateStatus, status};
use wardline_proto::v1::Lane;

/// More than two thirds of it are over.
const DUE: Life = Life { begun: Duration::from_secs(1000), left: Duration::from_secs(300) };

struct Stand {
    est: Est,
    gateway: Gateway,
    options: AgentOptions,
    /// Serial number of the first certificate.
    old: String,
}

/// An agent's folder with a certificate that is due for renewal.
async fn stand(dir: &Path) -> Stand {
    let pki = Arc::new(Pki::new());
    let (est, gateway) = (Est::start(Arc::clone(&pki)).await, Gateway::start(&pki).await);
    est.with(|state| {
        state.fronts = vec![format!("localhost:{}", gateway.addr.port())];
        state.life = DUE;
    });
    let options = enrolled(&est, dir).await;
    est.with(|state| state.life = Life::LONG);
    let old = est.with(|state| state.issued[0].clone());
    Stand { est, gateway, options, old }
}

fn certificate(options: &AgentOptions) -> CertificateStatus {
    status::read(&options.spool_dir).map(|status| status.certificate).unwrap_or_default()
}

/// Serial number of what other programs would find in the folder.
fn in_folder(options: &AgentOptions) -> String {
    use rustls_pki_types::pem::PemObject;
    let pem = fs::read(options.certs_dir.join("cert.pem")).unwrap();
    support::serial(&rustls_pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
}

#[tokio::test]
async fn a_new_key_and_certificate_take_over_between_two_frames() {
    let dir = tempdir().unwrap();
    let Stand { est, gateway, options, old } = stand(dir.path()).await;
    let old_key = fs::read(options.certs_dir.join("key.pem")).unwrap();
    let agent = start(options.clone()).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    let mut sent = 0;
    while certificate(&options).renewals == 0 {
        sent += 1;
        assert!(sent < 1000, "{:?}", certificate(&options));
        device.send(numeric(f64::from(sent))).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await);
    assert_eq!(gateway.bodies(Lane::Numerics).len(), usize::try_from(sent).unwrap());
    let new = est.with(|state| state.issued[1].clone());
    let visitors = gateway.visitors();
    assert_eq!(visitors.last(), Some(&(new.clone(), true)));
    assert!(
        visitors.iter().all(|(serial, let_in)| *let_in && [&old, &new].contains(&serial)),
        "{visitors:?}"
    );
    assert_eq!(est.with(|state| state.renewed_by.clone()), [old]);
    assert_eq!((in_folder(&options), certificate(&options).serial), (new.clone(), new));
    assert_ne!(fs::read(options.certs_dir.join("key.pem")).unwrap(), old_key);
    let status = status::read(&options.spool_dir).unwrap().to_string();
    assert!(status.contains("29 days left, 1 renewals\n"), "{status}");
    agent.shutdown().await.unwrap();

    // The folder works for the next start, and what is no longer in force is gone.
    let again = start(options.clone()).await;
    until("it connects", || again.stats().connected).await;
    let left = fs::read_dir(&options.certs_dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("id-")).count(), 1);
    again.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_failed_renewal_is_shown_and_tried_again() {
    let dir = tempdir().unwrap();
    let Stand { est, gateway, options, old } = stand(dir.path()).await;
    est.with(|state| state.refuse_renewals = usize::MAX);
    let agent = start(options.clone()).await;
    until("failures are shown", || certificate(&options).failures >= 2).await;
    let status = certificate(&options);
    assert!(
        status.last_failure.contains("WL-EDGE-004") && status.last_failure.contains("WL-EST-009"),
        "{status:?}"
    );
    assert_eq!((in_folder(&options), status.renewals), (old, 0));
    est.with(|state| state.refuse_renewals = 0);
    until("the renewal succeeds", || certificate(&options).renewals == 1).await;
    let status = certificate(&options);
    assert_eq!((status.failures, status.last_failure.as_str()), (0, ""));
    assert!(gateway.visitors().iter().all(|(_, let_in)| *let_in));
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_old_certificate_stays_in_force_when_the_new_one_is_not_let_in() {
    let dir = tempdir().unwrap();
    let Stand { est, gateway, mut options, old } = stand(dir.path()).await;
    options.renewal.retry.delay_min = Duration::from_millis(600);
    let known = old.clone();
    let mut strangers = 0;
    gateway.door(move |serial, _| {
        strangers += usize::from(serial != known);
        if serial != known && strangers == 1 {
            Welcome::Refuse(ConnectReturnCode::NotAuthorized)
        } else {
            Welcome::Accept
        }
    });
    let agent = start(options.clone()).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    until("the new one is refused", || gateway.visitors().iter().any(|(_, let_in)| !let_in)).await;
    device.send(numeric(1.0)).await;
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await);
    until("a second renewal succeeds", || certificate(&options).renewals == 1).await;
    let (first, second) = est.with(|state| (state.issued[1].clone(), state.issued[2].clone()));
    let visitors = gateway.visitors();
    let refused = visitors.iter().position(|visitor| *visitor == (first.clone(), false)).unwrap();
    assert_eq!(visitors[refused + 1..], [(old, true), (second.clone(), true)], "{visitors:?}");
    assert_eq!(in_folder(&options), second);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_was_got_before_a_stop_is_tried_after_it() {
    let dir = tempdir().unwrap();
    let Stand { est, gateway, options, old } = stand(dir.path()).await;
    let addr = gateway.addr;
    drop(gateway);
    let agent = start(options.clone()).await;
    until("it is staged", || options.certs_dir.join("next").exists()).await;
    assert_eq!(in_folder(&options), old, "nothing has proven the new one");
    agent.shutdown().await.unwrap();
    assert_eq!(in_folder(&options), old);

    let gateway = Gateway::start_on(&est.pki, addr).await;
    let agent = start(options.clone()).await;
    until("the new one is in force", || certificate(&options).renewals == 1).await;
    let new = est.with(|state| state.issued[1].clone());
    assert_eq!((gateway.visitors(), in_folder(&options)), (vec![(new.clone(), true)], new));
    assert_eq!(est.with(|state| state.issued.len()), 2);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_list_that_names_a_new_authority_makes_it_trusted() {
    let dir = tempdir().unwrap();
    let Stand { est, options, .. } = stand(dir.path()).await;
    let coming = Pki::new();
    let both = format!("{}{}{}", est.pki.root.pem(), est.pki.issuing.pem(), coming.root.pem());
    est.with(|state| state.ca_pem = both);
    let mut options = options;
    options.renewal.list_every = Duration::from_millis(200);
    let agent = start(options.clone()).await;
    let ca = options.certs_dir.join("ca.pem");
    let roots = format!("{}{}", est.pki.root.pem(), coming.root.pem()).replace("\r\n", "\n");
    until("both are trusted", || fs::read_to_string(&ca).unwrap() == roots).await;
    let connects = agent.stats().connects;
    // A list that a stranger signed changes nothing.
    est.with(|state| {
        state.signer = support::Signer::Stranger;
        state.ca_pem = Pki::new().root.pem();
    });
    let given = est.with(|state| state.lists_given);
    until("it was offered", || est.with(|state| state.lists_given) > given + 1).await;
    assert_eq!(fs::read_to_string(&ca).unwrap(), roots);
    assert!(agent.stats().connects >= connects);
    agent.shutdown().await.unwrap();
}
