//! Minima and medians of rounds.

/// The values of one quantity, a round each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    /// Adds a round's value.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Returns the smallest value; NaN without any.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// Returns the middle value; NaN without any.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[half],
            _ => (sorted[half - 1] + sorted[half]) / 2.0,
        }
    }

    /// Returns the quotients with another quantity, round by round.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        let rounds: Rounds = [4.0, 1.0, 3.0].into_iter().collect();
        assert_eq!((rounds.min(), rounds.median()), (1.0, 3.0));
        let even: Rounds = [4.0, 1.0].into_iter().collect();
        assert_eq!(even.median(), 2.5);
        assert!(Rounds::default().median().is_nan());
        assert_eq!(rounds.over(&rounds).median(), 1.0);
    }
}
