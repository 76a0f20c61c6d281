#!/usr/bin/env python3
"""Receives Wardline's alerts as a webhook, checks who sent them, and handles each once.

    openssl rand -hex 32 > webhook.secret && chmod 600 webhook.secret
    python docs/examples/receive_alerts.py --port 8444 --secret webhook.secret --cert server.pem --key server.key

and in the gateway's wardline.toml:

    [[alerts.webhook]]
    name = "paging"
    url = "https://paging.example:8444/alerts"
    tenant = "demo"
    secret_file = "/etc/wardline/webhook.secret"

What a careful receiver does, and this one shows:

- It computes the signature over the timestamp and the body as they came, compares in constant time, and refuses what is
  older than five minutes: a request that somebody kept cannot be played again.
- It answers 2xx when it has *handled* the events: what it did not accept is sent again, in order.
- It knows an event by its id: delivery is at least once.
- It answers heartbeats. Whoever does not is missed, and that is an alarm in itself.

Only the standard library is needed.
"""

import argparse
import hashlib
import hmac
import http.server
import json
import pathlib
import ssl
import time

REPLAY_S = 300
BODY_MAX = 4 * 1024 * 1024


def is_genuine(secret, headers, body, now=None):
    """Says whether a request was signed with the secret, and just now."""
    timestamp, signature = headers.get("Wardline-Timestamp", ""), headers.get("Wardline-Signature", "")
    if not timestamp.isdigit() or abs((now or time.time()) - int(timestamp)) > REPLAY_S:
        return False
    expected = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"v1={expected}", signature)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Handles requests; `server.secret` and `server.seen` belong to the server."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length <= BODY_MAX else b""
        if not is_genuine(self.server.secret, self.headers, body):
            return self.answer(401)
        told = json.loads(body)
        for event in told["events"]:
            if event["id"] not in self.server.seen:
                self.handle_event(event)
                self.server.seen.add(event["id"])
        self.answer(204)

    def handle_event(self, event):
        """Does what must be done once."""
        print(json.dumps(event), flush=True)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def serve(handler, port, secret, cert, key):
    """Returns a server over TLS."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    # A real one keeps these in its database, beside what it did.
    server.secret, server.seen = pathlib.Path(secret).read_bytes().strip(), set()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    for name in ("--secret", "--cert", "--key"):
        parser.add_argument(name, required=True)
    return parser


if __name__ == "__main__":
    asked = arguments().parse_args()
    serve(Receiver, asked.port, asked.secret, asked.cert, asked.key).serve_forever()
