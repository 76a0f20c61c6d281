//! `wardline alerts`: follow and list alerts over gRPC, from any machine with a service's or a person's certificate.

mod line;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{Heartbeat, ListAlertsRequest, Priority, SubscribeRequest};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The gateway says something every 5 s; three times nothing is a lost connection.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A lag that a person should know of.
const LAG_TOLD_MS: u64 = 5_000;

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
    /// Ended alerts too.
    #[arg(long)]
    all: bool,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
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
            Action::Watch(watch) => watch.run().await,
            Action::List(list) => list.run().await,
        }
    }
}

impl Server {
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
        let channel = self.server.endpoint()?.connect().await.context("connect to the gateway")?;
        let request = ListAlertsRequest {
            include_ended: self.all,
            page_size: self.limit,
            ..ListAlertsRequest::default()
        };
        let listed = AlertServiceClient::new(channel).list_alerts(request).await;
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

/// Why a stream ended.
enum Ended {
    /// Enough events were printed.
    Enough,
    /// Connect again and resume.
    Lost(String),
    /// Trying again cannot help.
    Refused(String),
}

/// Where a watch stands.
struct Follower {
    endpoint: Endpoint,
    style: line::Style,
    min_priority: Priority,
    /// The last event handled; `None` until the first answer to `--from-now`.
    cursor: Option<u64>,
    left: Option<u64>,
    lag_told: bool,
    heard: bool,
}

impl Watch {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let deadline = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut follower = Follower {
            endpoint: self.server.endpoint()?,
            style: self.server.style(),
            min_priority: match self.min_priority {
                MinPriority::Low => Priority::Unspecified,
                MinPriority::Medium => Priority::Medium,
                MinPriority::High => Priority::High,
            },
            cursor: (!self.from_now).then_some(self.cursor),
            left: self.count,
            lag_told: false,
            heard: false,
        };
        let followed = match deadline {
            Some(deadline) => timeout_at(deadline, follower.follow()).await,
            None => Ok(follower.follow().await),
        };
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

impl Follower {
    /// Follows until enough was printed, over as many connections as it takes.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut pause = BACKOFF_FIRST;
        loop {
            self.heard = false;
            let ended = match self.endpoint.connect().await {
                Ok(channel) => self.stream(channel).await?,
                Err(error) => Ended::Lost(format!("{:#}", anyhow::Error::from(error))),
            };
            match ended {
                Ended::Enough => return Ok(()),
                Ended::Refused(why) => bail!(why),
                Ended::Lost(why) => {
                    pause = if self.heard { BACKOFF_FIRST } else { pause };
                    let from = self.cursor.map_or("now".into(), |cursor| format!("cursor {cursor}"));
                    eprintln!(
                        "connection lost: {why}; trying again in {} ms, resuming from {from}",
                        pause.as_millis()
                    );
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    async fn stream(&mut self, channel: Channel) -> anyhow::Result<Ended> {
        let request = SubscribeRequest {
            cursor: self.cursor.unwrap_or(0),
            from_now: self.cursor.is_none(),
            min_priority: self.min_priority.into(),
            ..SubscribeRequest::default()
        };
        let mut stream = match AlertServiceClient::new(channel).subscribe(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(ended(&status)),
        };
        loop {
            if self.left == Some(0) {
                return Ok(Ended::Enough);
            }
            let response = match tokio::time::timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => return Ok(Ended::Lost("the gateway ended the stream".into())),
                Ok(Err(status)) => return Ok(ended(&status)),
                Err(_elapsed) => return Ok(Ended::Lost("no heartbeat".into())),
            };
            self.heard = true;
            match response.kind {
                Some(Kind::Event(event)) => {
                    writeln!(std::io::stdout().lock(), "{}", self.style.event(&event))?;
                    self.cursor = Some(event.cursor);
                    self.left = self.left.map(|left| left - 1);
                }
                Some(Kind::Heartbeat(beat)) => self.beat(&beat),
                None => {}
            }
        }
    }

    fn beat(&mut self, beat: &Heartbeat) {
        self.cursor = Some(beat.cursor);
        let behind = beat.engine_lag_ms >= LAG_TOLD_MS;
        if behind && !self.lag_told {
            eprintln!("the alarm engine is {} s behind: alerts come late", beat.engine_lag_ms / 1000);
        }
        self.lag_told = behind;
    }
}

fn ended(status: &Status) -> Ended {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::OutOfRange | Code::InvalidArgument => {
            Ended::Refused(said(status))
        }
        _ => Ended::Lost(said(status)),
    }
}

fn said(status: &Status) -> String {
    let message = if status.message().is_empty() { "no reason given" } else { status.message() };
    format!("{message} ({:?})", status.code())
}
