//! An archive table for the SQL engine: exactly the catalog's files, decrypted with the keyring.
//!
//! The catalog chooses the files that a filter can be true in; its row counts and time ranges go along as statistics,
//! and of the files that are opened only the row groups and pages that a filter can be true in are read.

use crate::footers::FootersUnder;
use crate::functions;
use crate::lookups::Lookups;
use crate::note::Asking;
use crate::opened::{Columns, Opening, order};
use crate::portions::portions;
use crate::proven::{Facts, Judge, Verdict};
use crate::provider::{Scanned, Wanted};
use crate::prune::survivors;
use crate::struck::Strike;
use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::DFSchema;
use datafusion::config::EncryptionFactoryOptions;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::encryption::encrypt::FileEncryptionProperties;
use std::collections::BTreeMap;
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
    /// Who wears what.
    lookups: Arc<Lookups>,
    /// What files say of themselves, as it was read before, and the store of the files.
    footers: Option<(FootersUnder, Arc<dyn ObjectStore>)>,
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
        Ok(Self {
            table,
            schema,
            committed,
            at,
            root,
            keys,
            erased,
            tail,
            asking,
            lookups: Arc::default(),
            footers: None,
        })
    }

    /// Leaves out what is known without looking.
    pub(crate) fn knowing(
        mut self,
        lookups: Arc<Lookups>,
        footers: Option<(FootersUnder, Arc<dyn ObjectStore>)>,
    ) -> Self {
        (self.lookups, self.footers) = (lookups, footers);
        self
    }
}

impl ArchiveTable {
    /// Returns a file as the engine opens it.
    fn opened(&self, facts: Facts<'_>) -> Opening {
        Opening::new((self.table, &self.schema), (facts.file, self.path(facts.file)), facts.rows)
    }

    fn path(&self, file: &FileRow) -> String {
        format!("{}/{}", self.root, file.path)
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

impl ArchiveTable {
    /// Returns the files that may hold wanted rows, with what is known of them.
    fn candidates(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<Facts<'_>>> {
        let schema = DFSchema::try_from(self.schema.clone())?;
        let committed = self.committed.of(self.table);
        let open = survivors(state, self.table, &schema, &committed, filters)?;
        let files: Vec<_> =
            committed.into_iter().zip(open).filter(|(_, open)| *open).map(|(file, _)| file).collect();
        let known = match &self.footers {
            Some((footers, _)) => footers.of_rows(files.iter().map(|file| Path::from(self.path(file)))),
            None => vec![None; files.len()],
        };
        Ok(files.into_iter().zip(known).map(|(file, rows)| Facts { file, rows }).collect())
    }

    /// Plans reading columns of files.
    fn reading(
        &self,
        state: &dyn Session,
        files: Vec<Opening>,
        columns: &[usize],
        how: How,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut options = state.table_options().parquet.clone();
        if let How::Passing { is_late: true, .. } = how {
            // Little passes: to keep what was decoded for the conditions takes more than to decode that little again.
            options.global.max_predicate_cache_size = Some(0);
        }
        let mut source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(options)
            .with_bloom_filter_on_read(false)
            .with_encryption_factory(self.keys.clone());
        if let Some((footers, store)) = &self.footers {
            source = source.with_parquet_file_reader_factory(footers.readers(store.clone()));
        }
        let (source, limit) = match how {
            // Row groups and pages are left out by it.
            How::All(Some(predicate)) => (source.with_predicate(predicate), None),
            How::All(None) => (source, None),
            How::Passing { is_late, limit } => (source.with_pushdown_filters(is_late), limit),
        };
        let order = order(&self.schema, &files);
        let files = files.into_iter().map(|opening| (opening.file, opening.rows)).collect();
        let groups = portions(files, state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(self.at.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_output_ordering(order)
            .with_projection_indices(Some(columns.to_vec()))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    /// Plans reading what is in no file yet; none where nothing is.
    fn reading_tail(&self, columns: &[usize]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.tail.is_empty() {
            return Ok(None);
        }
        let (rows, schema) = (std::slice::from_ref(&self.tail), self.schema.clone());
        let tail = MemorySourceConfig::try_new_exec(rows, schema, Some(columns.to_vec()))?;
        Ok(Some(tail as Arc<dyn ExecutionPlan>))
    }

    /// Plans reading every row of the files that may hold wanted ones, and of the tail: nothing looks at one of them.
    pub(crate) fn chosen(&self, state: &dyn Session, wanted: Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        self.asking.note(self.table, wanted.filters);
        let strike = Strike::new(self.table, &self.erased, &self.schema, wanted.columns)?;
        let columns = match &strike {
            Some(strike) => strike.read.clone(),
            None => self.wanted(wanted.columns),
        };
        let schema = DFSchema::try_from(self.schema.clone())?;
        let predicate = conjunction(wanted.filters.to_vec());
        let predicate = predicate.map(|filter| state.create_physical_expr(filter, &schema)).transpose()?;
        let files = self.candidates(state, wanted.filters)?;
        let files = files.into_iter().map(|facts| self.opened(facts)).collect();
        let mut parts = vec![self.reading(state, files, &columns, How::All(predicate))?];
        parts.extend(self.reading_tail(&columns)?);
        let scan = union(parts)?;
        match strike {
            None => Ok(scan),
            Some(strike) => strike.over(scan),
        }
    }

    fn wanted(&self, columns: Option<&Vec<usize>>) -> Vec<usize> {
        columns.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect())
    }

    /// Shares files out by the conditions that stay open in them; those without a row that fulfils all are left out.
    fn by_open(
        &self,
        state: &dyn Session,
        conditions: &[Expr],
    ) -> Result<BTreeMap<Vec<usize>, Vec<Opening>>> {
        let files = self.candidates(state, conditions)?;
        let judge = Judge { state, table: self.table, schema: &self.schema, lookups: &self.lookups };
        let verdicts: Vec<_> = conditions.iter().map(|condition| judge.of(condition, &files)).collect();
        let mut by_open = BTreeMap::<_, Vec<_>>::new();
        for (at, facts) in files.into_iter().enumerate() {
            let of_file = || verdicts.iter().map(|verdicts| verdicts[at]);
            if of_file().any(|verdict| verdict == Verdict::Never) {
                continue;
            }
            let open = of_file().enumerate().filter(|(_, verdict)| *verdict == Verdict::Open);
            let files = by_open.entry(open.map(|(condition, _)| condition).collect()).or_default();
            files.push(self.opened(facts));
        }
        Ok(by_open)
    }
}

/// How files are read.
enum How {
    /// Every row of the row groups and pages that may hold one that passes.
    All(Option<Arc<dyn PhysicalExpr>>),
    /// Rows that pass the filter above, so many at least when there are as many; `is_late`: other columns are decoded
    /// behind it.
    Passing { is_late: bool, limit: Option<usize> },
}

/// Says whether other columns are to be decoded behind the conditions, which may be put together for it. Rows of samples
/// are wide and few. Of readings it is worth it where few are left, as of those with certain values; and only when it is
/// done once, not condition by condition.
fn late(table: Table, conditions: Vec<Expr>) -> (Vec<Expr>, bool) {
    let is_of_value = |condition: &Expr| condition.column_refs().iter().any(|column| column.name == "value");
    if table != Table::Numerics || !conditions.iter().any(is_of_value) {
        return (conditions, table == Table::Waveforms);
    }
    // By these pages are chosen.
    let chooses = |condition: &Expr| {
        let of = condition.column_refs();
        of.iter().all(|column| ["tenant", "device", "device_time"].contains(&column.name.as_str()))
    };
    let (mut apart, together): (Vec<_>, Vec<_>) = conditions.into_iter().partition(chooses);
    match together.len() {
        // By the values alone, too.
        0 | 1 => apart.extend(together),
        _more => apart.extend(conjunction(together).map(|all| functions::at_once().call(vec![all]))),
    }
    (apart, true)
}

/// Puts a filter over what is read, and gives on what is wanted.
fn passing(
    state: &dyn Session,
    conditions: Vec<Expr>,
    read: Arc<dyn ExecutionPlan>,
    given: Vec<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(filter) = conjunction(conditions) else { return Ok(read) };
    let predicate = state.create_physical_expr(filter, &DFSchema::try_from(read.schema())?)?;
    Ok(Arc::new(FilterExecBuilder::new(predicate, read).apply_projection(Some(given))?.build()?))
}

/// Puts parts together.
fn union(mut parts: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => Ok(only),
        (last, _) => UnionExec::try_new(parts.into_iter().chain(last).collect()),
    }
}

#[async_trait]
impl Scanned for ArchiveTable {
    /// A filter chooses files, row groups and pages; what is known of a file settles it for all of its rows, or they are
    /// looked at one by one.
    const FILTERS: TableProviderFilterPushDown = TableProviderFilterPushDown::Exact;

    fn columns(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn scanned(&self, state: &dyn Session, wanted: Wanted<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut conditions: Vec<Expr> = Vec::new();
        for condition in wanted.filters.iter().flat_map(split_conjunction) {
            if !conditions.contains(condition) {
                conditions.push(condition.clone());
            }
        }
        let columns = self.wanted(wanted.columns);
        let whole = Columns::new(&self.schema, columns.clone(), &conditions)?;
        if !self.erased.is_empty() {
            // Nothing of a statement runs on a row that was erased.
            let rest =
                self.chosen(state, Wanted { columns: Some(&whole.read), filters: &conditions, limit: None })?;
            return passing(state, conditions, rest, whole.given);
        }
        self.asking.note(self.table, wanted.filters);
        let mut parts = Vec::new();
        for (open, files) in self.by_open(state, &conditions)? {
            let open: Vec<Expr> = open.into_iter().map(|at| conditions[at].clone()).collect();
            // Of rows that are left out behind it a limit would be reached too early.
            let limit = wanted.limit.filter(|_| open.is_empty());
            let (open, is_late) = late(self.table, open);
            let Columns { read, given } = Columns::new(&self.schema, columns.clone(), &open)?;
            let scan = self.reading(state, files, &read, How::Passing { is_late, limit })?;
            parts.push(passing(state, open, scan, given)?);
        }
        if let Some(tail) = self.reading_tail(&whole.read)? {
            parts.push(passing(state, conditions, tail, whole.given)?);
        }
        if parts.is_empty() {
            parts.push(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&columns)?))));
        }
        union(parts)
    }
}
