//! A real PostgreSQL for tests: a server in a temporary folder, on a socket there.

use crate::bell::Matter;
use crate::db::{Pool, args};
use crate::{Store, StoreError, StoreUrl};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A loaded machine starts slowly.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// Names the server's port on its socket; the socket's folder is the test's own.
const PORT: &str = "5432";

/// Records `count` revoked certificates that live until `not_after_us`, by one statement: what a large fleet leaves. No
/// change is written down, as a release of before would do.
pub async fn fill_revoked(store: &Store, count: i64, not_after_us: i64) -> Result<u64, StoreError> {
    // Sixteen decimal digits are a serial in hex too, on either database.
    let insert = "WITH RECURSIVE n (i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
                  INSERT INTO certificate (serial, spiffe_uri, not_before_us, not_after_us, revoked_at_us) \
                  SELECT CAST(i + 1000000000000000 AS TEXT), 'filled', 0, $2, 1 FROM n";
    let mut tx = store.db().begin().await?;
    let filled = tx.run(insert, args![count, not_after_us]).await?;
    tx.run("UPDATE registry_version SET version = version + 1 WHERE id = 1", args![]).await?;
    tx.commit().await?;
    Ok(filled)
}

/// Runs one statement, as somebody else's program would; returns how many rows it changed.
pub async fn execute(store: &Store, sql: &'static str) -> Result<u64, StoreError> {
    store.db().run(sql, args![]).await
}

/// Rings in this process for a matter, on any database, as PostgreSQL does when a change of it is committed.
pub fn ring(store: &Store, matter: Matter) {
    store.bells.ring(|one| one == matter);
}

/// Returns how many connections to PostgreSQL there are, lent or not.
pub fn connections(store: &Store) -> u32 {
    match store.db() {
        crate::db::Pool::Postgres(place) => place.pool.size(),
        crate::db::Pool::Sqlite { .. } => 0,
    }
}

/// Opens a database as a release left it whose newest migration was `newest`. What is written then goes by statements
/// of that release.
pub async fn open_at(url: &StoreUrl, newest: i64) -> Result<Store, StoreError> {
    let store = url.unmigrated().await?;
    let migrations = crate::schema::migrations(store.db());
    match store.db() {
        Pool::Sqlite { writer, .. } => migrations.run_to(newest, writer).await?,
        Pool::Postgres(place) => migrations.run_to(newest, &place.pool).await?,
    }
    Ok(store)
}

/// Notes a migration as applied that no program of today knows.
pub async fn apply_later(store: &Store, version: i64) -> Result<u64, StoreError> {
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                  SELECT $1, 'later', success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
    store.db().run(insert, args![version]).await
}

/// A running server. It ends, and all that it kept goes, when it is dropped.
#[derive(Debug)]
pub struct TestPostgres {
    folder: TempDir,
    server: Child,
}

impl TestPostgres {
    /// Makes a cluster and starts its server. The programs are Debian's package `postgresql`.
    pub fn start() -> Result<Self, String> {
        let initdb = program("initdb")
            .ok_or("initdb is missing: install Debian's package postgresql (tests/run does)")?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let data = folder.path().join("data");
        let user = unprivileged(folder.path())?;
        let mut command = as_user(user.as_deref(), &initdb);
        command
            .args([
                "--username=wardline",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
                "--no-locale",
                "-D",
            ])
            .arg(&data);
        let done = command.output().map_err(|error| format!("initdb: {error}"))?;
        if !done.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&done.stderr)));
        }
        let server = serve(folder.path(), user.as_deref(), &initdb.with_file_name("postgres"))?;
        let mut running = Self { folder, server };
        running.wait(&initdb.with_file_name("pg_isready"))?;
        Ok(running)
    }

    /// Kills the server as a crash of its machine would; its data stay.
    pub fn kill(&mut self) -> Result<(), String> {
        self.server.kill().and_then(|()| self.server.wait()).map(drop).map_err(|error| error.to_string())
    }

    /// Stops every process of the server where it stands, or lets them go on: a machine that answers nothing.
    pub fn freeze(&self, stand_still: bool) -> Result<(), String> {
        let id = self.server.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.map_err(|error| format!("children of {id}: {error}"))?;
        let mut command = Command::new("kill");
        command.arg(if stand_still { "-STOP" } else { "-CONT" }).arg(id.to_string());
        let done = command.args(children.split_whitespace()).status().map_err(|error| error.to_string())?;
        if done.success() { Ok(()) } else { Err("kill failed".to_owned()) }
    }

    /// Starts the killed server on its data again, and waits until it serves.
    pub fn start_again(&mut self) -> Result<(), String> {
        let postgres = program("postgres").ok_or("postgres is missing")?;
        let user = unprivileged(self.folder.path())?;
        let until = Instant::now() + START;
        loop {
            self.server = serve(self.folder.path(), user.as_deref(), &postgres)?;
            // It ends at once as long as a process of the killed one holds its memory.
            match self.wait(&postgres.with_file_name("pg_isready")) {
                Err(_) if Instant::now() < until => std::thread::sleep(POLL),
                done => return done,
            }
        }
    }

    /// Returns the server of this process: making a cluster costs seconds, a database of it nearly nothing.
    ///
    /// Nothing is dropped when a process ends, so a shell waits for that end and clears up, however it comes.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<TestPostgres, String>> = OnceLock::new();
        let made = SHARED.get_or_init(|| {
            let server = Self::start()?;
            let clear_up =
                "read end; kill -QUIT \"$0\"; while kill -0 \"$0\"; do sleep 0.1; done; rm -rf \"$1\"";
            let mut shell = Command::new("sh");
            shell.args(["-c", clear_up, &server.server.id().to_string()]).arg(server.folder.path());
            shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            // The pipe to it stays open as long as this process lives. A ^C for this process is not for it.
            std::mem::forget(shell.process_group(0).spawn().map_err(|error| format!("sh: {error}"))?);
            Ok(server)
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// Returns the URL of a new, empty database of the process's server.
    pub fn fresh() -> Result<String, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self::shared()?.database(&format!("fresh_{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// Returns the URL of its database `name`, made empty.
    pub fn database(&self, name: &str) -> Result<String, String> {
        let createdb =
            program("createdb").ok_or("createdb is missing: install Debian's package postgresql")?;
        let mut command = Command::new(createdb);
        command.arg("-h").arg(self.folder.path()).args(["-p", PORT, "-U", "wardline", name]);
        let done = command.output().map_err(|error| format!("createdb: {error}"))?;
        if !done.status.success() {
            return Err(format!("createdb: {}", String::from_utf8_lossy(&done.stderr)));
        }
        Ok(format!("postgres://wardline@localhost/{name}?host={}&port={PORT}", self.folder.path().display()))
    }

    fn wait(&mut self, ready: &Path) -> Result<(), String> {
        let until = Instant::now() + START;
        loop {
            let mut command = Command::new(ready);
            command.arg("-h").arg(self.folder.path()).args(["-p", PORT, "-U", "wardline"]);
            if command.stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
                return Ok(());
            }
            if Instant::now() > until || !matches!(self.server.try_wait(), Ok(None)) {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("postgres did not start: {log}"));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        // An immediate shutdown: a server that is killed leaves its System V shared memory behind, and the machine
        // has a bounded number of those. It may have ended.
        let asked = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let until = Instant::now() + STOP;
        while asked.as_ref().is_ok_and(ExitStatus::success) && matches!(self.server.try_wait(), Ok(None)) {
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Starts the server of a folder.
fn serve(folder: &Path, user: Option<&str>, postgres: &Path) -> Result<Child, String> {
    let mut command = as_user(user, postgres);
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    // Durable as in production: what the tests measure and kill is the real thing.
    command.args(["-c", "listen_addresses=", "-p", PORT, "-c", "logging_collector=off"]);
    // Each process of a tier has connections of its own, and several tiers share a server.
    command.args(["-c", "max_connections=400"]);
    let log = std::fs::File::create(folder.join("log")).map_err(|error| error.to_string())?;
    let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    server.map_err(|error| format!("postgres: {error}"))
}

/// Finds a program of PostgreSQL: of Debian's newest version, or on the path.
fn program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file()).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.pop().or(on_path)
}

/// The server refuses to run as root: there is then another user for it, and the folder is that user's.
fn unprivileged(folder: &Path) -> Result<Option<String>, String> {
    let id = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Ok(None);
    }
    let done =
        Command::new("chown").args(["postgres:"]).arg(folder).output().map_err(|error| error.to_string())?;
    if done.status.success() { Ok(Some("postgres".to_owned())) } else { Err("no user postgres".to_owned()) }
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else { return Command::new(program) };
    // Without a shell in between: the process that is killed is the server.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups"]).arg(program);
    command
}
