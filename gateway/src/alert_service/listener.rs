//! What a subscriber declares of itself: its name, its wards, its lease.

use super::error::refused;
use crate::access::Caller;
use crate::front::now_us;
use std::sync::Arc;
use tonic::Status;
use wardline_alert::Selection;
use wardline_alert::limits::{BEHIND_SECONDS, BEHIND_SECONDS_MAX, LEASE_SECONDS_MAX, LEASE_SECONDS_MIN};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::SubscribeRequest;
use wardline_proto::{DeviceId, TenantId};
use wardline_store::alert_ledger::{Hearing, ListenerRow};

/// A listener as it subscribes.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) row: Arc<ListenerRow>,
}

impl Declared {
    /// Reads who listens: the certificate's identity, and the name that it gives this subscription.
    pub(super) fn read(caller: &Caller, wanted: &SubscribeRequest, cursor: u64) -> Result<Self, Status> {
        let listener = wanted.listener.clone().unwrap_or_default();
        let lease_s = listener.lease_s;
        if lease_s != 0 && !(LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(&lease_s) {
            let message = format!("a lease is {LEASE_SECONDS_MIN} to {LEASE_SECONDS_MAX} seconds, or 0");
            return Err(refused(Refusal::AlertInvalid, &message));
        }
        let behind_s = if listener.behind_s == 0 { BEHIND_SECONDS } else { listener.behind_s };
        if behind_s > BEHIND_SECONDS_MAX {
            let message = format!("behind_s is {BEHIND_SECONDS_MAX} at most");
            return Err(refused(Refusal::AlertInvalid, &message));
        }
        let (now_us, lease_us) = (now_us(), i64::from(lease_s) * 1_000_000);
        let row = ListenerRow {
            tenant: caller.tenant.clone(),
            listener: name(caller, &listener.name)?,
            sites: wanted.sites.clone(),
            state: Hearing::Listening,
            lease_us,
            leased_until_us: if lease_us == 0 { 0 } else { now_us + lease_us },
            behind_us: i64::from(behind_s) * 1_000_000,
            opened_at_us: now_us,
            sent: 0,
            confirmed: cursor,
            misses: selection(wanted)?.misses(),
        };
        Ok(Self { row: Arc::new(row) })
    }

    /// The same under a name of its own, beside a listener of its name: no name that a caller gives has the sign.
    pub(super) fn beside(&self) -> Self {
        let mut row = ListenerRow::clone(&self.row);
        row.listener.push('~');
        Self { row: Arc::new(row) }
    }

    pub(super) fn key(&self) -> (&TenantId, &str) {
        (&self.row.tenant, &self.row.listener)
    }
}

/// Names a listener in the ledger: its SPIFFE URI, and `#` and its own name when it has one.
pub(super) fn name(caller: &Caller, own: &str) -> Result<String, Status> {
    if own.is_empty() {
        return Ok(caller.uri().to_owned());
    }
    let bad = |_| refused(Refusal::AlertInvalid, "a listener's name is as a device's id");
    let own = DeviceId::new(own).map_err(bad)?;
    Ok(format!("{}#{own}", caller.uri()))
}

/// Reads the filter of a subscription.
pub(super) fn selection(wanted: &SubscribeRequest) -> Result<Selection, Status> {
    let selection = Selection {
        min_priority: wanted.min_priority,
        kinds: wanted.kinds().collect(),
        sites: wanted.sites.clone(),
        devices: wanted.devices.clone(),
        states: Vec::new(),
    };
    checked(selection)
}

/// Refuses a filter that is too large or names what cannot exist.
pub(super) fn checked(selection: Selection) -> Result<Selection, Status> {
    let mut names = selection.sites.iter().chain(&selection.devices);
    if selection.is_too_large() || names.any(|name| DeviceId::new(name).is_err()) {
        return Err(refused(Refusal::AlertInvalid, "the filter is too large, or a name in it is not usable"));
    }
    Ok(selection)
}
