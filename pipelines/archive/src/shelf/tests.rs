//! What every place of files must do. A folder and a bucket run this one suite.

use super::*;
use crate::testing::TestSeaweed;
use std::time::Duration;
use tempfile::TempDir;
use wardline_store::Store;

/// A place, and a catalog that it belongs to.
struct Ground {
    options: ArchiveOptions,
    catalog: Catalog,
    folder: TempDir,
}

impl Ground {
    async fn of_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::new(Store::open(&folder.path().join("wardline.db")).await.unwrap());
        let options = ArchiveOptions::for_dir(folder.path().join("archive"));
        Self { options, catalog, folder }
    }

    async fn of_bucket() -> Self {
        let store = spawn_blocking(TestSeaweed::shared).await.unwrap().unwrap();
        let mut ground = Self::of_folder().await;
        let bucket =
            TestSeaweed::options(ground.folder.path(), store.port(), &TestSeaweed::fresh_prefix()).unwrap();
        ground.options.bucket = Some(bucket);
        ground
    }

    async fn open(&self) -> Result<Arc<Shelf>, ArchiveError> {
        Ok(Arc::new(Shelf::open(&self.options, &self.catalog).await?))
    }

    /// Waits until the store's clock, of seconds, has moved on.
    async fn age(&self) {
        if self.options.bucket.is_some() {
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    }
}

async fn conforms(ground: Ground) {
    let shelf = ground.open().await.unwrap();
    let paths: Vec<_> =
        (0..3).map(|p| new_path(Table::Audit, "demo", Day::of_micros(0), p).unwrap()).collect();
    for path in &paths {
        shelf.put(path, path.as_bytes().to_vec()).await.unwrap();
    }
    assert!(shelf.put(&paths[0], vec![2]).await.is_err(), "a file is never overwritten");
    shelf.sync(paths.clone()).await.unwrap();
    let (files, path) = (shelf.files().clone(), paths[0].clone());
    let read = spawn_blocking(move || (files.read(&path), files.read("audit/none"))).await.unwrap();
    assert_eq!(read.0.unwrap(), paths[0].as_bytes());
    assert!(matches!(read.1, Err(ArchiveError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound));
    let listed: BTreeSet<_> = shelf.files().list().await.unwrap().into_iter().collect();
    assert_eq!(listed, paths.iter().cloned().collect(), "the files, and nothing that is not one");

    drop(shelf);
    ground.age().await;
    let shelf = ground.open().await.unwrap();
    let committed = BTreeSet::from([paths[0].clone(), "audit/gone".to_owned()]);
    let retired = BTreeSet::from([paths[1].clone(), paths[2].clone()]);
    assert_eq!(shelf.sweep(committed.clone(), retired).await.unwrap(), (0, 1), "readers may still need them");
    assert_eq!(shelf.sweep(committed.clone(), BTreeSet::from([paths[2].clone()])).await.unwrap(), (1, 1));
    shelf.remove(vec![paths[2].clone(), paths[1].clone(), "audit/gone".to_owned()]).await.unwrap();
    assert_eq!(shelf.files().list().await.unwrap(), [paths[0].clone()]);
    assert_eq!(shelf.sweep(committed, BTreeSet::new()).await.unwrap(), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_conforms_and_one_worker_holds_it() {
    let ground = Ground::of_folder().await;
    let held = ground.open().await.unwrap();
    assert!(ground.open().await.is_err(), "one worker holds it");
    drop(held);
    conforms(ground).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_conforms() {
    conforms(Ground::of_bucket().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_successor_put_is_not_swept_by_a_worker_that_lost_its_lease() {
    let ground = Ground::of_bucket().await;
    let old = ground.open().await.unwrap();
    ground.age().await;
    let new = ground.open().await.unwrap();
    let path = new_path(Table::Audit, "demo", Day::of_micros(0), 0).unwrap();
    new.put(&path, vec![1]).await.unwrap();
    let nothing = || (BTreeSet::new(), BTreeSet::new());
    let swept = async |shelf: &Arc<Shelf>| shelf.sweep(nothing().0, nothing().1).await.unwrap();
    assert_eq!(swept(&old).await, (0, 0), "the old listing does not name it");
    assert_eq!(swept(&new).await, (0, 0), "nor does its own start know of it");
    ground.age().await;
    assert_eq!(
        swept(&ground.open().await.unwrap()).await,
        (1, 0),
        "no commit came: the next start removes it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_is_asked_twice_is_one_file() {
    let ground = Ground::of_bucket().await;
    let shelf = ground.open().await.unwrap();
    for _ in 0..2 {
        // The second finds its own bytes there, as after an answer that was lost.
        shelf.put("audit/demo/1970-01-01/0/twice.parquet", vec![1, 2, 3]).await.unwrap();
    }
    assert_eq!(shelf.files().list().await.unwrap().len(), 1);
    assert!(shelf.put("audit/demo/1970-01-01/0/twice.parquet", vec![1, 2, 4]).await.is_err());
}

/// Puts what is somebody else's beside the archive's files.
async fn put_beside(files: &Files, path: &str) {
    match files {
        Files::Folder(root) => {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "theirs").unwrap();
        }
        Files::Bucket(bucket) => bucket.put_new(path, "theirs".into()).await.unwrap(),
    }
}

async fn sweeps_its_own_alone(ground: Ground) {
    let own = new_path(Table::Audit, "demo", Day::of_micros(0), 0).unwrap();
    let name = own.rsplit_once('/').unwrap().1;
    let others = [
        "notes.txt".to_owned(),
        "audit/demo/1970-01-01/0/report.parquet".to_owned(),
        "audit/demo/1970-01-01/0/report.parquet#1".to_owned(),
        format!("vitals/demo/1970-01-01/0/{name}"),
        format!("audit/demo/1970-01-01/{name}"),
        format!("icu/{own}"),
    ];
    let shelf = ground.open().await.unwrap();
    for path in &others {
        put_beside(shelf.files(), path).await;
    }
    shelf.put(&own, vec![1]).await.unwrap();
    // What a crash leaves of a put into a folder.
    put_beside(shelf.files(), &format!("{own}#1")).await;
    drop(shelf);
    ground.age().await;
    let shelf = ground.open().await.unwrap();
    let swept = if ground.options.bucket.is_some() { 1 } else { 2 };
    assert_eq!(shelf.sweep(BTreeSet::new(), BTreeSet::new()).await.unwrap(), (swept, 0));
    let files = shelf.files().clone();
    let left =
        move || (others.iter().filter(|path| files.read(path).is_ok()).count(), files.read(&own).is_err());
    assert_eq!(spawn_blocking(left).await.unwrap(), (6, true), "and all of the others'");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_a_folder_leaves_others_files() {
    sweeps_its_own_alone(Ground::of_folder().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_a_bucket_leaves_others_files() {
    sweeps_its_own_alone(Ground::of_bucket().await).await;
}
