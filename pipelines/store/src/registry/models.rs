//! Device models with their profiles.

use super::{Change, Reject, audit, usable};
use crate::bell::Matter;
use crate::db::{Record, args};
use crate::{Store, StoreError};
use wardline_proto::{DeviceId, TenantId};

/// Largest profile text, bytes.
pub const PROFILE_BYTES_MAX: usize = 256 * 1024;

/// A model of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its id, of all makers.
    pub model: DeviceId,
    /// The tenant that makes it.
    pub maker: TenantId,
    /// For people.
    pub display_name: String,
    /// The text of its profile; empty when there is none.
    pub profile: String,
    /// Version of the profile; 0 when there is none.
    pub profile_version: i64,
    /// Unix microseconds.
    pub created_at_us: i64,
}

impl Store {
    /// Creates a model, or gives it a newer profile. The same again changes nothing; a profile's version must rise
    /// with its text, and the maker stays.
    pub async fn put_model(&self, change: &Change, model: &Model) -> Result<(), StoreError> {
        usable("display_name", &model.display_name, false)?;
        if model.profile.len() > PROFILE_BYTES_MAX || model.profile_version < 0 {
            return Err(Reject::Invalid("profile").into());
        }
        let mut tx = self.change().await?;
        let select = "SELECT model, maker, display_name, profile, profile_version, created_at_us \
                      FROM device_model WHERE model = $1";
        if let Some(row) = tx.one(select, args![model.model.as_str()]).await? {
            let known = model_row(&row)?;
            if (&known.display_name, &known.profile, known.profile_version, &known.maker)
                == (&model.display_name, &model.profile, model.profile_version, &model.maker)
            {
                return Ok(());
            }
            let is_newer = known.profile == model.profile || model.profile_version > known.profile_version;
            if known.maker != model.maker || !is_newer {
                return Err(Reject::Conflict("model").into());
            }
        }
        let upsert = "INSERT INTO device_model (model, maker, display_name, profile, profile_version, created_at_us) \
                      VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (model) DO UPDATE SET \
                      display_name = excluded.display_name, profile = excluded.profile, \
                      profile_version = excluded.profile_version";
        let values = args![
            model.model.as_str(),
            model.maker.as_str(),
            &model.display_name,
            &model.profile,
            model.profile_version,
            change.at_us,
        ];
        tx.run(upsert, values).await?;
        let target = format!("{} profile {}", model.model, model.profile_version);
        audit(&mut tx, change, ("model_put", "ok"), &target).await?;
        tx.tell(Matter::Profiles);
        tx.commit().await
    }

    /// Returns a model.
    pub async fn get_model(&self, model: &DeviceId) -> Result<Option<Model>, StoreError> {
        let select = "SELECT model, maker, display_name, profile, profile_version, created_at_us \
                      FROM device_model WHERE model = $1";
        self.db().one(select, args![model.as_str()]).await?.as_ref().map(model_row).transpose()
    }

    /// Lists models by id: of a maker, or all.
    pub async fn list_models(&self, maker: Option<&TenantId>) -> Result<Vec<Model>, StoreError> {
        let select = "SELECT model, maker, display_name, profile, profile_version, created_at_us \
                      FROM device_model WHERE $1 = '' OR maker = $1 ORDER BY model";
        let maker = maker.map_or("", TenantId::as_str);
        self.db().all(select, args![maker]).await?.iter().map(model_row).collect()
    }
}

pub(super) fn model_row(row: &Record) -> Result<Model, StoreError> {
    let maker =
        TenantId::new(&row.text("maker")?).map_err(|_id| StoreError::Corrupt("device_model.maker"))?;
    Ok(Model {
        model: super::tenants::device_id(row, "model")?,
        maker,
        display_name: row.text("display_name")?,
        profile: row.text("profile")?,
        profile_version: row.int("profile_version")?,
        created_at_us: row.int("created_at_us")?,
    })
}
