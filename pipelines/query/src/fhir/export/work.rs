//! The work of exports: one at a time, oldest first, part by part.

use super::super::devices;
use super::super::limits::{EXPORT_BYTES_MAX, EXPORT_PART_MAX};
use super::super::naming::Naming;
use super::super::select::{Session, Want};
use super::super::{Asked, Site};
use super::file::Writer;
use super::job::{Finished, Job, Part, State};
use crate::error::QueryError;
use crate::pseudonyms;
use crate::serve::pump::Bounds;
use crate::serve::slots::Slots;
use crate::snapshot::Reach;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use wardline_access::now_us;
use wardline_archive::place::Place;
use wardline_archive::read::ArchiveReader;
use wardline_archive::{ArchiveError, Day, Table};
use wardline_fhir::search::ExportRequest;
use wardline_fhir::time::Span;
use wardline_journal::{KeyPurpose, Sealer};
use wardline_proto::TenantId;
use wardline_store::registry::Sites;

const DEVICES: &str = "devices";
/// What was taken so shortly before `_since` is given again: a commit follows the order of the journal, which differs
/// from that of ingest by as much as sessions wait for each other.
const OVERLAP_US: i64 = 1_000_000;

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

/// Cuts an export into parts; and says up to which time of ingest it goes: the newest that is archived.
pub(super) async fn plan(
    site: &Site,
    asked: &Asked,
    session: &Session,
    wanted: &ExportRequest,
) -> Result<(Vec<Part>, i64), QueryError> {
    let away = |error| {
        tracing::error!(%error, "the catalog does not read");
        QueryError::Archive("the catalog does not read".into())
    };
    let reader = ArchiveReader::open(site.data_dir()).await.map_err(away)?;
    let files = reader.files(None).await.map_err(away)?;
    let since = wanted.since_us.map(|us| Day::of_micros(us.saturating_sub(OVERLAP_US)).to_string());
    let tables = [Table::Numerics, Table::Waveforms].map(Table::name);
    let own = files
        .iter()
        .filter(|file| file.tenant == asked.caller.tenant.as_str() && tables.contains(&file.table.as_str()));
    let own: Vec<_> = own.collect();
    let days: BTreeSet<(&str, &str)> =
        own.iter().map(|file| (file.table.as_str(), file.day.as_str())).collect();
    let newest = days.iter().map(|(_, day)| *day).max().and_then(Day::parse);
    let until_us = match newest {
        Some(day) => site.newest(session, day).await?.unwrap_or_else(now_us),
        None => now_us(),
    };
    let mut parts = Vec::new();
    if wanted.devices {
        parts.push(Part { what: DEVICES.into(), day: None });
    }
    if wanted.observations {
        let kept = days.into_iter().filter(|(_, day)| since.as_deref().is_none_or(|since| *day >= since));
        parts.extend(kept.map(|(what, day)| Part { what: what.into(), day: Some(day.into()) }));
    }
    Ok((parts, until_us))
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
        Some(part) => match do_part(site, &job, &part).await {
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

async fn do_part(site: &Site, job: &Job, part: &Part) -> Result<Vec<Finished>, WorkError> {
    let tenant = TenantId::new(&job.tenant).map_err(|error| QueryError::Failed(error.to_string()))?;
    let mask = match job.is_masked {
        true => {
            let mask = pseudonyms::mask(site.data_dir(), &tenant, site.parts().time_step_s).await;
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
    let session = site.session_of(tenant, sites_of(job)?.as_ref(), Reach::Committed).await?;
    let since = job
        .since_us
        .map_or(Span::ALL, |us| naming.span(Span { from_us: us.saturating_sub(OVERLAP_US), ..Span::ALL }));
    let of_day = Span { from_us: day.first_us(), until_us: day.last_us().saturating_add(1) };
    let until = Span { until_us: job.until_us.saturating_add(1), ..Span::ALL };
    let want = Want { updated: Some(of_day.and(since).and(until)), ..Want::default() };
    // A place of its own: an export takes none of its caller's.
    let slot = Slots::new(1, 1).take(&job.id)?;
    let bounds = Bounds { rows_max: u64::MAX, time_max: EXPORT_PART_MAX };
    let mut scan = site.scan(&session, table, &want, (slot, bounds)).await?;
    while let Some(rows) = scan.next().await? {
        if !site.exports.with(|jobs| jobs.contains_key(&job.id)) {
            return Err(WorkError::Cancelled);
        }
        if job.bytes() + writer.bytes() > EXPORT_BYTES_MAX {
            return Err(WorkError::TooLarge);
        }
        for row in &rows {
            writer.push(&row.resource(naming, &session.lookups, tenant.as_str()))?;
        }
        // Between two batches others have their turn.
        tokio::task::yield_now().await;
    }
    Ok(())
}
