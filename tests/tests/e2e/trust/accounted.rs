//! Events equal operations (AUD-1): a known number of everything that is audited, through five kills, against what
//! `wardline audit list` counts afterwards.

use super::WAIT;
use super::load::{endpoint, https, mqtt, request};
use super::other::Other;
use crate::archive::block_on;
use crate::frames::tls;
use crate::process::{binary, eventually, run};
use crate::rows;
use crate::stand::{Stand, TENANT};
use anyhow::{Context, bail, ensure};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::transport::Endpoint;
use wardline_proto::v1::registry_service_client::RegistryServiceClient;
use wardline_proto::v1::revoke_certificates_request::By;
use wardline_proto::v1::{
    BindRequest, CreateClaimsRequest, CreateTenantRequest, Device, DeviceName, RegisterDeviceRequest,
    RevokeCertificatesRequest,
};
use wardline_tests::mqtt_client::{Connection, Session};

/// Of each operation that goes on through the kills.
const EACH: usize = 32;
const KILLS: usize = 4;
const FORGED: u64 = 7;
const READS: u64 = 3;
/// A restart takes a second or a few, and on a loaded machine many.
const TRIES_MAX: u32 = 1200;
const RETRY: Duration = Duration::from_millis(100);
const PACE: Duration = Duration::from_millis(5);

/// How many operations were answered, and how many were sent whose answer a kill took.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    answered: u64,
    unanswered: u64,
}

/// What was done, by the action that audits it.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<&'static str, Count>>>);

impl Books {
    fn note(&self, action: &'static str, answered: u64, unanswered: u64) {
        let Ok(mut books) = self.0.lock() else { return };
        let count = books.entry(action).or_default();
        count.answered += answered;
        count.unanswered += unanswered;
    }

    /// Does one operation until it is answered. `once`: however often it is asked for, it is done once.
    async fn until_answered<T, F>(&self, action: &'static str, once: bool, mut operation: impl FnMut() -> F)
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        for attempt in 1.. {
            let Err(error) = operation().await else { break };
            assert!(attempt < TRIES_MAX, "{action} is never answered: {error:#}");
            self.note(action, 0, u64::from(!once));
            tokio::time::sleep(RETRY).await;
        }
        self.note(action, 1, 0);
        tokio::time::sleep(PACE).await;
    }
}

/// Everybody who does something, each in a task of its own.
struct Doers {
    books: Books,
    operator: Endpoint,
    est: u16,
    body: String,
    https: Arc<ClientConfig>,
}

impl Doers {
    async fn connects(self: Arc<Self>, to: std::net::SocketAddr, config: Arc<ClientConfig>) {
        for _ in 0..EACH {
            let connect = async || {
                let session = Connection::connect(to, &config, "connects", Session::Clean).await?;
                // What it says afterwards a kill may take.
                let _left = session.disconnect().await;
                Ok(())
            };
            self.books.until_answered("session_opened", false, connect).await;
        }
    }

    async fn enrols(self: Arc<Self>, tokens: Vec<String>) {
        for (n, token) in tokens.iter().enumerate() {
            let credentials = format!("enrols-{n}:{token}");
            let head = format!("Authorization: Basic {}\r\n", base64(&credentials));
            let line = "POST /.well-known/est/simpleenroll";
            let enrol = async || ok(https(self.est, self.https.clone(), line, &head, &self.body).await?);
            self.books.until_answered("enrolled", true, enrol).await;
        }
    }

    async fn renews(self: Arc<Self>, configs: Vec<Arc<ClientConfig>>) {
        for config in configs {
            let line = "POST /.well-known/est/simplereenroll";
            let renew = async || ok(https(self.est, config.clone(), line, "", &self.body).await?);
            self.books.until_answered("certificate_renewed", true, renew).await;
        }
    }

    async fn changes(self: Arc<Self>) {
        let client = async || anyhow::Ok(RegistryServiceClient::new(self.operator.connect().await?));
        for n in 0..EACH {
            let tenant =
                CreateTenantRequest { tenant: format!("tenant-{n}"), display_name: "A tenant".into() };
            let create = async || anyhow::Ok(client().await?.create_tenant(tenant.clone()).await?);
            self.books.until_answered("tenant_created", true, create).await;
            let (tenant, device) = (TENANT.to_owned(), format!("device-{n}"));
            let device = Device { tenant, device, model: "oxi-1".into(), ..Device::default() };
            let register = RegisterDeviceRequest { device: Some(device) };
            let register = async || anyhow::Ok(client().await?.register_device(register.clone()).await?);
            self.books.until_answered("device_registered", true, register).await;
            let (tenant, batch) = (TENANT.to_owned(), format!("batch-{n}"));
            let claims = CreateClaimsRequest { tenant, batch, ..CreateClaimsRequest::default() };
            let claims = async || anyhow::Ok(client().await?.create_claims(claims.clone()).await?);
            self.books.until_answered("claims_created", false, claims).await;
            let (tenant, device) = (TENANT.to_owned(), "connects".to_owned());
            let bind = BindRequest { tenant, device, subject: format!("p-{n}"), ..BindRequest::default() };
            let bind = async || anyhow::Ok(client().await?.bind(bind.clone()).await?);
            self.books.until_answered("binding_recorded", false, bind).await;
        }
    }

    async fn revokes(self: Arc<Self>) {
        for n in 0..EACH {
            let name = DeviceName { tenant: TENANT.to_owned(), device: format!("renews-{n}") };
            let by = Some(By::Device(name));
            let revoke = RevokeCertificatesRequest { by, ..RevokeCertificatesRequest::default() };
            let revoke = async || {
                let mut client = RegistryServiceClient::new(self.operator.connect().await?);
                anyhow::Ok(client.revoke_certificates(revoke.clone()).await?)
            };
            self.books.until_answered("revoked", false, revoke).await;
        }
    }
}

fn ok((status, body): (u16, String)) -> anyhow::Result<()> {
    if status == 200 { Ok(()) } else { bail!("{status} {body}") }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Devices and claims, by commands beside the gateway.
fn prepared(stand: &Stand, books: &Books) -> anyhow::Result<(Vec<Arc<ClientConfig>>, Vec<String>)> {
    let mut renewing = Vec::new();
    for n in 0..EACH {
        renewing.push(tls(&stand.device(&format!("renews-{n}"))?)?);
    }
    // The operator's own is of `wardline init`.
    books.note("certificate_issued", EACH as u64 + 2, 0);
    let words = ["claim", "create", "--tenant", TENANT, "--count", &EACH.to_string()];
    let told = run(&mut stand.operator(&words)?)?;
    books.note("claims_created", 1, 0);
    let tokens: Vec<_> =
        told.split_whitespace().filter(|word| word.starts_with("wl1.")).map(str::to_owned).collect();
    ensure!(tokens.len() == EACH, "{told}");
    Ok((renewing, tokens))
}

/// Kills and starts the gateway while everybody goes on.
async fn through_kills(stand: &mut Stand, books: &Books, certs: &Path) -> anyhow::Result<()> {
    let (renewing, tokens) = prepared(stand, books)?;
    let doers = Arc::new(Doers {
        books: books.clone(),
        operator: endpoint(stand, &stand.data().join("operator"))?,
        est: stand.est,
        body: request(certs)?,
        https: tls(certs)?,
    });
    let tasks = [
        tokio::spawn(doers.clone().connects(mqtt(stand), tls(certs)?)),
        tokio::spawn(doers.clone().enrols(tokens)),
        tokio::spawn(doers.clone().renews(renewing)),
        tokio::spawn(doers.clone().changes()),
    ];
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stand.kill()?;
        stand.start()?;
        books.note("serve_started", stand.nodes() as u64, 0);
    }
    for task in tasks {
        task.await?;
    }
    let revoking = tokio::spawn(doers.revokes());
    tokio::time::sleep(Duration::from_millis(200)).await;
    stand.kill()?;
    stand.start()?;
    books.note("serve_started", stand.nodes() as u64, 0);
    Ok(revoking.await?)
}

/// What is counted or read, in a gateway that is not killed.
async fn in_peace(stand: &Stand, books: &Books, certs: &Path) -> anyhow::Result<()> {
    for _ in 0..FORGED {
        let forged = Connection::connect(mqtt(stand), &tls(certs)?, "somebody-else", Session::Clean).await;
        ensure!(forged.is_err(), "a forged client id got in");
    }
    books.note("refused WL-ID-005", FORGED, 0);
    let other = Other::new().await?;
    let (foreign, _) = other.certify(stand, "connects").await?;
    ensure!(super::load::session(stand, &foreign, "connects").await.is_err(), "a stranger got in");
    books.note("refused WL-ID-001", 1, 0);
    for _ in 0..READS {
        run(&mut stand.on_data(&["archive", "show", "--table", "audit"])?)?;
        run(Command::new(binary("wardline-query")?)
            .arg("--data-dir")
            .arg(stand.data())
            .arg("SELECT count(*) FROM audit"))?;
        stand.trail()?;
    }
    for action in ["archive_shown", "archive_queried", "audit_listed"] {
        books.note(action, READS, 0);
    }
    Ok(())
}

/// Counts the trail by action; refusals by their code, and with those that were only counted.
fn counted(stand: &Stand) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for event in stand.trail()? {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let (action, repeated) = match text("action").as_str() {
            "refused" => {
                let target = text("target");
                let repeated = target.rsplit_once(" repeated ").map(|(_, count)| count.parse());
                (format!("refused {}", text("outcome")), repeated.transpose()?.unwrap_or(1))
            }
            action => (action.to_owned(), 1),
        };
        *counts.entry(action).or_default() += repeated;
    }
    Ok(counts)
}

/// Waits until so many events of an action are in the archive. The newest of each node is the last that it has to say.
fn archived(stand: &Stand, action: &str, count: u64) -> anyhow::Result<()> {
    eventually("the nodes' last words are archived", WAIT, || {
        let audited = rows::audited(&stand.table("audit")?)?;
        let found = audited.iter().filter(|event| event.action == action).count() as u64;
        ensure!(found >= count, "{found} of {count} {action}");
        Ok(Some(()))
    })
}

/// Prints the table and compares it.
fn compare(books: &Books, events: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let books = books.0.lock().map(|books| books.clone()).unwrap_or_default();
    println!("{:<22} {:>8} {:>10} {:>7}", "action", "answered", "unanswered", "events");
    let mut wrong = Vec::new();
    for (action, Count { answered, unanswered }) in books {
        let events = events.get(action).copied().unwrap_or_default();
        println!("{action:<22} {answered:>8} {unanswered:>10} {events:>7}");
        if !(answered..=answered + unanswered).contains(&events) {
            wrong.push(action);
        }
    }
    ensure!(wrong.is_empty(), "events are not operations: {wrong:?}, of {events:?}");
    Ok(())
}

#[test]
fn events_equal_operations_over_kills() -> anyhow::Result<()> {
    block_on(async {
        let (mut stand, books) = (Stand::new()?, Books::default());
        let certs = stand.device("connects")?;
        stand.start()?;
        books.note("serve_started", stand.nodes() as u64, 0);
        through_kills(&mut stand, &books, &certs).await?;
        in_peace(&stand, &books, &certs).await?;
        stand.stop()?;
        books.note("serve_stopped", stand.nodes() as u64, 0);
        let again = stand.last_words()?;
        books.note("serve_started", again as u64, 0);
        let started = books.0.lock().map(|books| books["serve_started"]).unwrap_or_default();
        if again > 0 {
            tokio::task::block_in_place(|| archived(&stand, "keyring_opened", started.answered))?;
        }
        books.note("keyring_opened", started.answered, 0);
        // Each device that renewed had its first certificate and the one that followed.
        books.note("certificate_revoked", 2 * EACH as u64, 0);
        let events = counted(&stand)?;
        compare(&books, &events)?;
        let sessions = events.get("session_opened").context("sessions")?;
        let closed = events.get("session_closed").copied().unwrap_or_default();
        ensure!(
            closed <= *sessions && *sessions - closed <= KILLS as u64 + 1,
            "{closed} of {sessions} closed"
        );
        let refused: u64 =
            events.iter().filter(|(action, _)| action.starts_with("refused ")).map(|(_, n)| n).sum();
        ensure!(refused == FORGED + 1, "refusals that nobody caused: {events:?}");
        println!("every other event: {:?}", others(&events));
        stand.verify()
    })
}

fn others(events: &BTreeMap<String, u64>) -> BTreeMap<&str, u64> {
    let known =
        ["session_closed", "master_key_created", "enrolment_repeated", "renewal_repeated", "roles_set"];
    events
        .iter()
        .filter(|(action, _)| known.contains(&action.as_str()))
        .map(|(a, n)| (a.as_str(), *n))
        .collect()
}
