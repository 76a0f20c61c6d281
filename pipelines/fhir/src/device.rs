//! A registered device as a Device.

use crate::systems::DEVICE;
use serde_json::{Map, Value, json};

/// What the registry knows of a device. Texts are empty where it does not.
#[derive(Debug, Clone, Default)]
pub struct Registered<'a> {
    /// FHIR id.
    pub id: &'a str,
    /// Its name, or a pseudonym of it.
    pub name: &'a str,
    /// Whether it may connect.
    pub is_active: bool,
    /// Id of its model.
    pub model: &'a str,
    /// Who makes that.
    pub maker: &'a str,
    /// Serial number of the hardware.
    pub serial_number: &'a str,
    /// Unique device identifier.
    pub udi: &'a str,
    /// The ward that it is in.
    pub site: &'a str,
    /// Of its registration, unix microseconds; 0 where it is not told.
    pub registered_us: i64,
}

/// Makes the Device.
pub fn device(registered: &Registered<'_>) -> Value {
    let mut resource = Map::new();
    resource.insert("resourceType".into(), "Device".into());
    resource.insert("id".into(), registered.id.into());
    resource.insert("identifier".into(), json!([{ "system": DEVICE, "value": registered.name }]));
    resource.insert("status".into(), if registered.is_active { "active" } else { "inactive" }.into());
    if registered.registered_us != 0 {
        let at = crate::time::instant(registered.registered_us);
        resource.insert("meta".into(), json!({ "lastUpdated": at }));
    }
    for (name, text) in [
        ("manufacturer", registered.maker),
        ("modelNumber", registered.model),
        ("serialNumber", registered.serial_number),
    ] {
        if !text.is_empty() {
            resource.insert(name.into(), text.into());
        }
    }
    if !registered.udi.is_empty() {
        resource.insert("udiCarrier".into(), json!([{ "carrierHRF": registered.udi }]));
    }
    if !registered.site.is_empty() {
        resource.insert("location".into(), json!({ "display": registered.site }));
    }
    Value::Object(resource)
}
