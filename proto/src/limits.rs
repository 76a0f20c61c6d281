//! Every bound of the wire, in one place. Reaching one refuses, visibly (LIM-1).

/// Largest MQTT payload of a device, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// Largest MQTT packet that is read from a device, bytes: payload plus room for topic and properties.
pub const PACKET_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 4 * 1024;
/// Largest decompressed frame body, bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest tenant or device id, bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Most readings in one numeric series.
pub const READINGS_MAX: usize = 16 * 1024;
/// Most samples in one waveform block.
pub const SAMPLES_MAX: usize = 64 * 1024;
/// Longest time that one waveform block covers, microseconds: an hour.
pub const BLOCK_US_MAX: u64 = 3_600 * 1_000_000;
/// Most series, blocks, alarms or events in one body.
pub const BODY_ITEMS_MAX: usize = 1024;
/// Longest condition id or event name, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest event detail, bytes.
pub const DETAIL_BYTES_MAX: usize = 1024;
/// Largest message on the device link before COBS, CRC included, bytes.
pub const LINK_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most ranges in one request to send again.
pub const RESEND_RANGES_MAX: usize = 256;
/// Most positions in one request to send again: ten days of a frame a second.
pub const RESEND_FRAMES_MAX: u64 = 1_000_000;
/// Unacknowledged QoS 1 and 2 publishes that a front takes from one session.
pub const RECEIVE_MAXIMUM: u16 = 64;
/// Partitions of the ingestion tier. Changing it moves devices between partitions.
pub const PARTITIONS: u16 = 64;

const _: () = assert!(PAYLOAD_BYTES_MAX < PACKET_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(LINK_MESSAGE_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(PARTITIONS.is_power_of_two());
