//! A process of its own dies at each named point of each step, as by kill -9; what comes after it finds every row once.

use crate::erase::{at, change, eager, rewrite, tenant, values, wear};
use crate::held::{give_back, impatient, let_go, refuse};
use crate::rig::{Folder, NOW_US, Rig, readings, store};
use crate::verify::verify;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use wardline_archive::testing::TestSeaweed;
use wardline_archive::{ArchiveOptions, Table};
use wardline_journal::KeyPurpose;
use wardline_store::catalog::Catalog;
use wardline_store::registry::Change;

/// Frames of each round.
const FRAMES: u64 = 40;
const STEP: &str = "WARDLINE_KILL_STEP";
const PLACE: &str = "WARDLINE_KILL_PLACE";
/// The prefix of the bucket, when there is one, and the port of its store.
const BUCKET: &str = "WARDLINE_KILL_BUCKET";

/// Where the keyring's file is replaced.
const KEYRING: [&str; 3] = ["replace.begin", "replace.beside", "replace.renamed"];

fn busy(rig: &Rig) -> ArchiveOptions {
    ArchiveOptions { flush_rows_max: 5, ..eager(rig) }
}

fn merging(rig: &Rig) -> ArchiveOptions {
    ArchiveOptions { compact_interval: Some(Duration::ZERO), compact_files_min: 4, ..busy(rig) }
}

/// Runs in a process of its own, and only there.
#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_dies() {
    let (Ok(step), Ok(place)) = (std::env::var(STEP), std::env::var(PLACE)) else { return };
    let bucket = std::env::var(BUCKET).ok().map(|told| {
        let (port, prefix) = told.split_once(' ').unwrap();
        (port.parse().unwrap(), prefix.to_owned())
    });
    let rig = Place { folder: Folder::of(Path::new(&place)), bucket }.open().await;
    match step.as_str() {
        "commit" => rig.run(busy(&rig)).finish(rig.end()).await.unwrap(),
        "merge" => {
            let running = rig.run(merging(&rig));
            for _ in 0..20 {
                running.handle.flush_to(rig.end()).await.unwrap();
            }
            running.stop().await.unwrap();
        }
        "erase" => rewrite(&rig).await,
        "hold" => rig.run(impatient(&rig)).finish(rig.end()).await.unwrap(),
        "back" => taken_back(&rig).await,
        "rotate" => drop(rig.keyring.rotate(KeyPurpose::Measurements, Some(&tenant())).unwrap()),
        _ => {
            assert!(rig.store.begin_shred(&change(), &tenant()).await.unwrap());
            let gone = rig.keyring.shred(&tenant()).unwrap();
            let gone: Vec<_> = gone.iter().map(|key| key.as_str().to_owned()).collect();
            rig.store.finish_shred(&change(), &tenant(), &gone).await.unwrap();
        }
    }
}

/// Archives what is held back, until nobody is.
async fn taken_back(rig: &Rig) {
    let running = rig.run(impatient(rig));
    running.handle.flush_to(rig.end()).await.unwrap();
    let_go(rig).await;
    running.stop().await.unwrap();
}

/// Where a round lies: a folder, and a bucket for the files when there is one.
struct Place {
    folder: Folder,
    bucket: Option<(u16, String)>,
}

impl Place {
    async fn new(is_bucket: bool) -> Self {
        let store = if is_bucket { Some(store().await) } else { None };
        let bucket = store.map(|store| (store.port(), TestSeaweed::fresh_prefix()));
        Self { folder: Folder::fresh(), bucket }
    }

    async fn open(&self) -> Rig {
        let folder = self.folder.path();
        let options = |(port, prefix): &(u16, String)| TestSeaweed::options(folder, *port, prefix).unwrap();
        Rig { bucket: self.bucket.as_ref().map(options), ..Rig::at(folder).await }
    }
}

/// Lets a process do a step in a place and die at a point of it.
fn die(step: &str, point: &str, place: &Place) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "kill::the_one_that_dies"]).env(STEP, step).env(PLACE, place.folder.path());
    if let Some((port, prefix)) = &place.bucket {
        child.env(BUCKET, format!("{port} {prefix}"));
    }
    let ended =
        child.env("WARDLINE_ABORT_AT", point).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(ended.signal(), Some(6), "{step} was to die at {point}: {ended}");
}

/// Journals frames of two patients and leaves the folder to others.
async fn prepared(step: &str, is_bucket: bool) -> Place {
    let place = Place::new(is_bucket).await;
    let rig = place.open().await;
    if step == "erase" {
        wear(&rig).await;
    }
    for seq in 1..=FRAMES {
        rig.frame(seq, &at(seq as i64 - FRAMES as i64 / 2, &[seq as f64]));
    }
    if step == "hold" || step == "back" {
        refuse(&rig, "demo");
    }
    if step == "back" {
        rig.run(impatient(&rig)).finish(rig.end()).await.unwrap();
        give_back(&rig, "demo");
    } else if step != "commit" && step != "hold" {
        rig.run(busy(&rig)).finish(rig.end()).await.unwrap();
    }
    if step == "erase" {
        rig.store.ask_erasure(&change(), &tenant(), "p-ada", false).await.unwrap();
    }
    rig.store.close().await;
    place
}

/// Goes on after the kill, and counts.
async fn recovered(step: &str, place: &Place) -> (usize, u64) {
    let rig = place.open().await;
    rig.age().await;
    match step {
        "commit" => rig.run(busy(&rig)).finish(rig.end()).await.unwrap(),
        "erase" => rewrite(&rig).await,
        "hold" | "back" => {
            give_back(&rig, "demo");
            taken_back(&rig).await;
        }
        "shred" => {
            // Asked again: a later request.
            let later = Change::new("os:test@here", NOW_US + 1);
            rig.store.begin_shred(&later, &tenant()).await.unwrap();
            rig.keyring.shred(&tenant()).unwrap();
            rig.store.finish_shred(&change(), &tenant(), &[]).await.unwrap();
        }
        "rotate" => {
            let before = rig.keyring.list().len();
            rig.keyring.rotate(KeyPurpose::Measurements, Some(&tenant())).unwrap();
            assert_eq!(rig.keyring.list().len(), before + 1);
            rig.frame(FRAMES + 1, &readings(&[1.0]));
            rig.run(busy(&rig)).finish(rig.end()).await.unwrap();
        }
        _ => rig.run(merging(&rig)).finish(rig.end()).await.unwrap(),
    }
    let found = verify(&rig).await;
    assert!(found.is_clean(), "{step}: {found:?}");
    let catalog = Catalog::new(rig.store.clone());
    let known: BTreeSet<_> = catalog.files(None).await.unwrap().into_iter().map(|file| file.path).collect();
    let retired = catalog.retired(None).await.unwrap().len();
    assert_eq!(rig.files_there().await, known.len() + retired, "{step}: nothing uncommitted is left");
    let rows = if step == "shred" { 0 } else { values(&rig).await.len() };
    if step != "shred" {
        let streams = rig.reader().streams(Some("mon-1")).await.unwrap();
        let stream = streams.iter().find(|stream| stream.id.epoch > 0).unwrap();
        assert!(stream.missing.is_empty() && stream.counts.duplicates == 0, "{step}: {stream:?}");
        assert_eq!(stream.counts.archived as usize, rows, "{step}: counted once");
        if step == "erase" {
            assert_eq!(stream.counts.erased, FRAMES / 2 - 1);
        }
    } else {
        let shredded = found.discrepancies.len() as u64;
        let files = rig.reader().files(Some(Table::Numerics)).await.unwrap().len() as u64;
        assert!(shredded >= files && files > 0, "{shredded} of {files}");
    }
    rig.store.close().await;
    (rows, found.files)
}

/// Kills a process at each point of a step; each time `rows` are there once.
async fn killed(is_bucket: bool, step: &str, points: &[&str], rows: u64) {
    for point in points {
        let place = prepared(step, is_bucket).await;
        tokio::task::block_in_place(|| die(step, point, &place));
        let (found, files) = recovered(step, &place).await;
        let told = if is_bucket { "in a bucket" } else { "in a folder" };
        println!("{step} {told} killed at {point}: {found} rows once in {files} files, clean");
        assert_eq!(found as u64, rows, "{step} at {point}");
    }
}

/// Kills at each point of each step, with the files in a folder and in a bucket.
macro_rules! kills {
    ($($name:ident: $step:literal at $points:expr => $rows:expr;)+) => {
        mod in_a_folder {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::killed(false, $step, &$points, $rows).await;
            })+
        }
        mod in_a_bucket {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::killed(true, $step, &$points, $rows).await;
            })+
        }
    };
}

kills! {
    killed_while_it_flushes_and_commits:
        "commit" at ["commit.begin", "commit.put:3", "commit.synced", "commit.committed:2"] => super::FRAMES;
    killed_while_it_merges:
        "merge" at ["merge.read", "merge.put", "merge.synced", "merge.committed", "merge.committed:2", "merge.removed"]
        => super::FRAMES;
    killed_while_it_erases:
        "erase" at ["erase.read:2", "erase.put", "erase.synced:2", "erase.committed", "erase.committed:3", "erase.end"]
        => super::FRAMES / 2 + 1;
    killed_while_a_tenant_is_held_back:
        "hold" at ["held.begun", "commit.begin:2", "commit.put", "commit.synced:2", "commit.committed:3"] => super::FRAMES;
    killed_while_what_was_held_becomes_rows:
        "back" at ["commit.begin", "commit.put:3", "commit.synced:2", "commit.committed", "commit.committed:4", "held.let_go"]
        => super::FRAMES;
    killed_while_a_key_is_rotated: "rotate" at super::KEYRING => super::FRAMES + 1;
    killed_while_keys_are_shredded: "shred" at super::KEYRING => 0;
}
