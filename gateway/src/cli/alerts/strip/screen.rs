//! A strip on a terminal, in braille.

use super::paper;
use super::trace::{Trace, Window};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::widgets::Widget;
use ratatui::widgets::canvas::{Canvas, Line};

/// Lines of one waveform.
const ROWS: u16 = 10;

/// Draws the traces in so many columns, a line each.
pub(super) fn lines(traces: &[Trace], window: Window, columns: u16) -> Vec<String> {
    let mut lines = Vec::new();
    for trace in traces {
        lines.push(format!("{}  {}  {}", trace.mdc_ref_id, trace.ucum_unit, paper::scale(trace).said));
        lines.extend(draw(trace, window, columns.max(20)));
        for gap in &trace.gaps {
            let from = (gap.from_us - window.onset_us) as f64 / 1e6;
            let to = (gap.to_us - window.onset_us) as f64 / 1e6;
            lines.push(format!("  {from:+.2} s to {to:+.2} s: {}", gap.why.name()));
        }
    }
    lines
}

fn draw(trace: &Trace, window: Window, columns: u16) -> Vec<String> {
    let values = || trace.runs.iter().flatten().map(|(_, value)| *value);
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let (low, high) = if low < high { (low, high) } else { (low.min(0.0), low.max(0.0) + 1.0) };
    let seconds = |at_us: i64| (at_us - window.onset_us) as f64 / 1e6;
    let (from, to) = (seconds(window.from_us), seconds(window.to_us));
    let area = Rect::new(0, 0, columns, ROWS);
    let mut buffer = Buffer::empty(area);
    Canvas::default()
        .marker(Marker::Braille)
        .x_bounds([from, to])
        .y_bounds([low, high])
        .paint(|context| {
            for pair in trace.runs.iter().flat_map(|run| run.windows(2)) {
                let [(at, value), (next, then)] = pair else { continue };
                context.draw(&Line::new(seconds(*at), *value, seconds(*next), *then, Color::Reset));
            }
        })
        .render(area, &mut buffer);
    let column = |at_us: i64| {
        let part = (seconds(at_us) - from) / (to - from);
        (part * f64::from(columns)).clamp(0.0, f64::from(columns)) as u16
    };
    for gap in &trace.gaps {
        for x in column(gap.from_us)..column(gap.to_us) {
            for y in 0..ROWS {
                shade(&mut buffer, (x, y), "\u{2591}");
            }
        }
    }
    let onset = column(window.onset_us).min(columns - 1);
    (0..ROWS).for_each(|y| shade(&mut buffer, (onset, y), "\u{2502}"));
    (0..ROWS).map(|y| row(&buffer, y, columns)).collect()
}

/// Marks a cell, unless something is drawn there.
fn shade(buffer: &mut Buffer, at: (u16, u16), symbol: &str) {
    if let Some(cell) = buffer.cell_mut(at)
        && matches!(cell.symbol(), " " | "\u{2800}")
    {
        cell.set_symbol(symbol);
    }
}

fn row(buffer: &Buffer, y: u16, columns: u16) -> String {
    let cells = (0..columns).filter_map(|x| buffer.cell((x, y))).map(|cell| cell.symbol());
    cells.collect::<String>().replace('\u{2800}', " ").trim_end().to_owned()
}
