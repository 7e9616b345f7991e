//! `/collab`: the Hocuspocus protocol, many documents on one socket.
//!
//! Each document (or, for newer providers, each session of one) has an address of its own and is
//! let in or refused on its own: a refusal is a message for that address, and the socket stays.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::auth::{Flaw, TokenError};
use crate::clock::Timestamp;
use crate::doors::closed_documents::ClosedDocuments;
use crate::doors::upgrade::{Knock, Welcome, knock};
use crate::doors::{Doorstep, checked, renewal};
use crate::limits::{
    ADDRESS_BYTES_MAX, DOCUMENTS_PER_SOCKET_MAX, INLINE_BYTES_MAX, STATELESS_BYTES_MAX,
    TOKEN_WITHIN, UNAUTHENTICATED_BYTES_MAX, UNAUTHENTICATED_FOR_MAX, UNAUTHENTICATED_FRAMES_MAX,
};
use crate::metrics::DoorLabel;
use crate::model::{Pattern, RoomName, SessionId, Token, UserId};
use crate::relay::{Departure, Dialect, Door, Handling, Home, Relay, Reopening, Seat, Turn};
use crate::room::FromSession;
use crate::wire::close::Refusal;
use crate::wire::hocuspocus::{
    self, ClientFrame, ClientMessage, KEEPALIVE, ServerMessage, split_address,
};
use crate::wire::yjs::SyncMessage;

const PATH: &str = "collab";

/// The door as a filter.
pub fn route(relay: Relay, options: Arc<Doorstep>) -> BoxedFilter<(Response,)> {
    knock()
        .and_then(async |knock: Knock| {
            // Providers before version 3 keep a slash at the end of their address.
            match knock.path.as_str().trim_end_matches('/') == PATH {
                true => Ok(knock),
                false => Err(warp::reject::not_found()),
            }
        })
        .then(move |knock: Knock| {
            let (relay, options) = (relay.clone(), options.clone());
            async move { knock.answer(relay, options, welcome).await }
        })
        .map(Reply::into_response)
        .boxed()
}

/// Everybody may open a socket here; what they may do is asked for each document.
async fn welcome(knock: &Knock, relay: &Relay) -> Result<Welcome, Refusal> {
    let patience_ends = relay.clock().now() + UNAUTHENTICATED_FOR_MAX;
    let door = CollabDoor {
        query_token: knock.token(),
        guest: relay.verifier().guest(),
        patience_ends,
        deadline: Some(patience_ends),
        has_settled: false,
        has_authenticated: false,
        unauthenticated: Early::default(),
        waits: Early::default(),
        says_version: false,
        documents: HashMap::new(),
        addresses: HashMap::new(),
        closed: ClosedDocuments::new(),
        denied: HashMap::new(),
    };
    Ok(Welcome {
        door: Box::new(door),
        home: Home::Anywhere,
    })
}

/// One Hocuspocus socket.
struct CollabDoor {
    query_token: Option<String>,
    /// Who a client without a token is, where those are let in: one person for each socket.
    guest: Option<Token>,
    /// When the socket must have authenticated somewhere.
    patience_ends: Timestamp,
    /// When something is due: the end of patience, a token to be renewed or to end.
    deadline: Option<Timestamp>,
    /// Whether the socket has found its worker.
    has_settled: bool,
    has_authenticated: bool,
    /// All that came before the first good token.
    unauthenticated: Early,
    /// What waits for a document's token now.
    waits: Early,
    /// Whether its provider says its version: then it knows all messages.
    says_version: bool,
    documents: HashMap<String, Document>,
    /// Of open documents and closed ones.
    addresses: HashMap<SessionId, String>,
    /// Documents that the client has closed; nothing is kept of one that was not open yet. A step 1 or a
    /// token is a new beginning, and what only somebody says who goes on opens it again.
    closed: ClosedDocuments<Option<Box<OpenDocument>>>,
    /// Addresses that were refused: what a client had already sent for them opens nothing. A token does,
    /// and then it matters how much went unheard that the client counts as not saved.
    denied: HashMap<String, u32>,
}

/// Frames that are counted against what may come before a token.
#[derive(Default)]
struct Early {
    frames: usize,
    bytes: usize,
}

impl Early {
    /// Counts a frame; `false` when that is one too many.
    fn takes(&mut self, bytes: usize) -> bool {
        self.frames += 1;
        self.bytes += bytes;
        self.frames <= UNAUTHENTICATED_FRAMES_MAX && self.bytes <= UNAUTHENTICATED_BYTES_MAX
    }

    /// These wait no longer.
    fn give_back(&mut self, frames: &[Bytes]) {
        self.frames = self.frames.saturating_sub(frames.len());
        let bytes = frames.iter().map(Bytes::len).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// A document, from its first frame on.
enum Document {
    /// Frames that came before the token, or while it is being checked, in order.
    Waiting {
        frames: Vec<Bytes>,
        is_checking: bool,
        /// When a client that began without a token is refused.
        deny_at: Option<Timestamp>,
        /// What its client counts as not saved of what it sent after it had been refused.
        unheard: u32,
        again: Again,
    },
    /// Let in.
    Open(Box<OpenDocument>),
}

/// What is done about a token of the second in which its user's tokens were revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Again {
    /// There was none.
    No,
    /// Its client was asked for another.
    Asked,
    /// It is asked when that second is over: it brought one of the same second again.
    AskAt(Timestamp),
    /// It cannot be asked, so it is sent away when that second is over.
    CloseAt(Timestamp),
}

impl Again {
    fn due_at(self) -> Option<Timestamp> {
        match self {
            Self::No | Self::Asked => None,
            Self::AskAt(at) | Self::CloseAt(at) => Some(at),
        }
    }
}

struct OpenDocument {
    seat: Seat,
    token: Token,
    room: RoomName,
    /// When the client is asked for a new token; once.
    refresh_at: Option<Timestamp>,
    /// How often its client has closed it.
    closes: u32,
}

impl Door for CollabDoor {
    fn label(&self) -> DoorLabel {
        DoorLabel::Collab
    }

    fn message(&mut self, turn: &mut Turn<'_>, is_text: bool, payload: &[u8]) -> Handling {
        if is_text {
            return Handling::Done;
        }
        if !self.has_authenticated && !self.unauthenticated.takes(payload.len()) {
            turn.close(Refusal::LimitMessage);
            return Handling::Done;
        }
        let frame = match hocuspocus::decode(payload) {
            Ok(ClientFrame::Document(frame)) => frame,
            Ok(ClientFrame::Ping | ClientFrame::Pong) => return Handling::Done,
            Err(_) => {
                turn.count_refused(Refusal::BadMessage);
                turn.close(Refusal::BadMessage);
                return Handling::Done;
            }
        };
        if ADDRESS_BYTES_MAX < frame.address.len() {
            // Not even worth an answer to it.
            turn.close(Refusal::BadRoom);
            return Handling::Done;
        }
        if !self.has_settled {
            self.has_settled = true;
            // The socket lives where its first document does: most have one only.
            let room = RoomName::parse(split_address(frame.address).0);
            if let Some(worker) = room.ok().and_then(|room| turn.elsewhere(&room)) {
                return Handling::MoveTo(worker);
            }
        }
        self.document_message(turn, frame.address, frame.message, payload);
        Handling::Done
    }

    fn refused(&mut self, turn: &mut Turn<'_>, session: SessionId, refusal: Refusal) {
        let Some(address) = self.addresses.get(&session).cloned() else {
            return;
        };
        match refusal {
            // A provider that is denied does not come back by itself: those may come back. With a
            // damaged document they would for ever, and with all the others on their socket.
            Refusal::Slow | Refusal::StoreDown | Refusal::Draining => turn.close(refusal),
            _ => self.deny(turn, &address, refusal),
        }
    }

    fn reopened(&mut self, turn: &mut Turn<'_>, session: SessionId, closes: u32) {
        let Some(address) = self.addresses.get(&session).cloned() else {
            return;
        };
        // It may have been closed again since.
        if let Some(Some(open)) = self.closed.get_mut(&address)
            && open.closes == closes
            && let Some(Some(open)) = self.closed.take(&address)
        {
            // Who is revoked meanwhile is among those whose document is open only from now on.
            let is_revoked = (turn.verifier()).is_revoked(turn.moment(), &open.token, &open.room);
            self.documents.insert(address.clone(), Document::Open(open));
            match is_revoked {
                true => self.deny(turn, &address, Refusal::Revoked),
                false => self.reschedule(),
            }
        }
    }

    fn revoked(&mut self, turn: &mut Turn<'_>, user: &UserId, rooms: Option<&Pattern>) {
        let revoked: Vec<String> = self
            .open()
            .filter(|(_, open)| open.token.identity.user == *user)
            .filter(|(_, open)| rooms.is_none_or(|rooms| rooms.covers(&open.room)))
            .map(|(address, _)| address.to_owned())
            .collect();
        for address in revoked {
            self.deny(turn, &address, Refusal::Revoked);
        }
    }

    fn checked(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        outcome: Result<FromSession, Refusal>,
    ) {
        if !self.has(address) {
            return;
        }
        match outcome {
            Ok(message) => match self.documents.get(address) {
                Some(Document::Open(open)) => turn.say(&open.seat, message),
                _ => self.contradict(turn, address, message),
            },
            Err(refusal) => {
                turn.count_refused(refusal);
                match refusal {
                    Refusal::BadUpdate => self.deny(turn, address, refusal),
                    _ => turn.close(refusal),
                }
            }
        }
    }

    fn verified(&mut self, turn: &mut Turn<'_>, address: &str, outcome: Result<Token, TokenError>) {
        self.authenticated(turn, address, outcome);
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        if !self.has_authenticated {
            turn.limit_messages(Some(UNAUTHENTICATED_BYTES_MAX));
            if self.patience_ends <= now {
                turn.refuse_token(TokenError::Unauthorized(Flaw::Missing));
                turn.close(Refusal::Unauthorized);
                return;
            }
        }
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let mut expired = Vec::new();
        let mut tiring = Vec::new();
        let mut silent = Vec::new();
        let mut must_go = false;
        for (address, document) in &mut self.documents {
            match document {
                Document::Open(open) if due(open.token.expires_at) => expired.push(address.clone()),
                Document::Open(open) if due(open.refresh_at) => {
                    open.refresh_at = None;
                    tiring.push(address.clone());
                }
                Document::Waiting { deny_at, .. } if due(*deny_at) => silent.push(address.clone()),
                Document::Waiting { again, .. } if due(again.due_at()) => {
                    must_go |= matches!(again, Again::CloseAt(_));
                    *again = Again::Asked;
                    tiring.push(address.clone());
                }
                Document::Open(_) | Document::Waiting { .. } => {}
            }
        }
        if must_go {
            turn.close(Refusal::TryAgain);
            return;
        }
        for address in silent {
            self.authenticated(turn, &address, Err(TokenError::Unauthorized(Flaw::Missing)));
        }
        for address in tiring {
            send(turn, &address, ServerMessage::TokenRequest);
        }
        for address in expired {
            self.deny(turn, &address, Refusal::TokenExpired);
        }
        self.reschedule();
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    fn keep_alive(&self) -> &'static [u8] {
        KEEPALIVE
    }
}

impl CollabDoor {
    fn document_message(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        message: ClientMessage<'_>,
        frame: &[u8],
    ) {
        match message {
            ClientMessage::Auth { token, version } => {
                self.says_version |= version.is_some();
                self.authenticate(turn, address, token);
            }
            ClientMessage::Close => self.close_document(turn, address, frame),
            ClientMessage::Forbidden(_) | ClientMessage::Unknown(_) => {
                turn.count_refused(Refusal::BadMessage);
                turn.close(Refusal::BadMessage);
            }
            ClientMessage::Sync(_)
            | ClientMessage::Awareness(_)
            | ClientMessage::QueryAwareness
            | ClientMessage::Stateless(_) => match self.documents.get(address) {
                Some(Document::Open(open)) => match message {
                    ClientMessage::Sync(SyncMessage::Update(update))
                        if frame.len() <= INLINE_BYTES_MAX && turn.types(&open.seat, update) => {}
                    _ => self.say(turn, address, message, frame),
                },
                Some(Document::Waiting { .. }) => {
                    self.keep_for_later(turn, address, message, frame);
                }
                None => match self.goes_on(address, message) {
                    true => self.say(turn, address, message, frame),
                    false => self.keep_for_later(turn, address, message, frame),
                },
            },
        }
    }

    /// Tells the room of a document that is open, or was, what its client says.
    fn say(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        message: ClientMessage<'_>,
        frame: &[u8],
    ) {
        if INLINE_BYTES_MAX < frame.len() {
            let frame = frame.to_vec();
            let check = move || match hocuspocus::decode(&frame) {
                Ok(ClientFrame::Document(frame)) => read(frame.message),
                Ok(ClientFrame::Ping | ClientFrame::Pong) | Err(_) => Err(Refusal::BadMessage),
            };
            turn.check_later(address.to_owned(), Box::new(check));
        } else {
            self.checked(turn, address, read(message));
        }
    }

    /// A frame for a document that nobody has been let into yet.
    fn keep_for_later(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        message: ClientMessage<'_>,
        frame: &[u8],
    ) {
        let is_step1 = matches!(message, ClientMessage::Sync(SyncMessage::Step1(_)));
        let is_straggler = self.closed.has(address) && !is_step1 && !is_contradiction(message);
        if is_straggler {
            return;
        }
        if let Some(unheard) = self.denied.get_mut(address) {
            match message {
                // It begins to count, and counts the step 2 that it would be asked for.
                ClientMessage::Sync(SyncMessage::Step1(_)) => *unheard = 1,
                ClientMessage::Sync(SyncMessage::Update(_)) => *unheard = unheard.saturating_add(1),
                _ => {}
            }
            return;
        }
        if self.waiting(turn, address).is_none() {
            return;
        }
        if !self.waits.takes(frame.len()) {
            turn.close(Refusal::LimitMessage);
            return;
        }
        if let Some(frames) = self.waiting(turn, address) {
            frames.push(Bytes::copy_from_slice(frame));
        }
        if !is_step1 {
            return;
        }
        // Providers of version 2 that have no token say nothing before this.
        if self.query_token.is_some() || self.guest.is_some() {
            self.authenticate(turn, address, "");
        } else if let Some(Document::Waiting {
            is_checking: false,
            deny_at,
            again: Again::No,
            ..
        }) = self.documents.get_mut(address)
        {
            // Others may have begun to sync while their token was still being fetched.
            deny_at.get_or_insert(turn.now() + TOKEN_WITHIN);
            self.reschedule();
        }
    }

    /// The frames that wait for a document to be opened; `None` when there are too many documents.
    fn waiting(&mut self, turn: &mut Turn<'_>, address: &str) -> Option<&mut Vec<Bytes>> {
        if !self.documents.contains_key(address) {
            if DOCUMENTS_PER_SOCKET_MAX <= self.documents.len() {
                self.deny(turn, address, Refusal::LimitDocuments);
                return None;
            }
            let unheard = self.denied.remove(address).unwrap_or_default();
            self.forget_closed(turn, address, Departure::Closed);
            let waiting = Document::Waiting {
                frames: Vec::new(),
                is_checking: false,
                deny_at: None,
                unheard,
                again: Again::No,
            };
            self.documents.insert(address.to_owned(), waiting);
        }
        match self.documents.get_mut(address) {
            Some(Document::Waiting { frames, .. }) => Some(frames),
            _ => None,
        }
    }

    /// A token for a document: the first, or a new one for an open document.
    fn authenticate(&mut self, turn: &mut Turn<'_>, address: &str, token: &str) {
        let is_open = matches!(self.documents.get(address), Some(Document::Open(_)));
        if !is_open {
            let Some(frames) = self.waiting(turn, address) else {
                return;
            };
            // Whatever closed it before, this goes on.
            let is_close = |frame: &Bytes| {
                let frame = hocuspocus::decode(frame);
                matches!(frame, Ok(ClientFrame::Document(frame)) if frame.message == ClientMessage::Close)
            };
            let closes: Vec<Bytes> = frames.extract_if(.., |frame| is_close(frame)).collect();
            self.waits.give_back(&closes);
        }
        let given = Some(token).filter(|token| !NO_TOKEN.contains(token));
        let outcome = match given.or(self.query_token.as_deref()) {
            Some(token) => turn.verifier().verify(turn.moment(), token),
            None => self
                .guest
                .clone()
                .ok_or(TokenError::Unauthorized(Flaw::Missing)),
        };
        if let (Err(TokenError::UnknownKey), Some(token)) = (&outcome, given) {
            if let Some(Document::Waiting { is_checking, .. }) = self.documents.get_mut(address) {
                *is_checking = true;
            }
            turn.verify_later(address.to_owned(), token.to_owned());
            return;
        }
        self.authenticated(turn, address, outcome);
    }

    fn authenticated(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        outcome: Result<Token, TokenError>,
    ) {
        if !self.documents.contains_key(address) {
            // Closed while its token was being checked.
            return;
        }
        let user = outcome.as_ref().ok().map(|token| &token.identity.user);
        let user = user.cloned();
        let admitted = match outcome {
            Ok(token) => self.admit(turn, address, token),
            Err(error) => Err(Unwelcome::Token(error)),
        };
        match admitted {
            Ok(()) => self.reschedule(),
            Err(Unwelcome::Token(error @ TokenError::TooEarly)) => {
                turn.refuse_token(error);
                self.ask_again(turn, address);
            }
            Err(Unwelcome::Token(error)) => {
                turn.refuse_token(error);
                let why = Some(error.reason());
                self.deny_user(turn, address, user, error.into(), why);
            }
            Err(Unwelcome::Refused(refusal)) => {
                self.deny_user(turn, address, user, refusal, None);
            }
        }
    }

    /// A token is good or not, and nobody can tell before the next second: until then its client, which
    /// gives up for good when it is refused, is neither let in nor refused.
    fn ask_again(&mut self, turn: &mut Turn<'_>, address: &str) {
        let second_ends = renewal::second_ends(turn.moment());
        let says_version = self.says_version;
        match self.documents.get_mut(address) {
            Some(Document::Open(open)) => open.refresh_at = Some(second_ends),
            Some(Document::Waiting {
                is_checking, again, ..
            }) => {
                *is_checking = false;
                *again = match again {
                    Again::No if says_version => {
                        send(turn, address, ServerMessage::TokenRequest);
                        Again::Asked
                    }
                    _ if says_version => Again::AskAt(second_ends),
                    _ => Again::CloseAt(second_ends),
                };
            }
            None => {}
        }
        self.reschedule();
    }

    fn admit(&mut self, turn: &mut Turn<'_>, address: &str, token: Token) -> Result<(), Unwelcome> {
        let room = RoomName::parse(split_address(address).0)
            .map_err(|_| Unwelcome::Refused(Refusal::BadRoom))?;
        let grant =
            renewal::grant(turn.verifier(), turn.moment(), &token, &room).map_err(|refusal| {
                match refusal {
                    Refusal::Revoked => Unwelcome::Token(TokenError::Revoked),
                    Refusal::TryAgain => Unwelcome::Token(TokenError::TooEarly),
                    other => Unwelcome::Refused(other),
                }
            })?;
        let refresh_at = renewal::refresh_at(turn.now(), token.expires_at);
        if let Some(Document::Open(open)) = self.documents.get_mut(address) {
            if open.token.identity.user != token.identity.user {
                let other = TokenError::Unauthorized(Flaw::OtherUser);
                return Err(Unwelcome::Token(other));
            }
            open.token = token;
            open.refresh_at = refresh_at;
            turn.renew(&open.seat, grant);
            return Ok(());
        }
        turn.identify(&token).map_err(Unwelcome::Refused)?;
        if !self.has_authenticated {
            self.has_authenticated = true;
            turn.limit_messages(None);
        }
        // The room tells it that it is in, if it is.
        let seat = turn.enter(&room, grant, dialect(address));
        self.addresses.insert(seat.session, address.to_owned());
        let open = Document::Open(Box::new(OpenDocument {
            seat,
            token,
            room,
            refresh_at,
            closes: 0,
        }));
        let waited = self.documents.insert(address.to_owned(), open);
        if let Some(Document::Waiting {
            frames, unheard, ..
        }) = waited
        {
            self.waits.give_back(&frames);
            if 0 < unheard {
                self.checked(turn, address, Ok(FromSession::Unheard(unheard)));
            }
            for bytes in frames {
                match hocuspocus::decode(&bytes) {
                    Ok(ClientFrame::Document(frame)) if frame.message == ClientMessage::Close => {
                        self.close_document(turn, address, &bytes);
                    }
                    // Small enough all together to be looked through here: see `Early`.
                    Ok(ClientFrame::Document(frame)) => {
                        self.checked(turn, address, read(frame.message));
                    }
                    Ok(ClientFrame::Ping | ClientFrame::Pong) | Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Refuses one document; the socket stays for the others.
    fn deny(&mut self, turn: &mut Turn<'_>, address: &str, refusal: Refusal) {
        self.deny_user(turn, address, None, refusal, None);
    }

    /// The same, of somebody who may be known, by a token that may be known to be bad.
    fn deny_user(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        user: Option<UserId>,
        refusal: Refusal,
        why: Option<&'static str>,
    ) {
        let is_open = matches!(self.documents.get(address), Some(Document::Open(_)));
        if !is_open {
            turn.note_turned_away(split_address(address).0, user, refusal, why);
        }
        let unheard = self.unheard(address);
        self.forget(turn, address, Departure::Refused(refusal));
        self.forget_closed(turn, address, Departure::Refused(refusal));
        if DOCUMENTS_PER_SOCKET_MAX <= self.denied.len() {
            self.denied.clear();
        }
        self.denied.insert(address.to_owned(), unheard);
        turn.count_denied(refusal);
        send(turn, address, ServerMessage::Denied(refusal.reason()));
    }

    /// The client has closed a document; `frame` says so.
    fn close_document(&mut self, turn: &mut Turn<'_>, address: &str, frame: &[u8]) {
        match self.documents.get_mut(address) {
            Some(Document::Waiting {
                frames,
                is_checking: true,
                ..
            }) => {
                // What came before it is dealt with first, when the token has been checked.
                if !self.waits.takes(frame.len()) {
                    turn.close(Refusal::LimitMessage);
                    return;
                }
                frames.push(Bytes::copy_from_slice(frame));
                return;
            }
            Some(Document::Open(_) | Document::Waiting { .. }) => {}
            None => {
                if let Some(Some(open)) = self.closed.get_mut(address) {
                    open.closes += 1;
                    turn.close_session(&open.seat);
                }
                return;
            }
        }
        let kept = match self.documents.remove(address) {
            Some(Document::Open(mut open)) => {
                open.closes += 1;
                turn.close_session(&open.seat);
                Some(open)
            }
            Some(Document::Waiting { frames, .. }) => {
                self.waits.give_back(&frames);
                None
            }
            None => None,
        };
        if let Some(Some(oldest)) = self.closed.push(address.to_owned(), kept) {
            self.addresses.remove(&oldest.seat.session);
            turn.leave(&oldest.seat, Departure::Closed);
        }
        self.reschedule();
    }

    /// Whether what is said for a document means that its client, which closed it, goes on: the room
    /// decides, if it was open.
    fn goes_on(&mut self, address: &str, message: ClientMessage<'_>) -> bool {
        matches!(self.closed.get_mut(address), Some(Some(_))) && is_contradiction(message)
    }

    /// Something was said for a document that its client had closed, and means that it goes on. By now
    /// the token may be good no longer.
    fn contradict(&mut self, turn: &mut Turn<'_>, address: &str, message: FromSession) {
        let is_full = DOCUMENTS_PER_SOCKET_MAX <= self.documents.len();
        let Some(Some(open)) = self.closed.get_mut(address) else {
            return;
        };
        let has_expired = open.token.expires_at.is_some_and(|at| at <= turn.now());
        let grant = match (has_expired, is_full) {
            (true, _) => Err(Refusal::TokenExpired),
            (false, true) => Err(Refusal::LimitDocuments),
            (false, false) => {
                renewal::grant(turn.verifier(), turn.moment(), &open.token, &open.room)
            }
        };
        match grant {
            Ok(grant) => {
                let again = Reopening {
                    grant,
                    dialect: dialect(address),
                    message,
                    closes: open.closes,
                };
                turn.reopen(&mut open.seat, &open.room, again);
            }
            Err(refusal) => {
                let (refusal, flaw) = match refusal {
                    // It was in use before: it is older than the revocation.
                    Refusal::TryAgain | Refusal::Revoked => {
                        (Refusal::Revoked, Some(TokenError::Revoked))
                    }
                    Refusal::TokenExpired => (refusal, Some(TokenError::Expired)),
                    other => (other, None),
                };
                if let Some(error) = flaw {
                    turn.refuse_token(error);
                }
                self.deny_user(turn, address, None, refusal, flaw.map(TokenError::reason));
            }
        }
    }

    /// What its client counts of what has not been heard, if the document is refused once more.
    fn unheard(&self, address: &str) -> u32 {
        match self.documents.get(address) {
            Some(Document::Waiting { unheard, .. }) => *unheard,
            Some(Document::Open(_)) => 0,
            None => self.denied.get(address).copied().unwrap_or_default(),
        }
    }

    /// Whether the document is open, or was when its client closed it.
    fn has(&mut self, address: &str) -> bool {
        matches!(self.documents.get(address), Some(Document::Open(_)))
            || matches!(self.closed.get_mut(address), Some(Some(_)))
    }

    fn forget(&mut self, turn: &mut Turn<'_>, address: &str, departure: Departure) {
        match self.documents.remove(address) {
            Some(Document::Open(open)) => {
                self.addresses.remove(&open.seat.session);
                turn.leave(&open.seat, departure);
                self.reschedule();
            }
            Some(Document::Waiting { frames, .. }) => {
                self.waits.give_back(&frames);
                self.reschedule();
            }
            None => {}
        }
    }

    fn forget_closed(&mut self, turn: &mut Turn<'_>, address: &str, departure: Departure) {
        if let Some(Some(open)) = self.closed.take(address) {
            self.addresses.remove(&open.seat.session);
            turn.leave(&open.seat, departure);
        }
    }

    fn open(&self) -> impl Iterator<Item = (&str, &OpenDocument)> {
        self.documents
            .iter()
            .filter_map(|(address, document)| match document {
                Document::Open(open) => Some((address.as_str(), &**open)),
                Document::Waiting { .. } => None,
            })
    }

    fn reschedule(&mut self) {
        let due = self.documents.values().flat_map(|document| match document {
            Document::Open(open) => [open.refresh_at, open.token.expires_at],
            Document::Waiting { deny_at, again, .. } => [*deny_at, again.due_at()],
        });
        let patience = (!self.has_authenticated).then_some(self.patience_ends);
        self.deadline = due.flatten().chain(patience).min();
    }
}

/// Why somebody is not let into a document.
enum Unwelcome {
    /// Their token is no good.
    Token(TokenError),
    /// It is, and yet.
    Refused(Refusal),
}

/// What providers send that have no token.
const NO_TOKEN: [&str; 2] = ["", "notoken"];

fn read(message: ClientMessage<'_>) -> Result<FromSession, Refusal> {
    match message {
        ClientMessage::Sync(message) => checked::sync(message),
        ClientMessage::Awareness(payload) => checked::awareness(payload),
        ClientMessage::QueryAwareness => Ok(FromSession::QueryAwareness),
        ClientMessage::Stateless(text) if STATELESS_BYTES_MAX < text.len() => {
            Err(Refusal::LimitMessage)
        }
        ClientMessage::Stateless(text) => Ok(FromSession::Stateless(Bytes::copy_from_slice(
            text.as_bytes(),
        ))),
        ClientMessage::Auth { .. }
        | ClientMessage::Close
        | ClientMessage::Forbidden(_)
        | ClientMessage::Unknown(_) => Ok(FromSession::Other),
    }
}

/// Whether only somebody says so who has the document open: no null, which is a farewell, and no question.
/// Of states, those of others are told by the room.
fn is_contradiction(message: ClientMessage<'_>) -> bool {
    match message {
        ClientMessage::Sync(SyncMessage::Step2(_) | SyncMessage::Update(_)) => true,
        // Not walked through here; it is before the room hears of it.
        ClientMessage::Awareness(payload) if INLINE_BYTES_MAX < payload.len() => true,
        ClientMessage::Awareness(payload) => match checked::awareness(payload) {
            Ok(FromSession::Awareness(update)) => update.entries().any(|it| it.state.is_some()),
            _ => false,
        },
        _ => false,
    }
}

fn dialect(address: &str) -> Dialect {
    let mut prefix = Vec::new();
    hocuspocus::write_address(&mut prefix, address);
    Dialect::Hocuspocus {
        address: prefix.into(),
    }
}

fn send(turn: &mut Turn<'_>, address: &str, message: ServerMessage<'_>) {
    let mut frame = Vec::new();
    message.write(&mut frame, address);
    turn.send(&frame);
}
