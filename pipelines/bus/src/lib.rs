//! The bus: sealed records from many fronts to many workers, over an engine that is a transport and never the truth.
//!
//! ```text
//! write-ahead log ─► flow::Relay ─► Bus::submit ─► lane per partition ─► engine (JetStream, Fluvio)
//!       ▲  trim            ▲ resend                                         │
//!       └── confirmed ─────┴───────── flow::Order ◄── Tail::recv ◄──────────┘
//! ```
//!
//! What may be relied upon, whatever an engine loses, doubles or reorders:
//! - each (front, partition) is delivered in the order of its numbers, each number once ([`flow::Order`]);
//! - a number that is missing is asked for again until it comes, and the front keeps it until the archive has
//!   confirmed it ([`flow::Relay`]);
//! - every wait for an engine has a deadline, every client is rebuilt after an error ([`Bus`], [`Tail`]);
//! - every buffer has its bound in [`limits`] (LIM-1).
//!
//! [`Outlet`] is a front's whole way out, [`Feed`] a worker's whole way in; bodies are sealed in between ([`body`]).
//!
//! [`follow::Follower`] reads behind what workers commit, for whoever answers questions, and changes nothing.
//!
//! What it does not do: decide who works on a partition, or carry resend requests and confirmations back to a front:
//! they are small truth and go through SQL.
//!
//! The engines are behind the features `jetstream` and `fluvio`; without one this crate has no network code.

mod belt;
pub mod body;
mod engine;
mod error;
mod feed;
pub mod flow;
#[cfg(feature = "fluvio")]
pub mod fluvio;
pub mod follow;
#[cfg(feature = "jetstream")]
pub mod jetstream;
pub mod limits;
mod options;
mod outlet;
mod reach;
pub mod record;
mod supervise;

pub use belt::{Belt, Origin};
pub use engine::{
    Client, Delivery, Engine, Outgoing, PartitionHealth, PartitionStream, Position, Published, Wait,
};
pub use error::{BusError, ErrorKind};
pub use feed::{Feed, FeedStats};
pub use options::{BusOptions, Topic};
pub use outlet::{Confirmed, Notice, Outlet, OutletError, OutletStats, Replicated};
pub use reach::{EngineName, ServerTls, Servers};
pub use record::{Content, FrontId, Malformed, Number, Record};
pub use supervise::{Bus, BusService, BusStats, Committed, Place, Tail, Wedged, wedged};
