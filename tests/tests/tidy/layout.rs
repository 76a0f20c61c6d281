//! Which crate may know which, and what the default build never compiles.

use crate::tree::File;
use std::collections::{BTreeMap, BTreeSet};

/// Every crate with the crates of ours that it may depend on. ARCHITECTURE.md says why.
const DIRECTION: [(&str, &[&str]); 14] = [
    ("wardline-proto", &[]),
    ("wardline-journal", &["wardline-proto"]),
    ("wardline-store", &["wardline-proto", "wardline-journal"]),
    ("wardline-access", &["wardline-proto", "wardline-store"]),
    ("wardline-archive", &["wardline-proto", "wardline-journal", "wardline-store", "wardline-profile"]),
    ("wardline-alert", &["wardline-proto", "wardline-journal", "wardline-store"]),
    ("wardline-profile", &["wardline-proto"]),
    ("wardline-bus", &["wardline-proto", "wardline-journal"]),
    ("wardline-fhir", &["wardline-proto"]),
    (
        "wardline-query",
        &[
            "wardline-proto",
            "wardline-journal",
            "wardline-store",
            "wardline-access",
            "wardline-archive",
            "wardline-fhir",
            "wardline-bus",
        ],
    ),
    ("wardline-edge", &["wardline-proto", "wardline-journal"]),
    ("firmware-sim", &["wardline-proto"]),
    (
        "wardline",
        &[
            "wardline-proto",
            "wardline-journal",
            "wardline-store",
            "wardline-access",
            "wardline-archive",
            "wardline-alert",
            "wardline-profile",
            "wardline-fhir",
            "wardline-bus",
            "wardline-edge",
            "firmware-sim",
        ],
    ),
    ("wardline-tests", &["*"]),
];
/// What `default-members` build.
const DEFAULT: [&str; 3] = ["wardline", "wardline-edge", "firmware-sim"];
/// Crates that the default build never compiles: the SQL engine, cluster engines, other cryptography.
const KEPT_OUT: [&str; 7] =
    ["datafusion", "fluvio", "async-nats", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];
/// Crates that a device's small computer builds with an older compiler.
const MSRV: &str = "1.85";
const MSRV_CRATES: [&str; 3] = ["wardline-proto", "wardline-journal", "wardline-edge"];

fn manifests(files: &[File]) -> Vec<(&File, toml::Table)> {
    let manifests = files.iter().filter(|f| f.path.ends_with("/Cargo.toml"));
    manifests.filter_map(|f| Some((f, f.text.parse().ok()?))).collect()
}

fn name(manifest: &toml::Table) -> Option<&str> {
    manifest.get("package")?.get("name")?.as_str()
}

fn dependencies(manifest: &toml::Table) -> impl Iterator<Item = &str> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|kind| manifest.get(kind)?.as_table())
        .flat_map(|table| table.keys().map(String::as_str))
}

/// Finds dependencies against the direction, and crates that it does not name.
pub(crate) fn direction(files: &[File]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = DIRECTION.into_iter().collect();
    let mut found = Vec::new();
    for (file, manifest) in manifests(files) {
        let Some(name) = name(&manifest) else { continue };
        let Some(may) = allowed.get(name) else {
            if !file.path.contains("fuzz/") {
                found.push(format!("{}: {name} has no place in the direction of crates", file.path));
            }
            continue;
        };
        // A crate may name itself among its dev-dependencies, to test with a feature of its own.
        let ours = dependencies(&manifest).filter(|d| allowed.contains_key(d) && *d != name);
        let wrong = ours.filter(|d| !may.contains(d) && *may != ["*"]);
        found.extend(wrong.map(|d| format!("{}: {name} may not depend on {d}", file.path)));
    }
    found
}

/// Finds crates for small computers that ask for a newer compiler.
pub(crate) fn msrv(files: &[File]) -> Vec<String> {
    let manifests = manifests(files);
    let version = |manifest: &toml::Table| {
        manifest.get("package").and_then(|p| p.get("rust-version")?.as_str()).unwrap_or("none").to_owned()
    };
    let small = manifests.iter().filter(|(_, m)| name(m).is_some_and(|n| MSRV_CRATES.contains(&n)));
    let wrong = small.filter(|(_, m)| version(m) != MSRV);
    wrong.map(|(f, m)| format!("{}: rust-version is {}, not {MSRV}", f.path, version(m))).collect()
}

/// Names the dependencies of one of our crates that only a feature brings, as long as none is on by default.
fn off_by_default<'a>(manifests: &'a [(&File, toml::Table)], crate_name: &str) -> BTreeSet<&'a str> {
    let own = manifests.iter().find(|(_, manifest)| name(manifest) == Some(crate_name));
    let Some((_, manifest)) = own else { return BTreeSet::new() };
    let features = manifest.get("features").and_then(|features| features.as_table());
    if features.is_some_and(|features| features.contains_key("default")) {
        return BTreeSet::new();
    }
    let all = manifest.get("dependencies").and_then(|all| all.as_table()).into_iter().flatten();
    let is_optional =
        |value: &toml::Value| value.get("optional").and_then(toml::Value::as_bool) == Some(true);
    all.filter(|(_, value)| is_optional(value)).map(|(name, _)| name.as_str()).collect()
}

/// Finds what the default build must not reach, by the closure of Cargo.lock.
pub(crate) fn default_build(files: &[File]) -> Vec<String> {
    let lock = files.iter().find(|f| f.path == "Cargo.lock").and_then(|f| f.text.parse::<toml::Table>().ok());
    let Some(packages) = lock.as_ref().and_then(|l| l.get("package")?.as_array()) else {
        return vec!["Cargo.lock: missing or not readable".into()];
    };
    let own = manifests(files);
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let Some(name) = package.get("name").and_then(|n| n.as_str()) else { continue };
        let named = package.get("dependencies").and_then(|d| d.as_array()).into_iter().flatten();
        let names = named.filter_map(|d| d.as_str()?.split(' ').next());
        let off = off_by_default(&own, name);
        edges.entry(name).or_default().extend(names.filter(|d| !off.contains(d)));
    }
    let mut seen = BTreeSet::new();
    let mut todo = DEFAULT.to_vec();
    while let Some(package) = todo.pop() {
        if seen.insert(package) {
            todo.extend(edges.get(package).into_iter().flatten());
        }
    }
    let wrong = seen.iter().filter(|p| KEPT_OUT.iter().any(|k| *p == k || p.starts_with(&format!("{k}-"))));
    wrong.map(|p| format!("Cargo.lock: the default build reaches {p}")).collect()
}

mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> [File; 1] {
        [File { path: path.into(), text: text.into() }]
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let manifest =
            |name: &str, on: &str| format!("[package]\nname = \"{name}\"\n[dependencies]\n{on} = \"1\"");
        let found = |name, on| direction(&file("x/Cargo.toml", &manifest(name, on))).len();
        assert_eq!(found("firmware-sim", "wardline-journal"), 1);
        assert_eq!(found("firmware-sim", "wardline-proto"), 0);
        assert_eq!(found("wardline-edge", "wardline-store"), 1);
        assert_eq!(found("wardline-new", "anyhow"), 1);
    }

    #[test]
    fn a_newer_compiler_for_the_agent_is_found() {
        let manifest = "[package]\nname = \"wardline-edge\"\nrust-version = \"1.94\"";
        assert_eq!(msrv(&file("edge-agent/Cargo.toml", manifest)).len(), 1);
        assert!(msrv(&file("edge-agent/Cargo.toml", &manifest.replace("1.94", MSRV))).is_empty());
    }

    #[test]
    fn an_sql_engine_below_the_gateway_is_found() {
        let lock = "[[package]]\nname = \"wardline\"\ndependencies = [\"a 1.0\"]\n\
                    [[package]]\nname = \"a\"\ndependencies = [\"datafusion-common\"]\n\
                    [[package]]\nname = \"datafusion-common\"\n";
        assert_eq!(default_build(&file("Cargo.lock", lock)).len(), 1);
        assert!(default_build(&file("Cargo.lock", &lock.replace("datafusion-common", "b"))).is_empty());
        assert_eq!(default_build(&[]).len(), 1);
    }
}
