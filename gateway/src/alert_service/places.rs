//! Places for subscriptions: so many of all, and of these so many of one tenant and of one caller, so that nobody takes
//! those of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::Status;
use wardline_proto::TenantId;

/// Most subscriptions at a time, of all tenants.
const SUBSCRIPTIONS_MAX: usize = 1024;
/// Of these, of one tenant.
const OF_TENANT_MAX: usize = 768;
/// Of these, of one certificate's identity.
const OF_CALLER_MAX: usize = 512;

const _: () = assert!(OF_CALLER_MAX < OF_TENANT_MAX && OF_TENANT_MAX < SUBSCRIPTIONS_MAX);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_tenant: HashMap<TenantId, usize>,
    of_caller: HashMap<String, usize>,
}

/// The places. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
}

/// A place that is taken; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    tenant: TenantId,
    caller: String,
}

impl Places {
    /// Takes a place, or refuses.
    pub(super) fn take(&self, tenant: &TenantId, caller: &str) -> Result<Place, Status> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = taken.of_tenant.get(tenant).copied().unwrap_or_default();
        let of_caller = taken.of_caller.get(caller).copied().unwrap_or_default();
        let full = match (taken.all, of_tenant, of_caller) {
            (SUBSCRIPTIONS_MAX.., _, _) => Some("too many subscriptions, try again later"),
            (_, OF_TENANT_MAX.., _) => Some("too many subscriptions of this tenant, try again later"),
            (_, _, OF_CALLER_MAX..) => Some("too many subscriptions of this caller, try again later"),
            _ => None,
        };
        if let Some(full) = full {
            return Err(Status::resource_exhausted(full));
        }
        taken.all += 1;
        *taken.of_tenant.entry(tenant.clone()).or_default() += 1;
        *taken.of_caller.entry(caller.to_owned()).or_default() += 1;
        Ok(Place { places: self.clone(), tenant: tenant.clone(), caller: caller.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        free(&mut taken.of_tenant, &self.tenant);
        free(&mut taken.of_caller, &self.caller);
    }
}

/// Counts one less; who has none is not kept.
fn free<K: std::hash::Hash + Eq>(of: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = of.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            of.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn nobody_takes_the_places_of_others_and_what_is_dropped_is_free() {
        let places = Places::default();
        let take = |tenant_name: &str, caller: &str| places.take(&tenant(tenant_name), caller);
        let mut held: Vec<_> = (0..OF_CALLER_MAX).map(|_| take("a", "one").unwrap()).collect();
        assert!(take("a", "one").unwrap_err().message().contains("of this caller"));
        held.extend((OF_CALLER_MAX..OF_TENANT_MAX).map(|n| take("a", &format!("two-{n}")).unwrap()));
        assert!(take("a", "three").unwrap_err().message().contains("of this tenant"));
        held.extend((OF_TENANT_MAX..SUBSCRIPTIONS_MAX).map(|n| take("b", &format!("four-{n}")).unwrap()));
        let full = take("c", "five").unwrap_err();
        assert_eq!(full.code(), tonic::Code::ResourceExhausted);
        drop(held);
        take("a", "one").unwrap();
        let taken = places.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.of_tenant.is_empty() && taken.of_caller.is_empty());
    }
}
