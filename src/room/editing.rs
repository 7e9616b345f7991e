//! What sessions and back ends say, and the place in the log that their updates get.

use crate::clock::Timestamp;
use crate::limits::{APPLY_WITHIN, EARLY_AT_ONCE, EARLY_BYTES_AT_ONCE, SIFT_INLINE_BYTES_MAX};
use crate::model::{Access, SessionId};
use crate::room::closing::Closed;
use crate::room::document::{Question, Sequence};
use crate::room::holdback::{Held, Left, Sift, Sifted};
use crate::room::input::FromSession;
use crate::room::output::{Keep, Message, Output, Reply};
use crate::room::run::Run;
use crate::room::tally::{Tally, Worth};
use crate::room::{Origin, Room, Session, Sifting};
use crate::wire::close::Refusal;
use crate::wire::frontier::{Admitted, Rest};
use crate::wire::yjs::{StateVector, Update};

impl Room {
    pub(super) fn message(&mut self, now: Timestamp, session: SessionId, message: FromSession) {
        let Some(&Session { access, .. }) = self.sessions.get(&session) else {
            return;
        };
        if self.policy.is_recorded {
            // Whatever it is, it is a sign of life.
            self.roster.beat(now, session, None);
        }
        match message {
            FromSession::Step1(state_vector) => {
                self.awareness.step1(now, session);
                self.silent.retain(|&(_, silent)| silent != session);
                self.tell(session, Message::Hold);
                // The newest question counts: a client that asks again has forgotten the first.
                self.questions.retain(|question| {
                    !matches!(question, Question::Diff { session: asked, .. } if *asked == session)
                });
                if let Some(tally) = self.tally(session) {
                    tally.begin();
                }
                self.questions.push(Question::Diff {
                    session,
                    state_vector,
                });
            }
            FromSession::Step2(update) => {
                self.awareness.step2(now, session);
                let may_write = access == Access::Write;
                let worth = self.hear_step2(session);
                match update.is_empty() {
                    true => self.confirm_step2(session, worth),
                    // Every return brings the whole delete set: most of the time it is no news.
                    false => self.questions.push(Question::Novelty {
                        session,
                        update,
                        may_write,
                        worth,
                    }),
                }
            }
            FromSession::Update(update) => {
                self.awareness.other(now, session);
                match update.is_empty() {
                    true => self.confirm(session, update.updates()),
                    false => self.edit(now, session, access, update),
                }
            }
            FromSession::Awareness(update) => self.awareness.receive(now, session, &update),
            FromSession::QueryAwareness => self.awareness.query(now, session),
            FromSession::Stateless(text) => {
                self.awareness.other(now, session);
                self.outputs.push_back(Output::Stateless {
                    from: session,
                    text,
                });
            }
            FromSession::Report { status, data } => {
                self.roster.report(now, session, status, data);
            }
            FromSession::Alive => {}
            FromSession::Unheard(updates) => {
                if let Some(tally) = self.tally(session) {
                    tally.refuse(updates, tally.round());
                }
            }
            FromSession::Other => self.awareness.other(now, session),
        }
    }

    pub(super) fn edit(
        &mut self,
        now: Timestamp,
        session: SessionId,
        access: Access,
        update: Update,
    ) {
        let updates = update.updates();
        if access == Access::Write {
            let saved = updates;
            self.accept(now, Origin::Session { session, saved }, update);
        } else {
            self.counts.dropped += u64::from(updates);
            if let Some(tally) = self.tally(session) {
                tally.refuse(updates, tally.round());
            }
            self.status(session, false, updates);
        }
    }

    /// What the step 2 that a session sends is to its count; one that has not asked for the document
    /// itself is known by this to want it.
    fn hear_step2(&mut self, session: SessionId) -> Worth {
        let Some(known) = self.sessions.get_mut(&session) else {
            return Worth::Refused;
        };
        let worth = known.tally.hear_step2();
        if worth == Worth::Refused && known.tally.gives() {
            self.give(session, StateVector::empty());
        }
        worth
    }

    /// A step 2 that holds something new, of a session that may write, or might when it came.
    pub(super) fn accept_step2(
        &mut self,
        now: Timestamp,
        session: SessionId,
        update: Update,
        worth: Worth,
    ) {
        let saved = self.tally(session).map(|tally| tally.settle(worth));
        let origin = match saved {
            Some(saved) => Origin::Session { session, saved },
            None => Origin::Departed,
        };
        self.accept(now, origin, update);
    }

    /// A step 2 that holds nothing new.
    pub(super) fn confirm_step2(&mut self, session: SessionId, worth: Worth) {
        if let Some(saved) = self.tally(session).map(|tally| tally.settle(worth)) {
            self.confirm(session, saved);
        }
    }

    /// A step 2 that holds something new, of a reader.
    pub(super) fn refuse_step2(&mut self, session: SessionId, worth: Worth) {
        self.counts.dropped += 1;
        if let Worth::One { round } = worth {
            if let Some(tally) = self.tally(session) {
                tally.refuse(1, round);
            }
            self.status(session, false, 1);
        }
    }

    /// The count of a session's client, also of one that was closed.
    fn tally(&mut self, session: SessionId) -> Option<&mut Tally> {
        let open = self.sessions.get_mut(&session);
        let closed = self.closed.get_mut(&session);
        open.map(|known| &mut known.tally)
            .or_else(|| closed.map(Closed::tally))
    }

    /// A valid update of somebody who may write: gives it its place and sends on what stands on what
    /// was sent on before.
    pub(super) fn accept(&mut self, now: Timestamp, origin: Origin, update: Update) {
        if self.holdback.is_some() && self.early.is_empty() {
            self.accept_now(now, origin, update);
            return;
        }
        let bytes = update.bytes().len();
        match self.document_bytes_max < self.early_bytes + bytes {
            true => self.refuse(origin, Refusal::LimitDocument),
            false => {
                self.early_bytes += bytes;
                self.early.push_back((origin, update));
            }
        }
    }

    fn accept_now(&mut self, now: Timestamp, origin: Origin, update: Update) {
        let bytes = update.bytes().len();
        let has_room = self.has_room_for(bytes);
        let Some(holdback) = &mut self.holdback else {
            return;
        };
        if !has_room {
            self.refuse(origin, Refusal::LimitDocument);
            return;
        }
        // Typed text is not gone through, however long: but only what can be passed on at once.
        let is_quick = || update.typed().is_some_and(|typed| holdback.takes(typed));
        if SIFT_INLINE_BYTES_MAX < bytes && !is_quick() {
            self.send_to_be_sifted(Some(origin), Some(update));
            return;
        }
        let from = origin.session();
        let Admitted { ready, rest } = holdback.admit(update);
        if let Some(ready) = ready {
            self.append(now, ready, from);
        }
        if let Some(rest) = rest
            && !self.hold(now, from, rest)
        {
            self.refuse(origin, Refusal::LimitDocument);
            return;
        }
        self.release(now);
        self.accepted(now, origin);
    }

    /// Says so to whoever sent it, now or when it is durable.
    fn accepted(&mut self, now: Timestamp, origin: Origin) {
        match origin {
            Origin::Session { session, saved } => {
                self.roster.touch(now, session);
                self.confirm(session, saved);
            }
            Origin::Request(request, until) => {
                if !self.durability.wait_until(until, request) {
                    self.answer(request, Reply::Applied);
                }
            }
            Origin::Departed => {}
        }
    }

    /// Whether the document may become larger by so much.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let running = self.run.as_ref().map_or(0, |run| run.bytes);
        let (_, held) = self.held();
        let coming = running + self.unapplied_bytes + held + self.applying.bytes() + bytes;
        self.document_bytes + coming <= self.document_bytes_max
    }

    /// Keeps what cannot be passed on yet; `false` if too much waits already.
    pub(super) fn hold(&mut self, now: Timestamp, from: Option<SessionId>, rest: Rest) -> bool {
        let Some(holdback) = &self.holdback else {
            return false;
        };
        if holdback.holds(&rest) {
            return true;
        }
        if holdback.is_too_much(&rest) {
            return false;
        }
        let sequence = self.keep_held(now, &rest.update);
        if let Some(holdback) = &mut self.holdback {
            holdback.hold(Held {
                sequence,
                from,
                rest,
            });
        }
        true
    }

    /// Puts what waits in the log; its place there.
    fn keep_held(&mut self, now: Timestamp, update: &Update) -> Sequence {
        // The log is written in its order.
        self.seal(now);
        let sequence = self.durability.append();
        let update = update.bytes().clone();
        // It does not count as what a snapshot would save: it would be there again.
        self.outputs
            .push_back(Output::Keep(Keep::Append { sequence, update }));
        sequence
    }

    /// Passes on what waited for what has just come.
    pub(super) fn release(&mut self, now: Timestamp) {
        while let Some(holdback) = &mut self.holdback {
            if holdback.releases_much() {
                self.send_to_be_sifted(None, None);
                return;
            }
            let Some((from, update)) = holdback.release() else {
                return;
            };
            self.append(now, update, from);
        }
    }

    /// What comes until it is back is `early`.
    pub(super) fn send_to_be_sifted(&mut self, asked: Option<Origin>, update: Option<Update>) {
        let Some(holdback) = self.holdback.take() else {
            return;
        };
        let from = asked.and_then(Origin::session);
        self.sifting = Some(Sifting {
            asked,
            held: (holdback.updates(), holdback.bytes()),
            report: None,
        });
        let sift = Sift::new(holdback, update, from);
        self.outputs.push_back(Output::Sift(Box::new(sift)));
    }

    /// What was large has been gone through: as in `accept`, and then what came meanwhile.
    pub(super) fn sifted(&mut self, now: Timestamp, sifted: Sifted) {
        let Some(Sifting { asked, report, .. }) = self.sifting.take() else {
            return;
        };
        let Sifted {
            mut holdback,
            ready,
            rest,
            released,
        } = sifted;
        if let Some(ready) = ready {
            self.append(now, ready, asked.and_then(Origin::session));
        }
        if let Some(Left::Held(update)) = &rest {
            let sequence = self.keep_held(now, update);
            let held = holdback.held_mut();
            held.filter(|held| held.sequence == 0)
                .for_each(|held| held.sequence = sequence);
        }
        for (from, update) in released {
            self.append(now, update, from);
        }
        self.holdback = Some(holdback);
        match asked {
            Some(origin) if rest == Some(Left::TooMuch) => {
                self.refuse(origin, Refusal::LimitDocument);
            }
            Some(origin) => self.accepted(now, origin),
            None => {}
        }
        if let Some(report) = report {
            self.reported(now, *report);
        }
        // A template may have been stored meanwhile.
        self.settle_proposed(now);
        self.take_early(now);
    }

    /// Accepts what came before that was possible, until it is not again; what is too much for a turn
    /// with the next ticks.
    pub(super) fn take_early(&mut self, now: Timestamp) {
        self.early_at = None;
        let mut bytes = 0;
        for _ in 0..EARLY_AT_ONCE {
            if self.holdback.is_none() {
                return;
            }
            let Some((origin, update)) = self.early.pop_front() else {
                return;
            };
            self.early_bytes -= update.bytes().len();
            bytes += update.bytes().len();
            self.accept_now(now, origin, update);
            if EARLY_BYTES_AT_ONCE < bytes {
                break;
            }
        }
        if self.holdback.is_some() && !self.early.is_empty() {
            self.early_at = Some(now);
        }
    }

    pub(super) fn append(&mut self, now: Timestamp, update: Update, from: Option<SessionId>) {
        self.counts.updates += u64::from(update.updates());
        if let Some(run) = &mut self.run
            && run.push(from, &update)
        {
            return;
        }
        self.seal(now);
        // The place is taken now: whoever waits for what is durable waits for this too.
        let sequence = self.durability.append();
        self.run = Some(Run::new(sequence, from, update));
    }

    /// What was typed goes its ways: to the log, to the others, and soon to the document.
    pub(super) fn seal(&mut self, now: Timestamp) {
        let Some(run) = self.run.take() else {
            return;
        };
        let (sequence, from) = (run.sequence, run.from);
        let update = run.into_update();
        let bytes = update.bytes().clone();
        self.log_bytes += bytes.len();
        self.unapplied_bytes += bytes.len();
        if self.unapplied.is_empty() {
            self.due_at = Some(now + APPLY_WITHIN);
        }
        self.unapplied.push((sequence, update));
        self.outputs.push_back(Output::Keep(Keep::Append {
            sequence,
            update: bytes.clone(),
        }));
        self.outputs.push_back(Output::Update {
            sequence,
            update: bytes,
            from,
        });
    }

    /// Says yes to a session for each of its updates, once all it may have seen is durable.
    pub(super) fn confirm(&mut self, session: SessionId, updates: u32) {
        if 0 < updates && self.wants_status(session) && !self.durability.wait(session, updates) {
            self.status(session, true, updates);
        }
    }

    pub(super) fn status(&mut self, session: SessionId, is_applied: bool, times: u32) {
        if self.wants_status(session) {
            self.tell(session, Message::Status { is_applied, times });
        }
    }

    /// Whoever closed a document may go on with it, and counts what it sent before.
    fn wants_status(&self, session: SessionId) -> bool {
        match self.sessions.get(&session) {
            Some(known) => known.manner.wants_status,
            None => self.closed.get(&session).is_some_and(Closed::wants_status),
        }
    }
}
