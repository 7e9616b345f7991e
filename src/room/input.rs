//! Everything that can happen to a room.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Grant, RequestId, SessionId, UserId};
use crate::presence::{Ending, Participant, Status};
use crate::room::document::{Report, Sequence};
use crate::room::holdback::Sifted;
use crate::wire::close::Refusal;
use crate::wire::yjs::{AwarenessUpdate, StateVector, Update};

/// One thing that happens to a room.
pub enum Input {
    /// What the store keeps of the document, in order of the log; `last` is the last number given
    /// out.
    Loaded {
        /// The snapshot, if any, then the log.
        updates: Vec<(Sequence, Bytes)>,
        /// The last sequence number given out.
        last: Sequence,
        /// Who was here before, as they were remembered.
        people: Vec<Participant>,
    },
    /// The document cannot be read: for now, or because it is damaged.
    LoadFailed {
        /// What those are told who wait for it.
        refusal: Refusal,
    },
    /// Somebody who has been let in arrives.
    Join {
        /// By this name from now on.
        session: SessionId,
        /// Who, and what they may do.
        grant: Grant,
        /// How they are with the room.
        manner: Manner,
    },
    /// Somebody without a socket says that they are here: a session begins, or lasts on.
    Heartbeat {
        /// Answered under this number.
        request: RequestId,
        /// By this name.
        session: SessionId,
        /// Who, and what they may do.
        grant: Grant,
        /// How long they are here without another.
        lasts: Duration,
        /// What they do, if they say.
        status: Option<Status>,
        /// What else they say, as JSON text, if they do.
        data: Option<Arc<str>>,
    },
    /// The user hides from everybody, or no longer. Comes before their first session, too.
    Hide {
        /// Who.
        user: UserId,
        /// Whether they hide.
        hides: bool,
    },
    /// The user's access is taken back: what stays of them ends. Their sockets are closed elsewhere.
    Expel {
        /// Who.
        user: UserId,
    },
    /// Somebody asks who is here and who was.
    Participants {
        /// Answered under this number, once it is known who was.
        request: RequestId,
    },
    /// The session ended.
    Leave {
        /// Which.
        session: SessionId,
        /// How.
        ending: Ending,
    },
    /// The session's client has closed the document, on a connection that stays. It is here no longer,
    /// but may turn out to go on: see `Reopen`.
    Closed {
        /// Which.
        session: SessionId,
    },
    /// A session that its client has closed says something nevertheless, as one does whose program made
    /// the document's client anew while the old one's farewell was still on its way. What only somebody
    /// says who is here reopens it, and is heard; anything else is not.
    Reopen {
        /// By the name it had.
        session: SessionId,
        /// Who, and what they may do now.
        grant: Grant,
        /// How they are with the room.
        manner: Manner,
        /// What it says.
        message: FromSession,
    },
    /// The session's token was renewed.
    Renew {
        /// Which.
        session: SessionId,
        /// Who, and what they may do now.
        grant: Grant,
    },
    /// The session sent a message.
    Message {
        /// Which.
        session: SessionId,
        /// What.
        message: FromSession,
    },
    /// The sockets of these sessions answer.
    Answering {
        /// Some of those that were asked for.
        sessions: Vec<SessionId>,
    },
    /// The session fell too far behind and can be written to again.
    Resync {
        /// Which.
        session: SessionId,
    },
    /// A task came back.
    Reported(Box<Report>),
    /// Something large has been gone through.
    Sifted(Box<Sifted>),
    /// Everything up to here is durable.
    Stored {
        /// The last sequence number on disk.
        through: Sequence,
    },
    /// A back end asks for the document.
    Read {
        /// Answered under this number.
        request: RequestId,
    },
    /// A back end changes the document.
    Apply {
        /// Answered under this number.
        request: RequestId,
        /// The change.
        update: Update,
        /// Only if the document has never had content.
        only_if_empty: bool,
    },
    /// The relay stops: whoever is here without a socket, or lingers, is here no longer.
    Close,
    /// The deadline has passed.
    Tick,
    /// Everything that arrived together has been handled: what was typed goes its ways.
    TurnEnds,
}

/// How a session is with its room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Manner {
    /// Every update and step 2 of theirs is answered with a status.
    pub wants_status: bool,
    /// Where the room is full, they can be told that they wait.
    pub may_wait: bool,
    /// They are here for the presence of others alone: a document that cannot be read is nothing to
    /// them.
    pub has_no_document: bool,
}

/// A message of a session, checked.
#[derive(Clone, Debug)]
pub enum FromSession {
    /// "This is what I have."
    Step1(StateVector),
    /// "This is what you lack."
    Step2(Update),
    /// A change.
    Update(Update),
    /// Awareness states, its own and others' it heard of.
    Awareness(AwarenessUpdate),
    /// "Who is there?"
    QueryAwareness,
    /// A text for the other Hocuspocus sessions.
    Stateless(Bytes),
    /// What the user does, and where they are; what is `None` stays as it was.
    Report {
        /// What they do.
        status: Option<Status>,
        /// What others are to know beside, as JSON text.
        data: Option<Arc<str>>,
    },
    /// "I am here", and nothing else.
    Alive,
    /// So much that its client counts went unheard before the session began: nobody was let in.
    Unheard(u32),
    /// Something that is nothing to the room, but came between other messages.
    Other,
}
