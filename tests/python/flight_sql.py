#!/usr/bin/env python3
"""Asks `wardline-query serve` over ADBC Flight SQL and mTLS as each kind of caller, and compares with PyArrow.

Every line that it prints is something that held. The first that does not ends it.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight
import pyarrow.compute as pc
from adbc_driver_flightsql import DatabaseOptions

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs/examples"))
import read_archive  # noqa: E402

BY_METRIC = "SELECT mdc_code, count(*) AS n, sum(value) AS s FROM vitals GROUP BY mdc_code ORDER BY mdc_code"


def connect(options, name: str):
    certs = options.certs / name
    given = {
        DatabaseOptions.TLS_ROOT_CERTS.value: (certs / "ca.pem").read_text(),
        DatabaseOptions.MTLS_CERT_CHAIN.value: (certs / "cert.pem").read_text(),
        DatabaseOptions.MTLS_PRIVATE_KEY.value: (certs / "key.pem").read_text(),
    }
    return flight.connect(f"grpc+tls://localhost:{options.port}", db_kwargs=given, autocommit=True)


def ask(connection, sql: str):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def refused(connection, sql: str, code: str) -> None:
    try:
        ask(connection, sql)
    except flight.Error as error:
        assert code in str(error), f"{sql}: {error}, not {code}"
        print(f"refused with {code}: {sql[:70]}")
        return
    raise AssertionError(f"{sql} was answered, not refused with {code}")


def expected(options, tenant: str) -> list[dict]:
    """The same numbers by PyArrow alone."""
    rows = read_archive.read(options.data_dir, "numerics", options.data_dir / "keyring.json")
    rows = rows.filter(pc.equal(rows["tenant"].cast("string"), tenant))
    groups = rows.group_by("mdc_code").aggregate([("value", "count"), ("value", "sum")])
    groups = groups.rename_columns(["mdc_code", "n", "s"]).sort_by("mdc_code")
    return groups.to_pylist()


def same(found, wanted: list[dict], who: str) -> None:
    found = found.to_pylist()
    assert len(found) == len(wanted) > 0, f"{who}: {found} {wanted}"
    for one, other in zip(found, wanted):
        assert one["mdc_code"] == other["mdc_code"] and one["n"] == other["n"], f"{who}: {one} {other}"
        assert abs(one["s"] - other["s"]) <= 1e-9 * abs(other["s"]), f"{who}: {one} {other}"
    print(f"{who}: {len(found)} metrics, {sum(row['n'] for row in found)} readings, as by PyArrow")


def clinician(options) -> None:
    with connect(options, "clinician") as connection:
        same(ask(connection, BY_METRIC), expected(options, options.tenant), "clinician")
        who = ask(connection, "SELECT DISTINCT tenant, device, subject FROM vitals ORDER BY device").to_pylist()
        assert [row["tenant"] for row in who] == [options.tenant] * len(who), who
        assert {"device": "mon-1", "subject": options.subject, "tenant": options.tenant} in who, who
        assert ask(connection, "SELECT count(*) AS n FROM numerics").to_pylist()[0]["n"] > 0
        assert ask(connection, "SELECT count(*) AS n FROM ecg").to_pylist()[0]["n"] > 0
        for table in ["audit", "quarantine"]:
            refused(connection, f"SELECT * FROM {table}", "WL-QRY-003")
        for sql in ["DELETE FROM vitals", "CREATE TABLE t AS SELECT 1", "EXPLAIN SELECT 1", "SET a.b = 1"]:
            refused(connection, sql, "WL-QRY-002")
        for sql in ["SELECT nothing FROM vitals", "SELECT * FROM nowhere", "SELEC 1"]:
            refused(connection, sql, "WL-QRY-001")
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        tables = {t["table_name"] for o in objects for s in o["catalog_db_schemas"] for t in s["db_schema_tables"]}
        assert tables == {"vitals", "ecg", "latest", "numerics", "waveforms", "alarms", "events", "completeness"}, tables
        print(f"clinician: {', '.join(sorted(tables))}")


def analyst(options) -> None:
    with connect(options, "analyst") as connection:
        same(ask(connection, BY_METRIC), expected(options, options.tenant), "analyst")
        rows = ask(connection, "SELECT * FROM vitals")
        assert "tenant" not in rows.column_names and "site" not in rows.column_names, rows.column_names
        text = str(rows.to_pylist())
        assert not any(name in text for name in ["mon-1", "mon-2", options.subject, options.tenant]), "a name"
        times = {t.minute * 60 + t.second for t in rows["device_time"].to_pylist()}
        assert times == {0}, f"times are not cut to the hour: {times}"
        assert ask(connection, "SELECT count(*) AS n FROM ecg").to_pylist()[0]["n"] > 0
        for column in ["tenant", "site"]:
            refused(connection, f"SELECT {column} FROM vitals", "WL-QRY-003")
        for table in ["numerics", "waveforms", "alarms", "events", "completeness", "audit", "quarantine"]:
            refused(connection, f"SELECT * FROM {table}", "WL-QRY-003")
            refused(connection, f"SELECT * FROM (SELECT 1) a, public.{table}", "WL-QRY-003")
        refused(connection, "EXPLAIN SELECT * FROM vitals", "WL-QRY-002")
        # A value of a row is no part of an error's text.
        refused(connection, "SELECT cast(device AS int) FROM vitals", "WL-QRY-007")
        print(f"analyst: {rows.num_rows} rows without a name")


def strangers(options) -> None:
    with connect(options, "other-clinician") as connection:
        same(ask(connection, BY_METRIC), expected(options, "elsewhere"), "clinician of another tenant")
        assert ask(connection, "SELECT DISTINCT tenant FROM vitals").to_pylist() == [{"tenant": "elsewhere"}]
        assert ask(connection, f"SELECT * FROM vitals WHERE tenant = '{options.tenant}'").num_rows == 0
    for name in ["norole", "device", "auditor"]:
        with connect(options, name) as connection:
            refused(connection, "SELECT 1", "WL-ID-007")
    try:
        # Plain TLS, no certificate: no answer at all.
        ca = {DatabaseOptions.TLS_ROOT_CERTS.value: (options.certs / "clinician/ca.pem").read_text()}
        with flight.connect(f"grpc+tls://localhost:{options.port}", db_kwargs=ca, autocommit=True) as connection:
            ask(connection, "SELECT 1")
    except flight.Error:
        print("without a certificate: no connection")
    else:
        raise AssertionError("answered without a certificate")


def bounds(options) -> None:
    endless = "SELECT a.value FROM generate_series(1, 100000000) a"
    with connect(options, "clinician") as connection:
        refused(connection, endless, "WL-QRY-004")
        slow = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
        refused(connection, slow, "WL-QRY-005")
        # It has let go: what comes next is answered at once.
        assert ask(connection, "SELECT count(*) AS n FROM vitals").to_pylist()[0]["n"] > 0
        with connection.cursor() as first, connection.cursor() as second:
            first.execute(endless)
            next_of_first = first.fetch_record_batch()
            next_of_first.read_next_batch()
            second.execute(endless)
            second.fetch_record_batch().read_next_batch()
            refused(connection, "SELECT 1", "WL-QRY-006")
        # Both ended: their places are free.
        deadline = time.monotonic() + 10
        while True:
            try:
                assert ask(connection, "SELECT 1 AS one").to_pylist() == [{"one": 1}]
                break
            except flight.Error as error:
                assert "WL-QRY-006" in str(error) and time.monotonic() < deadline, error
                time.sleep(0.05)


def revoked(options) -> None:
    connection = connect(options, "leaver")
    cursor = connection.cursor()
    # Few rows at a time, for longer than the test: it is the certificate that ends it.
    cursor.execute("SELECT a.value FROM generate_series(1, 100000000) a WHERE a.value % 1000 = 0")
    rows = cursor.fetch_record_batch()
    rows.read_next_batch()
    subprocess.run(json.loads(options.revoke), check=True, stdout=subprocess.DEVNULL)
    start = time.monotonic()
    try:
        while time.monotonic() - start < 30:
            rows.read_next_batch()
            time.sleep(0.01)
        raise AssertionError("a revoked caller still reads")
    except StopIteration:
        raise AssertionError("the statement ended by itself") from None
    except (OSError, flight.Error) as error:
        cut = time.monotonic() - start
        assert cut <= 2.0, f"cut after {cut:.2f} s"
        print(f"revoked while it reads: cut after {cut:.2f} s: {str(error)[:90]}")
    with connect(options, "leaver") as connection:
        refused(connection, "SELECT 1", "WL-ID-002")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--revoke", required=True, help="the command that revokes `leaver`, as JSON")
    options = parser.parse_args()
    for part in [clinician, analyst, strangers, bounds, revoked]:
        part(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
