//! Several seconds of readings in one frame, as a device sends that gathers them.

use wardline_proto::v1::{Body, NumericSeries};

/// Gathers readings.
pub(super) struct Packer {
    seconds: i64,
    gathered: Option<(i64, Body)>,
}

impl Packer {
    /// Makes one that gathers for so long; a second is what comes anyway.
    pub(super) fn new(seconds: i64) -> Self {
        Self { seconds, gathered: None }
    }

    /// Takes a body that is ready at a time, or gives it back when it is not gathered.
    pub(super) fn take(&mut self, ready_us: i64, body: Body) -> Option<(i64, Body)> {
        let is_numerics = body.waveforms.is_empty() && body.alarms.is_empty() && body.events.is_empty();
        if self.seconds == 1 || !is_numerics {
            return Some((ready_us, body));
        }
        let (at_us, gathered) = self.gathered.get_or_insert_default();
        *at_us = ready_us;
        for series in body.numerics {
            let mut known = gathered.numerics.iter_mut();
            match known
                .find(|known| (known.mdc_code, &known.ucum_unit) == (series.mdc_code, &series.ucum_unit))
            {
                Some(known) => append(known, series),
                None => gathered.numerics.push(series),
            }
        }
        None
    }

    /// Gives what was gathered when a second ends that is the last of a frame.
    pub(super) fn end_of(&mut self, second: i64) -> Option<(i64, Body)> {
        if (second + 1) % self.seconds == 0 { self.gathered.take() } else { None }
    }
}

fn append(series: &mut NumericSeries, more: NumericSeries) {
    let last_us = series.start_us + series.time_deltas_us.iter().sum::<i64>();
    let mut deltas = more.time_deltas_us;
    if let Some(first) = deltas.first_mut() {
        *first = more.start_us - last_us;
    }
    if !series.statuses.is_empty() || !more.statuses.is_empty() {
        series.statuses.resize(series.values.len(), 0);
        series.statuses.extend(&more.statuses);
        series.statuses.resize(series.values.len() + more.values.len(), 0);
    }
    series.time_deltas_us.extend(deltas);
    series.values.extend(more.values);
}
