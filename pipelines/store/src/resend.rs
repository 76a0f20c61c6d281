//! What agents are asked to send again: written by people, sent by whichever front has the device, answered by the
//! archive's commit that holds the agent's own word of it.

use crate::bell::{Matter, ring};
use crate::catalog::StreamId;
use crate::db::{Record, Tx, args, signed};
use crate::outbox::{Change, insert};
use crate::registry::next_number;
use crate::{Store, StoreError};
use std::ops::RangeInclusive;
use wardline_proto::limits::{RESEND_FRAMES_MAX, RESEND_RANGES_MAX};
use wardline_proto::refusal::Refusal;

/// Requests of one device that may be open.
pub const RESENDS_OPEN_MAX: usize = 16;
/// Longest time that a request stays open, microseconds: a month.
pub const RESEND_LIFE_US_MAX: i64 = 30 * 24 * 3_600 * 1_000_000;
/// How long a request is kept when it is closed, microseconds.
const KEEP_US: i64 = RESEND_LIFE_US_MAX;

/// Says why nothing was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no such device, or not of this tenant.
    #[error("the tenant has no such device")]
    NoDevice,
    /// The ranges are none, out of order, overlapping, or more than one request holds.
    #[error(
        "a request is for 1 to {RESEND_RANGES_MAX} ascending ranges of at most {RESEND_FRAMES_MAX} frames together"
    )]
    Ranges,
    /// The device has as many open requests as it may.
    #[error("{RESENDS_OPEN_MAX} requests of the device are open")]
    Open,
    /// The database refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AskError {
    /// Returns the stable code; none when the database failed.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::NoDevice => Some(Refusal::RegistryNotFound),
            Self::Ranges => Some(Refusal::ResendRange),
            Self::Open => Some(Refusal::ResendOpen),
            Self::Store(_) => None,
        }
    }
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResendState {
    /// No front had the device yet.
    Asked,
    /// A front gave it to the device.
    Sent,
    /// The device said that it is done.
    Answered,
    /// Nobody answered in time.
    Expired,
}

impl ResendState {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Sent => "sent",
            Self::Answered => "answered",
            Self::Expired => "expired",
        }
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resend {
    /// Its number.
    pub id: u64,
    /// Whose frames.
    pub stream: StreamId,
    /// Which positions, ascending and apart.
    pub ranges: Vec<RangeInclusive<u64>>,
    /// How many those are.
    pub frames: u64,
    /// Who asked.
    pub asked_by: String,
    /// When, unix microseconds.
    pub asked_at_us: i64,
    /// Until when it is open, unix microseconds.
    pub expires_at_us: i64,
    /// When a front gave it to the device first.
    pub sent_at_us: Option<i64>,
    /// What the device said in the end.
    pub answer: Option<ResendAnswer>,
}

impl Resend {
    /// Says where it is.
    pub fn state(&self, now_us: i64) -> ResendState {
        match (&self.answer, self.sent_at_us) {
            (Some(_), _) => ResendState::Answered,
            (None, _) if self.expires_at_us <= now_us => ResendState::Expired,
            (None, Some(_)) => ResendState::Sent,
            (None, None) => ResendState::Asked,
        }
    }
}

/// What a device says of a request when it is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResendAnswer {
    /// The request.
    pub id: u64,
    /// Frames that it sent again.
    pub resent: u64,
    /// Positions that it does not hold.
    pub not_held: u64,
    /// Positions that it never gave to a frame.
    pub beyond: u64,
}

/// A wish that is not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResend {
    /// Whose frames.
    pub stream: StreamId,
    /// Which positions.
    pub ranges: Vec<RangeInclusive<u64>>,
    /// For how long it stays open, microseconds.
    pub life_us: i64,
}

impl NewResend {
    /// Counts the positions; none when the ranges are not ones that may be asked for.
    fn frames(&self) -> Option<u64> {
        let is_stream = self.stream.epoch > 0 && (1..=4).contains(&self.stream.lane);
        let is_alive = (1..=RESEND_LIFE_US_MAX).contains(&self.life_us);
        if !is_stream || !is_alive || !(1..=RESEND_RANGES_MAX).contains(&self.ranges.len()) {
            return None;
        }
        let (mut frames, mut next) = (0_u64, 1);
        for range in &self.ranges {
            if *range.start() < next || range.is_empty() || *range.end() >= i64::MAX as u64 {
                return None;
            }
            frames = frames.checked_add(range.end() - range.start() + 1)?;
            next = range.end() + 1;
        }
        (frames <= RESEND_FRAMES_MAX).then_some(frames)
    }
}

impl Store {
    /// Asks the agent of a device to send again, audited. One that is open already and asks for the same is not asked a
    /// second time. Returns the number of the request.
    pub async fn ask_resend(&self, change: &Change, wish: &NewResend) -> Result<u64, AskError> {
        let frames = wish.frames().ok_or(AskError::Ranges)?;
        let StreamId { tenant, device, epoch, lane } = &wish.stream;
        let mut tx = self.db().begin().await?;
        let known = "SELECT device FROM device WHERE tenant = $1 AND device = $2";
        tx.one(known, args![tenant, device]).await?.ok_or(AskError::NoDevice)?;
        // Taken first: of two that ask at once, one waits here and then counts what the other has written.
        let id = next_number(&mut tx, "resend").await?;
        let ranges = words(&wish.ranges);
        let (epoch, lane) = (signed(*epoch)?, i64::from(*lane));
        let open = "SELECT id, epoch, lane, ranges FROM resend_request WHERE tenant = $1 AND device = $2 \
                    AND answered_at_us IS NULL AND expires_at_us > $3";
        let open = tx.all(open, args![tenant, device, change.at_us]).await?;
        for row in &open {
            if (row.int("epoch")?, row.int("lane")?, row.text("ranges")?) == (epoch, lane, ranges.clone()) {
                return Ok(row.unsigned("id")?);
            }
        }
        if open.len() >= RESENDS_OPEN_MAX {
            return Err(AskError::Open);
        }
        let delete = "DELETE FROM resend_request WHERE tenant = $1 AND device = $2 AND expires_at_us <= $3";
        tx.run(delete, args![tenant, device, change.at_us.saturating_sub(KEEP_US)]).await?;
        let (first, last) = ends(&wish.ranges);
        let insert_request = "INSERT INTO resend_request (id, tenant, device, epoch, lane, first_seq, last_seq, ranges, \
                              frames, asked_by, asked_at_us, expires_at_us, resent, not_held, beyond) \
                              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0)";
        let expires_at_us = change.at_us.saturating_add(wish.life_us);
        let values = args![
            id,
            tenant,
            device,
            epoch,
            lane,
            signed(first)?,
            signed(last)?,
            &ranges,
            signed(frames)?,
            &change.actor,
            change.at_us,
            expires_at_us
        ];
        tx.run(insert_request, values).await?;
        let target = format!(
            "{tenant}/{device} epoch {epoch} lane {lane} {first}-{last} {frames} frames, request {id}"
        );
        insert(&mut tx, change, "resend_asked", "ok", &target).await?;
        ring(&mut tx, Matter::Resends).await?;
        tx.commit().await?;
        u64::try_from(id).map_err(|_negative| StoreError::Corrupt("resend_request.id").into())
    }

    /// Returns open requests past a number, in order, at most `limit`, each by its number: one that does not read hides no
    /// other.
    pub async fn open_resends(
        &self,
        now_us: i64,
        past: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Result<Resend, StoreError>)>, StoreError> {
        const SELECT: &str = "SELECT id, tenant, device, epoch, lane, ranges, frames, asked_by, asked_at_us, expires_at_us, \
                              sent_at_us, answered_at_us, resent, not_held, beyond FROM resend_request \
                              WHERE answered_at_us IS NULL AND expires_at_us > $1 AND id > $2 ORDER BY id LIMIT $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.db().all(SELECT, args![now_us, signed(past)?, limit]).await?;
        rows.iter().map(|row| Ok((row.unsigned("id")?, resend(row)))).collect()
    }

    /// Returns all requests of a device name, in order: of one tenant, or of all.
    pub async fn resends(&self, tenant: Option<&str>, device: &str) -> Result<Vec<Resend>, StoreError> {
        const SELECT: &str = "SELECT id, tenant, device, epoch, lane, ranges, frames, asked_by, asked_at_us, expires_at_us, \
                              sent_at_us, answered_at_us, resent, not_held, beyond FROM resend_request \
                              WHERE device = $1 AND ($2 = '' OR tenant = $2) ORDER BY id";
        self.db().all(SELECT, args![device, tenant.unwrap_or_default()]).await?.iter().map(resend).collect()
    }

    /// Notes that a front gave a request to its device.
    pub async fn resend_sent(&self, id: u64, at_us: i64) -> Result<(), StoreError> {
        let update = "UPDATE resend_request SET sent_at_us = $1 WHERE id = $2 AND sent_at_us IS NULL";
        let mut tx = self.db().begin().await?;
        tx.run(update, args![at_us, signed(id)?]).await?;
        tx.commit().await
    }
}

/// Writes a device's answer in the transaction of the commit that archives it: to a request of its own that is open.
pub(crate) async fn answer(
    tx: &mut Tx,
    (tenant, device): (&str, &str),
    answer: &ResendAnswer,
    at_us: i64,
) -> Result<(), StoreError> {
    let Ok(id) = i64::try_from(answer.id) else { return Ok(()) };
    // What a device says is its word only: no number of it may spoil the commit.
    let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let update = "UPDATE resend_request SET answered_at_us = $1, resent = $2, not_held = $3, beyond = $4 \
                  WHERE id = $5 AND tenant = $6 AND device = $7 AND answered_at_us IS NULL";
    let (resent, not_held, beyond) =
        (bounded(answer.resent), bounded(answer.not_held), bounded(answer.beyond));
    tx.run(update, args![at_us, resent, not_held, beyond, id, tenant, device]).await.map(drop)
}

fn resend(row: &Record) -> Result<Resend, StoreError> {
    let id = row.unsigned("id")?;
    let lane =
        i32::try_from(row.int("lane")?).map_err(|_large| StoreError::Corrupt("resend_request.lane"))?;
    let stream = StreamId {
        tenant: row.text("tenant")?,
        device: row.text("device")?,
        epoch: row.unsigned("epoch")?,
        lane,
    };
    let answer = ResendAnswer {
        id,
        resent: row.unsigned("resent")?,
        not_held: row.unsigned("not_held")?,
        beyond: row.unsigned("beyond")?,
    };
    Ok(Resend {
        id,
        stream,
        ranges: ranges_of(&row.text("ranges")?).ok_or(StoreError::Corrupt("resend_request.ranges"))?,
        frames: row.unsigned("frames")?,
        asked_by: row.text("asked_by")?,
        asked_at_us: row.int("asked_at_us")?,
        expires_at_us: row.int("expires_at_us")?,
        sent_at_us: row.maybe_int("sent_at_us")?,
        answer: row.maybe_int("answered_at_us")?.map(|_at_us| answer),
    })
}

fn ends(ranges: &[RangeInclusive<u64>]) -> (u64, u64) {
    let first = ranges.first().map_or(0, |range| *range.start());
    (first, ranges.last().map_or(0, |range| *range.end()))
}

fn words(ranges: &[RangeInclusive<u64>]) -> String {
    let words: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
    words.join(",")
}

fn ranges_of(words: &str) -> Option<Vec<RangeInclusive<u64>>> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-')?;
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    words.split(',').map(range).collect()
}
