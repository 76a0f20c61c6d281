//! What is kept of an export: a folder with `job.json` and the files that it names.
//!
//! `job.json` is replaced by a rename, after the files that it names have synced: what it says is done is there, whole,
//! and a file that it does not name is no part of the export. It names no patient and holds no value; what does is
//! sealed ([`super::file`]).

use super::reach::Ends;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const STATE: &str = "job.json";

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Done,
    Failed,
}

/// A file that is finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) name: String,
    /// `Observation` or `Device`.
    pub(crate) kind: String,
    /// Resources in it.
    pub(crate) count: u64,
    pub(crate) chunks: u32,
    pub(crate) bytes: u64,
}

/// A part of the work: done whole, or again from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// `devices`, or the name of a table.
    pub(crate) what: String,
    /// Of a table: the day of ingest.
    pub(crate) day: Option<String>,
}

/// An export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) tenant: String,
    /// SPIFFE URI of who asked.
    pub(crate) caller: String,
    pub(crate) is_masked: bool,
    /// Names of the sites whose rows are in it; of who sees no names, none.
    #[serde(default)]
    pub(crate) sites: Vec<String>,
    /// Address of the request.
    pub(crate) request: String,
    pub(crate) since_us: Option<i64>,
    /// What was given before, where that is known by partition: then it counts, and not the time.
    #[serde(default)]
    pub(crate) behind: Option<Ends>,
    /// The last time of ingest that it is of.
    pub(crate) until_us: i64,
    /// Until when all that was taken is in it, which its manifest says; none: as until then.
    #[serde(default)]
    pub(crate) whole_us: Option<i64>,
    pub(crate) created_us: i64,
    pub(crate) state: State,
    /// In order; `done` of them are.
    pub(crate) parts: Vec<Part>,
    pub(crate) done: usize,
    pub(crate) files: Vec<Finished>,
    pub(crate) problem: Option<String>,
}

impl Job {
    /// Returns its folder.
    pub(crate) fn folder(&self, root: &Path) -> PathBuf {
        root.join(&self.id)
    }

    /// Writes it so that it is there whole, whatever is killed.
    pub(crate) fn save(&self, root: &Path) -> io::Result<()> {
        let folder = self.folder(root);
        fs::create_dir_all(&folder)?;
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let fresh = folder.join("job.json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, folder.join(STATE))?;
        File::open(&folder)?.sync_all()?;
        File::open(root)?.sync_all()
    }

    /// Reads all jobs below a folder, oldest first. What was never begun whole, and files that no job names, are
    /// removed.
    pub(crate) fn load_all(root: &Path) -> io::Result<Vec<Self>> {
        fs::create_dir_all(root)?;
        let mut jobs = Vec::new();
        for entry in fs::read_dir(root)? {
            let folder = entry?.path();
            match fs::read(folder.join(STATE))
                .ok()
                .and_then(|text| serde_json::from_slice::<Self>(&text).ok())
            {
                Some(job) if folder.file_name() == Some(job.id.as_ref()) => {
                    job.sweep(root)?;
                    jobs.push(job);
                }
                _ if folder.is_dir() => fs::remove_dir_all(&folder)?,
                _ => {}
            }
        }
        jobs.sort_by(|a, b| (a.created_us, &a.id).cmp(&(b.created_us, &b.id)));
        Ok(jobs)
    }

    /// Removes what a kill left.
    fn sweep(&self, root: &Path) -> io::Result<()> {
        for entry in fs::read_dir(self.folder(root))? {
            let path = entry?.path();
            let is_named = |file: &Finished| path.file_name() == Some(file.name.as_ref());
            if path.file_name() != Some(STATE.as_ref()) && !self.files.iter().any(is_named) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Returns how many bytes of JSON it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns how many resources it has.
    pub(crate) fn resources(&self) -> u64 {
        self.files.iter().map(|file| file.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_is_no_part_of_an_export() {
        let root = tempfile::tempdir().unwrap();
        let file = Finished { name: "0-0".into(), kind: "Device".into(), count: 1, chunks: 1, bytes: 5 };
        let job = Job {
            id: "a1".into(),
            tenant: "demo".into(),
            caller: "spiffe://x".into(),
            is_masked: false,
            sites: vec!["icu".into()],
            request: "$export".into(),
            since_us: None,
            behind: None,
            until_us: 7,
            whole_us: None,
            created_us: 5,
            state: State::Running,
            parts: vec![Part { what: "devices".into(), day: None }],
            done: 1,
            files: vec![file],
            problem: None,
        };
        job.save(root.path()).unwrap();
        let folder = job.folder(root.path());
        for name in ["0-0", "1-0", "job.json.new"] {
            fs::write(folder.join(name), b"x").unwrap();
        }
        fs::create_dir(root.path().join("torn")).unwrap();
        assert_eq!(Job::load_all(root.path()).unwrap(), std::slice::from_ref(&job));
        let mut left: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0-0", "job.json"]);
        assert!(!root.path().join("torn").exists());
    }
}
