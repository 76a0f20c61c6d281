//! Rows, and how they lie in files.

use super::Registry;
use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, Float64Array, Int64Array, ListArray, ListBuilder, RecordBatch, StringArray,
    StructBuilder, TimestampMicrosecondArray, UInt16Array, UInt32Array, UInt32Builder, UInt64Array,
    make_builder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use wardline_archive::layout::{Effort, encode_sealed};
use wardline_archive::{ArchiveKeys, Day, Table, schema};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::catalog::FileRow;

/// 2024-10-18 00:00 UTC.
pub(super) const START_US: i64 = 1_729_209_600_000_000;
const MINUTE_US: i64 = 60_000_000;
pub(super) const DAY_US: i64 = 86_400_000_000;
/// Tenant, device and site.
pub(super) const DEVICES: [(&str, &str, &str); 4] =
    [("demo", "d0", "icu"), ("demo", "d1", "icu"), ("demo", "d2", "er"), ("other", "d0", "")];
const CODES: [(u32, &str, &str); 3] =
    [(150_456, "MDC_PULS_OXIM_SAT_O2", "%"), (149_530, "MDC_PULS_OXIM_PULS_RATE", "/min"), (7, "X", "")];
/// The same where a row is a block of samples.
const WAVES: [(u32, &str, &str); 3] = [
    (131_330, "MDC_ECG_ELEC_POTL_II", "mV"),
    (150_452, "MDC_PULS_OXIM_PLETH", "1"),
    (131_329, "MDC_ECG_ELEC_POTL_I", "mV"),
];
const VALUES: [f64; 8] = [97.0, 40.25, 99.5, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];

/// Returns where a value is among those of readings.
pub(super) fn place_of(value: f64) -> usize {
    VALUES.iter().position(|known| known.total_cmp(&value).is_eq()).unwrap()
}

/// A reading of a device, so many minutes behind the start.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) device: usize,
    pub(super) minutes: i64,
    pub(super) late_minutes: i64,
    pub(super) clock: Option<i64>,
    pub(super) code: usize,
    pub(super) value: usize,
    pub(super) seq: Option<u64>,
}

/// How rows lie.
#[derive(Debug, Clone)]
pub(super) struct Lie {
    /// Rows of a file, of a row group and of a page, at most; and readers.
    pub(super) file: usize,
    pub(super) group: usize,
    pub(super) page: usize,
    pub(super) readers: usize,
    pub(super) batch: usize,
    /// So many of the last rows are in no file.
    pub(super) tail: usize,
    pub(super) is_erased: bool,
    /// Footers that were read once are known from then on.
    pub(super) is_known: bool,
}

pub(super) fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let one = (
        0..DEVICES.len(),
        prop_oneof![0_i64..4 * 24 * 60, Just(24 * 60), Just(24 * 60 - 1), 24 * 60_i64..24 * 60 + 5],
        prop_oneof![Just(0_i64), 0..3000_i64],
        proptest::option::of(-100_000_000_i64..100_000_000),
        0..CODES.len(),
        prop_oneof![30 => 0..VALUES.len() - 1, 1 => Just(VALUES.len() - 1)],
        proptest::option::of(0..50_u64),
    );
    let one = one.prop_map(|(device, minutes, late_minutes, clock, code, value, seq)| Reading {
        device,
        minutes,
        late_minutes,
        clock,
        code,
        value,
        seq,
    });
    proptest::collection::vec(one, 0..120)
}

pub(super) fn lie() -> impl Strategy<Value = Lie> {
    let flags = (any::<bool>(), any::<bool>());
    (1..80_usize, 1..40_usize, 1..20_usize, 1..5_usize, 1..40_usize, 0..20_usize, flags).prop_map(
        |(file, group, page, readers, batch, tail, (is_erased, is_known))| Lie {
            file,
            group,
            page,
            readers,
            batch,
            tail,
            is_erased,
            is_known,
        },
    )
}

pub(super) fn key(tenant: &str, device: &str) -> DeviceKey {
    DeviceKey { tenant: TenantId::new(tenant).unwrap(), device: DeviceId::new(device).unwrap() }
}

/// Where a reading was put, by its place among all.
pub(super) struct Placed<'a>(pub(super) usize, pub(super) &'a Reading);

impl Placed<'_> {
    pub(super) fn device_us(&self) -> i64 {
        START_US + self.1.minutes * MINUTE_US
    }

    /// No two are the same.
    pub(super) fn ingest_us(&self) -> i64 {
        self.device_us() + self.1.late_minutes * MINUTE_US + self.0 as i64
    }

    pub(super) fn who(&self) -> (&'static str, &'static str) {
        (DEVICES[self.1.device].0, DEVICES[self.1.device].1)
    }

    pub(super) fn partition(&self) -> u16 {
        key(self.who().0, self.who().1).partition().get()
    }

    fn metric(&self, table: Table) -> (u32, &'static str, &'static str) {
        if table == Table::Numerics { CODES[self.1.code] } else { WAVES[self.1.code] }
    }

    /// Samples of the block that it is in a table of those.
    fn samples(&self) -> Vec<Option<i32>> {
        (0..1 + self.0 as i32 % 9).map(|n| Some(n * self.1.value as i32)).collect()
    }
}

/// For each row the sample that was not measured, if there is one.
fn gaps(of: &DataType, rows: &[&Placed<'_>]) -> ArrayRef {
    let mut lists = make_builder(of, rows.len());
    let gaps: &mut ListBuilder<Box<dyn ArrayBuilder>> = lists.as_any_mut().downcast_mut().unwrap();
    for row in rows {
        let first = row.1.seq.map(|seq| (seq % row.samples().len() as u64) as u32);
        let gap: &mut StructBuilder = gaps.values().as_any_mut().downcast_mut().unwrap();
        if let Some(number) = first {
            gap.field_builder::<UInt32Builder>(0).unwrap().append_value(number);
            gap.field_builder::<UInt32Builder>(1).unwrap().append_value(1);
            gap.append(true);
        }
        gaps.append(true);
    }
    lists.finish()
}

/// Rows as the archive has them.
pub(super) fn batch(table: Table, rows: &[&Placed<'_>]) -> RecordBatch {
    let schema = schema(table);
    let text = |of: &dyn Fn(&Placed<'_>) -> Option<&'static str>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(row)).collect::<StringArray>())
    };
    let time = |of: &dyn Fn(&Placed<'_>) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(row)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let columns = schema.fields().iter().map(|field| {
        let column: ArrayRef = match field.name().as_str() {
            "tenant" => text(&|row| Some(row.who().0)),
            "device" => text(&|row| Some(row.who().1)),
            "mdc_ref_id" => text(&|row| Some(row.metric(table).1)),
            "ucum_unit" => text(&|row| Some(row.metric(table).2)),
            "sync_state" => text(&|_| Some("none")),
            "lane" => text(&|row| row.1.seq.map(|_| "numerics")),
            "profile" => text(&|_| None),
            "device_time" => time(&|row| Some(row.device_us())),
            "ingest_time" => time(&|row| Some(row.ingest_us())),
            "edge_time" => time(&|_| None),
            "value" => Arc::new(rows.iter().map(|row| Some(VALUES[row.1.value])).collect::<Float64Array>()),
            "clock_offset_us" => Arc::new(rows.iter().map(|row| row.1.clock).collect::<Int64Array>()),
            "seq" | "epoch" => Arc::new(rows.iter().map(|row| row.1.seq).collect::<UInt64Array>()),
            "journal_offset" => Arc::new(rows.iter().map(|row| Some(row.0 as u64)).collect::<UInt64Array>()),
            "mdc_code" => Arc::new(rows.iter().map(|row| Some(row.metric(table).0)).collect::<UInt32Array>()),
            "partition" => Arc::new(rows.iter().map(|row| Some(row.partition())).collect::<UInt16Array>()),
            "status" => Arc::new(rows.iter().map(|row| Some(row.0 as u32 % 2)).collect::<UInt32Array>()),
            "clock_uncertainty_us" => Arc::new(rows.iter().map(|_| None::<u32>).collect::<UInt32Array>()),
            "samples" => {
                let samples = rows.iter().map(|row| Some(row.samples()));
                Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(samples))
            }
            "gaps" => return gaps(field.data_type(), rows),
            "interval_ns" => {
                let intervals = rows.iter().map(|row| [4_000_000, 7_333_333, 350_000_000_000][row.1.code]);
                Arc::new(intervals.map(Some).collect::<UInt64Array>())
            }
            "scale" | "offset" => Arc::new(rows.iter().map(|_| Some(0.5)).collect::<Float64Array>()),
            other => panic!("{other}"),
        };
        cast(&column, field.data_type()).unwrap()
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// Writes a file: as a commit does, or a merge, or, where every value is a number, in many row groups and pages.
pub(super) fn write(
    registry: &Registry,
    (root, number): (&Path, usize),
    (table, rows): (Table, &[&Placed<'_>]),
    lie: &Lie,
) -> FileRow {
    let mut rows = rows.to_vec();
    let is_merged = number.is_multiple_of(4) || lie.page.is_multiple_of(3);
    if is_merged {
        rows.sort_by_key(|row| {
            let (code, time) = (i64::from(row.metric(table).0), row.device_us());
            (row.who().1, if table == Table::Numerics { (time, code) } else { (code, time) })
        });
    }
    let (rows_of, first) = (batch(table, &rows), rows[0]);
    let tenant = first.who().0;
    let bytes =
        if is_merged || number.is_multiple_of(2) || rows.iter().any(|row| VALUES[row.1.value].is_nan()) {
            let keys = ArchiveKeys::new(registry.keyring.clone());
            let effort = if is_merged { Effort::Merge } else { Effort::Commit };
            encode_sealed(table, tenant, &rows_of, (&keys, effort)).unwrap()
        } else {
            let properties = WriterProperties::builder()
                .set_statistics_enabled(EnabledStatistics::Page)
                .set_max_row_group_row_count(Some(lie.group))
                .set_data_page_row_count_limit(lie.page)
                .set_write_batch_size(1);
            let mut writer =
                ArrowWriter::try_new(Vec::new(), rows_of.schema(), Some(properties.build())).unwrap();
            writer.write(&rows_of).unwrap();
            writer.into_inner().unwrap()
        };
    let path = format!("{number}.parquet");
    std::fs::write(root.join(&path), &bytes).unwrap();
    let times = || rows.iter().map(|row| row.device_us());
    FileRow {
        path,
        table: table.name().into(),
        tenant: tenant.into(),
        day: Day::of_micros(first.ingest_us()).to_string(),
        partition: first.partition(),
        rows: rows.len() as u64,
        bytes: bytes.len() as u64,
        sha256: Vec::new(),
        time_min_us: times().min().unwrap(),
        time_max_us: times().max().unwrap(),
        offset_first: 0,
        offset_last: 0,
    }
}
