//! Who may connect at all, before anything costs: connects per second, connects and handshakes per peer, and each
//! tenant's share of the sessions when the front is nearly full.
//!
//! Before TLS a peer is its address. One address may be a hospital behind its router, so the bounds per peer are wide.
//! Addresses that have had a session keep a reserve of connects: strangers, however many, leave it alone, so devices
//! that are known come back through a flood.

use super::budget::Rate;
use super::limits::{HANDSHAKES_MAX, PEERS_MAX};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use wardline_proto::refusal::Refusal;

/// Bounds on connecting.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionOptions {
    /// Connects of all peers.
    pub connects: Rate,
    /// Part of the burst of `connects` that only addresses with an earlier session may use, 0 to 1.
    pub known_reserve: f64,
    /// Connects of one peer address.
    pub peer_connects: Rate,
    /// Handshakes of one peer address at the same time, until it has had a session: then the bound of all holds.
    pub peer_handshakes_max: usize,
    /// Part of `connections_max` from which on each tenant keeps to its share, 0 to 1. A share is `connections_max` by
    /// the number of tenants that are connected.
    pub fair_from: f64,
}

impl Default for AdmissionOptions {
    fn default() -> Self {
        Self {
            connects: Rate { per_second: 2_000.0, burst: 20_000.0 },
            known_reserve: 0.5,
            peer_connects: Rate { per_second: 1_000.0, burst: 10_000.0 },
            peer_handshakes_max: HANDSHAKES_MAX / 2,
            fair_from: 0.8,
        }
    }
}

impl AdmissionOptions {
    /// Returns what is wrong with the settings.
    pub fn problems(&self) -> Vec<&'static str> {
        let rate = |rate: &Rate| rate.per_second > 0.0 && rate.burst >= 1.0;
        let part = |part: f64| (0.0..=1.0).contains(&part);
        let rules = [
            (rate(&self.connects), "connects: per_second above 0 and burst at least 1"),
            (rate(&self.peer_connects), "peer_connects: per_second above 0 and burst at least 1"),
            (part(self.known_reserve) && self.known_reserve < 1.0, "known_reserve: 0 to below 1"),
            (part(self.fair_from), "fair_from: 0 to 1"),
            (self.peer_handshakes_max >= 1, "peer_handshakes_max: at least 1"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, problem)| problem).collect()
    }
}

/// What is bounded together: an IPv4 address, or the 64 bits of an IPv6 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PeerKey(IpAddr);

impl PeerKey {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            v4 => Self(v4),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    level: f64,
    refilled_at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { level: rate.burst, refilled_at: now }
    }

    /// Takes one when more than `reserve` is left.
    fn take(&mut self, rate: Rate, now: Instant, reserve: f64) -> bool {
        let seconds = now.saturating_duration_since(self.refilled_at).as_secs_f64();
        self.refilled_at = self.refilled_at.max(now);
        self.level = (self.level + rate.per_second * seconds).min(rate.burst);
        let takes = self.level >= 1.0 + reserve;
        self.level -= f64::from(u8::from(takes));
        takes
    }
}

#[derive(Debug)]
struct Peer {
    connects: Bucket,
    shaking: Arc<AtomicUsize>,
    known: bool,
}

/// Peers in two generations: who is not heard of while half of [`PEERS_MAX`] others are is forgotten.
#[derive(Debug, Default)]
struct Peers {
    young: HashMap<PeerKey, Peer>,
    old: HashMap<PeerKey, Peer>,
}

impl Peers {
    fn get(&mut self, key: PeerKey, rate: Rate, now: Instant) -> &mut Peer {
        if !self.young.contains_key(&key) && self.young.len() >= PEERS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            // Handshakes are bounded, and so is what is kept for them.
            self.young = self.old.extract_if(|_, peer| peer.shaking.load(Ordering::Relaxed) > 0).collect();
        }
        let old = self.old.remove(&key);
        self.young.entry(key).or_insert_with(|| {
            old.unwrap_or_else(|| Peer {
                connects: Bucket::full(rate, now),
                shaking: Arc::default(),
                known: false,
            })
        })
    }
}

#[derive(Debug)]
struct State {
    connects: Bucket,
    peers: Peers,
}

/// The front's admission.
#[derive(Debug)]
pub(super) struct Admission {
    options: AdmissionOptions,
    state: Mutex<State>,
}

/// A place among those that shake hands; given back when it is dropped.
#[derive(Debug)]
pub(super) struct HandshakePlace {
    _permit: OwnedSemaphorePermit,
    shaking: Arc<AtomicUsize>,
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        self.shaking.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) fn new(options: AdmissionOptions) -> Self {
        let connects = Bucket::full(options.connects, Instant::now());
        Self { options, state: Mutex::new(State { connects, peers: Peers::default() }) }
    }

    /// Lets a peer shake hands, or says why not. What the peer's own bound refuses costs the others nothing.
    pub(super) fn connect(
        &self,
        peer: PeerKey,
        permit: OwnedSemaphorePermit,
        now: Instant,
    ) -> Result<HandshakePlace, Refusal> {
        let options = &self.options;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { connects, peers } = &mut *state;
        let peer = peers.get(peer, options.peer_connects, now);
        let handshakes_max = if peer.known { HANDSHAKES_MAX } else { options.peer_handshakes_max };
        if peer.shaking.load(Ordering::Relaxed) >= handshakes_max
            || !peer.connects.take(options.peer_connects, now, 0.0)
        {
            return Err(Refusal::QuotaConnects);
        }
        let reserve = if peer.known { 0.0 } else { options.known_reserve * options.connects.burst };
        // A burst of one leaves nothing to reserve.
        if !connects.take(options.connects, now, reserve.min(options.connects.burst - 1.0)) {
            return Err(Refusal::QuotaConnects);
        }
        peer.shaking.fetch_add(1, Ordering::Relaxed);
        Ok(HandshakePlace { _permit: permit, shaking: peer.shaking.clone() })
    }

    /// Notes that a session was opened from an address.
    pub(super) fn known(&self, peer: PeerKey) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.peers.get(peer, self.options.peer_connects, Instant::now()).known = true;
    }

    /// Says whether a tenant may have one more session. `sessions` is of all, `own` the tenant's, `tenants` how many
    /// would be connected.
    pub(super) fn has_share(
        &self,
        connections_max: usize,
        sessions: usize,
        own: usize,
        tenants: usize,
    ) -> bool {
        let is_near = sessions as f64 >= self.options.fair_from * connections_max as f64;
        !is_near || own < connections_max.div_ceil(tenants.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::Semaphore;

    fn admission(change: impl FnOnce(&mut AdmissionOptions)) -> Admission {
        let mut options = AdmissionOptions::default();
        change(&mut options);
        Admission::new(options)
    }

    fn peer(last: u16) -> PeerKey {
        PeerKey::of(Ipv6Addr::new(0x2001, 0xdb8, 0, last, 0, 0, 0, 9).into())
    }

    fn connect(to: &Admission, from: u16, now: Instant) -> Result<HandshakePlace, Refusal> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        to.connect(peer(from), permit, now)
    }

    #[test]
    fn all_connects_are_bounded_and_refill() {
        let one = Rate { per_second: 1.0, burst: 2.0 };
        let admission = admission(|options| (options.connects, options.known_reserve) = (one, 0.0));
        let now = Instant::now();
        assert!(connect(&admission, 1, now).is_ok() && connect(&admission, 2, now).is_ok());
        assert_eq!(connect(&admission, 3, now).unwrap_err(), Refusal::QuotaConnects);
        assert!(connect(&admission, 3, now + Duration::from_secs(2)).is_ok());
    }

    #[test]
    fn a_peer_is_bounded_in_connects_and_handshakes_and_costs_others_nothing() {
        let now = Instant::now();
        let few = admission(|options| options.peer_connects = Rate { per_second: 1.0, burst: 3.0 });
        let taken: Vec<_> = (0..100).filter_map(|_| connect(&few, 1, now).ok()).collect();
        assert_eq!(taken.len(), 3);
        assert!(connect(&few, 2, now).is_ok());
        let shaking = admission(|options| options.peer_handshakes_max = 2);
        let mut held: Vec<_> = (0..9).filter_map(|_| connect(&shaking, 1, now).ok()).collect();
        assert_eq!(held.len(), 2);
        held.pop();
        assert!(connect(&shaking, 1, now).is_ok(), "a place was given back");
        let same = PeerKey::of(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 7, 7, 7, 7).into());
        assert_eq!(same, peer(1), "one network");
        assert_ne!(PeerKey::of([10, 0, 0, 1].into()), PeerKey::of([10, 0, 0, 2].into()));
    }

    #[test]
    fn strangers_leave_known_addresses_their_reserve() {
        let ten = Rate { per_second: 0.001, burst: 10.0 };
        let admission = admission(|options| options.connects = ten);
        let now = Instant::now();
        admission.known(peer(1));
        let strangers = (2..900).filter(|from| connect(&admission, *from, now).is_ok()).count();
        assert_eq!(strangers, 5);
        let known = (0..900).filter(|_| connect(&admission, 1, now).is_ok()).count();
        assert_eq!(known, 5);
    }

    #[test]
    fn peers_are_forgotten_at_the_bound_but_not_while_they_shake_hands() {
        let wide = Rate { per_second: 1e9, burst: 1e9 };
        let admission = admission(|options| (options.connects, options.peer_handshakes_max) = (wide, 1));
        let now = Instant::now();
        let held = connect(&admission, 1, now).unwrap();
        let mut state = admission.state.lock().unwrap();
        for n in 0..2 * PEERS_MAX as u32 {
            state.peers.get(PeerKey(n.to_be_bytes().into()), wide, now);
        }
        assert!(state.peers.young.len() + state.peers.old.len() <= PEERS_MAX + HANDSHAKES_MAX);
        drop(state);
        assert!(connect(&admission, 1, now).is_err(), "it still shakes hands");
        drop(held);
        assert!(connect(&admission, 1, now).is_ok());
    }

    #[test]
    fn a_tenant_keeps_to_its_share_when_the_front_is_nearly_full() {
        let admission = admission(|_| {});
        assert!(admission.has_share(100, 79, 79, 2), "there is room");
        assert!(!admission.has_share(100, 80, 79, 2));
        assert!(admission.has_share(100, 80, 1, 2), "the other has its share");
        assert!(admission.has_share(100, 99, 99, 1), "nobody else is there");
    }
}
