#!/usr/bin/env python3
"""Verifies the audit trail of an archive without Wardline: every hash, every number, every link.

    pip install pyarrow cryptography
    python verify_audit.py --data-dir DIR

Reads the table `audit` with read_archive.py beside it. What is in the journal alone is not looked at:
`wardline audit verify` does that too. The canonical bytes are described in docs/audit.md.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import pyarrow.compute as pc

from read_archive import read

FIRST_PREV_HASH = bytes(32)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def canonical(row: dict) -> bytes:
    """The protobuf encoding of AuditEvent without its hash: fields in order of number, defaults left out."""
    fields = [(0x08, row["at_us"])]
    fields += [(tag, row[name].encode()) for tag, name in ((0x12, "action"), (0x1A, "actor"), (0x22, "outcome"))]
    fields += [(0x2A, row["target"].encode()), (0x32, row["node"].encode()), (0x38, row["n"])]
    fields += [(0x42, row["prev_hash"]), (0x50, row["outbox_id"] or 0)]
    out = b""
    for tag, value in fields:
        if value:
            body = varint(value) if isinstance(value, int) else varint(len(value)) + value
            out += bytes([tag]) + body
    return out


def verify(rows: list[dict]) -> list[str]:
    """Checks the rows of one node, in order of n; returns what does not fit."""
    found, last = [], {"n": 0, "hash": FIRST_PREV_HASH}
    for row in rows:
        n = row["n"]
        if n == last["n"]:
            found.append(f"{n} is there twice")
        elif n > last["n"] + 1:
            found.append(f"{last['n'] + 1}..{n - 1} missing")
        elif row["prev_hash"] != last["hash"]:
            found.append(f"{n} does not follow {n - 1}")
        if hashlib.sha256(row["prev_hash"] + canonical(row)).digest() != row["hash"]:
            found.append(f"{n} altered")
        last = row
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="the gateway's data directory")
    options = parser.parse_args()
    table = read(options.data_dir, "audit", options.data_dir / "keyring.json")
    if table is None or "node" not in table.column_names:
        print("no chained events")
        return 0
    table = table.append_column("at_us", pc.cast(table["at"], "int64"))
    chains: dict[str, list[dict]] = {}
    for row in table.drop_columns(["at", "ingest_time"]).to_pylist():
        if row["node"]:
            chains.setdefault(row["node"], []).append(row)
    ok = True
    for node, rows in sorted(chains.items()):
        rows.sort(key=lambda row: row["n"])
        found = verify(rows)
        ok &= not found
        print(f"node {node}: {len(rows)} events {rows[0]['n']}..{rows[-1]['n']} head {rows[-1]['hash'].hex()}")
        print("\n".join(f"  {what}" for what in found) or "  whole")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
