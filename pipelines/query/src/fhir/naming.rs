//! What things are called for a caller: as they are, or by pseudonym and with coarse times.
//!
//! Resources are made of identified rows, so this is the one place that decides what of a name or a time leaves. What
//! an analyst is told here is what the views tell in SQL.

use crate::mask::Mask;
use crate::serve::grants::Grant;
use ring::digest::{SHA256, digest};
use std::sync::Arc;
use wardline_fhir::id::{self, ObservationId};
use wardline_fhir::time::Span;

/// Names for one caller.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    mask: Option<Arc<Mask>>,
}

/// What names a row, beside its device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowName<'a> {
    /// Epoch, lane and position in the stream; for what came outside of one, none, and its place in the journal.
    pub(crate) epoch: Option<u64>,
    pub(crate) lane: Option<&'a str>,
    pub(crate) seq: Option<u64>,
    pub(crate) journal: (u16, u64),
    pub(crate) mdc_code: u32,
    pub(crate) device_us: i64,
    /// Tells readings of one frame, metric and time apart.
    pub(crate) content: u64,
}

impl Naming {
    /// Makes the names that a grant gives, with the tenant's mask for who may not know them.
    pub(crate) fn new(mask: Option<Arc<Mask>>) -> Self {
        Self { mask }
    }

    /// Returns the grant that it is of.
    pub(crate) fn grant(&self) -> Grant {
        if self.mask.is_some() { Grant::Deidentified } else { Grant::Identified }
    }

    /// Says whether names are pseudonyms.
    pub(crate) fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// Returns the FHIR id of a device.
    pub(crate) fn device(&self, name: &str) -> String {
        match &self.mask {
            Some(mask) => mask.pseudonym("device", name),
            None => id::device(name),
        }
    }

    /// Returns what a subject is called.
    pub(crate) fn subject(&self, name: &str) -> String {
        match &self.mask {
            Some(mask) => mask.pseudonym("subject", name),
            None => name.to_owned(),
        }
    }

    /// Returns a time as it is shown.
    pub(crate) fn at(&self, at_us: i64) -> i64 {
        self.mask.as_ref().map_or(at_us, |mask| mask.coarse(at_us))
    }

    /// Returns how far apart shown times are, microseconds.
    pub(crate) fn step_us(&self) -> i64 {
        self.mask.as_ref().map_or(1, |mask| mask.step_us())
    }

    /// Returns the times whose shown time is in a span: a filter must not tell more than what is shown.
    pub(crate) fn span(&self, span: Span) -> Span {
        span.of_steps(self.step_us())
    }

    fn tag(&self, kind: &str, bytes: &[u8]) -> [u8; 32] {
        let mut tag = [0; 32];
        match &self.mask {
            Some(mask) => tag.copy_from_slice(mask.tag(kind, bytes).as_ref()),
            None => {
                tag.copy_from_slice(digest(&SHA256, &[kind.as_bytes(), b"\0", bytes].concat()).as_ref());
            }
        }
        tag
    }

    /// Returns what stands for a device in ids.
    pub(crate) fn device_tag(&self, name: &str) -> [u8; 12] {
        first(self.tag("id-device", name.as_bytes()))
    }

    /// Returns the id of a row.
    pub(crate) fn observation(&self, device: &str, row: &RowName<'_>) -> ObservationId {
        let (partition, offset) = row.journal;
        let place = match (row.epoch, row.lane, row.seq) {
            (Some(epoch), Some(lane), Some(seq)) => format!("{epoch}/{lane}/{seq}"),
            _ => format!("journal/{partition}/{offset}"),
        };
        let RowName { mdc_code, device_us, content, .. } = row;
        let name = format!("{device}/{place}/{mdc_code}/{device_us}/{content}");
        ObservationId {
            device: self.device_tag(device),
            mdc_code: *mdc_code,
            at_us: self.at(*device_us),
            row: first(self.tag("id-row", name.as_bytes())),
        }
    }
}

fn first<const N: usize>(tag: [u8; 32]) -> [u8; N] {
    let mut part = [0; N];
    part.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: RowName<'_> = RowName {
        epoch: Some(1),
        lane: Some("numerics"),
        seq: Some(7),
        journal: (3, 9),
        mdc_code: 150_456,
        device_us: 3_600_000_001,
        content: 5,
    };

    #[test]
    fn an_id_is_of_the_row_and_not_of_where_it_lies() {
        let naming = Naming::new(None);
        let id = naming.observation("mon-1", &ROW);
        assert_eq!(id, naming.observation("mon-1", &RowName { journal: (4, 10), ..ROW }));
        for other in
            [RowName { seq: Some(8), ..ROW }, RowName { content: 6, ..ROW }, RowName { lane: None, ..ROW }]
        {
            assert_ne!(id, naming.observation("mon-1", &other));
        }
        assert_ne!(id.device, naming.observation("mon-2", &ROW).device);
    }

    #[test]
    fn an_id_for_an_analyst_tells_neither_name_nor_time() {
        let masked = Naming::new(Some(Arc::new(Mask::new(b"key", 3_600_000_000))));
        let (plain, hidden) =
            (Naming::new(None).observation("mon-1", &ROW), masked.observation("mon-1", &ROW));
        assert_eq!((plain.at_us, hidden.at_us), (3_600_000_001, 3_600_000_000));
        assert!(plain.device != hidden.device && plain.row != hidden.row);
        assert_eq!(masked.device("mon-1").len(), 26);
    }
}
