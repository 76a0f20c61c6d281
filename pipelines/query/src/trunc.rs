//! `date_trunc` of a time in UTC, by arithmetic.
//!
//! The engine's own goes for every row through a calendar of time zones when a column has one, also where that is UTC:
//! more than half of what counting readings by day takes. Every time of the archive is in UTC, so the zone is taken off
//! before and put on behind; anything else is the engine's.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::common::internal_datafusion_err;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

const NAME: &str = "date_trunc";
const UTC: &str = "UTC";

/// The engine's function, for times in UTC without their zone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Trunc(Arc<ScalarUDF>);

impl ScalarUDFImpl for Trunc {
    fn name(&self) -> &str {
        NAME
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        self.0.return_type(of)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.0.output_ordering(inputs)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ([_, ColumnarValue::Array(times)], [_, field]) = (&mut args.args[..], &mut args.arg_fields[..])
        else {
            return self.0.invoke_with_args(args);
        };
        if *times.data_type() != zoned(Some(UTC)) {
            return self.0.invoke_with_args(args);
        }
        *times = with_zone(times, None);
        *field = Arc::new(Field::new(field.name(), zoned(None), field.is_nullable()));
        let zoned_field = args.return_field.clone();
        args.return_field = Arc::new(Field::new(zoned_field.name(), zoned(None), zoned_field.is_nullable()));
        match self.0.invoke_with_args(args)? {
            ColumnarValue::Array(cut) if *cut.data_type() == zoned(None) => {
                Ok(ColumnarValue::Array(with_zone(&cut, Some(UTC))))
            }
            other => Err(internal_datafusion_err!("{NAME} gave {}", other.data_type())),
        }
    }
}

fn zoned(zone: Option<&str>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
}

fn with_zone(times: &ArrayRef, zone: Option<&str>) -> ArrayRef {
    let times = times.as_primitive::<TimestampMicrosecondType>().clone();
    Arc::new(times.with_timezone_opt(zone))
}

/// Puts it in the place of the engine's.
pub(crate) fn register(session: &SessionContext) -> Result<()> {
    let engines = session.udf(NAME)?;
    session.register_udf(ScalarUDF::from(Trunc(engines)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::util::pretty::pretty_format_batches;

    /// Times before and after the epoch, on borders and beside them, of leap days and of none.
    const TIMES: &str = "(VALUES (TIMESTAMP '1969-12-31T23:59:59.999999Z'), (TIMESTAMP '1970-01-01T00:00:00Z'), \
        (TIMESTAMP '2024-02-29T12:34:56.789012Z'), (TIMESTAMP '2026-11-22T00:00:00Z'), (NULL), \
        (TIMESTAMP '2026-11-21T23:59:59.999999Z'), (TIMESTAMP '1900-03-01T00:00:00.000001Z'))";

    async fn cut(session: &SessionContext, zone: &str) -> String {
        let mut said = String::new();
        for step in ["year", "quarter", "month", "week", "day", "HOUR", "minute", "second", "millisecond"] {
            let sql = format!(
                "SELECT date_trunc('{step}', t) AS t, arrow_typeof(date_trunc('{step}', t)) AS of FROM \
                 (SELECT arrow_cast(column1, 'Timestamp(Microsecond, {zone})') AS t FROM {TIMES})"
            );
            let rows = session.sql(&sql).await.unwrap().collect().await.unwrap();
            said += &pretty_format_batches(&rows).unwrap().to_string();
        }
        said
    }

    #[tokio::test]
    async fn it_says_what_the_engines_own_says() {
        let (engines, ours) = (SessionContext::new(), SessionContext::new());
        register(&ours).unwrap();
        for zone in ["Some(\"UTC\")", "None", "Some(\"Europe/Berlin\")", "Some(\"+05:30\")"] {
            let said = cut(&ours, zone).await;
            assert_eq!(said, cut(&engines, zone).await);
            assert!(said.contains("2024-02-29T12:34"), "{said}");
        }
        let one =
            "SELECT date_trunc('day', TIMESTAMP '2026-11-22T01:02:03Z') AS t, date_trunc('day', now()) AS n";
        for session in [&engines, &ours] {
            assert_eq!(session.sql(one).await.unwrap().collect().await.unwrap()[0].num_rows(), 1);
        }
        for bad in ["SELECT date_trunc('eon', column1) FROM", "SELECT date_trunc(column1, column1) FROM"] {
            let sql = format!("{bad} {TIMES}");
            let failed = async |session: &SessionContext| match session.sql(&sql).await {
                Ok(frame) => frame.collect().await.unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(failed(&ours).await, failed(&engines).await);
        }
    }
}
