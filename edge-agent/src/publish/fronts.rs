//! Which front to call next: the list in its order, failover, redirects, and the way back. Sans-IO.

use crate::onboard::{EdgeError, FrontAddr};
use crate::options::SERVER_PORT_DEFAULT;
use std::time::{Duration, Instant};
use wardline_proto::refusal::Refusal;

/// Redirects that are followed one after the other. Wherever they lead, TLS proves that it is one of ours.
const HOPS_MAX: u8 = 5;
/// Longest stay with a front that is not the first, when the first keeps failing.
const RETURN_AFTER_MAX: Duration = Duration::from_secs(6 * 3600);

/// Where a gateway sends a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// Its Server Reference: `HOST[:PORT]`, several separated by spaces. [MQTT5 4.11]
    pub(super) reference: Option<String>,
    /// Whether the list should be fetched anew: the server has moved.
    pub(super) is_for_good: bool,
}

/// How soon to call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Another front has not been tried in this round.
    Now,
    /// All have been tried.
    Later,
}

/// The fronts and the place in them.
#[derive(Debug)]
pub(super) struct Fronts {
    list: Vec<FrontAddr>,
    at: usize,
    /// Fronts that failed in this round.
    failed: usize,
    redirect: Option<FrontAddr>,
    hops: u8,
    return_after_min: Duration,
    return_after: Duration,
    return_due: Option<Instant>,
}

impl Fronts {
    /// Starts at the first of `list`, which is not empty.
    pub(super) fn new(list: Vec<FrontAddr>, return_after: Duration) -> Self {
        Self {
            list,
            at: 0,
            failed: 0,
            redirect: None,
            hops: 0,
            return_after_min: return_after,
            return_after,
            return_due: None,
        }
    }

    /// Takes a new list; the front in use stays in use while the connection lasts.
    pub(super) fn set_list(&mut self, list: Vec<FrontAddr>) {
        if !list.is_empty() {
            (self.list, self.at, self.failed) = (list, 0, 0);
        }
    }

    /// Returns whom to call; `None` when there is no list.
    pub(super) fn current(&self) -> Option<&FrontAddr> {
        self.redirect.as_ref().or_else(|| self.list.get(self.at)).or_else(|| self.list.first())
    }

    /// Notes that the current one did not connect.
    pub(super) fn failed(&mut self) -> Again {
        self.redirect = None;
        self.failed += 1;
        self.at += 1;
        if self.failed < self.list.len() && self.at < self.list.len() {
            return Again::Now;
        }
        (self.at, self.failed) = (0, 0);
        Again::Later
    }

    /// Notes that the current one has connected.
    pub(super) fn connected(&mut self, now: Instant) {
        self.failed = 0;
        self.return_due = None;
        if self.redirect.is_some() {
            return;
        }
        if self.at == 0 {
            self.return_after = self.return_after_min;
        } else {
            self.return_due = Some(now + self.return_after);
            self.return_after = (self.return_after * 2).min(RETURN_AFTER_MAX);
        }
    }

    /// Notes that the connection has proven good: redirects are counted from here.
    pub(super) fn settled(&mut self) {
        self.hops = 0;
    }

    /// When to go back to the first.
    pub(super) fn return_due(&self) -> Option<Instant> {
        self.return_due
    }

    /// Goes back to the first.
    pub(super) fn go_back(&mut self) {
        (self.at, self.failed, self.redirect, self.return_due) = (0, 0, None, None);
    }

    /// Follows a redirect. An error when they go on and on: then the list is started over, later.
    pub(super) fn follow(&mut self, redirect: &Redirect) -> Result<Again, EdgeError> {
        if self.hops >= HOPS_MAX {
            self.go_back();
            self.hops = 0;
            let problem = format!("the fronts redirected {HOPS_MAX} times in a row");
            return Err(EdgeError::retry(Refusal::EdgeRedirect, problem));
        }
        self.hops += 1;
        let references = redirect.reference.as_deref().unwrap_or_default().split_whitespace();
        match references.filter_map(read_reference).next() {
            Some(front) => {
                self.redirect = Some(front);
                Ok(Again::Now)
            }
            // Told to go, not where to: on to the next of the list.
            None => Ok(self.failed()),
        }
    }
}

fn read_reference(text: &str) -> Option<FrontAddr> {
    text.parse().or_else(|_| format!("{text}:{SERVER_PORT_DEFAULT}").parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fronts(n: u16) -> Fronts {
        let list = (1..=n).map(|port| FrontAddr { host: "gw".into(), port }).collect();
        Fronts::new(list, Duration::from_secs(600))
    }

    fn port(fronts: &Fronts) -> u16 {
        fronts.current().unwrap().port
    }

    fn to(reference: &str) -> Redirect {
        Redirect { reference: Some(reference.into()), is_for_good: false }
    }

    #[test]
    fn every_front_is_tried_before_a_pause_and_the_first_again_after_it() {
        let mut fronts = fronts(3);
        for _ in 0..3 {
            assert_eq!((port(&fronts), fronts.failed()), (1, Again::Now));
            assert_eq!((port(&fronts), fronts.failed()), (2, Again::Now));
            assert_eq!((port(&fronts), fronts.failed()), (3, Again::Later));
        }
        assert_eq!(port(&fronts), 1);
    }

    #[test]
    fn the_way_back_is_tried_ever_more_rarely_while_the_first_fails() {
        let (mut fronts, now) = (fronts(2), Instant::now());
        fronts.connected(now);
        assert_eq!(fronts.return_due(), None);
        for minutes in [10, 20, 40, 80, 160, 320, 360, 360] {
            fronts.failed();
            fronts.connected(now);
            assert_eq!(fronts.return_due(), Some(now + Duration::from_secs(minutes * 60)));
            fronts.go_back();
            assert_eq!(port(&fronts), 1);
        }
        fronts.connected(now);
        fronts.failed();
        fronts.connected(now);
        assert_eq!(fronts.return_due(), Some(now + Duration::from_secs(600)));
    }

    #[test]
    fn redirects_are_followed_and_bounded() {
        let mut fronts = fronts(2);
        assert_eq!(fronts.follow(&to("not/one other.example:7 third")).unwrap(), Again::Now);
        assert_eq!(fronts.current().unwrap().to_string(), "other.example:7");
        assert_eq!(fronts.follow(&to("plain.example")).unwrap(), Again::Now);
        assert_eq!(fronts.current().unwrap().to_string(), "plain.example:8883");
        for _ in 2..HOPS_MAX {
            fronts.follow(&to("x:1")).unwrap();
        }
        assert_eq!(fronts.follow(&to("x:1")).unwrap_err().code(), "WL-EDGE-009");
        assert_eq!(port(&fronts), 1);
        fronts.follow(&to("x:1")).unwrap();
        assert_eq!((fronts.failed(), port(&fronts)), (Again::Now, 2), "a dead end leads on in the list");
    }

    #[test]
    fn a_redirect_without_a_place_leads_to_the_next_front() {
        let mut fronts = fronts(2);
        assert_eq!(fronts.follow(&Redirect { reference: None, is_for_good: true }).unwrap(), Again::Now);
        assert_eq!(port(&fronts), 2);
    }
}
