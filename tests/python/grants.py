#!/usr/bin/env python3
"""Asks for every column of every table and view as each kind of caller, and tries to get around it.

A cell is a value, a value without a name, or a refusal with its code; never an empty answer in place of a refusal.
Every line that it prints is something that held. The first that does not ends it.
"""

import argparse
import sys
from pathlib import Path

import pyarrow
import pyarrow.flight as raw

sys.path.insert(0, str(Path(__file__).resolve().parent))
from flight_raw import Client, field, message  # noqa: E402
from flight_sql import ask, connect, refused  # noqa: E402

WHO = ["tenant", "device", "site", "subject"]
CODE = ["mdc_code", "mdc_ref_id"]
COMMON = ["tenant", "device", "epoch", "lane", "seq", "device_time", "clock_offset_us", "ingest_time"]
VITALS = WHO + CODE + ["loinc", "value", "ucum_unit", "status", "device_time", "event_time", "ingest_time"]
TABLES = {
    "vitals": VITALS,
    "latest": VITALS,
    "ecg": WHO + CODE + ["ucum_unit", "status", "block_time", "n", "time", "value"],
    "numerics": COMMON + CODE + ["value", "ucum_unit", "status"],
    "waveforms": COMMON + CODE + ["samples", "gaps", "interval_ns", "scale", "offset", "ucum_unit"],
    "alarms": COMMON + ["condition_id", "priority"],
    "events": COMMON + ["name", "detail"],
    "completeness": ["tenant", "device", "epoch", "lane", "hour", "expected", "received", "missing", "quarantined"],
    "quarantine": ["tenant", "device", "reason", "payload", "certificate_serial"],
    "audit": ["actor", "action", "target", "outcome"],
}
VIEWS = ["vitals", "latest", "ecg"]
CLINICAL = VIEWS + ["numerics", "waveforms", "alarms", "events", "completeness"]
PSEUDONYMS = {"device": "d-", "subject": "s-"}
TIMES = ["device_time", "event_time", "ingest_time", "block_time", "time"]
NONE = ["operator", "auditor", "norole", "device", "tenant-admin", "maker"]


def cell(role: str, table: str, column: str) -> str:
    """What a role gets of a column: `value`, `masked`, or the code of a refusal."""
    if role in NONE:
        return "WL-ID-007"
    if role == "nosite":
        return "WL-ID-008"
    if role in ["clinician", "ward"]:
        return "value" if table in CLINICAL else "WL-QRY-003"
    if table not in VIEWS or column in ["tenant", "site"]:
        return "WL-QRY-003"
    return "masked" if column in [*PSEUDONYMS, *TIMES] else "value"


def names(columns: list[str]) -> str:
    """A name may be a word of SQL: `offset`."""
    return ", ".join(f'"{column}"' for column in columns)


def refused_at_all(role: str, connection, tables) -> int:
    cells = 0
    for table, columns in tables.items():
        code = cell(role, table, columns[0])
        for sql in [f"SELECT {names(columns)} FROM {table}", f"SELECT count(*) FROM {table}"]:
            refused(connection, sql, code)
        cells += len(columns)
    return cells


def of_role(options, role: str) -> int:
    cells = 0
    with connect(options, role) as connection:
        if role in [*NONE, "nosite"]:
            return refused_at_all(role, connection, TABLES)
        for table, columns in TABLES.items():
            wanted = {column: cell(role, table, column) for column in columns}
            granted = [column for column, what in wanted.items() if what in ["value", "masked"]]
            for column in set(columns) - set(granted):
                refused(connection, f'SELECT "{column}" FROM {table}', wanted[column])
                refused(connection, f'SELECT count(*) FROM {table} t WHERE t."{column}" IS NOT NULL', wanted[column])
            if granted:
                rows = ask(connection, f"SELECT {names(granted)} FROM {table}")
                assert rows.column_names == granted, (table, rows.column_names)
                assert rows.num_rows > 0 or table in ["alarms", "events", "completeness"], f"{role}: {table} is empty"
                for column in granted:
                    masked(options, wanted[column], column, rows[column].to_pylist())
            cells += len(columns)
    return cells


def masked(options, what: str, column: str, values: list) -> None:
    if what != "masked":
        return
    values = [value for value in values if value is not None]
    if column in PSEUDONYMS:
        assert all(value.startswith(PSEUDONYMS[column]) and len(value) == 26 for value in values), column
        assert not {"mon-1", "mon-2", options.subject} & set(values), column
    else:
        assert {(t.minute, t.second, t.microsecond) for t in values} <= {(0, 0, 0)}, column


EVASIONS = [
    ("WL-QRY-003", "SELECT count(*) FROM audit"),
    ("WL-QRY-003", "SELECT 1 WHERE EXISTS (SELECT 1 FROM audit)"),
    ("WL-QRY-003", "SELECT v.value FROM vitals v JOIN quarantine q ON q.device = v.device"),
    ("WL-QRY-003", "WITH c AS (SELECT * FROM audit) SELECT count(*) FROM c"),
    ("WL-QRY-003", "SELECT 1 FROM vitals UNION ALL SELECT 1 FROM audit"),
    ("WL-QRY-003", "SELECT (SELECT max(action) FROM public.audit)"),
    ("WL-QRY-003", "SELECT * FROM datafusion.public.quarantine"),
    ("WL-QRY-003", 'SELECT * FROM "audit"'),
    ("WL-QRY-003", "SELECT * FROM vitals WHERE device IN (SELECT device FROM quarantine)"),
    ("WL-QRY-002", "EXPLAIN SELECT * FROM audit"),
    ("WL-QRY-002", "EXPLAIN ANALYZE SELECT * FROM vitals"),
    ("WL-QRY-002", "SHOW TABLES"),
    ("WL-QRY-002", "SHOW COLUMNS FROM audit"),
    ("WL-QRY-002", "DESCRIBE audit"),
    ("WL-QRY-002", "COPY vitals TO '/tmp/out.csv'"),
    ("WL-QRY-002", "COPY (SELECT * FROM vitals) TO '/tmp/out.parquet' STORED AS PARQUET"),
    ("WL-QRY-002", "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'"),
    ("WL-QRY-002", "CREATE VIEW w AS SELECT * FROM audit"),
    ("WL-QRY-002", "INSERT INTO vitals SELECT * FROM vitals"),
    ("WL-QRY-002", "PREPARE p AS SELECT * FROM audit"),
    ("WL-QRY-002", "EXECUTE p"),
    ("WL-QRY-002", "SET datafusion.catalog.information_schema = true"),
    ("WL-QRY-002", "DROP VIEW vitals"),
    ("WL-QRY-001", "SELECT * FROM read_parquet('/etc/passwd')"),
    ("WL-QRY-001", "SELECT * FROM read_csv('/etc/passwd')"),
    ("WL-QRY-001", "SELECT * FROM '/etc/passwd'"),
    ("WL-QRY-001", "SELECT * FROM parquet_metadata('x')"),
    ("WL-QRY-001", "SELECT 1; SELECT * FROM audit"),
    ("WL-QRY-001", "SELECT pg_read_file('/etc/passwd')"),
    ("WL-QRY-001", "SELECT wearer('demo', 'mon-1', now())"),
]
OF_ANALYSTS = [
    ("WL-QRY-003", "SELECT x.site FROM (SELECT * FROM vitals) x"),
    ("WL-QRY-003", "WITH c AS (SELECT tenant FROM vitals) SELECT count(*) FROM c"),
    ("WL-QRY-003", "SELECT value FROM vitals ORDER BY site"),
    ("WL-QRY-003", "SELECT count(*) FROM vitals GROUP BY tenant"),
    ("WL-QRY-003", "SELECT count(DISTINCT site) FROM latest"),
    ("WL-QRY-003", "SELECT value FROM ecg WHERE tenant LIKE '%'"),
    ("WL-QRY-003", "SELECT a.value FROM vitals a JOIN latest b ON a.site = b.site"),
    ("WL-QRY-003", "SELECT 1 FROM numerics"),
    ("WL-QRY-003", "SELECT value FROM vitals UNION ALL SELECT value FROM numerics"),
]


def evasions(options) -> None:
    for role, further in [("ward", []), ("analyst", OF_ANALYSTS)]:
        with connect(options, role) as connection:
            for code, sql in EVASIONS + further:
                refused(connection, sql, code)
            names = ask(connection, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            names = set(names["table_name"].to_pylist())
            assert names == set(VIEWS if role == "analyst" else CLINICAL), names
            columns = ask(connection, "SELECT column_name FROM information_schema.columns WHERE table_name = 'vitals'")
            has_site = "site" in columns["column_name"].to_pylist()
            assert has_site == (role == "ward"), columns


def prepared(options) -> None:
    """Prepared statements are a way of their own to a table: there is none, to what is granted and to what is not."""
    for role in ["clinician", "ward", "analyst", "auditor", "norole"]:
        client = Client(options, role)
        for table in ["vitals", "audit"]:
            sql = f"SELECT * FROM {table}"
            asked = client.told(client.info, sql)
            granted = cell(role, table, TABLES[table][0]) == "value" or (role == "analyst" and table == "vitals")
            # The same message by its plain name is understood: what is refused below is the way, not the words.
            assert granted == (not isinstance(asked, Exception)), (role, table, asked)
            code = "WL-ID-007" if role in NONE else "WL-QRY-003"
            assert granted or code in str(asked), (role, table, asked)
            making = raw.Action("CreatePreparedStatement", message("ActionCreatePreparedStatementRequest", field(1, sql)))
            handle = message("CommandPreparedStatementQuery", field(1, sql))
            of_handle = raw.FlightDescriptor.for_command(handle)
            calls = {
                "CreatePreparedStatement": lambda: list(client.flight.do_action(making)),
                "GetFlightInfo": lambda: client.flight.get_flight_info(of_handle),
                "GetSchema": lambda: client.flight.get_schema(of_handle),
                "DoGet": lambda: client.flight.do_get(raw.Ticket(handle)).read_all(),
                "DoPut": lambda: client.flight.do_put(of_handle, pyarrow.schema([]))[0].close(),
            }
            for name, call in calls.items():
                told = client.told(call)
                assert isinstance(told, (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid)), (role, table, name, told)
                assert not isinstance(told, pyarrow.ArrowInvalid) or name == "GetSchema", (role, table, name, told)
    print(f"5 roles, 2 tables: no prepared statement by {len(calls)} calls")


def ward(options) -> None:
    """A ward's clinician has the rows of its ward in everything, and counts of nothing else."""
    with connect(options, "ward") as own, connect(options, "clinician") as whole:
        for table in ["numerics", "waveforms", "vitals", "latest", "ecg"]:
            count = f"SELECT count(*) AS n FROM {table}"
            mine, all_of_it = (ask(one, count).to_pylist()[0]["n"] for one in [own, whole])
            assert ask(own, f"SELECT DISTINCT device FROM {table}")["device"].to_pylist() == ["mon-1"], table
            assert 0 < mine < all_of_it and mine * 2 == all_of_it or table == "waveforms", (table, mine, all_of_it)
            other = f"SELECT count(*) AS n FROM {table} WHERE device = 'mon-2'"
            assert ask(own, other).to_pylist()[0]["n"] == 0, table
        print("ward: rows of mon-1 alone, in every table and view")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--subject", required=True)
    options = parser.parse_args()
    for role in ["clinician", "ward", "analyst", "nosite", *NONE]:
        print(f"{role}: {of_role(options, role)} columns as granted")
    evasions(options)
    prepared(options)
    ward(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
