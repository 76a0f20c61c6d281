//! `wardline device import`: a CSV file over one stream. Good rows are in whatever the others are.

use super::device::result_name;
use super::{Connection, told};
use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_proto::v1::{Device, ImportDevicesRequest, ImportDevicesResponse, ImportResult};

/// What a row that cannot be read is answered with.
const UNREADABLE: &str = "WL-REG-001";
/// Refused rows that are told one by one; `--report` has them all.
const TOLD_MAX: usize = 20;

/// Registers the devices of a CSV file.
#[derive(Debug, Args)]
#[command(
    after_help = "The first line names the columns: tenant,device,model,serial_number,site,udi,for_test; \
                        all but tenant and device may be left out.\n\
                        Example: wardline device import fleet.csv --report refused.csv --data-dir data"
)]
pub struct ImportCommand {
    /// The file.
    file: PathBuf,
    /// Write refused rows here: line, device, code, message.
    #[arg(long, value_name = "FILE.csv")]
    report: Option<PathBuf>,
    #[command(flatten)]
    on: Connection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    tenant: String,
    device: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    serial_number: String,
    #[serde(default)]
    site: String,
    #[serde(default)]
    udi: String,
    #[serde(default)]
    for_test: String,
}

struct Refused {
    line: u64,
    device: String,
    code: String,
    message: String,
}

#[derive(Default)]
struct Read {
    rows: Vec<ImportDevicesRequest>,
    names: BTreeMap<u64, String>,
    refused: Vec<Refused>,
}

impl ImportCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Read { rows, names, mut refused } = self.read()?;
        let total = rows.len() + refused.len();
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(rows.len() as u64), target);
        let mut client = self.on.client().await?;
        let (mut counts, sent) = (BTreeMap::<&str, usize>::new(), rows.len());
        let answers = client.import_devices(tokio_stream::iter(rows)).await.map_err(told)?;
        let (mut answers, mut answered) = (answers.into_inner(), 0);
        while let Some(answer) = answers.message().await.map_err(told)? {
            answered += 1;
            bar.inc(1);
            if answer.result == i32::from(ImportResult::Refused) {
                let ImportDevicesResponse { line, code, message, .. } = answer;
                let device = names.get(&line).cloned().unwrap_or_default();
                refused.push(Refused { line, device, code, message });
            } else {
                *counts.entry(result_name(answer.result)).or_default() += 1;
            }
        }
        bar.finish_and_clear();
        if answered < sent {
            bail!("the gateway answered {answered} of {sent} rows; run the import again");
        }
        refused.sort_by_key(|row| row.line);
        self.tell(&refused)?;
        let count = |name| counts.get(name).copied().unwrap_or(0);
        let (created, same, updated) = (count("created"), count("same"), count("updated"));
        let bad = refused.len();
        self.on.done(
            &format!("{total} rows: {created} created, {same} same, {updated} updated, {bad} refused"),
            &json!({"rows": total, "created": created, "same": same, "updated": updated, "refused": bad}),
        );
        Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn read(&self) -> anyhow::Result<Read> {
        let place = self.file.display();
        let reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(&self.file);
        let mut reader = reader.with_context(|| format!("read {place}"))?;
        let headers = reader.headers().with_context(|| format!("read {place}"))?.clone();
        let mut read = Read::default();
        for record in reader.into_records() {
            let record = match record {
                Ok(record) => record,
                Err(error) if error.is_io_error() => {
                    return Err(error).with_context(|| format!("read {place}"));
                }
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    read.refuse(
                        line,
                        String::new(),
                        "the row does not read, or has more or fewer cells than the header",
                    );
                    continue;
                }
            };
            let line = record.position().map_or(0, csv::Position::line);
            match record.deserialize::<Row>(Some(&headers)) {
                Ok(row) => read.take(line, row),
                Err(error) => {
                    bail!("{place}: columns are tenant,device,model,serial_number,site,udi,for_test: {error}")
                }
            }
        }
        Ok(read)
    }

    fn tell(&self, refused: &[Refused]) -> anyhow::Result<()> {
        for row in refused.iter().take(TOLD_MAX) {
            eprintln!("line {}: {}: {}: {}", row.line, row.device, row.code, row.message);
        }
        if refused.len() > TOLD_MAX {
            let rest = refused.len() - TOLD_MAX;
            eprintln!("and {rest} more rows; --report FILE.csv lists all");
        }
        let Some(path) = &self.report else { return Ok(()) };
        let writer = csv::Writer::from_path(path);
        let mut writer = writer.with_context(|| format!("write {}", path.display()))?;
        writer.write_record(["line", "device", "code", "message"])?;
        for row in refused {
            writer.write_record([&row.line.to_string(), &row.device, &row.code, &row.message])?;
        }
        writer.flush().with_context(|| format!("write {}", path.display()))
    }
}

impl Read {
    fn take(&mut self, line: u64, row: Row) {
        let name = format!("{}/{}", row.tenant, row.device);
        let for_test = match row.for_test.as_str() {
            "" | "false" | "no" | "0" => false,
            "true" | "yes" | "1" => true,
            _ => return self.refuse(line, name, "for_test is true or false"),
        };
        let device = Device {
            tenant: row.tenant,
            device: row.device,
            model: row.model,
            serial_number: row.serial_number,
            site: row.site,
            udi: row.udi,
            for_test,
            ..Device::default()
        };
        self.names.insert(line, name);
        self.rows.push(ImportDevicesRequest { line, device: Some(device) });
    }

    fn refuse(&mut self, line: u64, device: String, message: &str) {
        let (code, message) = (UNREADABLE.to_owned(), message.to_owned());
        self.refused.push(Refused { line, device, code, message });
    }
}
