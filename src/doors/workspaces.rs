//! `/parties/presence/presence-{workspace_id}`: the dialect of workspaces, in texts alone.

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::auth::TokenError;
use crate::clock::Timestamp;
use crate::doors::conversation::{Answer, Conversation};
use crate::doors::newest::{self, Newest};
use crate::doors::upgrade::{Knock, Welcome, knock, room_of_segment};
use crate::doors::{Doorstep, renewal};
use crate::metrics::DoorLabel;
use crate::model::{Grant, Kind, Pattern, SessionId, Token, UserId};
use crate::relay::{Dialect, Door, Handling, Home, Relay, Seat, Turn};
use crate::room::FromSession;
use crate::wire::close::Refusal;
use crate::wire::workspaces::{self, ClientMessage, ServerMessage};

/// As partysocket has it: the party, and its name for the room. Behind it comes ours.
const PARTY: &str = "parties/presence/";
const PREFIX: &str = "presence-";

/// The door as a filter.
pub fn route(relay: Relay, options: Arc<Doorstep>) -> BoxedFilter<(Response,)> {
    knock()
        .and_then(
            async |knock: Knock| match knock.path.as_str().starts_with(PARTY) {
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
    let name = knock.path.as_str()[PARTY.len()..].strip_prefix(PREFIX);
    let room = room_of_segment(Kind::Workspace, name.ok_or(Refusal::BadRoom)?)?;
    renewal::grant(relay.verifier(), relay.clock().moment(), &token, &room)?;
    let door = WorkspaceDoor {
        conversation: Conversation::new(relay.clock().now(), room.clone(), token, write),
        is_arriving: true,
        seat: None,
        newest: Newest::default(),
    };
    Ok(Welcome {
        door: Box::new(door),
        home: Home::Room(room),
    })
}

/// One client of a workspace.
struct WorkspaceDoor {
    conversation: Conversation,
    /// Until it has taken its seat, or been refused one.
    is_arriving: bool,
    seat: Option<Seat>,
    /// Where it is, if it said so too fast.
    newest: Newest<Arc<str>>,
}

impl Door for WorkspaceDoor {
    fn label(&self) -> DoorLabel {
        DoorLabel::Workspaces
    }

    fn message(&mut self, turn: &mut Turn<'_>, is_text: bool, payload: &[u8]) -> Handling {
        // Checked for UTF-8 where the frame was read.
        let text = std::str::from_utf8(payload).ok().filter(|_| is_text);
        let message = text.and_then(|text| workspaces::decode(text).ok());
        match message {
            Some(ClientMessage::Update(location)) => {
                self.newest.take();
                self.go_to(turn, location.to_data().into());
            }
            Some(ClientMessage::Auth { token }) => {
                let grant = self.conversation.renew(turn, &token);
                self.go_by(turn, grant);
            }
            None => self.conversation.bad_message(turn),
        }
        Handling::Done
    }

    fn checked(&mut self, turn: &mut Turn<'_>, _key: &str, outcome: Result<FromSession, Refusal>) {
        // Nothing here is large enough to be looked through elsewhere.
        let _ = (turn, outcome);
    }

    fn refused(&mut self, turn: &mut Turn<'_>, _session: SessionId, refusal: Refusal) {
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
                    self.seat = Some(turn.enter(room, grant, Dialect::Workspace));
                }
                Err(refusal) => turn.close(refusal),
            }
        }
        if let Some(data) = self.newest.take_due(turn.now()) {
            self.go_to(turn, data);
        }
        self.conversation.tick(turn);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let token = self.conversation.next_deadline();
        token.into_iter().chain(self.newest.next_deadline()).min()
    }

    fn keep_alive(&self) -> &'static [u8] {
        // Pings do: partysocket takes a quiet link for a good one.
        &[]
    }

    fn drops_excess(&self, _is_text: bool) -> bool {
        true
    }

    fn too_fast(&mut self, turn: &mut Turn<'_>, payload: &[u8]) {
        if let Some(ClientMessage::Update(location)) = newest::read(payload, workspaces::decode) {
            self.newest.keep(turn.now(), |_| location.to_data().into());
        }
        self.conversation.too_fast(turn);
    }
}

impl WorkspaceDoor {
    fn go_to(&self, turn: &mut Turn<'_>, data: Arc<str>) {
        if let Some(seat) = &self.seat {
            let data = Some(data);
            turn.say(seat, FromSession::Report { status: None, data });
        }
    }

    fn go_by(&self, turn: &mut Turn<'_>, grant: Option<Grant>) {
        if let (Some(seat), Some(grant)) = (&self.seat, grant) {
            turn.renew(seat, grant);
        }
    }
}

fn write(answer: Answer, out: &mut Vec<u8>) {
    let message = match answer {
        Answer::Error(complaint) => ServerMessage::Error(complaint),
        Answer::AuthOk { expires_at_millis } => ServerMessage::AuthOk { expires_at_millis },
    };
    message.write(out);
}
