//! What the JSON doors of rooms have in common: a token that is renewed, and a client that may get
//! things wrong.

use crate::auth::TokenError;
use crate::clock::Timestamp;
use crate::doors::manners::{Manners, Reproof};
use crate::doors::renewal::{Due, Renewal, grant};
use crate::model::{Grant, Pattern, RoomName, Token, UserId};
use crate::relay::Turn;
use crate::wire::close::Refusal;
use crate::wire::dialect::Complaint;

/// One client's side of talk that is not about the room.
pub struct Conversation {
    room: RoomName,
    renewal: Renewal,
    manners: Manners,
    write: fn(Answer, &mut Vec<u8>),
}

/// What is said to a client about its own behaviour; each dialect has its words for it.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// An error.
    Error(Complaint),
    /// The new token is in force.
    AuthOk {
        /// Until when, in milliseconds since 1970.
        expires_at_millis: u64,
    },
}

impl Conversation {
    /// With somebody who was let into a room; `write` has the words.
    pub fn new(
        now: Timestamp,
        room: RoomName,
        token: Token,
        write: fn(Answer, &mut Vec<u8>),
    ) -> Self {
        Self {
            room,
            renewal: Renewal::new(now, token),
            manners: Manners::default(),
            write,
        }
    }

    /// The room.
    pub fn room(&self) -> &RoomName {
        &self.room
    }

    /// The message could not be read.
    pub fn bad_message(&mut self, turn: &mut Turn<'_>) {
        let reproof = self.manners.bad_message(turn.now());
        self.reprove(turn, reproof, Complaint::BadMessage);
    }

    /// The message is one too many, and was dropped.
    pub fn too_fast(&mut self, turn: &mut Turn<'_>) {
        let reproof = self.manners.too_fast(turn.now());
        self.reprove(turn, reproof, Complaint::RateLimited);
    }

    /// The client is told something about itself.
    pub fn complain(&self, turn: &mut Turn<'_>, complaint: Complaint) {
        self.say(turn, Answer::Error(complaint));
    }

    /// The client brings a new token. What it may do with that in the room, if that is known at
    /// once; else the door hears of it by its `verified`, and asks `renewed`.
    pub fn renew(&mut self, turn: &mut Turn<'_>, token: &str) -> Option<Grant> {
        let outcome = self.renewal.verify(turn, token)?;
        self.take(turn, outcome)
    }

    /// The new token has been checked.
    pub fn renewed(
        &mut self,
        turn: &mut Turn<'_>,
        outcome: Result<Token, TokenError>,
    ) -> Option<Grant> {
        self.take(turn, outcome)
    }

    /// The user's tokens are revoked, in some rooms or everywhere.
    pub fn revoked(&self, turn: &mut Turn<'_>, user: &UserId, rooms: Option<&Pattern>) {
        let is_theirs = self.renewal.token().identity.user == *user;
        if is_theirs && rooms.is_none_or(|rooms| rooms.covers(&self.room)) {
            turn.close(Refusal::Revoked);
        }
    }

    /// What the token allows when the connection arrives where it lives: on its way there it hears of
    /// no revocation.
    pub fn arrive(&self, turn: &mut Turn<'_>) -> Result<Grant, Refusal> {
        grant(
            turn.verifier(),
            turn.moment(),
            self.renewal.token(),
            &self.room,
        )
    }

    /// What time has brought: the token is to be renewed, or has ended.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        match self.renewal.due(turn.now()) {
            Due::Nothing => {}
            Due::Refresh => self.complain(turn, Complaint::TokenRefreshRequired),
            Due::End => turn.close(Refusal::TokenExpired),
        }
    }

    /// When `tick` is needed.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.renewal.next_deadline()
    }

    fn take(&mut self, turn: &mut Turn<'_>, outcome: Result<Token, TokenError>) -> Option<Grant> {
        // One that was revoked for this room does not take the place of one that is good.
        let now = turn.moment();
        let outcome = outcome.and_then(|token| {
            turn.verifier().check_in_room(now, &token, &self.room)?;
            Ok(token)
        });
        let token = match self.renewal.take(turn.now(), outcome) {
            Ok(token) => token,
            Err(error) => {
                turn.refuse_token(error);
                self.complain(turn, Complaint::BadToken);
                return None;
            }
        };
        let expires_at = token.expires_at.unwrap_or_default();
        match grant(turn.verifier(), now, token, &self.room) {
            Ok(grant) => {
                let expires_at_millis = expires_at.as_millis();
                self.say(turn, Answer::AuthOk { expires_at_millis });
                Some(grant)
            }
            Err(refusal) => {
                turn.close(refusal);
                None
            }
        }
    }

    fn reprove(&self, turn: &mut Turn<'_>, reproof: Reproof, complaint: Complaint) {
        match reproof {
            Reproof::Error => self.complain(turn, complaint),
            Reproof::Silence => {}
            Reproof::Close => turn.close(Refusal::RateLimited),
        }
    }

    fn say(&self, turn: &mut Turn<'_>, answer: Answer) {
        let mut text = Vec::new();
        (self.write)(answer, &mut text);
        turn.send_text(&text);
    }
}
