//! What callers read: alerts, deliveries, listeners.

use super::acts::{alert_id, missing};
use super::error::{unreadable, unwritable};
use super::listener::checked;
use super::{Alerts, Answer, LEDGER_READERS};
use tonic::{Request, Response};
use wardline_alert::Selection;
use wardline_proto::v1::{
    Delivery, GetAlertRequest, GetAlertResponse, ListAlertsRequest, ListAlertsResponse,
    ListDeliveriesRequest, ListDeliveriesResponse, ListListenersRequest, ListListenersResponse,
    ListenerState, ListenerStatus,
};
use wardline_store::alert_ledger::{DeliveryFilter, DeliveryRow, Hearing, ListenerRow};

const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1000;

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
    alerts.ledger.flush().await;
    let ListDeliveriesRequest { alert_id, listener, open, page_size, .. } = wanted;
    let filter = DeliveryFilter { alert_id, listener, open };
    let rows = alerts.parts.feed.store().deliveries(&tenant, &filter, page(page_size)).await;
    let deliveries = rows.map_err(unwritable)?.into_iter().map(delivery).collect();
    Ok(Response::new(ListDeliveriesResponse { deliveries }))
}

pub(super) async fn listeners(
    alerts: &Alerts,
    request: Request<ListListenersRequest>,
) -> Answer<ListListenersResponse> {
    let caller = alerts.with_role(&request, LEDGER_READERS, "alerts ListListeners")?;
    let tenant = alerts.tenant(&caller, &request.into_inner().tenant)?;
    alerts.ledger.flush().await;
    let rows = alerts.parts.feed.store().listeners(Some(&tenant)).await.map_err(unwritable)?;
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
