//! An archive table for the SQL engine: exactly the catalog's files, decrypted with the keyring.
//!
//! The catalog chooses the files that a filter can be true in; its row counts and time ranges go along as statistics,
//! and of the files that are opened only the row groups and pages that a filter can be true in are read.

use crate::note::Asking;
use crate::portions::portions;
use crate::provider::{Scanned, Wanted};
use crate::prune::survivors;
use crate::struck::Strike;
use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, ScalarValue, Statistics};
use datafusion::config::EncryptionFactoryOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::TableProviderFilterPushDown;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use object_store::path::Path;
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::encryption::encrypt::FileEncryptionProperties;
use std::sync::Arc;
use wardline_archive::read::ArchiveReader;
use wardline_archive::{ArchiveKeys, Erased, Files, Table, schema};
use wardline_proto::TenantId;
use wardline_store::catalog::FileRow;

/// Keys of this session's files. It only reads.
#[derive(Debug)]
struct Keys(Arc<ArchiveKeys>);

#[async_trait]
impl EncryptionFactory for Keys {
    async fn get_file_encryption_properties(
        &self,
        _config: &EncryptionFactoryOptions,
        _schema: &SchemaRef,
        _path: &Path,
    ) -> Result<Option<Arc<FileEncryptionProperties>>> {
        Err(DataFusionError::NotImplemented("the archive is written by the gateway only".into()))
    }

    async fn get_file_decryption_properties(
        &self,
        _config: &EncryptionFactoryOptions,
        _path: &Path,
    ) -> Result<Option<Arc<FileDecryptionProperties>>> {
        let properties = self.0.decryption().map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Some(properties))
    }
}

/// Files of all tables, in order of commit, of which those of a tenant are there, or of all.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) files: Arc<Vec<FileRow>>,
    pub(crate) tenant: Option<TenantId>,
}

impl Committed {
    fn of(&self, table: Table) -> Vec<&FileRow> {
        let is_seen = |file: &&FileRow| self.tenant.as_ref().is_none_or(|own| own.as_str() == file.tenant);
        self.files.iter().filter(|file| file.table == table.name()).filter(is_seen).collect()
    }
}

/// One table.
#[derive(Debug)]
pub(crate) struct ArchiveTable {
    table: Table,
    schema: SchemaRef,
    committed: Committed,
    at: ObjectStoreUrl,
    /// Where the engine finds them.
    root: String,
    keys: Arc<Keys>,
    /// What files may still hold and nobody gets.
    erased: Arc<Erased>,
    /// Rows that are in no file yet.
    tail: Vec<RecordBatch>,
    asking: Arc<Asking>,
    /// Readers of files; none: the engine's own.
    readers: Option<Arc<dyn ParquetFileReaderFactory>>,
}

impl ArchiveTable {
    /// Makes a table of files and of rows that are in none of them; `asking` hears of every scan.
    pub(crate) fn new(
        table: Table,
        reader: &ArchiveReader,
        committed: Committed,
        (tail, asking): (Vec<RecordBatch>, Arc<Asking>),
    ) -> anyhow::Result<Self> {
        let (schema, at) = (schema(table), Self::at(reader)?);
        let root = match reader.place() {
            Files::Folder(root) => Path::from_absolute_path(std::path::absolute(root)?)?,
            Files::Bucket(bucket) => bucket.path_of(""),
        };
        let root = root.to_string();
        let erased = Arc::new(reader.erased().pending());
        let keys = Arc::new(Keys(reader.keys()));
        Ok(Self { table, schema, committed, at, root, keys, erased, tail, asking, readers: None })
    }

    /// Reads files so.
    pub(crate) fn with_readers(mut self, readers: Option<Arc<dyn ParquetFileReaderFactory>>) -> Self {
        self.readers = readers;
        self
    }
}

impl ArchiveTable {
    /// Returns a file as the engine opens it.
    fn opened(&self, file: &FileRow) -> PartitionedFile {
        let statistics = Arc::new(statistics(self.table, &self.schema, file));
        PartitionedFile::new(format!("{}/{}", self.root, file.path), file.bytes).with_statistics(statistics)
    }

    /// Names the store that the engine asks for the files.
    pub(crate) fn at(reader: &ArchiveReader) -> Result<ObjectStoreUrl> {
        match reader.place() {
            Files::Folder(_) => Ok(ObjectStoreUrl::local_filesystem()),
            Files::Bucket(bucket) => ObjectStoreUrl::parse(bucket.url()),
        }
    }

    /// Gives the engine the store of the files; of a folder it has one.
    pub(crate) fn register(reader: &ArchiveReader, runtime: &RuntimeEnv) -> Result<()> {
        if let Files::Bucket(bucket) = reader.place() {
            runtime.register_object_store(Self::at(reader)?.as_ref(), bucket.store());
        }
        Ok(())
    }
}

/// What the catalog knows of a file: rows, and the range of the table's time.
fn statistics(table: Table, schema: &SchemaRef, file: &FileRow) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let rows = usize::try_from(file.rows);
    statistics.num_rows = rows.map_or(Precision::Absent, Precision::Exact);
    if let Ok(column) = schema.index_of(table.time_column()) {
        let zone = match schema.field(column).data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.clone(),
            _ => None,
        };
        let micros = |us| Precision::Exact(ScalarValue::TimestampMicrosecond(Some(us), zone.clone()));
        let of_time = &mut statistics.column_statistics[column];
        of_time.min_value = micros(file.time_min_us);
        of_time.max_value = micros(file.time_max_us);
        of_time.null_count = Precision::Exact(0);
    }
    statistics
}

#[async_trait]
impl Scanned for ArchiveTable {
    /// A filter chooses files, row groups and pages; rows are looked at one by one behind the scan.
    const FILTERS: TableProviderFilterPushDown = TableProviderFilterPushDown::Inexact;

    fn columns(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn scanned(&self, state: &dyn Session, wanted: Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let Wanted { columns, filters, limit } = wanted;
        self.asking.note(self.table, filters);
        let schema = DFSchema::try_from(self.schema.clone())?;
        let mut source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_encryption_factory(self.keys.clone());
        if let Some(readers) = &self.readers {
            source = source.with_parquet_file_reader_factory(readers.clone());
        }
        // Row groups and pages are left out by it; also where no predicate comes down through the plan.
        if let Some(filter) = conjunction(filters.to_vec()) {
            source = source.with_predicate(state.create_physical_expr(filter, &schema)?);
        }
        let committed = self.committed.of(self.table);
        let open = survivors(state, self.table, &schema, &committed, filters)?;
        let files = committed.into_iter().zip(open).filter(|(_, open)| *open);
        let files = files.map(|(file, _)| (self.opened(file), file.rows));
        let strike = Strike::new(self.table, &self.erased, &self.schema, columns)?;
        // Of rows that are left out a limit would be reached too early.
        let (columns, limit) = strike.as_ref().map_or((columns, limit), |strike| (Some(&strike.read), None));
        let groups = portions(files.collect(), state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(self.at.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(columns.cloned())?
            .with_limit(limit)
            .build();
        let mut scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
        if !self.tail.is_empty() {
            let (rows, schema) = (std::slice::from_ref(&self.tail), self.schema.clone());
            let tail = MemorySourceConfig::try_new_exec(rows, schema, columns.cloned())?;
            scan = UnionExec::try_new(vec![scan, tail])?;
        }
        match strike {
            None => Ok(scan),
            Some(strike) => strike.over(state, scan),
        }
    }
}
