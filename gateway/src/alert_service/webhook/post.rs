//! One request to a sink: what it says, and what its answer means.

use super::settings::{Checked, WebhookError, WebhookSettings};
use super::sign;
use crate::alert_service::json::event_json;
use crate::front::now_us;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use reqwest::{Certificate, Client, Response, Url};
use ring::hmac;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use wardline_proto::v1::AlertEvent;

/// Version of the body.
const VERSION: u32 = 1;
/// Longest wait that a sink may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx.
    Accepted,
    /// Anything else that was said, and how long it asks to wait.
    Refused(u16, Option<Duration>),
    /// Nothing was said in time, or there is no connection.
    Silent,
}

impl Answer {
    /// Names it in a metric.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(..) => "refused",
            Self::Silent => "silent",
        }
    }
}

/// Sends to one sink.
pub(super) struct Poster {
    pub(super) name: String,
    pub(super) checked: Checked,
    url: Url,
    key: hmac::Key,
    client: Client,
}

impl Poster {
    /// Reads the secret and the certificates.
    pub(super) fn new(settings: &WebhookSettings) -> Result<Self, WebhookError> {
        let bad = |what| WebhookError::Value { name: settings.name.clone(), what };
        let checked = settings.check()?;
        let url = Url::parse(&settings.url).map_err(|_| bad("url: not usable"))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &settings.secret()?);
        // A redirect would take alarms to where nobody has said that they may go.
        let mut client = Client::builder()
            .timeout(checked.timeout)
            .connect_timeout(checked.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .no_proxy();
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path).map_err(|error| settings.unreadable(path, error))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|_| bad("ca_file: not PEM"))?;
            client = client.tls_built_in_root_certs(false);
            client = roots.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = client.build().map_err(|_| bad("ca_file: no TLS with it"))?;
        Ok(Self { name: settings.name.clone(), checked, url, key, client })
    }

    /// Sends events, or asks with none whether the sink is there. `cursor` is the last that it need not ask for.
    pub(super) async fn post(&self, events: &[Arc<AlertEvent>], cursor: u64) -> Answer {
        let (body, now_us) = (self.body(events, cursor), now_us());
        let timestamp = (now_us / 1_000_000).to_string();
        let signature = sign::signature(&self.key, &timestamp, body.as_bytes());
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("wardline/", env!("CARGO_PKG_VERSION")))
            .header(sign::TIMESTAMP, timestamp)
            .header(sign::SIGNATURE, signature)
            .body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Answer::Accepted,
            Ok(response) => Answer::Refused(response.status().as_u16(), retry_after(&response)),
            Err(_it_may_tell_the_url) => Answer::Silent,
        }
    }

    fn body(&self, events: &[Arc<AlertEvent>], cursor: u64) -> String {
        let tenant = self.checked.tenant.as_str();
        let one = |event: &Arc<AlertEvent>| {
            let mut told = event_json(event);
            // The same event has the same id, however often it is sent.
            told["id"] = format!("{tenant}/{}", event.cursor).into();
            told
        };
        let kind = if events.is_empty() { "heartbeat" } else { "alerts" };
        let events: Vec<_> = events.iter().map(one).collect();
        json!({
            "version": VERSION,
            "type": kind,
            "sink": self.name,
            "tenant": tenant,
            "cursor": cursor,
            "sent_at_us": now_us(),
            "events": events,
        })
        .to_string()
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}
