//! Leases of partitions: one holder, and no commit of any other.

use crate::rig::on_both;
use wardline_proto::PartitionId;
use wardline_store::Store;
use wardline_store::catalog::{Catalog, Commit, CommitError};
use wardline_store::cluster::{Claim, Confirmed, Share, Standing, Wish};
use wardline_store::standings::Standings;

const ROLE: &str = "archive";
const LOG: [u8; 16] = [0xab; 16];

async fn take(store: &Store, partition: u16, holder: &str) -> Option<Claim> {
    let rows = store.leases(ROLE).await.unwrap();
    let row = rows.into_iter().find(|row| row.partition == partition).unwrap();
    store.take_lease(ROLE, (&row, 2), holder).await.unwrap()
}

fn step(from_offset: u64, next_offset: u64, next: u64) -> Commit {
    let standing = Standing { next_offset, position: next_offset * 10, logs: vec![(LOG, next)] };
    Commit { from_offset, next_offset, standing, ..Commit::default() }
}

#[test]
fn a_worker_whose_lease_was_taken_commits_nothing() {
    on_both(|store| async move {
        store.make_leases(ROLE, 2).await.unwrap();
        let first = take(&store, 0, "a").await.unwrap();
        let catalog = Catalog::of_partition(store.clone(), first.clone());
        assert_eq!(catalog.begin(99, 1).await.unwrap().next_offset, 0);
        catalog.commit(&step(0, 5, 4)).await.unwrap();
        assert!(matches!(catalog.commit(&step(0, 6, 5)).await, Err(CommitError::Fenced)), "from elsewhere");
        // Both saw the same row; it moves once.
        let row = store.leases(ROLE).await.unwrap().remove(0);
        let second = store.take_lease(ROLE, (&row, 2), "b").await.unwrap().unwrap();
        assert_eq!(store.take_lease(ROLE, (&row, 2), "c").await.unwrap(), None);
        assert_eq!(second.epoch, first.epoch + 1);
        assert!(matches!(catalog.commit(&step(5, 6, 5)).await, Err(CommitError::Fenced)), "taken");
        assert!(!catalog.is_held(0).await.unwrap() && store.standing(&first).await.unwrap().is_none());
        store.release_lease(&first).await.unwrap();
        let standing = store.standing(&second).await.unwrap().unwrap();
        assert_eq!(standing, Standing { next_offset: 5, position: 50, logs: vec![(LOG, 4)] });
        Catalog::of_partition(store.clone(), second).commit(&step(5, 7, 6)).await.unwrap();
        assert_eq!(
            catalog.partition_position(PartitionId::default()).await.unwrap(),
            None,
            "no topic is settled"
        );
        store.cluster_partitions(2).await.unwrap();
        assert_eq!(catalog.partition_position(PartitionId::default()).await.unwrap(), Some(7));
    });
}

#[test]
fn who_commits_nothing_sees_where_every_partition_stands() {
    on_both(|store| async move {
        assert_eq!(store.standings().await.unwrap(), Standings::default(), "one machine");
        store.cluster_partitions(2).await.unwrap();
        assert_eq!(store.standings().await.unwrap(), Standings { of: 2, ..Standings::default() });
        store.make_leases(ROLE, 2).await.unwrap();
        store.make_leases("alert", 2).await.unwrap();
        let catalog = Catalog::of_partition(store.clone(), take(&store, 1, "a").await.unwrap());
        catalog.begin(99, 1).await.unwrap();
        catalog.commit(&step(0, 5, 4)).await.unwrap();
        let found = store.standings().await.unwrap();
        assert_eq!(found.part(1), Standing { next_offset: 5, position: 50, logs: vec![(LOG, 4)] });
        assert_eq!((found.part(0), found.part(9)), (Standing::default(), Standing::default()));
        let of_device = |partition| found.next_offset(PartitionId::new(partition).unwrap());
        assert_eq!((of_device(3), of_device(2)), (5, 0), "a device is in a partition of the bus");
        assert_eq!(catalog.moment(&[]).await.unwrap().standings, found);
        assert_eq!(catalog.hour_look().await.unwrap().standings().await.unwrap(), found);
    });
}

#[test]
fn signs_of_life_move_the_row_and_members_come_and_go() {
    on_both(|store| async move {
        store.make_leases(ROLE, 2).await.unwrap();
        let claim = take(&store, 1, "a").await.unwrap();
        assert!(claim.share.holds(3) && !claim.share.holds(2));
        let before = store.leases(ROLE).await.unwrap();
        store.beat(ROLE, "a").await.unwrap();
        store.beat(ROLE, "b").await.unwrap();
        store.beat(ROLE, "b").await.unwrap();
        let after = store.leases(ROLE).await.unwrap();
        assert_eq!(after[0], before[0]);
        assert_eq!((after[1].beats, &after[1].holder[..]), (before[1].beats + 1, "a"));
        assert_eq!(take(&store, 1, "b").await.unwrap().epoch, 2);
        assert_eq!(store.members(ROLE).await.unwrap(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        store.forget_member(ROLE, "b", Some(1)).await.unwrap();
        store.forget_member(ROLE, "a", Some(1)).await.unwrap();
        assert_eq!(store.members(ROLE).await.unwrap().len(), 1, "who moved since is not forgotten");
        store.forget_member(ROLE, "b", None).await.unwrap();
        assert_eq!(store.members(ROLE).await.unwrap(), []);
        assert_eq!(store.cluster_partitions(8).await.unwrap(), 8);
        assert_eq!(store.cluster_partitions(9).await.unwrap(), 8, "settled by the first");
    });
}

#[test]
fn a_front_gets_wishes_once_and_sees_how_far_each_role_is() {
    on_both(|store| async move {
        store.make_leases(ROLE, 1).await.unwrap();
        store.wish(ROLE, 0, &LOG, (3, 9)).await.unwrap();
        store.wish(ROLE, 0, &LOG, (4, 9)).await.unwrap();
        store.wish("alert", 0, &LOG, (1, 1)).await.unwrap();
        store.wish(ROLE, 0, &[1; 16], (1, 1)).await.unwrap();
        let mut wishes = store.take_wishes(&LOG).await.unwrap();
        wishes.sort_by_key(|wish| wish.first);
        let wish = |role: &str, first, last| Wish { partition: 0, role: role.to_owned(), first, last };
        assert_eq!(wishes, [wish("alert", 1, 1), wish(ROLE, 4, 9)]);
        assert_eq!(store.take_wishes(&LOG).await.unwrap(), []);
        let row = store.leases(ROLE).await.unwrap().remove(0);
        let claim = store.take_lease(ROLE, (&row, 1), "a").await.unwrap().unwrap();
        assert_eq!(claim.share, Share { partition: 0, of: 1 });
        Catalog::of_partition(store.clone(), claim).commit(&step(0, 5, 4)).await.unwrap();
        let confirmed = Confirmed { role: ROLE.to_owned(), partition: 0, next: 4 };
        assert_eq!(store.confirmed(&LOG).await.unwrap(), [confirmed]);
        store.make_leases("outbox", 1).await.unwrap();
        let roles = [ROLE, "alert"];
        assert_eq!(store.passed_positions(&roles).await.unwrap(), [], "one role has not begun");
        store.make_leases("alert", 1).await.unwrap();
        let row = store.leases("alert").await.unwrap().remove(0);
        store.take_lease("alert", (&row, 1), "b").await.unwrap().unwrap();
        assert_eq!(store.passed_positions(&roles).await.unwrap(), [(0, 0)], "the slower one counts");
    });
}
