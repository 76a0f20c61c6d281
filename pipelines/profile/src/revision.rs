//! When a changed profile is a new version: the hash of its content, and the rule that versions rise.

use crate::profile::Profile;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use wardline_proto::refusal::Refusal;

/// Prefix of what is hashed; changes only when the canonical form does.
const HASH_DOMAIN: &[u8] = b"wardline-profile-1\n";

/// How one profile follows another of the same model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Revision {
    /// Equal content and version: nothing to do.
    Same,
    /// Changed content under a higher version.
    Newer,
}

/// Says why a profile cannot follow another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionError {
    /// [`Refusal::ProfileVersion`].
    pub code: Refusal,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Profile {
    /// Returns SHA-256 of the content in hex: of everything but the version, whatever the file's layout and comments.
    pub fn content_hash(&self) -> String {
        let content = Self { version: 0, ..self.clone() };
        // Numbers are finite and keys are texts, so this does not fail.
        let canonical = serde_json::to_vec(&content).unwrap_or_default();
        let hash = digest(&SHA256, &[HASH_DOMAIN, &canonical].concat());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Says whether this profile may take the place of `older`.
    pub fn follows(&self, older: &Self) -> Result<Revision, RevisionError> {
        let refuse = |message: String| Err(RevisionError { code: Refusal::ProfileVersion, message });
        if self.model != older.model {
            return refuse(format!("{} is another model than {}", self.model, older.model));
        }
        let changed = self.content_hash() != older.content_hash();
        match (changed, self.version.cmp(&older.version)) {
            (false, std::cmp::Ordering::Equal) => Ok(Revision::Same),
            (true, std::cmp::Ordering::Greater) => Ok(Revision::Newer),
            (true, _) => refuse(format!(
                "the content changed and the version did not rise: it is {}, {} is in use",
                self.version, older.version
            )),
            (false, _) => refuse(format!(
                "the content did not change: keep version {}, not {}",
                older.version, self.version
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::lint;

    const SMALL: &str = include_str!("../../../docs/profiles/pulse-oximeter.toml");

    fn profile(text: &str) -> Profile {
        lint(text).profile.unwrap()
    }

    #[test]
    fn comments_and_order_of_keys_do_not_change_the_hash_and_a_limit_does() {
        let one = profile(SMALL);
        let spaced = SMALL.replace(" = ", "  =  ").replace("[profile]", "# note\n[profile]");
        assert_eq!(profile(&spaced).content_hash(), one.content_hash());
        let changed = profile(&SMALL.replace("below = 90", "below = 88"));
        assert_ne!(changed.content_hash(), one.content_hash());
        assert_eq!(Profile { version: 9, ..one.clone() }.content_hash(), one.content_hash());
    }

    #[test]
    fn the_hash_of_a_shipped_version_does_not_move() {
        // Version 1 of the pulse oximeter. When the canonical form changes, every registered hash is worth nothing.
        assert_eq!(profile(SMALL).content_hash(), GOLDEN);
    }

    const GOLDEN: &str = "e6a98ba1652d3be33694cebc6111dd2bc7c0b0768d8651930ba1bd610270e120";

    #[test]
    fn a_change_needs_a_higher_version_and_a_version_a_change() {
        let old = profile(SMALL);
        assert_eq!(old.follows(&old), Ok(Revision::Same));
        let mut changed = Profile { display_name: "other".into(), ..old.clone() };
        assert_eq!(changed.follows(&old).unwrap_err().code, Refusal::ProfileVersion);
        changed.version += 1;
        assert_eq!(changed.follows(&old), Ok(Revision::Newer));
        assert!(old.follows(&changed).is_err(), "back to the old content under a lower version");
        let risen = Profile { version: 2, ..old.clone() };
        assert!(risen.follows(&old).is_err(), "a version without a change");
        let other = Profile { model: "other".into(), version: 2, ..old.clone() };
        assert!(other.follows(&old).is_err());
    }
}
