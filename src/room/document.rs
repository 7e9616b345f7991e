//! The yrs document behind one narrow gate: tasks go in, reports come out, panics stay inside.
//!
//! This is the only file that calls yrs. A [`Task`] owns the document while it runs, so that it can
//! run on any thread with a large stack; the room that sent it away goes on without, and gets the
//! document back in the [`Report`]. A document at rest is not a yrs document but its encoding, which is
//! enough to read it: see [`Encoded`]. An update on which yrs panics costs the document (its state can
//! no longer be trusted) and is named in the report; the room then rebuilds from what is stored.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use yrs::block::ClientID;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, OffsetKind, Options, ReadTxn, StateVector as YrsStateVector, Transact};

use crate::limits::UPDATES_TOGETHER_MAX;
use crate::model::{RequestId, SessionId};
use crate::room::holdback::{Held, HoldBack};
use crate::room::tally::Worth;
use crate::wire::encoded::Encoded;
use crate::wire::merging::Merging;
use crate::wire::validator;
use crate::wire::yjs::{StateVector, Update};

/// The place of an update in its document's log; the first is 1.
pub type Sequence = u64;

/// A document, and how far it is along its log.
pub struct Document {
    form: Form,
    /// The last update of the log that has been applied.
    applied: Sequence,
    /// The last encoding made, for the next who asks the same before anything changes.
    answered: Option<Answered>,
    /// The size of the document's last full encoding, plus what has been applied since.
    bytes: usize,
}

enum Form {
    /// Being edited.
    Open(Doc),
    /// At rest.
    Folded(Encoded),
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
    /// Whether nobody is expected to edit it soon.
    pub folds: bool,
}

/// What came of a [`Task`].
pub struct Report {
    /// The document; `None` when it broke.
    pub document: Option<Box<Document>>,
    /// The answers; missing are those that came after a failure.
    pub answers: Vec<Answer>,
    /// Questions not answered because the document broke before.
    pub unanswered: Vec<Question>,
    /// Of a document that was loaded: how far everybody's clocks go, and what waits for others.
    pub holdback: Option<HoldBack>,
    /// The update on which yrs failed, if there is no doubt which: it is not loaded again. Without
    /// it a document that broke is built anew from all there is, and then it will be known.
    pub broken: Option<Sequence>,
    /// Updates of the store that are no updates: left out.
    pub damaged: Vec<Sequence>,
}

impl Task {
    /// A rough guess of how long `run` takes, in microseconds: what decides where it runs.
    pub fn cost_micros(&self) -> usize {
        let document_bytes = self.document.as_ref().map_or(0, |document| document.bytes);
        let is_open = (self.document.as_ref()).is_some_and(|document| document.is_open());
        let edits = !self.apply.is_empty();
        let opening = match edits && !is_open {
            true => document_bytes / 20,
            false => 0,
        };
        let folding = match self.folds && (is_open || edits) {
            true => document_bytes / 20,
            false => 0,
        };
        let loading: usize = self
            .load
            .iter()
            .map(|(_, update)| 100 + update.len() / 20)
            .sum();
        let applying: usize = self
            .apply
            .iter()
            .map(|(_, update)| 2 + update.bytes().len() / 20)
            .sum();
        let encodings = self.ask.len().min(1 + self.ask.len() / 8);
        opening
            + folding
            + loading
            + applying
            + self.ask.len()
            + encodings * (document_bytes + applying * 10) / 100
    }

    /// Applies and answers. Never panics; call it on a thread with a large stack.
    pub fn run(self) -> Report {
        let Self {
            document,
            load,
            apply,
            ask,
            folds,
        } = self;
        let is_new = document.is_none();
        let mut document = document.unwrap_or_else(|| Box::new(Document::new()));
        let mut report = Report {
            document: None,
            answers: Vec::with_capacity(ask.len()),
            unanswered: Vec::new(),
            holdback: None,
            broken: None,
            damaged: Vec::new(),
        };
        let mut updates = Vec::with_capacity(load.len() + apply.len());
        let mut sifting = Sifting::default();
        for (sequence, bytes) in load {
            match validator::update(bytes) {
                Ok(update) => sifting.add(sequence, update, &mut updates),
                Err(_) => report.damaged.push(sequence),
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
        let mut applied = document.apply_all(&updates, Pace::Together);
        if applied.is_err() && is_new {
            // One of many broke it. This time it will be known which.
            std::mem::replace(&mut *document, Document::new()).abandon();
            applied = document.apply_all(&updates, Pace::OneByOne);
        }
        if let Err(broken) = applied {
            document.abandon();
            report.broken = broken;
            report.unanswered = ask;
            return report;
        }
        if is_new {
            document.applied = sifting.last.max(document.applied);
            report.holdback = Some(sifting.holdback);
        }
        let mut questions = ask.into_iter();
        while let Some(question) = questions.next() {
            match catch_unwind(AssertUnwindSafe(|| document.answer(question.clone()))) {
                Ok(answer) => report.answers.push(answer),
                Err(_) => {
                    // The last update applied is what the document did not survive, as far as
                    // anybody can tell.
                    report.broken = Some(document.applied);
                    report.unanswered = std::iter::once(question).chain(questions).collect();
                    document.abandon();
                    return report;
                }
            }
        }
        if folds && catch_unwind(AssertUnwindSafe(|| document.fold())).is_err() {
            report.broken = Some(document.applied);
            document.abandon();
            return report;
        }
        report.document = Some(document);
        report
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
            form: Form::Folded(Encoded::empty()),
            applied: 0,
            answered: None,
            bytes: 0,
        }
    }

    /// The last update of the log that has been applied.
    pub fn applied(&self) -> Sequence {
        self.applied
    }

    /// Whether it takes the memory of a document that is being edited.
    pub fn is_open(&self) -> bool {
        matches!(self.form, Form::Open(_))
    }

    /// About how large the document's encoding is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Applies updates in order; the error is the sequence number on which yrs failed, if known.
    fn apply_all(
        &mut self,
        updates: &[(Sequence, Update)],
        pace: Pace,
    ) -> Result<(), Option<Sequence>> {
        if updates.is_empty() {
            return Ok(());
        }
        self.answered = None;
        let opened = catch_unwind(AssertUnwindSafe(|| self.open()));
        if !matches!(opened, Ok(Ok(()))) {
            return Err(None);
        }
        let mut rest = updates;
        while let Some((first, _)) = rest.first() {
            let (count, bytes) = match pace {
                Pace::Together => beginning_as_one(rest),
                Pace::OneByOne => (1, rest[0].1.bytes().clone()),
            };
            let (now, later) = rest.split_at(count);
            let applied = catch_unwind(AssertUnwindSafe(|| {
                #[cfg(test)]
                now.iter()
                    .for_each(|(_, update)| faults::check(update.bytes()));
                self.apply(&bytes)
            }));
            match applied {
                Ok(Ok(())) => {}
                // An error says: the validator let through what yrs does not read.
                Ok(Err(_)) | Err(_) => return Err((count == 1).then_some(*first)),
            }
            if let Some((sequence, _)) = now.last() {
                self.applied = *sequence;
            }
            self.bytes += bytes.len();
            rest = later;
        }
        Ok(())
    }

    fn apply(&mut self, bytes: &Bytes) -> Result<(), Box<dyn std::error::Error>> {
        let Form::Open(doc) = &self.form else {
            return Err("a folded document cannot be edited".into());
        };
        let update = yrs::Update::decode_v1(bytes)?;
        let mut transaction = doc.transact_mut();
        transaction.apply_update(update)?;
        debug_assert!(
            !transaction.has_missing_updates(),
            "nothing is applied before what it stands on"
        );
        Ok(())
    }

    /// Makes it a document that can be edited.
    fn open(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let Form::Folded(encoded) = &self.form else {
            return Ok(());
        };
        let options = Options {
            // Zero is nobody's: the relay never writes content of its own.
            client_id: ClientID::new(0),
            offset_kind: OffsetKind::Utf16,
            skip_gc: false,
            // Otherwise the relay would write deletions of its own.
            cleanup_formatting: false,
            ..Options::default()
        };
        let whole = encoded.bytes().clone();
        let is_empty = encoded.is_empty();
        self.form = Form::Open(Doc::with_options(options));
        match is_empty {
            true => Ok(()),
            false => self.apply(&whole),
        }
    }

    /// Makes it its encoding, if that is sound.
    fn fold(&mut self) {
        if !self.is_open() {
            return;
        }
        let update = validator::update(self.whole());
        if let Some(encoded) = update.ok().and_then(Encoded::new) {
            self.form = Form::Folded(encoded);
            self.answered = None;
        }
    }

    fn state_vector(&self) -> Bytes {
        match &self.form {
            Form::Open(doc) => doc.transact().state_vector().encode_v1().into(),
            Form::Folded(encoded) => encoded.state_vector(),
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Diff {
                session,
                state_vector,
            } => {
                let update = self.encode_shared(&state_vector);
                let state_vector = self.state_vector();
                Answer::Diff {
                    session,
                    update,
                    state_vector,
                }
            }
            Question::Ask { session } => Answer::Ask {
                session,
                state_vector: self.state_vector(),
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
                let has_news = match &self.form {
                    Form::Open(doc) => has_news(doc, &update),
                    Form::Folded(encoded) => encoded.has_news(&update),
                };
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
                is_empty: match &self.form {
                    Form::Open(doc) => doc.transact().state_vector().is_empty(),
                    Form::Folded(encoded) => encoded.is_empty(),
                },
            },
            Question::Snapshot => Answer::Snapshot {
                update: self.whole(),
            },
        }
    }

    fn whole(&mut self) -> Bytes {
        let update = self.encode_shared(&StateVector::empty());
        self.bytes = update.len();
        update
    }

    /// Many join at once with the same state vector, most often the empty one: encode it once.
    fn encode_shared(&mut self, known: &StateVector) -> Bytes {
        if let Some(answered) = &self.answered
            && answered.state_vector == *known.bytes()
        {
            return answered.update.clone();
        }
        let update = match &self.form {
            Form::Open(doc) => Bytes::from(encode(doc, known)),
            Form::Folded(encoded) => encoded.lacking(known),
        };
        self.answered = Some(Answered {
            state_vector: known.bytes().clone(),
            update: update.clone(),
        });
        update
    }

    /// Leaks the document: after a panic inside yrs nothing of it can be trusted, its destructor
    /// neither. Costs its size; the update that did it is not loaded again.
    fn abandon(self) {
        std::mem::forget(self);
    }
}

fn encode(doc: &Doc, known: &StateVector) -> Vec<u8> {
    // A state vector that passed the validator decodes; if it should not, everything is right.
    let known = YrsStateVector::decode_v1(known.bytes()).unwrap_or_default();
    let mut encoded = doc.transact().encode_diff_v1(&known);
    // yrs makes room for a kilobyte, and what it has encoded is kept for the next who asks.
    encoded.shrink_to_fit();
    encoded
}

fn has_news(doc: &Doc, update: &Update) -> bool {
    let transaction = doc.transact();
    let known = transaction.state_vector();
    let has_blocks = update
        .clock_ends()
        .any(|(client, _, end)| u64::from(known.get(&ClientID::new(client.0))) < end);
    if has_blocks {
        return true;
    }
    let Ok(decoded) = yrs::Update::decode_v1(update.bytes()) else {
        return false;
    };
    if decoded.delete_set().is_empty() {
        return false;
    }
    !decoded
        .delete_set()
        .diff(&transaction.snapshot().delete_set)
        .is_empty()
}

/// Whether updates may be put together before yrs has them. That spares most of its work: a
/// transaction costs as much as twenty characters in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pace {
    Together,
    OneByOne,
}

/// As many of the first updates as can be put together, and what they are as one.
fn beginning_as_one(updates: &[(Sequence, Update)]) -> (usize, Bytes) {
    let mut merging = Merging::new();
    let together = updates.iter().take(UPDATES_TOGETHER_MAX);
    let count = together
        .take_while(|(_, update)| merging.push_checked(update))
        .count();
    match count {
        0 | 1 => (1, updates[0].1.bytes().clone()),
        _ => {
            let mut out = Vec::with_capacity(merging.encoded_len());
            merging.write(&mut out);
            (count, Bytes::from(out))
        }
    }
}

/// No update that passes the validator is known to make yrs panic, so tests name one that does.
#[cfg(test)]
pub mod faults {
    use std::cell::RefCell;

    use bytes::Bytes;

    thread_local! {
        static PANIC_ON: RefCell<Option<Bytes>> = const { RefCell::new(None) };
    }

    /// From now on, on this thread, applying this update panics.
    pub fn panic_on(update: Bytes) {
        PANIC_ON.set(Some(update));
    }

    pub(super) fn check(update: &Bytes) {
        PANIC_ON.with_borrow(|evil| assert_ne!(evil.as_ref(), Some(update), "as asked for"));
    }
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
            folds: false,
        };
        task.run()
    }

    #[test]
    fn of_many_updates_the_one_that_breaks_a_new_document_is_named() {
        faults::panic_on(key(5).1.bytes().clone());
        assert_eq!(apply(None, 0..10).broken, Some(6));
    }

    #[test]
    fn a_document_that_breaks_on_many_blames_none() {
        let document = apply(None, 0..3).document;
        faults::panic_on(key(5).1.bytes().clone());
        let report = apply(document, 3..10);
        assert!(report.document.is_none());
        assert_eq!(report.broken, None);
    }

    #[test]
    fn together_or_one_by_one_the_document_is_the_same() {
        let together = apply(None, 0..10).document.unwrap();
        let mut one_by_one = Document::new();
        one_by_one.open().unwrap();
        for clock in 0..10 {
            one_by_one.apply(key(clock).1.bytes()).unwrap();
        }
        let mut together = together;
        assert_eq!(together.whole(), one_by_one.whole());
        assert_eq!(together.applied(), 10);
    }

    #[test]
    fn folded_or_not_the_document_is_the_same() {
        let mut document = apply(None, 0..10).document.unwrap();
        assert!(document.is_open());
        let (whole, state_vector) = (document.whole(), document.state_vector());
        let knows_six = validator::state_vector(Bytes::from_static(&[1, 7, 6])).unwrap();
        let end = document.encode_shared(&knows_six);
        document.fold();
        assert!(!document.is_open());
        assert_eq!(
            (document.whole(), document.state_vector()),
            (whole, state_vector)
        );
        assert_eq!(document.encode_shared(&knows_six), end);
        let opened = apply(Some(document), 10..12).document.unwrap();
        assert!(opened.is_open());
        let mut opened = opened;
        let mut direct = apply(None, 0..12).document.unwrap();
        assert_eq!(opened.whole(), direct.whole());
    }
}
