//! A room's document, and what is done to it away from the room: tasks go in, reports come out.
//!
//! A [`Task`] owns the document while it runs, so that it can run on any thread; the room that sent it
//! away goes on without, and gets the document back in the [`Report`]. What a document is, and that no
//! update can make it fail, says [`structs`](crate::wire::document).

use bytes::Bytes;

use crate::limits::COMPACT_FROM_BYTES;
use crate::model::{RequestId, SessionId};
use crate::room::holdback::{Held, HoldBack};
use crate::room::tally::Worth;
use crate::wire::document::Document as Structs;
use crate::wire::validator;
use crate::wire::yjs::{StateVector, Update};

/// The place of an update in its document's log; the first is 1.
pub type Sequence = u64;

/// A document, and how far it is along its log.
pub struct Document {
    structs: Structs,
    /// The last update of the log that has been applied.
    applied: Sequence,
    /// The last encoding made, for the next who asks the same before anything changes.
    answered: Option<Answered>,
    /// The size at which the content of what is deleted is dropped: twice what was left the last time.
    compacts_at: usize,
}

/// An encoding of what somebody lacks.
struct Answered {
    state_vector: Bytes,
    update: Bytes,
}

/// Something to find out, once everything before it has been applied.
#[derive(Clone, Debug)]
pub enum Question {
    /// What a session lacks that has this, and what the document has.
    Diff {
        /// Who asked.
        session: SessionId,
        /// What it has.
        state_vector: StateVector,
    },
    /// What the document has, for a session that is to say what it has itself.
    Ask {
        /// Who.
        session: SessionId,
    },
    /// Everything, for a session that fell too far behind.
    Resync {
        /// Who.
        session: SessionId,
    },
    /// Whether an update holds anything the document does not have.
    Novelty {
        /// Whose.
        session: SessionId,
        /// The update; comes back with the answer.
        update: Update,
        /// Whether they may write; comes back too, since they may have left by then.
        may_write: bool,
        /// What it is to its client's count; comes back too.
        worth: Worth,
    },
    /// Everything, for a back end.
    Whole {
        /// Its request.
        request: RequestId,
    },
    /// Whether the document has never had content.
    Emptiness {
        /// Whose request.
        request: RequestId,
    },
    /// Everything, for the store.
    Snapshot,
}

/// The answer to a [`Question`] of the same name.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of the question")]
pub enum Answer {
    Diff {
        session: SessionId,
        update: Bytes,
        state_vector: Bytes,
    },
    Ask {
        session: SessionId,
        state_vector: Bytes,
    },
    Resync {
        session: SessionId,
        update: Bytes,
    },
    Novelty {
        session: SessionId,
        update: Update,
        may_write: bool,
        worth: Worth,
        has_news: bool,
    },
    Whole {
        request: RequestId,
        update: Bytes,
    },
    Emptiness {
        request: RequestId,
        is_empty: bool,
    },
    Snapshot {
        update: Bytes,
    },
}

/// Updates to apply and questions to answer, with the document to do it to.
pub struct Task {
    /// `None`: begin with an empty document.
    pub document: Option<Box<Document>>,
    /// What a store kept, in the order of the log; checked before it is applied.
    pub load: Vec<(Sequence, Bytes)>,
    /// What came since, in the order of the log.
    pub apply: Vec<(Sequence, Update)>,
    /// Answered in order, after all of `apply`.
    pub ask: Vec<Question>,
}

/// What came of a [`Task`].
pub struct Report {
    /// The document.
    pub document: Box<Document>,
    /// The answers.
    pub answers: Vec<Answer>,
    /// Of a document that was loaded: how far everybody's clocks go, and what waits for others.
    pub holdback: Option<HoldBack>,
    /// Updates of the store that are no updates: left out.
    pub damaged: Vec<Sequence>,
}

impl Task {
    /// A rough guess of how long `run` takes, in microseconds: what decides where it runs.
    pub fn cost_micros(&self) -> usize {
        let document_bytes = self
            .document
            .as_ref()
            .map_or(0, |document| document.bytes());
        let loading: usize = self
            .load
            .iter()
            .map(|(_, update)| 100 + update.len() / 20)
            .sum();
        let applying = match self.apply.is_empty() {
            true => 0,
            // It is copied.
            false => {
                let added: usize = self.apply.iter().map(|(_, it)| it.bytes().len()).sum();
                let compacts = (self.document.as_ref())
                    .is_some_and(|document| document.compacts_at < document_bytes + added);
                let compacting = if compacts { document_bytes / 50 } else { 0 };
                let updates = self.apply.iter().map(|(_, it)| cost_of(it));
                document_bytes / 4_000 + compacting + updates.sum::<usize>()
            }
        };
        let asking: usize = self
            .ask
            .iter()
            .map(|question| match question {
                Question::Diff { state_vector, .. } => {
                    1 + state_vector.bytes().len() / 20 + document_bytes / 1_000
                }
                Question::Novelty { update, .. } => {
                    1 + update.bytes().len() / 20 + document_bytes / 200
                }
                Question::Snapshot => 1 + document_bytes / 50,
                // Everybody who wrote in it is gone through.
                Question::Ask { .. } => 1 + document_bytes / 1_000,
                Question::Resync { .. } | Question::Whole { .. } | Question::Emptiness { .. } => 1,
            })
            .sum();
        loading + applying + asking
    }

    /// Applies and answers.
    pub fn run(self) -> Report {
        let Self {
            document,
            load,
            apply,
            ask,
        } = self;
        let is_new = document.is_none();
        let mut document = document.unwrap_or_else(|| Box::new(Document::new()));
        let mut damaged = Vec::new();
        let mut updates = Vec::with_capacity(load.len() + apply.len());
        let mut sifting = Sifting::default();
        for (sequence, bytes) in load {
            match validator::update(bytes) {
                Ok(update) => sifting.add(sequence, update, &mut updates),
                Err(_) => damaged.push(sequence),
            }
        }
        match is_new {
            true => {
                for (sequence, update) in apply {
                    sifting.add(sequence, update, &mut updates);
                }
            }
            // The room has sifted them.
            false => updates.extend(apply),
        }
        document.apply(&updates);
        if is_new {
            document.applied = sifting.last.max(document.applied);
        }
        let answers = ask.into_iter().map(|question| document.answer(question));
        Report {
            answers: answers.collect(),
            document,
            holdback: is_new.then_some(sifting.holdback),
            damaged,
        }
    }
}

/// Goes through a log from its beginning.
#[derive(Default)]
struct Sifting {
    holdback: HoldBack,
    last: Sequence,
}

impl Sifting {
    /// Adds what can be applied now, of this update and of those before it.
    fn add(&mut self, sequence: Sequence, update: Update, out: &mut Vec<(Sequence, Update)>) {
        self.last = sequence;
        let admitted = self.holdback.admit(update);
        if let Some(rest) = admitted.rest {
            self.holdback.hold(Held {
                sequence,
                from: None,
                rest,
            });
        }
        out.extend(admitted.ready.map(|ready| (sequence, ready)));
        while let Some((_, ready)) = self.holdback.release() {
            out.push((sequence, ready));
        }
    }
}

impl Document {
    fn new() -> Self {
        Self {
            structs: Structs::empty(),
            applied: 0,
            answered: None,
            compacts_at: COMPACT_FROM_BYTES,
        }
    }

    /// The last update of the log that has been applied.
    pub fn applied(&self) -> Sequence {
        self.applied
    }

    /// How large the document is, as one update.
    pub fn bytes(&self) -> usize {
        self.structs.bytes().len()
    }

    /// Applies updates in order.
    fn apply(&mut self, updates: &[(Sequence, Update)]) {
        let Some(&(last, _)) = updates.last() else {
            return;
        };
        self.answered = None;
        // Limits keep it far below the size at which it could not be. Were it not, no snapshot must
        // replace what is not in it.
        if let Some(grown) = self.structs.with(updates.iter().map(|(_, update)| update)) {
            self.structs = grown;
            self.applied = last;
        }
        if self.compacts_at < self.bytes() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.structs = self.structs.compacted();
        self.compacts_at = COMPACT_FROM_BYTES + 2 * self.bytes();
        self.answered = None;
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Diff {
                session,
                state_vector,
            } => {
                let update = self.lacking(&state_vector);
                let state_vector = self.structs.state_vector();
                Answer::Diff {
                    session,
                    update,
                    state_vector,
                }
            }
            Question::Ask { session } => Answer::Ask {
                session,
                state_vector: self.structs.state_vector(),
            },
            Question::Resync { session } => Answer::Resync {
                session,
                update: self.whole(),
            },
            Question::Novelty {
                session,
                update,
                may_write,
                worth,
            } => {
                let has_news = self.structs.has_news(&update) && !self.structs.derives(&update);
                Answer::Novelty {
                    session,
                    update,
                    may_write,
                    worth,
                    has_news,
                }
            }
            Question::Whole { request } => Answer::Whole {
                request,
                update: self.whole(),
            },
            Question::Emptiness { request } => Answer::Emptiness {
                request,
                is_empty: self.structs.is_empty(),
            },
            Question::Snapshot => {
                self.compact();
                Answer::Snapshot {
                    update: self.whole(),
                }
            }
        }
    }

    fn whole(&self) -> Bytes {
        self.structs.bytes().clone()
    }

    /// Many come back at once with the same state vector: it is encoded once.
    fn lacking(&mut self, known: &StateVector) -> Bytes {
        if let Some(answered) = &self.answered
            && answered.state_vector == *known.bytes()
        {
            return answered.update.clone();
        }
        let update = self.structs.lacking(known);
        self.answered = Some(Answered {
            state_vector: known.bytes().clone(),
            update: update.clone(),
        });
        update
    }
}

/// How long an update takes, in microseconds.
fn cost_of(update: &Update) -> usize {
    1 + update.bytes().len() / 20
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The update that writes a character behind the one before it.
    fn key(clock: u8) -> (Sequence, Update) {
        let mut bytes = vec![1, 1, 7, clock];
        match clock.checked_sub(1) {
            None => bytes.extend_from_slice(&[4, 1, 1, b't']),
            Some(before) => bytes.extend_from_slice(&[0x84, 7, before]),
        }
        bytes.extend_from_slice(&[1, b'x', 0]);
        let update = validator::update(Bytes::from(bytes)).unwrap();
        (u64::from(clock) + 1, update)
    }

    fn apply(document: Option<Box<Document>>, clocks: std::ops::Range<u8>) -> Report {
        let task = Task {
            document,
            load: Vec::new(),
            apply: clocks.map(key).collect(),
            ask: Vec::new(),
        };
        task.run()
    }

    #[test]
    fn in_one_go_or_in_several_the_document_is_the_same() {
        let together = apply(None, 0..10).document;
        let mut one_by_one = apply(None, 0..1).document;
        for clock in 1..10 {
            one_by_one = apply(Some(one_by_one), clock..clock + 1).document;
        }
        assert_eq!(together.whole(), one_by_one.whole());
        assert_eq!((together.applied(), one_by_one.applied()), (10, 10));
    }

    #[test]
    fn what_is_no_update_is_named_and_left_out() {
        let task = Task {
            document: None,
            load: vec![
                (1, key(0).1.bytes().clone()),
                (2, Bytes::from_static(&[9, 9, 9])),
                (3, key(1).1.bytes().clone()),
            ],
            apply: Vec::new(),
            ask: Vec::new(),
        };
        let report = task.run();
        assert_eq!(report.damaged, [2]);
        assert_eq!(report.document.applied(), 3);
        assert_eq!(report.document.whole(), apply(None, 0..2).document.whole());
    }
}
