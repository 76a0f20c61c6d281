//! How the agent gets its identity, keeps it fresh, and learns where its gateways are.
//!
//! ```text
//! claim (secret + pin) --> [enrol] --CSR, TLS pinned to the authority--> EST --> key.pem cert.pem ca.pem
//!                             '----> /bootstrap, signed list of fronts --------> services.json
//! running agent --> [steward] renews at 2/3 of the certificate's life, fetches the list once a day
//! ```
//! A private key is made here and never leaves; nothing is sent before the gateway's authority is proven, except the
//! question which authority that is. **Does not** decide which front is used: that is `publish`.

mod certificate;
mod certs_only;
mod claim;
mod enrol;
mod error;
mod est;
mod folder;
mod http;
mod jws;
mod key;
mod limits;
mod pem;
mod services;
mod standing;
mod steward;

pub use claim::{Claim, Pin};
pub use enrol::{EnrolOptions, Enrolled, Proof, device_from_serial_number, enrol};
pub use error::{EdgeError, EdgeKind};
pub use services::FrontAddr;
pub use standing::{CertificateStatus, RenewalOptions};

pub(crate) use certificate::Certificate;
pub(crate) use folder::{Folder, Identity};
pub(crate) use http::tls_words;
pub(crate) use standing::Standing;
pub(crate) use steward::Steward;
