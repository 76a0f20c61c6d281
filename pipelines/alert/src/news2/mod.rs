//! The National Early Warning Score 2, exactly as the chart has it. Pure arithmetic, no time.
//!
//! Source: Royal College of Physicians, National Early Warning Score (NEWS) 2, London 2017, chart 1 (scoring) and
//! chart 2 (thresholds and triggers). For people of 16 years or more who are not pregnant; the caller sees to that.
//!
//! Values are rounded to the chart's resolution first: whole numbers, temperature to 0.1 Cel, half away from zero.
//! A parameter that is not known leaves the score incomplete: there is then no total, only the points that are
//! known, which the total cannot be below.

mod points;

use std::fmt;

/// A parameter of the chart, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    /// Breaths per minute.
    Respiration,
    /// Oxygen saturation, %.
    Spo2,
    /// Air or oxygen.
    Oxygen,
    /// Systolic pressure, mm[Hg].
    Systolic,
    /// Beats per minute.
    Pulse,
    /// Alert, or new confusion, voice, pain, unresponsive.
    Consciousness,
    /// Degrees Celsius.
    Temperature,
}

impl Parameter {
    /// Every parameter, in the chart's order.
    pub const ALL: [Self; 7] = [
        Self::Respiration,
        Self::Spo2,
        Self::Oxygen,
        Self::Systolic,
        Self::Pulse,
        Self::Consciousness,
        Self::Temperature,
    ];

    /// Returns its name, lower snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Respiration => "respiration",
            Self::Spo2 => "spo2",
            Self::Oxygen => "oxygen",
            Self::Systolic => "systolic",
            Self::Pulse => "pulse",
            Self::Consciousness => "consciousness",
            Self::Temperature => "temperature",
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which column scores oxygen saturation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpO2Scale {
    /// For everybody.
    #[default]
    One,
    /// For a patient whose prescribed range is 88 to 92 %, by a clinician's decision only.
    Two,
}

/// What is known of a patient at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Vitals {
    /// Breaths per minute.
    pub respiration: Option<f64>,
    /// Oxygen saturation, %.
    pub spo2: Option<f64>,
    /// Whether the patient breathes oxygen rather than air.
    pub on_oxygen: Option<bool>,
    /// Systolic pressure, mm[Hg].
    pub systolic: Option<f64>,
    /// Beats per minute.
    pub pulse: Option<f64>,
    /// Whether the patient is alert.
    pub is_alert: Option<bool>,
    /// Degrees Celsius.
    pub temperature: Option<f64>,
}

impl Vitals {
    /// Scores what is known.
    pub fn score(&self, scale: SpO2Scale) -> Score {
        Score([
            self.respiration.and_then(points::respiration),
            self.spo2.and_then(|spo2| match scale {
                SpO2Scale::One => points::spo2_scale_1(spo2),
                SpO2Scale::Two => points::spo2_scale_2(spo2, self.on_oxygen),
            }),
            self.on_oxygen.map(|on_oxygen| if on_oxygen { 2 } else { 0 }),
            self.systolic.and_then(points::systolic),
            self.pulse.and_then(points::pulse),
            self.is_alert.map(|is_alert| if is_alert { 0 } else { 3 }),
            self.temperature.and_then(points::temperature),
        ])
    }
}

/// Clinical risk, chart 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// 0.
    None,
    /// 1 to 4.
    Low,
    /// 3 in any single parameter, below 5 in all.
    LowMedium,
    /// 5 or 6.
    Medium,
    /// 7 or more.
    High,
}

impl Band {
    /// Returns its name, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::LowMedium => "low-medium",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The points of each parameter, in the chart's order; `None` where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score([Option<u8>; 7]);

impl Score {
    /// Returns the points of one parameter.
    pub fn of(&self, parameter: Parameter) -> Option<u8> {
        self.0[parameter as usize]
    }

    /// Returns the total; `None` while anything is missing.
    pub fn total(&self) -> Option<u8> {
        self.0.iter().copied().sum()
    }

    /// Returns the points that are known: the total when nothing is missing, else what it cannot be below.
    pub fn known(&self) -> u8 {
        self.0.iter().flatten().sum()
    }

    /// Returns what is missing, in the chart's order.
    pub fn missing(&self) -> impl Iterator<Item = Parameter> + '_ {
        Parameter::ALL.into_iter().filter(|parameter| self.of(*parameter).is_none())
    }

    /// Returns the risk; `None` while anything is missing.
    pub fn band(&self) -> Option<Band> {
        self.total().map(|_| self.known_band())
    }

    /// Returns the risk of what is known: no more can be missing than makes it worse.
    pub fn known_band(&self) -> Band {
        match self.known() {
            7.. => Band::High,
            5 | 6 => Band::Medium,
            _ if self.0.contains(&Some(3)) => Band::LowMedium,
            1..=4 => Band::Low,
            0 => Band::None,
        }
    }
}

#[cfg(test)]
mod tests;
