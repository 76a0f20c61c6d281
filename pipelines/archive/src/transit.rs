//! Master keys in the transit engine of OpenBao or Vault: they wrap and unwrap there, and never leave it.
//!
//! ```text
//! create   POST MOUNT/keys/ID {"type":"aes256-gcm96"}      wrap     POST MOUNT/encrypt/ID
//! destroy  POST MOUNT/keys/ID/config, DELETE MOUNT/keys/ID   unwrap   POST MOUNT/decrypt/ID
//! ```
//! A version of a master key is a key of the engine under its own random id, so that versions are granted and
//! destroyed apart. A wrapped key is the engine's own text, `vault:v1:...`. The token is renewed as long as the
//! provider lives.

mod settings;

pub use settings::{TransitOptions, TransitSettings};

use crate::requests::{spawn, wait};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::AbortHandle;
use wardline_journal::{KeyError, KeyId, KeyService};
use zeroize::Zeroizing;

/// Between two looks at a token's life, whatever it is.
const RENEW_MIN: Duration = Duration::from_secs(1);
const RENEW_MAX: Duration = Duration::from_secs(3600);
/// Between two attempts that fail.
const RENEW_AGAIN_MAX: Duration = Duration::from_secs(60);
/// A token is renewed when this part of its life is over.
const RENEW_PART: u32 = 3;
/// How often a request is tried again at once. Who needs the key then tries again with pauses of its own.
const RETRIES_MAX: u32 = 2;
/// Characters of the service's own words that are told.
const WORDS_MAX: usize = 200;
/// Bytes of an answer that are read: a wrapped key is some hundred.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The key service.
pub struct Transit {
    place: String,
    inner: Arc<Inner>,
    renewal: AbortHandle,
}

struct Inner {
    options: TransitOptions,
    client: Client,
    /// None before the first use: its file may come after us.
    token: RwLock<Option<HeaderValue>>,
}

impl std::fmt::Debug for Transit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transit").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Transit {
    /// Makes a client and keeps its token alive. Asks nothing yet, and reads no token: a node starts, and acknowledges,
    /// before whoever writes the token has.
    pub fn open(options: TransitOptions) -> Result<Self, KeyError> {
        let unusable = |error: String| KeyError::Refused(format!("{}: {error}", options.url));
        let client = client(&options).map_err(|error| unusable(last(&error)))?;
        let place = format!("{}/{}", options.url, options.mount);
        let inner = Arc::new(Inner { options, client, token: RwLock::default() });
        let renewal = spawn(renew(inner.clone()))?;
        Ok(Self { place, inner, renewal })
    }

    /// Returns the one client of this process: opened anew only when the settings are others. Who asks statement by
    /// statement has neither a connection nor a renewal of the token each.
    pub fn shared(options: TransitOptions) -> Result<Arc<Self>, KeyError> {
        static SHARED: Mutex<Option<Arc<Transit>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = shared.as_ref().filter(|open| open.inner.options == options) {
            return Ok(open.clone());
        }
        let fresh = Arc::new(Self::open(options)?);
        *shared = Some(fresh.clone());
        Ok(fresh)
    }

    fn ask(&self, method: Method, path: String, body: Value) -> Result<Value, KeyError> {
        let inner = self.inner.clone();
        wait(async move { inner.ask(method, &path, &body).await })?
    }

    fn path(&self, what: &str, id: &KeyId) -> Result<String, KeyError> {
        // An id is a name in a path: ours are, and no other is asked for.
        let plain = id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if plain { Ok(format!("{}/{what}/{id}", self.inner.options.mount)) } else { Err(KeyError::Unknown) }
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl KeyService for Transit {
    fn place(&self) -> &str {
        &self.place
    }

    fn create(&self, id: &KeyId) -> Result<(), KeyError> {
        let form = json!({"type": "aes256-gcm96", "exportable": false, "allow_plaintext_backup": false});
        self.ask(Method::POST, self.path("keys", id)?, form).map(drop)
    }

    fn wrap(&self, id: &KeyId, data_key: &[u8]) -> Result<Vec<u8>, KeyError> {
        let form = json!({"plaintext": STANDARD.encode(data_key)});
        let answer = self.ask(Method::POST, self.path("encrypt", id)?, form)?;
        let wrapped = answer["data"]["ciphertext"].as_str().ok_or_else(|| self.inner.stranger())?;
        Ok(wrapped.as_bytes().to_vec())
    }

    fn unwrap_key(&self, id: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let wrapped = std::str::from_utf8(wrapped).map_err(|_not_its_text| KeyError::Unauthentic)?;
        let answer = self.ask(Method::POST, self.path("decrypt", id)?, json!({"ciphertext": wrapped}))?;
        let plain = answer["data"]["plaintext"].as_str().and_then(|plain| STANDARD.decode(plain).ok());
        plain.map(Zeroizing::new).ok_or_else(|| self.inner.stranger())
    }

    fn destroy(&self, id: &KeyId) -> Result<(), KeyError> {
        let path = self.path("keys", id)?;
        self.ask(Method::POST, format!("{path}/config"), json!({"deletion_allowed": true}))?;
        match self.ask(Method::DELETE, path, Value::Null) {
            // It was there: an earlier try of this request destroyed it.
            Ok(_) | Err(KeyError::Unknown) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, KeyError> {
        let token = self.token()?;
        match self.ask_with(&token, method.clone(), path, body).await {
            Err(KeyError::Refused(_)) if self.has_new_token(&token) => {
                self.ask_with(&self.token()?, method, path, body).await
            }
            answer => answer,
        }
    }

    async fn ask_with(
        &self,
        token: &HeaderValue,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, KeyError> {
        let url = &self.options.url;
        let away = |error: reqwest::Error| KeyError::Away(format!("{url}: {}", last(&error.without_url())));
        let request =
            self.client.request(method, format!("{url}/v1/{path}")).header("X-Vault-Token", token.clone());
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let text = Zeroizing::new(text(answer).await.map_err(away)?);
        let told: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            // Every answer of the service that has words names the request; something between us may answer too.
            let is_its_own = status == StatusCode::NO_CONTENT || told["request_id"].is_string();
            return if is_its_own { Ok(told) } else { Err(self.stranger()) };
        }
        let words: Vec<&str> =
            told["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let words: String = words.join(", ").chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
        Err(sorted(status, &format!("{url}: {status} {words}")))
    }

    /// Says that what answered is not the service: it may be there again at the next attempt.
    fn stranger(&self) -> KeyError {
        KeyError::Away(format!("{}: what answers there is no key service", self.options.url))
    }

    fn token(&self) -> Result<HeaderValue, KeyError> {
        let known = self.token.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.map_or_else(|| self.fresh_token(), Ok)
    }

    /// Reads the token's file. One that is not there, or that others may read, is to be tried again.
    fn fresh_token(&self) -> Result<HeaderValue, KeyError> {
        let fresh = self.options.token.read();
        let fresh = fresh.map_err(|error| KeyError::Refused(format!("{}: {error}", self.options.url)))?;
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(fresh)
    }

    /// Reads the token again; says whether it is another.
    fn has_new_token(&self, used: &HeaderValue) -> bool {
        self.fresh_token().is_ok_and(|fresh| fresh != *used)
    }

    /// Renews the token; returns when to look again.
    async fn renewed(&self) -> Result<Duration, KeyError> {
        let known = self.ask(Method::GET, "auth/token/lookup-self", &Value::Null).await?;
        let (left, is_renewable) = (known["data"]["ttl"].as_u64().unwrap_or(0), &known["data"]["renewable"]);
        // One without an end, as a root token, needs nothing.
        if left == 0 || is_renewable != &Value::Bool(true) {
            return Ok(RENEW_MAX);
        }
        let renewed = self.ask(Method::POST, "auth/token/renew-self", &json!({})).await?;
        let life = renewed["auth"]["lease_duration"].as_u64().unwrap_or(left);
        Ok((Duration::from_secs(life) / RENEW_PART).clamp(RENEW_MIN, RENEW_MAX))
    }
}

/// Makes the client: of a given authority's certificates alone where one is given. A connection that breaks and an
/// answer that asks for patience are tried again at once, within the time limit of the request: each request may come
/// twice.
fn client(options: &TransitOptions) -> Result<Client, reqwest::Error> {
    let retry = reqwest::retry::for_host(options.host.clone()).max_retries_per_request(RETRIES_MAX);
    let retry = retry.classify_fn(|done| match done.status() {
        Some(status) if !is_passing(status) => done.success(),
        _ => done.retryable(),
    });
    let mut builder = Client::builder()
        .use_rustls_tls()
        .https_only(!options.is_http)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(retry)
        .timeout(options.timeout);
    if let Some(pem) = &options.ca_pem {
        let authorities = Certificate::from_pem_bundle(pem)?;
        builder = builder.tls_built_in_root_certs(false);
        builder = authorities.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    builder.build()
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// Keeps the token alive.
async fn renew(inner: Arc<Inner>) {
    let (mut pause, mut again) = (Duration::ZERO, RENEW_MIN);
    loop {
        tokio::time::sleep(pause).await;
        match inner.renewed().await {
            Ok(next) => (pause, again) = (next, RENEW_MIN),
            Err(error) => {
                tracing::warn!(%error, ?again, "the token of the key service was not renewed");
                (pause, again) = (again, (again * 2).min(RENEW_AGAIN_MAX));
            }
        }
    }
}

async fn text(mut answer: Response) -> Result<String, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sorts an answer by what the caller can do about it.
fn sorted(status: StatusCode, words: &str) -> KeyError {
    let says = |text: &str| words.contains(text);
    if is_passing(status) {
        KeyError::Away(words.to_owned())
    } else if says("key not found")
        || says("could not delete key; not found")
        || says("no existing key named")
    {
        KeyError::Unknown
    } else if says("message authentication failed") || says("invalid ciphertext") {
        KeyError::Unauthentic
    } else {
        KeyError::Refused(words.to_owned())
    }
}

fn last(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
