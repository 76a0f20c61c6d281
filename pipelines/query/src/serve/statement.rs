//! From a statement that was understood to a plan over one snapshot of what its caller reads. Nothing but the catalog and
//! the journal's tail is read here.

use super::grants::Grant;
use super::limits::MEMORY_BYTES_MAX;
use super::parsed::Parsed;
use crate::error::QueryError;
use crate::mask::Mask;
use crate::snapshot::{self, Opened, Reach, Scope, Shared};
use datafusion::dataframe::DataFrame;
use std::path::Path;
use std::sync::Arc;
use wardline_access::Caller;

/// Opens a session of a statement's own over one snapshot, and puts the statement over it.
pub(crate) async fn open(
    (data_dir, shared): (&Path, &Shared),
    caller: &Caller,
    grant: Grant,
    mask: Option<Arc<Mask>>,
    parsed: &Parsed,
) -> Result<(Opened, DataFrame), QueryError> {
    let scope = Scope {
        tenant: Some(caller.tenant.clone()),
        sites: (grant == Grant::Identified).then(|| (*caller.sites).clone()),
        mask,
        granted: Some(grant.tables()),
        memory_bytes_max: Some(MEMORY_BYTES_MAX),
        reach: Reach::Durable,
        shared: Some(shared.clone()),
    };
    let opened = snapshot::open(data_dir, &scope).await.map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "the archive does not open");
        QueryError::Archive("the archive does not open".into())
    })?;
    let plan = parsed.over(&opened).map_err(|error| QueryError::kept(&error))?;
    let rows = DataFrame::new(opened.session.state(), plan);
    Ok((opened, rows))
}
