//! What systemd is told: ready, how it stands, alive. Without `NOTIFY_SOCKET` in the environment, nothing.

use sd_notify::NotifyState;

/// Tells the service manager that the device may connect.
pub fn is_ready() {
    tell(NotifyState::Ready);
}

/// Tells the service manager that the agent is taking its leave.
pub fn is_stopping() {
    tell(NotifyState::Stopping);
}

/// Feeds the service manager's watchdog.
pub(crate) fn is_alive() {
    tell(NotifyState::Watchdog);
}

/// Tells the service manager how it stands.
pub(crate) fn is_doing(words: &str) {
    tell(NotifyState::Status(words));
}

/// Nobody is worse off when it is not heard.
fn tell(state: NotifyState<'_>) {
    let _unheard = sd_notify::notify(false, &[state]);
}
