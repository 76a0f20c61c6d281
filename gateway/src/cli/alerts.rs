//! `wardline alerts`: follow, list, acknowledge and pause alerts over gRPC, and look into the delivery ledger, from any
//! machine with a service's or a person's certificate.

mod acts;
mod board;
mod export;
mod follow;
mod ledger;
mod line;
mod lint;
mod overrides;
mod replay;
mod strip;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use follow::Follower;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{ListAlertsRequest, Listener, Priority, SubscribeRequest};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows and lists alerts.
#[derive(Debug, Args)]
pub struct AlertsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print alert events as they happen; reconnects and resumes where it stopped.
    Watch(Watch),
    /// Print the alerts that are present, newest first.
    List(List),
    /// Say that somebody sees to an alert: it does not escalate any more.
    Ack(acts::Ack),
    /// Pause the signal of an alert for a time, or end its pause.
    Pause(acts::Pause),
    /// Print who was sent which event, when, and who accepted it.
    Deliveries(ledger::Deliveries),
    /// Print who listens, for which wards, and how far each has confirmed.
    Listeners(ledger::Listeners),
    /// Say that a listener will not come back: nobody misses it any more.
    Release(ledger::Release),
    /// Set, list and end other values of rules for a tenant, a ward or a patient.
    Override(overrides::Override),
    /// Tell everything that is wrong with rules files.
    Lint(lint::Lint),
    /// Print the JSON schema of rules files.
    Schema,
    /// Write events as FHIR, as HL7 v2 (IHE PCD-04) or as JSON.
    Export(export::Export),
    /// Run other rules over the archive, and print the difference in alarms per patient-day.
    Replay(replay::Replay),
    /// Draw the waveforms around an alert's onset, on the terminal or as ECG paper.
    Strip(strip::Strip),
}

#[derive(Debug, Args)]
struct Server {
    /// The gateway's gRPC address.
    #[arg(long, default_value = "https://localhost:8443", env = "WARDLINE_SERVER")]
    server: String,
    /// Folder with ca.pem, cert.pem and key.pem, as `wardline service issue` makes it.
    #[arg(long, value_name = "DIR", env = "WARDLINE_CERTS")]
    certs: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Watch {
    #[command(flatten)]
    server: Server,
    /// The last event that was handled; what follows it is printed. 0 is the beginning.
    #[arg(long, default_value_t = 0, conflicts_with = "from_now")]
    cursor: u64,
    /// Start with the next new event.
    #[arg(long)]
    from_now: bool,
    /// Only alerts of at least this priority.
    #[arg(long, value_enum, default_value_t = MinPriority::Low)]
    min_priority: MinPriority,
    /// Only devices of this ward (site); may be given more than once.
    #[arg(long, value_name = "SITE")]
    ward: Vec<String>,
    /// Only this device; may be given more than once.
    #[arg(long)]
    device: Vec<String>,
    /// Be a listener of this name: what is printed is confirmed, and silence is an alarm.
    #[arg(long, value_name = "NAME")]
    listen: Option<String>,
    /// The listener's lease, seconds.
    #[arg(long, default_value_t = 15, requires = "listen")]
    lease: u32,
    /// Show the alerts that are on as a board on the terminal, with keys to acknowledge and to pause.
    #[arg(long, conflicts_with_all = ["json", "count", "timeout", "listen", "cursor", "from_now"])]
    board: bool,
    /// Stop after this many events.
    #[arg(long)]
    count: Option<u64>,
    /// Stop after this many seconds; with --count, fewer events by then are a failure.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    server: Server,
    /// Ended alerts too: each for 90 days after its last event, and longer while a listener has not confirmed it.
    #[arg(long)]
    all: bool,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only devices of this ward (site); may be given more than once.
    #[arg(long, value_name = "SITE")]
    ward: Vec<String>,
    /// Only this device; may be given more than once.
    #[arg(long)]
    device: Vec<String>,
    /// Only alerts of at least this priority.
    #[arg(long, value_enum, default_value_t = MinPriority::Low)]
    min_priority: MinPriority,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum MinPriority {
    Low,
    Medium,
    High,
}

impl AlertsCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Watch(watch) if watch.board => board::run(&watch).await,
            Action::Watch(watch) => watch.run().await,
            Action::List(list) => list.run().await,
            Action::Ack(ack) => ack.run().await,
            Action::Pause(pause) => pause.run().await,
            Action::Deliveries(deliveries) => deliveries.run().await,
            Action::Listeners(listeners) => listeners.run().await,
            Action::Release(release) => release.run().await,
            Action::Override(other) => other.run().await,
            Action::Lint(lint) => lint.run(),
            Action::Schema => {
                println!("{}", wardline_alert::rules::schema());
                Ok(ExitCode::SUCCESS)
            }
            Action::Export(export) => export.run().await,
            Action::Replay(replay) => replay.run().await,
            Action::Strip(strip) => strip.run().await,
        }
    }
}

impl From<MinPriority> for i32 {
    fn from(priority: MinPriority) -> Self {
        let priority = match priority {
            MinPriority::Low => Priority::Unspecified,
            MinPriority::Medium => Priority::Medium,
            MinPriority::High => Priority::High,
        };
        priority.into()
    }
}

impl Server {
    async fn client(&self) -> anyhow::Result<AlertServiceClient<Channel>> {
        let channel = self.endpoint()?.connect().await.context("connect to the gateway")?;
        Ok(AlertServiceClient::new(channel))
    }

    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let read = |name: &str| read(&self.certs, name);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")?))
            .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?));
        let endpoint = Endpoint::from_shared(self.server.clone()).context("--server is not a URL")?;
        if endpoint.uri().scheme_str() != Some("https") {
            bail!("--server must be https://HOST:PORT: alerts are never sent in the clear");
        }
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tls_config(tls)?)
    }

    fn style(&self) -> line::Style {
        if self.json {
            line::Style::Json
        } else {
            line::Style::Text { coloured: std::io::stdout().is_terminal() }
        }
    }
}

fn read(certs: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = certs.join(name);
    std::fs::read(&path).with_context(|| format!("read {}", path.display()))
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let request = ListAlertsRequest {
            include_ended: self.all,
            page_size: self.limit,
            sites: self.ward.clone(),
            devices: self.device.clone(),
            min_priority: self.min_priority.into(),
            ..ListAlertsRequest::default()
        };
        let listed = self.server.client().await?.list_alerts(request).await;
        let alerts = listed.map_err(|status| anyhow::anyhow!(said(&status)))?.into_inner().alerts;
        let (style, mut out) = (self.server.style(), std::io::stdout().lock());
        for alert in &alerts {
            writeln!(out, "{}", style.alert(alert))?;
        }
        if alerts.is_empty() {
            eprintln!("no alerts {}", if self.all { "so far" } else { "are present" });
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Watch {
    /// Returns what it asks for, without where it starts.
    fn wanted(&self) -> SubscribeRequest {
        let listener = |name: &String| Listener { name: name.clone(), lease_s: self.lease, behind_s: 0 };
        SubscribeRequest {
            min_priority: self.min_priority.into(),
            sites: self.ward.clone(),
            devices: self.device.clone(),
            listener: self.listen.as_ref().map(listener),
            ..SubscribeRequest::default()
        }
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        let deadline = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut follower = Follower {
            endpoint: self.server.endpoint()?,
            style: self.server.style(),
            wanted: self.wanted(),
            cursor: (!self.from_now).then_some(self.cursor),
            left: self.count,
            lag_told: false,
            heard: false,
        };
        let following = async {
            match deadline {
                Some(deadline) => timeout_at(deadline, follower.follow()).await,
                None => Ok(follower.follow().await),
            }
        };
        let followed = tokio::select! {
            followed = following => followed,
            _interrupted = tokio::signal::ctrl_c() => Ok(Ok(())),
        };
        // Stopping on purpose is no silence that anybody should be called for.
        follower.goodbye().await;
        match followed {
            Ok(done) => done.map(|()| ExitCode::SUCCESS),
            Err(_elapsed) => match follower.left {
                Some(left) if left > 0 => {
                    bail!("{left} of {} events did not come in time", self.count.unwrap_or(0))
                }
                _ => Ok(ExitCode::SUCCESS),
            },
        }
    }
}

fn said(status: &Status) -> String {
    let message = if status.message().is_empty() { "no reason given" } else { status.message() };
    format!("{message} ({:?})", status.code())
}
