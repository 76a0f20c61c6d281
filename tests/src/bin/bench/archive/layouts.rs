//! Ways to lay out one file of `numerics` and one of `waveforms`, each written and read back.
//!
//! Files are not encrypted here: what that costs is measured by `archive-write` and told by `archive-size`.

use super::clock::thread_cpu;
use crate::stats::Rounds;
use crate::table::{Table, number};
use anyhow::Context;
use arrow_array::builder::{BinaryBuilder, Int16Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::Schema;
use arrow_select::take::take_record_batch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::sync::Arc;

const ROUNDS: usize = 3;
const PAGE_ROWS: usize = 20_000;
const CLIMBING: [&str; 5] = ["seq", "device_time", "edge_time", "ingest_time", "journal_offset"];
const SAMPLES: &str = "samples.list.element";

/// The order of rows in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As they came.
    Journal,
    /// Device, metric, time.
    Metric,
    /// Device, hour, metric, time.
    Hour,
    /// Device, time, metric.
    Time,
}

/// How samples are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Samples {
    Int32List,
    Int16List,
    /// Little endian, two bytes each.
    Binary,
}

struct Candidate {
    name: &'static str,
    order: Order,
    samples: Samples,
    zstd: Option<i32>,
    /// Encoding of what climbs, and of a named column; none: a dictionary.
    climbing: Option<Encoding>,
    own: Option<(&'static str, Encoding)>,
    page_rows: usize,
    page_index: bool,
    group_rows: usize,
}

const BASE: Candidate = Candidate {
    name: "by device, time, metric; delta; zstd 1",
    order: Order::Time,
    samples: Samples::Int32List,
    zstd: Some(1),
    climbing: Some(Encoding::DELTA_BINARY_PACKED),
    own: None,
    page_rows: PAGE_ROWS,
    page_index: true,
    group_rows: 1 << 20,
};

fn numerics() -> Vec<Candidate> {
    let value = |name, encoding| Candidate { name, own: Some(("value", encoding)), ..BASE };
    let climbing = |name, climbing| Candidate { name, climbing, ..BASE };
    vec![
        BASE,
        Candidate { name: "  in the journal's order", order: Order::Journal, ..BASE },
        Candidate { name: "  by device, metric, time", order: Order::Metric, ..BASE },
        Candidate { name: "  by device, hour, metric, time", order: Order::Hour, ..BASE },
        Candidate { name: "  zstd 3", zstd: Some(3), ..BASE },
        Candidate { name: "  zstd 6", zstd: Some(6), ..BASE },
        Candidate { name: "  zstd 9", zstd: Some(9), ..BASE },
        Candidate { name: "  zstd 12", zstd: Some(12), ..BASE },
        Candidate { name: "  not compressed", zstd: None, ..BASE },
        climbing("  times and positions: dictionary", None),
        climbing("  times and positions: plain", Some(Encoding::PLAIN)),
        climbing("  times and positions: byte stream split", Some(Encoding::BYTE_STREAM_SPLIT)),
        value("  value: plain", Encoding::PLAIN),
        value("  value: byte stream split", Encoding::BYTE_STREAM_SPLIT),
        Candidate { name: "  pages of 5,000 rows", page_rows: 5_000, ..BASE },
        Candidate { name: "  pages of 100,000 rows", page_rows: 100_000, ..BASE },
        Candidate { name: "  no page index", page_index: false, ..BASE },
        Candidate { name: "  row groups of 131,072", group_rows: 1 << 17, ..BASE },
        Candidate { name: "  row groups of 32,768", group_rows: 1 << 15, ..BASE },
    ]
}

fn waveforms() -> Vec<Candidate> {
    let base = Candidate { own: Some((SAMPLES, Encoding::BYTE_STREAM_SPLIT)), zstd: Some(6), ..BASE };
    let metric = Candidate { order: Order::Metric, name: "by device, metric, time; split; zstd 6", ..base };
    let samples = |name, encoding, zstd| Candidate { name, own: Some((SAMPLES, encoding)), zstd, ..metric };
    let delta = |name, zstd| samples(name, Encoding::DELTA_BINARY_PACKED, Some(zstd));
    let of = |candidate: &Candidate| Candidate { ..*candidate };
    vec![
        of(&metric),
        Candidate { name: "  in the journal's order", order: Order::Journal, ..of(&metric) },
        Candidate { name: "  by device, time, metric", order: Order::Time, ..of(&metric) },
        Candidate { name: "  zstd 1", zstd: Some(1), ..of(&metric) },
        Candidate { name: "  zstd 3", zstd: Some(3), ..of(&metric) },
        Candidate { name: "  zstd 9", zstd: Some(9), ..of(&metric) },
        Candidate { name: "  zstd 15", zstd: Some(15), ..of(&metric) },
        Candidate { name: "  zstd 18", zstd: Some(18), ..of(&metric) },
        Candidate { name: "  not compressed", zstd: None, ..of(&metric) },
        delta("  samples: delta, zstd 1", 1),
        delta("  samples: delta, zstd 6", 6),
        delta("  samples: delta, zstd 9", 9),
        samples("  samples: delta, not compressed", Encoding::DELTA_BINARY_PACKED, None),
        samples("  samples: plain, zstd 1", Encoding::PLAIN, Some(1)),
        samples("  samples: plain, zstd 6", Encoding::PLAIN, Some(6)),
        Candidate { name: "  samples: dictionary", own: None, ..of(&metric) },
        Candidate { name: "  samples: list of int16", samples: Samples::Int16List, ..of(&metric) },
        Candidate {
            name: "  samples: binary, 2 bytes each",
            samples: Samples::Binary,
            own: None,
            ..of(&metric)
        },
        Candidate { name: "  pages of 2,000 blocks", page_rows: 2_000, ..of(&metric) },
        Candidate { name: "  pages of 500 blocks", page_rows: 500, ..of(&metric) },
        Candidate { name: "  row groups of 2,048 blocks", group_rows: 2_048, ..of(&metric) },
        Candidate { name: "  no page index", page_index: false, ..of(&metric) },
    ]
}

impl Candidate {
    fn properties(&self) -> anyhow::Result<WriterProperties> {
        let compression = match self.zstd {
            Some(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
            None => Compression::UNCOMPRESSED,
        };
        let statistics = if self.page_index { EnabledStatistics::Page } else { EnabledStatistics::Chunk };
        let mut builder = WriterProperties::builder()
            .set_compression(compression)
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(!self.page_index)
            .set_data_page_row_count_limit(self.page_rows)
            .set_max_row_group_row_count(Some(self.group_rows));
        for (column, encoding) in CLIMBING.iter().filter_map(|c| Some((*c, self.climbing?))).chain(self.own) {
            let path: ColumnPath = column.split('.').map(str::to_owned).collect::<Vec<_>>().into();
            builder = builder.set_column_dictionary_enabled(path.clone(), false);
            builder = builder.set_column_encoding(path, encoding);
        }
        Ok(builder.build())
    }
}

/// What one candidate costs.
struct Cost {
    bytes: usize,
    write_ns: f64,
    day_ms: f64,
    metric_ms: f64,
}

/// Measures all candidates of both tables on a file's rows each.
pub(crate) fn run(numeric: &RecordBatch, wave: &RecordBatch) -> anyhow::Result<()> {
    let rows = numeric.num_rows();
    println!("numerics, one file of {rows} rows:");
    measure(numerics(), numeric, rows, "row", "value")?;
    let samples = wave.column_by_name("samples").and_then(|c| c.as_list_opt::<i32>()).context("samples")?;
    let samples = samples.values().len();
    println!("waveforms, one file of {} blocks, {samples} samples:", wave.num_rows());
    measure(waveforms(), wave, samples, "sample", "samples")
}

fn measure(
    candidates: Vec<Candidate>,
    rows: &RecordBatch,
    items: usize,
    item: &str,
    value: &str,
) -> anyhow::Result<()> {
    let header = [
        "layout".to_owned(),
        format!("bytes/{item}"),
        format!("write ns/{item}"),
        "a device's day, ms".to_owned(),
        "one metric of it, ms".to_owned(),
    ];
    let mut table = Table::new(1, &header.each_ref().map(String::as_str));
    for candidate in candidates {
        let cost = try_out(&candidate, rows, value)?;
        table.row(vec![
            candidate.name.to_owned(),
            format!("{:.3}", cost.bytes as f64 / items as f64),
            number(cost.write_ns / items as f64),
            number(cost.day_ms),
            number(cost.metric_ms),
        ]);
    }
    println!("{}", table.render());
    Ok(())
}

fn try_out(candidate: &Candidate, rows: &RecordBatch, value: &str) -> anyhow::Result<Cost> {
    let rows = with_samples(&ordered(rows, candidate.order)?, candidate.samples)?;
    let properties = candidate.properties()?;
    let (mut write, mut day, mut metric) = (Rounds::default(), Rounds::default(), Rounds::default());
    let mut bytes = Bytes::new();
    let device = keys(&rows)?.into_iter().map(|(device, ..)| device).next_back().context("rows")?;
    let code = keys(&rows)?.into_iter().find(|(d, ..)| *d == device).map(|(_, code, _)| code);
    let code = code.context("a metric")?;
    let of_day = chosen(&rows, candidate, |d, _| d == device)?;
    let of_metric = chosen(&rows, candidate, |d, c| d == device && c == code)?;
    for _ in 0..ROUNDS {
        let begun = thread_cpu()?;
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties.clone()))?;
        writer.write(&rows)?;
        bytes = writer.into_inner()?.into();
        write.push((thread_cpu()? - begun).as_nanos() as f64);
        day.push(read(&bytes, &of_day, value)?);
        metric.push(read(&bytes, &of_metric, value)?);
    }
    Ok(Cost {
        bytes: bytes.len(),
        write_ns: write.median(),
        day_ms: day.median(),
        metric_ms: metric.median(),
    })
}

/// Returns the CPU time of reading the chosen rows, milliseconds.
fn read(bytes: &Bytes, chosen: &RowSelection, value: &str) -> anyhow::Result<f64> {
    let begun = thread_cpu()?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options)?;
    let wanted = ["device", "mdc_code", "device_time", value];
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_row_selection(chosen.clone()).build()?;
    let rows: usize = reader.map(|batch| batch.map(|batch| batch.num_rows())).sum::<Result<_, _>>()?;
    anyhow::ensure!(rows > 0, "no rows were read");
    Ok((thread_cpu()? - begun).as_secs_f64() * 1e3)
}

/// Chooses the pages that hold a row of interest, or the row groups where there is no page index.
fn chosen(
    rows: &RecordBatch,
    candidate: &Candidate,
    is_wanted: impl Fn(usize, u32) -> bool,
) -> anyhow::Result<RowSelection> {
    let step = if candidate.page_index { candidate.page_rows } else { candidate.group_rows };
    let keys = keys(rows)?;
    let selector = |page: &[(usize, u32, i64)]| {
        let wanted = page.iter().any(|(device, code, _)| is_wanted(*device, *code));
        if wanted { RowSelector::select(page.len()) } else { RowSelector::skip(page.len()) }
    };
    Ok(keys.chunks(step).map(selector).collect::<Vec<_>>().into())
}

/// Returns device, metric and time of each row; devices by their rank in the dictionary.
fn keys(rows: &RecordBatch) -> anyhow::Result<Vec<(usize, u32, i64)>> {
    let column = |name: &str| rows.column_by_name(name).with_context(|| format!("no column {name}"));
    let devices = column("device")?.as_dictionary_opt::<Int32Type>().context("devices are terms")?;
    let codes = column("mdc_code")?.as_primitive_opt::<UInt32Type>().context("codes are numbers")?;
    let times = column("device_time")?.as_primitive_opt::<TimestampMicrosecondType>().context("times")?;
    let key = |row| (devices.keys().value(row) as usize, codes.value(row), times.value(row));
    Ok((0..rows.num_rows()).map(key).collect())
}

fn ordered(rows: &RecordBatch, order: Order) -> anyhow::Result<RecordBatch> {
    const HOUR_US: i64 = 3_600_000_000;
    let keys = keys(rows)?;
    let mut at: Vec<u32> = (0..rows.num_rows() as u32).collect();
    let place = |row: &u32| {
        let (device, code, time) = keys[*row as usize];
        let code = i64::from(code);
        match order {
            Order::Journal => (0, 0, 0, 0),
            Order::Metric => (device, 0, code, time),
            Order::Hour => (device, time.div_euclid(HOUR_US), code, time),
            Order::Time => (device, 0, time, code),
        }
    };
    at.sort_by_key(place);
    Ok(take_record_batch(rows, &UInt32Array::from(at))?)
}

fn with_samples(rows: &RecordBatch, samples: Samples) -> anyhow::Result<RecordBatch> {
    if samples == Samples::Int32List {
        return Ok(rows.clone());
    }
    let at = rows.schema().index_of("samples")?;
    let lists = rows.column(at).as_list_opt::<i32>().context("samples are a list")?;
    let blocks = lists.iter().flatten().map(|block| block.as_primitive::<Int32Type>().values().to_vec());
    let narrow = |block: Vec<i32>| block.into_iter().map(|s| s as i16).collect::<Vec<i16>>();
    let column: ArrayRef = if samples == Samples::Binary {
        let mut builder = BinaryBuilder::new();
        blocks.map(narrow).for_each(|block| {
            builder.append_value(block.into_iter().flat_map(i16::to_le_bytes).collect::<Vec<u8>>());
        });
        Arc::new(builder.finish())
    } else {
        let field = arrow_schema::Field::new("element", arrow_schema::DataType::Int16, false);
        let mut builder = ListBuilder::new(Int16Builder::new()).with_field(field);
        blocks.map(narrow).for_each(|block| {
            builder.values().append_slice(&block);
            builder.append(true);
        });
        Arc::new(builder.finish())
    };
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields[at] = Arc::new(fields[at].as_ref().clone().with_data_type(column.data_type().clone()));
    let mut columns = rows.columns().to_vec();
    columns[at] = column;
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
