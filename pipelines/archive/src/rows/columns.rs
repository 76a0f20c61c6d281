//! Column types that several tables share.

use arrow_array::builder::{ArrayBuilder, StringDictionaryBuilder, TimestampMicrosecondBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, TimeUnit};
use std::fmt;
use std::sync::Arc;

const UTC: &str = "UTC";

/// A column of few distinct texts.
#[derive(Default)]
pub(super) struct Terms(StringDictionaryBuilder<Int32Type>);

impl fmt::Debug for Terms {
    /// Shows the size only: a term may name a device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Terms({})", self.0.len())
    }
}

impl Terms {
    pub(super) fn push(&mut self, term: Option<&str>) {
        match term {
            Some(term) => self.0.append_value(term),
            None => self.0.append_null(),
        }
    }

    pub(super) fn push_many(&mut self, term: Option<&str>, count: usize) {
        match term {
            Some(term) => self.0.append_values(term, count),
            None => self.0.append_nulls(count),
        }
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// A column of times.
#[derive(Debug, Default)]
pub(super) struct Times(TimestampMicrosecondBuilder);

impl Times {
    pub(super) fn push(&mut self, micros: Option<i64>) {
        self.0.append_option(micros);
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let times: TimestampMicrosecondArray = self.0.finish();
        Arc::new(times.with_timezone(UTC))
    }
}

pub(super) fn terms(name: &str) -> Field {
    Field::new(name, DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), false)
}

pub(super) fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())), false)
}

pub(super) fn number(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

pub(super) fn optional(field: Field) -> Field {
    field.with_nullable(true)
}
