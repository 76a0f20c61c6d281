//! A gateway's own life in its trail: who started it, with which version and keys, and that it stopped.
//!
//! A start without a stop before it is a crash: sessions that were open then have no `session_closed`.

use super::Auditor;
use wardline_archive::read::local_actor;
use wardline_journal::Keyring;

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Auditor {
    /// Tells that the gateway starts and has opened the keyring. A journal that is full must be served to be emptied, so
    /// a start that cannot be told goes on; sessions and changes are refused until there is room.
    pub fn started(&self, keyring: &Keyring) {
        let keys = keyring.list().len();
        for (action, target) in [
            ("serve_started", format!("version {VERSION}")),
            ("keyring_opened", format!("{keys} master keys")),
        ] {
            if self.record(action, &local_actor(), "ok", target).is_err() {
                tracing::error!(action, "not audited: the journal has no room, or has failed");
            }
        }
    }

    /// Tells that the gateway stops in order.
    pub fn stopped(&self) {
        if self.record("serve_stopped", &local_actor(), "ok", format!("version {VERSION}")).is_err() {
            tracing::error!("the stop could not be audited");
        }
    }
}
