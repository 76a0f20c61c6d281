//! Where things stand in a rules file: line and column of each key of each rule.

use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// Line and column, from 1.
pub(super) type Position = (u32, u32);

/// Kinds of rules, and the key that names one, with what is written before the name.
const NAMED: [(&str, &str, &str); 7] = [
    ("threshold", "id", ""),
    ("missing", "id", ""),
    ("news2", "id", ""),
    ("rate", "id", ""),
    ("composite", "id", ""),
    ("suppress", "cause", "suppress "),
    ("override", "rule", "override "),
];

/// Positions by place and key. Of two rules of one name the later one is found: it is the one too many.
#[derive(Debug, Default)]
pub(super) struct Positions(BTreeMap<(String, String), Position>);

impl Positions {
    /// Reads a file's keys. A file that is no TOML has none.
    pub(super) fn of(text: &str) -> Self {
        let mut all = Self::default();
        let Ok(table) = DeTable::parse(text) else { return all };
        for (key, value) in table.get_ref() {
            let name = key.get_ref().as_ref();
            all.note(text, "file", name, key.span().start);
            match value.get_ref() {
                DeValue::Table(table) => all.table(text, name, table),
                DeValue::Array(rules) => {
                    for rule in rules.iter() {
                        if let DeValue::Table(table) = rule.get_ref() {
                            all.table(text, &place(name, table), table);
                        }
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// Returns where a key of a place stands; the name of the place when the key is not there, the file's first line
    /// when the place is not.
    pub(super) fn find(&self, place: &str, key: &str) -> Position {
        let at = |key: &str| self.0.get(&(place.to_owned(), key.to_owned())).copied();
        at(key).or_else(|| at("")).unwrap_or((1, 1))
    }

    fn table(&mut self, text: &str, place: &str, table: &DeTable<'_>) {
        let first = table.iter().map(|(key, _)| key.span().start).min().unwrap_or(0);
        self.note(text, place, "", first);
        for (key, _) in table {
            self.note(text, place, key.get_ref().as_ref(), key.span().start);
        }
    }

    fn note(&mut self, text: &str, place: &str, key: &str, at: usize) {
        self.0.insert((place.to_owned(), key.to_owned()), position(text, at));
    }
}

/// Returns the line and column of a byte of a text.
pub(super) fn position(text: &str, at: usize) -> Position {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

fn place(kind: &str, table: &DeTable<'_>) -> String {
    let Some((_, key, prefix)) = NAMED.iter().find(|(name, _, _)| *name == kind) else {
        return kind.to_owned();
    };
    let named = table.iter().find(|(name, _)| name.get_ref().as_ref() == *key);
    match named.map(|(_, value)| value.get_ref()) {
        Some(DeValue::String(name)) => format!("{prefix}{name}"),
        _ => kind.to_owned(),
    }
}
