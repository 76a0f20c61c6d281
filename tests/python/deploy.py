"""Checks the files in deploy/ with the tools their readers use: hadolint, Helm, the schemas of Kubernetes and Compose,
promtool, systemd-analyze, the configuration checks of nats-server.

Fails with what is wrong. Nothing is built and no cluster is asked: that the image builds is not shown here.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/wardline"
BIN = pathlib.Path(sys.executable).parent
PORTS = {8883, 8443, 9443, 9464}
QUERY_PORTS = {8444, 8445}
KUBERNETES = "1.34"
FULL = {
    "image": {"repository": "registry.example/wardline", "tag": "0.1.0", "pullSecrets": ["pull"]},
    "init": {"enabled": True, "trustDomain": "wardline.st-mary.example", "hosts": ["gateway.example", "192.0.2.7"]},
    "config": '[listen]\nmqtt = "[::]:8883"\n',
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "loadBalancerSourceRanges": ["192.0.2.0/24"]},
    "volume": {"size": "2Ti", "storageClassName": "local"},
    "query": {"args": ["--seconds-max", "60"]},
    "disruption": {"allowed": True},
    "network": {
        "devices": ["192.0.2.0/24", "2001:db8::/32"],
        "queries": ["198.51.100.0/24"],
        "metricsNamespaces": ["monitoring", "ops"],
        "egress": [{"ports": [{"port": 5432}], "to": [{"ipBlock": {"cidr": "198.51.100.3/32"}}]}],
    },
    "nodeSelector": {"disk": "nvme"},
    "tolerations": [{"key": "medical", "operator": "Exists"}],
    "podAnnotations": {"c": "d"},
}
EGRESS = {"egress": [{"ports": [{"port": 4222}, {"port": 5432}, {"port": 53, "protocol": "UDP"}]}]}
CLUSTER = {
    "enabled": True,
    "servers": ["nats://nats-0.nats:4222", "nats://nats-1.nats:4222"],
    "storeSecret": {"name": "wardline-store"},
}
SMALL_TIER = {"cluster": CLUSTER, "network": EGRESS}
FULL_TIER = FULL | {
    "config": "[archive]\nflush_interval_ms = 500\n",
    "cluster": CLUSTER | {
        "tlsSecret": "wardline-bus",
        "replicatedTenants": ["st-mary"],
        "partitions": 6,
        "shared": {"storageClassName": "files"},
        "fronts": {"count": 3},
        "scaling": {"enabled": True, "prometheus": "http://prometheus.ops:9090"},
    },
}
# Each is one mistake that the chart has to refuse.
WRONG = [
    {"replicas": 2},
    {"volume": {"size": "lots"}},
    {"init": {"trustDomain": "Not A Name"}},
    {"init": {"hosts": ["x; rm -rf /"]}},
    {"service": {"type": "ExternalName"}},
    {"network": {"devices": ["everywhere"]}},
    {"disruption": {"allowed": "perhaps"}},
    {"query": {"count": 0}},
    {"image": {"repository": ""}},
    {"cluster": CLUSTER},
    {"cluster": CLUSTER | {"servers": []}, "network": EGRESS},
    {"cluster": CLUSTER | {"storeSecret": {"name": ""}}, "network": EGRESS},
    {"cluster": CLUSTER | {"partitions": 65}, "network": EGRESS},
    {"cluster": CLUSTER | {"engine": "kafka"}, "network": EGRESS},
    {"cluster": CLUSTER, "network": EGRESS, "config": "[store]\nurl = 'postgres://x'\n"},
]


def check(right: bool, what: str) -> None:
    if not right:
        raise SystemExit(f"deploy: {what}")


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"{command[0]}\n{done.stdout}{done.stderr}")


def documents(values: dict) -> list[dict]:
    rendered = helm.Chart.load(CHART).render(values, name="st-mary", namespace="wardline")
    texts = rendered.values() if isinstance(rendered, dict) else [rendered]
    found = [d for text in texts if "apiVersion" in text for d in yaml.safe_load_all(text) if d]
    for document in found:
        # Strict: a field that Kubernetes does not know is an error, not a decoration. KEDA's objects are not its own.
        if document["kind"] != "ScaledObject":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    return found


def one(found: list[dict], kind: str) -> dict:
    of_kind = [document for document in found if document["kind"] == kind]
    check(len(of_kind) == 1, f"{len(of_kind)} of kind {kind}")
    return of_kind[0]


def check_rights(pod: dict, claims: set[str]) -> None:
    check(pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False, "pod is not rootless")
    for container in pod["containers"] + pod["initContainers"]:
        rights = container["securityContext"]
        check(rights["capabilities"]["drop"] == ["ALL"] and rights["readOnlyRootFilesystem"], "container has rights")
        check(not rights["allowPrivilegeEscalation"] and container["resources"]["limits"]["memory"], "no limits")
        known = {volume["name"] for volume in pod["volumes"]} | claims
        check({mount["name"] for mount in container["volumeMounts"]} <= known, "a mount without a volume")


def check_ports(found: list[dict], gateway: dict, query: dict) -> None:
    check({port["containerPort"] for port in gateway["ports"]} == PORTS, "ports of the pod")
    check({port["containerPort"] for port in query["ports"]} == QUERY_PORTS, "ports of the server for queries")
    check(query["command"] == ["wardline-query"] and query["args"][0] == "serve", f"program: {query['args']}")
    check(gateway["readinessProbe"]["httpGet"]["path"] == "/readyz", "readiness")
    names = {port["name"] for port in gateway["ports"] + query["ports"]}
    used = {p["targetPort"] for d in found if d["kind"] == "Service" for p in d["spec"]["ports"]}
    policy = one(found, "NetworkPolicy")["spec"]
    check(set(policy["policyTypes"]) == {"Ingress", "Egress"}, "the policy leaves a direction open")
    used |= {p["port"] for rule in policy["ingress"] for p in rule["ports"]}
    check(used <= names, f"ports without a name: {used - names}")
    for document in found:
        for selector in re.findall(r"'app.kubernetes.io/instance': '([^']*)'", str(document)):
            check(selector == "st-mary", "a selector of another release")


def check_alone(found: list[dict]) -> None:
    pod = one(found, "StatefulSet")["spec"]["template"]["spec"]
    check_rights(pod, {"data"})
    gateway, query = pod["containers"]
    check_ports(found, gateway, query)
    service = one(found, "Service")["spec"]
    served = {port["port"] for port in service["ports"]}
    check(served == PORTS - {9464} | QUERY_PORTS, f"ports of the service: {served}")


def check_query_service(found: list[dict], labels: dict) -> None:
    service = next(d["spec"] for d in found if d["kind"] == "Service" and d["metadata"]["name"].endswith("-query"))
    check(service["selector"].items() <= labels.items(), "the service of the queries has no pods")
    check({port["port"] for port in service["ports"]} == QUERY_PORTS, "ports of the queries' service")


def check_tier(values: dict) -> list[dict]:
    found = documents(values)
    parts = {d["metadata"]["labels"]["app.kubernetes.io/component"]: d for d in found if d["kind"] == "StatefulSet"}
    check(set(parts) == {"front", "archive", "alert"}, f"parts: {set(parts)}")
    for part, document in parts.items():
        spec = document["spec"]
        pod = spec["template"]["spec"]
        check_rights(pod, {"data"})
        # Each picks its own pods and no others.
        chosen, labels = spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]
        check(chosen.items() <= labels.items() and chosen["app.kubernetes.io/component"] == part, f"pods of {part}")
        args = pod["containers"][0]["args"]
        check(args[args.index("--roles") + 1] == {"front": "front,api"}.get(part, part), f"roles of {part}: {args}")
    server = one(found, "Deployment")["spec"]["template"]
    check_rights(server["spec"], set())
    query = server["spec"]["containers"][0]
    check_ports(found, parts["front"]["spec"]["template"]["spec"]["containers"][0], query)
    folder = next(variable["value"] for variable in query["env"] if variable["name"] == "WARDLINE_DATA_DIR")
    mounts = {mount["mountPath"] for mount in query["volumeMounts"]}
    check({folder, f"{folder}/wardline.toml"} <= mounts, f"queries look into {folder}, mounted are {mounts}")
    check_query_service(found, server["metadata"]["labels"])
    job = one(found, "Job")["spec"]["template"]["spec"]
    check_rights(job, set())
    settings = tomllib.loads(one(found, "ConfigMap")["data"]["wardline.toml"])
    mounted = {m["mountPath"] for m in job["initContainers"][0]["volumeMounts"]}
    check(settings["cluster"]["shared_dir"] in mounted, "the shared folder is not mounted")
    # Every setting that the chart writes is one that the program reads; it refuses others.
    options = (ROOT / "gateway/src/node/cluster_options.rs").read_text()
    known = set(re.findall(r"^    pub (\w+):", options, re.M))
    check(set(settings["cluster"]) <= known, f"settings of no program: {set(settings['cluster']) - known}")
    services = [d for d in found if d["kind"] == "Service" and d["metadata"]["name"] == "st-mary-wardline"]
    # Whom the certificate names is where clients go.
    check(job["initContainers"][0]["args"][-1] == "st-mary-wardline-query", "the certificate does not name the queries")
    check(services[0]["spec"]["selector"]["app.kubernetes.io/component"] == "front", "devices would reach workers")
    return found


def check_scaling(found: list[dict]) -> None:
    sets = {d["metadata"]["name"] for d in found if d["kind"] == "StatefulSet"}
    scaled = [d["spec"] for d in found if d["kind"] == "ScaledObject"]
    check({spec["scaleTargetRef"]["name"] for spec in scaled} == sets, "not every set is scaled")
    code = "".join(p.read_text() for p in (ROOT / "gateway/src").rglob("*metrics*.rs"))
    for spec in scaled:
        check(spec["minReplicaCount"] <= spec["maxReplicaCount"] <= 6, "more workers than partitions")
        for metric in re.findall(r"wardline_\w+", spec["triggers"][0]["metadata"]["query"]):
            check(f'"{metric.split("_", 2)[2]}"' in code, f"no metric {metric}")
    check(not any("replicas" in d["spec"] for d in found if d["kind"] == "StatefulSet"), "two would set the number")


def check_units() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for unit in (ROOT / "deploy/systemd").glob("*.service"):
            # The programs are not installed here.
            text = re.sub(r"^(Exec\w+=)/usr/bin/wardline\S*", r"\1/bin/true", unit.read_text(), flags=re.M)
            (pathlib.Path(folder) / unit.name).write_text(text)
        run("systemd-analyze", "verify", "--man=no", *sorted(pathlib.Path(folder).iterdir()))
        for unit in (ROOT / "deploy/systemd").glob("*.service"):
            run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)


def check_compose() -> None:
    folder = ROOT / "deploy/docker/cluster"
    for path in (ROOT / "deploy/docker/compose.yaml", folder / "compose.yaml"):
        run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            there = (folder / source).is_file() if source.startswith(".") else source in compose["volumes"]
            check(there, f"compose: {name} mounts {source}, which is not there")
    settings = tomllib.loads((folder / "wardline.toml").read_text())
    hosts = {re.sub(r"^\w+://|:\d+$", "", server) for server in settings["cluster"]["servers"]}
    check(hosts <= set(compose["services"]), f"compose: no services {hosts}")
    with tempfile.TemporaryDirectory() as made:
        check_secrets(folder, made)


def check_secrets(folder: pathlib.Path, made: str) -> None:
    run("sh", folder / "prepare.sh", made)
    first = {p: p.read_bytes() for p in pathlib.Path(made).rglob("*") if p.is_file()}
    run("sh", folder / "prepare.sh", made)
    check(all(p.read_bytes() == text for p, text in first.items()), "prepare.sh makes new secrets at a second start")
    named = re.findall(r"/secrets/([\w./-]+)", "".join(p.read_text() for p in folder.iterdir() if p.is_file()))
    missing = {name for name in named if not (pathlib.Path(made) / name).exists()}
    check(not missing, f"prepare.sh does not make {missing}")
    conf = pathlib.Path(made) / "nats.conf"
    conf.write_text((folder / "nats.conf").read_text().replace("/secrets", made))
    os.environ["NAME"] = "nats-1"
    run(BIN / "nats-server", "-t", "-c", conf)


def main() -> None:
    run(BIN / "hadolint", ROOT / "deploy/docker/Dockerfile")
    check_compose()
    check_units()
    promtool = os.environ.get("WARDLINE_PROMTOOL", "promtool")
    run(promtool, "check", "rules", ROOT / "deploy/prometheus/wardline.rules.yml")
    run(promtool, "test", "rules", ROOT / "tests/prometheus/wardline.rules.test.yml")
    for values in ({}, FULL, SMALL_TIER, FULL_TIER):
        report = helm.lint(CHART, values, strict=True)
        check(not report["errors"], f"helm lint: {report}")
    for values in ({}, FULL):
        check_alone(documents(values))
    small, tier = check_tier(SMALL_TIER), check_tier(FULL_TIER)
    for values in ({}, SMALL_TIER):
        check("flight" not in str(documents(values | {"query": {"enabled": False}})), "queries that were not wanted")
    check_scaling(tier)
    defaults, full = documents({}), documents(FULL)
    check(one(defaults, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 0, "a drain does not wait")
    check(one(defaults, "NetworkPolicy")["spec"]["egress"] == [], "the gateway may call anybody")
    check(one(full, "ConfigMap")["data"]["wardline.toml"] == FULL["config"], "the configuration is not what was given")
    hosts = one(full, "StatefulSet")["spec"]["template"]["spec"]["initContainers"][0]["args"]
    check(hosts[-4:] == ["--host", "gateway.example", "--host", "192.0.2.7"], f"hosts: {hosts}")
    for values in WRONG:
        try:
            helm.Chart.load(CHART).render(values, name="st-mary", namespace="wardline")
        except helm.HelmError:
            continue
        raise SystemExit(f"deploy: the chart takes {values}")
    # What the files say of the program is what the program says.
    options = (ROOT / "gateway/src/cli/serve.rs").read_text()
    check({int(p) for p in re.findall(r"default: \S+:(\d+)\]", options)} == PORTS, "default ports of serve")
    options = (ROOT / "pipelines/query/src/serve/mod.rs").read_text()
    check({int(p) for p in re.findall(r'default_value = "\S+:(\d+)"', options)} < QUERY_PORTS, "port of Flight SQL")
    exposed = re.search(r"^EXPOSE (.*)$", (ROOT / "deploy/docker/Dockerfile").read_text(), re.M)
    check(exposed and {int(p) for p in exposed[1].split()} == PORTS | QUERY_PORTS, "ports of the image")
    print(f"deploy: Dockerfile, Compose files, units, rules and chart are in order ({len(defaults)} and {len(full)} "
          f"objects alone, {len(small)} and {len(tier)} as a tier, {len(WRONG)} wrong settings refused)")


main()
