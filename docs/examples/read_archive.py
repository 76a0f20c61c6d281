#!/usr/bin/env python3
"""Reads Wardline's archive with PyArrow and the keyring.

    pip install pyarrow cryptography    # and psycopg[binary], when wardline.toml names a PostgreSQL
    python read_archive.py --data-dir DIR --table numerics --newest 5

The files lie in the data directory, or in the bucket that its wardline.toml names. Each file is encrypted Parquet with key-tools material. PyArrow's CryptoFactory asks `KeyringClient` below to unwrap
its keys; any other key service is the same two methods. Without the keyring nothing is readable, not even a
column's name. A keyring that holds only some keys reads only the columns under those keys: pass --columns.
"""

import argparse
import base64
import json
import os
import sqlite3
import ssl
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pfs
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
TABLES = ["numerics", "waveforms", "alarms", "events", "quarantine", "audit", "completeness"]


class KeyringClient(pe.KmsClient):
    """Unwraps keys with a Wardline keyring: base64 of nonce(12) | ciphertext | tag(16), AES-256-GCM, AAD = key id."""

    def __init__(self, keyring: Path):
        super().__init__()
        keys = json.loads(keyring.read_text())["keys"]
        self.keys = {key["id"]: base64.b64decode(key["key"]) for key in keys if "key" in key}

    def wrap_key(self, key_bytes, master_key_identifier):
        raise PermissionError("this client reads only")

    def unwrap_key(self, wrapped_key, master_key_identifier):
        key = self.keys.get(master_key_identifier)
        if key is None:
            raise PermissionError(f"the keyring has no key {master_key_identifier}")
        wrapped = base64.b64decode(wrapped_key)
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, sealed, master_key_identifier.encode())
        except InvalidTag as error:
            raise PermissionError(f"key {master_key_identifier} is not the one that wrapped this") from error


class TransitClient(KeyringClient):
    """Unwraps keys at OpenBao or Vault, and those that are in the keyring file with it."""

    def __init__(self, keyring: Path, settings: dict, data_dir: Path):
        super().__init__(keyring)
        self.token = (data_dir / settings["token_file"]).read_text().strip()
        self.url = f"{settings['url'].rstrip('/')}/v1/{settings.get('mount', 'transit')}/decrypt/"
        self.context = ssl.create_default_context(cafile=data_dir / settings["ca_file"] if "ca_file" in settings else None)

    def unwrap_key(self, wrapped_key, master_key_identifier):
        if master_key_identifier in self.keys:
            return super().unwrap_key(wrapped_key, master_key_identifier)
        body = json.dumps({"ciphertext": base64.b64decode(wrapped_key).decode()}).encode()
        request = urllib.request.Request(self.url + master_key_identifier, body, {"X-Vault-Token": self.token})
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=10) as answer:
                return base64.b64decode(json.load(answer)["data"]["plaintext"])
        except urllib.error.HTTPError as error:
            raise PermissionError(f"the key service refuses key {master_key_identifier}: {error}") from error


def client(keyring: Path, data_dir: Path) -> pe.KmsClient:
    """Returns what unwraps the keys of the archive: the keyring, or a key service that wardline.toml names."""
    transit = settings(data_dir).get("keys", {}).get("transit")
    return TransitClient(keyring, transit, data_dir) if transit else KeyringClient(keyring)


def settings(data_dir: Path) -> dict:
    """Returns the settings of the data directory."""
    path = data_dir / "wardline.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def place(data_dir: Path) -> tuple[pfs.FileSystem, str]:
    """Returns the file system of the archive and its root there: a folder, or a bucket and a prefix."""
    bucket = settings(data_dir).get("archive", {}).get("bucket")
    if bucket is None:
        return pfs.LocalFileSystem(), str(data_dir / "archive")
    keys = {name: os.environ.get(f"AWS_{name.upper()}") for name in ["access_key_id", "secret_access_key", "session_token"]}
    if not (keys["access_key_id"] and keys["secret_access_key"]):
        keys = tomllib.loads((data_dir / bucket["credentials_file"]).read_text())
    scheme, _, host = bucket.get("endpoint", "").rpartition("://")
    path_style = bucket.get("path_style", bool(host))
    ca_file = bucket.get("ca_file")
    return pfs.S3FileSystem(
        access_key=keys["access_key_id"],
        secret_key=keys["secret_access_key"],
        session_token=keys.get("session_token"),
        region=bucket.get("region", "us-east-1"),
        scheme=scheme or "https",
        endpoint_override=host or None,
        force_virtual_addressing=not path_style and bool(host),
        tls_ca_file_path=str(data_dir / ca_file) if ca_file else None,
    ), bucket["url"].removeprefix("s3://").rstrip("/")


def server(data_dir: Path) -> str | None:
    """Returns the URL of the database when it is a PostgreSQL: of the environment, or of the settings."""
    store = settings(data_dir).get("store", {})
    url = os.environ.get("WARDLINE_STORE_URL") or store.get("url")
    return url or ((data_dir / store["url_file"]).read_text().strip() if "url_file" in store else None)


def files(data_dir: Path, table: str) -> list[str]:
    """Lists the committed files of a table: what the catalog does not name is no part of the archive."""
    query = "SELECT path FROM archive_file WHERE table_name = {} ORDER BY offset_first"
    if url := server(data_dir):
        import psycopg

        try:
            with psycopg.connect(url, options="-c default_transaction_read_only=on") as catalog:
                return [path for (path,) in catalog.execute(query.format("%s"), (table,))]
        except psycopg.Error as error:
            raise OSError(f"the database: {error}") from error
    database = f"{(data_dir / 'wardline.db').resolve().as_uri()}?mode=rw"
    with sqlite3.connect(database, uri=True) as catalog:
        catalog.execute("PRAGMA query_only = ON")
        return [path for (path,) in catalog.execute(query.format("?"), (table,))]


def read(data_dir: Path, table: str, keyring: Path, columns: list[str] | None = None) -> pa.Table | None:
    """Reads a whole table; None when it has no rows. For more than fits in memory, go file by file."""
    factory = pe.CryptoFactory(lambda _config: client(keyring, data_dir))
    (store, root), parts = place(data_dir), []
    for path in files(data_dir, table):
        decryption = factory.file_decryption_properties(pe.KmsConnectionConfig())
        # Without background threads: one that still holds a decryptor when Python ends aborts the process.
        source = store.open_input_file(f"{root}/{path}")
        with source, pq.ParquetFile(source, decryption_properties=decryption, pre_buffer=False) as file:
            parts.append(file.read(columns=columns, use_threads=False))
    # A column that came with a later version is null in files from before it.
    return pa.concat_tables(parts, promote_options="default") if parts else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="the gateway's data directory")
    parser.add_argument("--keyring", type=Path, help="default: keyring.json in the data directory")
    parser.add_argument("--table", choices=TABLES, default="numerics")
    parser.add_argument("--columns", help="names, separated by commas; default: all")
    parser.add_argument("--newest", type=int, default=10, help="rows to print, default 10")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, every row")
    options = parser.parse_args()
    keyring = options.keyring or options.data_dir / "keyring.json"
    columns = options.columns.split(",") if options.columns else None
    try:
        table = read(options.data_dir, options.table, keyring, columns)
    except (OSError, PermissionError, sqlite3.Error, ValueError, pa.ArrowException) as error:
        print(f"read_archive: cannot read {options.table}: {error}", file=sys.stderr)
        return 1
    rows = table.num_rows if table else 0
    if options.json:
        for row in table.to_pylist() if table else []:
            print(json.dumps(row, default=lambda value: value.hex() if isinstance(value, bytes) else str(value)))
        return 0
    print(f"{options.table}: {rows} rows")
    if table:
        for row in table.slice(max(0, rows - options.newest)).to_pylist():
            print("  " + "  ".join(f"{name}={value}" for name, value in row.items() if value is not None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
