//! Runs a statement beside its client: what bounds it holds also when nobody takes its rows, and when the engine is so
//! deep in a join that it does not listen.

use super::cancel::Run;
use super::limits::BATCHES_AHEAD;
use super::slots::Slot;
use crate::error::QueryError;
use crate::snapshot::{Opened, Planned};
use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use futures::{Stream, StreamExt};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

/// What one statement may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) rows_max: u64,
    pub(crate) time_max: Duration,
}

type Sender = mpsc::Sender<Result<RecordBatch, QueryError>>;

/// Ends a task when whoever waits for it is gone.
struct Attended<T>(JoinHandle<T>);

impl<T> Drop for Attended<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does what nothing ends before it is done: the place is taken until then, also when nobody waits for it any more.
pub(crate) async fn held<T: Send + 'static>(
    slot: Slot,
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    let working = tokio::spawn(async move {
        let _slot = slot;
        work.await
    });
    working.await.unwrap_or_else(|_panicked| Err(failed()))
}

fn failed() -> QueryError {
    QueryError::Failed("the statement failed while it was planned".into())
}

/// Plans a statement on `engine`.
pub(crate) async fn plan(
    engine: &Handle,
    opened: Opened,
    rows: DataFrame,
    (slot, bounds): (Slot, Bounds),
) -> Result<Planned, QueryError> {
    let planning = async move { opened.planned(rows).await.map_err(|error| QueryError::kept(&error)) };
    attended(engine, (slot, bounds), planning).await
}

/// The same, and counts how complete what the statement rests on is.
pub(crate) async fn plan_noted(
    engine: &Handle,
    opened: Opened,
    rows: DataFrame,
    (slot, bounds): (Slot, Bounds),
) -> Result<(Planned, Option<String>), QueryError> {
    let counting = async move {
        let planned = opened.planned(rows).await.map_err(|error| QueryError::kept(&error))?;
        let note = planned.note().await.map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "what an answer rests on cannot be counted");
            QueryError::Archive("what the answer rests on cannot be counted".into())
        })?;
        Ok((planned, note))
    };
    attended(engine, (slot, bounds), counting).await
}

/// Works as long as somebody waits; the place is taken until the work has stopped, which may be later.
async fn attended<T: Send + 'static>(
    engine: &Handle,
    (slot, bounds): (Slot, Bounds),
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    let mut planning = Attended(engine.spawn(async move {
        let _slot = slot;
        work.await
    }));
    match timeout(bounds.time_max, &mut planning.0).await {
        Ok(Ok(done)) => done,
        Ok(Err(_panicked)) => Err(failed()),
        Err(_late) => Err(QueryError::Time(bounds.time_max.as_secs())),
    }
}

/// Runs a statement on `engine` until it ends, breaks a bound, or its client is gone. The slot is free when the engine
/// has let go of it, which may be later than the client is told.
pub(crate) fn pump(
    engine: &Handle,
    rows: Planned,
    bounds: Bounds,
    (slot, run): (Slot, Option<Run>),
) -> impl Stream<Item = Result<RecordBatch, QueryError>> + Send + Unpin + use<> {
    let (to, from) = mpsc::channel(BATCHES_AHEAD);
    let running = engine.spawn({
        let to = to.clone();
        async move {
            let _slot = slot;
            give(rows, bounds.rows_max, &to).await
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
            () = cancelled(run.as_ref()) => {
                abort.abort();
                QueryError::Cancelled
            }
            () = to.closed() => return abort.abort(),
        };
        // Whoever is gone need not hear it.
        let _gone = to.send(Err(failed)).await;
    });
    ReceiverStream::new(from)
}

async fn cancelled(run: Option<&Run>) {
    match run {
        Some(run) => run.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn give(rows: Planned, rows_max: u64, to: &Sender) -> Result<(), QueryError> {
    let mut rows = rows.start().map_err(|error| QueryError::kept(&error))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::slots::Slots;
    use std::sync::mpsc::{Receiver, channel};

    /// Work that listens to nobody, until it is let go.
    async fn deaf(begun: std::sync::mpsc::Sender<()>, go: Receiver<()>) -> Result<(), QueryError> {
        begun.send(()).unwrap();
        go.recv().unwrap();
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_place_is_taken_until_the_work_in_it_has_stopped() {
        let slots = Slots::new(1, 1);
        let bounds = Bounds { rows_max: 1, time_max: Duration::from_secs(60) };
        for is_held in [false, true] {
            let ((begins, begun), (goes, go)) = (channel(), channel());
            let (slot, engine) = (slots.take("a").unwrap(), Handle::current());
            let waiting = tokio::spawn(async move {
                let work = deaf(begins, go);
                match is_held {
                    true => held(slot, work).await,
                    false => attended(&engine, (slot, bounds), work).await,
                }
            });
            begun.recv().unwrap();
            waiting.abort();
            assert!(waiting.await.unwrap_err().is_cancelled());
            assert!(slots.take("a").is_err(), "it works still");
            goes.send(()).unwrap();
            let mut free = tokio::time::interval(Duration::from_millis(5));
            let is_free = async {
                while slots.take("a").is_err() {
                    free.tick().await;
                }
            };
            timeout(Duration::from_secs(10), is_free).await.unwrap();
        }
        assert_eq!(held(slots.take("a").unwrap(), async { Ok(7) }).await.unwrap(), 7);
    }
}
