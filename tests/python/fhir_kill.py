"""Kills the server while an export is under way, as often as it takes, and reads each row once."""
import argparse, json, pathlib, random, re, signal, socket, sqlite3, subprocess, time, tomllib
from fhir_client import Client

arguments = argparse.ArgumentParser()
arguments.add_argument("--data-dir", required=True)
arguments.add_argument("--certs", required=True, type=pathlib.Path)
arguments.add_argument("--binary", required=True)
arguments.add_argument("--rows", required=True, type=int)
arguments.add_argument("--records", required=True, type=int)
arguments.add_argument("--seed", required=True, type=int)
args = arguments.parse_args()
draw = random.Random(args.seed)
settings = tomllib.loads(pathlib.Path(args.data_dir, "wardline.toml").read_text())


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


flight, fhir = port(), port()
client = Client(args.certs / "clinician", fhir)


def start(log=None):
    command = [args.binary, "serve", "--data-dir", args.data_dir, "--listen", f"127.0.0.1:{flight}", "--fhir-listen", f"127.0.0.1:{fhir}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert "fhir" in server.stdout.readline()
    return server


server, kills, within, job, manifest = start(), 0, 0, None, None
job = client.export()
while manifest is None:
    patience = draw.uniform(0.02, 0.4)
    until = time.monotonic() + patience
    while manifest is None and (time.monotonic() < until or kills >= 8):
        status, headers, body = client.ask("GET", job)
        if status == 200:
            manifest = json.loads(body)
        else:
            assert status == 202, (status, body)
            done, parts = map(int, re.match(r"(\d+) of (\d+)", headers["x-progress"]).groups())
        time.sleep(0.01)
    if manifest is None:
        server.send_signal(signal.SIGKILL)
        server.wait()
        kills, within = kills + 1, within + (0 < done < parts)
        server = start()

resources = client.lines(manifest)
ids = [r["id"] for r in resources if r["resourceType"] == "Observation"]
assert len(ids) == args.rows == len(set(ids)), (len(ids), len(set(ids)), args.rows)
assert within >= 1, f"of {kills} kills none came between two parts: it shows nothing"
# What lies on the disk is sealed: no value, no name, no word of FHIR.
for path in pathlib.Path(args.data_dir, "fhir-exports").rglob("*-*"):
    if path.is_file():
        assert not any(word in path.read_bytes() for word in (b"mon-1", b"Observation", b"valueQuantity")), path
server.terminate()
server.wait()

# A file that is merged away while its part is read: the part is begun again, over what there is then. When that reads
# no better the export fails, and says so.
is_bucket = "bucket" in settings["archive"]
victim = None if is_bucket else sorted(pathlib.Path(args.data_dir, "archive", "numerics").rglob("*.parquet"))[0]
aside = pathlib.Path(args.data_dir, "aside")
log = pathlib.Path(args.data_dir, "export.log")
with log.open("w") as to:
    server = start(to)
for is_back in [] if is_bucket else [True, False]:
    before = log.read_text().count("begun again")
    victim.rename(aside)
    job = client.export("?_type=Observation")
    while log.read_text().count("begun again") == before:
        time.sleep(0.01)
    if is_back:
        aside.rename(victim)
    while (answer := client.ask("GET", job))[0] == 202:
        time.sleep(0.01)
    if is_back:
        assert answer[0] == 200 and len(client.lines(json.loads(answer[2]))) == args.rows, answer
    else:
        aside.rename(victim)
        assert answer[0] == 500 and b"WL-FHIR-005" in answer[2], answer
        assert log.read_text().count("begun again") == before + 1, "once"

# Where several gateways share an archive the next export goes on by record: a partition may have been behind.
if "store" in settings:
    import psycopg

    database = psycopg.connect(settings["store"]["url"])
else:
    database = sqlite3.connect(pathlib.Path(args.data_dir, "wardline.db"))
with database:
    database.execute("INSERT INTO cluster_topic (id, partitions) VALUES (1, 1)")


def observations(query):
    """What an export of its own has, and the time that it tells."""
    job, status = client.export(f"?_type=Observation{query}"), 202
    while status == 202:
        time.sleep(0.01)
        status, _, body = client.ask("GET", job)
    assert status == 200, (status, body)
    manifest = json.loads(body)
    found = {r["id"] for r in client.lines(manifest)}
    assert client.ask("DELETE", job)[0] == 202
    return found, manifest["transactionTime"]


whole, told = observations("")
assert whole == set(ids)
assert observations(f"&_since={told}")[0] == set(), "nothing was archived since"
(kept,) = pathlib.Path(args.data_dir, "fhir-exports").glob("reach-*.json")
(one,) = json.loads(kept.read_text())
((partition, last),) = one["ends"].items()
# As if the newest records had come after that export, and as if the partition had had none.
for late, ends in [(5, {partition: last - 5}), (args.records, {})]:
    kept.write_text(json.dumps([{**one, "ends": ends}]))
    found, _ = observations(f"&_since={told}")
    assert len(found) == late * args.rows // args.records and found <= whole, (late, len(found))
print(f"exports of a cluster go on by record: 0, 5 and {args.records} of {args.records} that came late were given")
server.terminate()
server.wait()
print("nothing of a bucket is moved aside" if is_bucket else "a part is begun again once")
print(f"{kills} kills, {within} of them between two parts; {len(ids)} rows, each once (seed {args.seed})")
