//! Other values of alarm rules for a tenant, a ward or a patient: who decided what, why, from when until when.
//!
//! A row is added and ended once, never changed: what the engine went by at any time can be said later, unless its
//! subject was erased. Setting and ending
//! are changes of the registry, so nodes hear of them, and each is audited in its transaction (AUD-1).

use super::erase::refuse_erased;
use super::tenants::tenant_id;
use super::{Change, Reject, audit, next_number, usable};
use crate::bell::Matter;
use crate::db::{Record, args};
use crate::{Store, StoreError};
use wardline_proto::TenantId;

/// Most overrides of a tenant that are not over.
pub const OVERRIDES_MAX: i64 = 4096;

/// What is to be changed, for whom, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOverride {
    /// Whose.
    pub tenant: TenantId,
    /// For a ward's devices; empty: not a ward's.
    pub site: String,
    /// For what a subject wears, a pseudonym; empty: not a patient's.
    pub subject: String,
    /// The rule.
    pub rule_id: String,
    /// What of it, a number that the alarm engine knows.
    pub setting: i32,
    /// The value in its place.
    pub value: f64,
    /// From when on, unix microseconds.
    pub from_us: i64,
    /// Until when, exclusive; none while it goes on.
    pub until_us: Option<i64>,
    /// Why.
    pub reason: String,
}

/// An override as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct OverrideRow {
    /// Rises with every override.
    pub override_id: i64,
    /// What it says.
    pub said: NewOverride,
    /// By whom.
    pub set_by: String,
    /// When it was set, unix microseconds.
    pub set_at_us: i64,
    /// Who ended it, and when; none while nobody has.
    pub ended: Option<(String, i64)>,
}

impl Store {
    /// Sets an override; returns it as it is kept.
    pub async fn set_override(&self, change: &Change, said: &NewOverride) -> Result<OverrideRow, StoreError> {
        usable("site", &said.site, true)?;
        usable("subject", &said.subject, true)?;
        usable("rule", &said.rule_id, false)?;
        usable("reason", &said.reason, false)?;
        let over_before = said.until_us.is_some_and(|until_us| until_us <= said.from_us.max(change.at_us));
        if over_before || !said.value.is_finite() || !(said.site.is_empty() || said.subject.is_empty()) {
            return Err(Reject::Invalid("time, value or place of the override").into());
        }
        let mut tx = self.change().await?;
        let tenant = said.tenant.as_str();
        refuse_erased(&mut tx, tenant, &said.subject).await?;
        if !said.site.is_empty() {
            let known = "SELECT site FROM site WHERE tenant = $1 AND site = $2";
            tx.one(known, args![tenant, &said.site]).await?.ok_or(Reject::NotFound("site"))?;
        }
        let live = "SELECT COUNT(*) AS live FROM alert_override WHERE tenant = $1 AND ended_at_us = 0 \
                    AND (until_us = 0 OR until_us > $2)";
        let row = tx.one(live, args![tenant, change.at_us]).await?;
        if row.ok_or(StoreError::Corrupt("alert_override"))?.int("live")? >= OVERRIDES_MAX {
            return Err(Reject::Invalid("one override more").into());
        }
        let id = next_number(&mut tx, "alert_override").await?;
        let insert = "INSERT INTO alert_override (override_id, tenant, site, subject, rule_id, setting, value, \
                      from_us, until_us, reason, set_by, set_at_us, ended_by, ended_at_us) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', 0)";
        let value = said.value.to_string();
        let values = args![
            id,
            tenant,
            &said.site,
            &said.subject,
            &said.rule_id,
            i64::from(said.setting),
            &value,
            said.from_us,
            said.until_us.unwrap_or(0),
            &said.reason,
            &change.actor,
            change.at_us,
        ];
        tx.run(insert, values).await?;
        // The subject stays out of the audit: it is about a person.
        let target = format!("{tenant}/override/{id} of {}", said.rule_id);
        audit(&mut tx, change, ("alert_override_set", "ok"), &target).await?;
        tx.tell(Matter::Orders);
        tx.commit().await?;
        let (set_by, set_at_us) = (change.actor.clone(), change.at_us);
        Ok(OverrideRow { override_id: id, said: said.clone(), set_by, set_at_us, ended: None })
    }

    /// Ends an override of a tenant; returns it as it is kept. Ending it again changes nothing.
    pub async fn end_override(
        &self,
        change: &Change,
        tenant: &TenantId,
        override_id: i64,
    ) -> Result<OverrideRow, StoreError> {
        let mut tx = self.change().await?;
        let select = "SELECT override_id, tenant, site, subject, rule_id, setting, value, from_us, until_us, reason, \
                      set_by, set_at_us, ended_by, ended_at_us FROM alert_override \
                      WHERE override_id = $1 AND tenant = $2";
        let row = tx.one(select, args![override_id, tenant.as_str()]).await?;
        let mut found = read(&row.ok_or(Reject::NotFound("override"))?)?;
        if found.ended.is_some() {
            return Ok(found);
        }
        let update = "UPDATE alert_override SET ended_by = $2, ended_at_us = $3 WHERE override_id = $1";
        tx.run(update, args![override_id, &change.actor, change.at_us]).await?;
        let target = format!("{tenant}/override/{override_id} of {}", found.said.rule_id);
        audit(&mut tx, change, ("alert_override_ended", "ok"), &target).await?;
        tx.tell(Matter::Orders);
        tx.commit().await?;
        found.ended = Some((change.actor.clone(), change.at_us));
        Ok(found)
    }

    /// Returns overrides that were not over at a time, of a tenant or of all, in the order of setting.
    pub async fn overrides(
        &self,
        tenant: Option<&TenantId>,
        not_over_us: i64,
    ) -> Result<Vec<OverrideRow>, StoreError> {
        let select = "SELECT override_id, tenant, site, subject, rule_id, setting, value, from_us, until_us, reason, \
                      set_by, set_at_us, ended_by, ended_at_us FROM alert_override WHERE ($1 = '' OR tenant = $1) \
                      AND (ended_at_us = 0 OR ended_at_us > $2) AND (until_us = 0 OR until_us > $2) \
                      ORDER BY override_id";
        let rows = self.db().all(select, args![tenant.map_or("", TenantId::as_str), not_over_us]).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &Record) -> Result<OverrideRow, StoreError> {
    let corrupt = || StoreError::Corrupt("alert_override");
    let (until_us, ended_at_us) = (row.int("until_us")?, row.int("ended_at_us")?);
    let said = NewOverride {
        tenant: tenant_id(row)?,
        site: row.text("site")?,
        subject: row.text("subject")?,
        rule_id: row.text("rule_id")?,
        setting: i32::try_from(row.int("setting")?).map_err(|_large| corrupt())?,
        value: row.text("value")?.parse().map_err(|_no_number| corrupt())?,
        from_us: row.int("from_us")?,
        until_us: (until_us != 0).then_some(until_us),
        reason: row.text("reason")?,
    };
    let ended = if ended_at_us == 0 { None } else { Some((row.text("ended_by")?, ended_at_us)) };
    let (set_by, set_at_us) = (row.text("set_by")?, row.int("set_at_us")?);
    Ok(OverrideRow { override_id: row.int("override_id")?, said, set_by, set_at_us, ended })
}
