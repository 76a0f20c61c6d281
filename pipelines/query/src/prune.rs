//! Which files a statement has to open, by what the catalog alone says of them.
//!
//! Of each file the catalog knows the tenant, the partition (a hash of the device), the day of ingest and the range of
//! the table's time. A file that no row of interest can be in is not part of the plan.

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringArray, TimestampMicrosecondArray, UInt64Array};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use std::collections::HashSet;
use std::sync::Arc;
use wardline_archive::{Day, Table};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::catalog::FileRow;

/// Returns which of `files` may hold rows that pass `filters`. What cannot be judged stays.
pub(crate) fn survivors(
    state: &dyn Session,
    table: Table,
    schema: &DFSchema,
    files: &[&FileRow],
    filters: &[Expr],
) -> Result<Vec<bool>> {
    let Some(filter) = conjunction(filters.to_vec()) else { return Ok(vec![true; files.len()]) };
    let filter = state.create_physical_expr(filter, schema)?;
    let schema = Arc::new(schema.as_arrow().clone());
    match PruningPredicateBuilder::new().with_file_schema(schema).build(filter) {
        Some(predicate) => predicate.prune(&Known { table, files }),
        None => Ok(vec![true; files.len()]),
    }
}

/// What the catalog knows of some files.
struct Known<'a> {
    table: Table,
    files: &'a [&'a FileRow],
}

impl Known<'_> {
    /// Least or greatest value of a column in each file.
    fn bound(
        &self,
        column: &Column,
        of_time: fn(&FileRow) -> i64,
        of_day: fn(Day) -> i64,
    ) -> Option<ArrayRef> {
        let times = |micros: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
        };
        match column.name() {
            "tenant" => Some(Arc::new(
                self.files.iter().map(|file| Some(file.tenant.as_str())).collect::<StringArray>(),
            )),
            name if name == self.table.time_column() => {
                Some(times(self.files.iter().map(|file| Some(of_time(file))).collect()))
            }
            "ingest_time" => {
                Some(times(self.files.iter().map(|file| Day::parse(&file.day).map(of_day)).collect()))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Known<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, |file| file.time_min_us, Day::first_us)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, |file| file.time_max_us, Day::last_us)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| Some(file.rows)).collect::<UInt64Array>()))
    }

    #[allow(
        clippy::allow_attributes,
        clippy::mutable_key_type,
        reason = "the trait's own signature; the values are not changed"
    )]
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        if column.name() != "device" {
            return None;
        }
        let devices: Vec<DeviceId> = values.iter().map(device).collect::<Option<_>>()?;
        let may_hold = |file: &&FileRow| {
            let tenant = TenantId::new(&file.tenant).ok()?;
            let here = devices.iter().any(|device| {
                let key = DeviceKey { tenant: tenant.clone(), device: device.clone() };
                key.partition().get() == file.partition
            });
            // Another device may share the partition: never `true`.
            (!here).then_some(false)
        };
        Some(self.files.iter().map(may_hold).collect())
    }
}

fn device(value: &ScalarValue) -> Option<DeviceId> {
    match value {
        ScalarValue::Dictionary(_, inner) => device(inner),
        other => DeviceId::new(other.try_as_str()??).ok(),
    }
}
