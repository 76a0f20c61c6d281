//! Devices, and what hangs behind them.

use super::change::ChangeTx;
use super::tenants::{device_id, ensure_tenant, tenant_id};
use super::{Change, Reject, audit, page, usable};
use crate::db::{Record, args};
use crate::{Store, StoreError};
use wardline_proto::v1::DeviceState;
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// A device to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Tenant and device.
    pub key: DeviceKey,
    /// Id of its model, or empty.
    pub model: String,
    /// Serial number of the hardware, or empty; one of a model is one device.
    pub serial_number: String,
    /// Id of its site, or empty.
    pub site: String,
    /// Unique device identifier, or empty.
    pub udi: String,
    /// Its data never raises a live alarm.
    pub for_test: bool,
}

impl NewDevice {
    /// Makes a device of which only the name is known.
    pub fn bare(key: DeviceKey) -> Self {
        let none = String::new;
        Self { key, model: none(), serial_number: none(), site: none(), udi: none(), for_test: false }
    }
}

/// A device as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// What was registered.
    pub device: NewDevice,
    /// The maker of its model, known since it has that model; empty when nobody is.
    pub maker: String,
    /// Whether it may connect.
    pub state: DeviceState,
    /// Unix microseconds.
    pub created_at_us: i64,
}

/// What became of a row of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Imported {
    /// It is new.
    Created,
    /// It was there, equal.
    Same,
    /// It was there with an empty field that is filled now.
    Updated,
}

/// Which devices to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Of this tenant; none: of all.
    pub tenant: Option<TenantId>,
    /// Of this maker's models.
    pub maker: Option<TenantId>,
    /// Of this model.
    pub model: Option<String>,
    /// At this site.
    pub site: Option<String>,
    /// In this state.
    pub state: Option<DeviceState>,
    /// After this one, in order.
    pub after: Option<DeviceKey>,
}

/// A sensor behind a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peripheral {
    /// The device that speaks for it.
    pub hub: DeviceKey,
    /// Its id at the hub.
    pub peripheral: DeviceId,
    /// Id of its model, or empty.
    pub model: String,
    /// Serial number of the hardware, or empty.
    pub serial_number: String,
}

const COLUMNS: &str = "SELECT tenant, device, model, serial_number, site, udi, state, for_test, created_at_us, maker FROM device WHERE tenant = $1 AND device = $2";

/// Registers a device in a transaction; when `only` names a maker, no device but of its own models.
pub(super) async fn register(
    tx: &mut ChangeTx,
    device: &NewDevice,
    only: Option<&TenantId>,
    at_us: i64,
) -> Result<Imported, StoreError> {
    for (what, text) in [
        ("model", &device.model),
        ("serial_number", &device.serial_number),
        ("site", &device.site),
        ("udi", &device.udi),
    ] {
        usable(what, text, true)?;
    }
    ensure_tenant(tx, &device.key.tenant, at_us).await?;
    let (tenant, name) = (device.key.tenant.as_str(), device.key.device.as_str());
    let known = tx.one(COLUMNS, args![tenant, name]).await?.as_ref().map(device_row).transpose()?;
    let merged = known.as_ref().map_or(Ok(device.clone()), |known| merge(&known.device, device))?;
    let maker = maker_of(tx, &merged.model).await?;
    let is_own = |only: &TenantId| {
        maker == only.as_str() && known.as_ref().is_none_or(|known| known.maker == only.as_str())
    };
    if only.is_some_and(|only| !is_own(only)) {
        return Err(Reject::OtherMaker.into());
    }
    if !merged.serial_number.is_empty() {
        let other = "SELECT device FROM device WHERE model = $1 AND serial_number = $2 \
                     AND NOT (tenant = $3 AND device = $4)";
        if tx.one(other, args![&merged.model, &merged.serial_number, tenant, name]).await?.is_some() {
            return Err(Reject::Conflict("serial number").into());
        }
    }
    let gets_maker = known.as_ref().is_some_and(|known| known.maker.is_empty() && !maker.is_empty());
    if known.as_ref().is_some_and(|known| known.device == merged) && !gets_maker {
        return Ok(Imported::Same);
    }
    let upsert = "INSERT INTO device (tenant, device, model, serial_number, site, udi, state, for_test, created_at_us, maker) \
                  VALUES ($1, $2, $3, $4, $5, $6, 'active', $7, $8, $9) ON CONFLICT (tenant, device) DO UPDATE SET \
                  model = excluded.model, serial_number = excluded.serial_number, site = excluded.site, \
                  udi = excluded.udi, maker = CASE WHEN device.maker = '' THEN excluded.maker ELSE device.maker END";
    let values = args![
        tenant,
        name,
        &merged.model,
        &merged.serial_number,
        &merged.site,
        &merged.udi,
        merged.for_test,
        at_us,
        &maker,
    ];
    tx.run(upsert, values).await?;
    tx.touch_device(&device.key);
    Ok(if known.is_some() { Imported::Updated } else { Imported::Created })
}

/// Returns the maker of a model; empty when the model is not known.
pub(super) async fn maker_of(tx: &mut ChangeTx, model: &str) -> Result<String, StoreError> {
    let row = tx.one("SELECT maker FROM device_model WHERE model = $1", args![model]).await?;
    row.map_or(Ok(String::new()), |row| row.text("maker"))
}

/// What was empty is filled; what is known stays, and must not be said otherwise.
fn merge(known: &NewDevice, wanted: &NewDevice) -> Result<NewDevice, StoreError> {
    let field = |what: &'static str, known: &str, wanted: &str| match (known, wanted) {
        (known, "") => Ok(known.to_owned()),
        ("", wanted) => Ok(wanted.to_owned()),
        (known, wanted) if known == wanted => Ok(known.to_owned()),
        _ => Err(StoreError::from(Reject::Conflict(what))),
    };
    Ok(NewDevice {
        key: known.key.clone(),
        model: field("model of the device", &known.model, &wanted.model)?,
        serial_number: field("serial number of the device", &known.serial_number, &wanted.serial_number)?,
        site: field("site of the device", &known.site, &wanted.site)?,
        udi: field("UDI of the device", &known.udi, &wanted.udi)?,
        for_test: known.for_test,
    })
}

impl Store {
    /// Registers a device. The same again changes nothing; an empty field may be filled, a known one not changed.
    pub async fn register_device(&self, change: &Change, device: &NewDevice) -> Result<Imported, StoreError> {
        self.register_device_of(change, device, None).await
    }

    /// The same; when `only` names a maker, no device but of its own models.
    pub async fn register_device_of(
        &self,
        change: &Change,
        device: &NewDevice,
        only: Option<&TenantId>,
    ) -> Result<Imported, StoreError> {
        let mut tx = self.change().await?;
        let done = register(&mut tx, device, only, change.at_us).await?;
        if done != Imported::Same {
            audit(&mut tx, change, ("device_registered", "ok"), &device.key.to_string()).await?;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Registers many devices in one transaction; a row that is refused does not keep the others out.
    ///
    /// A failure of the database is an error of the whole, and nothing was registered.
    pub async fn import_devices(
        &self,
        change: &Change,
        devices: &[NewDevice],
    ) -> Result<Vec<Result<Imported, Reject>>, StoreError> {
        self.import_devices_of(change, devices, None).await
    }

    /// The same; when `only` names a maker, no device but of its own models.
    pub async fn import_devices_of(
        &self,
        change: &Change,
        devices: &[NewDevice],
        only: Option<&TenantId>,
    ) -> Result<Vec<Result<Imported, Reject>>, StoreError> {
        let mut tx = self.change().await?;
        let (mut done, mut new) = (Vec::with_capacity(devices.len()), 0);
        for device in devices {
            match register(&mut tx, device, only, change.at_us).await {
                Ok(imported) => {
                    new += usize::from(imported != Imported::Same);
                    done.push(Ok(imported));
                }
                Err(StoreError::Reject(why)) => done.push(Err(why)),
                Err(error) => return Err(error),
            }
        }
        if new > 0 {
            let target = format!("{new} devices");
            audit(&mut tx, change, ("devices_imported", "ok"), &target).await?;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Returns a device.
    pub async fn get_device(&self, key: &DeviceKey) -> Result<Option<DeviceRow>, StoreError> {
        let row = self.db().one(COLUMNS, args![key.tenant.as_str(), key.device.as_str()]).await?;
        row.as_ref().map(device_row).transpose()
    }

    /// Lists devices by tenant and id, one page.
    pub async fn list_devices(
        &self,
        filter: &DeviceFilter,
        page_size: u32,
    ) -> Result<Vec<DeviceRow>, StoreError> {
        let select = "SELECT tenant, device, model, serial_number, site, udi, state, for_test, created_at_us, \
                      maker FROM device WHERE ($1 = '' OR tenant = $1) AND ($2 = '' OR model = $2) \
                      AND ($3 = '' OR site = $3) AND ($4 = '' OR state = $4) \
                      AND (tenant > $5 OR (tenant = $5 AND device > $6)) AND ($8 = '' OR maker = $8) \
                      ORDER BY tenant, device LIMIT $7";
        let after = filter.after.as_ref();
        let values = args![
            filter.tenant.as_ref().map_or("", TenantId::as_str),
            filter.model.as_deref().unwrap_or(""),
            filter.site.as_deref().unwrap_or(""),
            filter.state.map_or("", state_name),
            after.map_or("", |key| key.tenant.as_str()),
            after.map_or("", |key| key.device.as_str()),
            page(page_size),
            filter.maker.as_ref().map_or("", TenantId::as_str),
        ];
        self.db().all(select, values).await?.iter().map(device_row).collect()
    }

    /// Changes a device's state; says whether the device is registered.
    pub async fn set_device_state(
        &self,
        change: &Change,
        key: &DeviceKey,
        state: DeviceState,
    ) -> Result<bool, StoreError> {
        let mut tx = self.change().await?;
        let update = "UPDATE device SET state = $1 WHERE tenant = $2 AND device = $3";
        let name = state_name(state);
        if tx.run(update, args![name, key.tenant.as_str(), key.device.as_str()]).await? == 0 {
            return Ok(false);
        }
        tx.touch_device(key);
        audit(&mut tx, change, ("device_state_set", "ok"), &format!("{key} {name}")).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Says whether a device is for test: its data then never raises a live alarm.
    pub async fn set_for_test(
        &self,
        change: &Change,
        key: &DeviceKey,
        for_test: bool,
    ) -> Result<(), StoreError> {
        let mut tx = self.change().await?;
        let update = "UPDATE device SET for_test = $1 WHERE tenant = $2 AND device = $3";
        if tx.run(update, args![for_test, key.tenant.as_str(), key.device.as_str()]).await? == 0 {
            return Err(Reject::NotFound("device").into());
        }
        tx.touch_device(key);
        audit(&mut tx, change, ("device_for_test_set", "ok"), &format!("{key} {for_test}")).await?;
        tx.commit().await
    }

    /// Registers a sensor behind a hub; the same again changes nothing.
    pub async fn add_peripheral(&self, change: &Change, peripheral: &Peripheral) -> Result<(), StoreError> {
        usable("model", &peripheral.model, true)?;
        usable("serial_number", &peripheral.serial_number, true)?;
        let mut tx = self.change().await?;
        let (tenant, hub) = (peripheral.hub.tenant.as_str(), peripheral.hub.device.as_str());
        if tx.one(COLUMNS, args![tenant, hub]).await?.is_none() {
            return Err(Reject::NotFound("device").into());
        }
        let name = peripheral.peripheral.as_str();
        let select =
            "SELECT model, serial_number FROM peripheral WHERE tenant = $1 AND hub = $2 AND peripheral = $3";
        if let Some(row) = tx.one(select, args![tenant, hub, name]).await? {
            let is_same = row.text("model")? == peripheral.model
                && row.text("serial_number")? == peripheral.serial_number;
            return if is_same { Ok(()) } else { Err(Reject::Conflict("peripheral").into()) };
        }
        let insert = "INSERT INTO peripheral (tenant, hub, peripheral, model, serial_number, created_at_us) \
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let values = args![tenant, hub, name, &peripheral.model, &peripheral.serial_number, change.at_us];
        tx.run(insert, values).await?;
        let target = format!("{}/{name}", peripheral.hub);
        audit(&mut tx, change, ("peripheral_added", "ok"), &target).await?;
        tx.commit().await
    }

    /// Lists the sensors behind a hub.
    pub async fn list_peripherals(&self, hub: &DeviceKey) -> Result<Vec<Peripheral>, StoreError> {
        let select = "SELECT peripheral, model, serial_number FROM peripheral WHERE tenant = $1 AND hub = $2 \
                      ORDER BY peripheral";
        let row = |row: &Record| {
            Ok(Peripheral {
                hub: hub.clone(),
                peripheral: device_id(row, "peripheral")?,
                model: row.text("model")?,
                serial_number: row.text("serial_number")?,
            })
        };
        let rows = self.db().all(select, args![hub.tenant.as_str(), hub.device.as_str()]).await?;
        rows.iter().map(row).collect()
    }
}

pub(super) fn state_name(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Active => "active",
        DeviceState::Suspended | DeviceState::Unspecified => "suspended",
        DeviceState::Retired => "retired",
    }
}

fn device_row(row: &Record) -> Result<DeviceRow, StoreError> {
    let state = match row.text("state")?.as_str() {
        "active" => DeviceState::Active,
        "suspended" => DeviceState::Suspended,
        "retired" => DeviceState::Retired,
        _ => return Err(StoreError::Corrupt("device.state")),
    };
    let device = NewDevice {
        key: DeviceKey { tenant: tenant_id(row)?, device: device_id(row, "device")? },
        model: row.text("model")?,
        serial_number: row.text("serial_number")?,
        site: row.text("site")?,
        udi: row.text("udi")?,
        for_test: row.flag("for_test")?,
    };
    Ok(DeviceRow { device, maker: row.text("maker")?, state, created_at_us: row.int("created_at_us")? })
}
