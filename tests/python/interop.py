#!/usr/bin/env python3
"""The same archive by every road: PyArrow, DuckDB and Polars over PyArrow, wardline-query, ADBC Flight SQL.

Each road answers the same questions; the table shows its numbers. Any that differs from the first road ends this.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import flight_sql
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import read_archive

QUESTIONS = ["readings", "sum of values", "devices", "SpO2 below 91", "ECG samples", "sum of samples"]
NUMERICS = """SELECT count(*), sum(value), count(DISTINCT device), count(*) FILTER (WHERE mdc_code = 150456 AND value < 91)
              FROM {} WHERE tenant = '{}'"""


def dataset(options, table: str) -> ds.Dataset:
    """The table as PyArrow reads it with its CryptoFactory, as others take it."""
    rows = read_archive.read(options.data_dir, table, options.data_dir / "keyring.json")
    return ds.dataset(rows.filter(pc.equal(rows["tenant"].cast("string"), options.tenant)))


def by_pyarrow(options) -> list:
    numerics, waves = dataset(options, "numerics").to_table(), dataset(options, "waveforms").to_table()
    low = pc.and_(pc.equal(numerics["mdc_code"], 150456), pc.less(numerics["value"], 91))
    samples = pc.list_flatten(waves["samples"])
    devices = len(pc.unique(numerics["device"].cast("string")))
    return [numerics.num_rows, pc.sum(numerics["value"]), devices, pc.sum(low), len(samples), pc.sum(samples)]


def by_duckdb(options) -> list:
    numerics, waveforms = dataset(options, "numerics"), dataset(options, "waveforms")  # found by name
    first = duckdb.sql(NUMERICS.format("numerics", options.tenant)).fetchall()[0]
    samples = duckdb.sql("SELECT count(*), sum(s) FROM (SELECT unnest(samples) AS s FROM waveforms)").fetchall()[0]
    return [*first, *samples]


def by_polars(options) -> list:
    numerics, waves = pl.scan_pyarrow_dataset(dataset(options, "numerics")), pl.scan_pyarrow_dataset(dataset(options, "waveforms"))
    low = ((pl.col("mdc_code") == 150456) & (pl.col("value") < 91)).sum()
    first = numerics.select(pl.len().alias("n"), pl.col("value").sum(), pl.col("device").n_unique(), low.alias("low")).collect()
    samples = waves.select(pl.col("samples").explode())
    return [*first.row(0), *samples.select(pl.len().alias("n"), pl.col("samples").cast(pl.Int64).sum()).collect().row(0)]


def by_wardline_query(options) -> list:
    def ask(sql: str) -> list:
        command = [options.binary, "--data-dir", options.data_dir, "--format", "arrow", sql]
        with pa.ipc.open_stream(subprocess.run(command, check=True, capture_output=True).stdout) as rows:
            return list(rows.read_all().to_pylist()[0].values())

    samples = f"SELECT count(*), sum(s) FROM (SELECT unnest(samples) AS s FROM waveforms WHERE tenant = '{options.tenant}')"
    return ask(NUMERICS.format("vitals", options.tenant)) + ask(samples)


def by_flight_sql(options) -> list:
    with flight_sql.connect(options, "clinician") as connection:
        first = flight_sql.ask(connection, NUMERICS.format("vitals", options.tenant))
        # The view gives physical values; the block's scale and offset bring back the samples.
        second = flight_sql.ask(connection, "SELECT count(*), sum(s) FROM (SELECT unnest(samples) AS s FROM waveforms)")
        third = flight_sql.ask(connection, "SELECT count(*), sum(value) FROM ecg")
    samples = list(second.to_pylist()[0].values())
    physical = list(third.to_pylist()[0].values())
    assert physical[0] == samples[0] and abs(physical[1] - 0.01 * samples[1]) < 1e-6, (physical, samples)
    return [*first.to_pylist()[0].values(), *samples]


ROADS = {
    "PyArrow, CryptoFactory": by_pyarrow,
    f"DuckDB {duckdb.__version__} over PyArrow": by_duckdb,
    f"Polars {pl.__version__} over PyArrow": by_polars,
    "wardline-query": by_wardline_query,
    "ADBC Flight SQL, mTLS": by_flight_sql,
}


def plain(value):
    return value.as_py() if isinstance(value, pa.Scalar) else value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--binary", type=Path, required=True)
    options = parser.parse_args()
    print(f"{'':28}" + "".join(f"{question:>16}" for question in QUESTIONS) + f"{'seconds':>10}")
    wanted = None
    for road, answer in ROADS.items():
        start = time.monotonic()
        found = [plain(value) for value in answer(options)]
        wanted = wanted or found
        print(f"{road:28}" + "".join(f"{value:>16.2f}" if isinstance(value, float) else f"{value:>16}" for value in found)
              + f"{time.monotonic() - start:>10.2f}")
        close = [abs(one - other) <= 1e-9 * max(1.0, abs(other)) for one, other in zip(found, wanted)]
        assert len(found) == len(QUESTIONS) and all(close), f"{road} differs: {json.dumps(found)} {json.dumps(wanted)}"
        assert all(found), f"{road}: a question without an answer shows nothing"
    return 0


if __name__ == "__main__":
    sys.exit(main())
