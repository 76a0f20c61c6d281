//! A session over one listing of the catalog, and the rows behind it.

use crate::bus::{ALONE_WAIT, BusReader, SERVED_WAIT};
use crate::footers::{Footers, FootersUnder};
use crate::growth;
use crate::keys::{Keys, KeysUnder};
use crate::lookups::{KnownLookups, Lookups};
use crate::mask::Mask;
use crate::note::{self, Asking};
use crate::provider::Provider;
use crate::session;
use crate::table::{ArchiveTable, Committed};
use crate::views::{View, ViewTable};
use crate::wards::{WardTable, Wards};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use wardline_archive::Table;
use wardline_archive::place::Place;
use wardline_archive::read::{ArchiveReader, KEYRING};
use wardline_archive::tail::carried::{OnTheWay, snapshot_over};
use wardline_archive::tail::{Snapshot, Tail, TailBounds, snapshot};
use wardline_proto::TenantId;
use wardline_store::Store;
use wardline_store::registry::Sites;

/// Whose rows a session sees, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Only this tenant's; none: all.
    pub(crate) tenant: Option<TenantId>,
    /// Only what these sites of the tenant see; none: all.
    pub(crate) sites: Option<Sites>,
    /// Hides who somebody is; only views are there then.
    pub(crate) mask: Option<Arc<Mask>>,
    /// Only these tables and views; none: all.
    pub(crate) granted: Option<Vec<&'static str>>,
    /// Memory that sorting, grouping, joining and windows may take; none: all there is.
    pub(crate) memory_bytes_max: Option<usize>,
    /// How far it reads.
    pub(crate) reach: Reach,
    /// What statements of a server have in common; none: each opens its own.
    pub(crate) shared: Option<Shared>,
}

/// What is opened once for all statements of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// The database, to read only.
    store: Store,
    footers: Arc<Footers>,
    keys: Arc<Keys>,
    lookups: Arc<KnownLookups>,
    bus: Option<BusReader>,
}

/// What is there under the keyring of now.
pub(crate) struct Under {
    /// None with a key service: it may refuse a key at any time.
    footers: Option<FootersUnder>,
    pub(crate) keys: KeysUnder,
}

impl Shared {
    /// Opens it.
    pub(crate) async fn open(data_dir: &Path, place: &Place) -> anyhow::Result<Self> {
        let store = place.store().open_read_only().await?;
        let bus = BusReader::begin(data_dir, &store, SERVED_WAIT)?;
        let (footers, keys, lookups) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { store, footers, keys, lookups, bus })
    }

    /// Returns what is known under the keyring of now; to be called before it is opened: what a newer one opens is kept
    /// under none.
    pub(crate) fn under(&self, data_dir: &Path, place: &Place) -> anyhow::Result<Under> {
        let keyring = std::fs::read(data_dir.join(KEYRING))?;
        let footers = place.key_service().is_none().then(|| self.footers.under(&keyring));
        Ok(Under { footers, keys: self.keys.under(&keyring, place) })
    }

    /// Returns the database, to read only.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

/// How far a session reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reach {
    /// What was committed.
    Committed,
    /// What is durable in the journal too.
    #[default]
    Durable,
}

impl Scope {
    fn grants(&self, name: &str) -> bool {
        self.granted.as_ref().is_none_or(|granted| granted.contains(&name))
    }

    /// Makes what there is to ask of some tables: views, and themselves where nothing is hidden.
    pub(crate) fn named(
        &self,
        tables: HashMap<Table, Arc<dyn TableProvider>>,
        lookups: &Arc<Lookups>,
    ) -> anyhow::Result<HashMap<&'static str, Arc<dyn TableProvider>>> {
        let mut named = HashMap::<_, Arc<dyn TableProvider>>::new();
        for view in View::ALL.into_iter().filter(|view| self.grants(view.name())) {
            let Some(base) = tables.get(&view.table()) else { continue };
            let table = ViewTable::new(view, base.clone(), lookups.clone(), self.mask.clone())?;
            named.insert(view.name(), Arc::new(Provider(table)));
        }
        if self.mask.is_none() {
            let own = tables.into_iter().map(|(table, provider)| (table.name(), provider));
            named.extend(own.filter(|(name, _)| self.grants(name)));
        }
        Ok(named)
    }
}

/// A session, and what is known of the data that it is over. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) session: SessionContext,
    /// Its tables and views, by name.
    pub(crate) tables: Arc<HashMap<&'static str, Arc<dyn TableProvider>>>,
    pub(crate) lookups: Arc<Lookups>,
    known: Arc<Known>,
}

/// What is known of the data behind an answer.
pub(crate) struct Known {
    reader: ArchiveReader,
    tail: Tail,
    tenant: Option<TenantId>,
    wards: Option<Arc<Wards>>,
    asking: Arc<Asking>,
    /// What statements over it run in.
    runtime: Arc<RuntimeEnv>,
}

/// Opens the archive of a data directory: what was committed or durable in the journal before this call, and nothing
/// after it. Who wore what is as it is known now.
pub(crate) async fn open(data_dir: &Path, scope: &Scope) -> anyhow::Result<Opened> {
    let place = Place::of(data_dir)?;
    let under = scope.shared.as_ref().map(|shared| shared.under(data_dir, &place)).transpose()?;
    let store = match &scope.shared {
        Some(shared) => shared.store.clone(),
        None => place.store().open_read_only().await?,
    };
    let mut reader = ArchiveReader::over(data_dir, &place, store.clone())?;
    if let Some(under) = &under {
        let keys = under.keys.files(reader.keys());
        reader = reader.with_keys(keys);
    }
    let (Snapshot { files, mut tail }, lookups) = look(data_dir, &reader, &store, scope).await?;
    let wards = match (&scope.sites, &scope.tenant) {
        (Some(sites @ Sites::Only(_)), Some(tenant)) => {
            Some(Arc::new(Wards::new(tenant, sites, lookups.clone())))
        }
        (Some(Sites::Only(_)), None) => anyhow::bail!("sites are of a tenant"),
        _whole => None,
    };
    let runtime = session::runtime(scope.memory_bytes_max)?;
    ArchiveTable::register(&reader, &runtime)?;
    let store = runtime.object_store(ArchiveTable::at(&reader)?)?;
    let footers = under.and_then(|under| under.footers).map(|footers| (footers, store));
    let session = session::begin(scope.memory_bytes_max.is_some())?;
    let asking = Arc::new(Asking::default());
    let committed = Committed { files, tenant: scope.tenant.clone() };
    let mut tables = HashMap::<_, Arc<dyn TableProvider>>::new();
    for table in Table::ALL {
        let behind = tail.rows.remove(&table).unwrap_or_default();
        let whole = ArchiveTable::new(table, &reader, committed.clone(), (behind, asking.clone()))?;
        let whole = whole.knowing(lookups.clone(), footers.clone());
        tables.insert(
            table,
            match &wards {
                Some(wards) => Arc::new(Provider(WardTable::new(whole, wards.clone()))),
                None => Arc::new(Provider(whole)),
            },
        );
    }
    let named = scope.named(tables, &lookups)?;
    for (name, table) in &named {
        session.register_table(*name, table.clone())?;
    }
    let known = Arc::new(Known { reader, tail, tenant: scope.tenant.clone(), wards, asking, runtime });
    Ok(Opened { session, tables: Arc::new(named), lookups, known })
}

/// Reads what a session is over: rows that are there, and what the registry knows.
async fn look(
    data_dir: &Path,
    reader: &ArchiveReader,
    store: &Store,
    scope: &Scope,
) -> anyhow::Result<(Snapshot, Arc<Lookups>)> {
    reader.check().await?;
    let tenant = scope.tenant.as_ref();
    let found = async {
        anyhow::Ok(if scope.reach == Reach::Committed {
            Snapshot { files: Arc::new(reader.files(None).await?), tail: Tail::default() }
        } else {
            // What is on the way is read before what is committed.
            let (erased, on_the_way) =
                tokio::join!(reader.learn_erased(), on_the_way(data_dir, store, scope));
            let (erased, bounds, keys) = (erased?, TailBounds::default(), reader.keys());
            let view = (store, &*erased, &*keys);
            match on_the_way? {
                Some(read) => snapshot_over(view, tenant, bounds, read).await?,
                None => snapshot(data_dir, view, tenant, bounds).await?,
            }
        })
    };
    let lookups = async {
        anyhow::Ok(match (&scope.shared, tenant) {
            (Some(shared), Some(tenant)) => shared.lookups.of(store, tenant).await?,
            _alone => Arc::new(Lookups::load(store, tenant).await?),
        })
    };
    // Neither needs what the other one finds.
    tokio::try_join!(found, lookups)
}

/// Reads the bus of a cluster, where there is one to read.
async fn on_the_way(data_dir: &Path, store: &Store, scope: &Scope) -> anyhow::Result<Option<OnTheWay>> {
    let reader = match &scope.shared {
        Some(shared) => shared.bus.clone(),
        None => BusReader::begin(data_dir, store, ALONE_WAIT)?,
    };
    Ok(match reader {
        Some(reader) => reader.read().await,
        None => None,
    })
}

impl Opened {
    /// Says whose rows there are, where sites bind the caller.
    pub(crate) fn wards(&self) -> Option<&Wards> {
        self.known.wards.as_deref()
    }

    /// Returns what stands behind the committed position.
    pub(crate) fn tail(&self) -> &Tail {
        &self.known.tail
    }

    /// Plans how a statement runs; of what it reads nothing is read but the catalog.
    pub(crate) async fn planned(self, rows: DataFrame) -> Result<Planned, DataFusionError> {
        let context = Arc::new(session::context(&self.session, self.known.runtime.clone()));
        let plan = growth::counted(listening(rows.create_physical_plan().await?)?, &context)?;
        Ok(Planned { plan, context, known: self.known })
    }
}

/// A statement that may be started.
pub(crate) struct Planned {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    known: Arc<Known>,
}

impl Planned {
    /// Says how complete what it rests on is; none for a statement that reads nothing that can be incomplete.
    pub(crate) async fn note(&self) -> anyhow::Result<Option<String>> {
        let Known { reader, tail, tenant, wards, asking, .. } = &*self.known;
        let asked = asking.asked();
        if asked.is_empty() {
            return Ok(None);
        }
        let sees = |_tenant: &str, device: &str| wards.as_ref().is_none_or(|wards| wards.is_here(device));
        let tenant = tenant.as_ref().map(TenantId::as_str);
        let found = reader.coverage(tenant, &asked, tail, sees).await?;
        Ok(Some(note::line(found.as_ref(), tail)))
    }

    /// Starts it so that it can be ended at any time.
    pub(crate) fn start(self) -> Result<SendableRecordBatchStream, DataFusionError> {
        execute_stream(self.plan, self.context)
    }
}

/// Returns the tables that a statement reads, each once, in order of name.
pub(crate) fn tables(rows: &DataFrame) -> anyhow::Result<Vec<String>> {
    let mut tables = BTreeSet::new();
    rows.logical_plan().apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables.into_iter().collect())
}

/// Allows what reads: the archive is written by the gateway only.
pub(crate) fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// Makes joins listen: one of many rows with many others gives rows for hours without ever waiting, and what never
/// waits cannot be ended.
fn listening(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let listening = plan.transform_up(|node| {
        Ok(if node.name().ends_with("JoinExec") {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(node)
        })
    });
    listening.map(|plan| plan.data)
}
