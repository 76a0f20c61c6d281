//! `completeness`: one row a revision of a stream's hour.

use super::Added;
use super::columns::{Terms, Times, number, optional, terms, time};
use super::common::lane_name;
use crate::completeness::HourReport;
use arrow_array::ArrayRef;
use arrow_array::builder::{ListBuilder, StructBuilder, UInt16Builder, UInt64Builder};
use arrow_schema::{DataType, Field, Fields};
use std::sync::Arc;
use wardline_proto::v1::Lane;

const ROW_BYTES: usize = 160;
const RANGE_BYTES: usize = 16;
const COUNTS: [&str; 6] = ["expected", "received", "missing", "duplicates", "late", "quarantined"];

/// Where and when a report was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) revision: u64,
    pub(crate) as_of_us: i64,
    pub(crate) partition: u16,
    pub(crate) offset: u64,
}

fn range_fields() -> Fields {
    Fields::from(vec![number("first", DataType::UInt64), number("last", DataType::UInt64)])
}

fn range_field() -> Field {
    Field::new("element", DataType::Struct(range_fields()), false)
}

pub(super) fn fields() -> Vec<Field> {
    let head = [
        terms("tenant"),
        terms("device"),
        optional(number("epoch", DataType::UInt64)),
        optional(terms("lane")),
        time("hour"),
        number("revision", DataType::UInt64),
    ];
    let tail = vec![
        number("missing_ranges", DataType::List(Arc::new(range_field()))),
        time("ingest_time"),
        number("partition", DataType::UInt16),
        number("journal_offset", DataType::UInt64),
        optional(number("erased", DataType::UInt64)),
    ];
    head.into_iter().chain(COUNTS.map(|name| number(name, DataType::UInt64))).chain(tail).collect()
}

#[derive(Debug)]
pub(crate) struct Builder {
    tenant: Terms,
    device: Terms,
    epoch: UInt64Builder,
    lane: Terms,
    hour: Times,
    revision: UInt64Builder,
    counts: [UInt64Builder; COUNTS.len()],
    ranges: ListBuilder<StructBuilder>,
    as_of: Times,
    partition: UInt16Builder,
    offset: UInt64Builder,
    erased: UInt64Builder,
}

impl Default for Builder {
    fn default() -> Self {
        let range = StructBuilder::from_fields(range_fields(), 0);
        Self {
            tenant: Terms::default(),
            device: Terms::default(),
            epoch: UInt64Builder::default(),
            lane: Terms::default(),
            hour: Times::default(),
            revision: UInt64Builder::default(),
            counts: COUNTS.map(|_| UInt64Builder::default()),
            ranges: ListBuilder::new(range).with_field(range_field()),
            as_of: Times::default(),
            partition: UInt16Builder::default(),
            offset: UInt64Builder::default(),
            erased: UInt64Builder::default(),
        }
    }
}

impl Builder {
    pub(super) fn push(&mut self, report: &HourReport, made: &Made) -> Added {
        let (id, counts) = (&report.id, &report.counts);
        let lane = Lane::try_from(id.lane).ok().and_then(lane_name);
        self.tenant.push(Some(&id.tenant));
        self.device.push(Some(&id.device));
        self.epoch.append_option((id.epoch > 0).then_some(id.epoch));
        self.lane.push(lane);
        self.hour.push(Some(report.hour_us));
        self.revision.append_value(made.revision);
        let numbers = [
            report.expected,
            counts.archived,
            report.missing_count(),
            counts.duplicates,
            counts.late,
            counts.quarantined,
        ];
        self.counts.iter_mut().zip(numbers).for_each(|(column, number)| column.append_value(number));
        for hole in &report.missing {
            for (index, number) in [*hole.start(), *hole.end()].into_iter().enumerate() {
                if let Some(column) = self.ranges.values().field_builder::<UInt64Builder>(index) {
                    column.append_value(number);
                }
            }
            self.ranges.values().append(true);
        }
        self.ranges.append(true);
        self.as_of.push(Some(made.as_of_us));
        self.partition.append_value(made.partition);
        self.offset.append_value(made.offset);
        self.erased.append_value(counts.erased);
        Added::rows(1, ROW_BYTES + report.missing.len() * RANGE_BYTES, report.hour_us, report.hour_us)
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        let head: [ArrayRef; 6] = [
            self.tenant.finish(),
            self.device.finish(),
            Arc::new(self.epoch.finish()),
            self.lane.finish(),
            self.hour.finish(),
            Arc::new(self.revision.finish()),
        ];
        let tail: [ArrayRef; 5] = [
            Arc::new(self.ranges.finish()),
            self.as_of.finish(),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.erased.finish()),
        ];
        let counts = self.counts.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        head.into_iter().chain(counts).chain(tail).collect()
    }
}
