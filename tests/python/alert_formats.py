"""Real events in each form: FHIR before both validators, JSON before its schema, and all of them the same events."""
import argparse, json, pathlib, re, subprocess, sys, tempfile
from fhir_client import validate

arguments = argparse.ArgumentParser()
arguments.add_argument("--folder", required=True, type=pathlib.Path)
arguments.add_argument("--schema", required=True, type=pathlib.Path)
arguments.add_argument("--node", required=True, type=pathlib.Path)
args = arguments.parse_args()

lines = lambda name: [json.loads(line) for line in (args.folder / name).read_text().splitlines()]
events, issues, previews = lines("json"), lines("fhir"), lines("fhir-r6")
messages = [m for m in (args.folder / "pcd04").read_bytes().decode().split("\n") if m]
# Each form was asked for a moment later: it may have events more.
count = min(map(len, (events, issues, previews, messages)))
assert count >= 4
events, issues, previews, messages = (form[:count] for form in (events, issues, previews, messages))
validate(issues, args.node)


def schema_takes(instances):
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for n, instance in enumerate(instances):
            files.append(pathlib.Path(folder, f"{n}.json"))
            files[-1].write_text(json.dumps(instance))
        check = pathlib.Path(sys.executable).parent / "check-jsonschema"
        return subprocess.run([check, "--schemafile", args.schema, *files], capture_output=True, text=True)


told = schema_takes(events)
assert told.returncode == 0, told.stdout
for broken in [{**events[0], "phase": "begin"}, {**events[0], "cursor": "1"}, {**events[0], "alert": {}}]:
    assert schema_takes([broken]).returncode != 0, broken

severity = {"high": "high", "medium": "moderate", "low": "low"}
for event, issue, preview, message in zip(events, issues, previews, messages, strict=True):
    alert = event["alert"]
    obx = {line.split("|")[4].rsplit(".", 1)[1]: line.split("|") for line in message.split("\r") if line.startswith("OBX")}
    assert issue["id"] == preview["id"] == alert["alert_id"] and issue["meta"]["versionId"] == str(event["cursor"])
    assert issue["severity"] == severity[alert["priority"]] and preview["priority"] == alert["priority"]
    assert obx["3"][5].replace("-", "") == event["phase"] and obx["6"][5] == {"high": "PH", "medium": "PM", "low": "PL"}[alert["priority"]]
    assert preview["condition"]["presence"] == (alert["ended_us"] is None and alert["state"] not in ("ended", "latched"))
    assert re.search(rf"\|{event['cursor']}\|P\|2\.6\|", message), message
    # An alarm is of the same limit from its start to its end.
    codes = {i["code"]["coding"][0]["code"] for i in issues if i["id"] == alert["alert_id"]}
    assert len(codes) == 1 and obx["1"][3].split("^")[0] in codes, codes
    if alert["value"] is not None:
        assert issue["contained"][0]["valueQuantity"]["value"] == alert["value"]
print(f"{len(events)} events are the same in JSON, DetectedIssue, DeviceAlert and PCD-04")
