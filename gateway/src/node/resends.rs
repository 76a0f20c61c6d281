//! From the table of requests to the device: whichever front has its session asks it to send again.
//!
//! A request is in the database until the archive commits the device's answer, so it is given to each new session anew
//! until then: a killed agent goes on. What has come meanwhile is not asked for again.

use crate::front::{FrontHandle, now_us};
use bytes::Bytes;
use prost::Message;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wardline_archive::losses::still_missing;
use wardline_archive::{ArchiveError, ErrorKind};
use wardline_proto::limits::RESEND_RANGES_MAX;
use wardline_proto::v1::{self, SeqRange, command};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::Store;
use wardline_store::bell::Matter;
use wardline_store::catalog::Catalog;
use wardline_store::resend::Resend;

/// How often the table is looked at without being told of a request.
const POLL: Duration = Duration::from_secs(1);
/// Requests that one look takes; the next one goes on behind them.
const PAGE: usize = 256;
/// Requests of which is remembered which session has them; past it a session may be asked twice, which it notices.
const REMEMBERED_MAX: usize = 65_536;
/// How often a session that does not answer is asked the same: an agent that has it ignores it, and the way down keeps
/// nothing that a router loses.
const AGAIN: Duration = Duration::from_secs(15);
/// A session that may be about to answer is not asked the same at once: first comes what it has to say, and its commit.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Looks until it is told to stop. A database that is away is asked again.
pub(super) async fn run(
    store: Store,
    front: FrontHandle,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let catalog = Catalog::new(store.clone());
    let mut desk = Desk { catalog, store, front, given: HashMap::new(), told: HashSet::new(), past: 0 };
    let mut turn = interval(POLL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bell = desk.store.bell(Matter::Resends);
    loop {
        tokio::select! {
            _gone = stop.wait_for(|stop| *stop) => return Ok(()),
            _now = turn.tick() => {}
            () = bell.rung() => {}
        }
        if let Err(error) = desk.look().await {
            tracing::warn!(%error, "requests to send again could not be read");
        }
    }
}

struct Desk {
    store: Store,
    catalog: Catalog,
    front: FrontHandle,
    /// Which session has a request, since when.
    given: HashMap<u64, (u64, Instant)>,
    /// Which cannot be given and was told of.
    told: HashSet<u64>,
    /// The last request of the last page; 0 at the begin.
    past: u64,
}

impl Desk {
    async fn look(&mut self) -> Result<(), ArchiveError> {
        let page = self.store.open_resends(now_us(), self.past, PAGE).await?;
        let is_whole = self.past == 0 && page.len() < PAGE;
        self.past = if page.len() < PAGE { 0 } else { page.last().map_or(0, |(id, _last)| *id) };
        if is_whole {
            self.given.retain(|id, _session| page.iter().any(|(open, _)| open == id));
            self.told.retain(|id| page.iter().any(|(open, _)| open == id));
        } else if self.given.len() > REMEMBERED_MAX || self.told.len() > REMEMBERED_MAX {
            self.given.clear();
            self.told.clear();
        }
        for (request, open) in page {
            let given = match open {
                Ok(open) => self.give(&open).await,
                Err(error) => Err(error.into()),
            };
            match given {
                Ok(()) => {}
                // The database is away: it is so for all.
                Err(error) if error.kind() == ErrorKind::Retry => return Err(error),
                Err(error) if self.told.insert(request) => {
                    tracing::warn!(request, %error, "a request to send again cannot be given");
                }
                Err(_told) => {}
            }
        }
        Ok(())
    }

    /// Gives a request to the device's session, when it is here and has not got it.
    async fn give(&mut self, open: &Resend) -> Result<(), ArchiveError> {
        let Some(key) = key(open) else { return Ok(()) };
        let Some(listening) = self.front.listening(&key) else { return Ok(()) };
        let was_given = open.sent_at_us.is_some();
        let is_its = |(session, at): &(u64, Instant)| *session == listening.session && at.elapsed() < AGAIN;
        if self.given.get(&open.id).is_some_and(is_its)
            || (was_given && listening.since.elapsed() < ANSWER_TIME)
        {
            return Ok(());
        }
        let mut missing = still_missing(&self.catalog, &open.stream, &open.ranges).await?;
        // None at all: what is left is that the agent says so.
        if missing.len() > RESEND_RANGES_MAX {
            missing.clone_from(&open.ranges);
        }
        if self.front.command(&key, command(open, &missing)) {
            tracing::info!(device = %key, request = open.id, "asked to send again");
            self.given.insert(open.id, (listening.session, Instant::now()));
            self.store.resend_sent(open.id, now_us()).await?;
        }
        Ok(())
    }
}

fn key(open: &Resend) -> Option<DeviceKey> {
    let tenant = TenantId::new(&open.stream.tenant).ok()?;
    Some(DeviceKey { tenant, device: DeviceId::new(&open.stream.device).ok()? })
}

fn command(open: &Resend, missing: &[std::ops::RangeInclusive<u64>]) -> Bytes {
    let range =
        |range: &std::ops::RangeInclusive<u64>| SeqRange { first: *range.start(), last: *range.end() };
    let resend = v1::Resend {
        request: open.id,
        epoch: open.stream.epoch,
        lane: open.stream.lane,
        ranges: missing.iter().map(range).collect(),
        asked_at_us: open.asked_at_us,
    };
    v1::Command { kind: Some(command::Kind::Resend(resend)) }.encode_to_vec().into()
}
