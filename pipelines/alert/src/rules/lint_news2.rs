//! The linter's part for early warning scores.

use super::file::News2;
use super::lint::Lint;
use super::{Breathing, Consciousness, News2Rule};
use crate::engine::FROM_BAND_MIN;
use crate::news2::{Band, SpO2Scale};
use wardline_proto::refusal::Refusal;

const POPULATION: &str = "adult-not-pregnant";

impl Lint {
    pub(super) fn news2(&mut self, rule: &News2) -> Option<News2Rule> {
        let place = rule.id.as_str();
        self.id(place);
        self.source(place, &rule.source);
        let scope = self.scope(place, &rule.tenants, &rule.devices);
        if rule.population != POPULATION {
            let why = "NEWS2 is not for people under 16 or in pregnancy";
            self.say(
                Refusal::RulesBound,
                (place, "population"),
                format!("population must be {POPULATION:?}: {why}"),
            );
        }
        let scale = self.word(
            place,
            "spo2_scale",
            &rule.spo2_scale.to_string(),
            &[("1", SpO2Scale::One), ("2", SpO2Scale::Two)],
        );
        let breathing =
            [("measured", Breathing::Measured), ("air", Breathing::Air), ("oxygen", Breathing::Oxygen)];
        let breathing = self.word(place, "breathing", &rule.breathing, &breathing);
        let consciousness =
            [("not-measured", Consciousness::NotMeasured), ("presumed-alert", Consciousness::PresumedAlert)];
        let consciousness = self.word(place, "consciousness", &rule.consciousness, &consciousness);
        let bands = [Band::LowMedium, Band::Medium, Band::High].map(|band| (band.name(), band));
        let from_band = self.word(place, "from_band", &rule.from_band, &bands);
        debug_assert!(bands.iter().all(|(_, band)| *band >= FROM_BAND_MIN), "lower bands make no alert");
        if rule.stale_after_s == 0 || rule.spot_stale_after_s == 0 {
            self.say(
                Refusal::RulesBound,
                (place, "stale_after_s"),
                "stale_after_s and spot_stale_after_s must be at least 1",
            );
        }
        let stale_after_us = self.seconds(place, "stale_after_s", rule.stale_after_s);
        let spot_stale_after_us = self.seconds(place, "spot_stale_after_s", rule.spot_stale_after_s);
        let onset_delay_us = self.seconds(place, "onset_delay_s", rule.onset_delay_s);
        let clear_delay_us = self.seconds(place, "clear_delay_s", rule.clear_delay_s);
        Some(News2Rule {
            id: rule.id.clone(),
            scale: scale?,
            breathing: breathing?,
            consciousness: consciousness?,
            from_band: from_band?,
            stale_after_us,
            spot_stale_after_us,
            onset_delay_us,
            clear_delay_us,
            scope,
        })
    }

    fn word<T: Copy>(&mut self, place: &str, key: &str, word: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            self.say(
                Refusal::RulesBound,
                (place, key),
                format!("{key} is one of {}, not {word:?}", names.join(", ")),
            );
        }
        found
    }
}
