//! The gRPC service of the registry: tenants, devices, claims, certificates, bindings, people and their roles.
//!
//! ```text
//! certificate -> Access::caller -> rules::RULES (method x role) -> Call::tenant -> store (change + audit, one commit)
//! ```
//! Who may call what stands in [`rules`] alone. A change is refused while it could not be audited (AUD-1); refused
//! attempts are audited. Nothing here holds a rule about the data: those are the store's.

mod bindings;
mod call;
mod certificates;
mod claims;
mod devices;
mod error;
mod import;
pub mod limits;
mod manufacturers;
mod models;
mod principals;
pub mod rules;
mod tenants;

pub use claims::pin;

use crate::access::Access;
use crate::audit::Auditor;
use call::Call;
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::server::Error as ReflectionError;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use wardline_proto::v1::registry_service_server::{RegistryService, RegistryServiceServer};
use wardline_proto::v1::*;
use wardline_store::Store;

/// What the service needs.
pub struct RegistryParts {
    /// Who calls.
    pub access: Access,
    /// Where the registry lies.
    pub store: Store,
    /// What must be able to audit.
    pub auditor: Arc<Auditor>,
    /// Trust domain of all identities.
    pub trust_domain: String,
    /// The last part of a claim token; see [`pin`].
    pub pin: String,
}

/// Makes the service.
pub fn service(parts: RegistryParts) -> RegistryServiceServer<impl RegistryService> {
    RegistryServiceServer::new(Registry { parts: Arc::new(parts) })
}

/// Makes the service that describes every service of this port (gRPC server reflection, v1).
pub fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, ReflectionError> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wardline_proto::FILE_DESCRIPTOR_SET)
        .build_v1()
}

struct Registry {
    parts: Arc<RegistryParts>,
}

type Imports = Pin<Box<dyn futures::Stream<Item = Result<ImportDevicesResponse, Status>> + Send>>;

macro_rules! methods {
    ($($name:ident $method:literal $request:ident $response:ident $handler:path;)+) => {
        #[tonic::async_trait]
        impl RegistryService for Registry {
            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let call = Call::admit(&self.parts, $method, &request)?;
                $handler(&call, request.into_inner()).await.map(Response::new)
            })+

            type ImportDevicesStream = Imports;

            async fn import_devices(
                &self,
                request: Request<Streaming<ImportDevicesRequest>>,
            ) -> Result<Response<Imports>, Status> {
                let call = Call::admit(&self.parts, "ImportDevices", &request)?;
                Ok(Response::new(import::run(call, request.into_inner())))
            }
        }
    };
}

methods! {
    whoami "Whoami" WhoamiRequest WhoamiResponse principals::whoami;
    create_tenant "CreateTenant" CreateTenantRequest CreateTenantResponse tenants::create;
    list_tenants "ListTenants" ListTenantsRequest ListTenantsResponse tenants::list;
    set_tenant_state "SetTenantState" SetTenantStateRequest SetTenantStateResponse tenants::set_state;
    create_site "CreateSite" CreateSiteRequest CreateSiteResponse tenants::create_site;
    list_sites "ListSites" ListSitesRequest ListSitesResponse tenants::list_sites;
    put_model "PutModel" PutModelRequest PutModelResponse models::put;
    get_model "GetModel" GetModelRequest GetModelResponse models::get;
    list_models "ListModels" ListModelsRequest ListModelsResponse models::list;
    register_device "RegisterDevice" RegisterDeviceRequest RegisterDeviceResponse devices::register;
    get_device "GetDevice" GetDeviceRequest GetDeviceResponse devices::get;
    list_devices "ListDevices" ListDevicesRequest ListDevicesResponse devices::list;
    set_device_state "SetDeviceState" SetDeviceStateRequest SetDeviceStateResponse devices::set_state;
    set_for_test "SetForTest" SetForTestRequest SetForTestResponse devices::set_for_test;
    add_peripheral "AddPeripheral" AddPeripheralRequest AddPeripheralResponse devices::add_peripheral;
    list_peripherals "ListPeripherals" ListPeripheralsRequest ListPeripheralsResponse devices::list_peripherals;
    create_claims "CreateClaims" CreateClaimsRequest CreateClaimsResponse claims::create;
    list_claims "ListClaims" ListClaimsRequest ListClaimsResponse claims::list;
    revoke_claims "RevokeClaims" RevokeClaimsRequest RevokeClaimsResponse claims::revoke;
    add_manufacturer_ca "AddManufacturerCa" AddManufacturerCaRequest AddManufacturerCaResponse manufacturers::add;
    list_manufacturer_cas "ListManufacturerCas" ListManufacturerCasRequest ListManufacturerCasResponse manufacturers::list;
    allow_serials "AllowSerials" AllowSerialsRequest AllowSerialsResponse manufacturers::allow;
    list_certificates "ListCertificates" ListCertificatesRequest ListCertificatesResponse certificates::list;
    revoke_certificates "RevokeCertificates" RevokeCertificatesRequest RevokeCertificatesResponse certificates::revoke;
    bind "Bind" BindRequest BindResponse bindings::bind;
    list_bindings "ListBindings" ListBindingsRequest ListBindingsResponse bindings::list;
    get_wearer "GetWearer" GetWearerRequest GetWearerResponse bindings::wearer;
    put_principal "PutPrincipal" PutPrincipalRequest PutPrincipalResponse principals::put;
    list_principals "ListPrincipals" ListPrincipalsRequest ListPrincipalsResponse principals::list;
}
