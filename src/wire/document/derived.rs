//! Deletions that every client makes by itself.
//!
//! Who types into a type that somebody else deletes, and whose value of a map key loses against
//! another's, never says that this is deleted: each client finds out when it integrates both. But it is
//! among what it says to have deleted when it comes back. What can be derived from the document is no
//! news then.

use std::collections::{HashMap, HashSet};

use crate::limits::DERIVED_ENTRIES_MAX;
use crate::model::ClientId;
use crate::wire::document::piece::{CONTENT_DELETED, GC, neighbours};
use crate::wire::document::{Deletions, Document, deletions, head};
use crate::wire::lib0::Reader;
use crate::wire::merging::{HAS_ORIGIN, HAS_RIGHT_ORIGIN};
use crate::wire::validator::{self, Invalid};

const HAS_PARENT_KEY: u8 = 0x20;
const KIND: u8 = 0x1f;
/// Types lie in types; deeper than that nobody looks.
const DEPTH_MAX: usize = 1_000;

/// A struct's client and a clock of it.
type Id = (ClientId, u64);

/// Whether all of these are, in what the document holds.
pub(super) fn are_derived(document: &Document, unknown: &Deletions) -> Result<bool, Invalid> {
    let mut search = Search {
        document,
        deleted: deletions(&mut Reader::new(document.deletion_bytes()))?,
        places: HashMap::new(),
        parents: HashMap::new(),
        within: HashMap::new(),
        entries: None,
    };
    for (&client, ranges) in unknown {
        for range in ranges {
            let mut clock = range.start;
            while clock < range.end {
                let Some(found) = search.find((client, clock))? else {
                    return Ok(false);
                };
                // What has no content any more is deleted, whoever integrates it.
                let is_derived = found.info & KIND <= CONTENT_DELETED
                    || search.lies_in_deleted(found)?
                    || search.has_lost(found)?;
                if !is_derived {
                    return Ok(false);
                }
                clock = found.end;
            }
        }
    }
    Ok(true)
}

struct Search<'a> {
    document: &'a Document,
    deleted: Deletions,
    /// Of each client that was asked for: where its structs begin, in clocks and bytes.
    places: HashMap<ClientId, Vec<(u32, u32)>>,
    /// What structs lie in, as far as that was asked.
    parents: HashMap<Id, Parent>,
    /// Of types: whether they, or one around them, are deleted.
    within: HashMap<Id, bool>,
    /// The values of all map keys, once that is asked.
    entries: Option<Entries>,
}

/// A struct that was looked for.
#[derive(Clone, Copy)]
struct Found {
    client: ClientId,
    start: u64,
    end: u64,
    info: u8,
    /// Where it begins in the document.
    place: u32,
}

/// What something lies in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Parent {
    /// A root type, or that is not known: what it stands beside is nothing but clocks.
    None,
    /// A nested type.
    Type(Id),
    /// It stands beside something of which only the clocks are left: then so it is itself.
    Gone,
}

/// The values of all map keys.
#[derive(Default)]
struct Entries {
    all: HashSet<Id>,
    /// Those that are shown.
    winners: HashSet<Id>,
}

impl Search<'_> {
    fn find(&mut self, (client, clock): Id) -> Result<Option<Found>, Invalid> {
        if self.document.end(client) <= clock {
            return Ok(None);
        }
        if !self.places.contains_key(&client) {
            let places = places(self.document, client)?;
            self.places.insert(client, places);
        }
        let Some(places) = self.places.get(&client) else {
            return Ok(None);
        };
        let behind = places.partition_point(|&(start, _)| u64::from(start) <= clock);
        let Some(&(start, place)) = behind.checked_sub(1).and_then(|at| places.get(at)) else {
            return Ok(None);
        };
        // It is not read: it may be long, and this is asked for everything that stands beside it.
        let next = places.get(behind).map(|&(next, _)| u64::from(next));
        let info = self.document.bytes().get(place as usize);
        Ok(Some(Found {
            client,
            start: start.into(),
            end: next.unwrap_or_else(|| self.document.end(client)),
            info: info.copied().unwrap_or_default(),
            place,
        }))
    }

    /// Whether a type around it is deleted, or has lost its map key.
    fn lies_in_deleted(&mut self, found: Found) -> Result<bool, Invalid> {
        let mut passed = Vec::new();
        let mut at = found;
        let is_deleted = loop {
            let id = match self.parent(at)? {
                Parent::Gone => break true,
                Parent::None => break false,
                Parent::Type(id) => id,
            };
            if let Some(&known) = self.within.get(&id) {
                break known;
            }
            if DEPTH_MAX <= passed.len() {
                break false;
            }
            passed.push(id);
            if self.is_deleted(id) {
                break true;
            }
            let Some(parent) = self.find(id)? else {
                break false;
            };
            if parent.info == GC || self.has_lost(parent)? {
                break true;
            }
            at = parent;
        };
        self.within
            .extend(passed.into_iter().map(|id| (id, is_deleted)));
        Ok(is_deleted)
    }

    fn is_deleted(&self, (client, clock): Id) -> bool {
        let ranges = self.deleted.get(&client).map_or(&[][..], Vec::as_slice);
        let place = ranges.partition_point(|range| range.end <= clock);
        ranges.get(place).is_some_and(|range| range.start <= clock)
    }

    /// What it lies in: written in itself, or in the first of those it stands beside.
    fn parent(&mut self, found: Found) -> Result<Parent, Invalid> {
        let mut path = Vec::new();
        let mut at = found;
        let parent = loop {
            if let Some(&known) = self.parents.get(&(at.client, at.start)) {
                break known;
            }
            if DERIVED_ENTRIES_MAX <= self.parents.len() + path.len() {
                // Nobody looks further.
                break Parent::None;
            }
            path.push((at.client, at.start));
            let mut reader = self.document.reader(at.place);
            if at.info == GC {
                break Parent::Gone;
            }
            let (origin, right_origin) = neighbours(&mut { reader })?;
            if let Some((client, clock)) = origin.or(right_origin) {
                match self.find((ClientId(client), clock))? {
                    Some(next) => at = next,
                    _ => break Parent::None,
                }
                continue;
            }
            reader.u8()?;
            break match reader.u8()? {
                1 => Parent::None,
                _ => Parent::Type((ClientId(reader.varuint()?), reader.varuint32()?)),
            };
        };
        self.parents.extend(path.into_iter().map(|id| (id, parent)));
        Ok(parent)
    }

    /// Whether it is a value of a map key that another has replaced, or has won against.
    fn has_lost(&mut self, found: Found) -> Result<bool, Invalid> {
        if found.info & HAS_PARENT_KEY == 0 {
            return Ok(false);
        }
        if self.entries.is_none() {
            self.entries = Some(entries(self.document)?);
        }
        let id = (found.client, found.end - 1);
        Ok((self.entries.as_ref())
            .is_some_and(|entries| entries.all.contains(&id) && !entries.winners.contains(&id)))
    }
}

/// What a value of a map key comes behind.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Before<'a> {
    /// Nothing: it is a first one of this key of a root type.
    OfRoot(&'a [u8], &'a [u8]),
    /// The same of a nested type.
    OfType(Id, &'a [u8]),
    /// Another value.
    Entry(Id),
}

/// All values of map keys. Of those that come behind the same the one of the highest client is the last
/// in Yjs' order, and so on behind that one; the very last is shown. Empty when there are too many, or
/// such as no client makes.
fn entries(document: &Document) -> Result<Entries, Invalid> {
    let mut entries = Entries::default();
    let mut last: HashMap<Before<'_>, Id> = HashMap::new();
    for index in 0..document.parts.len() {
        let mut reader = Reader::new(document.part_bytes(index));
        let (structs, client, mut start) = head(&mut reader)?;
        for _ in 0..structs {
            let mut parts = reader;
            let read = validator::read_struct(&mut reader, client, start)?;
            if read.info & HAS_PARENT_KEY != 0 {
                if DERIVED_ENTRIES_MAX <= entries.all.len() {
                    return Ok(Entries::default());
                }
                // What comes behind it names its last clock.
                let id = (client, read.end - 1);
                entries.all.insert(id);
                let last = last.entry(before(&mut parts)?).or_insert(id);
                let is_doubled = last.0 == client && *last != id;
                if is_doubled || read.info & HAS_RIGHT_ORIGIN != 0 {
                    // A client does not do that: which of its values is shown is not ours to say.
                    return Ok(Entries::default());
                }
                *last = id.max(*last);
            }
            start = read.end;
        }
    }
    for (before, &id) in &last {
        let follows = matches!(before, Before::Entry(other) if entries.all.contains(other));
        if follows {
            continue;
        }
        let mut id = id;
        // A value cannot come behind itself; should bytes say so, there are no more steps than values.
        for _ in 0..entries.all.len() {
            match last.get(&Before::Entry(id)) {
                Some(&next) => id = next,
                None => break,
            }
        }
        entries.winners.insert(id);
    }
    Ok(entries)
}

fn before<'a>(reader: &mut Reader<'a>) -> Result<Before<'a>, Invalid> {
    let info = reader.rest().first().copied().unwrap_or_default();
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) != 0 {
        let (origin, right_origin) = neighbours(reader)?;
        let named = origin.or(right_origin).unwrap_or_default();
        return Ok(Before::Entry((ClientId(named.0), named.1)));
    }
    reader.u8()?;
    Ok(match reader.u8()? {
        1 => Before::OfRoot(reader.varbytes()?, reader.varbytes()?),
        _ => {
            let of = (ClientId(reader.varuint()?), reader.varuint32()?);
            Before::OfType(of, reader.varbytes()?)
        }
    })
}

/// Where each struct of a client begins.
fn places(document: &Document, client: ClientId) -> Result<Vec<(u32, u32)>, Invalid> {
    let Some(part) = document.part(client) else {
        return Ok(Vec::new());
    };
    let mut reader = document.reader(part.head);
    let (structs, _, mut start) = head(&mut reader)?;
    let mut places = Vec::new();
    for _ in 0..structs {
        let place = document.bytes().len() - reader.remaining();
        places.push((start as u32, place as u32));
        start = validator::read_struct(&mut reader, client, start)?.end;
    }
    Ok(places)
}
