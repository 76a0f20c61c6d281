//! The command line of the tier's measurements.

use clap::Args;

/// Options of `tier`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TierOptions {
    /// CONNECTIONSxWINDOW, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["1x1", "8x8", "50x20"])]
    pub(crate) shape: Vec<crate::options::Shape>,
    /// Rounds of each policy, in turns.
    #[arg(long, default_value_t = 5)]
    pub(crate) policy_rounds: usize,
    /// Publishes of a round; a twentieth with a window of 1.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) publishes: usize,
    /// The controller of a Fluvio to measure too; the gateway is then built with its feature.
    #[arg(long, env = "WARDLINE_FLUVIO")]
    pub(crate) fluvio: Option<String>,
}

/// Options of `scaling`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scaling {
    /// Rounds of one and of two, in turns.
    #[arg(long, default_value_t = 3)]
    pub(crate) scaling_rounds: usize,
    /// Publishes of a round.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) publishes: usize,
    /// Hundredths of a core that each node has, so that cores are left for the bus, the database and the load; 0: each
    /// node a core of its own. It takes root.
    #[arg(long, default_value_t = 10)]
    pub(crate) share: u32,
    /// Times that a worker joins and leaves while frames come.
    #[arg(long, default_value_t = 10)]
    pub(crate) moves: usize,
}

impl TierOptions {
    pub(crate) fn quick(&mut self) {
        self.policy_rounds = self.policy_rounds.min(1);
        self.publishes = self.publishes.min(2_000);
    }
}

impl Scaling {
    /// Returns what a node may take, the first one, the second one.
    pub(crate) fn part(&self, node: usize) -> super::ground::Part {
        match self.share {
            0 => super::ground::Part::Core(node),
            percent => super::ground::Part::Percent(percent),
        }
    }

    pub(crate) fn quick(&mut self) {
        self.scaling_rounds = self.scaling_rounds.min(1);
        self.publishes = self.publishes.min(2_000);
        self.moves = self.moves.min(2);
    }
}
