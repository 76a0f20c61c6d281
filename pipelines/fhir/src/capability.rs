//! What the server can do, for clients that ask first.

use serde_json::{Value, json};

/// The day that what is said here last changed.
const DATE: &str = "2026-11-21";

/// Makes the CapabilityStatement of a server that is reached at `base`.
pub fn statement(base: &str, version: &str) -> Value {
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "software": { "name": "wardline-query", "version": version },
        "implementation": { "description": "Wardline: a view over the archive of device data", "url": base },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "documentation": "Read only. A view over the archive: what can be read is what was archived.",
            "security": { "description": "TLS with a client certificate; roles analyst and clinician." },
            "resource": [observation(), device()],
            "operation": [{
                "name": "export",
                "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export",
                "documentation": "Of the caller's tenant; _type, _since, _outputFormat.",
            }],
        }],
    })
}

fn parameter(name: &str, kind: &str, documentation: &str) -> Value {
    json!({ "name": name, "type": kind, "documentation": documentation })
}

fn observation() -> Value {
    json!({
        "type": "Observation",
        "documentation": "A reading (valueQuantity) or a block of a waveform (valueSampledData).",
        "interaction": [{ "code": "read" }, { "code": "search-type" }],
        "versioning": "no-version",
        "searchParam": [
            parameter("patient", "reference", "The subject's pseudonym, by the bindings that hold now."),
            parameter("subject", "reference", "The same as patient."),
            parameter("code", "token", "LOINC or MDC: system|code."),
            parameter("date", "date", "eq, ge, gt, le, lt, sa, eb; a block of a waveform by its start."),
            parameter("device", "reference", "Device/id."),
            parameter("_id", "token", "The id."),
            parameter("_lastUpdated", "date", "When the gateway took it."),
        ],
    })
}

fn device() -> Value {
    json!({
        "type": "Device",
        "interaction": [{ "code": "read" }, { "code": "search-type" }],
        "versioning": "no-version",
        "searchParam": [
            parameter("_id", "token", "The id."),
            parameter("identifier", "token", "The device's name."),
        ],
    })
}
