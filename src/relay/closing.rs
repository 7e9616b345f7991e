//! Sessions that their client closed, on a connection that stays.

use crate::model::{Grant, RoomName, SessionId};
use crate::relay::fanout::{Dialect, Direct, Progress, Told};
use crate::relay::inbox::{Delivery, ToWorker};
use crate::relay::rooms::{Link, Member, RoomKey};
use crate::relay::timeline::{Departure, Happening};
use crate::relay::worker::Worker;
use crate::room::{FromSession, Input};

/// Something said for a document that its client had closed.
pub struct Reopening {
    /// Who, and what they may do now.
    pub grant: Grant,
    /// How they are spoken to.
    pub dialect: Dialect,
    /// What they say.
    pub message: FromSession,
    /// How often it has been closed: the door is told so, as it may be closed again meanwhile.
    pub closes: u32,
}

impl Worker {
    /// The session's client has closed the document: it is nobody any more, but is sent what it is
    /// still owed, and may turn out to go on.
    pub(super) fn close_session(&mut self, key: RoomKey, session: SessionId) {
        self.finish_typing();
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        if open.members.get(&session).is_none_or(|it| it.is_closed) {
            return;
        }
        self.note_session(key, session, Happening::Left(Departure::Closed));
        let open = self.rooms.get_mut(key);
        if let Some(member) = open.and_then(|open| open.members.get_mut(&session)) {
            member.is_closed = true;
            member.progress.awareness = Told::Nothing;
        }
        self.let_happen(key, Input::Closed { session });
    }

    /// A session that its client has closed says something: the room decides whether that reopens it.
    pub(super) fn reopen(
        &mut self,
        room: &RoomName,
        session: SessionId,
        link: Link,
        again: Reopening,
    ) -> RoomKey {
        let now = self.now();
        let Reopening {
            grant,
            dialect,
            message,
            closes,
        } = again;
        let key = self.open_room(room);
        let manner = dialect.manner();
        let user = grant.identity.user.clone();
        if let Some(open) = self.rooms.get_mut(key)
            && !open.members.contains_key(&session)
        {
            // The room was away since.
            let progress = Progress {
                position: open.newest,
                awareness: Told::Nothing,
                news: open.news.newest(),
                is_held: true,
                is_resyncing: false,
            };
            let member = Member {
                link,
                user: user.clone(),
                since: now,
                dialect,
                progress,
                is_waiting: false,
                is_closed: true,
                closes,
                direct: Direct::default(),
            };
            open.members.insert(session, member);
        }
        let member = self
            .rooms
            .get_mut(key)
            .and_then(|open| open.members.get_mut(&session));
        if let Some(member) = member {
            member.closes = closes;
        }
        if self.hidden.contains(&user) {
            self.let_happen(key, Input::Hide { user, hides: true });
        }
        self.let_happen(
            key,
            Input::Reopen {
                session,
                grant,
                manner,
                message,
            },
        );
        key
    }

    /// Tells the session's door that what its client had closed is open again.
    pub(super) fn tell_reopened(&mut self, link: Link, session: SessionId, closes: u32) {
        match link {
            Link::Here(id) => {
                self.with_door(id, |door, turn| door.reopened(turn, session, closes));
            }
            Link::Far {
                worker, connection, ..
            } => {
                let delivery = Delivery::Reopened(closes);
                self.send_post(
                    worker,
                    ToWorker::ToFar {
                        connection,
                        session,
                        delivery,
                    },
                );
            }
        }
    }
}
