//! Sessions whose socket and room live on different workers.

use tokio::sync::mpsc;

use crate::model::{ConnectionId, Grant, RoomName, SessionId};
use crate::relay::connection::SeatPlace;
use crate::relay::fanout::{Dialect, Direct, Progress, Told};
use crate::relay::inbox::{Delivery, FarEvent, ToWorker};
use crate::relay::rooms::{Link, Member, OpenRoom, RoomKey};
use crate::relay::timeline::Happening;
use crate::relay::worker::Worker;
use crate::room::Input;
use crate::wire::websocket;

impl Worker {
    pub(super) fn send_post(&mut self, worker: usize, message: ToWorker) {
        self.finish_typing();
        let Some(posts) = self.posts.get_mut(worker) else {
            return;
        };
        if posts.is_empty() {
            match self.around.inboxes[worker].try_send(message) {
                Ok(()) => return,
                Err(
                    mpsc::error::TrySendError::Full(message)
                    | mpsc::error::TrySendError::Closed(message),
                ) => posts.push_back(message),
            }
        } else {
            posts.push_back(message);
        }
        self.wakers.post.notify_one();
    }

    pub(super) fn far_event(&mut self, room: RoomName, session: SessionId, event: FarEvent) {
        if let FarEvent::Join {
            connection,
            worker,
            grant,
            dialect,
        } = event
        {
            let link = Link::Far {
                worker,
                connection,
                is_full: false,
            };
            self.seat(&room, session, link, grant, dialect);
            return;
        }
        if let FarEvent::Reopen {
            connection,
            worker,
            again,
        } = event
        {
            let link = Link::Far {
                worker,
                connection,
                is_full: false,
            };
            self.reopen(&room, session, link, again);
            return;
        }
        let Some(key) = self.rooms.find(&room) else {
            return;
        };
        match event {
            FarEvent::Join { .. } | FarEvent::Reopen { .. } => {}
            FarEvent::Message(message) => {
                self.let_happen(key, Input::Message { session, message });
            }
            FarEvent::Close => self.close_session(key, session),
            FarEvent::Renew(grant) => self.let_happen(key, Input::Renew { session, grant }),
            FarEvent::Leave(departure) => self.left(key, session, departure),
            FarEvent::Credit => {
                let member = self
                    .rooms
                    .get_mut(key)
                    .and_then(|open| open.members.get_mut(&session));
                if let Some(member) = member
                    && let Link::Far { is_full, .. } = &mut member.link
                {
                    *is_full = false;
                    self.touch(key, session);
                }
            }
        }
    }

    pub(super) fn far_delivery(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        delivery: Delivery,
    ) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(seat) = connection.seats.iter().find(|seat| seat.session == session) else {
            return;
        };
        match delivery {
            Delivery::Frames(chunks) => {
                let place = seat.place.clone();
                let messages = websocket::count_frames(chunks.iter().map(|chunk| &chunk[..]));
                let sent = self.around.metrics.messages_out.of(connection.label);
                sent.inc_by(messages);
                for chunk in chunks {
                    self.around
                        .metrics
                        .bytes_out
                        .of(connection.label)
                        .inc_by(chunk.len() as u64);
                    connection.write(now, chunk);
                }
                if connection.is_full() {
                    connection.owed_credits.push(session);
                } else if let SeatPlace::Far { worker, room } = place {
                    let event = FarEvent::Credit;
                    self.send_post(
                        worker,
                        ToWorker::FromFar {
                            room,
                            session,
                            event,
                        },
                    );
                }
            }
            Delivery::Refuse(refusal) => {
                self.with_door(id, |door, turn| door.refused(turn, session, refusal));
            }
            Delivery::Reopened(closes) => {
                self.with_door(id, |door, turn| door.reopened(turn, session, closes));
            }
        }
    }

    pub(super) fn seat(
        &mut self,
        room: &RoomName,
        session: SessionId,
        link: Link,
        grant: Grant,
        dialect: Dialect,
    ) -> RoomKey {
        let now = self.now();
        let key = self.open_room(room);
        let manner = dialect.manner();
        let user = grant.identity.user.clone();
        if let Some(open) = self.rooms.get_mut(key) {
            let progress = Progress {
                position: open.newest,
                awareness: Told::Nothing,
                news: open.news.newest(),
                is_held: dialect.has_document(),
                is_resyncing: false,
            };
            let member = Member {
                link,
                user: user.clone(),
                since: now,
                dialect,
                progress,
                direct: Direct::default(),
                is_waiting: true,
                is_closed: false,
                closes: 0,
            };
            open.members.insert(session, member);
        }
        if self.hidden.contains(&user) {
            self.let_happen(key, Input::Hide { user, hides: true });
        }
        self.let_happen(
            key,
            Input::Join {
                session,
                grant,
                manner,
            },
        );
        let waits = |open: &OpenRoom| {
            let standing = open.room.standing(session);
            standing.is_some_and(|standing| standing.is_waiting)
        };
        if self.rooms.get(key).is_some_and(waits) {
            self.note_session(key, session, Happening::Waits);
        }
        key
    }
}
