//! What a partition's leader itself says of its offsets. The controller's view is seconds old, and a reader that
//! believed it would take an engine for one that has lost records.

use super::fault;
use crate::engine::Position;
use crate::error::BusError;
use ::fluvio::FluvioAdmin;
use ::fluvio::dataplane::link::ErrorCode;
use ::fluvio::dataplane::record::ReplicaKey;
use ::fluvio::metadata::partition::PartitionSpec;
use ::fluvio::metadata::spu::SpuSpec;
use fluvio_socket::{ClientConfig, MultiplexerSocket, VersionedSerialSocket};
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;
use std::collections::HashMap;
use tokio::sync::Mutex;
use wardline_proto::PartitionId;

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first record that is still there.
    pub(super) start: Position,
    /// After the newest record that all replicas have.
    pub(super) committed: Position,
}

/// Connections to leaders, as they were when this was made: a client is replaced when they change.
#[derive(Default)]
pub(super) struct Leaders {
    sockets: Mutex<HashMap<String, VersionedSerialSocket>>,
}

impl Leaders {
    pub(super) async fn span(
        &self,
        admin: &FluvioAdmin,
        topic: &str,
        partition: PartitionId,
    ) -> Result<Span, BusError> {
        let replica = ReplicaKey::new(topic, u32::from(partition.get()));
        let address = leader(admin, topic, &replica).await?;
        let mut sockets = self.sockets.lock().await;
        if sockets.get(&address).is_none_or(VersionedSerialSocket::is_stale) {
            sockets.insert(address.clone(), connect(&address).await?);
        }
        let socket = sockets.get(&address).ok_or(BusError::Timeout("reach the leader"))?;
        let request = FetchOffsetsRequest::new(topic.to_owned(), u32::from(partition.get()));
        let answer = socket.send_receive(request).await.map_err(|e| fault::lost("ask for offsets", &e))?;
        let span = answer.find_partition(&replica);
        let span =
            span.ok_or_else(|| fault::lost("ask for offsets", &"the leader does not know the partition"))?;
        if span.error_code != ErrorCode::None {
            return Err(fault::code("ask for offsets", &span.error_code));
        }
        let position = |offset: i64| Position::new(u64::try_from(offset).unwrap_or(0));
        Ok(Span { start: position(span.start_offset), committed: position(span.last_stable_offset) })
    }
}

async fn leader(admin: &FluvioAdmin, topic: &str, replica: &ReplicaKey) -> Result<String, BusError> {
    let partitions = admin.list::<PartitionSpec, _>(vec![topic.to_owned()]).await;
    let partitions = partitions.map_err(|e| fault::lost("find the leader", &e))?;
    let name = replica.to_string();
    let found = partitions.iter().find(|partition| partition.name == name);
    let leader = found.ok_or_else(|| fault::lost("find the leader", &"no such partition yet"))?.spec.leader;
    let servers = admin.all::<SpuSpec>().await.map_err(|e| fault::lost("find the leader", &e))?;
    let server = servers.iter().find(|server| server.spec.id == leader);
    let server = server.ok_or_else(|| fault::lost("find the leader", &"its server is not known"))?;
    Ok(server.spec.public_endpoint.addr())
}

async fn connect(address: &str) -> Result<VersionedSerialSocket, BusError> {
    let connection = ClientConfig::with_addr(address.to_owned()).connect().await;
    let (socket, config, versions) = connection.map_err(|e| fault::lost("reach the leader", &e))?.split();
    Ok(VersionedSerialSocket::new(MultiplexerSocket::shared(socket), config, versions))
}
