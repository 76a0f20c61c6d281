//! The delivery ledger: who listens, for which wards, with which lease; what was sent to whom, and who accepted it.

mod write;

pub use write::Confirmation;

use crate::db::{Arg, Record, args, signed};
use crate::outbox::{self, Change};
use crate::{Store, StoreError};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// How a listener stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// A subscription is open.
    Listening,
    /// It does not keep up.
    Lagging,
    /// No subscription is open.
    Gone,
}

impl Hearing {
    fn name(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Lagging => "lagging",
            Self::Gone => "gone",
        }
    }

    fn from_name(name: &str) -> Result<Self, StoreError> {
        let all = [Self::Listening, Self::Lagging, Self::Gone];
        all.into_iter().find(|state| state.name() == name).ok_or(StoreError::Corrupt("alert_listener.state"))
    }
}

/// A listener. Times are unix microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerRow {
    /// Whose alerts it hears.
    pub tenant: TenantId,
    /// SPIFFE URI, with `#` and its name when it has one.
    pub listener: String,
    /// Wards that it listens for; none means all.
    pub sites: Vec<String>,
    /// How it stands.
    pub state: Hearing,
    /// Silence for this long ends the lease; 0 means no lease.
    pub lease_us: i64,
    /// When the lease ends; 0 when it was given back.
    pub leased_until_us: i64,
    /// An event that is not confirmed for this long means that it is behind.
    pub behind_us: i64,
    /// When it subscribed last.
    pub opened_at_us: i64,
    /// The last cursor that was sent.
    pub sent: u64,
    /// The last cursor that it confirmed.
    pub confirmed: u64,
    /// What it filters away of its wards, by name; empty when it hears every physiological and technical alert of them.
    pub misses: String,
}

impl ListenerRow {
    fn args<'a>(&'a self, sites: &'a str) -> Result<[Arg<'a>; 11], StoreError> {
        Ok([
            Arg::Text(self.tenant.as_str()),
            Arg::Text(&self.listener),
            Arg::Text(sites),
            Arg::Text(self.state.name()),
            Arg::Int(self.lease_us),
            Arg::Int(self.leased_until_us),
            Arg::Int(self.behind_us),
            Arg::Int(self.opened_at_us),
            Arg::Int(signed(self.sent)?),
            Arg::Int(signed(self.confirmed)?),
            Arg::Text(&self.misses),
        ])
    }
}

/// An event that was handed to a listener's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Whose event.
    pub tenant: TenantId,
    /// To whom.
    pub listener: String,
    /// Of the event.
    pub cursor: u64,
    /// The alert, hex.
    pub alert_id: String,
    /// When, unix microseconds.
    pub at_us: i64,
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// What was sent to whom first.
    pub sent: Sent,
    /// How often.
    pub times: u32,
    /// When it was confirmed, unix microseconds; 0 while it is not.
    pub accepted_at_us: i64,
}

/// Which deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// Of this alert; empty means all.
    pub alert_id: String,
    /// To this listener; empty means all.
    pub listener: String,
    /// Only those that are not accepted.
    pub open: bool,
    /// Those that are listed behind this one: its cursor and its listener.
    pub behind: Option<(u64, String)>,
}

const LISTENER: &str = "SELECT tenant, listener, sites, state, lease_us, leased_until_us, behind_us, opened_at_us, sent, confirmed, misses \
                        FROM alert_listener WHERE $1 = '' OR tenant = $1 ORDER BY tenant, listener";

impl Store {
    /// Notes that somebody subscribes from `cursor` on; the lease begins. `false`, and nothing is noted, when it wants no
    /// lease and somebody of its name has one that was not given back: nobody is taken for a listener by another's doing.
    pub async fn open_listener(&self, listener: &ListenerRow) -> Result<bool, StoreError> {
        // A cursor that it resumes from was handled; one before what it has confirmed is heard again.
        let upsert = "INSERT INTO alert_listener (tenant, listener, sites, state, lease_us, leased_until_us, behind_us, \
                      opened_at_us, sent, confirmed, misses) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                      ON CONFLICT (tenant, listener) DO UPDATE SET sites = $3, state = $4, lease_us = $5, \
                      leased_until_us = $6, behind_us = $7, opened_at_us = $8, misses = $11, \
                      confirmed = CASE WHEN alert_listener.confirmed > $10 THEN alert_listener.confirmed ELSE $10 END \
                      WHERE excluded.lease_us > 0 OR alert_listener.lease_us = 0 OR alert_listener.leased_until_us = 0";
        let sites = listener.sites.join(",");
        let values = &listener.args(&sites)?;
        Ok(self.db().run(upsert, values).await? > 0)
    }

    /// Notes somebody who will subscribe, unless its name is known: from its cursor on everything is owed to it. Says
    /// whether it was not known.
    pub async fn expect_listener(&self, listener: &ListenerRow) -> Result<bool, StoreError> {
        let insert = "INSERT INTO alert_listener (tenant, listener, sites, state, lease_us, leased_until_us, behind_us, \
                      opened_at_us, sent, confirmed, misses) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                      ON CONFLICT (tenant, listener) DO NOTHING";
        let sites = listener.sites.join(",");
        Ok(self.db().run(insert, &listener.args(&sites)?).await? > 0)
    }

    /// Notes how a listener stands, when it is still the subscription of `opened_at_us`.
    pub async fn set_hearing(
        &self,
        (tenant, listener): (&TenantId, &str),
        opened_at_us: i64,
        state: Hearing,
    ) -> Result<(), StoreError> {
        let update =
            "UPDATE alert_listener SET state = $4 WHERE tenant = $1 AND listener = $2 AND opened_at_us = $3";
        self.db().run(update, args![tenant.as_str(), listener, opened_at_us, state.name()]).await.map(drop)
    }

    /// Returns deliveries, newest first, at most `limit`.
    pub async fn deliveries(
        &self,
        tenant: &TenantId,
        filter: &DeliveryFilter,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let select = "SELECT tenant, listener, cursor, alert_id, sent_at_us, times, accepted_at_us FROM alert_delivery \
                      WHERE tenant = $1 AND ($2 = '' OR alert_id = $2) AND ($3 = '' OR listener = $3) \
                      AND ($4 = 0 OR accepted_at_us = 0) AND (cursor < $5 OR (cursor = $5 AND listener > $6)) \
                      ORDER BY cursor DESC, listener LIMIT $7";
        let DeliveryFilter { alert_id, listener, open, behind } = filter;
        let (cursor, past) = behind.as_ref().map_or((i64::MAX as u64, ""), |(cursor, past)| (*cursor, past));
        let limit = i64::from(limit);
        let values = args![tenant.as_str(), alert_id, listener, *open, signed(cursor)?, past, limit];
        self.db().all(select, values).await?.iter().map(delivery).collect()
    }

    /// Returns the listeners of a tenant, or of all, in order of tenant and name.
    pub async fn listeners(&self, tenant: Option<&TenantId>) -> Result<Vec<ListenerRow>, StoreError> {
        let tenant = tenant.map_or("", |tenant| tenant.as_str());
        self.db().all(LISTENER, args![tenant]).await?.iter().map(listener).collect()
    }

    /// Returns all listeners, each that has a lease with when its first unconfirmed event was stored.
    pub async fn listeners_waiting(&self) -> Result<Vec<(ListenerRow, Option<i64>)>, StoreError> {
        let select = "SELECT tenant, listener, sites, state, lease_us, leased_until_us, behind_us, opened_at_us, sent, \
                      confirmed, misses, CASE WHEN lease_us > 0 THEN (SELECT e.stored_at_us FROM alert_event e \
                      WHERE e.tenant = l.tenant AND e.cursor > l.confirmed ORDER BY e.cursor LIMIT 1) END \
                      AS waits_since_us FROM alert_listener l ORDER BY tenant, listener";
        let row = |row: &Record| Ok((listener(row)?, row.maybe_int("waits_since_us")?));
        self.db().all(select, args![]).await?.iter().map(row).collect()
    }

    /// Ends the lease of a listener that will not come back; `false` when there is none.
    pub async fn release_listener(
        &self,
        (tenant, listener): (&TenantId, &str),
        by: &Change,
    ) -> Result<bool, StoreError> {
        let update = "UPDATE alert_listener SET leased_until_us = 0 WHERE tenant = $1 AND listener = $2";
        let mut tx = self.db().begin().await?;
        if tx.run(update, args![tenant.as_str(), listener]).await? == 0 {
            return Ok(false);
        }
        outbox::insert(&mut tx, by, "alert_listener_released", "ok", &format!("{tenant}/{listener}")).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns each active device that is not for test, with its site or nothing.
    pub async fn device_sites(&self) -> Result<Vec<(DeviceKey, String)>, StoreError> {
        let select = "SELECT tenant, device, site FROM device WHERE state = 'active' AND for_test = 0";
        let site = |row: &Record| {
            let device = DeviceId::new(&row.text("device")?).map_err(|_bad| StoreError::Corrupt("device"))?;
            Ok((DeviceKey { tenant: tenant_of(row)?, device }, row.text("site")?))
        };
        self.db().all(select, args![]).await?.iter().map(site).collect()
    }
}

fn tenant_of(row: &Record) -> Result<TenantId, StoreError> {
    crate::alert_log::tenant_of(row)
}

fn listener(row: &Record) -> Result<ListenerRow, StoreError> {
    let sites = row.text("sites")?;
    Ok(ListenerRow {
        tenant: tenant_of(row)?,
        listener: row.text("listener")?,
        sites: sites.split(',').filter(|site| !site.is_empty()).map(str::to_owned).collect(),
        state: Hearing::from_name(&row.text("state")?)?,
        lease_us: row.int("lease_us")?,
        leased_until_us: row.int("leased_until_us")?,
        behind_us: row.int("behind_us")?,
        opened_at_us: row.int("opened_at_us")?,
        sent: row.unsigned("sent")?,
        confirmed: row.unsigned("confirmed")?,
        misses: row.text("misses")?,
    })
}

fn delivery(row: &Record) -> Result<DeliveryRow, StoreError> {
    let sent = Sent {
        tenant: tenant_of(row)?,
        listener: row.text("listener")?,
        cursor: row.unsigned("cursor")?,
        alert_id: row.text("alert_id")?,
        at_us: row.int("sent_at_us")?,
    };
    let times = u32::try_from(row.int("times")?).unwrap_or(u32::MAX);
    Ok(DeliveryRow { sent, times, accepted_at_us: row.int("accepted_at_us")? })
}
