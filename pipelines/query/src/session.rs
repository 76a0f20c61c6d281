//! What sessions of the engine begin with, made once: its functions, its rules and its settings. Tables are a session's
//! own, and so is the memory that it may take.

use crate::{growth, trunc};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider,
};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::{Arc, OnceLock};

/// Rows of up to so many bytes are put together and sorted at once: those of one device are in order already, which costs
/// little to find then. Sorted in parts of a batch, they would all be merged.
const SORTED_AT_ONCE_BYTES_MAX: usize = 32 << 20;

/// What a session begins with: one whose memory has no end, and one whose memory has.
static BEGINNINGS: [OnceLock<SessionState>; 2] = [const { OnceLock::new() }; 2];

/// Makes a session without tables. One whose memory has an end lacks the functions that would go around it.
pub(crate) fn begin(is_bounded: bool) -> anyhow::Result<SessionContext> {
    let beginning = &BEGINNINGS[usize::from(is_bounded)];
    let mut state = match beginning.get() {
        Some(known) => known.clone(),
        None => {
            let made = made(is_bounded)?;
            beginning.get_or_init(|| made).clone()
        }
    };
    let names = &state.config().options().catalog;
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(&names.default_schema, Arc::new(MemorySchemaProvider::new()))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(names.default_catalog.clone(), Arc::new(catalog));
    state.register_catalog_list(Arc::new(catalogs));
    Ok(SessionContext::new_with_state(state))
}

fn made(is_bounded: bool) -> anyhow::Result<SessionState> {
    let config = SessionConfig::new()
        .with_information_schema(true)
        .with_sort_in_place_threshold_bytes(SORTED_AT_ONCE_BYTES_MAX);
    let config = in_order(config);
    // Nothing runs in it: it is planned in.
    let session = SessionContext::new_with_config_rt(config, runtime(Some(0))?);
    trunc::register(&session)?;
    if is_bounded {
        growth::withhold(&session);
    }
    Ok(session.state())
}

/// Lets no stream of a scan take files of another's: what is read in order stays so. The engine knows that it must, but
/// forgets it below a merge of streams that has a limit.
pub(crate) fn in_order(mut config: SessionConfig) -> SessionConfig {
    config.options_mut().execution.enable_file_stream_work_stealing = false;
    config
}

/// Makes what a statement runs in. What is too large for memory fails: a spilled row would lie on the disk in plaintext
/// (SEC-3).
/// A nested loop join that may spill runs its input a second time, which panics.
pub(crate) fn runtime(memory_bytes_max: Option<usize>) -> anyhow::Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let mut builder = RuntimeEnvBuilder::new().with_disk_manager_builder(disk);
    if let Some(bytes) = memory_bytes_max {
        builder = builder.with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)));
    }
    Ok(Arc::new(builder.build()?))
}

/// Makes the context that a statement of a session runs in.
pub(crate) fn context(session: &SessionContext, runtime: Arc<RuntimeEnv>) -> TaskContext {
    TaskContext::from(session).with_runtime(runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stream_takes_files_of_another() {
        for is_bounded in [false, true] {
            let begun = begin(is_bounded).unwrap();
            assert!(!begun.copied_config().options().execution.enable_file_stream_work_stealing);
        }
    }
}
