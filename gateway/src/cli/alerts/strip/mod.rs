//! `wardline alerts strip`: the waveforms around an alert's onset, from the archive, as ECG paper or on the terminal.
//!
//! What is not there is shown as a gap with its reason: a strip that looks whole is whole.

mod paper;
mod screen;
mod trace;

use super::{Server, acts, line};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use trace::{Gap, Trace, Why, Window, traces, why_nothing};
use wardline_archive::Table;
use wardline_archive::read::{ArchiveReader, WaveBlock, WavesWanted, audit_read, wave_blocks};
use wardline_proto::v1::{Alert, WaveformWindow};

/// How long what was measured may take to reach the archive, microseconds.
const SETTLE_US: i64 = 60_000_000;
/// How far a device's clock may be off in files that are looked into; when they hold nothing, all of the days around.
const CLOCK_US: i64 = 600_000_000;
/// See [`CLOCK_US`].
const CLOCK_MAX_US: i64 = 26 * 3_600_000_000;
/// Files that are read for one strip at most.
const FILES_MAX: usize = 512;

#[derive(Debug, Args)]
pub(super) struct Strip {
    #[command(flatten)]
    server: Server,
    /// The alert's id, or its first digits.
    alert: String,
    /// The gateway's data directory, whose archive holds the waveforms.
    #[arg(long, env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Write a picture there: ECG paper, 25 mm/s, 10 mm/mV.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Columns on the terminal.
    #[arg(long, default_value_t = 120)]
    columns: u16,
}

impl Strip {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let alert = acts::find(&mut self.server.client().await?, self.alert.clone()).await?;
        let Some(place) = alert.strip.clone() else {
            bail!("no waveforms belong to this alert: it is not physiological, or of no device");
        };
        let window = window(&alert, &place);
        let target = format!("{}/{} waveforms around {}", alert.tenant, alert.device, alert.alert_id);
        audit_read(&self.data_dir, "alert_strip_read", &target).await?;
        let (blocks, nothing, erased) = self.read(&alert, &place, window).await?;
        let traces: Vec<_> = traces(blocks, window).into_iter().map(|trace| trace.erased(&erased)).collect();
        if let Some(path) = &self.png {
            let title = format!(
                "{} {} {} onset {}",
                alert.tenant,
                alert.device,
                alert.rule_id,
                line::clock(alert.onset_us)
            );
            std::fs::write(path, paper::png(&traces, window, &title)?)
                .with_context(|| path.display().to_string())?;
        }
        if self.server.json {
            println!("{}", told(&alert, window, &traces, nothing));
            return Ok(ExitCode::SUCCESS);
        }
        println!("{}", self.server.style().alert(&alert));
        if let Some(why) = nothing {
            println!("no waveform from -10 s to +10 s: {}", why.name());
        }
        screen::lines(&traces, window, self.columns).iter().for_each(|line| println!("{line}"));
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the blocks; says why there are none, and which times were erased.
    async fn read(
        &self,
        alert: &Alert,
        place: &WaveformWindow,
        window: Window,
    ) -> anyhow::Result<(Vec<WaveBlock>, Option<Why>, Vec<(i64, i64)>)> {
        let reader = ArchiveReader::open(&self.data_dir).await;
        let reader = reader.with_context(|| format!("{} holds no archive", self.data_dir.display()))?;
        if reader.shredded().await?.contains(&alert.tenant) {
            return Ok((Vec::new(), Some(Why::Erased), Vec::new()));
        }
        let files = reader.files(Some(Table::Waveforms)).await?;
        let span = (place.from_us, place.to_us);
        let erased = reader.erased().spans(&alert.tenant, &place.device, span);
        let wanted = WavesWanted {
            tenant: alert.tenant.clone(),
            device: place.device.clone(),
            from_us: place.from_us,
            to_us: place.to_us,
        };
        let blocks = tokio::task::spawn_blocking(move || {
            for clock_us in [CLOCK_US, CLOCK_MAX_US] {
                let near = |min_us: i64, max_us: i64| {
                    max_us > wanted.from_us - clock_us && min_us < wanted.to_us + clock_us
                };
                let of = files.iter().filter(|file| file.tenant == wanted.tenant);
                let of: Vec<_> = of.filter(|file| near(file.time_min_us, file.time_max_us)).collect();
                anyhow::ensure!(of.len() <= FILES_MAX, "more than {FILES_MAX} files hold this time");
                let mut blocks = Vec::new();
                for file in of {
                    blocks.extend(wave_blocks(&reader, file, &wanted)?);
                }
                if !blocks.is_empty() {
                    return anyhow::Ok(blocks);
                }
            }
            Ok(Vec::new())
        });
        let blocks = blocks.await??;
        let why = || if erased.is_empty() { why_nothing(window.to_us, window) } else { Why::Erased };
        let nothing = blocks.is_empty().then(why);
        Ok((blocks, nothing, erased))
    }
}

fn window(alert: &Alert, place: &WaveformWindow) -> Window {
    let WaveformWindow { from_us, to_us, .. } = *place;
    let settled_us = crate::front::now_us() - SETTLE_US;
    Window { from_us, to_us, onset_us: alert.onset_us, settled_us }
}

/// The reference of an alert to its waveforms, with what of them is there.
fn told(alert: &Alert, window: Window, traces: &[Trace], nothing: Option<Why>) -> Value {
    let gap = |gap: &Gap| json!({ "from_us": gap.from_us, "to_us": gap.to_us, "why": gap.why.name() });
    let stream = |trace: &Trace| {
        json!({
            "mdc_code": trace.mdc_code,
            "mdc_ref_id": trace.mdc_ref_id,
            "ucum_unit": trace.ucum_unit,
            "samples": trace.runs.iter().map(Vec::len).sum::<usize>(),
            "gaps": trace.gaps.iter().map(gap).collect::<Vec<_>>(),
        })
    };
    json!({
        "alert_id": alert.alert_id,
        "tenant": alert.tenant,
        "device": alert.device,
        "onset_us": alert.onset_us,
        "from_us": window.from_us,
        "to_us": window.to_us,
        "streams": traces.iter().map(stream).collect::<Vec<_>>(),
        "nothing_because": nothing.map(Why::name),
    })
}
