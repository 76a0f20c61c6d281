//! The device link: listens on TCP or a Unix socket, takes numbered messages, acknowledges what is durable.
//!
//! An agent has one device. A new connection ends the one before it: the device has given that one up, or it is
//! half open.

mod addr;
mod connection;
mod order;
#[cfg(test)]
mod tests;

pub use addr::{LinkAddr, LinkAddrError};

use crate::clock::ClockOptions;
use crate::spool::{Spool, SpoolError};
use crate::stats::Counters;
use addr::Listener;
use connection::{Connection, LinkEnd};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause after a failed accept: out of file descriptors does not pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves the device until it is told to stop.
pub(crate) struct LinkServer {
    listener: Listener,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    clock: ClockOptions,
}

impl LinkServer {
    /// Binds the address.
    pub(crate) async fn bind(
        addr: &LinkAddr,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
        clock: ClockOptions,
    ) -> io::Result<Self> {
        Ok(Self { listener: Listener::bind(addr).await?, spool, counters, clock })
    }

    /// Where it listens, with the port that the system chose.
    pub(crate) fn addr(&self) -> &LinkAddr {
        self.listener.addr()
    }

    /// Runs until `stop` turns true. An error is a failed spool.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), SpoolError> {
        let mut current: Option<Connection> = None;
        loop {
            let served = async {
                match current.as_mut() {
                    Some(connection) => connection.run().await,
                    None => std::future::pending().await,
                }
            };
            let end = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.listener.accept() => Some(accepted),
                end = served => {
                    current = None;
                    end.into_result()?;
                    None
                }
            };
            match end {
                Some(Ok(stream)) => {
                    self.counters.link_connects.add(1);
                    let (spool, counters) = (Arc::clone(&self.spool), Arc::clone(&self.counters));
                    current = Some(Connection::new(stream, spool, counters, self.clock));
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "the device link does not accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                None => {}
            }
        }
        if let Some(mut connection) = current {
            connection.acknowledge_rest().await;
        }
        Ok(())
    }
}

impl LinkEnd {
    /// Logs an end that only concerns the connection; passes on one that concerns the agent.
    fn into_result(self) -> Result<(), SpoolError> {
        match self {
            Self::Spool(error) => return Err(error),
            Self::Closed => tracing::info!("the device closed its link"),
            end @ (Self::Io(_) | Self::Gap | Self::NoHello | Self::WriteTimeout) => {
                tracing::warn!(reason = %end, "the device link ended");
            }
        }
        Ok(())
    }
}
