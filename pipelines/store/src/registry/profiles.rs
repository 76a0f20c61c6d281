//! Whose profile a device is judged by.

use super::models::{Model, model_row};
use crate::db::args;
use crate::{Store, StoreError};
use wardline_proto::DeviceKey;

impl Store {
    /// Lists the models that have a profile, by id.
    pub async fn profiled_models(&self) -> Result<Vec<Model>, StoreError> {
        let select = "SELECT model, maker, display_name, profile, profile_version, created_at_us \
                      FROM device_model WHERE profile <> '' ORDER BY model";
        self.db().all(select, args![]).await?.iter().map(model_row).collect()
    }

    /// Returns the id of a device's model; none when the device or its model is not known.
    pub async fn model_of(&self, key: &DeviceKey) -> Result<Option<String>, StoreError> {
        let select = "SELECT model FROM device WHERE tenant = $1 AND device = $2 AND model <> ''";
        let row = self.db().one(select, args![key.tenant.as_str(), key.device.as_str()]).await?;
        row.map(|row| row.text("model")).transpose()
    }
}
