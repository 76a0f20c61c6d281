//! Which rows are asked for, as a filter of the SQL engine, and their reading.

use super::cursor::Place;
use super::rows::{Row, columns, event_time, rows};
use super::{Asked, Site};
use crate::error::QueryError;
use crate::functions;
use crate::lookups::Lookups;
use crate::serve::limits::MEMORY_BYTES_MAX;
use crate::serve::pump::{Bounds, held, plan, pump};
use crate::serve::slots::{Slot, Slots};
use crate::snapshot::{self, Opened, Reach, Scope};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{TimestampMicrosecondType, UInt16Type};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, col, lit};
use futures::{Stream, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use tokio::runtime::Handle;
use wardline_archive::Table;
use wardline_fhir::time::Span;
use wardline_proto::TenantId;
use wardline_store::registry::Sites;

/// A reading is at most a day ahead of the gateway's clock, and the edge's clock may move it on; a day for that.
const AHEAD_US: i64 = 2 * 86_400_000_000;

/// One snapshot, and what the registry knew then. Its rows are identified: only [`super::naming`] lets them out.
pub(crate) struct Session {
    pub(crate) opened: Opened,
    pub(crate) lookups: Arc<Lookups>,
}

impl Session {
    /// Starts a statement over it.
    async fn run(
        &self,
        engine: &Handle,
        frame: DataFrame,
        (slot, bounds): (Slot, Bounds),
    ) -> Result<impl Stream<Item = Result<RecordBatch, QueryError>> + Send + Unpin + use<>, QueryError> {
        let planned = plan(engine, self.opened.clone(), frame, (slot.clone(), bounds)).await?;
        Ok(pump(engine, planned, bounds, (slot, None)))
    }
}

/// What is asked for, by real names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Want {
    pub(crate) devices: Option<BTreeSet<String>>,
    pub(crate) subjects: Option<BTreeSet<String>>,
    pub(crate) codes: Option<BTreeSet<u32>>,
    /// Of the time of measurement, of the gateway's time, and of the device's own clock.
    pub(crate) date: Option<Span>,
    pub(crate) updated: Option<Span>,
    pub(crate) device_time: Option<Span>,
}

fn at(at_us: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(at_us), Some("UTC".into())))
}

fn within(time: &Expr, span: Span) -> impl Iterator<Item = Expr> + use<> {
    let from = (span.from_us != i64::MIN).then(|| time.clone().gt_eq(at(span.from_us)));
    let until = (span.until_us != i64::MAX).then(|| time.clone().lt(at(span.until_us)));
    from.into_iter().chain(until)
}

fn one_of<T>(column: &str, values: &BTreeSet<T>) -> Expr
where
    T: Clone + datafusion::logical_expr::Literal,
{
    match values.is_empty() {
        true => lit(false),
        false => col(column).in_list(values.iter().map(|value| lit(value.clone())).collect(), false),
    }
}

impl Want {
    /// Returns the devices whose rows can be asked for; none: any.
    pub(crate) fn devices(&self, lookups: &Lookups) -> Option<BTreeSet<String>> {
        let worn = self.subjects.as_ref().map(|subjects| {
            let of_all = subjects.iter().flat_map(|subject| lookups.ledger.devices_of(subject));
            of_all.map(str::to_owned).collect::<BTreeSet<_>>()
        });
        match (&self.devices, worn) {
            (Some(named), Some(worn)) => Some(named.intersection(&worn).cloned().collect()),
            (named, worn) => worn.or_else(|| named.clone()),
        }
    }

    fn filters(&self, lookups: &Arc<Lookups>) -> Vec<Expr> {
        let mut filters = Vec::new();
        filters.extend(self.devices(lookups).map(|devices| one_of("device", &devices)));
        if let Some(subjects) = &self.subjects {
            let wearer =
                functions::wearer(lookups.clone()).call(vec![col("tenant"), col("device"), event_time()]);
            let is_one = subjects.iter().map(|subject| wearer.clone().eq(lit(subject.clone())));
            filters.push(is_one.reduce(Expr::or).unwrap_or_else(|| lit(false)));
        }
        filters.extend(self.codes.as_ref().map(|codes| one_of("mdc_code", codes)));
        if let Some(date) = self.date {
            filters.extend(within(&event_time(), date));
            // So that the day of ingest chooses files.
            let taken = Span { from_us: date.from_us.saturating_sub(AHEAD_US), ..Span::ALL };
            filters.extend(within(&col("ingest_time"), taken));
        }
        filters.extend(self.updated.iter().flat_map(|span| within(&col("ingest_time"), *span)));
        filters.extend(self.device_time.iter().flat_map(|span| within(&col("device_time"), *span)));
        filters
    }
}

/// The columns that order a search, in that order.
const ORDER: [&str; 5] = ["ingest_time", "partition", "journal_offset", "mdc_code", "device_time"];

/// What tells rows of one place apart: a page goes on behind some of them, so they come in one order whenever they are
/// asked for.
fn apart(table: Table) -> &'static [&'static str] {
    match table {
        Table::Waveforms => &["status", "interval_ns", "scale", "offset", "samples", "gaps"],
        _ => &["value", "status"],
    }
}

/// Takes so many rows in the order of pages.
fn first(frame: DataFrame, table: Table, rows_max: usize) -> Result<DataFrame, DataFusionError> {
    let order = ORDER.iter().chain(apart(table)).map(|name| col(*name).sort(true, false));
    frame.sort(order.collect())?.limit(0, Some(rows_max))?.select(columns(table))
}

/// Rows at or behind a place.
fn behind(place: &Place) -> [Expr; 2] {
    let values = [
        at(place.ingest_us),
        lit(place.partition),
        lit(place.offset),
        lit(place.mdc_code),
        at(place.device_us),
    ];
    let mut columns: Vec<(Expr, Expr)> = ORDER.map(col).into_iter().zip(values).collect();
    let last = columns.pop().map_or_else(|| lit(true), |(column, value)| column.gt_eq(value));
    let more = columns
        .into_iter()
        .rev()
        .fold(last, |then, (column, value)| column.clone().gt(value.clone()).or(column.eq(value).and(then)));
    [more, col(ORDER[0]).gt_eq(at(place.ingest_us))]
}

impl Site {
    /// Opens a snapshot for a caller, in a place that is the caller's until it is dropped.
    pub(crate) async fn session(&self, asked: &Asked) -> Result<(Slot, Session), QueryError> {
        let slot = self.slot(asked)?;
        let of = (&asked.caller.tenant, asked.sites.as_ref());
        let session = self.session_of(of, Reach::Durable, slot.clone()).await?;
        Ok((slot, session))
    }

    /// Opens a snapshot of a tenant's rows in a place: all, or those that some sites see.
    pub(crate) async fn session_of(
        &self,
        (tenant, sites): (&TenantId, Option<&Sites>),
        reach: Reach,
        slot: Slot,
    ) -> Result<Session, QueryError> {
        let scope = Scope {
            tenant: Some(tenant.clone()),
            sites: sites.cloned(),
            memory_bytes_max: Some(MEMORY_BYTES_MAX),
            reach,
            shared: Some(self.parts().shared.clone()),
            ..Scope::default()
        };
        let data_dir = self.data_dir().to_owned();
        let opening = held(slot, async move {
            snapshot::open(&data_dir, &scope).await.map_err(|error| {
                tracing::error!(error = format!("{error:#}"), "the archive does not open");
                QueryError::Archive("the archive does not open".into())
            })
        });
        opening.await.map(|opened| Session { lookups: opened.lookups.clone(), opened })
    }

    /// Returns the newest time of ingest by partition, of rows that were taken from a time on.
    pub(crate) async fn newest(
        &self,
        session: &Session,
        from_us: i64,
    ) -> Result<BTreeMap<u16, i64>, QueryError> {
        let mut newest = BTreeMap::<u16, i64>::new();
        for table in [Table::Numerics, Table::Waveforms] {
            let frame = selected(session, table, vec![col("ingest_time").gt_eq(at(from_us))]).await?;
            let greatest = vec![max(col("ingest_time")).alias("newest")];
            let greatest = frame.aggregate(vec![col("partition")], greatest);
            let greatest = greatest.map_err(|error| QueryError::kept(&error))?;
            let slot = Slots::new(1, 1).take("newest")?;
            let parts = self.parts();
            let mut batches = session.run(&parts.engine, greatest, (slot, parts.bounds)).await?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                let partitions = batch.column(0).as_primitive_opt::<UInt16Type>().ok_or_else(unreadable)?;
                let times = batch.column(1).as_primitive_opt::<TimestampMicrosecondType>();
                let times = times.ok_or_else(unreadable)?;
                for (partition, time) in partitions.iter().zip(times).filter_map(|(p, t)| Some((p?, t?))) {
                    let known = newest.entry(partition).or_insert(time);
                    *known = time.max(*known);
                }
            }
        }
        Ok(newest)
    }

    /// Takes a place to run a statement in.
    pub(crate) fn slot(&self, asked: &Asked) -> Result<Slot, QueryError> {
        self.parts().slots.take(asked.caller.uri()).inspect_err(|error| {
            // Audited as on the other port; who calls hears of it as an outcome.
            let _status = self.service.refused(&asked.caller, error);
        })
    }

    /// Reads rows in the order of pages, from a place on.
    pub(crate) async fn page(
        &self,
        session: &Session,
        table: Table,
        want: &Want,
        from: Option<&Place>,
        (slot, rows_max): (Slot, usize),
    ) -> Result<Vec<Row>, QueryError> {
        let mut filters = want.filters(&session.lookups);
        filters.extend(from.into_iter().flat_map(behind));
        let frame = selected(session, table, filters).await?;
        let frame = first(frame, table, rows_max).map_err(|error| QueryError::kept(&error))?;
        let parts = self.parts();
        let mut batches = session.run(&parts.engine, frame, (slot, parts.bounds)).await?;
        let mut found = Vec::new();
        while let Some(batch) = batches.next().await {
            found.extend(rows(table, &batch?).ok_or_else(unreadable)?);
        }
        Ok(found)
    }

    /// Reads rows in no order, batch by batch.
    pub(crate) async fn scan(
        &self,
        session: &Session,
        table: Table,
        want: &Want,
        (slot, bounds): (Slot, Bounds),
    ) -> Result<Scan, QueryError> {
        let frame = selected(session, table, want.filters(&session.lookups)).await?;
        let frame = frame.select(columns(table)).map_err(|error| QueryError::kept(&error))?;
        let batches = session.run(&self.parts().engine, frame, (slot, bounds)).await?;
        Ok(Scan { table, batches: Box::pin(batches) })
    }
}

/// Rows that are being read; reading ends when it is dropped.
pub(crate) struct Scan {
    table: Table,
    batches: Pin<Box<dyn Stream<Item = Result<RecordBatch, QueryError>> + Send>>,
}

impl Scan {
    /// Returns the next rows; none behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Row>>, QueryError> {
        match self.batches.next().await {
            Some(batch) => rows(self.table, &batch?).ok_or_else(unreadable).map(Some),
            None => Ok(None),
        }
    }
}

async fn selected(session: &Session, table: Table, filters: Vec<Expr>) -> Result<DataFrame, QueryError> {
    let frame = session.opened.session.table(table.name()).await.map_err(|error| QueryError::kept(&error))?;
    match conjunction(filters) {
        Some(filter) => frame.filter(filter).map_err(|error| QueryError::kept(&error)),
        None => Ok(frame),
    }
}

fn unreadable() -> QueryError {
    QueryError::Failed("a column of the archive is not of its type".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayBuilder, ArrayRef, Float64Array, Int64Array, ListArray, ListBuilder, make_builder,
        new_null_array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::Int32Type;
    use datafusion::datasource::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use wardline_archive::schema;

    /// Rows of one place that differ in what they say: a device may tell many readings of a metric and time at once.
    fn of_one_place(table: Table, values: &[i32]) -> RecordBatch {
        let schema = schema(table);
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            let own: ArrayRef = match field.name().as_str() {
                "value" => {
                    Arc::new(values.iter().map(|value| Some(f64::from(*value))).collect::<Float64Array>())
                }
                "samples" => {
                    let blocks = values.iter().map(|value| Some(vec![Some(7), Some(*value)]));
                    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(blocks))
                }
                "gaps" => {
                    let mut lists = make_builder(field.data_type(), 0);
                    let of: Option<&mut ListBuilder<Box<dyn ArrayBuilder>>> =
                        lists.as_any_mut().downcast_mut();
                    let of = of.unwrap();
                    values.iter().for_each(|_| of.append(true));
                    return lists.finish();
                }
                _ if field.is_nullable() => new_null_array(field.data_type(), values.len()),
                _ => Arc::new(Int64Array::from(vec![5; values.len()])),
            };
            cast(&own, field.data_type()).unwrap()
        });
        let columns = columns.collect();
        RecordBatch::try_new(schema, columns).unwrap()
    }

    #[tokio::test]
    async fn a_page_begins_where_the_one_before_ended_among_rows_of_one_place_too() {
        let values: Vec<i32> = (0..40).map(|n| n * 17 % 40).collect();
        for table in [Table::Numerics, Table::Waveforms] {
            let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
            let halves = values.chunks(20).map(|half| vec![of_one_place(table, half)]).collect();
            let halves = MemTable::try_new(schema(table), halves).unwrap();
            session.register_table("rows", Arc::new(halves)).unwrap();
            let told = async |rows_max| {
                let frame = first(session.table("rows").await.unwrap(), table, rows_max).unwrap();
                let batches = frame.collect().await.unwrap();
                let told = batches.iter().flat_map(|batch| rows(table, batch).unwrap());
                told.map(|row| format!("{row:?}")).collect::<Vec<_>>()
            };
            let all = told(1000).await;
            assert_eq!(all.len(), values.len());
            for rows_max in 1..values.len() {
                assert_eq!(told(rows_max).await, all[..rows_max], "{table}, {rows_max} rows");
            }
        }
    }
}
