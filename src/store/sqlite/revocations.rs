//! Revocations in the SQLite file.

use rusqlite::{Row, params};

use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::revocations::{Revocation, Revocations, rooms_of, unreadable};
use crate::store::sqlite::people::{count, time, time_of, user_of};
use crate::store::sqlite::{SqliteStore, down};

impl Revocations for SqliteStore {
    fn revoke(&self, batch: &[Revocation], kept_from: Timestamp) -> Result<(), StoreError> {
        const WRITE: &str = "
            INSERT INTO revocation (user_id, rooms, revoked_at) VALUES (?1, ?2, ?3)
            ON CONFLICT (user_id, rooms) DO UPDATE SET revoked_at = excluded.revoked_at
            WHERE revoked_at < excluded.revoked_at";
        self.transact(|transaction| {
            let mut write = transaction.prepare_cached(WRITE)?;
            for one in batch {
                write.execute(params![one.user.as_str(), one.rooms_text(), time(one.at)])?;
            }
            transaction
                .prepare_cached("DELETE FROM revocation WHERE revoked_at < ?1")?
                .execute([time(kept_from)])?;
            Ok(())
        })
    }

    fn revocations(&self, since: Timestamp, limit: usize) -> Result<Vec<Revocation>, StoreError> {
        const LATEST: &str = "
            SELECT user_id, rooms, revoked_at FROM revocation
            WHERE ?1 <= revoked_at ORDER BY revoked_at DESC, user_id, rooms LIMIT ?2";
        let listed = self.read(|transaction| {
            let mut statement = transaction.prepare_cached(LATEST)?;
            let rows = statement.query_map(params![time(since), count(limit)], |row| {
                Ok(revocation_of(row))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let listed = listed.map_err(|error: rusqlite::Error| down(&self.path, error))?;
        let readable: Option<Vec<_>> = listed.into_iter().collect();
        readable.ok_or_else(unreadable)
    }
}

pub(super) fn revocation_of(row: &Row<'_>) -> Option<Revocation> {
    Some(Revocation {
        user: user_of(row, 0)?,
        rooms: rooms_of(row.get_ref(1).ok()?.as_str().ok()?),
        at: time_of(row, 2)?,
    })
}
