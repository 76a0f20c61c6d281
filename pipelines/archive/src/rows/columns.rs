//! Column types that several tables share.

use arrow_array::builder::{Int32Builder, TimestampMicrosecondBuilder};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, DictionaryArray, Int32Array, PrimitiveArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{DataType, Field, TimeUnit};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub(super) const UTC: &str = "UTC";

/// So many texts are compared one by one; past it they are looked up.
const COMPARED_MAX: usize = 16;

/// Few distinct texts, which mostly come in runs or in turns.
#[derive(Default)]
pub(super) struct Texts {
    texts: Vec<Arc<str>>,
    known: HashMap<Arc<str>, i32>,
    /// The key that came last.
    last: usize,
}

impl fmt::Debug for Texts {
    /// Shows the size only: a text may name a device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({})", self.texts.len())
    }
}

impl Texts {
    /// Returns the key of a text.
    pub(super) fn key(&mut self, text: &str) -> i32 {
        let is = |at: usize| self.texts.get(at).is_some_and(|known| **known == *text);
        let next = if self.last + 1 < self.texts.len() { self.last + 1 } else { 0 };
        let found = if is(self.last) {
            Some(self.last)
        } else if is(next) {
            Some(next)
        } else if self.texts.len() <= COMPARED_MAX {
            self.texts.iter().position(|known| **known == *text)
        } else {
            self.known.get(text).map(|key| *key as usize)
        };
        self.last = found.unwrap_or_else(|| {
            let text: Arc<str> = text.into();
            // A file has far fewer rows than there are keys.
            self.known.insert(text.clone(), self.texts.len() as i32);
            self.texts.push(text);
            self.texts.len() - 1
        });
        self.last as i32
    }

    /// Makes a column of keys.
    pub(super) fn finish(self, keys: Int32Array) -> ArrayRef {
        let texts = StringArray::from_iter_values(&self.texts);
        Arc::new(DictionaryArray::new(keys, Arc::new(texts)))
    }
}

/// A column of few distinct texts.
#[derive(Debug, Default)]
pub(super) struct Terms {
    keys: Int32Builder,
    texts: Texts,
}

impl Terms {
    pub(super) fn push(&mut self, term: Option<&str>) {
        self.keys.append_option(term.map(|term| self.texts.key(term)));
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        self.texts.finish(self.keys.finish())
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

/// Makes a column of values, each of which stands in so many rows.
pub(super) fn spread<T: ArrowPrimitiveType>(
    runs: impl Iterator<Item = (Option<T::Native>, usize)> + Clone,
    rows: usize,
) -> PrimitiveArray<T> {
    let mut values = Vec::with_capacity(rows);
    let mut has_nulls = false;
    for (value, count) in runs.clone() {
        has_nulls |= value.is_none();
        values.extend(std::iter::repeat_n(value.unwrap_or_default(), count));
    }
    let nulls = has_nulls.then(|| {
        let mut valid = NullBufferBuilder::new(rows);
        for (value, count) in runs {
            match value {
                Some(_) => valid.append_n_non_nulls(count),
                None => valid.append_n_nulls(count),
            }
        }
        valid.finish()
    });
    PrimitiveArray::new(values.into(), nulls.flatten())
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
