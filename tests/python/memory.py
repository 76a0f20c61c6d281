#!/usr/bin/env python3
"""Statements of few words that would take any amount of memory: each refused or ended, and the server's memory within its bound.

The server is measured: the peak of its resident memory, begun anew before each statement.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from flight_sql import ask, connect, flight  # noqa: E402

MIB = 1 << 20
LONG = "a" * 60_000
WITHHELD = [
    "repeat('x', 2000000000)",
    "length(repeat(device, 500000000))",
    "lpad('x', 2000000000)",
    "rpad(device, 500000000, 'x')",
    "range(0, 1000000000)",
    "generate_series(0, 1000000000)",
    "array_repeat(value, 1000000000)",
    "list_repeat([1, 2], 1000000000)",
    "array_resize([1], 1000000000, 2)",
    "list_resize([value], 1000000000, 2)",
    f"replace('{LONG[:30000]}', 'a', '{LONG[:30000]}')",
    f"array_to_string(string_to_array('{LONG[:30000]}', NULL), '{LONG[:30000]}')",
    f"array_join(string_to_array('{LONG[:30000]}', NULL), '{LONG[:30000]}')",
    "array_replace_all([[1], [2]], [1], [1, 2])",
    f"array_transform(string_to_array('{LONG}', NULL), x -> '{LONG[:1000]}')",
]


def nested(what: str, times: int) -> str:
    sql = "SELECT device AS x FROM vitals"
    for _ in range(times):
        sql = f"SELECT {what} AS x FROM ({sql})"
    return f"SELECT length(x) FROM ({sql})"


OTHERS = [
    f"SELECT concat({', '.join(['device'] * 17)}) FROM vitals",
    f"SELECT {' || '.join(['device'] * 10)} FROM vitals",
    nested("x || x", 9),
    nested("x || x", 30),
    nested("upper(x)", 200),
    f"SELECT {' + '.join(['value'] * 10000)} FROM vitals",
    f"SELECT value FROM vitals WHERE {' OR '.join(['value > 1'] * 4000)}",
    " UNION ALL ".join(["SELECT 1"] * 2000),
    f"SELECT value{'::double' * 5000} FROM vitals",
    f"SELECT 1 FROM {', '.join(['vitals'] * 2001)}",
    f"SELECT 1 FROM {', '.join(['(VALUES (1))'] * 700)}",
    f"SELECT 1 FROM vitals WHERE 1 IN (SELECT 1 FROM {', '.join(chr(39) + 'vitals' + chr(39) for _ in range(2001))})",
    "SELECT array_agg(value) OVER () FROM vitals",
    "SELECT array_agg(value) OVER (PARTITION BY device ORDER BY event_time) FROM vitals",
    "SELECT string_agg(device, ',') OVER (ORDER BY value) FROM vitals",
    "SELECT count(*) FROM (SELECT array_agg(value) OVER w AS x FROM vitals WINDOW w AS (ORDER BY value)) GROUP BY x",
]
# A statement may keep 1 GiB, and what it keeps is put together once more.
KEPT_MAX = 2500 * MIB
ENDLESS = "generate_series(1, 1000000000000)"
LONG_ROWS = f"(SELECT value, '{LONG[:2000]}' || value AS t FROM {ENDLESS})"
KEPT = [
    f"SELECT {', '.join(f'sum(value + {n}) OVER ()' for n in range(60))} FROM {ENDLESS}",
    f"SELECT t, max(value) OVER () FROM {LONG_ROWS}",
    f"SELECT t, lag(value, 1000000000) OVER () FROM {LONG_ROWS}",
    f"SELECT t, lead(value, 1000000000) OVER () FROM {LONG_ROWS}",
    f"SELECT t, sum(value) OVER (ROWS BETWEEN 1000000000 PRECEDING AND CURRENT ROW) FROM {LONG_ROWS}",
    f"SELECT max(CASE WHEN value = 1 THEN '{LONG}' ELSE '' END) OVER () FROM generate_series(1, 1000000)",
]
WIDE = "(SELECT string_agg(CAST(value AS varchar), ',') AS s FROM generate_series(1, 100000)) w"
KEPT += [
    f"SELECT length(w.s || g.value) FROM {WIDE}, generate_series(1, 1000000) g",
    f"SELECT max(length(w.s)) FROM {WIDE} JOIN generate_series(1, 1000000) g ON length(w.s) > g.value",
    "SELECT max(length(s) + x) FROM (SELECT s, unnest(a) AS x FROM (SELECT string_agg(CAST(value AS varchar), ',') AS s, "
    "array_agg(value) AS a FROM generate_series(1, 100000)))",
]
IN_ORDER = "PARTITION BY device, mdc_code ORDER BY event_time"
WINDOWS = [f"{call} OVER ({IN_ORDER})" for call in ["lag(value)", "lead(value, 2)", "row_number()", "rank()", "avg(value)", "sum(value)", "first_value(device)", "lag(device)"]]
WINDOWS += [f"avg(value) OVER ({IN_ORDER} ROWS BETWEEN 5 PRECEDING AND 5 FOLLOWING)", "value - avg(value) OVER (PARTITION BY device, mdc_code)", "percent_rank() OVER (ORDER BY value)"]
ANSWERED = [
    ("SELECT device || ' ' || mdc_ref_id AS x FROM vitals", 480),
    ("SELECT unnest(make_array(value, value)) AS x FROM vitals", 960),
    ("SELECT device, unnest(a) AS x FROM (SELECT device, array_agg(value) AS a FROM vitals GROUP BY device)", 480),
    ("SELECT value, lag(value) OVER (PARTITION BY device ORDER BY event_time) AS x FROM vitals", 480),
    (f"SELECT {', '.join(WINDOWS)} FROM vitals", 480),
    ("SELECT value FROM generate_series(1, 200000) QUALIFY row_number() OVER () > 199990", 10),
    ("SELECT a.value FROM vitals a, latest b WHERE a.device = b.device AND a.mdc_code = b.mdc_code", 480),
    ("SELECT a.value FROM vitals a JOIN latest b ON a.device = b.device AND a.mdc_code = b.mdc_code", 480),
    ("SELECT array_agg(value) AS x FROM vitals GROUP BY device, mdc_code", 4),
    ("SELECT value FROM generate_series(1, 100000)", 100000),
    ("SELECT count(*) FROM ecg", 1),
    (nested("upper(x)", 15), 480),
    (nested("x || x", 7), 480),
    (f"SELECT {' + '.join(['value'] * 900)} FROM vitals", 480),
    (f"SELECT value FROM vitals WHERE {' OR '.join(['value > -1'] * 400)}", 480),
    (" UNION ALL ".join(["SELECT 1"] * 300), 300),
    (f"SELECT value FROM vitals WHERE device NOT IN ({', '.join(repr(str(n)) for n in range(5000))})", 480),
]


def measured(options, name: str) -> int:
    lines = Path(f"/proc/{options.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return int(line.split()[1]) * 1024


def peak(options, connection, sql: str) -> tuple[str, int]:
    """What a statement is told, and by how much the server's memory rose at most."""
    Path(f"/proc/{options.pid}/clear_refs").write_text("5")
    before = measured(options, "VmRSS")
    try:
        told = f"{ask(connection, sql).num_rows} rows"
    except flight.Error as error:
        told = str(error)
    return told, measured(options, "VmHWM") - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    options = parser.parse_args()
    with connect(options, "analyst") as connection:
        for sql, rows in ANSWERED:
            print(f"{rows} rows: {sql[:60]}", flush=True)
            answer = ask(connection, sql)
            assert answer.num_rows == rows, (sql, answer.num_rows)
        for call in WITHHELD:
            told, rose = peak(options, connection, f"SELECT {call} FROM vitals")
            words = "" if "x -> " in call else "is not here: what it makes takes memory"
            assert "WL-QRY-001" in told and words in told, (call[:80], told[:300])
            assert rose < 100 * MIB, (call[:80], rose)
            print(f"refused, {rose / MIB:.0f} MiB: {call[:60]}")
        for sql in OTHERS:
            told, rose = peak(options, connection, sql)
            print(f"refused, {rose / MIB:.0f} MiB: {sql[:60]}")
            assert "WL-QRY-001" in told, (sql[:200], told[:300])
            assert rose < 100 * MIB, (sql[:200], rose / MIB)
        for sql in KEPT:
            told, rose = peak(options, connection, sql)
            print(f"ended, {rose / MIB:.0f} MiB: {sql[:40]}")
            assert "WL-QRY-010" in told, (sql[:200], told[:300])
            assert rose < KEPT_MAX, (sql[:200], rose / MIB)
    return 0


if __name__ == "__main__":
    sys.exit(main())
