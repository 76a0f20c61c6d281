//! The work of exports: one at a time, oldest first, part by part.

use super::super::devices;
use super::super::limits::{EXPORT_AGAIN_AFTER, EXPORT_BYTES_MAX, EXPORT_PART_MAX};
use super::super::naming::Naming;
use super::super::select::{Session, Want};
use super::super::{Asked, Site};
use super::file::Writer;
use super::job::{Finished, Job, Part, State};
use super::reach::Ends;
use crate::error::QueryError;
use crate::pseudonyms;
use crate::serve::pump::Bounds;
use crate::serve::slots::Slots;
use crate::snapshot::Reach;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use wardline_archive::place::Place;
use wardline_archive::read::ArchiveReader;
use wardline_archive::{ArchiveError, Day, Table};
use wardline_fhir::search::ExportRequest;
use wardline_fhir::time::Span;
use wardline_journal::{KeyPurpose, Sealer};
use wardline_proto::TenantId;
use wardline_store::catalog::FileRow;
use wardline_store::registry::Sites;

const DEVICES: &str = "devices";
/// What was taken so shortly before `_since` is given again: a commit follows the order of the journal, which differs
/// from that of ingest by as much as sessions wait for each other.
const OVERLAP_US: i64 = 1_000_000;

/// A partition whose newest row is so much older than the newest of all does not hold the time back that an export
/// tells: its devices are silent, or its worker is. What comes of it later, the next export has by [`Ends`].
const LAG_MAX_US: i64 = 86_400_000_000;

/// Says why a part was not done.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("more than {EXPORT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it was cancelled")]
    Cancelled,
}

/// Up to which time of ingest an export goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    /// No row of it is newer.
    pub(super) until_us: i64,
    /// What was taken until then is in it: the next one goes on from here.
    pub(super) whole_us: i64,
}

impl Reached {
    /// Judges by the newest committed rows of a tenant, by partition. Nobody's wards, and no clock: what was taken and
    /// is not committed yet is older than either may say. Partitions of one journal are committed together, in its
    /// order, and those of a cluster each for itself. Without a row it goes until the newest day of files begins, or on
    /// from where the last one ended.
    fn of(newest: &BTreeMap<u16, i64>, is_cluster: bool, otherwise_us: Option<i64>) -> Self {
        let until_us = newest.values().max().copied().or(otherwise_us).unwrap_or(0);
        let goes_on = |us: &i64| *us >= until_us.saturating_sub(LAG_MAX_US);
        let least = newest.values().copied().filter(goes_on).min().filter(|_least| is_cluster);
        Self { until_us, whole_us: least.unwrap_or(until_us) }
    }
}

fn away(error: ArchiveError) -> QueryError {
    tracing::error!(%error, "the catalog does not read");
    QueryError::Archive("the catalog does not read".into())
}

/// Lists a tenant's files of rows that are exported.
async fn files(site: &Site, tenant: &TenantId) -> Result<Vec<FileRow>, QueryError> {
    let reader = ArchiveReader::open(site.data_dir()).await.map_err(away)?;
    let mut files = reader.files(None).await.map_err(away)?;
    let tables = [Table::Numerics, Table::Waveforms].map(Table::name);
    files.retain(|file| file.tenant == tenant.as_str() && tables.contains(&file.table.as_str()));
    Ok(files)
}

/// Says how far a tenant's archive is by partition; none on one machine, where the time says it.
pub(super) async fn reach(site: &Site, tenant: &TenantId) -> Result<Option<Ends>, QueryError> {
    if !site.store.is_cluster().await.map_err(|error| away(error.into()))? {
        return Ok(None);
    }
    Ok(Some(Ends::of(&files(site, tenant).await?)))
}

/// Cuts an export into parts; and says how far it goes. The session is over all of the tenant.
pub(super) async fn plan(
    site: &Site,
    asked: &Asked,
    session: &Session,
    (wanted, behind): (&ExportRequest, Option<&Ends>),
) -> Result<(Vec<Part>, Reached), QueryError> {
    let own = files(site, &asked.caller.tenant).await?;
    let since = wanted.since_us.map(|us| Day::of_micros(since(us, &asked.naming)).to_string());
    let is_asked = |file: &&FileRow| match behind {
        Some(behind) => behind.is_before_some(file),
        None => since.as_deref().is_none_or(|since| file.day.as_str() >= since),
    };
    let days: BTreeSet<(&str, &str)> =
        own.iter().filter(is_asked).map(|file| (file.table.as_str(), file.day.as_str())).collect();
    let newest = own.iter().map(|file| file.day.as_str()).max().and_then(Day::parse);
    let begin_us = newest.map(Day::first_us);
    let newest = match begin_us {
        Some(begin_us) => site.newest(session, begin_us.saturating_sub(LAG_MAX_US)).await?,
        None => BTreeMap::new(),
    };
    let is_cluster = site.store.is_cluster().await.map_err(|error| away(error.into()))?;
    let reached = Reached::of(&newest, is_cluster, begin_us.or(wanted.since_us));
    let mut parts = Vec::new();
    if wanted.devices {
        parts.push(Part { what: DEVICES.into(), day: None });
    }
    if wanted.observations {
        parts.extend(days.into_iter().map(|(what, day)| Part { what: what.into(), day: Some(day.into()) }));
    }
    Ok((parts, reached))
}

/// Returns from which time of ingest on rows are given that are asked for since a time. Of coarse times the whole step:
/// what is shown at its begin may have come any time in it.
fn since(since_us: i64, naming: &Naming) -> i64 {
    naming.at(since_us.saturating_sub(OVERLAP_US))
}

/// Returns what seals a tenant's exports.
pub(super) async fn sealer(site: &Site, tenant: &TenantId) -> Result<Arc<Sealer>, QueryError> {
    let (data_dir, tenant) = (site.data_dir().to_owned(), tenant.clone());
    // A key service is asked, and waited for.
    let made = spawn_blocking(move || {
        let keyring = Place::of(&data_dir)?.keyring(&data_dir)?;
        Ok::<_, ArchiveError>(Sealer::new(Arc::new(keyring), KeyPurpose::Measurements, Some(&tenant))?)
    });
    let made = made.await.unwrap_or_else(|panicked| Err(panicked.into()));
    made.map(Arc::new).map_err(|error| {
        tracing::error!(%error, "the key of exports does not open");
        QueryError::Archive("the tenant's key does not open".into())
    })
}

/// Works until it is told to stop. What was begun before a start goes on.
pub(crate) async fn run(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let working = async {
        loop {
            site.exports.expire();
            let running = |job: &&Job| job.state == State::Running;
            let oldest = |jobs: &[Job]| jobs.iter().filter(running).min_by_key(|job| job.created_us).cloned();
            match site.exports.with(|jobs| oldest(&jobs.values().cloned().collect::<Vec<_>>())) {
                Some(job) => step(&site, job).await,
                None => site.exports.wake.notified().await,
            }
        }
    };
    tokio::select! {
        () = working => {}
        _gone = stop.wait_for(|stop| *stop) => {}
    }
}

/// Does the next part of a job and writes what became of it.
async fn step(site: &Arc<Site>, job: Job) {
    let (id, mut after) = (job.id.clone(), job.clone());
    match job.parts.get(job.done).cloned() {
        None => after.state = State::Done,
        Some(part) => match do_part_or_again(site, &job, &part).await {
            Ok(files) => {
                after.files.extend(files);
                after.done += 1;
                if after.done == after.parts.len() {
                    after.state = State::Done;
                }
            }
            Err(WorkError::Cancelled) => return,
            Err(error) => {
                tracing::error!(export = id, %error, "an export failed");
                (after.state, after.problem) = (State::Failed, Some(error.to_string()));
            }
        },
    }
    site.exports.with(|jobs| {
        // Cancelled meanwhile: nothing is written for it any more.
        let Some(known) = jobs.get_mut(&id) else { return };
        if let Err(error) = after.save(&site.exports.root) {
            tracing::error!(export = id, %error, "the state of an export is not written");
            (after.state, after.problem) = (State::Failed, Some("it cannot be written".into()));
        }
        *known = after;
    });
}

/// Does a part; once more when it fails while it reads. A file that was merged into another is kept for readers that
/// listed it, but not for as long as a part may take: a new listing names the other.
async fn do_part_or_again(site: &Site, job: &Job, part: &Part) -> Result<Vec<Finished>, WorkError> {
    match do_part(site, job, part).await {
        Err(WorkError::Query(QueryError::Failed(why))) => {
            tracing::warn!(export = job.id, why, "a part of an export is begun again");
            sleep(EXPORT_AGAIN_AFTER).await;
            do_part(site, job, part).await
        }
        done => done,
    }
}

async fn do_part(site: &Site, job: &Job, part: &Part) -> Result<Vec<Finished>, WorkError> {
    let tenant = TenantId::new(&job.tenant).map_err(|error| QueryError::Failed(error.to_string()))?;
    let mask = match job.is_masked {
        true => {
            let parts = site.parts();
            let mask =
                pseudonyms::shared_mask(site.data_dir(), &tenant, parts.time_step_s, &parts.shared).await;
            Some(mask.map_err(|error| QueryError::Archive(error.to_string()))?)
        }
        false => None,
    };
    let (naming, sealer) = (Naming::new(mask), sealer(site, &tenant).await?);
    let table = Table::from_name(&part.what);
    let kind = if table.is_some() { "Observation" } else { "Device" };
    let mut writer = Writer::new(&site.exports.root, job, job.done, kind, sealer);
    match (table, part.day.as_deref().and_then(Day::parse)) {
        (Some(table), Some(day)) => rows(site, job, &tenant, (table, day), &naming, &mut writer).await?,
        _ => {
            for row in site.devices_seen(&tenant, sites_of(job)?.as_ref()).await? {
                writer.push(&devices::resource(&row, &naming))?;
            }
        }
    }
    Ok(writer.finish()?)
}

/// Returns the sites that bind an export; none where its caller sees no names.
fn sites_of(job: &Job) -> Result<Option<Sites>, QueryError> {
    let sites = || Sites::of(job.sites.iter().map(String::as_str));
    let sites = (!job.is_masked).then(sites).transpose();
    sites.map_err(|error| QueryError::Failed(error.to_string()))
}

/// Writes the rows of a day of a table.
async fn rows(
    site: &Site,
    job: &Job,
    tenant: &TenantId,
    (table, day): (Table, Day),
    naming: &Naming,
    writer: &mut Writer,
) -> Result<(), WorkError> {
    // Only what is committed: a part that is begun again has the rows that it had.
    // In a place of its own: an export takes none of its caller's.
    let (slot, sites) = (Slots::new(1, 1).take(&job.id)?, sites_of(job)?);
    let session = site.session_of((tenant, sites.as_ref()), Reach::Committed, slot.clone()).await?;
    let since_us = job.since_us.filter(|_| job.behind.is_none());
    let since =
        since_us.map_or(Span::ALL, |us| naming.span(Span { from_us: since(us, naming), ..Span::ALL }));
    let of_day = Span { from_us: day.first_us(), until_us: day.last_us().saturating_add(1) };
    let until = Span { until_us: job.until_us.saturating_add(1), ..Span::ALL };
    let want = Want { updated: Some(of_day.and(since).and(until)), ..Want::default() };
    let bounds = Bounds { rows_max: u64::MAX, time_max: EXPORT_PART_MAX };
    let mut scan = site.scan(&session, table, &want, (slot, bounds)).await?;
    while let Some(rows) = scan.next().await? {
        if !site.exports.with(|jobs| jobs.contains_key(&job.id)) {
            return Err(WorkError::Cancelled);
        }
        if job.bytes() + writer.bytes() > EXPORT_BYTES_MAX {
            return Err(WorkError::TooLarge);
        }
        for row in rows.iter().filter(|row| job.behind.as_ref().is_none_or(|behind| behind.is_before(row))) {
            writer.push(&row.resource(naming, &session.lookups, tenant.as_str()))?;
        }
        // Between two batches others have their turn.
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;

    #[test]
    fn what_is_asked_for_since_a_manifests_time_is_given_from_a_second_before_it_for_an_analyst_too() {
        const HOUR_US: i64 = 3_600_000_000;
        let masked = Naming::new(Some(Arc::new(Mask::new(b"key", HOUR_US))));
        for naming in [Naming::new(None), masked] {
            for whole_us in [9 * HOUR_US, 9 * HOUR_US + 1, 9 * HOUR_US + OVERLAP_US, 10 * HOUR_US - 1] {
                let told_us = naming.at(whole_us);
                let given = naming.span(Span { from_us: since(told_us, &naming), ..Span::ALL });
                assert!(given.from_us <= whole_us - OVERLAP_US, "{whole_us}: {given:?}");
            }
        }
    }

    #[test]
    fn an_export_goes_as_far_as_is_committed_and_never_as_far_as_the_clock() {
        let of = |newest: &[(u16, i64)], is_cluster, since_us| {
            Reached::of(&newest.iter().copied().collect(), is_cluster, since_us)
        };
        let to = |until_us, whole_us| Reached { until_us, whole_us };
        assert_eq!(of(&[], false, None), to(0, 0), "nothing is committed, and anything may wait");
        assert_eq!(of(&[], false, Some(50)), to(50, 50));
        assert_eq!(of(&[(1, 10), (2, 30)], false, Some(50)), to(30, 30), "in the order of the journal");
        assert_eq!(of(&[(1, 10), (2, 30)], true, None), to(30, 10), "a partition lags behind");
        let silent = [(1, 10), (2, LAG_MAX_US + 20), (3, LAG_MAX_US + 30)];
        assert_eq!(of(&silent, true, None), to(LAG_MAX_US + 30, LAG_MAX_US + 20), "one is silent");
    }
}
