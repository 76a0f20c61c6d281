//! `spool.json`: whose spool this is and since when. Written once.
//!
//! The epoch (unix microseconds of the creation) names the numbering of every frame for ever. The device is in it
//! because a spool must never be sent under another certificate: that would give one patient's readings to
//! another device.

use super::SpoolError;
use super::durable_file;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use wardline_proto::DeviceKey;

const FILE: &str = "spool.json";
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    version: u32,
    epoch_us: u64,
    tenant: String,
    device: String,
}

impl Meta {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch_us
    }

    /// Reads the file, or writes it when the spool is new. `holds_logs` says that logs are there already: then a
    /// missing file is damage and not a new spool.
    pub(crate) fn open(
        dir: &Path,
        key: &DeviceKey,
        now_us: i64,
        holds_logs: bool,
    ) -> Result<Self, SpoolError> {
        let path = dir.join(FILE);
        let meta = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Self>(&bytes)
                .map_err(|_| SpoolError::Damaged("spool.json is not readable"))?,
            Err(error) if error.kind() == ErrorKind::NotFound && !holds_logs => {
                return Self::create(&path, key, now_us);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(SpoolError::Damaged("spool.json is missing beside the logs"));
            }
            Err(error) => return Err(SpoolError::Io(error)),
        };
        meta.check(key)?;
        Ok(meta)
    }

    fn create(path: &Path, key: &DeviceKey, now_us: i64) -> Result<Self, SpoolError> {
        let epoch_us =
            u64::try_from(now_us).ok().filter(|epoch| *epoch > 0).ok_or(SpoolError::ClockBeforeEpoch)?;
        let meta = Self {
            version: VERSION,
            epoch_us,
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
        };
        let bytes =
            serde_json::to_vec(&meta).map_err(|_| SpoolError::Damaged("spool.json cannot be made"))?;
        durable_file::replace(path, &bytes)?;
        Ok(meta)
    }

    fn check(&self, key: &DeviceKey) -> Result<(), SpoolError> {
        if self.version != VERSION || self.epoch_us == 0 {
            return Err(SpoolError::Damaged("spool.json is of another version"));
        }
        if self.tenant != key.tenant.as_str() || self.device != key.device.as_str() {
            let owner = format!("{}/{}", self.tenant, self.device);
            return Err(SpoolError::OtherDevice { owner, certificate: key.to_string() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::{DeviceId, TenantId};

    fn key(device: &str) -> DeviceKey {
        DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new(device).unwrap() }
    }

    #[test]
    fn the_epoch_is_fixed_and_the_owner_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let first = Meta::open(dir.path(), &key("m-1"), 42, false).unwrap();
        let again = Meta::open(dir.path(), &key("m-1"), 99, true).unwrap();
        assert_eq!((first.epoch(), again.epoch()), (42, 42));
        assert!(matches!(Meta::open(dir.path(), &key("m-2"), 99, true), Err(SpoolError::OtherDevice { .. })));
    }

    #[test]
    fn a_missing_or_broken_file_beside_logs_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Meta::open(dir.path(), &key("m-1"), 42, true), Err(SpoolError::Damaged(_))));
        fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(matches!(Meta::open(dir.path(), &key("m-1"), 42, true), Err(SpoolError::Damaged(_))));
    }
}
