//! Numbers, order, gaps and trimming, without a clock, a task or a socket: what makes an engine's faults harmless.
//!
//! [`Relay`] is the front's half: it numbers what its log holds, says what to publish next and what the log may
//! forget. [`Order`] is the worker's half: it turns what an engine delivers into what happened. They speak by
//! numbers alone: a [`Resend`] goes back, and a confirmation that everything below a number is archived.

mod checkpoint;
mod order;
mod relay;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Undecodable};
pub use order::{Arrival, Order, OrderStats};
pub use relay::{LogFull, Relay, RelayCheckpoint, Resumed, Send, Trim, WrongNumber};

use crate::record::{FrontId, Number};
use wardline_proto::PartitionId;

/// Asks a front for numbers of a partition again, the last one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resend {
    /// The front that has them.
    pub front: FrontId,
    /// The partition.
    pub partition: PartitionId,
    /// The first number that is missing.
    pub first: Number,
    /// The last number that is missing.
    pub last: Number,
}
