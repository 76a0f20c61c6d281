//! Takes a TOML table apart key by key, so that every error is told and none hides the next.

use super::{Finding, Severity};
use crate::limits::TEXT_BYTES_MAX;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};
use wardline_proto::refusal::Refusal;

/// Findings so far, and where lines begin.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) findings: Vec<Finding>,
    line_starts: Vec<usize>,
}

impl Notes {
    pub(super) fn of(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { findings: Vec::new(), line_starts: starts.collect() }
    }

    /// Returns the line of a byte, from 1.
    pub(super) fn line_of(&self, byte: usize) -> u32 {
        self.line_starts.partition_point(|start| *start <= byte) as u32 + 1
    }

    pub(super) fn error(&mut self, line: u32, code: Refusal, place: &str, message: impl Into<String>) {
        self.push(line, Severity::Error, code, place, message.into());
    }

    fn push(&mut self, line: u32, severity: Severity, code: Refusal, place: &str, message: String) {
        let (code, place) = (code.code(), place.to_owned());
        self.findings.push(Finding { line, severity, code, place, message });
    }
}

struct Entry<'a> {
    line: u32,
    value: DeValue<'a>,
}

/// A table under reading.
pub(super) struct Section<'a, 'n> {
    place: String,
    line: u32,
    entries: BTreeMap<String, Entry<'a>>,
    /// Lines of keys that were taken.
    lines: BTreeMap<String, u32>,
    notes: &'n mut Notes,
}

impl<'a, 'n> Section<'a, 'n> {
    /// Starts reading the table whose header is on `line`.
    pub(super) fn new(place: &str, line: u32, table: DeTable<'a>, notes: &'n mut Notes) -> Self {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let line = notes.line_of(key.span().start);
            let entry = Entry { line, value: value.into_inner() };
            entries.insert(key.into_inner().into_owned(), entry);
        }
        Self { place: place.to_owned(), line, entries, lines: BTreeMap::new(), notes }
    }

    /// Calls the place by a better name from here on.
    pub(super) fn rename(&mut self, place: &str) {
        self.place = place.to_owned();
    }

    /// Returns the name of the place.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Returns the findings, to read tables inside this one.
    pub(super) fn notes(&mut self) -> &mut Notes {
        self.notes
    }

    /// Tells an error about a key, on its line.
    pub(super) fn error(&mut self, code: Refusal, key: &str, message: impl Into<String>) {
        let (line, place) = self.place_of(key);
        self.notes.error(line, code, &place, message);
    }

    /// Tells a warning about a key.
    pub(super) fn advise(&mut self, key: &str, message: impl Into<String>) {
        let (line, place) = self.place_of(key);
        self.notes.push(line, Severity::Warning, Refusal::ProfileAdvice, &place, message.into());
    }

    /// Says whether a key is there, taken or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key) || self.lines.contains_key(key)
    }

    /// Takes a key whatever its value. Returns whether it was there.
    pub(super) fn discard(&mut self, key: &str) -> bool {
        self.take(key).is_some()
    }

    /// Takes a text that must be there.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.required(key);
        self.maybe_text(key)
    }

    /// Takes a text that may be there.
    pub(super) fn maybe_text(&mut self, key: &str) -> Option<String> {
        let text = match self.take(key)? {
            DeValue::String(text) => text.into_owned(),
            other => return self.wrong(key, "a text", &other),
        };
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            self.error(Refusal::ProfileBound, key, format!("a text of 1 to {TEXT_BYTES_MAX} bytes"));
        }
        Some(text)
    }

    /// Takes one of a few words.
    pub(super) fn word<T>(&mut self, key: &str, words: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = read(&text);
        if value.is_none() {
            self.error(Refusal::ProfileBound, key, format!("{text:?} is none of {words}"));
        }
        value
    }

    /// Takes a number that must be there.
    pub(super) fn number(&mut self, key: &str) -> Option<f64> {
        self.required(key);
        self.maybe_number(key)
    }

    /// Takes a number that may be there.
    pub(super) fn maybe_number(&mut self, key: &str) -> Option<f64> {
        let value = self.take(key)?;
        let number = match &value {
            DeValue::Integer(whole) => {
                i64::from_str_radix(whole.as_str(), whole.radix()).ok().map(|n| n as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            other => return self.wrong(key, "a number", other),
        };
        let number = number.filter(|n: &f64| n.is_finite());
        if number.is_none() {
            self.error(Refusal::ProfileBound, key, "not a finite number");
        }
        number
    }

    /// Takes a whole number that must be there and lie within bounds.
    pub(super) fn whole(&mut self, key: &str, bounds: (u64, u64)) -> Option<u64> {
        self.required(key);
        let value = self.take(key)?;
        let DeValue::Integer(whole) = &value else { return self.wrong(key, "a whole number", &value) };
        let number = u64::from_str_radix(whole.as_str(), whole.radix()).ok();
        let number = number.filter(|n| (bounds.0..=bounds.1).contains(n));
        if number.is_none() {
            self.error(
                Refusal::ProfileBound,
                key,
                format!("a whole number from {} to {}", bounds.0, bounds.1),
            );
        }
        number
    }

    /// Takes a yes or no; no when it is not there.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.take(key) {
            Some(DeValue::Boolean(flag)) => flag,
            Some(other) => self.wrong::<bool>(key, "true or false", &other).unwrap_or_default(),
            None => false,
        }
    }

    /// Takes a table that must be there, with the line of its header.
    pub(super) fn table(&mut self, key: &str) -> Option<(u32, DeTable<'a>)> {
        self.required(key);
        let value = self.take(key)?;
        let line = self.place_of(key).0;
        match value {
            DeValue::Table(table) => Some((line, table)),
            other => self.wrong(key, "a table", &other),
        }
    }

    /// Takes an array of tables, each with the line of its header.
    pub(super) fn tables(&mut self, key: &str, most: usize) -> Vec<(u32, DeTable<'a>)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            self.wrong::<()>(key, "an array of tables", &value);
            return Vec::new();
        };
        if items.len() > most {
            self.error(Refusal::ProfileBound, key, format!("{} entries, {most} at most", items.len()));
        }
        let mut tables = Vec::with_capacity(items.len().min(most));
        for item in items.into_iter().take(most) {
            let line = self.notes.line_of(item.span().start);
            match item.into_inner() {
                DeValue::Table(table) => tables.push((line, table)),
                other => drop(self.wrong::<()>(key, "an array of tables", &other)),
            }
        }
        tables
    }

    /// Tells every key that nobody took.
    pub(super) fn finish(mut self) {
        for (key, entry) in std::mem::take(&mut self.entries) {
            let place = self.place_of(&key).1;
            self.notes.error(entry.line, Refusal::ProfileKey, &place, "no such key");
        }
    }

    fn take(&mut self, key: &str) -> Option<DeValue<'a>> {
        let entry = self.entries.remove(key)?;
        self.lines.insert(key.to_owned(), entry.line);
        Some(entry.value)
    }

    fn required(&mut self, key: &str) {
        if !self.has(key) {
            self.error(Refusal::ProfileKey, key, "missing");
        }
    }

    fn wrong<T>(&mut self, key: &str, wanted: &str, found: &DeValue<'_>) -> Option<T> {
        self.error(Refusal::ProfileKey, key, format!("{wanted}, not {}", found.type_str()));
        None
    }

    fn place_of(&self, key: &str) -> (u32, String) {
        let line = self.lines.get(key).copied().or(self.entries.get(key).map(|e| e.line));
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) };
        (line.unwrap_or(self.line), place)
    }
}
