//! What is written down about people: where they are, when they were last there, whom they follow.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limits::{FOLLOWS_MAX, PRESENCES_KEPT_FOR, PRESENCES_REMOVED_MAX, STORED_ID_BYTES_MAX};
use crate::model::{Color, Role, RoomName, UserId};
use crate::store::StoreError;

/// The last time that a store can hold: the end of the year 9999, because RFC 3339 ends there.
/// Later ones are taken for it.
pub const TIME_MAX: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// Something to be remembered about somebody.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A session of a board as it is now; replaces what was known of it.
    Presence(PresenceRow),
    /// Somebody has left a room.
    Departed {
        /// Which room.
        room: RoomName,
        /// Who they were, and until when.
        person: Departed,
    },
    /// Somebody's last window of the follow feed is gone.
    FeedSeen {
        /// Who.
        user: UserId,
        /// Since when.
        at: Timestamp,
    },
}

/// A session of a board: a row of the contract's table `presence`.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceRow {
    /// The board's id: the room's name without `board/`.
    pub board: Arc<str>,
    /// The session, unlike any other of this board, also of other processes.
    pub session: Arc<str>,
    /// Whose it is.
    pub user: UserId,
    /// What they were doing last.
    pub status: RecordedStatus,
    /// Where they pointed last, if ever.
    pub cursor: Option<(f64, f64)>,
    /// The last sign of life.
    pub last_heartbeat_at: Timestamp,
    /// The session's begin.
    pub connected_at: Timestamp,
    /// Its end; none while it is there.
    pub disconnected_at: Option<Timestamp>,
}

/// A status as it is stored: the contract's `presence_status`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RecordedStatus {
    /// Active.
    Online,
    /// Quiet for a while.
    Idle,
    /// Quiet for long.
    Away,
}

/// What is kept of somebody who has left a room.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Departed {
    /// Who.
    pub user: UserId,
    /// The display name.
    pub name: Arc<str>,
    /// An avatar's address.
    pub avatar: Option<Arc<str>>,
    /// What they were in that room.
    pub role: Option<Role>,
    /// Their colour.
    pub color: Color,
    /// When they were last there.
    pub last_seen: Timestamp,
}

/// A change of one user's list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FollowsChange {
    /// These, whoever it was before. Twice is once.
    Replace(Vec<UserId>),
    /// This one too.
    Add(UserId),
    /// This one no longer.
    Remove(UserId),
}

/// Why a list is as it was before.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FollowsError {
    /// It would be too long.
    #[error("a user can follow at most {FOLLOWS_MAX} others")]
    TooMany,
    /// An id in it cannot be stored.
    #[error("a user id to follow has no NUL and at most {STORED_ID_BYTES_MAX} bytes")]
    BadId,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What keeps people. Methods block, as those of [`Store`](crate::store::Store) do.
///
/// Ids that [`is_storable`] refuses are nobody to a store: what is recorded of them is passed over,
/// and asking for them finds nothing.
pub trait People: Send + Sync + 'static {
    /// Writes records down in the order given, all or none; when it returns `Ok` they survive a
    /// loss of power. What was written before (the answer to it was lost) changes nothing. Of a
    /// room's departed, and of the feed's, an earlier time never replaces a later one. A room keeps
    /// the `OFFLINE_PARTICIPANTS_MAX` who were seen last; presences that ended are kept for
    /// `PRESENCES_KEPT_FOR`.
    fn record(&self, batch: &[Record]) -> Result<(), StoreError>;

    /// Who has left a room, the latest seen first; of equals in the order of their ids' bytes.
    fn departed(&self, room: &RoomName, limit: usize) -> Result<Vec<Departed>, StoreError>;

    /// When these users were last in the feed, in the order of their ids; nothing of those who
    /// never were.
    fn feed_seen(&self, users: &[UserId]) -> Result<Vec<(UserId, Timestamp)>, StoreError>;

    /// Whom a user follows, in the order of the ids' bytes.
    fn follows(&self, user: &UserId) -> Result<Vec<UserId>, StoreError>;

    /// Changes whom a user follows; when it returns `Ok` that survives a loss of power.
    fn change_follows(&self, user: &UserId, change: &FollowsChange) -> Result<(), FollowsError>;

    /// The presences of a board, in the order of their begin; of equals, of their sessions.
    fn presences(&self, board: &str) -> Result<Vec<PresenceRow>, StoreError>;

    /// Ends the presences that nobody ended, as of their last sign of life, unless that was after
    /// `heard_until`; how many. A process that has its store for itself passes [`TIME_MAX`] when it
    /// starts, one that shares it a time at which other nodes have spoken for theirs since.
    fn end_open_presences(&self, heard_until: Timestamp) -> Result<u64, StoreError>;

    /// The rooms that somebody has left, in the order of their bytes, from behind `after`.
    fn rooms_departed(
        &self,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<RoomName>, StoreError>;

    /// The users whose last time in the feed is known, in the order of their bytes.
    fn feed_users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError>;

    /// The users who have a list of others to follow, though it be empty, in the order of their
    /// bytes.
    fn followers(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, StoreError>;
}

/// Whether a store can keep this as a user's, a board's or a session's id: without NUL, which
/// Postgres has no place for, and not longer than an index can hold.
pub fn is_storable(id: &str) -> bool {
    id.len() <= STORED_ID_BYTES_MAX && !id.contains('\0')
}

/// A name or an address as it can be stored.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// Which presences are old when this batch has been written: those that ended before the time
/// given, the first of them first, at most so many.
pub(super) fn presences_to_remove(batch: &[Record]) -> Option<(Timestamp, usize)> {
    let ends = batch.iter().filter_map(|record| match record {
        Record::Presence(row) => row.disconnected_at,
        Record::Departed { .. } | Record::FeedSeen { .. } => None,
    });
    let ends: Vec<Timestamp> = ends.map(|at| at.min(TIME_MAX)).collect();
    let latest = ends.iter().max()?;
    let count = ends.len().saturating_mul(PRESENCES_REMOVED_MAX);
    Some((latest.before(PRESENCES_KEPT_FOR), count))
}

impl Record {
    /// Whether a store can keep it.
    pub(super) fn is_storable(&self) -> bool {
        match self {
            Self::Presence(row) => {
                is_storable(&row.board)
                    && is_storable(&row.session)
                    && is_storable(row.user.as_str())
            }
            Self::Departed { person, .. } => is_storable(person.user.as_str()),
            Self::FeedSeen { user, .. } => is_storable(user.as_str()),
        }
    }
}

impl FollowsChange {
    /// Refuses what no store takes.
    pub(super) fn check(&self, user: &UserId) -> Result<(), FollowsError> {
        let others = match self {
            Self::Replace(all) => all,
            Self::Add(other) => std::slice::from_ref(other),
            // Who cannot be there is not there.
            Self::Remove(_) => &[],
        };
        if let Self::Replace(all) = self
            && FOLLOWS_MAX < all.iter().collect::<HashSet<_>>().len()
        {
            return Err(FollowsError::TooMany);
        }
        if !others
            .iter()
            .chain([user])
            .all(|id| is_storable(id.as_str()))
        {
            return Err(FollowsError::BadId);
        }
        Ok(())
    }
}

impl RecordedStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Online, Self::Idle, Self::Away];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Idle => "idle",
            Self::Away => "away",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}
