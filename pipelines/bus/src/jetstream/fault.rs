//! The client's errors, as what the caller does about them.

use crate::error::BusError;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, PublishError, PublishErrorKind,
};
use async_nats::jetstream::stream::{ConsumerErrorKind, LastRawMessageErrorKind, PurgeErrorKind};
use async_nats::{ConnectError, ConnectErrorKind};
use std::error::Error;

/// "No suitable peers for placement": none that has the room, or not enough of them.
const NO_PEERS: ErrorCode = ErrorCode(10005);
/// "Stream max bytes exceeds account limit max stream bytes".
const STREAM_EXCEEDS_ACCOUNT: ErrorCode = ErrorCode(10122);
/// "Duplicate message id is in process": the client has no name for it.
const DUPLICATE_IN_PROCESS: ErrorCode = ErrorCode(10158);

/// Judges a failed connection.
pub(super) fn connect(error: &ConnectError) -> BusError {
    match error.kind() {
        ConnectErrorKind::ServerParse => BusError::Misconfigured(format!("jetstream: {error}")),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            BusError::Denied(format!("jetstream: {error}"))
        }
        // A certificate that is not there is told by the same kind as a handshake that broke.
        ConnectErrorKind::Tls
        | ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => BusError::Unavailable(format!("jetstream: {error}")),
    }
}

/// Judges a request that failed: an answer of the server by its code, anything else is a connection in doubt.
pub(super) fn request(what: &str, error: &impl Answer) -> BusError {
    match error.code() {
        Some(code) => server(code, format!("{what}: {error}")),
        None => lost(what, error),
    }
}

/// Judges an answer to the wish for a topic of so many bytes.
pub(super) fn topic(error: &impl Answer, (name, bytes, replicas): (&str, i64, usize)) -> BusError {
    let is_for_room = matches!(
        error.code(),
        Some(
            NO_PEERS
                | STREAM_EXCEEDS_ACCOUNT
                | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                | ErrorCode::INSUFFICIENT_RESOURCES
                | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        )
    );
    if is_for_room {
        let wanted = format!("{name} of {bytes} bytes (cluster.topic_bytes_max) on {replicas} servers");
        return BusError::TopicRefused(format!("jetstream: no room for {wanted}: {error}"));
    }
    request("make the stream", error)
}

/// Judges an error that is no answer of the server.
pub(super) fn lost(what: &str, error: &impl Error) -> BusError {
    BusError::Unavailable(format!("jetstream: {what}: {error}"))
}

/// Judges a publish that failed.
pub(super) fn publish(error: &PublishError, bytes: usize) -> BusError {
    match (error.kind(), cause(error)) {
        (_, Some(code)) => server(code, error.to_string()),
        (PublishErrorKind::MaxPayloadExceeded, _) => {
            BusError::Misconfigured(format!("jetstream: max_payload of a server is below {bytes} bytes"))
        }
        (PublishErrorKind::TimedOut, _) => BusError::Timeout("publish"),
        // No stream answers to the subject: it is gone, or has no leader. Connecting again makes it.
        _ => BusError::Unavailable(format!("jetstream: {error}")),
    }
}

fn server(code: ErrorCode, text: String) -> BusError {
    match code {
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED => BusError::Full(format!("jetstream: {text}")),
        DUPLICATE_IN_PROCESS => BusError::InProgress,
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            BusError::TopicDiffers(format!("jetstream: longest message: {text}"))
        }
        // Connecting again makes it.
        ErrorCode::STREAM_NOT_FOUND => BusError::Unavailable(format!("jetstream: {text}")),
        // It answers, so the connection is not what is wrong.
        _ => BusError::NotReady(format!("jetstream: {text}")),
    }
}

/// An error that may be an answer of the server.
pub(super) trait Answer: Error + 'static {
    /// Returns the server's code when it is one.
    fn code(&self) -> Option<ErrorCode>;
}

macro_rules! answers {
    ($($kind:ident),+ $(,)?) => {
        $(impl Answer for async_nats::error::Error<$kind> {
            fn code(&self) -> Option<ErrorCode> {
                match self.kind() {
                    $kind::JetStream(error) => Some(error.error_code()),
                    _ => None,
                }
            }
        })+
    };
}

answers!(
    CreateStreamErrorKind,
    GetStreamErrorKind,
    ConsumerErrorKind,
    LastRawMessageErrorKind,
    PurgeErrorKind,
);

/// Finds the server's code in what caused an error.
fn cause(error: &(dyn Error + 'static)) -> Option<ErrorCode> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(server) = error.downcast_ref::<async_nats::jetstream::Error>() {
            return Some(server.error_code());
        }
        next = error.source();
    }
    None
}
