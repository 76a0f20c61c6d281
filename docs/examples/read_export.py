#!/usr/bin/env python3
"""Reads an export of Wardline's archive with DuckDB alone.

    pip install duckdb pytz
    WARDLINE_EXPORT_KEY=$(cat export.key) python read_export.py --dir export \\
        --sql "SELECT mdc_ref_id, count(*), avg(value) FROM numerics GROUP BY 1"

Each table of the export is a view. The key is the text that `wardline archive export` wrote: base64 of 32 bytes.
Without it DuckDB reads nothing, not even a column's name. Lists are texts in the files, since DuckDB does not decrypt
nested columns; the views cast them back.
"""

import argparse
import base64
import os
import sys
from pathlib import Path

import duckdb

CASTS = {
    "samples": "INTEGER[]",
    "gaps": 'STRUCT("first" UINTEGER, "count" UINTEGER)[]',
    "missing_ranges": 'STRUCT("first" UBIGINT, "last" UBIGINT)[]',
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="folder of the export")
    parser.add_argument("--sql", default="SHOW TABLES", help="what to ask")
    arguments = parser.parse_args()
    key = os.environ.get("WARDLINE_EXPORT_KEY", "").strip()
    if len(base64.b64decode(key)) != 32:
        print("WARDLINE_EXPORT_KEY is not base64 of 32 bytes", file=sys.stderr)
        return 2
    database = duckdb.connect()
    database.execute(f"PRAGMA add_parquet_key('export', '{key}')")
    for table in sorted({path.name.rsplit("-", 1)[0] for path in arguments.dir.glob("*.parquet")}):
        files = str(arguments.dir / f"{table}-*.parquet")
        source = f"read_parquet('{files}', encryption_config = {{footer_key: 'export'}}, union_by_name = true)"
        columns = [row[0] for row in database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
        casts = ", ".join(f"{name}::{CASTS[name]} AS {name}" for name in columns if name in CASTS)
        replace = f"REPLACE ({casts})" if casts else ""
        database.execute(f"CREATE VIEW {table} AS SELECT * {replace} FROM {source}")
    for row in database.execute(arguments.sql).fetchall():
        print("\t".join(str(value) for value in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
