//! What reaches a worker from outside: HTTP, other workers, heavy threads.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::{ConnectionId, Grant, Pattern, RoomName, SessionId, UserId};
use crate::relay::closing::Reopening;
use crate::relay::connection::Newcomer;
use crate::relay::fanout::Dialect;
use crate::relay::storage::Committed;
use crate::relay::timeline::Departure;
use crate::relay::worker::Worker;
use crate::room::{FromSession, Input};
use crate::wire::close::Refusal;

/// One thing for a worker to do.
pub enum ToWorker {
    /// A socket moves in.
    Adopt(Box<Newcomer>),
    /// A question from HTTP; the closure carries its own way to answer.
    Call(Box<dyn FnOnce(&mut Worker) + Send>),
    /// The result of a heavy job.
    Room {
        /// Which room.
        room: RoomName,
        /// Which life of it.
        life: u64,
        /// What came of it.
        input: Box<Input>,
    },
    /// Something large that a connection sent has been looked through.
    Checked {
        /// Which connection.
        connection: ConnectionId,
        /// What its door gave with it.
        key: String,
        /// What it says, if it is sane.
        outcome: Result<FromSession, Refusal>,
    },
    /// Writes of this worker are on disk.
    Committed(Committed),
    /// From a socket on another worker to a room here.
    FromFar {
        /// Which room.
        room: RoomName,
        /// Which session.
        session: SessionId,
        /// What.
        event: FarEvent,
    },
    /// From a room on another worker to a socket here.
    ToFar {
        /// Which socket.
        connection: ConnectionId,
        /// Which of its sessions.
        session: SessionId,
        /// What.
        delivery: Delivery,
    },
    /// A room on another worker asks which sockets here answer.
    AskSockets(Box<SocketsAsked>),
    /// A user's tokens are revoked: end what they opened, in some rooms or everywhere.
    Revoke {
        /// Whose.
        user: UserId,
        /// Where; everywhere if `None`.
        rooms: Option<Pattern>,
    },
    /// A user hides from everybody, or no longer.
    Hide {
        /// Who.
        user: UserId,
        /// Whether they hide.
        hides: bool,
    },
    /// Close every socket and answer when nothing is left to store.
    Drain {
        /// Answered when everything that was accepted is stored.
        saved: oneshot::Sender<()>,
        /// Answered when every socket is gone.
        closed: oneshot::Sender<()>,
    },
    /// The relay is gone.
    Stop,
}

/// Sockets that are asked for; those that answer are told to the room.
pub struct SocketsAsked {
    /// The room's worker.
    pub worker: usize,
    /// The room.
    pub room: RoomName,
    /// Which life of it.
    pub life: u64,
    /// The sockets, and whose they are there.
    pub sockets: Vec<(ConnectionId, SessionId)>,
}

/// What a session on another worker does.
pub enum FarEvent {
    /// It joins.
    Join {
        /// Its socket.
        connection: ConnectionId,
        /// The socket's worker.
        worker: usize,
        /// Who.
        grant: Grant,
        /// How it is spoken to.
        dialect: Dialect,
    },
    /// It says something.
    Message(FromSession),
    /// Its client closed the document.
    Close,
    /// It says something after that.
    Reopen {
        /// Its socket.
        connection: ConnectionId,
        /// The socket's worker.
        worker: usize,
        /// What, and who as of now.
        again: Reopening,
    },
    /// Its token was renewed.
    Renew(Grant),
    /// It is gone.
    Leave(Departure),
    /// What was delivered has been written: more may come.
    Credit,
}

/// What a room sends to a session on another worker.
pub enum Delivery {
    /// Frames to write; answered by a `Credit`.
    Frames(Vec<Bytes>),
    /// The session is refused.
    Refuse(Refusal),
    /// What the session's client had closed, so often by then, is open again.
    Reopened(u32),
}
