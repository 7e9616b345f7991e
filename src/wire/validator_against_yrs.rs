//! The validator against yrs: whatever people do passes, and what passes yrs reads alike.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use proptest::prelude::*;
use yrs::types::Attrs;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{
    Any, Array, ArrayPrelim, ClientID, Doc, GetString, Map, MapPrelim, Options, ReadTxn, Text,
    TextPrelim, Transact, Xml, XmlElementPrelim, XmlFragment, XmlTextPrelim, any,
};

use super::validator::{awareness, state_vector, update};

/// What people do to a document; positions are taken modulo what there is.
#[derive(Clone, Debug)]
enum Edit {
    Type(u32, String),
    Erase(u32, u32),
    Bold(u32, u32),
    Embed(u32),
    Attributed(u32, String),
    Set(u8, Option<String>),
    Values(u32),
    Nested(u32),
    Remove(u32),
    Paragraph(String),
    Subdocument(u8),
    /// Take over what another document has; or only its latest change, leaving a gap.
    Hear {
        all: bool,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let words = "[a-zäß漢👋 ]{1,8}";
    prop_oneof![
        4 => (any::<u32>(), words).prop_map(|(at, text)| Edit::Type(at, text)),
        2 => (any::<u32>(), 1_u32..6).prop_map(|(at, length)| Edit::Erase(at, length)),
        1 => (any::<u32>(), 1_u32..6).prop_map(|(at, length)| Edit::Bold(at, length)),
        1 => any::<u32>().prop_map(Edit::Embed),
        1 => (any::<u32>(), words).prop_map(|(at, text)| Edit::Attributed(at, text)),
        1 => (0_u8..3, prop::option::of(words)).prop_map(|(key, value)| Edit::Set(key, value)),
        1 => any::<u32>().prop_map(Edit::Values),
        1 => any::<u32>().prop_map(Edit::Nested),
        1 => any::<u32>().prop_map(Edit::Remove),
        1 => words.prop_map(Edit::Paragraph),
        1 => any::<u8>().prop_map(Edit::Subdocument),
        2 => any::<bool>().prop_map(|all| Edit::Hear { all }),
    ]
}

fn document(client: u64, skip_gc: bool) -> Doc {
    Doc::with_options(Options {
        client_id: ClientID::new(client),
        offset_kind: yrs::OffsetKind::Utf16,
        skip_gc,
        cleanup_formatting: false,
        ..Options::default()
    })
}

/// A place in a text that does not cut a character in two.
fn place(text: &str, at: u32) -> u32 {
    let at = at as usize % (text.chars().count() + 1);
    let units: usize = text.chars().take(at).map(char::len_utf16).sum();
    units as u32
}

fn bold() -> Attrs {
    HashMap::from([("bold".into(), Any::Bool(true))])
}

fn apply(doc: &Doc, edit: &Edit) -> Vec<u8> {
    let content = doc.get_or_insert_text("text");
    let map = doc.get_or_insert_map("map");
    let array = doc.get_or_insert_array("array");
    let xml = doc.get_or_insert_xml_fragment("xml");
    let mut txn = doc.transact_mut();
    // Embeds are no part of the string, so places may be off by their number: harmless here.
    let string = content.get_string(&txn);
    let units = string.encode_utf16().count() as u32;
    let has_embeds = content.len(&txn) != units;
    let place = |at| if has_embeds { 0 } else { place(&string, at) };
    let within = |at: u32, length: u32| {
        let (start, end) = (place(at), place(at.wrapping_add(length)));
        (start.min(end), start.abs_diff(end))
    };
    match edit {
        Edit::Type(at, words) => content.insert(&mut txn, place(*at), words),
        Edit::Erase(at, length) => {
            let (start, length) = within(*at, *length);
            if length > 0 {
                content.remove_range(&mut txn, start, length);
            }
        }
        Edit::Bold(at, length) => {
            let (start, length) = within(*at, *length);
            if length > 0 {
                content.format(&mut txn, start, length, bold());
            }
        }
        Edit::Embed(at) => {
            content.insert_embed(&mut txn, place(*at), any!({"image": [1, 2.5, null]}));
        }
        Edit::Attributed(at, words) => {
            content.insert_with_attributes(&mut txn, place(*at), words, bold());
        }
        Edit::Set(key, Some(value)) => {
            map.insert(&mut txn, key.to_string(), value.as_str());
        }
        Edit::Set(key, None) => drop(map.remove(&mut txn, &key.to_string())),
        Edit::Values(at) => {
            let at = at % (array.len(&txn) + 1);
            let values = [
                any!(-5),
                any!({"a": {"b": [true]}}),
                Any::Undefined,
                any!(1e300),
            ];
            array.insert_range(&mut txn, at, values);
            array.insert(&mut txn, at, Any::Buffer(vec![0, 255].into()));
        }
        Edit::Nested(at) => {
            let at = at % (array.len(&txn) + 1);
            let inner = array.insert(&mut txn, at, MapPrelim::from([("k", 1_i32)]));
            inner.insert(&mut txn, "list", ArrayPrelim::from([1_i32, 2]));
            inner.insert(&mut txn, "text", TextPrelim::new("nested"));
        }
        Edit::Remove(at) => {
            if let Some(at) = at.checked_rem(array.len(&txn)) {
                array.remove(&mut txn, at);
            }
        }
        Edit::Paragraph(words) => {
            let paragraph = xml.push_back(&mut txn, XmlElementPrelim::empty("paragraph"));
            paragraph.insert_attribute(&mut txn, "align", "left");
            paragraph.push_back(&mut txn, XmlTextPrelim::new(words.as_str()));
        }
        Edit::Subdocument(key) => {
            map.insert(&mut txn, format!("sub{key}"), Doc::new());
        }
        Edit::Hear { .. } => {}
    }
    txn.encode_update_v1()
}

fn hear(doc: &Doc, bytes: &[u8]) {
    let heard = yrs::Update::decode_v1(bytes).unwrap();
    doc.transact_mut().apply_update(heard).unwrap();
}

/// Lets people edit together and collects all that passes between them.
fn updates(edits: &[(usize, Edit)], skip_gc: bool) -> Vec<Vec<u8>> {
    let docs = [u64::from(u32::MAX), 3, (1 << 53) - 1].map(|client| document(client, skip_gc));
    let mut latest = vec![0, 0];
    let mut updates = Vec::new();
    for (who, edit) in edits {
        let doc = &docs[who % docs.len()];
        if let Edit::Hear { all } = edit {
            let bytes = if *all {
                let other = docs[(who + 1) % docs.len()].transact();
                let known = doc.transact().state_vector();
                other.encode_state_as_update_v1(&known)
            } else {
                latest.clone()
            };
            hear(doc, &bytes);
            updates.push(bytes);
        } else {
            latest = apply(doc, edit);
            updates.push(latest.clone());
        }
    }
    for doc in &docs {
        let txn = doc.transact();
        updates.push(txn.encode_state_as_update_v1(&yrs::StateVector::default()));
        updates.push(txn.encode_diff_v1(&docs[0].transact().state_vector()));
    }
    // With every second one missing, merging leaves gaps.
    let sparse: Vec<_> = updates.iter().step_by(2).collect();
    let merged = yrs::merge_updates_v1(sparse).unwrap();
    let known = docs[1].transact().state_vector().encode_v1();
    updates.push(yrs::diff_updates_v1(&merged, &known).unwrap());
    updates.push(merged);
    updates
}

/// What the validator lets pass and yrs decodes are the same. yrs holds fewer values than clients do.
fn agrees_with_yrs(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(accepted) = update(Bytes::copy_from_slice(bytes)) else {
        return Ok(());
    };
    let decoded = catch_unwind(AssertUnwindSafe(|| yrs::Update::decode_v1(bytes)));
    let Ok(Ok(decoded)) = decoded else {
        return Ok(());
    };
    let mut ours: Vec<_> = accepted
        .clock_ends()
        .map(|(client, start, end)| (client.0, start, end))
        .collect();
    ours.sort_unstable();
    let theirs: Vec<_> = decoded
        .insertions(true)
        .iter()
        .filter_map(|(client, ranges)| {
            let mut ranges = ranges.into_iter();
            let first = ranges.next()?.clone();
            let last = ranges.next_back().unwrap_or(&first).clone();
            Some((client.get(), u64::from(first.start), u64::from(last.end)))
        })
        .collect();
    prop_assert_eq!(ours, theirs);
    Ok(())
}

#[test]
fn what_clients_of_2024_write_passes() {
    use yrs_2024::{Array, Map, ReadTxn, StateVector, Text, Transact};

    let docs = [9, 4, 7].map(yrs_2024::Doc::with_client_id);
    let mut states: Vec<Vec<u8>> = Vec::new();
    for (turn, doc) in docs.iter().enumerate() {
        let text = doc.get_or_insert_text("text");
        let array = doc.get_or_insert_array("array");
        let map = doc.get_or_insert_map("map");
        for state in &states {
            use yrs_2024::updates::decoder::Decode;
            let heard = yrs_2024::Update::decode_v1(state).unwrap();
            doc.transact_mut().apply_update(heard);
        }
        let mut txn = doc.transact_mut();
        text.insert(&mut txn, 0, "hello");
        text.remove_range(&mut txn, 1, 2);
        array.insert_range(&mut txn, 0, [1, 2, 3]);
        array.remove(&mut txn, 1);
        map.insert(&mut txn, "turn", turn as i64);
        let update = txn.encode_update_v1();
        assert!(super::validator::update(update.into()).is_ok());
        states.push(txn.encode_state_as_update_v1(&StateVector::default()));
        let known: Bytes = {
            use yrs_2024::updates::encoder::Encode;
            txn.state_vector().encode_v1().into()
        };
        assert!(state_vector(known).is_ok());
    }
    for state in states {
        assert!(update(state.into()).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_people_do_passes(
        edits in prop::collection::vec((0_usize..3, edit()), 1..30),
        skip_gc: bool,
    ) {
        for bytes in updates(&edits, skip_gc) {
            prop_assert_eq!(update(bytes.clone().into()).map(drop), Ok(()), "{:?}", bytes);
            agrees_with_yrs(&bytes)?;
        }
    }

    #[test]
    fn a_forged_update_is_refused_or_harmless_to_decode(
        edits in prop::collection::vec((0_usize..3, edit()), 1..12),
        changes in prop::collection::vec((any::<u16>(), 0_u8..5, any::<u8>()), 1..4),
    ) {
        for mut bytes in updates(&edits, false) {
            for &(at, how, byte) in &changes {
                let at = usize::from(at) % bytes.len().max(1);
                match how {
                    0 if !bytes.is_empty() => bytes[at] = byte,
                    1 if !bytes.is_empty() => bytes[at] ^= 1 << (byte % 8),
                    2 if !bytes.is_empty() => drop(bytes.remove(at)),
                    3 => bytes.truncate(at),
                    _ => bytes.insert(at, byte),
                }
            }
            agrees_with_yrs(&bytes)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_refused_or_harmless_to_decode(
        tail in prop::collection::vec(prop_oneof![0_u8..12, any::<u8>()], 0..40),
    ) {
        agrees_with_yrs(&tail)?;
        agrees_with_yrs(&[&[1, 1, 7, 10][..], &tail, &[0]].concat())?;
        agrees_with_yrs(&[&[1, 1, 7, 10, 4, 1, 1][..], &tail].concat())?;
        let bytes = Bytes::from(tail);
        if state_vector(bytes.clone()).is_ok() {
            prop_assert!(yrs::StateVector::decode_v1(&bytes).is_ok());
        }
        if let Ok(update) = awareness(bytes) {
            prop_assert_eq!(update.entries().count(), update.len());
        }
    }
}
