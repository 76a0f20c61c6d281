//! Statements answer over the archive as over the same rows in memory, however these lie in files, row groups, pages,
//! parts of files and the tail, and whatever of them was erased: against the engine's own table, without any filter of
//! ours.

mod ask;
mod known;
mod rows;

use crate::footers::Footers;
use crate::growth;
use crate::lookups::Lookups;
use crate::mask::Mask;
use crate::provider::Provider;
use crate::session::in_order;
use crate::table::{ArchiveTable, Committed};
use crate::trunc;
use crate::views::{View, ViewTable};
use crate::wards::{WardTable, Wards};
use ask::{ask, sql};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rows::{DAY_US, DEVICES, Lie, Placed, Reading, START_US, batch, key, lie, place_of, readings, write};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use wardline_archive::read::ArchiveReader;
use wardline_archive::{Day, Table};
use wardline_journal::Keyring;
use wardline_proto::TenantId;
use wardline_store::Store;
use wardline_store::registry::{Change, NewBinding, NewDevice, Sites};

/// What does not change from case to case.
struct Registry {
    folder: TempDir,
    store: Store,
    keyring: Arc<Keyring>,
    lookups: Arc<Lookups>,
    wards: Arc<Wards>,
}

impl Registry {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("wardline.db")).await.unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap());
        let change = Change::new("os:test@here", START_US);
        for (tenant, device, site) in DEVICES {
            let device = NewDevice { site: site.into(), ..NewDevice::bare(key(tenant, device)) };
            store.register_device(&change, &device).await.unwrap();
        }
        for (device, subject, from, until) in [
            (("demo", "d0"), "p-1", 0, Some(1)),
            (("demo", "d0"), "p-2", 2, None),
            (("demo", "d1"), "p-gone", 1, Some(3)),
            (("demo", "d2"), "p-2", 0, Some(3)),
            (("other", "d0"), "p-1", 0, None),
        ] {
            let at = |day: i64| START_US + day * DAY_US;
            let device = key(device.0, device.1);
            let (from_us, until_us) = (at(from), until.map(at));
            store
                .bind(&change, &NewBinding { device, subject: subject.into(), from_us, until_us })
                .await
                .unwrap();
        }
        let demo = TenantId::new("demo").unwrap();
        // What comes after a request is not of it.
        let later = Change::new("os:test@here", START_US + 4 * DAY_US);
        store.ask_erasure(&later, &demo, "p-gone", false).await.unwrap();
        let lookups = Arc::new(Lookups::load(&store, None).await.unwrap());
        let wards = Arc::new(Wards::new(&demo, &Sites::of(["icu"]).unwrap(), lookups.clone()));
        Self { folder, store, keyring, lookups, wards }
    }
}

/// Tables of a session, by name.
type Tables = Vec<(&'static str, Arc<dyn TableProvider>)>;

/// A table and its views over one provider, and what an analyst sees.
fn tables(table: Table, base: Arc<dyn TableProvider>, lookups: &Arc<Lookups>) -> Tables {
    let mask = Some(Arc::new(Mask::new(b"key", 3600 * 1_000_000)));
    let views = match table {
        Table::Numerics => {
            vec![
                ("vitals", View::Vitals, None),
                ("latest", View::Latest, None),
                ("masked", View::Vitals, mask),
            ]
        }
        _ => vec![("ecg", View::Ecg, None), ("masked_ecg", View::Ecg, mask)],
    };
    let views = views.into_iter().map(|(name, view, mask)| -> (&'static str, Arc<dyn TableProvider>) {
        (name, Arc::new(Provider(ViewTable::new(view, base.clone(), lookups.clone(), mask).unwrap())))
    });
    let views: Vec<_> = views.collect();
    [(table.name(), base.clone())].into_iter().chain(views).collect()
}

/// The same with what a ward sees of it.
fn with_ward(
    of: Table,
    (whole, ward): (Arc<dyn TableProvider>, Arc<dyn TableProvider>),
    lookups: &Arc<Lookups>,
) -> Tables {
    let mut all = tables(of, whole, lookups);
    let names = if of == Table::Numerics { ["ward", "ward_vitals"] } else { ["ward_waves", "ward_ecg"] };
    all.extend(names.into_iter().zip(tables(of, ward, lookups)).map(|(name, (_, table))| (name, table)));
    all
}

fn session(tables: &Tables, config: SessionConfig) -> SessionContext {
    let pool = Arc::new(GreedyMemoryPool::new(1 << 30));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    let session = SessionContext::new_with_config_rt(config, runtime);
    for (name, table) in tables {
        session.register_table(*name, table.clone()).unwrap();
    }
    session
}

/// The rows of tables as the engine's own tables.
async fn in_memory(tables: &Tables) -> SessionContext {
    let alone = || SessionConfig::new().with_target_partitions(1);
    let from = session(tables, alone());
    let mut made: Tables = Vec::new();
    for (name, table) in tables {
        let rows = from.table(*name).await.unwrap().collect().await.unwrap();
        made.push((*name, Arc::new(MemTable::try_new(table.schema(), vec![rows]).unwrap())));
    }
    session(&made, alone())
}

async fn answer(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let answer = async {
        let frame = session.sql(sql).await?;
        let context = Arc::new(frame.task_ctx());
        let plan = growth::counted(frame.create_physical_plan().await?, &context)?;
        collect(plan, context).await
    };
    answer.await.map_err(|error| error.to_string())
}

/// The rows as text; in order where they have one.
fn lines(rows: &[RecordBatch], is_ordered: bool) -> Vec<String> {
    let text = pretty_format_batches(rows).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if !is_ordered {
        lines.sort();
    }
    lines
}

/// Tables over files and a tail, and over the same rows in memory.
async fn both(registry: &Registry, rows: &[Reading], lie: &Lie) -> (SessionContext, SessionContext) {
    let (mut ours, mut naive) = (Tables::new(), Tables::new());
    for of in [Table::Numerics, Table::Waveforms] {
        let (one, other) = both_of(of, registry, rows, lie).await;
        ours.extend(one);
        naive.extend(other);
    }
    let config = in_order(SessionConfig::new())
        .with_target_partitions(lie.readers)
        .with_batch_size(lie.batch)
        .with_sort_in_place_threshold_bytes(if lie.page.is_multiple_of(2) { 0 } else { 32 << 20 });
    let ours = session(&ours, config);
    trunc::register(&ours).unwrap();
    (ours, in_memory(&naive).await)
}

async fn both_of(of: Table, registry: &Registry, rows: &[Reading], lie: &Lie) -> (Tables, Tables) {
    let folder = tempfile::tempdir_in(registry.folder.path()).unwrap().keep();
    let placed: Vec<_> = rows.iter().enumerate().map(|(place, row)| Placed(place, row)).collect();
    let (in_files, in_tail) = placed.split_at(placed.len().saturating_sub(lie.tail));
    let mut groups = BTreeMap::<_, Vec<&Placed<'_>>>::new();
    for row in in_files {
        groups.entry((row.who().0, row.partition(), Day::of_micros(row.ingest_us()))).or_default().push(row);
    }
    let chunks = groups.values().flat_map(|rows| rows.chunks(lie.file)).enumerate();
    let files: Vec<_> =
        chunks.map(|(number, rows)| write(registry, (&folder, number), (of, rows), lie)).collect();
    let reader = ArchiveReader::new(folder, registry.store.clone(), registry.keyring.clone());
    if lie.is_erased {
        reader.learn_erased().await.unwrap();
    }
    let is_demo = |row: &&Placed<'_>| row.who().0 == "demo";
    // Whom the ward of d0 and d1 has now.
    let in_ward = |row: &&Placed<'_>| {
        let at_us = row.device_us() + row.1.clock.unwrap_or(0);
        let wearer = registry.lookups.ledger.wearer("demo", row.who().1, at_us);
        DEVICES[row.1.device].2 == "icu" || wearer == Some("p-2")
    };
    let footers = Arc::new(Footers::default());
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let table = |is_ward: bool| {
        let files = files.iter().filter(|file| !is_ward || file.tenant == "demo").cloned().collect();
        let tail: Vec<_> = in_tail.iter().filter(|row| !is_ward || is_demo(row)).collect();
        let tail = if tail.is_empty() { Vec::new() } else { vec![batch(of, &tail)] };
        let committed = Committed { files: Arc::new(files), tenant: None };
        let table = ArchiveTable::new(of, &reader, committed, (tail, Arc::default())).unwrap();
        let known = lie.is_known.then(|| (footers.under(b"keyring"), store.clone()));
        table.knowing(registry.lookups.clone(), known)
    };
    let known = |rows: Vec<&Placed<'_>>| -> Arc<dyn TableProvider> {
        let rows = reader.erased().strike(of, batch(of, &rows)).unwrap();
        Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap())
    };
    let ward = Arc::new(Provider(WardTable::new(table(true), registry.wards.clone())));
    let ours = with_ward(of, (Arc::new(Provider(table(false))), ward), &registry.lookups);
    let (all, ward) = (placed.iter().collect(), placed.iter().filter(is_demo).filter(in_ward).collect());
    (ours, with_ward(of, (known(all), known(ward)), &registry.lookups))
}

#[tokio::test]
async fn a_value_that_is_no_number_is_left_out_by_no_least_and_greatest() {
    let reading =
        |value| Reading { device: 0, minutes: 0, late_minutes: 0, clock: None, code: 0, value, seq: None };
    let rows = [40.25, f64::NAN].map(|value| reading(place_of(value)));
    let lie =
        Lie { file: 2, group: 2, page: 2, readers: 1, batch: 10, tail: 0, is_erased: false, is_known: false };
    let registry = Registry::new().await;
    let (ours, naive) = both(&registry, &rows, &lie).await;
    for predicate in ["value > 98", "value <> 40.25", "NOT (value <= 98)", "value = 'NaN'::double"] {
        let sql = format!("SELECT count(*) FROM numerics WHERE {predicate}");
        let (told, expected) = (answer(&ours, &sql).await.unwrap(), answer(&naive, &sql).await.unwrap());
        assert_eq!(lines(&told, true), lines(&expected, true), "{predicate}");
        assert!(lines(&told, true)[3].contains('1'), "{predicate}: {told:?}");
    }
}

#[test]
fn however_rows_lie_statements_answer_as_over_one_table_in_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(growth::STACK_BYTES)
        .enable_all()
        .build()
        .unwrap();
    let registry = Arc::new(runtime.block_on(Registry::new()));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12);
    let (asked, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let all = (readings(), lie(), proptest::collection::vec(ask(), 1..5));
    let tested = runner.run(&all, |(rows, lie, asks)| {
        let (registry, asked, refused) = (registry.clone(), asked.clone(), refused.clone());
        let compared = runtime.spawn(async move {
            let (ours, naive) = both(&registry, &rows, &lie).await;
            for ask in &asks {
                let (sql, is_ordered) = sql(ask);
                asked.fetch_add(1, Ordering::Relaxed);
                let (told, expected) = (answer(&ours, &sql).await, answer(&naive, &sql).await);
                let told = if lie.is_known { answer(&ours, &sql).await } else { told };
                let (told, expected) = match (told, expected) {
                    (Ok(told), Ok(expected)) => (lines(&told, is_ordered), lines(&expected, is_ordered)),
                    (Err(_), Err(_)) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    (told, expected) => {
                        let (told, expected) = (told.map(drop), expected.map(drop));
                        return Err(TestCaseError::fail(format!("{sql}\n{told:?}\n{expected:?}")));
                    }
                };
                if told != expected {
                    let (told, expected) = (told.join("\n"), expected.join("\n"));
                    return Err(TestCaseError::fail(format!("{sql}\ntold\n{told}\nexpected\n{expected}")));
                }
            }
            Ok(())
        });
        runtime.block_on(compared).unwrap()
    });
    if let Err(failed) = tested {
        panic!("{failed}");
    }
    let (asked, refused) = (asked.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    assert!(refused * 4 <= asked, "{refused} of {asked} statements are none");
}
