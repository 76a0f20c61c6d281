//! From rows of the archive to Observations.

use super::naming::{Naming, RowName};
use crate::functions;
use crate::lookups::Lookups;
use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::logical_expr::{Expr, cast, col};
use serde_json::Value;
use wardline_archive::Table;
use wardline_fhir::observation::{Measured, Values, observation};

/// Columns that are read of each row, as types that are simple to read.
pub(crate) fn columns(table: Table) -> Vec<Expr> {
    let text = |name: &str| cast(col(name), DataType::Utf8).alias(name);
    let mut columns: Vec<Expr> = ["device", "lane", "mdc_ref_id", "ucum_unit"].map(text).into();
    columns.extend(
        ["epoch", "seq", "mdc_code", "status", "device_time", "ingest_time", "partition", "journal_offset"]
            .map(col),
    );
    columns.push(event_time().alias("event_time"));
    match table {
        Table::Waveforms => columns.extend(["interval_ns", "samples", "scale", "offset", "gaps"].map(col)),
        _ => columns.push(col("value")),
    }
    columns
}

/// When a row was measured, by the edge's clock where that is known.
pub(crate) fn event_time() -> Expr {
    functions::event_time().call(vec![col("device_time"), col("clock_offset_us")])
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) device: String,
    lane: Option<String>,
    mdc_ref_id: String,
    ucum_unit: String,
    epoch: Option<u64>,
    seq: Option<u64>,
    pub(crate) mdc_code: u32,
    status: u32,
    pub(crate) device_us: i64,
    event_us: i64,
    pub(crate) ingest_us: i64,
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Number(f64),
    Block { interval_ns: u64, samples: Vec<i32>, scale: f64, offset: f64, gaps: Vec<(u32, u32)> },
}

/// Reads the rows of a batch that [`columns`] made. None when a column is not of its type.
pub(crate) fn rows(table: Table, batch: &RecordBatch) -> Option<Vec<Row>> {
    (0..batch.num_rows()).map(|n| row(table, batch, n)).collect()
}

fn row(table: Table, batch: &RecordBatch, n: usize) -> Option<Row> {
    let text = |name| Some(batch.column_by_name(name)?.as_string_opt::<i32>()?.value(n).to_owned());
    let time =
        |name| Some(batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?.value(n));
    let code = |name| Some(batch.column_by_name(name)?.as_primitive_opt::<UInt32Type>()?.value(n));
    let large = |name| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<UInt64Type>()?;
        Some(column.is_valid(n).then(|| column.value(n)))
    };
    let lane = batch.column_by_name("lane")?.as_string_opt::<i32>()?;
    Some(Row {
        device: text("device")?,
        lane: lane.is_valid(n).then(|| lane.value(n).to_owned()),
        mdc_ref_id: text("mdc_ref_id")?,
        ucum_unit: text("ucum_unit")?,
        epoch: large("epoch")?,
        seq: large("seq")?,
        mdc_code: code("mdc_code")?,
        status: code("status")?,
        device_us: time("device_time")?,
        event_us: time("event_time")?,
        ingest_us: time("ingest_time")?,
        partition: batch.column_by_name("partition")?.as_primitive_opt::<UInt16Type>()?.value(n),
        offset: large("journal_offset")??,
        content: content(table, batch, n)?,
    })
}

fn content(table: Table, batch: &RecordBatch, n: usize) -> Option<Content> {
    let number = |name| Some(batch.column_by_name(name)?.as_primitive_opt::<Float64Type>()?.value(n));
    if table != Table::Waveforms {
        return Some(Content::Number(number("value")?));
    }
    let samples = batch.column_by_name("samples")?.as_list_opt::<i32>()?.value(n);
    let gaps = batch.column_by_name("gaps")?.as_list_opt::<i32>()?.value(n);
    let gaps = gaps.as_struct_opt()?;
    let column = |at: usize| -> Option<&UInt32Array> { gaps.column(at).as_primitive_opt() };
    let gaps = column(0)?.values().iter().copied().zip(column(1)?.values().iter().copied()).collect();
    Some(Content::Block {
        interval_ns: batch.column_by_name("interval_ns")?.as_primitive_opt::<UInt64Type>()?.value(n),
        samples: samples.as_primitive_opt::<Int32Type>()?.values().to_vec(),
        scale: number("scale")?,
        offset: number("offset")?,
        gaps,
    })
}

impl Row {
    /// Returns its id, for who is given these names.
    pub(crate) fn id(&self, naming: &Naming) -> String {
        let content = match &self.content {
            Content::Number(value) => value.to_bits(),
            Content::Block { samples, .. } => samples.len() as u64,
        };
        let name = RowName {
            epoch: self.epoch,
            lane: self.lane.as_deref(),
            seq: self.seq,
            journal: (self.partition, self.offset),
            mdc_code: self.mdc_code,
            device_us: self.device_us,
            content,
        };
        naming.observation(&self.device, &name).encode()
    }

    /// Makes its resource.
    pub(crate) fn resource(&self, naming: &Naming, lookups: &Lookups, tenant: &str) -> Value {
        let wearer = lookups.ledger.wearer(tenant, &self.device, self.event_us);
        let (subject, device) = (wearer.map(|name| naming.subject(name)), naming.device(&self.device));
        let value = match &self.content {
            Content::Number(value) => Values::Number(*value),
            Content::Block { interval_ns, samples, scale, offset, gaps } => {
                Values::Samples { interval_ns: *interval_ns, samples, scale: *scale, offset: *offset, gaps }
            }
        };
        observation(&Measured {
            id: &self.id(naming),
            device: &device,
            subject: subject.as_deref(),
            mdc_code: self.mdc_code,
            mdc_ref_id: &self.mdc_ref_id,
            ucum_unit: &self.ucum_unit,
            status: self.status,
            effective_us: naming.at(self.event_us),
            issued_us: naming.at(self.ingest_us),
            is_masked: naming.is_masked(),
            value,
        })
    }
}
