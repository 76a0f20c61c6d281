//! `services.json`: where the fronts are, as the gateway last said, with our notes.
//!
//! What comes over the network is believed only signed, unexpired and no older than what is known. The file is as
//! trusted as `ca.pem` beside it, and is used even when expired: it only says where to knock, who opens is proven by
//! TLS, and a device that was in a drawer for a month must find its way.

use super::certificate::Certificate;
use super::error::{EdgeError, services};
use super::limits::{CERTIFICATES_MAX, CLOCK_SKEW_US_MAX, FRONTS_MAX};
use super::{jws, pem};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const VERSION: u32 = 1;

/// A front: host and port of an MQTT listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FrontAddr {
    /// Host name or address, brackets off.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for FrontAddr {
    type Err = String;

    /// Reads `HOST:PORT` or `[V6]:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is not HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host =
            |host: &str| !host.is_empty() && host.len() <= 253 && !host.contains([' ', '/', '@', ',']);
        match bare {
            Some(bare) if is_host(bare) => Ok(Self { host: bare.to_owned(), port }),
            None if is_host(host) && !host.contains(':') => Ok(Self { host: host.to_owned(), port }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for FrontAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The list, as signed; unknown fields are left alone, so that a later gateway may say more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceList {
    pub(crate) version: u32,
    pub(crate) issued_at_us: i64,
    pub(crate) expires_at_us: i64,
    pub(crate) fronts: Vec<String>,
    pub(crate) est: String,
    #[serde(default)]
    pub(crate) ca_pem: String,
    /// When we got it; not part of what is signed.
    #[serde(default)]
    pub(crate) fetched_at_us: i64,
}

impl ServiceList {
    /// Believes a signed list, or says why not. `known` is the list in use.
    pub(super) fn verify(
        signed: &str,
        roots: &[Certificate],
        known: Option<&Self>,
        now_us: i64,
    ) -> Result<Self, EdgeError> {
        let payload = jws::verify(signed, roots, now_us)?;
        let list: Self = serde_json::from_slice(&payload).map_err(|_| services("it cannot be read"))?;
        list.believe(known, now_us)
    }

    fn believe(self, known: Option<&Self>, now_us: i64) -> Result<Self, EdgeError> {
        let list = self;
        if list.version != VERSION {
            return Err(services(format!("it is of version {}; this agent reads {VERSION}", list.version)));
        }
        if now_us >= list.expires_at_us {
            return Err(services("it has expired"));
        }
        if list.issued_at_us > now_us.saturating_add(CLOCK_SKEW_US_MAX) {
            return Err(services("it was made in the future"));
        }
        // Two gateways' clocks may differ by as much as theirs and ours.
        let is_older =
            |known: &Self| list.issued_at_us < known.issued_at_us.saturating_sub(CLOCK_SKEW_US_MAX);
        if known.is_some_and(is_older) {
            return Err(services("it is older than the list in use"));
        }
        list.check()?;
        Ok(Self { fetched_at_us: now_us, ..list })
    }

    /// Reads the file's bytes.
    pub(super) fn from_file(bytes: &[u8]) -> Result<Self, EdgeError> {
        let list: Self =
            serde_json::from_slice(bytes).map_err(|_| services("services.json cannot be read"))?;
        list.check()?;
        Ok(list)
    }

    /// Makes the file's bytes.
    pub(super) fn to_file(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Returns the fronts in their order.
    pub(crate) fn fronts(&self) -> Vec<FrontAddr> {
        self.fronts.iter().filter_map(|front| front.parse().ok()).collect()
    }

    /// Returns the roots that the list says to trust; empty when it says nothing of them.
    pub(super) fn roots(&self) -> Result<Vec<Certificate>, EdgeError> {
        let ders = pem::read(&self.ca_pem).ok_or_else(|| services("its authorities cannot be read"))?;
        let all: Option<Vec<_>> = ders.iter().map(|der| Certificate::read(der)).collect();
        let mut roots = all.ok_or_else(|| services("its authorities cannot be read"))?;
        roots.retain(Certificate::is_root);
        if roots.len() > CERTIFICATES_MAX {
            return Err(services("it names too many authorities"));
        }
        Ok(roots)
    }

    fn check(&self) -> Result<(), EdgeError> {
        if self.fronts.is_empty() || self.fronts.len() > FRONTS_MAX {
            return Err(services(format!(
                "it names {} fronts; 1 to {FRONTS_MAX} are allowed",
                self.fronts.len()
            )));
        }
        match self.fronts.iter().find_map(|front| front.parse::<FrontAddr>().err()) {
            Some(problem) => Err(services(problem)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_before_the_one_in_use_is_not_believed() {
        let list = |issued_at_us| ServiceList {
            version: VERSION,
            issued_at_us,
            expires_at_us: i64::MAX,
            fronts: vec!["gw:1".to_owned()],
            est: String::new(),
            ca_pem: String::new(),
            fetched_at_us: 0,
        };
        let now = 10 * CLOCK_SKEW_US_MAX;
        let believe = |issued, known: i64| list(issued).believe(Some(&list(known)), now).is_ok();
        assert!(believe(now, now) && believe(now - CLOCK_SKEW_US_MAX, now));
        assert!(!believe(now - CLOCK_SKEW_US_MAX - 1, now));
        assert!(believe(now + CLOCK_SKEW_US_MAX, now) && !believe(now + CLOCK_SKEW_US_MAX + 1, now));
    }

    #[test]
    fn fronts_are_read_and_written() {
        for good in ["gw.example:8883", "127.0.0.1:1", "[::1]:8883"] {
            assert_eq!(good.parse::<FrontAddr>().unwrap().to_string(), good);
        }
        for bad in ["gw", "gw:0", "gw:99999", ":1", "::1:8883", "a b:1", "user@gw:1", "[]:1", ""] {
            assert!(bad.parse::<FrontAddr>().is_err(), "{bad}");
        }
    }
}
