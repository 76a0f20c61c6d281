"""The receiver of docs/examples, with faults before it: `--faults 500,hang,503` for its first requests with alerts.

It prints what it handled, a line each, and `bad` for a request that is not genuine. Before it serves it makes sure that
its own check can fail.
"""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs" / "examples"))
import receive_alerts  # noqa: E402


def check_the_check(secret):
    """A changed body, a changed or old timestamp and another secret are refused."""
    import hashlib
    import hmac

    def signed(body, at, key=secret):
        digest = hmac.new(key, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return {"Wardline-Timestamp": str(at), "Wardline-Signature": f"v1={digest}"}

    now, genuine = int(time.time()), receive_alerts.is_genuine
    assert genuine(secret, signed(b"a", now), b"a")
    assert not genuine(secret, signed(b"a", now), b"b")
    assert not genuine(secret, signed(b"a", now - 301), b"a")
    assert not genuine(secret, {**signed(b"a", now), "Wardline-Timestamp": str(now - 1)}, b"a")
    assert not genuine(secret, signed(b"a", now, b"x" * 32), b"a")


class Faulty(receive_alerts.Receiver):
    def do_POST(self):
        if self.server.faults:
            # A heartbeat is told by its size; it is not what the faults are for.
            if int(self.headers.get("Content-Length", 0)) > 300:
                fault = self.server.faults.pop(0)
                self.rfile.read(int(self.headers["Content-Length"]))
                if fault == "hang":
                    time.sleep(5)
                    return None
                return self.answer(int(fault))
        return super().do_POST()

    def handle_event(self, event):
        told = {"id": event["id"], "cursor": event["cursor"], "alert_id": event["alert"]["alert_id"]}
        print(json.dumps(told), flush=True)

    def answer(self, status):
        if status == 401:
            print("bad", flush=True)
        super().answer(status)


if __name__ == "__main__":
    parser = receive_alerts.arguments()
    parser.add_argument("--faults", default="")
    asked = parser.parse_args()
    served = receive_alerts.serve(Faulty, asked.port, asked.secret, asked.cert, asked.key)
    served.faults = [fault for fault in asked.faults.split(",") if fault]
    check_the_check(served.secret)
    served.serve_forever()
