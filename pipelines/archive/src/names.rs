//! Names of devices that were read, so that each is checked and copied once.

use std::collections::HashMap;
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Names that are known at once; past it all are read again.
const NAMES_MAX: usize = 64 * 1024;
/// Stands between tenant and device: in no name.
const BETWEEN: u8 = b'/';

/// The number of a name, from 0. A name may get another number later: it says where to look first for what is known of a
/// device, and what is found there has its name beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NameNumber(usize);

impl NameNumber {
    /// Returns it.
    pub(crate) fn get(self) -> usize {
        self.0
    }
}

/// Names that were read.
#[derive(Debug, Default)]
pub(crate) struct Names {
    all: Vec<Known>,
    numbers: HashMap<Vec<u8>, usize>,
    /// The number of the name that came last.
    last: usize,
    looked_up: Vec<u8>,
}

#[derive(Debug)]
struct Known {
    key: DeviceKey,
    /// The number of the name that came after it the last time: devices mostly send in turns.
    next: usize,
}

impl Known {
    fn is(&self, tenant: &[u8], device: &[u8]) -> bool {
        self.key.device.as_str().as_bytes() == device && self.key.tenant.as_str().as_bytes() == tenant
    }
}

impl Names {
    /// Returns a device's name with its number; none when that is no name.
    pub(crate) fn of(&mut self, tenant: &[u8], device: &[u8]) -> Option<(DeviceKey, NameNumber)> {
        let guess = self.all.get(self.last).map_or(0, |last| last.next);
        let number = match self.all.get(guess) {
            Some(known) if known.is(tenant, device) => guess,
            _ => self.find(tenant, device)?,
        };
        if let Some(last) = self.all.get_mut(self.last) {
            last.next = number;
        }
        self.last = number;
        Some((self.all.get(number)?.key.clone(), NameNumber(number)))
    }

    fn find(&mut self, tenant: &[u8], device: &[u8]) -> Option<usize> {
        self.looked_up.clear();
        self.looked_up.extend_from_slice(tenant);
        self.looked_up.push(BETWEEN);
        self.looked_up.extend_from_slice(device);
        if let Some(number) = self.numbers.get(&self.looked_up) {
            return Some(*number);
        }
        let text = |name| std::str::from_utf8(name).ok();
        let key = DeviceKey {
            tenant: TenantId::new(text(tenant)?).ok()?,
            device: DeviceId::new(text(device)?).ok()?,
        };
        if self.all.len() >= NAMES_MAX {
            self.all.clear();
            self.numbers.clear();
        }
        let number = self.all.len();
        self.all.push(Known { key, next: 0 });
        self.numbers.insert(self.looked_up.clone(), number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_itself_in_whatever_order_names_come() {
        let mut names = Names::default();
        let turns = ["a/1", "a/2", "b/1", "a/1", "a/2", "b/1", "b/1", "a/2", "a/1", "a/3", "a/1"];
        for _ in 0..3 {
            for name in turns {
                let (tenant, device) = name.split_once('/').unwrap();
                let (key, number) = names.of(tenant.as_bytes(), device.as_bytes()).unwrap();
                assert_eq!(
                    (key.to_string(), names.all[number.get()].key.to_string()),
                    (name.into(), name.into())
                );
            }
        }
        assert_eq!(names.all.len(), 4);
    }

    #[test]
    fn what_is_no_name_is_none() {
        let mut names = Names::default();
        for (tenant, device) in
            [(&b""[..], &b"a"[..]), (b"a", b""), (b"a/b", b"c"), (b"a", b"b/c"), (b"a", b"\xFF")]
        {
            assert_eq!(names.of(tenant, device), None);
        }
    }

    #[test]
    fn names_past_the_bound_are_read_again() {
        let mut names = Names::default();
        for number in 0..=NAMES_MAX {
            let device = format!("d{number}");
            assert_eq!(names.of(b"t", device.as_bytes()).unwrap().0.device.as_str(), device);
        }
        assert_eq!((names.all.len(), names.numbers.len()), (1, 1));
    }
}
