//! What the repository promises of itself, checked on the checkout: shape, direction, words and places.
//!
//! Each rule is a function from files to findings, with a test of its own that it can fail.

mod docs;
mod docs_tests;
mod layout;
mod metrics;
mod rules;
mod source;
mod tree;

use tree::File;

fn check(rule: impl Fn(&[File]) -> Vec<String>) {
    let files = tree::files().unwrap_or_default();
    assert!(!files.is_empty(), "the checkout could not be read");
    let found = rule(&files);
    assert!(found.is_empty(), "{} findings:\n  {}", found.len(), found.join("\n  "));
}

#[test]
fn files_and_functions_are_short() {
    check(rules::lengths);
}

#[test]
fn nothing_is_marked_unfinished() {
    check(rules::markers);
}

#[test]
fn nothing_panics_on_purpose() {
    check(rules::panics);
    check(rules::expects);
}

#[test]
fn crates_depend_in_one_direction() {
    check(layout::direction);
    check(layout::msrv);
}

#[test]
fn the_default_build_stays_small() {
    check(layout::default_build);
}

#[test]
fn proto_has_no_runtime_opens_no_file_and_reads_no_clock() {
    check(|files| {
        rules::absent(files, "proto/src/", &["tokio", "std::fs", "std::net", "SystemTime", "Instant::now"])
    });
}

#[test]
fn every_refusal_has_its_page() {
    check(docs::error_pages);
}

#[test]
fn decisions_are_numbered() {
    check(docs::decisions);
}

#[test]
fn links_lead_somewhere() {
    check(docs::links);
}

#[test]
fn readme_commands_exist() {
    check(docs::readme_commands);
}

#[test]
fn no_place_of_one_machine_is_named() {
    check(docs::places);
}

#[test]
fn dashboards_name_metrics_that_exist() {
    check(metrics::dashboards);
}
