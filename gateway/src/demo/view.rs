//! Draws the board: a live table on a terminal, plain lines elsewhere.

use super::board::{Board, Row};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Constraint;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row as TableRow, Table, Widget};
use ratatui::{TerminalOptions, Viewport};
use std::io::{IsTerminal, Stdout, Write, stdin, stdout};
use std::time::{Duration, Instant};

/// A plain view prints a status line this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Rows of the table that are not devices: borders, header, total.
const FRAME_ROWS: usize = 4;
/// Devices shown live; the rest stand in the total only.
const DEVICES_SHOWN_MAX: usize = 16;

/// Where the board is drawn.
pub(crate) enum View {
    /// Redrawn in place.
    Live(Box<Terminal<CrosstermBackend<Stdout>>>),
    /// One line at a time.
    Plain {
        /// When the last status line was printed.
        last: Option<Instant>,
    },
}

impl View {
    /// Chooses the live view when both ends are a terminal and `plain` is not asked for.
    pub(crate) fn open(plain: bool, devices: usize) -> Self {
        if plain || !stdout().is_terminal() || !stdin().is_terminal() {
            return Self::Plain { last: None };
        }
        let height = (devices.min(DEVICES_SHOWN_MAX) + FRAME_ROWS) as u16;
        let options = TerminalOptions { viewport: Viewport::Inline(height) };
        match Terminal::with_options(CrosstermBackend::new(stdout()), options) {
            Ok(terminal) => Self::Live(Box::new(terminal)),
            Err(_) => Self::Plain { last: None },
        }
    }

    /// Draws the board and prints the alerts that are new.
    pub(crate) fn draw(&mut self, board: &mut Board) -> std::io::Result<()> {
        let alerts = board.take_alerts();
        match self {
            Self::Live(terminal) => {
                for alert in alerts {
                    let line = Line::from(alert).style(Style::new().fg(Color::Red).bold());
                    terminal.insert_before(1, |buffer| line.render(buffer.area, buffer))?;
                }
                terminal.draw(|frame| frame.render_widget(table(board), frame.area()))?;
            }
            Self::Plain { last } => {
                let mut out = stdout().lock();
                for alert in alerts {
                    writeln!(out, "{alert}")?;
                }
                if last.is_none_or(|at| at.elapsed() >= PLAIN_EVERY) {
                    *last = Some(Instant::now());
                    writeln!(out, "{}", status_line(board))?;
                }
            }
        }
        Ok(())
    }

    /// Leaves the terminal below the board.
    pub(crate) fn close(mut self) {
        if let Self::Live(terminal) = &mut self {
            let _ = terminal.show_cursor();
            println!();
        }
    }
}

fn status_line(board: &Board) -> String {
    let total = board.total();
    format!(
        "{:>4} s  {}: sent {}, acked {}, archived {}, lag {}",
        board.elapsed.as_secs(),
        board.phase,
        total.sent,
        total.acked,
        total.archived,
        total.lag()
    )
}

fn table(board: &Board) -> Table<'_> {
    let header = ["device", "HR /min", "SpO2 %", "sent", "acked", "archived", "lag"];
    let total = board.total();
    let rows = board.rows.iter().take(DEVICES_SHOWN_MAX).map(table_row).chain([table_row(&total).bold()]);
    let title = format!(
        " wardline demo: {} {}/{} s ",
        board.phase,
        board.elapsed.min(board.duration).as_secs(),
        board.duration.as_secs()
    );
    let widths = [16, 8, 8, 9, 9, 9, 7].map(Constraint::Length);
    Table::new(rows, widths)
        .header(TableRow::new(header).style(Style::new().fg(Color::Cyan)))
        .block(Block::bordered().title(title))
}

fn table_row(row: &Row) -> TableRow<'static> {
    let vital = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.0}"));
    let low = row.spo2.is_some_and(|v| v < 90.0);
    let spo2 =
        Cell::from(vital(row.spo2)).style(if low { Style::new().fg(Color::Red) } else { Style::new() });
    TableRow::new([
        Cell::from(row.device.clone()),
        Cell::from(vital(row.heart_rate)),
        spo2,
        Cell::from(row.sent.to_string()),
        Cell::from(row.acked.to_string()),
        Cell::from(row.archived.to_string()),
        Cell::from(row.lag().to_string()),
    ])
}
