"""Every shape of resource that Wardline makes, before both validators; and broken ones, which both must refuse."""
import argparse, copy, json, pathlib
from fhir_client import both_refuse, validate

arguments = argparse.ArgumentParser()
arguments.add_argument("--file", required=True, type=pathlib.Path)
arguments.add_argument("--node", required=True, type=pathlib.Path)
args = arguments.parse_args()

shapes = [json.loads(line) for line in args.file.read_text().splitlines()]
kinds = {shape["resourceType"] for shape in shapes}
assert kinds == {"Observation", "Device", "Bundle", "OperationOutcome", "CapabilityStatement", "DetectedIssue"}, kinds
validate(shapes, args.node)


def without(shape, name):
    broken = copy.deepcopy(shape)
    del broken[name]
    return broken


one = {kind: next(shape for shape in shapes if shape["resourceType"] == kind) for kind in kinds}
reading = next(shape for shape in shapes if "valueQuantity" in shape)
wave = next(shape for shape in shapes if "valueSampledData" in shape)
broken = [
    without(reading, "status"),
    without(reading, "code"),
    {**reading, "heartRate": 70},
    {**reading, "valueQuantity": {**reading["valueQuantity"], "value": "many"}},
    {**reading, "subject": [reading["subject"]]},
    {**reading, "device": {"ref": "Device/a"}},
    {**reading, "effectiveDateTime": "yesterday"},
    {**wave, "valueSampledData": without(wave["valueSampledData"], "period")},
    {**wave, "valueSampledData": without(wave["valueSampledData"], "origin")},
    without(one["DetectedIssue"], "status"),
    {**one["DetectedIssue"], "evidence": "a text"},
    without(one["OperationOutcome"], "issue"),
    {**one["Device"], "ward": "icu"},
    without(one["CapabilityStatement"], "fhirVersion"),
    without(one["Bundle"], "type"),
]
both_refuse(broken, args.node)
