//! Who is told of presence: streams of a room, of a user, of all rooms below a name.
//!
//! A stream of a room is told every change, in a bounded channel. A stream of many rooms is told of
//! each room only the newest: what it has not taken yet waits in a [`Newest`], one place for each
//! room, however often that changes meanwhile. Every worker tells it of its own rooms.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::limits::{STREAM_ROOMS_MAX, WATCHERS_SWEPT_FROM};
use crate::model::{RoomName, UserId};
use crate::presence::{Change, Participant};
use crate::relay::worker::Worker;
use crate::relay::{PresenceEvent, Relay, Unavailable};

/// A room, and everybody who is connected there.
#[derive(Clone, Debug)]
pub struct ActiveRoom {
    /// Which room.
    pub room: RoomName,
    /// Who, in the order of a room's presence.
    pub users: Vec<Participant>,
}

impl Relay {
    /// Every loaded room named `prefix` or below it.
    pub async fn rooms_under(&self, prefix: &RoomName) -> Result<Vec<RoomName>, Unavailable> {
        let mut found = Vec::new();
        for number in 0..self.0.inboxes.len() {
            let prefix = prefix.clone();
            let rooms = self.ask(number, move |worker| worker.rooms_under(&prefix));
            found.extend(rooms.await?);
        }
        Ok(found)
    }

    /// These rooms as they are now, those where nobody is among them.
    pub async fn active_rooms(&self, rooms: Vec<RoomName>) -> Result<Vec<ActiveRoom>, Unavailable> {
        let mut of_worker: BTreeMap<usize, Vec<RoomName>> = BTreeMap::new();
        for room in rooms {
            of_worker
                .entry(self.worker_of(&room))
                .or_default()
                .push(room);
        }
        let mut found = Vec::new();
        for (number, rooms) in of_worker {
            let asked = move |worker: &mut Worker| -> Vec<ActiveRoom> {
                rooms.into_iter().map(|room| worker.active(room)).collect()
            };
            found.extend(self.ask(number, asked).await?);
        }
        Ok(found)
    }

    /// Every room the user is connected in, and from then on the user's newest entry of each room
    /// in which it changes.
    pub async fn watch_user(
        &self,
        user: &UserId,
    ) -> Result<(Vec<(RoomName, Participant)>, Newest<Participant>), Unavailable> {
        let news = Newest::new();
        let mut found = Vec::new();
        for number in 0..self.0.inboxes.len() {
            let (user, teller) = (user.clone(), news.teller());
            let rooms = self.ask(number, move |worker| {
                let rooms = worker.rooms_of(&user);
                worker.watch(|watching| watching.users.add(user, teller));
                rooms
            });
            found.extend(rooms.await?);
        }
        Ok((found, news))
    }

    /// Every loaded room named `prefix` or below it, and from then on the names of those in which
    /// somebody changes.
    pub async fn watch_under(
        &self,
        prefix: &RoomName,
    ) -> Result<(Vec<RoomName>, Newest<()>), Unavailable> {
        let news = Newest::new();
        let mut found = Vec::new();
        for number in 0..self.0.inboxes.len() {
            let (prefix, teller) = (prefix.clone(), news.teller());
            let rooms = self.ask(number, move |worker| {
                let rooms = worker.rooms_under(&prefix);
                worker.watch(|watching| watching.prefixes.add(prefix, teller));
                rooms
            });
            found.extend(rooms.await?);
        }
        Ok((found, news))
    }
}

impl Worker {
    /// Tells the watcher who is there, and from now on what changes.
    pub(super) fn watch_room(&mut self, room: RoomName, watcher: mpsc::Sender<PresenceEvent>) {
        let snapshot = PresenceEvent::Snapshot(self.participants(&room));
        if watcher.try_send(snapshot).is_ok() {
            self.watch(|watching| watching.rooms.add(room, watcher));
        }
    }

    /// Whoever begins to watch while the relay drains is let go at once.
    fn watch(&mut self, begin: impl FnOnce(&mut Watching)) {
        if self.draining.is_none() {
            begin(&mut self.watching);
            self.watching.sweep_if_many();
        }
    }

    pub(super) fn rooms_under(&self, prefix: &RoomName) -> Vec<RoomName> {
        self.rooms.under(prefix).cloned().collect()
    }

    fn active(&self, room: RoomName) -> ActiveRoom {
        let open = self.rooms.find(&room).and_then(|key| self.rooms.get(key));
        let users = open.map_or_else(Vec::new, |open| open.room.connected());
        ActiveRoom { room, users }
    }
}

/// The streams that a worker tells.
#[derive(Default)]
pub struct Watching {
    rooms: Watchers<RoomName, mpsc::Sender<PresenceEvent>>,
    users: Watchers<UserId, Teller<Participant>>,
    prefixes: Watchers<RoomName, Teller<()>>,
    /// How many there are when the next sweep comes.
    sweep_at: usize,
}

impl Watching {
    /// Tells everybody whom a change in a room concerns.
    pub(super) fn tell(&mut self, room: &RoomName, change: &Change) {
        self.rooms.tell(room, |watcher| {
            let event = PresenceEvent::Change(change.clone());
            watcher.try_send(event).is_ok()
        });
        let now = change.participant();
        self.users
            .tell(&now.user, |teller| teller.tell(room, now.clone()));
        if self.prefixes.is_empty() {
            return;
        }
        let name = room.as_str();
        let above = name.match_indices('/').map(|(at, _)| &name[..at]);
        for prefix in above.chain([name]) {
            self.prefixes.tell(prefix, |teller| teller.tell(room, ()));
        }
    }

    /// Ends every stream.
    pub(super) fn end_all(&mut self) {
        *self = Self::default();
    }

    /// Streams about which nothing is to be told end without this worker's noticing. Looked for
    /// whenever there are twice as many as were left the last time: a constant cost for each.
    fn sweep_if_many(&mut self) {
        let count = |all: &Self| all.rooms.count + all.users.count + all.prefixes.count;
        if count(self) < self.sweep_at.max(WATCHERS_SWEPT_FROM) {
            return;
        }
        self.rooms.sweep(|watcher| !watcher.is_closed());
        self.users.sweep(Teller::is_heard);
        self.prefixes.sweep(Teller::is_heard);
        self.sweep_at = 2 * count(self);
    }
}

/// Watchers by what they watch.
struct Watchers<K, W> {
    of: HashMap<K, Vec<W>>,
    count: usize,
}

impl<K: Eq + Hash, W> Watchers<K, W> {
    fn add(&mut self, key: K, watcher: W) {
        self.of.entry(key).or_default().push(watcher);
        self.count += 1;
    }

    fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Tells those who watch `key`. Who is gone, or too far behind, is let go.
    fn tell<Q>(&mut self, key: &Q, mut tell: impl FnMut(&W) -> bool)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(watchers) = self.of.get_mut(key) else {
            return;
        };
        let before = watchers.len();
        watchers.retain(|watcher| tell(watcher));
        self.count -= before - watchers.len();
        if watchers.is_empty() {
            self.of.remove(key);
        }
    }

    fn sweep(&mut self, is_there: impl Fn(&W) -> bool) {
        self.of.retain(|_, watchers| {
            watchers.retain(&is_there);
            !watchers.is_empty()
        });
        self.count = self.of.values().map(Vec::len).sum();
    }
}

impl<K, W> Default for Watchers<K, W> {
    fn default() -> Self {
        Self {
            of: HashMap::new(),
            count: 0,
        }
    }
}

/// What changed in many rooms since it was last asked: the newest of each.
pub struct Newest<V>(Arc<Shelf<V>>);

/// A worker's end of a [`Newest`]. When one is dropped the news are over.
struct Teller<V>(Arc<Shelf<V>>);

struct Shelf<V> {
    waiting: Mutex<Waiting<V>>,
    arrival: Notify,
    /// Whoever was to read is gone.
    is_abandoned: AtomicBool,
}

struct Waiting<V> {
    of_room: BTreeMap<RoomName, V>,
    has_ended: bool,
}

impl<V> Newest<V> {
    fn new() -> Self {
        Self(Arc::new(Shelf {
            waiting: Mutex::new(Waiting {
                of_room: BTreeMap::new(),
                has_ended: false,
            }),
            arrival: Notify::new(),
            is_abandoned: AtomicBool::new(false),
        }))
    }

    fn teller(&self) -> Teller<V> {
        Teller(self.0.clone())
    }

    /// Waits until there is something to take; `false` when nothing more will come. May be given
    /// up and asked again.
    pub async fn ready(&mut self) -> bool {
        loop {
            {
                let waiting = self.0.lock();
                if waiting.has_ended {
                    return false;
                }
                if !waiting.of_room.is_empty() {
                    return true;
                }
            }
            self.0.arrival.notified().await;
        }
    }

    /// Takes everything there is, by the names of the rooms.
    pub fn take(&mut self) -> BTreeMap<RoomName, V> {
        std::mem::take(&mut self.0.lock().of_room)
    }
}

impl<V> Drop for Newest<V> {
    fn drop(&mut self) {
        self.0.is_abandoned.store(true, Ordering::Relaxed);
    }
}

impl<V> Teller<V> {
    /// Whether it was worth it: not if nobody listens any more, or not fast enough.
    fn tell(&self, room: &RoomName, value: V) -> bool {
        if !self.is_heard() {
            return false;
        }
        let mut waiting = self.0.lock();
        waiting.of_room.insert(room.clone(), value);
        let is_in_time = waiting.of_room.len() <= STREAM_ROOMS_MAX;
        drop(waiting);
        self.0.arrival.notify_one();
        is_in_time
    }

    fn is_heard(&self) -> bool {
        !self.0.is_abandoned.load(Ordering::Relaxed)
    }
}

impl<V> Drop for Teller<V> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.has_ended = true;
        waiting.of_room.clear();
        drop(waiting);
        self.0.arrival.notify_one();
    }
}

impl<V> Shelf<V> {
    fn lock(&self) -> MutexGuard<'_, Waiting<V>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::Color;
    use crate::presence::{Appearance, Status};

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn participant(name: &str, at: u64) -> Participant {
        Participant {
            user: user(name),
            appearance: Appearance {
                name: name.into(),
                avatar: None,
                role: None,
                color: Color::of_user(&user(name)),
                status: Status::Online,
                data: None,
            },
            is_connected: true,
            last_seen: Timestamp::from_millis(at),
        }
    }

    fn joined(name: &str, at: u64) -> Change {
        Change::Joined(participant(name, at))
    }

    fn names<V>(news: &mut Newest<V>) -> Vec<String> {
        news.take().keys().map(RoomName::to_string).collect()
    }

    #[tokio::test]
    async fn of_each_room_the_newest_waits() {
        let mut watching = Watching::default();
        let mut news = Newest::new();
        watching.users.add(user("ann"), news.teller());
        watching.tell(&room("b"), &joined("ann", 1));
        watching.tell(&room("a"), &joined("ann", 2));
        watching.tell(&room("b"), &joined("ann", 3));
        watching.tell(&room("c"), &joined("bob", 4));
        assert!(news.ready().await);
        let newest: Vec<_> = news
            .take()
            .into_iter()
            .map(|(room, now)| (room.to_string(), now.last_seen.as_millis()))
            .collect();
        assert_eq!(newest, [("a".to_owned(), 2), ("b".to_owned(), 3)]);
        assert!(news.take().is_empty());
    }

    #[test]
    fn a_prefix_is_told_of_the_rooms_at_and_below_it() {
        let mut watching = Watching::default();
        let (mut expo, mut all) = (Newest::new(), Newest::new());
        watching.prefixes.add(room("event/expo"), expo.teller());
        watching.prefixes.add(room("event"), all.teller());
        let rooms = [
            "event/expo",
            "event/expo/a",
            "event/expo/a/b",
            "event/expos",
            "events",
            "x/event",
        ];
        for name in rooms {
            watching.tell(&room(name), &joined("ann", 1));
        }
        assert_eq!(names(&mut expo), rooms[..3]);
        assert_eq!(names(&mut all), rooms[..4]);
    }

    #[tokio::test]
    async fn who_is_too_far_behind_is_let_go() {
        let mut watching = Watching::default();
        let mut news = Newest::new();
        watching.prefixes.add(room("event"), news.teller());
        for number in 0..STREAM_ROOMS_MAX {
            watching.tell(&room(&format!("event/{number}")), &joined("ann", 1));
        }
        assert!(news.ready().await);
        watching.tell(&room("event/one-more"), &joined("ann", 1));
        assert!(!news.ready().await);
        assert!(watching.prefixes.is_empty());
        assert_eq!(watching.prefixes.count, 0);
    }

    #[tokio::test]
    async fn when_a_worker_ends_its_streams_the_news_are_over() {
        let mut watching = Watching::default();
        let mut news = Newest::<()>::new();
        watching.prefixes.add(room("event"), news.teller());
        watching.end_all();
        assert!(!news.ready().await);
    }

    #[test]
    fn quiet_watchers_whose_client_is_gone_do_not_pile_up() {
        let mut watching = Watching::default();
        let kept = Newest::new();
        watching.users.add(user("kept"), kept.teller());
        for number in 0..10 * WATCHERS_SWEPT_FROM {
            let name = format!("quiet-{number}");
            let (watcher, _) = mpsc::channel(1);
            watching.rooms.add(room(&name), watcher);
            watching.users.add(user(&name), Newest::new().teller());
            watching.prefixes.add(room(&name), Newest::new().teller());
            watching.sweep_if_many();
        }
        let left = watching.rooms.of.len() + watching.users.of.len() + watching.prefixes.of.len();
        assert!(left <= WATCHERS_SWEPT_FROM + 3, "{left}");
        assert!(watching.users.of.contains_key(&user("kept")));
    }
}
