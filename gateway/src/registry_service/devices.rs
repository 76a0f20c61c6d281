//! Devices and the sensors behind them.

use super::call::{Call, given, id};
use super::error::{failed, invalid, missing};
use tonic::Status;
use wardline_proto::v1::{
    AddPeripheralRequest, AddPeripheralResponse, Device, DeviceState, GetDeviceRequest, GetDeviceResponse,
    ImportResult, ListDevicesRequest, ListDevicesResponse, ListPeripheralsRequest, ListPeripheralsResponse,
    Peripheral as Wire, RegisterDeviceRequest, RegisterDeviceResponse, SetDeviceStateRequest,
    SetDeviceStateResponse, SetForTestRequest, SetForTestResponse,
};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::registry::{DeviceFilter, DeviceRow, Imported, NewDevice, PAGE_MAX, Peripheral};

pub(super) async fn register(
    call: &Call,
    wanted: RegisterDeviceRequest,
) -> Result<RegisterDeviceResponse, Status> {
    let device = new_device(call, wanted.device)?;
    let done = call.store().register_device_of(&call.change(), &device, call.maker()).await;
    let done = done.map_err(|error| call.failed(error))?;
    Ok(RegisterDeviceResponse { result: result(done).into() })
}

pub(super) async fn get(call: &Call, wanted: GetDeviceRequest) -> Result<GetDeviceResponse, Status> {
    let key = call.device(&wanted.tenant, &wanted.device)?;
    Ok(GetDeviceResponse { device: Some(wire(call.registered(&key).await?)) })
}

pub(super) async fn list(call: &Call, wanted: ListDevicesRequest) -> Result<ListDevicesResponse, Status> {
    let state = DeviceState::try_from(wanted.state).map_err(|_state| invalid("state"))?;
    let text = |text: &str| given(text).map(ToOwned::to_owned);
    let filter = DeviceFilter {
        tenant: call.tenant_filter(&wanted.tenant)?,
        maker: call.maker().cloned(),
        model: text(&wanted.model),
        site: text(&wanted.site),
        state: (state != DeviceState::Unspecified).then_some(state),
        after: given(&wanted.page_token).map(after).transpose()?,
    };
    let size = if wanted.page_size == 0 { PAGE_MAX } else { wanted.page_size.min(PAGE_MAX) };
    let devices = call.store().list_devices(&filter, size).await.map_err(failed)?;
    let last = devices.last().filter(|_| devices.len() == size as usize);
    let next_page_token = last.map_or(String::new(), |row| row.device.key.to_string());
    Ok(ListDevicesResponse { devices: devices.into_iter().map(wire).collect(), next_page_token })
}

pub(super) async fn set_state(
    call: &Call,
    wanted: SetDeviceStateRequest,
) -> Result<SetDeviceStateResponse, Status> {
    let key = call.device(&wanted.tenant, &wanted.device)?;
    let state = match DeviceState::try_from(wanted.state) {
        Ok(DeviceState::Unspecified) | Err(_) => return Err(invalid("state")),
        Ok(state) => state,
    };
    let known = call.store().set_device_state(&call.change(), &key, state).await.map_err(failed)?;
    if known { Ok(SetDeviceStateResponse {}) } else { Err(missing("device")) }
}

pub(super) async fn set_for_test(
    call: &Call,
    wanted: SetForTestRequest,
) -> Result<SetForTestResponse, Status> {
    let key = call.device(&wanted.tenant, &wanted.device)?;
    call.store().set_for_test(&call.change(), &key, wanted.for_test).await.map_err(failed)?;
    Ok(SetForTestResponse {})
}

pub(super) async fn add_peripheral(
    call: &Call,
    wanted: AddPeripheralRequest,
) -> Result<AddPeripheralResponse, Status> {
    let wanted = wanted.peripheral.ok_or_else(|| invalid("peripheral"))?;
    let peripheral = Peripheral {
        hub: call.device(&wanted.tenant, &wanted.hub)?,
        peripheral: id("peripheral", &wanted.peripheral)?,
        model: wanted.model,
        serial_number: wanted.serial_number,
    };
    call.registered(&peripheral.hub).await?;
    call.store().add_peripheral(&call.change(), &peripheral).await.map_err(failed)?;
    Ok(AddPeripheralResponse {})
}

pub(super) async fn list_peripherals(
    call: &Call,
    wanted: ListPeripheralsRequest,
) -> Result<ListPeripheralsResponse, Status> {
    let hub = call.device(&wanted.tenant, &wanted.hub)?;
    if call.maker().is_some() {
        call.registered(&hub).await?;
    }
    let listed = call.store().list_peripherals(&hub).await.map_err(failed)?;
    let peripherals = listed.into_iter().map(|peripheral| Wire {
        tenant: peripheral.hub.tenant.to_string(),
        hub: peripheral.hub.device.to_string(),
        peripheral: peripheral.peripheral.to_string(),
        model: peripheral.model,
        serial_number: peripheral.serial_number,
    });
    Ok(ListPeripheralsResponse { peripherals: peripherals.collect() })
}

/// Reads a device to register, of a tenant that the caller reaches.
pub(super) fn new_device(call: &Call, device: Option<Device>) -> Result<NewDevice, Status> {
    let device = device.ok_or_else(|| invalid("device"))?;
    Ok(NewDevice {
        key: call.device(&device.tenant, &device.device)?,
        model: device.model,
        serial_number: device.serial_number,
        site: device.site,
        udi: device.udi,
        for_test: device.for_test,
    })
}

pub(super) fn result(imported: Imported) -> ImportResult {
    match imported {
        Imported::Created => ImportResult::Created,
        Imported::Same => ImportResult::Same,
        Imported::Updated => ImportResult::Updated,
    }
}

fn after(token: &str) -> Result<DeviceKey, Status> {
    let key = token.split_once('/').and_then(|(tenant, device)| {
        Some(DeviceKey { tenant: TenantId::new(tenant).ok()?, device: DeviceId::new(device).ok()? })
    });
    key.ok_or_else(|| invalid("page_token"))
}

fn wire(row: DeviceRow) -> Device {
    Device {
        tenant: row.device.key.tenant.to_string(),
        device: row.device.key.device.to_string(),
        model: row.device.model,
        serial_number: row.device.serial_number,
        state: row.state.into(),
        for_test: row.device.for_test,
        created_at_us: row.created_at_us,
        site: row.device.site,
        udi: row.device.udi,
    }
}
