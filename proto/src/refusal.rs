//! Stable codes for what a device or operator can be refused. Each has a page `docs/errors/CODE.md`.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $mqtt5:literal;)+) => {
        /// Why something was refused or quarantined. The code is stable; the words may change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal {
            $($(#[$doc])* $name,)+
        }

        impl Refusal {
            /// Every code, for documentation and metrics.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the stable code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Returns the MQTT 5 reason code that a device gets; 0 where the protocol has no answer.
            pub fn mqtt5_reason(self) -> u8 {
                match self { $(Self::$name => $mqtt5,)+ }
            }

            /// Finds the refusal of a stable code.
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|r| r.code() == code)
            }
        }
    };
}

codes! {
    /// The bytes are not an MQTT packet, or not one that a client may send in this state.
    MqttMalformed = "WL-MQTT-001", 0x81;
    /// The packet is larger than the limit.
    MqttPacketTooLarge = "WL-MQTT-002", 0x95;
    /// No CONNECT, or no whole packet, in the time allowed.
    MqttTooSlow = "WL-MQTT-003", 0x82;
    /// The session said nothing for one and a half keep-alive intervals.
    MqttKeepAlive = "WL-MQTT-004", 0x8D;
    /// More publishes in flight than the receive maximum.
    MqttReceiveMaximum = "WL-MQTT-005", 0x93;
    /// The protocol version is neither 3.1.1 nor 5.
    MqttVersion = "WL-MQTT-006", 0x84;
    /// A newer session of the same device took over.
    MqttTakenOver = "WL-MQTT-007", 0x8E;
    /// The certificate carries no identity of this trust domain, or not that of a device.
    IdentityMissing = "WL-ID-001", 0x87;
    /// The certificate is revoked.
    IdentityRevoked = "WL-ID-002", 0x87;
    /// The certificate is not yet or no longer valid.
    IdentityExpired = "WL-ID-003", 0x87;
    /// The device is not registered or not active.
    IdentityUnknown = "WL-ID-004", 0x87;
    /// The client id is not the device's.
    IdentityClientId = "WL-ID-005", 0x85;
    /// The imported revocation list of the certificate's authority has expired.
    IdentityCrlExpired = "WL-ID-006", 0x87;
    /// The identity is known, but may not do this; only gRPC asks.
    RoleMissing = "WL-ID-007", 0x00;
    /// Registry: a value is missing, too long or not of its form.
    RegistryInvalid = "WL-REG-001", 0;
    /// Registry: there is no such thing, or not for this caller.
    RegistryNotFound = "WL-REG-002", 0;
    /// Registry: it exists already and differs.
    RegistryConflict = "WL-REG-003", 0;
    /// Registry: the thing belongs to another tenant than the caller.
    RegistryTenant = "WL-REG-004", 0;
    /// Registry: the tenant or device is suspended or retired.
    RegistryNotActive = "WL-REG-005", 0;
    /// Registry: the database is away; nothing was changed.
    RegistryUnavailable = "WL-REG-006", 0;
    /// Registry: it is another maker's, or nobody's.
    RegistryMaker = "WL-REG-007", 0;
    /// Enrolment: no claim that is known, and no certificate that may enrol.
    EnrolCredential = "WL-EST-001", 0;
    /// Enrolment: the claim has been used for another key.
    EnrolClaimUsed = "WL-EST-002", 0;
    /// Enrolment: the claim has expired.
    EnrolClaimExpired = "WL-EST-003", 0;
    /// Enrolment: the claim has been revoked.
    EnrolClaimRevoked = "WL-EST-004", 0;
    /// Enrolment: the body is not a certificate request in base64, or too large.
    EnrolRequest = "WL-EST-005", 0;
    /// Enrolment: the request's signature is not by its key.
    EnrolProof = "WL-EST-006", 0;
    /// Enrolment: a key type that is not taken, or too weak.
    EnrolKey = "WL-EST-007", 0;
    /// Enrolment: the request asks for another identity or for an authority's rights.
    EnrolWish = "WL-EST-008", 0;
    /// Enrolment: too many requests.
    EnrolRate = "WL-EST-009", 0;
    /// Enrolment: the factory certificate's serial number may not enrol, or has enrolled with another key.
    EnrolSerial = "WL-EST-010", 0;
    /// Enrolment: the claim is for another device, or the device is not this one.
    EnrolDevice = "WL-EST-011", 0;
    /// Enrolment: it cannot be recorded now; nothing was issued.
    EnrolUnavailable = "WL-EST-012", 0;
    /// Alerts: a value is missing, too large or not of its form.
    AlertInvalid = "WL-ALR-001", 0;
    /// Alerts: there is no such alert, or not for this caller.
    AlertNotFound = "WL-ALR-002", 0;
    /// Alerts: the alert is over; nothing can be done about it.
    AlertOver = "WL-ALR-003", 0;
    /// Alerts: nobody of this name listens, or the cursor is past the end of the log.
    AlertListener = "WL-ALR-004", 0;
    /// Alerts: the database is away; nothing was changed.
    AlertUnavailable = "WL-ALR-005", 0;
    /// Alerts: the cursor is older than what the log still holds.
    AlertForgotten = "WL-ALR-006", 0;
    /// The topic is not one that the certificate may use.
    TopicNotAuthorized = "WL-TOPIC-001", 0x87;
    /// The payload is larger than the limit.
    PayloadTooLarge = "WL-PAY-001", 0x95;
    /// The payload is neither a frame nor the JSON form.
    PayloadFormat = "WL-PAY-002", 0x99;
    /// The frame's lane does not belong on this topic, or its header breaks a limit.
    FrameHeader = "WL-PAY-003", 0x99;
    /// The device sends faster than its budget.
    QuotaRate = "WL-QUOTA-001", 0x97;
    /// Too many connections.
    QuotaConnections = "WL-QUOTA-002", 0x97;
    /// Connects come too fast, of one address or of all; nothing was said in MQTT yet.
    QuotaConnects = "WL-QUOTA-003", 0x9F;
    /// The front is nearly full and the tenant has its share of the sessions.
    QuotaTenant = "WL-QUOTA-004", 0x97;
    /// The journal is near its bound: telemetry is refused before alarms and audit.
    JournalFull = "WL-JRN-001", 0x97;
    /// The journal failed; nothing more is accepted until the front is restarted.
    JournalFailed = "WL-JRN-002", 0x88;
    /// The journal in the data directory is not the one that the database's positions count in.
    JournalForeign = "WL-JRN-003", 0;
    /// What must be audited cannot be journaled, so it is not done.
    CannotAudit = "WL-AUD-001", 0x00;
    /// A read of the archive could not be audited, so nothing was read.
    QueryNotAudited = "WL-AUD-002", 0x00;
    /// The audit trail does not verify: events are missing, altered or repeated.
    AuditTrailBroken = "WL-AUD-003", 0x00;
    /// The bucket of the archive cannot be reached or fails; the journal keeps what was acknowledged.
    ArchiveAway = "WL-ARC-001", 0;
    /// The bucket of the archive refuses: it does not exist, or the credentials may not.
    ArchiveRefused = "WL-ARC-002", 0;
    /// The bucket holds the files of another archive.
    ArchiveNotOurs = "WL-ARC-003", 0;
    /// The bucket or prefix is not empty, or lies in another archive's: no archive begins there.
    ArchiveNotAlone = "WL-ARC-004", 0;
    /// The key service cannot be reached or fails; what needs a key waits.
    KeysAway = "WL-KEY-001", 0;
    /// The key service refuses: the token, or what it may do.
    KeysRefused = "WL-KEY-002", 0;
    /// A master key was destroyed, or is not in this keyring.
    KeyDestroyed = "WL-KEY-003", 0;
    /// Certificate files on disk are not usable, or no better than those in force, which stay.
    TlsFiles = "WL-TLS-001", 0x00;
    /// Bus: the engine cannot be reached or does not answer; fronts go on into their logs.
    BusUnavailable = "WL-BUS-001", 0;
    /// Bus: the engine's storage is at its bound.
    BusFull = "WL-BUS-002", 0;
    /// Bus: a record that the bus cannot carry, or bytes on it that are no record of it.
    BusRecord = "WL-BUS-003", 0;
    /// Bus: topic, identity or settings are not what the engine needs.
    BusMisconfigured = "WL-BUS-004", 0;
    /// Bus: a partition takes records and commits none.
    BusWedged = "WL-BUS-005", 0;
    /// Bus: the engine has no room for a topic of that size, so there is none.
    BusTopicRefused = "WL-BUS-006", 0;
    /// Bus: records of more fronts than a worker knows, or of another partition, are left.
    BusCrowded = "WL-BUS-007", 0;
    /// Resend: no range, or one that is empty, out of order or too long.
    ResendRange = "WL-RSD-001", 0;
    /// Resend: so many requests of the device are open that no more is taken.
    ResendOpen = "WL-RSD-002", 0;
    /// The front is draining.
    Draining = "WL-SRV-001", 0x8B;
    /// The front is draining, and another takes its devices.
    Moved = "WL-SRV-002", 0x9C;
    /// Another process holds what a migration of the database needs.
    MigrationHeld = "WL-SRV-003", 0;
    /// The database was changed by a later program in a way that this one does not know.
    SchemaLater = "WL-SRV-004", 0;
    /// Bus: a record of a later version; it waits for a program that reads it.
    BusLater = "WL-BUS-008", 0;
    /// Agent: the claim token cannot be read.
    EdgeClaim = "WL-EDGE-001", 0;
    /// Agent: the gateway is of another authority than the claim's.
    EdgePin = "WL-EDGE-002", 0;
    /// Agent: the gateway's HTTPS listener cannot be reached.
    EdgeUnreachable = "WL-EDGE-003", 0;
    /// Agent: the gateway refused the enrolment or the renewal.
    EdgeEnrolRefused = "WL-EDGE-004", 0;
    /// Agent: the gateway's answer cannot be used.
    EdgeAnswer = "WL-EDGE-005", 0;
    /// Agent: the list of fronts is not believed.
    EdgeServices = "WL-EDGE-006", 0;
    /// Agent: the folder of the identity cannot be used.
    EdgeFolder = "WL-EDGE-007", 0;
    /// Agent: the certificate is about to end and was not renewed.
    EdgeRenewal = "WL-EDGE-008", 0;
    /// Agent: the fronts redirect without end.
    EdgeRedirect = "WL-EDGE-009", 0;
    /// Agent: no device id, or not a valid one.
    EdgeDevice = "WL-EDGE-010", 0;
    /// Quarantine: the body does not decode.
    BodyUndecodable = "WL-Q-001", 0x99;
    /// Quarantine: a body larger than the limit when decompressed, or with too many items.
    BodyTooLarge = "WL-Q-002", 0x99;
    /// Quarantine: a metric code that is not in the catalogue.
    MetricUnknown = "WL-Q-003", 0x99;
    /// Quarantine: a unit that is not the metric's.
    UnitMismatch = "WL-Q-004", 0x99;
    /// Quarantine: arrays of unequal length, a zero interval, an empty or unsorted series.
    BodyInconsistent = "WL-Q-005", 0x99;
    /// Quarantine: a device time further in the future than a clock error explains.
    TimeImplausible = "WL-Q-006", 0x99;
    /// Quarantine: the same position of a stream with other content.
    SeqConflict = "WL-Q-007", 0x99;
    /// Quarantine: a stream with more holes, or a device with more epochs, than are kept.
    StreamFragmented = "WL-Q-008", 0x99;
    /// Quarantine: not what the profile of the device's model declares.
    ProfileBroken = "WL-Q-009", 0x99;
    /// Query: the statement does not parse, or names what is not there.
    QueryStatement = "WL-QRY-001", 0;
    /// Query: the statement is not one that only reads.
    QueryNotRead = "WL-QRY-002", 0;
    /// Query: a table or column that the caller's role is not granted.
    QueryNotGranted = "WL-QRY-003", 0;
    /// Query: more rows than one statement may give.
    QueryRows = "WL-QRY-004", 0;
    /// Query: it took longer than one statement may.
    QueryTime = "WL-QRY-005", 0;
    /// Query: as many statements run as may.
    QueryBusy = "WL-QRY-006", 0;
    /// Query: it failed while it ran.
    QueryFailed = "WL-QRY-007", 0;
    /// Query: the archive does not open.
    QueryArchive = "WL-QRY-008", 0;
    /// Query: the rows cannot be written in the form, or to the place, that was asked for.
    QueryOutput = "WL-QRY-009", 0;
    /// Query: it needs more memory than one statement may take.
    QueryMemory = "WL-QRY-010", 0;
    /// Query: whoever asked the statement has cancelled it.
    QueryCancelled = "WL-QRY-011", 0;
    /// Erasure: a legal hold forbids that anything of the tenant is destroyed.
    ErasureHeld = "WL-ERA-001", 0;
    /// Erasure: the subject was erased, and its name is not used again.
    SubjectErased = "WL-ERA-002", 0;
    /// Erasure: files do not read, or still hold rows: nothing is certified.
    ErasureUnproven = "WL-ERA-003", 0;
    /// Erasure: the certificate is not what the authority signed, or not what the audit trail knows.
    ErasureCertificate = "WL-ERA-004", 0;
    /// FHIR: a parameter, header or cursor that cannot be used.
    FhirParameter = "WL-FHIR-001", 0;
    /// FHIR: there is no such resource or job, or not for this caller.
    FhirNotFound = "WL-FHIR-002", 0;
    /// FHIR: the server does not do this, or not in this form.
    FhirNotSupported = "WL-FHIR-003", 0;
    /// FHIR: as many exports are kept as may.
    FhirExports = "WL-FHIR-004", 0;
    /// FHIR: an export failed, or grew past its bound.
    FhirExportFailed = "WL-FHIR-005", 0;
    /// A clinician asks for a site that is not its own, or has none.
    IdentitySite = "WL-ID-008", 0;
    /// The caller's roles or sites changed while a stream was open: subscribe again.
    IdentityChanged = "WL-ID-009", 0;
    /// Profile: not TOML, or larger than a profile may be.
    ProfileUnreadable = "WL-PRF-001", 0;
    /// Profile: a key that is unknown, missing or of the wrong type.
    ProfileKey = "WL-PRF-002", 0;
    /// Profile: reference id, code, LOINC and kind that do not belong together.
    ProfileMetric = "WL-PRF-003", 0;
    /// Profile: a unit that is not the metric's.
    ProfileUnit = "WL-PRF-004", 0;
    /// Profile: a number or word outside its bounds.
    ProfileBound = "WL-PRF-005", 0;
    /// Profile: an alarm default that cannot alarm, cannot clear or has no source.
    ProfileAlarm = "WL-PRF-006", 0;
    /// Profile: a second entry for what there is one of.
    ProfileTwice = "WL-PRF-007", 0;
    /// Profile: changed content under a version that did not rise.
    ProfileVersion = "WL-PRF-008", 0;
    /// Profile: advice; the profile is usable.
    ProfileAdvice = "WL-PRF-009", 0;
    /// Rules: not TOML, or larger than a rules file may be.
    RulesUnreadable = "WL-RUL-001", 0;
    /// Rules: a key that is unknown, missing or of the wrong type, or a version that is not read.
    RulesKey = "WL-RUL-002", 0;
    /// Rules: reference id, code, kind and unit that do not belong together.
    RulesMetric = "WL-RUL-003", 0;
    /// Rules: a limit that no plausible value crosses and clears.
    RulesLimit = "WL-RUL-004", 0;
    /// Rules: a number, word or name outside its bounds.
    RulesBound = "WL-RUL-005", 0;
    /// Rules: nobody says where it comes from.
    RulesSource = "WL-RUL-006", 0;
    /// Rules: a second rule for what there is one of.
    RulesTwice = "WL-RUL-007", 0;
    /// Rules: it names a rule that is not there, or that may not be named.
    RulesReference = "WL-RUL-008", 0;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        let codes: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Refusal::ALL.len());
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(*refusal));
        }
    }
}
