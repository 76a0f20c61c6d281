//! Overrides: set, end, list. A subject, even a pseudonym, is told to clinicians and administrators alone.

use super::error::{refused, unwritable};
use super::{Alerts, Answer};
use tonic::{Request, Response, Status};
use wardline_access::Role;
use wardline_alert::orders::effective;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{
    AlertOverride, EndOverrideRequest, EndOverrideResponse, ListOverridesRequest, ListOverridesResponse,
    OverrideSetting, SetOverrideRequest, SetOverrideResponse,
};
use wardline_store::StoreError;
use wardline_store::registry::{NewOverride, OverrideRow, Reject};

/// Who may read overrides.
const READERS: &[Role] = &[Role::Clinician, Role::TenantAdmin, Role::Operator];

pub(super) async fn set(
    alerts: &Alerts,
    request: Request<SetOverrideRequest>,
) -> Answer<SetOverrideResponse> {
    let (caller, by) = alerts.actor(&request, "alerts SetOverride")?;
    let wanted = request.into_inner().r#override.unwrap_or_default();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let setting = wanted.setting();
    if let Some(why) = alerts.parts.feed.rules().refuses(&wanted.rule_id, setting, wanted.value) {
        return Err(refused(Refusal::AlertInvalid, &format!("{}: {why}", wanted.rule_id)));
    }
    if setting == OverrideSetting::Spo2Scale && wanted.subject.is_empty() {
        let why = "scale 2 is prescribed to a patient: name a subject";
        return Err(refused(Refusal::AlertInvalid, why));
    }
    let said = NewOverride {
        tenant,
        site: wanted.site,
        subject: wanted.subject,
        rule_id: wanted.rule_id,
        setting: wanted.setting,
        value: wanted.value,
        from_us: if wanted.from_us == 0 { by.at_us } else { wanted.from_us },
        until_us: (wanted.until_us != 0).then_some(wanted.until_us),
        reason: wanted.reason,
    };
    if alerts.reach(&caller, &said.tenant).await?.is_some_and(|reach| !reach.changes(&said)) {
        return Err(alerts.elsewhere(&caller, "overrides of another site"));
    }
    let row = alerts.parts.feed.store().set_override(&by, &said).await.map_err(rejected)?;
    Ok(Response::new(SetOverrideResponse { r#override: Some(told(row)) }))
}

pub(super) async fn end(
    alerts: &Alerts,
    request: Request<EndOverrideRequest>,
) -> Answer<EndOverrideResponse> {
    let (caller, by) = alerts.actor(&request, "alerts EndOverride")?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    if let Some(reach) = alerts.reach(&caller, &tenant).await? {
        let rows = alerts.parts.feed.store().overrides(Some(&tenant), 0).await.map_err(unwritable)?;
        let meant = rows.iter().find(|row| row.override_id == wanted.override_id);
        if meant.is_some_and(|row| !reach.changes(&row.said)) {
            return Err(alerts.elsewhere(&caller, "overrides of another site"));
        }
    }
    let row = alerts.parts.feed.store().end_override(&by, &tenant, wanted.override_id).await;
    Ok(Response::new(EndOverrideResponse { r#override: Some(told(row.map_err(rejected)?)) }))
}

pub(super) async fn list(
    alerts: &Alerts,
    request: Request<ListOverridesRequest>,
) -> Answer<ListOverridesResponse> {
    let caller = alerts.with_role(&request, READERS, "alerts ListOverrides")?;
    let wanted = request.into_inner();
    let tenant = alerts.tenant(&caller, &wanted.tenant)?;
    let not_over_us = if wanted.include_ended { 0 } else { crate::front::now_us() };
    let rows = alerts.parts.feed.store().overrides(Some(&tenant), not_over_us).await.map_err(unwritable)?;
    let reach = alerts.reach(&caller, &tenant).await?;
    let read = rows.into_iter().rev().filter(|row| reach.as_ref().is_none_or(|reach| reach.reads(&row.said)));
    Ok(Response::new(ListOverridesResponse { overrides: read.map(told).collect() }))
}

fn rejected(error: StoreError) -> Status {
    match error {
        StoreError::Reject(Reject::NotFound(what)) => {
            refused(Refusal::AlertNotFound, &format!("there is no such {what}"))
        }
        StoreError::Reject(reject) => refused(Refusal::AlertInvalid, &reject.to_string()),
        other => unwritable(other),
    }
}

fn told(row: OverrideRow) -> AlertOverride {
    let effective = effective(&row);
    let OverrideRow { override_id, said, set_by, set_at_us, ended } = row;
    let (ended_by, ended_at_us) = ended.unwrap_or_default();
    AlertOverride {
        override_id,
        tenant: said.tenant.as_str().to_owned(),
        site: said.site,
        subject: said.subject,
        rule_id: said.rule_id,
        setting: said.setting,
        value: said.value,
        from_us: said.from_us,
        until_us: said.until_us.unwrap_or(0),
        reason: said.reason,
        set_by,
        set_at_us,
        ended_by,
        ended_at_us,
        effective_from_us: effective.start,
        effective_until_us: if effective.end == i64::MAX { 0 } else { effective.end },
    }
}
