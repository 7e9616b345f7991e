//! What a document of structs answers, beside what a document that integrates would.

use std::collections::BTreeMap;

use proptest::prelude::*;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Any, Array, Doc, Map, ReadTxn, Text, Transact};

use super::*;
use crate::wire::histories::{apply, author, checked, content, history, steps};

fn of(updates: &[Vec<u8>]) -> Document {
    let updates: Vec<Update> = updates.iter().map(|update| checked(update)).collect();
    Document::empty().with(&updates).expect("small")
}

fn known(doc: &Doc) -> StateVector {
    let state_vector = doc.transact().state_vector().encode_v1();
    validator::state_vector(state_vector.into()).unwrap()
}

fn replica_of(document: &Document) -> Doc {
    let replica = author(3);
    apply(&replica, document.bytes());
    replica
}

fn ends(document: &Document) -> BTreeMap<u64, u32> {
    let state_vector = yrs::StateVector::decode_v1(&document.state_vector()).unwrap();
    let ends = state_vector.iter();
    ends.map(|(client, &clock)| (client.get(), clock)).collect()
}

/// What it knows of itself is what its bytes say.
fn assert_sound(document: &Document) {
    assert!(validator::update(document.bytes().clone()).is_ok());
    let again = Document::empty()
        .with([&checked(document.bytes())])
        .unwrap();
    assert_eq!(again.bytes(), document.bytes(), "it is in its normal form");
    for (part, same) in document.parts.iter().zip(again.parts.iter()) {
        let fields = |part: &Part| (part.head, part.last, part.last_clock, part.end);
        assert_eq!(fields(part), fields(same));
    }
    assert_eq!(document.deletions, again.deletions);
}

/// A text item of client 7 at this clock, beside nothing.
fn item(clock: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![1, 1, 7, clock, 4, 1, 1, b't', text.len() as u8];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

#[test]
fn a_document_begins_empty_and_takes_in_what_has_no_gap() {
    let empty = Document::empty();
    assert!(empty.is_empty());
    assert_sound(&empty);
    let document = of(&[item(0, "ab"), item(3, "late")]);
    assert_eq!(ends(&document), BTreeMap::from([(7, 2)]));
    let document = document.with([&checked(&item(2, "c"))]).unwrap();
    assert_eq!(ends(&document), BTreeMap::from([(7, 3)]));
    assert_sound(&document);
}

#[test]
fn first_come_wins() {
    let document = of(&[item(0, "ab")]);
    let other = document.with([&checked(&item(0, "xy"))]).unwrap();
    assert_eq!(other.bytes(), document.bytes());
    // What overlaps is cut.
    let longer = document.with([&checked(&item(0, "xyz"))]).unwrap();
    assert_eq!(ends(&longer), BTreeMap::from([(7, 3)]));
    let text = b"abz";
    assert!(longer.bytes().windows(3).any(|it| it == text), "{longer:?}");
    assert_sound(&longer);
}

#[test]
fn what_is_typed_key_by_key_is_one_text() {
    let doc = author(7);
    let text = doc.get_or_insert_text("t");
    let mut document = Document::empty();
    for at in 0..200 {
        let before = doc.transact().state_vector();
        text.insert(&mut doc.transact_mut(), at, "x");
        let update = doc.transact().encode_diff_v1(&before);
        let typed = checked(&update);
        assert_eq!(typed.typed().is_some(), at != 0);
        document = document.with([&typed]).unwrap();
    }
    assert!(document.bytes().len() < 220, "{}", document.bytes().len());
    assert_eq!(content(&replica_of(&document)), content(&doc));
    assert_sound(&document);
}

#[test]
fn values_in_a_row_are_one_struct() {
    let doc = author(7);
    let array = doc.get_or_insert_array("a");
    let mut updates = Vec::new();
    for number in 0..50 {
        let before = doc.transact().state_vector();
        array.push_back(&mut doc.transact_mut(), f64::from(number));
        updates.push(doc.transact().encode_diff_v1(&before));
    }
    let document = of(&updates);
    let (structs, ..) = head(&mut Reader::new(document.part_bytes(0))).unwrap();
    assert_eq!(structs, 1);
    assert_sound(&document);
    let replica = replica_of(&document);
    let copy = replica.get_or_insert_array("a");
    assert_eq!(copy.len(&replica.transact()), 50);
    assert_eq!(
        copy.get(&replica.transact(), 49),
        Some(yrs::Out::Any(Any::from(49.0)))
    );
}

#[test]
fn of_a_value_that_is_written_over_and_over_the_content_goes() {
    let doc = author(7);
    let map = doc.get_or_insert_map("m");
    let mut document = Document::empty();
    for number in 0..500 {
        let mut transaction = doc.transact_mut();
        map.insert(&mut transaction, "key", format!("value {number}"));
        document = document
            .with([&checked(&transaction.encode_update_v1())])
            .unwrap();
    }
    let compacted = document.compacted();
    let sizes = (document.bytes().len(), compacted.bytes().len());
    assert!(sizes.1 < sizes.0 * 2 / 3, "{sizes:?}");
    assert_sound(&compacted);
    let replica = replica_of(&compacted);
    let map = replica.get_or_insert_map("m");
    let value = map.get(&replica.transact(), "key");
    assert_eq!(value, Some(yrs::Out::Any(Any::from("value 499"))));
    // Others write behind it, and what loses is known to.
    let other = author(9);
    apply(&other, compacted.bytes());
    let map = other.get_or_insert_map("m");
    let mut transaction = other.transact_mut();
    map.insert(&mut transaction, "key", "mine");
    let late = checked(&transaction.encode_update_v1());
    drop(transaction);
    let document = compacted.with([&late]).unwrap();
    let whole = other
        .transact()
        .encode_diff_v1(&yrs::StateVector::default());
    assert!(!document.has_news(&checked(&whole)) || document.derives(&checked(&whole)));
    assert_eq!(content(&replica_of(&document)), content(&other));
}

#[test]
fn of_a_long_text_only_the_end_is_sent_cut_where_the_asker_is() {
    let doc = author(7);
    let text = doc.get_or_insert_text("t");
    let mut replicas = Vec::new();
    for word in ["a long beginning, ", "é", "🎈🎈", "end"] {
        let length = text.len(&doc.transact());
        text.insert(&mut doc.transact_mut(), length, word);
        let replica = author(2);
        let all = doc.transact().encode_diff_v1(&yrs::StateVector::default());
        apply(&replica, &all);
        replicas.push(replica);
    }
    let whole = doc.transact().encode_diff_v1(&yrs::StateVector::default());
    let document = of(&[whole]);
    for (replica, length_max) in replicas.iter().zip([26, 24, 16, 2]) {
        let lacking = document.lacking(&known(replica));
        assert!(lacking.len() <= length_max, "{lacking:?}");
        apply(replica, &lacking);
        assert_eq!(content(replica), content(&doc));
    }
    // Between the two halves of a balloon: what Yjs makes of such a cut.
    let half = validator::state_vector(Bytes::from_static(&[1, 7, 20])).unwrap();
    let update = checked(&document.lacking(&half));
    let clocks: Vec<_> = update.clock_ends().collect();
    assert_eq!(clocks, [(ClientId(7), 20, 26)]);
    let sent = String::from_utf8_lossy(update.bytes()).into_owned();
    assert!(sent.contains("\u{fffd}🎈end"), "{sent:?}");
}

#[test]
fn deleted_text_is_dropped_and_what_stands_on_it_stays() {
    let doc = author(7);
    let text = doc.get_or_insert_text("t");
    text.insert(&mut doc.transact_mut(), 0, "public SECRET🎈 public");
    let before = doc.transact().encode_diff_v1(&yrs::StateVector::default());
    let other = author(8);
    apply(&other, &before);
    text.remove_range(&mut doc.transact_mut(), 7, 8);
    let deletion = doc.transact_mut().encode_update_v1();
    let all = {
        let mut updates = vec![before];
        let txn = doc.transact();
        let snapshot = txn.snapshot();
        let mut bytes = vec![0];
        bytes.extend(snapshot.delete_set.encode_v1());
        updates.push(bytes);
        updates
    };
    drop(deletion);
    let document = of(&all);
    let compacted = document.compacted();
    assert_sound(&compacted);
    assert!(compacted.bytes().len() < document.bytes().len());
    let shown = String::from_utf8_lossy(compacted.bytes()).into_owned();
    assert!(!shown.contains("SECRET"), "{shown:?}");
    assert_eq!(ends(&compacted), ends(&document));
    // Somebody who has not heard of it writes into what is gone.
    let theirs = other.get_or_insert_text("t");
    let state = other.transact().state_vector();
    theirs.insert(&mut other.transact_mut(), 10, "!");
    let late = other.transact().encode_diff_v1(&state);
    let goal = replica_of(&document);
    apply(&goal, &late);
    let seen = replica_of(&compacted.with([&checked(&late)]).unwrap());
    assert_eq!(content(&seen), content(&goal));
}

#[test]
fn what_a_map_key_loses_by_itself_is_no_news_but_what_somebody_deletes_is() {
    let (ann, bob) = (author(7), author(8));
    for (doc, value) in [(&ann, 1.0), (&bob, 2.0)] {
        let map = doc.get_or_insert_map("m");
        map.insert(&mut doc.transact_mut(), "key", value);
        map.insert(&mut doc.transact_mut(), "mine", value);
        let own = format!("of {value}");
        map.insert(&mut doc.transact_mut(), own, value);
    }
    let all = |doc: &Doc| doc.transact().encode_diff_v1(&yrs::StateVector::default());
    // "mine" is written over by its author: that is told.
    let map = ann.get_or_insert_map("m");
    map.insert(&mut ann.transact_mut(), "mine", 3.0);
    let document = of(&[all(&ann), all(&bob)]);
    apply(&ann, &all(&bob));
    let returning = checked(&all(&ann));
    assert!(document.has_news(&returning), "it says what lost");
    assert!(document.derives(&returning));
    map.remove(&mut ann.transact_mut(), "of 1");
    let returning = checked(&all(&ann));
    assert!(document.has_news(&returning) && !document.derives(&returning));
}

#[test]
fn what_is_typed_where_another_deletes_is_no_news() {
    let (ann, bob) = (author(7), author(8));
    let array = ann.get_or_insert_array("a");
    array.push_back(&mut ann.transact_mut(), yrs::TextPrelim::new("begun"));
    let all = |doc: &Doc| doc.transact().encode_diff_v1(&yrs::StateVector::default());
    apply(&bob, &all(&ann));
    let mut updates = vec![all(&ann)];
    {
        let theirs = bob.get_or_insert_array("a");
        let Some(yrs::Out::YText(inner)) = theirs.get(&bob.transact(), 0) else {
            panic!("no text");
        };
        let state = bob.transact().state_vector();
        inner.insert(&mut bob.transact_mut(), 5, " and gone on");
        updates.push(bob.transact().encode_diff_v1(&state));
    }
    array.remove(&mut ann.transact_mut(), 0);
    let snapshot = ann.transact().snapshot();
    let mut deletion = vec![0];
    deletion.extend(snapshot.delete_set.encode_v1());
    updates.push(deletion);
    let document = of(&updates);
    apply(&bob, &updates[2]);
    let returning = checked(&all(&bob));
    assert!(document.has_news(&returning) && document.derives(&returning));
}

#[test]
fn what_lies_in_a_value_that_lost_its_key_is_no_news() {
    let (ann, bob) = (author(7), author(8));
    for doc in [&ann, &bob] {
        let map = doc.get_or_insert_map("m");
        let inner = yrs::MapPrelim::from([("name", "of one of them")]);
        map.insert(&mut doc.transact_mut(), "card", inner);
    }
    let all = |doc: &Doc| doc.transact().encode_diff_v1(&yrs::StateVector::default());
    let document = of(&[all(&ann), all(&bob)]);
    apply(&ann, &all(&bob));
    let returning = checked(&all(&ann));
    assert!(document.has_news(&returning) && document.derives(&returning));
}

#[test]
fn of_a_map_key_as_no_client_writes_it_nothing_is_derived() {
    let value = [1, 7, 0, 0x24, 1, 1, b'm', 1, b'k', 1, b'v'];
    let deletes_it = checked(&[0, 1, 7, 1, 0, 1]);
    // Behind it: it has lost. Before it: whoever integrates that shows it.
    for (info, is_derived) in [(0xa4, true), (0x64, false)] {
        let mut update = vec![2, 1, 9, 0, info, 7, 0, 1, b'x'];
        update.extend(value);
        update.push(0);
        let document = of(&[update]);
        assert_eq!(document.derives(&deletes_it), is_derived, "{info:#x}");
    }
    // Twice by the same.
    let mut update = vec![1, 2];
    update.extend(&value[1..]);
    update.extend(&value[3..]);
    update.push(0);
    assert!(!of(&[update]).derives(&deletes_it));
}

#[test]
fn what_is_cut_into_crumbs_is_left_whole() {
    let text = "some text that goes on. ".repeat(10_000);
    let mut update = vec![1, 1, 7, 0, 4, 1, 1, b't'];
    write_varuint(&mut update, text.len() as u64);
    update.extend_from_slice(text.as_bytes());
    let deleted = |every: u64, of: u64| {
        let mut update = update.clone();
        update.extend([1, 7]);
        let ranges = text.len() as u64 / of;
        write_varuint(&mut update, ranges);
        for number in 0..ranges {
            write_varuint(&mut update, number * of);
            write_varuint(&mut update, every);
        }
        self::of(&[update])
    };
    let crumbs = deleted(1, 2);
    assert_eq!(crumbs.compacted().bytes(), crumbs.bytes());
    let much = deleted(40, 48);
    let compacted = much.compacted();
    assert!(compacted.bytes().len() < much.bytes().len() * 3 / 4);
    assert_eq!(ends(&compacted), ends(&much));
    assert_sound(&compacted);
}

#[test]
fn a_crowd_of_clients_comes_in_one_update() {
    let clients = 3 * 4_194_304 / 256;
    let mut update = Vec::new();
    write_varuint(&mut update, clients + 1);
    for client in (1..=clients).rev() {
        if client == 7 {
            update.extend(&item(0, "ab")[1..11]);
            continue;
        }
        write_varuint(&mut update, 1);
        write_varuint(&mut update, client);
        update.extend([0, 0, 1]);
    }
    write_varuint(&mut update, 1);
    write_varuint(&mut update, 0);
    update.extend([0, 0, 1, 1, 7, 1, 0, 1]);
    let before = of(&[item(0, "a")]);
    let document = before.with([&checked(&update)]).unwrap();
    assert_eq!(document.parts.len() as u64, clients + 1);
    assert_eq!(document.end(ClientId(7)), 2);
    assert_eq!(document.end(ClientId(clients)), 1);
    assert!(document.deletion_bytes().len() > 1);
    assert_sound(&document);
}

proptest! {
    #[test]
    fn it_answers_as_the_document_would(
        steps in steps(),
        others in steps(),
        batch in 1..10_usize,
        compacts in any::<bool>(),
    ) {
        let (updates, doc) = history(&steps);
        let mut document = Document::empty();
        for batch in updates.chunks(batch) {
            let batch: Vec<Update> = batch.iter().map(|update| checked(update)).collect();
            document = document.with(&batch).unwrap();
            if compacts {
                document = document.compacted();
            }
        }
        assert_sound(&document);
        prop_assert_eq!(content(&replica_of(&document)), content(&doc));
        let state_vector = doc.transact().state_vector();
        let goal: BTreeMap<u64, u32> = state_vector.iter().map(|(client, &clock)| (client.get(), clock)).collect();
        prop_assert_eq!(ends(&document), goal);

        // Somebody who knows some of it, and something else beside.
        for count in 0..=updates.len() {
            let other = author(2);
            for update in &updates[..count] {
                prop_assert!(!document.has_news(&checked(update)));
                let update = yrs::Update::decode_v1(update).unwrap();
                other.transact_mut().apply_update(update).unwrap();
            }
            if other.transact().has_missing_updates() {
                continue;
            }
            let beside = author(5);
            apply(&other, &beside.transact().encode_diff_v1(&yrs::StateVector::default()));
            apply(&other, &document.lacking(&known(&other)));
            prop_assert_eq!(content(&other), content(&doc));
        }

        // Everybody comes back with all they know.
        let returning = checked(&doc.transact().encode_diff_v1(&yrs::StateVector::default()));
        prop_assert!(!document.has_news(&returning) || document.derives(&returning));

        let (foreign, _) = history(&others);
        for update in foreign {
            let update = checked(&update);
            let has_gap = |(client, start, _)| document.end(client) < start;
            if update.clock_ends().any(has_gap) {
                prop_assert!(document.has_news(&update));
                continue;
            }
            let replica = replica_of(&document);
            let before = replica.transact().snapshot();
            let decoded = yrs::Update::decode_v1(update.bytes()).unwrap();
            replica.transact_mut().apply_update(decoded).unwrap();
            let after = replica.transact();
            let changes = after.has_missing_updates() || after.snapshot() != before;
            let is_news = document.has_news(&update) && !document.derives(&update);
            prop_assert_eq!(is_news, changes);
        }
    }

    /// Who has not heard that something was collected goes on from it.
    #[test]
    fn edits_of_somebody_who_has_all_fit_what_is_compacted(
        steps in steps(),
        places in prop::collection::vec((any::<u32>(), any::<bool>()), 1..20),
    ) {
        let (updates, goal) = history(&steps);
        let whole = of(&updates);
        let compacted = whole.compacted();
        let editor = author(11);
        for update in &updates {
            let update = yrs::Update::decode_v1(update).unwrap();
            editor.transact_mut().apply_update(update).unwrap();
        }
        let text = editor.get_or_insert_text("t");
        let mut edits = Vec::new();
        for (place, inserts) in places {
            let mut transaction = editor.transact_mut();
            let length = text.len(&transaction);
            let at = place % (length + 1);
            match inserts {
                true => text.insert(&mut transaction, at, "new"),
                false => text.remove_range(&mut transaction, at, 1.min(length - at)),
            }
            edits.push(checked(&transaction.encode_update_v1()));
        }
        let document = compacted.with(&edits).unwrap();
        for edit in &edits {
            apply(&goal, edit.bytes());
        }
        prop_assert_eq!(content(&replica_of(&document)), content(&goal));
        prop_assert_eq!(content(&replica_of(&document.compacted())), content(&goal));
    }
}
