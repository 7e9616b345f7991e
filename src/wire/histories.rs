//! Histories of documents, for tests: several authors who write, take back, and hear of each other.

use bytes::Bytes;
use proptest::prelude::*;
use yrs::block::ClientID;
use yrs::types::ToJson;
use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, Map, OffsetKind, Options, ReadTxn, StateVector, Text, Transact};

use super::validator;
use super::yjs::Update;

pub fn checked(bytes: &[u8]) -> Update {
    validator::update(Bytes::copy_from_slice(bytes)).expect("an update")
}

pub fn author(client: u64) -> Doc {
    Doc::with_options(Options {
        client_id: ClientID::new(client),
        offset_kind: OffsetKind::Utf16,
        cleanup_formatting: false,
        ..Options::default()
    })
}

pub fn apply(doc: &Doc, update: &[u8]) {
    let update = yrs::Update::decode_v1(update).expect("decodable");
    let mut transaction = doc.transact_mut();
    transaction.apply_update(update).expect("applicable");
    assert!(!transaction.has_missing_updates(), "something waits in yrs");
}

pub fn content(doc: &Doc) -> (String, String, StateVector) {
    let (text, map) = (doc.get_or_insert_text("t"), doc.get_or_insert_map("m"));
    let transaction = doc.transact();
    (
        text.get_string(&transaction),
        // Sorted by its keys.
        serde_json::to_value(map.to_json(&transaction))
            .unwrap_or_default()
            .to_string(),
        transaction.state_vector(),
    )
}

/// One of three authors does something, or hears of what another has done so far.
pub fn steps() -> impl Strategy<Value = Vec<(usize, u8, u32)>> {
    prop::collection::vec((0..3_usize, 0..8_u8, any::<u32>()), 1..40)
}

/// All updates of a history, some of them of several authors, and the document they make.
pub fn history(steps: &[(usize, u8, u32)]) -> (Vec<Vec<u8>>, Doc) {
    let authors = [author(7), author(8), author(900_000)];
    let mut updates = Vec::new();
    for &(who, what, number) in steps {
        let doc = &authors[who];
        let (text, map) = (doc.get_or_insert_text("t"), doc.get_or_insert_map("m"));
        let before = doc.transact().state_vector();
        let mut transaction = doc.transact_mut();
        let length = text.len(&transaction);
        let at = number % (length + 1);
        match what {
            0..=3 => text.insert(
                &mut transaction,
                at,
                ["a", "bc", "é", "def"][usize::from(what)],
            ),
            4 => text.remove_range(&mut transaction, at, 2.min(length - at)),
            5 => drop(map.insert(&mut transaction, "key", f64::from(number))),
            _ => {
                drop(transaction);
                let other = &authors[(who + 1) % 3];
                let news = other.transact().encode_diff_v1(&before);
                apply(doc, &news);
                if what == 6 {
                    updates.push(news);
                }
                continue;
            }
        }
        updates.push(transaction.encode_update_v1());
    }
    let goal = author(1);
    for doc in &authors {
        let whole = doc.transact().encode_diff_v1(&StateVector::default());
        apply(&goal, &whole);
    }
    updates.retain(|update| update != &[0, 0]);
    (updates, goal)
}

/// Updates that pass the validator, and that a library which integrates them does not survive.
pub mod hostile {
    use bytes::Bytes;

    use crate::wire::lib0::write_varuint;

    /// Each kind by its name, to be sent in order by one writer.
    pub fn all() -> Vec<(&'static str, Vec<Bytes>)> {
        let recorded = include_str!("../../tests/fixtures/hostile-updates.json");
        let recorded: serde_json::Value = serde_json::from_str(recorded).expect("JSON");
        let recorded = |name: &str| {
            let updates = recorded[name].as_array().expect("a list").iter();
            let updates = updates.map(|hex| from_hex(hex.as_str().expect("a text")));
            updates.collect::<Vec<_>>()
        };
        let mut orphan = recorded("orphan");
        orphan.extend((0..70).map(|client| many_entries(900 + client)));
        vec![
            (
                "ids used twice: conflict resolution without end",
                recorded("endless"),
            ),
            ("a type deleted with a child that no list leads to", orphan),
            (
                "types within types, and the outermost deleted",
                nested(200_000),
            ),
            ("very many siblings at one place", siblings(20_000)),
            (
                "a text whose beginning has not come",
                vec![beginning_lost(2 << 20)],
            ),
            (
                "parts of very many clients, none of which can be placed",
                vec![waiting(100_000)],
            ),
        ]
    }

    fn from_hex(text: &str) -> Bytes {
        let digits = text.as_bytes().chunks(2);
        let bytes = digits.map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hex")
        });
        bytes.collect()
    }

    /// Thirty values of a map, of this client.
    fn many_entries(client: u64) -> Bytes {
        let mut out = vec![1, 30];
        write_varuint(&mut out, client);
        out.push(0);
        for entry in 0..30_u8 {
            out.extend_from_slice(&[0x28, 1, 1, b'm', 2, b'k', b'a' + entry % 26, 1, 116]);
            let length = 80 + 8 * usize::from(entry);
            write_varuint(&mut out, length as u64);
            out.resize(out.len() + length, 0);
        }
        out.push(0);
        out.into()
    }

    /// Each type the child of the one before; then a deletion of the first.
    fn nested(depth: u64) -> Vec<Bytes> {
        let mut out = vec![1];
        write_varuint(&mut out, depth);
        out.extend_from_slice(&[0, 0, 7, 1, 1, b't', 0]);
        for clock in 0..depth - 1 {
            out.extend_from_slice(&[7, 0, 0]);
            write_varuint(&mut out, clock);
            out.push(0);
        }
        out.push(0);
        vec![out.into(), Bytes::from_static(&[0, 1, 0, 1, 0, 1])]
    }

    /// One character of each client, all at the beginning of one text; then some more, one by one.
    fn siblings(clients: u64) -> Vec<Bytes> {
        let one = |out: &mut Vec<u8>, client: u64| {
            out.push(1);
            write_varuint(out, client);
            out.extend_from_slice(&[0, 4, 1, 1, b't', 1, b'x']);
        };
        let mut all = Vec::new();
        write_varuint(&mut all, clients);
        (0..clients)
            .rev()
            .for_each(|client| one(&mut all, client + 1_000));
        all.push(0);
        let mut updates = vec![Bytes::from(all)];
        for client in 0..128 {
            let mut out = vec![1];
            one(&mut out, client + 5_000_000);
            out.push(0);
            updates.push(out.into());
        }
        updates
    }

    /// A text from clock 10 on, of a client that nobody has heard of.
    fn beginning_lost(bytes: usize) -> Bytes {
        let mut out = vec![1, 1, 77, 10, 0x84, 77, 9];
        write_varuint(&mut out, bytes as u64);
        out.resize(out.len() + bytes, b'x');
        out.push(0);
        out.into()
    }

    /// Parts that begin at clock 1.
    fn waiting(clients: u64) -> Bytes {
        let mut out = Vec::new();
        write_varuint(&mut out, clients);
        for client in (0..clients).rev() {
            out.push(1);
            write_varuint(&mut out, client + 1_000);
            out.extend_from_slice(&[1, 4, 1, 1, b't', 1, b'x']);
        }
        out.push(0);
        out.into()
    }
}
