//! Trust that changes while the gateway serves: certificates, authorities, revocation lists, revocations.

mod accounted;
mod crl;
mod load;
mod other;
mod revoke;
mod swap;

use crate::process::eventually;
use crate::stand::{Stand, get};
use anyhow::Context;
use std::time::Duration;

/// A loaded machine takes its time.
const WAIT: Duration = Duration::from_secs(30);

impl Stand {
    /// Puts a file into `pki/` as an operator should: beside, then by one rename.
    fn put(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.data().join("pki").join(name);
        let beside = path.with_extension("beside");
        std::fs::write(&beside, text)?;
        Ok(std::fs::rename(beside, path)?)
    }

    fn pki(&self, name: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.data().join("pki").join(name)).with_context(|| name.to_owned())
    }

    /// Says how often the log has a line with these words; of several processes, that of the one that has it least.
    fn logged(&self, words: &str) -> anyhow::Result<usize> {
        let counts =
            self.logs().into_iter().map(|log| Ok(std::fs::read_to_string(log)?.matches(words).count()));
        Ok(counts.collect::<anyhow::Result<Vec<_>>>()?.into_iter().min().unwrap_or_default())
    }

    /// Waits until the log has such a line `count` times.
    fn until_logged(&self, words: &str, count: usize) -> anyhow::Result<()> {
        eventually(words, WAIT, || Ok((self.logged(words)? >= count).then_some(())))
    }

    /// Returns the value of a gauge; none when it is not told.
    fn gauge(&self, name: &str) -> anyhow::Result<Option<i64>> {
        let (_, text) = get(self.http, "/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| Ok(value.trim().parse()?)).transpose()
    }

    /// Waits until the trail has an event with this action, this outcome, and an actor that ends so.
    fn until_audited(&self, action: &str, outcome: &str, actor: &str) -> anyhow::Result<()> {
        eventually(&format!("{action} {outcome} {actor}"), WAIT, || {
            let found = self.trail()?.into_iter().any(|event| {
                event["action"] == action
                    && event["outcome"] == outcome
                    && event["actor"].as_str().is_some_and(|named| named.ends_with(actor))
            });
            Ok(found.then_some(()))
        })
    }
}
