//! Programs that `tests/run` installs, in a virtual environment of the cache folder: one way of finding them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Finds a program there: at `WARDLINE_VENV`, or where `tests/run` makes it. Says how to get one that is missing.
pub fn program(name: &str) -> Result<PathBuf, String> {
    let [venv, cache, home] = ["WARDLINE_VENV", "XDG_CACHE_HOME", "HOME"].map(std::env::var_os);
    let venv = folder(venv, cache, home).ok_or("neither WARDLINE_VENV nor HOME is set")?;
    let program = venv.join("bin").join(name);
    if program.exists() {
        Ok(program)
    } else {
        Err(format!("{} is missing: tests/run installs it", program.display()))
    }
}

fn folder(venv: Option<OsString>, cache: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let cache = || cache.map(PathBuf::from).or_else(|| Some(Path::new(&home?).join(".cache")));
    venv.map(PathBuf::from).or_else(|| Some(cache()?.join("wardline/venv")))
}

#[cfg(test)]
mod tests {
    use super::folder;
    use std::path::Path;

    #[test]
    fn where_nobody_says_it_is_in_the_cache() {
        let found = |venv: &str, cache: &str, home: &str| {
            let given = |text: &str| (!text.is_empty()).then(|| text.into());
            folder(given(venv), given(cache), given(home))
        };
        assert_eq!(found("/v", "/c", "/h").as_deref(), Some(Path::new("/v")));
        assert_eq!(found("", "/c", "/h").as_deref(), Some(Path::new("/c/wardline/venv")));
        assert_eq!(found("", "", "/h").as_deref(), Some(Path::new("/h/.cache/wardline/venv")));
        assert_eq!(found("", "", ""), None);
    }
}
