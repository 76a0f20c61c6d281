//! What lists print: aligned columns for people, one JSON object a line for programs.

use serde_json::{Map, Value};
use std::io::Write;

/// Rows under named columns.
pub(super) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Table {
    pub(super) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Value; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            for row in &self.rows {
                let pairs = self.columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
                writeln!(out, "{}", Value::Object(pairs.collect::<Map<_, _>>()))?;
            }
            return Ok(());
        }
        let texts: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(text).collect()).collect();
        let width =
            |at: usize| texts.iter().filter_map(|row| row.get(at)).map(|text| text.chars().count()).max();
        let widths: Vec<_> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, name)| name.len().max(width(at).unwrap_or(0)))
            .collect();
        let names: Vec<String> = self.columns.iter().map(|name| name.to_uppercase()).collect();
        for row in std::iter::once(&names).chain(&texts) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A time in a cell; 0 is none.
pub(super) fn time(at_us: i64) -> Value {
    if at_us == 0 { Value::Null } else { crate::cli::time_text(at_us).into() }
}
