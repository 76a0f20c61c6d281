//! One spooled record: a frame that waits to be sent, or the tombstone of one that policy dropped.
//!
//! ```text
//! offset  size  field            little endian
//! 0       1     kind             1 frame, 2 tombstone
//! 1       8     boot id          of the device that sent it; 0 when the agent itself made it
//! 9       8     link seq         position on the device link; 0 when the agent itself made it
//! 17      8     taken at         edge clock, unix microseconds
//! 25      8     device offset    edge minus device time, microseconds        frame only, as is what follows
//! 33      4     uncertainty      microseconds, 0 unknown
//! 37      1     sync state       wardline.v1.SyncState
//! 38      1     encoding         wardline.v1.Encoding
//! 39      ..    body             an encoded wardline.v1.Body
//! ```
//! Lane, epoch and `seq` are not in it: the lane is the log, the epoch is the spool's, and `seq` is the record's
//! offset in its log plus one. So numbering is the log's own and cannot diverge from it, and a resent frame is
//! equal byte for byte to the first one, also across a restart.
//!
//! The log seals and checks the bytes; a record that does not decode here was written by a later version.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use wardline_proto::v1::{Clock, Encoding, Frame, Lane, SyncState};

const KIND_FRAME: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const HEAD_BYTES: usize = 25;
const FRAME_HEAD_BYTES: usize = 14;

/// A position on the link of one start of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LinkPosition {
    pub(crate) boot_id: u64,
    pub(crate) seq: u64,
}

impl LinkPosition {
    /// Says whether the device with these marks has already given `self`.
    pub(crate) fn is_at_or_below(self, mark: Self) -> bool {
        self.boot_id == mark.boot_id && self.seq <= mark.seq
    }

    /// Says whether the agent itself made the record.
    pub(crate) fn is_agents_own(self) -> bool {
        self.seq == 0
    }
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A frame that waits for its acknowledgement.
    Frame { clock: Clock, encoding: Encoding, body: Bytes },
    /// A frame that was dropped by policy: it keeps its seq, so that the hole is known.
    Tombstone,
}

/// A record of a lane's log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spooled {
    pub(crate) origin: LinkPosition,
    pub(crate) taken_at_us: i64,
    pub(crate) content: Content,
}

/// The bytes are not a record of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("spooled record is not of a version that this agent reads")]
pub(crate) struct RecordError;

impl Spooled {
    pub(crate) fn encode(&self) -> Bytes {
        let body_bytes = match &self.content {
            Content::Frame { body, .. } => FRAME_HEAD_BYTES + body.len(),
            Content::Tombstone => 0,
        };
        let mut out = BytesMut::with_capacity(HEAD_BYTES + body_bytes);
        out.put_u8(if body_bytes == 0 { KIND_TOMBSTONE } else { KIND_FRAME });
        out.put_u64_le(self.origin.boot_id);
        out.put_u64_le(self.origin.seq);
        out.put_i64_le(self.taken_at_us);
        if let Content::Frame { clock, encoding, body } = &self.content {
            out.put_i64_le(clock.device_offset_us);
            out.put_u32_le(clock.uncertainty_us);
            out.put_u8(clock.sync_state as u8);
            out.put_u8(*encoding as u8);
            out.put_slice(body);
        }
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, RecordError> {
        if bytes.len() < HEAD_BYTES {
            return Err(RecordError);
        }
        let kind = bytes.get_u8();
        let origin = LinkPosition { boot_id: bytes.get_u64_le(), seq: bytes.get_u64_le() };
        let taken_at_us = bytes.get_i64_le();
        let content = match kind {
            KIND_FRAME => decode_frame(bytes)?,
            KIND_TOMBSTONE => Content::Tombstone,
            _ => return Err(RecordError),
        };
        Ok(Self { origin, taken_at_us, content })
    }

    /// Makes the frame to send; `None` for a tombstone.
    pub(crate) fn into_frame(self, epoch: u64, seq: u64, lane: Lane) -> Option<Frame> {
        let Content::Frame { clock, encoding, body } = self.content else { return None };
        Some(Frame {
            epoch,
            seq,
            sent_at_us: self.taken_at_us,
            clock: Some(clock),
            encoding: encoding.into(),
            lane: lane.into(),
            body,
        })
    }
}

fn decode_frame(mut bytes: Bytes) -> Result<Content, RecordError> {
    if bytes.len() < FRAME_HEAD_BYTES {
        return Err(RecordError);
    }
    let (device_offset_us, uncertainty_us) = (bytes.get_i64_le(), bytes.get_u32_le());
    let sync_state = SyncState::try_from(i32::from(bytes.get_u8())).map_err(|_| RecordError)?;
    let encoding = Encoding::try_from(i32::from(bytes.get_u8())).map_err(|_| RecordError)?;
    let clock = Clock { device_offset_us, uncertainty_us, sync_state: sync_state.into() };
    Ok(Content::Frame { clock, encoding, body: bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Spooled {
        let clock = Clock { device_offset_us: -7, uncertainty_us: 1_000, sync_state: SyncState::Ntp.into() };
        let content =
            Content::Frame { clock, encoding: Encoding::Identity, body: Bytes::from_static(b"body") };
        Spooled { origin: LinkPosition { boot_id: 3, seq: 9 }, taken_at_us: 1_700, content }
    }

    #[test]
    fn both_kinds_round_trip_and_the_layout_is_golden() {
        let tombstone = Spooled { content: Content::Tombstone, ..frame() };
        for record in [frame(), tombstone.clone()] {
            assert_eq!(Spooled::decode(record.encode()), Ok(record));
        }
        let golden = [2, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0xa4, 6, 0, 0, 0, 0, 0, 0];
        assert_eq!(tombstone.encode(), golden.as_slice());
        assert_eq!(
            &frame().encode()[HEAD_BYTES..],
            b"\xf9\xff\xff\xff\xff\xff\xff\xff\xe8\x03\0\0\x02\x01body"
        );
    }

    #[test]
    fn what_is_short_or_unknown_is_refused() {
        let bytes = frame().encode();
        for end in 0..HEAD_BYTES + FRAME_HEAD_BYTES {
            assert_eq!(Spooled::decode(bytes.slice(..end)), Err(RecordError));
        }
        let mut unknown = bytes.to_vec();
        unknown[0] = 9;
        assert_eq!(Spooled::decode(unknown.into()), Err(RecordError));
    }
}
