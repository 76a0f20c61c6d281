//! Where the servers of a bus are, and the engine that is reached there: for nodes, and for whoever only reads.

use crate::engine::Engine;
use crate::error::BusError;
use crate::options::Topic;
use std::path::PathBuf;
use std::sync::Arc;

/// For each of the engine client's own requests; below the bus's waits.
#[cfg(any(feature = "jetstream", feature = "fluvio"))]
const REQUEST: std::time::Duration = std::time::Duration::from_secs(4);
/// Connections to a Fluvio: each serves its requests one after the other.
#[cfg(feature = "fluvio")]
const CONNECTIONS: usize = 8;

/// A log between the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineName {
    /// NATS JetStream.
    JetStream,
    /// Fluvio.
    Fluvio,
}

/// TLS to servers, by files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The authority of the servers' certificates.
    pub authority: PathBuf,
    /// Our certificate and its key, for servers that verify their clients.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Servers of a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// What they are.
    pub engine: EngineName,
    /// Where: of JetStream `nats://host:port`, of Fluvio the controller's `host:port`.
    pub at: Vec<String>,
    /// TLS to them.
    pub tls: Option<ServerTls>,
    /// The caller only reads: no topic is made, and of the one that is there the partitions alone have to be those that
    /// were asked for.
    pub reads_alone: bool,
}

impl Servers {
    /// Makes the engine. Nothing is connected. One that this program was built without is an error.
    pub fn engine(self, topic: Topic) -> Result<Arc<dyn Engine>, BusError> {
        match self.engine {
            EngineName::JetStream => self.jetstream(topic),
            EngineName::Fluvio => self.fluvio(topic),
        }
    }

    #[cfg(feature = "jetstream")]
    fn jetstream(self, topic: Topic) -> Result<Arc<dyn Engine>, BusError> {
        use crate::jetstream::{JetStream, JetStreamOptions, JetStreamTls};
        let tls = self.tls.map(|tls| JetStreamTls { authority: tls.authority, identity: tls.identity });
        let engine = JetStream::new(JetStreamOptions { servers: self.at, tls, topic, timeout: REQUEST })?;
        Ok(Arc::new(if self.reads_alone { engine.reading_alone() } else { engine }))
    }

    #[cfg(not(feature = "jetstream"))]
    fn jetstream(self, _topic: Topic) -> Result<Arc<dyn Engine>, BusError> {
        Err(BusError::Misconfigured("this program was built without JetStream".to_owned()))
    }

    #[cfg(feature = "fluvio")]
    fn fluvio(self, topic: Topic) -> Result<Arc<dyn Engine>, BusError> {
        use crate::fluvio::{FluvioEngine, FluvioOptions};
        let controller = self.at.into_iter().next().unwrap_or_default();
        let options = FluvioOptions { controller, topic, connections: CONNECTIONS, commit_timeout: REQUEST };
        let engine = FluvioEngine::new(options)?;
        Ok(Arc::new(if self.reads_alone { engine.reading_alone() } else { engine }))
    }

    #[cfg(not(feature = "fluvio"))]
    fn fluvio(self, _topic: Topic) -> Result<Arc<dyn Engine>, BusError> {
        Err(BusError::Misconfigured("this program was built without the feature fluvio".to_owned()))
    }
}
