//! Times as FHIR and HL7 v2 write them, and what part of time a search parameter names.

use ::time::format_description::BorrowedFormatItem;
use ::time::format_description::well_known::Rfc3339;
use ::time::macros::{format_description, time};
use ::time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime};

const INSTANT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
const HL7: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day][hour][minute][second].[subsecond digits:4]+0000");

/// Writes a FHIR instant, microseconds, UTC. Times that no calendar has are cut to the years 0 to 9999.
pub fn instant(at_us: i64) -> String {
    write(at_us, INSTANT)
}

/// Writes an HL7 v2 DTM, UTC.
pub fn dtm(at_us: i64) -> String {
    write(at_us, HL7)
}

fn write(at_us: i64, format: &[BorrowedFormatItem<'_>]) -> String {
    // 0000-01-01 and the last microsecond of 9999.
    let at_us = at_us.clamp(-62_167_219_200_000_000, 253_402_300_799_999_999);
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_us) * 1000);
    at.ok().and_then(|at| at.format(format).ok()).unwrap_or_default()
}

/// A part of time, from its first microsecond to before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first microsecond.
    pub from_us: i64,
    /// The first microsecond after it.
    pub until_us: i64,
}

impl Span {
    /// Spans all times.
    pub const ALL: Self = Self { from_us: i64::MIN, until_us: i64::MAX };

    /// Returns what is in both.
    pub fn and(self, other: Self) -> Self {
        let (from_us, until_us) = (self.from_us.max(other.from_us), self.until_us.min(other.until_us));
        Self { from_us, until_us }
    }

    /// Says whether no time is in it.
    pub fn is_empty(self) -> bool {
        self.from_us >= self.until_us
    }

    /// Returns what a caller may ask of times that are shown in steps: whose shown time is in this span.
    pub fn of_steps(self, step_us: i64) -> Self {
        let up = |at_us: i64| {
            let over = at_us.rem_euclid(step_us.max(1));
            if over == 0 { at_us } else { at_us.saturating_add(step_us - over) }
        };
        Self { from_us: up(self.from_us), until_us: up(self.until_us) }
    }
}

/// Reads a FHIR date, dateTime or instant of any precision as the span that it names. Without an offset it is UTC.
pub fn span(text: &str) -> Option<Span> {
    let day = |year: i32, month: u8, day: u8| {
        Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()
    };
    let midnight = |date: Date| PrimitiveDateTime::new(date, time!(0:00)).assume_utc();
    let number =
        |part: &str, digits: usize| (part.len() == digits).then(|| part.parse::<u8>().ok()).flatten();
    let (date, clock) = text.split_once('T').map_or((text, None), |(date, clock)| (date, Some(clock)));
    let mut parts = date.split('-');
    let year = parts.next().filter(|year| year.len() == 4)?.parse::<i32>().ok()?;
    let (month, of_month, more) = (parts.next(), parts.next(), parts.next());
    let whole = match (month, of_month, more, clock) {
        (None, None, None, None) => (midnight(day(year, 1, 1)?), midnight(day(year.checked_add(1)?, 1, 1)?)),
        (Some(month), None, None, None) => {
            let month = number(month, 2)?;
            let next = if month == 12 { day(year.checked_add(1)?, 1, 1)? } else { day(year, month + 1, 1)? };
            (midnight(day(year, month, 1)?), midnight(next))
        }
        (Some(month), Some(of_month), None, None) => {
            let date = day(year, number(month, 2)?, number(of_month, 2)?)?;
            (midnight(date), midnight(date.next_day()?))
        }
        (Some(_), Some(_), None, Some(clock)) => return moment(text, clock),
        _ => return None,
    };
    Some(Span { from_us: micros(whole.0)?, until_us: micros(whole.1)? })
}

/// A time of day: to the minute, the second or a fraction of it.
fn moment(text: &str, clock: &str) -> Option<Span> {
    let offset = clock.find(['Z', '+', '-']);
    let (of_day, zone) = offset.map_or((clock, "Z"), |at| clock.split_at(at));
    let (whole, length) = match of_day.len() {
        5 => (format!("{of_day}:00"), Duration::MINUTE),
        8 => (of_day.to_owned(), Duration::SECOND),
        more if more > 9 => (of_day.to_owned(), fraction(of_day)?),
        _ => return None,
    };
    let from = OffsetDateTime::parse(&format!("{}T{whole}{zone}", text.split_once('T')?.0), &Rfc3339).ok()?;
    Some(Span { from_us: micros(from)?, until_us: micros(from.checked_add(length)?)? })
}

/// How much of time the last digit of a fraction names; never less than a microsecond.
fn fraction(of_day: &str) -> Option<Duration> {
    let digits = of_day.split_once('.')?.1.len();
    let micros = 10_i64.checked_pow(6_u32.saturating_sub(u32::try_from(digits).ok()?))?;
    Some(Duration::microseconds(micros))
}

fn micros(at: OffsetDateTime) -> Option<i64> {
    i64::try_from(at.unix_timestamp_nanos() / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<(String, String)> {
        span(text).map(|span| (instant(span.from_us), instant(span.until_us)))
    }

    #[test]
    fn a_date_of_any_precision_names_a_span() {
        for (text, from, until) in [
            ("2026", "2026-01-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z"),
            ("2026-12", "2026-12-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z"),
            ("2024-02-29", "2024-02-29T00:00:00.000000Z", "2024-03-01T00:00:00.000000Z"),
            ("2026-11-21T08:15", "2026-11-21T08:15:00.000000Z", "2026-11-21T08:16:00.000000Z"),
            ("2026-11-21T08:15:30+01:00", "2026-11-21T07:15:30.000000Z", "2026-11-21T07:15:31.000000Z"),
            ("2026-11-21T08:15:30.25Z", "2026-11-21T08:15:30.250000Z", "2026-11-21T08:15:30.260000Z"),
            ("2026-11-21T08:15:30.123456Z", "2026-11-21T08:15:30.123456Z", "2026-11-21T08:15:30.123457Z"),
        ] {
            assert_eq!(names(text), Some((from.into(), until.into())), "{text}");
        }
        for wrong in
            ["", "26", "2026-13", "2026-02-30", "2026-1-1", "2026-11-21T25:00", "2026-11-21T08", "now"]
        {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_span_of_coarse_times_tells_nothing_finer_than_a_step() {
        let span = Span { from_us: 11, until_us: 20 }.of_steps(10);
        assert_eq!(span, Span { from_us: 20, until_us: 20 }, "no shown time lies in 11..20");
        assert_eq!(Span { from_us: 10, until_us: 11 }.of_steps(10), Span { from_us: 10, until_us: 20 });
        assert_eq!(Span::ALL.of_steps(10).until_us, i64::MAX);
    }
}
