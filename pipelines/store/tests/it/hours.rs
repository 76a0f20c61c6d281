//! The hours of streams change with the commit of their frames, and are told once.

use crate::rig::on_both;
use wardline_store::catalog::{Catalog, Commit, StreamId};
use wardline_store::hours::{HourRow, HourSum, Told};

fn stream(device: &str) -> StreamId {
    StreamId { tenant: "st-mary".into(), device: device.into(), epoch: 7, lane: 2 }
}

fn hour(device: &str, hour_us: i64, archived: u64) -> HourRow {
    HourRow {
        id: stream(device),
        hour_us,
        seen: vec![1, archived as u8],
        placed: archived + 1,
        archived,
        duplicates: 2,
        quarantined: 1,
        late: 3,
        erased: 0,
        revision: 0,
        told: Vec::new(),
    }
}

#[test]
fn an_hour_is_untold_until_it_is_told_and_again_when_it_changes() {
    on_both(|store| async move {
        let catalog = Catalog::new(store);
        let lease = catalog.take_over(0, 0).await.unwrap().number;
        let hours = vec![hour("d-1", 100, 5), hour("d-1", 200, 6), hour("d-2", 100, 7)];
        catalog.commit(&Commit { lease, hours: hours.clone(), ..Commit::default() }).await.unwrap();
        assert_eq!(catalog.hours(&stream("d-1"), 0, 200).await.unwrap(), hours[..2]);
        assert_eq!(catalog.hours(&stream("d-1"), 101, i64::MAX).await.unwrap(), hours[1..2]);
        assert_eq!(catalog.untold_streams(100, 9).await.unwrap(), [stream("d-1"), stream("d-2")]);
        assert_eq!(catalog.untold_streams(100, 1).await.unwrap(), [stream("d-1")]);
        assert!(catalog.untold_streams(99, 9).await.unwrap().is_empty());
        let tell = |device: &str, hour_us| Told {
            id: stream(device),
            hour_us,
            revision: 1,
            told: vec![9; 16],
            holes: u64::from(hour_us == 100),
        };
        let told = vec![tell("d-1", 100), tell("d-1", 200)];
        catalog.commit(&Commit { lease, told, ..Commit::default() }).await.unwrap();
        assert_eq!(catalog.untold_streams(i64::MAX, 9).await.unwrap(), [stream("d-2")]);
        let unsettled = catalog.unsettled_hours(&stream("d-1")).await.unwrap();
        assert_eq!(
            unsettled.iter().map(|hour| hour.hour_us).collect::<Vec<_>>(),
            [100],
            "the other has no hole"
        );
        let late = vec![hour("d-1", 200, 8)];
        catalog.commit(&Commit { lease, hours: late, ..Commit::default() }).await.unwrap();
        let changed = HourRow { revision: 1, told: vec![9; 16], ..hour("d-1", 200, 8) };
        assert_eq!(
            catalog.hours(&stream("d-1"), 200, 200).await.unwrap(),
            [changed],
            "what was told is kept"
        );
        assert_eq!(catalog.unsettled_hours(&stream("d-1")).await.unwrap().len(), 2);
        assert_eq!(catalog.untold_streams(i64::MAX, 9).await.unwrap(), [stream("d-1"), stream("d-2")]);
        let fenced = Commit { lease: lease + 1, hours: vec![hour("d-3", 1, 1)], ..Commit::default() };
        assert!(catalog.commit(&fenced).await.is_err());
        assert!(catalog.hours(&stream("d-3"), 0, 9).await.unwrap().is_empty());
    });
}

#[test]
fn what_is_looked_at_is_of_one_moment_whatever_is_committed_meanwhile() {
    on_both(|store| async move {
        let catalog = Catalog::new(store);
        let lease = catalog.take_over(0, 0).await.unwrap().number;
        let one = Commit { lease, next_offset: 5, hours: vec![hour("d-1", 100, 5)], ..Commit::default() };
        catalog.commit(&one).await.unwrap();
        let mut look = catalog.hour_look().await.unwrap();
        let hours = vec![hour("d-1", 100, 6), hour("d-2", 100, 7)];
        let more = Commit { lease, from_offset: 5, next_offset: 9, hours, ..Commit::default() };
        catalog.commit(&more).await.unwrap();
        let archived = |sums: Vec<HourSum>| sums.iter().map(|sum| sum.archived).collect::<Vec<_>>();
        let (before, after) = (hour("d-1", 100, 5), hour("d-1", 100, 6));
        assert_eq!(look.next_offset(), Some(5));
        assert_eq!(archived(look.sums(None, (0, 200), 9).await.unwrap()), [before.archived]);
        assert_eq!(look.hours(&stream("d-1"), (0, 200)).await.unwrap(), [before]);
        let mut look = catalog.hour_look().await.unwrap();
        assert_eq!(look.next_offset(), Some(9));
        assert_eq!(look.sums(None, (0, 200), 9).await.unwrap().len(), 2);
        assert_eq!(look.hours(&stream("d-1"), (0, 200)).await.unwrap(), [after]);
    });
}
