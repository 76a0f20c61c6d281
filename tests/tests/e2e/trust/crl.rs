//! The imported revocation list of another authority (WL-ID-006), from its warning to its replacement.

use super::WAIT;
use super::load::{get_with, session, topic};
use super::other::{FRESH, Other, pem};
use crate::archive::block_on;
use crate::frames::{frame, heart_rate, now_us};
use crate::process::run;
use crate::stand::{Stand, TENANT};
use anyhow::{Context, ensure};
use prost::Message;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wardline_proto::refusal::Refusal;
use wardline_store::registry::Serial;
use wardline_tests::mqtt_client::Connection;

/// Of a revoked session (SEC-2).
const CUT: Duration = Duration::from_secs(2);
/// What is left of the first list's life.
const SHORT: Duration = Duration::from_secs(8);
const LOADED: &str = "certificates loaded again";
const REFUSED: &str = "WL-TLS-001";

/// mon-1 of our authority, mon-2 of another.
struct Case {
    stand: Stand,
    other: Other,
    own: PathBuf,
    foreign: PathBuf,
    serial: Serial,
    live: Connection,
    seq: u64,
}

impl Case {
    async fn new() -> anyhow::Result<Self> {
        let mut stand = Stand::new()?;
        let other = Other::new().await?;
        let own = stand.device("mon-1")?;
        stand.device("mon-2")?;
        let (foreign, serial) = other.certify(&stand, "mon-2").await?;
        stand.put("ca.pem", &format!("{}{}", stand.pki("ca.pem")?, other.ca_pem()?))?;
        stand.start()?;
        let live = session(&stand, &foreign, "mon-2").await?;
        Ok(Self { stand, other, own, foreign, serial, live, seq: 0 })
    }

    /// Publishes on the live session and has it acknowledged.
    async fn goes_on(&mut self) -> anyhow::Result<()> {
        self.seq += 1;
        let payload = frame(1, self.seq, &heart_rate(now_us(), &[60.0])).encode_to_vec();
        let acked = self.live.publish(&topic("mon-2"), 1, 1, |out| out.extend(&payload)).await;
        acked.context("the live session")?;
        Ok(())
    }

    /// Connects anew. As mon-2 that takes the live session over, so the new one is the live one then.
    async fn gets_in(&mut self) -> anyhow::Result<()> {
        self.live = session(&self.stand, &self.foreign, "mon-2").await?;
        self.goes_on().await
    }

    /// Is refused in MQTT and at the HTTPS port, with this code.
    async fn stays_out(&self, refusal: Refusal) -> anyhow::Result<()> {
        let refused = session(&self.stand, &self.foreign, "mon-2").await;
        ensure!(refused.is_err_and(|error| format!("{error:#}").contains("code: 5")), "not refused");
        let (status, body) = get_with(&self.stand, &self.foreign, "POST", "simplereenroll").await?;
        ensure!(status == 403 && body.starts_with(refusal.code()), "{status} {body}");
        self.stand.until_audited("refused", refusal.code(), "/device/mon-2")?;
        // Whoever is of another authority does not notice.
        session(&self.stand, &self.own, "mon-1").await?.disconnect().await
    }

    /// Puts a list and waits until the gateway has said what becomes of it.
    fn put(&self, list: &[u8], words: &str) -> anyhow::Result<()> {
        let before = self.stand.logged(words)?;
        self.stand.put("crl.pem", &pem(&self.stand, list)?)?;
        self.stand.until_logged(words, before + 1)?;
        let refused = self.stand.gauge("wardline_tls_files_refused")?;
        ensure!(refused == Some(i64::from(words == REFUSED)), "{refused:?} after {words}");
        Ok(())
    }

    /// A list that is about to expire is told of; once it has, nobody new of its authority gets in.
    async fn expires(&mut self) -> anyhow::Result<()> {
        let put_at = Instant::now();
        self.put(&self.other.list(&[], SHORT)?, LOADED)?;
        self.stand.until_logged("pki/crl.pem expires soon", 1)?;
        ensure!(put_at.elapsed() < SHORT, "warned before the end");
        ensure!(self.stand.gauge("wardline_tls_crl_ageing")? == Some(1), "the gauge says so");
        self.gets_in().await?;
        self.stand.until_logged("pki/crl.pem has expired", 1)?;
        let left = self.stand.gauge("wardline_tls_expires_seconds{what=\"imported_crl\"}")?;
        ensure!(left.is_some_and(|left| left <= 0), "{left:?}");
        self.goes_on().await?;
        self.stays_out(Refusal::IdentityCrlExpired).await?;
        self.goes_on().await
    }

    /// An expired list holds up no other file.
    fn still_renews(&self) -> anyhow::Result<()> {
        let before = self.stand.logged(LOADED)?;
        run(&mut self.stand.on_data(&["cert", "renew-server"])?)?;
        self.stand.until_logged(LOADED, before + 1)
    }

    /// What is not signed by the authority is not taken, whatever it names.
    async fn is_forged(&mut self) -> anyhow::Result<()> {
        let mut list = self.other.list(&[&self.serial], FRESH)?;
        *list.last_mut().context("a list")? ^= 1;
        self.put(&list, REFUSED)?;
        self.goes_on().await?;
        self.gets_in().await
    }

    /// Returns how long the live session lives on after a list that names it was put in place.
    async fn is_cut(&mut self) -> anyhow::Result<Duration> {
        let text = pem(&self.stand, &self.other.list(&[&self.serial], FRESH)?)?;
        let before = self.stand.logged(LOADED)?;
        let put_at = Instant::now();
        self.stand.put("crl.pem", &text)?;
        let ended = tokio::time::timeout(WAIT, self.live.receive(WAIT)).await;
        ensure!(ended.is_ok_and(|received| received.is_err()), "the session was not cut");
        let cut = put_at.elapsed();
        // Of several processes each looks for itself.
        self.stand.until_logged(LOADED, before + 1)?;
        Ok(cut)
    }
}

#[test]
fn an_imported_list_warns_expires_is_renewed_and_cuts() -> anyhow::Result<()> {
    block_on(async {
        let mut case = Case::new().await?;
        case.goes_on().await?;
        case.expires().await?;
        case.still_renews()?;
        let empty = case.other.list(&[], FRESH)?;
        case.put(&empty, LOADED)?;
        case.gets_in().await?;
        ensure!(case.stand.gauge("wardline_tls_crl_ageing")? == Some(0), "it is fresh");
        case.is_forged().await?;
        let cut = case.is_cut().await?;
        println!("list in place to session cut: {cut:?}");
        ensure!(cut < CUT, "SEC-2: {cut:?}");
        case.stays_out(Refusal::IdentityRevoked).await?;
        case.stand.until_audited("session_closed", "WL-ID-002", &format!("/{TENANT}/device/mon-2"))?;
        // An older list, however genuine, would let it in again.
        case.put(&empty, REFUSED)?;
        case.stays_out(Refusal::IdentityRevoked).await?;
        let newer = case.other.list(&[], FRESH)?;
        case.put(&newer, LOADED)?;
        case.gets_in().await?;
        ensure!(case.stand.logged("wardline serves")? == 1, "no restart");
        case.stand.stop()
    })
}
