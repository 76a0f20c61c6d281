//! `wardline archive certificate`: certificates of erasures are listed, given out again and checked.

use super::time_text;
use crate::audit::trail::Trail;
use crate::erasure::{check, digest_of, is_about};
use crate::operate::initialised;
use anyhow::{Context, bail, ensure};
use clap::Args;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::AuditEvent;
use wardline_store::erasure::SignedCertificate;

const AFTER_HELP: &str = "\
Without --verify: lists erasures and how far each is. With it: checks the signature, and with --data-dir also that the
audit trail has an event with the document's digest. Whoever has the authority's certificate needs nothing else:
  wardline archive certificate --verify p.json --issuer issuing.pem
  openssl dgst -sha256 -verify issuing.pub -signature p.json.sig p.json

Exit codes: 0 it holds, 1 it does not.";

/// Lists erasures, and checks their certificates.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CertificateCommand {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Only of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Check this certificate; its signature lies beside it, with `.sig`.
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// The signature, if it lies elsewhere.
    #[arg(long, value_name = "FILE", requires = "verify")]
    signature: Option<PathBuf>,
    /// The issuing authority's certificate, PEM; that of the data directory when it is not given.
    #[arg(long, value_name = "FILE", requires = "verify")]
    issuer: Option<PathBuf>,
    /// Check that it is about this subject.
    #[arg(long, requires = "verify")]
    subject: Option<String>,
}

/// Returns where the signature of a certificate lies.
pub(super) fn signature_path(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

impl CertificateCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match &self.verify {
            Some(path) => self.check(path).await,
            None => self.list().await,
        }
    }

    async fn list(&self) -> anyhow::Result<ExitCode> {
        let data = initialised(self.data_dir.as_deref().context("--data-dir, or --verify")?)?;
        let store = data.store()?.open_read_only().await?;
        for erasure in store.erasures(self.tenant.as_deref()).await? {
            let state = match (erasure.certified_at_us, erasure.rewritten_at_us) {
                (Some(at_us), _) => format!("certified {}", time_text(at_us)),
                (None, Some(at_us)) => format!("rewritten {}", time_text(at_us)),
                (None, None) if !erasure.problem.is_empty() => erasure.problem.clone(),
                (None, None) => "asked".to_owned(),
            };
            let rows: u64 = erasure.counts.iter().map(|count| count.rows).sum();
            let (tenant, id, asked) = (&erasure.tenant, &erasure.erasure_id, time_text(erasure.asked_at_us));
            println!("{tenant} {id} asked {asked} by {}: {rows} rows, {state}", erasure.asked_by);
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn check(&self, path: &Path) -> anyhow::Result<ExitCode> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        let signature = self.signature.clone().unwrap_or_else(|| signature_path(path));
        let certificate = SignedCertificate { document: read(path)?, signature: read(&signature)? };
        let issuer = match (&self.issuer, &self.data_dir) {
            (Some(path), _) => read(path)?,
            (None, Some(dir)) => initialised(dir)?.pki().read("issuing.pem")?.into_bytes(),
            (None, None) => bail!("--issuer or --data-dir: whose signature is it?"),
        };
        let issuer =
            CertificateDer::from_pem_slice(&issuer).ok().context("the issuer is no PEM certificate")?;
        let document = check(&certificate, &issuer);
        let document =
            document.map_err(|error| anyhow::anyhow!("{}: {error}", Refusal::ErasureCertificate))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (tenant, id) = (text("tenant"), text("erasure"));
        println!("the signature is the authority's: erasure {id} of {tenant}, signed {}", text("signed_at"));
        if let Some(subject) = &self.subject {
            ensure!(is_about(&document, subject), "{}: it is about another", Refusal::ErasureCertificate);
            println!("it is about {subject}");
        }
        if let Some(dir) = &self.data_dir {
            let digest = digest_of(&certificate);
            match event_of(dir, &digest).await? {
                Some(event) => println!("the audit trail has it: {} n {}", event.node, event.n),
                None => bail!(
                    "{}: the audit trail has no event with its digest {digest}",
                    Refusal::ErasureCertificate
                ),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Finds the event that names a certificate's digest.
async fn event_of(data_dir: &Path, digest: &str) -> anyhow::Result<Option<AuditEvent>> {
    let trail = Trail::open(data_dir).await.context("the audit trail does not open")?;
    let is_it = |event: &AuditEvent| event.action == "erasure_certified" && event.target.ends_with(digest);
    if let Some(row) = trail.newest.iter().find(|row| is_it(&row.event)) {
        return Ok(Some(row.event.clone()));
    }
    let digest = digest.to_owned();
    let find = move || {
        for file in trail.files.iter().rev() {
            let is_it =
                |event: &AuditEvent| event.action == "erasure_certified" && event.target.ends_with(&digest);
            let rows = trail.events_of(file)?.unwrap_or_default();
            if let Some(row) = rows.into_iter().find(|row| is_it(&row.event)) {
                return Ok(Some(row.event));
            }
        }
        Ok::<_, wardline_archive::ArchiveError>(None)
    };
    Ok(tokio::task::spawn_blocking(find).await??)
}
