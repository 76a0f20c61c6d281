//! `wardline alerts export`: alert events in the forms of other systems.

use super::{Server, line, said};
use crate::cli::registry::parse_time;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_fhir::alert::{self, Sender};
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{AlertEvent, SubscribeRequest};

/// Writes alert events in the forms of other systems (docs/alert-formats.md).
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    server: Server,
    /// How each event is written.
    #[arg(long, value_enum)]
    format: Format,
    /// Only events from this time on: 2026-11-21T08:00:00Z.
    #[arg(long, value_parser = parse_time)]
    since: Option<i64>,
    /// The last event that was handled; what follows it is written.
    #[arg(long, default_value_t = 0)]
    cursor: u64,
    /// Go on as events happen, until the connection ends.
    #[arg(long)]
    follow: bool,
    /// Into a file that is not there yet, instead of onto the terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One FHIR R4 DetectedIssue a line.
    Fhir,
    /// One DeviceAlert a line, by a ballot of FHIR R6: a preview.
    FhirR6,
    /// One HL7 v2 message of IHE ACM PCD-04 after the other, each followed by a line feed.
    Pcd04,
    /// One JSON object a line.
    Json,
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut out: Box<dyn Write> = match &self.out {
            Some(path) => {
                // Its owner's alone: alerts hold values.
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let file = file.with_context(|| format!("create {}", path.display()))?;
                Box::new(BufWriter::new(file))
            }
            None => Box::new(io::stdout().lock()),
        };
        let request = SubscribeRequest { cursor: self.cursor, ..SubscribeRequest::default() };
        let stream = self.server.client().await?.subscribe(request).await;
        let mut stream = stream.map_err(|status| anyhow::anyhow!(said(&status)))?.into_inner();
        let (mut written, mut cursor) = (0_u64, self.cursor);
        loop {
            let response = tokio::select! {
                response = stream.message() => response.map_err(|status| anyhow::anyhow!(said(&status)))?,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    break;
                }
            };
            match response.and_then(|response| response.kind) {
                Some(Kind::Event(event)) => {
                    cursor = event.cursor;
                    if self.since.is_none_or(|since_us| event.at_us >= since_us) {
                        out.write_all(self.format.text(&event).as_bytes())?;
                        written += 1;
                    }
                }
                Some(Kind::Heartbeat(beat)) => {
                    cursor = beat.cursor;
                    out.flush()?;
                    // Nothing was missed up to here.
                    if !self.follow {
                        break;
                    }
                }
                None => {
                    bail!("the gateway ended the stream at cursor {cursor}; {written} events were written")
                }
            }
        }
        out.flush()?;
        eprintln!("{written} events, up to cursor {cursor}");
        Ok(ExitCode::SUCCESS)
    }
}

impl Format {
    fn text(self, event: &AlertEvent) -> String {
        let tenant = || event.alert.as_ref().map_or_else(String::new, |alert| alert.tenant.clone());
        match self {
            Self::Fhir => format!("{}\n", alert::detected_issue(event)),
            Self::FhirR6 => format!("{}\n", alert::device_alert(event)),
            Self::Json => format!("{}\n", line::Style::Json.event(event)),
            Self::Pcd04 => {
                let none = String::new;
                let application = "Wardline".to_owned();
                let sender =
                    Sender { application, facility: tenant(), to_application: none(), to_facility: none() };
                format!("{}\n", alert::pcd04(event, &sender))
            }
        }
    }
}
