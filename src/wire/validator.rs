//! Is this update, state vector or awareness payload sane? A walk over the bytes, before anything
//! else sees them.
//!
//! Libraries trust what they decode: a few forged bytes make one reserve hundreds of megabytes, overflow
//! the stack, or leave a document that can never be encoded again. So a value that passed here keeps to
//! what Yjs clients really write. Values are passed on byte for byte, whatever a library here would make
//! of them: halves of surrogate pairs, large integers, the order of keys. The walk recurses nowhere and
//! allocates nothing for an update of one client.
//!
//! Two encodings are refused although Yjs has names for them, because yrs clients read them by another
//! rule than Yjs does and would take the bytes behind them for something unchecked: JSON content
//! (kind 2, which yrs reads one string too far) and XML hooks (type 5, whose name yrs does not
//! read). Clients have not written the first since Yjs 13 and use the second nowhere.

use std::ops::Range;

use bytes::Bytes;

use super::close::Refusal;
use super::json::{self, BadJson};
use super::lib0::{Malformed, Reader, write_varuint};
use super::typed::Typed;
use super::yjs::{
    AwarenessEntry, AwarenessUpdate, StateVector, TooLarge, Update, write_awareness_entry,
};
use crate::limits::{
    AWARENESS_CLOCK_MAX, AWARENESS_STATE_BYTES_MAX, AWARENESS_STATE_DEPTH_MAX, CLIENT_ID_MAX,
    CLOCK_END, UPDATE_NESTING_MAX,
};
use crate::model::ClientId;

const _: () = assert!(
    UPDATE_NESTING_MAX <= json::DEPTH_LIMIT && AWARENESS_STATE_DEPTH_MAX <= json::DEPTH_LIMIT,
    "the JSON check can look this deep"
);

/// Why an update or a state vector is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// It ends too soon, or a number, text or count is impossible.
    #[error("truncated or malformed bytes")]
    Malformed,
    /// Something follows its end.
    #[error("bytes behind the end")]
    TrailingBytes,
    /// A client has two sections.
    #[error("a client occurs twice")]
    RepeatedClient,
    /// A clock or the end of a range is beyond what clients can count.
    #[error("a clock is out of range")]
    Clock,
    /// Something refers to itself or to what its own client writes later.
    #[error("a reference to what is not written yet")]
    Reference,
    /// A struct, content, type or value of no known kind.
    #[error("an unknown kind of content")]
    Kind,
    /// A section, content or range of length zero.
    #[error("an empty section or content")]
    Empty,
    /// Values nest too deep.
    #[error("values nest deeper than {UPDATE_NESTING_MAX}")]
    Nesting,
    /// Embedded JSON that is none.
    #[error("embedded JSON is invalid")]
    Json,
    /// Deleted ranges that overlap or do not ascend.
    #[error("deleted ranges out of order")]
    DeleteOrder,
}

/// Why an awareness payload is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAwareness {
    /// It ends too soon, or something follows its end, or a number or text is impossible.
    #[error("truncated or malformed bytes")]
    Malformed,
    /// A clock close to where other implementations wrap.
    #[error("an awareness clock above {AWARENESS_CLOCK_MAX}")]
    Clock,
    /// A state that is no JSON.
    #[error("an awareness state is no valid JSON")]
    Json,
    /// A state that nests too deep.
    #[error("an awareness state nests deeper than {AWARENESS_STATE_DEPTH_MAX}")]
    Nesting,
}

impl Invalid {
    /// What its sender is told.
    pub fn refusal(self) -> Refusal {
        Refusal::BadUpdate
    }
}

impl InvalidAwareness {
    /// What its sender is told.
    pub fn refusal(self) -> Refusal {
        Refusal::BadMessage
    }
}

/// Checks a Yjs update in encoding v1.
pub fn update(bytes: Bytes) -> Result<Update, Invalid> {
    match Typed::read(&bytes) {
        Some(typed) => Ok(Update::of_typed(bytes, typed)),
        None => walk(bytes),
    }
}

/// Checks an update of any kind.
pub(in crate::wire) fn walk(bytes: Bytes) -> Result<Update, Invalid> {
    let mut reader = Reader::new(&bytes);
    let sections = count(&mut reader, SECTION_BYTES_MIN)?;
    let mut clients = Clients::default();
    for _ in 0..sections {
        clients.add(Section::read(&mut reader)?.client);
    }
    clients.check()?;
    delete_set(&mut reader)?;
    end(&reader)?;
    Ok(Update::of_checked(bytes))
}

/// Checks a Yjs state vector in encoding v1.
pub fn state_vector(bytes: Bytes) -> Result<StateVector, Invalid> {
    let mut reader = Reader::new(&bytes);
    let entries = count(&mut reader, STATE_BYTES_MIN)?;
    let mut clients = Clients::default();
    for _ in 0..entries {
        clients.add(client(&mut reader)?);
        clock(&mut reader)?;
    }
    clients.check()?;
    end(&reader)?;
    Ok(StateVector(bytes))
}

/// Checks the payload of an awareness message. A state that is too large costs its sender that state,
/// and is left out here, where there is time.
pub fn awareness(bytes: Bytes) -> Result<AwarenessUpdate, InvalidAwareness> {
    let mut reader = Reader::new(&bytes);
    let entries = reader.varuint()?;
    if entries > (reader.remaining() / AWARENESS_ENTRY_BYTES_MIN) as u64 {
        return Err(InvalidAwareness::Malformed);
    }
    let mut too_large = Vec::new();
    for _ in 0..entries {
        let entry = AwarenessEntry::read(&mut reader)?;
        if entry.clock > AWARENESS_CLOCK_MAX {
            return Err(InvalidAwareness::Clock);
        }
        let Some(state) = entry.state else { continue };
        if state.len() > AWARENESS_STATE_BYTES_MAX {
            too_large.push(TooLarge {
                client: entry.client,
                clock: entry.clock,
                bytes: state.len(),
            });
            continue;
        }
        json::check(state, AWARENESS_STATE_DEPTH_MAX)?;
    }
    if !reader.is_empty() {
        return Err(InvalidAwareness::Malformed);
    }
    let bytes = match too_large.is_empty() {
        true => bytes,
        false => without_too_large(&bytes, entries - too_large.len() as u64)?,
    };
    Ok(AwarenessUpdate { bytes, too_large })
}

/// The same entries but for those whose state is too large; how many that leaves is known.
fn without_too_large(bytes: &[u8], left: u64) -> Result<Bytes, InvalidAwareness> {
    let mut reader = Reader::new(bytes);
    let mut out = Vec::new();
    write_varuint(&mut out, left);
    for _ in 0..reader.varuint()? {
        let entry = AwarenessEntry::read(&mut reader)?;
        if entry
            .state
            .is_none_or(|state| state.len() <= AWARENESS_STATE_BYTES_MAX)
        {
            write_awareness_entry(&mut out, entry.client, entry.clock, entry.state);
        }
    }
    Ok(out.into())
}

/// An id, a clock and the length of a state.
const AWARENESS_ENTRY_BYTES_MIN: usize = 3;

/// What one client inserts by an update.
pub(in crate::wire) struct Section {
    pub client: ClientId,
    /// From the first to after the last clock that is no Skip; `None` if all is.
    pub clocks: Option<Range<u64>>,
}

impl Section {
    pub(in crate::wire) fn read(reader: &mut Reader<'_>) -> Result<Self, Invalid> {
        let structs = count(reader, STRUCT_BYTES_MIN)?;
        if structs == 0 {
            return Err(Invalid::Empty);
        }
        let client = client(reader)?;
        let mut next = clock(reader)?;
        let mut clocks: Option<Range<u64>> = None;
        for _ in 0..structs {
            let start = next;
            let read = read_struct(reader, client, start)?;
            next = read.end;
            if !read.is_skip() {
                let first = clocks.map_or(start, |clocks| clocks.start);
                clocks = Some(first..next);
            }
        }
        Ok(Self { client, clocks })
    }
}

/// One thing that a section holds.
pub(in crate::wire) struct Struct {
    /// What it is, and for an item which neighbours it names.
    pub info: u8,
    /// The clock behind its last.
    pub end: u64,
}

impl Struct {
    /// Whether it says that nothing is there.
    pub fn is_skip(&self) -> bool {
        self.info == KIND_SKIP
    }
}

/// Reads a struct that begins at `start` of `client`'s clocks.
#[inline]
pub(in crate::wire) fn read_struct(
    reader: &mut Reader<'_>,
    client: ClientId,
    start: u64,
) -> Result<Struct, Invalid> {
    read_struct_and(reader, client, start, |_, _| ())
}

/// As `read_struct`; tells which clocks of which clients the struct names: its neighbours and parent.
#[inline]
pub(in crate::wire) fn read_struct_and(
    reader: &mut Reader<'_>,
    client: ClientId,
    start: u64,
    names: impl FnMut(ClientId, u64),
) -> Result<Struct, Invalid> {
    let info = reader.u8()?;
    let length = match info {
        KIND_GC | KIND_SKIP => length(reader)?,
        _ => item(reader, info, client, start, names)?,
    };
    let end = start + length;
    if end >= CLOCK_END {
        return Err(Invalid::Clock);
    }
    Ok(Struct { info, end })
}

// The least bytes that each thing takes: what remains bounds how many there can be.
const SECTION_BYTES_MIN: usize = 5;
const STRUCT_BYTES_MIN: usize = 2;
const STATE_BYTES_MIN: usize = 2;
const DELETE_SECTION_BYTES_MIN: usize = 4;
const DELETE_RANGE_BYTES_MIN: usize = 2;
const ANY_BYTES_MIN: usize = 1;
const ANY_MEMBER_BYTES_MIN: usize = 2;

const KIND_GC: u8 = 0;
const KIND_SKIP: u8 = 10;
const KIND_MASK: u8 = 0x1f;
const HAS_PARENT_KEY: u8 = 0x20;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_ORIGIN: u8 = 0x80;

/// An item after its first byte: where it belongs, and its content. Returns its length in clocks.
#[inline]
fn item(
    reader: &mut Reader<'_>,
    info: u8,
    client: ClientId,
    clock: u64,
    mut names: impl FnMut(ClientId, u64),
) -> Result<u64, Invalid> {
    if info & HAS_ORIGIN != 0 {
        reference(reader, client, clock, &mut names)?;
    }
    if info & HAS_RIGHT_ORIGIN != 0 {
        reference(reader, client, clock, &mut names)?;
    }
    // An item with a neighbour has that one's parent, and writes none.
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        match reader.u8()? {
            0 => reference(reader, client, clock, &mut names)?,
            1 => drop(reader.varstring()?),
            _ => return Err(Invalid::Malformed),
        }
        if info & HAS_PARENT_KEY != 0 {
            reader.varstring()?;
        }
    }
    content(reader, info & KIND_MASK)
}

fn content(reader: &mut Reader<'_>, kind: u8) -> Result<u64, Invalid> {
    match kind {
        // Deleted.
        1 => return length(reader),
        // Binary.
        3 => drop(reader.varbytes()?),
        // String; its clocks are UTF-16 units.
        4 => {
            let text = reader.varstring()?;
            if text.is_empty() {
                return Err(Invalid::Empty);
            }
            return Ok(utf16_len(text));
        }
        // Embed.
        5 => embedded_json(reader)?,
        // Format.
        6 => {
            reader.varstring()?;
            embedded_json(reader)?;
        }
        // Type: array, map, text, XML element with its name, XML fragment, XML text.
        7 => match reader.u8()? {
            0 | 1 | 2 | 4 | 6 => {}
            3 => drop(reader.varstring()?),
            _ => return Err(Invalid::Kind),
        },
        // Any number of values.
        8 => {
            let values = count(reader, ANY_BYTES_MIN)?;
            if values == 0 {
                return Err(Invalid::Empty);
            }
            for _ in 0..values {
                any(reader)?;
            }
            return Ok(values);
        }
        // Subdocument: its id and its options.
        9 => {
            reader.varstring()?;
            any(reader)?;
        }
        _ => return Err(Invalid::Kind),
    }
    Ok(1)
}

fn delete_set(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    let sections = count(reader, DELETE_SECTION_BYTES_MIN)?;
    let mut clients = Clients::default();
    for _ in 0..sections {
        clients.add(client(reader)?);
        let ranges = count(reader, DELETE_RANGE_BYTES_MIN)?;
        if ranges == 0 {
            return Err(Invalid::Empty);
        }
        let mut end = 0;
        for _ in 0..ranges {
            let start = clock(reader)?;
            if start < end {
                return Err(Invalid::DeleteOrder);
            }
            end = start + length(reader)?;
            if end >= CLOCK_END {
                return Err(Invalid::Clock);
            }
        }
    }
    clients.check()
}

/// One value of lib0's own encoding of JavaScript values.
pub(in crate::wire) fn any(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    let Some(outermost) = any_head(reader)? else {
        return Ok(());
    };
    let mut open = Nesting::of(outermost);
    while let Some(container) = open.innermost() {
        if container.left == 0 {
            open.close();
            continue;
        }
        container.left -= 1;
        if container.has_keys {
            reader.varstring()?;
        }
        if let Some(inner) = any_head(reader)? {
            open.open(inner)?;
        }
    }
    Ok(())
}

/// The containers that are open. Few are, nearly always.
struct Nesting {
    depth: usize,
    few: [Container; FEW],
    more: Vec<Container>,
}

const FEW: usize = 8;

impl Nesting {
    fn of(outermost: Container) -> Self {
        let mut few = [Container::default(); FEW];
        few[0] = outermost;
        Self {
            depth: 1,
            few,
            more: Vec::new(),
        }
    }

    fn innermost(&mut self) -> Option<&mut Container> {
        match self.depth {
            0 => None,
            1..=FEW => self.few.get_mut(self.depth - 1),
            _ => self.more.last_mut(),
        }
    }

    fn open(&mut self, inner: Container) -> Result<(), Invalid> {
        if self.depth == UPDATE_NESTING_MAX {
            return Err(Invalid::Nesting);
        }
        match self.few.get_mut(self.depth) {
            Some(place) => *place = inner,
            None => self.more.push(inner),
        }
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self) {
        if FEW < self.depth {
            self.more.pop();
        }
        self.depth -= 1;
    }
}

/// An array or object, and how many of its values have not been read.
#[derive(Clone, Copy, Default)]
struct Container {
    left: u64,
    has_keys: bool,
}

/// Reads a value whole, unless it contains others.
fn any_head(reader: &mut Reader<'_>) -> Result<Option<Container>, Invalid> {
    match reader.u8()? {
        // Undefined, null, false, true.
        127 | 126 | 121 | 120 => {}
        // Integer.
        125 => drop(reader.varint()?),
        // 32-bit float.
        124 => drop(reader.bytes(4)?),
        // 64-bit float and integer.
        123 | 122 => drop(reader.bytes(8)?),
        // Text.
        119 => drop(reader.varstring()?),
        // Bytes.
        116 => drop(reader.varbytes()?),
        // Object.
        118 => {
            return Ok(Some(Container {
                left: count(reader, ANY_MEMBER_BYTES_MIN)?,
                has_keys: true,
            }));
        }
        // Array.
        117 => {
            return Ok(Some(Container {
                left: count(reader, ANY_BYTES_MIN)?,
                has_keys: false,
            }));
        }
        _ => return Err(Invalid::Kind),
    }
    Ok(None)
}

fn embedded_json(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    Ok(json::check(reader.varstring()?, UPDATE_NESTING_MAX)?)
}

/// The id of something written before `clock` of `client`, so far as that can be told.
#[inline]
fn reference(
    reader: &mut Reader<'_>,
    client: ClientId,
    clock: u64,
    names: &mut impl FnMut(ClientId, u64),
) -> Result<(), Invalid> {
    let other = self::client(reader)?;
    let other_clock = self::clock(reader)?;
    if other == client && other_clock >= clock {
        return Err(Invalid::Reference);
    }
    names(other, other_clock);
    Ok(())
}

/// A number of things that take at least so many bytes each.
#[inline]
fn count(reader: &mut Reader<'_>, bytes_min: usize) -> Result<u64, Invalid> {
    let count = reader.varuint32()?;
    if count > (reader.remaining() / bytes_min) as u64 {
        return Err(Invalid::Malformed);
    }
    Ok(count)
}

#[inline]
fn client(reader: &mut Reader<'_>) -> Result<ClientId, Invalid> {
    const { assert!(CLIENT_ID_MAX == super::lib0::VARUINT_MAX) };
    Ok(ClientId(reader.varuint()?))
}

#[inline]
fn clock(reader: &mut Reader<'_>) -> Result<u64, Invalid> {
    let clock = reader.varuint32()?;
    if clock >= CLOCK_END {
        return Err(Invalid::Clock);
    }
    Ok(clock)
}

#[inline]
fn length(reader: &mut Reader<'_>) -> Result<u64, Invalid> {
    match clock(reader)? {
        0 => Err(Invalid::Empty),
        length => Ok(length),
    }
}

fn end(reader: &Reader<'_>) -> Result<(), Invalid> {
    if !reader.is_empty() {
        return Err(Invalid::TrailingBytes);
    }
    Ok(())
}

/// How many UTF-16 units, which are clocks, a text takes.
pub(in crate::wire) fn utf16_len(text: &str) -> u64 {
    if text.is_ascii() {
        return text.len() as u64;
    }
    // Every byte but a continuation begins a unit; four-byte characters take a second one.
    text.bytes()
        .map(|byte| u64::from(byte & 0xc0 != 0x80) + u64::from(byte >= 0xf0))
        .sum()
}

/// The clients of one part of an update; each may occur once.
#[derive(Default)]
struct Clients {
    last: Option<ClientId>,
    // Only from the second client on, so that the usual update allocates nothing.
    all: Vec<ClientId>,
}

impl Clients {
    #[inline]
    fn add(&mut self, client: ClientId) {
        if let Some(last) = self.last.replace(client) {
            if self.all.is_empty() {
                self.all.push(last);
            }
            self.all.push(client);
        }
    }

    fn check(mut self) -> Result<(), Invalid> {
        // Most implementations write descending ids, some write delete sets in any order.
        if self.all.is_sorted_by(|a, b| a > b) {
            return Ok(());
        }
        self.all.sort_unstable();
        if self.all.is_sorted_by(|a, b| a < b) {
            Ok(())
        } else {
            Err(Invalid::RepeatedClient)
        }
    }
}

impl From<Malformed> for Invalid {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<BadJson> for Invalid {
    fn from(bad: BadJson) -> Self {
        match bad {
            BadJson::Syntax => Self::Json,
            BadJson::TooDeep => Self::Nesting,
        }
    }
}

impl From<Malformed> for InvalidAwareness {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<BadJson> for InvalidAwareness {
    fn from(bad: BadJson) -> Self {
        match bad {
            BadJson::Syntax => Self::Json,
            BadJson::TooDeep => Self::Nesting,
        }
    }
}

#[cfg(test)]
mod tests {
    use yrs::updates::decoder::Decode;

    use super::*;

    fn check(bytes: &[u8]) -> Result<(), Invalid> {
        update(Bytes::copy_from_slice(bytes)).map(drop)
    }

    /// An update of client 7 at clock 10 with one struct, given by its bytes, and no deletion.
    fn with_struct(bytes: &[u8]) -> Vec<u8> {
        [&[1, 1, 7, 10][..], bytes, &[0]].concat()
    }

    /// The same with an item of that content, in the root type "t".
    fn with_content(kind: u8, content: &[u8]) -> Vec<u8> {
        with_struct(&[&[kind, 1, 1, b't'][..], content].concat())
    }

    fn text(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        crate::wire::lib0::write_varstring(&mut out, text);
        out
    }

    #[test]
    fn inputs_that_broke_yrs_are_refused() {
        let deep = [
            &[1, 1, 1, 0, 8, 1, 1, 97, 1][..],
            &[117, 1].repeat(10_000),
            &[126, 0],
        ]
        .concat();
        for bytes in [
            &[1, 1, 2, 5, 146, 69, 2, 0, 1, 51, 0][..],
            &[
                1, 1, 240, 162, 4, 255, 255, 255, 255, 255, 255, 255, 15, 4, 1, 1, 116, 1, 10, 0,
            ],
            &[1, 1, 7, 0, 0, 255, 255, 255, 255, 15, 0],
            &deep,
        ] {
            assert!(check(bytes).is_err());
        }
        let huge_count = Bytes::from_static(&[0x80, 0x80, 0x80, 0x80, 1]);
        assert_eq!(update(huge_count.clone()), Err(Invalid::Malformed));
        assert_eq!(state_vector(huge_count.clone()), Err(Invalid::Malformed));
        assert!(awareness(huge_count).is_err());
    }

    #[test]
    fn every_kind_of_content_that_clients_write_passes() {
        for (kind, content) in [
            (1, vec![5]),
            (3, vec![2, 0xff, 0xfe]),
            (4, text("grüße 👋")),
            (5, text(r#"{"image":[1,2.5,null]}"#)),
            (6, [text("bold"), text("true")].concat()),
            (7, vec![0]),
            (7, vec![1]),
            (7, vec![2]),
            (7, [vec![3], text("p")].concat()),
            (7, vec![4]),
            (7, vec![6]),
            (
                8,
                [&[5][..], &[127, 126, 120, 125, 0x6a, 119, 1, b'x']].concat(),
            ),
            (
                8,
                [&[1, 118, 2][..], b"\x01a\x75\x01\x7e\x01b\x74\x01\xff"].concat(),
            ),
            (9, [text("guid"), vec![118, 0]].concat()),
        ] {
            let bytes = with_content(kind, &content);
            assert_eq!(check(&bytes), Ok(()), "{kind}: {content:?}");
            assert!(
                yrs::Update::decode_v1(&bytes).is_ok(),
                "{kind}: {content:?}"
            );
        }
    }

    #[test]
    fn content_of_no_known_kind_is_refused() {
        for kind in [2, 10 | 0x20, 11, 12, 15] {
            assert_eq!(
                check(&with_content(kind, &[1, 1, b'1'])),
                Err(Invalid::Kind)
            );
        }
        for kind in [4 | 0x10, 0x10, 10 | 0x10] {
            assert_eq!(check(&with_content(kind, &[1, b'x'])), Err(Invalid::Kind));
        }
        for type_kind in [5, 7, 9, 15, 0x80] {
            assert_eq!(check(&with_content(7, &[type_kind])), Err(Invalid::Kind));
        }
        assert_eq!(check(&with_content(8, &[1, 115])), Err(Invalid::Kind));
    }

    #[test]
    fn what_yrs_reads_by_another_rule_than_yjs_is_refused() {
        // One JSON string by the length that Yjs writes; yrs takes two.
        let json_content = with_content(2, &[1, 1, b'1']);
        assert!(yrs::Update::decode_v1(&json_content).is_err());
        assert!(check(&json_content).is_err());
        // A hook with a name of one byte, and client 3's clocks 4 to 8 deleted; yrs takes the name
        // for a client, and deletes a clock of that one.
        let hook = [
            &[1, 1, 7, 10, 7, 1, 1, b't'][..],
            &[5, 1, 8],
            &[1, 3, 1, 4, 5],
        ]
        .concat();
        let read_by_yrs = yrs::Update::decode_v1(&hook).unwrap();
        assert!(
            read_by_yrs
                .delete_set()
                .get(&yrs::ClientID::new(8))
                .is_some()
        );
        assert_eq!(check(&hook), Err(Invalid::Kind));
    }

    #[test]
    fn nothing_is_empty() {
        for bytes in [
            with_struct(&[0, 0]),
            with_struct(&[10, 0]),
            with_content(1, &[0]),
            with_content(4, &[0]),
            with_content(8, &[0, 127]),
            vec![1, 0, 7, 0, 0, 0],
            vec![0, 1, 7, 0, 0, 0],
            vec![0, 1, 7, 1, 3, 0],
        ] {
            assert_eq!(check(&bytes), Err(Invalid::Empty), "{bytes:?}");
        }
    }

    #[test]
    fn clocks_stay_below_two_to_the_31() {
        let most = [0xfe, 0xff, 0xff, 0xff, 0x07]; // 2^31 - 2
        let end = [0xff, 0xff, 0xff, 0xff, 0x07]; // 2^31 - 1
        let gc_at = |clock: &[u8], length: &[u8]| {
            check(&[&[1, 1, 7][..], clock, &[0], length, &[0]].concat())
        };
        assert_eq!(gc_at(&most, &[1]), Ok(()));
        assert_eq!(gc_at(&end, &[1]), Err(Invalid::Clock));
        assert_eq!(gc_at(&[2], &end), Err(Invalid::Clock));
        assert_eq!(
            gc_at(&[0xff, 0xff, 0xff, 0xff, 0x0f], &[1]),
            Err(Invalid::Clock)
        );
        let delete =
            |clock: &[u8], length: &[u8]| check(&[&[0, 1, 7, 1][..], clock, length].concat());
        assert_eq!(delete(&[0], &[5]), Ok(()));
        assert_eq!(delete(&end, &[1]), Err(Invalid::Clock));
        assert_eq!(delete(&[1], &end), Err(Invalid::Clock));
        let sv = |clock: &[u8]| state_vector([&[1, 7][..], clock].concat().into()).map(drop);
        assert_eq!(sv(&end), Ok(()));
        assert_eq!(sv(&[0x80, 0x80, 0x80, 0x80, 0x08]), Err(Invalid::Clock));
    }

    #[test]
    fn an_item_refers_only_to_what_came_before_it() {
        let item =
            |info: u8, ids: &[u8]| check(&with_struct(&[&[info | 4][..], ids, b"\x01x"].concat()));
        assert_eq!(item(0x80, &[7, 9]), Ok(()));
        assert_eq!(item(0x80, &[7, 10]), Err(Invalid::Reference));
        assert_eq!(item(0x40, &[7, 11]), Err(Invalid::Reference));
        assert_eq!(item(0xc0, &[8, 99, 7, 9]), Ok(()));
        assert_eq!(item(0xc0, &[8, 99, 7, 10]), Err(Invalid::Reference));
        assert_eq!(item(0, &[0, 7, 9]), Ok(()));
        assert_eq!(item(0, &[0, 7, 10]), Err(Invalid::Reference));
        assert_eq!(item(0, &[2, 7, 9]), Err(Invalid::Malformed));
    }

    #[test]
    fn a_client_has_one_section() {
        let gc = |client: u8| [1, client, 0, 0, 1];
        let update_of = |clients: &[u8]| {
            let sections: Vec<u8> = clients.iter().flat_map(|&client| gc(client)).collect();
            check(&[&[clients.len() as u8][..], &sections, &[0]].concat())
        };
        assert_eq!(update_of(&[9, 5, 2]), Ok(()));
        assert_eq!(update_of(&[2, 9, 5]), Ok(()));
        assert_eq!(update_of(&[5, 5]), Err(Invalid::RepeatedClient));
        assert_eq!(update_of(&[5, 9, 5]), Err(Invalid::RepeatedClient));
        assert_eq!(
            check(&[0, 2, 5, 1, 0, 1, 5, 1, 3, 1]),
            Err(Invalid::RepeatedClient)
        );
        assert_eq!(
            state_vector(Bytes::from_static(&[2, 5, 1, 5, 2])),
            Err(Invalid::RepeatedClient)
        );
    }

    #[test]
    fn deleted_ranges_ascend() {
        assert_eq!(check(&[0, 1, 7, 2, 0, 2, 5, 1]), Ok(()));
        assert_eq!(check(&[0, 1, 7, 2, 0, 2, 2, 1]), Ok(()));
        assert_eq!(check(&[0, 1, 7, 2, 0, 3, 2, 1]), Err(Invalid::DeleteOrder));
        assert_eq!(check(&[0, 1, 7, 2, 5, 1, 0, 2]), Err(Invalid::DeleteOrder));
    }

    #[test]
    fn nothing_follows_the_end() {
        assert_eq!(check(&[0, 0, 0]), Err(Invalid::TrailingBytes));
        assert_eq!(
            state_vector(Bytes::from_static(&[0, 0])),
            Err(Invalid::TrailingBytes)
        );
        assert_eq!(
            awareness(Bytes::from_static(&[0, 0])),
            Err(InvalidAwareness::Malformed)
        );
    }

    #[test]
    fn values_nest_a_thousand_deep_and_no_deeper() {
        let arrays =
            |depth: usize| with_content(8, &[&[1][..], &[117, 1].repeat(depth), &[126]].concat());
        let objects = |depth: usize| {
            with_content(
                8,
                &[&[1][..], &[118, 1, 1, b'k'].repeat(depth), &[126]].concat(),
            )
        };
        let json = |depth: usize| with_content(5, &text(&("[".repeat(depth) + &"]".repeat(depth))));
        for bytes in [arrays(1_000), objects(1_000), json(1_000)] {
            assert_eq!(check(&bytes), Ok(()));
        }
        for bytes in [arrays(1_001), objects(1_001), json(1_001), json(100_000)] {
            assert_eq!(check(&bytes), Err(Invalid::Nesting));
        }
        // What was opened deep is closed in its order.
        let mixed = [&[1][..], &[117, 2].repeat(500), &[126], &[120].repeat(500)].concat();
        assert_eq!(check(&with_content(8, &mixed)), Ok(()));
    }

    #[test]
    fn values_that_browsers_have_and_libraries_lack_pass() {
        for value in [
            r#""\ud83d""#,
            "18446744073709551616",
            "1e999",
            "9223372036854775808",
        ] {
            assert_eq!(check(&with_content(5, &text(value))), Ok(()), "{value}");
            let mark = [text("mark"), text(value)].concat();
            assert_eq!(check(&with_content(6, &mark)), Ok(()), "{value}");
        }
        let big = [&[1, 122][..], &[0xff; 8]].concat();
        assert_eq!(check(&with_content(8, &big)), Ok(()), "a BigInt");
    }

    #[test]
    fn text_counts_as_browsers_count_it() {
        for (text, units) in [("abc", 3), ("grüße", 5), ("👋", 2), ("a👋ü漢", 5)] {
            assert_eq!(utf16_len(text), units);
        }
        assert_eq!(
            check(&with_content(4, &[3, 0xed, 0xa0, 0x80])),
            Err(Invalid::Malformed)
        );
    }

    #[test]
    fn awareness_states_are_json_within_limits() {
        let entry = |clock: u64, state: &str| {
            let mut out = vec![1];
            crate::wire::yjs::write_awareness_entry(&mut out, ClientId(5), clock, Some(state));
            awareness(out.into()).map(drop)
        };
        assert_eq!(entry(1, "{}"), Ok(()));
        assert_eq!(entry(1, "null"), Ok(()));
        assert_eq!(entry(1, r#""\ud83d""#), Ok(()));
        assert_eq!(entry(1, "{"), Err(InvalidAwareness::Json));
        assert_eq!(entry(1, ""), Err(InvalidAwareness::Json));
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(entry(1, &nested(64)), Ok(()));
        assert_eq!(entry(1, &nested(65)), Err(InvalidAwareness::Nesting));
        let large = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        assert_eq!(entry(1, &large(64 << 10)), Ok(()));
        assert_eq!(entry(AWARENESS_CLOCK_MAX, "{}"), Ok(()));
        assert_eq!(
            entry(AWARENESS_CLOCK_MAX + 1, "{}"),
            Err(InvalidAwareness::Clock)
        );
        assert_eq!(InvalidAwareness::Json.refusal(), Refusal::BadMessage);
        assert!(awareness(Bytes::from_static(&[0])).is_ok());
    }

    #[test]
    fn a_state_that_is_too_large_is_left_out_alone() {
        // Not even looked at: it may be no JSON.
        let large = "x".repeat((64 << 10) + 1);
        let mut out = vec![3];
        for (client, state) in [(5, Some("{}")), (6, Some(&*large)), (7, None)] {
            crate::wire::yjs::write_awareness_entry(&mut out, ClientId(client), client + 3, state);
        }
        let update = awareness(out.into()).unwrap();
        let left: Vec<_> = update
            .entries()
            .map(|entry| (entry.client.0, entry.clock, entry.state))
            .collect();
        assert_eq!(left, [(5, 8, Some("{}")), (7, 10, None)]);
        let too_large = TooLarge {
            client: ClientId(6),
            clock: 9,
            bytes: (64 << 10) + 1,
        };
        assert_eq!(update.too_large(), [too_large]);
        assert!(update.bytes().len() < 100);
    }
}
