//! What a document is, read from what a store keeps of it: the state vector, the content, and the
//! updates that are none.

use bytes::Bytes;

use crate::model::SessionId;
use crate::room::{Answer, HoldBack, Question, Task};
use crate::store::Sequence;
use crate::wire::validator;
use crate::wire::yjs::{StateVector, Update};

/// A document, read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reading {
    /// What it has of whom.
    pub(super) state_vector: Bytes,
    /// All of it as one update. Equal documents that came about differently may differ here; see
    /// [`Reading::normal`].
    pub(super) update: Bytes,
    /// Updates that stand on others which have not come, in the order of their bytes.
    pub(super) waiting: Vec<Bytes>,
    /// What could not be read, and was left out.
    pub(super) faults: Vec<Fault>,
}

/// An update that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    /// Its place in the log.
    pub(super) sequence: Sequence,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl Reading {
    /// Reads updates in their order, as the relay does when it loads them.
    pub(super) fn of(updates: &[(Sequence, Bytes)]) -> Self {
        Self::after(updates, None)
    }

    /// The same document as read from its own encoding without the content of what is deleted, which is
    /// the same for equal documents, however many steps led to them.
    pub(super) fn normal(&self) -> Self {
        let normal = Self::after(&[(1, self.update.clone())], Some(Question::Snapshot));
        if !normal.faults.is_empty() {
            return self.clone();
        }
        Self {
            faults: self.faults.clone(),
            waiting: self.waiting.clone(),
            ..normal
        }
    }

    /// What is read once a question has been answered.
    fn after(updates: &[(Sequence, Bytes)], question: Option<Question>) -> Self {
        let mut faults = Vec::new();
        let mut sound = Vec::with_capacity(updates.len());
        for (sequence, bytes) in updates {
            match validator::update(bytes.clone()) {
                Ok(update) => sound.push((*sequence, update)),
                Err(why) => faults.push(Fault {
                    sequence: *sequence,
                    reason: format!("no Yjs update: {why}"),
                }),
            }
        }
        let whole = Question::Diff {
            session: SessionId(0),
            state_vector: StateVector::empty(),
        };
        let report = Task {
            document: None,
            load: Vec::new(),
            apply: sound,
            ask: question.into_iter().chain([whole]).collect(),
        }
        .run();
        let held = report.holdback.into_iter().flat_map(HoldBack::into_held);
        let mut waiting: Vec<_> = held.map(|held| held.rest.update.bytes().clone()).collect();
        waiting.sort();
        let mut reading = Self {
            state_vector: StateVector::empty().bytes().clone(),
            update: Update::empty().bytes().clone(),
            waiting,
            faults,
        };
        for answer in report.answers {
            if let Answer::Diff {
                state_vector,
                update,
                ..
            } = answer
            {
                reading.state_vector = state_vector;
                reading.update = update;
            }
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use yrs::updates::decoder::Decode;
    use yrs::{Doc, GetString, StateVector as YrsStateVector, Text, Transact};

    use super::*;

    /// Types and deletes; every change is an update.
    fn updates(client: u64, changes: usize) -> Vec<(Sequence, Bytes)> {
        let doc = Doc::with_client_id(client);
        let text = doc.get_or_insert_text("text");
        (0..changes)
            .map(|change| {
                let mut transaction = doc.transact_mut();
                let length = text.len(&transaction);
                if change % 4 == 3 {
                    text.remove_range(&mut transaction, length / 2, 1);
                } else {
                    text.insert(&mut transaction, (change as u32 * 7) % (length + 1), "ab");
                }
                let update = transaction.encode_update_v1();
                (change as Sequence + 1, Bytes::from(update))
            })
            .collect()
    }

    fn text(reading: &Reading) -> String {
        let doc = Doc::new();
        let text = doc.get_or_insert_text("text");
        let mut transaction = doc.transact_mut();
        let update = yrs::Update::decode_v1(&reading.update).unwrap();
        transaction.apply_update(update).unwrap();
        text.get_string(&transaction)
    }

    #[test]
    fn equal_documents_are_equal_whatever_led_to_them() {
        let (ann, ben) = (updates(1, 40), updates(2, 40));
        let one_by_one = Reading::of(&[&ann[..], &ben[..]].concat());
        let other_way = Reading::of(&[&ben[..], &ann[..]].concat());
        let snapshot = (20, Reading::of(&ann[..20]).update);
        let with_snapshot = Reading::of(&[&[snapshot], &ann[20..], &ben[..]].concat());
        assert!(!text(&one_by_one).is_empty());
        assert_eq!(one_by_one.normal(), other_way.normal());
        assert_eq!(one_by_one.normal(), with_snapshot.normal());
        assert_ne!(one_by_one.normal(), Reading::of(&ann).normal());
        let state = YrsStateVector::decode_v1(&one_by_one.state_vector).unwrap();
        assert_eq!(state.len(), 2);
    }

    #[test]
    fn what_waits_behind_a_gap_counts() {
        let updates = updates(1, 3);
        let gap = [updates[0].clone(), updates[2].clone()];
        assert_ne!(Reading::of(&gap).normal(), Reading::of(&gap[..1]).normal());
        let closed = [&gap[..], &updates[1..2]].concat();
        assert_eq!(
            Reading::of(&closed).normal(),
            Reading::of(&updates).normal()
        );
    }

    #[test]
    fn every_fault_is_named_and_the_rest_is_read() {
        let mut given = updates(1, 4);
        given.extend(
            updates(2, 4)
                .into_iter()
                .map(|(at, update)| (at + 4, update)),
        );
        given[3].1 = Bytes::from_static(b"no update");
        let reading = Reading::of(&given);
        let at: Vec<_> = reading.faults.iter().map(|fault| fault.sequence).collect();
        assert_eq!(at, [4]);
        assert!(reading.faults[0].reason.contains("no Yjs update"));
        let rest = [&given[..3], &given[4..]].concat();
        assert_eq!(reading.update, Reading::of(&rest).update);
    }

    #[test]
    fn nothing_is_an_empty_document() {
        let reading = Reading::of(&[]);
        assert_eq!(
            (&reading.state_vector[..], &reading.update[..]),
            (&[0][..], &[0, 0][..])
        );
        assert_eq!(reading.normal(), reading);
    }
}
