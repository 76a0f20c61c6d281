//! `waveforms`: one row a block of equally spaced samples, lossless.

use super::Added;
use super::columns::{Terms, number, terms};
use super::common::{Common, Origin, ROW_BYTES};
use crate::intake::Arrived;
use crate::validate::status_of_block;
use arrow_array::ArrayRef;
use arrow_array::builder::{
    Float64Builder, Int32Builder, ListBuilder, StructBuilder, UInt32Builder, UInt64Builder,
};
use arrow_schema::{DataType, Field, Fields};
use std::sync::Arc;
use wardline_proto::codes::by_code;
use wardline_proto::frame::delta_decode;
use wardline_proto::v1::WaveformBlock;

const OWN_BYTES: usize = 64;
const SAMPLE_BYTES: usize = 4;

fn sample_field() -> Field {
    Field::new("element", DataType::Int32, false)
}

fn gap_fields() -> Fields {
    Fields::from(vec![number("first", DataType::UInt32), number("count", DataType::UInt32)])
}

fn gap_field() -> Field {
    Field::new("element", DataType::Struct(gap_fields()), false)
}

pub(super) fn fields() -> Vec<Field> {
    vec![
        number("mdc_code", DataType::UInt32),
        terms("mdc_ref_id"),
        terms("ucum_unit"),
        number("interval_ns", DataType::UInt64),
        number("samples", DataType::List(Arc::new(sample_field()))),
        number("scale", DataType::Float64),
        number("offset", DataType::Float64),
        number("gaps", DataType::List(Arc::new(gap_field()))),
    ]
}

#[derive(Debug)]
pub(crate) struct Builder {
    common: Common,
    mdc_code: UInt32Builder,
    ref_id: Terms,
    unit: Terms,
    interval: UInt64Builder,
    samples: ListBuilder<Int32Builder>,
    scale: Float64Builder,
    offset: Float64Builder,
    gaps: ListBuilder<StructBuilder>,
}

impl Default for Builder {
    fn default() -> Self {
        let gap = StructBuilder::from_fields(gap_fields(), 0);
        Self {
            common: Common::default(),
            mdc_code: UInt32Builder::default(),
            ref_id: Terms::default(),
            unit: Terms::default(),
            interval: UInt64Builder::default(),
            samples: ListBuilder::new(Int32Builder::default()).with_field(sample_field()),
            scale: Float64Builder::default(),
            offset: Float64Builder::default(),
            gaps: ListBuilder::new(gap).with_field(gap_field()),
        }
    }
}

impl Builder {
    /// Adds a checked block.
    pub(super) fn push(&mut self, origin: &Origin<'_>, arrived: &Arrived, block: &WaveformBlock) -> Added {
        let Some(metric) = by_code(block.mdc_code) else { return Added::default() };
        let samples = block.sample_deltas.len();
        let length_us = (block.interval_ns.saturating_mul(samples as u64) / 1000).min(i64::MAX as u64);
        let end_us = block.start_us.saturating_add_unsigned(length_us);
        let status = arrived.time.status_of(end_us) | status_of_block(arrived.profile.as_deref(), block);
        self.common.push(origin, block.start_us, status);
        self.mdc_code.append_value(metric.mdc_code);
        self.ref_id.push(Some(metric.ref_id));
        self.unit.push(Some(metric.ucum_unit));
        self.interval.append_value(block.interval_ns);
        self.samples.values().append_slice(&delta_decode(&block.sample_deltas));
        self.samples.append(true);
        self.scale.append_value(block.scale);
        self.offset.append_value(block.offset);
        self.push_gaps(block);
        let bytes = ROW_BYTES + OWN_BYTES + samples * SAMPLE_BYTES;
        Added::rows(1, bytes, block.start_us, block.start_us)
    }

    fn push_gaps(&mut self, block: &WaveformBlock) {
        for gap in &block.gaps {
            let numbers = [gap.first, gap.count];
            for (index, number) in numbers.into_iter().enumerate() {
                if let Some(column) = self.gaps.values().field_builder::<UInt32Builder>(index) {
                    column.append_value(number);
                }
            }
            self.gaps.values().append(true);
        }
        self.gaps.append(true);
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        self.common.finish(vec![
            Arc::new(self.mdc_code.finish()),
            self.ref_id.finish(),
            self.unit.finish(),
            Arc::new(self.interval.finish()),
            Arc::new(self.samples.finish()),
            Arc::new(self.scale.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.gaps.finish()),
        ])
    }
}
