//! Each rule of `docs` can fail.

use crate::docs::{decisions, error_pages, links, places, readme_commands, shell_lines};
use crate::tree::File;
use wardline_proto::refusal::Refusal;

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}

fn page(refusal: Refusal) -> File {
    let (code, reason) = (refusal.code(), refusal.mqtt5_reason());
    let text = format!("# {code}: x\n\n## What you see\n0x{reason:02X}\n## Why\n## What to do\n");
    file(&format!("docs/errors/{code}.md"), &text)
}

#[test]
fn a_missing_a_wrong_and_an_orphan_page_are_found() {
    let mut pages: Vec<File> = Refusal::ALL.iter().map(|r| page(*r)).collect();
    assert_eq!(error_pages(&pages), Vec::<String>::new());
    pages.push(file("docs/errors/WL-NONE-001.md", "# WL-NONE-001: x"));
    assert_eq!(error_pages(&pages).len(), 1);
    pages[0].text = pages[0].text.replace("## Why\n", "");
    assert_eq!(error_pages(&pages).len(), 2);
    pages.swap_remove(1);
    assert_eq!(error_pages(&pages).len(), 3);
}

#[test]
fn a_hole_in_the_numbers_of_decisions_is_found() {
    let text = |n: u32| format!("# {n:04}. x\n\n## Context\n## Decision\n## Consequences\n");
    let first = file("docs/adr/0001-a.md", &text(1));
    assert_eq!(
        decisions(&[file("docs/adr/0001-a.md", &text(1)), file("docs/adr/0003-b.md", &text(3))]).len(),
        2
    );
    assert!(decisions(&[first]).is_empty());
    assert_eq!(decisions(&[file("docs/adr/0001-a.md", "# 0001. x\n\n## Context\n## Decision\n")]).len(), 1);
}

#[test]
fn a_broken_link_is_found() {
    let target = file("docs/adr/0001-a.md", "");
    let page = |to: &str| file("docs/errors/x.md", &format!("[a]({to})"));
    assert!(links(&[page("../adr/0001-a.md#why"), file("docs/adr/0001-a.md", "")]).is_empty());
    assert!(links(&[page("../adr/"), file("docs/adr/0001-a.md", "")]).is_empty());
    assert_eq!(links(&[page("../adr/0002-b.md"), target]).len(), 1);
}

#[test]
fn a_readme_command_that_is_not_there_is_found() {
    let manifest = file("a/Cargo.toml", "[package]\nname = \"a\"\n");
    let readme =
        |command: &str| file("README.md", &format!("text\n```sh\n$ {command} # why\n```\ncargo run -p z\n"));
    assert!(readme_commands(&[readme("cargo run -p a"), file("a/Cargo.toml", "name = \"a\"")]).is_empty());
    assert_eq!(readme_commands(&[readme("cargo run -p b"), manifest]).len(), 1);
    assert_eq!(readme_commands(&[readme("tests/gone")]).len(), 1);
    assert_eq!(readme_commands(&[]).len(), 1);
    assert_eq!(shell_lines("```sh\n# note\n$ a b # c\n```\n```text\nd\n```"), ["a b"]);
}

#[test]
fn a_place_of_one_machine_is_found() {
    let path = concat!("/ho", "me/me/x");
    assert_eq!(places(&[file("a.md", &format!("see {path}"))]).len(), 1);
    assert!(places(&[file("a.md", &format!("see ~{path} and $X{path}"))]).is_empty());
    let shared = concat!("../sha", "red/data");
    assert_eq!(places(&[file("tests/run", shared)]).len(), 1);
    assert!(places(&[file(".ci/run", shared)]).is_empty());
}
