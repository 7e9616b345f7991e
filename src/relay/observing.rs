//! What whoever runs the relay sees of it: who is where by which connection, who is slow, and why
//! each came and left.
//!
//! Nothing here is on the way of a message. That somebody came or left is noted in a [`Timeline`], one
//! for each worker; everything else is looked up when it is asked for, a slice of the rooms at a time,
//! so that no worker stands still for it.
//!
//! [`Timeline`]: crate::relay::timeline::Timeline

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::clock::Timestamp;
use crate::limits::{OBSERVED_SESSIONS_AT_ONCE, TIMELINE_MAX};
use crate::metrics::DoorLabel;
use crate::model::{ConnectionId, SessionId, UserId};
use crate::relay::feed::FEED_WORKER;
use crate::relay::observation::{
    Gathering, Observation, ObservedRoom, ObservedSession, Opened, Question,
};
use crate::relay::rooms::{Link, OpenRoom, RoomKey};
use crate::relay::timeline::{Happening, Passage, Spot, Way};
use crate::relay::worker::Worker;
use crate::relay::{Relay, Unavailable};
use crate::wire::close::Refusal;

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
        observation.refused = self.refused_lists();
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
    /// `why` is what is wrong with their token, if that is it.
    pub fn note_turned_away(
        &self,
        path: &str,
        user: Option<UserId>,
        refusal: Refusal,
        why: Option<&'static str>,
    ) {
        let passage = Passage {
            at: self.0.clock.now(),
            spot: Spot::written(&format!("/{path}")),
            user,
            name: None,
            way: None,
            connection: None,
            what: Happening::TurnedAway(refusal),
            why,
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
            why: None,
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
                waiting_updates: open.room.waiting().updates,
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
            why: None,
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
        let members = open.members.iter().filter(|(_, member)| !member.is_closed);
        let members = members.map(|(&session, member)| {
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
