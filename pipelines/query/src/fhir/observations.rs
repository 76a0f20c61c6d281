//! `GET Observation`, `POST Observation/_search`, `GET Observation/{id}`.

use super::cursor::Place;
use super::error::FhirError;
use super::limits::{BLOCKS_MAX, IDS_MAX, PAGE_BYTES_MAX, ROWS_PER_ID_MAX};
use super::select::{Session, Want};
use super::{Asked, Site};
use crate::error::QueryError;
use crate::serve::pump::Bounds;
use serde_json::Value;
use std::collections::BTreeSet;
use wardline_archive::Table;
use wardline_fhir::bundle::{Page, searchset};
use wardline_fhir::id::ObservationId;
use wardline_fhir::search::{self, ObservationSearch, Unusable};
use wardline_fhir::time::Span;
use wardline_proto::codes::{METRICS, MetricKind, by_code};

const TABLES: [Table; 2] = [Table::Numerics, Table::Waveforms];

/// Answers a search.
pub(crate) async fn search(site: &Site, asked: &Asked, query: &str) -> Result<Value, FhirError> {
    let search = search::observations(query)?;
    if let Some(ids) = search.ids.clone() {
        return by_ids(site, asked, query, &search, ids).await;
    }
    let (slot, session) = site.session(asked).await?;
    let want = want(site, asked, &session, &search).await?;
    let from = match &search.page.cursor {
        Some(cursor) => Some(site.cursors.open(&question(asked, &search), cursor).ok_or_else(stale)?),
        None => None,
    };
    let tables: Vec<&str> = tables(&want).into_iter().map(Table::name).collect();
    site.reads(asked, &format!("GET Observation?{query}"), &tables).await?;
    drop(slot);
    let mut filling = Filling { site, asked, session: &session, resources: Vec::new(), bytes: 0, last: from };
    let is_whole = filling.fill(&want, from, search.page.count).await?;
    let (resources, last) = (filling.resources, filling.last);
    let next = match last.filter(|_| !is_whole) {
        Some(place) => {
            let cursor = site.cursors.seal(&question(asked, &search), &place);
            Some(with_cursor(query, &cursor.ok_or_else(|| QueryError::Failed("no randomness".into()))?))
        }
        None => None,
    };
    // How complete it is is told once, with the first page.
    let outcome = match from {
        None => Some(site.completeness(asked, &session, &want).await?),
        Some(_) => None,
    };
    let itself = format!("Observation?{query}");
    Ok(searchset(Page { base: asked.base.clone(), itself, next, resources, outcome }))
}

/// Answers a read.
pub(crate) async fn read(site: &Site, asked: &Asked, id: &str) -> Result<Value, FhirError> {
    let (slot, session) = site.session(asked).await?;
    site.reads(asked, &format!("GET Observation/{id}"), &["numerics", "waveforms"]).await?;
    drop(slot);
    let found = find(site, asked, &session, id).await?;
    found.ok_or_else(|| FhirError::NotFound(format!("Observation/{id}")))
}

async fn by_ids(
    site: &Site,
    asked: &Asked,
    query: &str,
    search: &ObservationSearch,
    ids: BTreeSet<String>,
) -> Result<Value, FhirError> {
    let alone = ObservationSearch { ids: None, ..search.clone() };
    let page = search.page.clone();
    if alone != (ObservationSearch { page, ..search::observations("")? }) || ids.len() > IDS_MAX {
        let problem = format!("stands alone, with at most {IDS_MAX} ids");
        return Err(Unusable { parameter: "_id".into(), problem }.into());
    }
    let (slot, session) = site.session(asked).await?;
    site.reads(asked, &format!("GET Observation?{query}"), &["numerics", "waveforms"]).await?;
    drop(slot);
    let mut resources = Vec::new();
    for id in ids {
        resources.extend(find(site, asked, &session, &id).await?);
    }
    let itself = format!("Observation?{query}");
    Ok(searchset(Page { base: asked.base.clone(), itself, next: None, resources, outcome: None }))
}

/// Looks for the row of an id among those of its device, metric and time.
async fn find(site: &Site, asked: &Asked, session: &Session, id: &str) -> Result<Option<Value>, FhirError> {
    let Some(parts) = ObservationId::parse(id) else { return Ok(None) };
    let Some(metric) = by_code(parts.mdc_code) else { return Ok(None) };
    let naming = &asked.naming;
    let devices = site.devices_of(asked).await?;
    let named = devices.iter().map(|row| row.device.key.device.as_str());
    let Some(device) = named.into_iter().find(|name| naming.device_tag(name) == parts.device) else {
        return Ok(None);
    };
    let until_us = parts.at_us.saturating_add(naming.step_us());
    let want = Want {
        devices: Some(BTreeSet::from([device.to_owned()])),
        codes: Some(BTreeSet::from([parts.mdc_code])),
        device_time: Some(Span { from_us: parts.at_us, until_us }),
        ..Want::default()
    };
    let table = if metric.kind == MetricKind::Numeric { Table::Numerics } else { Table::Waveforms };
    let bounds = Bounds { rows_max: ROWS_PER_ID_MAX, ..site.parts().bounds };
    let slot = site.slot(asked)?;
    let mut scan = site.scan(session, table, &want, (slot, bounds)).await?;
    while let Some(rows) = scan.next().await? {
        if let Some(row) = rows.into_iter().find(|row| row.id(naming) == id) {
            let tenant = asked.caller.tenant.as_str();
            return Ok(Some(row.resource(naming, &session.lookups, tenant)));
        }
    }
    Ok(None)
}

/// A page under construction.
struct Filling<'a> {
    site: &'a Site,
    asked: &'a Asked,
    session: &'a Session,
    resources: Vec<Value>,
    bytes: usize,
    last: Option<Place>,
}

impl Filling<'_> {
    /// Fills the page table by table; says whether nothing comes behind it.
    async fn fill(&mut self, want: &Want, from: Option<Place>, count: usize) -> Result<bool, FhirError> {
        for (number, table) in TABLES.into_iter().enumerate() {
            let number = number as u8;
            if !tables(want).contains(&table) || from.is_some_and(|place| number < place.table) {
                continue;
            }
            let from = from.filter(|place| place.table == number);
            let left = count.saturating_sub(self.resources.len());
            let left = if table == Table::Waveforms { left.min(BLOCKS_MAX) } else { left };
            if !self.fill_of(number, want, from, left).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn fill_of(
        &mut self,
        number: u8,
        want: &Want,
        from: Option<Place>,
        left: usize,
    ) -> Result<bool, FhirError> {
        let table = TABLES[usize::from(number)];
        let given = from.map_or(0, |place| place.given as usize);
        let slot = self.site.slot(self.asked)?;
        // One more, to know whether there is a next page; and those that were given.
        let rows = self.site.page(self.session, table, want, from.as_ref(), (slot, left + given + 1)).await?;
        let mut skip = given;
        let tenant = self.asked.caller.tenant.as_str();
        for (taken, row) in rows
            .iter()
            .filter(|row| {
                // The rows of the last page come again first, as many as were given of them.
                let again = skip > 0 && from.is_some_and(|place| Place::of(number, row).is_at(&place));
                skip -= usize::from(again);
                !again
            })
            .enumerate()
        {
            if taken >= left || self.bytes >= PAGE_BYTES_MAX {
                self.last = self.last.or(Some(Place { given: 0, ..Place::of(number, row) }));
                return Ok(false);
            }
            let resource = row.resource(&self.asked.naming, &self.session.lookups, tenant);
            self.bytes += resource.to_string().len();
            self.resources.push(resource);
            let place = Place::of(number, row);
            self.last = Some(match self.last.filter(|last| last.is_at(&place)) {
                Some(last) => Place { given: last.given + 1, ..last },
                None => place,
            });
        }
        Ok(true)
    }
}

/// Returns the tables that can hold what is wanted.
fn tables(want: &Want) -> Vec<Table> {
    let kind =
        |table: Table| if table == Table::Numerics { MetricKind::Numeric } else { MetricKind::Waveform };
    let has = |table: &Table| match &want.codes {
        Some(codes) => METRICS.iter().any(|m| m.kind == kind(*table) && codes.contains(&m.mdc_code)),
        None => true,
    };
    TABLES.into_iter().filter(has).collect()
}

/// Turns what was asked for into real names.
async fn want(
    site: &Site,
    asked: &Asked,
    session: &Session,
    search: &ObservationSearch,
) -> Result<Want, FhirError> {
    let naming = &asked.naming;
    let subjects = search.subjects.as_ref().map(|wanted| {
        let known = session.lookups.ledger.subjects().into_iter();
        known.filter(|name| wanted.contains(&naming.subject(name))).map(str::to_owned).collect()
    });
    let devices = match &search.devices {
        Some(wanted) => Some(site.named_devices(asked, wanted).await?),
        None => None,
    };
    let shown = |span: Span| (span != Span::ALL).then(|| naming.span(span));
    let (date, updated) = (shown(search.date), shown(search.updated));
    Ok(Want { devices, subjects, codes: search.codes.clone(), date, updated, device_time: None })
}

/// What a cursor is bound to.
fn question(asked: &Asked, search: &ObservationSearch) -> String {
    let page = search::Page { cursor: None, ..search.page.clone() };
    format!("{} {:?}", asked.caller.uri(), ObservationSearch { page, ..search.clone() })
}

fn stale() -> FhirError {
    let problem = "is of another search, or of before a restart: search again".into();
    Unusable { parameter: "_cursor".into(), problem }.into()
}

fn with_cursor(query: &str, cursor: &str) -> String {
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("_cursor="));
    let kept: Vec<&str> = kept.collect();
    let cursor = format!("_cursor={cursor}");
    format!("Observation?{}", kept.into_iter().chain([cursor.as_str()]).collect::<Vec<_>>().join("&"))
}
