//! What each role reads.
//!
//! | role | tables | rows |
//! |---|---|---|
//! | clinician | views, measurements, alarms, events and their completeness | of its sites (wards), identified |
//! | analyst | views | of its tenant, without names, times coarse |
//! | any other | none | none |

use crate::error::QueryError;
use crate::views::View;
use wardline_access::{Caller, Role};
use wardline_archive::Table;

/// What a caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Grant {
    /// Rows with names.
    Identified,
    /// Rows without.
    Deidentified,
}

/// Columns of the views that say who or where somebody is, beside those that have a pseudonym.
const WITHHELD: [&str; 2] = ["tenant", "site"];

impl Grant {
    /// Returns what a caller's roles grant. Who has both roles reads as a clinician, when it has
    /// a site.
    pub(crate) fn of(caller: &Caller) -> Result<Self, QueryError> {
        let is_clinician = caller.has(Role::Clinician);
        if is_clinician && !caller.sites.is_empty() {
            Ok(Self::Identified)
        } else if caller.has(Role::Analyst) {
            Ok(Self::Deidentified)
        } else if is_clinician {
            Err(QueryError::NoSite)
        } else {
            Err(QueryError::NoRole)
        }
    }

    /// Returns the role that it comes from.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Identified => Role::Clinician,
            Self::Deidentified => Role::Analyst,
        }
    }

    /// Returns the tables that it grants.
    pub(crate) fn tables(self) -> Vec<&'static str> {
        let views = View::ALL.map(View::name);
        let of_tenant =
            [Table::Numerics, Table::Waveforms, Table::Alarms, Table::Events, Table::Completeness];
        let of_tenant = of_tenant.map(Table::name);
        match self {
            Self::Identified => views.into_iter().chain(of_tenant).collect(),
            Self::Deidentified => views.to_vec(),
        }
    }

    /// Refuses a table that exists and is not granted.
    pub(crate) fn check_table(self, name: &str) -> Result<(), QueryError> {
        let exists = Table::from_name(name).is_some();
        if exists && !self.tables().contains(&name) {
            Err(self.refused(format!("the table {name}")))
        } else {
            Ok(())
        }
    }

    /// Returns the refusal of a column that exists and is not granted.
    pub(crate) fn withheld(self, column: &str) -> Option<QueryError> {
        let withheld = self == Self::Deidentified && WITHHELD.contains(&column);
        withheld.then(|| self.refused(format!("the column {column}")))
    }

    fn refused(self, what: String) -> QueryError {
        QueryError::NotGranted { what, role: self.role().name(), granted: self.tables().join(", ") }
    }
}
