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

/// Shared with the tests that send them to a relay.
#[path = "../../tests/fixtures/hostile.rs"]
pub mod hostile;
