//! Which part of an update rests on nothing that is not there yet.
//!
//! Everything in an update stands on something: on what its client wrote before, on the neighbours
//! and the parent it names, on what it deletes. Clients hold back what they cannot place, and so does
//! yrs; but what they do with it differs, and it goes wrong: a block that has waited may be lost when
//! several that wait are put together. A [`Frontier`] knows how far each client's clocks have been
//! passed on without a gap, takes what stands on that, and gives the rest back. Whoever is sent what
//! it takes, in its order, never has to hold anything back.
//!
//! Structs are cut where they begin and end, never inside. It reads the bytes, builds nothing, and
//! takes time in proportion to them, whatever order they are in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::model::ClientId;
use crate::small::SmallMap;
use crate::wire::lib0::{Reader, write_varuint};
use crate::wire::typed::Typed;
use crate::wire::validator::{self, Invalid};
use crate::wire::yjs::Update;

/// For each client the clock that comes next: all before it have been taken.
#[derive(Debug, Default)]
pub struct Frontier(SmallMap<ClientId, u64>);

/// What became of an update: one of both at least.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admitted {
    /// What stands on what was taken; the bytes that came if that is all. Some or all of it may have
    /// been taken before: as the bytes do not say whether it is the same, that is not for us to decide.
    pub ready: Option<Update>,
    /// What does not.
    pub rest: Option<Rest>,
}

/// What stands on something that is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rest {
    /// All of it, as an update.
    pub update: Update,
    /// The first thing that each part of it waits for. When none of these clocks has been taken,
    /// trying again is in vain.
    pub waits: Vec<(ClientId, u64)>,
}

impl Frontier {
    /// Nothing has been taken.
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock of a client that comes next.
    #[inline]
    pub fn next(&self, client: ClientId) -> u64 {
        self.0.get(&client).copied().unwrap_or(0)
    }

    /// Whether the clock of a client has been taken.
    pub fn has(&self, client: ClientId, clock: u64) -> bool {
        clock < self.next(client)
    }

    /// Takes what can be taken.
    pub fn admit(&mut self, update: Update) -> Admitted {
        if let Some(typed) = update.typed()
            && self.admit_typed(typed)
        {
            return Admitted::whole(update);
        }
        let admitted = match self.admit_simple(update.bytes()) {
            Ok(false) => self.sift(&update),
            Ok(true) => return Admitted::whole(update),
            Err(invalid) => Err(invalid),
        };
        debug_assert!(admitted.is_ok(), "it passed the validator");
        admitted.unwrap_or_else(|_| Admitted::whole(update))
    }

    fn advance(&mut self, client: ClientId, end: u64) {
        match self.0.get_mut(&client) {
            Some(next) => *next = end.max(*next),
            None => drop(self.0.insert(client, end)),
        }
    }

    /// Nearly every update: what its client writes next, among what has been taken.
    #[inline]
    fn admit_typed(&mut self, typed: &Typed) -> bool {
        let is_founded = self.has_right_origin(typed);
        match self.0.get_mut(&typed.client) {
            Some(next) if is_founded && typed.start() <= *next => {
                *next = typed.end().max(*next);
                true
            }
            _ => false,
        }
    }

    /// Whether text stands on what was taken.
    pub fn takes(&self, typed: &Typed) -> bool {
        let next = self.0.get(&typed.client);
        next.is_some_and(|&next| typed.start() <= next) && self.has_right_origin(typed)
    }

    /// Whether what it stands before was taken, if anything.
    #[inline]
    fn has_right_origin(&self, typed: &Typed) -> bool {
        // What a client names of its own it has written before.
        typed
            .right_origin()
            .is_none_or(|(other, clock)| other == typed.client || self.has(other, clock))
    }

    /// Most others: of one client at most, and all of it can be taken.
    fn admit_simple(&mut self, update: &[u8]) -> Result<bool, Invalid> {
        let mut reader = Reader::new(update);
        let mut added = None;
        match reader.varuint32()? {
            0 => {}
            1 => {
                let structs = reader.varuint32()?;
                let client = ClientId(reader.varuint()?);
                let start = reader.varuint32()?;
                let next = self.next(client);
                let mut is_ready = start <= next;
                let mut end = start;
                for _ in 0..structs {
                    // What a client names of its own it has written before.
                    let read =
                        validator::read_struct_and(&mut reader, client, end, |other, clock| {
                            is_ready &= other == client || self.has(other, clock)
                        })?;
                    is_ready &= !read.is_skip();
                    end = read.end;
                }
                if !is_ready {
                    return Ok(false);
                }
                added = Some((client, end.max(next)));
            }
            _ => return Ok(false),
        }
        let sections = reader.varuint32()?;
        for _ in 0..sections {
            let client = ClientId(reader.varuint()?);
            let next = match added {
                Some((own, end)) if own == client => end,
                _ => self.next(client),
            };
            for _ in 0..reader.varuint32()? {
                if next < reader.varuint32()? + reader.varuint32()? {
                    return Ok(false);
                }
            }
        }
        if let Some((client, end)) = added {
            self.advance(client, end);
        }
        Ok(true)
    }

    /// Goes through all clients' parts: each as far as it can be taken, and again when another has
    /// come to what it waits for.
    fn sift(&mut self, update: &Update) -> Result<Admitted, Invalid> {
        let mut reader = Reader::new(update.bytes());
        let mut cursors = Vec::new();
        for _ in 0..reader.varuint32()? {
            cursors.push(Cursor::read(&mut reader)?);
        }
        let mut waiters: HashMap<ClientId, BinaryHeap<Reverse<(u64, usize)>>> = HashMap::new();
        let mut to_try: Vec<usize> = (0..cursors.len()).rev().collect();
        while let Some(place) = to_try.pop() {
            let cursor = &mut cursors[place];
            let before = self.next(cursor.client);
            cursor.advance(self)?;
            if let Some((client, clock)) = cursor.waits {
                waiters
                    .entry(client)
                    .or_default()
                    .push(Reverse((clock, place)));
            }
            let client = cursor.client;
            let next = self.next(client);
            if before < next
                && let Some(waiting) = waiters.get_mut(&client)
            {
                while let Some(&Reverse((clock, place))) = waiting.peek()
                    && clock < next
                {
                    waiting.pop();
                    to_try.push(place);
                }
            }
        }
        let (mut ready, mut rest) = (Parts::default(), Parts::default());
        let mut waits = Vec::new();
        for cursor in &cursors {
            ready.add_taken(cursor);
            if rest.add_left(cursor)? {
                waits.extend(cursor.waits);
            }
        }
        for _ in 0..reader.varuint32()? {
            let client = ClientId(reader.varuint()?);
            let next = self.next(client);
            let (mut now, mut later) = (Vec::new(), Vec::new());
            for _ in 0..reader.varuint32()? {
                let start = reader.varuint32()?;
                let end = start + reader.varuint32()?;
                if start < next {
                    now.push((start, end.min(next)));
                }
                if next < end {
                    later.push((start.max(next), end));
                }
            }
            waits.extend(later.first().map(|&(start, _)| (client, start)));
            ready.add_deletions(client, &now);
            rest.add_deletions(client, &later);
        }
        Ok(match (ready.is_empty(), rest.is_empty()) {
            (_, true) => Admitted::whole(update.clone()),
            (is_none_ready, false) => Admitted {
                ready: (!is_none_ready).then(|| ready.into_update()),
                rest: Some(Rest {
                    update: rest.into_update(),
                    waits,
                }),
            },
        })
    }
}

impl Admitted {
    fn whole(update: Update) -> Self {
        Self {
            ready: Some(update),
            rest: None,
        }
    }
}

/// How far one client's part of an update has been taken.
struct Cursor<'a> {
    client: ClientId,
    /// Before the first struct that has not been taken.
    reader: Reader<'a>,
    left: u64,
    clock: u64,
    /// What has been taken: where it begins, in clocks and bytes, and how many structs it is. They
    /// lie behind each other: a client's clocks are taken without gaps.
    taken: Option<(u64, &'a [u8], u64)>,
    /// A clock without which the next struct cannot be taken.
    waits: Option<(ClientId, u64)>,
}

impl<'a> Cursor<'a> {
    /// Stands before a client's part, and takes the reader behind it.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Invalid> {
        let left = reader.varuint32()?;
        let client = ClientId(reader.varuint()?);
        let clock = reader.varuint32()?;
        let cursor = Self {
            client,
            reader: *reader,
            left,
            clock,
            taken: None,
            waits: None,
        };
        let mut end = clock;
        for _ in 0..left {
            end = validator::read_struct(reader, client, end)?.end;
        }
        Ok(cursor)
    }

    fn advance(&mut self, frontier: &mut Frontier) -> Result<(), Invalid> {
        self.waits = None;
        while 0 < self.left {
            let before = self.reader;
            let next = frontier.next(self.client);
            let mut waits = None;
            let read = validator::read_struct_and(
                &mut self.reader,
                self.client,
                self.clock,
                |other, clock| {
                    if other != self.client && !frontier.has(other, clock) {
                        waits.get_or_insert((other, clock));
                    }
                },
            )?;
            if next < read.end {
                if read.is_skip() {
                    waits = Some((self.client, read.end - 1));
                } else if next < self.clock {
                    waits = Some((self.client, self.clock - 1));
                }
                if waits.is_some() {
                    self.reader = before;
                    self.waits = waits;
                    return Ok(());
                }
                let first = (self.clock, before.rest(), 0);
                self.taken.get_or_insert(first).2 += 1;
                frontier.advance(self.client, read.end);
            }
            self.left -= 1;
            self.clock = read.end;
        }
        Ok(())
    }
}

/// The parts of an update that is being made.
#[derive(Default)]
struct Parts {
    sections: u64,
    structs: Vec<u8>,
    deleted: u64,
    deletions: Vec<u8>,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.sections == 0 && self.deleted == 0
    }

    fn add_taken(&mut self, cursor: &Cursor<'_>) {
        if let Some((clock, bytes, structs)) = cursor.taken {
            let length = bytes.len() - cursor.reader.remaining();
            self.add(cursor.client, clock, structs, &bytes[..length]);
        }
    }

    /// Adds what has not been taken, without Skips at its ends: they say nothing by themselves. Whether
    /// there was anything.
    fn add_left(&mut self, cursor: &Cursor<'_>) -> Result<bool, Invalid> {
        let (mut reader, mut clock) = (cursor.reader, cursor.clock);
        let mut first = None;
        let mut structs = 0;
        let mut behind_last = reader.remaining();
        for place in 0..cursor.left {
            let before = reader;
            let read = validator::read_struct(&mut reader, cursor.client, clock)?;
            if !read.is_skip() {
                let &mut (first, _, _) = first.get_or_insert((place, clock, before.rest()));
                structs = place - first + 1;
                behind_last = reader.remaining();
            }
            clock = read.end;
        }
        let Some((_, clock, bytes)) = first else {
            return Ok(false);
        };
        let length = bytes.len() - behind_last;
        self.add(cursor.client, clock, structs, &bytes[..length]);
        Ok(true)
    }

    fn add(&mut self, client: ClientId, clock: u64, structs: u64, bytes: &[u8]) {
        self.sections += 1;
        write_varuint(&mut self.structs, structs);
        write_varuint(&mut self.structs, client.0);
        write_varuint(&mut self.structs, clock);
        self.structs.extend_from_slice(bytes);
    }

    fn add_deletions(&mut self, client: ClientId, ranges: &[(u64, u64)]) {
        if ranges.is_empty() {
            return;
        }
        self.deleted += 1;
        write_varuint(&mut self.deletions, client.0);
        write_varuint(&mut self.deletions, ranges.len() as u64);
        for &(start, end) in ranges {
            write_varuint(&mut self.deletions, start);
            write_varuint(&mut self.deletions, end - start);
        }
    }

    fn into_update(self) -> Update {
        let mut out = Vec::with_capacity(10 + self.structs.len() + self.deletions.len());
        write_varuint(&mut out, self.sections);
        out.extend_from_slice(&self.structs);
        write_varuint(&mut out, self.deleted);
        out.extend_from_slice(&self.deletions);
        debug_assert!(validator::update(out.clone().into()).is_ok());
        Update::of_checked(out.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use yrs::{ReadTxn, Transact};

    use super::*;
    use crate::wire::histories::{apply, author, checked, content, history, steps};

    /// A text item of client 7 at this clock, beside nothing.
    fn item(clock: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![4, 1, 1, b't', text.len() as u8];
        bytes.extend_from_slice(text.as_bytes());
        [vec![1, 1, 7, clock], bytes, vec![0]].concat()
    }

    fn admit(frontier: &mut Frontier, bytes: &[u8]) -> Admitted {
        frontier.admit(checked(bytes))
    }

    #[test]
    fn what_goes_on_is_taken_as_it_came() {
        let mut frontier = Frontier::new();
        for (clock, text) in [(0, "ab"), (2, "c")] {
            let update = checked(&item(clock, text));
            assert_eq!(frontier.admit(update.clone()), Admitted::whole(update));
        }
        assert_eq!(frontier.next(ClientId(7)), 3);
        // What is known, or known in part, is taken whole.
        let again = checked(&item(0, "ab"));
        assert_eq!(frontier.admit(again.clone()), Admitted::whole(again));
        assert_eq!(frontier.next(ClientId(7)), 3);
        let longer = checked(&item(2, "cd"));
        assert_eq!(frontier.admit(longer.clone()), Admitted::whole(longer));
        assert_eq!(frontier.next(ClientId(7)), 4);
    }

    #[test]
    fn what_leaves_a_gap_waits_for_the_clock_before_it() {
        let mut frontier = Frontier::new();
        let late = item(2, "c");
        let admitted = admit(&mut frontier, &late);
        assert_eq!(admitted.ready, None);
        let rest = admitted.rest.expect("a gap");
        assert_eq!(rest.update, checked(&late));
        assert_eq!(rest.waits, [(ClientId(7), 1)]);
        assert!(admit(&mut frontier, &item(0, "ab")).rest.is_none());
        assert!(frontier.admit(rest.update).ready.is_some());
    }

    #[test]
    fn of_an_update_with_a_skip_the_part_before_it_is_taken() {
        // Two items, a Skip of three, an item, a Skip of one, and deletions on both sides.
        let structs: [&[u8]; 5] = [
            &[4, 1, 1, b't', 1, b'a'],
            &[4, 1, 1, b't', 1, b'b'],
            &[10, 3],
            &[4, 1, 1, b't', 1, b'c'],
            &[10, 1],
        ];
        let deletions = [1, 7, 2, 0, 1, 1, 5];
        let update = [&[1, 5, 7, 0], &*structs.concat(), &deletions].concat();
        let mut frontier = Frontier::new();
        let admitted = admit(&mut frontier, &update);
        let ready = [
            &[1, 2, 7, 0],
            &*structs[..2].concat(),
            &[1, 7, 2, 0, 1, 1, 1],
        ]
        .concat();
        assert_eq!(admitted.ready, Some(checked(&ready)));
        let rest = admitted.rest.expect("what is behind the Skip");
        let left = [&[1, 1, 7, 5], structs[3], &[1, 7, 1, 2, 4]].concat();
        assert_eq!(rest.update, checked(&left));
        assert_eq!(rest.waits, [(ClientId(7), 4), (ClientId(7), 2)]);
        // Half of the gap is filled: a part of what is deleted is there.
        admit(&mut frontier, &item(2, "xy"));
        let admitted = frontier.admit(rest.update);
        assert_eq!(admitted.ready, Some(checked(&[0, 1, 7, 1, 2, 2])));
        admit(&mut frontier, &item(4, "z"));
        let rest = frontier.admit(admitted.rest.expect("still a gap").update);
        assert!(rest.ready.is_some() && rest.rest.is_none(), "{rest:?}");
        assert_eq!(frontier.next(ClientId(7)), 6);
    }

    #[test]
    fn what_stands_on_each_other_is_never_taken() {
        // The item of 8 names the one of 7 and the other way round.
        let update = [
            &[2, 1, 8, 0, 0x84, 7, 0, 1, b'a'][..],
            &[1, 7, 0, 0x84, 8, 0, 1, b'b', 0],
        ]
        .concat();
        let mut frontier = Frontier::new();
        let admitted = admit(&mut frontier, &update);
        assert_eq!(admitted.ready, None);
        assert_eq!(admitted.rest.expect("a circle").update, checked(&update));
    }

    proptest! {
        #[test]
        fn in_any_order_all_is_taken_and_nothing_waits_in_yrs(
            steps in steps(),
            order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let (mut updates, goal) = history(&steps);
            for (place, index) in order.iter().enumerate() {
                if place < updates.len() {
                    let other = index.index(updates.len());
                    updates.swap(place, other);
                }
            }
            let (mut frontier, replica) = (Frontier::new(), author(2));
            let mut held: Vec<Rest> = Vec::new();
            for update in &updates {
                let mut to_try = vec![checked(update)];
                while let Some(update) = to_try.pop() {
                    let admitted = frontier.admit(update);
                    if let Some(ready) = admitted.ready {
                        apply(&replica, ready.bytes());
                    }
                    held.extend(admitted.rest);
                    let can_go_on = |rest: &Rest| {
                        rest.waits.iter().any(|&(client, clock)| frontier.has(client, clock))
                    };
                    if let Some(place) = held.iter().position(can_go_on) {
                        to_try.push(held.swap_remove(place).update);
                    }
                }
            }
            prop_assert!(held.is_empty(), "{held:?}");
            prop_assert_eq!(content(&replica), content(&goal));
            for (client, &clock) in replica.transact().state_vector().iter() {
                prop_assert_eq!(frontier.next(ClientId(client.get())), u64::from(clock));
            }
        }
    }
}
