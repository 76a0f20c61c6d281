"""A FHIR client over mTLS, with nothing but the standard library, and the two validators."""
import http.client, json, pathlib, ssl, subprocess, tempfile, urllib.parse
from fhir.resources.R4B import get_fhir_model_class


class Client:
    """Asks one server as one caller."""

    def __init__(self, certs: pathlib.Path, port: int):
        tls = ssl.create_default_context(cafile=str(certs / "ca.pem"))
        tls.load_cert_chain(certs / "cert.pem", certs / "key.pem")
        self.connect = lambda: http.client.HTTPSConnection("localhost", port, context=tls, timeout=60)

    def ask(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path, status=200):
        got, headers, body = self.ask("GET", path)
        assert got == status, (path, got, body[:500])
        resource = json.loads(body)
        assert headers["content-type"].startswith("application/fhir+json"), headers
        if status >= 400:
            assert resource["resourceType"] == "OperationOutcome", resource
        return resource

    def refused(self, path, status, code):
        issue = self.get(path, status)["issue"][0]
        assert issue["details"]["coding"][0]["code"] == code, (path, issue)

    def pages(self, path):
        """Every resource of a search, page by page, and what was said of it."""
        found, told, pages = [], [], 0
        while path:
            bundle = self.get(path)
            pages += 1
            for entry in bundle.get("entry", []):
                (found if entry["search"]["mode"] == "match" else told).append(entry["resource"])
            after = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
            path = urllib.parse.urlsplit(after[0]) if after else None
            path = path and f"{path.path}?{path.query}"
        return found, told, pages

    def export(self, query=""):
        status, headers, body = self.ask("GET", f"/$export{query}", headers={"Prefer": "respond-async"})
        assert status == 202, (status, body)
        return urllib.parse.urlsplit(headers["content-location"]).path

    def lines(self, manifest):
        """Every resource of a finished export, by the file's word for its kind."""
        resources = []
        for file in manifest["output"]:
            status, headers, body = self.ask("GET", urllib.parse.urlsplit(file["url"]).path)
            assert status == 200 and headers["content-type"] == "application/fhir+ndjson", (status, headers)
            lines = [json.loads(line) for line in body.splitlines()]
            assert len(lines) == file["count"] and {r["resourceType"] for r in lines} == {file["type"]}
            resources += lines
        return resources


def python_refuses(resource):
    """fhir.resources, by its R4B package; none when it takes it."""
    try:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except Exception as error:  # whatever it says
        return str(error)
    return None


def node_refuses(resources, node: pathlib.Path):
    """@medplum/core, by HL7's own definitions of R4: one answer a resource."""
    script = pathlib.Path(__file__).parent.parent / "node" / "fhir_validate.mjs"
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        file.writelines(json.dumps(resource) + "\n" for resource in resources)
        file.flush()
        told = subprocess.run(["node", script, node, file.name], check=True, capture_output=True, text=True)
    answers = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(answers) == len(resources), (len(answers), len(resources), told.stderr)
    return answers


def validate(resources, node: pathlib.Path):
    """Both take every resource."""
    python = [(r, why) for r in resources if (why := python_refuses(r))]
    assert not python, python[:3]
    refused = [(r, why) for r, why in zip(resources, node_refuses(resources, node)) if why]
    assert not refused, refused[:3]
    print(f"{len(resources)} resources: taken by fhir.resources (R4B) and by @medplum/core (R4)")


def both_refuse(broken, node: pathlib.Path):
    """Both refuse every one, or they would prove nothing."""
    answers = node_refuses(broken, node)
    for resource, why in zip(broken, answers):
        assert why, ("@medplum/core takes it", resource)
        assert python_refuses(resource), ("fhir.resources takes it", resource)
    print(f"{len(broken)} broken resources: refused by both")
