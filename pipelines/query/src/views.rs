//! The views that people ask: `vitals`, `ecg` and `latest`, identified or masked.
//!
//! A view is planned when it is scanned, so that what a filter on a computed column implies for the stored ones can
//! choose files: a subject's rows are on the devices that it wore, a ward's on those that are there, a sample's time is
//! close to its block's.

use crate::functions::{self, BlockTypes, sample_fields};
use crate::lookups::Lookups;
use crate::mask::Mask;
use crate::provider::{Provider, Scanned, Wanted};
use crate::slices::SlicedTable;
use crate::wards::NAMED_MAX;
use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::functions_aggregate::first_last::last_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, Sort};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlanBuilder, Operator, TableProviderFilterPushDown, col, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use wardline_archive::Table;
use wardline_proto::limits::BLOCK_US_MAX;

/// Waveforms whose reference id starts so are in `ecg`.
const ECG_REF_IDS: &str = "MDC_ECG_ELEC_POTL%";

/// A view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum View {
    /// One row a reading.
    Vitals,
    /// One row a sample of an electrocardiogram.
    Ecg,
    /// The newest reading of each device and metric.
    Latest,
}

impl View {
    /// Every view.
    pub(crate) const ALL: [Self; 3] = [Self::Vitals, Self::Ecg, Self::Latest];

    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vitals => "vitals",
            Self::Ecg => "ecg",
            Self::Latest => "latest",
        }
    }

    /// Returns the table that it is of.
    pub(crate) fn table(self) -> Table {
        match self {
            Self::Vitals | Self::Latest => Table::Numerics,
            Self::Ecg => Table::Waveforms,
        }
    }

    /// Returns its times, which a mask makes coarse, each with how much earlier the stored time can be.
    fn times(self) -> &'static [(&'static str, i64)] {
        match self {
            Self::Vitals | Self::Latest => &[("device_time", 0), ("event_time", 0), ("ingest_time", 0)],
            Self::Ecg => &[("block_time", 0), ("time", BLOCK_US_MAX as i64)],
        }
    }

    /// Returns the stored column that a time of the view is bound to, when it is.
    fn stored(self, name: &str) -> Option<&'static str> {
        match (self, name) {
            (Self::Vitals, "device_time") | (Self::Ecg, "block_time" | "time") => Some("device_time"),
            (Self::Vitals, "ingest_time") => Some("ingest_time"),
            _ => None,
        }
    }
}

/// Columns of each view, plain and masked: they are the same whatever is in the archive, and to plan them takes longer
/// than to plan a short statement.
static KNOWN: [[OnceLock<SchemaRef>; 2]; View::ALL.len()] =
    [const { [const { OnceLock::new() }; 2] }; View::ALL.len()];

/// A view over one snapshot.
#[derive(Debug)]
pub(crate) struct ViewTable {
    view: View,
    base: Arc<dyn TableProvider>,
    lookups: Arc<Lookups>,
    mask: Option<Arc<Mask>>,
    schema: SchemaRef,
}

impl ViewTable {
    /// Makes the view of a table; masked for who may not know whose rows they are.
    pub(crate) fn new(
        view: View,
        base: Arc<dyn TableProvider>,
        lookups: Arc<Lookups>,
        mask: Option<Arc<Mask>>,
    ) -> Result<Self> {
        let known = &KNOWN[view as usize][usize::from(mask.is_some())];
        let schema = known.get().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
        let mut table = Self { view, base, lookups, mask, schema };
        if known.get().is_none() {
            let plan = table.plan(&[])?.build()?;
            table.schema = known.get_or_init(|| Arc::new(plan.schema().as_arrow().clone())).clone();
        }
        Ok(table)
    }

    /// Plans the view over the rows that pass `implied`.
    fn plan(&self, implied: &[Expr]) -> Result<LogicalPlanBuilder> {
        let base: Arc<dyn TableProvider> = match self.view {
            View::Ecg => Arc::new(Provider(SlicedTable(self.base.clone()))),
            View::Vitals | View::Latest => self.base.clone(),
        };
        let source = provider_as_source(base);
        let mut plan = LogicalPlanBuilder::scan(self.view.table().name(), source, None)?;
        if let Some(implied) = conjunction(implied.to_vec()) {
            plan = plan.filter(implied)?;
        }
        let plan = match self.view {
            View::Vitals => plan.project(self.vitals())?,
            View::Latest => latest(plan.project(self.vitals())?)?,
            View::Ecg => self.ecg(plan)?,
        };
        match &self.mask {
            Some(mask) => self.masked(plan, mask),
            None => Ok(plan),
        }
    }

    fn who(&self, at: Expr) -> [Expr; 4] {
        let (tenant, device) = (col("tenant"), col("device"));
        [
            tenant.clone(),
            device.clone(),
            functions::site(self.lookups.clone()).call(vec![tenant.clone(), device.clone()]).alias("site"),
            functions::wearer(self.lookups.clone()).call(vec![tenant, device, at]).alias("subject"),
        ]
    }

    fn vitals(&self) -> Vec<Expr> {
        let event_time = functions::event_time().call(vec![col("device_time"), col("clock_offset_us")]);
        let loinc = functions::loinc().call(vec![col("mdc_code")]).alias("loinc");
        let own = [col("mdc_code"), col("mdc_ref_id"), loinc, col("value"), col("ucum_unit"), col("status")];
        let times = [col("device_time"), event_time.clone().alias("event_time"), col("ingest_time")];
        self.who(event_time).into_iter().chain(own).chain(times).collect()
    }

    fn ecg(&self, plan: LogicalPlanBuilder) -> Result<LogicalPlanBuilder> {
        let schema = self.base.schema();
        let kind = |name: &str| schema.field_with_name(name).map(|field| field.data_type().clone());
        let types = BlockTypes { samples: kind("samples")?, gaps: kind("gaps")? };
        let of = ["samples", "gaps", "device_time", "interval_ns", "scale", "offset"].map(col);
        let samples = functions::samples(types).call(of.to_vec()).alias("sample");
        let event_time = functions::event_time().call(vec![col("device_time"), col("clock_offset_us")]);
        let own = [col("mdc_code"), col("mdc_ref_id"), col("ucum_unit"), col("status")];
        let block = col("device_time").alias("block_time");
        let columns = self.who(event_time).into_iter().chain(own).chain([block, samples]);
        let ecg = plan.filter(col("mdc_ref_id").like(lit(ECG_REF_IDS)))?.project(columns)?;
        let rows = ecg.unnest_column("sample")?.unnest_column("sample")?;
        let kept: Vec<_> = rows.schema().columns().into_iter().collect();
        rows.project(kept.into_iter().map(|column| {
            let name =
                sample_fields().iter().find(|f| column.name == format!("sample.{}", f.name())).cloned();
            let expr = Expr::Column(column);
            match name {
                Some(field) => expr.alias(field.name()),
                None => expr,
            }
        }))
    }

    fn masked(&self, plan: LogicalPlanBuilder, mask: &Arc<Mask>) -> Result<LogicalPlanBuilder> {
        let columns: Vec<Column> = plan.schema().columns();
        let masked = columns
            .into_iter()
            .filter(|column| column.name != "tenant" && column.name != "site")
            .map(|column| {
                let name = column.name.clone();
                let expr = Expr::Column(column);
                let hidden = match name.as_str() {
                    "device" => functions::pseudonym("device", mask.clone()).call(vec![expr]),
                    "subject" => functions::pseudonym("subject", mask.clone()).call(vec![expr]),
                    time if self.view.times().iter().any(|(own, _)| *own == time) => {
                        functions::coarse(mask.clone()).call(vec![expr])
                    }
                    _ => return expr,
                };
                hidden.alias(name)
            });
        plan.project(masked)
    }

    /// Says whether a filter needs nothing but columns that are in the files.
    fn is_stored(&self, filter: &Expr) -> bool {
        let schema = self.base.schema();
        filter.column_refs().iter().all(|column| schema.index_of(&column.name).is_ok())
    }

    /// Returns what a filter of the view says of stored columns; it holds for every row that passes the filter.
    fn implied(&self, filter: &Expr) -> Option<Expr> {
        let (left, op, right) = match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => (&**left, *op, &**right),
            Expr::InList(list) if !list.negated => {
                let Expr::Column(column) = &*list.expr else { return None };
                let known =
                    list.list.iter().map(|value| self.devices_with(&column.name, value.as_literal()?));
                return named(known.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect());
            }
            _ => return None,
        };
        match op {
            Operator::Or => return Some(self.implied(left)?.or(self.implied(right)?)),
            Operator::And => return conjunction(self.implied(left).into_iter().chain(self.implied(right))),
            _ => {}
        }
        let (column, op, value) = match (left, right) {
            (Expr::Column(column), Expr::Literal(value, _)) => (column, op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap()?, value),
            _ => return None,
        };
        if op == Operator::Eq
            && let Some(devices) = self.devices_with(&column.name, value)
        {
            return named(devices);
        }
        self.stored_time(&column.name, op, value)
    }

    /// Returns the devices whose rows alone can have a value of a column that the registry gives.
    fn devices_with(&self, column: &str, value: &ScalarValue) -> Option<BTreeSet<String>> {
        let value = match value {
            ScalarValue::Dictionary(_, inner) => inner.try_as_str()??,
            other => other.try_as_str()??,
        };
        match column {
            // A masked one is a pseudonym.
            "subject" if self.mask.is_none() => {
                Some(self.lookups.ledger.devices_of(value).into_iter().map(str::to_owned).collect())
            }
            "site" => Some(self.lookups.devices_of_site(value)),
            _ => None,
        }
    }

    /// A shown time is the stored one, cut down to the mask's step and moved on by less than the view's slack.
    fn stored_time(&self, name: &str, op: Operator, value: &ScalarValue) -> Option<Expr> {
        let stored = self.view.stored(name)?;
        let slack_us = self.view.times().iter().find(|(own, _)| *own == name)?.1;
        let step_us = self.mask.as_ref().map_or(0, |mask| mask.step_us());
        let ScalarValue::TimestampMicrosecond(Some(at_us), zone) = value else { return None };
        let bound = |at_us: i64| lit(ScalarValue::TimestampMicrosecond(Some(at_us), zone.clone()));
        let from = || col(stored).gt_eq(bound(at_us.saturating_sub(slack_us)));
        let until = || col(stored).lt_eq(bound(at_us.saturating_add(step_us)));
        match op {
            Operator::Eq => Some(from().and(until())),
            Operator::Gt | Operator::GtEq => Some(from()),
            Operator::Lt | Operator::LtEq => Some(until()),
            _ => None,
        }
    }
}

/// Says that a row is of one of these devices, unless they are too many to choose files by.
fn named(devices: BTreeSet<String>) -> Option<Expr> {
    match devices.len() {
        0 => Some(lit(false)),
        1..=NAMED_MAX => Some(col("device").in_list(devices.into_iter().map(lit).collect(), false)),
        _more => None,
    }
}

/// Takes the newest row of each device and metric.
fn latest(plan: LogicalPlanBuilder) -> Result<LogicalPlanBuilder> {
    let group = ["tenant", "device", "mdc_code"];
    let names: Vec<String> = plan.schema().columns().into_iter().map(|column| column.name).collect();
    let order = || vec![Sort::new(col("event_time"), true, true), Sort::new(col("ingest_time"), true, true)];
    let newest = |name: &str| {
        let params = AggregateFunctionParams {
            args: vec![col(name)],
            distinct: false,
            filter: None,
            order_by: order(),
            null_treatment: None,
        };
        Expr::AggregateFunction(AggregateFunction { func: last_value_udaf(), params }).alias(name)
    };
    let others: Vec<_> =
        names.iter().filter(|name| !group.contains(&name.as_str())).map(|name| newest(name)).collect();
    plan.aggregate(group.map(col), others)?.project(names.iter().map(col))
}

#[async_trait]
impl Scanned for ViewTable {
    const FILTERS: TableProviderFilterPushDown = TableProviderFilterPushDown::Exact;
    const KIND: TableType = TableType::View;

    fn columns(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn scanned(&self, state: &dyn Session, wanted: Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let single = wanted.filters.iter().flat_map(split_conjunction);
        let implied: Vec<_> = single.filter_map(|filter| self.implied(filter)).collect();
        // What is stored is compared first: few rows are left to compute something of.
        let single = wanted.filters.iter().flat_map(split_conjunction);
        let (stored, computed): (Vec<_>, Vec<_>) = single.cloned().partition(|filter| self.is_stored(filter));
        let filters = [stored, computed].concat();
        Wanted { filters: &filters, ..wanted }.over(state, self.plan(&implied)?).await
    }
}
