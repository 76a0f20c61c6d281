"""Checks the files in deploy/ with the tools their readers use: hadolint, Helm, the schemas of Kubernetes and Compose.

Fails with what is wrong. Nothing is built and no cluster is asked: that the image builds is not shown here.
"""

import pathlib
import re
import subprocess
import sys

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/wardline"
BIN = pathlib.Path(sys.executable).parent
PORTS = {8883, 8443, 9443, 9464}
KUBERNETES = "1.34"
FULL = {
    "image": {"repository": "registry.example/wardline", "tag": "0.1.0", "pullSecrets": ["pull"]},
    "init": {"enabled": True, "trustDomain": "wardline.st-mary.example", "hosts": ["gateway.example", "192.0.2.7"]},
    "config": '[listen]\nmqtt = "[::]:8883"\n',
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "loadBalancerSourceRanges": ["192.0.2.0/24"]},
    "volume": {"size": "2Ti", "storageClassName": "local"},
    "disruption": {"allowed": True},
    "network": {
        "devices": ["192.0.2.0/24", "2001:db8::/32"],
        "metricsNamespaces": ["monitoring", "ops"],
        "egress": [{"ports": [{"port": 5432}], "to": [{"ipBlock": {"cidr": "198.51.100.3/32"}}]}],
    },
    "nodeSelector": {"disk": "nvme"},
    "tolerations": [{"key": "medical", "operator": "Exists"}],
    "podAnnotations": {"c": "d"},
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
    {"image": {"repository": ""}},
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
        # Strict: a field that Kubernetes does not know is an error, not a decoration.
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    return found


def one(found: list[dict], kind: str) -> dict:
    of_kind = [document for document in found if document["kind"] == kind]
    check(len(of_kind) == 1, f"{len(of_kind)} of kind {kind}")
    return of_kind[0]


def check_pod(found: list[dict]) -> None:
    pod = one(found, "StatefulSet")["spec"]["template"]["spec"]
    check(pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False, "pod is not rootless")
    for container in pod["containers"] + pod["initContainers"]:
        rights = container["securityContext"]
        check(rights["capabilities"]["drop"] == ["ALL"] and rights["readOnlyRootFilesystem"], "container has rights")
        check(not rights["allowPrivilegeEscalation"] and container["resources"]["limits"]["memory"], "no limits")
        known = {volume["name"] for volume in pod["volumes"]} | {"data"}
        check({mount["name"] for mount in container["volumeMounts"]} <= known, "a mount without a volume")
    gateway = pod["containers"][0]
    check({port["containerPort"] for port in gateway["ports"]} == PORTS, "ports of the pod")
    check(gateway["readinessProbe"]["httpGet"]["path"] == "/readyz", "readiness")
    names = {port["name"] for port in gateway["ports"]}
    used = {p["targetPort"] for p in one(found, "Service")["spec"]["ports"]}
    policy = one(found, "NetworkPolicy")["spec"]
    check(set(policy["policyTypes"]) == {"Ingress", "Egress"}, "the policy leaves a direction open")
    used |= {p["port"] for rule in policy["ingress"] for p in rule["ports"]}
    check(used <= names, f"ports without a name: {used - names}")
    for document in found:
        for selector in re.findall(r"'app.kubernetes.io/instance': '([^']*)'", str(document)):
            check(selector == "st-mary", "a selector of another release")


def main() -> None:
    run(BIN / "hadolint", ROOT / "deploy/docker/Dockerfile")
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "deploy/docker/compose.yaml")
    for values in ({}, FULL):
        report = helm.lint(CHART, values, strict=True)
        check(not report["errors"], f"helm lint: {report}")
        check_pod(documents(values))
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
    exposed = re.search(r"^EXPOSE (.*)$", (ROOT / "deploy/docker/Dockerfile").read_text(), re.M)
    check(exposed and {int(p) for p in exposed[1].split()} == PORTS, "ports of the image")
    print(f"deploy: Dockerfile, Compose file and chart are in order ({len(defaults)} and {len(full)} objects, "
          f"{len(WRONG)} wrong settings refused)")


main()
