//! Who may call the services of this node, and how old is what it knows.

mod metrics;

pub use metrics::Ages;
pub use wardline_access::{
    Access, CODE_METADATA, Caller, Credential, Directory, Gated, Guarded, Role, Services, coded, limits,
    serve, status,
};
