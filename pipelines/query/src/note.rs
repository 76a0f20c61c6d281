//! What goes with every answer: how complete the data is that it rests on, and up to where it reaches.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use wardline_archive::tail::Tail;
use wardline_archive::{Asked, Coverage, Table};
use wardline_proto::v1::Lane;

/// The key under which Arrow, Parquet and Flight carry it.
pub(crate) const METADATA: &str = "wardline.completeness";

/// What the scans of one statement asked for.
#[derive(Debug, Default)]
pub(crate) struct Asking(Mutex<BTreeMap<Table, Asked>>);

impl Asking {
    /// Notes a scan; further ones of the table widen it.
    pub(crate) fn note(&self, table: Table, filters: &[Expr]) {
        let lanes: BTreeSet<i32> = match table {
            Table::Numerics => [Lane::Numerics].into_iter().map(i32::from).collect(),
            Table::Waveforms => [Lane::Waveforms].into_iter().map(i32::from).collect(),
            Table::Alarms => [Lane::Alarm].into_iter().map(i32::from).collect(),
            Table::Events => [Lane::Events].into_iter().map(i32::from).collect(),
            Table::Quarantine | Table::Completeness => {
                [Lane::Numerics, Lane::Waveforms, Lane::Alarm, Lane::Events].map(i32::from).into()
            }
            Table::Audit => return,
        };
        let mut asked = Asked { devices: None, lanes, times_us: (i64::MIN, i64::MAX) };
        for filter in filters.iter().flat_map(split_conjunction) {
            narrow(&mut asked, table, filter);
        }
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = tables.get_mut(&table) else {
            tables.insert(table, asked);
            return;
        };
        known.times_us = (known.times_us.0.min(asked.times_us.0), known.times_us.1.max(asked.times_us.1));
        known.devices = match (known.devices.take(), asked.devices) {
            (Some(these), Some(those)) => Some(these.into_iter().chain(those).collect()),
            _all => None,
        };
    }

    /// Returns what was asked, per table.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

fn narrow(asked: &mut Asked, table: Table, filter: &Expr) {
    if let Some(devices) = named(filter) {
        asked.devices = Some(match asked.devices.take() {
            Some(known) => known.intersection(&devices).cloned().collect(),
            None => devices,
        });
        return;
    }
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return };
    let (column, op, value) = match (&**left, &**right) {
        (column, Expr::Literal(value, _)) => (column, Some(*op), value),
        (Expr::Literal(value, _), column) => (column, op.swap(), value),
        _other => return,
    };
    let (Some(op), ScalarValue::TimestampMicrosecond(Some(at_us), _)) = (op, value) else { return };
    if !is(column, table.time_column()) && !is(column, "ingest_time") {
        return;
    }
    let (from, until) = &mut asked.times_us;
    if matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq) {
        *from = (*from).max(*at_us);
    }
    match op {
        Operator::Eq | Operator::LtEq => *until = (*until).min(*at_us),
        Operator::Lt => *until = (*until).min(at_us.saturating_sub(1)),
        _other => {}
    }
}

/// Returns the devices that a filter names; none when it is not about devices alone.
fn named(filter: &Expr) -> Option<BTreeSet<String>> {
    match filter {
        Expr::InList(list) if !list.negated && is(&list.expr, "device") => {
            let name = |name: &Expr| match name {
                Expr::Literal(value, _) => device(value),
                _other => None,
            };
            list.list.iter().map(name).collect()
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(named(left)?.into_iter().chain(named(right)?).collect())
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (&**left, &**right) {
            (column, Expr::Literal(value, _)) | (Expr::Literal(value, _), column) if is(column, "device") => {
                Some(BTreeSet::from([device(value)?]))
            }
            _other => None,
        },
        _other => None,
    }
}

fn is(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name)
}

fn device(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Dictionary(_, inner) => device(inner),
        other => other.try_as_str()?.map(str::to_owned),
    }
}

/// Says it as one line of JSON. `found` is none when it is about too many streams to be counted.
pub(crate) fn line(found: Option<&Coverage>, tail: &Tail) -> String {
    let counts = found.map_or(String::new(), |found| {
        let Coverage { streams, expected, received, missing, duplicates, late, quarantined } = found;
        format!(
            "\"streams\":{streams},\"expected\":{expected},\"received\":{received},\"missing\":{missing},\
             \"quarantined\":{quarantined},\"late\":{late},\"duplicates\":{duplicates},"
        )
    });
    let (state, end) = (tail.state.name(), tail.end);
    format!("{{{counts}\"tail\":\"{state}\",\"journal_end\":{end}}}")
}
