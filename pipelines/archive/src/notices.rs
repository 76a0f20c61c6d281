//! What devices are told of their frames in the quarantine: after the commit that holds them, at most once.
//!
//! A hint, not a record: what was quarantined is in the table. So what finds no room is dropped and counted.

use tokio::sync::mpsc::Sender;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::Lane;

/// Notices of one commit.
pub const NOTICES_PER_COMMIT_MAX: usize = 512;
/// Notices of one device in one commit; the rest of its refusals show in its counters.
const NOTICES_PER_DEVICE_MAX: usize = 8;

/// A frame of a device went to the quarantine. Names the frame and says why; nothing of what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineNotice {
    /// Whose frame.
    pub key: DeviceKey,
    /// Why.
    pub why: Refusal,
    /// Lane, epoch and seq of the frame; none for one without a position.
    pub position: Option<(Lane, u64, u64)>,
}

/// The notices of a commit to be.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    all: Vec<QuarantineNotice>,
    dropped: u64,
}

impl Notices {
    pub(crate) fn add(&mut self, notice: QuarantineNotice) {
        let own = self.all.iter().filter(|other| other.key == notice.key).count();
        if self.all.len() < NOTICES_PER_COMMIT_MAX && own < NOTICES_PER_DEVICE_MAX {
            self.all.push(notice);
        } else {
            self.dropped += 1;
        }
    }

    /// Hands over what there is; returns how many found no room, here or there.
    pub(crate) fn send(self, to: &Sender<QuarantineNotice>) -> u64 {
        let refused = self.all.into_iter().filter(|notice| to.try_send(notice.clone()).is_err());
        self.dropped + refused.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::{DeviceId, TenantId};

    fn notice(device: usize) -> QuarantineNotice {
        let (tenant, device) =
            (TenantId::new("demo").unwrap(), DeviceId::new(&format!("d-{device}")).unwrap());
        QuarantineNotice { key: DeviceKey { tenant, device }, why: Refusal::MetricUnknown, position: None }
    }

    #[test]
    fn notices_are_bounded_per_device_and_in_all_and_what_is_dropped_is_counted() {
        let (to, mut queued) = tokio::sync::mpsc::channel(NOTICES_PER_COMMIT_MAX);
        let mut notices = Notices::default();
        (0..20).for_each(|_| notices.add(notice(1)));
        (2..2 * NOTICES_PER_COMMIT_MAX).for_each(|device| notices.add(notice(device)));
        let offered = 20 + 2 * NOTICES_PER_COMMIT_MAX - 2;
        assert_eq!(notices.send(&to), (offered - NOTICES_PER_COMMIT_MAX) as u64);
        let mut own = 0;
        while let Ok(notice) = queued.try_recv() {
            own += usize::from(notice.key.device.as_str() == "d-1");
        }
        assert_eq!(own, NOTICES_PER_DEVICE_MAX);
    }
}
