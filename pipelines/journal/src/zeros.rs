//! Preallocates: zeros on the disk, past the page cache.
//!
//! A data sync must change no metadata, so a segment's blocks are allocated *and written* before its first batch: an
//! `fdatasync` inside blocks that are merely allocated would have to journal the conversion of each extent. Through the
//! page cache the kernel copies every zero, which at 1 KiB a record was 42 % of all that a front did. Written directly
//! the disk fetches them from one small buffer again and again. A file system that cannot do that gets the copies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What is written at a time: small, so that other files' syncs do not queue behind it.
const CHUNK_BYTES: usize = 256 << 10;
/// What address, position and length of a direct write are multiples of, on any common disk.
pub(crate) const PAGE_BYTES: u64 = 4096;

const _: () = assert!(CHUNK_BYTES as u64 % PAGE_BYTES == 0);

#[repr(align(4096))]
struct Zeros([u8; CHUNK_BYTES]);

/// Fills the new `file` at `path` with `bytes` zeros, durably but for its name.
pub(crate) fn fill(path: &Path, file: &File, bytes: u64) -> io::Result<()> {
    fs4::fs_std::FileExt::allocate(file, bytes)?;
    let zeros = Box::new(Zeros([0; CHUNK_BYTES]));
    let whole_pages = bytes / PAGE_BYTES * PAGE_BYTES;
    let mut written = 0;
    if let Some(direct) = open_direct(path) {
        written = match write(&direct, &zeros, 0, whole_pages) {
            Ok(()) => whole_pages,
            // What the file system refuses as such; a full or failing disk says something else.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => 0,
            Err(error) => return Err(error),
        };
    }
    while written < bytes {
        let end = bytes.min(written + CHUNK_BYTES as u64);
        write(file, &zeros, written, end)?;
        file.sync_data()?;
        written = end;
    }
    file.sync_all()
}

fn write(file: &File, zeros: &Zeros, start: u64, end: u64) -> io::Result<()> {
    let mut position = start;
    while position < end {
        let chunk = (end - position).min(CHUNK_BYTES as u64);
        file.write_all_at(&zeros.0[..chunk as usize], position)?;
        position += chunk;
    }
    Ok(())
}

/// Opens the file a second time, for writes past the page cache; `None` where there are none.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    OpenOptions::new().write(true).custom_flags(direct).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// Checks a file of `bytes` zeros in `dir`: content, length, and that every block is there.
    fn check(dir: &Path, bytes: u64) {
        let path = dir.join(format!("zeros-{bytes}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        fill(&path, &file, bytes).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), bytes);
        assert!(metadata.blocks() * 512 >= bytes, "every block of {bytes} bytes is allocated");
        assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
        // What lies in the page cache and what was written past it are one file.
        file.write_all_at(b"batch", bytes - 5).unwrap();
        assert!(std::fs::read(&path).unwrap().ends_with(b"\0batch"));
    }

    #[test]
    fn a_file_is_zeros_to_its_last_byte() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [100, PAGE_BYTES, 3 * PAGE_BYTES + 77, CHUNK_BYTES as u64 + PAGE_BYTES, 1 << 20] {
            check(dir.path(), bytes);
        }
    }

    #[test]
    fn a_file_system_without_direct_writes_gets_its_zeros_too() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
        check(dir.path(), 3 * PAGE_BYTES + 77);
    }
}
