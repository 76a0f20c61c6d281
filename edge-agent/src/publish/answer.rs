//! What the gateway's answers mean for a frame, and its disconnects for the connection.

use super::wire::WireError;
use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, PubAckReason};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The gateway has it durably: it leaves the spool.
    Acked,
    /// It will never be taken: it goes to the refused log.
    Refused(u8),
    /// Not now: it stays and its lane waits.
    Later(u8),
}

impl Answer {
    pub(super) fn of(reason: PubAckReason) -> Self {
        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Self::Acked,
            PubAckReason::PayloadFormatInvalid => Self::Refused(0x99),
            PubAckReason::UnspecifiedError => Self::Later(0x80),
            PubAckReason::ImplementationSpecificError => Self::Later(0x83),
            PubAckReason::NotAuthorized => Self::Later(0x87),
            PubAckReason::TopicNameInvalid => Self::Later(0x90),
            PubAckReason::PacketIdentifierInUse => Self::Later(0x91),
            PubAckReason::QuotaExceeded => Self::Later(0x97),
        }
    }
}

/// Says whether the gateway itself ended or refused the connection: then the first retry is not fast.
pub(super) fn gateway_wants_less(error: &WireError) -> bool {
    match error {
        WireError::Refused(..) => true,
        WireError::Disconnected(code, _) => !matches!(code, DisconnectReasonCode::ServerShuttingDown),
        _ => false,
    }
}
