//! What can go wrong between an agent and its identity, with stable codes.

use std::fmt;
use wardline_proto::refusal::Refusal;

/// What the caller should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeKind {
    /// Try again later: nothing is wrong with what was asked.
    Retry,
    /// Asking again the same way gives the same answer; a person must act.
    Reject,
}

/// Says what went wrong, under which code, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeError {
    code: Refusal,
    kind: EdgeKind,
    problem: String,
}

impl EdgeError {
    /// Makes an error that a person must act upon. `code` is one of the `WL-EDGE` codes.
    pub fn new(code: Refusal, problem: impl Into<String>) -> Self {
        Self::reject(code, problem)
    }

    pub(crate) fn reject(code: Refusal, problem: impl Into<String>) -> Self {
        Self { code, kind: EdgeKind::Reject, problem: problem.into() }
    }

    pub(crate) fn retry(code: Refusal, problem: impl Into<String>) -> Self {
        Self { code, kind: EdgeKind::Retry, problem: problem.into() }
    }

    /// Returns the stable code; `docs/errors/CODE.md` explains it.
    pub fn code(&self) -> &'static str {
        self.code.code()
    }

    /// Says what the caller should do.
    pub fn kind(&self) -> EdgeKind {
        self.kind
    }

    fn advice(&self) -> &'static str {
        match self.code {
            Refusal::EdgeClaim => "copy the whole claim, wl1.SECRET.PIN, as the gateway printed it",
            Refusal::EdgePin => "check the URL; if it is right, get a new claim from this gateway's operator",
            Refusal::EdgeUnreachable => {
                "check the URL, the network and this machine's clock, then run it again"
            }
            Refusal::EdgeEnrolRefused => "the code in the gateway's answer says what to do",
            Refusal::EdgeAnswer => "is the URL that of a Wardline gateway's HTTPS listener (port 9443)?",
            Refusal::EdgeServices => "check this machine's clock; the list in use stays in use",
            Refusal::EdgeFolder => "check the folder's owner, mode and free space, or use another folder",
            Refusal::EdgeRenewal => "look at the gateway's audit trail; when expired, enrol with a new claim",
            Refusal::EdgeRedirect => "check the fronts' configuration: they send devices in a circle",
            _ => "give --device, 1 to 64 of a-z 0-9 . _ -",
        }
    }
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.code(), self.problem, self.advice())
    }
}

impl std::error::Error for EdgeError {}

/// Says that a folder or file cannot be used.
pub(crate) fn folder(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> EdgeError {
    let what = what.to_string();
    move |error| EdgeError::reject(Refusal::EdgeFolder, format!("{what}: {error}"))
}

/// Says that the gateway answered what cannot be used.
pub(crate) fn answer(problem: impl Into<String>) -> EdgeError {
    EdgeError::reject(Refusal::EdgeAnswer, problem)
}

/// Says that a list of fronts is not believed.
pub(crate) fn services(problem: impl Into<String>) -> EdgeError {
    EdgeError::reject(Refusal::EdgeServices, problem)
}
