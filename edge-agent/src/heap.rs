//! Keeps the heap small: one arena for all threads, and large buffers given back when they are freed.
//!
//! glibc gives each thread that allocates an arena of its own, and keeps a large buffer on the heap once a buffer of
//! that size was freed. The agent's threads allocate little and seldom at the same time, and its large buffers live
//! for moments: of an idle agent's 8.6 MiB, 2.0 were pages that nothing used. Both can be set without unsafe code
//! only in the environment, and only before the process starts: so the agent starts itself once more, as the same
//! process.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// When the operator has set the first, the agent leaves everything as it is.
const SETTINGS: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "65536")];

/// Starts the program again with the settings; returns when they are set, or when that cannot be done.
pub(crate) fn keep_small() {
    if !cfg!(target_env = "gnu") || std::env::var_os(SETTINGS[0].0).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut args = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    // Returns only when it failed; then the agent runs as it is, a little larger.
    let _failed = again.args(args).envs(SETTINGS).exec();
}
