//! What a caller is told: a status with its stable code.

use tonic::{Code, Status};
use wardline_access::coded;
use wardline_alert::FeedError;
use wardline_proto::refusal::Refusal;
use wardline_store::StoreError;

/// Makes the status of a refusal.
pub(super) fn refused(refusal: Refusal, message: &str) -> Status {
    let code = match refusal {
        Refusal::AlertInvalid => Code::InvalidArgument,
        Refusal::AlertNotFound => Code::NotFound,
        Refusal::AlertOver | Refusal::AlertListener => Code::FailedPrecondition,
        Refusal::AlertForgotten => Code::OutOfRange,
        _ => Code::Unavailable,
    };
    coded(code, refusal, message)
}

/// Logs why the store could not be read, where it is handled, and tells the caller no more than that.
pub(super) fn unreadable(error: FeedError) -> Status {
    tracing::error!(%error, "alert store cannot be read");
    Status::unavailable("the alert store cannot be read now; resume by cursor")
}

/// The same for what could not be written or read beside events.
pub(super) fn unwritable(error: StoreError) -> Status {
    tracing::error!(%error, "alert store cannot be reached");
    refused(Refusal::AlertUnavailable, "the alert store cannot be reached now; nothing was changed")
}
