//! How long the archive of a partition stands still.

use crate::archive::block_on;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use wardline_store::Store;

/// Watches for how long the archive of a partition does not move, of those that fleets publish to.
pub(crate) struct Pause {
    stop: std::sync::mpsc::Sender<()>,
    watcher: std::thread::JoinHandle<anyhow::Result<Duration>>,
}

impl Pause {
    /// Begins to watch some partitions.
    pub(crate) fn watch(url: String, busy: BTreeSet<u16>) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let watcher = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut moved: BTreeMap<u16, (u64, Instant)> = busy.iter().map(|p| (*p, (0, begun))).collect();
            let mut longest = Duration::ZERO;
            while stopped.recv_timeout(Duration::from_millis(100)).is_err() {
                let leases = block_on(async {
                    let store = Store::connect_read_only(&url).await?;
                    let leases = store.leases("archive").await?;
                    store.close().await;
                    Ok(leases)
                });
                for lease in leases.unwrap_or_default() {
                    if let Some((known, at)) = moved.get_mut(&lease.partition)
                        && *known != lease.next_offset
                    {
                        longest = longest.max(at.elapsed());
                        (*known, *at) = (lease.next_offset, Instant::now());
                    }
                }
            }
            Ok(moved.values().fold(longest, |longest, (_, at)| longest.max(at.elapsed())))
        });
        Self { stop, watcher }
    }

    /// Ends, and returns the longest time.
    pub(crate) fn end(self) -> anyhow::Result<Duration> {
        self.stop.send(())?;
        self.watcher.join().map_err(|_panicked| anyhow::Error::msg("the watcher panicked"))?
    }
}
