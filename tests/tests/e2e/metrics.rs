//! Every metric that a dashboard or rule names is one that a running gateway tells.

use crate::archive::block_on;
use crate::frames::{Publisher, frame, heart_rate, now_us, raw_frame};
use crate::process::eventually;
use crate::python::root;
use crate::stand::{Stand, TENANT, files_below, get};
use anyhow::ensure;
use std::collections::BTreeSet;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

/// Returns the metric names of the files below deploy/.
fn named() -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in files_below(&root()?.join("deploy"))? {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
        // Those of a cluster are told in another build; tests/python/deploy.py looks for them in the sources.
        let alone = |word: &str| !word.starts_with("wardline_cluster_");
        let metric =
            |word: &&str| word.matches('_').count() >= 2 && word.starts_with("wardline_") && alone(word);
        names.extend(words.filter(metric).map(str::to_owned));
    }
    Ok(names)
}

#[test]
fn dashboards_name_metrics_that_a_gateway_tells() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let certs = stand.device("mon-1")?;
    stand.start()?;
    block_on(async {
        let mut device = Publisher::connect(stand.mqtt, TENANT, "mon-1", &certs).await?;
        device.publish(&frame(1, 1, &heart_rate(now_us(), &[60.0]))).await?;
        device.publish(&raw_frame(1, 2, vec![0xFF; 9])).await?;
        ensure!(
            device.publish(&frame(0, 3, &heart_rate(now_us(), &[60.0]))).await.is_err(),
            "epoch 0 was taken"
        );
        Ok(())
    })?;
    let names = named()?;
    ensure!(names.len() > 10, "only {names:?}");
    eventually("every named metric is told", WAIT, || {
        let (_, text) = get(stand.http, "/metrics")?;
        let told: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.split(['{', ' ']).next().filter(|n| !n.starts_with('#')))
            .collect();
        let missing: Vec<_> = names.iter().filter(|name| !told.contains(name.as_str())).collect();
        ensure!(missing.is_empty(), "not told: {missing:?}");
        Ok(Some(()))
    })?;
    stand.stop()
}
