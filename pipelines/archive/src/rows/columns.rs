//! Column types that several tables share.

use arrow_array::builder::{ArrayBuilder, Int32Builder, PrimitiveBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, ArrowPrimitiveType, DictionaryArray, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, TimeUnit};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

const UTC: &str = "UTC";

/// So many texts are compared one by one; past it they are looked up.
const COMPARED_MAX: usize = 16;

/// A column of few distinct texts, which mostly come in runs or in turns.
#[derive(Default)]
pub(super) struct Terms {
    keys: Int32Builder,
    texts: Vec<Arc<str>>,
    known: HashMap<Arc<str>, i32>,
    /// The key that came last.
    last: usize,
}

impl fmt::Debug for Terms {
    /// Shows the size only: a term may name a device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Terms({})", self.keys.len())
    }
}

impl Terms {
    pub(super) fn push(&mut self, term: Option<&str>) {
        self.push_many(term, 1);
    }

    pub(super) fn push_many(&mut self, term: Option<&str>, count: usize) {
        match term {
            Some(term) => {
                let key = self.key(term);
                self.keys.append_value_n(key, count);
            }
            None => self.keys.append_nulls(count),
        }
    }

    fn key(&mut self, term: &str) -> i32 {
        let is = |at: usize| self.texts.get(at).is_some_and(|text| **text == *term);
        let next = if self.last + 1 < self.texts.len() { self.last + 1 } else { 0 };
        let found = if is(self.last) {
            Some(self.last)
        } else if is(next) {
            Some(next)
        } else if self.texts.len() <= COMPARED_MAX {
            self.texts.iter().position(|text| **text == *term)
        } else {
            self.known.get(term).map(|key| *key as usize)
        };
        self.last = found.unwrap_or_else(|| {
            let text: Arc<str> = term.into();
            // A file has far fewer rows than there are keys.
            self.known.insert(text.clone(), self.texts.len() as i32);
            self.texts.push(text);
            self.texts.len() - 1
        });
        self.last as i32
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let texts = StringArray::from_iter_values(&self.texts);
        Arc::new(DictionaryArray::new(self.keys.finish(), Arc::new(texts)))
    }
}

/// A column of times.
#[derive(Debug, Default)]
pub(super) struct Times(TimestampMicrosecondBuilder);

impl Times {
    pub(super) fn push(&mut self, micros: Option<i64>) {
        self.0.append_option(micros);
    }

    pub(super) fn push_many(&mut self, micros: Option<i64>, count: usize) {
        repeat(&mut self.0, micros, count);
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let times: TimestampMicrosecondArray = self.0.finish();
        Arc::new(times.with_timezone(UTC))
    }
}

/// Adds a value so many times.
pub(super) fn repeat<T: ArrowPrimitiveType>(
    column: &mut PrimitiveBuilder<T>,
    value: Option<T::Native>,
    count: usize,
) {
    match value {
        Some(value) => column.append_value_n(value, count),
        None => column.append_nulls(count),
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
