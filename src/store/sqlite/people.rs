//! People in the SQLite file: how each record, list and question is said in SQL.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::clock::Timestamp;
use crate::limits::{FOLLOWS_MAX, OFFLINE_PARTICIPANTS_MAX};
use crate::model::{Color, RoomName, UserId};
use crate::store::people::{presences_to_remove, storable};
use crate::store::sqlite::revocations::revocation_of;
use crate::store::sqlite::{SqliteStore, down};
use crate::store::{
    Departed, FollowsChange, FollowsError, People, PresenceRow, Record, RecordedStatus, StoreError,
    TIME_MAX,
};

impl People for SqliteStore {
    fn record(&self, batch: &[Record]) -> Result<(), StoreError> {
        self.transact(|transaction| record(transaction, batch))
    }

    fn departed(&self, room: &RoomName, limit: usize) -> Result<Vec<Departed>, StoreError> {
        const LATEST: &str = "
            SELECT user_id, name, avatar, role, color, last_seen FROM departed
            WHERE room = ?1 ORDER BY last_seen DESC, user_id LIMIT ?2";
        self.list(LATEST, params![room.as_str(), count(limit)], departed_of)
    }

    fn feed_seen(&self, users: &[UserId]) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        let users: BTreeSet<&UserId> = users.iter().collect();
        let seen = self.read(|transaction| {
            let mut find = transaction
                .prepare_cached("SELECT user_id, last_seen FROM feed_seen WHERE user_id = ?1")?;
            let mut seen = Vec::new();
            for user in users {
                let found = find.query_row([user.as_str()], |row| Ok(feed_seen_of(row)));
                seen.extend(found.optional()?.flatten());
            }
            Ok(seen)
        });
        seen.map_err(|error| down(&self.path, error))
    }

    fn follows(&self, user: &UserId) -> Result<Vec<UserId>, StoreError> {
        const FOLLOWED: &str = "
            SELECT user_id FROM follow
            WHERE follower_id = (SELECT id FROM follower WHERE user_id = ?1) ORDER BY user_id";
        self.list(FOLLOWED, params![user.as_str()], |row| user_of(row, 0))
    }

    fn change_follows(&self, user: &UserId, change: &FollowsChange) -> Result<(), FollowsError> {
        change.check(user)?;
        match self.transact(|transaction| change_follows(transaction, user, change))? {
            true => Ok(()),
            false => Err(FollowsError::TooMany),
        }
    }

    fn presences(&self, board: &str) -> Result<Vec<PresenceRow>, StoreError> {
        const PRESENCES: &str = "
            SELECT board_id, user_id, session_id, status, cursor_x, cursor_y, last_heartbeat_at,
                   connected_at, disconnected_at
            FROM presence WHERE board_id = ?1 ORDER BY connected_at, session_id";
        self.list(PRESENCES, params![board], presence_of)
    }

    fn end_open_presences(&self, heard_until: Timestamp) -> Result<u64, StoreError> {
        const END: &str = "
            UPDATE presence SET disconnected_at = last_heartbeat_at
            WHERE disconnected_at IS NULL AND last_heartbeat_at <= ?1";
        let heard_until = time(heard_until);
        let ended =
            self.transact(|transaction| transaction.prepare_cached(END)?.execute([heard_until]))?;
        Ok(ended as u64)
    }

    fn rooms_departed(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<RoomName>, StoreError> {
        const ROOMS: &str = "SELECT DISTINCT room FROM departed WHERE ?1 < room ORDER BY room";
        self.page(ROOMS, after.map_or("", RoomName::as_str), limit, room_of)
    }

    fn feed_users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        const USERS: &str = "SELECT user_id FROM feed_seen WHERE ?1 < user_id ORDER BY user_id";
        let after = after.map_or("", UserId::as_str);
        self.page(USERS, after, limit, |row| user_of(row, 0))
    }

    fn followers(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        const FOLLOWERS: &str = "SELECT user_id FROM follower WHERE ?1 < user_id ORDER BY user_id";
        let after = after.map_or("", UserId::as_str);
        self.page(FOLLOWERS, after, limit, |row| user_of(row, 0))
    }
}

impl SqliteStore {
    /// All rows that the query gives. One that nobody can read any more is a complaint.
    fn list<T>(
        &self,
        query: &str,
        params: impl rusqlite::Params,
        read: impl Fn(&Row<'_>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let listed = self.read(|transaction| {
            let mut statement = transaction.prepare_cached(query)?;
            let rows = statement.query_map(params, |row| Ok(read(row)))?;
            rows.filter_map(Result::transpose).collect()
        });
        listed.map_err(|error: rusqlite::Error| down(&self.path, error))
    }

    /// The first rows behind `after` that can be read.
    fn page<T>(
        &self,
        query: &str,
        after: &str,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let page = self.read(|transaction| {
            let mut statement = transaction.prepare_cached(query)?;
            let rows = statement.query_map([after], |row| Ok(read(row)))?;
            rows.filter_map(Result::transpose).take(limit).collect()
        });
        page.map_err(|error: rusqlite::Error| down(&self.path, error))
    }
}

/// Rows that cannot be read, each by its table and its place there.
pub fn complaints(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    type IsReadable = fn(&Row<'_>) -> bool;
    const TABLES: [(&str, &str, IsReadable); 6] = [
        (
            "presence",
            "SELECT board_id, user_id, session_id, status, cursor_x, cursor_y, last_heartbeat_at,
                    connected_at, disconnected_at, rowid FROM presence",
            |row| presence_of(row).is_some(),
        ),
        (
            "departed",
            "SELECT user_id, name, avatar, role, color, last_seen, room FROM departed",
            |row| departed_of(row).is_some() && room_at(row, 6).is_some(),
        ),
        (
            "feed_seen",
            "SELECT user_id, last_seen FROM feed_seen",
            |row| feed_seen_of(row).is_some(),
        ),
        ("follower", "SELECT user_id FROM follower", |row| {
            user_of(row, 0).is_some()
        }),
        ("follow", "SELECT user_id FROM follow", |row| {
            user_of(row, 0).is_some()
        }),
        (
            "revocation",
            "SELECT user_id, rooms, revoked_at FROM revocation",
            |row| revocation_of(row).is_some(),
        ),
    ];
    let mut complaints = Vec::new();
    for (table, query, is_readable) in TABLES {
        let mut statement = connection.prepare(query)?;
        let mut rows = statement.query([])?;
        let mut unreadable = 0;
        while let Some(row) = rows.next()? {
            unreadable += usize::from(!is_readable(row));
        }
        if 0 < unreadable {
            complaints.push(format!("{unreadable} rows of {table} cannot be read"));
        }
    }
    Ok(complaints)
}

fn record(transaction: &Transaction<'_>, batch: &[Record]) -> rusqlite::Result<()> {
    let mut rooms_left = BTreeSet::new();
    for record in batch.iter().filter(|record| record.is_storable()) {
        match record {
            Record::Presence(row) => write_presence(transaction, row)?,
            Record::Departed { room, person } => {
                write_departed(transaction, room, person)?;
                rooms_left.insert(room);
            }
            Record::FeedSeen { user, at } => write_feed_seen(transaction, user, *at)?,
        }
    }
    for room in rooms_left {
        const FORGET: &str = "
            DELETE FROM departed WHERE rowid IN (
                SELECT rowid FROM departed WHERE room = ?1
                ORDER BY last_seen DESC, user_id LIMIT -1 OFFSET ?2)";
        transaction
            .prepare_cached(FORGET)?
            .execute(params![room.as_str(), count(OFFLINE_PARTICIPANTS_MAX)])?;
    }
    if let Some((ended_before, limit)) = presences_to_remove(batch) {
        const REMOVE: &str = "
            DELETE FROM presence WHERE rowid IN (
                SELECT rowid FROM presence WHERE disconnected_at < ?1
                ORDER BY disconnected_at, board_id, session_id LIMIT ?2)";
        transaction
            .prepare_cached(REMOVE)?
            .execute(params![time(ended_before), count(limit)])?;
    }
    Ok(())
}

fn write_presence(transaction: &Transaction<'_>, row: &PresenceRow) -> rusqlite::Result<()> {
    const WRITE: &str = "
        INSERT INTO presence (board_id, user_id, session_id, status, cursor_x, cursor_y,
                              last_heartbeat_at, connected_at, disconnected_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (board_id, session_id) DO UPDATE SET
            user_id = excluded.user_id, status = excluded.status,
            cursor_x = excluded.cursor_x, cursor_y = excluded.cursor_y,
            last_heartbeat_at = excluded.last_heartbeat_at,
            connected_at = excluded.connected_at, disconnected_at = excluded.disconnected_at";
    transaction.prepare_cached(WRITE)?.execute(params![
        row.board,
        row.user.as_str(),
        row.session,
        row.status.name(),
        row.cursor.map(|(x, _)| x),
        row.cursor.map(|(_, y)| y),
        time(row.last_heartbeat_at),
        time(row.connected_at),
        row.disconnected_at.map(time),
    ])?;
    Ok(())
}

fn write_departed(
    transaction: &Transaction<'_>,
    room: &RoomName,
    person: &Departed,
) -> rusqlite::Result<()> {
    const WRITE: &str = "
        INSERT INTO departed (room, user_id, name, avatar, role, color, last_seen)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (room, user_id) DO UPDATE SET
            name = excluded.name, avatar = excluded.avatar, role = excluded.role,
            color = excluded.color, last_seen = excluded.last_seen
        WHERE last_seen <= excluded.last_seen";
    transaction.prepare_cached(WRITE)?.execute(params![
        room.as_str(),
        person.user.as_str(),
        storable(&person.name),
        person.avatar.as_deref().map(storable),
        person.role.as_deref().map(storable),
        person.color.to_string(),
        time(person.last_seen),
    ])?;
    Ok(())
}

fn write_feed_seen(
    transaction: &Transaction<'_>,
    user: &UserId,
    at: Timestamp,
) -> rusqlite::Result<()> {
    const WRITE: &str = "
        INSERT INTO feed_seen (user_id, last_seen) VALUES (?1, ?2)
        ON CONFLICT (user_id) DO UPDATE SET last_seen = excluded.last_seen
        WHERE last_seen < excluded.last_seen";
    transaction
        .prepare_cached(WRITE)?
        .execute(params![user.as_str(), time(at)])?;
    Ok(())
}

/// Whether there was room for it in the list.
fn change_follows(
    transaction: &Transaction<'_>,
    user: &UserId,
    change: &FollowsChange,
) -> rusqlite::Result<bool> {
    const ADD: &str = "INSERT OR IGNORE INTO follow (follower_id, user_id) VALUES (?1, ?2)";
    let follower = follower(transaction, user)?;
    match change {
        FollowsChange::Replace(all) => {
            transaction
                .prepare_cached("DELETE FROM follow WHERE follower_id = ?1")?
                .execute([follower])?;
            let mut add = transaction.prepare_cached(ADD)?;
            for other in all {
                add.execute(params![follower, other.as_str()])?;
            }
        }
        FollowsChange::Add(other) => {
            const HAS_ROOM: &str = "
                SELECT count(*) < ?3 OR coalesce(max(user_id = ?2), 0)
                FROM follow WHERE follower_id = ?1";
            let has_room: bool = transaction.prepare_cached(HAS_ROOM)?.query_row(
                params![follower, other.as_str(), count(FOLLOWS_MAX)],
                |row| row.get(0),
            )?;
            if !has_room {
                return Ok(false);
            }
            transaction
                .prepare_cached(ADD)?
                .execute(params![follower, other.as_str()])?;
        }
        FollowsChange::Remove(other) => {
            transaction
                .prepare_cached("DELETE FROM follow WHERE follower_id = ?1 AND user_id = ?2")?
                .execute(params![follower, other.as_str()])?;
        }
    }
    Ok(true)
}

fn follower(transaction: &Transaction<'_>, user: &UserId) -> rusqlite::Result<i64> {
    let found = transaction
        .prepare_cached("SELECT id FROM follower WHERE user_id = ?1")?
        .query_row([user.as_str()], |row| row.get(0))
        .optional()?;
    match found {
        Some(id) => Ok(id),
        None => transaction
            .prepare_cached("INSERT INTO follower (user_id) VALUES (?1)")?
            .insert([user.as_str()]),
    }
}

fn presence_of(row: &Row<'_>) -> Option<PresenceRow> {
    let cursor: (Option<f64>, Option<f64>) = (row.get(4).ok()?, row.get(5).ok()?);
    Some(PresenceRow {
        board: row.get(0).ok()?,
        user: user_of(row, 1)?,
        session: row.get(2).ok()?,
        status: RecordedStatus::parse(&row.get::<_, String>(3).ok()?)?,
        cursor: cursor.0.zip(cursor.1),
        last_heartbeat_at: time_of(row, 6)?,
        connected_at: time_of(row, 7)?,
        disconnected_at: match row.get::<_, Option<String>>(8).ok()? {
            Some(text) => Some(Timestamp::parse_rfc3339(&text)?),
            None => None,
        },
    })
}

fn departed_of(row: &Row<'_>) -> Option<Departed> {
    Some(Departed {
        user: user_of(row, 0)?,
        name: row.get(1).ok()?,
        avatar: row.get(2).ok()?,
        role: row.get(3).ok()?,
        color: Color::parse(&row.get::<_, String>(4).ok()?)?,
        last_seen: time_of(row, 5)?,
    })
}

fn feed_seen_of(row: &Row<'_>) -> Option<(UserId, Timestamp)> {
    Some((user_of(row, 0)?, time_of(row, 1)?))
}

fn room_of(row: &Row<'_>) -> Option<RoomName> {
    room_at(row, 0)
}

fn room_at(row: &Row<'_>, column: usize) -> Option<RoomName> {
    RoomName::parse(&row.get::<_, String>(column).ok()?).ok()
}

pub(super) fn user_of(row: &Row<'_>, column: usize) -> Option<UserId> {
    UserId::parse(&row.get::<_, String>(column).ok()?)
}

pub(super) fn time_of(row: &Row<'_>, column: usize) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(&row.get::<_, String>(column).ok()?)
}

pub(super) fn time(at: Timestamp) -> String {
    at.min(TIME_MAX).to_rfc3339()
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
