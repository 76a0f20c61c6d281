//! What is known of a device's holes beside that they are there: what the agent told, and what it was asked.

use super::archive::lane;
use crate::front::now_us;
use serde_json::json;
use std::ops::RangeInclusive;
use std::path::Path;
use wardline_archive::losses::{Loss, common, losses, parts, still_missing};
use wardline_archive::place::Place;
use wardline_archive::read::ArchiveReader;
use wardline_archive::{HourReport, Table};
use wardline_store::catalog::{Catalog, StreamId};
use wardline_store::resend::{Resend, ResendAnswer, ResendState};

/// Losses and requests of a device.
pub(super) struct Known {
    losses: Vec<Loss>,
    requests: Vec<Request>,
    now_us: i64,
}

struct Request {
    resend: Resend,
    /// Positions of it that have not come.
    missing: Vec<RangeInclusive<u64>>,
}

/// What is known of a part of a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing.
    Unknown,
    /// The agent said that it does not hold it.
    Lost,
    /// A request that is open asks for it.
    Asked(u64),
}

impl Known {
    /// Reads it. Losses are in the archive, requests in the database.
    pub(super) async fn of(
        reader: &ArchiveReader,
        data_dir: &Path,
        (tenant, device): (Option<&str>, &str),
    ) -> anyhow::Result<Self> {
        let files = reader.files(Some(Table::Events)).await?;
        // Opened again: what reads files has to do so on a thread of its own.
        let (again, name) = (ArchiveReader::open(data_dir).await?, device.to_owned());
        again.files(Some(Table::Events)).await?;
        let mut losses = tokio::task::spawn_blocking(move || losses(&again, &files, &name)).await??;
        let requests = requests_of(data_dir, (tenant, device)).await?;
        // Of a spool that is gone no event can tell: an event tells of its own epoch.
        for Request { resend, missing } in &requests {
            if resend.answer.as_ref().is_some_and(|answer| holds_none(answer, resend.frames, missing)) {
                let loss = |range: &RangeInclusive<u64>| Loss {
                    id: resend.stream.clone(),
                    positions: range.clone(),
                };
                losses.extend(missing.iter().map(loss));
            }
        }
        Ok(Self { losses, requests, now_us: now_us() })
    }

    /// Parts a hole of a stream by what is known of it.
    pub(super) fn parts(
        &self,
        id: &StreamId,
        hole: &RangeInclusive<u64>,
    ) -> Vec<(RangeInclusive<u64>, Part)> {
        let mut found = Vec::new();
        for (part, is_lost) in parts(id, hole, &self.losses) {
            if is_lost {
                found.push((part, Part::Lost));
                continue;
            }
            let mut next = *part.start();
            for (asked, number) in self.asked(id, &part) {
                if *asked.start() > next {
                    found.push((next..=asked.start() - 1, Part::Unknown));
                }
                next = next.max(*asked.start());
                if next <= *asked.end() {
                    found.push((next..=*asked.end(), Part::Asked(number)));
                    next = asked.end() + 1;
                }
            }
            if next <= *part.end() {
                found.push((next..=*part.end(), Part::Unknown));
            }
        }
        found
    }

    /// Returns what open requests ask for of a range, in order.
    fn asked(&self, id: &StreamId, range: &RangeInclusive<u64>) -> Vec<(RangeInclusive<u64>, u64)> {
        let open = self
            .requests
            .iter()
            .filter(|request| request.resend.stream == *id && request.is_open(self.now_us));
        let of = |request: &Request| -> Vec<_> {
            common(range, &request.missing).map(|asked| (asked, request.resend.id)).collect()
        };
        let mut asked: Vec<_> = open.flat_map(of).collect();
        asked.sort_by_key(|(asked, _)| *asked.start());
        asked
    }

    /// Counts what is lost and what is asked for among what an hour misses.
    pub(super) fn of_hour(&self, report: &HourReport) -> (u64, u64) {
        let (mut lost, mut asked) = (0, 0);
        for (part, what) in report.missing.iter().flat_map(|hole| self.parts(&report.id, hole)) {
            match what {
                Part::Unknown => {}
                Part::Lost => lost += length(&part),
                Part::Asked(_) => asked += length(&part),
            }
        }
        (lost, asked)
    }

    /// Prints every request with what became of it.
    pub(super) fn print_requests(&self, json: bool) {
        if !json && !self.requests.is_empty() {
            println!("request stream ranges asked came resent not_held beyond state");
        }
        for request in &self.requests {
            println!("{}", request.told(self.now_us, json));
        }
    }
}

/// Says how far what is asked of a device is: open requests, what of them came, what they ask for.
pub(super) async fn progress(data_dir: &Path, of: (Option<&str>, &str)) -> anyhow::Result<(usize, u64, u64)> {
    let (requests, now_us) = (requests_of(data_dir, of).await?, now_us());
    let open: Vec<_> = requests.iter().filter(|request| request.is_open(now_us)).collect();
    let came = open.iter().map(|request| request.came()).sum();
    Ok((open.len(), came, open.iter().map(|request| request.resend.frames).sum()))
}

async fn requests_of(
    data_dir: &Path,
    (tenant, device): (Option<&str>, &str),
) -> anyhow::Result<Vec<Request>> {
    let store = Place::of(data_dir)?.store().open_read_only().await?;
    let catalog = Catalog::new(store.clone());
    let mut requests = Vec::new();
    for resend in store.resends(tenant, device).await? {
        let missing = still_missing(&catalog, &resend.stream, &resend.ranges).await?;
        requests.push(Request { resend, missing });
    }
    store.close().await;
    Ok(requests)
}

impl Request {
    fn is_open(&self, now_us: i64) -> bool {
        matches!(self.resend.state(now_us), ResendState::Asked | ResendState::Sent)
    }

    fn came(&self) -> u64 {
        self.resend.frames.saturating_sub(self.missing.iter().map(length).sum())
    }

    fn told(&self, now_us: i64, json: bool) -> String {
        let Resend { id, stream, ranges, frames, asked_by, .. } = &self.resend;
        let (came, state, lane) = (self.came(), self.resend.state(now_us).name(), lane(stream.lane));
        let answer = self.resend.answer.as_ref();
        let (resent, not_held, beyond) = answer.map_or((0, 0, 0), |a| (a.resent, a.not_held, a.beyond));
        let (tenant, device, epoch) = (&stream.tenant, &stream.device, stream.epoch);
        if json {
            let ranges: Vec<_> = ranges.iter().map(|range| [*range.start(), *range.end()]).collect();
            return json!({"request": id, "tenant": tenant, "device": device, "epoch": epoch, "lane": lane, "ranges": ranges, "asked": frames, "asked_by": asked_by, "came": came, "resent": resent, "not_held": not_held, "beyond": beyond, "state": state}).to_string();
        }
        let many = if ranges.len() > 1 { format!(" and {} more", ranges.len() - 1) } else { String::new() };
        let first =
            ranges.first().map_or(String::new(), |range| format!("{}-{}", range.start(), range.end()));
        format!(
            "{id} {tenant}/{device} epoch {epoch} {lane} {first}{many} {frames} {came} {resent} {not_held} {beyond} {state}"
        )
    }
}

/// Says whether an answer means that of what is still missing nothing is held. What had come before was not asked for,
/// unless that would have been too many ranges.
fn holds_none(answer: &ResendAnswer, frames: u64, missing: &[RangeInclusive<u64>]) -> bool {
    answer.not_held == frames || answer.not_held == missing.iter().map(length).sum::<u64>()
}

/// Counts the positions of a range.
pub(super) fn length(range: &RangeInclusive<u64>) -> u64 {
    range.end() - range.start() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_is_gone_holds_nothing_of_what_was_missing_when_it_was_asked() {
        let says = |resent, not_held, frames, missing: &[RangeInclusive<u64>]| {
            holds_none(&ResendAnswer { id: 1, resent, not_held, beyond: 0 }, frames, missing)
        };
        // Of 100 positions 90 had come: the agent was asked for ten.
        assert!(says(0, 10, 100, &[1..=4, 50..=55]));
        assert!(says(0, 100, 100, &[1..=4]), "all were asked for");
        assert!(says(6, 4, 100, &[1..=4]), "the rest came");
        assert!(!says(0, 4, 100, &[1..=10]), "some were neither sent nor given up");
    }
}
