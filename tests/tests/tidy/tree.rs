//! The checkout as the checks see it: text files by path, without what is built.

use anyhow::Context;
use std::path::{Path, PathBuf};

const SKIPPED: [&str; 5] = ["target", "node_modules", "__pycache__", "data", ".git"];

/// A text file of the checkout.
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Says whether this is Rust that only tests run.
    pub(crate) fn is_test(&self) -> bool {
        let folder = |name: &str| self.path.split('/').rev().skip(1).any(|part| part == name);
        let stem = self.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
        folder("tests")
            || folder("benches")
            || folder("fuzz")
            || stem.is_some_and(|s| s == "tests" || s.ends_with("_tests") || s.starts_with("test_"))
    }
}

/// Returns the root of the checkout.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(tests.parent().context("the tests crate lies in the checkout")?.to_owned())
}

/// Reads every text file of the checkout, sorted by path.
pub(crate) fn files() -> anyhow::Result<Vec<File>> {
    let root = root()?;
    let mut found = Vec::new();
    walk(&root, &root, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    anyhow::ensure!(found.iter().any(|f| f.path == "Cargo.toml"), "no Cargo.toml in {}", root.display());
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<File>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            found.push(File { path, text });
        }
    }
    Ok(())
}
