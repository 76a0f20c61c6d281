//! When the next frame of a device is due.

use super::shape::{Demand, Shape};
use std::str::FromStr;
use std::time::Duration;

/// Frames of one device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many each second, before the shape's factor.
    PerSecond(f64),
    /// As many as acknowledgements allow.
    Max,
}

/// Says why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rate is frames per second, above 0, or max")]
pub struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(Self::PerSecond(rate)),
            _ => Err(RateError),
        }
    }
}

/// The schedule of one device, in time since the fleet's start.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) shape: Shape,
    pub(super) rate: Rate,
    pub(super) run: Duration,
    pub(super) index: usize,
    pub(super) devices: usize,
    /// When the next frame is due; what is overdue is caught up, until the run ends.
    pub(super) next_due: Duration,
    /// Frames that are left to make.
    pub(super) left: u64,
}

impl Pace {
    /// Returns when the device first connects.
    pub(super) fn joins_at(&self) -> Duration {
        self.run.mul_f64(self.shape.joins_at(self.index, self.devices))
    }

    /// Says whether the device has nothing more to make at `now`.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.left == 0 || now.max(self.next_due) >= self.run
    }

    /// Takes the next frame if it is due at `now`: when it was due, and what is asked for.
    pub(super) fn take(&mut self, now: Duration) -> Option<(Duration, Demand)> {
        if self.is_over(now) {
            return None;
        }
        let progress = self.next_due.as_secs_f64() / self.run.as_secs_f64();
        let demand = self.shape.demand(progress, self.index, self.devices);
        let due = match self.rate {
            Rate::Max => {
                self.next_due = now;
                now
            }
            Rate::PerSecond(_) if now < self.next_due => return None,
            Rate::PerSecond(rate) => {
                let due = self.next_due;
                self.next_due += Duration::from_secs_f64(1.0 / (rate * demand.factor));
                due
            }
        };
        self.left -= 1;
        Some((due, demand))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(shape: Shape, rate: Rate) -> Pace {
        let run = Duration::from_secs(30);
        Pace { shape, rate, run, index: 0, devices: 1, next_due: Duration::ZERO, left: u64::MAX }
    }

    fn frames(mut pace: Pace, step: Duration) -> usize {
        let mut now = Duration::ZERO;
        let mut frames = 0;
        while !pace.is_over(now) {
            while pace.take(now).is_some() {
                frames += 1;
            }
            now += step;
        }
        frames
    }

    #[test]
    fn a_rate_is_kept_whatever_the_steps_and_stops_at_the_end() {
        for step_ms in [1, 100, 7_000] {
            let step = Duration::from_millis(step_ms);
            assert!(frames(pace(Shape::Steady, Rate::PerSecond(4.0)), step).abs_diff(120) <= 28);
        }
        let step = Duration::from_millis(1);
        assert_eq!(frames(pace(Shape::Steady, Rate::PerSecond(4.0)), step), 120);
        assert!(frames(pace(Shape::FluX5, Rate::PerSecond(4.0)), step) > 450);
        let some = Pace { left: 7, ..pace(Shape::Steady, Rate::Max) };
        assert_eq!(frames(some, step), 7);
        for bad in ["", "0", "-1", "nan", "fast"] {
            assert_eq!(bad.parse::<Rate>(), Err(RateError));
        }
    }
}
