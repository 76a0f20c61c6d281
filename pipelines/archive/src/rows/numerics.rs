//! `numerics`: one row a reading.

use super::Added;
use super::columns::{Terms, number, terms};
use super::common::{Common, Origin, ROW_BYTES};
use crate::intake::Arrived;
use crate::validate::status_of_value;
use arrow_array::ArrayRef;
use arrow_array::builder::{Float64Builder, UInt32Builder};
use arrow_schema::{DataType, Field};
use std::sync::Arc;
use wardline_proto::codes::{Metric, by_code};
use wardline_proto::v1::NumericSeries;

const OWN_BYTES: usize = 20;

pub(super) fn fields() -> Vec<Field> {
    vec![
        number("mdc_code", DataType::UInt32),
        terms("mdc_ref_id"),
        number("value", DataType::Float64),
        terms("ucum_unit"),
    ]
}

#[derive(Debug, Default)]
pub(crate) struct Builder {
    common: Common,
    mdc_code: UInt32Builder,
    ref_id: Terms,
    value: Float64Builder,
    unit: Terms,
}

impl Builder {
    /// Adds the checked series of a body.
    pub(super) fn push(&mut self, origin: &Origin<'_>, arrived: &Arrived, all: &[NumericSeries]) -> Added {
        let known = || all.iter().filter_map(|series| Some((by_code(series.mdc_code)?, series)));
        self.common.begin(origin, known().map(|(_, series)| series.values.len()).sum());
        known().map(|(metric, series)| self.series(arrived, metric, series)).sum()
    }

    fn series(&mut self, arrived: &Arrived, metric: &Metric, series: &NumericSeries) -> Added {
        let mut at_us = series.start_us;
        let timed = series.values.iter().zip(&series.time_deltas_us);
        for (index, (value, delta)) in timed.enumerate() {
            at_us = at_us.saturating_add(*delta);
            let given = series.statuses.get(index).copied().unwrap_or(0);
            let value_status = status_of_value(metric, arrived.profile.as_deref(), *value);
            self.common.row(at_us, given | value_status | arrived.time.status_of(at_us));
        }
        let rows = series.values.len();
        self.value.append_slice(&series.values);
        self.mdc_code.append_value_n(metric.mdc_code, rows);
        self.ref_id.push_many(Some(metric.ref_id), rows);
        self.unit.push_many(Some(metric.ucum_unit), rows);
        Added::rows(rows, ROW_BYTES + OWN_BYTES, series.start_us, at_us)
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        self.common.finish(vec![
            Arc::new(self.mdc_code.finish()),
            self.ref_id.finish(),
            Arc::new(self.value.finish()),
            self.unit.finish(),
        ])
    }
}
