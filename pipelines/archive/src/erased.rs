//! The erase list: rows that no reader gets and that no file gets any more.
//!
//! A row is a subject's when the ledger said, at the request, that the subject wore the device at the row's event time:
//! the device's time by the edge's clock, as the views have it. A frame of the quarantine does not divide: it is the
//! subject's when anything in it is, by the times that it tells, or by when it came if it tells none.

use crate::intake::{Arrived, Content};
use crate::read::Columns;
use crate::table::Table;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use wardline_proto::v1::Body;
use wardline_proto::{frame, json};
use wardline_store::erasure::{ErasedRange, Erasure};

/// A range of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    erasure: Arc<str>,
    from_us: i64,
    until_us: i64,
    is_rewritten: bool,
}

/// The erase list, by tenant and device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    devices: HashMap<String, HashMap<String, Vec<Range>>>,
    /// Tenants under legal hold: what arrives of theirs is kept, and kept from readers.
    held: HashSet<String>,
}

impl Erased {
    /// Makes the list of ranges.
    pub fn new<'a>(ranges: impl IntoIterator<Item = &'a ErasedRange>) -> Self {
        let mut erased = Self::default();
        for range in ranges {
            let devices = erased.devices.entry(range.tenant.clone()).or_default();
            devices.entry(range.device.clone()).or_default().push(Range {
                erasure: range.erasure_id.as_str().into(),
                from_us: range.from_us,
                until_us: range.until_us,
                is_rewritten: range.is_rewritten,
            });
        }
        erased
    }

    /// Returns the part of which files may still hold rows. To be asked of a list that is older than the listing of the
    /// files that are read.
    pub fn pending(&self) -> Self {
        let mut devices = self.devices.clone();
        for of_tenant in devices.values_mut() {
            of_tenant.values_mut().for_each(|ranges| ranges.retain(|range| !range.is_rewritten));
            of_tenant.retain(|_, ranges| !ranges.is_empty());
        }
        devices.retain(|_, of_tenant| !of_tenant.is_empty());
        Self { devices, held: self.held.clone() }
    }

    /// Leaves what arrives of these tenants, and of no others, whole: nothing of theirs may be destroyed.
    pub(crate) fn hold(mut self, tenants: HashSet<String>) -> Self {
        self.held = tenants;
        self
    }

    /// Returns the tenants of which what arrives is left whole.
    pub(crate) fn held(&self) -> &HashSet<String> {
        &self.held
    }

    /// Says whether every range of an erasure is in the list.
    pub(crate) fn has(&self, erasure: &Erasure) -> bool {
        let is_here = |wanted: &ErasedRange| {
            let of_device = self.devices.get(&wanted.tenant).and_then(|devices| devices.get(&wanted.device));
            of_device.into_iter().flatten().any(|range| {
                *range.erasure == *wanted.erasure_id
                    && (range.from_us, range.until_us) == (wanted.from_us, wanted.until_us)
            })
        };
        erasure.ranges.iter().all(is_here)
    }

    /// Says whether nothing was erased.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Returns the erasure that takes a device's row of a time.
    pub fn erasure_of(&self, tenant: &str, device: &str, at_us: i64) -> Option<&Arc<str>> {
        self.overlapping(tenant, device, (at_us, at_us))
    }

    /// Returns the parts of a span of a device's time, from the first to before the second, that were erased, in order.
    pub fn spans(&self, tenant: &str, device: &str, (from_us, to_us): (i64, i64)) -> Vec<(i64, i64)> {
        let ranges = self.devices.get(tenant).and_then(|devices| devices.get(device)).into_iter().flatten();
        let cut = ranges.map(|range| (range.from_us.max(from_us), range.until_us.min(to_us)));
        let mut spans: Vec<_> = cut.filter(|(from_us, to_us)| from_us < to_us).collect();
        spans.sort_unstable();
        spans
    }

    /// Returns the first erasure that takes something between two times, both included.
    fn overlapping(&self, tenant: &str, device: &str, (first_us, last_us): (i64, i64)) -> Option<&Arc<str>> {
        let ranges = self.devices.get(tenant)?.get(device)?;
        let takes = |range: &&Range| range.from_us <= last_us && first_us < range.until_us;
        ranges.iter().find(takes).map(|range| &range.erasure)
    }

    fn knows(&self, tenant: &str, device: &str) -> bool {
        self.devices.get(tenant).is_some_and(|devices| devices.contains_key(device))
    }

    /// Returns for each row of a table the erasure that takes it; none when it takes no row.
    pub fn taken(&self, table: Table, rows: &RecordBatch) -> Option<Vec<Option<Arc<str>>>> {
        if self.is_empty() || matches!(table, Table::Audit | Table::Completeness) {
            return None;
        }
        let columns = Columns(rows);
        let taken: Vec<_> = (0..rows.num_rows()).map(|row| self.of_row(table, &columns, row)).collect();
        taken.iter().any(Option::is_some).then_some(taken)
    }

    fn of_row(&self, table: Table, columns: &Columns<'_>, row: usize) -> Option<Arc<str>> {
        let (tenant, device) = (columns.term("tenant", row)?, columns.term("device", row)?);
        if !self.knows(tenant, device) {
            return None;
        }
        let span = if table == Table::Quarantine {
            let payload = Bytes::from(columns.bytes("payload", row));
            let is_json = columns.term("format", row) == Some("json");
            told(&payload, is_json, columns.time("ingest_time", row)).span
        } else {
            let at_us = columns.time("device_time", row);
            let at_us = at_us.saturating_add(columns.whole("clock_offset_us", row));
            (at_us, at_us)
        };
        self.overlapping(tenant, device, span).cloned()
    }

    /// Returns the rows that nobody has erased.
    pub fn strike(&self, table: Table, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let Some(taken) = self.taken(table, &rows) else { return Ok(rows) };
        let kept: BooleanArray = taken.iter().map(|erasure| Some(erasure.is_none())).collect();
        filter_record_batch(&rows, &kept)
    }

    /// Takes out of what arrives what was erased, and says so of a frame of which nothing is left. Of one that was pruned
    /// before, what was said stays said.
    pub(crate) fn prune(&self, content: &mut Content) {
        let Content::Publish(arrived) = content else { return };
        let (tenant, device) = (arrived.key.tenant.as_str(), arrived.key.device.as_str());
        if !self.knows(tenant, device) || self.held.contains(tenant) {
            return;
        }
        let offset_us = arrived.clock.map_or(0, |clock| clock.device_offset_us);
        let ingest_us = arrived.time.ingested_at_us;
        match &mut arrived.body {
            Ok(body) => {
                let before = parts(body);
                retain(body, |at_us| {
                    self.erasure_of(tenant, device, at_us.saturating_add(offset_us)).is_none()
                });
                arrived.is_touched |= parts(body) < before;
                arrived.erased = arrived.is_touched && parts(body) == 0;
            }
            Err(_) => {
                let span = told(&arrived.payload, is_json(arrived), ingest_us).span;
                arrived.erased |= self.overlapping(tenant, device, span).is_some();
                arrived.is_touched |= arrived.erased;
            }
        }
    }
}

fn is_json(arrived: &Arrived) -> bool {
    arrived.format == wardline_proto::v1::PayloadFormat::Json
}

/// What a payload tells of its times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// From its first event to its last; when it came, where it tells none.
    pub(crate) span: (i64, i64),
    /// When it was sent.
    pub(crate) sent_at_us: Option<i64>,
}

/// Reads the times of a payload, whether or not it is good.
pub(crate) fn told(payload: &Bytes, is_json: bool, ingest_us: i64) -> Told {
    let (mut body, offset_us, sent_at_us) = if is_json {
        let Ok(publish) = json::decode(payload, ingest_us) else {
            return Told { span: (ingest_us, ingest_us), sent_at_us: None };
        };
        (publish.body, 0, publish.sent_at_us)
    } else {
        let Ok((_, framed)) = frame::decode(payload.clone()) else {
            return Told { span: (ingest_us, ingest_us), sent_at_us: None };
        };
        let sent_at_us = (framed.sent_at_us != 0).then_some(framed.sent_at_us);
        let body = frame::decode_body(&framed).unwrap_or_default();
        (body, framed.clock.map_or(0, |clock| clock.device_offset_us), sent_at_us)
    };
    let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
    retain(&mut body, |at_us| {
        let at_us = at_us.saturating_add(offset_us);
        (first_us, last_us) = (first_us.min(at_us), last_us.max(at_us));
        true
    });
    let alone = sent_at_us.unwrap_or(ingest_us);
    let span = if first_us <= last_us { (first_us, last_us) } else { (alone, alone) };
    Told { span, sent_at_us }
}

fn parts(body: &Body) -> usize {
    let readings: usize = body.numerics.iter().map(|series| series.values.len()).sum();
    readings + body.waveforms.len() + body.alarms.len() + body.events.len()
}

/// Keeps what lies at times that are kept, by the device's clock.
fn retain(body: &mut Body, mut is_kept: impl FnMut(i64) -> bool) {
    for series in &mut body.numerics {
        let (mut at_us, mut last_us) = (series.start_us, None);
        let (mut deltas, mut values, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
        for (index, value) in series.values.iter().enumerate() {
            at_us = at_us.saturating_add(series.time_deltas_us.get(index).copied().unwrap_or(0));
            if !is_kept(at_us) {
                continue;
            }
            deltas.push(last_us.map_or(0, |last_us: i64| at_us.saturating_sub(last_us)));
            if last_us.is_none() {
                series.start_us = at_us;
            }
            last_us = Some(at_us);
            values.push(*value);
            statuses.extend(series.statuses.get(index));
        }
        (series.time_deltas_us, series.values, series.statuses) = (deltas, values, statuses);
    }
    body.numerics.retain(|series| !series.values.is_empty());
    body.waveforms.retain(|block| is_kept(block.start_us));
    body.alarms.retain(|alarm| is_kept(alarm.at_us));
    body.events.retain(|event| is_kept(event.at_us));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{ClockBounds, Intake};
    use crate::options::ArchiveOptions;
    use prost::Message;
    use wardline_proto::v1::journal_record::Kind;
    use wardline_proto::v1::{Frame, JournalRecord, NumericSeries, PayloadFormat, Publish, UpChannel};

    fn series(start_us: i64, readings: usize, statuses: Vec<u32>) -> Body {
        let numerics = NumericSeries {
            start_us,
            time_deltas_us: (0..readings).map(|at| if at == 0 { 0 } else { 10 }).collect(),
            values: (0..readings).map(|at| at as f64).collect(),
            statuses,
            ..NumericSeries::default()
        };
        Body { numerics: vec![numerics], ..Body::default() }
    }

    #[test]
    fn what_is_kept_keeps_its_time_value_and_status() {
        let mut body = series(100, 5, vec![1, 2, 3, 4, 5]);
        retain(&mut body, |at_us| !(110..=120).contains(&at_us));
        let left = &body.numerics[0];
        assert_eq!((left.start_us, &left.time_deltas_us), (100, &vec![0, 30, 10]));
        assert_eq!((&left.values, &left.statuses), (&vec![0.0, 3.0, 4.0], &vec![1, 4, 5]));
        retain(&mut body, |at_us| at_us > 100);
        assert_eq!((body.numerics[0].start_us, body.numerics[0].time_deltas_us.len()), (130, 2));
        retain(&mut body, |_| false);
        assert_eq!(parts(&body), 0);
    }

    fn range(from_us: i64, until_us: i64) -> ErasedRange {
        ErasedRange {
            erasure_id: "e".into(),
            tenant: "t".into(),
            device: "d".into(),
            from_us,
            until_us,
            is_rewritten: false,
        }
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let erased = Erased::new(&[range(10, 20)]);
        let takes = |at_us| erased.erasure_of("t", "d", at_us).is_some();
        assert_eq!([9, 10, 19, 20].map(takes), [false, true, true, false]);
        assert!(erased.erasure_of("t", "other", 15).is_none() && erased.erasure_of("u", "d", 15).is_none());
        assert!(erased.overlapping("t", "d", (5, 10)).is_some());
        assert!(erased.overlapping("t", "d", (20, 30)).is_none());
    }

    /// What comes of a frame of `t`'s device `d` with these bytes as its body.
    fn arrival(body: Vec<u8>, encoding: i32) -> Content {
        let frame =
            Frame { epoch: 1, seq: 1, sent_at_us: 200, clock: None, encoding, lane: 2, body: body.into() };
        let publish = Publish {
            tenant: "t".into(),
            device: "d".into(),
            channel: UpChannel::Telemetry.into(),
            payload: frame.encode_to_vec().into(),
            content: PayloadFormat::Frame.into(),
            ..Publish::default()
        };
        let record = JournalRecord { ingested_at_us: 200, kind: Some(Kind::Publish(publish)) };
        let bounds = ClockBounds::of(&ArchiveOptions::default());
        Intake::new(bounds).read_record((0, 0), 200, record.encode_to_vec().into()).content
    }

    #[test]
    fn what_was_pruned_once_stays_pruned_when_another_list_comes() {
        let said = |content: &Content| match content {
            Content::Publish(arrived) => (arrived.is_touched, arrived.erased),
            _ => panic!("no publish"),
        };
        let mut body = series(100, 2, vec![]);
        (body.numerics[0].mdc_code, body.numerics[0].ucum_unit) = (150_456, "%".into());
        let (encoding, bytes) = frame::encode_body(&body);
        for (from_us, expected) in [(105, (true, false)), (100, (true, true))] {
            let mut content = arrival(bytes.clone().into(), encoding.into());
            Erased::new(&[range(from_us, 120)]).prune(&mut content);
            assert_eq!(said(&content), expected);
            // It waits, and the list grows.
            Erased::new(&[range(from_us, 120), range(500, 600)]).prune(&mut content);
            assert_eq!(said(&content), expected, "a conflict would keep the whole payload");
        }
        let mut unread = arrival(vec![0xff; 9], encoding.into());
        Erased::new(&[range(150, 250)]).prune(&mut unread);
        assert_eq!(said(&unread), (true, true));
        Erased::new(&[range(500, 600)]).prune(&mut unread);
        assert_eq!(said(&unread), (true, true));
    }
}
