//! Which journal the positions count in.

use crate::rig::{NOW_US, on_both};

#[test]
fn a_journal_is_bound_only_in_the_place_of_the_one_that_is_given_up() {
    on_both(|store| async move {
        let known = async || store.journal_origin().await.unwrap();
        assert_eq!(known().await, None);
        assert!(store.bind_journal("one", None, NOW_US).await.unwrap());
        assert!(
            !store.bind_journal("two", None, NOW_US).await.unwrap(),
            "of two first ones the first stands"
        );
        assert!(!store.bind_journal("two", Some("zero"), NOW_US).await.unwrap());
        assert_eq!(known().await.as_deref(), Some("one"));
        assert!(store.bind_journal("two", Some("one"), NOW_US).await.unwrap());
        assert_eq!(known().await.as_deref(), Some("two"));
    });
}
