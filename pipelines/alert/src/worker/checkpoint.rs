//! The engine's checkpoint: opened at the start, sealed and committed with the events at each step.

use super::AlertError;
use super::core::{Decided, Decision};
use crate::engine::{Engine, Transition};
use crate::progress::now_us;
use crate::rules::Rules;
use crate::seal::{Sealers, device_aad, global_aad, sealed_event};
use std::sync::Arc;
use wardline_journal::{KeyError, Offset, Source};
use wardline_store::Store;
use wardline_store::alerts::{AlertCommit, AlertCommitError, NewEvent};
use wardline_store::cluster::{Claim, Standing, Step};

pub(super) struct Checkpoints {
    store: Store,
    sealers: Arc<Sealers>,
    consumer: String,
    generation: i64,
    rules: Rules,
    source: Option<Arc<dyn Source>>,
    claim: Option<Claim>,
}

impl Checkpoints {
    pub(super) fn new(store: Store, sealers: Arc<Sealers>, consumer: String, rules: Rules) -> Self {
        Self { store, sealers, consumer, generation: 0, rules, source: None, claim: None }
    }

    /// Commits under a claim, with how far its source is passed.
    pub(super) fn with(mut self, source: Arc<dyn Source>, claim: Option<Claim>) -> Self {
        (self.source, self.claim) = (Some(source), claim);
        self
    }

    /// Opens the last checkpoint. State that does not open is an error: an engine that forgot what is present
    /// would tell everything anew.
    pub(super) async fn load(&mut self) -> Result<(Engine, Option<Offset>, Vec<Transition>), AlertError> {
        let rules = self.rules.clone();
        let Some(stored) = self.store.alert_checkpoint(&self.consumer).await? else {
            return Ok((Engine::new(rules), None, Vec::new()));
        };
        self.generation = stored.generation;
        let global = self.sealers.of(None)?.open(&global_aad(&self.consumer), &stored.sealed)?;
        let mut devices = Vec::with_capacity(stored.devices.len());
        for (key, sealed) in stored.devices {
            let aad = device_aad(&self.consumer, &key);
            let state = self.sealers.of(Some(&key.tenant))?.open(&aad, &sealed)?;
            devices.push((key, state));
        }
        let mut raised = Vec::new();
        let engine = Engine::restore(rules, &global, devices, &mut raised)?;
        Ok((engine, Some(Offset::new(stored.next_offset)), raised))
    }

    /// Seals what was decided.
    pub(super) fn seal(&self, decided: &Decided) -> Result<AlertCommit, KeyError> {
        let mut devices = Vec::with_capacity(decided.changes.devices.len());
        for (key, state) in &decided.changes.devices {
            let sealer = self.sealers.of(Some(&key.tenant))?;
            let aad = device_aad(&self.consumer, key);
            let sealed = state.as_ref().map(|state| sealer.seal(&aad, state)).transpose()?;
            devices.push((key.clone(), sealed));
        }
        let events = decided.events.iter().filter_map(|d| self.event(d).transpose());
        Ok(AlertCommit {
            consumer: self.consumer.clone(),
            generation: self.generation,
            next_offset: decided.next.get(),
            stored_at_us: now_us(),
            events: events.collect::<Result<_, _>>()?,
            sealed: self.sealers.of(None)?.seal(&global_aad(&self.consumer), &decided.changes.global)?,
            devices,
            step: self.step(decided.next),
        })
    }

    fn step(&self, next: Offset) -> Option<Step> {
        let claim = self.claim.clone()?;
        let passage = self.source.as_ref()?.passage(next).unwrap_or_default();
        let standing = Standing { next_offset: next.get(), position: passage.position, logs: passage.logs };
        Some(Step { claim, standing })
    }

    pub(super) async fn commit(&mut self, commit: &AlertCommit) -> Result<(), AlertCommitError> {
        self.generation = self.store.commit_alerts(commit).await?;
        Ok(())
    }

    /// `None` for an event without a valid tenant, which the engine does not make.
    fn event(&self, decision: &Decision) -> Result<Option<NewEvent>, KeyError> {
        let policy = self.rules.policy(&decision.transition.alert.rule_id);
        sealed_event(&self.sealers, &decision.transition, policy)
    }
}
