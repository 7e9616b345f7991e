//! What both Yjs doors receive, checked before a room sees it.

use bytes::Bytes;

use crate::room::FromSession;
use crate::wire::close::Refusal;
use crate::wire::validator;
use crate::wire::yjs::SyncMessage;

/// A sync message whose content is sane.
pub fn sync(message: SyncMessage<'_>) -> Result<FromSession, Refusal> {
    // Copied: what is kept must not hold on to the buffer that all sockets are read into.
    let update = |bytes| {
        validator::update(Bytes::copy_from_slice(bytes)).map_err(|invalid| invalid.refusal())
    };
    Ok(match message {
        SyncMessage::Step1(bytes) => FromSession::Step1(
            validator::state_vector(Bytes::copy_from_slice(bytes))
                .map_err(|_| Refusal::BadMessage)?,
        ),
        SyncMessage::Step2(bytes) => FromSession::Step2(update(bytes)?),
        SyncMessage::Update(bytes) => FromSession::Update(update(bytes)?),
    })
}

/// An awareness payload whose entries are whole and whose states are JSON.
pub fn awareness(payload: &[u8]) -> Result<FromSession, Refusal> {
    let update = validator::awareness(Bytes::copy_from_slice(payload));
    Ok(FromSession::Awareness(
        update.map_err(|invalid| invalid.refusal())?,
    ))
}
