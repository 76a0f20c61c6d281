//! What a service or person may do.

/// A role of a service or person. Who has none may follow the alerts of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Makes devices: its models, claims, devices and authorities.
    Maker,
    /// Runs a tenant.
    TenantAdmin,
    /// Binds devices to subjects, answers alerts.
    Clinician,
    /// Reads without subjects.
    Analyst,
    /// Reads the audit trail and lists.
    Auditor,
    /// Runs the installation.
    Operator,
}
