"""Kills the server while an export is under way, as often as it takes, and reads each row once."""
import argparse, json, pathlib, random, re, signal, socket, subprocess, time
from fhir_client import Client

arguments = argparse.ArgumentParser()
arguments.add_argument("--data-dir", required=True)
arguments.add_argument("--certs", required=True, type=pathlib.Path)
arguments.add_argument("--binary", required=True)
arguments.add_argument("--rows", required=True, type=int)
arguments.add_argument("--seed", required=True, type=int)
args = arguments.parse_args()
draw = random.Random(args.seed)


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


flight, fhir = port(), port()
client = Client(args.certs / "clinician", fhir)


def start():
    command = [args.binary, "serve", "--data-dir", args.data_dir, "--listen", f"127.0.0.1:{flight}", "--fhir-listen", f"127.0.0.1:{fhir}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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
print(f"{kills} kills, {within} of them between two parts; {len(ids)} rows, each once (seed {args.seed})")
