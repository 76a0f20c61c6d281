//! A maker beside another maker and an administrator of one tenant: each method, each device.

use crate::support::{Client, Stand, key};
use tonic::{Code, Status};
use wardline::operate::local_change;
use wardline_proto::v1::*;
use wardline_proto::{DeviceId, TenantId};
use wardline_store::registry::{self, NewDevice, Role};

const OTHERS: &str = "WL-REG-007";

/// Registers a model of `maker`, and a device with it in tenant demo.
async fn model(stand: &Stand, maker: &str, model: &str) {
    let store = stand.node.store();
    let (text, version) = (String::new(), 0);
    let of = registry::Model {
        model: DeviceId::new(model).unwrap(),
        maker: TenantId::new(maker).unwrap(),
        display_name: model.to_owned(),
        profile: text,
        profile_version: version,
        created_at_us: 0,
    };
    store.put_model(&local_change(), &of).await.unwrap();
    let device =
        NewDevice { model: model.to_owned(), ..NewDevice::bare(key("demo", &format!("dev-{model}"))) };
    store.register_device(&local_change(), &device).await.unwrap();
}

fn device(name: &str, model: &str) -> Option<Device> {
    Some(Device { tenant: "demo".into(), device: name.into(), model: model.into(), ..Device::default() })
}

/// Calls each method that a maker may call and that names a device or a model; says with which code each ends.
async fn reach(client: &mut Client, name: &str, model: &str) -> Vec<(&'static str, String)> {
    let (tenant, device_id) = ("demo".to_owned(), name.to_owned());
    let register = RegisterDeviceRequest { device: device(name, model) };
    let get = GetDeviceRequest { tenant: tenant.clone(), device: device_id.clone() };
    let peripheral = Peripheral {
        tenant: tenant.clone(),
        hub: device_id.clone(),
        peripheral: "probe".into(),
        ..Peripheral::default()
    };
    let add = AddPeripheralRequest { peripheral: Some(peripheral) };
    let list = ListPeripheralsRequest { tenant: tenant.clone(), hub: device_id.clone() };
    let create = CreateClaimsRequest {
        tenant,
        model: model.into(),
        device: device_id,
        batch: "b".into(),
        ..CreateClaimsRequest::default()
    };
    let row = ImportDevicesRequest { line: 1, device: device(name, model) };
    let rows = client.import_devices(tokio_stream::iter(vec![row])).await.unwrap();
    let imported = rows.into_inner().message().await.unwrap().unwrap().code;
    vec![
        ("RegisterDevice", told(client.register_device(register).await)),
        ("GetDevice", told(client.get_device(get).await)),
        ("AddPeripheral", told(client.add_peripheral(add).await)),
        ("ListPeripherals", told(client.list_peripherals(list).await)),
        ("CreateClaims", told(client.create_claims(create).await)),
        ("ImportDevices", imported),
    ]
}

fn told<T>(answer: Result<T, Status>) -> String {
    match answer {
        Ok(_) => String::new(),
        Err(status) => {
            assert!(matches!(status.code(), Code::PermissionDenied | Code::NotFound), "{status:?}");
            status.metadata().get("wardline-code").unwrap().to_str().unwrap().to_owned()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maker_reaches_the_devices_of_its_own_models_and_an_administrator_all() {
    let users = [("demo", "mia", Some(Role::Maker)), ("demo", "ada", Some(Role::TenantAdmin))];
    let stand = Stand::new(&users).await;
    model(&stand, "demo", "own").await;
    model(&stand, "acme", "foreign").await;
    let (mut mia, mut ada) = (stand.client("mia").await, stand.client("ada").await);
    for (method, code) in reach(&mut mia, "dev-own", "own").await {
        assert_eq!(code, "", "{method} of its own");
    }
    // mon-1 has no model; dev-foreign one of another maker.
    for (name, model) in [("dev-foreign", "foreign"), ("mon-1", ""), ("mon-1", "own"), ("new", "foreign")] {
        for (method, code) in reach(&mut mia, name, model).await {
            // Its own model is no reason to refuse a claim; that of the device is.
            let missing =
                name == "new" && !["RegisterDevice", "CreateClaims", "ImportDevices"].contains(&method);
            assert_eq!(code, if missing { "WL-REG-002" } else { OTHERS }, "{method} of {name} as {model}");
        }
        let row = stand.node.store().get_device(&key("demo", name)).await.unwrap();
        assert!(row.is_none_or(|row| row.maker != "demo"), "{name} was taken over");
    }
    for (method, code) in reach(&mut ada, "dev-foreign", "foreign").await {
        assert_eq!(code, "", "{method} by an administrator");
    }
    let names = |listed: ListDevicesResponse| -> Vec<String> {
        listed.devices.into_iter().map(|device| device.device).collect()
    };
    let all = ListDevicesRequest { tenant: "demo".into(), ..ListDevicesRequest::default() };
    assert_eq!(names(mia.list_devices(all.clone()).await.unwrap().into_inner()), ["dev-own"]);
    assert_eq!(names(ada.list_devices(all).await.unwrap().into_inner()), ["dev-foreign", "dev-own", "mon-1"]);
    let claims = ListClaimsRequest { tenant: "demo".into(), ..ListClaimsRequest::default() };
    let own = mia.list_claims(claims.clone()).await.unwrap().into_inner().claims;
    assert_eq!(own.iter().map(|claim| claim.device.as_str()).collect::<Vec<_>>(), ["dev-own"]);
    assert_eq!(ada.list_claims(claims).await.unwrap().into_inner().claims.len(), 2);
    let revoke = RevokeClaimsRequest { tenant: "demo".into(), batch: "b".into() };
    assert_eq!(mia.revoke_claims(revoke.clone()).await.unwrap().into_inner().revoked, 1);
    assert_eq!(ada.revoke_claims(revoke).await.unwrap().into_inner().revoked, 1);
    // Whoever is both is not held to the narrower of the two.
    let who =
        (&TenantId::new("demo").unwrap(), registry::PrincipalKind::User, &DeviceId::new("mia").unwrap());
    let both = [Role::Maker, Role::TenantAdmin];
    stand.node.store().put_principal(&local_change(), who, &both).await.unwrap();
    let get = GetDeviceRequest { tenant: "demo".into(), device: "mon-1".into() };
    let widened = async {
        while mia.get_device(get.clone()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), widened).await.expect("reached in time");
}
