//! Search parameters: from a query string to what it asks for.
//!
//! What is not understood is refused: a filter that was left out would answer with more than was asked for.

use crate::limits::{ALTERNATIVES_MAX, COUNT, COUNT_MAX, QUERY_BYTES_MAX};
use crate::systems::{DEVICE, LOINC, MDC, SUBJECT};
use crate::time::{Span, span};
use std::collections::BTreeSet;
use wardline_proto::codes::METRICS;

/// Says which parameter cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {problem}")]
pub struct Unusable {
    /// Its name.
    pub parameter: String,
    /// What is wrong.
    pub problem: String,
}

fn unusable(parameter: &str, problem: impl Into<String>) -> Unusable {
    Unusable { parameter: parameter.into(), problem: problem.into() }
}

/// Which Observations are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservationSearch {
    /// Of these subjects.
    pub subjects: Option<BTreeSet<String>>,
    /// Of these devices, FHIR ids.
    pub devices: Option<BTreeSet<String>>,
    /// Of these metrics, MDC codes; a code that nothing here has is none of them.
    pub codes: Option<BTreeSet<u32>>,
    /// Of these ids.
    pub ids: Option<BTreeSet<String>>,
    /// When it was measured.
    pub date: Span,
    /// When the gateway took it.
    pub updated: Span,
    /// The page.
    pub page: Page,
}

/// Which Devices are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSearch {
    /// Of these ids.
    pub ids: Option<BTreeSet<String>>,
    /// Of these names.
    pub names: Option<BTreeSet<String>>,
    /// The page.
    pub page: Page,
}

/// Which part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Most resources.
    pub count: usize,
    /// Where to go on, as the server wrote it.
    pub cursor: Option<String>,
}

/// What a bulk export is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRequest {
    /// With Observations.
    pub observations: bool,
    /// With Devices.
    pub devices: bool,
    /// Only what the gateway took from this time on, unix microseconds.
    pub since_us: Option<i64>,
}

/// Reads `Observation?...`.
pub fn observations(query: &str) -> Result<ObservationSearch, Unusable> {
    let mut search = ObservationSearch {
        subjects: None,
        devices: None,
        codes: None,
        ids: None,
        date: Span::ALL,
        updated: Span::ALL,
        page: Page { count: COUNT, cursor: None },
    };
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "patient" | "subject" | "patient:identifier" | "subject:identifier" | "subject:Patient" => {
                meet(&mut search.subjects, alternatives(&name, &value, subject)?);
            }
            "device" => meet(&mut search.devices, alternatives(&name, &value, device)?),
            "code" => {
                let codes = alternatives(&name, &value, code)?;
                meet(&mut search.codes, codes.into_iter().flatten().collect());
            }
            "_id" => meet(&mut search.ids, alternatives(&name, &value, |id| Some(id.to_owned()))?),
            "date" => search.date = search.date.and(dated(&name, &value)?),
            "_lastUpdated" => search.updated = search.updated.and(dated(&name, &value)?),
            _ => paged(&mut search.page, &name, &value)?,
        }
    }
    Ok(search)
}

/// Reads `Device?...`.
pub fn devices(query: &str) -> Result<DeviceSearch, Unusable> {
    let mut search = DeviceSearch { ids: None, names: None, page: Page { count: COUNT, cursor: None } };
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "_id" => meet(&mut search.ids, alternatives(&name, &value, |id| Some(id.to_owned()))?),
            "identifier" => {
                meet(&mut search.names, alternatives(&name, &value, |text| of_system(text, DEVICE))?);
            }
            _ => paged(&mut search.page, &name, &value)?,
        }
    }
    Ok(search)
}

/// Reads `$export?...`.
pub fn export(query: &str) -> Result<ExportRequest, Unusable> {
    let mut request = ExportRequest { observations: true, devices: true, since_us: None };
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "_type" => {
                let kinds = alternatives(&name, &value, |kind| {
                    matches!(kind, "Observation" | "Device").then(|| kind.to_owned())
                })?;
                (request.observations, request.devices) =
                    (kinds.contains("Observation"), kinds.contains("Device"));
            }
            "_since" => {
                // Of a day from its begin on: rather again than never.
                let since = span(&value).ok_or_else(|| unusable(&name, "no instant"))?;
                request.since_us = Some(since.from_us);
            }
            "_outputFormat"
                if matches!(value.as_str(), "application/fhir+ndjson" | "application/ndjson" | "ndjson") => {}
            "_outputFormat" => return Err(unusable(&name, "the form is application/fhir+ndjson")),
            _ => return Err(unusable(&name, "is no parameter here")),
        }
    }
    Ok(request)
}

/// A parameter that is given again narrows what is found.
fn meet<T: Ord + Clone>(all: &mut Option<BTreeSet<T>>, more: BTreeSet<T>) {
    *all = Some(match all.take() {
        Some(some) => some.intersection(&more).cloned().collect(),
        None => more,
    });
}

/// Reads the alternatives of a parameter, divided by commas.
fn alternatives<T: Ord>(
    name: &str,
    value: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<BTreeSet<T>, Unusable> {
    let read = |text: &str| read(text).ok_or_else(|| unusable(name, "not of its form"));
    let found: BTreeSet<T> =
        value.split(',').filter(|text| !text.is_empty()).map(read).collect::<Result<_, _>>()?;
    match found.len() {
        0 => Err(unusable(name, "empty")),
        some if some > ALTERNATIVES_MAX => Err(unusable(name, format!("more than {ALTERNATIVES_MAX}"))),
        _ => Ok(found),
    }
}

/// `s`, `Patient/s` or `urn:wardline:subject|s`.
fn subject(text: &str) -> Option<String> {
    let text = text.strip_prefix("Patient/").unwrap_or(text);
    of_system(text, SUBJECT)
}

/// `d`, `Device/d` or `urn:wardline:device|name`.
fn device(text: &str) -> Option<String> {
    match text.split_once('|') {
        Some(_) => of_system(text, DEVICE).map(|name| crate::id::device(&name)),
        None => Some(text.strip_prefix("Device/").unwrap_or(text).to_owned()),
    }
}

/// Without a system, or of this one.
fn of_system(text: &str, system: &str) -> Option<String> {
    match text.split_once('|') {
        Some((of, value)) => (of == system && !value.is_empty()).then(|| value.to_owned()),
        None => Some(text.to_owned()),
    }
}

/// A metric by LOINC or MDC. Without a system either is meant.
fn code(text: &str) -> Option<BTreeSet<u32>> {
    let (system, code) = text.split_once('|').map_or((None, text), |(system, code)| (Some(system), code));
    let loinc = |code: &str| METRICS.iter().filter(|m| m.loinc == Some(code)).map(|m| m.mdc_code).collect();
    let mdc = |code: &str| code.parse().into_iter().collect::<BTreeSet<u32>>();
    match system {
        Some(LOINC) => Some(loinc(code)),
        Some(MDC) => Some(mdc(code)),
        // A system that no code here is of: nothing has it.
        Some(_) => Some(BTreeSet::new()),
        None => {
            let both: BTreeSet<u32> = loinc(code);
            Some(both.into_iter().chain(mdc(code)).collect())
        }
    }
}

fn dated(name: &str, value: &str) -> Result<Span, Unusable> {
    let (prefix, text) = match value.get(..2) {
        Some(prefix) if prefix.bytes().all(|b| b.is_ascii_lowercase()) => (prefix, &value[2..]),
        _ => ("eq", value),
    };
    let named = span(text).ok_or_else(|| unusable(name, "no date"))?;
    let Span { from_us, until_us } = named;
    Ok(match prefix {
        "eq" => named,
        "ge" => Span { from_us, ..Span::ALL },
        "gt" | "sa" => Span { from_us: until_us, ..Span::ALL },
        "lt" | "eb" => Span { until_us: from_us, ..Span::ALL },
        "le" => Span { until_us, ..Span::ALL },
        _ => return Err(unusable(name, "the prefixes are eq, ge, gt, le, lt, sa and eb")),
    })
}

fn paged(page: &mut Page, name: &str, value: &str) -> Result<(), Unusable> {
    match name {
        "_count" => {
            let count: usize = value.parse().map_err(|_| unusable(name, "no number"))?;
            page.count = count.clamp(1, COUNT_MAX);
        }
        "_cursor" => page.cursor = Some(value.to_owned()),
        "_format" if matches!(value, "json" | "application/json" | "application/fhir+json") => {}
        "_format" => return Err(unusable(name, "the form is application/fhir+json")),
        "_pretty" => {}
        _ => return Err(unusable(name, "is no parameter here")),
    }
    Ok(())
}

/// Divides a query string or a form.
fn pairs(query: &str) -> Result<Vec<(String, String)>, Unusable> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(unusable("query", format!("longer than {QUERY_BYTES_MAX} bytes")));
    }
    let given = query.split('&').filter(|pair| !pair.is_empty());
    given
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text| unescape(text).ok_or_else(|| unusable("query", "does not unescape"));
            Ok((plain(name)?, plain(value)?))
        })
        .collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}

/// Writes a value so that it can stand in a query string.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_narrow_and_alternatives_widen() {
        let search = observations(
            "patient=Patient/s-1&code=http%3A%2F%2Floinc.org%7C8867-4&code=147842,150456&device=mon-1,Device/mon-2&_count=5000",
        )
        .unwrap();
        assert_eq!(search.subjects, Some(BTreeSet::from(["s-1".to_owned()])));
        assert_eq!(search.codes, Some(BTreeSet::from([147_842])), "8867-4 is also the pulse of an oximeter");
        assert_eq!(search.devices.map(|devices| devices.len()), Some(2));
        assert_eq!(search.page.count, COUNT_MAX);
        let both = observations("code=8867-4").unwrap().codes.unwrap();
        assert_eq!(both, BTreeSet::from([147_842, 149_530]));
        let none = observations("code=http://snomed.info/sct|1").unwrap().codes;
        assert_eq!(none, Some(BTreeSet::new()), "a code that nothing has finds nothing");
    }

    #[test]
    fn prefixes_mean_what_fhir_says_of_a_day() {
        let day = |prefix: &str| observations(&format!("date={prefix}2026-11-21")).unwrap().date;
        let (from_us, until_us) = (day("").from_us, day("").until_us);
        assert_eq!(until_us - from_us, 86_400_000_000);
        assert_eq!(day("ge"), Span { from_us, ..Span::ALL });
        assert_eq!(day("gt"), Span { from_us: until_us, ..Span::ALL });
        assert_eq!(day("lt"), Span { until_us: from_us, ..Span::ALL });
        assert_eq!(day("le"), Span { until_us, ..Span::ALL });
        let both = observations("date=ge2026-11-21T08:00Z&date=lt2026-11-21T09:00Z").unwrap().date;
        assert_eq!(both.until_us - both.from_us, 3_600_000_000);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [
            "date=ap2026",
            "date=tomorrow",
            "name=x",
            "code=",
            "_count=many",
            "_format=xml",
            "patient=%zz",
            "patient=urn:x|1",
        ] {
            assert!(observations(wrong).is_err(), "{wrong}");
        }
        assert!(observations(&"a".repeat(QUERY_BYTES_MAX + 1)).is_err());
        assert!(devices("patient=1").is_err());
        assert!(export("_type=Patient").is_err());
        let since = export("_type=Observation&_since=2026-11-21T00:00:00.000001Z").unwrap();
        assert!(!since.devices && since.since_us.is_some_and(|us| us % 1_000_000 == 1));
        let day = export("_since=2026-11-21").unwrap();
        assert_eq!(day, export("_since=2026-11-21T00:00:00Z").unwrap(), "what came on that day is in it");
    }

    #[test]
    fn what_is_escaped_comes_back() {
        assert_eq!(unescape(&escape("a b|c&d=é+%")).as_deref(), Some("a b|c&d=é+%"));
    }
}
