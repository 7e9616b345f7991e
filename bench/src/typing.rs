//! Updates as an editor's keys make them, encoded by hand: one character per update.

use copresence::wire::lib0::{write_varstring, write_varuint};

/// The root that is typed into.
const TEXT: &str = "text";
const CONTENT_STRING: u8 = 4;
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const PARENT_IS_ROOT: u64 = 1;

/// The update that inserts one character between two others of the same client.
pub fn insert(
    client: u64,
    clock: u64,
    left: Option<u64>,
    right: Option<u64>,
    text: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    for number in [1, 1, client, clock] {
        write_varuint(&mut out, number);
    }
    let flag = |side: Option<u64>, flag| if side.is_some() { flag } else { 0 };
    out.push(CONTENT_STRING | flag(left, HAS_ORIGIN) | flag(right, HAS_RIGHT_ORIGIN));
    for neighbour in [left, right].into_iter().flatten() {
        write_varuint(&mut out, client);
        write_varuint(&mut out, neighbour);
    }
    if left.is_none() && right.is_none() {
        write_varuint(&mut out, PARENT_IS_ROOT);
        write_varstring(&mut out, TEXT);
    }
    write_varstring(&mut out, text);
    // Nothing is deleted.
    write_varuint(&mut out, 0);
    out
}

/// The update that adds to the end of what this client typed before.
pub fn append(client: u64, clock: u64) -> Vec<u8> {
    insert(client, clock, clock.checked_sub(1), None, "x")
}

/// The update that removes one character.
pub fn remove(client: u64, clock: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    for number in [0, 1, client, 1, clock, 1] {
        write_varuint(&mut out, number);
    }
    out
}

/// How far from its end a long text is still worked on.
const REACH: usize = 20_000;

/// Out of so many keys one follows a jump elsewhere,
const JUMPS_EVERY: usize = 200;
/// so many in a row write,
const WRITTEN_IN_A_ROW: usize = 23;
/// and so many in a row take back.
const REMOVED_IN_A_ROW: usize = 10;

/// A long text as one person makes it, key by key. It comes out like the best known recording of
/// somebody writing a paper (automerge-perf: 182,315 keys that write and 77,463 that take back leave
/// 104,852 characters, in about 11,000 pieces): as many of each, give or take a hundredth. The same
/// keys in each run.
pub struct LongText {
    client: u64,
    /// All characters ever, in their order; the removed ones stay, as they do in Yjs.
    characters: Vec<Character>,
    /// Where the next one goes.
    cursor: usize,
    next_clock: u32,
    length: usize,
    /// Whether anything is taken back at all, and whether something is just now.
    may_remove: bool,
    is_removing: bool,
    random: u64,
}

#[derive(Clone, Copy)]
struct Character {
    clock: u32,
    is_removed: bool,
}

impl LongText {
    pub fn new(client: u64) -> Self {
        Self {
            client,
            characters: Vec::new(),
            cursor: 0,
            next_clock: 0,
            length: 0,
            may_remove: true,
            is_removing: false,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// The same, but everything that is written stays.
    pub fn without_removals(client: u64) -> Self {
        Self {
            may_remove: false,
            ..Self::new(client)
        }
    }

    /// How many characters can be seen.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many characters were ever typed: the clock of the next one.
    pub fn typed(&self) -> u64 {
        u64::from(self.next_clock)
    }

    /// The next key, as an update.
    pub fn next_update(&mut self) -> Vec<u8> {
        if self.below(JUMPS_EVERY) == 0 {
            let end = self.characters.len();
            self.cursor = end - self.below(end.min(REACH) + 1);
            self.is_removing = false;
        }
        let in_a_row = match self.is_removing {
            true => REMOVED_IN_A_ROW,
            false => WRITTEN_IN_A_ROW,
        };
        if self.below(in_a_row) == 0 {
            self.is_removing = self.may_remove && !self.is_removing;
        }
        // Editors write behind what can be seen, before what was removed there.
        while 0 < self.cursor && self.characters[self.cursor - 1].is_removed {
            self.cursor -= 1;
        }
        if 0 < self.cursor && self.is_removing {
            self.cursor -= 1;
            self.length -= 1;
            let removed = &mut self.characters[self.cursor];
            removed.is_removed = true;
            return remove(self.client, u64::from(removed.clock));
        }
        let clock = self.next_clock;
        let neighbour = |index: usize| {
            let character = self.characters.get(index);
            character.map(|character| u64::from(character.clock))
        };
        let left = self.cursor.checked_sub(1).and_then(neighbour);
        let right = neighbour(self.cursor);
        let text = if clock % 6 == 5 { " " } else { "e" };
        let update = insert(self.client, u64::from(clock), left, right, text);
        let character = Character {
            clock,
            is_removed: false,
        };
        self.characters.insert(self.cursor, character);
        self.cursor += 1;
        self.next_clock += 1;
        self.length += 1;
        update
    }

    /// A number below `end`, by xorshift: the same ones in each run.
    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) as usize % end
    }
}

#[cfg(test)]
mod tests {
    use yrs::updates::decoder::Decode;
    use yrs::{Doc, GetString, Transact, Update};

    use super::*;

    #[test]
    fn what_is_typed_is_what_yjs_shows() {
        let document = Doc::new();
        let text = document.get_or_insert_text(TEXT);
        let mut typist = LongText::new(7);
        for _ in 0..5_000 {
            let update = Update::decode_v1(&typist.next_update()).unwrap();
            document.transact_mut().apply_update(update).unwrap();
        }
        let shown = text.get_string(&document.transact());
        assert_eq!(shown.len(), typist.length());
        assert!(1_000 < shown.len());
    }
}
