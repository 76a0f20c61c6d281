"""The FHIR server over mTLS, as each kind of caller: the numbers of SQL, by other means."""
import argparse, csv, io, json, pathlib, subprocess, time
from fhir_client import Client, validate

arguments = argparse.ArgumentParser()
arguments.add_argument("--data-dir", required=True)
arguments.add_argument("--certs", required=True, type=pathlib.Path)
arguments.add_argument("--port", required=True, type=int)
arguments.add_argument("--tenant", required=True)
arguments.add_argument("--subject", required=True)
arguments.add_argument("--binary", required=True)
arguments.add_argument("--node", required=True, type=pathlib.Path)
args = arguments.parse_args()
caller = lambda name: Client(args.certs / name, args.port)
clinician, analyst = caller("clinician"), caller("analyst")
own = f"tenant = '{args.tenant}'"


def sql(statement):
    told = subprocess.run([args.binary, "--data-dir", args.data_dir, "--format", "csv", statement], check=True, capture_output=True, text=True)
    return list(csv.DictReader(io.StringIO(told.stdout)))


def fhir_rows(resources):
    code = lambda r: next(c["code"] for c in r["code"]["coding"] if c["system"].startswith("urn:iso"))
    name = lambda r: r.get("subject", {}).get("identifier", {}).get("value", "")
    return sorted((r["device"]["reference"], name(r), code(r), r["effectiveDateTime"][:26], r["valueQuantity"]["value"], r["valueQuantity"]["code"]) for r in resources)


def sql_rows(where):
    rows = sql(f"SELECT device, subject, mdc_code, to_char(event_time, '%Y-%m-%dT%H:%M:%S%.6f') AS at, value, ucum_unit FROM vitals WHERE {own} AND {where}")
    return sorted((f"Device/{r['device']}", r["subject"], r["mdc_code"], r["at"], float(r["value"]), r["ucum_unit"]) for r in rows)


# The same numbers, however they are asked for.
seen = []
for query, where in [
    ("code=urn:iso:std:iso:11073:10101%7C147842,150456&_count=37", "true"),
    (f"patient={args.subject}&code=http://loinc.org%7C8867-4", f"subject = '{args.subject}' AND loinc = '8867-4'"),
    (f"subject=Patient/{args.subject}&code=150456", f"subject = '{args.subject}' AND mdc_code = 150456"),
    ("device=Device/mon-2&code=59408-5", "device = 'mon-2' AND loinc = '59408-5'"),
    ("code=150456&patient=nobody", "false"),
    ("code=http://snomed.info/sct%7C1", "false"),
]:
    found, told, pages = clinician.pages(f"/Observation?{query}")
    assert fhir_rows(found) == sql_rows(where), (query, len(found), len(sql_rows(where)))
    assert len({r["id"] for r in found}) == len(found), "ids are of one row each"
    assert len(told) == 1, "how complete it is is told once"
    seen += found + told
    print(f"{query}: {len(found)} readings on {pages} pages, as in SQL")
assert len(seen) > 480

# Dates: a second of one device, with both ends.
at = sorted(r["effectiveDateTime"] for r in seen if r["resourceType"] == "Observation" and r["device"]["reference"] == "Device/mon-1")
first, last = at[10], at[60]
found, _, _ = clinician.pages(f"/Observation?device=mon-1&code=147842&date=ge{first}&date=lt{last}")
assert fhir_rows(found) == sql_rows(f"device = 'mon-1' AND mdc_code = 147842 AND event_time >= '{first}' AND event_time < '{last}'") and found
assert clinician.pages("/Observation?date=lt2020")[0] == []
updated, _, _ = clinician.pages("/Observation?device=mon-1&code=150456&_lastUpdated=ge2020")
assert len(updated) == 120

# A posted search keeps who is asked for out of the address; a read finds the same resource.
form = {"Content-Type": "application/x-www-form-urlencoded"}
status, _, body = clinician.ask("POST", "/Observation/_search", f"patient={args.subject}&code=150456", form)
assert status == 200 and len(json.loads(body)["entry"]) == 101
assert clinician.get(f"/Observation/{found[0]['id']}") == found[0]
assert clinician.get(f"/Observation?_id={found[0]['id']}")["entry"][0]["resource"] == found[0]

# A waveform, sample by sample.
waves, _, _ = clinician.pages("/Observation?device=mon-1&code=131330")
data = waves[0]["valueSampledData"]
samples = [data["origin"]["value"] + data["factor"] * int(n) for n in data["data"].split()]
wanted = [float(r["value"]) for r in sql(f"SELECT value FROM ecg WHERE {own} AND device = 'mon-1' ORDER BY n")]
assert len(waves) == 1 and len(samples) == 250 and all(abs(a - b) < 1e-9 for a, b in zip(samples, wanted, strict=True))
assert data["period"] == 4.0 and waves[0]["subject"]["identifier"]["value"] == args.subject
assert clinician.get(f"/Observation/{waves[0]['id']}") == waves[0]

# Devices.
devices, _, _ = clinician.pages("/Device?_count=1")
assert [d["id"] for d in devices] == ["mon-1", "mon-2"] and clinician.get("/Device/mon-2") == devices[1]
assert clinician.pages("/Device?identifier=urn:wardline:device%7Cmon-1")[0] == devices[:1]

# An analyst: the same numbers, without names and exact times.
masked, told, _ = analyst.pages("/Observation?code=147842,150456&_count=200")
assert sorted(r["valueQuantity"]["value"] for r in masked) == sorted(r[4] for r in sql_rows("true"))
text = json.dumps([masked, told, analyst.pages("/Device")[0]])
assert not any(name in text for name in ("mon-1", "mon-2", args.subject, args.tenant)), "no name leaves"
assert all(r["effectiveDateTime"].endswith(":00:00.000000Z") and r["issued"].endswith(":00:00.000000Z") for r in masked)
assert {s["code"] for r in masked for s in r["meta"]["security"]} == {"PSEUDED"}
pseudonym = next(r["subject"]["identifier"]["value"] for r in masked if "subject" in r)
theirs, _, _ = analyst.pages(f"/Observation?patient={pseudonym}&code=150456")
assert len(theirs) == 120 and {r["device"]["reference"] for r in theirs} == {theirs[0]["device"]["reference"]}
assert analyst.get(f"/Observation/{theirs[7]['id']}") == theirs[7], "an analyst's id finds its row"
assert analyst.pages(f"/Observation?device={theirs[0]['device']['reference']}&code=150456")[0] == theirs
assert not {r["id"] for r in masked} & {r["id"] for r in seen if "id" in r}
analyst.refused(f"/Observation/{found[0]['id']}", 404, "WL-FHIR-002")
assert analyst.pages(f"/Observation?patient={args.subject}&code=150456")[0] == [], "a name finds nothing for an analyst"
assert analyst.pages(f"/Observation?code=150456&date=ge{first}&date=lt{last}")[0] in ([], [r for r in masked if r["code"]["coding"][-1]["code"] == "150456"]), "a filter tells no more than what is shown"

# A ward: rows and devices of its own alone, whatever is asked for by whichever name.
ward = caller("ward")
mine, told, _ = ward.pages("/Observation?code=147842,150456&_count=200")
assert fhir_rows(mine) == sql_rows("device = 'mon-1'") and len(mine) == 240
assert len(told) == 1 and "mon-2" not in json.dumps([mine, told])
theirs_id = next(r["id"] for r in seen if r.get("device", {}).get("reference") == "Device/mon-2")
assert ward.get(f"/Observation/{mine[0]['id']}") == mine[0]
ward.refused(f"/Observation/{theirs_id}", 404, "WL-FHIR-002")
assert ward.get(f"/Observation?_id={theirs_id}").get("entry", []) == []
for query in ["device=mon-2&code=150456", "device=Device/mon-2", "device=urn:wardline:device%7Cmon-2&code=147842"]:
    assert ward.pages(f"/Observation?{query}")[0] == [], query
assert ward.pages("/Device")[0] == devices[:1] and ward.get("/Device/mon-1") == devices[0]
ward.refused("/Device/mon-2", 404, "WL-FHIR-002")
print(f"ward: {len(mine)} readings of mon-1, as in SQL, and nothing of mon-2 by any name")

# Who may not, and what cannot be.
for path in ["/Observation", "/Observation/x", "/Device", "/Device/mon-1", "/$export", "/export/00"]:
    caller("nosite").refused(path, 403, "WL-ID-008")
caller("norole").refused("/Observation", 403, "WL-ID-007")
caller("device").refused("/Observation", 403, "WL-ID-007")
other, _, _ = caller("other-clinician").pages("/Observation?code=150456")
assert len(other) == 120 and not {r["id"] for r in other} & {r["id"] for r in seen if "id" in r}
for path, status, code in [
    ("/Observation?ward=icu", 400, "WL-FHIR-001"),
    ("/Observation?date=ap2026", 400, "WL-FHIR-001"),
    ("/Observation?_cursor=AAAA", 400, "WL-FHIR-001"),
    ("/Observation/nothing", 404, "WL-FHIR-002"),
    ("/Patient/1", 404, "WL-FHIR-002"),
    ("/export/00", 404, "WL-FHIR-002"),
    ("/$export", 400, "WL-FHIR-003"),
]:
    clinician.refused(path, status, code)
assert clinician.ask("PUT", "/Observation/1", "{}")[0] == 405
page = clinician.get("/Observation?code=150456&_count=5")
theft = next(link["url"] for link in page["link"] if link["relation"] == "next").split("/", 3)[3]
analyst.refused(f"/{theft}", 400, "WL-FHIR-001")

# Everything, in the background.
def exported(client, query=""):
    job = client.export(query)
    for _ in range(600):
        status, headers, body = client.ask("GET", job)
        if status == 200:
            return job, json.loads(body)
        assert status == 202 and "parts" in headers["x-progress"], (status, body)
        time.sleep(0.05)
    raise AssertionError("the export does not end")

job, manifest = exported(clinician)
everything = clinician.lines(manifest)
readings = [r for r in everything if "valueQuantity" in r]
assert fhir_rows(readings) == sql_rows("true") and len(everything) == len(readings) + 2 + 2
assert {r["id"]: r for r in readings}.items() >= {r["id"]: r for r in seen if "valueQuantity" in r}.items()
analyst.refused(job, 404, "WL-FHIR-002")
ward.refused(job, 404, "WL-FHIR-002")
of_ward = ward.lines(exported(ward)[1])
assert fhir_rows([r for r in of_ward if "valueQuantity" in r]) == sql_rows("device = 'mon-1'")
assert len(of_ward) == 240 + 1 + 1 and "mon-2" not in json.dumps(of_ward)
_, only = exported(clinician, "?_type=Device")
assert [file["type"] for file in only["output"]] == ["Device"]
_, none = exported(clinician, "?_type=Observation&_since=2090-01-01T00:00:00Z")
assert none["output"] == []
hidden = analyst.lines(exported(analyst)[1])
assert len(hidden) == len(everything) and not any(name in json.dumps(hidden) for name in ("mon-1", args.subject))
assert clinician.ask("DELETE", job)[0] == 202
clinician.refused(job, 404, "WL-FHIR-002")
print(f"export: {len(everything)} resources, each once, as in SQL")

validate(seen + waves + devices + masked + everything + hidden + [page, clinician.get("/metadata")], args.node)
