//! Traffic shapes of healthcare: how much a device sends, and when it joins, over the run.
//!
//! `progress` runs from 0 to 1 over the run; factors multiply the device's rate. **Does not** know clocks.

use std::str::FromStr;

/// Devices of the ward in which the code is called: one in ten, at least one.
const WARD_SHARE: usize = 10;

/// How traffic changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The same all the time.
    Steady,
    /// A quiet night, then within a tenth of the run everybody arrives, at three times the rate for a while.
    Monday8,
    /// Rises to five times in the first third, and stays.
    FluX5,
    /// All connections drop at once at one half and again at three quarters.
    ReconnectAll,
    /// In the middle third one ward sends ten times as much, alarms among it; the others go on.
    WardCode,
}

/// What one device asks for at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Times the device's rate.
    pub factor: f64,
    /// Every other frame is an alarm.
    pub alarms: bool,
}

impl Shape {
    /// Every shape with its name.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Steady, "steady"),
        (Self::Monday8, "monday-8"),
        (Self::FluX5, "flu-x5"),
        (Self::ReconnectAll, "reconnect-all"),
        (Self::WardCode, "ward-code"),
    ];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(shape, _)| *shape == self).map_or("", |(_, name)| name)
    }

    /// Returns what device `index` of `devices` asks for.
    pub fn demand(self, progress: f64, index: usize, devices: usize) -> Demand {
        let factor = match self {
            Self::Steady | Self::ReconnectAll => 1.0,
            Self::Monday8 if progress < 0.3 => 0.3,
            Self::Monday8 if progress < 0.6 => 3.0,
            Self::Monday8 => 1.0,
            Self::FluX5 => 1.0 + 4.0 * (progress * 3.0).clamp(0.0, 1.0),
            Self::WardCode => 1.0,
        };
        let code = self == Self::WardCode && (1.0 / 3.0..2.0 / 3.0).contains(&progress);
        if code && index < devices.div_ceil(WARD_SHARE) {
            return Demand { factor: 10.0, alarms: true };
        }
        Demand { factor, alarms: false }
    }

    /// Returns the progress at which device `index` of `devices` first connects.
    pub fn joins_at(self, index: usize, devices: usize) -> f64 {
        let share = index as f64 / devices.max(1) as f64;
        match self {
            // Three in ten are there all night; the rest arrives between 0.25 and 0.35.
            Self::Monday8 if share >= 0.3 => 0.25 + (share - 0.3) / 0.7 * 0.1,
            _ => share * 0.02,
        }
    }

    /// Returns when every connection is dropped at once.
    pub fn cuts(self) -> &'static [f64] {
        if self == Self::ReconnectAll { &[0.5, 0.75] } else { &[] }
    }
}

/// Says why a text is no shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a shape is one of steady, monday-8, flu-x5, reconnect-all, ward-code")]
pub struct ShapeError;

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(shape, _)| *shape).ok_or(ShapeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_what_their_names_say() {
        for (shape, name) in Shape::ALL {
            assert_eq!(name.parse(), Ok(shape));
            assert_eq!(shape.name(), name);
            for index in 0..100 {
                assert!((0.0..0.5).contains(&shape.joins_at(index, 100)));
                assert!((0..=100).all(|p| shape.demand(f64::from(p) / 100.0, index, 100).factor > 0.0));
            }
        }
        assert_eq!(Shape::FluX5.demand(0.9, 5, 10).factor, 5.0);
        assert!(Shape::WardCode.demand(0.5, 9, 100).alarms);
        assert!(!Shape::WardCode.demand(0.5, 10, 100).alarms);
        assert!(!Shape::WardCode.demand(0.9, 0, 100).alarms);
        assert_eq!(Shape::ReconnectAll.cuts().len(), 2);
    }
}
