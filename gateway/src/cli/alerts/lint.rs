//! `wardline alerts lint`: everything that is wrong with rules files.

use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_alert::rules::{Finding, Rules, RulesError};

/// Exit code 1 when a file is not usable.
#[derive(Debug, Args)]
pub(super) struct Lint {
    /// Rules files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a finding.
    #[arg(long)]
    json: bool,
}

impl Lint {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut wrong = 0;
        for path in &self.files {
            let file = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| format!("read {file}"))?;
            match Rules::parse(&text) {
                Ok(rules) if !self.json => println!("{file}: {} rules, nothing is wrong", rules.count()),
                Ok(_) => {}
                Err(RulesError::Invalid(findings)) => {
                    wrong += findings.len();
                    findings.iter().for_each(|finding| println!("{}", self.line(&file, finding)));
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(ExitCode::from(u8::from(wrong > 0)))
    }

    fn line(&self, file: &str, finding: &Finding) -> String {
        let Finding { line, column, code, place, message } = finding;
        let code = code.code();
        if self.json {
            let page = format!("docs/errors/{code}.md");
            let object = json!({ "file": file, "line": line, "column": column, "code": code, "place": place,
                "message": message, "page": page });
            return object.to_string();
        }
        format!("{file}:{line}:{column}: {code} {place}: {message}")
    }
}
