//! The board as a terminal shows it.

use super::state::{Board, Link};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row, Table, TableState};
use wardline_proto::v1::{Alert, AlertState, Priority};

const KEYS: &str = " up/down select   a acknowledge   p pause 2 min   q quit ";
/// An engine that is further behind is told in red.
const LAG_MAX_MS: u64 = 5_000;
/// What was heard longer ago is told in red: three heartbeats.
const AGE_MAX_US: i64 = 15_000_000;

/// Draws the board as of `now_us`.
pub(super) fn draw(board: &Board, now_us: i64, frame: &mut Frame<'_>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(link(&board.link, now_us), head);
    let rows = board.rows();
    let more = if board.more { "and more of a lower priority " } else { "" };
    let title = format!(" {} alerts {more}", rows.len());
    let widths = [
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Fill(2),
        Constraint::Length(16),
        Constraint::Fill(3),
    ];
    let header = Row::new(["", "age", "ward", "device", "rule", "what"]).bold();
    let table = Table::new(rows.into_iter().map(|alert| row(alert, now_us)), widths)
        .header(header)
        .row_highlight_style(Style::new().reversed())
        .block(Block::bordered().title(title));
    let mut state = TableState::new().with_selected(Some(board.selected_row()));
    frame.render_stateful_widget(table, body, &mut state);
    let foot_line =
        if board.told.is_empty() { Line::from(KEYS) } else { Line::from(board.told.as_str()).red() };
    frame.render_widget(foot_line, foot);
}

fn link(link: &Link, now_us: i64) -> Line<'_> {
    match link {
        Link::Connecting => Line::from(" connecting").yellow(),
        Link::Lost { since_us, why } => {
            let text = format!(" NOT LISTENING for {}: {why}", age(now_us - since_us));
            Line::from(text).white().on_red().bold()
        }
        Link::Heard { at_us, .. } if now_us - at_us > AGE_MAX_US => {
            Line::from(format!(" NOTHING HEARD for {}", age(now_us - at_us))).white().on_red().bold()
        }
        Link::Heard { lag_ms, .. } if *lag_ms > LAG_MAX_MS => {
            let text = format!(" the alarm engine is {} s behind: alerts come late", lag_ms / 1000);
            Line::from(text).white().on_red().bold()
        }
        Link::Heard { at_us, .. } => {
            Line::from(format!(" listening, heard {} ago", age(now_us - at_us))).green()
        }
    }
}

fn row(alert: &Alert, now_us: i64) -> Row<'static> {
    // IEC 60601-1-8: red, yellow, cyan. What somebody sees to is plain.
    let (mark, colour) = match alert.priority() {
        Priority::High => ("HIGH", Color::Red),
        Priority::Medium => ("MEDIUM", Color::Yellow),
        _ => ("LOW", Color::Cyan),
    };
    let seen_to = matches!(alert.state(), AlertState::Acknowledged | AlertState::Paused);
    let style = if seen_to { Style::new().dim() } else { Style::new().fg(colour).bold() };
    let device = if alert.device.is_empty() { alert.detail.clone() } else { alert.device.clone() };
    let cells = [
        mark.to_owned(),
        age(now_us - alert.onset_us),
        alert.site.clone(),
        device,
        alert.rule_id.clone(),
        what(alert),
    ];
    Row::new(cells.map(Cell::from)).style(style)
}

fn what(alert: &Alert) -> String {
    let signal = alert.signal.clone().unwrap_or_default();
    let value = alert.value.map_or_else(String::new, |value| format!("{value} {}", alert.ucum_unit));
    let state = match alert.state() {
        AlertState::Acknowledged => format!("acknowledged by {}", signal.acknowledged_by),
        AlertState::Paused => format!("paused by {}", signal.paused_by),
        AlertState::Latched => "over, to be acknowledged".to_owned(),
        _ if signal.escalations > 0 => format!("nobody answers ({})", signal.escalations),
        _ => String::new(),
    };
    [value, state].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// A span in the largest unit that says enough.
fn age(us: i64) -> String {
    match us.max(0) / 1_000_000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::alerts::board::state::tests_alert as alert;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    const NOW_US: i64 = 1_700_000_000_000_000 + 125_000_000;

    fn drawn(board: &Board) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 8)).unwrap();
        terminal.draw(|frame| draw(board, NOW_US, frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_board_shows_priority_age_device_and_who_sees_to_it() {
        let mut board = Board::default();
        let mut seen_to = alert("b", Priority::Medium, AlertState::Acknowledged);
        seen_to.signal.get_or_insert_default().acknowledged_by = "spiffe://t/nurse".into();
        board.list(vec![alert("a", Priority::High, AlertState::Present), seen_to], false);
        board.link = Link::Heard { at_us: NOW_US - 2_000_000, lag_ms: 0 };
        let text = drawn(&board);
        for part in
            ["listening, heard 2 s ago", "2 alerts", "HIGH", "2 min", "mon-a", "spo2-low", "acknowledged by"]
        {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn silence_is_never_shown_as_health() {
        let mut board = Board::default();
        for (link, words) in [
            (Link::Heard { at_us: NOW_US - 16_000_000, lag_ms: 0 }, "NOTHING HEARD for 16 s"),
            (Link::Heard { at_us: NOW_US, lag_ms: 9_000 }, "engine is 9 s behind"),
            (
                Link::Lost { since_us: NOW_US, why: "no heartbeat".into() },
                "NOT LISTENING for 0 s: no heartbeat",
            ),
        ] {
            board.link = link;
            let text = drawn(&board);
            assert!(text.contains(words) && !text.contains("listening, heard"), "{words}:\n{text}");
        }
    }
}
