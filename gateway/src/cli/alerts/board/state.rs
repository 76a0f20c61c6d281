//! What the board shows, without a terminal.

use std::collections::BTreeMap;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{Alert, AlertState};

/// How the connection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing was heard yet.
    #[default]
    Connecting,
    /// Heard at this time, with the engine this far behind.
    Heard { at_us: i64, lag_ms: u64 },
    /// Nothing is heard.
    Lost { since_us: i64, why: String },
}

/// The board.
#[derive(Debug, Default)]
pub(super) struct Board {
    alerts: BTreeMap<String, Alert>,
    selected: Option<String>,
    /// How the connection stands.
    pub(super) link: Link,
    /// What the last key came to.
    pub(super) told: String,
    /// There was more than could be listed.
    pub(super) more: bool,
}

impl Board {
    /// Takes the alerts that are on now in the place of all; whether there were more.
    pub(super) fn list(&mut self, alerts: Vec<Alert>, more: bool) {
        self.more = more;
        self.alerts = alerts.into_iter().map(|alert| (alert.alert_id.clone(), alert)).collect();
    }

    /// Takes an event or a heartbeat.
    pub(super) fn hear(&mut self, kind: Kind) {
        match kind {
            Kind::Heartbeat(beat) => {
                self.link = Link::Heard { at_us: beat.at_us, lag_ms: beat.engine_lag_ms() };
            }
            Kind::Event(event) => {
                let Some(alert) = event.alert else { return };
                if alert.state() == AlertState::Ended {
                    self.alerts.remove(&alert.alert_id);
                } else {
                    self.alerts.insert(alert.alert_id.clone(), alert);
                }
            }
        }
    }

    /// Returns the alerts in order: first what nobody sees to, then by priority, then the oldest.
    pub(super) fn rows(&self) -> Vec<&Alert> {
        let mut rows: Vec<&Alert> = self.alerts.values().collect();
        let seen_to = |alert: &Alert| matches!(alert.state(), AlertState::Acknowledged | AlertState::Paused);
        rows.sort_by_key(|alert| (seen_to(alert), -alert.priority, alert.onset_us));
        rows
    }

    /// Returns the selected alert: the first one when the selected one is gone.
    pub(super) fn selected(&self) -> Option<&Alert> {
        let rows = self.rows();
        rows.get(self.selected_row()).copied()
    }

    /// Returns the row of the selected alert.
    pub(super) fn selected_row(&self) -> usize {
        let is_selected = |alert: &&Alert| Some(&alert.alert_id) == self.selected.as_ref();
        self.rows().iter().position(is_selected).unwrap_or(0)
    }

    /// Moves the selection.
    pub(super) fn select(&mut self, by: isize) {
        let last = self.alerts.len().saturating_sub(1);
        let row = self.selected_row().saturating_add_signed(by).min(last);
        self.selected = self.rows().get(row).map(|alert| alert.alert_id.clone());
    }
}

/// Makes an alert for tests of the board.
#[cfg(test)]
pub(super) fn tests_alert(id: &str, priority: wardline_proto::v1::Priority, state: AlertState) -> Alert {
    Alert {
        alert_id: id.into(),
        device: format!("mon-{id}"),
        rule_id: "spo2-low".into(),
        priority: priority.into(),
        state: state.into(),
        onset_us: 1_700_000_000_000_000,
        ..Alert::default()
    }
}

#[cfg(test)]
mod tests {
    use super::tests_alert as alert;
    use super::*;
    use wardline_proto::v1::{AlertEvent, Priority};

    fn ids(board: &Board) -> Vec<&str> {
        board.rows().into_iter().map(|alert| alert.alert_id.as_str()).collect()
    }

    fn event(alert: Alert) -> Kind {
        Kind::Event(AlertEvent { alert: Some(alert), ..AlertEvent::default() })
    }

    #[test]
    fn what_nobody_sees_to_stands_first_and_what_is_over_is_gone() {
        let mut board = Board::default();
        board.list(
            vec![
                alert("a", Priority::Low, AlertState::Present),
                alert("b", Priority::High, AlertState::Acknowledged),
                alert("c", Priority::High, AlertState::Latched),
            ],
            false,
        );
        assert_eq!(ids(&board), ["c", "a", "b"]);
        board.hear(event(alert("c", Priority::High, AlertState::Ended)));
        board.hear(event(alert("b", Priority::High, AlertState::Present)));
        assert_eq!(ids(&board), ["b", "a"]);
    }

    #[test]
    fn the_selection_stays_with_its_alert() {
        let mut board = Board::default();
        assert_eq!(board.selected(), None);
        board.list(
            vec![
                alert("a", Priority::Low, AlertState::Present),
                alert("b", Priority::Medium, AlertState::Present),
            ],
            false,
        );
        assert_eq!(board.selected().unwrap().alert_id, "b");
        board.select(5);
        assert_eq!(board.selected().unwrap().alert_id, "a");
        board.hear(event(alert("c", Priority::High, AlertState::Present)));
        assert_eq!(
            board.selected().unwrap().alert_id,
            "a",
            "a key never hits another alert than the one marked"
        );
        board.hear(event(alert("a", Priority::Low, AlertState::Ended)));
        assert_eq!(board.selected().unwrap().alert_id, "c");
    }
}
