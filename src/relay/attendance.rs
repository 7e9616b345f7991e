//! Those who are in a room without a socket, those who hide, and what is written down of all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::{
    Grant, LastSeen, Pattern, RequestId, RoomName, SessionId, SessionToken, UserId,
};
use crate::presence::{Participant, SessionRecord, Status};
use crate::relay::inbox::ToWorker;
use crate::relay::places::Holder;
use crate::relay::rooms::{Beating, RoomKey};
use crate::relay::timeline::{Departure, Happening, Passage, Spot, Way};
use crate::relay::worker::Worker;
use crate::room::{Input, Reply};
use crate::store::{Departed, PresenceRow, Record, RecordedStatus};
use crate::wire::boards::Cursor;
use crate::wire::close::Refusal;

/// "I am here", from somebody without a socket.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// What names the session, and ends it.
    pub token: SessionToken,
    /// Who, and what they may do.
    pub grant: Grant,
    /// How long they are here without another.
    pub lasts: Duration,
    /// What they do, if they say.
    pub status: Option<Status>,
    /// What else they say, as the text of a JSON object, if they do.
    pub data: Option<Arc<str>>,
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attendance {
    /// The session is there, as of now.
    Counts,
    /// The session has just left, and this was on its way before that.
    HasLeft,
}

impl Worker {
    /// Somebody without a socket is here, unless the session has just left: then nothing happens, and
    /// nobody else answers.
    pub(super) fn heartbeat(
        &mut self,
        room: &RoomName,
        request: RequestId,
        heartbeat: Heartbeat,
        asker: oneshot::Sender<Reply>,
    ) -> Attendance {
        if self.draining.is_some() {
            // Whoever asked may have given up.
            let _ = asker.send(Reply::Refused(Refusal::Draining));
            return Attendance::Counts;
        }
        let now = self.now();
        if self.farewells.has_left(now, &heartbeat.token) {
            return Attendance::HasLeft;
        }
        let Heartbeat {
            token,
            grant,
            lasts,
            status,
            data,
        } = heartbeat;
        let user = grant.identity.user.clone();
        let place = match self.beat_rooms.contains_key(&token) {
            true => None,
            false => {
                let holder = Holder {
                    user: user.clone(),
                    is_service: !grant.is_participant,
                };
                match self.around.shared.places.take_for(&holder) {
                    Ok(place) => Some(place),
                    Err(refusal) => {
                        // Whoever asked may have given up.
                        let _ = asker.send(Reply::Refused(refusal));
                        return Attendance::Counts;
                    }
                }
            }
        };
        let key = self.open_room(room);
        let Some(open) = self.rooms.get_mut(key) else {
            return Attendance::Counts;
        };
        let shared = &self.around.shared;
        let known = open.beats.get(&token).map(|beating| beating.session);
        let session = known.unwrap_or_else(|| {
            let session = shared.next_session();
            let beating = Beating {
                session,
                user: user.clone(),
                name: grant.identity.name.clone(),
                _place: place,
            };
            open.beats.insert(token.clone(), beating);
            session
        });
        self.beat_rooms.insert(token, key);
        if self.hidden.contains(&user) {
            self.let_happen(key, Input::Hide { user, hides: true });
        }
        self.requests.insert(request, asker);
        let beat = Input::Heartbeat {
            request,
            session,
            grant,
            lasts,
            status,
            data,
        };
        self.let_happen(key, beat);
        let is_in = |open: &crate::relay::rooms::OpenRoom| open.room.has_session(session);
        if !self.rooms.get(key).is_some_and(is_in) {
            self.beat_ended(key, session, Happening::TurnedAway(Refusal::BoardFull));
        }
        Attendance::Counts
    }

    /// Ends the session of this token; whether there was one here. Should a heartbeat of it still be
    /// on its way, that is too late. `is_by_its_user`: they have shown who they are.
    pub(super) fn end_beat(&mut self, token: &SessionToken, is_by_its_user: bool) -> bool {
        let now = self.now();
        let here = self.beat_rooms.get(token).copied();
        let is_known = is_by_its_user || here.is_some();
        self.farewells.note(now, token, is_known);
        // When it is to be forgotten.
        self.wakers.timer.notify_one();
        let Some(key) = here else {
            return false;
        };
        let session = self
            .rooms
            .get(key)
            .and_then(|open| open.beats.get(token).map(|beating| beating.session));
        if let Some(session) = session {
            let departure = Departure::Closed;
            self.beat_ended(key, session, Happening::Left(departure));
            let ending = departure.ending();
            self.let_happen(key, Input::Leave { session, ending });
        }
        session.is_some()
    }

    /// A session without a socket is over.
    pub(super) fn beat_ended(&mut self, key: RoomKey, session: SessionId, what: Happening) {
        let at = self.now();
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        let is_it = |(token, beating): (&SessionToken, &Beating)| {
            (beating.session == session).then(|| token.clone())
        };
        let token = open.beats.iter().find_map(is_it);
        if let Some(token) = token
            && let Some(beating) = open.beats.remove(&token)
        {
            self.beat_rooms.remove(&token);
            self.timeline.note(Passage {
                at,
                spot: Spot::Room(open.name.clone()),
                user: Some(beating.user),
                name: Some(beating.name),
                way: Some(Way::Heartbeats),
                connection: None,
                what,
                why: None,
            });
        }
    }

    /// The user hides from everybody, on every worker, or no longer.
    pub(super) fn hide_everywhere(&mut self, user: &UserId, hides: bool) {
        for number in 0..self.around.inboxes.len() {
            if number == self.around.number {
                self.hide(user, hides);
            } else {
                let user = user.clone();
                self.send_post(number, ToWorker::Hide { user, hides });
            }
        }
    }

    /// The user hides from everybody in the rooms here, or no longer.
    pub(super) fn hide(&mut self, user: &UserId, hides: bool) {
        match hides {
            true => self.hidden.insert(user.clone()),
            false => self.hidden.remove(user),
        };
        for key in self.rooms_with(user) {
            let user = user.clone();
            self.let_happen(key, Input::Hide { user, hides });
        }
    }

    /// What stays of the user ends: in some rooms, or in all.
    pub(super) fn expel(&mut self, user: &UserId, rooms: Option<&Pattern>) {
        for key in self.rooms_with(user) {
            let is_meant = |open: &crate::relay::rooms::OpenRoom| {
                rooms.is_none_or(|rooms| rooms.covers(&open.name))
            };
            if self.rooms.get(key).is_some_and(is_meant) {
                self.let_happen(key, Input::Expel { user: user.clone() });
            }
        }
    }

    fn rooms_with(&self, user: &UserId) -> Vec<RoomKey> {
        self.whereabouts.places(user).collect()
    }

    /// A session of a board is written down.
    pub(super) fn record(&self, key: RoomKey, record: SessionRecord) {
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let name = open.name.as_str();
        let board = name.split_once('/').map_or(name, |(_, board)| board);
        let cursor = record.data.as_deref().and_then(Cursor::of_data);
        let row = PresenceRow {
            board: board.into(),
            session: self.around.shared.session_name(record.session).into(),
            user: record.user,
            status: match record.status {
                Status::Online | Status::Typing | Status::Offline => RecordedStatus::Online,
                Status::Idle => RecordedStatus::Idle,
                Status::Away => RecordedStatus::Away,
            },
            cursor: cursor.map(|cursor| (cursor.x, cursor.y)),
            last_heartbeat_at: record.last_heartbeat_at,
            connected_at: record.connected_at,
            disconnected_at: record.disconnected_at,
        };
        self.around.people.keep(Record::Presence(row));
    }

    /// That somebody was in a room is to be remembered.
    pub(super) fn remember_seen(&self, key: RoomKey, person: Participant) {
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        if self.around.policies.of(open.name.kind()).memory != LastSeen::Stored {
            return;
        }
        let shown = person.appearance;
        let person = Departed {
            user: person.user,
            name: shown.name,
            avatar: shown.avatar,
            role: shown.role,
            color: shown.color,
            last_seen: person.last_seen,
        };
        let room = open.name.clone();
        self.around.people.keep(Record::Departed { room, person });
    }
}
