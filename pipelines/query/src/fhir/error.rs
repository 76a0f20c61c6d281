//! Why a request has no answer: an OperationOutcome with the HTTP status that fits and a stable code.

use crate::error::QueryError;
use axum::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tonic::{Code, Status};
use wardline_access::CODE_METADATA;
use wardline_fhir::outcome::{self, Kind};
use wardline_fhir::search::Unusable;
use wardline_proto::refusal::Refusal;

/// FHIR's media type.
pub(crate) const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// Says why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FhirError {
    /// Who calls may not.
    #[error("{}", .0.message())]
    Caller(Box<Status>),
    /// What every statement can run into.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A parameter.
    #[error("{code}: {0}", code = Refusal::FhirParameter)]
    Unusable(#[from] Unusable),
    /// There is no such thing.
    #[error("{code}: {0} is not here", code = Refusal::FhirNotFound)]
    NotFound(String),
    /// It is not done here.
    #[error("{code}: {0}", code = Refusal::FhirNotSupported)]
    NotSupported(String, StatusCode),
    /// As many exports are kept as may.
    #[error("{code}: {0} exports are kept, which is as many as may; delete one", code = Refusal::FhirExports)]
    Exports(usize),
    /// An export failed.
    #[error("{code}: {0}", code = Refusal::FhirExportFailed)]
    ExportFailed(String),
}

impl From<Status> for FhirError {
    fn from(status: Status) -> Self {
        Self::Caller(Box::new(status))
    }
}

impl FhirError {
    /// Returns its stable code.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Caller(status) => {
                let code = status.metadata().get(CODE_METADATA).and_then(|code| code.to_str().ok());
                code.and_then(Refusal::from_code).unwrap_or(Refusal::RoleMissing)
            }
            Self::Query(error) => error.refusal(),
            Self::Unusable(_) => Refusal::FhirParameter,
            Self::NotFound(_) => Refusal::FhirNotFound,
            Self::NotSupported(..) => Refusal::FhirNotSupported,
            Self::Exports(_) => Refusal::FhirExports,
            Self::ExportFailed(_) => Refusal::FhirExportFailed,
        }
    }

    fn kind(&self) -> (StatusCode, Kind) {
        match self {
            Self::Caller(status) => match status.code() {
                Code::Unauthenticated => (StatusCode::UNAUTHORIZED, Kind::Login),
                Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Kind::Transient),
                Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, Kind::Throttled),
                _ => (StatusCode::FORBIDDEN, Kind::Forbidden),
            },
            Self::Query(error) => of_query(error),
            Self::Unusable(_) => (StatusCode::BAD_REQUEST, Kind::Invalid),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, Kind::NotFound),
            Self::NotSupported(_, status) => (*status, Kind::NotSupported),
            Self::Exports(_) => (StatusCode::TOO_MANY_REQUESTS, Kind::Throttled),
            Self::ExportFailed(_) => (StatusCode::INTERNAL_SERVER_ERROR, Kind::Exception),
        }
    }

    /// Makes the answer.
    pub(crate) fn answer(&self) -> Response<Body> {
        let (status, kind) = self.kind();
        let outcome = outcome::failed(kind, self.refusal(), &self.to_string());
        let mut response = Response::new(Body::from(outcome.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, FHIR_JSON);
        response
    }
}

fn of_query(error: &QueryError) -> (StatusCode, Kind) {
    match error {
        QueryError::Statement(_) | QueryError::NotRead => (StatusCode::BAD_REQUEST, Kind::Invalid),
        QueryError::NotGranted { .. } | QueryError::NoRole | QueryError::NoSite => {
            (StatusCode::FORBIDDEN, Kind::Forbidden)
        }
        QueryError::Rows(_) | QueryError::Memory | QueryError::Time(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Kind::TooCostly)
        }
        QueryError::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, Kind::Throttled),
        QueryError::Cancelled | QueryError::Failed(_) | QueryError::Output(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Kind::Exception)
        }
        QueryError::Archive(_) | QueryError::NotAudited => (StatusCode::SERVICE_UNAVAILABLE, Kind::Transient),
    }
}
