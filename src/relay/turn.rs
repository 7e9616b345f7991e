//! What a door may do while it handles something of one connection.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::auth::{TokenError, Verifier};
use crate::clock::{Moment, Timestamp};
use crate::feed::{ResumeToken, Update};
use crate::limits::DIRECT_BYTES_MAX;
use crate::model::{ConnectionId, Grant, RoomName, Token, UserId};
use crate::relay::closing::Reopening;
use crate::relay::connection::{Seat, SeatPlace, State};
use crate::relay::fanout::Dialect;
use crate::relay::heavy::{Check, Order};
use crate::relay::inbox::{FarEvent, ToWorker};
use crate::relay::placement::worker_of;
use crate::relay::places::Holder;
use crate::relay::rooms::Link;
use crate::relay::timeline::{Departure, Happening, Passage, Spot, Way};
use crate::relay::worker::Worker;
use crate::room::{FromSession, Input};
use crate::wire::close::Refusal;
use crate::wire::websocket::{self, Opcode};

/// What a door may do while it handles something of one connection.
pub struct Turn<'a> {
    pub(super) worker: &'a mut Worker,
    pub(super) connection: ConnectionId,
}

impl Turn<'_> {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.worker.now()
    }

    /// This moment by the world's clock, which tokens are checked against.
    pub fn moment(&self) -> Moment {
        self.worker.around.clock.moment()
    }

    /// Tokens.
    pub fn verifier(&self) -> &Verifier {
        &self.worker.around.verifier
    }

    /// The connection's worker, for answers that take a while.
    pub fn inbox(&self) -> mpsc::Sender<ToWorker> {
        self.worker.around.inboxes[self.worker.around.number].clone()
    }

    /// The worker that owns a room, if it is another than this.
    pub fn elsewhere(&self, room: &RoomName) -> Option<usize> {
        let owner = worker_of(room, self.worker.around.inboxes.len());
        (owner != self.worker.around.number).then_some(owner)
    }

    /// Takes a seat in a room for the connection.
    pub fn enter(&mut self, room: &RoomName, mut grant: Grant, dialect: Dialect) -> Seat {
        grant.is_stamped &= !self.worker.around.shared.trusts_awareness();
        self.bears_token_of(&grant.identity.user);
        let session = self.worker.around.shared.next_session();
        let place = match self.elsewhere(room) {
            None => {
                let link = Link::Here(self.connection);
                SeatPlace::Here(self.worker.seat(room, session, link, grant, dialect))
            }
            Some(owner) => {
                let event = FarEvent::Join {
                    connection: self.connection,
                    worker: self.worker.around.number,
                    grant,
                    dialect,
                };
                let room = room.clone();
                let message = ToWorker::FromFar {
                    room: room.clone(),
                    session,
                    event,
                };
                self.worker.send_post(owner, message);
                SeatPlace::Far {
                    worker: owner,
                    room,
                }
            }
        };
        let seat = Seat { session, place };
        if let Some(connection) = self.worker.connections.get_mut(&self.connection) {
            // Most connections have one.
            connection.seats.reserve_exact(1);
            connection.seats.push(seat.clone());
        }
        seat
    }

    /// The connection has a token of this user's: the door is to hear if that is revoked.
    pub fn bears_token_of(&mut self, user: &UserId) {
        self.worker.note_bearer(self.connection, user);
    }

    /// Tells the seat's room what the session says.
    pub fn say(&mut self, seat: &Seat, message: FromSession) {
        self.worker.hear(self.connection, seat, message);
    }

    /// The same for an update that may be text typed behind what its client wrote last: then the room is
    /// told when the session says something else, or nothing more in this turn, of all that was typed at
    /// once. `false`, and nothing has happened, if the update is something else.
    pub fn types(&mut self, seat: &Seat, update: &[u8]) -> bool {
        self.worker.types(self.connection, seat, update)
    }

    /// Has something large looked through on another thread; the door hears of it by its `checked`.
    /// Until then nothing more of this connection is read.
    pub fn check_later(&mut self, key: String, check: Check) {
        let worker = &mut *self.worker;
        let Some(connection) = worker.connections.get_mut(&self.connection) else {
            return;
        };
        connection.is_checking = true;
        let reply_to = worker.around.inboxes[worker.around.number].clone();
        worker.around.heavy.order(Order::Check {
            connection: self.connection,
            key,
            check,
            reply_to,
        });
    }

    /// The session's token was renewed.
    pub fn renew(&mut self, seat: &Seat, mut grant: Grant) {
        grant.is_stamped &= !self.worker.around.shared.trusts_awareness();
        let session = seat.session;
        match &seat.place {
            SeatPlace::Here(key) => self
                .worker
                .let_happen(*key, Input::Renew { session, grant }),
            SeatPlace::Far { worker, room } => {
                let (room, event) = (room.clone(), FarEvent::Renew(grant));
                self.worker.send_post(
                    *worker,
                    ToWorker::FromFar {
                        room,
                        session,
                        event,
                    },
                );
            }
        }
    }

    /// The session's client has closed the document; the seat is kept until it is given up.
    pub fn close_session(&mut self, seat: &Seat) {
        let session = seat.session;
        match &seat.place {
            SeatPlace::Here(key) => self.worker.close_session(*key, session),
            SeatPlace::Far { worker, room } => {
                let (room, event) = (room.clone(), FarEvent::Close);
                self.worker.send_post(
                    *worker,
                    ToWorker::FromFar {
                        room,
                        session,
                        event,
                    },
                );
            }
        }
    }

    /// A session whose client has closed the document says something; the door hears of it by its
    /// `reopened` if that opens it again. The room may have been away since: the seat is mended.
    pub fn reopen(&mut self, seat: &mut Seat, room: &RoomName, mut again: Reopening) {
        again.grant.is_stamped &= !self.worker.around.shared.trusts_awareness();
        let (session, connection) = (seat.session, self.connection);
        if self.worker.takes_no_more(connection, &again.message) {
            return;
        }
        match &mut seat.place {
            SeatPlace::Here(place) => {
                let link = Link::Here(connection);
                let worker = &mut *self.worker;
                let key = worker.reopen(room, session, link, again);
                *place = key;
                let connection = worker.connections.get_mut(&connection);
                let seats = connection.map(|connection| &mut connection.seats);
                for known in seats.into_iter().flatten() {
                    if known.session == session {
                        known.place = SeatPlace::Here(key);
                    }
                }
            }
            SeatPlace::Far { worker, .. } => {
                let event = FarEvent::Reopen {
                    connection,
                    worker: self.worker.around.number,
                    again,
                };
                let room = room.clone();
                self.worker.send_post(
                    *worker,
                    ToWorker::FromFar {
                        room,
                        session,
                        event,
                    },
                );
            }
        }
    }

    /// Gives the seat up; the connection stays.
    pub fn leave(&mut self, seat: &Seat, departure: Departure) {
        if let Some(connection) = self.worker.connections.get_mut(&self.connection) {
            connection
                .seats
                .retain(|other| other.session != seat.session);
        }
        self.worker.leave(seat.clone(), departure);
    }

    /// Sends a binary message of the door's own.
    pub fn send(&mut self, message: &[u8]) {
        self.send_frame(Opcode::Binary, message);
    }

    /// Sends a text message of the door's own; it is UTF-8.
    pub fn send_text(&mut self, message: &[u8]) {
        self.send_frame(Opcode::Text, message);
    }

    fn send_frame(&mut self, opcode: Opcode, message: &[u8]) {
        let now = self.worker.now();
        let mut frame = Vec::with_capacity(message.len() + 10);
        websocket::write_header(&mut frame, opcode, message.len());
        frame.extend_from_slice(message);
        let Some(connection) = self.worker.connections.get_mut(&self.connection) else {
            return;
        };
        if connection.state != State::Open {
            return;
        }
        let metrics = &self.worker.around.metrics;
        metrics.messages_out.of(connection.label).inc();
        metrics
            .bytes_out
            .of(connection.label)
            .inc_by(frame.len() as u64);
        connection.write(now, Bytes::from(frame));
        // The door answers what the client asks: who asks on without reading is too slow.
        if DIRECT_BYTES_MAX < connection.owed_bytes {
            self.close(Refusal::Slow);
        } else if connection.is_full() {
            connection.owed_bytes += message.len();
        }
    }

    /// The connection becomes a window of a user in the follow feed, on the feed's worker; until it
    /// is one, nothing more of it is read.
    pub fn feed_login(
        &mut self,
        user: UserId,
        claimed: BTreeSet<UserId>,
        resume: Option<ResumeToken>,
        first: Update,
    ) {
        let window = self.connection;
        self.bears_token_of(&user);
        self.worker.feed_login(window, user, claimed, resume, first);
    }

    /// The window says what its user does.
    pub fn feed_update(&mut self, update: Update) {
        self.worker.feed_update(self.connection, update);
    }

    /// The window is over, and so is the connection.
    pub fn feed_logout(&mut self) {
        self.worker.feed_logout(self.connection);
        self.worker.finish(self.connection);
    }

    /// Reads nothing more of the connection until a token has been checked, or goes on.
    pub fn pause_reading(&mut self, is_paused: bool) {
        self.worker.pause_reading(self.connection, is_paused);
    }

    /// Ends the connection.
    pub fn close(&mut self, refusal: Refusal) {
        self.worker.close(self.connection, refusal);
    }

    /// Says whose the connection is, or whose besides; refused when they have as many as they may.
    pub fn identify(&mut self, token: &Token) -> Result<(), Refusal> {
        let connection = self.worker.connections.get_mut(&self.connection);
        connection.map_or(Ok(()), |connection| {
            connection.place.identify(Holder::from(token))
        })
    }

    /// The largest message the client may send from now on.
    pub fn limit_messages(&mut self, bytes_max: Option<usize>) {
        let standard = self.worker.around.limits.message_bytes_max;
        if let Some(connection) = self.worker.connections.get_mut(&self.connection) {
            connection.message_bytes_max = bytes_max.unwrap_or(standard).min(standard);
        }
    }

    /// Counts an update or a state that was refused.
    pub fn count_refused(&self, refusal: Refusal) {
        if refusal == Refusal::BadUpdate {
            self.worker.around.metrics.updates_refused.inc();
        }
    }

    /// Counts a document that was refused while its socket stays.
    pub fn count_denied(&self, refusal: Refusal) {
        self.worker.around.metrics.closed(refusal.reason());
    }

    /// Notes that somebody was not let into what they call `name`; `why` is what is wrong with their
    /// token.
    pub fn note_turned_away(
        &mut self,
        name: &str,
        user: Option<UserId>,
        refusal: Refusal,
        why: Option<&'static str>,
    ) {
        let connection = self.worker.connections.get(&self.connection);
        let way = connection.map(|connection| Way::Door(connection.label));
        let spot = RoomName::parse(name).map_or_else(|_| Spot::written(name), Spot::Room);
        self.worker.note(Passage {
            at: self.worker.now(),
            spot,
            user,
            name: None,
            way,
            connection: Some(self.connection),
            what: Happening::TurnedAway(refusal),
            why,
        });
    }

    /// A token is no good, and why.
    pub fn refuse_token(&self, error: TokenError) {
        let around = &self.worker.around;
        let connection = self.worker.connections.get(&self.connection);
        let at = connection.map_or("", |connection| connection.label.name());
        around
            .shared
            .refuse_token(&around.metrics, self.worker.now(), at, error);
    }

    /// Has a token checked that needs the key set to be read again; the door hears of it by its
    /// `verified`.
    pub fn verify_later(&self, key: String, token: String) {
        let (verifier, clock) = (self.verifier().clone(), self.worker.around.clock);
        let (inbox, id) = (self.inbox(), self.connection);
        tokio::task::spawn_local(async move {
            let outcome = verifier.verify_fresh(clock.moment(), &token).await;
            let tell = move |worker: &mut Worker| {
                worker.with_door(id, |door, turn| door.verified(turn, &key, outcome));
            };
            // A worker that is gone has no doors.
            let _ = inbox.send(ToWorker::Call(Box::new(tell))).await;
        });
    }
}
