//! Services and people, their roles, and who calls.

use super::call::{Call, id};
use super::error::{failed, invalid};
use super::rules::RULES;
use tonic::Status;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{
    ListPrincipalsRequest, ListPrincipalsResponse, Principal as Wire, PrincipalKind as WireKind,
    PutPrincipalRequest, PutPrincipalResponse, WhoamiRequest, WhoamiResponse,
};
use wardline_store::registry::{Duties, PrincipalKind, Role, Sites};

pub(super) async fn whoami(call: &Call, _of: WhoamiRequest) -> Result<WhoamiResponse, Status> {
    let caller = &call.caller;
    let may = RULES.iter().filter(|rule| rule.reach(caller).is_some());
    let mut methods: Vec<_> = may.map(|rule| rule.method.to_owned()).collect();
    methods.sort_unstable();
    Ok(WhoamiResponse {
        spiffe_uri: caller.uri().to_owned(),
        tenant: caller.tenant.to_string(),
        roles: caller.roles.iter().map(Role::to_string).collect(),
        not_after_us: caller.not_after_s.saturating_mul(1_000_000),
        methods,
    })
}

pub(super) async fn put(call: &Call, wanted: PutPrincipalRequest) -> Result<PutPrincipalResponse, Status> {
    let wanted = wanted.principal.ok_or_else(|| invalid("principal"))?;
    let (tenant, kind) = (call.tenant(&wanted.tenant)?, kind(wanted.kind)?);
    let name = id("name", &wanted.name)?;
    let roles = wanted.roles.iter().map(|role| role.parse()).collect::<Result<Vec<Role>, _>>();
    let roles = roles.map_err(|_name| invalid("roles"))?;
    let sites = Sites::of(wanted.sites.iter().map(String::as_str)).map_err(|_name| invalid("sites"))?;
    if !call.is_everywhere() {
        // Who gives itself a role that crosses tenants has crossed them.
        let known = call.store().list_principals(Some(&tenant)).await.map_err(failed)?;
        let had = known.iter().find(|known| known.kind == kind && known.name == name);
        let is_operator = had.is_some_and(|had| had.roles.contains(&Role::Operator));
        if is_operator || roles.contains(&Role::Operator) {
            return Err(call.deny(Refusal::RegistryTenant));
        }
    }
    let duties = Duties::at(&roles, sites);
    call.store().put_principal(&call.change(), (&tenant, kind, &name), duties).await.map_err(failed)?;
    Ok(PutPrincipalResponse {})
}

pub(super) async fn list(
    call: &Call,
    wanted: ListPrincipalsRequest,
) -> Result<ListPrincipalsResponse, Status> {
    let tenant = call.tenant_filter(&wanted.tenant)?;
    let principals = call.store().list_principals(tenant.as_ref()).await.map_err(failed)?;
    let principals = principals.into_iter().map(|principal| Wire {
        tenant: principal.tenant.to_string(),
        kind: match principal.kind {
            PrincipalKind::Service => WireKind::Service.into(),
            PrincipalKind::User => WireKind::User.into(),
        },
        name: principal.name.to_string(),
        roles: principal.roles.iter().map(Role::to_string).collect(),
        created_at_us: principal.created_at_us,
        sites: principal.sites.names(),
    });
    Ok(ListPrincipalsResponse { principals: principals.collect() })
}

pub(super) fn kind(kind: i32) -> Result<PrincipalKind, Status> {
    match WireKind::try_from(kind) {
        Ok(WireKind::Service) => Ok(PrincipalKind::Service),
        Ok(WireKind::User) => Ok(PrincipalKind::User),
        Ok(WireKind::Unspecified) | Err(_) => Err(invalid("kind")),
    }
}
