//! What becomes of a device's state when the rules are others than before, or when the device is forgotten.

use super::composite;
use super::device::DeviceState;
use super::rate;
use super::threshold::About;
use super::transition::Transition;
use crate::rules::Rules;
use wardline_proto::DeviceKey;
use wardline_proto::v1::Alert;

impl DeviceState {
    /// Ends the alerts of rules that are no longer in force for `key`, or measure something else under the same id, and
    /// fits the rest to the rules. Returns whether anything changed.
    pub(crate) fn reconcile(
        &mut self,
        rules: &Rules,
        key: &DeviceKey,
        at_us: i64,
        out: &mut Vec<Transition>,
    ) -> bool {
        let (before, mark) = (self.clone(), out.len());
        let orphans = self.orphans(rules, key);
        out.extend(orphans.into_iter().map(|alert| Transition::end(alert, "rule_removed", at_us)));
        self.expect(rules);
        let mut composites = std::mem::take(&mut self.composites);
        composite::rebuild(&rules.composites, key, &mut composites, |id| self.is_present(id), at_us);
        self.composites = composites;
        let ended = out.len() > mark;
        self.chain(rules, key, at_us, (out, mark));
        ended || before != *self
    }

    /// Takes out what no rule speaks of any more; returns the alerts of it.
    fn orphans(&mut self, rules: &Rules, key: &DeviceKey) -> Vec<Alert> {
        let mut orphans: Vec<Alert> = Vec::new();
        let mut keep = |kept: bool, alert: &mut Option<Alert>| {
            orphans.extend(if kept { None } else { alert.take() });
            kept
        };
        let changes = |id: &str| rules.rates.iter().find(|r| r.change.id == id && r.change.scope.covers(key));
        let is_other = |was: Option<About>, is: About| was.is_some_and(|was| was != is);
        let turned = |id: &str, was| changes(id).is_some_and(|rule| is_other(was, rate::about(rule)));
        // A change that is another one now: so is what was crossed by it.
        let others: Vec<String> =
            self.rates.iter().filter(|s| turned(&s.rule_id, s.about)).map(|s| s.rule_id.clone()).collect();
        let limits = |id: &str, was| {
            let rule = rules.limits().find(|r| r.id == id && r.scope.covers(key));
            !others.iter().any(|other| other == id)
                && rule.is_some_and(|rule| !is_other(was, About::of(rule)))
        };
        let combined = |id: &str| rules.composites.iter().any(|r| r.id == id && r.scope.covers(key));
        let expected = |id: &str, mdc_code: u32| {
            let same = |code: u32| mdc_code == 0 || mdc_code == code;
            rules.missing.iter().any(|r| r.id == id && r.scope.covers(key) && same(r.mdc_code))
        };
        let scored = |id: &str| rules.news2.iter().any(|r| r.id == id && r.scope.covers(key));
        self.thresholds.retain_mut(|s| keep(limits(&s.rule_id, s.about), &mut s.alert));
        self.composites.retain_mut(|s| keep(combined(&s.rule_id), &mut s.alert));
        self.rates.retain(|s| changes(&s.rule_id).is_some() && !turned(&s.rule_id, s.about));
        self.late.retain(|s| limits(&s.rule_id, s.about));
        self.missing.retain_mut(|s| keep(expected(&s.rule_id, s.mdc_code), &mut s.alert));
        self.news2.retain_mut(|s| keep(scored(&s.rule_id), &mut s.alert));
        if !rules.pass_device_alarms {
            orphans.extend(self.conditions.drain(..).filter_map(|mut c| c.take_present()));
        }
        orphans
    }

    /// Moves what is awaited to when the rules say now.
    fn expect(&mut self, rules: &Rules) {
        for state in self.missing.iter_mut().filter(|state| state.alert.is_none()) {
            if let Some(rule) = rules.missing.iter().find(|r| r.id == state.rule_id) {
                state.due_us = state.seen_us.saturating_add(rule.overdue_after_us);
            }
        }
    }

    /// Says whether the condition of a rule is present, told or held back.
    fn is_present(&self, id: &str) -> bool {
        let by_rule = |rule_id: &String, alert: &Option<Alert>| rule_id == id && alert.is_some();
        let device = id.strip_prefix("device/");
        self.thresholds.iter().any(|s| by_rule(&s.rule_id, &s.alert))
            || self.missing.iter().any(|s| by_rule(&s.rule_id, &s.alert))
            || self.news2.iter().any(|s| by_rule(&s.rule_id, &s.alert))
            || self.conditions.iter().any(|c| c.is_told() && device == Some(c.condition_id.as_str()))
    }

    /// Ends every alert of a device that is forgotten.
    pub(crate) fn forget(self, at_us: i64, out: &mut Vec<Transition>) {
        let held = self.suppress.unwrap_or_default().held;
        let is_told = |alert: &Alert| held.iter().all(|h| h.alert_id != alert.alert_id);
        let present = self
            .thresholds
            .into_iter()
            .filter_map(|s| s.alert)
            .chain(self.missing.into_iter().filter_map(|s| s.alert))
            .chain(self.news2.into_iter().filter_map(|s| s.alert))
            .chain(self.composites.into_iter().filter_map(|s| s.alert))
            .chain(self.contested.into_iter().filter_map(|s| s.alert))
            .chain(self.alarm_lost.into_iter().filter_map(|s| s.alert))
            .chain(self.conditions.into_iter().filter_map(|mut c| c.take_present()))
            .filter(is_told);
        out.extend(present.map(|alert| Transition::end(alert, "forgotten", at_us)));
    }
}
