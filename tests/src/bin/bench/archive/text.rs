//! The same rows as text: what an archive of CSV or JSON lines would take.

use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::Schema;
use std::io::Write;
use std::sync::Arc;

/// As the command line tool does it.
const ZSTD_LEVEL: i32 = 3;

/// Bytes of some rows as text.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Texts {
    pub(crate) csv: u64,
    pub(crate) csv_zstd: u64,
    pub(crate) json: u64,
    pub(crate) json_zstd: u64,
}

/// Counts what is written, and what is left of it when it is compressed.
struct Meter {
    plain: u64,
    zstd: zstd::Encoder<'static, Count>,
}

#[derive(Default)]
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Write for Meter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.plain += bytes.len() as u64;
        self.zstd.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Meter {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { plain: 0, zstd: zstd::Encoder::new(Count::default(), ZSTD_LEVEL)? })
    }
}

/// Writes rows of every column as CSV and as JSON lines, as one file each.
pub(crate) fn texts(batches: impl Iterator<Item = anyhow::Result<RecordBatch>>) -> anyhow::Result<Texts> {
    let (mut csv, mut json) = (Meter::new()?, Meter::new()?);
    for (index, batch) in batches.enumerate() {
        let batch = without_zones(&batch?)?;
        write_csv(&mut csv, &batch, index == 0)?;
        let mut lines = arrow_json::LineDelimitedWriter::new(&mut json);
        lines.write(&batch)?;
        lines.finish()?;
    }
    Ok(Texts {
        csv: csv.plain,
        csv_zstd: csv.zstd.finish()?.0,
        json: json.plain,
        json_zstd: json.zstd.finish()?.0,
    })
}

/// Takes the zone off times: they are UTC, and to print them with a zone needs a table of all zones.
fn without_zones(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let column = |column: &ArrayRef| -> ArrayRef {
        match column.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => Arc::new(times.clone().with_timezone_opt(None::<Arc<str>>)),
            None => column.clone(),
        }
    };
    let columns: Vec<ArrayRef> = batch.columns().iter().map(column).collect();
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields: Vec<_> =
        fields.map(|(f, c)| f.as_ref().clone().with_data_type(c.data_type().clone())).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Arrow's own writer knows no lists.
fn write_csv(to: &mut Meter, batch: &RecordBatch, with_header: bool) -> anyhow::Result<()> {
    let options = FormatOptions::default();
    let columns: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options)).collect::<Result<_, _>>()?;
    let mut text = String::new();
    if with_header {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        text.push_str(&names.join(","));
        text.push('\n');
    }
    for row in 0..batch.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            let cell = column.value(row).try_to_string().context("a cell as text")?;
            let quote = if cell.contains(',') { "\"" } else { "" };
            let comma = if index > 0 { "," } else { "" };
            text.extend([comma, quote, &cell, quote]);
        }
        text.push('\n');
    }
    Ok(to.write_all(text.as_bytes())?)
}
