//! Tenants and their sites.

use super::call::{Call, id};
use super::error::failed;
use tonic::Status;
use wardline_proto::v1::{
    CreateSiteRequest, CreateSiteResponse, CreateTenantRequest, CreateTenantResponse, ListSitesRequest,
    ListSitesResponse, ListTenantsRequest, ListTenantsResponse, SetTenantStateRequest,
    SetTenantStateResponse, Site, Tenant,
};

pub(super) async fn create(call: &Call, wanted: CreateTenantRequest) -> Result<CreateTenantResponse, Status> {
    let tenant = call.tenant(&wanted.tenant)?;
    call.store().create_tenant(&call.change(), &tenant, &wanted.display_name).await.map_err(failed)?;
    Ok(CreateTenantResponse {})
}

pub(super) async fn list(call: &Call, _all: ListTenantsRequest) -> Result<ListTenantsResponse, Status> {
    let tenants = call.store().list_tenants().await.map_err(failed)?;
    let tenants = tenants.into_iter().filter(|tenant| call.reaches(&tenant.tenant)).map(|tenant| Tenant {
        tenant: tenant.tenant.to_string(),
        display_name: tenant.display_name,
        suspended: !tenant.is_active,
        created_at_us: tenant.created_at_us,
    });
    Ok(ListTenantsResponse { tenants: tenants.collect() })
}

pub(super) async fn set_state(
    call: &Call,
    wanted: SetTenantStateRequest,
) -> Result<SetTenantStateResponse, Status> {
    let tenant = call.tenant(&wanted.tenant)?;
    call.store().set_tenant_active(&call.change(), &tenant, !wanted.suspended).await.map_err(failed)?;
    Ok(SetTenantStateResponse {})
}

pub(super) async fn create_site(
    call: &Call,
    wanted: CreateSiteRequest,
) -> Result<CreateSiteResponse, Status> {
    let (tenant, site) = (call.tenant(&wanted.tenant)?, id("site", &wanted.site)?);
    call.store().create_site(&call.change(), &tenant, &site, &wanted.display_name).await.map_err(failed)?;
    Ok(CreateSiteResponse {})
}

pub(super) async fn list_sites(call: &Call, wanted: ListSitesRequest) -> Result<ListSitesResponse, Status> {
    let sites = call.store().list_sites(&call.tenant(&wanted.tenant)?).await.map_err(failed)?;
    let sites = sites.into_iter().map(|site| Site {
        tenant: site.tenant.to_string(),
        site: site.site.to_string(),
        display_name: site.display_name,
        created_at_us: site.created_at_us,
    });
    Ok(ListSitesResponse { sites: sites.collect() })
}
