//! Real processes: the binaries beside this test's own, and other people's programs.

use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
/// Reading a whole archive is work of its own.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Returns the path of one of our binaries, as `tests/run` builds it.
pub(crate) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let profile = exe.ancestors().nth(2).context("the test binary lies in target/PROFILE/deps")?;
    let path = profile.join(name);
    ensure!(
        path.is_file(),
        "{} is not built: run tests/run, or cargo build --workspace --all-targets",
        path.display()
    );
    Ok(path)
}

/// A process that is killed when it is dropped. Its output goes to a file.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let out = File::options().create(true).append(true).open(log).context("open a log")?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn();
        let child = child.with_context(|| format!("start {name}"))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// Returns the number that the system knows it by.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would: SIGKILL, no chance to write.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} had ended by itself with {status}:\n{}", self.name, self.tail());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits: SIGTERM, then success within `limit`.
    pub(crate) fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.signal("-TERM", limit)
    }

    /// Interrupts it as Ctrl-C would and waits for success within `limit`.
    pub(crate) fn interrupt(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.signal("-INT", limit)
    }

    /// Sends it a signal that does not end it.
    pub(crate) fn poke(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args([signal, &pid]).status()?.success(), "kill {signal} {pid}");
        Ok(())
    }

    fn signal(&mut self, signal: &str, limit: Duration) -> anyhow::Result<()> {
        self.poke(signal)?;
        let status = self.wait(limit)?;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.name, self.tail());
        Ok(())
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "{} still runs after {limit:?}:\n{}", self.name, self.tail());
            std::thread::sleep(POLL);
        }
    }

    /// Says whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the end of its output.
    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and returns its standard output. Anything but success is an error with its output.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} ended with {}:\n{out}\n{err}", output.status);
    Ok(out.into_owned())
}

/// Runs a command that must fail and returns what it printed.
pub(crate) fn run_to_fail(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(!output.status.success(), "{command:?} succeeded:\n{out}\n{err}");
    Ok(format!("{out}{err}"))
}

/// Polls until `check` gives a value; what it last said is the error.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = Instant::now() + limit;
    loop {
        let last = match check() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(Instant::now() < until, "{what}: not within {limit:?}: {last}");
        std::thread::sleep(LOOK_AGAIN);
    }
}
