//! Tenants stay apart, a revoked operator is out, and the port describes itself.

use crate::support::Stand;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use wardline_proto::v1::revoke_certificates_request::By;
use wardline_proto::v1::*;
use wardline_store::registry::Role;

fn assert_crossing<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>) {
    let status = answer.err().unwrap_or_else(|| panic!("{what} crossed tenants"));
    let code = status.metadata().get("wardline-code").unwrap().to_str().unwrap();
    assert_eq!((status.code(), code), (Code::PermissionDenied, "WL-REG-004"), "{what}: {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_an_operator_crosses_tenants() {
    let stand =
        Stand::new(&[("other", "ada", Some(Role::TenantAdmin)), ("other", "mia", Some(Role::Maker))]).await;
    let (mut ada, mut mia, mut operator) =
        (stand.client("ada").await, stand.client("mia").await, stand.client("operator").await);
    let (tenant, device) = ("demo".to_owned(), "mon-1".to_owned());
    let get = GetDeviceRequest { tenant: tenant.clone(), device: device.clone() };
    assert!(operator.get_device(get.clone()).await.unwrap().into_inner().device.is_some());
    assert_crossing("get", ada.get_device(get).await);
    let list = ListDevicesRequest { tenant: tenant.clone(), ..Default::default() };
    assert_crossing("list", ada.list_devices(list).await);
    let own = ada.list_devices(ListDevicesRequest::default()).await.unwrap().into_inner();
    assert_eq!(own.devices, [], "an empty filter is the own tenant");
    // A page token of another tenant widens nothing.
    let page = ListDevicesRequest { page_token: "a/a".into(), ..Default::default() };
    assert_eq!(ada.list_devices(page).await.unwrap().into_inner().devices, []);
    let name = DeviceName { tenant: tenant.clone(), device: device.clone() };
    let revoke = RevokeCertificatesRequest { by: Some(By::Device(name)), ..Default::default() };
    assert_crossing("revoke", ada.revoke_certificates(revoke).await);
    let claims = CreateClaimsRequest { tenant: tenant.clone(), ..Default::default() };
    assert_crossing("claims", mia.create_claims(claims).await);
    let model =
        Model { model: "m".into(), maker: tenant.clone(), display_name: "m".into(), ..Default::default() };
    assert_crossing("model", mia.put_model(PutModelRequest { model: Some(model) }).await);
    let bind = BindRequest { tenant: tenant.clone(), device, subject: "p".into(), ..Default::default() };
    assert_crossing("bind", ada.bind(bind).await);
    // A serial has no tenant in it: one of another tenant is told as missing.
    let listed = ListCertificatesRequest { tenant, device: "mon-1".into(), ..Default::default() };
    let known = operator.list_certificates(listed).await.unwrap().into_inner().certificates;
    let by = Some(By::Serial(known[0].serial.clone()));
    let revoke = RevokeCertificatesRequest { by, ..Default::default() };
    assert_eq!(ada.revoke_certificates(revoke).await.unwrap_err().code(), Code::NotFound);
    assert!(stand.node.store().registry_snapshot(0).await.unwrap().revoked.is_empty());
    // Who makes an operator of its own has crossed every tenant.
    let principal = Principal {
        tenant: "other".into(),
        kind: PrincipalKind::User.into(),
        name: "ada".into(),
        roles: vec!["operator".into()],
        ..Default::default()
    };
    assert_crossing("roles", ada.put_principal(PutPrincipalRequest { principal: Some(principal) }).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_operator_is_refused_within_two_seconds() {
    let stand = Stand::new(&[("system", "eve", Some(Role::Operator))]).await;
    let (mut eve, mut operator) = (stand.client("eve").await, stand.client("operator").await);
    eve.list_tenants(ListTenantsRequest {}).await.unwrap();
    let name =
        PrincipalName { tenant: "system".into(), kind: PrincipalKind::User.into(), name: "eve".into() };
    let request = RevokeCertificatesRequest {
        by: Some(By::Principal(name)),
        compromised_at_us: 1,
        reason: "left".into(),
    };
    assert_eq!(operator.revoke_certificates(request).await.unwrap().into_inner().serials.len(), 1);
    let revoked_at = Instant::now();
    while eve.list_tenants(ListTenantsRequest {}).await.is_ok() {
        assert!(revoked_at.elapsed() < Duration::from_secs(2), "SEC-2");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    operator.list_tenants(ListTenantsRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_registry() {
    let stand = Stand::new(&[]).await;
    let mut client = ServerReflectionClient::new(stand.channel("operator").await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let stream = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"wardline.v1.RegistryService".to_owned()), "{names:?}");
}
