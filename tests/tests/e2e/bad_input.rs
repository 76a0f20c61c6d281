//! Bad input through the whole path: each ends as its page says, and the neighbour does not notice.

use crate::archive::{block_on, streams};
use crate::frames::{HEART_RATE, Publisher, frame, heart_rate, now_us, raw_frame, series};
use crate::process::eventually;
use crate::rows;
use crate::stand::{Stand, TENANT};
use anyhow::ensure;
use std::time::Duration;
use wardline_proto::codes::status;
use wardline_proto::v1::{Body, Frame};

const ARCHIVE: Duration = Duration::from_secs(60);
const EPOCH: u64 = 1_790_000_000_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// What becomes of a frame.
enum End {
    /// Archived with these status bits.
    Archived(u32),
    /// In the quarantine under this code.
    Quarantined(&'static str),
}

/// Frames of a broken device by seq, and what becomes of each. Seq 8 is never sent.
fn cases() -> Vec<(Frame, End)> {
    let now = now_us();
    let numerics = |series| Body { numerics: vec![series], ..Body::default() };
    let unequal = |mut s: wardline_proto::v1::NumericSeries| {
        s.values.push(1.0);
        s
    };
    vec![
        (frame(EPOCH, 1, &heart_rate(now, &[61.0])), End::Archived(0)),
        (raw_frame(EPOCH, 2, vec![0xFF; 40]), End::Quarantined("WL-Q-001")),
        (frame(EPOCH, 3, &numerics(series(999_999, "/min", now, &[1.0]))), End::Quarantined("WL-Q-003")),
        (frame(EPOCH, 4, &numerics(series(HEART_RATE, "%", now, &[1.0]))), End::Quarantined("WL-Q-004")),
        (
            frame(EPOCH, 5, &numerics(unequal(series(HEART_RATE, "/min", now, &[1.0])))),
            End::Quarantined("WL-Q-005"),
        ),
        (frame(EPOCH, 6, &heart_rate(now, &[900.0])), End::Archived(status::IMPLAUSIBLE)),
        (frame(EPOCH, 7, &heart_rate(now + HOUR_US, &[62.0])), End::Archived(status::CLOCK_SUSPECT)),
        (frame(EPOCH, 9, &heart_rate(now + 48 * HOUR_US, &[63.0])), End::Quarantined("WL-Q-006")),
        (frame(EPOCH, 10, &heart_rate(now, &[64.0])), End::Archived(0)),
    ]
}

#[test]
fn bad_frames_end_as_documented_and_neighbours_do_not_notice() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let (bad, good) = (stand.device("bad")?, stand.device("good")?);
    stand.start()?;
    let cases = cases();
    block_on(async {
        let mut bad = Publisher::connect(stand.mqtt, TENANT, "bad", &bad).await?;
        let mut good = Publisher::connect(stand.mqtt, TENANT, "good", &good).await?;
        for (index, (case, _)) in cases.iter().enumerate() {
            bad.publish(case).await?;
            let seq = index as u64 + 1;
            good.publish(&frame(EPOCH, seq, &heart_rate(now_us(), &[70.0 + index as f64]))).await?;
        }
        // The last once more, as after a lost acknowledgement, and then another content in its place.
        let last = &cases[cases.len() - 1].0;
        bad.publish(last).await?;
        bad.publish(&frame(EPOCH, last.seq, &heart_rate(now_us(), &[99.0]))).await
    })?;
    verify(&mut stand, &cases)
}

fn verify(stand: &mut Stand, cases: &[(Frame, End)]) -> anyhow::Result<()> {
    let conflict = ("WL-Q-007", cases[cases.len() - 1].0.seq);
    let expected: Vec<(&str, u64)> = cases
        .iter()
        .filter_map(|(frame, end)| match end {
            End::Quarantined(code) => Some((*code, frame.seq)),
            End::Archived(_) => None,
        })
        .chain([conflict])
        .collect();
    let (good, bad) = eventually("everything is archived or quarantined", ARCHIVE, || {
        let quarantined = rows::quarantined(&stand.table("quarantine")?)?;
        let readings = rows::readings(&stand.table("numerics")?)?;
        let (good, bad): (Vec<_>, Vec<_>) = readings.into_iter().partition(|r| r.position.device == "good");
        let mut reasons: Vec<_> = quarantined.iter().map(|q| (q.reason.as_str(), q.position.seq)).collect();
        reasons.sort_unstable();
        ensure!(reasons == expected, "quarantine has {reasons:?}, not {expected:?}");
        ensure!(good.len() == cases.len(), "{} of {} of the neighbour", good.len(), cases.len());
        Ok(Some((good, bad)))
    })?;
    ensure!(good.iter().all(|r| r.status == 0), "the neighbour's readings are flagged");
    let mut found: Vec<_> = bad.iter().map(|r| (r.position.seq, r.status)).collect();
    found.sort_unstable();
    let archived: Vec<_> = cases
        .iter()
        .filter_map(|(frame, end)| match end {
            End::Archived(bits) => Some((frame.seq, *bits)),
            End::Quarantined(_) => None,
        })
        .collect();
    ensure!(found == archived, "archived {found:?}, not {archived:?}");
    ensure!(bad.iter().all(|r| r.value < 90.0 || r.value == 900.0), "the conflicting content was archived");
    let streams = streams(&stand.data(), "bad")?;
    ensure!(streams.len() == 1, "{streams:?}");
    ensure!(streams[0].missing == [8..=8], "holes: {:?}", streams[0].missing);
    ensure!(streams[0].counts.duplicates == 1, "{:?}", streams[0].counts);
    stand.stop()
}
