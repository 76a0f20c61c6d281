//! `wardline.toml`: read whole, every error told, nothing guessed.

use super::NodeOptions;
use super::cluster_options::ClusterOptions;
use crate::alert_service::WebhookSettings;
use crate::enrol::EnrolOptions;
use crate::front::{AdmissionOptions, BudgetOptions, CONNECTIONS_MAX, Rate};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wardline_archive::place::{StoreSettings, syntax_error};

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Listen {
    mqtt: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    est: Option<SocketAddr>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Enrol {
    per_source: Option<Rate>,
    overall: Option<Rate>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Bootstrap {
    fronts: Option<Vec<String>>,
    est: Option<String>,
    crl_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Front {
    connections_max: Option<usize>,
    tls12: Option<bool>,
    budget: Option<BudgetOptions>,
    admission: Option<AdmissionOptions>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JournalSection {
    segment_bytes: Option<u64>,
    total_bytes_max: Option<u64>,
    reserve_bytes: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Archive {
    flush_interval_ms: Option<u64>,
    compact_interval_ms: Option<u64>,
    compact_files_min: Option<usize>,
    bucket: Option<toml::Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Alert {
    rules: Option<PathBuf>,
}

/// Where alerts go besides subscribers.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Alerts {
    webhook: Vec<WebhookSettings>,
}

/// Puts the file's settings, and those of the environment, over `options`. A missing file changes nothing.
pub fn load(path: &Path, options: &mut NodeOptions) -> Result<(), ConfigErrors> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // The environment may still say something.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(ConfigErrors(vec![format!("{}: {error}", path.display())])),
    };
    apply(&text, options)
}

fn apply(text: &str, options: &mut NodeOptions) -> Result<(), ConfigErrors> {
    // Without the text around it, which may hold a password.
    let told = |error: toml::de::Error| ConfigErrors(vec![syntax_error(text, &error)]);
    let table: toml::Table = text.parse().map_err(told)?;
    let mut file = File { table, errors: Vec::new() };
    let listen: Listen = file.section("listen");
    options.mqtt = listen.mqtt.unwrap_or(options.mqtt);
    options.grpc = listen.grpc.unwrap_or(options.grpc);
    options.http = listen.http.unwrap_or(options.http);
    options.est = listen.est.unwrap_or(options.est);
    enrol(&mut file, &mut options.enrol);
    let front: Front = file.section("front");
    options.tls12 = front.tls12.unwrap_or(options.tls12);
    options.front.budget = front.budget.unwrap_or(options.front.budget);
    options.front.admission = front.admission.unwrap_or(options.front.admission);
    for problem in options.front.admission.problems() {
        file.check(false, || format!("front.admission.{problem}"));
    }
    options.front.connections_max = front.connections_max.unwrap_or(options.front.connections_max);
    file.check((1..=CONNECTIONS_MAX).contains(&options.front.connections_max), || {
        format!("front.connections_max: 1 to {CONNECTIONS_MAX}")
    });
    let budget = &options.front.budget;
    let rates =
        [("messages", budget.messages), ("bytes", budget.bytes), ("json_messages", budget.json_messages)];
    for (name, rate) in rates {
        let positive = rate.per_second > 0.0 && rate.burst >= 1.0;
        file.check(positive, || format!("front.budget.{name}: per_second above 0 and burst at least 1"));
    }
    options.front.drain = file.section("drain");
    for problem in options.front.drain.problems() {
        file.check(false, || format!("drain.{problem}"));
    }
    let journal: JournalSection = file.section("journal");
    options.journal.segment_bytes = journal.segment_bytes.unwrap_or(options.journal.segment_bytes);
    options.journal.total_bytes_max = journal.total_bytes_max.unwrap_or(options.journal.total_bytes_max);
    options.journal.reserve_bytes = journal.reserve_bytes.unwrap_or(options.journal.reserve_bytes);
    file.check(options.journal.segment_bytes <= options.journal.total_bytes_max / 4, || {
        "journal.segment_bytes: at most a quarter of total_bytes_max".to_owned()
    });
    let archive: Archive = file.section("archive");
    let interval = archive.flush_interval_ms.map(Duration::from_millis);
    options.archive.flush_interval = interval.unwrap_or(options.archive.flush_interval);
    let interval = archive.compact_interval_ms.map(Duration::from_millis);
    options.archive.compact_interval = interval.or(options.archive.compact_interval);
    options.archive.compact_files_min =
        archive.compact_files_min.unwrap_or(options.archive.compact_files_min);
    file.check(options.archive.compact_files_min >= 2, || "archive.compact_files_min: at least 2".to_owned());
    match wardline_archive::place::bucket(archive.bucket, &options.data_dir) {
        Ok(bucket) => options.archive.bucket = bucket,
        Err(error) => file.check(false, || error.to_string()),
    }
    let store = StoreSettings::read(file.table.remove("store")).map_err(ToOwned::to_owned);
    match store.and_then(|store| store.resolve(&options.data_dir).map_err(|error| error.to_string())) {
        Ok(store) => options.store = store,
        Err(error) => file.check(false, || error),
    }
    match wardline_archive::place::transit(file.table.remove("keys"), &options.data_dir) {
        Ok(transit) => options.transit = transit,
        Err(error) => file.check(false, || error.to_string()),
    }
    let alert: Alert = file.section("alert");
    options.alert.rules = alert.rules.or(options.alert.rules.take());
    let alerts: Alerts = file.section("alerts");
    options.webhooks = alerts.webhook;
    cluster(&mut file, options);
    file.finish()
}

fn cluster(file: &mut File, options: &mut NodeOptions) {
    if !file.table.contains_key("cluster") {
        return;
    }
    let read: Section = file.section("cluster");
    let Section(Some(read)) = read else { return };
    for problem in read.problems() {
        file.check(false, || problem);
    }
    let is_shared = options.store.path().is_none();
    file.check(is_shared, || "cluster: [store] url has to name a PostgreSQL that all nodes reach".to_owned());
    options.cluster = Some(read);
}

/// A section that has no default.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Section(Option<ClusterOptions>);

fn enrol(file: &mut File, options: &mut EnrolOptions) {
    let (rates, bootstrap): (Enrol, Bootstrap) = (file.section("enrol"), file.section("bootstrap"));
    options.per_source = rates.per_source.unwrap_or(options.per_source);
    options.overall = rates.overall.unwrap_or(options.overall);
    for (name, rate) in [("per_source", options.per_source), ("overall", options.overall)] {
        let positive = rate.per_second > 0.0 && rate.burst >= 1.0;
        file.check(positive, || format!("enrol.{name}: per_second above 0 and burst at least 1"));
    }
    options.fronts = bootstrap.fronts.unwrap_or_default();
    file.check(options.fronts.iter().all(|front| front.contains(':')), || {
        "bootstrap.fronts: each is host:port".to_owned()
    });
    options.url = bootstrap.est;
    file.check(options.url.iter().all(|url| url.starts_with("https://")), || {
        "bootstrap.est: https://host:port".to_owned()
    });
    options.crl_url = bootstrap.crl_url;
    file.check(options.crl_url.iter().all(|url| url.is_ascii() && url.starts_with("http")), || {
        "bootstrap.crl_url: http://host:port/crl".to_owned()
    });
}

struct File {
    table: toml::Table,
    errors: Vec<String>,
}

impl File {
    /// Takes a section out; what it does not read as is an error, and its default goes on.
    fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let Some(value) = self.table.remove(name) else { return T::default() };
        value.try_into().unwrap_or_else(|error: toml::de::Error| {
            self.errors.push(format!("{name}: {}", error.message()));
            T::default()
        })
    }

    fn check(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.errors.push(message());
        }
    }

    fn finish(mut self) -> Result<(), ConfigErrors> {
        self.errors.extend(self.table.keys().map(|name| format!("{name}: no such section")));
        if self.errors.is_empty() { Ok(()) } else { Err(ConfigErrors(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_defaults() {
        let mut options = NodeOptions::new("data");
        apply("[listen]\nmqtt = \"127.0.0.1:1\"\n[front]\ntls12 = true\n", &mut options).unwrap();
        assert_eq!(options.mqtt.port(), 1);
        assert!(options.tls12);
    }

    #[test]
    fn the_database_may_be_a_server_and_its_password_is_not_told() {
        let mut options = NodeOptions::new("data");
        apply("[store]\nurl = \"postgres://w:s3cret@db/ward\"\n", &mut options).unwrap();
        assert!(options.store.path().is_none());
        assert!(!format!("{options:?}").contains("s3cret"));
        for bad in [
            "url = \"sqlite:s3cret\"",
            "url = \"postgres://a:s3cret@b",
            "url = [\"s3cret\"]",
            "name = \"s3cret\"",
        ] {
            let errors = apply(&format!("[store]\n{bad}\n"), &mut NodeOptions::new("data")).unwrap_err();
            assert!(!errors.0.is_empty() && !errors.to_string().contains("s3cret"), "{errors}");
        }
    }

    #[test]
    fn every_error_is_told() {
        let text = "[listen]\nmqtt = 1\n[front]\nconnections_max = 0\n[journal]\nsize = 1\n[who]\n";
        let errors = apply(text, &mut NodeOptions::new("data")).unwrap_err();
        assert_eq!(errors.0.len(), 4, "{errors}");
    }
}
