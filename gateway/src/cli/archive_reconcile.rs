//! `wardline archive reconcile`: which frames of a device never came, and asking the agent for what it still has.

use super::archive::lane;
use super::archive_completeness::OfDevice;
use super::archive_resends::{Known, Part, length, progress};
use crate::operate::local_change;
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::json;
use std::iter::successors;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wardline_archive::place::Place;
use wardline_archive::read::{ArchiveReader, StreamReport};
use wardline_proto::limits::{RESEND_FRAMES_MAX, RESEND_RANGES_MAX};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::Lane;
use wardline_store::catalog::StreamId;
use wardline_store::resend::{AskError, NewResend, RESEND_LIFE_US_MAX, RESENDS_OPEN_MAX};

/// Between two looks at what has come.
const POLL: Duration = Duration::from_millis(500);
const HOUR_US: i64 = 3_600 * 1_000_000;
/// Positions behind the last one that came that `--tail` asks for, per stream.
const TAIL_FRAMES: u64 = 100_000;

const AFTER_HELP: &str = "\
A hole is a range of positions below one that came. What the agent does not hold it has told as an event (gap_lane,
gap_first_seq, gap_last_seq in the table `events`): such a part of a hole is lost at the device. Of the rest the agent may
have some: what was acknowledged it keeps for a while (docs/edge-agent.md), so a gateway that was set up from an older
backup gets back what is younger than that.

With --ask every such hole is asked for. The request is written into the database, audited; whichever front has the device
gives it to the agent, now or when it connects, until it answers or the request expires. Frames come under their old
positions, so each is archived once, and behind everything that is live. What was lost behind the last frame that came is
no hole yet: --tail asks for that too.

Examples:
  wardline archive reconcile --device mon-1 --data-dir data
  wardline archive reconcile --device mon-1 --ask --tail --wait-s 600 --data-dir data
  wardline archive reconcile --device mon-1 --ask --range 1790000000000000/alarm/40-60 --data-dir data

Exit codes: 0 no hole, 1 holes that may still be filled, 2 all that is missing is lost at the device.";

/// Lists the holes of a device's streams, and asks for them.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReconcileCommand {
    #[command(flatten)]
    of: OfDevice,
    /// Ask the agent to send again what is missing.
    #[arg(long)]
    ask: bool,
    /// Ask also for what follows the last position that came, in each lane's newest stream.
    #[arg(long, requires = "ask")]
    tail: bool,
    /// Ask for these positions instead: EPOCH/LANE/FIRST-LAST.
    #[arg(long, value_name = "RANGE", value_parser = parse_range, requires = "ask", conflicts_with = "tail")]
    range: Vec<Wanted>,
    /// Hours after which a request that nobody answered is given up.
    #[arg(long, value_name = "H", default_value_t = 168, requires = "ask",
          value_parser = clap::value_parser!(i64).range(1..=RESEND_LIFE_US_MAX / HOUR_US))]
    expires_h: i64,
    /// How long to wait until all requests are answered, seconds.
    #[arg(long, default_value_t = 0)]
    wait_s: u64,
}

/// Positions of a stream that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    epoch: u64,
    lane: i32,
    positions: RangeInclusive<u64>,
}

fn parse_range(text: &str) -> Result<Wanted, String> {
    let wanted = || {
        let mut parts = text.split('/');
        let (epoch, lane, range) = (parts.next()?, parts.next()?, parts.next()?);
        let (first, last) = range.split_once('-').filter(|_| parts.next().is_none())?;
        let lane = Lane::from_str_name(&format!("LANE_{}", lane.to_uppercase()))?;
        let positions = first.parse().ok()?..=last.parse().ok()?;
        let is_range = *positions.start() > 0 && !positions.is_empty();
        (lane != Lane::Unspecified && is_range).then_some(Wanted {
            epoch: epoch.parse().ok()?,
            lane: lane.into(),
            positions,
        })
    };
    wanted().ok_or_else(|| format!("{}: a range is EPOCH/LANE/FIRST-LAST, from 1 on", Refusal::ResendRange))
}

impl ReconcileCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let reader = self.of.open("holes_listed").await?;
        if self.ask {
            self.ask(&reader).await?;
        }
        let until = Instant::now() + Duration::from_secs(self.wait_s);
        let mut told = None;
        while Instant::now() < until {
            let now = progress(&self.of.data_dir, self.of.names()).await?;
            let (open, came, frames) = now;
            if open == 0 {
                break;
            }
            if told.replace(now) != Some(now) {
                eprintln!("{came} of {frames} frames came, {open} requests open");
            }
            tokio::time::sleep(POLL).await;
        }
        let known = self.of.known(&reader).await?;
        self.print(&self.streams(&reader).await?, &known)
    }

    async fn streams(&self, reader: &ArchiveReader) -> anyhow::Result<Vec<StreamReport>> {
        let mut streams = reader.streams(Some(&self.of.device)).await?;
        streams.retain(|stream| self.of.is_of(&stream.id.tenant));
        Ok(streams)
    }

    /// Writes the requests.
    async fn ask(&self, reader: &ArchiveReader) -> anyhow::Result<()> {
        let (streams, known) = (self.streams(reader).await?, self.of.known(reader).await?);
        let tenant = self.of_tenant(&streams)?;
        let wanted = if self.range.is_empty() { self.holes(&streams, &known) } else { self.range.clone() };
        let store = Place::of(&self.of.data_dir)?.store().open_existing().await?;
        for (stream, ranges) in requests(&tenant, &self.of.device, wanted) {
            let wish = NewResend { stream, ranges, life_us: self.expires_h.saturating_mul(HOUR_US) };
            match store.ask_resend(&local_change(), &wish).await {
                Ok(_number) => {}
                Err(error @ AskError::Open) => {
                    // What is asked for is on its way: the rest is asked for by the same command, later.
                    eprintln!("{}: {error}; run this again when some are answered", Refusal::ResendOpen);
                    return Ok(());
                }
                Err(error) => match error.refusal() {
                    Some(code) => bail!("{code}: {error}"),
                    None => return Err(error.into()),
                },
            }
        }
        Ok(())
    }

    /// Says whose device it is.
    fn of_tenant(&self, streams: &[StreamReport]) -> anyhow::Result<String> {
        if let Some(tenant) = &self.of.tenant {
            return Ok(tenant.clone());
        }
        let first =
            streams.first().context("nothing of this device is archived: say whose it is with --tenant")?;
        let is_one = streams.iter().all(|stream| stream.id.tenant == first.id.tenant);
        ensure!(is_one, "several tenants have a device of this name: say whose with --tenant");
        Ok(first.id.tenant.clone())
    }

    /// Returns what is missing and neither lost nor asked for, and what may follow the last.
    fn holes(&self, streams: &[StreamReport], known: &Known) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for stream in streams.iter().filter(|stream| stream.id.epoch > 0) {
            let (epoch, lane) = (stream.id.epoch, stream.id.lane);
            let parts = stream.missing.iter().flat_map(|hole| known.parts(&stream.id, hole));
            let unknown = parts.filter(|(_, part)| *part == Part::Unknown);
            wanted.extend(unknown.map(|(positions, _)| Wanted { epoch, lane, positions }));
            let is_newest = streams.iter().all(|other| other.id.lane != lane || other.id.epoch <= epoch);
            if let Some(last) = stream.last_seq.filter(|_| self.tail && is_newest) {
                wanted.push(Wanted { epoch, lane, positions: last + 1..=last + TAIL_FRAMES });
            }
        }
        wanted
    }

    fn print(&self, streams: &[StreamReport], known: &Known) -> anyhow::Result<ExitCode> {
        let (mut missing, mut lost, mut asked) = (0, 0, 0);
        for stream in streams {
            for (positions, part) in stream.missing.iter().flat_map(|hole| known.parts(&stream.id, hole)) {
                let frames = length(&positions);
                missing += frames;
                lost += if part == Part::Lost { frames } else { 0 };
                asked += if matches!(part, Part::Asked(_)) { frames } else { 0 };
                self.print_hole(stream, &positions, part);
            }
        }
        if !self.of.json {
            println!(
                "{missing} frames never came, in {} streams; {lost} of them are lost at the device, {asked} are asked for",
                streams.len()
            );
        }
        known.print_requests(self.of.json);
        Ok(match missing {
            0 => ExitCode::SUCCESS,
            missing if missing == lost => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        })
    }

    fn print_hole(&self, stream: &StreamReport, positions: &RangeInclusive<u64>, part: Part) {
        let (id, lane, (first, last)) =
            (&stream.id, lane(stream.id.lane), (positions.start(), positions.end()));
        let request = if let Part::Asked(number) = part { Some(number) } else { None };
        if self.of.json {
            let (tenant, device, epoch) = (&id.tenant, &id.device, id.epoch);
            let hole = json!({"tenant": tenant, "device": device, "epoch": epoch, "lane": lane, "first": first, "last": last, "recorded": part == Part::Lost, "asked_by_request": request});
            println!("{hole}");
        } else {
            let words = match part {
                Part::Unknown => String::new(),
                Part::Lost => " lost at the device".to_owned(),
                Part::Asked(number) => format!(" asked for by request {number}"),
            };
            println!("{}/{} epoch {} {lane} {first}-{last}{words}", id.tenant, id.device, id.epoch);
        }
    }
}

/// Puts what is wanted into requests: of one stream each, none larger than may be. There are no more than the device may
/// have open and one, which is told to come later.
fn requests(tenant: &str, device: &str, wanted: Vec<Wanted>) -> Vec<(StreamId, Vec<RangeInclusive<u64>>)> {
    let mut requests: Vec<(StreamId, Vec<RangeInclusive<u64>>)> = Vec::new();
    let of = |wanted: &Wanted, positions| Wanted { positions, ..wanted.clone() };
    let pieces = wanted.iter().flat_map(|wanted| split(&wanted.positions).map(|piece| of(wanted, piece)));
    for Wanted { epoch, lane, positions } in pieces {
        let id = StreamId { tenant: tenant.to_owned(), device: device.to_owned(), epoch, lane };
        let frames = |ranges: &[RangeInclusive<u64>]| ranges.iter().map(length).sum::<u64>();
        let is_enough = requests.len() > RESENDS_OPEN_MAX;
        match requests.last_mut().filter(|(last, ranges)| {
            *last == id
                && ranges.len() < RESEND_RANGES_MAX
                && frames(ranges).saturating_add(length(&positions)) <= RESEND_FRAMES_MAX
        }) {
            Some((_, ranges)) => ranges.push(positions),
            None if is_enough => break,
            None => requests.push((id, vec![positions])),
        }
    }
    requests
}

/// Parts a range into ones that a request may be for.
fn split(positions: &RangeInclusive<u64>) -> impl Iterator<Item = RangeInclusive<u64>> + use<> {
    let (first, last) = positions.clone().into_inner();
    let next = move |at: &u64| at.checked_add(RESEND_FRAMES_MAX).filter(|next| *next <= last);
    successors(Some(first), next).map(move |at| at..=last.min(at.saturating_add(RESEND_FRAMES_MAX - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_reads_as_it_is_written_and_nothing_else_does() {
        let range = Wanted { epoch: 7, lane: Lane::Alarm.into(), positions: 3..=9 };
        assert_eq!(parse_range("7/alarm/3-9"), Ok(range));
        for bad in [
            "",
            "7/alarm",
            "7/alarm/3",
            "7/alarms/3-9",
            "x/alarm/3-9",
            "7/alarm/3-9/1",
            "7/unspecified/1-2",
            "7/alarm/0-2",
            "7/alarm/9-3",
        ] {
            assert!(parse_range(bad).is_err_and(|said| said.starts_with("WL-RSD-001")), "{bad}");
        }
    }

    #[test]
    fn a_request_is_of_one_stream_and_no_larger_than_may_be() {
        let of = |lane, positions| Wanted { epoch: 1, lane, positions };
        let many = (0..300).map(|n| of(1, n * 10 + 1..=n * 10 + 2));
        let made = requests("t", "d", many.chain([of(2, 1..=5), of(2, 9..=RESEND_FRAMES_MAX + 8)]).collect());
        let sizes: Vec<_> = made.iter().map(|(id, ranges)| (id.lane, ranges.len())).collect();
        assert_eq!(sizes, [(1, 256), (1, 44), (2, 1), (2, 1)]);
    }

    #[test]
    fn a_range_that_is_larger_than_a_request_is_asked_for_in_several() {
        let of = |positions| vec![Wanted { epoch: 1, lane: 1, positions }];
        let ranges = |positions| -> Vec<_> {
            requests("t", "d", of(positions)).into_iter().map(|(_id, ranges)| ranges).collect()
        };
        assert_eq!(
            ranges(5..=2_500_004),
            [[5..=1_000_004], [1_000_005..=2_000_004], [2_000_005..=2_500_004]]
        );
        assert_eq!(ranges(1..=RESEND_FRAMES_MAX), [[1..=RESEND_FRAMES_MAX]]);
        assert_eq!(ranges(7..=7), [[7..=7]]);
        let many = ranges(1..=u64::MAX);
        assert_eq!(many.len(), RESENDS_OPEN_MAX + 1, "one is refused, and told to come later");
    }
}
