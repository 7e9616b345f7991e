//! Revocations in PostgreSQL.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio_postgres::Row;

use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::postgres::people::{count, text_at, time, time_at, user_at};
use crate::store::postgres::session::{BEGIN_WRITING, COMMIT};
use crate::store::postgres::{PostgresStore, READ_WITHIN, WRITE_WITHIN};
use crate::store::revocations::{Revocation, Revocations, rooms_of, unreadable};

const WRITE: &str = "
    INSERT INTO collab.revocation AS kept (user_id, rooms, revoked_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
    ON CONFLICT (user_id, rooms) DO UPDATE SET revoked_at = excluded.revoked_at
    WHERE kept.revoked_at < excluded.revoked_at";

/// What somebody else has just locked is left to them, or to the next time.
const REMOVE: &str = "
    DELETE FROM collab.revocation AS kept USING (
        SELECT user_id, rooms FROM collab.revocation WHERE revoked_at < $1
        ORDER BY user_id, rooms FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE kept.user_id = old.user_id AND kept.rooms = old.rooms";

const LATEST: &str = "
    SELECT user_id, rooms, revoked_at FROM collab.revocation
    WHERE $1 <= revoked_at ORDER BY revoked_at DESC, user_id, rooms LIMIT $2";

/// All rows.
pub(super) const ALL: &str = "SELECT user_id, rooms, revoked_at FROM collab.revocation";

impl Revocations for PostgresStore {
    fn revoke(&self, batch: &[Revocation], kept_from: Timestamp) -> Result<(), StoreError> {
        // Rows of one statement must not meet, and everybody locks in the same order.
        let mut latest: BTreeMap<(&str, &str), Timestamp> = BTreeMap::new();
        for one in batch {
            let at = latest.entry((one.user.as_str(), one.rooms_text()));
            let at = at.or_default();
            *at = one.at.max(*at);
        }
        let (keys, times): (Vec<_>, Vec<SystemTime>) =
            latest.into_iter().map(|(key, at)| (key, time(at))).unzip();
        let (users, rooms): (Vec<&str>, Vec<&str>) = keys.into_iter().unzip();
        let kept_from = time(kept_from);
        self.writer()?.run(WRITE_WITHIN, async |session| {
            let client = &session.client;
            client.batch_execute(BEGIN_WRITING).await?;
            client.execute(WRITE, &[&users, &rooms, &times]).await?;
            client.execute(REMOVE, &[&kept_from]).await?;
            client.batch_execute(COMMIT).await
        })
    }

    fn revocations(&self, since: Timestamp, limit: usize) -> Result<Vec<Revocation>, StoreError> {
        let (since, limit) = (time(since), count(limit));
        let rows = self.readers()?.run(READ_WITHIN, async |session| {
            session.client.query(LATEST, &[&since, &limit]).await
        })?;
        let readable: Option<Vec<_>> = rows.iter().map(revocation_of).collect();
        readable.ok_or_else(unreadable)
    }
}

pub(super) fn revocation_of(row: &Row) -> Option<Revocation> {
    Some(Revocation {
        user: user_at(row, 0)?,
        rooms: rooms_of(text_at(row, 1)?),
        at: time_at(row, 2)?,
    })
}
