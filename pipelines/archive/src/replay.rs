//! Frames of the quarantine are judged again when somebody asks, by the worker that commits.
//!
//! ```text
//! asked for in SQL -> read from the quarantine's files -> judged as if it arrived now, by today's catalogue and
//!        profile -> one transaction: its rows, its stream, and what became of it
//! ```
//! What becomes of a frame is marked in the transaction that commits its rows: a crash before it leaves the frame
//! waiting, a crash after it leaves it done. The row of the quarantine stays, as evidence. A file that does not read
//! stops nothing: its frames are told as such.

use crate::error::ArchiveError;
use crate::intake::{Arrival, ClockBounds, Content, Intake};
use crate::read::{Quarantined, quarantined, verified};
use crate::rows::channel_of;
use crate::shelf::Shelf;
use crate::table::Table;
use crate::worker::Parts;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{PayloadFormat, Publish};
use wardline_store::catalog::FileRow;
use wardline_store::replay::{FrameName, Outcome};

/// Frames that are judged again in one commit.
pub(crate) const FRAMES_MAX: usize = 256;
/// Stands as the outcome of a frame whose file does not hold it or does not read.
const UNREADABLE: &str = "unreadable";

/// A frame that is judged again.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) frame: FrameName,
    pub(crate) arrival: Arrival,
    /// Why it is in the quarantine.
    pub(crate) reason: String,
    /// Its place in the stream has been its own since it came.
    pub(crate) holds_place: bool,
    /// It had a place in a stream, or named one.
    pub(crate) had_position: bool,
}

/// The frames that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) frames: Vec<Again>,
    /// Those that cannot be read.
    pub(crate) unreadable: Vec<(FrameName, Outcome)>,
}

/// Reads frames that wait, at most [`FRAMES_MAX`].
pub(crate) async fn waiting(parts: &Parts, shelf: &Arc<Shelf>) -> Result<Waiting, ArchiveError> {
    let mut wanted: BTreeSet<FrameName> =
        parts.store.waiting_replays(FRAMES_MAX).await?.into_iter().collect();
    wanted.retain(|frame| parts.catalog.owns(frame.partition));
    if wanted.is_empty() {
        return Ok(Waiting::default());
    }
    let files = parts.catalog.files(Some(Table::Quarantine.name())).await?;
    let (shelf, keys) = (shelf.clone(), parts.keys.clone());
    let mut intake = Intake::new(ClockBounds::of(&parts.options));
    let work = move || {
        let mut frames = Vec::with_capacity(wanted.len());
        for file in &files {
            if !wanted.iter().any(|frame| may_hold(file, frame)) {
                continue;
            }
            let rows = verified(shelf.files(), file, &keys).and_then(|batches| quarantined(batches, file));
            match rows {
                Ok(rows) => {
                    frames.extend(
                        rows.into_iter()
                            .filter(|row| wanted.remove(&row.frame))
                            .map(|row| again(row, &mut intake)),
                    );
                }
                Err(error) => {
                    tracing::error!(%error, file = file.path, "frames of the quarantine do not read")
                }
            }
        }
        let unreadable =
            wanted.into_iter().map(|frame| (frame, Outcome::Stays(UNREADABLE.to_owned()))).collect();
        Waiting { frames, unreadable }
    };
    Ok(spawn_blocking(work).await?)
}

fn may_hold(file: &FileRow, frame: &FrameName) -> bool {
    file.tenant == frame.tenant
        && file.partition == frame.partition
        && (file.offset_first..=file.offset_last).contains(&frame.offset)
}

fn again(row: Quarantined, intake: &mut Intake) -> Again {
    let place = (row.frame.partition, row.frame.offset);
    let arrival = if row.format == "record" {
        intake.read_record(place, row.ingest_us, row.payload.into())
    } else {
        let publish = Publish {
            tenant: row.frame.tenant.clone(),
            device: row.device,
            channel: channel_of(&row.channel).into(),
            content: (if row.format == "json" { PayloadFormat::Json } else { PayloadFormat::Frame }).into(),
            payload: row.payload.clone().into(),
            certificate_serial: row.certificate_serial,
            for_test: false,
        };
        let content = intake
            .read_publish(publish, row.ingest_us)
            .map_or(Content::Unreadable(row.payload.into()), Content::Publish);
        Arrival { offset: place.1, partition: place.0, ingest_us: row.ingest_us, content }
    };
    // These two were refused a place, or found it taken by another.
    let without = [Refusal::SeqConflict, Refusal::StreamFragmented].map(Refusal::code);
    let had_position = row.position.is_some();
    let holds_place = had_position && !without.contains(&row.reason.as_str());
    Again { frame: row.frame, arrival, reason: row.reason, holds_place, had_position }
}
