//! The configuration file: the flags' names with underscores. An unknown name is an error.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The file's values as text, so that one parser and one error text serve flags, environment and file.
pub(super) fn parse(text: &str) -> Result<BTreeMap<&'static str, String>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let values = [
        ("server", file.server),
        ("certs", file.certs),
        ("spool", file.spool),
        ("link", file.link),
        ("spool_bytes_max", number(file.spool_bytes_max)),
        ("keep_acked_hours", number(file.keep_acked_hours)),
        ("keep_acked_bytes_max", number(file.keep_acked_bytes_max)),
        ("in_flight_max", number(file.in_flight_max)),
        ("keep_alive_s", number(file.keep_alive_s)),
        ("ack_timeout_s", number(file.ack_timeout_s)),
        ("backoff_min_ms", number(file.backoff_min_ms)),
        ("backoff_max_ms", number(file.backoff_max_ms)),
        ("clock_sync", file.clock_sync),
        ("clock_uncertainty_us", number(file.clock_uncertainty_us)),
    ];
    Ok(values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    certs: Option<String>,
    spool: Option<String>,
    link: Option<String>,
    spool_bytes_max: Option<u64>,
    keep_acked_hours: Option<u64>,
    keep_acked_bytes_max: Option<u64>,
    in_flight_max: Option<u64>,
    keep_alive_s: Option<u64>,
    ack_timeout_s: Option<u64>,
    backoff_min_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
    clock_sync: Option<String>,
    clock_uncertainty_us: Option<u64>,
}
