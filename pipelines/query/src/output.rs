//! Rows to standard output or into a file, batch by batch; a person's table is bounded.

use crate::error::QueryError;
use crate::note::METADATA;
use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Schema};
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use arrow::util::pretty::pretty_format_batches;
use clap::ValueEnum;
use datafusion::execution::SendableRecordBatchStream;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;
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
    /// A Parquet file, not encrypted; with --output.
    Parquet,
}

/// Rows, and how complete what they rest on is.
pub(crate) struct Answer {
    pub(crate) rows: SendableRecordBatchStream,
    pub(crate) note: Option<String>,
}

/// Says whether rows of a schema can be given in a form, before anything is read.
pub(crate) fn check(format: Format, file: Option<&Path>, schema: &Schema) -> Result<(), QueryError> {
    if format == Format::Parquet && file.is_none() {
        return Err(QueryError::Output("parquet is written into a file: give --output".into()));
    }
    let is_list = |kind: &DataType| kind.is_nested() && !matches!(kind, DataType::Dictionary(..));
    let list = schema.fields().iter().find(|field| is_list(field.data_type()));
    match list.filter(|_| format == Format::Csv) {
        Some(list) => Err(QueryError::Output(format!(
            "column {} is a list, which CSV cannot hold: use --format json, or select others",
            list.name()
        ))),
        None => Ok(()),
    }
}

/// Runs the query and gives what it yields. A reader that closes the pipe ends it without complaint; a file is there
/// when all of it is.
/// A form that has no place for how complete the data is has it on standard error.
pub(crate) async fn give(mut answer: Answer, format: Format, file: Option<&Path>) -> anyhow::Result<()> {
    let is_inside = matches!(format, Format::Table | Format::Arrow | Format::Parquet);
    if let Some(note) = answer.note.as_ref().filter(|_| !is_inside) {
        eprintln!("completeness: {note}");
    }
    let Some(path) = file else {
        let done = write(&mut answer, format, Box::new(io::stdout())).await;
        return match done {
            Err(error) if is_closed_pipe(&error) => Ok(()),
            other => other,
        };
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: &dyn std::fmt::Display| QueryError::Output(format!("{}: {error}", path.display()));
    // Beside the place, so that it can be renamed; removed when this ends early.
    let beside = NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    let to = beside.reopen().map_err(|error| failed(&error))?;
    write(&mut answer, format, Box::new(to)).await?;
    beside.as_file().sync_all().map_err(|error| failed(&error))?;
    beside.persist(path).map_err(|error| failed(&error))?;
    Ok(())
}

type Out = BufWriter<Box<dyn Write + Send>>;

async fn write(
    Answer { rows: stream, note }: &mut Answer,
    format: Format,
    to: Box<dyn Write + Send>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(to);
    match format {
        Format::Table => {
            table(stream, &mut out).await?;
            if let Some(note) = note {
                writeln!(out, "completeness: {note}")?;
            }
        }
        Format::Csv => csv(stream, &mut out).await?,
        Format::Json => json(stream, &mut out).await?,
        Format::Arrow => ipc(stream, note.as_deref(), &mut out).await?,
        Format::Parquet => parquet(stream, note.as_deref(), &mut out).await?,
    }
    Ok(out.flush()?)
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
    let batch = batch.map_err(|error| QueryError::told(&error))?;
    batch.iter().for_each(|batch| progress.count(batch));
    Ok(batch)
}

async fn table(stream: &mut SendableRecordBatchStream, out: &mut Out) -> anyhow::Result<()> {
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
        eprintln!("the first {TABLE_ROWS_MAX} rows; --format csv, json or arrow gives all");
    }
    Ok(())
}

async fn csv(stream: &mut SendableRecordBatchStream, out: &mut Out) -> anyhow::Result<()> {
    let (mut progress, mut writer) = (Progress::new(), WriterBuilder::new().with_header(true).build(out));
    writer.write(&RecordBatch::new_empty(stream.schema()))?;
    while let Some(batch) = next(stream, &mut progress).await? {
        writer.write(&batch)?;
    }
    Ok(())
}

async fn json(stream: &mut SendableRecordBatchStream, out: &mut Out) -> anyhow::Result<()> {
    let (mut progress, mut writer) = (Progress::new(), LineDelimitedWriter::new(out));
    while let Some(batch) = next(stream, &mut progress).await? {
        writer.write(&batch)?;
    }
    Ok(writer.finish()?)
}

/// Returns a schema that carries how complete the data is.
pub(crate) fn noted(schema: &Schema, note: Option<&str>) -> Schema {
    let mut metadata = schema.metadata().clone();
    metadata.extend(note.map(|note| (METADATA.to_owned(), note.to_owned())));
    schema.clone().with_metadata(metadata)
}

async fn ipc(
    stream: &mut SendableRecordBatchStream,
    note: Option<&str>,
    out: &mut Out,
) -> anyhow::Result<()> {
    let schema = noted(&stream.schema(), note);
    let (mut progress, mut writer) = (Progress::new(), StreamWriter::try_new(out, &schema)?);
    while let Some(batch) = next(stream, &mut progress).await? {
        writer.write(&batch)?;
    }
    Ok(writer.finish()?)
}

async fn parquet(
    stream: &mut SendableRecordBatchStream,
    note: Option<&str>,
    out: &mut Out,
) -> anyhow::Result<()> {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(zstd).build();
    let mut progress = Progress::new();
    let mut writer = ArrowWriter::try_new(out, stream.schema(), Some(properties))?;
    while let Some(batch) = next(stream, &mut progress).await? {
        writer.write(&batch)?;
    }
    if let Some(note) = note {
        writer.append_key_value_metadata(KeyValue::new(METADATA.to_owned(), note.to_owned()));
    }
    writer.close()?;
    Ok(())
}
