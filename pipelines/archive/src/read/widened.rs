//! Rows of a committed file with the columns of this version, for whoever writes them again.

use super::verified;
use crate::error::ArchiveError;
use crate::files::Files;
use crate::keys::ArchiveKeys;
use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{ArrowError, FieldRef, SchemaRef};
use wardline_journal::KeyError;
use wardline_store::catalog::FileRow;

/// Reads a file's rows with the columns of this version, some at a time. Says which file it is that does not read.
pub(crate) fn rows_of(
    at: &Files,
    file: &FileRow,
    keys: &ArchiveKeys,
    schema: &SchemaRef,
) -> Result<impl Iterator<Item = Result<RecordBatch, ArchiveError>>, ArchiveError> {
    let (path, schema) = (file.path.clone(), schema.clone());
    let unreadable = move |why: String| ArchiveError::Unreadable(path.clone(), why);
    let batches = verified(at, file, keys).map_err(|error| match error {
        // Says nothing of the file: it is asked again.
        ArchiveError::Key(KeyError::Away(_) | KeyError::Refused(_)) => error,
        ArchiveError::Parquet(_) | ArchiveError::Key(_) => unreadable(error.to_string()),
        other => other,
    })?;
    let path = file.path.clone();
    let widen = move |batch: Result<RecordBatch, ArrowError>| {
        let wide = widened(&batch.map_err(|error| unreadable(error.to_string()))?, &schema);
        wide.ok_or_else(|| ArchiveError::OtherColumns(path.clone()))
    };
    Ok(batches.map(widen))
}

/// Gives rows of an earlier version the columns that came later, null as for every reader; none when that cannot be.
fn widened(rows: &RecordBatch, schema: &SchemaRef) -> Option<RecordBatch> {
    let column = |field: &FieldRef| match rows.column_by_name(field.name()) {
        Some(column) => Some(column.clone()),
        None if field.is_nullable() => Some(new_null_array(field.data_type(), rows.num_rows())),
        None => None,
    };
    let columns: Vec<_> = schema.fields().iter().map(column).collect::<Option<_>>()?;
    let lost = rows.schema_ref().fields().iter().any(|field| schema.field_with_name(field.name()).is_err());
    if lost { None } else { RecordBatch::try_new(schema.clone(), columns).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn rows_of_an_earlier_version_are_merged_with_nulls_and_of_a_later_one_are_left() {
        let schema = crate::rows::schema(Table::Quarantine);
        let last = schema.fields().len() - 1;
        let now = RecordBatch::new_empty(schema.clone());
        let earlier = now.project(&(0..last).collect::<Vec<_>>()).unwrap();
        assert_eq!(widened(&earlier, &schema), Some(now.clone()));
        assert_eq!(widened(&now.project(&[1, 2]).unwrap(), &schema), None, "no tenant, no row");
        assert_eq!(widened(&now, &earlier.schema()), None, "a column would be lost");
    }
}
