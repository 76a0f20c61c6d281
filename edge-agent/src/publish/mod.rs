//! The publisher: from the spool to the gateway over mutual TLS, deleted only on PUBACK.
//!
//! One connection after the other: what was unanswered on the last one is sent again on the next, in order, alarms
//! first. The gateway stores a repeated frame once. Which front is called: [`fronts`]; as whom: the identity in force,
//! or one that a renewal brought, which takes the old one's place when the gateway has accepted it.
//!
//! | answer | what happens |
//! |---|---|
//! | PUBACK success | the frame is settled and leaves the spool |
//! | PUBACK 0x99 payload | the frame goes to the refused log, an event tells of it, the lane goes on |
//! | PUBACK 0x87, 0x97, others | the frame stays, its lane waits with growing delays, other lanes go on |
//! | no PUBACK in time, DISCONNECT, lost | a new connection after a jittered delay, everything unanswered again |
//!
//! Of what comes down it acts upon one thing: a request to send again what is still kept ([`resend`]), behind everything
//! that was never sent. It keeps no queue of its own.

mod answer;
pub(crate) mod backoff;
mod drive;
pub(crate) mod feed;
mod fronts;
mod progress;
mod publisher;
mod repair;
mod resend;
mod session;
pub(crate) mod window;
mod wire;

pub(crate) use backoff::Backoff;
pub use backoff::BackoffOptions;

pub(crate) use publisher::Publisher;

use crate::clock::ClockOptions;
use crate::onboard::Folder;
use std::time::Duration;
use wardline_proto::DeviceKey;

/// How to reach the gateway and how patient to be.
#[derive(Debug, Clone)]
pub(crate) struct PublishOptions {
    pub(crate) folder: Folder,
    pub(crate) client_id: String,
    pub(crate) device: DeviceKey,
    pub(crate) in_flight_max: u16,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) backoff: BackoffOptions,
    pub(crate) return_after: Duration,
    pub(crate) clock: ClockOptions,
}
