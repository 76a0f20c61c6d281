//! Leases on a real database: work that hangs or only seems to, and a lease that nobody works under.

use super::*;
use crate::node::cluster::begun::Begun as HasBegun;
use std::sync::Mutex;
use tokio::time::{sleep, timeout};

const ROLE: &str = "role";
const LEASE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_millis(600);
const LIMIT: Duration = Duration::from_secs(20);

type Begun = Arc<Mutex<Vec<(i64, Instant)>>>;

/// Begins to hold the one lease of a role with work that notes under which epoch it begins.
fn hold(store: &Store, holder: &str, work: Work) -> watch::Sender<bool> {
    hold_as(store, holder, work, HasBegun::default())
}

fn hold_as(store: &Store, holder: &str, work: Work, begun: HasBegun) -> watch::Sender<bool> {
    let leases = Leases {
        store: store.clone(),
        role: ROLE,
        partitions: 1,
        holder: holder.to_owned(),
        lease: LEASE,
        patience: Some(PATIENCE),
        work,
        begun,
    };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(leases.run(stopped));
    stop
}

/// Work that hangs the first time when it is told to, and has a pulse otherwise.
fn work(begun: &Begun, hangs: bool) -> Work {
    let begun = begun.clone();
    Arc::new(move |claim, mut stop, pulse| {
        let times = {
            let mut begun = begun.lock().unwrap();
            begun.push((claim.epoch, Instant::now()));
            begun.len()
        };
        let works = async move {
            if hangs && times == 1 {
                std::future::pending::<()>().await;
            }
            while !*stop.borrow_and_update() {
                let _turn = timeout(Duration::from_millis(50), stop.changed()).await;
            }
            Ok(())
        };
        Box::pin(pulse.over(works))
    })
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LIMIT, waited).await.is_ok(), "{what}");
}

async fn store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Store::open(&folder.path().join("wardline.db")).await.unwrap(), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_hangs_is_cut_off_and_begun_anew_under_another_epoch() {
    let (store, _folder) = store().await;
    let begun = Begun::default();
    let stop = hold(&store, "a", work(&begun, true));
    until("begun again", || begun.lock().unwrap().len() == 2).await;
    let [(first, at), (second, again)] = begun.lock().unwrap()[..] else { panic!("begun twice") };
    assert!(second > first, "what the first one may still do is refused");
    let pause = again - at;
    assert!((PATIENCE..PATIENCE + 4 * LEASE + Duration::from_secs(5)).contains(&pause), "{pause:?}");
    // It works now, for longer than the patience.
    sleep(PATIENCE * 3).await;
    assert_eq!(begun.lock().unwrap().len(), 2);
    stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_ours_that_nobody_works_under_is_taken_up() {
    let (store, _folder) = store().await;
    store.make_leases(ROLE, 1).await.unwrap();
    let row = store.leases(ROLE).await.unwrap().remove(0);
    // The answer to this was lost.
    let orphan = store.take_lease(ROLE, (&row, 1), "a").await.unwrap().unwrap();
    let begun = Begun::default();
    let stop = hold(&store, "a", work(&begun, false));
    until("taken up", || !begun.lock().unwrap().is_empty()).await;
    assert!(begun.lock().unwrap()[0].0 > orphan.epoch);
    // Work that is told to end leaves no lease behind.
    stop.send_replace(true);
    let released = async {
        while !store.leases(ROLE).await.unwrap()[0].holder.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LIMIT, released).await.is_ok());
}

/// The runtime stands still for longer than the lease and the patience, as a machine does that is paused.
#[tokio::test(flavor = "current_thread")]
async fn work_that_stood_still_together_with_everything_is_not_cut_off() {
    let (store, _folder) = store().await;
    let begun = Begun::default();
    let pulse = Arc::new(Mutex::new(None));
    let (seen, noted) = (begun.clone(), pulse.clone());
    // It takes a step each time that it is told to, and shows no pulse meanwhile.
    let work: Work = Arc::new(move |claim, mut stop, pulse| {
        seen.lock().unwrap().push((claim.epoch, Instant::now()));
        *noted.lock().unwrap() = Some(pulse);
        Box::pin(async move {
            let _told = stop.wait_for(|stop| *stop).await;
            Ok(())
        })
    });
    let stop = hold(&store, "a", work);
    until("begun", || !begun.lock().unwrap().is_empty()).await;
    for _ in 0..3 {
        std::thread::sleep(PATIENCE.max(LEASE) * 2);
        // Until the holder has looked.
        sleep(LEASE / 2).await;
        pulse.lock().unwrap().as_ref().unwrap().note();
    }
    assert_eq!(begun.lock().unwrap().len(), 1, "nothing hung");
    stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_works_on_its_part_has_begun_and_who_finds_none_left_too() {
    let (store, _folder) = store().await;
    let (seen, asked) = (HasBegun::default(), Arc::new(Mutex::new(0)));
    let (may_work, gate) = watch::channel(false);
    let counted = asked.clone();
    // Its first step waits.
    let work: Work = Arc::new(move |_claim, mut stop, pulse: Pulse| {
        *counted.lock().unwrap() += 1;
        let mut gate = gate.clone();
        Box::pin(async move {
            drop(gate.wait_for(|open| *open).await);
            let works = async move {
                let _told = stop.wait_for(|stop| *stop).await;
                Ok(())
            };
            pulse.over(works).await
        })
    });
    let first = hold_as(&store, "a", work.clone(), seen.clone());
    until("taken", || *asked.lock().unwrap() > 0).await;
    // Looks, and looks again.
    let beats = async |more: i64| {
        let from = store.leases(ROLE).await.unwrap()[0].beats;
        while store.leases(ROLE).await.unwrap()[0].beats < from + more {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LIMIT, beats(3)).await.is_ok());
    assert!(!seen.has(), "what it took does not move");
    may_work.send_replace(true);
    until("begun", || seen.has()).await;
    let beyond = HasBegun::default();
    let second = hold_as(&store, "b", work, beyond.clone());
    until("nothing is left for it", || beyond.has()).await;
    first.send_replace(true);
    second.send_replace(true);
}
