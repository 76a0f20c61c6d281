//! Nodes of two releases side by side: a tier of the release that `WARDLINE_OLD` names becomes one of this release, one
//! process after the other, under load.

use crate::chaos::{Chaos, strike_all};
use crate::faults::Fault;
use crate::tier::Tier;
use std::path::PathBuf;

#[test]
fn a_tier_of_the_release_before_is_upgraded_under_load() -> anyhow::Result<()> {
    let Some(old) = std::env::var_os("WARDLINE_OLD").map(PathBuf::from) else {
        println!("SKIPPED: set WARDLINE_OLD to the program of the release before (docs/cluster.md)");
        return Ok(());
    };
    let tier = Tier::of(old, None, "")?;
    strike_all(Chaos::on(tier, None)?, &[Fault::Nothing, Fault::Upgrade, Fault::Worker])
}
