//! The linter's part for signals: escalation, latching, alarming again.

use super::file::{Escalation, RulesFile};
use super::lint::Lint;
use crate::limits::{ESCALATION_SECONDS_MIN, ESCALATIONS_MAX};
use std::collections::BTreeMap;
use wardline_proto::refusal::Refusal;
use wardline_store::alert_signal::Policy;

const PLACE: &str = "escalation";

impl Lint {
    /// Reads `[escalation]`.
    pub(super) fn escalation(&mut self, file: &Escalation) -> Policy {
        if file.times_max > ESCALATIONS_MAX {
            self.say(
                Refusal::RulesBound,
                (PLACE, "times_max"),
                format!("times_max is more than {ESCALATIONS_MAX}"),
            );
        }
        if file.after_s != 0 && file.after_s < ESCALATION_SECONDS_MIN {
            self.say(
                Refusal::RulesBound,
                (PLACE, "after_s"),
                format!("after_s is 0 or at least {ESCALATION_SECONDS_MIN}"),
            );
        }
        Policy {
            escalate_after_us: self.seconds(PLACE, "after_s", file.after_s),
            escalations_max: file.times_max,
            escalate_from: self.priority(PLACE, &file.from_priority).unwrap_or_default().into(),
            ..Policy::default()
        }
    }

    /// Returns the policy of each rule that has one of its own.
    pub(super) fn policies(&mut self, file: &RulesFile, policy: Policy) -> BTreeMap<String, Policy> {
        let mut policies = BTreeMap::new();
        for rule in file.threshold.iter().filter(|rule| rule.latching || rule.realarm_after_s > 0) {
            let realarm_after_us = self.seconds(&rule.id, "realarm_after_s", rule.realarm_after_s);
            let own = Policy { latching: rule.latching, realarm_after_us, ..policy };
            policies.insert(rule.id.clone(), own);
        }
        policies
    }
}
