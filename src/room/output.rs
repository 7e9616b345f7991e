//! Everything a room can ask for.

use bytes::Bytes;

use crate::model::{Access, ClientId, RequestId, SessionId, UserId};
use crate::presence::{Change, Participant, SessionRecord};
use crate::room::awareness::StateLimit;
use crate::room::document::{Sequence, Task};
use crate::room::holdback::Sift;
use crate::wire::close::Refusal;

/// One thing a room asks for.
pub enum Output {
    /// Load the document from the store, after everything kept so far; answered by `Loaded` or
    /// `LoadFailed`.
    Load,
    /// Run the task, here or elsewhere; answered by `Reported`.
    Work(Box<Task>),
    /// Go through something large elsewhere; answered by `Sifted`.
    Sift(Box<Sift>),
    /// Keep this; answered by `Stored`.
    Keep(Keep),
    /// An update for everybody but who sent it. Sequence numbers rise by one.
    Update {
        /// Its place in the log.
        sequence: Sequence,
        /// The bytes as they came.
        update: Bytes,
        /// Who sent it.
        from: Option<SessionId>,
    },
    /// Awareness has changed: members are to be brought up to its version.
    Awareness,
    /// An awareness state of the session was dropped, for there is no room for it.
    StateDropped {
        /// Who sent it.
        session: SessionId,
        /// What it would have exceeded.
        limit: StateLimit,
        /// How large it was.
        bytes: usize,
    },
    /// Say which of these sessions have a socket that answers; by `Answering`.
    AskSockets {
        /// Owners of awareness states who have said nothing for some time.
        sessions: Vec<SessionId>,
    },
    /// A message for one session.
    Tell {
        /// Whom.
        session: SessionId,
        /// What.
        message: Message,
    },
    /// A text for all Hocuspocus sessions but the sender.
    Stateless {
        /// Who sent it.
        from: SessionId,
        /// UTF-8.
        text: Bytes,
    },
    /// The session is to be ended for this reason.
    Refuse {
        /// Which.
        session: SessionId,
        /// Why.
        refusal: Refusal,
    },
    /// The roster changed.
    Presence {
        /// What.
        change: Box<Change>,
        /// The session that did it, which is not told.
        by: Option<SessionId>,
    },
    /// The session is in, or in again. What else the room says to it comes behind.
    Admitted {
        /// Which.
        session: SessionId,
    },
    /// A session that had no socket has ended.
    Expired {
        /// Which.
        session: SessionId,
    },
    /// The user has come into the room, or is here no longer, seen by others or not.
    Attendance {
        /// Who.
        user: UserId,
        /// Whether they are here.
        is_here: bool,
    },
    /// Write the session down as it is.
    Record(Box<SessionRecord>),
    /// Remember that they were here.
    Seen(Box<Participant>),
    /// The answer to a request from outside.
    Answer {
        /// Which.
        request: RequestId,
        /// What.
        reply: Reply,
    },
    /// Nobody has been here for long enough and everything is durable: forget the room.
    Unload,
}

/// What to keep, in order.
#[derive(Clone, Debug)]
pub enum Keep {
    /// An update, behind all others.
    Append {
        /// Its place.
        sequence: Sequence,
        /// A Yjs update, v1.
        update: Bytes,
    },
    /// One update instead of all up to a place.
    Snapshot {
        /// The last update it contains.
        through: Sequence,
        /// A Yjs update, v1.
        update: Bytes,
    },
    /// Set an update aside: it breaks the document.
    Quarantine {
        /// Its place.
        sequence: Sequence,
    },
    /// Set an update aside: whoever brought it was told that it was not applied.
    Withdraw {
        /// Its place.
        sequence: Sequence,
    },
}

/// A message for one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// It is in, or its token was renewed: what it may do.
    Access(Access),
    /// Hold updates back, as from the beginning, until its step 1 is answered.
    Hold,
    /// It has not said for some time what it has: let it have what has come and comes.
    Listen,
    /// "This is what I have", and then the answer, which contains the log up to `through`.
    Answer {
        /// A state vector.
        state_vector: Bytes,
        /// What the session lacks.
        update: Bytes,
        /// The last update in it.
        through: Sequence,
    },
    /// "This is what I have": it is to say what it has itself, though it has not asked.
    Ask {
        /// A state vector.
        state_vector: Bytes,
    },
    /// Everything again, for a session that fell behind; contains the log up to `through`.
    Resync {
        /// The whole document.
        update: Bytes,
        /// The last update in it.
        through: Sequence,
    },
    /// Whether an update or a step 2 was taken; the store has it if so.
    Status {
        /// Whether it was.
        is_applied: bool,
        /// Of so many the same.
        times: u32,
    },
    /// Awareness: your own clock is at least this, and somebody thinks you are gone.
    Nudge {
        /// The session's own id.
        client: ClientId,
        /// One below the clock that the others are told.
        clock: u64,
    },
    /// Send every present awareness state but its own.
    PushAwareness,
    /// "Tell me your awareness": what it said of it while it waited was not heard.
    QueryAwareness,
    /// It waits for a place, and so many are before it, itself included.
    Queued(usize),
}

/// The answer to a request from outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// The document.
    Document {
        /// A Yjs update, v1.
        update: Bytes,
        /// Whether all of it is on disk.
        is_durable: bool,
        /// How many accepted updates are not in it, for what they stand on has not come.
        waiting_updates: usize,
    },
    /// The update is durable.
    Applied,
    /// The store has not answered in time.
    NotStored {
        /// Whether the update is in the document, and kept as soon as the store takes it; else it never
        /// was there.
        is_applied: bool,
    },
    /// There is content already.
    NotEmpty,
    /// Whoever said that they are here is.
    Present,
    /// Everybody here, and those who left.
    Participants(Vec<Participant>),
    /// It cannot be.
    Refused(Refusal),
}
