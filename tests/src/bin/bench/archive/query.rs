//! Five questions to `wardline-query serve`, as a person asks them: over mTLS, audited, by role, on the encrypted
//! archive; and the same to DuckDB in a process of its own, on the same rows in plain Parquet files of the same layout.
//!
//! The questions themselves, and the comparison of the answers, are in `tests/python/bench_query.py`.

use super::clock::thread_cpu;
use super::feed::{DAY_S, Feed, SECOND_US, START_US, TENANT, device};
use super::options::ArchiveQuery;
use super::rig::Rig;
use super::{folder, rows};
use crate::options::Setup;
use crate::server::binaries;
use anyhow::{Context, ensure};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use wardline::operate;
use wardline_archive::Table;
use wardline_archive::layout::{Effort, encode_plain};
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};
use wardline_store::registry::{Duties, NewBinding, NewDevice, Role, Sites};
use wardline_tests::installed::program;

const DATA: &str = "data";
const SMALL: &str = "data-1x";
const PLAIN: &str = "plain";
const CERTS: &str = "asker";
/// Stands in a folder in which all of these are.
const DONE: &str = "made";
const WARDS: [&str; 2] = ["icu", "step-down"];
/// A patient's SpO2 falls once a day, for so long.
const DESATURATION: &str = "desaturation=84@";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/bench_query.py");

/// A server that is killed when it is dropped.
struct Served {
    child: Child,
    port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures and prints.
pub(crate) async fn run(setup: &Setup, options: &ArchiveQuery) -> anyhow::Result<()> {
    if !setup.no_build {
        binaries::build_query()?;
    }
    let made = options.keep.is_none().then(|| folder(setup.dir.as_deref())).transpose()?;
    let folder = options.keep.as_deref().or(made.as_ref().map(TempDir::path)).context("a folder")?;
    let done = folder.join(DONE);
    if !done.exists() {
        make(folder, options).await?;
        std::fs::write(done, "")?;
    }
    let (large, once) = (serve(&folder.join(DATA))?, serve(&folder.join(SMALL))?);
    ask(options, folder, &large, &once)
}

/// Makes the archives and the plain copy.
async fn make(folder: &Path, options: &ArchiveQuery) -> anyhow::Result<()> {
    let (data, small) = (folder.join(DATA), folder.join(SMALL));
    operate::init(&data, "wardline.local", &["localhost".to_owned()]).await?;
    let asker = Identity::User { tenant: TenantId::new(TENANT)?, name: DeviceId::new("asker")? };
    let whole = Duties::at(&[Role::Clinician], Sites::All);
    operate::issue_principal(&data, asker, whole, &folder.join(CERTS)).await?;
    let mut rig = Rig::open(&data).await?;
    let (waves_s, episodes) = (options.wave_minutes * 60, episodes(options)?);
    let mut feed = Feed::synthetic(options.patients, waves_s, options.seed, &episodes)?;
    register(&rig, options).await?;
    for day in 1..=options.days {
        eprintln!("day {day} of {}", options.days);
        rig.fill(&mut feed, day * DAY_S)?;
        rig.archive().await?;
        if day == 1 {
            rig.merge().await?;
            copy(&data, &small)?;
        }
    }
    rig.merge().await?;
    copy_plain(&rig, &folder.join(PLAIN)).await
}

fn episodes(options: &ArchiveQuery) -> anyhow::Result<Vec<firmware_sim::Episode>> {
    let of_day = |day| format!("{DESATURATION}{}s+120s", day * DAY_S + 3 * 3_600);
    Ok((0..options.days).map(|day| of_day(day).parse()).collect::<Result<_, _>>()?)
}

/// Puts half of the patients into each ward, and a subject to each device.
async fn register(rig: &Rig, options: &ArchiveQuery) -> anyhow::Result<()> {
    let change = operate::local_change();
    let tenant = TenantId::new(TENANT)?;
    for ward in WARDS {
        rig.store.create_site(&change, &tenant, &DeviceId::new(ward)?, ward).await?;
    }
    for patient in 0..options.patients {
        let key = DeviceKey { tenant: tenant.clone(), device: DeviceId::new(&device(patient))? };
        let site = WARDS[patient % WARDS.len()].to_owned();
        rig.store.register_device(&change, &NewDevice { site, ..NewDevice::bare(key.clone()) }).await?;
        let subject = format!("patient-{patient:03}");
        let from_us = START_US - DAY_S * SECOND_US;
        rig.store.bind(&change, &NewBinding { device: key, subject, from_us, until_us: None }).await?;
    }
    Ok(())
}

/// Copies a data directory without the journal.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_name() == super::rig::JOURNAL {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Writes each file again without encryption, and tells what reading the one and the other costs.
async fn copy_plain(rig: &Rig, to: &Path) -> anyhow::Result<()> {
    let reader = rig.reader();
    let (mut sealed_s, mut plain_s, mut count) = (0.0, 0.0, 0_u64);
    for table in [Table::Numerics, Table::Waveforms] {
        let dir = to.join(table.name());
        std::fs::create_dir_all(&dir)?;
        for (number, file) in rig.files(table).await?.iter().enumerate() {
            let path = dir.join(format!("{number:05}.parquet"));
            std::fs::write(&path, encode_plain(table, &rows(&reader, file)?, Effort::Last)?)?;
            let begun = thread_cpu()?;
            let sealed: usize = reader.read(file)?.map(|b| b.map(|b| b.num_rows())).sum::<Result<_, _>>()?;
            let between = thread_cpu()?;
            let bytes = bytes::Bytes::from(std::fs::read(&path)?);
            let plain = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
            let plain: usize = plain.map(|b| b.map(|b| b.num_rows())).sum::<Result<_, _>>()?;
            plain_s += (thread_cpu()? - between).as_secs_f64();
            sealed_s += (between - begun).as_secs_f64();
            ensure!(sealed == plain, "{}: {plain} of {sealed} rows were copied", file.path);
            count += sealed as u64;
        }
    }
    println!(
        "{count} rows; reading all columns of all files: {plain_s:.2} CPU s plain, {sealed_s:.2} CPU s verified by \
         hash and decrypted (+{:.0}%)\n",
        (sealed_s / plain_s - 1.0) * 100.0
    );
    Ok(())
}

fn serve(data: &Path) -> anyhow::Result<Served> {
    let mut command = binaries::command("wardline-query")?;
    command.arg("serve").arg("--data-dir").arg(data).args(["--listen", "127.0.0.1:0"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("wardline-query")?;
    let said = child.stdout.take().context("its output")?;
    let mut served = Served { child, port: 0 };
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
    served.port = port.with_context(|| format!("wardline-query did not serve: {line}"))?;
    Ok(served)
}

fn ask(options: &ArchiveQuery, folder: &Path, large: &Served, once: &Served) -> anyhow::Result<()> {
    let mut command = Command::new(program("python").map_err(anyhow::Error::msg)?);
    command.arg(SCRIPT).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg("--plain").arg(folder.join(PLAIN)).arg("--certs").arg(folder.join(CERTS));
    for (name, value) in [
        ("--port", u64::from(large.port)),
        ("--pid", u64::from(large.child.id())),
        ("--port-1x", u64::from(once.port)),
        ("--start-us", START_US as u64),
        ("--days", options.days as u64),
        ("--patients", options.patients as u64),
        ("--rounds", options.rounds as u64),
    ] {
        command.arg(name).arg(value.to_string());
    }
    let status = command.status().context("python")?;
    ensure!(status.success(), "the questions ended with {status}");
    Ok(())
}
