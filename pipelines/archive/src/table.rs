//! The tables, and where their files lie.

use std::fmt;
use time::OffsetDateTime;
use time::macros::format_description;

/// A table of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One row a reading.
    Numerics,
    /// One row a block of samples.
    Waveforms,
    /// One row a message of a device's own alarm.
    Alarms,
    /// One row a device's or agent's event.
    Events,
    /// One row a publish that was acknowledged and is not good, whole.
    Quarantine,
    /// One row an audited act.
    Audit,
    /// One row a revision of what came of a stream in an hour.
    Completeness,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 7] = [
        Self::Numerics,
        Self::Waveforms,
        Self::Alarms,
        Self::Events,
        Self::Quarantine,
        Self::Audit,
        Self::Completeness,
    ];

    /// Returns the table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numerics => "numerics",
            Self::Waveforms => "waveforms",
            Self::Alarms => "alarms",
            Self::Events => "events",
            Self::Quarantine => "quarantine",
            Self::Audit => "audit",
            Self::Completeness => "completeness",
        }
    }

    /// Finds a table by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Returns the column that orders the table in time: the catalog's time range is of this column.
    pub fn time_column(self) -> &'static str {
        match self {
            Self::Numerics | Self::Waveforms | Self::Alarms | Self::Events => "device_time",
            Self::Quarantine | Self::Audit => "ingest_time",
            Self::Completeness => "hour",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A day of ingest, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(time::Date);

impl Day {
    /// Returns the day of a time in unix microseconds; the epoch's day for a time that no calendar has.
    pub fn of_micros(micros: i64) -> Self {
        let time = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000));
        Self(time.unwrap_or(OffsetDateTime::UNIX_EPOCH).date())
    }

    /// Returns the first microsecond of the day, unix time.
    pub fn first_us(self) -> i64 {
        self.0.midnight().assume_utc().unix_timestamp() * 1_000_000
    }

    /// Returns the last microsecond of the day, unix time.
    pub fn last_us(self) -> i64 {
        self.first_us() + 24 * 3_600 * 1_000_000 - 1
    }

    /// Reads the form `yyyy-mm-dd`.
    pub fn parse(text: &str) -> Option<Self> {
        time::Date::parse(text, format_description!("[year]-[month]-[day]")).ok().map(Self)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_of_the_calendar() {
        for (micros, day) in [(0, "1970-01-01"), (-1, "1969-12-31"), (1_792_281_600_000_000, "2026-10-18")] {
            assert_eq!(Day::of_micros(micros).to_string(), day);
        }
        assert_eq!(Day::parse("2026-10-18"), Some(Day::of_micros(1_792_281_600_000_000)));
        assert_eq!(Day::parse("2026-13-01"), None);
        let day = Day::of_micros(-1);
        assert_eq!((day.first_us(), day.last_us()), (-86_400_000_000, -1));
        assert_eq!(Day::of_micros(i64::MAX).to_string(), "1970-01-01");
    }
}
