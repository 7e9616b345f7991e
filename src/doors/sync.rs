//! `/sync/{room…}`: the y-websocket protocol.

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::clock::Timestamp;
use crate::doors::upgrade::{Knock, Welcome, knock, room_of_path};
use crate::doors::{Doorstep, checked, renewal};
use crate::limits::INLINE_BYTES_MAX;
use crate::metrics::DoorLabel;
use crate::model::{Pattern, RoomName, SessionId, Token, UserId};
use crate::relay::{Dialect, Door, Handling, Home, Relay, Seat, Turn};
use crate::room::FromSession;
use crate::wire::close::Refusal;
use crate::wire::y_websocket::{self, ClientMessage, KEEPALIVE};
use crate::wire::yjs::SyncMessage;

const PREFIX: &str = "sync/";

/// The door as a filter.
pub fn route(relay: Relay, options: Arc<Doorstep>) -> BoxedFilter<(Response,)> {
    knock()
        .and_then(
            async |knock: Knock| match knock.path.as_str().starts_with(PREFIX) {
                true => Ok(knock),
                false => Err(warp::reject::not_found()),
            },
        )
        .then(move |knock: Knock| {
            let (relay, options) = (relay.clone(), options.clone());
            async move {
                knock
                    .answer(relay, options, async |knock, relay| {
                        let token = knock.verify(relay).await?;
                        let room = room_of_path(&knock.path.as_str()[PREFIX.len()..])?;
                        renewal::grant(relay.verifier(), relay.clock().moment(), &token, &room)?;
                        let door = Box::new(SyncDoor {
                            user: token.identity.user.clone(),
                            expires_at: token.expires_at,
                            room: room.clone(),
                            arriving: Some(Box::new(token)),
                            seat: None,
                        });
                        Ok(Welcome {
                            door,
                            home: Home::Room(room),
                        })
                    })
                    .await
            }
        })
        .map(Reply::into_response)
        .boxed()
}

/// One y-websocket client.
struct SyncDoor {
    user: UserId,
    /// When its token ends.
    expires_at: Option<Timestamp>,
    room: RoomName,
    /// Its token, until it has taken its seat: on its way here it heard of no revocation.
    arriving: Option<Box<Token>>,
    seat: Option<Seat>,
}

impl Door for SyncDoor {
    fn label(&self) -> DoorLabel {
        DoorLabel::Sync
    }

    fn message(&mut self, turn: &mut Turn<'_>, is_text: bool, payload: &[u8]) -> Handling {
        let Some(seat) = &self.seat else {
            return Handling::Done;
        };
        if is_text {
            // No client of this protocol sends any.
            turn.say(seat, FromSession::Other);
            return Handling::Done;
        }
        if INLINE_BYTES_MAX < payload.len() {
            let payload = payload.to_vec();
            turn.check_later(String::new(), Box::new(move || read(&payload)));
            return Handling::Done;
        }
        if let Some(outcome) = hear(turn, seat, payload) {
            self.checked(turn, "", outcome);
        }
        Handling::Done
    }

    fn checked(&mut self, turn: &mut Turn<'_>, _key: &str, outcome: Result<FromSession, Refusal>) {
        let Some(seat) = &self.seat else {
            return;
        };
        match outcome {
            Ok(message) => turn.say(seat, message),
            Err(refusal) => {
                turn.count_refused(refusal);
                turn.close(refusal);
            }
        }
    }

    fn refused(&mut self, turn: &mut Turn<'_>, _session: SessionId, refusal: Refusal) {
        turn.close(refusal);
    }

    fn revoked(&mut self, turn: &mut Turn<'_>, user: &UserId, rooms: Option<&Pattern>) {
        if self.user == *user && rooms.is_none_or(|rooms| rooms.covers(&self.room)) {
            turn.close(Refusal::Revoked);
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        if let Some(token) = self.arriving.take() {
            match renewal::grant(turn.verifier(), turn.moment(), &token, &self.room) {
                Ok(grant) => {
                    self.seat = Some(turn.enter(&self.room, grant, Dialect::YWebsocket));
                }
                Err(refusal) => turn.close(refusal),
            }
        }
        if self.expires_at.is_some_and(|at| at <= turn.now()) {
            turn.close(Refusal::TokenExpired);
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.expires_at
    }

    fn keep_alive(&self) -> &'static [u8] {
        KEEPALIVE
    }
}

/// Reads a message of the protocol and checks what it holds; nothing if the room is told already of
/// what somebody types.
pub fn hear(
    turn: &mut Turn<'_>,
    seat: &Seat,
    payload: &[u8],
) -> Option<Result<FromSession, Refusal>> {
    let message = y_websocket::decode(payload);
    if let Ok(ClientMessage::Sync(SyncMessage::Update(update))) = message
        && turn.types(seat, update)
    {
        return None;
    }
    Some(message.map_err(|_| Refusal::BadMessage).and_then(check))
}

/// Reads a message of the protocol and checks what it holds.
pub fn read(payload: &[u8]) -> Result<FromSession, Refusal> {
    check(y_websocket::decode(payload).map_err(|_| Refusal::BadMessage)?)
}

fn check(message: ClientMessage<'_>) -> Result<FromSession, Refusal> {
    match message {
        ClientMessage::Sync(message) => checked::sync(message),
        ClientMessage::Awareness(payload) => checked::awareness(payload),
        ClientMessage::QueryAwareness => Ok(FromSession::QueryAwareness),
        ClientMessage::Auth => Ok(FromSession::Other),
    }
}
