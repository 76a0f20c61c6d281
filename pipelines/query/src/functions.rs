//! What the views compute per row, over whole columns.

use crate::lookups::Lookups;
use crate::mask::Mask;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Builder, Int32Array, ListBuilder, StringArray,
    StructBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt32Array, UInt32Builder,
};
use datafusion::arrow::datatypes::{
    DataType, Field, Fields, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt32Type, UInt64Type,
};
use datafusion::common::{Result, exec_datafusion_err, internal_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use std::collections::HashMap;
use std::sync::Arc;
use wardline_proto::codes::by_code;

/// Names of functions that are known elsewhere.
pub(crate) const EVENT_TIME: &str = "event_time";
pub(crate) const WEARER: &str = "wearer";
pub(crate) const SITE: &str = "site";
pub(crate) const DEVICE_PSEUDONYM: &str = "device_pseudonym";

/// A column of few distinct texts.
pub(crate) fn terms() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// A time of the archive.
pub(crate) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The texts of such a column.
pub(crate) type Terms<'a> = datafusion::arrow::array::TypedDictionaryArray<'a, Int32Type, StringArray>;

/// Makes a function of arrays of equal length.
pub(crate) fn function(
    name: &str,
    takes: Vec<DataType>,
    gives: DataType,
    compute: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let call = move |values: &[ColumnarValue]| {
        Ok(ColumnarValue::Array(compute(&ColumnarValue::values_to_arrays(values)?)?))
    };
    create_udf(name, takes, gives, Volatility::Immutable, Arc::new(call))
}

/// Reads a column of few distinct texts.
pub(crate) fn text(column: &ArrayRef) -> Result<Terms<'_>> {
    let terms = column.as_any_dictionary_opt().and_then(|any| any.as_any().downcast_ref());
    let terms: Option<&DictionaryArray<Int32Type>> = terms;
    terms
        .and_then(|terms| terms.downcast_dict())
        .ok_or_else(|| internal_datafusion_err!("no dictionary of text"))
}

/// Returns the text of a row.
pub(crate) fn value<'a>(terms: &Terms<'a>, row: usize) -> Option<&'a str> {
    let key = terms.keys().is_valid(row).then(|| terms.keys().value(row))?;
    let values: &'a StringArray = terms.values();
    usize::try_from(key).ok().filter(|key| values.is_valid(*key)).map(|key| values.value(key))
}

/// `event_time(device_time, clock_offset_us)`: the device's time by the edge's clock, where that is known.
pub(crate) fn event_time() -> ScalarUDF {
    function(EVENT_TIME, vec![time(), DataType::Int64], time(), |columns| {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        let offsets = columns[1].as_primitive::<Int64Type>();
        let pairs = times.values().iter().zip(offsets.values());
        let moved: Vec<i64> = if offsets.null_count() == 0 {
            pairs.map(|(at, offset)| at.saturating_add(*offset)).collect()
        } else {
            let known = |row| if offsets.is_valid(row) { offsets.value(row) } else { 0 };
            times.values().iter().enumerate().map(|(row, at)| at.saturating_add(known(row))).collect()
        };
        let moved = TimestampMicrosecondArray::new(moved.into(), times.nulls().cloned());
        Ok(Arc::new(moved.with_timezone("UTC")))
    })
}

/// `at_once(conditions)`: they are true together; the engine does not take them apart.
pub(crate) fn at_once() -> ScalarUDF {
    function("at_once", vec![DataType::Boolean], DataType::Boolean, |columns| Ok(columns[0].clone()))
}

/// `wearer(tenant, device, time)`: the subject, as the ledger has it now.
pub(crate) fn wearer(lookups: Arc<Lookups>) -> ScalarUDF {
    function(WEARER, vec![terms(), terms(), time()], terms(), move |columns| {
        let (tenants, devices) = (text(&columns[0])?, text(&columns[1])?);
        let times = columns[2].as_primitive::<TimestampMicrosecondType>();
        let (of_tenant, of_device) = (tenants.keys().values(), devices.keys().values());
        let mut subjects = Looked::default();
        // Neighbours are of one device mostly, and worn by one.
        let mut holds: Option<(i32, i32, i64, i64, Option<i32>)> = None;
        for row in 0..times.len() {
            let (Some(tenant), Some(device), true) =
                (value(&tenants, row), value(&devices, row), times.is_valid(row))
            else {
                subjects.keys.push(None);
                continue;
            };
            let (who, at_us) = ((of_tenant[row], of_device[row]), times.value(row));
            let known = holds.filter(|(tenant, device, from_us, until_us, _)| {
                who == (*tenant, *device) && (*from_us..*until_us).contains(&at_us)
            });
            let key = match known {
                Some((.., key)) => key,
                None => {
                    let (subject, from_us, until_us) = lookups.ledger.span(tenant, device, at_us);
                    let key = subjects.key(subject);
                    holds = Some((who.0, who.1, from_us, until_us, key));
                    key
                }
            };
            subjects.keys.push(key);
        }
        subjects.finish()
    })
}

/// `site(tenant, device)`: where the registry says that a device is.
pub(crate) fn site(lookups: Arc<Lookups>) -> ScalarUDF {
    function(SITE, vec![terms(), terms()], terms(), move |columns| {
        let (tenants, devices) = (text(&columns[0])?, text(&columns[1])?);
        let mut sites = Looked::default();
        let mut holds = None;
        for row in 0..columns[0].len() {
            let (Some(tenant), Some(device)) = (value(&tenants, row), value(&devices, row)) else {
                sites.keys.push(None);
                continue;
            };
            let who = (tenants.keys().value(row), devices.keys().value(row));
            let key = match holds {
                Some((known, key)) if known == who => key,
                _ => {
                    let key = sites.key(lookups.site(tenant, device));
                    holds = Some((who, key));
                    key
                }
            };
            sites.keys.push(key);
        }
        sites.finish()
    })
}

/// `loinc(mdc_code)`: none where the metric has none.
pub(crate) fn loinc() -> ScalarUDF {
    function("loinc", vec![DataType::UInt32], terms(), |columns| {
        let mut loinc = Looked::default();
        // Some ten metrics, in turn.
        let mut known = HashMap::<u32, Option<i32>>::new();
        for code in columns[0].as_primitive::<UInt32Type>() {
            let key = code.and_then(|code| {
                let found = || by_code(code).and_then(|metric| metric.loinc);
                *known.entry(code).or_insert_with(|| loinc.key(found()))
            });
            loinc.keys.push(key);
        }
        loinc.finish()
    })
}

/// A column of few distinct texts that are looked up.
#[derive(Default)]
struct Looked<'a> {
    texts: Vec<&'a str>,
    places: HashMap<&'a str, i32>,
    keys: Vec<Option<i32>>,
}

impl<'a> Looked<'a> {
    /// Returns the key of a text.
    fn key(&mut self, text: Option<&'a str>) -> Option<i32> {
        let text = text?;
        if let Some(known) = self.places.get(text) {
            return Some(*known);
        }
        let key = i32::try_from(self.texts.len()).ok()?;
        self.texts.push(text);
        self.places.insert(text, key);
        Some(key)
    }

    fn finish(self) -> Result<ArrayRef> {
        let (keys, texts) = (Int32Array::from(self.keys), StringArray::from(self.texts));
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(texts))?))
    }
}

/// `pseudonym(text)`: the same text has the same one, within a tenant and a kind.
pub(crate) fn pseudonym(kind: &'static str, mask: Arc<Mask>) -> ScalarUDF {
    function(&format!("{kind}_pseudonym"), vec![terms()], terms(), move |columns| {
        let names: &DictionaryArray<Int32Type> = columns[0].as_dictionary();
        let values = names.downcast_dict::<StringArray>();
        let values = values.ok_or_else(|| internal_datafusion_err!("no dictionary of text"))?.values();
        let masked: StringArray =
            values.iter().map(|name| name.map(|name| mask.pseudonym(kind, name))).collect();
        Ok(Arc::new(names.with_values(Arc::new(masked))))
    })
}

/// `coarse(time)`: the time cut down to the step that analysts are given.
pub(crate) fn coarse(mask: Arc<Mask>) -> ScalarUDF {
    function("coarse", vec![time()], time(), move |columns| {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        let times: TimestampMicrosecondArray =
            times.iter().map(|at| at.map(|at_us| mask.coarse(at_us))).collect();
        Ok(Arc::new(times.with_timezone("UTC")))
    })
}

/// What [`samples`] gives of each sample.
pub(crate) fn sample_fields() -> Fields {
    Fields::from(vec![
        Field::new("n", DataType::UInt32, false),
        Field::new("time", time(), false),
        Field::new("value", DataType::Float64, true),
    ])
}

/// The type of a block's samples, as they are in the archive's schema.
pub(crate) struct BlockTypes {
    pub(crate) samples: DataType,
    pub(crate) gaps: DataType,
}

fn sample_item() -> Field {
    Field::new("item", DataType::Struct(sample_fields()), true)
}

/// `samples(samples, gaps, device_time, interval_ns, scale, offset)`: each sample with its place, time and physical
/// value; none where it was not measured.
pub(crate) fn samples(types: BlockTypes) -> ScalarUDF {
    let takes =
        vec![types.samples, types.gaps, time(), DataType::UInt64, DataType::Float64, DataType::Float64];
    let gives = DataType::List(Arc::new(sample_item()));
    function("samples", takes, gives, |columns| {
        let (blocks, gaps) = (columns[0].as_list::<i32>(), columns[1].as_list::<i32>());
        let times = columns[2].as_primitive::<TimestampMicrosecondType>();
        let intervals = columns[3].as_primitive::<UInt64Type>();
        let (scales, offsets) =
            (columns[4].as_primitive::<Float64Type>(), columns[5].as_primitive::<Float64Type>());
        let numbers: &Int32Array = blocks.values().as_primitive::<Int32Type>();
        let mut out = Samples::default();
        for row in 0..blocks.len() {
            let (first, end) = (blocks.value_offsets()[row], blocks.value_offsets()[row + 1]);
            let numbers = &numbers.values()[usize_of(first)?..usize_of(end)?];
            let measured = measured(&gaps.value(row), numbers.len());
            let place = Block {
                start_us: times.value(row),
                interval_ns: intervals.value(row),
                scale: scales.value(row),
                offset: offsets.value(row),
            };
            out.push(&place, numbers, &measured);
        }
        Ok(out.finish())
    })
}

fn usize_of(offset: i32) -> Result<usize> {
    usize::try_from(offset).map_err(|_negative| exec_datafusion_err!("a list offset below zero"))
}

/// Returns which samples were measured.
fn measured(gaps: &ArrayRef, samples: usize) -> Vec<bool> {
    let mut measured = vec![true; samples];
    let gaps = gaps.as_struct();
    let firsts: &UInt32Array = gaps.column(0).as_primitive();
    let counts: &UInt32Array = gaps.column(1).as_primitive();
    for (first, count) in firsts.values().iter().zip(counts.values()) {
        let first = (*first as usize).min(samples);
        let end = first.saturating_add(*count as usize).min(samples);
        measured[first..end].fill(false);
    }
    measured
}

struct Block {
    start_us: i64,
    interval_ns: u64,
    scale: f64,
    offset: f64,
}

/// Lists of samples under construction.
struct Samples(ListBuilder<StructBuilder>);

impl Default for Samples {
    fn default() -> Self {
        let times = TimestampMicrosecondBuilder::new().with_timezone("UTC");
        let columns: Vec<Box<dyn datafusion::arrow::array::ArrayBuilder>> =
            vec![Box::new(UInt32Builder::new()), Box::new(times), Box::new(Float64Builder::new())];
        Self(ListBuilder::new(StructBuilder::new(sample_fields(), columns)).with_field(sample_item()))
    }
}

impl Samples {
    fn push(&mut self, block: &Block, numbers: &[i32], measured: &[bool]) {
        let places = 0..numbers.len() as u64;
        let of = self.0.values();
        if let Some(column) = of.field_builder::<UInt32Builder>(0) {
            places.clone().for_each(|n| column.append_value(n as u32));
        }
        if let Some(column) = of.field_builder::<TimestampMicrosecondBuilder>(1) {
            for n in places {
                let after_us = (n.saturating_mul(block.interval_ns) / 1000).min(i64::MAX as u64) as i64;
                column.append_value(block.start_us.saturating_add(after_us));
            }
        }
        if let Some(column) = of.field_builder::<Float64Builder>(2) {
            for (number, measured) in numbers.iter().zip(measured) {
                let value = (f64::from(*number) - block.offset) * block.scale;
                column.append_option(measured.then_some(value));
            }
        }
        numbers.iter().for_each(|_| of.append(true));
        self.0.append(true);
    }

    fn finish(mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}
