//! What a device may send: a token bucket of messages and one of bytes.

use std::time::Instant;

/// A rate and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Refill per second.
    pub per_second: f64,
    /// Size of the bucket.
    pub burst: f64,
}

/// A device's budgets.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetOptions {
    /// Publishes.
    pub messages: Rate,
    /// Payload bytes.
    pub bytes: Rate,
    /// Publishes in JSON, which cost the pipeline more.
    pub json_messages: Rate,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self {
            messages: Rate { per_second: 20_000.0, burst: 100_000.0 },
            bytes: Rate { per_second: 32e6, burst: 256e6 },
            json_messages: Rate { per_second: 50.0, burst: 500.0 },
        }
    }
}

#[derive(Debug)]
struct Bucket {
    level: f64,
}

impl Bucket {
    fn refill(&mut self, rate: Rate, seconds: f64) {
        self.level = (self.level + rate.per_second * seconds).min(rate.burst);
    }
}

/// The state of a device's budgets.
#[derive(Debug)]
pub(super) struct Budget {
    messages: Bucket,
    bytes: Bucket,
    json_messages: Bucket,
    refilled_at: Instant,
}

impl Budget {
    /// Makes full buckets.
    pub(super) fn new(options: &BudgetOptions, now: Instant) -> Self {
        let full = |rate: Rate| Bucket { level: rate.burst };
        let [messages, bytes, json_messages] =
            [full(options.messages), full(options.bytes), full(options.json_messages)];
        Self { messages, bytes, json_messages, refilled_at: now }
    }

    /// Takes one publish of `bytes`; says whether the budget held it. What is refused costs nothing.
    pub(super) fn take(&mut self, options: &BudgetOptions, now: Instant, bytes: usize, json: bool) -> bool {
        let seconds = now.saturating_duration_since(self.refilled_at).as_secs_f64();
        self.refilled_at = self.refilled_at.max(now);
        self.messages.refill(options.messages, seconds);
        self.bytes.refill(options.bytes, seconds);
        self.json_messages.refill(options.json_messages, seconds);
        let bytes = bytes as f64;
        let fits = self.messages.level >= 1.0
            && self.bytes.level >= bytes
            && (!json || self.json_messages.level >= 1.0);
        if fits {
            self.messages.level -= 1.0;
            self.bytes.level -= bytes;
            self.json_messages.level -= if json { 1.0 } else { 0.0 };
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_and_refills() {
        let messages = Rate { per_second: 1.0, burst: 2.0 };
        let options = BudgetOptions { messages, ..BudgetOptions::default() };
        let start = Instant::now();
        let mut budget = Budget::new(&options, start);
        let takes =
            |budget: &mut Budget, at| budget.take(&options, start + Duration::from_secs(at), 10, false);
        assert!(takes(&mut budget, 0) && takes(&mut budget, 0));
        assert!(!takes(&mut budget, 0));
        assert!(takes(&mut budget, 1));
        assert!(!takes(&mut budget, 1));
    }
}
