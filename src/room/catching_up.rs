//! The document's ways: loaded, sent away with what it lacks and what is asked, and back with
//! answers.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::limits::{
    APPLY_WITHIN, RELOAD_AFTER, SNAPSHOT_LOG_BYTES_MIN, UNAPPLIED_BYTES_MAX, UNAPPLIED_UPDATES_MAX,
};
use crate::model::{Access, SessionId};
use crate::room::document::{Answer, Question, Report, Sequence, Task};
use crate::room::durability::Waiter;
use crate::room::holdback::HoldBack;
use crate::room::output::{Keep, Message, Output, Reply};
use crate::room::{Origin, Room, Slot};
use crate::wire::close::Refusal;

impl Room {
    pub(super) fn loaded(&mut self, updates: Vec<(Sequence, Bytes)>, last: Sequence) {
        if !matches!(self.document, Slot::Loading) {
            return;
        }
        if !self.has_loaded {
            self.has_loaded = true;
            self.durability.continue_from(last);
        }
        self.document_bytes = updates.iter().map(|(_, update)| update.len()).sum();
        self.snapshot_bytes = updates.first().map_or(0, |(_, update)| update.len());
        self.log_bytes = self.document_bytes - self.snapshot_bytes;
        self.document = Slot::Away;
        let ask = std::mem::take(&mut self.questions);
        let task = Task {
            document: None,
            load: updates,
            apply: Vec::new(),
            ask,
        };
        self.outputs.push_back(Output::Work(Box::new(task)));
    }

    pub(super) fn load_failed(&mut self, now: Timestamp, refusal: Refusal) {
        self.answer_readers();
        let admitted = self.sessions.iter();
        let waiting = self.waiting.iter();
        let closed = self.closed.iter().filter(|(_, closed)| closed.is_owed());
        let sessions: Vec<SessionId> = admitted
            .map(|(&session, known)| (session, known.manner))
            .chain(waiting.map(|(&session, known)| (session, known.manner)))
            .filter(|(_, manner)| !manner.has_no_document)
            .map(|(session, _)| session)
            .chain(closed.map(|(&session, _)| session))
            .collect();
        for session in sessions {
            self.refuse(Origin::Session { session, saved: 0 }, refusal);
        }
        for question in std::mem::take(&mut self.questions) {
            match question {
                Question::Whole { request } => self.answer(request, Reply::Refused(refusal)),
                Question::Emptiness { request } => self.emptiness_unknown(request, refusal),
                Question::Ask { .. }
                | Question::Diff { .. }
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
            || self.unapplied_max() <= self.unapplied.len()
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
            ask,
        };
        self.outputs.push_back(Output::Work(Box::new(task)));
    }

    /// How many updates are applied together: as they are, the document is copied.
    fn unapplied_max(&self) -> usize {
        UNAPPLIED_UPDATES_MAX * (1 + (self.document_bytes >> 20))
    }

    /// A task came back. While the hold-back queue is away it waits for that: what it says may be of
    /// what waits.
    pub(super) fn came_back(&mut self, now: Timestamp, report: Box<Report>) {
        match &mut self.sifting {
            Some(sifting) => sifting.report = Some(report),
            None => self.reported(now, *report),
        }
    }

    pub(super) fn reported(&mut self, now: Timestamp, report: Report) {
        for &sequence in &report.damaged {
            self.outputs
                .push_back(Output::Keep(Keep::Quarantine { sequence }));
            self.counts.quarantined += 1;
        }
        let document = report.document;
        if let Some(holdback) = report.holdback {
            self.begin_with(now, holdback);
        }
        let applied = document.applied();
        self.document_bytes = document.bytes();
        if !self.unapplied.is_empty() {
            self.due_at.get_or_insert(now + APPLY_WITHIN);
        }
        self.document = Slot::Here(document);
        for answer in report.answers {
            self.answered(now, applied, answer);
        }
        if self.is_snapshot_due() && !self.is_snapshot_asked {
            self.is_snapshot_asked = true;
            self.questions.push(Question::Snapshot);
        }
    }

    /// The document has been built from its log: what waits now, and what was accepted in the meantime.
    fn begin_with(&mut self, now: Timestamp, holdback: HoldBack) {
        self.holdback = Some(holdback);
        self.take_early(now);
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
            Answer::Ask {
                session,
                state_vector,
            } => self.tell(session, Message::Ask { state_vector }),
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
                worth,
                has_news,
            } => {
                let access = self.sessions.get(&session).map(|known| known.access);
                let may_write = access.map_or(may_write, |access| access == Access::Write);
                if !has_news {
                    self.confirm_step2(session, worth);
                } else if may_write {
                    self.accept_step2(now, session, update, worth);
                } else {
                    self.refuse_step2(session, worth);
                }
            }
            Answer::Whole { request, update } => {
                let is_durable = match self.applying.proposed() {
                    // It is not in there.
                    Some(place) => self.durability.is_durable_but(place),
                    None => self.durability.is_durable(),
                };
                let reply = Reply::Document {
                    update,
                    is_durable,
                    waiting_updates: self.waiting().updates,
                };
                self.answer(request, reply);
            }
            Answer::Emptiness { request, is_empty } => {
                self.emptiness_known(now, request, is_empty);
            }
            Answer::Snapshot { update } => {
                self.is_snapshot_asked = false;
                // What waits is away, and would not get its place behind the snapshot: it is asked for
                // again when that is back. Or as above.
                let is_away = self.holdback.is_none();
                if is_away || self.applying.proposed().is_some_and(|at| at <= applied) {
                    return;
                }
                self.keep_held_beyond(now, applied);
                self.snapshot_bytes = update.len();
                self.log_bytes = self.unapplied_bytes;
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

    pub(super) fn stored(&mut self, now: Timestamp, through: Sequence) {
        self.durability.stored(through);
        self.settle_proposed(now);
        while let Some((waiter, times)) = self.durability.pop_answered() {
            match waiter {
                Waiter::Session(session) => self.status(session, true, times),
                Waiter::Request(request) => self.answer(request, Reply::Applied),
            }
        }
    }
}
