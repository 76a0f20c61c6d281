//! `wardline archive quarantine`: what was acknowledged and is not good is listed, looked at, and judged again.

use super::time_text;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wardline_archive::Table;
use wardline_archive::place::Place;
use wardline_archive::read::{ArchiveReader, Quarantined, audit_read, local_actor, quarantine_rows};
use wardline_store::Store;
use wardline_store::registry::Change;
use wardline_store::replay::{FrameName, Outcome};

/// Between two looks whether the gateway has done what was asked.
const POLL: Duration = Duration::from_millis(200);
/// Bytes of a payload on one printed line.
const LINE_BYTES: usize = 32;

const AFTER_HELP: &str = "\
A frame is named by PARTITION/OFFSET, where its record stood in the journal; it keeps that name.
Reading needs the tenant's keys in keyring.json and is audited first; `list` prints no payload.

Examples:
  wardline archive quarantine list --data-dir data --reason WL-Q-009
  wardline archive quarantine show 12/4711 --data-dir data
  wardline archive quarantine replay --reason WL-Q-009 --device mon-1 --data-dir data";

const REPLAY_HELP: &str = "\
The running gateway judges each chosen frame as if it came now, by today's catalogue and profile. A good one becomes
rows, in one transaction with its mark, so never twice; what is still not good stays and may be asked for again.
Without a running gateway the frames wait for the next start: the command says so and ends with 1.

Exit codes: 0 nothing waits and nothing stayed, 1 some wait or stayed.";

/// Lists, shows and replays what is in the quarantine.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct QuarantineCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List frames with their reasons, and what became of those that were replayed.
    List {
        #[command(flatten)]
        of: Chosen,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show one frame with its payload.
    Show {
        /// The frame, PARTITION/OFFSET.
        #[arg(value_parser = parse_name)]
        frame: (u16, u64),
        /// The gateway's data directory.
        #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
        data_dir: PathBuf,
    },
    /// Judge frames again, as after a new profile version.
    #[command(after_help = REPLAY_HELP)]
    Replay {
        #[command(flatten)]
        of: Chosen,
        /// Only these frames, PARTITION/OFFSET.
        #[arg(long, value_name = "FRAME", value_parser = parse_name)]
        frame: Vec<(u16, u64)>,
        /// Every frame of the quarantine.
        #[arg(long, conflicts_with_all = ["frame", "tenant", "device", "reason"])]
        all: bool,
        /// How long to wait for the gateway, seconds.
        #[arg(long, default_value_t = 30)]
        wait_s: u64,
    },
}

#[derive(Debug, Args)]
struct Chosen {
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Of this device.
    #[arg(long)]
    device: Option<String>,
    /// With this code, such as WL-Q-009.
    #[arg(long)]
    reason: Option<String>,
}

fn parse_name(text: &str) -> Result<(u16, u64), String> {
    let parts = text.split_once('/').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
    parts.ok_or_else(|| "a frame is PARTITION/OFFSET, as `list` prints it".to_owned())
}

impl QuarantineCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::List { of, json } => list(&of, json).await,
            Action::Show { frame, data_dir } => show(frame, &data_dir).await,
            Action::Replay { of, frame, all, wait_s } => {
                let any = all || !frame.is_empty() || of.is_narrow();
                anyhow::ensure!(any, "say which: --frame, --tenant, --device, --reason or --all");
                replay(&of, &frame, Duration::from_secs(wait_s)).await
            }
        }
    }
}

impl Chosen {
    fn is_narrow(&self) -> bool {
        self.tenant.is_some() || self.device.is_some() || self.reason.is_some()
    }

    fn has(&self, row: &Quarantined) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        is(&self.tenant, &row.frame.tenant) && is(&self.device, &row.device) && is(&self.reason, &row.reason)
    }
}

/// Reads the rows of the quarantine in the order of the journal, after telling the audit of it.
async fn rows(data_dir: &Path, action: &str, target: &str) -> anyhow::Result<Vec<Quarantined>> {
    let reader = ArchiveReader::open(data_dir).await;
    let reader = reader.with_context(|| format!("{} holds no archive that opens", data_dir.display()))?;
    audit_read(data_dir, action, target).await?;
    let files = reader.files(Some(Table::Quarantine)).await?;
    let read = move || {
        let mut rows = Vec::new();
        for file in &files {
            rows.extend(quarantine_rows(&reader, file)?);
        }
        rows.sort_by_key(|row| row.frame.offset);
        Ok::<_, wardline_archive::ArchiveError>(rows)
    };
    Ok(tokio::task::spawn_blocking(read).await??)
}

type Outcomes = BTreeMap<FrameName, Option<Outcome>>;

async fn outcomes(store: &Store) -> anyhow::Result<Outcomes> {
    Ok(store.replays(None).await?.into_iter().map(|replay| (replay.frame, replay.outcome)).collect())
}

/// Returns what became of a frame: `held` while nobody asked for it.
fn state<'a>(outcomes: &'a Outcomes, row: &Quarantined) -> &'a str {
    match outcomes.get(&row.frame) {
        None => "held",
        Some(None) => "waits",
        Some(Some(Outcome::Stays(_))) => "stays",
        Some(Some(outcome)) => outcome.word(),
    }
}

fn place(row: &Quarantined) -> String {
    let position = row.position.as_ref();
    position.map_or_else(|| "-".to_owned(), |(lane, epoch, seq)| format!("{lane} {epoch} {seq}"))
}

async fn list(of: &Chosen, json: bool) -> anyhow::Result<ExitCode> {
    let store = Place::of(&of.data_dir)?.store().open_read_only().await?;
    let outcomes = outcomes(&store).await?;
    let rows = rows(&of.data_dir, "quarantine_listed", &words(of)).await?;
    for row in rows.iter().filter(|row| of.has(row)) {
        let state = state(&outcomes, row);
        if json {
            println!("{}", row_json(row, state));
            continue;
        }
        let (FrameName { tenant, partition, offset }, at) = (&row.frame, time_text(row.ingest_us));
        let detail = if row.detail.is_empty() { "" } else { ": " };
        println!(
            "{partition}/{offset}  {at}  {tenant}/{}  {}  {state}  {}{detail}{}",
            row.device,
            place(row),
            row.reason,
            row.detail
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Names a choice for the audit.
fn words(of: &Chosen) -> String {
    let word = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let words = [word("tenant", &of.tenant), word("device", &of.device), word("reason", &of.reason)];
    let words: Vec<_> = words.into_iter().flatten().collect();
    if words.is_empty() { "all".to_owned() } else { words.join(" ") }
}

fn row_json(row: &Quarantined, state: &str) -> Value {
    let (lane, epoch, seq) = row
        .position
        .clone()
        .map_or((None, None, None), |(lane, epoch, seq)| (Some(lane), Some(epoch), Some(seq)));
    json!({
        "frame": format!("{}/{}", row.frame.partition, row.frame.offset),
        "ingest_time": time_text(row.ingest_us),
        "tenant": row.frame.tenant,
        "device": row.device,
        "lane": lane,
        "epoch": epoch,
        "seq": seq,
        "reason": row.reason,
        "detail": row.detail,
        "profile": row.profile,
        "bytes": row.payload.len(),
        "state": state,
    })
}

async fn show((partition, offset): (u16, u64), data_dir: &Path) -> anyhow::Result<ExitCode> {
    let rows = rows(data_dir, "quarantine_shown", &format!("{partition}/{offset}")).await?;
    let is = |row: &&Quarantined| (row.frame.partition, row.frame.offset) == (partition, offset);
    let row = rows.iter().find(is).with_context(|| format!("the quarantine has no {partition}/{offset}"))?;
    let store = Place::of(data_dir)?.store().open_read_only().await?;
    let outcomes = outcomes(&store).await?;
    let mut told = row_json(row, state(&outcomes, row));
    if let (Some(Some(Outcome::Stays(code))), Some(told)) = (outcomes.get(&row.frame), told.as_object_mut()) {
        told.insert("stays_for".to_owned(), json!(code));
    }
    println!("{told:#}");
    match std::str::from_utf8(&row.payload) {
        Ok(text) if row.format == "json" => println!("{text}"),
        _ => row.payload.chunks(LINE_BYTES).for_each(|line| {
            let line: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("{}", line.join(" "));
        }),
    }
    Ok(ExitCode::SUCCESS)
}

async fn replay(of: &Chosen, frames: &[(u16, u64)], wait: Duration) -> anyhow::Result<ExitCode> {
    let is_named =
        |row: &Quarantined| frames.is_empty() || frames.contains(&(row.frame.partition, row.frame.offset));
    let rows = rows(&of.data_dir, "quarantine_listed", &words(of)).await?;
    let chosen: Vec<_> = rows.into_iter().filter(|row| of.has(row) && is_named(row)).collect();
    anyhow::ensure!(!chosen.is_empty(), "the quarantine has no such frame");
    let names: Vec<_> = chosen.iter().map(|row| row.frame.clone()).collect();
    let store = Place::of(&of.data_dir)?.store().open_existing().await?;
    let asked = store.ask_replay(&Change::new(local_actor(), crate::front::now_us()), &names).await?;
    println!("{} frames chosen, {asked} to be judged again", names.len());
    let until = Instant::now() + wait;
    let told = loop {
        let told = outcomes(&store).await?;
        let waiting = chosen.iter().filter(|row| matches!(told.get(&row.frame), Some(None))).count();
        if waiting == 0 || Instant::now() >= until {
            break told;
        }
        tokio::time::sleep(POLL).await;
    };
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &chosen {
        let outcome = told.get(&row.frame).and_then(Option::as_ref);
        *sums.entry(outcome.map_or("waits for the gateway", Outcome::word)).or_default() += 1;
    }
    sums.iter().for_each(|(word, frames)| println!("{word}: {frames}"));
    let is_done = |word: &&str| ["replayed", "duplicate"].contains(word);
    Ok(if sums.keys().all(is_done) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
