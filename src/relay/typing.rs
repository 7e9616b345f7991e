//! What a session says: to the room it sits in, here or on another worker.
//!
//! What is typed is not said key by key: while a socket is read, keys that come behind each other are
//! put together, and the room is told once.

use crate::model::ConnectionId;
use crate::relay::connection::{Seat, SeatPlace};
use crate::relay::inbox::{FarEvent, ToWorker};
use crate::relay::worker::Worker;
use crate::room::{FromSession, Input};
use crate::wire::close::Refusal;
use crate::wire::typed::{Typed, Typing};

/// What the connection that is being read has typed, and no room has heard of yet.
#[derive(Default)]
pub struct Typist {
    seat: Option<(ConnectionId, Seat)>,
    text: Typing,
}

impl Worker {
    /// Takes in an update if it is typed text; the room is told by `finish_typing`.
    pub(super) fn types(&mut self, connection: ConnectionId, seat: &Seat, update: &[u8]) -> bool {
        let is_hers = |(_, of): &(ConnectionId, Seat)| of.session == seat.session;
        if self.typist.seat.as_ref().is_some_and(is_hers) && self.typist.text.go_on(update) {
            return true;
        }
        let Some(typed) = Typed::read(update) else {
            return false;
        };
        self.finish_typing();
        self.typist.text.begin(typed, update);
        self.typist.seat = Some((connection, seat.clone()));
        true
    }

    /// Tells the room what was typed: before anything else happens to any room, here or elsewhere, and
    /// when the connection has nothing more to say.
    #[inline]
    pub(super) fn finish_typing(&mut self) {
        if let Some((connection, seat)) = self.typist.seat.take()
            && let Some(update) = self.typist.text.take()
        {
            self.hear(connection, &seat, FromSession::Update(update));
        }
    }

    /// Ends the connection if it brings an edit and the store is too far behind for more.
    pub(super) fn takes_no_more(
        &mut self,
        connection: ConnectionId,
        message: &FromSession,
    ) -> bool {
        // Newcomers who bring nothing send an empty step 2, and are welcome whatever waits.
        let is_edit = match message {
            FromSession::Update(update) | FromSession::Step2(update) => !update.is_empty(),
            FromSession::Step1(_)
            | FromSession::Awareness(_)
            | FromSession::QueryAwareness
            | FromSession::Stateless(_)
            | FromSession::Report { .. }
            | FromSession::Alive
            | FromSession::Unheard(_)
            | FromSession::Other => false,
        };
        let is_one_too_many = is_edit && self.has_too_much_unsaved();
        if is_one_too_many {
            self.close(connection, Refusal::StoreDown);
        }
        is_one_too_many
    }

    /// Tells the seat's room what the session says.
    pub(super) fn hear(&mut self, connection: ConnectionId, seat: &Seat, message: FromSession) {
        if self.takes_no_more(connection, &message) {
            return;
        }
        let session = seat.session;
        match &seat.place {
            SeatPlace::Here(key) => {
                self.let_happen(*key, Input::Message { session, message });
            }
            SeatPlace::Far { worker, room } => {
                let (room, event) = (room.clone(), FarEvent::Message(message));
                self.send_post(
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
}
