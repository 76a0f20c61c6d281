//! The alarm engine: rules over the journal, alerts durable before they are told.
//!
//! [`engine`] decides, without IO; [`rules`] is what it decides by; [`AlertWorker`] feeds it from the journal and
//! commits its events, its state and its position in one transaction (ALR-1); [`AlertFeed`] is what subscribers read.
//!
//! Wardline transmits and archives. It is a secondary means of notification: the device's own alarm stays the first.

mod decode;
mod desk;
pub mod engine;
mod erase;
mod feed;
pub mod limits;
mod metrics;
pub mod news2;
pub mod observation;
pub mod orders;
mod progress;
pub mod rules;
mod seal;
mod selection;
mod wards;
mod watchdog;
pub mod whatif;
mod worker;

pub use desk::{AlertDesk, Outcome};
pub use erase::erase;
pub use feed::{AlertFeed, FeedError, Page, SharedFeed};
pub use metrics::{AlertMetrics, Skipped, SkippedLabel};
pub use selection::Selection;
pub use wards::Wards;
pub use watchdog::{Watchdog, WatchdogOptions};
pub use worker::{AlertError, AlertOptions, AlertWorker, CONSUMER};
