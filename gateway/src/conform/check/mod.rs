//! The checks: small pure judges over what was seen. `docs/conformance.md` says what each means.

mod clock;
mod delivery;
mod identity;
mod payload;
mod sequence;
mod session;
#[cfg(test)]
mod tests;

use super::seen::{Seen, Step};
use serde::Serialize;

/// What a check means for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// A device that fails it does not conform.
    Must,
    /// A device that fails it conforms, and its maker should look.
    Should,
    /// Good to have.
    May,
}

impl Level {
    /// Returns the word of reports.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// Nothing was seen that says so or otherwise.
    NotObserved,
}

impl Outcome {
    /// Returns the word of reports.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotObserved => "not observed",
        }
    }
}

/// What a judge says: the outcome, and the numbers that it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) evidence: String,
}

impl Verdict {
    fn pass(evidence: impl Into<String>) -> Self {
        Self { outcome: Outcome::Pass, evidence: evidence.into() }
    }

    fn fail(evidence: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail, evidence: evidence.into() }
    }

    fn not_observed(evidence: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotObserved, evidence: evidence.into() }
    }

    fn when(holds: bool, evidence: impl Into<String>) -> Self {
        if holds { Self::pass(evidence) } else { Self::fail(evidence) }
    }
}

/// One check.
pub(super) struct Check {
    /// Stable id.
    pub(super) id: &'static str,
    pub(super) level: Level,
    /// After which step it is first told.
    pub(super) due: Step,
    /// What it asks, in a few words.
    pub(super) title: &'static str,
    judge: fn(&Seen) -> Verdict,
}

/// A check that was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    /// Stable id of the check.
    pub(crate) id: &'static str,
    /// What it means for the whole.
    pub(crate) level: Level,
    /// What it asks.
    pub(crate) title: &'static str,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// What it rests on.
    pub(crate) evidence: String,
}

impl Judged {
    /// Says whether the device does not conform because of it.
    pub(super) fn is_fatal(&self) -> bool {
        self.level == Level::Must && self.outcome == Outcome::Fail
    }
}

/// Judges the checks that are due after `step`, or all.
pub(super) fn judge(seen: &Seen, step: Option<Step>) -> Vec<Judged> {
    let due = CHECKS.iter().filter(|check| step.is_none_or(|step| check.due == step));
    due.map(|check| {
        let Verdict { outcome, evidence } = (check.judge)(seen);
        let Check { id, level, title, .. } = *check;
        Judged { id, level, title, outcome, evidence }
    })
    .collect()
}

const fn check(
    id: &'static str,
    level: Level,
    due: Step,
    title: &'static str,
    judge: fn(&Seen) -> Verdict,
) -> Check {
    Check { id, level, due, title, judge }
}

use Level::{May, Must, Should};

/// Every check, in the order of reports.
#[rustfmt::skip]
pub(super) const CHECKS: &[Check] = &[
    check("identity.certificate", Must, Step::Connect, "opens its session with the issued certificate", identity::certificate),
    check("identity.client-id", Must, Step::Connect, "its client id is its device id, or empty", identity::client_id),
    check("identity.tls", Must, Step::Connect, "speaks TLS 1.2 or better", identity::tls),
    check("identity.tls13", Should, Step::Connect, "speaks TLS 1.3", identity::tls13),
    check("topics.own", Must, Step::Measure, "publishes on its own topics only", identity::topics),
    check("payload.decodes", Must, Step::Measure, "everything decodes, and nothing would be quarantined", payload::decodes),
    check("payload.frames", Should, Step::Measure, "sends frames, not JSON", payload::frames),
    check("payload.declared", Must, Step::Measure, "sends only what its profile declares", payload::declared),
    check("payload.units", Must, Step::Measure, "units are the declared ones", payload::units),
    check("payload.sample-rate", Must, Step::Measure, "sample rates are the declared ones", payload::sample_rate),
    check("payload.plausible", Must, Step::Measure, "values lie in the declared ranges", payload::plausible),
    check("payload.cadence", Must, Step::Measure, "cadences are the declared ones", payload::cadence),
    check("payload.complete", Must, Step::Finish, "sends all that its profile declares as periodic", payload::complete),
    check("clock.skew", Must, Step::Measure, "its clock is within the declared skew", clock::skew),
    check("clock.sync", Should, Step::Measure, "says how its clock is kept, as declared", clock::sync),
    check("session.reconnect", Must, Step::Cut, "is back within its bound after each cut", session::reconnect),
    check("session.jitter", Should, Step::Cut, "waits a random while before it connects again", session::jitter),
    check("session.slow", Must, Step::Slow, "keeps its session on a slow network", session::slow),
    check("delivery.resend", Must, Step::LostAck, "sends again what was not acknowledged: same seq, same content", delivery::resend),
    check("session.in-flight", Must, Step::LostAck, "respects the receive maximum", session::in_flight),
    check("session.backoff", Should, Step::Outage, "does not hammer a gateway that is away", session::backoff),
    check("delivery.spool", Must, Step::Recover, "readings of an outage arrive afterwards, without a hole", delivery::spool),
    check("delivery.alarms-first", Must, Step::Recover, "after an outage alarms come before telemetry", delivery::alarms_first),
    check("sequence.contiguous", Must, Step::Finish, "positions have no hole", sequence::contiguous),
    check("sequence.epoch", Must, Step::Finish, "its epoch survives a lost connection", sequence::epoch),
    check("sequence.content", Must, Step::Finish, "one position has one content", sequence::content),
    check("delivery.once", Must, Step::Finish, "each frame is archived or quarantined once, each repeat recognised", delivery::once),
    check("session.keep-alive", Must, Step::Finish, "is never silent for one and a half keep-alives", session::keep_alive),
    check("session.disconnect", May, Step::Finish, "takes leave with DISCONNECT", session::disconnect),
];
