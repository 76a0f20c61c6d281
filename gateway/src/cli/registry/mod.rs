//! The registry's commands: a gRPC client over mTLS, for an operator beside the gateway or far from it.

pub mod accepted;
pub mod binding;
pub mod cert;
pub mod claim;
pub mod device;
pub mod import;
pub mod manufacturer;
pub mod model;
pub mod peripheral;
pub mod principal;
mod table;
pub mod tenant;

use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::Table;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardline_proto::v1::registry_service_client::RegistryServiceClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const LOCAL: &str = "https://127.0.0.1:8443";

/// Where the gateway is, and as whom it is called.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// The gateway's gRPC address [default: https://127.0.0.1:8443].
    #[arg(long, value_name = "URL", env = "WARDLINE_SERVER")]
    server: Option<String>,
    /// Folder with ca.pem, cert.pem and key.pem of whoever calls.
    #[arg(long, value_name = "DIR", env = "WARDLINE_CERTS")]
    certs: Option<PathBuf>,
    /// Data directory on this machine, as whose operator the call is made, when there is no --certs.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

type Client = RegistryServiceClient<Channel>;

impl Connection {
    async fn client(&self) -> anyhow::Result<Client> {
        let certs = match (&self.certs, &self.data_dir) {
            (Some(certs), _) => certs.clone(),
            (None, Some(data)) => crate::operate::DataDir::new(data).operator(),
            (None, None) => bail!("say as whom: --certs DIR, or --data-dir DIR on the gateway's machine"),
        };
        let read = |name: &str| read(&certs, name);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")?))
            .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?));
        let server = self.server.clone().unwrap_or_else(|| LOCAL.to_owned());
        let endpoint = Endpoint::from_shared(server).context("--server is not a URL")?;
        if endpoint.uri().scheme_str() != Some("https") {
            bail!("--server must be https://HOST:PORT: the registry is never read in the clear");
        }
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tls_config(tls)?;
        let place = endpoint.uri().to_string();
        let channel =
            endpoint.connect().await.with_context(|| format!("connect to the gateway at {place}"))?;
        Ok(Client::new(channel))
    }

    fn show(&self, table: &Table) -> anyhow::Result<()> {
        table.print(self.json)
    }

    /// Says that something was done: a sentence, or an object.
    fn done(&self, sentence: &str, object: &serde_json::Value) {
        if self.json { println!("{object}") } else { println!("{sentence}") }
    }
}

fn read(folder: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(name);
    std::fs::read(&path).with_context(|| format!("read {}", path.display()))
}

/// Turns a status into what a person reads: its code and its words.
fn told(status: Status) -> anyhow::Error {
    let message = if status.message().is_empty() { "no reason given" } else { status.message() };
    anyhow::anyhow!("{message}")
}

/// Reads a time: RFC 3339, or `now`.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let time = match text {
        "now" => OffsetDateTime::now_utc(),
        text => {
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "a time is 2026-11-21T08:00:00Z, or now")?
        }
    };
    i64::try_from(time.unix_timestamp_nanos() / 1000).map_err(|_| "the time is out of range".to_owned())
}

/// Reads a span of time: a number and s, m, h or d.
fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || "a span is a number and s, m, h or d, such as 24h".to_owned();
    let at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
