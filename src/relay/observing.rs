//! What whoever runs the relay sees of it: who is where by which connection, who is slow, and why
//! each came and left.
//!
//! Nothing here is on the way of a message. That somebody came or left is noted in a [`Timeline`] of
//! bounded length, one for each worker; everything else is looked up when it is asked for, a slice of
//! the rooms at a time, so that no worker stands still for it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError};

use crate::clock::Timestamp;
use crate::limits::{
    OBSERVED_CONNECTIONS_MAX, OBSERVED_MAX, OBSERVED_PATH_BYTES_MAX, OBSERVED_SESSIONS_AT_ONCE,
    TIMELINE_MAX,
};
use crate::metrics::DoorLabel;
use crate::model::{ConnectionId, Role, RoomName, SessionId, UserId};
use crate::presence::Ending;
use crate::relay::fanout::Dialect;
use crate::relay::feed::FEED_WORKER;
use crate::relay::rooms::{Link, OpenRoom, RoomKey};
use crate::relay::worker::Worker;
use crate::relay::{Relay, Unavailable};
use crate::wire::close::Refusal;

/// How a connection, or its part in a room, ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Departure {
    /// By a close frame, or by saying so.
    Closed,
    /// The stream ended without a word.
    Lost,
    /// Nobody answered our pings.
    Silent,
    /// Its signs of life stopped.
    Expired,
    /// We ended it.
    Refused(Refusal),
}

impl Departure {
    /// What it is to the roster.
    pub fn ending(self) -> Ending {
        match self {
            Self::Closed => Ending::Clean,
            Self::Lost | Self::Silent => Ending::Lost,
            // There is nothing to wait for.
            Self::Expired
            | Self::Refused(Refusal::Revoked | Refusal::Forbidden | Refusal::HeartbeatTimeout) => {
                Ending::Over
            }
            Self::Refused(_) => Ending::Lost,
        }
    }
}

/// By which way somebody is in a room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Through a door, by a socket.
    Door(DoorLabel),
    /// By heartbeats.
    Heartbeats,
}

impl Way {
    pub(super) fn of(dialect: &Dialect) -> Self {
        Self::Door(match dialect {
            Dialect::YWebsocket => DoorLabel::Sync,
            Dialect::Hocuspocus { .. } => DoorLabel::Collab,
            Dialect::Board { .. } => DoorLabel::Boards,
            Dialect::Workspace => DoorLabel::Workspaces,
        })
    }
}

/// Where something happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Spot {
    /// In a room, or at its door.
    Room(RoomName),
    /// At something that may be no room: a path, or a document's name, as somebody wrote it.
    Written(Arc<str>),
    /// Nowhere in particular: at a socket that has no room.
    Nowhere,
}

impl Spot {
    /// What somebody wrote, cut where it is too long to be kept.
    pub fn written(text: &str) -> Self {
        Self::Written(text[..text.floor_char_boundary(OBSERVED_PATH_BYTES_MAX)].into())
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happening {
    /// They are in.
    Came,
    /// They wait for a place.
    Waits,
    /// They are gone: they were in, or waited.
    Left(Departure),
    /// They never were in.
    TurnedAway(Refusal),
}

/// Somebody came or left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passage {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub spot: Spot,
    /// Who, if that was known.
    pub user: Option<UserId>,
    /// Their name.
    pub name: Option<Arc<str>>,
    /// By which way, if that was known.
    pub way: Option<Way>,
    /// By which socket.
    pub connection: Option<ConnectionId>,
    /// What.
    pub what: Happening,
}

/// The latest comings and goings, numbered from 0.
#[derive(Debug, Default)]
pub struct Timeline {
    passages: VecDeque<Passage>,
    next: u64,
}

impl Timeline {
    /// Adds the newest; forgets the oldest when there are too many.
    pub fn note(&mut self, passage: Passage) {
        if self.passages.len() == TIMELINE_MAX {
            self.passages.pop_front();
        }
        self.passages.push_back(passage);
        self.next += 1;
    }

    /// What is kept from number `from` on, and the number to ask from next. A number that has not
    /// been given out is of another life of the relay: everything is new.
    pub fn since(&self, from: u64) -> (Vec<Passage>, u64) {
        let oldest = self.next - self.passages.len() as u64;
        let known = match from <= self.next {
            true => from.saturating_sub(oldest) as usize,
            false => 0,
        };
        (self.passages.range(known..).cloned().collect(), self.next)
    }
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Only rooms and people with this text in their name or id, whatever its case.
    pub find: Option<String>,
    /// The connections of this room.
    pub room: Option<RoomName>,
    /// The connections of this user.
    pub user: Option<UserId>,
    /// Comings and goings from these numbers on, as `Observation::next` gave them.
    pub from: Vec<u64>,
}

/// What is seen.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// How many people there are in all.
    pub people_total: usize,
    /// How many rooms are loaded.
    pub rooms_total: usize,
    /// How many sockets take less than there is for them.
    pub slow_total: usize,
    /// Bytes that wait for those.
    pub waiting_bytes: usize,
    /// Rooms, those with most connections first, as many as are listed.
    pub rooms: Vec<ObservedRoom>,
    /// How many more there are like them.
    pub rooms_more: usize,
    /// People, the latest to come first, as many as are listed.
    pub people: Vec<ObservedPerson>,
    /// How many more there are like them.
    pub people_more: usize,
    /// The connections of the room that was asked for: slow ones first, then the latest.
    pub in_room: Opened,
    /// The connections of the user that was asked for.
    pub of_user: Opened,
    /// Comings and goings, the oldest first.
    pub passages: Vec<Passage>,
    /// Where they go on.
    pub next: Vec<u64>,
}

/// A room among others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObservedRoom {
    /// Which.
    pub room: RoomName,
    /// Users with a place, those who linger too.
    pub people: usize,
    /// Connections and sessions of heartbeats.
    pub connections: usize,
    /// Users who wait for a place.
    pub waiting: usize,
    /// Connections that take less than there is for them.
    pub slow: usize,
    /// Whether everything that was accepted is on disk.
    pub is_durable: bool,
}

/// Somebody, in all their rooms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObservedPerson {
    /// Who.
    pub user: UserId,
    /// Their name.
    pub name: Arc<str>,
    /// How many rooms they are in, or wait for.
    pub rooms: usize,
    /// By how many connections.
    pub connections: usize,
    /// How many of those take less than there is for them.
    pub slow: usize,
    /// When they came last.
    pub since: Timestamp,
    /// Whether they hide from everybody.
    pub is_hidden: bool,
}

/// The connections of a room or a user.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// As many as are listed.
    pub connections: Vec<ObservedConnection>,
    /// How many more there are.
    pub more: usize,
}

/// A connection's part in a room.
#[derive(Clone, Debug)]
pub struct ObservedConnection {
    /// Who and where.
    pub session: ObservedSession,
    /// The last sign of life on the socket, or in the room where there is none.
    pub last_sign: Timestamp,
    /// Whether the socket takes less than there is for it.
    pub is_slow: bool,
    /// How much waits for it, in bytes.
    pub waiting_bytes: usize,
}

/// A session, seen from its room.
#[derive(Clone, Debug)]
pub struct ObservedSession {
    /// Which.
    pub session: SessionId,
    /// Its room; the follow feed has none.
    pub room: Option<RoomName>,
    /// Whose.
    pub user: UserId,
    /// Their name.
    pub name: Arc<str>,
    /// What they are in the room.
    pub role: Option<Role>,
    /// By which way.
    pub way: Way,
    /// The socket, and the worker that has it.
    pub socket: Option<(usize, ConnectionId)>,
    /// Since when.
    pub since: Timestamp,
    /// When it was last heard of in the room.
    pub last_sign: Timestamp,
    /// Whether it makes its user present: a back end's does not.
    pub is_participant: bool,
    /// Whether it waits for a place.
    pub is_waiting: bool,
    /// Whether its user hides from everybody.
    pub is_hidden: bool,
}

/// Some rooms of a worker.
#[derive(Debug, Default)]
struct Survey {
    rooms: Vec<(ObservedRoom, Vec<ObservedSession>)>,
    /// Where the next begin, if there are more.
    next: Option<RoomKey>,
}

/// What the worker that has a socket knows of it.
#[derive(Clone, Copy, Debug)]
struct Signs {
    connection: ConnectionId,
    last_heard: Timestamp,
    waiting_bytes: usize,
}

impl Relay {
    /// How things are, as whoever runs the relay may see it: those who hide from others too.
    pub async fn observe(&self, question: &Question) -> Result<Observation, Unavailable> {
        let workers = self.0.inboxes.len();
        let mut slow = HashMap::new();
        let mut gathering = Gathering::new(question);
        for number in 0..workers {
            let signs = self.ask(number, |worker| worker.slow_ones()).await?;
            slow.extend(signs.into_iter().map(|one| (one.connection, one)));
            let mut next = Some(RoomKey::FIRST);
            while let Some(from) = next {
                let survey = self.ask(number, move |worker| worker.survey(from)).await?;
                next = survey.next;
                for (room, sessions) in survey.rooms {
                    gathering.add(room, sessions, |id| slow.contains_key(&id));
                }
            }
        }
        let mut next = Some(ConnectionId(0));
        while let Some(from) = next {
            let windows = self.ask(FEED_WORKER, move |worker| worker.windows(from));
            let (windows, more) = windows.await?;
            next = more;
            for window in windows {
                gathering.add_window(window, |id| slow.contains_key(&id));
            }
        }
        let mut observation = gathering.finish();
        observation.slow_total = slow.len();
        observation.waiting_bytes = slow.values().map(|one| one.waiting_bytes).sum();
        let Observation {
            in_room, of_user, ..
        } = &mut observation;
        for opened in [in_room, of_user] {
            self.hear_signs(opened).await?;
        }
        self.read_timelines(&question.from, &mut observation)
            .await?;
        Ok(observation)
    }

    /// Notes that somebody was turned away before any worker had heard of them.
    pub fn note_turned_away(&self, path: &str, user: Option<UserId>, refusal: Refusal) {
        let passage = Passage {
            at: self.0.clock.now(),
            spot: Spot::written(&format!("/{path}")),
            user,
            name: None,
            way: None,
            connection: None,
            what: Happening::TurnedAway(refusal),
        };
        let turned_away = &self.0.shared.turned_away;
        turned_away
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(passage);
    }

    /// Adds what the workers of the sockets know.
    async fn hear_signs(&self, opened: &mut Opened) -> Result<(), Unavailable> {
        let mut of_worker: HashMap<usize, Vec<ConnectionId>> = HashMap::new();
        for one in &opened.connections {
            if let Some((worker, id)) = one.session.socket {
                of_worker.entry(worker).or_default().push(id);
            }
        }
        let mut heard = HashMap::new();
        for (number, ids) in of_worker {
            let signs = self
                .ask(number, move |worker| worker.signs_of(&ids))
                .await?;
            heard.extend(signs.into_iter().map(|one| (one.connection, one)));
        }
        for one in &mut opened.connections {
            if let Some((_, id)) = one.session.socket
                && let Some(signs) = heard.get(&id)
            {
                one.last_sign = signs.last_heard;
                one.waiting_bytes = signs.waiting_bytes;
                one.is_slow = 0 < signs.waiting_bytes;
            }
        }
        Ok(())
    }

    /// Every worker's timeline and the one of those it has never heard of, as one.
    async fn read_timelines(
        &self,
        from: &[u64],
        observation: &mut Observation,
    ) -> Result<(), Unavailable> {
        let workers = self.0.inboxes.len();
        // Numbers of a relay with other workers say nothing here.
        let from_of = |number: usize| match from.len() == workers + 1 {
            true => from.get(number).copied().unwrap_or(0),
            false => 0,
        };
        let mut read = Vec::with_capacity(workers + 1);
        for number in 0..workers {
            let from = from_of(number);
            read.push(
                self.ask(number, move |worker| worker.timeline.since(from))
                    .await?,
            );
        }
        let turned_away = &self.0.shared.turned_away;
        read.push(
            turned_away
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .since(from_of(workers)),
        );
        for (passages, next) in read {
            observation.passages.extend(passages);
            observation.next.push(next);
        }
        let passages = &mut observation.passages;
        passages.sort_by_key(|passage| passage.at);
        passages.drain(..passages.len().saturating_sub(TIMELINE_MAX));
        Ok(())
    }
}

impl Worker {
    /// Notes that somebody came, left or was turned away.
    pub(super) fn note(&mut self, passage: Passage) {
        self.timeline.note(passage);
    }

    /// The same for a session of a room here; nothing if it has none.
    pub(super) fn note_session(&mut self, key: RoomKey, session: SessionId, what: Happening) {
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let standing = open.room.standing(session);
        let member = open.members.get(&session);
        let user = match (&standing, member) {
            (Some(standing), _) => standing.user.clone(),
            (None, Some(member)) => member.user.clone(),
            (None, None) => return,
        };
        let passage = Passage {
            at: self.around.clock.now(),
            spot: Spot::Room(open.name.clone()),
            user: Some(user),
            name: standing.map(|standing| standing.name),
            way: Some(member.map_or(Way::Heartbeats, |member| Way::of(&member.dialect))),
            connection: member.map(|member| member.link.connection()),
            what,
        };
        self.note(passage);
    }

    /// Rooms from a place on, and their sessions: as many as take no time worth speaking of.
    fn survey(&self, from: RoomKey) -> Survey {
        let mut survey = Survey::default();
        let mut looked_at = 0;
        for (key, open) in self.rooms.iter_from(from) {
            if OBSERVED_SESSIONS_AT_ONCE < looked_at {
                survey.next = Some(key);
                break;
            }
            let sessions = self.sessions_of(open);
            looked_at += 1 + sessions.len();
            let (people, waiting) = open.room.places();
            let room = ObservedRoom {
                room: open.name.clone(),
                people,
                connections: sessions.len(),
                waiting,
                slow: 0,
                is_durable: open.room.is_durable(),
            };
            survey.rooms.push((room, sessions));
        }
        survey
    }

    /// Notes that somebody came to the follow feed or left it.
    pub(super) fn note_window(&mut self, window: ConnectionId, user: &UserId, what: Happening) {
        let at = self.now();
        self.note(Passage {
            at,
            spot: Spot::Nowhere,
            user: Some(user.clone()),
            name: None,
            way: Some(Way::Door(DoorLabel::Feed)),
            connection: Some(window),
            what,
        });
    }

    /// Windows of the follow feed from a connection on, and where the next begin.
    fn windows(&self, from: ConnectionId) -> (Vec<ObservedSession>, Option<ConnectionId>) {
        let Some(host) = &self.feed else {
            return (Vec::new(), None);
        };
        let mut windows = host.windows_from(from);
        let some = windows.by_ref().take(OBSERVED_SESSIONS_AT_ONCE);
        let observed = some.map(|(id, user, since)| ObservedSession {
            // From the same numbers as sessions.
            session: SessionId(id.0),
            room: None,
            user: user.clone(),
            name: user.as_str().into(),
            role: None,
            way: Way::Door(DoorLabel::Feed),
            socket: Some((self.around.number, id)),
            since,
            last_sign: since,
            is_participant: true,
            is_waiting: false,
            is_hidden: self.hidden.contains(user),
        });
        let observed = observed.collect();
        (observed, windows.next().map(|(id, ..)| id))
    }

    fn sessions_of(&self, open: &OpenRoom) -> Vec<ObservedSession> {
        let members = open.members.iter().map(|(&session, member)| {
            let socket = match member.link {
                Link::Here(id) => (self.around.number, id),
                Link::Far {
                    worker, connection, ..
                } => (worker, connection),
            };
            let way = Way::of(&member.dialect);
            (session, Some(&member.user), way, Some(socket), member.since)
        });
        let beats = open.beats.values().map(|beating| {
            (
                beating.session,
                None,
                Way::Heartbeats,
                None,
                Timestamp::ZERO,
            )
        });
        let seen = members.chain(beats);
        seen.filter_map(|(session, user, way, socket, since)| {
            let standing = open.room.standing(session);
            let user = standing.as_ref().map(|standing| &standing.user).or(user)?;
            Some(ObservedSession {
                session,
                room: Some(open.name.clone()),
                user: user.clone(),
                name: match &standing {
                    Some(standing) => standing.name.clone(),
                    None => user.as_str().into(),
                },
                role: standing.as_ref().and_then(|standing| standing.role.clone()),
                way,
                socket,
                since: standing.as_ref().map_or(since, |standing| standing.since),
                last_sign: standing
                    .as_ref()
                    .map_or(since, |standing| standing.last_sign),
                is_participant: standing.is_some(),
                is_waiting: standing
                    .as_ref()
                    .is_some_and(|standing| standing.is_waiting),
                is_hidden: standing.is_some_and(|standing| standing.is_hidden),
            })
        })
        .collect()
    }

    /// The sockets that take less than there is for them.
    fn slow_ones(&self) -> Vec<Signs> {
        let full = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_full());
        full.filter_map(|(&id, _)| self.signs(id)).collect()
    }

    fn signs_of(&self, ids: &[ConnectionId]) -> Vec<Signs> {
        ids.iter().filter_map(|&id| self.signs(id)).collect()
    }

    fn signs(&self, id: ConnectionId) -> Option<Signs> {
        let connection = self.connections.get(&id)?;
        Some(Signs {
            connection: id,
            last_heard: connection.pulse.last_heard(),
            waiting_bytes: match connection.is_full() {
                true => connection.waiting_bytes() + connection.owed_bytes,
                false => 0,
            },
        })
    }
}

/// An observation in the making: rooms go in one by one.
struct Gathering<'a> {
    question: &'a Question,
    /// What is looked for, in lower case.
    find: Option<String>,
    rooms: Vec<ObservedRoom>,
    rooms_total: usize,
    people: HashMap<UserId, ObservedPerson>,
    in_room: Vec<ObservedConnection>,
    of_user: Vec<ObservedConnection>,
}

impl<'a> Gathering<'a> {
    fn new(question: &'a Question) -> Self {
        Self {
            question,
            find: question.find.as_ref().map(|text| text.to_lowercase()),
            rooms: Vec::new(),
            rooms_total: 0,
            people: HashMap::new(),
            in_room: Vec::new(),
            of_user: Vec::new(),
        }
    }

    fn add(
        &mut self,
        mut room: ObservedRoom,
        sessions: Vec<ObservedSession>,
        is_slow: impl Fn(ConnectionId) -> bool,
    ) {
        let is_asked_for = self.question.room.as_ref() == Some(&room.room);
        let mut here = HashSet::new();
        for session in sessions {
            let is_slow = session.socket.is_some_and(|(_, id)| is_slow(id));
            room.slow += usize::from(is_slow);
            if session.is_participant {
                let is_first_here = here.insert(session.user.clone());
                self.add_person(&session, is_slow, is_first_here);
            }
            let is_theirs = self.question.user.as_ref() == Some(&session.user);
            if is_theirs {
                let opened = ObservedConnection::of(session.clone(), is_slow);
                self.of_user.push(opened);
            }
            if is_asked_for {
                self.in_room.push(ObservedConnection::of(session, is_slow));
            }
        }
        self.rooms_total += 1;
        if self.fits(room.room.as_str()) {
            self.rooms.push(room);
        }
    }

    /// Somebody in the follow feed, who is in no room by that.
    fn add_window(&mut self, window: ObservedSession, is_slow: impl Fn(ConnectionId) -> bool) {
        let is_slow = window.socket.is_some_and(|(_, id)| is_slow(id));
        self.add_person(&window, is_slow, false);
        if self.question.user.as_ref() == Some(&window.user) {
            let opened = ObservedConnection::of(window, is_slow);
            self.of_user.push(opened);
        }
    }

    fn add_person(&mut self, session: &ObservedSession, is_slow: bool, is_first_here: bool) {
        let user = &session.user;
        if !self.people.contains_key(user) {
            let person = ObservedPerson {
                user: user.clone(),
                name: session.name.clone(),
                rooms: 0,
                connections: 0,
                slow: 0,
                since: session.since,
                is_hidden: false,
            };
            self.people.insert(user.clone(), person);
        }
        let Some(person) = self.people.get_mut(user) else {
            return;
        };
        person.rooms += usize::from(is_first_here);
        person.connections += 1;
        person.slow += usize::from(is_slow);
        person.is_hidden |= session.is_hidden;
        if person.since <= session.since {
            person.since = session.since;
        }
        // The feed knows them by their id alone.
        if session.room.is_some() {
            person.name = session.name.clone();
        }
    }

    fn fits(&self, text: &str) -> bool {
        let find = self.find.as_ref();
        find.is_none_or(|find| text.to_lowercase().contains(find.as_str()))
    }

    fn finish(mut self) -> Observation {
        let people_total = self.people.len();
        let everybody = std::mem::take(&mut self.people).into_values();
        let mut people: Vec<_> = everybody
            .filter(|one| self.fits(one.user.as_str()) || self.fits(&one.name))
            .collect();
        let by_time = |one: &ObservedPerson| Reverse(one.since);
        people.sort_unstable_by(|a, b| {
            let order = by_time(a).cmp(&by_time(b));
            order.then_with(|| a.user.cmp(&b.user))
        });
        let people_more = cut(&mut people, OBSERVED_MAX);
        let mut rooms = self.rooms;
        rooms.sort_unstable_by(|a, b| {
            let order = b.connections.cmp(&a.connections);
            order.then_with(|| a.room.cmp(&b.room))
        });
        let rooms_more = cut(&mut rooms, OBSERVED_MAX);
        Observation {
            people_total,
            rooms_total: self.rooms_total,
            rooms,
            rooms_more,
            people,
            people_more,
            in_room: Opened::of(self.in_room),
            of_user: Opened::of(self.of_user),
            ..Observation::default()
        }
    }
}

impl ObservedConnection {
    fn of(session: ObservedSession, is_slow: bool) -> Self {
        Self {
            last_sign: session.last_sign,
            session,
            is_slow,
            waiting_bytes: 0,
        }
    }
}

impl Opened {
    fn of(mut connections: Vec<ObservedConnection>) -> Self {
        connections.sort_unstable_by_key(|one| {
            let session = &one.session;
            (
                !one.is_slow,
                Reverse(session.since),
                Reverse(session.session),
            )
        });
        let more = cut(&mut connections, OBSERVED_CONNECTIONS_MAX);
        Self { connections, more }
    }
}

/// Leaves the first few; how many there were beside.
fn cut<T>(all: &mut Vec<T>, at_most: usize) -> usize {
    let more = all.len().saturating_sub(at_most);
    all.truncate(at_most);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(number: u64) -> Passage {
        Passage {
            at: Timestamp::from_millis(number),
            spot: Spot::Nowhere,
            user: UserId::parse("ann"),
            name: None,
            way: Some(Way::Heartbeats),
            connection: None,
            what: Happening::Came,
        }
    }

    #[test]
    fn a_timeline_keeps_the_latest_and_goes_on_where_somebody_read_to() {
        let times = |timeline: &Timeline, from| {
            let (passages, next) = timeline.since(from);
            let times = passages.iter().map(|passage| passage.at.as_millis());
            (times.collect::<Vec<_>>(), next)
        };
        let mut timeline = Timeline::default();
        assert_eq!(times(&timeline, 0), (vec![], 0));
        for number in 0..3 {
            timeline.note(passage(number));
        }
        assert_eq!(times(&timeline, 0), (vec![0, 1, 2], 3));
        assert_eq!(times(&timeline, 2), (vec![2], 3));
        assert_eq!(times(&timeline, 3), (vec![], 3));
        // Of an earlier life of the relay.
        assert_eq!(times(&timeline, 4), (vec![0, 1, 2], 3));

        let many = TIMELINE_MAX as u64 + 5;
        for number in 3..many {
            timeline.note(passage(number));
        }
        let (kept, next) = times(&timeline, 1);
        assert_eq!((kept.len(), kept[0], next), (TIMELINE_MAX, 5, many));
        assert_eq!(times(&timeline, many - 1), (vec![many - 1], many));
    }

    #[test]
    fn what_somebody_wrote_is_cut() {
        let Spot::Written(cut) = Spot::written(&"é".repeat(10_000)) else {
            panic!("it was written");
        };
        assert!(cut.len() <= OBSERVED_PATH_BYTES_MAX && cut.starts_with('é'));
    }

    /// Sessions as `user@socket` in the order in which they came; a socket of 0 is none.
    fn room(name: &str, sessions: &[&str]) -> (ObservedRoom, Vec<ObservedSession>) {
        let name = RoomName::parse(name).unwrap();
        let session = |(number, text): (usize, &&str)| {
            let (user, socket) = text.split_once('@').unwrap();
            let socket: u64 = socket.parse().unwrap();
            ObservedSession {
                session: SessionId(number as u64),
                room: Some(name.clone()),
                user: UserId::parse(user).unwrap(),
                name: user.to_uppercase().into(),
                role: None,
                way: Way::Heartbeats,
                socket: (0 < socket).then_some((0, ConnectionId(socket))),
                since: Timestamp::from_millis(number as u64),
                last_sign: Timestamp::ZERO,
                is_participant: user != "backend",
                is_waiting: false,
                is_hidden: user == "ghost",
            }
        };
        let room = ObservedRoom {
            room: name.clone(),
            people: sessions.len(),
            connections: sessions.len(),
            waiting: 0,
            slow: 0,
            is_durable: true,
        };
        (room, sessions.iter().enumerate().map(session).collect())
    }

    fn gather(question: &Question, rooms: &[(&str, &[&str])], slow: u64) -> Observation {
        let mut gathering = Gathering::new(question);
        for (name, sessions) in rooms {
            let (room, sessions) = room(name, sessions);
            gathering.add(room, sessions, |id| id.0 == slow);
        }
        gathering.finish()
    }

    const HOUSE: [(&str, &[&str]); 3] = [
        ("session/1", &["ann@1"]),
        ("board/1", &["ann@2", "ann@3", "bob@4", "ghost@0"]),
        ("board/2", &["backend@5", "bob@6"]),
    ];

    #[test]
    fn the_largest_rooms_and_the_latest_people_come_first() {
        let seen = gather(&Question::default(), &HOUSE, 3);
        let rooms: Vec<_> = seen.rooms.iter().map(|room| room.room.as_str()).collect();
        assert_eq!(rooms, ["board/1", "board/2", "session/1"]);
        assert_eq!((seen.rooms_total, seen.people_total), (3, 3));
        let people: Vec<_> = seen
            .people
            .iter()
            .map(|one| (one.user.as_str(), one.rooms, one.connections, one.slow))
            .collect();
        assert_eq!(
            people,
            [("ghost", 1, 1, 0), ("bob", 2, 2, 0), ("ann", 2, 3, 1)]
        );
        assert_eq!(seen.rooms[0].slow, 1);
        assert!(seen.people[0].is_hidden && !seen.people[1].is_hidden);
        assert!(seen.in_room.connections.is_empty() && seen.of_user.connections.is_empty());
    }

    #[test]
    fn what_is_looked_for_is_found_whatever_its_case_and_totals_stay() {
        let find = |text: &str| {
            let find = Some(text.to_owned());
            let question = Question {
                find,
                ..Question::default()
            };
            let seen = gather(&question, &HOUSE, 0);
            assert_eq!((seen.rooms_total, seen.people_total), (3, 3));
            (seen.rooms.len(), seen.people.len())
        };
        assert_eq!(find("BOARD"), (2, 0));
        assert_eq!(find("oB"), (0, 1));
        assert_eq!(find("s"), (1, 1));
        assert_eq!(find("nobody"), (0, 0));
    }

    #[test]
    fn a_room_and_a_user_open_to_their_connections_slow_ones_first() {
        let question = Question {
            room: RoomName::parse("board/1").ok(),
            user: UserId::parse("bob"),
            ..Question::default()
        };
        let seen = gather(&question, &HOUSE, 2);
        let connections = |opened: &Opened| {
            let of = |one: &ObservedConnection| one.session.socket.map(|(_, id)| id.0);
            opened.connections.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(
            connections(&seen.in_room),
            [Some(2), None, Some(4), Some(3)]
        );
        assert_eq!(connections(&seen.of_user), [Some(4), Some(6)]);
    }

    #[test]
    fn lists_are_short_and_say_how_many_more_there_are() {
        let names: Vec<String> = (0..OBSERVED_MAX + 7).map(|n| format!("r{n}")).collect();
        let rooms: Vec<(&str, &[&str])> =
            names.iter().map(|name| (name.as_str(), &[][..])).collect();
        let seen = gather(&Question::default(), &rooms, 0);
        assert_eq!((seen.rooms.len(), seen.rooms_more), (OBSERVED_MAX, 7));
        assert_eq!(seen.rooms_total, OBSERVED_MAX + 7);
        let sessions: Vec<String> = (0..OBSERVED_CONNECTIONS_MAX + 3)
            .map(|n| format!("u@{}", n + 1))
            .collect();
        let sessions: Vec<&str> = sessions.iter().map(String::as_str).collect();
        let question = Question {
            room: RoomName::parse("r").ok(),
            ..Question::default()
        };
        let opened = gather(&question, &[("r", &sessions)], 0).in_room;
        let counts = (opened.connections.len(), opened.more);
        assert_eq!(counts, (OBSERVED_CONNECTIONS_MAX, 3));
    }
}
