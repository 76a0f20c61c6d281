//! What a clinician sees: rows of the devices at its sites, and of the patients who wear one of them now.
//!
//! ```text
//! archive table + tail -> WardExec: row by row, whose? -> views, statement
//! ```
//! **Invariant:** nothing of a statement runs on a row that its caller may not see: no predicate goes below
//! `WardExec`, so that not even an error, or the time it takes, tells of one. What is known of files may leave whole
//! files, row groups and pages out.
//!
//! A patient's rows go with the patient: who wears a device of the site now is seen on the devices of before too, for
//! the time that they were worn. Sites and bindings are those of the registry when the statement starts.

use crate::each::{Doing, Each, EachExec};
use crate::functions::{text, value};
use crate::lookups::Lookups;
use crate::provider::{Scanned, Wanted};
use crate::table::ArchiveTable;
use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::BTreeSet;
use std::sync::Arc;
use wardline_access::now_us;
use wardline_proto::TenantId;
use wardline_store::registry::Sites;

/// Devices that choose files by name; with more of them all files are opened.
pub(crate) const NAMED_MAX: usize = 512;

/// Whose rows some sites see.
#[derive(Debug)]
pub(crate) struct Wards {
    tenant: TenantId,
    lookups: Arc<Lookups>,
    /// Devices at the sites.
    here: BTreeSet<String>,
    /// Who wears one of them now.
    subjects: BTreeSet<String>,
    /// Other devices that these wore.
    worn: BTreeSet<String>,
}

impl Wards {
    /// Looks up whose rows the sites of a tenant see now.
    pub(crate) fn new(tenant: &TenantId, sites: &Sites, lookups: Arc<Lookups>) -> Self {
        let (name, now_us) = (tenant.as_str(), now_us());
        let here = lookups.devices_at(name, |site| sites.has(site));
        let wearer = |device: &String| lookups.ledger.wearer(name, device, now_us).map(str::to_owned);
        let subjects: BTreeSet<_> = here.iter().filter_map(wearer).collect();
        let worn = subjects.iter().flat_map(|subject| lookups.ledger.devices_of(subject));
        let worn = worn.filter(|device| !here.contains(*device)).map(str::to_owned).collect();
        Self { tenant: tenant.clone(), lookups, here, subjects, worn }
    }

    /// Says whether a device is at one of the sites.
    pub(crate) fn is_here(&self, device: &str) -> bool {
        self.here.contains(device)
    }

    /// Returns the devices at the sites.
    pub(crate) fn here(&self) -> &BTreeSet<String> {
        &self.here
    }

    /// Says whether there may be rows of a device.
    pub(crate) fn knows(&self, device: &str) -> bool {
        self.is_here(device) || self.worn.contains(device)
    }

    /// Says of which devices there may be rows, when they are few.
    fn named(&self) -> Option<Expr> {
        let devices = || self.here.iter().chain(&self.worn).map(|device| lit(device.as_str()));
        match self.here.len() + self.worn.len() {
            0 => Some(lit(false)),
            1..=NAMED_MAX => Some(col("device").in_list(devices().collect(), false)),
            _more => None,
        }
    }

    fn sees(&self, device: &str, at_us: Option<i64>) -> bool {
        self.is_here(device)
            || at_us.filter(|_| self.worn.contains(device)).is_some_and(|at_us| {
                let wearer = self.lookups.ledger.wearer(self.tenant.as_str(), device, at_us);
                wearer.is_some_and(|subject| self.subjects.contains(subject))
            })
    }
}

/// A table of which only the rows are there that some sites see.
#[derive(Debug)]
pub(crate) struct WardTable {
    base: ArchiveTable,
    wards: Arc<Wards>,
}

impl WardTable {
    /// Makes one.
    pub(crate) fn new(base: ArchiveTable, wards: Arc<Wards>) -> Self {
        Self { base, wards }
    }
}

#[async_trait]
impl Scanned for WardTable {
    const FILTERS: TableProviderFilterPushDown = TableProviderFilterPushDown::Inexact;

    fn columns(&self) -> SchemaRef {
        self.base.columns()
    }

    async fn scanned(&self, state: &dyn Session, wanted: Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.columns();
        let mut read = wanted.columns.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let keep = read.len();
        // A table without these is nobody's at any site.
        let mut place = |name: &str| {
            let column = schema.index_of(name).ok()?;
            let known = read.iter().position(|index| *index == column);
            Some(known.unwrap_or_else(|| {
                read.push(column);
                read.len() - 1
            }))
        };
        let (device, time, offset) = (place("device"), place("device_time"), place("clock_offset_us"));
        let Some(device) = device else {
            return internal_err!("a table that no site sees");
        };
        let filters: Vec<_> = wanted.filters.iter().cloned().chain(self.wards.named()).collect();
        let wanted = Wanted { columns: Some(&read), filters: &filters, limit: None };
        let input = self.base.chosen(state, wanted)?;
        let schema = Arc::new(input.schema().project(&(0..keep).collect::<Vec<_>>())?);
        let whose = Whose { device, time: time.zip(offset), keep };
        let seen = Seen { wards: self.wards.clone(), whose };
        Ok(Arc::new(EachExec::new(input, schema, Arc::new(seen))))
    }
}

/// Where the columns stand that say whose a row is, and how many columns are given on.
#[derive(Debug, Clone, Copy)]
struct Whose {
    device: usize,
    time: Option<(usize, usize)>,
    keep: usize,
}

/// Leaves out every row that some sites do not see.
#[derive(Debug)]
struct Seen {
    wards: Arc<Wards>,
    whose: Whose,
}

impl Each for Seen {
    fn name(&self) -> &'static str {
        "WardExec"
    }

    fn start(&self, _context: &TaskContext) -> Doing {
        let (wards, whose) = (self.wards.clone(), self.whose);
        Box::new(move |batch| Ok(vec![seen(&batch, &wards, whose)?]))
    }
}

/// Returns the rows of a batch that some sites see, with the columns that are given on.
fn seen(batch: &RecordBatch, wards: &Wards, whose: Whose) -> Result<RecordBatch> {
    let devices = text(batch.column(whose.device))?;
    let times = whose.time.map(|(time, offset)| {
        let times = batch.column(time).as_primitive::<TimestampMicrosecondType>();
        (times, batch.column(offset).as_primitive::<Int64Type>())
    });
    let sees = |row: usize| {
        let at_us = times.filter(|(times, _)| times.is_valid(row)).map(|(times, offsets)| {
            let offset_us = if offsets.is_valid(row) { offsets.value(row) } else { 0 };
            times.value(row).saturating_add(offset_us)
        });
        Some(value(&devices, row).is_some_and(|device| wards.sees(device, at_us)))
    };
    let sees: BooleanArray = (0..batch.num_rows()).map(sees).collect();
    let kept = batch.project(&(0..whose.keep).collect::<Vec<_>>())?;
    Ok(filter_record_batch(&kept, &sees)?)
}
