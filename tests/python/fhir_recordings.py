"""Real recordings as FHIR: every reading, every sample, and of what was lost that it was."""
import argparse, json, pathlib
from fhir_client import Client, validate

arguments = argparse.ArgumentParser()
arguments.add_argument("--certs", required=True, type=pathlib.Path)
arguments.add_argument("--port", required=True, type=int)
arguments.add_argument("--readings", required=True, type=int)
arguments.add_argument("--samples", required=True, type=pathlib.Path)
arguments.add_argument("--lost", required=True, type=int)
arguments.add_argument("--node", required=True, type=pathlib.Path)
args = arguments.parse_args()
caller = lambda name: Client(args.certs / name, args.port)
clinician, analyst = caller("clinician"), caller("analyst")


def issues_of(outcomes):
    """What is said of answers."""
    return [issue for outcome in outcomes for issue in outcome["issue"]]


# A monitor's hours of vital signs, as the record has them: no reading more and none less, and no hole in its streams.
readings, told, pages = clinician.pages("/Observation?device=mon-1&_count=1000")
assert len(readings) == args.readings == len({r["id"] for r in readings}), (len(readings), args.readings)
codes = {c["code"] for r in readings for c in r["code"]["coding"]}
issues = issues_of(told)
assert [issue["code"] for issue in issues] == ["informational"], issues
print(f"{len(readings)} readings of {len(codes)} codes on {pages} pages, as recorded; nothing is missing")

# An ECG of which one second never came: every sample of the others, and the hole by name.
blocks, holed, _ = clinician.pages("/Observation?device=mon-2&code=131330")
raw, second = json.loads(args.samples.read_text()), 360
wanted = [raw[n : n + second] for n in range(0, len(raw), second) if n // second != args.lost]
found = [[int(n) for n in block["valueSampledData"]["data"].split()] for block in sorted(blocks, key=lambda b: b["effectivePeriod"]["start"])]
assert found == wanted, (len(found), len(wanted))
data = blocks[0]["valueSampledData"]
assert abs(data["factor"] - 0.005) < 1e-12 and abs(data["origin"]["value"] + 1024 * 0.005) < 1e-9 and abs(data["period"] - 1000 / 360) < 1e-5, data
issues = issues_of(holed)
text = issues[0]["details"]["text"]
assert len(issues) == 1 and issues[0]["severity"] == "warning" and issues[0]["code"] == "incomplete", issues
assert "Device/mon-2, waveforms" in text and f"1 frames never came, positions {args.lost + 1} to {args.lost + 1}" in text, text
print(f"{sum(map(len, found))} samples of {len(blocks)} blocks, as recorded; {text}")

# Without names: as many, and nothing that says who or when.
masked, untold, _ = analyst.pages("/Observation?code=131330")
said = json.dumps([masked, untold])
assert len(masked) == len(blocks) and "mon-" not in said and "never came" not in said
validate(readings[:: max(1, len(readings) // 1500)] + told + blocks + holed + masked + untold, args.node)
