#!/usr/bin/env python3
"""Asks again and again while somebody publishes, and notes when each reading is first seen.

The publisher writes `value at_us` into a file when a reading is acknowledged, and `end` when it is done. Each answer is
of the readings 1 to n: none twice, none left out, and what was acknowledged before a question is in its answer; with
`--within`, what was acknowledged so long before it.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from flight_sql import ask, connect  # noqa: E402

SQL = "SELECT value, count(*) AS n FROM vitals WHERE device = 'fresh-1' GROUP BY value"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--acks", type=Path, required=True)
    parser.add_argument("--within", type=float, default=0.0, metavar="SECONDS")
    options = parser.parse_args()
    seen, asked, longest = {}, 0, 0.0
    deadline = time.monotonic() + 60
    with connect(options, "clinician") as connection:
        while time.monotonic() < deadline:
            lines = options.acks.read_text().split("\n")[:-1] if options.acks.exists() else []
            is_over = lines[-1:] == ["end"]
            known = [line.split() for line in lines if line != "end"]
            began, due_us = time.monotonic(), time.time_ns() // 1000 - round(options.within * 1e6)
            rows = ask(connection, SQL).to_pylist()
            at_us, asked = time.time_ns() // 1000, asked + 1
            longest = max(longest, time.monotonic() - began)
            assert all(row["n"] == 1 for row in rows), f"twice: {[row for row in rows if row['n'] != 1]}"
            values = {int(row["value"]) for row in rows}
            assert values == set(range(1, len(values) + 1)), f"a hole: {sorted(values)}"
            missing = {int(value) for value, acked_us in known if options.within == 0 or int(acked_us) <= due_us} - values
            assert not missing, f"acknowledged before the question and not in the answer: {missing}"
            for value in values:
                seen.setdefault(value, at_us)
            if is_over and not {int(value) for value, _ in known} - values:
                delays = [(seen[int(value)] - int(acked_us)) / 1e6 for value, acked_us in known]
                assert len(delays) >= 50 and longest < max(2.0, options.within), f"{len(delays)} readings, {longest:.3f} s"
                asked_for = f"{options.within:g} s after its acknowledgement" if options.within else "after its acknowledgement"
                print(f"{len(delays)} readings, each in the first answer asked for {asked_for}: within {longest:.3f} s")
                print(f"{asked} questions one after another, none with a reading twice or left out; seen {max(delays):.3f} s after the acknowledgement at most, a question that ran then included")
                return 0
    raise AssertionError("the publisher did not end")


if __name__ == "__main__":
    sys.exit(main())
