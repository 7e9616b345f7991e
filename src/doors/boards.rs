//! `/ws/boards/{board_id}`: y-websocket in binary messages, the dialect of boards in texts.

use std::sync::Arc;
use std::time::Duration;

use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::auth::TokenError;
use crate::clock::Timestamp;
use crate::doors::conversation::{Answer, Conversation};
use crate::doors::newest::{self, Newest};
use crate::doors::upgrade::{Knock, Welcome, knock, room_of_segment};
use crate::doors::{Doorstep, renewal, sync};
use crate::limits::INLINE_BYTES_MAX;
use crate::metrics::DoorLabel;
use crate::model::{Grant, Kind, Pattern, RoomName, SessionId, Token, UserId};
use crate::presence::Status;
use crate::relay::{Dialect, Door, Handling, Home, Relay, Seat, Turn};
use crate::room::FromSession;
use crate::wire::boards::{self, ClientMessage, Cursor, Reported, ServerMessage};
use crate::wire::close::Refusal;
use crate::wire::dialect::Complaint;
use crate::wire::y_websocket::KEEPALIVE;

const PREFIX: &str = "ws/boards/";

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
            async move { knock.answer(relay, options, welcome).await }
        })
        .map(Reply::into_response)
        .boxed()
}

async fn welcome(knock: &Knock, relay: &Relay) -> Result<Welcome, Refusal> {
    let token = knock.verify(relay).await?;
    let room = room_of_segment(Kind::Board, &knock.path.as_str()[PREFIX.len()..])?;
    renewal::grant(relay.verifier(), relay.clock().moment(), &token, &room)?;
    let now = relay.clock().now();
    let door = BoardDoor {
        conversation: Conversation::new(now, room.clone(), token, write),
        is_arriving: true,
        seat: None,
        silence_max: relay.policies().of(Kind::Board).heartbeat_timeout,
        last_message: now,
        newest: Newest::default(),
    };
    Ok(Welcome {
        door: Box::new(door),
        home: Home::Room(room),
    })
}

/// One board client.
struct BoardDoor {
    conversation: Conversation,
    /// Until it has taken its seat, or been refused one.
    is_arriving: bool,
    seat: Option<Seat>,
    /// How long it may send no message. Answered pings are none: a browser answers them for a
    /// program that has hung.
    silence_max: Duration,
    last_message: Timestamp,
    /// What it said of itself too fast.
    newest: Newest<Report>,
}

/// What a client says of its user, as far as it says it.
struct Report {
    status: Option<Status>,
    data: Option<Arc<str>>,
}

impl Report {
    fn of(status: Option<Reported>, cursor: Option<Cursor>) -> Self {
        Self {
            status: status.map(status_of),
            data: cursor.map(|cursor| cursor.to_data().into()),
        }
    }

    /// Behind an older one.
    fn over(self, older: Option<Self>) -> Self {
        match older {
            Some(older) => Self {
                status: self.status.or(older.status),
                data: self.data.or(older.data),
            },
            None => self,
        }
    }
}

impl From<Report> for FromSession {
    fn from(Report { status, data }: Report) -> Self {
        Self::Report { status, data }
    }
}

impl Door for BoardDoor {
    fn label(&self) -> DoorLabel {
        DoorLabel::Boards
    }

    fn message(&mut self, turn: &mut Turn<'_>, is_text: bool, payload: &[u8]) -> Handling {
        self.last_message = turn.now();
        if is_text {
            // Checked for UTF-8 where the frame was read.
            let text = std::str::from_utf8(payload).unwrap_or_default();
            self.text(turn, text);
        } else if INLINE_BYTES_MAX < payload.len() {
            let payload = payload.to_vec();
            turn.check_later(String::new(), Box::new(move || sync::read(&payload)));
        } else if let Some(seat) = &self.seat {
            if let Some(outcome) = sync::hear(turn, seat, payload) {
                self.checked(turn, "", outcome);
            }
        } else {
            self.checked(turn, "", sync::read(payload));
        }
        Handling::Done
    }

    fn checked(&mut self, turn: &mut Turn<'_>, _key: &str, outcome: Result<FromSession, Refusal>) {
        match outcome {
            Ok(message) => self.say(turn, message),
            Err(refusal) => {
                turn.count_refused(refusal);
                turn.close(refusal);
            }
        }
    }

    fn refused(&mut self, turn: &mut Turn<'_>, _session: SessionId, refusal: Refusal) {
        if refusal == Refusal::BoardFull {
            self.conversation.complain(turn, Complaint::BoardFull);
        }
        turn.close(refusal);
    }

    fn revoked(&mut self, turn: &mut Turn<'_>, user: &UserId, rooms: Option<&Pattern>) {
        self.conversation.revoked(turn, user, rooms);
    }

    fn verified(&mut self, turn: &mut Turn<'_>, _key: &str, outcome: Result<Token, TokenError>) {
        let grant = self.conversation.renewed(turn, outcome);
        self.go_by(turn, grant);
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        if std::mem::take(&mut self.is_arriving) {
            match self.conversation.arrive(turn) {
                Ok(grant) => {
                    let room = self.conversation.room();
                    let dialect = Dialect::Board {
                        board: board_of(room).into(),
                    };
                    self.seat = Some(turn.enter(room, grant, dialect));
                }
                Err(refusal) => turn.close(refusal),
            }
        }
        if let Some(report) = self.newest.take_due(turn.now()) {
            self.say(turn, report.into());
        }
        self.conversation.tick(turn);
        if self.silence_ends().is_some_and(|at| at <= turn.now()) {
            turn.close(Refusal::HeartbeatTimeout);
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let token = self.conversation.next_deadline();
        let newest = self.newest.next_deadline();
        [token, self.silence_ends(), newest]
            .into_iter()
            .flatten()
            .min()
    }

    fn keep_alive(&self) -> &'static [u8] {
        KEEPALIVE
    }

    fn drops_excess(&self, is_text: bool) -> bool {
        is_text
    }

    fn too_fast(&mut self, turn: &mut Turn<'_>, payload: &[u8]) {
        self.last_message = turn.now();
        if let Some(ClientMessage::Update { status, cursor }) =
            newest::read(payload, boards::decode)
        {
            let report = Report::of(status, cursor);
            self.newest.keep(turn.now(), |kept| report.over(kept));
        }
        self.conversation.too_fast(turn);
    }
}

impl BoardDoor {
    fn text(&mut self, turn: &mut Turn<'_>, text: &str) {
        match boards::decode(text) {
            Ok(ClientMessage::Heartbeat) => self.say(turn, FromSession::Alive),
            Ok(ClientMessage::Update { status, cursor }) => {
                let report = Report::of(status, cursor).over(self.newest.take());
                self.say(turn, report.into());
            }
            Ok(ClientMessage::Auth { token }) => {
                let grant = self.conversation.renew(turn, &token);
                self.go_by(turn, grant);
            }
            Err(_) => self.conversation.bad_message(turn),
        }
    }

    fn say(&self, turn: &mut Turn<'_>, message: FromSession) {
        if let Some(seat) = &self.seat {
            turn.say(seat, message);
        }
    }

    fn go_by(&self, turn: &mut Turn<'_>, grant: Option<Grant>) {
        if let (Some(seat), Some(grant)) = (&self.seat, grant) {
            turn.renew(seat, grant);
        }
    }

    fn silence_ends(&self) -> Option<Timestamp> {
        (!self.silence_max.is_zero()).then(|| self.last_message + self.silence_max)
    }
}

/// The board of a room, as its address names it.
fn board_of(room: &RoomName) -> &str {
    let name = room.as_str();
    name.split_once('/').map_or(name, |(_, board)| board)
}

fn status_of(reported: Reported) -> Status {
    match reported {
        Reported::Online => Status::Online,
        Reported::Idle => Status::Idle,
        Reported::Away => Status::Away,
    }
}

fn write(answer: Answer, out: &mut Vec<u8>) {
    let message = match answer {
        Answer::Error(complaint) => ServerMessage::Error(complaint),
        Answer::AuthOk { expires_at_millis } => ServerMessage::AuthOk { expires_at_millis },
    };
    message.write(out);
}
