//! What a caller is told: a status with its stable code in the message and in the metadata.

use crate::access::CODE_METADATA;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use wardline_proto::refusal::Refusal;
use wardline_store::StoreError;
use wardline_store::registry::Reject;

/// Makes the status of a refusal.
pub(super) fn status(refusal: Refusal, message: &str) -> Status {
    let code = match refusal {
        Refusal::RegistryInvalid => Code::InvalidArgument,
        Refusal::RegistryNotFound => Code::NotFound,
        Refusal::RegistryConflict => Code::AlreadyExists,
        Refusal::RegistryNotActive | Refusal::ErasureHeld | Refusal::SubjectErased => {
            Code::FailedPrecondition
        }
        Refusal::RegistryUnavailable | Refusal::CannotAudit => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    let mut status = Status::new(code, format!("{refusal}: {message}"));
    status.metadata_mut().insert(CODE_METADATA, MetadataValue::from_static(refusal.code()));
    status
}

/// Says that a value is not usable.
pub(super) fn invalid(what: &str) -> Status {
    status(Refusal::RegistryInvalid, &format!("{what} is missing or not usable"))
}

/// Says that there is no such thing.
pub(super) fn missing(what: &str) -> Status {
    status(Refusal::RegistryNotFound, &format!("there is no such {what}"))
}

/// Returns the code of what the store rejects.
pub(super) fn code_of(reject: Reject) -> Refusal {
    match reject {
        Reject::NotFound(_) => Refusal::RegistryNotFound,
        Reject::Conflict(_) => Refusal::RegistryConflict,
        Reject::Invalid(_) => Refusal::RegistryInvalid,
        Reject::TenantSuspended | Reject::NotActive => Refusal::RegistryNotActive,
        Reject::ClaimUnknown => Refusal::EnrolCredential,
        Reject::ClaimUsed => Refusal::EnrolClaimUsed,
        Reject::ClaimExpired => Refusal::EnrolClaimExpired,
        Reject::ClaimRevoked => Refusal::EnrolClaimRevoked,
        Reject::ClaimOtherDevice => Refusal::EnrolDevice,
        Reject::OtherMaker => Refusal::RegistryMaker,
        Reject::NotAllowed => Refusal::EnrolSerial,
        Reject::BeingShredded => Refusal::RegistryConflict,
        Reject::Held => Refusal::ErasureHeld,
        Reject::Erased => Refusal::SubjectErased,
        Reject::Revoked => Refusal::IdentityRevoked,
    }
}

/// Tells a caller of the store's error; what only the operator needs to know goes to the log.
pub(super) fn failed(error: StoreError) -> Status {
    match error {
        StoreError::Reject(reject) => status(code_of(reject), &reject.to_string()),
        error => {
            tracing::error!(%error, "registry cannot be read or written");
            status(Refusal::RegistryUnavailable, "the registry cannot be reached now; nothing was changed")
        }
    }
}
