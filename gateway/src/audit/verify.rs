//! Checks every hash and every number of a trail. Pure but for reading files; holds the events of one group at a time.
//!
//! Events are taken commit by commit, or day by day where commits were merged: files whose ranges of journal offsets overlap make a group, whose events are
//! sorted by node and number. The journal's order is the chain's order, so groups follow each other in every chain.

use super::chain::{Hash, hash_of};
use super::report::{Finding, NodeReport, Report, What};
use super::trail::{Tail, Trail};
use std::collections::{BTreeMap, BTreeSet};
use wardline_archive::ArchiveError;
use wardline_archive::read::AuditRow;
use wardline_proto::audit::FIRST_PREV_HASH;
use wardline_store::catalog::{AuditHead, FileRow};

/// Findings that are told one by one; more are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Verifies a trail. `progress` hears after each group how many events were checked. Blocks.
pub fn verify(trail: &Trail, mut progress: impl FnMut(u64)) -> Result<Report, ArchiveError> {
    let mut checker = Checker::new(&trail.heads);
    let mut group = Vec::new();
    for files in groups(&trail.files) {
        for file in files {
            match trail.events_of(file) {
                Ok(Some(rows)) => group.extend(rows),
                Ok(None) => checker.sealed += file.rows,
                Err(ArchiveError::FileChanged(path)) => checker.find("", What::FileChanged { path }),
                Err(ArchiveError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    checker.find("", What::FileGone { path: file.path.clone() });
                }
                Err(error) => return Err(error),
            }
        }
        checker.take(&mut group);
        progress(checker.taken);
    }
    group.extend(trail.newest.iter().cloned());
    checker.take(&mut group);
    checker.tell_repeats(trail)?;
    let Tail::Unreadable(why) = &trail.tail else { return Ok(checker.finish(trail)) };
    checker.find("", What::JournalUnreadable { why: why.clone() });
    Ok(checker.finish(trail))
}

/// Groups files, sorted by their first offset, so that no two groups overlap.
fn groups(files: &[FileRow]) -> impl Iterator<Item = &[FileRow]> {
    let mut last = 0;
    files.chunk_by(move |before, file| {
        last = before.offset_last.max(last);
        file.offset_first <= last
    })
}

/// One node's chain as far as it was taken.
struct Chain {
    report: NodeReport,
    hash: Vec<u8>,
    first_offset: u64,
    offset: u64,
    relayed: u64,
    /// Numbers that were passed over: first to last.
    holes: BTreeMap<u64, u64>,
    archived: Option<AuditHead>,
}

impl Chain {
    fn new(archived: Option<AuditHead>) -> Self {
        let hash = FIRST_PREV_HASH.to_vec();
        let (report, holes) = (NodeReport::default(), BTreeMap::new());
        Self { report, hash, first_offset: u64::MAX, offset: 0, relayed: 0, holes, archived }
    }

    /// Takes `n` out of the numbers that were passed over.
    fn fill(&mut self, n: u64) -> bool {
        let Some((first, last)) = self.holes.range(..=n).next_back().map(|(first, last)| (*first, *last))
        else {
            return false;
        };
        if n > last {
            return false;
        }
        self.holes.remove(&first);
        if first < n {
            self.holes.insert(first, n - 1);
        }
        if n < last {
            self.holes.insert(n + 1, last);
        }
        true
    }
}

struct Checker {
    chains: BTreeMap<String, Chain>,
    /// Places that were claimed more than once.
    repeats: BTreeSet<(String, u64)>,
    findings: Vec<Finding>,
    findings_total: u64,
    taken: u64,
    unchained: u64,
    /// Events in files that are as they were committed, and sealed under keys that were destroyed.
    sealed: u64,
}

impl Checker {
    fn new(heads: &[AuditHead]) -> Self {
        // A node that the catalog knows has a chain, also when not one of its events is there any more.
        let chains = heads.iter().map(|head| (head.node.clone(), Chain::new(Some(head.clone()))));
        Self {
            chains: chains.collect(),
            repeats: BTreeSet::new(),
            findings: Vec::new(),
            findings_total: 0,
            taken: 0,
            unchained: 0,
            sealed: 0,
        }
    }

    fn find(&mut self, node: &str, what: What) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { node: node.to_owned(), what });
        }
    }

    /// Takes the events of one group and leaves it empty.
    fn take(&mut self, group: &mut Vec<AuditRow>) {
        // What has no chain comes last, when it is known where chains begin.
        let place =
            |row: &AuditRow| (row.event.n == 0, row.event.node.clone(), row.event.n, row.journal_offset);
        group.sort_by_cached_key(place);
        for row in group.drain(..) {
            self.taken += 1;
            self.take_event(&row);
        }
    }

    fn take_event(&mut self, row: &AuditRow) {
        let (event, node) = (&row.event, row.event.node.as_str());
        if node.is_empty() || event.n == 0 {
            self.unchained += 1;
            if self.chains.values().any(|chain| chain.first_offset < row.journal_offset) {
                self.find(node, What::Unchained { journal_offset: row.journal_offset });
            }
            return;
        }
        let hash = hash_of(event);
        if event.hash != hash {
            self.find(node, What::Altered { n: event.n, journal_offset: row.journal_offset });
        }
        let chain = self.chains.entry(node.to_owned()).or_insert_with(|| Chain::new(None));
        let found = take_place(chain, row);
        if found == Some(Place::Claimed) {
            if self.repeats.len() < FINDINGS_MAX {
                self.repeats.insert((node.to_owned(), event.n));
            }
            return;
        }
        let mut found: Vec<What> = found
            .map(|place| match place {
                Place::Unlinked => What::Unlinked { n: event.n },
                Place::Late | Place::Claimed => What::OutOfOrder { n: event.n },
            })
            .into_iter()
            .collect();
        if event.outbox_id > 0 && event.outbox_id <= chain.relayed {
            found.push(What::RelayedTwice { n: event.n, outbox_id: event.outbox_id });
        }
        chain.relayed = chain.relayed.max(event.outbox_id);
        let archived = chain.archived.as_ref().filter(|head| head.n == event.n);
        if archived.is_some_and(|head| head.hash != event.hash) {
            found.push(What::NotTheHead { n: event.n });
        }
        found.into_iter().for_each(|what| self.find(node, what));
    }

    /// Says of every place that was claimed twice whether by copies or by different events. Reads the trail again, when
    /// there is such a place.
    fn tell_repeats(&mut self, trail: &Trail) -> Result<(), ArchiveError> {
        let repeats = std::mem::take(&mut self.repeats);
        if repeats.is_empty() {
            return Ok(());
        }
        let mut claims: BTreeMap<(String, u64), BTreeSet<Hash>> = BTreeMap::new();
        let mut claim = |rows: &[AuditRow]| {
            for event in rows.iter().map(|row| &row.event) {
                let place = (event.node.clone(), event.n);
                if repeats.contains(&place) {
                    // The hash that it should have: a copy that was altered is another event.
                    claims.entry(place).or_default().insert(hash_of(event));
                }
            }
        };
        for file in &trail.files {
            match trail.events_of(file) {
                Ok(Some(rows)) => claim(&rows),
                Ok(None) | Err(ArchiveError::FileChanged(_) | ArchiveError::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        claim(&trail.newest);
        for ((node, n), hashes) in claims {
            self.find(&node, if hashes.len() > 1 { What::Fork { n } } else { What::Repeated { n } });
        }
        Ok(())
    }

    fn finish(mut self, trail: &Trail) -> Report {
        let (mut nodes, mut holes) = (Vec::new(), Vec::new());
        for (node, mut chain) in std::mem::take(&mut self.chains) {
            let last = chain.report.last_n;
            if let Some(head) = chain.archived.filter(|head| head.n > last) {
                chain.holes.insert(last + 1, head.n);
            }
            holes.extend(chain.holes.into_iter().map(|(first, last)| (node.clone(), first, last)));
            nodes.push(NodeReport { node, ..chain.report });
        }
        // Numbers that nobody reads any more are those of events under destroyed keys, if there are no more of them.
        let absent: u64 = holes.iter().map(|(_, first, last)| last - first + 1).sum();
        if absent > self.sealed {
            holes.into_iter().for_each(|(node, first, last)| self.find(&node, What::Missing { first, last }));
        }
        Report {
            nodes,
            sealed: self.sealed,
            unchained: self.unchained,
            archived_files: trail.files.len(),
            journal_events: trail.newest.len(),
            tail: trail.tail.clone(),
            findings: self.findings,
            findings_total: self.findings_total,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The next number, and not chained to the one before it.
    Unlinked,
    /// A number that was passed over, or a journal offset before that of the number before it.
    Late,
    /// A number that another event has.
    Claimed,
}

/// Gives an event its place; none is wrong with most.
fn take_place(chain: &mut Chain, row: &AuditRow) -> Option<Place> {
    let (event, last) = (&row.event, chain.report.last_n);
    if event.n <= last {
        if !chain.fill(event.n) {
            return Some(Place::Claimed);
        }
        chain.report.events += 1;
        return Some(Place::Late);
    }
    let mut found = None;
    if event.n > last + 1 {
        chain.holes.insert(last + 1, event.n - 1);
    } else if event.prev_hash != chain.hash {
        found = Some(Place::Unlinked);
    }
    if row.journal_offset < chain.offset {
        found = found.or(Some(Place::Late));
    }
    chain.report.count(event);
    chain.first_offset = chain.first_offset.min(row.journal_offset);
    chain.hash.clone_from(&event.hash);
    chain.offset = row.journal_offset;
    found
}
