//! Which journal the positions of a gateway without a cluster count in.

use crate::db::{args, signed};
use crate::{Store, StoreError};

impl Store {
    /// Returns the id of the journal; none before the first one is bound.
    pub async fn journal_origin(&self) -> Result<Option<String>, StoreError> {
        let row = self.db().one("SELECT journal FROM journal_origin WHERE id = 1", args![]).await?;
        row.map(|row| row.text("journal")).transpose()
    }

    /// Binds a journal in the place of one that is given up, or as the first: positions count in it from here on.
    /// `false`: another one is bound, and stays.
    pub async fn bind_journal(
        &self,
        journal: &str,
        instead_of: Option<&str>,
        at_us: i64,
    ) -> Result<bool, StoreError> {
        let bind = "INSERT INTO journal_origin (id, journal, bound_at_us) VALUES (1, $1, $2) \
                    ON CONFLICT (id) DO UPDATE SET journal = excluded.journal, bound_at_us = excluded.bound_at_us \
                    WHERE journal_origin.journal = $3";
        Ok(self.db().run(bind, args![journal, at_us, instead_of.unwrap_or_default()]).await? == 1)
    }

    /// Lets the archive go on at the first record of a new journal: what is before it is nowhere any more.
    pub async fn skip_to(&self, first_offset: u64) -> Result<(), StoreError> {
        let skip = "UPDATE archive_position SET next_offset = $1, lease = lease + 1 WHERE id = 1 AND next_offset < $1";
        self.db().run(skip, args![signed(first_offset)?]).await.map(drop)
    }
}
