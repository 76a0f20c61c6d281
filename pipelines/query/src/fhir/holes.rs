//! How complete an answer is: what of the streams that it is of never came.

use super::limits::DEVICES_TOLD_MAX;
use super::select::{Session, Want};
use super::{Asked, Site};
use crate::error::QueryError;
use crate::serve::grants::Grant;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use wardline_archive::HourReport;
use wardline_archive::read::ArchiveReader;
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
        let Some(devices) = want.devices(&session.lookups).filter(|d| d.len() <= DEVICES_TOLD_MAX) else {
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
        Ok(completeness(&holes))
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

fn untold(text: &str) -> Value {
    let issue = json!({ "severity": "information", "code": "informational", "details": { "text": text } });
    json!({ "resourceType": "OperationOutcome", "issue": [issue] })
}
