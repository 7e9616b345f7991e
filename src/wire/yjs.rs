//! The sync and awareness messages that both Yjs protocols share.

use bytes::Bytes;

use crate::model::ClientId;

/// A Yjs update (v1) that has passed the validator: only `validator::update` makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Update(pub(in crate::wire) Bytes);

/// A state vector (v1) that has passed the validator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateVector(pub(in crate::wire) Bytes);

/// The payload of an awareness message (without its outer length) that has passed the validator:
/// entries are whole, states are valid JSON within the limits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AwarenessUpdate(pub(in crate::wire) Bytes);

/// One entry of an awareness message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AwarenessEntry<'a> {
    /// Whose.
    pub client: ClientId,
    /// Which of its states.
    pub clock: u64,
    /// The state's JSON; `None` for `null`: this client is gone.
    pub state: Option<&'a str>,
}

/// A sync message as received: unchecked contents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncMessage<'a> {
    /// "This is what I have": a state vector.
    Step1(&'a [u8]),
    /// "This is what you lack": an update.
    Step2(&'a [u8]),
    /// A change.
    Update(&'a [u8]),
}
