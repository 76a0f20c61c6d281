//! Runs a statement beside its client: what bounds it holds also when nobody takes its rows, and when the engine is so
//! deep in a join that it does not listen.

use super::limits::BATCHES_AHEAD;
use super::slots::Slot;
use crate::error::QueryError;
use crate::snapshot;
use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use futures::{Stream, StreamExt};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

/// What one statement may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) rows_max: u64,
    pub(crate) time_max: Duration,
}

type Sender = mpsc::Sender<Result<RecordBatch, QueryError>>;

/// Runs a statement on `engine` until it ends, breaks a bound, or its client is gone. The slot is free when the engine
/// has let go of it, which may be later than the client is told.
pub(crate) fn pump(
    engine: &Handle,
    rows: DataFrame,
    bounds: Bounds,
    slot: Slot,
) -> impl Stream<Item = Result<RecordBatch, QueryError>> + Send + Unpin + use<> {
    let (to, from) = mpsc::channel(BATCHES_AHEAD);
    let running = engine.spawn({
        let to = to.clone();
        async move {
            let _slot = slot;
            run(rows, bounds.rows_max, &to).await
        }
    });
    tokio::spawn(async move {
        let abort = running.abort_handle();
        let failed = tokio::select! {
            ended = running => match ended {
                Ok(Ok(())) => return,
                Ok(Err(failed)) => failed,
                Err(_panicked) => QueryError::Failed("the statement failed while it ran".into()),
            },
            () = sleep(bounds.time_max) => {
                abort.abort();
                QueryError::Time(bounds.time_max.as_secs())
            }
            () = to.closed() => return abort.abort(),
        };
        // Whoever is gone need not hear it.
        let _gone = to.send(Err(failed)).await;
    });
    ReceiverStream::new(from)
}

async fn run(rows: DataFrame, rows_max: u64, to: &Sender) -> Result<(), QueryError> {
    let mut rows = snapshot::start(rows).await.map_err(|error| QueryError::kept(&error))?;
    let mut given = 0_u64;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|error| QueryError::kept(&error))?;
        given = given.saturating_add(batch.num_rows() as u64);
        if given > rows_max {
            return Err(QueryError::Rows(rows_max));
        }
        if to.send(Ok(batch)).await.is_err() {
            break;
        }
    }
    Ok(())
}
