//! Everything that can happen to a room.

use bytes::Bytes;

use crate::model::{Grant, RequestId, SessionId};
use crate::presence::Ending;
use crate::room::document::{Report, Sequence};
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
        /// Whether every update and step 2 of theirs is answered with a status.
        wants_status: bool,
    },
    /// The session ended.
    Leave {
        /// Which.
        session: SessionId,
        /// How.
        ending: Ending,
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
    /// The session fell too far behind and can be written to again.
    Resync {
        /// Which.
        session: SessionId,
    },
    /// A task came back.
    Reported(Box<Report>),
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
    /// The deadline has passed.
    Tick,
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
    /// Something that is nothing to the room, but came between other messages.
    Other,
}
