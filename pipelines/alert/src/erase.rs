//! Alerts of an erased subject: found by opening them, since which device an alert is of is sealed.

use crate::feed::FeedError;
use crate::limits::FEED_PAGE_MAX;
use crate::seal::{Sealers, event_aad};
use prost::Message;
use std::sync::Arc;
use wardline_journal::Keyring;
use wardline_proto::TenantId;
use wardline_proto::v1::{Alert, AlertEvent};
use wardline_store::Store;
use wardline_store::alert_erase::AlertsErased;
use wardline_store::erasure::ErasedRange;

/// Takes the alerts of an erasure out of the store: those that began in its ranges. To be repeated until it finds none.
/// A legal hold leaves them: `None`.
pub async fn erase(
    store: &Store,
    keyring: Arc<Keyring>,
    tenant: &TenantId,
    (erasure_id, ranges): (&str, &[ErasedRange]),
) -> Result<Option<AlertsErased>, FeedError> {
    let sealers = Sealers::new(keyring);
    let (mut before, mut found) = (None::<(i64, String)>, Vec::new());
    loop {
        let last = before.as_ref().map(|(onset_us, id)| (*onset_us, id.as_str()));
        let page = store.alerts(tenant, true, last, FEED_PAGE_MAX).await?;
        let Some(row) = page.last() else { break };
        before = Some((row.onset_us, row.event.alert_id.clone()));
        for row in page.into_iter().filter(|row| may_be(ranges, row.onset_us)) {
            let (cursor, id) = (row.event.cursor, row.event.alert_id);
            let plain =
                sealers.of(Some(tenant)).and_then(|s| s.open(&event_aad(tenant, &id), &row.event.sealed));
            let plain = plain.map_err(|source| FeedError::Sealed { cursor, source })?;
            let event = AlertEvent::decode(plain.as_slice()).map_err(|_| FeedError::Damaged { cursor })?;
            if event.alert.is_some_and(|alert| is_erased(ranges, &alert)) {
                found.push(id);
            }
        }
    }
    Ok(store.erase_alerts(tenant, erasure_id, &found).await?)
}

fn may_be(ranges: &[ErasedRange], onset_us: i64) -> bool {
    ranges.iter().any(|range| (range.from_us..range.until_us).contains(&onset_us))
}

/// Says whether an alert began in an erased time of its device.
pub(crate) fn is_erased(ranges: &[ErasedRange], alert: &Alert) -> bool {
    let is_of = |range: &ErasedRange| {
        (range.tenant.as_str(), range.device.as_str()) == (alert.tenant.as_str(), alert.device.as_str())
    };
    ranges.iter().any(|range| is_of(range) && (range.from_us..range.until_us).contains(&alert.onset_us))
}
