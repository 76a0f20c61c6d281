//! The client's errors, as what the caller does about them.

use crate::error::BusError;
use ::fluvio::dataplane::link::ErrorCode;
use ::fluvio::{FluvioError, ProducerError};
use std::fmt::Display;

/// Judges an error of a connection: whatever it was, the client is replaced.
pub(super) fn lost(what: &str, error: &dyn Display) -> BusError {
    BusError::Unavailable(format!("fluvio: {what}: {error}"))
}

/// Judges a server's code.
pub(super) fn code(what: &str, code: &ErrorCode) -> BusError {
    match code {
        ErrorCode::PartitionFull { .. } | ErrorCode::StorageError => {
            BusError::Full(format!("fluvio: {what}: {code}"))
        }
        ErrorCode::MessageTooLarge => BusError::TopicDiffers(format!("fluvio: longest message: {code}")),
        ErrorCode::PermissionDenied => BusError::Denied(format!("fluvio: {what}: {code}")),
        // It is appended and not committed: it will be, and the same record again is one too many, which the
        // numbers drop.
        ErrorCode::RequestTimedOut { .. } => BusError::Timeout("commit"),
        code => lost(what, code),
    }
}

/// Judges a publish that failed.
pub(super) fn publish(error: &FluvioError) -> BusError {
    match error {
        FluvioError::Producer(ProducerError::SpuErrorCode(found)) => code("publish", found),
        FluvioError::Producer(ProducerError::RecordTooLarge(bytes, max)) => {
            BusError::TooLarge { bytes: *bytes, max: *max }
        }
        error => lost("publish", error),
    }
}
