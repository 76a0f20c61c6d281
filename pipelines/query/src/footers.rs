//! What files say of themselves, read and decrypted once for all statements of a server: footers and page indexes.
//!
//! **Invariant:** nothing outlives the keyring that opened it. The first statement that finds another keyring (a key
//! destroyed, a key made) forgets everything; where keys are at a key service, which may refuse any of them at any
//! time, nothing is kept at all.
//!
//! A file never changes under its name, so what is kept of it holds. Which files there are, every statement asks the
//! catalog.

use crate::proven::OfRows;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::error::Result;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use ring::digest::{SHA256, digest};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Memory that they may take; the oldest go first.
const BYTES_MAX: usize = 128 << 20;

/// What is kept, by the keyring that opened it.
#[derive(Debug, Default)]
pub(crate) struct Footers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    keyring: Vec<u8>,
    files: HashMap<Path, (Arc<ParquetMetaData>, Arc<OfRows>)>,
    /// In order of coming, with their sizes.
    order: VecDeque<(Path, usize)>,
    bytes: usize,
}

impl Footers {
    /// Returns them for a statement that reads with the keyring of these bytes.
    pub(crate) fn under(self: &Arc<Self>, keyring: &[u8]) -> FootersUnder {
        let keyring = digest(&SHA256, keyring).as_ref().to_vec();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.keyring != keyring {
            *kept = Kept { keyring: keyring.clone(), ..Kept::default() };
        }
        FootersUnder { footers: self.clone(), keyring }
    }
}

/// The footers that one keyring opens.
#[derive(Debug, Clone)]
pub(crate) struct FootersUnder {
    footers: Arc<Footers>,
    keyring: Vec<u8>,
}

impl FootersUnder {
    fn get(&self, path: &Path) -> Option<Arc<ParquetMetaData>> {
        let kept = self.footers.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.keyring == self.keyring).then(|| kept.files.get(path).map(|(footer, _)| footer.clone()))?
    }

    /// Returns what those that were read say of all rows of their files.
    pub(crate) fn of_rows(&self, paths: impl Iterator<Item = Path>) -> Vec<Option<Arc<OfRows>>> {
        let kept = self.footers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = kept.keyring == self.keyring;
        let known = |path| kept.files.get(&path).filter(|_| is_own).map(|(_, rows)| rows.clone());
        paths.map(known).collect()
    }

    fn put(&self, path: &Path, footer: &Arc<ParquetMetaData>) {
        let mut kept = self.footers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = footer.memory_size();
        if kept.keyring != self.keyring || bytes > BYTES_MAX || kept.files.contains_key(path) {
            return;
        }
        kept.files.insert(path.clone(), (footer.clone(), Arc::new(OfRows::new(footer))));
        kept.order.push_back((path.clone(), bytes));
        kept.bytes += bytes;
        while kept.bytes > BYTES_MAX {
            let Some((oldest, bytes)) = kept.order.pop_front() else { return };
            kept.files.remove(&oldest);
            kept.bytes -= bytes;
        }
    }

    /// Makes readers of files in a store.
    pub(crate) fn readers(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ParquetFileReaderFactory> {
        Arc::new(Readers { files: DefaultParquetFileReaderFactory::new(store), footers: self.clone() })
    }
}

/// Readers that look here before they read a footer.
#[derive(Debug)]
struct Readers {
    files: DefaultParquetFileReaderFactory,
    footers: FootersUnder,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path = file.object_meta.location.clone();
        let file = self.files.create_reader(partition, file, hint, metrics)?;
        Ok(Box::new(Reader { file, path, footers: self.footers.clone() }))
    }
}

struct Reader {
    file: Box<dyn AsyncFileReader + Send>,
    path: Path,
    footers: FootersUnder,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<bytes::Bytes>> {
        self.file.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<bytes::Bytes>>> {
        self.file.get_byte_ranges(ranges)
    }

    /// Reads the page index with the footer, whether or not it is asked for: the next statement will.
    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            if let Some(known) = self.footers.get(&self.path) {
                return Ok(known);
            }
            let options = options.cloned().unwrap_or_default();
            let options = options.with_page_index_policy(PageIndexPolicy::Optional);
            let footer = self.file.get_metadata(Some(&options)).await?;
            self.footers.put(&self.path, &footer);
            Ok(footer)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::ParquetMetaDataReader;

    fn footer() -> Arc<ParquetMetaData> {
        let column: Arc<dyn arrow::array::Array> = Arc::new(Int32Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let file = bytes::Bytes::from(writer.into_inner().unwrap());
        Arc::new(ParquetMetaDataReader::new().parse_and_finish(&file).unwrap())
    }

    #[test]
    fn what_one_keyring_opened_is_not_there_under_another() {
        let (footers, path) = (Arc::new(Footers::default()), Path::from("a.parquet"));
        let before = footers.under(b"one");
        before.put(&path, &footer());
        assert!(before.get(&path).is_some() && footers.under(b"one").get(&path).is_some());
        let after = footers.under(b"two");
        assert!(after.get(&path).is_none());
        // A statement that began before brings nothing back.
        before.put(&path, &footer());
        assert!(before.get(&path).is_none() && after.get(&path).is_none());
        assert!(footers.under(b"one").get(&path).is_none());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let (footers, one) = (Arc::new(Footers::default()), footer());
        let under = footers.under(b"one");
        let path = |n: usize| Path::from(format!("{n}.parquet"));
        let fit = BYTES_MAX / one.memory_size();
        (0..=fit).for_each(|n| under.put(&path(n), &one));
        assert!(under.get(&path(0)).is_none() && under.get(&path(fit)).is_some());
        let kept = footers.0.lock().unwrap();
        assert!(kept.bytes <= BYTES_MAX && kept.files.len() == fit && kept.order.len() == fit);
    }
}
