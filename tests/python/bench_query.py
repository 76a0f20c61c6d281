#!/usr/bin/env python3
"""Asks `wardline-query serve` and DuckDB the same five questions in turn, compares the answers and prints medians.

DuckDB runs in this process with two threads on plain Parquet, with its cache of file metadata on; what it takes is the
time from the statement to an Arrow table. What Wardline takes is the same as its client sees it: mTLS, the audit, a
snapshot of the catalog, decryption.
"""

import argparse
import datetime as dt
import statistics
import sys
import time
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_flightsql import DatabaseOptions

SPO2 = 150456
# Respiration rate, SpO2, non-invasive systolic pressure, heart rate, temperature.
NEWS2 = (151562, 150456, 150021, 147842, 150364)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
# Statements that warm both sides.
WARM = 2


def literal(us: int) -> str:
    at = dt.datetime.fromtimestamp(us / 1e6, dt.timezone.utc)
    return f"TIMESTAMP '{at:%Y-%m-%dT%H:%M:%S.%fZ}'"


def between(column: str, begin: int, end: int, duck: bool) -> str:
    as_time = (lambda us: literal(us).replace("TIMESTAMP ", "TIMESTAMPTZ ")) if duck else literal
    return f"{column} >= {as_time(begin)} AND {column} < {as_time(end)}"


def questions(options) -> list[tuple[str, str, str]]:
    """Name, statement for Wardline, statement for DuckDB; both give the same columns in the same order."""
    day = options.start_us + (options.days // 2) * DAY_US
    week = max(options.start_us, options.start_us + (options.days - 7) * DAY_US)
    end = options.start_us + options.days * DAY_US
    strip = day + 60_000_000
    news2 = ", ".join(map(str, NEWS2))
    icu = "device IN (SELECT device FROM wards WHERE site = 'icu')"
    of_hour = "min(value) AS least, max(value) AS most, avg(value) AS mean, count(*) AS n"

    def both(ours: str, theirs: str, column: str, begin: int, until: int) -> tuple[str, str]:
        return (ours.format(range=between(column, begin, until, False)),
                theirs.format(range=between("device_time", begin, until, True)))

    return [
        ("one patient's day", *both(
            "SELECT device_time, mdc_code, value FROM vitals WHERE subject = 'patient-000' AND {range} "
            "ORDER BY device_time, mdc_code",
            "SELECT device_time, mdc_code, value FROM numerics WHERE device = 'mon-000' AND {range} "
            "ORDER BY device_time, mdc_code", "device_time", day, day + DAY_US)),
        ("a ward's SpO2 below 90 in a week", *both(
            f"SELECT device, device_time, value FROM vitals WHERE site = 'icu' AND mdc_code = {SPO2} AND value < 90 "
            "AND {range} ORDER BY device, device_time",
            f"SELECT device, device_time, value FROM numerics WHERE {icu} AND mdc_code = {SPO2} AND value < 90 "
            "AND {range} ORDER BY device, device_time", "device_time", week, end)),
        ("24 h of a ward's NEWS2 inputs, by hour", *both(
            f"SELECT device, mdc_code, date_trunc('hour', device_time) AS hour, {of_hour} FROM vitals "
            f"WHERE site = 'icu' AND mdc_code IN ({news2}) AND {{range}} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            "SELECT device, mdc_code, make_timestamptz(hour_us) AS hour, least, most, mean, n FROM (SELECT device, "
            f"mdc_code, (epoch_us(device_time) // {HOUR_US}) * {HOUR_US} AS hour_us, {of_hour} FROM numerics "
            f"WHERE {icu} AND mdc_code IN ({news2}) AND {{range}} GROUP BY 1, 2, 3) ORDER BY 1, 2, 3",
            "device_time", day, day + DAY_US)),
        ("an ECG strip of 10 s",
         "SELECT time, value FROM ecg WHERE subject = 'patient-000' AND "
         f"{between('time', strip, strip + 10_000_000, False)} ORDER BY time",
         "SELECT time, value FROM (SELECT make_timestamptz(epoch_us(device_time) + ((n - 1) * CAST(interval_ns AS BIGINT)) // 1000) "
         "AS time, (sample - \"offset\") * scale AS value FROM (SELECT device_time, interval_ns, scale, \"offset\", "
         "unnest(samples) AS sample, generate_subscripts(samples, 1) AS n FROM waveforms WHERE device = 'mon-000' AND "
         "mdc_ref_id LIKE 'MDC_ECG_ELEC_POTL%' AND "
         f"{between('device_time', strip - HOUR_US, strip + 10_000_000, True)})) WHERE "
         f"{between('time', strip, strip + 10_000_000, True)} ORDER BY time"),
        ("the tenant's readings, by day and metric",
         "SELECT date_trunc('day', device_time) AS day, mdc_code, count(*) AS n FROM vitals GROUP BY 1, 2 ORDER BY 1, 2",
         "SELECT make_timestamptz(day_us) AS day, mdc_code, n FROM (SELECT (epoch_us(device_time) // "
         f"{DAY_US}) * {DAY_US} AS day_us, mdc_code, count(*) AS n FROM numerics GROUP BY 1, 2) ORDER BY 1, 2"),
    ]


def connect(options, port: int):
    given = {
        DatabaseOptions.TLS_ROOT_CERTS.value: (options.certs / "ca.pem").read_text(),
        DatabaseOptions.MTLS_CERT_CHAIN.value: (options.certs / "cert.pem").read_text(),
        DatabaseOptions.MTLS_PRIVATE_KEY.value: (options.certs / "key.pem").read_text(),
    }
    return flight.connect(f"grpc+tls://localhost:{port}", db_kwargs=given, autocommit=True)


def ask(connection, sql: str) -> pa.Table:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def open_duck(options):
    duck = duckdb.connect(config={"threads": 2})
    duck.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
    for table in ("numerics", "waveforms"):
        duck.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{options.plain}/{table}/*.parquet')")
    wards = [(f"mon-{n:03}", ("icu", "step-down")[n % 2]) for n in range(options.patients)]
    duck.execute("CREATE TABLE wards (device VARCHAR, site VARCHAR)")
    duck.executemany("INSERT INTO wards VALUES (?, ?)", wards)
    return duck


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    if pa.types.is_floating(column.type):
        return column.cast(pa.float64())
    return column.cast(pa.int64()) if pa.types.is_integer(column.type) else column.cast(pa.string())


def compare(name: str, ours: pa.Table, theirs: pa.Table) -> None:
    assert ours.num_rows == theirs.num_rows > 0, f"{name}: {ours.num_rows} rows, DuckDB has {theirs.num_rows}"
    assert ours.column_names == theirs.column_names, f"{name}: {ours.column_names}, {theirs.column_names}"
    for column in ours.column_names:
        one, other = plain(ours[column]), plain(theirs[column])
        if pa.types.is_floating(one.type):
            off = pc.abs(pc.subtract(one, other))
            equal = pc.all(pc.less_equal(off, pc.add(1e-9, pc.multiply(1e-12, pc.abs(other))))).as_py()
            equal = equal and one.null_count == other.null_count
        else:
            equal = one.combine_chunks().equals(other.combine_chunks())
        assert equal, f"{name}: {column} differs from DuckDB's"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def timed(run) -> tuple[float, pa.Table]:
    begun = time.perf_counter()
    answer = run()
    return (time.perf_counter() - begun) * 1e3, answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", required=True)
    parser.add_argument("--certs", required=True, type=Path)
    for number in ("port", "pid", "port-1x", "start-us", "days", "patients", "rounds"):
        parser.add_argument(f"--{number}", required=True, type=int)
    options = parser.parse_args()
    duck, small = open_duck(options), connect(options, options.port_1x)
    ours_at = connect(options, options.port)
    print(f"{'question':<42} {'rows':>8} {'wardline ms':>12} {'DuckDB ms':>10} {'ratio':>6} {'wardline CPU ms':>16} "
          f"{'DuckDB CPU ms':>14}")
    for name, ours, theirs in questions(options):
        wall, cpu = ([], []), [0.0, 0.0]
        for turn in range(WARM + options.rounds):
            for side, run in enumerate((lambda: ask(ours_at, ours), lambda: duck.execute(theirs).to_arrow_table())):
                pid = options.pid if side == 0 else "self"
                before = cpu_s(pid)
                took, answer = timed(run)
                if turn >= WARM:
                    wall[side].append(took)
                    cpu[side] += cpu_s(pid) - before
                if side == 0:
                    found = answer
            if turn == 0:
                compare(name, found, answer)
        one, other = map(statistics.median, wall)
        ratio = statistics.median(a / b for a, b in zip(*wall))
        spent = [1e3 * total / options.rounds for total in cpu]
        print(f"{name:<42} {answer.num_rows:>8} {one:>12.1f} {other:>10.1f} {ratio:>5.2f}x {spent[0]:>16.0f} "
              f"{spent[1]:>14.0f}")
    grown(options, ours_at, small)


def grown(options, large, small) -> None:
    """One patient's first day in an archive of that day alone, and in the whole."""
    at = between("device_time", options.start_us, options.start_us + DAY_US // 2, False)
    sql = f"SELECT device_time, mdc_code, value FROM vitals WHERE subject = 'patient-000' AND {at} ORDER BY 1, 2"
    took = ([], [])
    for turn in range(WARM + options.rounds):
        answers = []
        for side, connection in enumerate((small, large)):
            one, answer = timed(lambda: ask(connection, sql))
            answers.append(answer)
            if turn >= WARM:
                took[side].append(one)
        assert answers[0].equals(answers[1]), "one day differs between the archives"
    growth = statistics.median(b / a for a, b in zip(*took))
    print(f"\none patient's half day in an archive of 1 day: {statistics.median(took[0]):.1f} ms, of {options.days} "
          f"days: {statistics.median(took[1]):.1f} ms: {growth:.2f}x")


if __name__ == "__main__":
    sys.exit(main())
