//! Alerts to systems without gRPC: signed JSON over HTTPS, at least once, in order ([`settings`], [`sign`]).
//!
//! A sink is a listener like any other: it has a lease, a line in the ledger for what was sent to it, and its durable
//! cursor is what it has confirmed, which a 2xx answer does. One request is under way at a time, with what waits in it;
//! what is not accepted is sent again, so events of an alert never overtake each other. Between events it is asked
//! whether it is there: a sink that does not answer is missed by the watch before an alarm needs it (ALR-2).

mod post;
mod settings;
mod sign;
mod sink;

pub use settings::{WebhookError, WebhookSettings};

use super::ledger::Ledger;
use post::Poster;
use settings::SINKS_MAX;
use sink::Sink;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wardline_alert::{AlertFeed, AlertMetrics};
use wardline_store::alert_ledger::Hearing;
use wardline_store::{Store, StoreError};

/// The sinks of a node, ready to run.
pub struct Webhooks {
    posters: Vec<Poster>,
}

impl Webhooks {
    /// Reads secrets and certificates; tells everything that is wrong.
    pub fn load(settings: &[WebhookSettings]) -> Result<Self, Vec<WebhookError>> {
        let (mut posters, mut errors, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
        if settings.len() > SINKS_MAX {
            errors.push(WebhookError::TooMany);
        }
        for one in settings {
            if !names.insert((&one.tenant, &one.name)) {
                errors.push(WebhookError::Twice(one.name.clone()));
            }
            match Poster::new(one) {
                Ok(poster) => posters.push(poster),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { posters }) } else { Err(errors) }
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.posters.is_empty()
    }

    /// Notes the sinks that the ledger does not know: what is raised from here on is owed to them, whoever serves them,
    /// and whenever that begins.
    pub async fn expect(&self, store: &Store) -> Result<(), StoreError> {
        for Poster { name, checked, .. } in &self.posters {
            let cursor = store.alert_head(&checked.tenant).await?;
            if store.expect_listener(&checked.row(cursor, Hearing::Gone)).await? {
                tracing::info!(sink = name, cursor, "a new webhook hears what comes after this");
            }
        }
        Ok(())
    }

    /// Serves all sinks until told to stop, each in a task of its own: none waits for another.
    pub async fn run(self, feed: AlertFeed, metrics: Arc<AlertMetrics>, stop: watch::Receiver<bool>) {
        let ledger = Ledger::start(feed.store().clone());
        let mut sinks = JoinSet::new();
        for poster in self.posters {
            let (feed, ledger, metrics) = (feed.clone(), ledger.clone(), metrics.clone());
            sinks.spawn(Sink { poster, feed, ledger, metrics, stop: stop.clone() }.run());
        }
        drop(ledger);
        while sinks.join_next().await.is_some() {}
    }
}
