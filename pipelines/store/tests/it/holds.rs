//! What is under hold is not destroyed.

use crate::rig::{at, audited, change, on_both, tenant};
use wardline_store::StoreError;
use wardline_store::catalog::Catalog;
use wardline_store::holds::pseudonyms_secret;
use wardline_store::registry::Reject;

#[test]
fn a_hold_forbids_a_shred_and_both_are_audited() {
    on_both(|store| async move {
        let (held, free) = (tenant("held"), tenant("free"));
        store.set_hold(&at(1), &held, "case 17").await.unwrap();
        store.set_hold(&at(2), &held, "another").await.unwrap();
        assert_eq!(store.holds().await.unwrap()[0].reason, "case 17", "the first stands");
        assert!(!store.begin_shred(&at(3), &held).await.unwrap());
        assert!(store.begin_shred(&at(4), &free).await.unwrap());
        let (catalog, name) = (Catalog::new(store.clone()), pseudonyms_secret(&free));
        assert_eq!(catalog.shredded_until().await.unwrap(), [("free".to_owned(), at(4).at_us)]);
        assert_eq!(catalog.secret(&name, &[1]).await.unwrap(), [1]);
        store.finish_shred(&at(5), &free, &["k-1".into(), "k-2".into()]).await.unwrap();
        assert_eq!(catalog.shredded_until().await.unwrap(), [("free".to_owned(), at(5).at_us)]);
        assert_eq!(
            catalog.secret(&name, &[2]).await.unwrap(),
            [2],
            "what does not open any more is forgotten"
        );
        assert_eq!(store.shredded().await.unwrap(), ["free"]);
        store.release_hold(&change(), &held).await.unwrap();
        assert!(store.release_hold(&change(), &held).await.is_err());
        assert!(store.begin_shred(&at(6), &held).await.unwrap());
        let told: Vec<_> = audited(&store).await.into_iter().map(|(act, on)| format!("{act} {on}")).collect();
        let expected = [
            "legal_hold_set held",
            "legal_hold_set held",
            "tenant_shred_asked held",
            "tenant_shred_asked free",
            "tenant_shredded free keys k-1,k-2",
            "legal_hold_released held",
            "tenant_shred_asked held",
        ];
        assert_eq!(told, expected);
        assert!(store.set_hold(&change(), &held, "").await.is_err(), "a hold has a reason");
        let late = store.set_hold(&at(7), &held, "case 18").await;
        assert!(matches!(late, Err(StoreError::Reject(Reject::BeingShredded))), "{late:?}");
        assert!(store.holds().await.unwrap().is_empty());
        store.finish_shred(&at(8), &held, &[]).await.unwrap();
        store.set_hold(&at(9), &held, "case 18").await.unwrap();
        let told: Vec<_> = audited(&store).await.into_iter().map(|(act, on)| format!("{act} {on}")).collect();
        assert_eq!(told[7..], ["legal_hold_set held", "tenant_shredded held keys ", "legal_hold_set held"]);
    });
}
