//! Writing the ledger: deliveries and confirmations of many listeners in one transaction, many rows to a statement.

use super::Sent;
use crate::db::{Arg, Tx, args, signed};
use crate::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use wardline_proto::TenantId;

/// Rows of one statement; what is left goes in the smaller ones.
const ROWS: [usize; 3] = [64, 8, 1];
static INSERTS: LazyLock<[String; 3]> = LazyLock::new(|| ROWS.map(insert));
static UPDATES: LazyLock<[String; 3]> = LazyLock::new(|| ROWS.map(update));

/// What a listener accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Whose.
    pub tenant: TenantId,
    /// By whom.
    pub listener: String,
    /// Everything that was sent up to here.
    pub cursor: u64,
    /// Its lease ends now; otherwise it is renewed.
    pub release: bool,
    /// When, unix microseconds.
    pub at_us: i64,
}

impl Store {
    /// Puts deliveries, then confirmations into the ledger, in one transaction. Returns for each confirmation when the
    /// listener's lease ends; `None` when nobody of this name listens, or the cursor is past the end of the log.
    pub async fn write_ledger(
        &self,
        sent: &[Sent],
        confirmed: &[Confirmation],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let mut tx = self.db().begin().await?;
        deliveries(&mut tx, sent).await?;
        let mut leases = Vec::with_capacity(confirmed.len());
        for confirmation in confirmed {
            leases.push(confirm(&mut tx, confirmation).await?);
        }
        tx.commit().await?;
        Ok(leases)
    }
}

/// Adds lines. In order of their keys: who writes beside this one, on another node, takes the rows in the same order.
async fn deliveries(tx: &mut Tx, sent: &[Sent]) -> Result<(), StoreError> {
    let mut lines: BTreeMap<(&str, &str, u64), (&Sent, i64)> = BTreeMap::new();
    let mut heads: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for one in sent {
        let (tenant, listener) = (one.tenant.as_str(), one.listener.as_str());
        lines.entry((tenant, listener, one.cursor)).and_modify(|(_, times)| *times += 1).or_insert((one, 1));
        let head = heads.entry((tenant, listener)).or_default();
        *head = one.cursor.max(*head);
    }
    let mut rows = Vec::with_capacity(lines.len());
    for ((tenant, listener, cursor), (one, times)) in lines {
        let cursor = Arg::Int(signed(cursor)?);
        let (alert, at) = (Arg::Text(&one.alert_id), Arg::Int(one.at_us));
        rows.push([Arg::Text(tenant), Arg::Text(listener), cursor, alert, at, Arg::Int(times)]);
    }
    run(tx, &INSERTS, &rows).await?;
    let mut rows = Vec::with_capacity(heads.len());
    for ((tenant, listener), cursor) in heads {
        rows.push([Arg::Text(tenant), Arg::Text(listener), Arg::Int(signed(cursor)?)]);
    }
    run(tx, &UPDATES, &rows).await
}

async fn run<const N: usize>(
    tx: &mut Tx,
    texts: &'static [String; 3],
    mut rows: &[[Arg<'_>; N]],
) -> Result<(), StoreError> {
    for (size, text) in ROWS.into_iter().zip(texts) {
        while let Some((chunk, rest)) = rows.split_at_checked(size) {
            tx.run(text, chunk.as_flattened()).await?;
            rows = rest;
        }
    }
    Ok(())
}

async fn confirm(tx: &mut Tx, confirmation: &Confirmation) -> Result<Option<i64>, StoreError> {
    let Confirmation { tenant, listener, cursor, release, at_us } = confirmation;
    let cursor = i64::try_from(*cursor).unwrap_or(i64::MAX);
    let update = "UPDATE alert_listener SET \
                  leased_until_us = CASE WHEN $5 = 1 OR lease_us = 0 THEN 0 ELSE lease_us + $4 END, \
                  confirmed = CASE WHEN confirmed > $3 THEN confirmed ELSE $3 END \
                  WHERE tenant = $1 AND listener = $2 AND $3 <= \
                  COALESCE((SELECT last FROM alert_cursor WHERE tenant = $1), 0) RETURNING leased_until_us";
    let accept = "UPDATE alert_delivery SET accepted_at_us = $4 \
                  WHERE tenant = $1 AND listener = $2 AND cursor <= $3 AND accepted_at_us = 0";
    let values = args![tenant.as_str(), listener, cursor, *at_us, *release];
    let Some(row) = tx.one(update, values).await? else { return Ok(None) };
    tx.run(accept, args![tenant.as_str(), listener, cursor, *at_us]).await?;
    row.int("leased_until_us").map(Some)
}

fn insert(rows: usize) -> String {
    let values = |row: usize| {
        let [a, b, c, d, e, f] = [1, 2, 3, 4, 5, 6].map(|column| row * 6 + column);
        format!("(${a}, ${b}, ${c}, ${d}, ${e}, ${f}, 0)")
    };
    let values: Vec<String> = (0..rows).map(values).collect();
    format!(
        "INSERT INTO alert_delivery (tenant, listener, cursor, alert_id, sent_at_us, times, accepted_at_us) VALUES {} \
         ON CONFLICT (tenant, listener, cursor) DO UPDATE SET times = alert_delivery.times + excluded.times",
        values.join(", ")
    )
}

/// Both databases call the columns of `VALUES` `column1` and so on.
fn update(rows: usize) -> String {
    let values = |row: usize| format!("(${}, ${}, ${})", row * 3 + 1, row * 3 + 2, row * 3 + 3);
    let values: Vec<String> = (0..rows).map(values).collect();
    format!(
        "UPDATE alert_listener SET sent = v.column3 FROM (VALUES {}) AS v \
         WHERE tenant = v.column1 AND listener = v.column2 AND sent < v.column3",
        values.join(", ")
    )
}
