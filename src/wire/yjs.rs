//! The sync and awareness messages that both Yjs protocols share.

use bytes::Bytes;

use super::json;
use super::lib0::{
    Malformed, Reader, varbytes_len, varuint_len, write_varbytes, write_varstring, write_varuint,
};
use super::typed::Typed;
use super::validator::{self, InvalidAwareness, Section};
use crate::model::ClientId;

/// The type number of a sync message, in both protocols.
pub const MESSAGE_SYNC: u8 = 0;
/// The type number of an awareness message, in both protocols.
pub const MESSAGE_AWARENESS: u8 = 1;

/// A Yjs update (v1) that has passed the validator: only `validator::update` makes one.
#[derive(Clone, Debug)]
pub struct Update {
    bytes: Bytes,
    typed: Option<Typed>,
    updates: u32,
}

/// A state vector (v1) that has passed the validator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateVector(pub(in crate::wire) Bytes);

/// The payload of an awareness message (without its outer length) that has passed the validator:
/// entries are whole, states are valid JSON within the limits. Those that are too large are left out,
/// and named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AwarenessUpdate {
    pub(in crate::wire) bytes: Bytes,
    pub(in crate::wire) too_large: Vec<TooLarge>,
}

/// An awareness state that is too large to be looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLarge {
    /// Whose.
    pub client: ClientId,
    /// Which of its states.
    pub clock: u64,
    /// How large.
    pub bytes: usize,
}

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

/// A sync message, as received (unchecked contents) or to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncMessage<'a> {
    /// "This is what I have": a state vector.
    Step1(&'a [u8]),
    /// "This is what you lack": an update.
    Step2(&'a [u8]),
    /// A change.
    Update(&'a [u8]),
}

impl Update {
    /// Bytes that have passed the validator, or are put together from such.
    pub(in crate::wire) fn of_checked(bytes: Bytes) -> Self {
        Self {
            bytes,
            typed: None,
            updates: 1,
        }
    }

    /// Bytes in which this was read.
    pub(in crate::wire) fn of_typed(bytes: Bytes, typed: Typed) -> Self {
        Self {
            bytes,
            typed: Some(typed),
            updates: 1,
        }
    }

    /// The same, made of so many.
    pub(in crate::wire) fn in_place_of(self, updates: u32) -> Self {
        Self { updates, ..self }
    }

    /// How many updates a client sent that this stands for.
    pub fn updates(&self) -> u32 {
        self.updates
    }

    /// The encoded update.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What was typed, if it is known to be nothing else.
    pub fn typed(&self) -> Option<&Typed> {
        self.typed.as_ref()
    }

    /// The update that changes nothing.
    pub fn empty() -> Self {
        Self::of_checked(Bytes::from_static(&[0, 0]))
    }

    /// Whether it neither inserts nor deletes.
    pub fn is_empty(&self) -> bool {
        let mut reader = Reader::new(&self.bytes);
        reader.varuint() == Ok(0) && reader.varuint() == Ok(0)
    }

    /// Whether it inserts anything; otherwise it can only delete.
    pub fn has_structs(&self) -> bool {
        Reader::new(&self.bytes).varuint() != Ok(0)
    }

    /// For each client what it inserts: the first clock, and the clock after the last. Gaps that
    /// the update itself declares (Skip) count only when they are inside.
    pub fn clock_ends(&self) -> impl Iterator<Item = (ClientId, u64, u64)> + '_ {
        let mut reader = Reader::new(&self.bytes);
        let sections = reader.varuint().unwrap_or(0);
        // The bytes were walked before, so every section can be read again.
        (0..sections)
            .map_while(move |_| Section::read(&mut reader).ok())
            .filter_map(|section| {
                let clocks = section.clocks?;
                Some((section.client, clocks.start, clocks.end))
            })
    }
}

impl PartialEq for Update {
    fn eq(&self, other: &Self) -> bool {
        // What else is known of them is in the bytes.
        self.bytes == other.bytes
    }
}

impl Eq for Update {}

impl StateVector {
    /// The encoded state vector.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The state vector of an empty document.
    pub fn empty() -> Self {
        Self(Bytes::from_static(&[0]))
    }

    /// For each client the clock that comes next.
    pub fn entries(&self) -> impl Iterator<Item = (ClientId, u64)> + '_ {
        let mut reader = Reader::new(&self.0);
        let count = reader.varuint().unwrap_or(0);
        (0..count)
            .map_while(move |_| Some((ClientId(reader.varuint().ok()?), reader.varuint32().ok()?)))
    }
}

impl AwarenessUpdate {
    /// Encodes entries of ours, which pass the same checks as received ones.
    pub fn compose<'a>(
        entries: impl ExactSizeIterator<Item = AwarenessEntry<'a>>,
    ) -> Result<Self, InvalidAwareness> {
        let mut out = Vec::new();
        write_varuint(&mut out, entries.len() as u64);
        for entry in entries {
            write_awareness_entry(&mut out, entry.client, entry.clock, entry.state);
        }
        validator::awareness(out.into())
    }

    /// The encoded entries with their count, without the outer length.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The entries that are left out.
    pub fn too_large(&self) -> &[TooLarge] {
        &self.too_large
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        let count = Reader::new(&self.bytes).varuint().unwrap_or(0);
        usize::try_from(count).unwrap_or(0)
    }

    /// Whether there is no entry, as in a keep-alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries in their order.
    pub fn entries(&self) -> impl Iterator<Item = AwarenessEntry<'_>> {
        let mut reader = Reader::new(&self.bytes);
        let count = reader.varuint().unwrap_or(0);
        // The bytes were walked before, so every entry can be read again.
        (0..count).map_while(move |_| AwarenessEntry::read(&mut reader).ok())
    }
}

impl<'a> AwarenessEntry<'a> {
    /// Reads an entry as far as its encoding goes: neither clock nor JSON are checked.
    pub(in crate::wire) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let client = ClientId(reader.varuint()?);
        let clock = reader.varuint()?;
        let text = reader.varstring()?;
        Ok(Self {
            client,
            clock,
            state: (!json::is_null(text)).then_some(text),
        })
    }
}

impl<'a> SyncMessage<'a> {
    /// Reads a message's kind and payload; what follows stays in the reader.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        match reader.varuint()? {
            0 => Ok(Self::Step1(reader.varbytes()?)),
            1 => Ok(Self::Step2(reader.varbytes()?)),
            2 => Ok(Self::Update(reader.varbytes()?)),
            _ => Err(Malformed),
        }
    }

    /// The state vector or update inside.
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Self::Step1(payload) | Self::Step2(payload) | Self::Update(payload) => payload,
        }
    }

    /// Appends the message type, the kind and the payload: a whole message of the y-websocket
    /// protocol, and what follows the address in a Hocuspocus frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_prefix(out);
        out.extend_from_slice(self.payload());
    }

    /// Appends all but the payload, for who can send that from where it is.
    pub fn write_prefix(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[MESSAGE_SYNC, self.kind()]);
        write_varuint(out, self.payload().len() as u64);
    }

    /// How many bytes [`write`](Self::write) appends.
    pub fn encoded_len(&self) -> usize {
        2 + varbytes_len(self.payload().len())
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Step1(_) => 0,
            Self::Step2(_) => 1,
            Self::Update(_) => 2,
        }
    }
}

/// Appends one awareness entry; the caller has written how many there will be.
pub fn write_awareness_entry(out: &mut Vec<u8>, client: ClientId, clock: u64, state: Option<&str>) {
    write_varuint(out, client.0);
    write_varuint(out, clock);
    write_varstring(out, state.unwrap_or("null"));
}

/// How many bytes [`write_awareness_entry`] appends.
pub fn awareness_entry_len(client: ClientId, clock: u64, state: Option<&str>) -> usize {
    let text = state.unwrap_or("null");
    varuint_len(client.0) + varuint_len(clock) + varbytes_len(text.len())
}

/// Appends a whole awareness message around entries with their count: of the y-websocket protocol,
/// and what follows the address in a Hocuspocus frame.
pub fn write_awareness(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(MESSAGE_AWARENESS);
    write_varbytes(out, payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_messages_are_read_as_they_are_written() {
        for message in [
            SyncMessage::Step1(&[0]),
            SyncMessage::Step2(&[0, 0]),
            SyncMessage::Update(&[7; 300]),
        ] {
            let mut out = Vec::new();
            message.write(&mut out);
            assert_eq!(out.len(), message.encoded_len());
            let mut reader = Reader::new(&out);
            assert_eq!(reader.u8(), Ok(MESSAGE_SYNC));
            assert_eq!(SyncMessage::decode(&mut reader), Ok(message));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn an_unknown_or_cut_sync_message_is_malformed() {
        for bytes in [&[][..], &[3, 0], &[0], &[2, 5, 1, 2, 3, 4]] {
            assert!(SyncMessage::decode(&mut Reader::new(bytes)).is_err());
        }
    }

    #[test]
    fn awareness_entries_come_back_in_order_and_null_means_gone() {
        let given = [
            AwarenessEntry {
                client: ClientId(u64::from(u32::MAX) + 7),
                clock: 3,
                state: Some(r#"{"user":{"name":"Ann"}}"#),
            },
            AwarenessEntry {
                client: ClientId(2),
                clock: 0,
                state: None,
            },
        ];
        let update = AwarenessUpdate::compose(given.into_iter()).unwrap();
        assert_eq!(update.len(), 2);
        assert!(update.entries().eq(given));
        let entries_len: usize = given
            .iter()
            .map(|entry| awareness_entry_len(entry.client, entry.clock, entry.state))
            .sum();
        assert_eq!(update.bytes().len(), 1 + entries_len);
    }

    #[test]
    fn an_update_tells_whether_it_inserts_or_deletes() {
        assert!(Update::empty().is_empty() && !Update::empty().has_structs());
        let delete = validator::update(Bytes::from_static(&[0, 1, 9, 1, 0, 4])).unwrap();
        assert!(!delete.is_empty() && !delete.has_structs());
        assert_eq!(delete.clock_ends().count(), 0);
    }

    #[test]
    fn clock_ends_leave_out_skips_at_the_rim() {
        // Client 9 at clock 3: skip 2, GC 4, skip 1, GC 1, skip 5; client 8 skips only.
        let bytes = [
            2, 5, 9, 3, 10, 2, 0, 4, 10, 1, 0, 1, 10, 5, 1, 8, 0, 10, 3, 0,
        ];
        let update = validator::update(bytes.to_vec().into()).unwrap();
        assert!(update.clock_ends().eq([(ClientId(9), 5, 11)]));
        assert!(update.has_structs());
    }
}
