//! What callers read: alerts, deliveries, listeners.

use super::acts::{alert_id, missing};
use super::error::{unreadable, unwritable};
use super::listener::checked;
use super::{Alerts, Answer, LEDGER_READERS};
use std::collections::HashMap;
use tonic::{Request, Response, Status};
use wardline_alert::Selection;
use wardline_proto::TenantId;
use wardline_proto::v1::{
    Delivery, GetAlertRequest, GetAlertResponse, ListAlertsRequest, ListAlertsResponse,
    ListDeliveriesRequest, ListDeliveriesResponse, ListListenersRequest, ListListenersResponse,
    ListenerState, ListenerStatus,
};
use wardline_store::alert_ledger::{DeliveryFilter, DeliveryRow, Hearing, ListenerRow};

const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1000;
/// Lines of the ledger that are looked through for a caller that hears a part of them.
const LEDGER_SCAN_MAX: u32 = 5 * LIST_MAX;

pub(super) async fn alerts(
    alerts: &Alerts,
    request: Request<ListAlertsRequest>,
) -> Answer<ListAlertsResponse> {
    let caller = alerts.listener(&request)?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let selection = checked(Selection {
        min_priority: wanted.min_priority,
        kinds: wanted.kinds().collect(),
        states: wanted.states().collect(),
        sites: alerts.heard(&caller, wanted.sites.clone())?,
        devices: wanted.devices.clone(),
    })?;
    let (feed, limit) = (&alerts.parts.feed, page(wanted.page_size));
    let listed = feed.select(&tenant, wanted.include_ended, &selection, limit).await;
    Ok(Response::new(ListAlertsResponse { alerts: listed.map_err(unreadable)? }))
}

pub(super) async fn alert(alerts: &Alerts, request: Request<GetAlertRequest>) -> Answer<GetAlertResponse> {
    let caller = alerts.listener(&request)?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let id = alert_id(&wanted.alert_id)?;
    alerts.hears(&caller, &tenant, id).await?;
    let alert = alerts.parts.feed.get(&tenant, id).await.map_err(unreadable)?;
    Ok(Response::new(GetAlertResponse { alert: Some(alert.ok_or_else(missing)?) }))
}

pub(super) async fn deliveries(
    alerts: &Alerts,
    request: Request<ListDeliveriesRequest>,
) -> Answer<ListDeliveriesResponse> {
    let caller = alerts.with_role(&request, LEDGER_READERS, "alerts ListDeliveries")?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let sites = alerts.heard(&caller, Vec::new())?;
    alerts.ledger.flush().await;
    let ListDeliveriesRequest { alert_id, listener, open, page_size, .. } = wanted;
    let filter = DeliveryFilter { alert_id, listener, open, behind: None };
    let rows = if sites.is_empty() {
        alerts.parts.feed.store().deliveries(&tenant, &filter, page(page_size)).await.map_err(unwritable)?
    } else {
        heard(alerts, &tenant, sites, (filter, page(page_size))).await?
    };
    Ok(Response::new(ListDeliveriesResponse { deliveries: rows.into_iter().map(delivery).collect() }))
}

/// Returns deliveries of the alerts that some sites hear, newest first. It looks through [`LEDGER_SCAN_MAX`] at most.
async fn heard(
    alerts: &Alerts,
    tenant: &TenantId,
    sites: Vec<String>,
    (mut filter, limit): (DeliveryFilter, u32),
) -> Result<Vec<DeliveryRow>, Status> {
    let (feed, own) = (&alerts.parts.feed, Selection { sites, ..Selection::default() });
    let (mut listed, mut known, mut seen) = (Vec::new(), HashMap::new(), 0);
    while seen < LEDGER_SCAN_MAX {
        let rows = feed.store().deliveries(tenant, &filter, LIST_MAX).await.map_err(unwritable)?;
        let Some(last) = rows.last() else { break };
        filter.behind = Some((last.sent.cursor, last.sent.listener.clone()));
        seen += LIST_MAX;
        for row in rows {
            if listed.len() >= limit as usize {
                return Ok(listed);
            }
            let is_heard = match known.get(&row.sent.alert_id) {
                Some(is_heard) => *is_heard,
                None => {
                    let alert = feed.get(tenant, &row.sent.alert_id).await.map_err(unreadable)?;
                    let is_heard = alert.is_some_and(|alert| own.wants(&alert));
                    known.insert(row.sent.alert_id.clone(), is_heard);
                    is_heard
                }
            };
            if is_heard {
                listed.push(row);
            }
        }
    }
    Ok(listed)
}

pub(super) async fn listeners(
    alerts: &Alerts,
    request: Request<ListListenersRequest>,
) -> Answer<ListListenersResponse> {
    let caller = alerts.with_role(&request, LEDGER_READERS, "alerts ListListeners")?;
    let tenant = alerts.tenant(&caller, &request.into_inner().tenant)?;
    let sites = alerts.heard(&caller, Vec::new())?;
    alerts.ledger.flush().await;
    let mut rows = alerts.parts.feed.store().listeners(Some(&tenant)).await.map_err(unwritable)?;
    if !sites.is_empty() {
        // Who hears the whole tenant hears these too; of who hears others beside them, these are told.
        let hears = |row: &mut ListenerRow| {
            let is_whole = row.sites.is_empty();
            row.sites.retain(|site| sites.contains(site));
            is_whole || !row.sites.is_empty()
        };
        rows.retain_mut(hears);
    }
    Ok(Response::new(ListListenersResponse { listeners: rows.into_iter().map(status).collect() }))
}

fn page(wanted: u32) -> u32 {
    if wanted == 0 { LIST_DEFAULT } else { wanted.min(LIST_MAX) }
}

fn delivery(row: DeliveryRow) -> Delivery {
    Delivery {
        listener: row.sent.listener,
        cursor: row.sent.cursor,
        alert_id: row.sent.alert_id,
        sent_at_us: row.sent.at_us,
        times: row.times,
        accepted_at_us: row.accepted_at_us,
    }
}

fn status(row: ListenerRow) -> ListenerStatus {
    let state = match row.state {
        Hearing::Listening => ListenerState::Listening,
        Hearing::Lagging => ListenerState::Lagging,
        Hearing::Gone => ListenerState::Gone,
    };
    ListenerStatus {
        listener: row.listener,
        misses: row.misses,
        sites: row.sites,
        state: state.into(),
        sent: row.sent,
        confirmed: row.confirmed,
        leased_until_us: row.leased_until_us,
        lease_s: u32::try_from(row.lease_us / 1_000_000).unwrap_or(u32::MAX),
    }
}
