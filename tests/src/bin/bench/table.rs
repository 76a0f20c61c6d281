//! A table of text, columns as wide as they must be.

/// Rows of cells under a header. The first columns are text, the others numbers.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    text_columns: usize,
}

impl Table {
    /// Starts a table whose first `text_columns` are aligned to the left.
    pub(crate) fn new(text_columns: usize, header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()], text_columns }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Returns the table as lines.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column| self.rows.iter().filter_map(|row: &Vec<String>| row.get(column)).map(String::len).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut lines = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column < self.text_columns { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            lines.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            lines.push('\n');
        }
        lines
    }
}

/// Writes a number with three significant digits or more.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        10_000.0.. => format!("{:.0}k", value / 1000.0),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Writes a quotient.
pub(crate) fn times(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.2}x") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(1, &["a", "number"]);
        table.row(vec!["long name".into(), number(3.25)]);
        assert_eq!(table.render(), "a          number\nlong name    3.25\n");
    }
}
