//! Whose a row is: a tenant, or the installation itself.

use wardline_proto::TenantId;

/// Stands where a tenant's name would: no tenant's name starts with an underscore.
pub const SYSTEM: &str = "_system";

/// Returns the tenant of a name, none for [`SYSTEM`].
pub(crate) fn tenant_of(name: &str) -> Option<TenantId> {
    TenantId::new(name).ok()
}

/// Returns the tenant that an actor's SPIFFE URI names, or [`SYSTEM`].
pub(crate) fn tenant_of_actor(actor: &str) -> &str {
    let path = actor.strip_prefix("spiffe://").and_then(|rest| rest.split_once("/tenant/"));
    let tenant = path.and_then(|(_, rest)| rest.split('/').next());
    tenant.filter(|name| TenantId::new(name).is_ok()).unwrap_or(SYSTEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_names_its_tenant_or_nobody() {
        for (actor, tenant) in [
            ("spiffe://wardline.local/tenant/demo/device/mon-1", "demo"),
            ("spiffe://wardline.local/tenant/../device/mon-1", SYSTEM),
            ("", SYSTEM),
        ] {
            assert_eq!(tenant_of_actor(actor), tenant);
        }
    }
}
