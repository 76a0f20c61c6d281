//! Erasures among what goes on beside them: other erasures, frames that come late, a hold, another tenant's damage.

use crate::erase::{at, change, eager, rewrite, tenant, values, wear};
use crate::rig::{Rig, quarantine};
use std::time::Duration;
use wardline_archive::ArchiveOptions;

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_asked_for_while_a_list_is_in_hand_has_its_own_turn() {
    let rig = Rig::new().await;
    wear(&rig).await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    rig.store.ask_erasure(&change(), &tenant(), "p-bob", false).await.unwrap();
    // Bob's comes with the first file of numerics: that is committed between the list and the job.
    for statement in [
        "CREATE TABLE later AS SELECT * FROM erasure ORDER BY rowid DESC LIMIT 1",
        "CREATE TABLE later_range AS SELECT * FROM erasure_range WHERE erasure_id IN (SELECT erasure_id FROM later)",
        "DELETE FROM erasure_range WHERE erasure_id IN (SELECT erasure_id FROM later)",
        "DELETE FROM erasure WHERE erasure_id IN (SELECT erasure_id FROM later)",
        "CREATE TRIGGER bob AFTER INSERT ON archive_file WHEN NEW.table_name = 'numerics' AND NOT EXISTS \
         (SELECT 1 FROM erasure WHERE erasure_id IN (SELECT erasure_id FROM later)) \
         BEGIN INSERT INTO erasure SELECT * FROM later; INSERT INTO erasure_range SELECT * FROM later_range; END",
    ] {
        rig.execute(statement).await;
    }
    rig.frame(1, &at(60, &[95.0]));
    let late = ArchiveOptions { flush_interval: Duration::from_secs(600), ..eager(&rig) };
    let running = rig.run(late);
    let erasures = async || rig.store.erasures(None).await.unwrap();
    let is_done = async || {
        let erasures = erasures().await;
        erasures.len() == 2 && erasures.iter().all(|erasure| erasure.rewritten_at_us.is_some())
    };
    while !is_done().await {
        assert!(!running.task.is_finished(), "the worker has ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await.unwrap();
    let rows: u64 = erasures().await.iter().flat_map(|erasure| &erasure.counts).map(|count| count.rows).sum();
    assert_eq!(rows, 1, "who is told to be rewritten was struck");
    rig.execute("DELETE FROM erasure_range").await;
    assert_eq!(values(&rig).await, [], "nothing is left that only the list kept from readers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_frame_that_gets_no_place_is_not_kept_whole_when_some_of_it_was_erased() {
    let rig = Rig::new().await;
    wear(&rig).await;
    rig.frame(1, &at(5, &[97.0]));
    rig.archive().await;
    rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    rewrite(&rig).await;
    // Other content at a place that is taken: all of it Ada's, some of it, and none.
    rig.frame(1, &at(-100, &[91.0]));
    rig.frame(1, &at(-1, &[92.0, 52.0]));
    rig.frame(1, &at(7, &[93.0]));
    rig.archive().await;
    let kept = quarantine(&rig).await;
    assert_eq!(kept.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["WL-Q-007"]);
    rig.execute("DELETE FROM erasure_range").await;
    assert_eq!(quarantine(&rig).await, kept, "nor does a file hold what readers are not given");
    let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
    let stream = streams.iter().find(|stream| stream.id.epoch > 0).unwrap();
    assert_eq!((stream.counts.archived, stream.counts.erased, stream.counts.quarantined), (1, 2, 1));
    assert_eq!((stream.last_seq, stream.missing.len()), (Some(1), 0));
}
