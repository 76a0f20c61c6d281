//! Follows a subscription over as many connections as it takes, and confirms for a listener.

use super::{line, said};
use anyhow::bail;
use std::io::Write;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{ConfirmRequest, Heartbeat, SubscribeRequest};

/// The gateway says something every 5 s; three times nothing is a lost connection.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const GOODBYE_MAX: Duration = Duration::from_secs(5);
/// A lag that a person should know of.
const LAG_TOLD_MS: u64 = 5_000;

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
pub(super) struct Follower {
    pub(super) endpoint: Endpoint,
    pub(super) style: line::Style,
    pub(super) wanted: SubscribeRequest,
    /// The last event handled; `None` until the first answer to `--from-now`.
    pub(super) cursor: Option<u64>,
    pub(super) left: Option<u64>,
    pub(super) lag_told: bool,
    pub(super) heard: bool,
}

impl Follower {
    /// Follows until enough was printed, over as many connections as it takes.
    pub(super) async fn follow(&mut self) -> anyhow::Result<()> {
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
            ..self.wanted.clone()
        };
        let mut client = AlertServiceClient::new(channel);
        let mut stream = match client.subscribe(request).await {
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
            if let Err(status) = self.confirm(&mut client, false).await {
                return Ok(ended(&status));
            }
        }
    }

    /// Confirms what was printed, for a listener; with `release` it gives its lease back.
    async fn confirm(&self, client: &mut AlertServiceClient<Channel>, release: bool) -> Result<(), Status> {
        let (Some(listener), Some(cursor)) = (&self.wanted.listener, self.cursor) else { return Ok(()) };
        let request = ConfirmRequest { name: listener.name.clone(), cursor, release };
        client.confirm(request).await.map(drop)
    }

    /// Says that a listener stops on purpose. A gateway that does not hear it misses the listener, as it should.
    pub(super) async fn goodbye(&self) {
        if self.wanted.listener.is_none() {
            return;
        }
        let said = async {
            let mut client = AlertServiceClient::new(self.endpoint.connect().await.ok()?);
            self.confirm(&mut client, true).await.ok()
        };
        if tokio::time::timeout(GOODBYE_MAX, said).await.ok().flatten().is_none() {
            eprintln!("the gateway was not told that nobody listens here any more");
        }
    }

    fn beat(&mut self, beat: &Heartbeat) {
        self.cursor = Some(beat.cursor);
        let behind = beat.engine_lag_ms() >= LAG_TOLD_MS;
        if behind && !self.lag_told {
            eprintln!("the alarm engine is {} s behind: alerts come late", beat.engine_lag_ms() / 1000);
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
