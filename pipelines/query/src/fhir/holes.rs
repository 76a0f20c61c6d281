//! How complete an answer is: what of the streams that it is of never came.

use super::limits::DEVICES_TOLD_MAX;
use super::select::{Session, Want};
use super::{Asked, Site};
use crate::error::QueryError;
use crate::serve::grants::Grant;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use wardline_archive::HourReport;
use wardline_archive::read::ArchiveReader;
use wardline_archive::tail::TailState;
use wardline_fhir::outcome::{Hole, completeness};
use wardline_fhir::time::Span;
use wardline_proto::v1::Lane;

/// Begin of the hour that a time is in.
const HOUR_US: i64 = 3_600_000_000;

impl Site {
    /// Says what is missing of what is wanted, for who may know.
    pub(crate) async fn completeness(
        &self,
        asked: &Asked,
        session: &Session,
        want: &Want,
    ) -> Result<Value, QueryError> {
        if asked.naming.grant() != Grant::Identified {
            return Ok(untold("completeness is not granted to the role analyst"));
        }
        // Of devices at other sites the caller sees rows of its patients, and no streams.
        let devices = match (want.devices(&session.lookups), session.opened.wards()) {
            (Some(named), Some(wards)) => Some(named.intersection(wards.here()).cloned().collect()),
            (None, Some(wards)) => Some(wards.here().clone()),
            (named, None) => named,
        };
        let Some(devices) = devices.filter(|devices: &BTreeSet<_>| devices.len() <= DEVICES_TOLD_MAX) else {
            let text = format!(
                "what is missing is told of at most {DEVICES_TOLD_MAX} devices: name device or patient"
            );
            return Ok(untold(&text));
        };
        let span = want.date.unwrap_or(Span::ALL);
        let hours = (span.from_us.saturating_sub(span.from_us.rem_euclid(HOUR_US)), span.until_us - 1);
        let away = |error| {
            tracing::error!(%error, "the catalog does not read");
            QueryError::Archive("the catalog does not read".into())
        };
        let reader = ArchiveReader::open(self.data_dir()).await.map_err(away)?;
        let mut holes = Vec::new();
        for device in devices {
            let reports = reader.holes(Some(&device), hours).await.map_err(away)?;
            let own = reports.iter().filter(|report| report.id.tenant == asked.caller.tenant.as_str());
            holes.extend(own.flat_map(|report| of_report(asked, report)));
        }
        Ok(completeness(&holes, reach(session.opened.tail().state)))
    }
}

fn of_report(asked: &Asked, report: &HourReport) -> Vec<Hole> {
    let lane = match Lane::try_from(report.id.lane) {
        Ok(Lane::Numerics) => "numerics",
        Ok(Lane::Waveforms) => "waveforms",
        // What is asked for is in neither of the others.
        _ => return Vec::new(),
    };
    let hole = |range: &RangeInclusive<u64>| Hole {
        device: asked.naming.device(&report.id.device),
        lane: lane.to_owned(),
        hour_us: report.hour_us,
        positions: Some((*range.start(), *range.end())),
        count: range.end() - range.start() + 1,
    };
    report.missing.iter().map(hole).collect()
}

/// Says why the newest readings may not be in an answer; nothing where they are.
fn reach(tail: TailState) -> Option<&'static str> {
    Some(match tail {
        TailState::Whole => return None,
        TailState::Cut => {
            "the newest readings are not in this answer: they are on their way, or more than one answer reads"
        }
        TailState::Elsewhere => {
            "readings are in answers when they are committed: the journal is not on this machine"
        }
        TailState::Cluster => {
            "readings are in answers when they are committed: they come by way of several machines, and the bus is not read here"
        }
        TailState::Held => {
            "readings are held back until their keys are had again: none of them is in this answer"
        }
        TailState::Unreadable => "readings are in answers when they are committed: the journal does not read",
    })
}

fn untold(text: &str) -> Value {
    let issue = json!({ "severity": "information", "code": "informational", "details": { "text": text } });
    json!({ "resourceType": "OperationOutcome", "issue": [issue] })
}
