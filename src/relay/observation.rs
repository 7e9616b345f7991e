//! What is seen of a relay at one time: rooms and people as short lists, the connections of one of them.
//!
//! [`Gathering`] makes it of what the workers tell, room by room.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limits::{OBSERVED_CONNECTIONS_MAX, OBSERVED_MAX};
use crate::model::{ConnectionId, Role, RoomName, SessionId, UserId};
use crate::relay::refused::RefusedLists;
use crate::relay::timeline::{Passage, Way};

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
    /// Origins and tokens that were not let in.
    pub refused: RefusedLists,
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
    /// Accepted updates that wait for what they stand on.
    pub waiting_updates: usize,
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

/// An observation in the making: rooms go in one by one.
pub(super) struct Gathering<'a> {
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
    pub(super) fn new(question: &'a Question) -> Self {
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

    pub(super) fn add(
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
    pub(super) fn add_window(
        &mut self,
        window: ObservedSession,
        is_slow: impl Fn(ConnectionId) -> bool,
    ) {
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

    pub(super) fn finish(mut self) -> Observation {
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
            waiting_updates: 0,
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
