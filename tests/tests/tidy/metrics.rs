//! Metrics that dashboards and rules name are metrics that the code makes.

use crate::tree::File;
use std::collections::BTreeSet;

const PREFIX: &str = "wardline_";
/// What the exposition format appends to a registered name.
const SUFFIXES: [&str; 6] = ["_total", "_bucket", "_sum", "_count", "_created", "_info"];

/// Finds names in deploy/ that no production code registers.
pub(crate) fn dashboards(files: &[File]) -> Vec<String> {
    let code = files.iter().filter(|f| f.path.ends_with(".rs") && !f.is_test());
    let literals: BTreeSet<&str> = code.flat_map(|f| f.text.split('"')).collect();
    let mut found = Vec::new();
    for file in files.iter().filter(|f| f.path.starts_with("deploy/")) {
        let missing = names(&file.text).into_iter().filter(|name| !registered(name, &literals));
        found.extend(missing.map(|name| format!("{}: no code registers {name}", file.path)));
    }
    found
}

/// Returns the metric names of a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
    words.filter(|word| word.starts_with(PREFIX) && word.len() > PREFIX.len()).collect()
}

/// A registry may carry the prefix, or `wardline_` and a component; then the literal is what is left.
fn registered(name: &str, literals: &BTreeSet<&str>) -> bool {
    let stem = SUFFIXES.iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
    let starts = stem.match_indices('_').map(|(at, _)| &stem[at + 1..]).take(2);
    [stem, name].into_iter().chain(starts).any(|candidate| literals.contains(candidate))
}

mod tests {
    use super::*;

    fn files(code: &str, dashboard: &str) -> [File; 2] {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        [file("gateway/src/metrics.rs", code), file("deploy/rules.yml", dashboard)]
    }

    #[test]
    fn a_metric_that_nothing_registers_is_found() {
        let code = "registry.register(\"publishes_acked\", \"help\", x);";
        assert!(dashboards(&files(code, "rate(wardline_publishes_acked_total[5m])")).is_empty());
        assert!(dashboards(&files(code, "rate(wardline_front_publishes_acked_total[5m])")).is_empty());
        assert_eq!(dashboards(&files(code, "wardline_publishes_lost_total")).len(), 1);
    }
}
