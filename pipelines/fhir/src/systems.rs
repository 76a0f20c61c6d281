//! Names of code systems and of our own identifiers.

/// IEEE 11073-10101, MDC codes.
pub const MDC: &str = "urn:iso:std:iso:11073:10101";
/// LOINC.
pub const LOINC: &str = "http://loinc.org";
/// UCUM.
pub const UCUM: &str = "http://unitsofmeasure.org";
/// Why there is no value (FHIR).
pub const DATA_ABSENT: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
/// Measurement status of IEEE 11073-10201, as the Point-of-Care Device guide codes it.
pub const MEASUREMENT_STATUS: &str = "http://terminology.hl7.org/CodeSystem/measurement-status";
/// Categories of observations (FHIR).
pub const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
/// Security labels: purpose of use, such as test.
pub const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
/// Security labels: what was done to the data.
pub const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
/// Our own flags of a reading: implausible, clock-suspect.
pub const FLAGS: &str = "urn:wardline:reading-flag";
/// Our stable codes of refusals.
pub const REFUSALS: &str = "urn:wardline:code";
/// Pseudonyms of subjects, as the ledger of bindings has them.
pub const SUBJECT: &str = "urn:wardline:subject";
/// Names of devices.
pub const DEVICE: &str = "urn:wardline:device";
/// Ids of alerts.
pub const ALERT: &str = "urn:wardline:alert";
/// Ids of alert rules.
pub const RULE: &str = "urn:wardline:alert-rule";
/// What was done about an alert.
pub const ACT: &str = "urn:wardline:alert-act";
