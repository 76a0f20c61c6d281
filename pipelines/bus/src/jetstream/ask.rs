//! Questions to a cluster that may be without a leader: nobody refuses them then, nobody answers, and one that was put
//! before there was a leader is lost. So it is put again while the earlier ones still wait.

use crate::error::BusError;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::future::Future;
use std::time::Duration;
use tokio::time::sleep;

/// How long no answer is waited for before the question is put once more.
const AGAIN: Duration = Duration::from_millis(700);
/// Questions under way at once: together they last as long as the longest wait of the bus.
const ASKED_MAX: usize = 7;

/// Puts a question until somebody answers. When nobody does, the last one's error comes back.
pub(super) async fn again<T, F>(mut ask: impl FnMut() -> F) -> Result<T, BusError>
where
    F: Future<Output = Result<T, BusError>>,
{
    let mut asked = FuturesUnordered::from_iter([ask()]);
    let mut left = ASKED_MAX - 1;
    loop {
        tokio::select! {
            Some(answer) = asked.next() => match answer {
                // Somebody may still answer another one.
                Err(error) if error.spoils_client() && !asked.is_empty() => drop(error),
                answer => return answer,
            },
            () = sleep(AGAIN), if left > 0 => {
                left -= 1;
                asked.push(ask());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{Instant, timeout};

    const LATE: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn a_question_that_was_lost_costs_no_more_than_the_next_one() {
        let (begun, asked) = (Instant::now(), AtomicUsize::new(0));
        let ask = || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0..3 => sleep(LATE).await,
                3 => return Ok("an answer"),
                _ => return Err(BusError::NoPartition(0)),
            }
            Err(BusError::Timeout("ask"))
        };
        assert_eq!(again(ask).await.ok(), Some("an answer"));
        assert!(begun.elapsed() < LATE, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_is_waited_for_and_a_refusal_is_an_answer() {
        let slow = || async {
            sleep(LATE).await;
            Ok(())
        };
        let waited = timeout(LATE + Duration::from_millis(1), again(slow)).await;
        assert!(waited.is_ok_and(|answer| answer.is_ok()), "the first one was heard to the end");
        let asked = AtomicUsize::new(0);
        let refused = again(|| async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(BusError::Denied("no".into()))
        });
        assert!(refused.await.is_err() && asked.load(Ordering::Relaxed) == 1);
        let nobody = again(|| async {
            sleep(LATE).await;
            Err::<(), _>(BusError::Timeout("ask"))
        });
        assert!(timeout(LATE * 3, nobody).await.is_ok_and(|answer| answer.is_err()), "it ends");
    }
}
