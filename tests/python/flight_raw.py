#!/usr/bin/env python3
"""Flight without a driver: every call of the protocol as an analyst, for a name that leaves, and statements cancelled.

Messages are made by hand, so that also what no driver sends is sent. Every line that it prints is something that held.
"""

import argparse
import re
import sys
import threading
import time
from pathlib import Path

import pyarrow
import pyarrow.flight as flight
import pyarrow.ipc
from fhir_client import Client as Fhir

SQL = "type.googleapis.com/arrow.flight.protocol.sql."
ENDLESS = "SELECT a.value FROM generate_series(1, 1000000000000) a WHERE a.value % 1000 = 0"
ASLEEP = "SELECT sum(a.value * b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b"


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, value) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(name: str, *fields: bytes) -> bytes:
    return field(1, SQL + name) + field(2, b"".join(fields))


def command(name: str, *fields: bytes) -> flight.FlightDescriptor:
    return flight.FlightDescriptor.for_command(message(name, *fields))


class Client:
    """One caller; remembers every word that it was told."""

    def __init__(self, options, name: str):
        certs = options.certs / name
        read = lambda file: (certs / file).read_bytes()
        mtls = {"tls_root_certs": read("ca.pem"), "cert_chain": read("cert.pem"), "private_key": read("key.pem")}
        self.flight = flight.FlightClient(f"grpc+tls://localhost:{options.port}", **mtls)
        self.heard: list[str] = []

    def told(self, call, *of) -> object:
        """What a call gives, or its error."""
        try:
            given = call(*of)
            given = list(given) if hasattr(given, "__next__") else given
        except AssertionError:
            raise
        except Exception as error:  # whatever it says
            self.heard.append(str(error))
            return error
        self.heard.append(str(given))
        return given

    def info(self, sql: str) -> flight.FlightInfo:
        return self.flight.get_flight_info(command("CommandStatementQuery", field(1, sql)))

    def rows(self, sql: str):
        def ask():
            info = self.info(sql)
            table = self.flight.do_get(info.endpoints[0].ticket).read_all()
            self.heard.append(str(table.to_pylist()) + str(table.schema) + str(info.schema))
            # What the first call says of columns, from no row at all, is what the second gives.
            assert info.schema.remove_metadata().equals(table.schema.remove_metadata()), (info.schema, table.schema)
            return table

        return self.told(ask)


def names_leave_by_no_call(options) -> None:
    analyst = Client(options, "analyst")
    listings = [
        command("CommandGetCatalogs"),
        command("CommandGetDbSchemas", field(1, "wardline")),
        command("CommandGetTables", field(5, 1)),
        command("CommandGetTables", field(3, "%"), field(5, 1)),
        command("CommandGetTableTypes"),
        command("CommandGetSqlInfo"),
    ]
    for asked in listings:
        info = analyst.told(analyst.flight.get_flight_info, asked)
        analyst.told(lambda: analyst.flight.do_get(info.endpoints[0].ticket).read_all().to_pylist())
    tables = analyst.flight.do_get(analyst.flight.get_flight_info(listings[2]).endpoints[0].ticket).read_all()
    assert set(tables["table_name"].to_pylist()) == {"vitals", "ecg", "latest"}, tables["table_name"]
    for schema in tables["table_schema"].to_pylist():
        columns = set(pyarrow.ipc.read_schema(pyarrow.BufferReader(schema)).names)
        assert "device" in columns and not {"tenant", "site", "epoch", "seq"} & columns, columns
    unheard = ["CommandGetPrimaryKeys", "CommandGetExportedKeys", "CommandGetImportedKeys", "CommandGetCrossReference"]
    unheard += ["CommandGetXdbcTypeInfo", "CommandPreparedStatementQuery", "CommandStatementSubstraitPlan"]
    for name in unheard:
        for table in ["vitals", "audit"]:
            refused = analyst.told(analyst.flight.get_flight_info, command(name, field(3, table)))
            assert isinstance(refused, Exception), (name, refused)
    for name in ["CreatePreparedStatement", "BeginTransaction", "CreatePreparedSubstraitPlan", "Anything"]:
        body = message(f"Action{name}Request", field(1, "SELECT * FROM audit"))
        refused = analyst.told(lambda: list(analyst.flight.do_action(flight.Action(name, body))))
        assert isinstance(refused, Exception), (name, refused)
    update = command("CommandStatementUpdate", field(1, "DELETE FROM vitals"))
    refused = analyst.told(lambda: analyst.flight.do_put(update, pyarrow.schema([]))[0].close())
    assert isinstance(refused, Exception), refused
    analyst.told(lambda: list(analyst.flight.list_flights()))
    analyst.told(lambda: list(analyst.flight.list_actions()))
    analyst.told(analyst.flight.get_schema, command("CommandStatementQuery", field(1, "SELECT * FROM vitals")))

    # A clinician's ticket is judged again: by who redeems it.
    ticket = Client(options, "clinician").info("SELECT device, site FROM vitals").endpoints[0].ticket
    stolen = analyst.told(lambda: analyst.flight.do_get(ticket).read_all())
    assert isinstance(stolen, Exception) and "WL-QRY-003" in str(stolen), stolen

    views = ["tables", "views", "columns", "df_settings", "schemata", "routines", "parameters"]
    answered = [analyst.rows(f"SELECT * FROM information_schema.{view}") for view in views]
    assert sum(not isinstance(answer, Exception) for answer in answered) >= 5, answered
    hidden = f"'{options.subject}'"
    for sql in [
        "SELECT * FROM vitals",
        "SELECT * FROM latest",
        "SELECT * FROM ecg",
        "SELECT DISTINCT device, subject, arrow_typeof(device), length(subject), upper(device) FROM vitals",
        "SELECT max(device), min(subject), array_agg(DISTINCT subject), string_agg(device, ',') FROM vitals",
        "SELECT first_value(subject) OVER (ORDER BY value) FROM vitals",
        "SELECT encode(device::bytea, 'hex'), reverse(subject), md5(device) FROM vitals",
        f"SELECT count(*) FROM vitals WHERE subject = {hidden} OR device IN ('mon-1', 'mon-2')",
        f"SELECT count(*) FROM vitals WHERE subject LIKE '%0815%' OR device LIKE 'mon%' OR starts_with(subject, 'subj')",
        "SELECT device::int FROM vitals",
        "SELECT subject::timestamp FROM vitals",
        "SELECT to_timestamp(device) FROM vitals",
        "SELECT arrow_cast(subject, 'Int64') FROM vitals",
        "SELECT regexp_replace(device, '(', '') FROM vitals",
        "SELECT 1 / (value - value) FROM vitals",
        "SELECT decode(device, 'hex') FROM vitals",
        "SELECT chr(length(device)::int * 100000000) FROM vitals",
        "SELECT device FROM vitals GROUP BY value",
        "SELECT subject.x FROM vitals",
        "SELECT vitals.nothing FROM vitals",
        "SELECT mdc_code, site FROM vitals",
        "SELECT wearer(device) FROM vitals",
        "SELECT pseudonym('device', 'mon-1')",
        "SELECT * FROM numerics",
        "SELECT * FROM wardline.public.numerics",
        "SELECT * FROM datafusion.public.numerics",
        "EXPLAIN VERBOSE SELECT * FROM vitals",
        "EXPLAIN ANALYZE SELECT * FROM vitals",
        "SELECT * FROM vitals EXCEPT SELECT * FROM vitals LIMIT 1",
        "SELECT v.* FROM vitals v NATURAL JOIN latest l",
        "SELECT current_user",
        "SELECT version()",
    ]:
        analyst.rows(sql)
    counts = analyst.rows(f"SELECT count(*) AS n FROM vitals WHERE subject = {hidden} OR device = 'mon-1' OR device LIKE 'mon%'")
    assert counts.to_pylist() == [{"n": 0}], "a name finds nothing"
    # What was asked is an analyst's own words; the rest of what it was told has none of these in it.
    own = [hidden, "'mon-1'", "'mon-2'", "'mon%'", "0815%"]
    for words in analyst.heard:
        for word in own:
            words = words.replace(word, "")
        for name in [options.subject, "mon-1", "mon-2", "wardline.db", str(options.certs.parent), "spiffe:", "icu"]:
            assert not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words), f"{name}: {words[:600]}"
    print(f"analyst: {len(analyst.heard)} answers and refusals of {len(unheard) + len(listings) + 10} calls and 40 statements, no name in any")


def ended(stream) -> tuple[str, float]:
    """Reads to the end; says how it ended, and when."""
    try:
        while True:
            stream.read_chunk()
    except StopIteration:
        return "", time.monotonic()
    except Exception as error:  # whatever it says
        return str(error), time.monotonic()


def cancel(client: Client, info: flight.FlightInfo, action: str) -> int:
    body = field(1, info.serialize()) if action == "CancelFlightInfo" else message("ActionCancelQueryRequest", field(1, info.serialize()))
    (answer,) = client.flight.do_action(flight.Action(action, body))
    answer = answer.body.to_pybytes()
    # CancelFlightInfoResult has the number as its first field; Flight SQL packs the message.
    return answer[-1] if answer else 0


def a_statement_ends_when_its_caller_says_so(options) -> None:
    clinician, other, analyst = (Client(options, name) for name in ["clinician", "other-clinician", "analyst"])
    for action in ["CancelQuery", "CancelFlightInfo"]:
        for sql in [ENDLESS, ASLEEP]:
            info = clinician.info(sql)
            assert cancel(clinician, info, action) == 3, "it does not run yet"
            how = []
            reading = threading.Thread(target=lambda: how.append(ended(clinician.flight.do_get(info.endpoints[0].ticket))))
            reading.start()
            time.sleep(0.7)
            for stranger in [other, analyst]:
                assert cancel(stranger, info, action) == 3, "another's statement is none"
            assert reading.is_alive() and not how, how
            began = time.monotonic()
            assert cancel(clinician, info, action) == 2, "it is being cancelled"
            reading.join(10)
            (told, at), = how
            assert "WL-QRY-011" in told, told
            assert at - began < 2, f"{at - began:.2f} s"
            print(f"{action}: ended after {at - began:.2f} s with WL-QRY-011: {sql[:40]}")
            assert cancel(clinician, info, action) == 3, "it has ended"
    # Its place is free, for as many as may run.
    for _ in range(3):
        assert clinician.rows("SELECT count(*) AS n FROM vitals").to_pylist()[0]["n"] > 0
    for body in [b"", b"nonsense", field(1, b"nonsense")]:
        for action in ["CancelQuery", "CancelFlightInfo"]:
            refused = clinician.told(lambda: list(clinician.flight.do_action(flight.Action(action, body))))
            assert isinstance(refused, Exception), (action, body, refused)
    nobody = Client(options, "norole")
    refused = nobody.told(lambda: cancel(nobody, info, "CancelQuery"))
    assert isinstance(refused, Exception) and "WL-ID-007" in str(refused), refused


def who_has_no_place_left_is_refused_every_call(options) -> None:
    clinician = Client(options, "clinician")
    tables = clinician.flight.get_flight_info(command("CommandGetTables", field(5, 1)))
    info = clinician.info("SELECT 1")
    taken = [clinician.flight.do_get(clinician.info(ENDLESS).endpoints[0].ticket) for _ in range(2)]
    calls = {
        "GetFlightInfo": lambda: clinician.info("SELECT 1"),
        "GetTables": lambda: clinician.flight.do_get(tables.endpoints[0].ticket).read_all(),
        "DoGet": lambda: clinician.flight.do_get(info.endpoints[0].ticket).read_all(),
    }
    for name, call in calls.items():
        refused = clinician.told(call)
        assert isinstance(refused, Exception) and "WL-QRY-006" in str(refused), (name, refused)
    fhir = Fhir(options.certs / "clinician", options.fhir_port)
    asynchronous = {"Prefer": "respond-async"}
    for path in ["/Observation?code=150456", "/Observation/no-such", "/Observation?_id=no-such", "/$export"]:
        status, _, body = fhir.ask("GET", path, headers=asynchronous if "export" in path else {})
        assert status == 429 and b"WL-QRY-006" in body, (path, status, body[:300])
    # Another caller has places of its own.
    assert Client(options, "analyst").rows("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    for stream in taken:
        stream.cancel()
    deadline = time.monotonic() + 10
    while isinstance(clinician.told(clinician.info, "SELECT 1"), Exception):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    print(f"{len(calls)} calls of Flight and 4 of FHIR take a place, and were refused without one")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fhir-port", type=int, required=True)
    parser.add_argument("--subject", required=True)
    options = parser.parse_args()
    names_leave_by_no_call(options)
    a_statement_ends_when_its_caller_says_so(options)
    who_has_no_place_left_is_refused_every_call(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
