//! Identifiers that are valid by construction, and the identity that a certificate proves.
//!
//! Grammar of a tenant or device id: 1 to 64 of `a-z 0-9 . _ -`, first and last alphanumeric. So an id can stand
//! in a topic level, a URI path segment, a file name and a metric label without escaping.

use crate::limits::{ID_BYTES_MAX, PARTITIONS};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Says why a string is not an id or an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The id is empty, too long or has a character outside the grammar.
    #[error("an id is 1 to 64 of a-z 0-9 . _ - and starts and ends with a letter or digit")]
    Grammar,
    /// The URI is not one of ours.
    #[error("an identity is spiffe://TRUST-DOMAIN/tenant/T/device/D, /service/S or /user/U")]
    Uri,
}

fn check(id: &str) -> Result<(), IdError> {
    let bytes = id.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = bytes.len() <= ID_BYTES_MAX && bytes.iter().all(inner);
    if fits && outer(bytes.first()) && outer(bytes.last()) { Ok(()) } else { Err(IdError::Grammar) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the grammar.
            pub fn new(id: &str) -> Result<Self, IdError> {
                check(id)?;
                Ok(Self(id.into()))
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::new(id)
            }
        }
    };
}

id! {
    /// Names a tenant: a hospital, a maker, a study.
    TenantId
}
id! {
    /// Names a device within its tenant.
    DeviceId
}

/// Names a device across tenants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceKey {
    /// The tenant that owns the device.
    pub tenant: TenantId,
    /// The device within it.
    pub device: DeviceId,
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.device)
    }
}

impl DeviceKey {
    /// Returns the device's partition: FNV-1a over `tenant/device`, stable for ever.
    pub fn partition(&self) -> PartitionId {
        let bytes = self.tenant.as_str().bytes().chain([b'/']).chain(self.device.as_str().bytes());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let folded = hash ^ (hash >> 32);
        PartitionId((folded % u64::from(PARTITIONS)) as u16)
    }
}

/// Names a partition, below [`PARTITIONS`]. The default is the first one, where records of no device go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PartitionId(u16);

impl PartitionId {
    /// Makes a partition id when `number` is one.
    pub fn new(number: u16) -> Option<Self> {
        (number < PARTITIONS).then_some(Self(number))
    }

    /// Returns the number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// Who a verified certificate speaks for (SEC-1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A device: publishes on its own topics and nothing else.
    Device(DeviceKey),
    /// A service of the tenant: subscribes to alerts.
    Service {
        /// The tenant it belongs to.
        tenant: TenantId,
        /// Its name.
        name: DeviceId,
    },
    /// A person of the tenant.
    User {
        /// The tenant they belong to.
        tenant: TenantId,
        /// Their name.
        name: DeviceId,
    },
}

impl Identity {
    /// Reads a SAN URI of this trust domain. Anything else is no identity: deny by default.
    pub fn from_uri(uri: &str, trust_domain: &str) -> Result<Self, IdError> {
        let rest =
            uri.strip_prefix("spiffe://").and_then(|u| u.strip_prefix(trust_domain)).ok_or(IdError::Uri)?;
        let mut parts = rest.split('/');
        let (Some(""), Some("tenant"), Some(tenant), Some(kind), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdError::Uri);
        };
        let (tenant, name) = (TenantId::new(tenant)?, DeviceId::new(name)?);
        match kind {
            "device" => Ok(Self::Device(DeviceKey { tenant, device: name })),
            "service" => Ok(Self::Service { tenant, name }),
            "user" => Ok(Self::User { tenant, name }),
            _ => Err(IdError::Uri),
        }
    }

    /// Returns the SAN URI of this identity.
    pub fn uri(&self, trust_domain: &str) -> String {
        let (tenant, kind, name) = match self {
            Self::Device(key) => (&key.tenant, "device", &key.device),
            Self::Service { tenant, name } => (tenant, "service", name),
            Self::User { tenant, name } => (tenant, "user", name),
        };
        format!("spiffe://{trust_domain}/tenant/{tenant}/{kind}/{name}")
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Device(key) => &key.tenant,
            Self::Service { tenant, .. } | Self::User { tenant, .. } => tenant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outside_the_grammar_are_refused() {
        for bad in ["", "-a", "a-", "A", "a/b", "a b", "ä", "+", "#", &"x".repeat(65)] {
            assert_eq!(DeviceId::new(bad), Err(IdError::Grammar), "{bad:?}");
        }
        for good in ["a", "icu-7", "mon.0001_b", &"x".repeat(64)] {
            assert_eq!(DeviceId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn identity_round_trips_and_foreign_uris_are_none() {
        let uri = "spiffe://wardline.example/tenant/st-mary/device/mon-1";
        let identity = Identity::from_uri(uri, "wardline.example").unwrap();
        assert_eq!(identity.uri("wardline.example"), uri);
        for bad in [
            "spiffe://wardline.example.evil/tenant/st-mary/device/mon-1",
            "spiffe://wardline.example/tenant/st-mary/device/mon-1/x",
            "spiffe://wardline.example/tenant/st-mary/admin/mon-1",
            "spiffe://wardline.example/tenant//device/mon-1",
            "https://wardline.example/tenant/st-mary/device/mon-1",
        ] {
            assert!(Identity::from_uri(bad, "wardline.example").is_err(), "{bad}");
        }
    }

    #[test]
    fn partition_is_stable() {
        let key =
            DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new("mon-1").unwrap() };
        assert_eq!(key.partition(), key.clone().partition());
        let spread: std::collections::BTreeSet<_> = (0..1000)
            .map(|i| {
                DeviceKey { device: DeviceId::new(&format!("mon-{i}")).unwrap(), ..key.clone() }.partition()
            })
            .collect();
        assert_eq!(spread.len(), usize::from(PARTITIONS));
    }
}
