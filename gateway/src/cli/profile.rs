//! `wardline profile`: checks device profiles, and data against them.

mod data;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wardline_profile::lint::lint;
use wardline_profile::tally::Measured;
use wardline_profile::{Linted, Profile, Revision, Severity};
use wardline_proto::refusal::Refusal;

/// Checks device profiles, and data against them.
#[derive(Debug, Args)]
pub struct ProfileCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell everything that is wrong with profiles.
    Lint(LintCommand),
    /// Check recorded data against a profile.
    Test(TestCommand),
}

/// Exit code 1 when a finding is an error; a warning changes nothing.
#[derive(Debug, Args)]
struct LintCommand {
    /// Profiles.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The profile in use, which the one file must be able to follow: changed content needs a higher version.
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code 1 when something declared is broken or something undeclared came.
#[derive(Debug, Args)]
struct TestCommand {
    /// The profile.
    #[arg(value_name = "FILE")]
    profile: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Only this tenant's rows of the archive.
    #[arg(long, requires = "archive")]
    tenant: Option<String>,
    /// Only this device's rows of the archive. Without it all devices are counted as one, and cadence means nothing.
    #[arg(long, requires = "archive")]
    device: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// A gateway's data directory; it may be running.
    #[arg(long, value_name = "DATA_DIR")]
    archive: Option<PathBuf>,
    /// A WFDB recording.
    #[arg(long, value_name = "RECORD.hea")]
    recording: Option<PathBuf>,
}

impl ProfileCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Lint(lint) => lint.run(),
            Action::Test(test) => test.run().await,
        }
    }
}

/// Reads a profile that must be good; findings are told on stderr.
pub(crate) fn load(path: &Path) -> anyhow::Result<Profile> {
    let linted = read(path)?;
    for finding in &linted.findings {
        eprintln!("{}: {finding}", path.display());
    }
    linted.profile.with_context(|| format!("{} is no good profile", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Linted> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    // What is not UTF-8 is not TOML; the lint says so in its own words.
    Ok(lint(&String::from_utf8_lossy(&bytes)))
}

impl LintCommand {
    fn run(self) -> anyhow::Result<ExitCode> {
        let older = self.against.as_deref().map(load).transpose()?;
        if older.is_some() && self.files.len() > 1 {
            anyhow::bail!("--against takes one new profile");
        }
        let mut good = true;
        let mut reports = Vec::with_capacity(self.files.len());
        for path in &self.files {
            let linted = read(path)?;
            let revision = linted.profile.as_ref().zip(older.as_ref()).map(|(new, old)| new.follows(old));
            good &= linted.profile.is_some() && !matches!(revision, Some(Err(_)));
            if self.json {
                reports.push(lint_json(path, &linted, revision.as_ref()));
            } else {
                print_lint(path, &linted, revision.as_ref());
            }
        }
        if self.json {
            println!("{}", json!(reports));
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

type Followed = Result<Revision, wardline_profile::revision::RevisionError>;

fn print_lint(path: &Path, linted: &Linted, revision: Option<&Followed>) {
    let path = path.display();
    for finding in &linted.findings {
        println!("{path}: {finding}");
    }
    if let Some(Err(error)) = revision {
        println!("{path}: error {} profile.version: {}", error.code, error.message);
    }
    let (errors, warnings) = (linted.count(Severity::Error), linted.count(Severity::Warning));
    match &linted.profile {
        Some(profile) => println!(
            "{path}: {} version {}, {} measurements, {warnings} warnings, content {}",
            profile.model,
            profile.version,
            profile.measurements.len(),
            profile.content_hash()
        ),
        None => println!("{path}: {errors} errors, {warnings} warnings"),
    }
}

fn lint_json(path: &Path, linted: &Linted, revision: Option<&Followed>) -> serde_json::Value {
    let mut findings = json!(linted.findings);
    if let (Some(Err(error)), Some(list)) = (revision, findings.as_array_mut()) {
        let code = error.code.code();
        list.push(json!({"line": 1, "severity": "error", "code": code, "place": "profile.version", "message": error.message}));
    }
    json!({
        "file": path.display().to_string(),
        "good": linted.profile.is_some() && !matches!(revision, Some(Err(_))),
        "model": linted.profile.as_ref().map(|p| &p.model),
        "version": linted.profile.as_ref().map(|p| p.version),
        "content": linted.profile.as_ref().map(Profile::content_hash),
        "findings": findings,
    })
}

impl TestCommand {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let profile = load(&self.profile)?;
        let data = match (&self.source.archive, &self.source.recording) {
            (Some(dir), _) => {
                let only = data::Only { tenant: self.tenant.clone(), device: self.device.clone() };
                data::archive(profile, dir, only).await?
            }
            (None, Some(record)) => data::recording(profile, record)?,
            (None, None) => anyhow::bail!("give --archive or --recording"),
        };
        let measured = data.tally.measured();
        let seen: Vec<&Measured> = measured.iter().filter(|m| m.rows > 0).collect();
        let good = seen.iter().all(|m| m.is_good()) && data.quarantined.is_empty();
        if self.json {
            let profile = data.tally.profile();
            let (model, version, content) = (&profile.model, profile.version, profile.content_hash());
            let quarantined = json!(data.quarantined);
            let head = json!({"model": model, "version": version, "content": content});
            println!(
                "{}",
                json!({"profile": head, "good": good, "measurements": measured, "quarantined": quarantined})
            );
        } else {
            print_measured(&data, &measured);
            println!("{}", if good { "keeps its profile" } else { "BREAKS its profile" });
        }
        if seen.is_empty() {
            eprintln!("wardline: nothing to check: no rows");
        }
        Ok(if good && !seen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn print_measured(data: &data::Data, measured: &[Measured]) {
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>6} {:>6} {:>10} {:>10} {:>14}  verdict",
        "measurement", "rows", "invalid", "outside", "unit", "rate", "p50 ms", "p95 ms", "declared ms"
    );
    for m in measured {
        let declared = data.tally.profile().measurement(m.mdc_code).and_then(|d| d.cadence);
        let declared =
            declared.map_or_else(|| "-".to_owned(), |c| format!("{}+-{}", c.interval_ms, c.tolerance_ms));
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
        println!(
            "{:<34} {:>9} {:>8} {:>8} {:>6} {:>6} {:>10} {:>10} {:>14}  {}",
            m.ref_id,
            m.rows,
            m.invalid,
            m.implausible,
            m.wrong_unit,
            m.wrong_rate,
            ms(m.cadence.map(|c| c.p50_ms)),
            ms(m.cadence.map(|c| c.p95_ms)),
            declared,
            verdict(m)
        );
    }
    for (code, frames) in &data.quarantined {
        let why = Refusal::from_code(code).map_or("", |_| ", see its page in docs/errors");
        println!("quarantined under {code}: {frames} messages{why}");
    }
}

fn verdict(measured: &Measured) -> &'static str {
    match measured {
        m if !m.declared => "UNDECLARED",
        m if m.rows == 0 => "not seen",
        m if m.wrong_unit > 0 => "WRONG UNIT",
        m if m.wrong_rate > 0 => "WRONG RATE",
        m if m.implausible > 0 => "OUT OF RANGE",
        m if m.cadence_kept == Some(false) => "CADENCE",
        _ => "kept",
    }
}
