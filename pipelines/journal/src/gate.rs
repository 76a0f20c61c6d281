//! Holds the proof of durability back until something more has happened to a record: that it is somewhere else too.

use crate::durable::DurablePublisher;
use crate::{DurableState, DurableWatch, Journal, Offset};

/// A second condition on the records of a journal. Tickets are redeemed with [`Gate::watch`] when both hold.
///
/// It can only hold back: what is not durable is never let through, whatever is told to it.
pub struct Gate {
    durable: DurableWatch,
    publisher: DurablePublisher,
    watch: DurableWatch,
}

impl Gate {
    /// Makes a gate that lets nothing through yet.
    pub fn new(journal: &Journal) -> Self {
        let durable = journal.durable();
        let (publisher, watch) = DurablePublisher::of_log(durable.shared().log(), Offset::ZERO);
        Self { durable, publisher, watch }
    }

    /// Returns what sees records that are durable and let through.
    pub fn watch(&self) -> DurableWatch {
        self.watch.clone()
    }

    /// Lets through what lies below an offset, as far as it is durable; a journal that has failed shows here too.
    pub fn let_through(&self, below: Offset) {
        let below = below.min(self.durable.end());
        if below > self.watch.end() {
            self.publisher.publish(below);
        }
        let failed = |watch: &DurableWatch| watch.current() == DurableState::Failed;
        if failed(&self.durable) && !failed(&self.watch) {
            self.publisher.fail();
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({} of {})", self.watch.end(), self.durable.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, DiskStorage, JournalOptions, KeyPurpose, Keyring, Record};
    use bytes::Bytes;
    use std::sync::Arc;
    use wardline_proto::PartitionId;

    #[test]
    fn a_ticket_is_redeemed_when_its_record_is_durable_and_let_through() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap();
        keyring.ensure(KeyPurpose::Journal, None).unwrap();
        let dir = folder.path().join("journal");
        let options = JournalOptions { dir: dir.clone(), ..JournalOptions::default() };
        let journal = Journal::open(options, Arc::new(DiskStorage::new(dir)), Arc::new(keyring)).unwrap();
        let append = || {
            let payload = Bytes::from_static(b"one");
            journal
                .append(Record { partition: PartitionId::default(), class: Class::Alarm, payload })
                .unwrap()
        };
        let gate = Gate::new(&journal);
        let (first, durable) = (append(), journal.durable());
        let offset = first.offset();
        assert_eq!(append().wait(&durable).unwrap().offset(), offset.next());
        let first = first.redeem(&gate.watch()).unwrap_err();
        gate.let_through(Offset::new(offset.get() + 100));
        assert_eq!(gate.watch().end(), journal.durable_end(), "not further than what is durable");
        assert_eq!(first.redeem(&gate.watch()).unwrap().offset(), offset);
    }
}
