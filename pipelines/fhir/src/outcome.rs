//! What went wrong, or what an answer lacks, as an OperationOutcome.

use crate::limits::HOLES_MAX;
use crate::systems::REFUSALS;
use serde_json::{Value, json};
use wardline_proto::refusal::Refusal;

/// Kinds of issues, FHIR's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A parameter or header that cannot be used.
    Invalid,
    /// There is no such resource.
    NotFound,
    /// The server does not do this.
    NotSupported,
    /// Who asks is not known.
    Login,
    /// Who asks may not.
    Forbidden,
    /// It takes more than one request may.
    TooCostly,
    /// As much is going on as may.
    Throttled,
    /// It cannot be done now.
    Transient,
    /// It broke.
    Exception,
}

impl Kind {
    /// Returns FHIR's word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::NotSupported => "not-supported",
            Self::Login => "login",
            Self::Forbidden => "forbidden",
            Self::TooCostly => "too-costly",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::Exception => "exception",
        }
    }
}

/// Makes the outcome of a request that failed.
pub fn failed(kind: Kind, refusal: Refusal, text: &str) -> Value {
    let details = json!({ "coding": [{ "system": REFUSALS, "code": refusal.code() }], "text": text });
    outcome(vec![json!({ "severity": "error", "code": kind.code(), "details": details })])
}

/// What is missing of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// FHIR id of the device.
    pub device: String,
    /// The stream: lane.
    pub lane: String,
    /// Begin of the hour that it belongs to, unix microseconds.
    pub hour_us: i64,
    /// The first position that never came, where positions may be told.
    pub positions: Option<(u64, u64)>,
    /// How many never came.
    pub count: u64,
}

/// Makes the outcome that says how complete an answer is: what never came, of the hours that were asked for, and why
/// the newest may not be in it.
pub fn completeness(holes: &[Hole], reach: Option<&str>) -> Value {
    let mut issues: Vec<Value> = holes.iter().take(HOLES_MAX).map(missing).collect();
    if holes.is_empty() {
        issues.push(informs("no frame of the streams and hours asked for is known to be missing"));
    }
    issues.extend(reach.map(informs));
    if holes.len() > HOLES_MAX {
        let text = format!("{} more missing ranges", holes.len() - HOLES_MAX);
        issues.push(json!({ "severity": "warning", "code": "incomplete", "details": { "text": text } }));
    }
    outcome(issues)
}

fn informs(text: &str) -> Value {
    json!({ "severity": "information", "code": "informational", "details": { "text": text } })
}

fn missing(hole: &Hole) -> Value {
    let Hole { device, lane, hour_us, positions, count } = hole;
    let range = positions.map_or_else(String::new, |(first, last)| format!(", positions {first} to {last}"));
    let hour = crate::time::instant(*hour_us);
    let text = format!("Device/{device}, {lane}, hour of {hour}: {count} frames never came{range}");
    json!({ "severity": "warning", "code": "incomplete", "details": { "text": text } })
}

fn outcome(issues: Vec<Value>) -> Value {
    json!({ "resourceType": "OperationOutcome", "issue": issues })
}
