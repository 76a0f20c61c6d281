//! Rules on Rust source. Each returns what it found, one line a finding, with the place.

use crate::source::{code_of, functions, line_of, without_tests};
use crate::tree::File;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
/// `expect` is a panic with a message: one per this many lines of production code, for what cannot happen.
const LINES_PER_EXPECT: usize = 1000;
/// Split, so that this file does not find itself.
const MARKERS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
const PANICS: [&str; 4] = [".unwrap()", "panic!(", "todo!(", "unimplemented!("];

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|f| f.path.ends_with(".rs"))
}

/// Finds files and functions past their lengths.
pub(crate) fn lengths(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust(files) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines, {FILE_LINES_MAX} at most", file.path));
        }
        let long = functions(&code_of(&file.text)).into_iter().filter(|f| f.lines > FUNCTION_LINES_MAX);
        found.extend(long.map(|f| {
            format!(
                "{}:{}: fn {} has {} lines, {FUNCTION_LINES_MAX} at most",
                file.path, f.line, f.name, f.lines
            )
        }));
    }
    found
}

/// Finds words that mean unfinished.
pub(crate) fn markers(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|f| !f.path.ends_with("Cargo.lock")) {
        for (number, line) in file.text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            let hits = words.filter(|word| MARKERS.contains(word));
            found.extend(hits.map(|word| format!("{}:{}: {word}", file.path, number + 1)));
        }
    }
    found
}

/// Finds what panics on purpose outside tests.
pub(crate) fn panics(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust(files).filter(|f| !f.is_test()) {
        let code = without_tests(&code_of(&file.text));
        for call in PANICS {
            let hits = code.match_indices(call);
            found.extend(hits.map(|(at, _)| format!("{}:{}: {call}", file.path, line_of(&code, at))));
        }
    }
    found
}

/// Finds more `expect` than the budget allows.
pub(crate) fn expects(files: &[File]) -> Vec<String> {
    let (mut lines, mut places) = (0, Vec::new());
    for file in rust(files).filter(|f| !f.is_test()) {
        let code = without_tests(&code_of(&file.text));
        lines += code.lines().filter(|line| !line.trim().is_empty()).count();
        let hits = code.match_indices(".expect(");
        places.extend(hits.map(|(at, _)| format!("{}:{}: .expect(", file.path, line_of(&code, at))));
    }
    if places.len() <= lines / LINES_PER_EXPECT + 1 { Vec::new() } else { places }
}

/// Finds `needles` in the production code of `folder`: the absences that a crate promises.
pub(crate) fn absent(files: &[File], folder: &str, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust(files).filter(|f| f.path.starts_with(folder) && !f.is_test()) {
        let code = without_tests(&code_of(&file.text));
        for needle in needles {
            let hits = code.match_indices(needle);
            found.extend(hits.map(|(at, _)| format!("{}:{}: {needle}", file.path, line_of(&code, at))));
        }
    }
    found
}

mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> [File; 1] {
        [File { path: path.into(), text: text.into() }]
    }

    #[test]
    fn a_long_file_and_a_long_function_are_found() {
        let long = format!("fn f() {{\n{}}}\n", "a();\n".repeat(FUNCTION_LINES_MAX));
        assert_eq!(lengths(&file("a/src/b.rs", &long)).len(), 1);
        assert_eq!(lengths(&file("a/src/b.rs", &"a\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
        assert!(lengths(&file("a/src/b.rs", &"a\n".repeat(FILE_LINES_MAX))).is_empty());
    }

    #[test]
    fn a_marker_is_found_as_a_word_only() {
        assert_eq!(
            markers(&file("a.md", &format!("x\n// {}: y", MARKERS[0]))),
            [format!("a.md:2: {}", MARKERS[0])]
        );
        assert!(markers(&file("a.md", &format!("{}s", MARKERS[0]))).is_empty());
    }

    #[test]
    fn a_panic_is_found_outside_tests_only() {
        let unwrap = "fn f() { g().unwrap(); }";
        assert_eq!(panics(&file("a/src/b.rs", unwrap)).len(), 1);
        assert!(panics(&file("a/tests/b.rs", unwrap)).is_empty());
        assert!(panics(&file("a/src/b.rs", &format!("#[cfg(test)]\nmod t {{ {unwrap} }}"))).is_empty());
        assert!(panics(&file("a/src/b.rs", "// .unwrap()")).is_empty());
    }

    #[test]
    fn expects_past_the_budget_are_found() {
        let code = "fn f() { a.expect(1); }\n";
        assert!(expects(&file("a/src/b.rs", code)).is_empty());
        assert_eq!(expects(&file("a/src/b.rs", &code.repeat(3))).len(), 3);
    }

    #[test]
    fn a_broken_absence_is_found() {
        let code = file("proto/src/a.rs", "use std::fs;");
        assert_eq!(absent(&code, "proto/", &["std::fs"]), ["proto/src/a.rs:1: std::fs"]);
        assert!(absent(&code, "gateway/", &["std::fs"]).is_empty());
    }
}
