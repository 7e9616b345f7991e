//! People in PostgreSQL: a batch of records is a few statements, whatever is in it.
//!
//! Rows are written in the order of their keys, and what is removed on the way is never waited for,
//! so that nodes that write of the same people do not wait for each other in a circle.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use tokio_postgres::{Client, Error, Row, Statement};

use crate::clock::Timestamp;
use crate::limits::{FOLLOWS_MAX, OFFLINE_PARTICIPANTS_MAX};
use crate::model::{Color, RoomName, UserId};
use crate::store::people::{is_storable, presences_to_remove, storable};
use crate::store::postgres::session::{
    BEGIN_READING, BEGIN_WRITING, COMMIT, Column, Saying, Session, all_at_once,
};
use crate::store::postgres::{PostgresStore, READ_WITHIN, ROOMS_MAX, WRITE_WITHIN, revocations};
use crate::store::{
    Departed, FollowsChange, FollowsError, People, PresenceRow, Record, RecordedStatus, StoreError,
    TIME_MAX,
};

const WRITE_PRESENCES: &str = "
    INSERT INTO collab.presence (board_id, user_id, session_id, status, cursor_x, cursor_y,
                                 last_heartbeat_at, connected_at, disconnected_at)
    SELECT given.board, given.person, given.session, given.status::collab.presence_status,
           given.x, given.y, given.heard, given.began, given.ended
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::float8[],
                $7::timestamptz[], $8::timestamptz[], $9::timestamptz[])
        AS given (board, person, session, status, x, y, heard, began, ended)
    ON CONFLICT (board_id, session_id) DO UPDATE SET
        user_id = excluded.user_id, status = excluded.status,
        cursor_x = excluded.cursor_x, cursor_y = excluded.cursor_y,
        last_heartbeat_at = excluded.last_heartbeat_at,
        connected_at = excluded.connected_at, disconnected_at = excluded.disconnected_at";

/// What somebody else has just locked is left to them, or to the next time.
const REMOVE_PRESENCES: &str = "
    DELETE FROM collab.presence AS kept USING (
        SELECT board_id, session_id FROM collab.presence WHERE disconnected_at < $1
        ORDER BY disconnected_at, board_id, session_id LIMIT $2 FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE kept.board_id = old.board_id AND kept.session_id = old.session_id";

const WRITE_DEPARTED: &str = "
    INSERT INTO collab.departed AS kept (room, user_id, name, avatar, role, color, last_seen)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                         $7::timestamptz[])
    ON CONFLICT (room, user_id) DO UPDATE SET
        name = excluded.name, avatar = excluded.avatar, role = excluded.role,
        color = excluded.color, last_seen = excluded.last_seen
    WHERE kept.last_seen <= excluded.last_seen";

/// Locked in a query of their own: one with an offset locks what it passes over, too. Whoever was
/// seen again meanwhile has another time and stays.
const FORGET_DEPARTED: &str = "
    WITH surplus AS (
        SELECT past.room, past.user_id, past.last_seen
        FROM unnest($1::text[]) AS given (room)
        CROSS JOIN LATERAL (
            SELECT room, user_id, last_seen FROM collab.departed AS one
            WHERE one.room = given.room ORDER BY last_seen DESC, user_id OFFSET $2
        ) AS past
    ), free AS (
        SELECT one.room, one.user_id FROM collab.departed AS one JOIN surplus
            ON one.room = surplus.room AND one.user_id = surplus.user_id
            AND one.last_seen = surplus.last_seen
        FOR UPDATE OF one SKIP LOCKED
    )
    DELETE FROM collab.departed AS one USING free
    WHERE one.room = free.room AND one.user_id = free.user_id";

const WRITE_FEED_SEEN: &str = "
    INSERT INTO collab.feed_seen AS kept (user_id, last_seen)
    SELECT * FROM unnest($1::text[], $2::timestamptz[])
    ON CONFLICT (user_id) DO UPDATE SET last_seen = excluded.last_seen
    WHERE kept.last_seen < excluded.last_seen";

const DEPARTED: &str = "
    SELECT user_id, name, avatar, role, color, last_seen FROM collab.departed
    WHERE room = $1 ORDER BY last_seen DESC, user_id LIMIT $2";

const FEED_SEEN: &str = "
    SELECT user_id, last_seen FROM collab.feed_seen WHERE user_id = ANY($1) ORDER BY user_id";

const FOLLOWS: &str = "
    SELECT user_id FROM collab.follow
    WHERE follower_id = (SELECT id FROM collab.follower WHERE user_id = $1) ORDER BY user_id";

/// Asked first whether there is one: a conflict costs an id each time.
const ADD_FOLLOWER: &str = "
    INSERT INTO collab.follower (user_id)
    SELECT $1::text WHERE NOT EXISTS (SELECT FROM collab.follower WHERE user_id = $1)
    ON CONFLICT (user_id) DO NOTHING";

const LOCK_FOLLOWER: &str = "SELECT id FROM collab.follower WHERE user_id = $1 FOR NO KEY UPDATE";

const FOLLOW_NONE_BUT: &str = "
    DELETE FROM collab.follow WHERE follower_id = $1 AND NOT EXISTS (
        SELECT FROM unnest($2::text[]) AS given (user_id) WHERE given.user_id = follow.user_id)";

/// As many as there is room for.
const FOLLOW: &str = "
    INSERT INTO collab.follow (follower_id, user_id)
    SELECT $1::bigint, given.user_id FROM unnest($2::text[]) AS given (user_id)
    WHERE NOT EXISTS (
        SELECT FROM collab.follow AS kept
        WHERE kept.follower_id = $1 AND kept.user_id = given.user_id)
    LIMIT greatest(0, $3::bigint - (SELECT count(*) FROM collab.follow WHERE follower_id = $1))";

const UNFOLLOW: &str = "DELETE FROM collab.follow WHERE follower_id = $1 AND user_id = $2";

const HAS_FOLLOW: &str = "
    SELECT EXISTS (SELECT FROM collab.follow WHERE follower_id = $1 AND user_id = $2)";

const PRESENCES: &str = "
    SELECT board_id, user_id, session_id, status::text, cursor_x, cursor_y, last_heartbeat_at,
           connected_at, disconnected_at
    FROM collab.presence WHERE board_id = $1 ORDER BY connected_at, session_id";

/// A row that somebody writes now is alive.
const END_PRESENCES: &str = "
    UPDATE collab.presence AS kept SET disconnected_at = kept.last_heartbeat_at FROM (
        SELECT board_id, session_id FROM collab.presence
        WHERE disconnected_at IS NULL AND last_heartbeat_at <= $1 FOR UPDATE SKIP LOCKED
    ) AS open
    WHERE kept.board_id = open.board_id AND kept.session_id = open.session_id";

const ROOMS_DEPARTED: &str = "
    SELECT DISTINCT room FROM collab.departed WHERE $1 < room ORDER BY room LIMIT $2";

const FEED_USERS: &str = "
    SELECT user_id FROM collab.feed_seen WHERE $1 < user_id ORDER BY user_id LIMIT $2";

const FOLLOWERS: &str = "
    SELECT user_id FROM collab.follower WHERE $1 < user_id ORDER BY user_id LIMIT $2";

/// All rows of a table, and whether one can be read.
type Table = (&'static str, &'static str, fn(&Row) -> bool);

const TABLES: [Table; 6] = [
    (
        "presence",
        "SELECT board_id, user_id, session_id, status::text, cursor_x, cursor_y, last_heartbeat_at,
                connected_at, disconnected_at
         FROM collab.presence",
        |row| presence_of(row).is_some(),
    ),
    (
        "departed",
        "SELECT user_id, name, avatar, role, color, last_seen, room FROM collab.departed",
        |row| departed_of(row).is_some() && room_at(row, 6).is_some(),
    ),
    (
        "feed_seen",
        "SELECT user_id, last_seen FROM collab.feed_seen",
        |row| feed_seen_of(row).is_some(),
    ),
    ("follower", "SELECT user_id FROM collab.follower", |row| {
        user_at(row, 0).is_some()
    }),
    ("follow", "SELECT user_id FROM collab.follow", |row| {
        user_at(row, 0).is_some()
    }),
    ("revocation", revocations::ALL, |row| {
        revocations::revocation_of(row).is_some()
    }),
];

/// What a session says of people, prepared.
pub struct Statements {
    write_presences: Statement,
    remove_presences: Statement,
    write_departed: Statement,
    forget_departed: Statement,
    write_feed_seen: Statement,
    departed: Statement,
    feed_seen: Statement,
    follows: Statement,
    presences: Statement,
}

impl Statements {
    /// What is asked often; the rest is not worth preparing.
    pub async fn prepare(client: &Client) -> Result<Self, Error> {
        let (write_presences, remove_presences, write_departed, forget_departed, write_feed_seen) =
            tokio::try_join!(
                client.prepare(WRITE_PRESENCES),
                client.prepare(REMOVE_PRESENCES),
                client.prepare(WRITE_DEPARTED),
                client.prepare(FORGET_DEPARTED),
                client.prepare(WRITE_FEED_SEEN),
            )?;
        let (departed, feed_seen, follows, presences) = tokio::try_join!(
            client.prepare(DEPARTED),
            client.prepare(FEED_SEEN),
            client.prepare(FOLLOWS),
            client.prepare(PRESENCES),
        )?;
        Ok(Self {
            write_presences,
            remove_presences,
            write_departed,
            forget_departed,
            write_feed_seen,
            departed,
            feed_seen,
            follows,
            presences,
        })
    }
}

impl People for PostgresStore {
    fn record(&self, batch: &[Record]) -> Result<(), StoreError> {
        let batch = Batch::new(batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.writer()?
            .run(WRITE_WITHIN, async |session| session.record(&batch).await)
    }

    fn departed(&self, room: &RoomName, limit: usize) -> Result<Vec<Departed>, StoreError> {
        let limit = count(limit);
        let rows = self.readers()?.run(READ_WITHIN, async |session| {
            let departed = &session.people.departed;
            session
                .client
                .query(departed, &[&room.as_str(), &limit])
                .await
        })?;
        Ok(rows.iter().filter_map(departed_of).collect())
    }

    fn feed_seen(&self, users: &[UserId]) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let users: Vec<&str> = users.into_iter().filter(|user| is_storable(user)).collect();
        let rows = self.readers()?.run(READ_WITHIN, async |session| {
            let feed_seen = &session.people.feed_seen;
            session.client.query(feed_seen, &[&users]).await
        })?;
        Ok(rows.iter().filter_map(feed_seen_of).collect())
    }

    fn follows(&self, user: &UserId) -> Result<Vec<UserId>, StoreError> {
        if !is_storable(user.as_str()) {
            return Ok(Vec::new());
        }
        let rows = self.readers()?.run(READ_WITHIN, async |session| {
            let follows = &session.people.follows;
            session.client.query(follows, &[&user.as_str()]).await
        })?;
        Ok(rows.iter().filter_map(|row| user_at(row, 0)).collect())
    }

    fn change_follows(&self, user: &UserId, change: &FollowsChange) -> Result<(), FollowsError> {
        change.check(user)?;
        let changed = self.writer()?.run(WRITE_WITHIN, async |session| {
            session.change_follows(user, change).await
        })?;
        match changed {
            true => Ok(()),
            false => Err(FollowsError::TooMany),
        }
    }

    fn presences(&self, board: &str) -> Result<Vec<PresenceRow>, StoreError> {
        if !is_storable(board) {
            return Ok(Vec::new());
        }
        let rows = self.readers()?.run(READ_WITHIN, async |session| {
            let presences = &session.people.presences;
            session.client.query(presences, &[&board]).await
        })?;
        Ok(rows.iter().filter_map(presence_of).collect())
    }

    fn end_open_presences(&self, heard_until: Timestamp) -> Result<u64, StoreError> {
        let heard_until = time(heard_until);
        self.writer()?.run(WRITE_WITHIN, async |session| {
            session.client.batch_execute(BEGIN_WRITING).await?;
            let ended = session
                .client
                .execute(END_PRESENCES, &[&heard_until])
                .await?;
            session.client.batch_execute(COMMIT).await?;
            Ok(ended)
        })
    }

    fn rooms_departed(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<RoomName>, StoreError> {
        let after = after.map_or("", RoomName::as_str);
        self.ids(ROOMS_DEPARTED, after, limit, |name| {
            RoomName::parse(name).ok()
        })
    }

    fn feed_users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        let after = after.map_or("", UserId::as_str);
        self.ids(FEED_USERS, after, limit, UserId::parse)
    }

    fn followers(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError> {
        let after = after.map_or("", UserId::as_str);
        self.ids(FOLLOWERS, after, limit, UserId::parse)
    }
}

impl PostgresStore {
    /// The ids behind `after`, in the order of their bytes. What is none is a complaint.
    fn ids<T>(
        &self,
        query: &str,
        after: &str,
        limit: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        // No id has a NUL: what is behind one that has is behind what it begins with.
        let after = after.split('\0').next().unwrap_or_default();
        let (mut after, mut ids) = (after.to_owned(), Vec::new());
        while ids.len() < limit {
            let wanted = count((limit - ids.len()).min(ROOMS_MAX));
            let rows = self.readers()?.run(READ_WITHIN, async |session| {
                session.client.query(query, &[&after, &wanted]).await
            })?;
            let texts: Vec<&str> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
            ids.extend(texts.iter().copied().filter_map(&parse));
            match texts.last() {
                Some(last) => after = (*last).to_owned(),
                None => break,
            }
        }
        Ok(ids)
    }

    /// How many rows of each table cannot be read.
    pub(super) fn unreadable_people(&self) -> Result<Vec<String>, StoreError> {
        let mut complaints = Vec::new();
        for (table, query, is_readable) in TABLES {
            let unreadable = self.readers()?.run(READ_WITHIN, async |session| {
                session.client.batch_execute(BEGIN_READING).await?;
                let no_parameters: [&str; 0] = [];
                let mut rows = pin!(session.client.query_raw(query, no_parameters).await?);
                let mut unreadable = 0;
                while let Some(row) = rows.try_next().await? {
                    unreadable += usize::from(!is_readable(&row));
                }
                session.client.batch_execute(COMMIT).await?;
                Ok(unreadable)
            })?;
            if 0 < unreadable {
                complaints.push(format!("{unreadable} rows of {table} cannot be read"));
            }
        }
        Ok(complaints)
    }
}

impl Session {
    /// Writes all of it or nothing; after an error the connection must not be used again.
    async fn record(&self, batch: &Batch<'_>) -> Result<(), Error> {
        let Statements {
            write_presences,
            remove_presences,
            write_departed,
            forget_departed,
            write_feed_seen,
            ..
        } = &self.people;
        let presences = PresenceColumns::of(batch.presences.values().copied());
        let departed = DepartedColumns::of(&batch.departed);
        let rooms: BTreeSet<&str> = departed.rooms.iter().copied().collect();
        let rooms: Vec<&str> = rooms.into_iter().collect();
        let kept_max = count(OFFLINE_PARTICIPANTS_MAX);
        let feed_users: Vec<&str> = batch.feed_seen.keys().map(|user| user.as_str()).collect();
        let feed_times: Vec<SystemTime> = batch.feed_seen.values().copied().map(time).collect();
        let old = batch
            .old_presences
            .map(|(before, limit)| (time(before), count(limit)));

        let mut saying: Vec<(&Statement, Vec<Column<'_>>)> = Vec::new();
        if !batch.presences.is_empty() {
            saying.push((write_presences, presences.columns()));
        }
        if !batch.departed.is_empty() {
            saying.push((write_departed, departed.columns()));
            saying.push((forget_departed, vec![&rooms, &kept_max]));
        }
        if !batch.feed_seen.is_empty() {
            saying.push((write_feed_seen, vec![&feed_users, &feed_times]));
        }
        if let Some((before, limit)) = &old {
            saying.push((remove_presences, vec![before, limit]));
        }
        let mut statements: Vec<Saying<'_>> =
            vec![Box::pin(self.client.batch_execute(BEGIN_WRITING))];
        for (statement, columns) in saying {
            statements.push(Box::pin(self.execute(statement, columns)));
        }
        statements.push(Box::pin(self.client.batch_execute(COMMIT)));
        all_at_once(statements).await
    }

    /// Whether there was room for it in the list.
    async fn change_follows(&self, user: &UserId, change: &FollowsChange) -> Result<bool, Error> {
        let client = &self.client;
        let follows_max = count(FOLLOWS_MAX);
        client.batch_execute(BEGIN_WRITING).await?;
        client.execute(ADD_FOLLOWER, &[&user.as_str()]).await?;
        let locked = client.query_one(LOCK_FOLLOWER, &[&user.as_str()]).await?;
        let follower: i64 = locked.try_get(0)?;
        let mut has_room = true;
        match change {
            FollowsChange::Replace(all) => {
                let all: BTreeSet<&str> = all.iter().map(UserId::as_str).collect();
                let all: Vec<&str> = all.into_iter().collect();
                client.execute(FOLLOW_NONE_BUT, &[&follower, &all]).await?;
                client
                    .execute(FOLLOW, &[&follower, &all, &follows_max])
                    .await?;
            }
            FollowsChange::Add(other) => {
                let other = other.as_str();
                client
                    .execute(FOLLOW, &[&follower, &vec![other], &follows_max])
                    .await?;
                let found = client.query_one(HAS_FOLLOW, &[&follower, &other]).await?;
                has_room = found.try_get(0)?;
            }
            FollowsChange::Remove(other) if is_storable(other.as_str()) => {
                client
                    .execute(UNFOLLOW, &[&follower, &other.as_str()])
                    .await?;
            }
            FollowsChange::Remove(_) => {}
        }
        client.batch_execute(COMMIT).await?;
        Ok(has_room)
    }
}

/// The last word of a batch on everybody in it, in the order of the keys: rows of one statement
/// must not meet, and everybody locks in the same order.
#[derive(Debug, Default)]
struct Batch<'a> {
    presences: BTreeMap<(&'a str, &'a str), &'a PresenceRow>,
    departed: BTreeMap<(&'a RoomName, &'a UserId), &'a Departed>,
    feed_seen: BTreeMap<&'a UserId, Timestamp>,
    old_presences: Option<(Timestamp, usize)>,
}

impl<'a> Batch<'a> {
    fn new(records: &'a [Record]) -> Self {
        let mut batch = Self {
            old_presences: presences_to_remove(records),
            ..Self::default()
        };
        for record in records.iter().filter(|record| record.is_storable()) {
            match record {
                Record::Presence(row) => {
                    batch.presences.insert((&row.board, &row.session), row);
                }
                Record::Departed { room, person } => {
                    let kept = batch.departed.entry((room, &person.user)).or_insert(person);
                    if kept.last_seen.min(TIME_MAX) <= person.last_seen.min(TIME_MAX) {
                        *kept = person;
                    }
                }
                Record::FeedSeen { user, at } => {
                    let kept = batch.feed_seen.entry(user).or_default();
                    *kept = (*at).max(*kept);
                }
            }
        }
        batch
    }

    fn is_empty(&self) -> bool {
        self.presences.is_empty()
            && self.departed.is_empty()
            && self.feed_seen.is_empty()
            && self.old_presences.is_none()
    }
}

/// Presences, a column each.
#[derive(Default)]
struct PresenceColumns<'a> {
    boards: Vec<&'a str>,
    users: Vec<&'a str>,
    sessions: Vec<&'a str>,
    statuses: Vec<&'a str>,
    xs: Vec<Option<f64>>,
    ys: Vec<Option<f64>>,
    last_heartbeats: Vec<SystemTime>,
    begins: Vec<SystemTime>,
    ends: Vec<Option<SystemTime>>,
}

impl<'a> PresenceColumns<'a> {
    fn of(rows: impl Iterator<Item = &'a PresenceRow>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.boards.push(&row.board);
            columns.users.push(row.user.as_str());
            columns.sessions.push(&row.session);
            columns.statuses.push(row.status.name());
            columns.xs.push(row.cursor.map(|(x, _)| x));
            columns.ys.push(row.cursor.map(|(_, y)| y));
            columns.last_heartbeats.push(time(row.last_heartbeat_at));
            columns.begins.push(time(row.connected_at));
            columns.ends.push(row.disconnected_at.map(time));
        }
        columns
    }

    fn columns(&self) -> Vec<Column<'_>> {
        vec![
            &self.boards,
            &self.users,
            &self.sessions,
            &self.statuses,
            &self.xs,
            &self.ys,
            &self.last_heartbeats,
            &self.begins,
            &self.ends,
        ]
    }
}

/// People who have left, a column each.
#[derive(Default)]
struct DepartedColumns<'a> {
    rooms: Vec<&'a str>,
    users: Vec<&'a str>,
    names: Vec<Cow<'a, str>>,
    avatars: Vec<Option<Cow<'a, str>>>,
    roles: Vec<Option<Cow<'a, str>>>,
    colors: Vec<String>,
    times: Vec<SystemTime>,
}

impl<'a> DepartedColumns<'a> {
    fn of(departed: &BTreeMap<(&'a RoomName, &'a UserId), &'a Departed>) -> Self {
        let mut columns = Self::default();
        for ((room, user), person) in departed {
            columns.rooms.push(room.as_str());
            columns.users.push(user.as_str());
            columns.names.push(storable(&person.name));
            columns.avatars.push(person.avatar.as_deref().map(storable));
            columns.roles.push(person.role.as_deref().map(storable));
            columns.colors.push(person.color.to_string());
            columns.times.push(time(person.last_seen));
        }
        columns
    }

    fn columns(&self) -> Vec<Column<'_>> {
        vec![
            &self.rooms,
            &self.users,
            &self.names,
            &self.avatars,
            &self.roles,
            &self.colors,
            &self.times,
        ]
    }
}

fn presence_of(row: &Row) -> Option<PresenceRow> {
    let cursor: (Option<f64>, Option<f64>) = (row.try_get(4).ok()?, row.try_get(5).ok()?);
    let ended: Option<SystemTime> = row.try_get(8).ok()?;
    Some(PresenceRow {
        board: text_at(row, 0)?.into(),
        user: user_at(row, 1)?,
        session: text_at(row, 2)?.into(),
        status: RecordedStatus::parse(text_at(row, 3)?)?,
        cursor: cursor.0.zip(cursor.1),
        last_heartbeat_at: time_at(row, 6)?,
        connected_at: time_at(row, 7)?,
        disconnected_at: match ended {
            Some(ended) => Some(timestamp(ended)?),
            None => None,
        },
    })
}

fn departed_of(row: &Row) -> Option<Departed> {
    let avatar: Option<&str> = row.try_get(2).ok()?;
    let role: Option<&str> = row.try_get(3).ok()?;
    Some(Departed {
        user: user_at(row, 0)?,
        name: text_at(row, 1)?.into(),
        avatar: avatar.map(Into::into),
        role: role.map(Into::into),
        color: Color::parse(text_at(row, 4)?)?,
        last_seen: time_at(row, 5)?,
    })
}

fn feed_seen_of(row: &Row) -> Option<(UserId, Timestamp)> {
    Some((user_at(row, 0)?, time_at(row, 1)?))
}

fn room_at(row: &Row, column: usize) -> Option<RoomName> {
    RoomName::parse(text_at(row, column)?).ok()
}

pub(super) fn user_at(row: &Row, column: usize) -> Option<UserId> {
    UserId::parse(text_at(row, column)?)
}

pub(super) fn text_at(row: &Row, column: usize) -> Option<&str> {
    row.try_get(column).ok()
}

pub(super) fn time_at(row: &Row, column: usize) -> Option<Timestamp> {
    timestamp(row.try_get(column).ok()?)
}

pub(super) fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.min(TIME_MAX).as_millis())
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since_1970 = time.duration_since(UNIX_EPOCH).ok()?;
    let millis = u64::try_from(since_1970.as_millis()).ok()?;
    Some(Timestamp::from_millis(millis))
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
