//! `numerics`: one row a reading.

use super::Added;
use super::columns::{Texts, number, spread, terms};
use super::common::{Common, Origin, ROW_BYTES};
use crate::intake::Arrived;
use crate::validate::status_of_value;
use arrow_array::types::{Int32Type, UInt32Type};
use arrow_array::{ArrayRef, Float64Array};
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
    value: Vec<f64>,
    /// The metric of each series, by its place among `metrics`, and the series' rows.
    series: Vec<(usize, usize)>,
    metrics: Vec<&'static Metric>,
    /// The metric that came last.
    last: usize,
}

impl Builder {
    /// Adds the checked series of a body.
    pub(super) fn push(&mut self, origin: &Origin<'_>, arrived: &Arrived, all: &[NumericSeries]) -> Added {
        let before = self.value.len();
        let added = all.iter().map(|series| self.series(arrived, series)).sum();
        self.common.begin(origin, self.value.len() - before);
        added
    }

    fn series(&mut self, arrived: &Arrived, series: &NumericSeries) -> Added {
        let Some((place, metric)) = self.metric(series.mdc_code) else { return Added::default() };
        let mut at_us = series.start_us;
        let timed = series.values.iter().zip(&series.time_deltas_us);
        for (index, (value, delta)) in timed.enumerate() {
            at_us = at_us.saturating_add(*delta);
            let given = series.statuses.get(index).copied().unwrap_or(0);
            let value_status = status_of_value(metric, arrived.profile.as_deref(), *value);
            self.common.row(at_us, given | value_status | arrived.time.status_of(at_us));
        }
        let rows = series.values.len();
        self.value.extend_from_slice(&series.values);
        self.series.push((place, rows));
        Added::rows(rows, ROW_BYTES + OWN_BYTES, series.start_us, at_us)
    }

    /// Finds a metric, with its place among those that are here. They mostly come in turns.
    fn metric(&mut self, mdc_code: u32) -> Option<(usize, &'static Metric)> {
        let next = if self.last + 1 < self.metrics.len() { self.last + 1 } else { 0 };
        let is = |place: usize| self.metrics.get(place).is_some_and(|metric| metric.mdc_code == mdc_code);
        let found = [next, self.last].into_iter().find(|place| is(*place));
        let place = match found.or_else(|| (0..self.metrics.len()).find(|place| is(*place))) {
            Some(place) => place,
            None => {
                self.metrics.push(by_code(mdc_code)?);
                self.metrics.len() - 1
            }
        };
        self.last = place;
        Some((place, *self.metrics.get(place)?))
    }

    pub(super) fn finish(self) -> Vec<ArrayRef> {
        let Self { common, value, series, metrics, .. } = self;
        let (mut ref_ids, mut units) = (Texts::default(), Texts::default());
        let keys: Vec<(u32, i32, i32)> = metrics
            .iter()
            .map(|metric| (metric.mdc_code, ref_ids.key(metric.ref_id), units.key(metric.ucum_unit)))
            .collect();
        let rows = value.len();
        let runs = || series.iter().filter_map(|(place, rows)| Some((keys.get(*place)?, *rows)));
        let mdc_code = spread::<UInt32Type>(runs().map(|(keys, rows)| (Some(keys.0), rows)), rows);
        let ref_id = spread::<Int32Type>(runs().map(|(keys, rows)| (Some(keys.1), rows)), rows);
        let unit = spread::<Int32Type>(runs().map(|(keys, rows)| (Some(keys.2), rows)), rows);
        common.finish(vec![
            Arc::new(mdc_code),
            ref_ids.finish(ref_id),
            Arc::new(Float64Array::from(value)),
            units.finish(unit),
        ])
    }
}
