#!/usr/bin/env python3
"""Follows Wardline's alerts from Python, misses nothing, and says when it is deaf.

    pip install grpcio grpcio-tools
    wardline service issue --tenant demo --name ward-7 --out certs
    python docs/examples/subscribe_alerts.py --server localhost:8443 --certs certs --state ward-7.cursor

What a careful listener does, and this one shows:

- It keeps the cursor of the last event that it *handled*, and resumes after it. Delivery is at least once: handle an
  event, then keep its cursor; the cursor is also the key when handling twice would hurt. No two events of a tenant have
  the same one, while an alert may be updated, escalate or alarm again more than once.
- It expects a heartbeat every 5 s. Three missed ones are a lost connection, whatever TCP thinks.
- It says aloud that it is deaf. Silence is never mistaken for health.

The .proto files are compiled on the fly into a temporary folder; `--proto` says where they are.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

import grpc
from grpc_tools import protoc

HEARTBEATS_MISSED_S = 15.0
BACKOFF_MAX_S = 10.0
# Trying again cannot help: wrong certificate, or a cursor of another log.
FATAL = {
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.INVALID_ARGUMENT,
}


def load_messages(proto: pathlib.Path):
    """Compiles wardline/v1/*.proto and imports what this client needs."""
    out = tempfile.mkdtemp(prefix="wardline-proto-")
    files = [str(proto / "wardline/v1" / name) for name in ("frame.proto", "alerts.proto")]
    args = ["protoc", f"-I{proto}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    if protoc.main(args) != 0:
        sys.exit("the .proto files do not compile; is --proto right?")
    sys.path.insert(0, out)
    from wardline.v1 import alerts_pb2, alerts_pb2_grpc, frame_pb2

    return alerts_pb2, alerts_pb2_grpc, frame_pb2


class Cursor:
    """The last handled event, kept in a file that is replaced as a whole."""

    def __init__(self, path, first):
        self.path = path
        self.value = first
        if path and path.exists():
            self.value = int(path.read_text())

    def keep(self, value):
        self.value = value
        if self.path:
            fresh = self.path.with_suffix(".new")
            with open(fresh, "w") as file:
                file.write(str(value))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)


class Watchdog:
    """Cancels a call that has been silent for too long."""

    def __init__(self, call):
        self.call, self.last, self.done = call, time.monotonic(), False
        threading.Thread(target=self.watch, daemon=True).start()

    def heard(self):
        self.last = time.monotonic()

    def watch(self):
        while not self.done:
            if time.monotonic() - self.last > HEARTBEATS_MISSED_S:
                self.call.cancel()
                return
            time.sleep(0.5)


def channel(server, certs):
    read = lambda name: (certs / name).read_bytes()
    credentials = grpc.ssl_channel_credentials(read("ca.pem"), read("key.pem"), read("cert.pem"))
    return grpc.secure_channel(server, credentials)


def handle(event, frame_pb2):
    """Put your pager here. What was handled is kept right after."""
    alert = event.alert
    line = {
        "cursor": event.cursor,
        "phase": frame_pb2.AlarmPhase.Name(event.phase).removeprefix("ALARM_PHASE_").lower(),
        "reason": event.reason,
        "device": alert.device,
        "rule": alert.rule_id,
        "metric": alert.mdc_ref_id,
        "priority": frame_pb2.Priority.Name(alert.priority).removeprefix("PRIORITY_").lower(),
        "value": alert.value if alert.HasField("value") else None,
        "unit": alert.ucum_unit,
        "onset_us": alert.onset_us,
        "alert_id": alert.alert_id,
    }
    print(json.dumps(line), flush=True)


def follow(options, modules, cursor):
    """One connection. Returns how many events it handled; raises grpc.RpcError when it ends."""
    alerts_pb2, alerts_pb2_grpc, frame_pb2 = modules
    handled = 0
    with channel(options.server, options.certs) as connection:
        stub = alerts_pb2_grpc.AlertServiceStub(connection)
        call = stub.Subscribe(alerts_pb2.SubscribeRequest(cursor=cursor.value))
        watchdog = Watchdog(call)
        try:
            for response in call:
                watchdog.heard()
                if response.WhichOneof("kind") == "event":
                    handle(response.event, frame_pb2)
                    cursor.keep(response.event.cursor)
                    handled += 1
                    if handled >= options.left:
                        call.cancel()
                        return handled
                elif response.heartbeat.engine_lag_ms > 5000:
                    lag_s = response.heartbeat.engine_lag_ms / 1000
                    print(f"the alarm engine is {lag_s:.0f} s behind", file=sys.stderr)
        finally:
            watchdog.done = True
    return handled


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="localhost:8443", help="HOST:PORT of the gateway's gRPC")
    parser.add_argument("--certs", type=pathlib.Path, required=True, help="folder with ca.pem, cert.pem, key.pem")
    parser.add_argument("--cursor", type=int, default=0, help="the last event handled; 0 is the beginning")
    parser.add_argument("--state", type=pathlib.Path, help="file that keeps the cursor; wins over --cursor")
    parser.add_argument("--count", type=int, help="stop after this many events")
    parser.add_argument("--timeout", type=float, help="stop after this many seconds; 1 when --count was not reached")
    default_proto = pathlib.Path(__file__).resolve().parents[2] / "proto"
    parser.add_argument("--proto", type=pathlib.Path, default=default_proto, help="folder of wardline/v1/*.proto")
    options = parser.parse_args()
    options.left = options.count or sys.maxsize
    if options.timeout:
        # The main thread sits in a blocking read: a timer ends the process.
        code = 1 if options.count else 0
        timer = threading.Timer(options.timeout, lambda: os._exit(code))
        timer.daemon = True
        timer.start()

    modules = load_messages(options.proto)
    cursor = Cursor(options.state, options.cursor)
    pause = 0.25
    while options.left > 0:
        before = cursor.value
        try:
            options.left -= follow(options, modules, cursor)
        except grpc.RpcError as error:
            if error.code() in FATAL:
                sys.exit(f"{error.code().name}: {error.details()}")
            options.left -= cursor.value - before if options.count else 0
            pause = 0.25 if cursor.value != before else min(pause * 2, BACKOFF_MAX_S)
            print(f"deaf: {error.code().name}: {error.details()}; resuming after {cursor.value}", file=sys.stderr)
            time.sleep(pause)


if __name__ == "__main__":
    main()
