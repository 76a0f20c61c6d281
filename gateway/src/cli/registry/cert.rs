//! `wardline cert search`, `wardline cert revoke`: certificates that were issued, and their revocation, over gRPC.

use super::table::{Table, time};
use super::{Connection, hex, parse_time, told};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::process::ExitCode;
use wardline_proto::v1::revoke_certificates_request::By;
use wardline_proto::v1::{
    CertificateState, ClaimBatchName, DeviceName, ListCertificatesRequest, PrincipalKind, PrincipalName,
    RevokeCertificatesRequest,
};
use wardline_store::registry::Serial;

#[derive(Debug, Subcommand)]
pub(crate) enum CertAction {
    /// List certificates by tenant, device and state, newest first; over gRPC.
    #[command(after_help = "Example: wardline cert search --tenant st-mary --state revoked --data-dir data")]
    Search {
        /// Of this tenant.
        #[arg(long, default_value = "")]
        tenant: String,
        /// Of this device of the tenant.
        #[arg(long, default_value = "", requires = "tenant")]
        device: String,
        /// In this state.
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        on: Connection,
    },
    /// Revoke certificates; live sessions are cut within 2 s.
    #[command(
        after_help = "Example: wardline cert revoke --tenant st-mary --device mon-7 --reason stolen --compromised-at 2026-11-20T08:00:00Z --data-dir data"
    )]
    Revoke(Revoke),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum State {
    Valid,
    Revoked,
    Expired,
}

#[derive(Debug, Args)]
#[group(id = "by", required = true, multiple = false)]
pub(crate) struct What {
    /// Every certificate of this device of --tenant.
    #[arg(long, requires = "tenant")]
    device: Option<String>,
    /// The certificate with this serial, hex.
    #[arg(long)]
    serial: Option<String>,
    /// Every certificate of this batch of claims of --tenant, and its unused claims.
    #[arg(long, requires = "tenant")]
    claim_batch: Option<String>,
    /// Every certificate that this manufacturer's authority vouched for, and the authority.
    #[arg(long)]
    ca: Option<String>,
    /// Every certificate of this service of --tenant.
    #[arg(long, requires = "tenant")]
    service: Option<String>,
    /// Every certificate of this person of --tenant.
    #[arg(long, requires = "tenant")]
    user: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Whose.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    what: What,
    /// From when on it is not to be trusted.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    compromised_at: Option<i64>,
    /// Why. It is audited: no patient data.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    on: Connection,
}

impl CertAction {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Search { tenant, device, state, on } => {
                let state = match state {
                    None => CertificateState::Unspecified,
                    Some(State::Valid) => CertificateState::Valid,
                    Some(State::Revoked) => CertificateState::Revoked,
                    Some(State::Expired) => CertificateState::Expired,
                };
                let request = ListCertificatesRequest { tenant, device, state: state.into(), page_size: 0 };
                let listed = on.client().await?.list_certificates(request).await.map_err(told)?.into_inner();
                let mut table =
                    Table::new(&["serial", "identity", "expires", "revoked", "compromised", "reason"]);
                for row in listed.certificates {
                    let times = [row.not_after_us, row.revoked_at_us, row.compromised_at_us].map(time);
                    let [expires, revoked, compromised] = times;
                    let serial = hex(&row.serial).into();
                    table.row([
                        serial,
                        row.spiffe_uri.into(),
                        expires,
                        revoked,
                        compromised,
                        row.reason.into(),
                    ]);
                }
                on.show(&table)?;
            }
            Self::Revoke(revoke) => revoke.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    async fn run(self) -> anyhow::Result<()> {
        let tenant = self.tenant.unwrap_or_default();
        let principal = |tenant, kind: PrincipalKind, name| {
            By::Principal(PrincipalName { tenant, kind: kind.into(), name })
        };
        let by = match self.what {
            What { device: Some(device), .. } => By::Device(DeviceName { tenant, device }),
            What { claim_batch: Some(batch), .. } => By::ClaimBatch(ClaimBatchName { tenant, batch }),
            What { serial: Some(serial), .. } => {
                let serial =
                    Serial::from_hex(&serial).context("--serial is hex, as `cert list` prints it")?;
                By::Serial(serial.as_bytes().to_vec())
            }
            What { ca: Some(ca), .. } => By::CaId(ca),
            What { service: Some(name), .. } => principal(tenant, PrincipalKind::Service, name),
            What { user: Some(name), .. } => principal(tenant, PrincipalKind::User, name),
            _ => bail!("say what to revoke"),
        };
        let request = RevokeCertificatesRequest {
            by: Some(by),
            compromised_at_us: self.compromised_at.unwrap_or(0),
            reason: self.reason,
        };
        let revoked = self.on.client().await?.revoke_certificates(request).await.map_err(told)?.into_inner();
        let serials: Vec<_> = revoked.serials.iter().map(|serial| hex(serial)).collect();
        let sentence = format!("{} certificates revoked {}", serials.len(), serials.join(" "));
        self.on.done(sentence.trim_end(), &json!({ "revoked": serials }));
        Ok(())
    }
}
