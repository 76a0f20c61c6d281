//! The profiles that devices are judged by: the registry's, followed while the archive runs.
//!
//! What the registry says when a frame is read from the journal holds for it; a new version takes effect at once where
//! the database tells of it, else within [`ArchiveOptions::profile_poll`](crate::ArchiveOptions). A profile that does not lint judges nothing, and is told.

use crate::error::ArchiveError;
use crate::intake::{Arrival, Arrived, Content};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wardline_profile::Profile;
use wardline_profile::lint::lint;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::Body;
use wardline_store::Store;
use wardline_store::bell::{Bell, Matter};

/// Devices whose profile is remembered; past it all are looked up again.
const DEVICES_MAX: usize = 64 * 1024;
/// Findings that a quarantined frame is told with; more are counted.
const FINDINGS_MAX: usize = 8;

/// A profile in force.
#[derive(Debug)]
pub(crate) struct InForce {
    /// Model and version, as rows name it: `wd-200/3`.
    pub(crate) name: String,
    pub(crate) profile: Profile,
}

/// What a profile has to say against a body: in words, bounded.
#[derive(Debug)]
pub(crate) struct Breach(pub(crate) String);

/// The profiles of one version of the registry.
#[derive(Default)]
pub(crate) struct Profiles {
    version: Option<i64>,
    looked_at: Option<Instant>,
    bell: Option<Bell>,
    models: HashMap<String, Arc<InForce>>,
    devices: HashMap<DeviceKey, Option<Arc<InForce>>>,
}

impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiles").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Profiles {
    /// Makes what is told of new profiles, where the database can do that.
    pub(crate) fn followed(store: &Store) -> Self {
        Self { bell: Some(store.bell(Matter::Profiles)), ..Self::default() }
    }

    /// Gives each publish the profile of its device, and judges it.
    pub(crate) async fn judge(
        &mut self,
        arrivals: impl Iterator<Item = &mut Arrival>,
        store: &Store,
        poll: Duration,
    ) -> Result<(), ArchiveError> {
        self.refresh(store, poll).await?;
        if self.models.is_empty() {
            return Ok(());
        }
        for arrival in arrivals {
            if let Content::Publish(arrived) = &mut arrival.content
                && let Some(profile) = self.of(&arrived.key, store).await?
            {
                judge(arrived, profile);
            }
        }
        Ok(())
    }

    async fn refresh(&mut self, store: &Store, poll: Duration) -> Result<(), ArchiveError> {
        let has_changed = self.bell.as_mut().is_some_and(Bell::has_rung);
        if !has_changed && self.looked_at.is_some_and(|at| at.elapsed() < poll) {
            return Ok(());
        }
        let version = store.registry_version().await?;
        if self.version != Some(version) {
            self.devices.clear();
            self.models.clear();
            for model in store.profiled_models().await? {
                let id = model.model.as_str().to_owned();
                let name = format!("{id}/{}", model.profile_version);
                match lint(&model.profile).profile {
                    Some(profile) => {
                        self.models.insert(id, Arc::new(InForce { name, profile }));
                    }
                    None => {
                        tracing::warn!(profile = name, "a registered profile does not lint: not judged by")
                    }
                }
            }
            self.version = Some(version);
        }
        self.looked_at = Some(Instant::now());
        Ok(())
    }

    async fn of(&mut self, key: &DeviceKey, store: &Store) -> Result<Option<Arc<InForce>>, ArchiveError> {
        if let Some(known) = self.devices.get(key) {
            return Ok(known.clone());
        }
        let model = store.model_of(key).await?;
        let profile = model.and_then(|model| self.models.get(&model)).cloned();
        if self.devices.len() >= DEVICES_MAX {
            self.devices.clear();
        }
        self.devices.insert(key.clone(), profile.clone());
        Ok(profile)
    }
}

/// Judges a publish that reads; one that does not has its reason already.
fn judge(arrived: &mut Arrived, profile: Arc<InForce>) {
    if let Ok(body) = &arrived.body
        && let Some(breach) = breach(&profile.profile, body)
    {
        arrived.body = Err(Refusal::ProfileBroken);
        arrived.breach = Some(breach);
    }
    arrived.profile = Some(profile);
}

fn breach(profile: &Profile, body: &Body) -> Option<Breach> {
    let found = profile.judge_form(body);
    let told: Vec<_> = found.iter().take(FINDINGS_MAX).map(ToString::to_string).collect();
    let more = found.len().saturating_sub(FINDINGS_MAX);
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    (!told.is_empty()).then(|| Breach(told.join("; ") + &more))
}
