//! What a maker files: the profile, the versions, the times, and each check with its evidence.

use super::check::{Judged, Level, Outcome};
use super::seen::{Seen, Span};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    pub(super) device: String,
    pub(super) model: String,
    pub(super) profile_version: u32,
    pub(super) profile_hash: String,
    /// What was simulated, when nothing real was connected.
    pub(super) simulated: Option<String>,
    pub(super) from_us: i64,
    pub(super) until_us: i64,
    pub(super) spans: Vec<Span>,
    pub(super) frames: usize,
    pub(super) sessions: usize,
    /// What bodies broke of the profile, with how often.
    pub(super) broken: Vec<(String, u64)>,
    pub(super) checks: Vec<Judged>,
}

impl Report {
    pub(super) fn new(device: String, simulated: Option<String>, seen: &Seen, checks: Vec<Judged>) -> Self {
        let profile = seen.profile();
        Self {
            device,
            simulated,
            model: profile.model.clone(),
            profile_version: profile.version,
            profile_hash: profile.content_hash(),
            from_us: seen.spans.first().map_or(0, |span| span.from_us),
            until_us: seen.spans.last().map_or(0, |span| span.until_us),
            spans: seen.spans.clone(),
            frames: seen.frames.len(),
            sessions: seen.sessions.len(),
            broken: seen.broken.iter().map(|(words, count)| (words.clone(), *count)).collect(),
            checks,
        }
    }

    /// Says whether no must-check failed.
    pub fn conforms(&self) -> bool {
        !self.checks.iter().any(Judged::is_fatal)
    }

    /// Returns the ids of checks with an outcome: `pass`, `fail` or `not-observed`.
    pub fn ids(&self, outcome: &str) -> Vec<&str> {
        let is = |judged: &&Judged| json!(judged.outcome) == outcome;
        self.checks.iter().filter(is).map(|judged| judged.id).collect()
    }

    /// Writes the report: JSON into a `.json` file, else Markdown.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let text = if is_json { format!("{:#}\n", self.json()) } else { self.markdown() };
        std::fs::write(path, text)
    }

    /// Returns the table for a terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for judged in &self.checks {
            let Judged { id, level, title, .. } = judged;
            let evidence = if judged.outcome == Outcome::Pass { "" } else { &judged.evidence };
            let colon = if evidence.is_empty() { "" } else { ": " };
            // Writing to a string does not fail.
            let _ =
                writeln!(text, "{:<13} {:<7} {id:<22} {title}{colon}{evidence}", mark(judged), level.word());
        }
        text + &self.sum()
    }

    fn sum(&self) -> String {
        let count = |outcome| self.checks.iter().filter(|c| c.outcome == outcome).count();
        let fatal = self.checks.iter().filter(|c| c.is_fatal()).count();
        let verdict = if fatal == 0 { "CONFORMS" } else { "DOES NOT CONFORM" };
        format!(
            "{} version {}: {verdict}; {} pass, {} fail ({fatal} of them must), {} not observed",
            self.model,
            self.profile_version,
            count(Outcome::Pass),
            count(Outcome::Fail),
            count(Outcome::NotObserved)
        )
    }

    fn json(&self) -> serde_json::Value {
        let spans = self.spans.iter().map(|span| {
            json!({"step": span.step.name(), "from": rfc3339(span.from_us), "until": rfc3339(span.until_us)})
        });
        let broken = self.broken.iter().map(|(words, count)| json!({"what": words, "count": count}));
        json!({
            "report": "wardline conformance",
            "format": 1,
            "wardline": env!("CARGO_PKG_VERSION"),
            "profile": {"model": self.model, "version": self.profile_version, "content": self.profile_hash},
            "device": self.device,
            "simulated": self.simulated,
            "from": rfc3339(self.from_us),
            "until": rfc3339(self.until_us),
            "conforms": self.conforms(),
            "frames": self.frames,
            "sessions": self.sessions,
            "steps": spans.collect::<Vec<_>>(),
            "checks": self.checks,
            "broken": broken.collect::<Vec<_>>(),
        })
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_markdown(&mut text);
        text
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Conformance report: {}\n\n**{}**\n", self.device, self.sum())?;
        if let Some(what) = &self.simulated {
            writeln!(out, "Simulated, no device was connected: {what}.\n")?;
        }
        writeln!(out, "| | |\n|---|---|")?;
        writeln!(out, "| profile | {} version {} |", self.model, self.profile_version)?;
        writeln!(out, "| content | sha256 {} |", self.profile_hash)?;
        writeln!(out, "| wardline | {} |", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "| from, until | {}, {} |", rfc3339(self.from_us), rfc3339(self.until_us))?;
        writeln!(out, "| seen | {} frames, {} sessions |\n", self.frames, self.sessions)?;
        writeln!(out, "| check | level | outcome | asks | evidence |\n|---|---|---|---|---|")?;
        for judged in &self.checks {
            let Judged { id, level, title, evidence, .. } = judged;
            let evidence = evidence.replace('|', "/");
            writeln!(out, "| `{id}` | {} | {} | {title} | {evidence} |", level.word(), mark(judged))?;
        }
        writeln!(out, "\n| step | from | seconds |\n|---|---|---|")?;
        for span in &self.spans {
            writeln!(out, "| {} | {} | {:.1} |", span.step.name(), rfc3339(span.from_us), span.seconds())?;
        }
        if !self.broken.is_empty() {
            writeln!(out, "\nWhat bodies broke of the profile:\n")?;
        }
        self.broken.iter().try_for_each(|(words, count)| writeln!(out, "- {words}: {count} times"))
    }
}

/// Says a judged check in one line.
pub(super) fn line(judged: &Judged) -> String {
    format!("{:<13} {:<22} {}: {}", mark(judged), judged.id, judged.title, judged.evidence)
}

fn mark(judged: &Judged) -> &'static str {
    match (judged.outcome, judged.level) {
        (Outcome::Fail, Level::Should | Level::May) => "advice",
        (outcome, _) => outcome.word(),
    }
}

fn rfc3339(micros: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
