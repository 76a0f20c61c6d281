//! `wardline audit`: lists the audit trail and proves that it is whole, beside a running gateway or without one.

use super::time_text;
use crate::audit::trail::Trail;
use crate::audit::verify::verify;
use crate::audit::{Report, What};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wardline_archive::read::{AuditRow, audit_read};
use wardline_proto::v1::AuditEvent;
use wardline_store::catalog::FileRow;

/// Listings that are verified when files of the one before were merged and removed meanwhile.
const LISTINGS_MAX: u32 = 3;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(500);

/// Lists and verifies the audit trail.
#[derive(Debug, Args)]
pub struct AuditCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every hash and number of every node's chain; exit code 1 when anything does not fit.
    Verify(VerifyCommand),
    /// Print events, newest last.
    List(ListCommand),
}

#[derive(Debug, Args)]
struct VerifyCommand {
    /// The gateway's data directory. The gateway may be running.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListCommand {
    /// The gateway's data directory. The gateway may be running.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Only events whose actor contains this.
    #[arg(long, value_name = "TEXT")]
    actor: Option<String>,
    /// Only events of this action, such as session_opened.
    #[arg(long)]
    action: Option<String>,
    /// Only events since a time (2026-11-21T08:00:00Z) or for so long (90s, 15m, 2h, 3d).
    #[arg(long, value_name = "TIME", value_parser = since_us)]
    since: Option<i64>,
    /// Most events that are printed, the newest.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

impl AuditCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Verify(command) => command.run().await,
            Action::List(command) => command.run().await,
        }
    }
}

impl VerifyCommand {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut report = None;
        for _listing in 0..LISTINGS_MAX {
            report = self.verify().await?;
            if report.is_some() {
                break;
            }
        }
        let report = report.context("files are merged and removed faster than they are read: try again")?;
        if self.json {
            println!("{}", report.to_json());
        } else {
            println!("{report}");
        }
        Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl VerifyCommand {
    /// Verifies one listing; none when files of it were merged and removed meanwhile.
    async fn verify(&self) -> anyhow::Result<Option<Report>> {
        let place = self.data_dir.display();
        let trail = Trail::open(&self.data_dir).await;
        let trail = trail.with_context(|| format!("{place} holds no audit trail that opens"))?;
        let work = tokio::task::spawn_blocking(move || {
            let total: u64 = trail.files.iter().map(|file| file.rows).sum();
            let mut progress = Progress::new(total);
            let report = verify(&trail, |events| progress.tell(events));
            progress.end();
            (trail, report)
        });
        let (trail, report) = work.await?;
        let report = report?;
        for finding in &report.findings {
            if let What::FileGone { path } = &finding.what
                && trail.is_replaced(path).await?
            {
                return Ok(None);
            }
        }
        Ok(Some(report))
    }
}

/// Tells on a terminal how far long work is.
struct Progress {
    total: u64,
    told_at: Instant,
    told: bool,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self { total, told_at: Instant::now(), told: false }
    }

    fn tell(&mut self, events: u64) {
        if self.told_at.elapsed() >= PROGRESS && std::io::stderr().is_terminal() {
            eprint!("\r{events} of {} archived events checked", self.total);
            (self.told, self.told_at) = (true, Instant::now());
        }
    }

    fn end(&self) {
        if self.told {
            eprintln!();
        }
    }
}

impl ListCommand {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let place = self.data_dir.display();
        let trail = Trail::open(&self.data_dir).await;
        let trail = trail.with_context(|| format!("{place} holds no audit trail that opens"))?;
        audit_read(&self.data_dir, "audit_listed", &self.filters()).await?;
        let json = self.json;
        let (rows, sealed) = tokio::task::spawn_blocking(move || self.newest(&trail)).await??;
        for file in &sealed {
            println!("{}", if json { sealed_json(file).to_string() } else { sealed_line(file) });
        }
        for row in &rows {
            if json { println!("{}", event_json(row)) } else { println!("{}", event_line(&row.event)) }
        }
        if rows.is_empty() && sealed.is_empty() && !json {
            println!("no such event");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Says what is asked for.
    fn filters(&self) -> String {
        let since = self.since.map(time_text);
        let named = [("actor", &self.actor), ("action", &self.action), ("since", &since)];
        let given = named.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        given.chain([format!("limit {}", self.limit)]).collect::<Vec<_>>().join(" ")
    }

    /// Returns the newest matching events, newest last, and files among them that nobody reads any more. Reads files from
    /// the newest back, as many as it takes. Newest is by when it happened: among several nodes what one of them tells
    /// late stands where it belongs.
    fn newest(&self, trail: &Trail) -> anyhow::Result<(Vec<AuditRow>, Vec<FileRow>)> {
        let mut sealed = Vec::new();
        let mut rows: Vec<AuditRow> =
            trail.newest.iter().filter(|row| self.matches(&row.event)).cloned().collect();
        let mut files: Vec<_> = trail.files.iter().collect();
        files.sort_unstable_by_key(|file| std::cmp::Reverse((file.time_max_us, file.offset_last)));
        for file in files {
            keep_newest(&mut rows, self.limit);
            let oldest = rows.first().filter(|_| rows.len() == self.limit).map(|row| row.event.at_us);
            // An event is journaled after it happened, but for clocks that differ. Files come by the newest: what is
            // behind is older than all that is wanted.
            if self.limit == 0 || oldest.is_some_and(|oldest| file.time_max_us < oldest) {
                break;
            }
            if self.since.is_some_and(|since| file.time_max_us < since) {
                continue;
            }
            match trail.events_of(file)? {
                Some(events) => rows.extend(events.into_iter().filter(|row| self.matches(&row.event))),
                None => sealed.push(file.clone()),
            }
        }
        keep_newest(&mut rows, self.limit);
        sealed.reverse();
        Ok((rows, sealed))
    }

    fn matches(&self, event: &AuditEvent) -> bool {
        self.actor.as_ref().is_none_or(|actor| event.actor.contains(actor))
            && self.action.as_ref().is_none_or(|action| event.action == *action)
            && self.since.is_none_or(|since| event.at_us >= since)
    }
}

/// Puts events in the order in which they happened, those of one moment by node and place in the journal, and keeps the
/// last ones. What two nodes journaled of one row of the outbox, because the first lost its lease over it, is one event.
fn keep_newest(rows: &mut Vec<AuditRow>, limit: usize) {
    rows.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut told = HashSet::new();
    rows.retain(|row| {
        let event = &row.event;
        // A database that was set back counts its rows again.
        event.outbox_id == 0 || told.insert((event.outbox_id, event.at_us, event.action.clone()))
    });
    rows.drain(..rows.len().saturating_sub(limit));
}

fn key(row: &AuditRow) -> (i64, &str, u64) {
    (row.event.at_us, &row.event.node, row.journal_offset)
}

fn event_line(event: &AuditEvent) -> String {
    let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    format!(
        "{:<27} {:>8} {:<18} {:<12} {} {}",
        time_text(event.at_us),
        event.n,
        event.action,
        event.outcome,
        text(&event.actor),
        text(&event.target),
    )
}

/// Says what is known of events under a destroyed key: how many, whose, and when.
fn sealed_line(file: &FileRow) -> String {
    let (first, last) = (time_text(file.time_min_us), time_text(file.time_max_us));
    format!("{first} {} events of {}, until {last}: sealed under a destroyed key", file.rows, file.tenant)
}

fn sealed_json(file: &FileRow) -> serde_json::Value {
    json!({
        "sealed_under_destroyed_key": file.rows,
        "tenant": file.tenant,
        "at": time_text(file.time_min_us),
        "until": time_text(file.time_max_us),
    })
}

fn event_json(row: &AuditRow) -> serde_json::Value {
    let event = &row.event;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({
        "at": time_text(event.at_us),
        "at_us": event.at_us,
        "action": event.action,
        "actor": event.actor,
        "outcome": event.outcome,
        "target": event.target,
        "node": event.node,
        "n": event.n,
        "hash": hex(&event.hash),
        "outbox_id": event.outbox_id,
        "journal_offset": row.journal_offset,
    })
}

/// Reads a time or a duration back from now; unix microseconds.
fn since_us(text: &str) -> anyhow::Result<i64> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(i64::try_from(time.unix_timestamp_nanos() / 1000)?);
    }
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("a time such as 2026-11-21T08:00:00Z, or 90s, 15m, 2h, 3d"),
    };
    let number: u32 = number.parse().context("a whole number before the unit")?;
    Ok(crate::front::now_us() - i64::from(number) * seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_several_nodes_stand_in_the_order_in_which_they_happened() {
        let row = |at_us, node: &str, journal_offset| AuditRow {
            journal_offset,
            event: AuditEvent { at_us, node: node.into(), ..AuditEvent::default() },
        };
        // A node was cut off, and told late.
        let told = [row(10, "a", 1), row(40, "a", 2), row(20, "b", 3), row(30, "b", 4), row(30, "b", 5)];
        let newest = |limit| {
            let mut rows = told.to_vec();
            keep_newest(&mut rows, limit);
            rows.iter().map(|row| row.journal_offset).collect::<Vec<_>>()
        };
        assert_eq!(newest(9), [1, 3, 4, 5, 2]);
        assert_eq!(newest(2), [5, 2], "the newest are those that happened last");
        assert_eq!(newest(0), [0; 0]);
    }

    #[test]
    fn a_row_of_the_outbox_that_two_nodes_journaled_is_one_event() {
        let row = |at_us, node: &str, outbox_id| AuditRow {
            journal_offset: 1,
            event: AuditEvent { at_us, node: node.into(), outbox_id, ..AuditEvent::default() },
        };
        let told = [
            row(10, "a", 7),
            row(10, "b", 7),
            row(10, "b", 8),
            row(20, "b", 7),
            row(9, "a", 0),
            row(9, "b", 0),
        ];
        let newest = |limit| {
            let mut rows = told.to_vec();
            keep_newest(&mut rows, limit);
            rows.iter().map(|row| (row.event.at_us, row.event.outbox_id)).collect::<Vec<_>>()
        };
        assert_eq!(newest(9), [(9, 0), (9, 0), (10, 7), (10, 8), (20, 7)]);
        assert_eq!(newest(3), [(10, 7), (10, 8), (20, 7)], "of those that are told once");
    }

    #[test]
    fn a_time_is_absolute_or_back_from_now() {
        assert_eq!(since_us("1970-01-01T00:00:01Z").unwrap(), 1_000_000);
        let hour_ago = since_us("1h").unwrap();
        assert!((3_600_000_000..3_610_000_000).contains(&(crate::front::now_us() - hour_ago)));
        assert!(since_us("").is_err() && since_us("5y").is_err() && since_us("-1h").is_err());
    }
}
