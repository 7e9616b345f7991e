//! The document's ways: loaded, sent away with what it lacks and what is asked, and back with
//! answers; or broken, and built anew.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::limits::{
    APPLY_WITHIN, FOLD_AFTER, FOLD_AFTER_EACH_MIB, RELOAD_AFTER, SNAPSHOT_LOG_BYTES_MIN,
    UNAPPLIED_BYTES_MAX, UNAPPLIED_UPDATES_MAX,
};
use crate::model::SessionId;
use crate::room::document::{Answer, Question, Report, Sequence, Task};
use crate::room::durability::Waiter;
use crate::room::holdback::{Held, HoldBack};
use crate::room::output::{Keep, Message, Output, Reply};
use crate::room::{Origin, Room, Session, Slot};
use crate::wire::close::Refusal;
use crate::wire::yjs::Update;

impl Room {
    pub(super) fn loaded(&mut self, mut updates: Vec<(Sequence, Bytes)>, last: Sequence) {
        if !matches!(self.document, Slot::Loading) {
            return;
        }
        // The store may have it before we have heard so.
        updates.retain(|&(sequence, _)| !self.applying.excludes(sequence));
        if !self.has_loaded {
            self.has_loaded = true;
            self.durability.continue_from(last);
        }
        self.document_bytes = updates.iter().map(|(_, update)| update.len()).sum();
        self.snapshot_bytes = updates.first().map_or(0, |(_, update)| update.len());
        self.log_bytes = self.document_bytes - self.snapshot_bytes;
        // A rebuild: what was accepted since the store was asked comes behind what it had.
        let newest = updates.last().map_or(0, |&(sequence, _)| sequence);
        let mut apply = std::mem::take(&mut self.unapplied);
        apply.retain(|&(sequence, _)| newest < sequence);
        self.unapplied_bytes = 0;
        self.due_at = None;
        self.document = Slot::Away;
        let ask = std::mem::take(&mut self.questions);
        let task = Task {
            document: None,
            load: updates,
            apply,
            ask,
            folds: false,
        };
        self.outputs.push_back(Output::Work(Box::new(task)));
    }

    pub(super) fn load_failed(&mut self, now: Timestamp, refusal: Refusal) {
        self.answer_readers();
        let admitted = self.sessions.iter();
        let waiting = self.waiting.iter();
        let sessions: Vec<SessionId> = admitted
            .map(|(&session, known)| (session, known.manner))
            .chain(waiting.map(|(&session, known)| (session, known.manner)))
            .filter(|(_, manner)| !manner.has_no_document)
            .map(|(session, _)| session)
            .collect();
        for session in sessions {
            self.refuse(Origin::Session(session), refusal);
        }
        for question in std::mem::take(&mut self.questions) {
            match question {
                Question::Whole { request } => self.answer(request, Reply::Refused(refusal)),
                Question::Emptiness { request } => self.emptiness_unknown(request, refusal),
                Question::Diff { .. }
                | Question::Resync { .. }
                | Question::Novelty { .. }
                | Question::Snapshot => {}
            }
        }
        self.early_bytes = 0;
        for (origin, _) in std::mem::take(&mut self.early) {
            if let Origin::Request(..) = origin {
                self.refuse(origin, refusal);
            }
        }
        let has_others = self.roster.has_somebody_unconnected()
            || (self.sessions.values()).any(|known| known.manner.has_no_document);
        match self.has_loaded || has_others {
            // What is not stored yet must not be forgotten, nor who is here without reading.
            true => self.reload_at = Some(now + RELOAD_AFTER),
            // The next caller tries again with a new room.
            false => self.outputs.push_back(Output::Unload),
        }
    }

    /// Gives the document what it lacks and asks what there is to ask, if it is time.
    pub(super) fn send_document_away(&mut self, now: Timestamp) {
        // Nobody is there for whom it would be worth waiting for more.
        let is_last = self.empty_since.is_some() && !self.unapplied.is_empty();
        let is_due = !self.questions.is_empty()
            || is_last
            || self.due_at.is_some_and(|at| at <= now)
            || UNAPPLIED_UPDATES_MAX <= self.unapplied.len()
            || UNAPPLIED_BYTES_MAX < self.unapplied_bytes;
        if !is_due || !matches!(self.document, Slot::Here(_)) {
            return;
        }
        // Who asks is answered with all that came before.
        self.seal(now);
        let Slot::Here(document) = std::mem::replace(&mut self.document, Slot::Away) else {
            return;
        };
        self.due_at = None;
        self.unapplied_bytes = 0;
        let ask = std::mem::take(&mut self.questions);
        let task = Task {
            document: Some(document),
            load: Vec::new(),
            apply: std::mem::take(&mut self.unapplied),
            // Who asks does not wait until it is at rest.
            folds: ask.is_empty() && self.rests_at().is_none_or(|at| at <= now),
            ask,
        };
        self.outputs.push_back(Output::Work(Box::new(task)));
    }

    pub(super) fn reported(&mut self, now: Timestamp, report: Report) {
        for &sequence in &report.damaged {
            self.outputs
                .push_back(Output::Keep(Keep::Quarantine { sequence }));
            self.counts.quarantined += 1;
        }
        let Some(document) = report.document else {
            self.broken(report);
            return;
        };
        if let Some(holdback) = report.holdback {
            self.begin_with(now, holdback);
        }
        let applied = document.applied();
        self.document_bytes = document.bytes();
        if self.unapplied.is_empty() {
            let rests_at = self.rests_at().filter(|&at| now < at);
            // One that has been at rest for long and is open yet could not be folded, or was read just now.
            let due_at = rests_at.unwrap_or(now + self.rest_after());
            self.due_at = document.is_open().then_some(due_at);
        } else {
            self.due_at.get_or_insert(now + APPLY_WITHIN);
        }
        self.document = Slot::Here(document);
        while self
            .senders
            .front()
            .is_some_and(|&(sequence, _)| sequence <= applied)
        {
            self.senders.pop_front();
        }
        for answer in report.answers {
            self.answered(now, applied, answer);
        }
        if self.is_snapshot_due() && !self.is_snapshot_asked {
            self.is_snapshot_asked = true;
            self.questions.push(Question::Snapshot);
        }
    }

    /// How long nobody edits the document before it rests: to build it again takes time in proportion.
    fn rest_after(&self) -> Duration {
        FOLD_AFTER + FOLD_AFTER_EACH_MIB * (self.document_bytes >> 20) as u32
    }

    /// When nobody will have edited it for so long; `None`: nobody ever has.
    fn rests_at(&self) -> Option<Timestamp> {
        Some(self.edited_at? + self.rest_after())
    }

    /// The document has been built from its log, for the first time or again: what waits now, and what
    /// was accepted in the meantime.
    fn begin_with(&mut self, now: Timestamp, holdback: HoldBack) {
        let Some(before) = self.holdback.replace(holdback) else {
            self.early_bytes = 0;
            for (origin, update) in std::mem::take(&mut self.early) {
                self.accept(now, origin, update);
            }
            return;
        };
        // An update may have been set aside: what stands on it waits for ever.
        self.seal(now);
        for (sequence, update) in std::mem::take(&mut self.unapplied) {
            let from = self.sender(sequence);
            self.take_again(sequence, from, update);
        }
        for held in before.into_held() {
            self.take_again(held.sequence, held.from, held.rest.update);
        }
    }

    /// What has been passed on, or waits, already.
    fn take_again(&mut self, sequence: Sequence, from: Option<SessionId>, update: Update) {
        let Some(holdback) = &mut self.holdback else {
            return;
        };
        let admitted = holdback.admit(update);
        if let Some(rest) = admitted.rest
            && !holdback.holds(&rest)
        {
            holdback.hold(Held {
                sequence,
                from,
                rest,
            });
        }
        self.unapplied
            .extend(admitted.ready.map(|ready| (sequence, ready)));
    }

    /// Whether the log has outgrown what it would be as one update; sooner near the limit, so that
    /// nobody is refused for what a snapshot would have saved.
    pub(super) fn is_snapshot_due(&self) -> bool {
        if self.applying.proposed().is_some() {
            // It would be replaced by a document that it is not in.
            return false;
        }
        let is_long = SNAPSHOT_LOG_BYTES_MIN.max(2 * self.snapshot_bytes) < self.log_bytes;
        let is_near_limit = self.document_bytes_max / 2 < self.document_bytes
            && self.document_bytes_max / 8 < self.log_bytes;
        is_long || is_near_limit
    }

    pub(super) fn answered(&mut self, now: Timestamp, applied: Sequence, answer: Answer) {
        match answer {
            Answer::Diff {
                session,
                update,
                state_vector,
            } => {
                let through = applied;
                self.tell(
                    session,
                    Message::Answer {
                        state_vector,
                        update,
                        through,
                    },
                );
            }
            Answer::Resync { session, update } => {
                self.tell(
                    session,
                    Message::Resync {
                        update,
                        through: applied,
                    },
                );
            }
            Answer::Novelty {
                session,
                update,
                may_write,
                has_news,
            } => match self.sessions.get(&session) {
                Some(&Session { access, .. }) if has_news => {
                    self.edit(now, session, access, update);
                }
                None if has_news && may_write => self.accept(now, Origin::Departed, update),
                _ => self.confirm(session, 1),
            },
            Answer::Whole { request, update } => {
                let is_durable = match self.applying.proposed() {
                    // It is not in there.
                    Some(place) => self.durability.is_durable_but(place),
                    None => self.durability.is_durable(),
                };
                self.answer(request, Reply::Document { update, is_durable });
            }
            Answer::Emptiness { request, is_empty } => {
                self.emptiness_known(now, request, is_empty);
            }
            Answer::Snapshot { update } => {
                self.is_snapshot_asked = false;
                if self.applying.proposed().is_some_and(|at| at <= applied) {
                    // As above.
                    return;
                }
                self.keep_held_beyond(now, applied);
                self.snapshot_bytes = update.len();
                let waiting = self.holdback.as_ref().map_or(0, HoldBack::bytes);
                self.log_bytes = self.unapplied_bytes + waiting;
                let keep = Keep::Snapshot {
                    through: applied,
                    update,
                };
                self.outputs.push_back(Output::Keep(keep));
            }
        }
    }

    /// A snapshot replaces everything up to there but what waits: that gets a place behind it.
    fn keep_held_beyond(&mut self, now: Timestamp, through: Sequence) {
        self.seal(now);
        let held = self.holdback.iter_mut().flat_map(HoldBack::held_mut);
        for held in held.filter(|held| held.sequence <= through) {
            held.sequence = self.durability.append();
            self.outputs.push_back(Output::Keep(Keep::Append {
                sequence: held.sequence,
                update: held.rest.update.bytes().clone(),
            }));
        }
    }

    /// yrs failed: sets the update aside, ends who sent it, and begins again from what is stored.
    pub(super) fn broken(&mut self, report: Report) {
        if let Some(sequence) = report.broken {
            self.counts.quarantined += 1;
            self.outputs
                .push_back(Output::Keep(Keep::Quarantine { sequence }));
            if let Some(session) = self.sender(sequence) {
                self.refuse(Origin::Session(session), Refusal::BadUpdate);
            }
        }
        self.is_snapshot_asked = false;
        self.document = Slot::Loading;
        self.questions.splice(0..0, report.unanswered);
        self.outputs.push_back(Output::Load);
    }

    pub(super) fn sender(&self, sequence: Sequence) -> Option<SessionId> {
        let place = self
            .senders
            .binary_search_by_key(&sequence, |&(sent, _)| sent)
            .ok()?;
        self.senders.get(place).map(|&(_, session)| session)
    }

    pub(super) fn stored(&mut self, now: Timestamp, through: Sequence) {
        self.durability.stored(through);
        if self.durability.is_durable() {
            self.applying.note_durable();
        }
        self.settle_proposed(now);
        while let Some((waiter, times)) = self.durability.pop_answered() {
            match waiter {
                Waiter::Session(session) => self.status(session, true, times),
                Waiter::Request(request) => self.answer(request, Reply::Applied),
            }
        }
    }
}
