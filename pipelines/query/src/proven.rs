//! Conditions that what is known of a file settles for each of its rows: nobody has to look at them row by row.
//!
//! The catalog knows a file's tenant and the range of the table's time. Its footer tells whether all rows are of one
//! device, and how far that device's clock was off. A condition on these alone holds for every row, or for none; so
//! does one on who wore the device, when nobody else did in that time.
//!
//! **Invariant:** a condition of which any part is not known here stays open. Only expressions that cannot fail, and
//! whose cost does not depend on what a statement says, are tried.

use crate::functions::{DEVICE_PSEUDONYM, EVENT_TIME, SITE, WEARER};
use crate::lookups::Lookups;
use datafusion::arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use std::sync::Arc;
use wardline_archive::Table;
use wardline_store::catalog::FileRow;

/// What a footer says of all rows of its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OfRows {
    /// Whose they are, when all are of one device.
    pub(crate) device: Option<Arc<str>>,
    /// Least and greatest difference of the clock; where none was known it is zero.
    offsets_us: Option<(i64, i64)>,
    /// Names of the columns by which they are in order, as the file says.
    pub(crate) order: Vec<String>,
}

impl OfRows {
    /// Reads it.
    pub(crate) fn new(footer: &ParquetMetaData) -> Self {
        let columns = footer.file_metadata().schema_descr().columns();
        let place = |name: &str| columns.iter().position(|column| column.path().string() == name);
        let of = |name: &str| -> Option<Vec<&Statistics>> {
            let place = place(name)?;
            footer.row_groups().iter().map(|group| group.column(place).statistics()).collect()
        };
        Self {
            device: of("device").and_then(|groups| one_text(&groups)),
            offsets_us: of("clock_offset_us").and_then(|groups| range(&groups)),
            order: order(footer).unwrap_or_default(),
        }
    }
}

/// Returns the columns by which the rows of the only group are in order, ascending.
fn order(footer: &ParquetMetaData) -> Option<Vec<String>> {
    let [group] = footer.row_groups() else { return None };
    let climbs = group.sorting_columns()?.iter().take_while(|column| !column.descending);
    let place = climbs.map(|column| usize::try_from(column.column_idx).ok());
    place.map(|place| Some(group.columns().get(place?)?.column_path().string())).collect()
}

/// Returns the text that all rows have.
fn one_text(groups: &[&Statistics]) -> Option<Arc<str>> {
    let mut texts = groups.iter().map(|group| {
        let Statistics::ByteArray(of) = group else { return None };
        let is_exact = of.min_is_exact() && of.max_is_exact() && of.null_count_opt() == Some(0);
        let (least, most) = (of.min_opt()?, of.max_opt()?);
        (is_exact && least == most).then(|| least.as_utf8().ok())?
    });
    let first = texts.next()??;
    texts.all(|text| text == Some(first)).then(|| first.into())
}

/// Returns least and greatest; null counts as zero.
fn range(groups: &[&Statistics]) -> Option<(i64, i64)> {
    let mut range: Option<(i64, i64)> = None;
    let mut widen = |least: i64, most: i64| {
        let (from, until) = range.unwrap_or((least, most));
        range = Some((from.min(least), until.max(most)));
    };
    for group in groups {
        let Statistics::Int64(of) = group else { return None };
        match (of.min_opt(), of.max_opt(), of.null_count_opt()?) {
            (Some(least), Some(most), nulls) => {
                widen(*least, *most);
                if nulls > 0 {
                    widen(0, 0);
                }
            }
            (None, None, nulls) if nulls > 0 => widen(0, 0),
            _unknown => return None,
        }
    }
    range
}

/// What is known of one file.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) file: &'a FileRow,
    /// Of files whose footer was read before.
    pub(crate) rows: Option<Arc<OfRows>>,
}

impl Facts<'_> {
    fn device(&self) -> Option<&str> {
        self.rows.as_ref()?.device.as_deref()
    }

    /// Least and greatest time by the edge's clock.
    fn event_times_us(&self) -> Option<(i64, i64)> {
        let (least, most) = self.rows.as_ref()?.offsets_us?;
        Some((self.file.time_min_us.saturating_add(least), self.file.time_max_us.saturating_add(most)))
    }
}

/// What is known of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has to be looked at row by row.
    Open,
    /// Every row fulfils it.
    Always,
    /// No row does.
    Never,
}

impl From<Option<bool>> for Verdict {
    fn from(known: Option<bool>) -> Self {
        match known {
            None => Self::Open,
            Some(true) => Self::Always,
            Some(false) => Self::Never,
        }
    }
}

/// Judges conditions on a table's rows.
pub(crate) struct Judge<'a> {
    pub(crate) state: &'a dyn Session,
    pub(crate) table: Table,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) lookups: &'a Lookups,
}

impl Judge<'_> {
    /// Judges one condition for each of some files.
    pub(crate) fn of(&self, condition: &Expr, files: &[Facts<'_>]) -> Vec<Verdict> {
        if let Some((op, at_us)) = self.at(condition) {
            return files.iter().map(|facts| within(facts.file, op, at_us).into()).collect();
        }
        if let Some(subject) = worn_by(condition) {
            return files.iter().map(|facts| self.worn(facts, subject).into()).collect();
        }
        match is_whose(condition) {
            // What cannot be tried is looked at row by row, where it fails as it would have.
            true => self.tried(condition, files).unwrap_or_else(|_error| vec![Verdict::Open; files.len()]),
            false => vec![Verdict::Open; files.len()],
        }
    }

    /// Reads a bound of the table's time.
    fn at(&self, condition: &Expr) -> Option<(Operator, i64)> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
        let (column, op, value) = match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) => (column, *op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap()?, value),
            _other => return None,
        };
        let ScalarValue::TimestampMicrosecond(Some(at_us), _) = value else { return None };
        (self.is_time(&column.name)).then_some((op, *at_us))
    }

    /// Says whether a column is the time whose range the catalog knows, in every row.
    fn is_time(&self, column: &str) -> bool {
        let field = self.schema.field_with_name(column);
        column == self.table.time_column() && field.is_ok_and(|field| !field.is_nullable())
    }

    /// Says whether a subject wore the file's device all the time that the file is of, or never in it.
    fn worn(&self, facts: &Facts<'_>, subject: &str) -> Option<bool> {
        if !self.is_time("device_time") {
            return None;
        }
        let (device, (first_us, last_us)) = (facts.device()?, facts.event_times_us()?);
        let (wearer, _, until_us) = self.lookups.ledger.span(&facts.file.tenant, device, first_us);
        (last_us < until_us).then(|| wearer == Some(subject))
    }

    /// Computes a condition on tenant and device, once a file.
    fn tried(&self, condition: &Expr, files: &[Facts<'_>]) -> Result<Vec<Verdict>> {
        let fields = ["tenant", "device"].map(|name| self.schema.field_with_name(name).cloned());
        let [tenant, device] = fields;
        let schema = Arc::new(Schema::new(vec![tenant?, device?]));
        if schema.fields().iter().any(|field| field.is_nullable()) {
            return Ok(vec![Verdict::Open; files.len()]);
        }
        let known = || files.iter().filter_map(|facts| Some((facts.file.tenant.as_str(), facts.device()?)));
        let columns = [known().map(|(tenant, _)| tenant).collect(), known().map(|(_, d)| d).collect()];
        let rows =
            RecordBatch::try_new(schema.clone(), columns.map(terms).into_iter().collect::<Result<_>>()?)?;
        let condition = self.state.create_physical_expr(condition.clone(), &DFSchema::try_from(schema)?)?;
        let holds = condition.evaluate(&rows)?.into_array(rows.num_rows())?;
        // Of a row that is neither true nor false nobody hears.
        let mut holds = holds.as_boolean().iter().map(|holds| holds.unwrap_or(false));
        let verdict = |facts: &Facts<'_>| facts.device().and_then(|_| holds.next()).into();
        Ok(files.iter().map(verdict).collect())
    }
}

fn terms(texts: Vec<&str>) -> Result<ArrayRef> {
    let keys = Int32Array::from_iter_values((0_i32..).take(texts.len()));
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from(texts)))?))
}

/// Says whether the time of all rows of a file is on one side of a bound.
fn within(file: &FileRow, op: Operator, at_us: i64) -> Option<bool> {
    let (least, most) = (file.time_min_us, file.time_max_us);
    let (holds, fails) = match op {
        Operator::Gt => (least > at_us, most <= at_us),
        Operator::GtEq => (least >= at_us, most < at_us),
        Operator::Lt => (most < at_us, least >= at_us),
        Operator::LtEq => (most <= at_us, least > at_us),
        Operator::Eq => (least == at_us && most == at_us, at_us < least || most < at_us),
        _other => (false, false),
    };
    (holds || fails).then_some(holds)
}

/// Returns the subject of a condition on who wore the device at a row's time.
fn worn_by(condition: &Expr) -> Option<&str> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let (wearer, subject) = match (&**left, &**right) {
        (wearer, Expr::Literal(value, _)) | (Expr::Literal(value, _), wearer) => (wearer, value),
        _other => return None,
    };
    let of_whom = arguments(wearer, WEARER)?;
    let [tenant, device, at] = of_whom else { return None };
    let of_when = arguments(at, EVENT_TIME)?;
    let [time, offset] = of_when else { return None };
    let are = [(tenant, "tenant"), (device, "device"), (time, "device_time"), (offset, "clock_offset_us")];
    are.into_iter().all(|(column, name)| is_column(column, name)).then(|| text_of(subject))?
}

fn arguments<'a>(expr: &'a Expr, name: &str) -> Option<&'a [Expr]> {
    match expr {
        Expr::ScalarFunction(call) if call.name() == name => Some(&call.args),
        _other => None,
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name)
}

fn text_of(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Dictionary(_, inner) => text_of(inner),
        other => other.try_as_str()?,
    }
}

/// Says whether a condition is on tenant and device alone, and cannot fail.
fn is_whose(condition: &Expr) -> bool {
    match condition {
        Expr::Column(column) => column.name == "tenant" || column.name == "device",
        Expr::Literal(..) => true,
        Expr::Not(of) | Expr::IsNull(of) | Expr::IsNotNull(of) => is_whose(of),
        Expr::InList(list) => is_whose(&list.expr) && list.list.iter().all(is_whose),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            is_comparing(*op) && is_whose(left) && is_whose(right)
        }
        Expr::ScalarFunction(call) => {
            [SITE, DEVICE_PSEUDONYM].contains(&call.name()) && call.args.iter().all(is_whose)
        }
        _other => false,
    }
}

fn is_comparing(op: Operator) -> bool {
    use Operator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
    matches!(op, And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq)
}
