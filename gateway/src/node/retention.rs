//! Drops journal segments that every consumer has passed.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wardline_journal::{Journal, Offset};
use wardline_store::catalog::Catalog;
use wardline_store::{Store, StoreError};

const INTERVAL: Duration = Duration::from_secs(2);

/// Looks at the committed positions until it is told to stop. Failures are tried again at the next turn.
pub(super) async fn run(
    journal: Journal,
    store: Store,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let catalog = Catalog::new(store.clone());
    let mut turn = interval(INTERVAL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            _ = turn.tick() => {}
        }
        match passed(&catalog, &store).await {
            // Behind its end nothing of this journal was read, whatever the number says.
            Ok(Some(offset)) if offset > journal.start() && offset <= journal.durable_end() => {
                drop_below(journal.clone(), offset).await;
            }
            Ok(_nothing_new) => {}
            Err(error) => tracing::warn!(%error, "positions not read; nothing is dropped"),
        }
    }
}

/// Returns the first offset that a consumer still needs; none while one has not begun.
async fn passed(catalog: &Catalog, store: &Store) -> Result<Option<Offset>, StoreError> {
    let archive = catalog.position().await?;
    let alert = store.alert_position(wardline_alert::CONSUMER).await?;
    Ok(archive.zip(alert).map(|(archive, alert)| Offset::new(archive.min(alert))))
}

async fn drop_below(journal: Journal, offset: Offset) {
    match tokio::task::spawn_blocking(move || journal.retain_from(offset)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(segments)) => tracing::debug!(segments, %offset, "journal segments dropped"),
        Ok(Err(error)) => tracing::error!(%error, "journal segments not dropped"),
        Err(error) => tracing::error!(%error, "dropping journal segments panicked"),
    }
}
