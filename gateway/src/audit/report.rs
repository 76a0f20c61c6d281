//! What a verification tells, for people and for programs.

use super::trail::Tail;
use crate::cli::time_text;
use serde::Serialize;
use std::fmt;
use wardline_proto::v1::AuditEvent;

/// The result of a verification.
#[derive(Debug)]
pub struct Report {
    /// Every node that has a chain, in order of id.
    pub nodes: Vec<NodeReport>,
    /// Events from before there were chains.
    pub unchained: u64,
    /// Events in files that are as they were committed, and sealed under keys that were destroyed: they keep their places
    /// in the chains, and nobody can read them.
    pub sealed: u64,
    /// Files that were read.
    pub archived_files: usize,
    /// Events that were read from the journal, not being archived yet.
    pub journal_events: usize,
    /// Whether those were all.
    pub tail: Tail,
    /// What does not fit, as far as it is told one by one.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub findings_total: u64,
}

/// One node's chain.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NodeReport {
    /// Whose.
    pub node: String,
    /// Events that have a place of their own.
    pub events: u64,
    /// Number of the first.
    pub first_n: u64,
    /// When it was, unix microseconds.
    pub first_at_us: i64,
    /// Number of the last.
    pub last_n: u64,
    /// When it was, unix microseconds.
    pub last_at_us: i64,
    /// Its hash: whoever keeps it can tell later whether the trail up to here is the same.
    pub head: String,
}

impl NodeReport {
    pub(super) fn count(&mut self, event: &AuditEvent) {
        if self.events == 0 {
            (self.first_n, self.first_at_us) = (event.n, event.at_us);
        }
        self.events += 1;
        (self.last_n, self.last_at_us) = (event.n, event.at_us);
        self.head = event.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In whose chain; empty when that is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum What {
    /// Events are nowhere.
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The event does not have the hash that it carries.
    Altered {
        /// Its number.
        n: u64,
        /// Where it stood in the journal.
        journal_offset: u64,
    },
    /// The event is chained to another one than the one before it.
    Unlinked {
        /// Its number.
        n: u64,
    },
    /// The event stands at another place of the journal than its number says.
    OutOfOrder {
        /// Its number.
        n: u64,
    },
    /// The event is there more than once, equal.
    Repeated {
        /// Its number.
        n: u64,
    },
    /// Different events claim one place.
    Fork {
        /// Its number.
        n: u64,
    },
    /// A row of the outbox was journaled more than once.
    RelayedTwice {
        /// The later event's number.
        n: u64,
        /// The row.
        outbox_id: u64,
    },
    /// The event is not the one that the catalog committed as the last.
    NotTheHead {
        /// Its number.
        n: u64,
    },
    /// An event without number and hash, among chained ones.
    Unchained {
        /// Where it stood in the journal.
        journal_offset: u64,
    },
    /// A file's bytes are not those that were committed.
    FileChanged {
        /// Its path below the archive.
        path: String,
    },
    /// A committed file is not there.
    FileGone {
        /// Its path below the archive.
        path: String,
    },
    /// The journal's tail cannot be read.
    JournalUnreadable {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.node.is_empty() {
            write!(f, "node {}: ", self.node)?;
        }
        match &self.what {
            What::Missing { first, last } if first == last => write!(f, "{first} missing"),
            What::Missing { first, last } => write!(f, "{first}..{last} missing"),
            What::Altered { n, journal_offset } => write!(f, "{n} altered (journal offset {journal_offset})"),
            What::Unlinked { n } => write!(f, "{n} does not follow {}", n - 1),
            What::OutOfOrder { n } => write!(f, "{n} out of order"),
            What::Repeated { n } => write!(f, "{n} is there twice, equal"),
            What::Fork { n } => write!(f, "{n} is there twice, different: a fork"),
            What::RelayedTwice { n, outbox_id } => {
                write!(f, "outbox row {outbox_id} journaled twice, again as {n}")
            }
            What::NotTheHead { n } => write!(f, "{n} is not the event that the catalog committed"),
            What::Unchained { journal_offset } => {
                write!(f, "event without a chain (journal offset {journal_offset})")
            }
            What::FileChanged { path } => write!(f, "file {path} is not the one that was committed"),
            What::FileGone { path } => write!(f, "file {path} is gone"),
            What::JournalUnreadable { why } => write!(f, "the journal cannot be read: {why}"),
        }
    }
}

impl Report {
    /// Says whether every event is as it was written.
    pub fn is_whole(&self) -> bool {
        self.findings_total == 0
    }

    /// Returns the report as one JSON value.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "ok": self.is_whole(),
            "nodes": self.nodes,
            "unchained": self.unchained,
            "sealed": self.sealed,
            "archived_files": self.archived_files,
            "journal_events": self.journal_events,
            "journal": self.tail.to_string(),
            "findings": self.findings,
            "findings_total": self.findings_total,
        })
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read to its end"),
            Self::None => f.write_str("none here: archived events only"),
            Self::Cut(events) => write!(f, "longer than {events} events: the rest was not read"),
            Self::Unreadable(why) => write!(f, "not readable: {why}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            writeln!(f, "node {}", node.node)?;
            writeln!(f, "  events {} numbers {}..{}", node.events, node.first_n, node.last_n)?;
            writeln!(f, "  from {} to {}", time_text(node.first_at_us), time_text(node.last_at_us))?;
            writeln!(f, "  head {}", node.head)?;
        }
        writeln!(
            f,
            "archived files {}; journal: {} events, {}",
            self.archived_files, self.journal_events, self.tail
        )?;
        if self.unchained > 0 {
            writeln!(f, "{} events from before there were chains are not covered", self.unchained)?;
        }
        if self.sealed > 0 {
            writeln!(f, "{} events are sealed under a destroyed key: their places are held", self.sealed)?;
        }
        for finding in &self.findings {
            writeln!(f, "WL-AUD-003 {finding}")?;
        }
        let more = self.findings_total - self.findings.len() as u64;
        if more > 0 {
            writeln!(f, "and {more} more findings")?;
        }
        f.write_str(if self.is_whole() { "the audit trail is whole" } else { "THE AUDIT TRAIL IS NOT WHOLE" })
    }
}
