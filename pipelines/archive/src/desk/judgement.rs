//! What becomes of a publish, and where that is counted.

use crate::intake::Arrived;
use crate::streams::Counts;
use wardline_proto::refusal::Refusal;

/// What becomes of a publish.
pub(super) enum Judgement {
    Good { late: bool },
    Refused(Refusal),
    Duplicate,
    Erased { takes_place: bool },
}

impl Judgement {
    /// Counts it.
    pub(super) fn count(&self, counts: &mut Counts) {
        match self {
            Self::Good { late } => {
                counts.archived += 1;
                counts.late += u64::from(*late);
            }
            Self::Refused(_) => counts.quarantined += 1,
            Self::Duplicate => counts.duplicates += 1,
            Self::Erased { .. } => counts.erased += 1,
        }
    }

    /// Says whether a frame with a position takes it: also one that is not good, so that it is no hole.
    pub(super) fn takes_place(&self) -> bool {
        match self {
            Self::Good { .. } => true,
            Self::Erased { takes_place } => *takes_place,
            Self::Refused(why) => !matches!(why, Refusal::SeqConflict | Refusal::StreamFragmented),
            Self::Duplicate => false,
        }
    }
}

/// Judges a frame that gets no place in its stream. The quarantine keeps a payload whole, so one with anything in it that
/// was erased is not kept at all.
pub(super) fn placeless(arrived: &Arrived, why: Refusal) -> Judgement {
    if arrived.is_touched { Judgement::Erased { takes_place: false } } else { Judgement::Refused(why) }
}
