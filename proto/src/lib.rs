//! What Wardline's bytes mean.
//!
//! Messages (generated from `wardline/v1/*.proto`), identifiers that are valid by construction, the topic
//! grammar, measurement codes, the device link's framing, refusal codes and every limit of the wire.
//!
//! **Invariant:** this crate has no runtime, opens no file and reads no clock.

pub mod audit;
pub mod codes;
pub mod frame;
pub mod ids;
#[cfg(feature = "json")]
pub mod json;
pub mod limits;
pub mod link;
pub mod refusal;
pub mod topic;

/// Messages and services of package `wardline.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        clippy::large_enum_variant,
        unreachable_pub,
        reason = "generated from the .proto files"
    )]
    include!(concat!(env!("OUT_DIR"), "/wardline.v1.rs"));
}

/// Describes every message and service of `wardline.v1`: an encoded `google.protobuf.FileDescriptorSet`.
#[cfg(feature = "grpc")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wardline.v1.bin"));

pub use ids::{DeviceId, DeviceKey, Identity, PartitionId, TenantId};
