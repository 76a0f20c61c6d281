//! `wardline archive erase`: everything of one subject is taken out of the archive, proven and certified.

use super::time_text;
use crate::erasure::{Evidence, certify, target};
use crate::operate::{DataDir, initialised, local_change};
use crate::pki::Authority;
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_archive::proof::{Proof, Scan};
use wardline_archive::read::{ArchiveReader, audit_read};
use wardline_journal::Keyring;
use wardline_proto::TenantId;
use wardline_proto::refusal::Refusal;
use wardline_store::catalog::Catalog;
use wardline_store::erasure::{ErasedRange, Erasure, SignedCertificate};
use wardline_store::registry::Reject;
use wardline_store::retired::RetiredWhen;
use wardline_store::{Store, StoreError};

/// Between two looks at how far the gateway is.
const POLL: Duration = Duration::from_millis(200);

const AFTER_HELP: &str = "\
What is the subject's: the rows of each device at the times at which the ledger of bindings says, now, that the subject
wore it; a binding that goes on ends with the request. From the moment that this is recorded no reader gets such a row,
and the ledger does not know the name any more: there is no way back.

The running gateway then writes every file that holds such rows again without them. The old files stay ten minutes for
readers that have begun, unless --now. At the end all files that are left are decrypted and looked through, and what was
done is signed with the authority's key. What ends this command ends nothing else: run it again, and it goes on.

Refused under a legal hold (WL-ERA-001). What it does not reach: exports, backups, and what docs/archive.md names.

Examples:
  wardline archive erase --tenant st-mary --subject p-4711 --dry-run --data-dir data
  wardline archive erase --tenant st-mary --subject p-4711 --out p.json --data-dir data
  wardline archive certificate --verify p.json --data-dir data

Exit codes: 0 certified (or a dry run), 1 not yet or refused.";

/// Erases a subject, and certifies it.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct EraseCommand {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Whose subject.
    #[arg(long)]
    tenant: TenantId,
    /// The subject's pseudonym, as the ledger of bindings has it.
    #[arg(long)]
    subject: String,
    /// Only tell what would be erased.
    #[arg(long)]
    dry_run: bool,
    /// Remove the old files at once: statements that have begun to read them fail.
    #[arg(long)]
    now: bool,
    /// Write the certificate here, and its signature beside it with `.sig`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long to wait for the gateway and its readers, seconds.
    #[arg(long, default_value_t = 900)]
    wait_s: u64,
}

impl EraseCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let data = initialised(&self.data_dir)?;
        let store = data.store()?.open_existing().await?;
        if self.dry_run {
            return self.tell(&store).await;
        }
        // Before anything is done that cannot be certified.
        let authority = Authority::load(&data.pki()).context("the certificate cannot be signed")?;
        let asked = store.ask_erasure(&local_change(), &self.tenant, &self.subject, self.now).await;
        let asked = asked.map_err(told)?;
        let id = &asked.erasure_id;
        println!(
            "erasure {id}: {}",
            if asked.is_known { "goes on" } else { "no reader gets these rows any more" }
        );
        let mut work = Work { data: &data, store: &store, tenant: &self.tenant, id };
        if let Some(certificate) = store.erasure_certificate(id).await? {
            let erasures = store.erasures(Some(self.tenant.as_str())).await?;
            if erasures.iter().any(|own| own.erasure_id == *id && own.rewritten_at_us.is_none()) {
                println!(
                    "rows came late since it was certified: in no answer, and in files until no hold stands"
                );
            }
            return self.give(&certificate);
        }
        work.alerts().await?;
        if !work.rewritten(Duration::from_secs(self.wait_s)).await? {
            return Ok(ExitCode::FAILURE);
        }
        let certificate = work.certify(&authority).await?;
        self.give(&certificate)
    }

    /// Tells what would be erased, from a scan of the files.
    async fn tell(&self, store: &Store) -> anyhow::Result<ExitCode> {
        let at_us = crate::front::now_us();
        let spans = store.erasable(&self.tenant, &self.subject, at_us).await?;
        ensure!(!spans.is_empty(), "{}: the ledger knows no such subject", Refusal::RegistryNotFound);
        audit_read(&self.data_dir, "erasure_tried", self.tenant.as_str()).await?;
        let range = |span: &wardline_store::erasure::Span| ErasedRange {
            erasure_id: String::new(),
            tenant: self.tenant.to_string(),
            device: span.device.clone(),
            from_us: span.from_us,
            until_us: span.until_us,
            is_rewritten: false,
        };
        for span in &spans {
            let until = time_text(span.until_us);
            let goes_on = if span.goes_on { " (goes on; ends with the request)" } else { "" };
            println!("{} from {} until {until}{goes_on}", span.device, time_text(span.from_us));
        }
        let erasure = Erasure::of_ranges(self.tenant.as_str(), spans.iter().map(range).collect());
        let proof = scan(&self.data_dir, &erasure).await?;
        proof.by_table.iter().for_each(|(table, rows)| println!("{table}: {rows} rows"));
        println!("{} rows of {} would be erased", proof.rows_in_ranges, proof.rows);
        if store.holds().await?.iter().any(|hold| hold.tenant == self.tenant.as_str()) {
            println!("{}: {} is under legal hold, which forbids it", Refusal::ErasureHeld, self.tenant);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn give(&self, certificate: &SignedCertificate) -> anyhow::Result<ExitCode> {
        match &self.out {
            None => print!("{}", String::from_utf8_lossy(&certificate.document)),
            Some(path) => {
                write(path, &certificate.document)?;
                write(&super::archive_certificate::signature_path(path), &certificate.signature)?;
                println!("certified: {}", path.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

/// Says what the store refuses with its code.
fn told(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Reject(Reject::Held) => {
            anyhow::anyhow!("{}: {}: nothing was erased", Refusal::ErasureHeld, Reject::Held)
        }
        StoreError::Reject(reject @ Reject::NotFound(_)) => {
            anyhow::anyhow!("{}: {reject} in the ledger of bindings", Refusal::RegistryNotFound)
        }
        other => other.into(),
    }
}

async fn scan(data_dir: &Path, erasure: &Erasure) -> anyhow::Result<Proof> {
    let mut scan = Scan::start(ArchiveReader::open(data_dir).await?, erasure).await?;
    loop {
        let walk = move || {
            while scan.step() {}
            scan
        };
        scan = tokio::task::spawn_blocking(walk).await?;
        if !scan.list_again().await? {
            return Ok(scan.finish());
        }
    }
}

/// One erasure under way.
struct Work<'a> {
    data: &'a DataDir,
    store: &'a Store,
    tenant: &'a TenantId,
    id: &'a str,
}

impl Work<'_> {
    async fn erasure(&self) -> anyhow::Result<Erasure> {
        let erasures = self.store.erasures(Some(self.tenant.as_str())).await?;
        erasures.into_iter().find(|erasure| erasure.erasure_id == self.id).context("the erasure is gone")
    }

    /// Takes the alerts out.
    async fn alerts(&self) -> anyhow::Result<()> {
        let keyring = Arc::new(Keyring::open(&self.data.keyring())?);
        let erasure = self.erasure().await?;
        let of = (self.id, erasure.ranges.as_slice());
        let erased = wardline_alert::erase(self.store, keyring, self.tenant, of).await?;
        if erased.is_none() {
            bail!("{}: {}: its alerts stay", Refusal::ErasureHeld, Reject::Held);
        }
        Ok(())
    }

    /// Waits until the files are rewritten and the old ones are gone. `false`: not in this time.
    async fn rewritten(&mut self, wait: Duration) -> anyhow::Result<bool> {
        let (catalog, until, mut said) =
            (Catalog::new(self.store.clone()), Instant::now() + wait, String::new());
        loop {
            let erasure = self.erasure().await?;
            let state = match (erasure.rewritten_at_us, erasure.files_left) {
                (Some(at_us), _) => {
                    match catalog.retired_of(self.tenant.as_str(), RetiredWhen::Until(at_us)).await?.len() {
                        0 => return Ok(true),
                        files => format!("rewritten; {files} old files stay for readers that have begun"),
                    }
                }
                (None, _) if !erasure.problem.is_empty() => {
                    format!("{}: {}", Refusal::ErasureUnproven, erasure.problem)
                }
                (None, None) => "waits for the gateway".to_owned(),
                (None, Some(files)) => format!("{files} files to look at"),
            };
            if state != said {
                println!("{state}");
                said = state;
            }
            if Instant::now() >= until {
                println!(
                    "not certified yet: no reader gets the rows; run this command again, with the gateway running"
                );
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Proves that nothing is left, and signs.
    async fn certify(&self, authority: &Authority) -> anyhow::Result<SignedCertificate> {
        // What the alarm engine may have told between the list and the first time.
        self.alerts().await?;
        let erasure = self.erasure().await?;
        let proof = scan(self.data.path(), &erasure).await?;
        ensure!(
            proof.holds(),
            "{}: {} rows are left; against it: {}",
            Refusal::ErasureUnproven,
            proof.rows_in_ranges,
            proof.against.join(" ")
        );
        let reader = ArchiveReader::open(self.data.path()).await?;
        let change = local_change();
        let evidence = Evidence {
            alerts: self.store.alerts_erased(self.id).await?,
            proof: &proof,
            heads: &reader.audit_heads().await?,
            position: reader.next_offset().await?.unwrap_or_default(),
            journal_start: journal_start(&self.data.journal()),
            at_us: change.at_us,
        };
        let certificate = certify(authority, &erasure, &evidence)?;
        let target = target(&erasure, &certificate);
        self.store.certify_erasure(&change, self.id, &certificate, &target).await?;
        self.store.erasure_certificate(self.id).await?.context("the certificate was not kept")
    }
}

/// Reads the first offset that the journal holds from the names of its segments.
fn journal_start(folder: &Path) -> Option<u64> {
    let names =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".wal")?.parse().ok()).min()
}
