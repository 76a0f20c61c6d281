//! Requests to services, for threads that block.

use std::future::Future;
use std::io;
use std::sync::{OnceLock, mpsc};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

fn gone() -> io::Error {
    io::Error::other("no thread for requests to services")
}

fn runtime() -> io::Result<&'static Runtime> {
    static REQUESTS: OnceLock<Option<Runtime>> = OnceLock::new();
    let make = || Builder::new_multi_thread().worker_threads(1).enable_all().build().ok();
    REQUESTS.get_or_init(make).as_ref().ok_or_else(gone)
}

/// Runs requests to their end for threads that block, wherever they come from.
pub(crate) fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let (to, result) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Whoever waited may be gone.
        let _ = to.send(future.await);
    });
    result.recv().map_err(|_panicked| gone())
}

/// Runs what goes on by itself.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> io::Result<AbortHandle> {
    Ok(runtime()?.spawn(future).abort_handle())
}
