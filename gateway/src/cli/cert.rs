//! `wardline cert`: what was issued, and the certificates of the data directory itself.

use crate::operate::{self, initialised};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wardline_store::registry::{CertificateRow, Serial};

/// Shows issued certificates; renews the gateway's own and the operator's. Works beside a running gateway.
#[derive(Debug, Args)]
pub struct CertCommand {
    #[command(subcommand)]
    action: CertAction,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one of them is made, once, from the command line")]
enum CertAction {
    /// List certificates, newest first.
    List(CertList),
    /// Show one certificate.
    Show(CertShow),
    /// Make a new server certificate and key; a running gateway takes them within seconds.
    RenewServer(RenewServer),
    /// Make a new operator certificate and key in DATA/operator.
    RenewOperator(DataDirArg),
    #[command(flatten)]
    Registry(super::registry::cert::CertAction),
}

#[derive(Debug, Args)]
struct DataDirArg {
    /// Data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
struct CertList {
    #[command(flatten)]
    data: DataDirArg,
    /// Only identities whose URI begins so.
    #[arg(long, default_value = "spiffe://")]
    uri: String,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

#[derive(Debug, Args)]
struct CertShow {
    #[command(flatten)]
    data: DataDirArg,
    /// Serial in hex, as `cert list` prints it.
    serial: String,
}

#[derive(Debug, Args)]
struct RenewServer {
    #[command(flatten)]
    data: DataDirArg,
    /// Names and addresses that devices reach the gateway by [default: those of the present certificate].
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

impl CertCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            CertAction::Registry(action) => return action.run().await,
            CertAction::List(list) => {
                let store = initialised(&list.data.data_dir)?.store()?.open_read_only().await?;
                for row in store.list_certificates(&list.uri, list.limit).await? {
                    println!("{}", line(&row));
                }
            }
            CertAction::Show(show) => {
                let serial = Serial::from_hex(&show.serial);
                let serial = serial.ok_or_else(|| anyhow::anyhow!("a serial is 2 to 40 hex digits"))?;
                let store = initialised(&show.data.data_dir)?.store()?.open_read_only().await?;
                let row = store.get_certificate(&serial).await?;
                print_row(&row.ok_or_else(|| anyhow::anyhow!("no certificate has this serial"))?);
            }
            CertAction::RenewServer(renew) => {
                let hosts = operate::renew_server(&renew.data.data_dir, &renew.hosts)?;
                println!("server certificate for {} renewed", hosts.join(", "));
            }
            CertAction::RenewOperator(data) => {
                let certificate = operate::issue_operator(&data.data_dir).await?;
                println!("{} serial {}", certificate.spiffe_uri, certificate.serial);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn line(row: &CertificateRow) -> String {
    let certificate = &row.certificate;
    let state = row.revoked_at_us.map_or_else(
        || format!("until {}", when(certificate.not_after_us)),
        |at_us| format!("revoked {}", when(at_us)),
    );
    format!("{} {} {state}", certificate.serial, certificate.spiffe_uri)
}

fn print_row(row: &CertificateRow) {
    let certificate = &row.certificate;
    println!("serial      {}", certificate.serial);
    println!("identity    {}", certificate.spiffe_uri);
    println!("in force    {} to {}", when(certificate.not_before_us), when(certificate.not_after_us));
    for (name, value) in
        [("key sha256", &certificate.key_sha256), ("claim", &row.claim_id), ("factory", &row.ca_id)]
    {
        if !value.is_empty() {
            println!("{name:<11} {value}");
        }
    }
    if let Some(at_us) = row.revoked_at_us {
        println!("revoked     {} {}", when(at_us), row.reason);
    }
    if let Some(at_us) = row.compromised_at_us {
        println!("compromised {}", when(at_us));
    }
}

fn when(at_us: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(at_us.div_euclid(1_000_000)).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| at_us.to_string())
}
