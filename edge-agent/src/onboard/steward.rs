//! The steward: renews the certificate at 2/3 of its life and fetches the list of fronts once a day.
//!
//! Both over the identity in force. A failure is tried again with growing delays and shown in the status; nothing
//! that is in use is given up for it. A new identity is only put where the publisher finds it: whether it takes the
//! old one's place is decided by a connection.

use super::certificate::Certificate;
use super::enrol::check_chain;
use super::error::{EdgeError, answer};
use super::est::{self, By};
use super::folder::{Folder, Identity};
use super::http::Origin;
use super::key::DeviceKeyPair;
use super::services::ServiceList;
use super::standing::{RenewalOptions, Standing};
use crate::clock::now_us;
use crate::publish::Backoff;
use crate::spool::SpoolError;
use crate::tls::{self, Credentials};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;

/// The wall clock may jump; it is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Part of a life by which renewals of a fleet are spread.
const SPREAD_DIVISOR: i64 = 30;

pub(crate) struct Steward {
    folder: Folder,
    device: DeviceKey,
    standing: Arc<Standing>,
    options: RenewalOptions,
    /// Where to renew when no list says it; `None` keeps the list alone responsible.
    fixed_host: Option<String>,
    renewal: Duty,
    list: Duty,
    spread: f64,
}

/// Something to do at a time, later after failures.
struct Duty {
    backoff: Backoff,
    not_before_us: i64,
}

impl Duty {
    fn new(options: &RenewalOptions) -> Self {
        Self { backoff: Backoff::new(options.retry), not_before_us: 0 }
    }

    fn failed(&mut self) {
        // A first retry at once would only meet the same answer.
        self.backoff.slow_down();
        self.not_before_us = after(now_us(), self.backoff.next_delay());
    }

    /// Done; not again before `pause` is over, whoever asks.
    fn done(&mut self, pause: Duration) {
        self.backoff.reset();
        self.not_before_us = after(now_us(), pause);
    }
}

impl Steward {
    /// `fixed_host` is the host of `--server`: then the list is not asked for.
    pub(crate) fn new(
        folder: Folder,
        device: DeviceKey,
        standing: Arc<Standing>,
        options: RenewalOptions,
        fixed_host: Option<String>,
    ) -> Self {
        let (renewal, list) = (Duty::new(&options), Duty::new(&options));
        let spread = Backoff::new(options.retry).draw() - 0.5;
        Self { folder, device, standing, options, fixed_host, renewal, list, spread }
    }

    /// Runs until `stop` turns true. Never fails the agent.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), SpoolError> {
        self.folder.sweep();
        let mut is_asked = false;
        loop {
            let wait = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                wait = self.turn(is_asked) => wait,
            };
            let standing = Arc::clone(&self.standing);
            is_asked = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = tokio::time::sleep(wait) => false,
                () = standing.tried() => { self.note_trial(); false }
                () = standing.list_needed() => true,
            };
        }
    }

    /// Does what is due and returns how long nothing is.
    async fn turn(&mut self, list_is_asked: bool) -> Duration {
        let list_due = self.list_due_us(list_is_asked);
        if list_due.is_some_and(|due| due <= now_us()) {
            match self.refresh_list().await {
                Ok(()) => self.list.done(self.options.retry.delay_min),
                Err(error) => {
                    tracing::warn!(%error, "the list of fronts was not refreshed");
                    self.list.failed();
                }
            }
        }
        if self.renewal_due_us().is_some_and(|due| due <= now_us()) {
            match self.renew().await {
                Ok(()) => self.standing.stage(),
                Err(error) => self.renewal_failed(&error),
            }
        }
        let next = [self.list_due_us(false), self.renewal_due_us()].into_iter().flatten().min();
        let wait = next.map_or(LOOK_EVERY, |due| {
            Duration::from_micros(due.saturating_sub(now_us()).max(0).unsigned_abs())
        });
        wait.min(LOOK_EVERY)
    }

    fn renewal_failed(&mut self, error: &EdgeError) {
        self.standing.failed(&error.to_string());
        self.renewal.failed();
        let status = self.standing.certificate();
        let days_left = status.days_left(now_us());
        if status.is_ending(now_us()) {
            let code = Refusal::EdgeRenewal.code();
            tracing::error!(%code, days_left, %error, "the certificate is about to end and was not renewed");
        } else {
            tracing::warn!(days_left, %error, "the certificate was not renewed; trying again");
        }
    }

    /// The publisher has tried the new identity: it is in force, or gone.
    fn note_trial(&mut self) {
        if self.standing.certificate().failures == 0 {
            self.renewal.done(Duration::ZERO)
        } else {
            self.renewal.failed()
        }
    }

    /// When to renew; `None` while a new identity waits to be tried.
    fn renewal_due_us(&self) -> Option<i64> {
        if self.folder.has_next() {
            return None;
        }
        let leaf = self.folder.credentials(Identity::Current).ok()?.leaf;
        Some(renewal_due_us(leaf.life_us(), self.spread).max(self.renewal.not_before_us))
    }

    /// When to fetch the list; `None` when there is a fixed server.
    fn list_due_us(&self, is_asked: bool) -> Option<i64> {
        if self.fixed_host.is_some() {
            return None;
        }
        let fetched = self.folder.services().ok().flatten().map_or(0, |list| list.fetched_at_us);
        let due = if is_asked { now_us() } else { after(fetched, self.options.list_every) };
        // A clock that was set back would otherwise put the next fetch off for good.
        let due = due.min(after(now_us(), self.options.list_every));
        Some(due.max(self.list.not_before_us))
    }

    async fn renew(&self) -> Result<(), EdgeError> {
        let credentials = self.credentials()?;
        let key = DeviceKeyPair::generate()?;
        let request = key.request(&self.device.device)?;
        let (origin, tls) = (self.origin()?, &credentials.config);
        let authorities = est::fetch_authorities(&origin, tls).await?;
        let asked =
            est::request_certificate(&origin, tls, request, key.public_key(), &authorities, By::Renew);
        let chain = asked.await?;
        check_chain(&chain, &self.folder.roots()?)?;
        if tls::device_of(&chain[0].der().into()).ok().as_ref() != Some(&self.device) {
            return Err(answer("the gateway sent a certificate of another device"));
        }
        self.folder.stage(&key, &chain)?;
        let (_, not_after_us) = chain[0].life_us();
        tracing::info!(
            serial = chain[0].serial(),
            not_after_us,
            "the certificate is renewed; connecting with it"
        );
        Ok(())
    }

    async fn refresh_list(&self) -> Result<(), EdgeError> {
        let credentials = self.credentials()?;
        let signed = est::fetch_list(&self.origin()?, &credentials.config).await?;
        let (roots, known) = (self.folder.roots()?, self.folder.services().ok().flatten());
        let list = ServiceList::verify(&signed, &roots, known.as_ref(), now_us())?;
        self.take_over_roots(&roots, &list)?;
        self.folder.write_services(&list)?;
        self.standing.set_fronts(list.fronts());
        Ok(())
    }

    /// Trusts what a list that we trust says to trust: so the authority rolls over. The next connection uses it.
    fn take_over_roots(&self, roots: &[Certificate], list: &ServiceList) -> Result<(), EdgeError> {
        let named = list.roots()?;
        let is_known = |one: &Certificate| roots.iter().any(|root| root.der() == one.der());
        if named.is_empty() || (named.len() == roots.len() && named.iter().all(is_known)) {
            return Ok(());
        }
        self.folder.write_roots(&named)?;
        tracing::info!(authorities = named.len(), "the list of fronts changed the authorities to trust");
        Ok(())
    }

    fn credentials(&self) -> Result<Credentials, EdgeError> {
        let credentials = self.folder.credentials(Identity::Current);
        credentials.map_err(|error| EdgeError::reject(Refusal::EdgeFolder, error.to_string()))
    }

    fn origin(&self) -> Result<Origin, EdgeError> {
        match (self.folder.services().ok().flatten(), &self.fixed_host) {
            (Some(list), _) => Origin::read(&list.est),
            (None, Some(host)) => Ok(Origin::of_host(host)),
            (None, None) => Err(EdgeError::reject(Refusal::EdgeServices, "services.json is missing")),
        }
    }
}

fn after(at_us: i64, wait: Duration) -> i64 {
    at_us.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}

/// Two thirds of a life, moved by `spread` (-0.5 to 0.5) of a thirtieth, so that a fleet does not renew in step.
fn renewal_due_us((from, until): (i64, i64), spread: f64) -> i64 {
    let life = until.saturating_sub(from).max(0);
    from.saturating_add(life / 3 * 2).saturating_add(((life / SPREAD_DIVISOR) as f64 * spread) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_around_two_thirds_of_its_life() {
        let life = (1_000_000, 31_000_000);
        assert_eq!(renewal_due_us(life, 0.0), 21_000_000);
        assert_eq!(renewal_due_us(life, -0.5), 20_500_000);
        assert_eq!(renewal_due_us(life, 0.5), 21_500_000);
        assert_eq!(renewal_due_us((5, 5), 0.5), 5);
    }
}
