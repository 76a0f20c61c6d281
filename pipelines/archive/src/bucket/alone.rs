//! Whether a bucket, or a prefix of one, is an archive's alone, asked once: before it is marked.
//!
//! What a sweep takes for its own must be its own. So an archive neither begins in another's place, nor around one, nor
//! where anything lies that its catalog does not name: data of somebody else's, or files whose catalog is lost.

use super::{Bucket, BucketError};
use crate::error::ArchiveError;
use crate::files::MARK;
use crate::shelf::{CLOCK, LOCK};
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeSet;
use wardline_store::catalog::Catalog;

/// Refuses a place that is not empty but for what `catalog` names, or that lies below another archive's.
pub(crate) async fn check_alone(bucket: &Bucket, catalog: &Catalog) -> Result<(), ArchiveError> {
    if let Some(outer) = bucket.mark_above().await? {
        return Err(
            BucketError::NotAlone(bucket.place.clone(), format!("lies in the archive of {outer}")).into()
        );
    }
    // What moved here from a folder was listed by the catalog before, and its lock came with it.
    let mut known: BTreeSet<String> = catalog.files(None).await?.into_iter().map(|file| file.path).collect();
    known.extend(catalog.retired(None).await?);
    known.extend([CLOCK, LOCK, ""].map(str::to_owned));
    match bucket.first_but(&known).await? {
        None => Ok(()),
        Some(path) => Err(BucketError::NotAlone(bucket.place.clone(), format!("holds {path}")).into()),
    }
}

impl Bucket {
    /// Returns the place of an archive that this one's would lie in.
    async fn mark_above(&self) -> Result<Option<String>, ArchiveError> {
        let parts: Vec<_> = self.prefix.parts().collect();
        for depth in 0..parts.len() {
            let above: ObjectPath = parts.iter().take(depth).cloned().collect();
            let mark: ObjectPath = above.parts().chain(ObjectPath::from(MARK).parts()).collect();
            match self.store.head(&mark).await {
                Ok(_) => return Ok(Some(format!("{}/{above}", self.url()))),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => match BucketError::of(&self.place, &error) {
                    // Credentials may be of this prefix alone.
                    Some(BucketError::Refused(..)) => {}
                    _ => return Err(self.told(MARK, error)),
                },
            }
        }
        Ok(None)
    }

    /// Returns an object below the prefix that is not among `known`, and does not list on.
    async fn first_but(&self, known: &BTreeSet<String>) -> Result<Option<String>, ArchiveError> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let mut listed = self.store.list(prefix);
        while let Some(meta) = listed.try_next().await.map_err(|error| self.told("", error))? {
            let rest: Option<ObjectPath> = meta.location.prefix_match(&self.prefix).map(Iterator::collect);
            if let Some(path) = rest.filter(|path| !known.contains(path.as_ref())) {
                return Ok(Some(path.to_string()));
            }
        }
        Ok(None)
    }
}
