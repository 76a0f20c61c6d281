//! Where data to check comes from: an archive or a recording.

use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch, StringArray};
use firmware_sim::replay::Replay;
use firmware_sim::wfdb::Record;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use wardline_archive::Table;
use wardline_archive::read::ArchiveReader;
use wardline_profile::tally::Block;
use wardline_profile::{Profile, Tally};
use wardline_store::catalog::FileRow;

/// What was read.
pub(super) struct Data {
    pub(super) tally: Tally,
    /// Messages in the quarantine, by code.
    pub(super) quarantined: BTreeMap<String, u64>,
}

/// Whose rows are read.
pub(super) struct Only {
    pub(super) tenant: Option<String>,
    pub(super) device: Option<String>,
}

/// Counts a recording, as the simulator would play it.
pub(super) fn recording(profile: Profile, path: &Path) -> anyhow::Result<Data> {
    let record = Record::open(path).with_context(|| format!("read {}", path.display()))?;
    let replay = Replay::new(Arc::new(record))?;
    for signal in replay.unknown() {
        eprintln!("wardline: signal {signal} is no metric of the catalogue and is left out");
    }
    let mut tally = Tally::new(profile);
    replay.for_each(|timed| tally.add(&timed.body));
    Ok(Data { tally, quarantined: BTreeMap::new() })
}

/// Counts the committed rows of an archive.
pub(super) async fn archive(profile: Profile, dir: &Path, only: Only) -> anyhow::Result<Data> {
    let reader = ArchiveReader::open(dir).await;
    let reader = reader.with_context(|| format!("{} holds no archive that opens", dir.display()))?;
    let mut files = Vec::new();
    for table in [Table::Numerics, Table::Waveforms, Table::Alarms, Table::Quarantine] {
        files.extend(reader.files(Some(table)).await?.into_iter().map(|file| (table, file)));
    }
    let read = move || {
        let mut data = Data { tally: Tally::new(profile), quarantined: BTreeMap::new() };
        for (table, file) in &files {
            read_file(&reader, *table, file, &only, &mut data)?;
        }
        Ok(data)
    };
    tokio::task::spawn_blocking(read).await?
}

fn read_file(
    reader: &ArchiveReader,
    table: Table,
    file: &FileRow,
    only: &Only,
    data: &mut Data,
) -> anyhow::Result<()> {
    for batch in reader.read(file)? {
        let batch = batch?;
        let is_wanted = wanted(&batch, only);
        let rows = (0..batch.num_rows()).filter(|row| is_wanted(*row));
        let known = match table {
            Table::Numerics => numerics(&batch, rows, &mut data.tally),
            Table::Waveforms => waveforms(&batch, rows, &mut data.tally),
            Table::Alarms => alarms(&batch, rows, &mut data.tally),
            Table::Quarantine => quarantine(&batch, rows, &mut data.quarantined),
            _ => Some(()),
        };
        known.with_context(|| format!("{}: a column is missing or of another type", file.path))?;
    }
    Ok(())
}

/// Terms of a dictionary column.
struct Terms<'a> {
    keys: &'a arrow_array::DictionaryArray<Int32Type>,
    values: &'a StringArray,
}

impl<'a> Terms<'a> {
    fn of(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        let keys = batch.column_by_name(name)?.as_dictionary_opt::<Int32Type>()?;
        Some(Self { keys, values: keys.values().as_any().downcast_ref()? })
    }

    fn get(&self, row: usize) -> Option<&'a str> {
        self.keys.key(row).map(|key| self.values.value(key))
    }
}

fn wanted<'a>(batch: &'a RecordBatch, only: &'a Only) -> impl Fn(usize) -> bool + 'a {
    let columns = [("tenant", &only.tenant), ("device", &only.device)];
    let columns = columns.map(|(name, only)| (Terms::of(batch, name), only));
    move |row| {
        columns.iter().all(|(terms, only)| {
            let value = terms.as_ref().and_then(|terms| terms.get(row));
            only.as_deref().is_none_or(|only| value == Some(only))
        })
    }
}

fn numerics(batch: &RecordBatch, rows: impl Iterator<Item = usize>, tally: &mut Tally) -> Option<()> {
    let column = |name| batch.column_by_name(name);
    let codes = column("mdc_code")?.as_primitive_opt::<UInt32Type>()?;
    let values = column("value")?.as_primitive_opt::<Float64Type>()?;
    let times = column("device_time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let status = column("status")?.as_primitive_opt::<UInt32Type>()?;
    let units = Terms::of(batch, "ucum_unit")?;
    for row in rows {
        let unit = units.get(row).unwrap_or_default();
        tally.add_reading(codes.value(row), unit, times.value(row), values.value(row), status.value(row));
    }
    Some(())
}

fn waveforms(batch: &RecordBatch, rows: impl Iterator<Item = usize>, tally: &mut Tally) -> Option<()> {
    let column = |name| batch.column_by_name(name);
    let codes = column("mdc_code")?.as_primitive_opt::<UInt32Type>()?;
    let times = column("device_time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let intervals = column("interval_ns")?.as_primitive_opt::<UInt64Type>()?;
    let scales = column("scale")?.as_primitive_opt::<Float64Type>()?;
    let offsets = column("offset")?.as_primitive_opt::<Float64Type>()?;
    let samples = column("samples")?.as_list_opt::<i32>()?;
    let gaps = column("gaps")?.as_list_opt::<i32>()?;
    let units = Terms::of(batch, "ucum_unit")?;
    for row in rows {
        let samples = samples.value(row);
        let samples = samples.as_primitive_opt::<Int32Type>()?.values();
        let gaps = gaps.value(row);
        let gaps = gaps.as_struct_opt()?;
        let first = gaps.column_by_name("first")?.as_primitive_opt::<UInt32Type>()?.values();
        let count = gaps.column_by_name("count")?.as_primitive_opt::<UInt32Type>()?.values();
        let in_gap = |at: usize| {
            let mut runs = first.iter().zip(count);
            runs.any(|(first, count)| (*first as usize..(*first + *count) as usize).contains(&at))
        };
        let (scale, offset) = (scales.value(row), offsets.value(row));
        let values = samples.iter().enumerate().filter(|(at, _)| !in_gap(*at));
        let values = values.map(|(_, sample)| (f64::from(*sample) - offset) * scale);
        let mdc_code = codes.value(row);
        let (range, implausible) = tally.samples(mdc_code, values);
        let unit = units.get(row).unwrap_or_default();
        let (start_us, interval_ns) = (times.value(row), intervals.value(row));
        tally.add_block(&Block { mdc_code, unit, start_us, interval_ns, range, implausible });
    }
    Some(())
}

fn alarms(batch: &RecordBatch, rows: impl Iterator<Item = usize>, tally: &mut Tally) -> Option<()> {
    let codes = batch.column_by_name("mdc_code")?.as_primitive_opt::<UInt32Type>()?;
    let times = batch.column_by_name("device_time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    rows.for_each(|row| tally.add_alarm(codes.value(row), times.value(row)));
    Some(())
}

fn quarantine(
    batch: &RecordBatch,
    rows: impl Iterator<Item = usize>,
    counts: &mut BTreeMap<String, u64>,
) -> Option<()> {
    let codes = Terms::of(batch, "reason")?;
    for row in rows {
        *counts.entry(codes.get(row).unwrap_or_default().to_owned()).or_default() += 1;
    }
    Some(())
}
