//! What sessions and back ends say, and the place in the log that their updates get.

use crate::clock::Timestamp;
use crate::limits::APPLY_WITHIN;
use crate::model::{Access, SessionId};
use crate::room::document::Question;
use crate::room::holdback::{Held, HoldBack};
use crate::room::input::FromSession;
use crate::room::output::{Keep, Message, Output, Reply};
use crate::room::run::Run;
use crate::room::{Origin, Room, Session};
use crate::wire::close::Refusal;
use crate::wire::frontier::{Admitted, Rest};
use crate::wire::yjs::Update;

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
                self.questions.push(Question::Diff {
                    session,
                    state_vector,
                });
            }
            FromSession::Step2(update) => {
                self.awareness.step2(now, session);
                let may_write = access == Access::Write;
                match update.is_empty() {
                    true => self.confirm(session, update.updates()),
                    // Every return brings the whole delete set: most of the time it is no news.
                    false => self.questions.push(Question::Novelty {
                        session,
                        update,
                        may_write,
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
        if access == Access::Write {
            self.accept(now, Origin::Session(session), update);
        } else {
            self.counts.dropped += u64::from(update.updates());
            self.status(session, false, update.updates());
        }
    }

    /// A valid update of somebody who may write: gives it its place and sends on what stands on what
    /// was sent on before.
    pub(super) fn accept(&mut self, now: Timestamp, origin: Origin, update: Update) {
        let (bytes, updates) = (update.bytes().len(), update.updates());
        let has_room = self.has_room_for(bytes);
        let Some(holdback) = &mut self.holdback else {
            match self.document_bytes_max < self.early_bytes + bytes {
                true => self.refuse(origin, Refusal::LimitDocument),
                false => {
                    self.early_bytes += bytes;
                    self.early.push_back((origin, update));
                }
            }
            return;
        };
        if !has_room {
            self.refuse(origin, Refusal::LimitDocument);
            return;
        }
        let from = match origin {
            Origin::Session(session) => Some(session),
            Origin::Request(..) | Origin::Departed => None,
        };
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
        match origin {
            Origin::Session(session) => {
                self.roster.touch(now, session);
                self.confirm(session, updates);
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
        let held = self.holdback.as_ref().map_or(0, HoldBack::bytes);
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
        // The log is written in its order.
        self.seal(now);
        let sequence = self.durability.append();
        let update = rest.update.bytes().clone();
        self.log_bytes += update.len();
        self.outputs
            .push_back(Output::Keep(Keep::Append { sequence, update }));
        if let Some(holdback) = &mut self.holdback {
            holdback.hold(Held {
                sequence,
                from,
                rest,
            });
        }
        true
    }

    /// Passes on what waited for what has just come.
    pub(super) fn release(&mut self, now: Timestamp) {
        while let Some((from, update)) = self.holdback.as_mut().and_then(HoldBack::release) {
            self.append(now, update, from);
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
            // Whether the document rests is looked at when it has taken this in.
            self.due_at = Some(now + APPLY_WITHIN);
        }
        self.unapplied.push((sequence, update));
        if let Some(from) = from {
            self.senders.push_back((sequence, from));
        }
        self.edited_at = Some(now);
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
        let wants_status = self
            .sessions
            .get(&session)
            .is_some_and(|known| known.manner.wants_status);
        if wants_status && !self.durability.wait(session, updates) {
            self.status(session, true, updates);
        }
    }

    pub(super) fn status(&mut self, session: SessionId, is_applied: bool, times: u32) {
        if self
            .sessions
            .get(&session)
            .is_some_and(|known| known.manner.wants_status)
        {
            self.tell(session, Message::Status { is_applied, times });
        }
    }
}
