//! `wardline demo`: the whole path at work in one process, on real sockets, mTLS between all parts.
//!
//! Devices, agents, gateway and a gRPC subscriber run as they would apart. The account at the end compares three
//! independent counts: what the agents made, what they saw acknowledged, and what the archive has committed.

mod board;
mod cast;
mod listener;
mod stage;
mod view;
mod vitals;

use anyhow::Context;
use board::{Board, Row};
use cast::{Cast, CastOptions};
use clap::builder::RangedU64ValueParser;
use stage::Stage;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use view::View;
use wardline_proto::v1::{AlarmPhase, AlertEvent};

const TICK: Duration = Duration::from_millis(200);
/// Alert events that wait to be drawn.
const EVENTS_MAX: usize = 256;
const DURATION_MIN: Duration = Duration::from_secs(20);
const DEVICES_MAX: u64 = 64;
/// How long the last events may take to arrive.
const LAST_EVENTS: Duration = Duration::from_millis(500);

/// Runs devices, agents, a gateway and an alert subscriber in one process, and checks that nothing is lost.
///
/// Everything is real but the patients: sockets, mutual TLS, fsync, encryption. Exit code 1 when what was sent,
/// what was acknowledged and what is archived do not agree, or the scripted alert did not arrive.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  wardline demo\n  wardline demo --devices 12 --duration 2m\n  \
    wardline demo --replay recordings/100.hea --plain")]
pub struct DemoCommand {
    /// Number of simulated monitors.
    #[arg(long, default_value = "3", value_parser = RangedU64ValueParser::<u64>::new().range(1..=DEVICES_MAX))]
    devices: u64,
    /// How long they measure, such as 30s or 2m; at least 20s.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    duration: Duration,
    /// WFDB recording that the first monitor plays instead of synthetic signals.
    #[arg(long, value_name = "RECORD.hea")]
    replay: Option<PathBuf>,
    /// No terminal control codes: a line every few seconds.
    #[arg(long)]
    plain: bool,
    /// Folder to work in; it must be empty or new. By default a new folder in the system's temporary folder.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DemoCommand {
    /// Runs the demo.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let devices = self.devices as usize;
        let stage = Stage::open(self.data_dir.as_deref(), devices).await?;
        println!("data folder: {}", stage.dir().display());
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let listener = stage.listen(sender);
        let cast = Cast::start(&CastOptions {
            devices,
            duration: self.duration,
            replay: self.replay.clone(),
            mqtt_port: stage.mqtt_port(),
            dir: stage.devices_dir(),
        })
        .await?;
        let view = View::open(self.plain, devices);
        let mut show = Show { stage, cast, events, board: self.board(), view, started: Instant::now() };
        let played = show.play().await;
        show.view.close();
        listener.abort();
        let complete = played?;
        show.cast.stop().await?;
        let dir = show.stage.dir().to_path_buf();
        show.stage.close().await?;
        Ok(self.account(&show.board, &dir, complete))
    }

    fn board(&self) -> Board {
        let row = |number| Row { device: cast::device_name(number), ..Row::default() };
        let rows = (0..self.devices as usize).map(row).collect();
        Board::new(rows, self.duration)
    }

    /// Prints the final account and says how the demo ends.
    fn account(&self, board: &Board, dir: &Path, complete: bool) -> ExitCode {
        let total = board.total();
        // A recording as the only device has no script, so no alert is due.
        let alert_due = self.replay.is_none() || self.devices > 1;
        let alert_missed = alert_due && board.alerts_begun == 0;
        println!("frames sent {}, acknowledged {}, archived {}", total.sent, total.acked, total.archived);
        println!("alerts delivered {} (ended {})", board.alerts_begun, board.alerts_ended);
        for row in board.rows.iter().filter(|row| !row.agrees()) {
            let Row { device, sent, acked, archived, quarantined, .. } = row;
            println!(
                "DISAGREES: {device}: sent {sent}, acked {acked}, archived {archived}, quarantined {quarantined}"
            );
        }
        if !complete {
            println!("DISAGREES: an agent still held frames at the end");
        }
        if alert_missed {
            println!("MISSED: the scripted alert did not arrive");
        }
        if !complete || alert_missed || !board.agrees() {
            return ExitCode::FAILURE;
        }
        let dir = dir.display();
        println!("sent = acknowledged = archived. Try next:");
        println!("  cargo run --bin wardline -- archive show --data-dir {dir}");
        println!("  cargo run --bin wardline -- serve --data-dir {dir}");
        println!("  cargo run -p wardline-query -- --data-dir {dir} \\");
        println!(
            "    \"SELECT device, mdc_ref_id, count(*), avg(value) FROM numerics GROUP BY 1, 2 ORDER BY 1, 2\""
        );
        ExitCode::SUCCESS
    }
}

/// The running demo.
struct Show {
    stage: Stage,
    cast: Cast,
    events: mpsc::Receiver<AlertEvent>,
    board: Board,
    view: View,
    started: Instant,
}

impl Show {
    /// Plays to the end; false when an agent could not get rid of its frames.
    async fn play(&mut self) -> anyhow::Result<bool> {
        self.board.phase = "measuring".to_owned();
        while !self.cast.is_done() {
            tokio::time::sleep(TICK).await;
            self.draw().await?;
        }
        self.board.phase = "draining".to_owned();
        self.draw().await?;
        let complete = self.cast.drain().await?;
        self.stage.flush().await?;
        tokio::time::sleep(LAST_EVENTS).await;
        self.board.phase = "done".to_owned();
        self.draw().await?;
        Ok(complete)
    }

    /// Takes what is new from every part and draws it.
    async fn draw(&mut self) -> anyhow::Result<()> {
        while let Ok(event) = self.events.try_recv() {
            self.board.alerts_begun += u64::from(event.phase() == AlarmPhase::Start);
            self.board.alerts_ended += u64::from(event.phase() == AlarmPhase::End);
            self.board.alert(listener::line(&event));
        }
        self.board.elapsed = self.started.elapsed();
        self.stage.refresh(&mut self.board.rows).await?;
        for (number, row) in self.board.rows.iter_mut().enumerate() {
            (row.sent, row.acked) = self.cast.sent_and_acked(number);
        }
        self.view.draw(&mut self.board).context("draw the board")
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = firmware_sim::synth::parse_duration(text).ok_or("a duration is a number and s, m or h")?;
    if duration < DURATION_MIN { Err(format!("at least {} s", DURATION_MIN.as_secs())) } else { Ok(duration) }
}
