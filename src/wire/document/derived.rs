//! Deletions that every client makes by itself.
//!
//! Who types into a type that somebody else deletes, and whose value of a map key loses against
//! another's, never says that this is deleted: each client finds out when it integrates both. But it is
//! among what it says to have deleted when it comes back. What can be derived from the document is no
//! news then.

use std::collections::HashMap;

use crate::limits::DERIVED_ENTRIES_MAX;
use crate::model::ClientId;
use crate::wire::document::piece::neighbours;
use crate::wire::document::{Deletions, Document, deletions, head};
use crate::wire::lib0::Reader;
use crate::wire::merging::{HAS_ORIGIN, HAS_RIGHT_ORIGIN};
use crate::wire::validator::{self, Invalid};

const HAS_PARENT_KEY: u8 = 0x20;
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
        entries: None,
    };
    for (&client, ranges) in unknown {
        for range in ranges {
            let mut clock = range.start;
            while clock < range.end {
                let Some(found) = search.find((client, clock))? else {
                    return Ok(false);
                };
                let is_derived = search.lies_in_deleted(found)? || search.has_rival(found)?;
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
}

/// The values of all map keys by their ids: which key it is, and how many it has replaced.
#[derive(Default)]
struct Entries {
    of: HashMap<Id, (u32, u32)>,
    /// How many each key has.
    counts: Vec<u32>,
    is_too_many: bool,
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
        let start = u64::from(start);
        let mut reader = self.document.reader(place);
        let read = validator::read_struct(&mut reader, client, start)?;
        Ok(Some(Found {
            client,
            start,
            end: read.end,
            info: read.info,
            place,
        }))
    }

    /// Whether a type around it is deleted.
    fn lies_in_deleted(&mut self, found: Found) -> Result<bool, Invalid> {
        let mut at = found;
        for _ in 0..DEPTH_MAX {
            let Parent::Type((client, clock)) = self.parent(at)? else {
                return Ok(false);
            };
            if self.is_deleted((client, clock)) {
                return Ok(true);
            }
            let Some(parent) = self.find((client, clock))? else {
                return Ok(false);
            };
            at = parent;
        }
        Ok(false)
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
            path.push((at.client, at.start));
            let mut reader = self.document.reader(at.place);
            if at.info == super::piece::GC {
                break Parent::None;
            }
            let (origin, right_origin) = neighbours(&mut { reader })?;
            if let Some((client, clock)) = origin.or(right_origin) {
                match self.find((ClientId(client), clock))? {
                    Some(next) if path.len() <= self.document.bytes().len() => at = next,
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

    /// Whether another value of its key has replaced it, or competes with it.
    fn has_rival(&mut self, found: Found) -> Result<bool, Invalid> {
        if found.info & HAS_PARENT_KEY == 0 {
            return Ok(false);
        }
        if self.entries.is_none() {
            self.entries = Some(self.all_entries()?);
        }
        let Some(entries) = &self.entries else {
            return Ok(false);
        };
        let known = entries.of.get(&(found.client, found.start));
        Ok(!entries.is_too_many
            && known.is_some_and(|&(key, replaced)| {
                entries
                    .counts
                    .get(key as usize)
                    .is_some_and(|&count| replaced + 1 < count)
            }))
    }

    fn all_entries(&mut self) -> Result<Entries, Invalid> {
        let document = self.document;
        // Those that replace another name it; the first of a key says which.
        let mut before: HashMap<Id, (Option<Id>, Key<'_>)> = HashMap::new();
        for index in 0..document.parts.len() {
            let bytes = document.part_bytes(index);
            let mut reader = Reader::new(bytes);
            let (structs, client, mut start) = head(&mut reader)?;
            for _ in 0..structs {
                let mut parts = reader;
                let read = validator::read_struct(&mut reader, client, start)?;
                if read.info & HAS_PARENT_KEY != 0 {
                    if DERIVED_ENTRIES_MAX <= before.len() {
                        return Ok(Entries {
                            is_too_many: true,
                            ..Entries::default()
                        });
                    }
                    before.insert((client, start), key_of(&mut parts)?);
                }
                start = read.end;
            }
        }
        let mut keys: HashMap<Key<'_>, u32> = HashMap::new();
        let mut entries = Entries::default();
        for &id in before.keys() {
            let mut path = Vec::new();
            let mut at = id;
            let (key, mut replaced) = loop {
                if let Some(&(key, replaced)) = entries.of.get(&at) {
                    break (key, replaced + 1);
                }
                match before.get(&at) {
                    Some(&(Some(origin), _)) if path.len() < before.len() => {
                        path.push(at);
                        at = origin;
                    }
                    Some(&(None, key)) => {
                        path.push(at);
                        let next = keys.len() as u32;
                        break (*keys.entry(key).or_insert(next), 0);
                    }
                    // It names something that is no value of a key.
                    _ => {
                        let next = keys.len() as u32;
                        break (*keys.entry(Key::Unknown(at)).or_insert(next), 0);
                    }
                }
            };
            for id in path.into_iter().rev() {
                entries.of.insert(id, (key, replaced));
                replaced += 1;
            }
        }
        entries.counts = vec![0; keys.len()];
        for &(key, _) in entries.of.values() {
            if let Some(count) = entries.counts.get_mut(key as usize) {
                *count += 1;
            }
        }
        Ok(entries)
    }
}

/// A key of a map.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Key<'a> {
    OfRoot(&'a [u8], &'a [u8]),
    OfType(Id, &'a [u8]),
    Unknown(Id),
}

/// What a value of a map key replaces, or else which key it is of.
fn key_of<'a>(reader: &mut Reader<'a>) -> Result<(Option<Id>, Key<'a>), Invalid> {
    let info = reader.rest().first().copied().unwrap_or_default();
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) != 0 {
        let (origin, right_origin) = neighbours(reader)?;
        let named = origin.or(right_origin);
        let id = named.map_or((ClientId(0), 0), |(client, clock)| {
            (ClientId(client), clock)
        });
        return Ok((named.is_some().then_some(id), Key::Unknown(id)));
    }
    reader.u8()?;
    let key = match reader.u8()? {
        1 => Key::OfRoot(reader.varbytes()?, reader.varbytes()?),
        _ => {
            let of = (ClientId(reader.varuint()?), reader.varuint32()?);
            Key::OfType(of, reader.varbytes()?)
        }
    };
    Ok((None, key))
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
