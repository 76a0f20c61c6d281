//! Statements: predicates over what tables and views have, in all kinds of places.

use super::rows::START_US;
use proptest::prelude::*;

/// What is asked: a table, a kind of statement, and two predicates for tables and for views.
pub(super) type Ask = (usize, usize, (String, String), (String, String));

pub(super) fn ask() -> impl Strategy<Value = Ask> {
    let pair = |one: BoxedStrategy<String>| (one.clone(), one);
    (0..NAMES.len(), 0..KINDS, pair(predicate().boxed()), pair(of_view().boxed()))
}

const NAMES: [&str; 9] =
    ["numerics", "vitals", "latest", "masked", "ward", "ward_vitals", "ecg", "masked_ecg", "ward_ecg"];

/// Returns the statement, and whether its rows have an order.
pub(super) fn sql((table, kind, stored, shown): &Ask) -> (String, bool) {
    let name = NAMES[*table];
    let (one, other) = if matches!(name, "numerics" | "ward") { stored } else { shown };
    let is_masked = name.starts_with("masked");
    let missing: &[&str] = match name {
        "masked" => &["tenant", "site"],
        "masked_ecg" => &["tenant", "site", "loinc", "event_time"],
        "ecg" | "ward_ecg" => &["loinc", "event_time"],
        _ => &[],
    };
    let kept = |predicate: &String| {
        let is_there = missing.iter().all(|column| !predicate.contains(column));
        if is_there { predicate.clone() } else { "true".to_owned() }
    };
    // Of times that many rows have, or samples of a block, none is the first.
    let kinds = match (name, is_masked) {
        (_, true) => 4,
        ("ecg" | "ward_ecg", _) => 5,
        _ => KINDS,
    };
    let (sql, is_ordered) = statement(&kept(one), &kept(other), kind % kinds, name);
    match name.ends_with("ecg") {
        true => (sql.replace("device_time", "block_time").replace("ingest_time", "time"), is_ordered),
        false => (sql, is_ordered),
    }
}

/// What a row must be, of the columns that every table and view here has.
fn predicate() -> impl Strategy<Value = String> {
    let time = (0_i64..4 * 24, 0..3_u32).prop_map(|(hour, more)| {
        let at = START_US / 1_000_000 + hour * 3600;
        let text = ["", " + INTERVAL '1 microsecond'", " - INTERVAL '90 minutes'"][more as usize];
        format!("(to_timestamp_micros({}){text})", at * 1_000_000)
    });
    let time = time.boxed();
    let sign = || prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let value =
        || prop::sample::select(vec!["97", "40.25", "0.0", "-0.0", "98", "-1", "1e300", "'NaN'::double"]);
    let clock = || prop::sample::select(vec!["device_time", "ingest_time"]);
    let one = prop_oneof![
        prop::sample::select(vec![
            "device = 'd0'",
            "device IN ('d1', 'd9', 'no name')",
            "device NOT IN ('d1', 'd0')",
            "device <> 'd2'",
            "device LIKE 'd%1'",
            "tenant = 'demo'",
            "tenant <> 'demo'",
            "tenant || device > 'demod0'",
            "mdc_code = 150456",
            "mdc_code IN (7, 149530)",
            "mdc_code BETWEEN 8 AND 149530",
            "mdc_ref_id LIKE 'MDC%'",
            "status = 0",
            "isnan(value)",
            "value IS NULL",
            "value IN (97, 0)",
            "status = 1 AND ingest_time > device_time",
            "value NOT IN (97, 0)",
            "CASE WHEN value > 50 THEN device = 'd1' ELSE mdc_code = 7 END",
            "CASE WHEN value = 0 THEN false ELSE 100 / value > 1 END",
            "date_trunc('day', device_time) = TIMESTAMP '2024-10-19T00:00:00Z'",
            "date_trunc('hour', ingest_time) >= TIMESTAMP '2024-10-19T05:00:00Z'",
            "device_time >= '2024-10-19'",
            "ingest_time - device_time > INTERVAL '1 hour'",
            "device_time = ingest_time",
            "true",
            "false",
            "NULL",
        ])
        .prop_map(str::to_owned),
        (sign(), value()).prop_map(|(sign, value)| format!("value {sign} {value}")),
        (sign(), value()).prop_map(|(sign, value)| format!("NOT ({value} {sign} value)")),
        (value(), value()).prop_map(|(one, other)| format!("value BETWEEN {one} AND {other}")),
        (clock(), sign(), time.clone()).prop_map(|(clock, sign, at)| format!("{clock} {sign} {at}")),
        (clock(), time.clone(), time.clone())
            .prop_map(|(clock, a, b)| format!("{clock} BETWEEN {a} AND {b}")),
        (clock(), time.clone(), time).prop_map(|(clock, a, b)| format!("{clock} IN ({a}, {b})")),
    ];
    one.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.clone().prop_map(|a| format!("NOT ({a})")),
            inner.prop_map(|a| format!("({a}) IS NOT TRUE")),
        ]
    })
}

/// The same of a view, which knows who and where too.
fn of_view() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        3 => predicate(),
        2 => prop::sample::select(vec![
            "subject = 'p-1'",
            "subject IN ('p-1', 'p-9')",
            "subject IN ('p-1', NULL)",
            "subject IS NULL",
            "subject <> 'p-2'",
            "site = 'icu'",
            "site IN ('er', 'nowhere')",
            "site = 'nowhere'",
            "site IS NULL",
            "site <> 'icu'",
            "loinc = '59408-5'",
            "event_time > device_time",
            "event_time >= TIMESTAMP '2024-10-19T00:00:00Z'",
            "'icu' = site",
            "TIMESTAMP '2024-10-19T00:00:00Z' > device_time",
        ])
        .prop_map(str::to_owned),
    ];
    one.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

/// A statement, and whether its rows have an order.
fn statement(one: &str, other: &str, kind: usize, table: &str) -> (String, bool) {
    let sql = match kind {
        0 => format!("SELECT * FROM {table} WHERE {one}"),
        1 => format!(
            "SELECT count(*), count(value), min(device_time), max(device_time), min(ingest_time), sum(status) \
             FROM {table} WHERE {one}"
        ),
        2 => format!(
            "SELECT device, date_trunc('day', device_time) AS d, count(*), min(ingest_time) FROM {table} \
             WHERE {one} GROUP BY device, d"
        ),
        3 => format!("SELECT count(*) FROM (SELECT device FROM {table} WHERE {one} LIMIT 5)"),
        4 => format!("SELECT DISTINCT tenant, device, mdc_ref_id FROM {table} WHERE {one} AND NOT ({other})"),
        5 => format!(
            "SELECT a.ingest_time, b.ingest_time AS i, b.value FROM {table} a JOIN {table} b ON a.device = b.device \
             AND a.device_time = b.device_time WHERE (SELECT count(*) FROM {table} WHERE {one}) > 3 AND b.value > 1"
        ),
        6 => format!(
            "SELECT tenant, device, value FROM {table} WHERE {one} AND device IN (SELECT device FROM {table} \
             WHERE {other})"
        ),
        7 => format!(
            "SELECT ingest_time, lag(value) OVER (PARTITION BY device ORDER BY ingest_time) FROM {table} WHERE {one}"
        ),
        8 => format!("SELECT count(*) FROM {table}"),
        9 => format!(
            "SELECT x.device, y.device AS e, x.ingest_time FROM (SELECT * FROM {table} WHERE {one}) x \
             LEFT JOIN (SELECT * FROM {table} WHERE {other}) y ON x.ingest_time = y.ingest_time"
        ),
        10 => format!("SELECT * FROM {table} WHERE {one} ORDER BY ingest_time DESC LIMIT 7"),
        11 => format!(
            "SELECT value, ingest_time FROM {table} WHERE {one} ORDER BY value DESC, ingest_time LIMIT 4"
        ),
        12 => format!("SELECT * FROM {table} ORDER BY ingest_time LIMIT 3 OFFSET 2"),
        13 => format!(
            "SELECT device_time, mdc_code FROM {table} WHERE device = 'd2' AND {one} ORDER BY device_time, mdc_code \
             LIMIT 5"
        ),
        _ => format!(
            "SELECT device_time, ingest_time FROM {table} WHERE {one} ORDER BY device_time, ingest_time"
        ),
    };
    (sql, kind >= 10)
}

const KINDS: usize = 15;
