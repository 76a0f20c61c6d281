//! Server certificate, client authorities and revocation list are swapped under load on all three ports: nothing is
//! refused, nothing dropped, and who comes afterwards meets the new ones.

use super::WAIT;
use super::load::{Load, alarm, session};
use super::other::{FRESH, Other, pem};
use crate::archive::block_on;
use crate::frames::tls;
use crate::process::{eventually, run};
use crate::stand::{Stand, TENANT};
use anyhow::{Context, ensure};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::path::{Path, PathBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wardline_proto::refusal::Refusal;
use wardline_store::registry::Serial;

const SESSIONS: usize = 6;
const CONNECTING: usize = 3;
const ROUNDS: usize = 3;
const LOADED: &str = "certificates loaded again";
const REFUSED: &str = "WL-TLS-001";

/// Returns the certificate that a port shows.
async fn shown(port: u16, certs: &Path) -> anyhow::Result<Vec<u8>> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    let tls = TlsConnector::from(tls(certs)?).connect(ServerName::try_from("localhost")?, tcp).await?;
    let chain = tls.get_ref().1.peer_certificates().context("a certificate")?;
    Ok(chain.first().context("a certificate")?.to_vec())
}

struct Case {
    stand: Stand,
    old: Other,
    new: Other,
    own: PathBuf,
    own_ca: String,
    swaps: usize,
    kept: usize,
}

impl Case {
    async fn new() -> anyhow::Result<Self> {
        let mut stand = Stand::new()?;
        let rates = "[enrol]\nper_source = { per_second = 5000, burst = 5000 }\n\
                     overall = { per_second = 5000, burst = 5000 }\n";
        let settings = std::fs::read_to_string(stand.data().join("wardline.toml"))?;
        std::fs::write(stand.data().join("wardline.toml"), settings + rates)?;
        let (old, new) = (Other::new().await?, Other::new().await?);
        let (own, own_ca) = (stand.device("probe")?, stand.pki("ca.pem")?);
        stand.put("ca.pem", &format!("{own_ca}{}", old.ca_pem()?))?;
        stand.start()?;
        Ok(Self { stand, old, new, own, own_ca, swaps: 0, kept: 0 })
    }

    async fn load(&self) -> anyhow::Result<Load> {
        let mut load = Load::new();
        for n in 0..SESSIONS {
            let device = format!("stays-{n}");
            load.session(&self.stand, &self.stand.device(&device)?, &device).await?;
        }
        for n in 0..CONNECTING {
            let device = format!("comes-{n}");
            load.connects(&self.stand, &self.stand.device(&device)?, &device)?;
        }
        let renews = self.stand.device("renews")?;
        load.asks(&self.stand, &renews, "GET /crl", false)?;
        load.asks(&self.stand, &renews, "GET /.well-known/est/cacerts", false)?;
        load.asks(&self.stand, &renews, "POST /.well-known/est/simplereenroll", true)?;
        load.calls(&self.stand)?;
        load.subscribes(&self.stand, &self.stand.service("ward")?).await?;
        Ok(load)
    }

    /// Waits until the gateway has said what became of the files, by itself or told by SIGHUP.
    fn told(&self, words: &str, before: usize, by_signal: bool) -> anyhow::Result<()> {
        if by_signal {
            self.stand.hangup()?;
        }
        self.stand.until_logged(words, before + 1)
    }

    /// A new server certificate is what all three ports show.
    async fn server(&mut self, by_signal: bool) -> anyhow::Result<()> {
        let before = self.stand.logged(LOADED)?;
        run(&mut self.stand.on_data(&["cert", "renew-server"])?)?;
        self.told(LOADED, before, by_signal)?;
        let leaf = CertificateDer::from_pem_slice(self.stand.pki("server.pem")?.as_bytes())?;
        for port in [self.stand.mqtt, self.stand.grpc, self.stand.est] {
            ensure!(shown(port, &self.own).await? == leaf.to_vec(), "port {port} shows another one");
        }
        self.swaps += 1;
        Ok(())
    }

    fn swap(&mut self, name: &str, text: &str, by_signal: bool) -> anyhow::Result<()> {
        let before = self.stand.logged(LOADED)?;
        self.stand.put(name, text)?;
        self.told(LOADED, before, by_signal)?;
        self.swaps += 1;
        Ok(())
    }

    /// A file that is no good is told of and not taken; then the good one is put back.
    fn spoil(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let (good, before) = (self.stand.pki(name)?, self.stand.logged(REFUSED)?);
        self.stand.put(name, text)?;
        self.told(REFUSED, before, true)?;
        ensure!(self.stand.gauge("wardline_tls_files_refused")? == Some(1), "{name}: the gauge says so");
        self.kept += 1;
        self.swap(name, &good, true)?;
        ensure!(self.stand.gauge("wardline_tls_files_refused")? == Some(0), "{name}: mended");
        Ok(())
    }

    /// A part of a chain, a key that does not fit, a part of the authorities, a list that nobody here has signed.
    fn spoil_all(&mut self) -> anyhow::Result<()> {
        // Three quarters of two certificates end in the middle of the second.
        let part = |text: &str| text[..text.len() * 3 / 4].to_owned();
        let key = std::fs::read_to_string(self.own.join("key.pem"))?;
        self.spoil("server.pem", &part(&self.stand.pki("server.pem")?))?;
        self.spoil("server.key", &key)?;
        self.spoil("ca.pem", &part(&self.own_ca.clone()))?;
        self.spoil("crl.pem", "-----BEGIN X509 CRL-----\nnothing\n")
    }

    async fn swap_all(&mut self) -> anyhow::Result<()> {
        for round in 0..ROUNDS {
            let by_signal = round > 0;
            self.server(by_signal).await?;
            let other = if round % 2 == 0 { self.new.ca_pem()? } else { self.old.ca_pem()? };
            let list = self.list(round)?;
            self.swap("ca.pem", &format!("{}{other}", self.own_ca), by_signal)?;
            self.swap("crl.pem", &list, by_signal)?;
            self.spoil_all()?;
        }
        Ok(())
    }

    /// A list of our own authority, of certificates that nobody here has.
    fn list(&self, round: usize) -> anyhow::Result<String> {
        let serial = Serial::new(&[0x55, round as u8 + 1]).context("a serial")?;
        let own = wardline::pki::Authority::load(&wardline::pki::PkiDir::of(&self.stand.data()))?;
        pem(&self.stand, &super::other::signed(&own, &[&serial], FRESH)?)
    }
}

#[test]
fn nothing_is_refused_or_dropped_while_trust_is_swapped() -> anyhow::Result<()> {
    block_on(async {
        let mut case = Case::new().await?;
        for device in ["of-old", "of-new"] {
            case.stand.device(device)?;
        }
        let (of_old, _) = case.old.certify(&case.stand, "of-old").await?;
        let (of_new, _) = case.new.certify(&case.stand, "of-new").await?;
        session(&case.stand, &of_old, "of-old").await?.disconnect().await?;
        ensure!(session(&case.stand, &of_new, "of-new").await.is_err(), "not trusted yet");
        let mut load = case.load().await?;
        case.swap_all().await?;
        // The last authorities are ours and the new one's.
        session(&case.stand, &of_new, "of-new").await?.disconnect().await?;
        ensure!(session(&case.stand, &of_old, "of-old").await.is_err(), "not trusted any more");
        case.stand.until_audited("refused", Refusal::IdentityMissing.code(), "")?;
        raises(&case.stand, &load).await?;
        load.stop().await?;
        println!("{} swaps taken, {} broken files not taken", case.swaps, case.kept);
        load.acked.check("publishes acknowledged on sessions that stay")?;
        load.connects.check("new sessions")?;
        load.https.check("new connections to HTTPS")?;
        load.calls.check("new connections to gRPC")?;
        load.told.check("messages of the subscription")?;
        let refused = case.stand.trail()?.into_iter().filter(|event| {
            let actor = event["actor"].as_str().unwrap_or_default();
            event["action"] == "refused" && actor.contains(&format!("/tenant/{TENANT}/"))
        });
        let refused: Vec<_> = refused.collect();
        ensure!(refused.is_empty(), "the trail says that nobody of ours was refused: {refused:?}");
        case.stand.stop()
    })
}

/// An alarm reaches the subscription that was opened before all of it.
async fn raises(stand: &Stand, load: &Load) -> anyhow::Result<()> {
    let before = load.told.done();
    let mut device = session(stand, &stand.device("alarms")?, "alarms").await?;
    let topic = format!("wl/1/{TENANT}/alarms/up/alarm");
    device.publish(&topic, 1, 1, |out| out.extend(alarm(1))).await?;
    device.disconnect().await?;
    eventually("the alarm reaches the subscription", WAIT, || Ok((load.told.done() > before).then_some(())))
}
