//! Rules on what is told: refusals, decisions, the README, links and names of places.

use crate::tree::File;
use std::collections::BTreeSet;
use wardline_proto::refusal::Refusal;

/// Headings that a page of docs/errors has, in this order.
const ERROR_HEADINGS: [&str; 3] = ["## What you see", "## Why", "## What to do"];
/// Headings that a decision has.
const ADR_HEADINGS: [&str; 3] = ["## Context", "## Decision", "## Consequences"];
/// Split, so that this file does not find itself.
const MACHINE_PATHS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];
const SHARED: &str = concat!("../sha", "red");

/// Finds refusals without a page and pages without a refusal.
pub(crate) fn error_pages(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    let page = |code: &str| files.iter().find(|f| f.path == format!("docs/errors/{code}.md"));
    for refusal in Refusal::ALL {
        let code = refusal.code();
        let Some(page) = page(code) else {
            found.push(format!("docs/errors/{code}.md: missing"));
            continue;
        };
        if !page.text.starts_with(&format!("# {code}: ")) {
            found.push(format!("{}: does not start with its code", page.path));
        }
        let missing = ERROR_HEADINGS.iter().filter(|h| !page.text.lines().any(|line| line == **h));
        found.extend(missing.map(|h| format!("{}: no heading {h}", page.path)));
        let reason = format!("0x{:02X}", refusal.mqtt5_reason());
        if refusal.mqtt5_reason() != 0 && !page.text.contains(&reason) {
            found.push(format!("{}: does not name the MQTT 5 reason {reason}", page.path));
        }
    }
    let pages = files.iter().filter_map(|f| f.path.strip_prefix("docs/errors/WL-")?.strip_suffix(".md"));
    let orphans = pages.filter(|code| Refusal::from_code(&format!("WL-{code}")).is_none());
    found.extend(orphans.map(|code| format!("docs/errors/WL-{code}.md: no such refusal")));
    found
}

/// Finds decisions that are not numbered without a hole, or lack a heading.
pub(crate) fn decisions(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    let adrs = files.iter().filter(|f| f.path.starts_with("docs/adr/"));
    for (index, file) in adrs.enumerate() {
        let number = format!("{:04}", index + 1);
        if !file.path.starts_with(&format!("docs/adr/{number}-")) {
            found.push(format!("{}: expected number {number}", file.path));
        }
        if !file.text.starts_with(&format!("# {number}. ")) {
            found.push(format!("{}: title does not start with {number}", file.path));
        }
        let missing = ADR_HEADINGS.iter().filter(|h| !file.text.lines().any(|line| line == **h));
        found.extend(missing.map(|h| format!("{}: no heading {h}", file.path)));
    }
    found
}

/// Finds relative links in Markdown to files that are not there.
pub(crate) fn links(files: &[File]) -> Vec<String> {
    let paths: BTreeSet<&str> = files.iter().map(|f| f.path.as_str()).collect();
    let exists = |path: &str| {
        let folder = format!("{}/", path.trim_end_matches('/'));
        paths.contains(path) || paths.iter().any(|p| p.starts_with(&folder))
    };
    let mut found = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with(".md")) {
        let targets = file.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
        for target in targets.filter(|t| !t.is_empty() && !t.contains("://")) {
            if !exists(&resolve(&file.path, target)) {
                found.push(format!("{}: links to {target}, which is not there", file.path));
            }
        }
    }
    found
}

fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Finds README commands that name a package, binary or script that does not exist.
pub(crate) fn readme_commands(files: &[File]) -> Vec<String> {
    let Some(readme) = files.iter().find(|f| f.path == "README.md") else {
        return vec!["README.md: missing".into()];
    };
    let names: BTreeSet<String> = files
        .iter()
        .filter(|f| f.path.ends_with("Cargo.toml"))
        .flat_map(|f| f.text.lines())
        .filter_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').to_owned()))
        .collect();
    let bins = files.iter().filter_map(|f| f.path.strip_prefix("tests/src/bin/"));
    let bins: BTreeSet<&str> = bins.filter_map(|b| b.split(['/', '.']).next()).collect();
    let named = |name: &str| names.contains(name) || bins.contains(name);
    let mut found = Vec::new();
    for command in shell_lines(&readme.text) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let flags = words.windows(2).filter(|w| matches!(w[0], "-p" | "--package" | "--bin"));
        let cargo = words.first() == Some(&"cargo");
        let wrong = flags.filter(|w| cargo && !named(w[1]));
        found.extend(wrong.map(|w| format!("README.md: `{command}` names {}, which is not there", w[1])));
        let script = words.iter().find(|w| w.starts_with("tests/") || w.starts_with("docs/"));
        let gone = script.filter(|s| !files.iter().any(|f| f.path == **s));
        found.extend(gone.map(|s| format!("README.md: `{command}` runs {s}, which is not there")));
    }
    found
}

/// Returns the command lines of a Markdown text's shell blocks, prompts and comments off.
pub(crate) fn shell_lines(text: &str) -> Vec<&str> {
    let mut shell = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            shell = !shell && matches!(language, "sh" | "bash" | "shell" | "console");
        } else if shell {
            let command = line.trim().trim_start_matches("$ ");
            let command = command.split(" # ").next().unwrap_or(command);
            lines.extend((!command.is_empty() && !command.starts_with('#')).then_some(command));
        }
    }
    lines
}

/// Finds paths of somebody's machine, and the folder beside the checkout anywhere but in `.ci/run`.
pub(crate) fn places(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|f| f.path != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            let machine = MACHINE_PATHS.iter().filter(|p| {
                line.match_indices(*p)
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "~}.".contains(c)))
            });
            found.extend(machine.map(|p| format!("{}:{}: {p}", file.path, number + 1)));
            if line.contains(SHARED) && file.path != ".ci/run" {
                found.push(format!("{}:{}: {SHARED}", file.path, number + 1));
            }
        }
    }
    found
}
