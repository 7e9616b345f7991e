//! A Yjs document as an editor holds it: a text, a map and an XML tree, and how to compare two.

use std::collections::BTreeMap;

use yrs::types::ToJson;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{
    ClientID, Doc, GetString, Map, MapRef, OffsetKind, Options, ReadTxn, StateVector, Text,
    TextRef, Transact, TransactionMut, Update, XmlElementPrelim, XmlFragment, XmlFragmentRef,
};

use crate::support::random::Random;

/// A replica, with the three roots that the tests edit.
pub struct Document {
    doc: Doc,
    pub text: TextRef,
    pub map: MapRef,
    pub xml: XmlFragmentRef,
}

/// What people see. Two replicas that converged have equal content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Content {
    pub text: String,
    pub map: BTreeMap<String, String>,
    pub xml: String,
    /// Which changes it is made of: equal content by different histories is no convergence.
    pub clocks: BTreeMap<u64, u32>,
}

impl Document {
    pub fn new(client: u64) -> Self {
        let mut options = Options::with_client_id(ClientID::new(client));
        options.offset_kind = OffsetKind::Utf16;
        options.cleanup_formatting = false;
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text("text");
        let map = doc.get_or_insert_map("map");
        let xml = doc.get_or_insert_xml_fragment("xml");
        Self {
            doc,
            text,
            map,
            xml,
        }
    }

    /// A replica made of nothing but this update, e.g. what `GET …/document` answered.
    pub fn of_update(update: &[u8]) -> Self {
        let document = Self::new(1);
        document.apply(update);
        document
    }

    /// Changes the document; returns the change as an update.
    pub fn edit(&self, change: impl FnOnce(&Self, &mut TransactionMut)) -> Vec<u8> {
        let mut transaction = self.doc.transact_mut();
        change(self, &mut transaction);
        transaction.encode_update_v1()
    }

    pub fn apply(&self, update: &[u8]) {
        let update = Update::decode_v1(update).expect("the relay sent an update that is none");
        self.doc
            .transact_mut()
            .apply_update(update)
            .expect("the relay sent an update that does not apply");
    }

    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// What somebody with this state vector lacks, pending parts included.
    pub fn diff(&self, state_vector: &[u8]) -> Vec<u8> {
        let state_vector = StateVector::decode_v1(state_vector).expect("a bad state vector");
        self.doc.transact().encode_state_as_update_v1(&state_vector)
    }

    pub fn whole(&self) -> Vec<u8> {
        self.diff(&[0])
    }

    pub fn text(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }

    pub fn map_value(&self, key: &str) -> Option<String> {
        let transaction = self.doc.transact();
        Some(
            self.map
                .get(&transaction, key)?
                .to_json(&transaction)
                .to_string(),
        )
    }

    pub fn content(&self) -> Content {
        let transaction = self.doc.transact();
        Content {
            text: self.text.get_string(&transaction),
            map: self
                .map
                .iter(&transaction)
                .map(|(key, value)| (key.to_string(), value.to_json(&transaction).to_string()))
                .collect(),
            xml: self.xml.get_string(&transaction),
            clocks: transaction
                .state_vector()
                .iter()
                .map(|(client, clock)| (client.get(), *clock))
                .collect(),
        }
    }

    /// One small change of a random kind, somewhere.
    pub fn edit_randomly(&self, random: &mut Random) -> Vec<u8> {
        self.edit(|document, transaction| match random.below(8) {
            0..=3 => {
                let at = random.below(document.text.len(transaction) as usize + 1) as u32;
                let word = random.pick(&["a", "bc", "é", "wort ", "\n", "…"]);
                document.text.insert(transaction, at, word);
            }
            4 => {
                let length = document.text.len(transaction);
                if 0 < length {
                    let at = random.below(length as usize) as u32;
                    let count = (random.below(4) as u32 + 1).min(length - at);
                    document.text.remove_range(transaction, at, count);
                }
            }
            5 => {
                let key = *random.pick(&["title", "owner", "due"]);
                document
                    .map
                    .insert(transaction, key, random.below(1000) as i64);
            }
            6 => {
                let key = *random.pick(&["title", "owner", "due"]);
                document.map.remove(transaction, key);
            }
            _ => {
                let length = document.xml.len(transaction);
                if 3 < length && random.one_in(2) {
                    let at = random.below(length as usize) as u32;
                    document.xml.remove_range(transaction, at, 1);
                } else {
                    let at = random.below(length as usize + 1) as u32;
                    let tag = *random.pick(&["p", "h1", "li"]);
                    document
                        .xml
                        .insert(transaction, at, XmlElementPrelim::empty(tag));
                }
            }
        })
    }
}
