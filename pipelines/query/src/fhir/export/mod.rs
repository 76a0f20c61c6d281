//! `$export`: everything of the caller's tenant as NDJSON, in the background (FHIR Bulk Data Access).
//!
//! ```text
//! GET $export -> 202, Content-Location    GET export/{job} -> 202, X-Progress | 200, manifest    DELETE -> cancelled
//! GET export/{job}/{file} -> NDJSON
//! ```
//! The work is cut into parts, one per table and day of ingest, and devices. A part is done whole: its files sync, then
//! `job.json` names them. A server that was killed goes on with the first part that is not named, so each row is
//! there once. **Invariant:** an export is its caller's alone, and what they may read is decided again at each file.

mod file;
mod job;
mod reach;
mod work;

use super::error::FhirError;
use super::limits::{EXPORT_KEPT_US, EXPORTS_MAX, EXPORTS_PER_CALLER_MAX};
use super::{Asked, Site};
use crate::error::QueryError;
use crate::snapshot::Reach;
use axum::body::{Body, Bytes};
use file::Reader;
use hyper::header::{CONTENT_LOCATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use job::{Job, State};
use reach::Ends;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use wardline_access::now_us;
use wardline_fhir::search;
use wardline_fhir::time::instant;
use wardline_proto::TenantId;
use wardline_store::registry::Sites;

/// Name of the folder in a data directory.
const FOLDER: &str = "fhir-exports";
const NDJSON: HeaderValue = HeaderValue::from_static("application/fhir+ndjson");
const PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// The exports of a server.
pub(crate) struct Exports {
    root: PathBuf,
    jobs: Mutex<BTreeMap<String, Job>>,
    wake: Notify,
}

impl Exports {
    /// Reads what is kept.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let root = data_dir.join(FOLDER);
        let jobs = Job::load_all(&root)?.into_iter().map(|job| (job.id.clone(), job)).collect();
        Ok(Self { root, jobs: Mutex::new(jobs), wake: Notify::new() })
    }

    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<String, Job>) -> T) -> T {
        // Each change is one insertion or removal of a whole job.
        look(&mut self.jobs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns a job, to whom it belongs and while they may read what is in it.
    fn of(&self, asked: &Asked, id: &str) -> Result<Job, FhirError> {
        let found = self.with(|jobs| jobs.get(id).cloned());
        let own = found.filter(|job| {
            job.caller == asked.caller.uri()
                && job.is_masked == asked.naming.is_masked()
                && job.sites == site_names(asked)
        });
        own.ok_or_else(|| FhirError::NotFound(format!("export/{id}")))
    }

    /// Takes a new job, when there is room for it.
    fn add(&self, job: &Job) -> Result<(), FhirError> {
        self.with(|jobs| {
            let of_caller = jobs.values().filter(|other| other.caller == job.caller).count();
            if of_caller >= EXPORTS_PER_CALLER_MAX || jobs.len() >= EXPORTS_MAX {
                return Err(FhirError::Exports(of_caller));
            }
            job.save(&self.root).map_err(|error| broken(&error))?;
            jobs.insert(job.id.clone(), job.clone());
            Ok(())
        })
    }

    /// Returns how far the export went that told a time; none when it is not known.
    fn reached(&self, tenant: &TenantId, at_us: i64) -> Result<Option<Ends>, FhirError> {
        self.with(|_one_at_a_time| reach::known(&self.root, tenant, at_us)).map_err(|error| broken(&error))
    }

    /// Keeps how far the export goes that will tell a time.
    fn keep_reach(&self, tenant: &TenantId, at_us: i64, ends: &Ends) -> Result<(), FhirError> {
        let kept = self.with(|_one_at_a_time| reach::keep(&self.root, tenant, at_us, ends));
        kept.map_err(|error| broken(&error))
    }

    /// Forgets a job and removes its files.
    fn remove(&self, id: &str) -> io::Result<()> {
        self.with(|jobs| jobs.remove(id));
        match std::fs::remove_dir_all(self.root.join(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes what has been kept long enough.
    fn expire(&self) {
        let before_us = now_us().saturating_sub(EXPORT_KEPT_US);
        let old: Vec<String> = self.with(|jobs| {
            jobs.values().filter(|job| job.created_us < before_us).map(|job| job.id.clone()).collect()
        });
        for id in old {
            if let Err(error) = self.remove(&id) {
                tracing::warn!(%error, "an export that has expired is still there");
            }
        }
    }
}

fn site_names(asked: &Asked) -> Vec<String> {
    asked.sites.as_ref().map_or_else(Vec::new, Sites::names)
}

fn broken(error: &io::Error) -> FhirError {
    tracing::error!(%error, "the folder of exports does not take files");
    FhirError::ExportFailed("the export cannot be written".into())
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Begins an export.
pub(crate) async fn begin(site: &Site, asked: &Asked, query: &str) -> Result<Response<Body>, FhirError> {
    let wanted = search::export(query)?;
    site.exports.expire();
    let slot = site.slot(asked)?;
    // Before the session: no row that it does not see counts as given.
    let tenant = &asked.caller.tenant;
    let reach = work::reach(site, tenant).await?;
    let behind = match (&reach, wanted.since_us) {
        (Some(_), Some(since_us)) => site.exports.reached(tenant, since_us)?,
        _ => None,
    };
    // Of all sites: how far the archive is does not follow from one ward's rows.
    let session = site.session_of((tenant, None), Reach::Committed, slot.clone()).await?;
    site.reads(asked, &format!("GET $export?{query}"), &["numerics", "waveforms", "registry"]).await?;
    let (parts, reached) = work::plan(site, asked, &session, (&wanted, behind.as_ref())).await?;
    if let Some(reach) = &reach {
        site.exports.keep_reach(tenant, asked.naming.at(reached.whole_us), reach)?;
    }
    let mut id = [0; 16];
    SystemRandom::new().fill(&mut id).map_err(|_| QueryError::Failed("no randomness".into()))?;
    let job = Job {
        id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        tenant: asked.caller.tenant.to_string(),
        caller: asked.caller.uri().to_owned(),
        is_masked: asked.naming.is_masked(),
        sites: site_names(asked),
        request: format!("{}/$export?{query}", asked.base).trim_end_matches('?').to_owned(),
        since_us: wanted.since_us,
        behind,
        until_us: reached.until_us,
        whole_us: Some(reached.whole_us),
        created_us: now_us(),
        state: State::Running,
        parts,
        done: 0,
        files: Vec::new(),
        problem: None,
    };
    site.exports.add(&job)?;
    site.exports.wake.notify_one();
    let mut response = plain(StatusCode::ACCEPTED);
    let location = header(&format!("{}/export/{}", asked.base, job.id));
    response.headers_mut().insert(CONTENT_LOCATION, location);
    Ok(response)
}

/// Says how far an export is, or where its files are.
pub(crate) fn status(site: &Site, asked: &Asked, id: &str) -> Result<Response<Body>, FhirError> {
    let job = site.exports.of(asked, id)?;
    if job.state == State::Failed {
        return Err(FhirError::ExportFailed(job.problem.unwrap_or_default()));
    }
    if job.state == State::Running {
        let mut response = plain(StatusCode::ACCEPTED);
        let told = format!("{} of {} parts, {} resources", job.done, job.parts.len(), job.resources());
        response.headers_mut().insert(PROGRESS, header(&told));
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return Ok(response);
    }
    let output = job.files.iter().map(|file| {
        let url = format!("{}/export/{id}/{}", asked.base, file.name);
        json!({ "type": file.kind, "url": url, "count": file.count })
    });
    let manifest = json!({
        "transactionTime": instant(asked.naming.at(job.whole_us.unwrap_or(job.until_us))),
        "request": job.request,
        "requiresAccessToken": false,
        "output": output.collect::<Vec<_>>(),
        "error": [],
    });
    let mut response = Response::new(Body::from(manifest.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Ends an export and removes its files.
pub(crate) fn cancel(site: &Site, asked: &Asked, id: &str) -> Result<Response<Body>, FhirError> {
    let job = site.exports.of(asked, id)?;
    site.exports.remove(&job.id).map_err(|error| broken(&error))?;
    Ok(plain(StatusCode::ACCEPTED))
}

/// Gives a file, chunk by chunk. The connection ends with the caller's certificate, and the file with it.
pub(crate) async fn file(
    site: &Site,
    asked: &Asked,
    id: &str,
    name: &str,
) -> Result<Response<Body>, FhirError> {
    let job = site.exports.of(asked, id)?;
    let told = job.files.iter().find(|file| file.name == name && job.state == State::Done);
    let told = told.ok_or_else(|| FhirError::NotFound(format!("export/{id}/{name}")))?;
    site.reads(asked, &format!("GET export/{id}/{name}"), &["export"]).await?;
    let sealer = work::sealer(site, &asked.caller.tenant).await?;
    let reader = Reader::open(&site.exports.root, &job, told, sealer).map_err(|error| broken(&error))?;
    let chunks = futures::stream::try_unfold(reader, |mut reader| async move {
        let read = spawn_blocking(move || reader.chunk().map(|chunk| (chunk, reader))).await;
        let (chunk, reader) = read.map_err(io::Error::other)??;
        Ok::<_, io::Error>(chunk.map(|chunk| (Bytes::from(chunk), reader)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(CONTENT_TYPE, NDJSON);
    Ok(response)
}

pub(crate) use work::run;

/// What a server says where an export must be asked for in the background.
pub(crate) fn async_only() -> FhirError {
    let text = "an export is asked for with Prefer: respond-async".to_owned();
    FhirError::NotSupported(text, StatusCode::BAD_REQUEST)
}
