"""Scores NEWS2 for each row of a numerics recording, from the recording's own files and the chart alone.

A second implementation: nothing of Wardline's is used. Prints "ROW KNOWN TOTAL MISSING" per row; TOTAL is - while a
parameter is missing. Missing is what has no value in the row, or, with --rows, none for longer. Air is breathed and the patient is alert, as the caller presumes too.
Chart: Royal College of Physicians, National Early Warning Score (NEWS) 2, 2017.
"""

import argparse
import array
import pathlib
from decimal import ROUND_HALF_UP, Decimal

# Upper bound of each column, and its points; None is above all.
CHART = {
    "respiration": [(8, 3), (11, 1), (20, 0), (24, 2), (None, 3)],
    "spo2": [(91, 3), (93, 2), (95, 1), (None, 0)],
    "systolic": [(90, 3), (100, 2), (110, 1), (219, 0), (None, 3)],
    "pulse": [(40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (None, 3)],
    "temperature": [(Decimal("35.0"), 3), (Decimal("36.0"), 1), (Decimal("38.0"), 0), (Decimal("39.0"), 1), (None, 2)],
}
SOURCES = {
    "respiration": ["RESP"],
    "spo2": ["SpO2"],
    "systolic": ["ABPSys", "NBPSys"],
    "pulse": ["HR", "PULSE"],
    "temperature": ["Temp"],
}
SPOT = ("systolic", "temperature")
GAPS = (0, -32768)


def read(header: pathlib.Path) -> list[dict[str, Decimal]]:
    lines = [line for line in header.read_text().splitlines() if line and not line.startswith("#")]
    _, count, _, rows = lines[0].split()[:4]
    specs = [line.split() for line in lines[1 : 1 + int(count)]]
    samples = array.array("h", (header.parent / specs[0][0]).read_bytes())
    table = []
    for row in range(int(rows)):
        values = {}
        for column, spec in enumerate(specs):
            raw = samples[row * len(specs) + column]
            if raw not in GAPS:
                values[spec[8]] = Decimal(raw) / Decimal(spec[2].split("/")[0])
        table.append(values)
    return table


def points(parameter: str, value: Decimal) -> int:
    step = Decimal("0.1") if parameter == "temperature" else Decimal(1)
    value = value.quantize(step, rounding=ROUND_HALF_UP)
    return next(p for bound, p in CHART[parameter] if bound is None or value <= bound)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("header", type=pathlib.Path)
    parser.add_argument("--chart", type=pathlib.Path, help="temperatures that were charted: a line ROW VALUE each")
    parser.add_argument("--rows", type=int, default=0, help="a value counts for so many rows more")
    parser.add_argument("--spot-rows", type=int, default=0, help="a pressure or a temperature for so many")
    options = parser.parse_args()
    table = read(options.header)
    for line in options.chart.read_text().splitlines() if options.chart else []:
        row, value = line.split()
        table[int(row)]["Temp"] = Decimal(value)
    newest: dict[str, tuple[int, Decimal]] = {}
    for row, values in enumerate(table):
        newest.update({name: (row, value) for name, value in values.items()})
        known, missing = 0, []
        for parameter, names in SOURCES.items():
            rows = options.spot_rows if parameter in SPOT else options.rows
            fresh = (newest[name] for name in names if name in newest and row - newest[name][0] <= rows)
            value = next((value for _, value in fresh), None)
            if value is None:
                missing.append(parameter)
            else:
                known += points(parameter, value)
        print(row, known, "-" if missing else known, ",".join(missing))


if __name__ == "__main__":
    main()
