//! Carries what workers wrote into the database to this node's outlet: wishes, and how far every role is.

use super::ROLES;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use wardline_bus::flow::Resend;
use wardline_bus::{Confirmed, FrontId, Notice, Number};
use wardline_proto::PartitionId;
use wardline_store::bell::Matter;
use wardline_store::{Store, StoreError};

const POLL: Duration = Duration::from_millis(500);

/// Carries until it is told to stop. Failures are tried again at the next turn.
pub(super) async fn run(
    store: Store,
    front: FrontId,
    notices: mpsc::Sender<Notice>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let mut turn = interval(POLL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    let mut bell = store.bell(Matter::Wishes);
    loop {
        tokio::select! {
            _gone = stop.wait_for(|stop| *stop) => return Ok(()),
            _at = turn.tick() => {}
            () = bell.rung() => {}
        }
        let carried = carry(&store, front, &notices).await;
        if let Err(error) = &carried
            && !failing
        {
            tracing::warn!(%error, "what workers confirm is not known; the journal keeps everything");
        }
        failing = carried.is_err();
    }
}

async fn carry(store: &Store, front: FrontId, notices: &mpsc::Sender<Notice>) -> Result<(), StoreError> {
    for wish in store.take_wishes(front.bytes()).await? {
        let (partition, first, last) =
            (PartitionId::new(wish.partition), Number::new(wish.first), Number::new(wish.last));
        if let (Some(partition), Some(first), Some(last)) = (partition, first, last) {
            let wanted = Resend { front, partition, first, last };
            // The outlet has ended; so will this.
            let _ended = notices.send(Notice::Wanted(wanted)).await;
        }
    }
    let mut roles = BTreeMap::<u16, Vec<u64>>::new();
    for row in store.confirmed(front.bytes()).await? {
        if ROLES.contains(&row.role.as_str()) {
            roles.entry(row.partition).or_default().push(row.next);
        }
    }
    for (partition, next) in roles {
        let below = next.iter().min().copied().and_then(Number::new).filter(|_| next.len() == ROLES.len());
        if let Some((partition, below)) = PartitionId::new(partition).zip(below) {
            let _ended = notices.send(Notice::Confirmed(Confirmed { partition, below })).await;
        }
    }
    Ok(())
}
