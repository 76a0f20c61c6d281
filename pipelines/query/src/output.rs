//! Rows to standard output, batch by batch; a person's table is bounded.

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::DataType;
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use arrow::util::pretty::pretty_format_batches;
use clap::ValueEnum;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio_stream::StreamExt;

/// Rows of a printed table; more is for the other formats.
const TABLE_ROWS_MAX: usize = 1000;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people.
    Table,
    /// Comma-separated, with a header.
    Csv,
    /// One object a line.
    Json,
    /// Arrow IPC stream.
    Arrow,
}

/// Runs the query and prints what it yields. A reader that closes the pipe ends it without complaint.
pub(crate) async fn print(rows: DataFrame, format: Format) -> anyhow::Result<()> {
    let schema = rows.schema().as_arrow().clone();
    let is_list = |kind: &DataType| kind.is_nested() && !matches!(kind, DataType::Dictionary(..));
    if let (Format::Csv, Some(list)) = (format, schema.fields().iter().find(|f| is_list(f.data_type()))) {
        bail!("column {} is a list, which CSV cannot hold: use --format json, or select others", list.name());
    }
    let mut stream = rows.execute_stream().await.context("the query cannot start")?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match format {
        Format::Table => table(&mut stream, &mut out).await,
        Format::Csv => csv(&mut stream, &mut out, &schema).await,
        Format::Json => json(&mut stream, &mut out).await,
        Format::Arrow => ipc(&mut stream, &mut out, &schema).await,
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |e: &io::Error| e.kind() == ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(closed))
}

/// Counts rows on a terminal's standard error while a query takes long.
struct Progress {
    rows: usize,
    told: Instant,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { rows: 0, told: Instant::now(), shown: false }
    }

    fn count(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows();
        if self.told.elapsed() >= PROGRESS_EVERY && io::stderr().is_terminal() {
            eprint!("\r{} rows", self.rows);
            self.told = Instant::now();
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprintln!("\r{} rows", self.rows);
        }
    }
}

async fn next(
    stream: &mut SendableRecordBatchStream,
    progress: &mut Progress,
) -> anyhow::Result<Option<RecordBatch>> {
    let batch = stream.next().await.transpose();
    let batch = batch.context("a file does not read: is its key still in the keyring?")?;
    batch.iter().for_each(|batch| progress.count(batch));
    Ok(batch)
}

async fn table(stream: &mut SendableRecordBatchStream, out: &mut impl Write) -> anyhow::Result<()> {
    let (mut progress, mut batches, mut rows) = (Progress::new(), Vec::new(), 0);
    while let Some(batch) = next(stream, &mut progress).await? {
        let room = TABLE_ROWS_MAX - rows;
        rows += batch.num_rows().min(room);
        batches.push(batch.slice(0, batch.num_rows().min(room)));
        if progress.rows > TABLE_ROWS_MAX {
            break;
        }
    }
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(stream.schema()));
    }
    writeln!(out, "{}", pretty_format_batches(&batches)?)?;
    if progress.rows > TABLE_ROWS_MAX {
        eprintln!("the first {TABLE_ROWS_MAX} rows; --format csv, json or arrow prints all");
    }
    Ok(())
}

async fn csv(
    stream: &mut SendableRecordBatchStream,
    out: &mut impl Write,
    schema: &arrow::datatypes::Schema,
) -> anyhow::Result<()> {
    let (mut progress, mut writer) = (Progress::new(), WriterBuilder::new().with_header(true).build(out));
    writer.write(&RecordBatch::new_empty(schema.clone().into()))?;
    while let Some(batch) = next(stream, &mut progress).await? {
        writer.write(&batch)?;
    }
    Ok(())
}

async fn json(stream: &mut SendableRecordBatchStream, out: &mut impl Write) -> anyhow::Result<()> {
    let (mut progress, mut writer) = (Progress::new(), LineDelimitedWriter::new(out));
    while let Some(batch) = next(stream, &mut progress).await? {
        writer.write(&batch)?;
    }
    Ok(writer.finish()?)
}

async fn ipc(
    stream: &mut SendableRecordBatchStream,
    out: &mut impl Write,
    schema: &arrow::datatypes::Schema,
) -> anyhow::Result<()> {
    let (mut progress, mut writer) = (Progress::new(), StreamWriter::try_new(out, schema)?);
    while let Some(batch) = next(stream, &mut progress).await? {
        writer.write(&batch)?;
    }
    Ok(writer.finish()?)
}
