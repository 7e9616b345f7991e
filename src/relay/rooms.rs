//! A worker's rooms: opened once, however many come at the same moment; closed when empty.

#[cfg(test)]
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use crate::clock::Timestamp;
use crate::model::{ConnectionId, RoomName, SessionId, SessionToken, UserId};
use crate::relay::fanout::{Backlog, Dialect, Direct, Progress};
use crate::relay::news::News;
use crate::relay::places::UserPlace;
use crate::room::{Room, Sequence, Waiting};
use crate::small::{SmallIdMap, SmallMap};

/// A room's place in its worker, valid while it has members.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RoomKey(usize);

impl RoomKey {
    /// No room is before this.
    pub const FIRST: Self = Self(0);
}

/// A room, its members, and what they have not been sent yet.
pub struct OpenRoom {
    pub(super) name: RoomName,
    /// Which of the rooms of this name this is: results for an earlier one are dropped.
    pub(super) life: u64,
    pub(super) room: Room,
    pub(super) members: SmallIdMap<SessionId, Member>,
    pub(super) backlog: Backlog,
    /// Up to here the last turn's end has sent.
    pub(super) flushed: Sequence,
    pub(super) flushed_awareness: u64,
    /// The newest update.
    pub(super) newest: Sequence,
    /// Members that something waits for, though nothing changed for all.
    pub(super) touched: Vec<SessionId>,
    /// Since when something waits for the end of the turn.
    pub(super) dirty_since: Option<Duration>,
    pub(super) scheduled: Option<Timestamp>,
    /// Whether something has happened to it since the worker last looked at its deadline.
    pub(super) is_to_be_reckoned: bool,
    /// Who and what of it is counted as waiting.
    pub(super) waiting: Waiting,
    /// Whether anything was given to the store in this life of the room.
    pub(super) has_kept: bool,
    /// What happened to the roster, for members who are told in text.
    pub(super) news: News,
    /// How many of those there are.
    pub(super) text_members: usize,
    /// Up to here the last turn's end has told them.
    pub(super) flushed_news: u64,
    /// Sessions without a socket, by the token that ends them.
    pub(super) beats: SmallMap<SessionToken, Beating>,
}

impl OpenRoom {
    /// A deadline came, most often because nothing else did: gives back the room that queues made
    /// when much happened.
    pub(super) fn rest(&mut self) {
        if self.dirty_since.is_none() {
            self.backlog.rest();
            self.news.rest();
            self.touched.shrink_to_fit();
        }
    }
}

/// A session without a socket, seen from its room.
pub struct Beating {
    pub(super) session: SessionId,
    pub(super) user: UserId,
    pub(super) name: Arc<str>,
    /// One of its user's, unless it is older than this entry.
    pub(super) _place: Option<UserPlace>,
}

/// A session, seen from its room.
pub struct Member {
    pub(super) link: Link,
    pub(super) user: UserId,
    pub(super) since: Timestamp,
    pub(super) dialect: Dialect,
    pub(super) progress: Progress,
    /// Whether it waits to be let in, and is sent nothing but what is meant for it alone.
    pub(super) is_waiting: bool,
    /// Whether its client closed the document: it is nobody, and is sent nothing but what is meant for
    /// it alone.
    pub(super) is_closed: bool,
    /// How often it had been, when something was last said for it nevertheless.
    pub(super) closes: u32,
    pub(super) direct: Direct,
}

/// How a member is reached.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    /// A socket of this worker.
    Here(ConnectionId),
    /// A socket of another.
    Far {
        /// Which worker.
        worker: usize,
        /// Which socket.
        connection: ConnectionId,
        /// A delivery is on its way and has not been written yet.
        is_full: bool,
    },
}

impl Link {
    /// The socket.
    pub fn connection(self) -> ConnectionId {
        match self {
            Self::Here(connection) | Self::Far { connection, .. } => connection,
        }
    }
}

/// All rooms of a worker.
#[derive(Default)]
pub struct Rooms {
    /// Each on its own: a slab has up to twice the room it needs.
    open: Slab<Box<OpenRoom>>,
    by_name: HashMap<RoomName, RoomKey>,
    /// In the order of their names, for those that have a beginning in common.
    in_order: BTreeMap<RoomName, RoomKey>,
    lives: u64,
    /// How often a room was looked at, for telling how work grows.
    #[cfg(test)]
    looks: Cell<u64>,
}

impl Rooms {
    /// The room of this name, if it is open.
    pub fn find(&self, name: &RoomName) -> Option<RoomKey> {
        self.by_name.get(name).copied()
    }

    /// Puts a new room in place.
    pub fn open(&mut self, name: RoomName, room: Room) -> RoomKey {
        self.lives += 1;
        let awareness = room.awareness().version();
        let key = RoomKey(self.open.insert(Box::new(OpenRoom {
            name: name.clone(),
            life: self.lives,
            room,
            members: SmallIdMap::default(),
            backlog: Backlog::default(),
            flushed: 0,
            flushed_awareness: awareness,
            newest: 0,
            touched: Vec::new(),
            dirty_since: None,
            scheduled: None,
            is_to_be_reckoned: false,
            waiting: Waiting::default(),
            has_kept: false,
            news: News::default(),
            text_members: 0,
            flushed_news: 0,
            beats: SmallMap::new(),
        })));
        self.by_name.insert(name.clone(), key);
        self.in_order.insert(name, key);
        key
    }

    /// Forgets a room.
    pub fn close(&mut self, key: RoomKey) -> Option<Box<OpenRoom>> {
        let closed = self.open.try_remove(key.0)?;
        self.by_name.remove(&closed.name);
        self.in_order.remove(&closed.name);
        Some(closed)
    }

    /// The room at this place.
    pub fn get(&self, key: RoomKey) -> Option<&OpenRoom> {
        self.look();
        self.open.get(key.0).map(|room| &**room)
    }

    /// The room at this place.
    pub fn get_mut(&mut self, key: RoomKey) -> Option<&mut OpenRoom> {
        self.look();
        self.open.get_mut(key.0).map(|room| &mut **room)
    }

    /// Every room from a place on.
    pub fn iter_from(&self, from: RoomKey) -> impl Iterator<Item = (RoomKey, &OpenRoom)> {
        let places = from.0..self.open.capacity();
        places.filter_map(|place| Some((RoomKey(place), &**self.open.get(place)?)))
    }

    /// Every room.
    pub fn iter(&self) -> impl Iterator<Item = (RoomKey, &OpenRoom)> {
        self.open.iter().map(|(key, room)| {
            self.look();
            (RoomKey(key), &**room)
        })
    }

    /// The names of those named `prefix` or below it, in order.
    pub fn under(&self, prefix: &RoomName) -> impl Iterator<Item = &RoomName> {
        let itself = self.in_order.get_key_value(prefix).map(|(name, _)| name);
        // Below it is what continues it after a slash, all in one place: the slash's successor ends it.
        let (from, to) = (format!("{prefix}/"), format!("{prefix}0"));
        let bounds = (Bound::Included(from.as_str()), Bound::Excluded(to.as_str()));
        let below = self.in_order.range::<str, _>(bounds).map(|(name, _)| name);
        itself.into_iter().chain(below).inspect(|_| self.look())
    }

    /// How often a room was looked at.
    #[cfg(test)]
    pub fn looks(&self) -> u64 {
        self.looks.get()
    }

    fn look(&self) {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
    }
}
