//! Where somebody works. A ward is a site: there is one word for it in the registry.

use super::Reject;
use super::principals::Role;
use std::collections::BTreeSet;
use std::fmt;
use wardline_proto::DeviceId;

/// Sites of one principal.
pub const SITES_MAX: usize = 256;
/// Stands for every site of the tenant.
const ALL: &str = "*";

/// The sites whose devices and patients a clinician sees. Nobody sees a site that was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sites {
    /// Every one of the tenant, and devices that are at none.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Default for Sites {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Sites {
    /// Reads names; `*` is every site.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Reject> {
        let mut only = BTreeSet::new();
        for name in names {
            if name == ALL {
                return Ok(Self::All);
            }
            DeviceId::new(name).map_err(|_id| Reject::Invalid("sites"))?;
            only.insert(name.to_owned());
        }
        if only.len() > SITES_MAX { Err(Reject::Invalid("sites")) } else { Ok(Self::Only(only)) }
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Result<Self, Reject> {
        Self::of(text.split(',').filter(|name| !name.is_empty()))
    }

    /// Returns the names; `*` for every site.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec![ALL.to_owned()],
            Self::Only(names) => names.iter().cloned().collect(),
        }
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Only(names) if names.is_empty())
    }

    /// Says whether a site is among them; a device that is at none has the empty name.
    pub fn has(&self, site: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(site),
        }
    }
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

/// What somebody may do, and where. Roles alone are at no site.
#[derive(Debug, Clone, Default)]
pub struct Duties {
    /// What.
    pub roles: Vec<Role>,
    /// Where; it binds clinicians.
    pub sites: Sites,
}

impl Duties {
    /// Makes the duties of roles at sites.
    pub fn at(roles: &[Role], sites: Sites) -> Self {
        Self { roles: roles.to_vec(), sites }
    }
}

impl From<&[Role]> for Duties {
    fn from(roles: &[Role]) -> Self {
        Self::at(roles, Sites::default())
    }
}

impl<const N: usize> From<&[Role; N]> for Duties {
    fn from(roles: &[Role; N]) -> Self {
        Self::from(&roles[..])
    }
}

impl From<&Vec<Role>> for Duties {
    fn from(roles: &Vec<Role>) -> Self {
        Self::from(&roles[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_read_what_they_write_and_have_what_was_given_alone() {
        for (names, text) in [(&["icu", "er", "icu"][..], "er,icu"), (&[], ""), (&["er", "*"], "*")] {
            let sites = Sites::of(names.iter().copied()).unwrap();
            assert_eq!((sites.to_string().as_str(), Sites::parse(text).unwrap()), (text, sites));
        }
        let icu = Sites::of(["icu"]).unwrap();
        assert!(icu.has("icu") && !icu.has("er") && !icu.has("") && Sites::All.has(""));
        assert!(Sites::default().is_empty() && !Sites::default().has("") && !Sites::All.is_empty());
        assert!(Sites::of(["a,b"]).is_err() && Sites::of([""]).is_err());
    }
}
