//! `/ws/feed`: the follow feed, in texts alone.

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::auth::{Flaw, TokenError};
use crate::clock::Timestamp;
use crate::doors::Doorstep;
use crate::doors::manners::{Manners, Reproof};
use crate::doors::newest::{self, Newest};
use crate::doors::renewal::{self, Due, Renewal};
use crate::doors::upgrade::{Knock, Welcome, knock};
use crate::feed::{ResumeToken, Said, Update};
use crate::limits::{FEED_LOGIN_WITHIN, UNAUTHENTICATED_BYTES_MAX};
use crate::metrics::DoorLabel;
use crate::model::{Pattern, SessionId, Token, UserId};
use crate::relay::{Door, Handling, Home, Relay, Turn};
use crate::room::FromSession;
use crate::wire::close::Refusal;
use crate::wire::dialect::Complaint;
use crate::wire::feed::{self, ClientMessage, ServerMessage, Status, StatusUpdate};

const PATH: &str = "ws/feed";
/// What a token is checked for, where that takes a while: a login, or else a renewal.
const LOGIN: &str = "login";

/// The door as a filter.
pub fn route(relay: Relay, options: Arc<Doorstep>) -> BoxedFilter<(Response,)> {
    knock()
        .and_then(async |knock: Knock| match knock.path.as_str() == PATH {
            true => Ok(knock),
            false => Err(warp::reject::not_found()),
        })
        .then(move |knock: Knock| {
            let (relay, options) = (relay.clone(), options.clone());
            async move { knock.answer(relay, options, welcome).await }
        })
        .map(Reply::into_response)
        .boxed()
}

async fn welcome(knock: &Knock, relay: &Relay) -> Result<Welcome, Refusal> {
    let token = match knock.token() {
        Some(token) => Some(knock.verify_given(relay, Some(&token)).await?),
        None => None,
    };
    let door = FeedDoor {
        phase: Phase::Stranger(Stranger {
            until: relay.clock().now() + FEED_LOGIN_WITHIN,
            token,
            received_bytes: 0,
        }),
        manners: Manners::default(),
        newest: Newest::default(),
    };
    Ok(Welcome {
        door: Box::new(door),
        home: Home::Feed,
    })
}

/// One client of the feed.
struct FeedDoor {
    phase: Phase,
    manners: Manners,
    /// What it said too fast.
    newest: Newest<Update>,
}

/// How far a client has come.
enum Phase {
    /// It has not logged in.
    Stranger(Stranger),
    /// The token it logged in with is being checked.
    Verifying {
        resume: Option<ResumeToken>,
        first: Update,
    },
    /// Nobody can tell yet whether its token is good: it is to come back with the next.
    Leaving { at: Timestamp },
    /// It has logged in.
    Window(Renewal),
}

struct Stranger {
    /// How long it may take.
    until: Timestamp,
    /// The token in its address.
    token: Option<Token>,
    received_bytes: usize,
}

impl Door for FeedDoor {
    fn label(&self) -> DoorLabel {
        DoorLabel::Feed
    }

    fn message(&mut self, turn: &mut Turn<'_>, is_text: bool, payload: &[u8]) -> Handling {
        if let Phase::Stranger(stranger) = &mut self.phase {
            stranger.received_bytes += payload.len();
            if UNAUTHENTICATED_BYTES_MAX < stranger.received_bytes {
                turn.close(Refusal::LimitMessage);
                return Handling::Done;
            }
        }
        // Checked for UTF-8 where the frame was read.
        let text = std::str::from_utf8(payload).ok().filter(|_| is_text);
        let message = text.and_then(|text| feed::decode(text).ok());
        match (message, &mut self.phase) {
            (
                Some(ClientMessage::Login {
                    token,
                    resume,
                    first,
                }),
                Phase::Stranger(_),
            ) => {
                // A token that is none of ours is an unknown one.
                let resume = resume.as_deref().and_then(ResumeToken::parse);
                let token = token.as_deref().filter(|token| !token.is_empty());
                self.login(turn, token, resume, update_of(first));
            }
            (Some(ClientMessage::StatusUpdate(update)), Phase::Window(_)) => {
                turn.feed_update(over(update_of(update), self.newest.take()));
            }
            (Some(ClientMessage::Logout), Phase::Window(_)) => turn.feed_logout(),
            (Some(ClientMessage::Auth { token }), Phase::Window(renewal)) => {
                if let Some(outcome) = renewal.verify(turn, &token) {
                    self.renew(turn, outcome);
                }
            }
            _ => {
                let reproof = self.manners.bad_message(turn.now());
                reprove(turn, reproof, Complaint::BadMessage);
            }
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
        let token = match &self.phase {
            Phase::Stranger(stranger) => stranger.token.as_ref(),
            // What is being checked is found to be revoked.
            Phase::Verifying { .. } | Phase::Leaving { .. } => None,
            Phase::Window(renewal) => Some(renewal.token()),
        };
        // The feed is no room: what is revoked for some rooms is of no concern here.
        if rooms.is_none() && token.is_some_and(|token| token.identity.user == *user) {
            turn.close(Refusal::Revoked);
        }
    }

    fn verified(&mut self, turn: &mut Turn<'_>, key: &str, outcome: Result<Token, TokenError>) {
        match &mut self.phase {
            Phase::Stranger(_) => {}
            Phase::Verifying { resume, first } if key == LOGIN => {
                let (resume, first) = (*resume, std::mem::take(first));
                turn.pause_reading(false);
                self.let_in(turn, outcome, resume, first);
            }
            Phase::Verifying { .. } | Phase::Leaving { .. } => {}
            Phase::Window(_) => self.renew(turn, outcome),
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Stranger(stranger) => {
                turn.limit_messages(Some(UNAUTHENTICATED_BYTES_MAX));
                if let Some(token) = &stranger.token {
                    turn.bears_token_of(&token.identity.user);
                }
                if stranger.until <= turn.now() {
                    turn.refuse_token(MISSING);
                    turn.close(Refusal::Unauthorized);
                }
            }
            Phase::Verifying { .. } => {}
            Phase::Leaving { at } => {
                if *at <= turn.now() {
                    turn.close(Refusal::TryAgain);
                }
            }
            Phase::Window(renewal) => {
                if let Some(update) = self.newest.take_due(turn.now()) {
                    turn.feed_update(update);
                }
                match renewal.due(turn.now()) {
                    Due::Nothing => {}
                    Due::Refresh => {
                        say(turn, &ServerMessage::Error(Complaint::TokenRefreshRequired));
                    }
                    Due::End => turn.close(Refusal::TokenExpired),
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Stranger(stranger) => Some(stranger.until),
            Phase::Verifying { .. } => None,
            Phase::Leaving { at } => Some(*at),
            Phase::Window(renewal) => {
                let token = renewal.next_deadline();
                token.into_iter().chain(self.newest.next_deadline()).min()
            }
        }
    }

    fn keep_alive(&self) -> &'static [u8] {
        // Pings do.
        &[]
    }

    fn drops_excess(&self, _is_text: bool) -> bool {
        true
    }

    fn too_fast(&mut self, turn: &mut Turn<'_>, payload: &[u8]) {
        if let (Phase::Window(_), Some(ClientMessage::StatusUpdate(update))) =
            (&self.phase, newest::read(payload, feed::decode))
        {
            let update = update_of(update);
            self.newest.keep(turn.now(), |kept| over(update, kept));
        }
        let reproof = self.manners.too_fast(turn.now());
        reprove(turn, reproof, Complaint::RateLimited);
    }
}

impl FeedDoor {
    /// Somebody says who they are: by the token they bring, else by the one in the address, else,
    /// where guests are let in, as one of those.
    fn login(
        &mut self,
        turn: &mut Turn<'_>,
        token: Option<&str>,
        resume: Option<ResumeToken>,
        first: Update,
    ) {
        let from_address = match &mut self.phase {
            Phase::Stranger(stranger) => stranger.token.take(),
            Phase::Verifying { .. } | Phase::Leaving { .. } | Phase::Window(_) => None,
        };
        let outcome = match (token, from_address) {
            (Some(token), _) => {
                let outcome = turn.verifier().verify(turn.moment(), token);
                if let Err(TokenError::UnknownKey) = outcome {
                    self.phase = Phase::Verifying { resume, first };
                    turn.pause_reading(true);
                    turn.verify_later(LOGIN.to_owned(), token.to_owned());
                    return;
                }
                outcome
            }
            (None, Some(token)) => still_good(turn, token),
            (None, None) => turn.verifier().guest().ok_or(MISSING),
        };
        self.let_in(turn, outcome, resume, first);
    }

    fn let_in(
        &mut self,
        turn: &mut Turn<'_>,
        outcome: Result<Token, TokenError>,
        resume: Option<ResumeToken>,
        first: Update,
    ) {
        let token = match outcome {
            Ok(token) => token,
            Err(error @ TokenError::TooEarly) => {
                turn.refuse_token(error);
                turn.pause_reading(true);
                let at = renewal::second_ends(turn.moment());
                self.phase = Phase::Leaving { at };
                return;
            }
            Err(error) => {
                turn.refuse_token(error);
                return turn.close(Refusal::from(error));
            }
        };
        if let Err(refusal) = turn.identify(&token) {
            return turn.close(refusal);
        }
        let user = token.identity.user.clone();
        let claimed = token.follows.iter().cloned().collect();
        self.phase = Phase::Window(Renewal::new(turn.now(), token));
        turn.limit_messages(None);
        turn.feed_login(user, claimed, resume, first);
    }

    fn renew(&mut self, turn: &mut Turn<'_>, outcome: Result<Token, TokenError>) {
        let Phase::Window(renewal) = &mut self.phase else {
            return;
        };
        match renewal.take(turn.now(), outcome) {
            Ok(token) => {
                let expires_at_millis = token.expires_at.unwrap_or_default().as_millis();
                say(turn, &ServerMessage::AuthOk { expires_at_millis });
            }
            Err(error) => {
                turn.refuse_token(error);
                say(turn, &ServerMessage::Error(Complaint::BadToken));
            }
        }
    }
}

const MISSING: TokenError = TokenError::Unauthorized(Flaw::Missing);

/// A token that was good when the socket was opened, as of now.
fn still_good(turn: &Turn<'_>, token: Token) -> Result<Token, TokenError> {
    if token.expires_at.is_some_and(|at| at <= turn.now()) {
        Err(TokenError::Expired)
    } else {
        let checked = turn.verifier().check_everywhere(turn.moment(), &token);
        checked.map(|()| token)
    }
}

fn update_of(update: StatusUpdate<'_>) -> Update {
    let StatusUpdate {
        status,
        activity,
        project,
        language,
    } = update;
    Update {
        said: status.map(|status| match status {
            Status::Online => Said::Online,
            Status::Away => Said::Away,
            Status::Invisible => Said::Invisible,
        }),
        activity: activity.map(|text| Arc::from(&*text)),
        project: project.map(|text| Arc::from(&*text)),
        language: language.map(|text| Arc::from(&*text)),
    }
}

/// The fields that an update names, and those of an older one.
fn over(update: Update, older: Option<Update>) -> Update {
    let older = older.unwrap_or_default();
    Update {
        said: update.said.or(older.said),
        activity: update.activity.or(older.activity),
        project: update.project.or(older.project),
        language: update.language.or(older.language),
    }
}

fn reprove(turn: &mut Turn<'_>, reproof: Reproof, complaint: Complaint) {
    match reproof {
        Reproof::Error => say(turn, &ServerMessage::Error(complaint)),
        Reproof::Silence => {}
        Reproof::Close => turn.close(Refusal::RateLimited),
    }
}

fn say(turn: &mut Turn<'_>, message: &ServerMessage<'_>) {
    let mut text = Vec::new();
    message.write(&mut text);
    turn.send_text(&text);
}
