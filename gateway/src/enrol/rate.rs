//! How often may be asked: a bucket for each address, one for all.

use super::limits::SOURCES_MAX;
use crate::front::Rate;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[derive(Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { level: rate.burst, at: now }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + rate.per_second * seconds).min(rate.burst);
        self.at = now;
    }

    /// Returns how many seconds are missing to one request; 0 when it may be taken.
    fn missing_s(&self, rate: Rate) -> u64 {
        if self.level >= 1.0 { 0 } else { ((1.0 - self.level) / rate.per_second).ceil().max(1.0) as u64 }
    }
}

struct Buckets {
    overall: Bucket,
    sources: HashMap<IpAddr, Bucket>,
    /// All addresses past the bound.
    others: Bucket,
}

/// Counts requests.
pub(super) struct Limiter {
    per_source: Rate,
    overall: Rate,
    buckets: Mutex<Buckets>,
}

impl Limiter {
    /// Makes full buckets.
    pub(super) fn new(per_source: Rate, overall: Rate, now: Instant) -> Self {
        let buckets = Buckets {
            overall: Bucket::full(overall, now),
            sources: HashMap::new(),
            others: Bucket::full(per_source, now),
        };
        Self { per_source, overall, buckets: Mutex::new(buckets) }
    }

    /// Takes one request of an address. The error is how many seconds to wait; what is refused costs nothing.
    pub(super) fn take(&self, from: IpAddr, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { overall, sources, others } = &mut *buckets;
        let source = source(from);
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&source) {
            // Who is full again has asked for nothing lately and is forgotten.
            sources.retain(|_source, bucket| {
                bucket.refill(self.per_source, now);
                bucket.level < self.per_source.burst
            });
        }
        let bucket = if sources.len() < SOURCES_MAX || sources.contains_key(&source) {
            sources.entry(source).or_insert_with(|| Bucket::full(self.per_source, now))
        } else {
            others
        };
        bucket.refill(self.per_source, now);
        overall.refill(self.overall, now);
        match bucket.missing_s(self.per_source).max(overall.missing_s(self.overall)) {
            0 => {
                bucket.level -= 1.0;
                overall.level -= 1.0;
                Ok(())
            }
            seconds => Err(seconds),
        }
    }
}

/// One subscriber of IPv6 has a /64.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_address_does_not_use_up_another_ones_rate() {
        let (few, many) = (Rate { per_second: 1.0, burst: 2.0 }, Rate { per_second: 10.0, burst: 100.0 });
        let now = Instant::now();
        let limiter = Limiter::new(few, many, now);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!([(); 3].map(|()| limiter.take(one, now)), [Ok(()), Ok(()), Err(1)]);
        assert_eq!(limiter.take(other, now), Ok(()));
        assert_eq!(limiter.take(one, now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn past_the_bound_addresses_share_one_bucket_and_the_map_does_not_grow() {
        let (few, many) = (Rate { per_second: 0.001, burst: 2.0 }, Rate { per_second: 1e9, burst: 1e9 });
        let now = Instant::now();
        let limiter = Limiter::new(few, many, now);
        let address = |n: usize| IpAddr::from(Ipv6Addr::from_bits((n as u128) << 64));
        for n in 0..SOURCES_MAX {
            assert_eq!(limiter.take(address(n), now), Ok(()));
        }
        let past = [1, 2, 3].map(|n| limiter.take(address(SOURCES_MAX + n), now).is_ok());
        assert_eq!(past, [true, true, false]);
        assert_eq!(limiter.buckets.lock().unwrap().sources.len(), SOURCES_MAX);
    }
}
