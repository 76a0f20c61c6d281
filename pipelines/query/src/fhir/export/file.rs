//! Files of an export: NDJSON, sealed under the tenant's master key of measurements (SEC-3).
//!
//! A file is chunks of length (u32, big endian) and sealed bytes. Each is bound to its export, its file and its number,
//! so that none can be left out, repeated or swapped; how many there are stands in `job.json`.

use super::job::{Finished, Job};
use crate::fhir::limits::{EXPORT_CHUNK_BYTES, EXPORT_FILE_BYTES, EXPORT_SEALED_BYTES_MAX};
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wardline_journal::Sealer;

fn place(job: &str, file: &str, chunk: u32) -> Vec<u8> {
    format!("fhir-export/{job}/{file}/{chunk}").into_bytes()
}

/// Writes the files of one part.
pub(crate) struct Writer {
    folder: PathBuf,
    job: String,
    kind: &'static str,
    part: usize,
    sealer: Arc<Sealer>,
    open: Option<Open>,
    finished: Vec<Finished>,
}

struct Open {
    file: BufWriter<File>,
    told: Finished,
    chunk: Vec<u8>,
}

impl Writer {
    /// Begins the part with this number.
    pub(crate) fn new(root: &Path, job: &Job, part: usize, kind: &'static str, sealer: Arc<Sealer>) -> Self {
        let (folder, job) = (job.folder(root), job.id.clone());
        Self { folder, job, kind, part, sealer, open: None, finished: Vec::new() }
    }

    /// Adds a resource.
    pub(crate) fn push(&mut self, resource: &Value) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        serde_json::to_writer(&mut open.chunk, resource).map_err(io::Error::other)?;
        open.chunk.push(b'\n');
        open.told.count += 1;
        if open.chunk.len() >= EXPORT_CHUNK_BYTES {
            self.seal(&mut open)?;
        }
        if open.told.bytes >= EXPORT_FILE_BYTES {
            self.end(open)
        } else {
            self.open = Some(open);
            Ok(())
        }
    }

    /// Returns how many bytes of JSON were written.
    pub(crate) fn bytes(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |open| open.told.bytes);
        open + self.finished.iter().map(|file| file.bytes).sum::<u64>()
    }

    /// Ends the part: its files are on the disk when this returns.
    pub(crate) fn finish(mut self) -> io::Result<Vec<Finished>> {
        if let Some(open) = self.open.take() {
            self.end(open)?;
        }
        File::open(&self.folder)?.sync_all()?;
        Ok(self.finished)
    }

    fn begin(&self) -> io::Result<Open> {
        let name = format!("{}-{}", self.part, self.finished.len());
        let file = BufWriter::new(File::create(self.folder.join(&name))?);
        let told = Finished { name, kind: self.kind.into(), count: 0, chunks: 0, bytes: 0 };
        Ok(Open { file, told, chunk: Vec::new() })
    }

    fn seal(&self, open: &mut Open) -> io::Result<()> {
        if open.chunk.is_empty() {
            return Ok(());
        }
        let aad = place(&self.job, &open.told.name, open.told.chunks);
        let sealed = self.sealer.seal(&aad, &open.chunk).map_err(io::Error::other)?;
        let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        open.file.write_all(&length.to_be_bytes())?;
        open.file.write_all(&sealed)?;
        open.told.chunks += 1;
        open.told.bytes += open.chunk.len() as u64;
        open.chunk.clear();
        Ok(())
    }

    fn end(&mut self, mut open: Open) -> io::Result<()> {
        self.seal(&mut open)?;
        let file = open.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        self.finished.push(open.told);
        Ok(())
    }
}

/// Reads a file chunk by chunk.
pub(crate) struct Reader {
    file: BufReader<File>,
    job: String,
    told: Finished,
    next: u32,
    sealer: Arc<Sealer>,
}

impl Reader {
    /// Opens a finished file.
    pub(crate) fn open(root: &Path, job: &Job, told: &Finished, sealer: Arc<Sealer>) -> io::Result<Self> {
        let file = BufReader::new(File::open(job.folder(root).join(&told.name))?);
        Ok(Self { file, job: job.id.clone(), told: told.clone(), next: 0, sealer })
    }

    /// Returns the next lines; none behind the last. What was changed is an error.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.next == self.told.chunks {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > EXPORT_SEALED_BYTES_MAX {
            return Err(io::Error::other("a chunk that is longer than any"));
        }
        let mut sealed = vec![0; length];
        self.file.read_exact(&mut sealed)?;
        let aad = place(&self.job, &self.told.name, self.next);
        self.next += 1;
        self.sealer.open(&aad, &sealed).map(Some).map_err(io::Error::other)
    }
}
