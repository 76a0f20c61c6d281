//! What steward, publisher and status tell each other of the identity and of the fronts.

use super::certificate::Certificate;
use super::services::FrontAddr;
use crate::publish::BackoffOptions;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

const US_PER_DAY: i64 = 24 * 3600 * 1_000_000;
/// A certificate with less than this part of its life left is worth a warning.
const WARNING_DIVISOR: i64 = 6;

/// When the identity and the list of fronts are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalOptions {
    /// Delays after a failed renewal or a failed fetch of the list.
    pub retry: BackoffOptions,
    /// How often the list of fronts is fetched.
    pub list_every: Duration,
    /// How long an agent stays with another front before it tries the first again; doubles while that fails.
    pub return_after: Duration,
}

impl Default for RenewalOptions {
    fn default() -> Self {
        Self {
            retry: BackoffOptions {
                delay_min: Duration::from_secs(30),
                delay_max: Duration::from_secs(3600),
            },
            list_every: Duration::from_secs(24 * 3600),
            return_after: Duration::from_secs(600),
        }
    }
}

/// What the status says of the certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Serial number, hex.
    pub serial: String,
    /// Last moment, unix microseconds.
    pub not_after_us: i64,
    /// First moment, unix microseconds.
    pub not_before_us: i64,
    /// Renewals that succeeded since the agent started.
    pub renewals: u64,
    /// Failures since the last success.
    pub failures: u64,
    /// Why the last renewal failed; empty after a success.
    pub last_failure: String,
}

impl CertificateStatus {
    /// Returns how many whole days are left, negative when it has expired.
    pub fn days_left(&self, now_us: i64) -> i64 {
        self.not_after_us.saturating_sub(now_us).div_euclid(US_PER_DAY)
    }

    /// Says whether less than a sixth of its life is left.
    pub fn is_ending(&self, now_us: i64) -> bool {
        let life = self.not_after_us.saturating_sub(self.not_before_us);
        self.not_after_us.saturating_sub(now_us) < life / WARNING_DIVISOR
    }
}

/// Shared by the tasks.
#[derive(Debug)]
pub(crate) struct Standing {
    certificate: Mutex<CertificateStatus>,
    front: Mutex<String>,
    fronts: watch::Sender<Vec<FrontAddr>>,
    staged: watch::Sender<u64>,
    tried: Notify,
    needs_list: Notify,
}

impl Standing {
    pub(crate) fn new(fronts: Vec<FrontAddr>) -> Self {
        Self {
            certificate: Mutex::default(),
            front: Mutex::default(),
            fronts: watch::Sender::new(fronts),
            staged: watch::Sender::new(0),
            tried: Notify::new(),
            needs_list: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CertificateStatus> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the status says.
    pub(crate) fn certificate(&self) -> CertificateStatus {
        self.lock().clone()
    }

    /// Notes which certificate is in force.
    pub(crate) fn in_force(&self, leaf: &Certificate) {
        let mut status = self.lock();
        (status.not_before_us, status.not_after_us) = leaf.life_us();
        status.serial = leaf.serial();
    }

    /// Publisher: this front has accepted a connection.
    pub(crate) fn set_front(&self, front: String) {
        *self.front.lock().unwrap_or_else(PoisonError::into_inner) = front;
    }

    /// Returns the front that accepted the last connection.
    pub(crate) fn front(&self) -> String {
        self.front.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publisher: the fronts in their order, and a signal when they change.
    pub(crate) fn fronts(&self) -> watch::Receiver<Vec<FrontAddr>> {
        self.fronts.subscribe()
    }

    /// Steward: the list says this now.
    pub(crate) fn set_fronts(&self, fronts: Vec<FrontAddr>) {
        self.fronts.send_if_modified(|known| {
            let is_new = *known != fronts;
            *known = fronts;
            is_new
        });
    }

    /// Steward: a new identity waits to be tried.
    pub(crate) fn stage(&self) {
        self.staged.send_modify(|count| *count += 1);
    }

    /// Publisher: a signal for each new identity.
    pub(crate) fn staged(&self) -> watch::Receiver<u64> {
        self.staged.subscribe()
    }

    /// Publisher: the new identity has connected and is in force.
    pub(crate) fn proven(&self, leaf: &Certificate) {
        self.in_force(leaf);
        let mut status = self.lock();
        status.renewals += 1;
        status.failures = 0;
        status.last_failure.clear();
        drop(status);
        self.tried.notify_one();
    }

    /// Either: a renewal came to nothing.
    pub(crate) fn failed(&self, why: &str) {
        let mut status = self.lock();
        status.failures += 1;
        status.last_failure = why.to_owned();
    }

    /// Publisher: the new identity did not connect and is gone.
    pub(crate) fn disproven(&self, why: &str) {
        self.failed(why);
        self.tried.notify_one();
    }

    /// Steward: waits until the publisher has tried a new identity.
    pub(crate) async fn tried(&self) {
        self.tried.notified().await;
    }

    /// Publisher: no front can be reached.
    pub(crate) fn need_list(&self) {
        self.needs_list.notify_one();
    }

    /// Steward: waits until the publisher reaches no front.
    pub(crate) async fn list_needed(&self) {
        self.needs_list.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_and_the_last_sixth_is_worth_a_warning() {
        let day = |n: i64| n * US_PER_DAY;
        let status = CertificateStatus {
            not_before_us: day(0),
            not_after_us: day(30),
            ..CertificateStatus::default()
        };
        assert_eq!([day(0), day(20) + 1, day(30), day(31)].map(|now| status.days_left(now)), [30, 9, 0, -1]);
        assert_eq!(
            [day(24), day(25), day(25) + 1, day(31)].map(|now| status.is_ending(now)),
            [false, false, true, true]
        );
    }
}
