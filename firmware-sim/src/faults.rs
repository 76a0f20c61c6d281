//! Faults on demand: `corrupt=0.01`, `drop-link[=20s]`, `clock-skew=+1h`.

use crate::synth::parse_duration;
use std::str::FromStr;
use std::time::Duration;

/// What a device does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Share of link messages in which a bit is flipped, 0 to 1.
    pub corrupt: f64,
    /// How long a connection lasts before the device drops it.
    pub drop_link_after: Option<Duration>,
    /// How far the device's clock is ahead, microseconds; negative when it is behind.
    pub clock_skew_us: i64,
}

/// One fault of the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Flip a bit in this share of link messages.
    Corrupt(f64),
    /// Drop every connection after so long.
    DropLink(Duration),
    /// Set the clock so many microseconds ahead.
    ClockSkew(i64),
}

/// Says why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fault is corrupt=SHARE, drop-link[=AFTER] or clock-skew=+DURATION, such as corrupt=0.01 or clock-skew=-90s"
)]
pub struct FaultError;

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "corrupt" => {
                let share: f64 = value.parse().map_err(|_| FaultError)?;
                (0.0..=1.0).contains(&share).then_some(Self::Corrupt(share)).ok_or(FaultError)
            }
            "drop-link" => {
                let after = if value.is_empty() { "20s" } else { value };
                parse_duration(after).filter(|d| !d.is_zero()).map(Self::DropLink).ok_or(FaultError)
            }
            "clock-skew" => {
                let (sign, size) = match value.strip_prefix('-') {
                    Some(size) => (-1, size),
                    None => (1, value.strip_prefix('+').unwrap_or(value)),
                };
                let size = parse_duration(size).ok_or(FaultError)?;
                let size_us = i64::try_from(size.as_micros()).map_err(|_| FaultError)?;
                Ok(Self::ClockSkew(sign * size_us))
            }
            _ => Err(FaultError),
        }
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        let mut all = Self::default();
        for fault in faults {
            match fault {
                Fault::Corrupt(share) => all.corrupt = share,
                Fault::DropLink(after) => all.drop_link_after = Some(after),
                Fault::ClockSkew(us) => all.clock_skew_us = us,
            }
        }
        all
    }
}

impl Faults {
    /// Waits for the moment to drop this connection; for ever when links are kept.
    pub(crate) async fn link_drops(&self) {
        match self.drop_link_after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_is_read() {
        let texts = ["corrupt=0.25", "drop-link", "clock-skew=-1h"];
        let faults: Faults = texts.iter().map(|t| t.parse::<Fault>().unwrap()).collect();
        assert_eq!(faults.corrupt, 0.25);
        assert_eq!(faults.drop_link_after, Some(Duration::from_secs(20)));
        assert_eq!(faults.clock_skew_us, -3_600_000_000);
        for bad in ["", "corrupt", "corrupt=2", "corrupt=nan", "drop-link=0s", "clock-skew=x", "fire"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
