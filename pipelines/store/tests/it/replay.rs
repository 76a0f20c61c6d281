//! Frames that are judged again: asked for, told of, and done once.

use crate::rig::{at, audited, change, on_both};
use wardline_store::catalog::{Catalog, Commit};
use wardline_store::replay::{FrameName, Outcome};

fn frame(offset: u64) -> FrameName {
    FrameName { tenant: "st-mary".into(), partition: 3, offset }
}

#[test]
fn a_frame_waits_once_and_is_audited() {
    on_both(|store| async move {
        assert_eq!(store.ask_replay(&at(1), &[frame(7), frame(8)]).await.unwrap(), 2);
        assert_eq!(store.ask_replay(&at(2), &[frame(8), frame(9)]).await.unwrap(), 1, "one waits already");
        assert_eq!(store.waiting_replays(2).await.unwrap(), [frame(7), frame(8)]);
        assert_eq!(store.replays(Some("st-mary")).await.unwrap().len(), 3);
        assert!(store.replays(Some("other")).await.unwrap().is_empty());
        let (actions, targets): (Vec<_>, Vec<_>) = audited(&store).await.into_iter().unzip();
        assert_eq!(actions, ["quarantine_replay_asked"; 2]);
        assert_eq!(targets, ["2 of 2 frames", "1 of 2 frames"]);
    });
}

#[test]
fn what_becomes_of_a_frame_is_written_with_the_commit_and_only_while_it_waits() {
    on_both(|store| async move {
        let catalog = Catalog::new(store.clone());
        let lease = catalog.take_over(0, 0).await.unwrap().number;
        store.ask_replay(&change(), &[frame(7), frame(8)]).await.unwrap();
        let stays = || Outcome::Stays("WL-Q-009".to_owned());
        let replays = vec![(frame(7), Outcome::Replayed), (frame(8), stays())];
        let commit = Commit { lease, replays, ..Commit::default() };
        catalog.commit(&commit).await.unwrap();
        assert!(catalog.commit(&commit).await.is_err(), "nothing waits");
        let told: Vec<_> =
            store.replays(None).await.unwrap().into_iter().map(|replay| replay.outcome).collect();
        assert_eq!(told, [Some(Outcome::Replayed), Some(stays())]);
        assert_eq!(store.ask_replay(&change(), &[frame(7), frame(8)]).await.unwrap(), 1);
        assert_eq!(store.waiting_replays(9).await.unwrap(), [frame(8)]);
    });
}
