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

use crate::auth::TokenError;
use crate::clock::Timestamp;
use crate::doors::upgrade::{Knock, Welcome, knock};
use crate::doors::{Doorstep, checked, renewal};
use crate::limits::{
    ADDRESS_BYTES_MAX, DOCUMENTS_PER_SOCKET_MAX, INLINE_BYTES_MAX, STATELESS_BYTES_MAX,
    TOKEN_WITHIN, UNAUTHENTICATED_BYTES_MAX, UNAUTHENTICATED_FOR_MAX, UNAUTHENTICATED_FRAMES_MAX,
};
use crate::metrics::DoorLabel;
use crate::model::{Access, RoomName, SessionId, Token, UserId};
use crate::relay::{Departure, Dialect, Door, Handling, Home, Relay, Seat, Turn};
use crate::room::FromSession;
use crate::wire::close::Refusal;
use crate::wire::hocuspocus::{
    self, ClientFrame, ClientMessage, KEEPALIVE, Scope, ServerMessage, split_address,
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
        early: Early::default(),
        documents: HashMap::new(),
        addresses: HashMap::new(),
        gone: HashMap::new(),
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
    early: Early,
    documents: HashMap<String, Document>,
    addresses: HashMap<SessionId, String>,
    /// Addresses that were closed or refused, and whether they were refused: what a client had
    /// already sent for them opens nothing.
    gone: HashMap<String, Gone>,
}

/// How a document ended.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Gone {
    /// By its client: a step 1 or a token opens it again.
    Closed,
    /// By us: a token opens it again.
    Denied,
}

/// What came for documents that are not open, over the socket's whole life.
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
}

/// A document, from its first frame on.
enum Document {
    /// Frames that came before the token, or while it is being checked, in order.
    Waiting {
        frames: Vec<Bytes>,
        is_checking: bool,
        /// When a client that began without a token is refused.
        deny_at: Option<Timestamp>,
    },
    /// Let in.
    Open(Box<OpenDocument>),
}

struct OpenDocument {
    seat: Seat,
    token: Token,
    room: RoomName,
    /// When the client is asked for a new token; once.
    refresh_at: Option<Timestamp>,
}

impl Door for CollabDoor {
    fn label(&self) -> DoorLabel {
        DoorLabel::Collab
    }

    fn message(&mut self, turn: &mut Turn<'_>, is_text: bool, payload: &[u8]) -> Handling {
        if is_text {
            return Handling::Done;
        }
        if !self.has_authenticated && !self.early.takes(payload.len()) {
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

    fn revoked(&mut self, turn: &mut Turn<'_>, user: &UserId, room: Option<&RoomName>) {
        let revoked: Vec<String> = self
            .open()
            .filter(|(_, open)| open.token.identity.user == *user)
            .filter(|(_, open)| room.is_none_or(|room| *room == open.room))
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
        let Some(Document::Open(open)) = self.documents.get(address) else {
            return;
        };
        match outcome {
            Ok(message) => turn.say(&open.seat, message),
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
                turn.close(Refusal::Unauthorized);
                return;
            }
        }
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let mut expired = Vec::new();
        let mut tiring = Vec::new();
        let mut silent = Vec::new();
        for (address, document) in &mut self.documents {
            match document {
                Document::Open(open) if due(open.token.expires_at) => expired.push(address.clone()),
                Document::Open(open) if due(open.refresh_at) => {
                    open.refresh_at = None;
                    tiring.push(address.clone());
                }
                Document::Waiting { deny_at, .. } if due(*deny_at) => silent.push(address.clone()),
                Document::Open(_) | Document::Waiting { .. } => {}
            }
        }
        for address in silent {
            self.deny(turn, &address, Refusal::Unauthorized);
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
            ClientMessage::Auth { token, version: _ } => self.authenticate(turn, address, token),
            ClientMessage::Close => {
                self.close_document(turn, address, Departure::Closed, Gone::Closed);
            }
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
                Some(Document::Waiting { .. }) | None => {
                    self.keep_for_later(turn, address, message, frame);
                }
            },
        }
    }

    /// Tells the room of an open document what its client says.
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
        match self.gone.get(address) {
            Some(Gone::Denied) => return,
            Some(Gone::Closed) if !is_step1 => return,
            Some(Gone::Closed) | None => {}
        }
        if self.has_authenticated && !self.early.takes(frame.len()) {
            turn.close(Refusal::LimitMessage);
            return;
        }
        let Some(frames) = self.waiting(turn, address) else {
            return;
        };
        frames.push(Bytes::copy_from_slice(frame));
        if !is_step1 {
            return;
        }
        // Providers of version 2 that have no token say nothing before this.
        if self.query_token.is_some() || self.guest.is_some() {
            self.authenticate(turn, address, "");
        } else if let Some(Document::Waiting {
            is_checking: false,
            deny_at,
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
                send(
                    turn,
                    address,
                    ServerMessage::Denied(Refusal::LimitConnections.reason()),
                );
                return None;
            }
            self.gone.remove(address);
            let waiting = Document::Waiting {
                frames: Vec::new(),
                is_checking: false,
                deny_at: None,
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
        if !is_open && self.waiting(turn, address).is_none() {
            return;
        }
        let given = Some(token).filter(|token| !NO_TOKEN.contains(token));
        let outcome = match given.or(self.query_token.as_deref()) {
            Some(token) => turn.verifier().verify(turn.now(), token),
            None => self.guest.clone().ok_or(TokenError::Unauthorized),
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
        match outcome
            .map_err(Refusal::from)
            .and_then(|token| self.admit(turn, address, token))
        {
            Ok(()) => self.reschedule(),
            Err(refusal) => {
                if refusal != Refusal::LimitConnections {
                    turn.count_auth_failure();
                }
                self.deny_user(turn, address, user, refusal);
            }
        }
    }

    fn admit(&mut self, turn: &mut Turn<'_>, address: &str, token: Token) -> Result<(), Refusal> {
        let room = RoomName::parse(split_address(address).0).map_err(|_| Refusal::BadRoom)?;
        let grant = renewal::grant(turn.verifier(), &token, &room)?;
        let scope = match grant.access {
            Access::Write => Scope::ReadWrite,
            Access::Read => Scope::ReadOnly,
        };
        let refresh_at = renewal::refresh_at(turn.now(), token.expires_at);
        if let Some(Document::Open(open)) = self.documents.get_mut(address) {
            if open.token.identity.user != token.identity.user {
                return Err(Refusal::Unauthorized);
            }
            open.token = token;
            open.refresh_at = refresh_at;
            turn.renew(&open.seat, grant);
            send(turn, address, ServerMessage::Authenticated(scope));
            return Ok(());
        }
        turn.identify(&token)?;
        if !self.has_authenticated {
            self.has_authenticated = true;
            turn.limit_messages(None);
        }
        send(turn, address, ServerMessage::Authenticated(scope));
        let mut prefix = Vec::new();
        hocuspocus::write_address(&mut prefix, address);
        let seat = turn.enter(
            &room,
            grant,
            Dialect::Hocuspocus {
                address: prefix.into(),
            },
        );
        self.addresses.insert(seat.session, address.to_owned());
        let open = Document::Open(Box::new(OpenDocument {
            seat,
            token,
            room,
            refresh_at,
        }));
        let waited = self.documents.insert(address.to_owned(), open);
        if let Some(Document::Waiting { frames, .. }) = waited {
            for bytes in frames {
                if let Ok(ClientFrame::Document(frame)) = hocuspocus::decode(&bytes) {
                    // Small enough all together to be looked through here: see `Early`.
                    self.checked(turn, address, read(frame.message));
                }
            }
        }
        Ok(())
    }

    /// Refuses one document; the socket stays for the others.
    fn deny(&mut self, turn: &mut Turn<'_>, address: &str, refusal: Refusal) {
        self.deny_user(turn, address, None, refusal);
    }

    /// The same, of somebody who may be known.
    fn deny_user(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        user: Option<UserId>,
        refusal: Refusal,
    ) {
        let is_open = matches!(self.documents.get(address), Some(Document::Open(_)));
        if !is_open {
            turn.note_turned_away(split_address(address).0, user, refusal);
        }
        self.close_document(turn, address, Departure::Refused(refusal), Gone::Denied);
        turn.count_denied(refusal);
        send(turn, address, ServerMessage::Denied(refusal.reason()));
    }

    fn close_document(
        &mut self,
        turn: &mut Turn<'_>,
        address: &str,
        departure: Departure,
        how: Gone,
    ) {
        match self.documents.remove(address) {
            Some(Document::Open(open)) => {
                self.addresses.remove(&open.seat.session);
                turn.leave(&open.seat, departure);
            }
            Some(Document::Waiting { .. }) => {}
            None => return,
        }
        if DOCUMENTS_PER_SOCKET_MAX <= self.gone.len() {
            self.gone.clear();
        }
        self.gone.insert(address.to_owned(), how);
        self.reschedule();
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
            Document::Waiting { deny_at, .. } => [*deny_at, None],
        });
        let patience = (!self.has_authenticated).then_some(self.patience_ends);
        self.deadline = due.flatten().chain(patience).min();
    }
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

fn send(turn: &mut Turn<'_>, address: &str, message: ServerMessage<'_>) {
    let mut frame = Vec::new();
    message.write(&mut frame, address);
    turn.send(&frame);
}
