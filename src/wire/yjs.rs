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

impl AwarenessUpdate {
    /// The entries in their order.
    pub fn entries(&self) -> impl Iterator<Item = AwarenessEntry<'_>> {
        let mut rest = &*self.0;
        let count = varuint(&mut rest).unwrap_or(0);
        (0..count).map_while(move |_| entry(&mut rest))
    }
}

fn entry<'a>(rest: &mut &'a [u8]) -> Option<AwarenessEntry<'a>> {
    let client = ClientId(varuint(rest)?);
    let clock = varuint(rest)?;
    let length = usize::try_from(varuint(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    let text = std::str::from_utf8(text).ok()?;
    Some(AwarenessEntry {
        client,
        clock,
        state: (text != "null").then_some(text),
    })
}

fn varuint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..56).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
