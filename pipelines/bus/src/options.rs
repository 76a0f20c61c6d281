//! Settings of the bus, and of the topic that every engine makes alike.

use crate::error::BusError;
use crate::limits::CONNECTIONS_MAX;
use std::time::Duration;
use wardline_proto::limits::PARTITIONS;

/// How long the bus waits for what. Every wait for an engine is under one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusOptions {
    /// For a connection, with its topic.
    pub connect_timeout: Duration,
    /// For the commit of a batch.
    pub publish_timeout: Duration,
    /// For a stream, a watermark, a trim or the replicas' state.
    pub request_timeout: Duration,
    /// How long a stream may be silent before its position is compared with the watermark; the second time that it
    /// is behind, it is opened again.
    pub idle_check: Duration,
    /// The pause after a failed connection; it doubles up to [`Self::backoff_max`].
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            idle_check: Duration::from_secs(1),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

impl BusOptions {
    /// Checks what would make the bus spin or never wait.
    pub fn check(&self) -> Result<(), BusError> {
        let waits = [
            self.connect_timeout,
            self.publish_timeout,
            self.request_timeout,
            self.idle_check,
            self.backoff_min,
        ];
        if waits.iter().any(Duration::is_zero) || self.backoff_max < self.backoff_min {
            return Err(BusError::Misconfigured(
                "every wait is above zero, backoff_max not below min".into(),
            ));
        }
        Ok(())
    }
}

/// The topic: one for all records, with a partition for each of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name: lower case letters, digits and hyphens.
    pub name: String,
    /// Its partitions. Fixed for good: another number would move devices to other partitions.
    pub partitions: u16,
    /// Copies of each record: 3, or 2 where the engine commits on all of them. 1 is for tests of one process.
    pub replicas: u32,
    /// How long the engine keeps what nobody trims. Far above the time in which the archive confirms.
    pub retention: Duration,
    /// Most bytes the engine keeps, all partitions together; at the bound it refuses, and the fronts' logs grow.
    pub bytes_max: u64,
    /// Least bytes to make it with where the engine has no room for [`Self::bytes_max`]; none: that or nothing.
    pub bytes_min: Option<u64>,
    /// How long the engine knows the names of what it has, to drop a retry of the same record.
    pub duplicate_window: Duration,
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            name: "wardline-records".into(),
            partitions: PARTITIONS,
            replicas: 3,
            retention: Duration::from_secs(7 * 24 * 3600),
            bytes_max: 256 * 1024 * 1024 * 1024,
            bytes_min: None,
            duplicate_window: Duration::from_secs(120),
        }
    }
}

impl Topic {
    /// Checks the topic's values.
    pub fn check(&self) -> Result<(), BusError> {
        let wrong = |what: &str| Err(BusError::Misconfigured(format!("topic: {what}")));
        let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(named) {
            return wrong("name is 1 to 63 lower case letters, digits and hyphens");
        }
        if self.partitions == 0 || self.partitions > PARTITIONS {
            return wrong("partitions is 1 to 64");
        }
        if !(1..=5).contains(&self.replicas) {
            return wrong("replicas is 1 to 5");
        }
        if self.retention < Duration::from_secs(60) || self.duplicate_window > self.retention {
            return wrong("retention is at least a minute and the duplicate window");
        }
        let bytes_min = self.bytes_min.unwrap_or(self.bytes_max);
        if bytes_min < 1024 * 1024 || bytes_min > self.bytes_max {
            return wrong("bytes_max is at least 1 MiB and bytes_min");
        }
        Ok(())
    }

    /// Returns how many bytes to ask for when the engine refused it so often for want of room: half as many each time,
    /// down to the least, then as many as at first.
    #[cfg_attr(not(feature = "jetstream"), expect(dead_code, reason = "only one engine reserves room"))]
    pub(crate) fn bytes_after(&self, refusals: u32) -> u64 {
        let halvings = (self.bytes_max / self.bytes_min.unwrap_or(self.bytes_max).max(1)).max(1).ilog2();
        self.bytes_max >> (refusals % (halvings + 1))
    }
}

/// Checks a pool's size.
pub(crate) fn connections(wanted: usize) -> usize {
    wanted.clamp(1, CONNECTIONS_MAX)
}

#[cfg(all(test, feature = "jetstream"))]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    fn asked(topic: &Topic, times: u32) -> Vec<u64> {
        (0..times).map(|refusals| topic.bytes_after(refusals)).collect()
    }

    #[test]
    fn where_less_will_do_half_is_asked_for_down_to_the_least() {
        let topic = Topic { bytes_max: 8 * GIB, bytes_min: Some(GIB), ..Topic::default() };
        assert_eq!(asked(&topic, 6), [8, 4, 2, 1, 8, 4].map(|n| n * GIB));
        let odd = Topic { bytes_max: 7 * GIB, ..topic.clone() };
        assert!(asked(&odd, 9).iter().all(|bytes| *bytes >= GIB), "never less than the least");
        let fixed = Topic { bytes_min: None, ..topic.clone() };
        assert_eq!(asked(&fixed, 3), [8 * GIB; 3]);
        assert!(topic.check().is_ok() && fixed.check().is_ok());
        assert!(Topic { bytes_min: Some(9 * GIB), ..topic }.check().is_err());
    }
}
