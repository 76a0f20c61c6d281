//! The log against a model: whatever is done to it, what it reported durable is there, once and in order.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append { count: u8, bytes: u16 },
    Wait,
    Retain { back: u8 },
    Close,
    Kill,
    LosePower,
    FailSync { after: u8 },
    ShortWrite { bytes: u16, after: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..20_u8, 0..1500_u16).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        4 => Just(Step::Wait),
        1 => any::<u8>().prop_map(|back| Step::Retain { back }),
        1 => Just(Step::Close),
        2 => Just(Step::Kill),
        2 => Just(Step::LosePower),
        1 => (0..4_u8).prop_map(|after| Step::FailSync { after }),
        1 => (0..2000_u16, 0..4_u8).prop_map(|(bytes, after)| Step::ShortWrite { bytes, after }),
    ]
}

/// A log, its disk, and everything that was ever admitted, by offset.
struct Model {
    disk: FaultStorage,
    journal: Journal,
    admitted: Vec<Vec<u8>>,
    appended: u64,
    claims: Vec<Ticket>,
    retained: Offset,
}

impl Model {
    fn new(seed: u64) -> Self {
        let disk = FaultStorage::new(seed, DISK_BYTES);
        let journal = open(&disk).unwrap();
        Self { disk, journal, admitted: Vec::new(), appended: 0, claims: Vec::new(), retained: Offset::ZERO }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append { count, bytes } => self.append(*count, usize::from(*bytes)),
            Step::Wait => self.wait(),
            Step::Retain { back } => {
                let from = self.journal.durable_end().get().saturating_sub(u64::from(*back));
                self.journal.retain_from(Offset::new(from)).unwrap();
                self.retained = self.retained.max(Offset::new(from));
            }
            Step::Close => self.reopen(|_disk| {}, true),
            Step::Kill => self.reopen(FaultStorage::kill, false),
            Step::LosePower => self.reopen(FaultStorage::lose_power, false),
            Step::FailSync { after } => self.disk.inject(crate::fault::Fault::Sync, u64::from(*after)),
            Step::ShortWrite { bytes, after } => {
                let fault = crate::fault::Fault::ShortWrite { bytes: usize::from(*bytes) };
                self.disk.inject(fault, u64::from(*after));
            }
        }
    }

    fn append(&mut self, count: u8, bytes: usize) {
        for _ in 0..count {
            let payload =
                [self.appended.to_le_bytes().as_slice(), &vec![self.appended as u8; bytes]].concat();
            if let Ok(ticket) = self.journal.append(record(payload.clone())) {
                assert_eq!(ticket.offset().get(), self.admitted.len() as u64, "offsets are contiguous");
                self.claims.push(ticket);
                self.admitted.push(payload);
                self.appended += 1;
            }
        }
    }

    fn wait(&mut self) {
        let watch = self.journal.durable();
        for ticket in self.claims.drain(..) {
            let offset = ticket.offset();
            match ticket.wait(&watch) {
                Ok(proof) => assert_eq!(proof.offset(), offset),
                Err(Lost) => assert_eq!(watch.current(), DurableState::Failed),
            }
        }
    }

    fn reopen(&mut self, crash: impl FnOnce(&FaultStorage), is_clean: bool) {
        let reported = self.journal.durable_end();
        crash(&self.disk);
        if is_clean {
            self.journal.clone().close();
        }
        self.claims.clear();
        // The old handle goes first: its lock and its threads with it.
        let parked = open(&FaultStorage::new(0, DISK_BYTES)).unwrap();
        drop(std::mem::replace(&mut self.journal, parked));
        self.disk.kill();
        self.journal = open(&self.disk).unwrap();
        assert!(self.journal.durable_end() >= reported, "what was reported durable is there");
        self.admitted.truncate(self.journal.durable_end().get() as usize);
        self.check();
    }

    fn check(&self) {
        let start = self.journal.start();
        assert!(start <= self.retained, "nothing above the retained offset was dropped");
        let entries = read_from(&self.journal, start).unwrap();
        let durable = &self.admitted[start.get() as usize..];
        assert!(entries.len() <= durable.len());
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!(entry.offset.get(), start.get() + number as u64);
            assert_eq!(entry.payload[..], durable[number][..]);
        }
        assert_eq!(start.get() + entries.len() as u64, self.journal.durable_end().get());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_reported_durable_is_there_once_and_in_order(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut model = Model::new(seed);
        for step in &steps {
            model.apply(step);
        }
        model.reopen(FaultStorage::lose_power, false);
    }
}
