//! Who holds how much of what the process has for all: places, and memory for messages under way.
//!
//! What is bounded for each socket alone is not bounded: one person opens many. So places are counted by
//! user, and those who have not said who they are share a part of their own, of which they can fill
//! nobody else's. Locked when somebody comes or goes and while a long message arrives, never for
//! what people type.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::limits::{
    Limits, STRANGER_BYTES_MAX, STRANGER_GIVES_WAY_AFTER, UNFINISHED_FURTHER_BYTES_MAX,
};
use crate::model::{ConnectionId, Token, UserId};
use crate::wire::close::Refusal;

/// What all hold together. Cheap to clone.
#[derive(Clone)]
pub struct Places(Arc<Inner>);

struct Inner {
    connections_max: usize,
    strangers_max: usize,
    per_user_max: usize,
    holdings: Mutex<Holdings>,
    /// Told when a socket without a place has gone.
    refused_gone: Notify,
}

#[derive(Default)]
struct Holdings {
    /// Sockets of those who have said who they are.
    known: usize,
    /// Since when those who have not are here; names rise, so the first came first.
    strangers: BTreeMap<ConnectionId, Timestamp>,
    /// What they have sent.
    stranger_bytes: usize,
    users: HashMap<UserId, Holding>,
    /// Sockets that are being told that they have no place.
    refused: usize,
}

/// What one user holds.
#[derive(Default)]
struct Holding {
    places: usize,
    /// The socket whose message may be as long as any.
    long_message: Option<ConnectionId>,
    /// What has come of all their other messages that have not ended.
    further_bytes: usize,
}

/// Who somebody is, as far as places go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// Who.
    pub user: UserId,
    /// A back end, which holds as many places as it needs.
    pub is_service: bool,
}

impl From<&Token> for Holder {
    fn from(token: &Token) -> Self {
        Self {
            user: token.identity.user.clone(),
            is_service: token.is_service,
        }
    }
}

impl Places {
    /// Nobody is here yet.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            connections_max: limits.connections_max,
            strangers_max: limits.strangers_max,
            per_user_max: limits.per_user_max,
            holdings: Mutex::default(),
            refused_gone: Notify::new(),
        }))
    }

    /// A place for a socket whose holder is known.
    pub fn take(&self, connection: ConnectionId, holder: Holder) -> Result<Place, Refusal> {
        let mut place = Place {
            places: self.clone(),
            connection,
            holders: Vec::new(),
            held: Held::Nothing,
        };
        place.identify(holder)?;
        Ok(place)
    }

    /// A place for a socket that has not said whose it is; and the stranger whose it was, who is to be
    /// closed. Who has had time to say who they are gives way to whoever may be about to.
    pub fn take_as_stranger(
        &self,
        now: Timestamp,
        connection: ConnectionId,
    ) -> Result<(Place, Option<ConnectionId>), Refusal> {
        let mut holdings = self.lock();
        let mut gives_way = None;
        if self.0.strangers_max <= holdings.strangers.len() {
            let (&oldest, &since) = holdings
                .strangers
                .first_key_value()
                .ok_or(Refusal::LimitConnections)?;
            if now.since(since) < STRANGER_GIVES_WAY_AFTER {
                return Err(Refusal::LimitConnections);
            }
            holdings.strangers.remove(&oldest);
            gives_way = Some(oldest);
        }
        holdings.strangers.insert(connection, now);
        drop(holdings);
        let place = Place {
            places: self.clone(),
            connection,
            holders: Vec::new(),
            held: Held::Stranger(0),
        };
        Ok((place, gives_way))
    }

    /// A place for what is no socket: a session of heartbeats, a stream.
    pub fn take_for(&self, holder: &Holder) -> Result<UserPlace, Refusal> {
        if !holder.is_service {
            self.lock().add(&holder.user, self.0.per_user_max)?;
        }
        Ok(UserPlace {
            places: self.clone(),
            user: (!holder.is_service).then(|| holder.user.clone()),
        })
    }

    /// A socket is told that it has no place, which takes a while.
    pub fn refuse(&self) -> RefusedSocket {
        self.lock().refused += 1;
        RefusedSocket(self.clone())
    }

    /// Waits until nobody is being told that they have no place. One task may wait.
    pub async fn refused_are_gone(&self) {
        while 0 < self.lock().refused {
            self.0.refused_gone.notified().await;
        }
    }

    /// How many sockets are open, with a place or without.
    pub fn sockets(&self) -> usize {
        let holdings = self.lock();
        holdings.known + holdings.strangers.len() + holdings.refused
    }

    /// Nothing panics while it holds the lock; if it ever does, the counts are still whole.
    fn lock(&self) -> MutexGuard<'_, Holdings> {
        self.0
            .holdings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that has no place, counted until it is dropped.
pub struct RefusedSocket(Places);

impl Drop for RefusedSocket {
    fn drop(&mut self) {
        self.0.lock().refused -= 1;
        self.0.0.refused_gone.notify_one();
    }
}

/// What a user holds for something that is no socket; given back when dropped.
pub struct UserPlace {
    places: Places,
    user: Option<UserId>,
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            self.places.lock().remove(user);
        }
    }
}

/// A socket's place, and what has come of a message of it that has not ended; given back when dropped.
pub struct Place {
    places: Places,
    connection: ConnectionId,
    /// Whose it is: nobody's yet, one user's, or, at a door where every document has a token of its own,
    /// several users'.
    holders: Vec<Holder>,
    held: Held,
}

/// How what a socket has begun to send is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    Nothing,
    /// Everything that a stranger has sent, finished or not: it waits for a token.
    Stranger(usize),
    /// As the one message of its user that may be of any allowed size.
    Long,
    /// With all others of its user.
    Further(usize),
}

impl Place {
    /// Says whose socket this is, or whose besides.
    pub fn identify(&mut self, holder: Holder) -> Result<(), Refusal> {
        if self.holders.contains(&holder) {
            return Ok(());
        }
        let places = self.places.clone();
        let mut holdings = places.lock();
        let is_new = self.holders.is_empty();
        if is_new && places.0.connections_max <= holdings.known {
            return Err(Refusal::LimitConnections);
        }
        if !holder.is_service {
            holdings.add(&holder.user, places.0.per_user_max)?;
        }
        if is_new {
            self.let_go(&mut holdings);
            holdings.strangers.remove(&self.connection);
            holdings.known += 1;
        }
        drop(holdings);
        self.holders.reserve_exact(1);
        self.holders.push(holder);
        Ok(())
    }

    /// Whether nobody has said whose it is.
    pub fn is_strange(&self) -> bool {
        self.holders.is_empty()
    }

    /// Whether any bytes are counted.
    pub fn holds(&self) -> bool {
        self.held != Held::Nothing
    }

    /// A stranger has sent so much more.
    pub fn hear_stranger(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Held::Stranger(sent) = &mut self.held else {
            return Ok(());
        };
        let mut holdings = self.places.lock();
        if STRANGER_BYTES_MAX < holdings.stranger_bytes + bytes {
            return Err(Refusal::LimitMessage);
        }
        holdings.stranger_bytes += bytes;
        *sent += bytes;
        Ok(())
    }

    /// So much has come of a message that has not ended.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Some(holder) = self.holders.first() else {
            return Ok(());
        };
        let mut holdings = self.places.lock();
        let holding = holdings.users.entry(holder.user.clone()).or_default();
        let further = match self.held {
            Held::Long => return Ok(()),
            Held::Further(bytes) => bytes,
            Held::Nothing | Held::Stranger(_) => 0,
        };
        let others = holding.further_bytes - further;
        if holding.long_message.is_none() {
            holding.long_message = Some(self.connection);
            holding.further_bytes = others;
            self.held = Held::Long;
        } else if others + bytes <= UNFINISHED_FURTHER_BYTES_MAX {
            holding.further_bytes = others + bytes;
            self.held = Held::Further(bytes);
        } else {
            return Err(Refusal::LimitMessage);
        }
        Ok(())
    }

    /// The message has ended.
    pub fn hold_nothing(&mut self) {
        if self.is_strange() {
            return;
        }
        let places = self.places.clone();
        self.let_go(&mut places.lock());
    }

    fn let_go(&mut self, holdings: &mut Holdings) {
        let held = std::mem::replace(&mut self.held, Held::Nothing);
        if let Held::Stranger(bytes) = held {
            holdings.stranger_bytes -= bytes;
        }
        let Some(holder) = self.holders.first() else {
            return;
        };
        if let Some(holding) = holdings.users.get_mut(&holder.user) {
            match held {
                Held::Nothing | Held::Stranger(_) => return,
                Held::Long => holding.long_message = None,
                Held::Further(bytes) => holding.further_bytes -= bytes,
            }
            holdings.forget_if_idle(&holder.user);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = self.places.clone();
        let mut holdings = places.lock();
        self.let_go(&mut holdings);
        holdings.strangers.remove(&self.connection);
        if !self.holders.is_empty() {
            holdings.known -= 1;
        }
        for holder in self.holders.drain(..).filter(|holder| !holder.is_service) {
            holdings.remove(&holder.user);
        }
    }
}

impl Holdings {
    fn add(&mut self, user: &UserId, per_user_max: usize) -> Result<(), Refusal> {
        let places = self.users.get(user).map_or(0, |holding| holding.places);
        if per_user_max <= places {
            return Err(Refusal::LimitConnections);
        }
        self.users.entry(user.clone()).or_default().places += 1;
        Ok(())
    }

    fn remove(&mut self, user: &UserId) {
        if let Some(holding) = self.users.get_mut(user) {
            holding.places -= 1;
        }
        self.forget_if_idle(user);
    }

    fn forget_if_idle(&mut self, user: &UserId) {
        let is_idle = |holding: &Holding| {
            holding.places == 0 && holding.long_message.is_none() && holding.further_bytes == 0
        };
        if self.users.get(user).is_some_and(is_idle) {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: usize = 1 << 20;

    fn places(connections_max: usize, per_user_max: usize) -> Places {
        Places::new(&Limits {
            connections_max,
            strangers_max: 64,
            per_user_max,
            ..Limits::default()
        })
    }

    fn holder(user: &str) -> Holder {
        Holder {
            user: UserId::parse(user).unwrap(),
            is_service: false,
        }
    }

    fn service() -> Holder {
        Holder {
            is_service: true,
            ..holder("service")
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn strangers(places: &Places, now: Timestamp, from: u64, count: u64) -> Vec<Place> {
        let stranger = |number| places.take_as_stranger(now, ConnectionId(number));
        (from..from + count)
            .map(|number| stranger(number).ok().unwrap().0)
            .collect()
    }

    #[test]
    fn sockets_sessions_and_streams_of_a_user_count_together() {
        let places = places(10, 3);
        let socket = places.take(ConnectionId(1), holder("ann")).ok();
        let session = places.take_for(&holder("ann")).ok();
        let stream = places.take_for(&holder("ann")).ok();
        let full = Some(Refusal::LimitConnections);
        assert_eq!(places.take(ConnectionId(2), holder("ann")).err(), full);
        assert_eq!(places.take_for(&holder("ann")).err(), full);
        assert!(places.take(ConnectionId(3), holder("ben")).is_ok());
        drop(stream);
        assert!(places.take_for(&holder("ann")).is_ok());
        drop((socket, session));
        assert!(places.lock().users.is_empty());
        assert_eq!(places.lock().known, 0);
    }

    #[test]
    fn a_back_end_holds_as_many_places_as_there_are() {
        let places = places(5, 1);
        let _streams: Vec<_> = (0..9).map(|_| places.take_for(&service()).ok()).collect();
        let sockets: Vec<_> = (0..5)
            .map(|number| places.take(ConnectionId(number), service()).ok().unwrap())
            .collect();
        let sixth = places.take(ConnectionId(6), service());
        assert_eq!(sixth.err(), Some(Refusal::LimitConnections));
        drop(sockets);
        assert_eq!(places.lock().known, 0);
    }

    #[test]
    fn a_socket_of_two_users_is_one_of_each() {
        let places = places(5, 1);
        let mut socket = places.take(ConnectionId(1), holder("ann")).ok().unwrap();
        assert_eq!(socket.identify(holder("ann")), Ok(()));
        assert_eq!(socket.identify(holder("ben")), Ok(()));
        assert_eq!(places.lock().known, 1);
        let full = Some(Refusal::LimitConnections);
        assert_eq!(places.take_for(&holder("ben")).err(), full);
        drop(socket);
        assert!(places.take_for(&holder("ben")).is_ok());
        assert!(places.lock().users.is_empty());
    }

    #[test]
    fn strangers_take_nobodys_place_and_leave_theirs_when_they_are_known() {
        let places = places(2, 9);
        let mut all = strangers(&places, at(0), 1, 64);
        let refused = places.take_as_stranger(at(4_999), ConnectionId(65));
        assert_eq!(refused.err(), Some(Refusal::LimitConnections));
        let _known = places.take(ConnectionId(66), holder("ann")).ok().unwrap();
        assert_eq!(all[0].identify(holder("ben")), Ok(()));
        // That was the last of the places; the stranger stays one.
        let full = Err(Refusal::LimitConnections);
        assert_eq!(all[1].identify(holder("cat")), full);
        assert_eq!(places.lock().strangers.len(), 63);
        assert!(
            places
                .take_as_stranger(at(4_999), ConnectionId(67))
                .is_ok_and(|(_, gives_way)| gives_way.is_none())
        );
        drop(all);
        assert!(places.lock().strangers.is_empty());
        assert_eq!(places.lock().known, 1);
    }

    #[test]
    fn a_stranger_who_has_had_time_gives_way_to_one_who_comes() {
        let places = places(1, 1);
        let old = strangers(&places, at(0), 1, 1);
        let young = strangers(&places, at(3_000), 2, 63);
        let come = |millis, number| places.take_as_stranger(at(millis), ConnectionId(number));
        let (third, gives_way) = come(5_000, 100).ok().unwrap();
        assert_eq!(gives_way, Some(ConnectionId(1)));
        assert_eq!(
            come(5_000, 101).err(),
            Some(Refusal::LimitConnections),
            "the next is too young"
        );
        // Whose place went to another gives none back.
        drop(old);
        assert_eq!(places.lock().strangers.len(), 64);
        drop((young, third));
        assert!(places.lock().strangers.is_empty());
    }

    #[test]
    fn one_long_message_of_each_user_and_little_besides() {
        let places = places(9, 9);
        let socket = |number| places.take(ConnectionId(number), holder("ann")).ok();
        let mut sockets: Vec<_> = (1..=3).filter_map(socket).collect();
        assert_eq!(sockets[0].hold(62 * MEBIBYTE), Ok(()));
        assert_eq!(sockets[1].hold(10 * MEBIBYTE), Ok(()));
        assert_eq!(sockets[2].hold(6 * MEBIBYTE), Ok(()));
        assert_eq!(sockets[0].hold(64 * MEBIBYTE), Ok(()));
        let over = Err(Refusal::LimitMessage);
        assert_eq!(sockets[2].hold(6 * MEBIBYTE + 1), over);
        assert_eq!(sockets[1].hold(11 * MEBIBYTE), over);
        // Others have their own.
        let mut other = places.take(ConnectionId(9), holder("ben")).ok().unwrap();
        assert_eq!(other.hold(62 * MEBIBYTE), Ok(()));
        // When the long one has ended, another may be.
        sockets[0].hold_nothing();
        assert_eq!(sockets[1].hold(40 * MEBIBYTE), Ok(()));
        assert_eq!(sockets[2].hold(16 * MEBIBYTE), Ok(()));
        assert_eq!(sockets[0].hold(1), over);
        drop((sockets, other));
        assert!(places.lock().users.is_empty());
    }

    #[test]
    fn strangers_share_one_bound_on_what_they_send() {
        let places = places(1, 9);
        let mut all = strangers(&places, at(0), 1, 14);
        for one in &mut all[..12] {
            assert_eq!(one.hear_stranger(5 * MEBIBYTE), Ok(()));
        }
        assert_eq!(all[12].hear_stranger(4 * MEBIBYTE), Ok(()));
        assert_eq!(all[13].hear_stranger(1), Err(Refusal::LimitMessage));
        // Who is known, or gone, no longer counts.
        assert_eq!(all[0].identify(holder("ann")), Ok(()));
        assert_eq!(all[13].hear_stranger(5 * MEBIBYTE), Ok(()));
        assert_eq!(all[0].hear_stranger(5 * MEBIBYTE), Ok(()));
        drop(all);
        assert_eq!(places.lock().stranger_bytes, 0);
    }
}
