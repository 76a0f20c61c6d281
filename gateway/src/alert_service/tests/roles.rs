//! Who may set, end and read overrides: every role, no role, and another tenant.

use super::rig::{Certified, Rig};
use crate::operate::local_change;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{
    AlertOverride, EndOverrideRequest, ListOverridesRequest, OverrideSetting, SetOverrideRequest,
};
use wardline_proto::{DeviceId, TenantId};
use wardline_store::registry::{Duties, PrincipalKind, Role, Sites};

type Client = AlertServiceClient<Channel>;

fn uri(tenant: &str, name: &str) -> String {
    format!("spiffe://wardline.test/tenant/{tenant}/service/{name}")
}

/// A caller of a tenant with at most one role, that is in force when `known` has waited for it.
async fn caller(rig: &Rig, tenant: &str, role: Option<Role>) -> (Certified, Client) {
    let name = role.map_or("nobody", Role::name);
    let certified = rig.ca.issue(&uri(tenant, name));
    if let Some(role) = role {
        let (tenant, name) = (TenantId::new(tenant).unwrap(), DeviceId::new(name).unwrap());
        let principal = (&tenant, PrincipalKind::Service, &name);
        let duties = Duties::at(&[role], Sites::All);
        rig.store.put_principal(&local_change(), principal, duties).await.unwrap();
    }
    let client = rig.client(&certified).await.unwrap();
    (certified, client)
}

/// Waits until what the store knows last is in force.
async fn known(operator: &mut Client) {
    let listed = async {
        while operator.list_overrides(ListOverridesRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), listed).await.expect("the roles are in force");
}

fn set(tenant: &str) -> SetOverrideRequest {
    let wanted = AlertOverride {
        tenant: tenant.into(),
        rule_id: "spo2-low".into(),
        setting: OverrideSetting::Below.into(),
        value: 86.0,
        subject: "s-1".into(),
        reason: "test".into(),
        ..AlertOverride::default()
    };
    SetOverrideRequest { r#override: Some(wanted) }
}

fn end(tenant: &str, override_id: i64) -> EndOverrideRequest {
    EndOverrideRequest { override_id, tenant: tenant.into() }
}

fn list(tenant: &str) -> ListOverridesRequest {
    ListOverridesRequest { include_ended: true, tenant: tenant.into() }
}

fn is_refused<T: std::fmt::Debug>(answer: &Result<T, Status>) -> bool {
    let denied = |status: &Status| {
        assert!(status.code() != Code::PermissionDenied || status.message().starts_with("WL-ID-007"));
        status.code() == Code::PermissionDenied
    };
    answer.as_ref().is_err_and(denied)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_may_and_nothing_else() {
    let rig = Rig::new().await;
    let roles: Vec<_> = Role::ALL.into_iter().map(Some).chain([None]).collect();
    let mut callers = Vec::new();
    // The operator is the last of those with a role: when it is known, all are.
    assert_eq!(Role::ALL.last(), Some(&Role::Operator));
    for role in roles {
        callers.push((role, caller(&rig, "demo", role).await.1));
    }
    known(&mut callers[Role::ALL.len() - 1].1).await;
    let mut refusals = 0;
    for (role, client) in &mut callers {
        let acts = matches!(role, Some(Role::Clinician | Role::Operator));
        let reads = acts || *role == Some(Role::TenantAdmin);
        let was_set = client.set_override(set("")).await;
        let number = match &was_set {
            Ok(set) => set.get_ref().r#override.as_ref().unwrap().override_id,
            Err(_refused) => 1,
        };
        let ended = client.end_override(end("", number)).await;
        let listed = client.list_overrides(list("")).await;
        let refused = [is_refused(&was_set), is_refused(&ended), is_refused(&listed)];
        assert_eq!(refused, [!acts, !acts, !reads], "{role:?}: {was_set:?} {ended:?} {listed:?}");
        assert!(!acts || (was_set.is_ok() && ended.is_ok()), "{role:?}: {was_set:?} {ended:?}");
        refusals += refused.iter().filter(|refused| **refused).count();
    }
    let kept = rig.store.overrides(None, 0).await.unwrap();
    assert_eq!(kept.len(), 2, "what was refused is not kept");
    let authors: Vec<_> = kept.iter().map(|row| row.set_by.clone()).collect();
    assert_eq!(authors, [uri("demo", "clinician"), uri("demo", "operator")]);
    assert_eq!(refusals, 5 * 2 + 4);
    // Equal refusals of a second are one event; the operator's are from before it was known.
    let told = async {
        let is_told = |name: &str| rig.audited().contains(&(uri("demo", name), "WL-ID-007".to_owned()));
        while !["maker", "tenant-admin", "analyst", "auditor", "nobody"].into_iter().all(is_told) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!is_told("clinician"));
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.expect("refusals are in the trail");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_an_operator_reaches_another_tenants() {
    let rig = Rig::new().await;
    let (_, mut own) = caller(&rig, "demo", Some(Role::Clinician)).await;
    let (_, mut foreign) = caller(&rig, "other", Some(Role::Clinician)).await;
    let (_, mut operator) = caller(&rig, "other", Some(Role::Operator)).await;
    known(&mut operator).await;
    let number = own.set_override(set("")).await.unwrap().into_inner().r#override.unwrap().override_id;
    assert!(is_refused(&foreign.set_override(set("demo")).await));
    assert!(is_refused(&foreign.end_override(end("demo", number)).await));
    assert!(is_refused(&foreign.list_overrides(list("demo")).await));
    // In its own tenant there is no such override, whatever its number says.
    let unknown = foreign.end_override(end("", number)).await.expect_err("not its own");
    assert_eq!(unknown.code(), Code::NotFound, "{unknown:?}");
    let listed = foreign.list_overrides(list("")).await.unwrap().into_inner().overrides;
    assert!(listed.is_empty(), "{listed:?}");
    let listed = operator.list_overrides(list("demo")).await.unwrap().into_inner().overrides;
    assert!(listed.len() == 1 && listed[0].ended_by.is_empty(), "{listed:?}");
    operator.end_override(end("demo", number)).await.unwrap();
    rig.stop().await;
}
