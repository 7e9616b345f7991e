//! What sessions and back ends say, and the place in the log that their updates get.

use crate::clock::Timestamp;
use crate::limits::{APPLY_WITHIN, SETTLE_WITHIN, SETTLING_BYTES_MAX};
use crate::model::{Access, RequestId, SessionId};
use crate::room::document::Question;
use crate::room::durability::Waiter;
use crate::room::input::FromSession;
use crate::room::output::{Keep, Message, Output, Reply};
use crate::room::run::Run;
use crate::room::{Origin, Room, Settling};
use crate::wire::close::Refusal;
use crate::wire::yjs::Update;

impl Room {
    pub(super) fn message(&mut self, now: Timestamp, session: SessionId, message: FromSession) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        if self.policy.is_recorded {
            // Whatever it is, it is a sign of life.
            self.roster.beat(now, session, None);
        }
        match message {
            FromSession::Step1(state_vector) => {
                self.awareness.step1(now, session);
                self.tell(session, Message::Hold);
                self.begin_settling(now, session);
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
                let may_write = self
                    .sessions
                    .get(&session)
                    .is_some_and(|known| known.access == Access::Write);
                match update.is_empty() {
                    true => {
                        self.settle(now, session);
                        self.confirm(session);
                    }
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
                    true => self.confirm(session),
                    false => self.edit_in_order(now, session, update),
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

    pub(super) fn begin_settling(&mut self, now: Timestamp, session: SessionId) {
        if let Some(known) = self.sessions.get_mut(&session)
            && known.access == Access::Write
            && known.settling.is_none()
        {
            let until = now + SETTLE_WITHIN;
            known.settling = Some(Box::new(Settling {
                until,
                edits: Vec::new(),
                bytes: 0,
            }));
            self.settle_at = Some(self.settle_at.map_or(until, |at| at.min(until)));
        }
    }

    /// It is known what the session brings, or it has been waited for long enough.
    pub(super) fn settle(&mut self, now: Timestamp, session: SessionId) {
        let settling = self
            .sessions
            .get_mut(&session)
            .and_then(|known| known.settling.take());
        for update in settling.into_iter().flat_map(|settling| settling.edits) {
            self.edit(now, session, update);
        }
    }

    pub(super) fn settle_overdue(&mut self, now: Timestamp) {
        if self.settle_at.is_none_or(|at| now < at) {
            return;
        }
        let deadlines = self
            .sessions
            .iter()
            .filter_map(|(&session, known)| Some((session, known.settling.as_ref()?.until)));
        let (due, later): (Vec<_>, Vec<_>) = deadlines.partition(|&(_, until)| until <= now);
        self.settle_at = later.into_iter().map(|(_, until)| until).min();
        for (session, _) in due {
            self.settle(now, session);
        }
    }

    pub(super) fn edit_in_order(&mut self, now: Timestamp, session: SessionId, update: Update) {
        let settling = self
            .sessions
            .get_mut(&session)
            .and_then(|known| known.settling.as_mut());
        let Some(settling) = settling else {
            self.edit(now, session, update);
            return;
        };
        settling.bytes += update.bytes().len();
        settling.edits.push(update);
        if SETTLING_BYTES_MAX < settling.bytes {
            self.settle(now, session);
        }
    }

    pub(super) fn edit(&mut self, now: Timestamp, session: SessionId, update: Update) {
        let Some(known) = self.sessions.get(&session) else {
            return;
        };
        if known.access == Access::Write {
            self.accept(now, Origin::Session(session), update);
        } else {
            self.counts.dropped += 1;
            self.status(session, false, 1);
        }
    }

    /// A valid update of somebody who may write: gives it its place and sends it on.
    pub(super) fn accept(&mut self, now: Timestamp, origin: Origin, update: Update) {
        if !self.has_loaded {
            self.early.push_back((origin, update));
            return;
        }
        let bytes = update.bytes().len();
        let running = self.run.as_ref().map_or(0, |run| run.bytes);
        let coming = running + self.unapplied_bytes + bytes;
        if self.document_bytes_max < self.document_bytes + coming {
            self.refuse(origin, Refusal::LimitDocument);
            return;
        }
        let from = match origin {
            Origin::Session(session) => Some(session),
            Origin::Request(_) | Origin::Departed => None,
        };
        self.append(now, update, from);
        match origin {
            Origin::Session(session) => {
                self.roster.touch(now, session);
                if self
                    .sessions
                    .get(&session)
                    .is_some_and(|known| known.manner.wants_status)
                {
                    self.durability.wait(Waiter::Session(session));
                }
            }
            Origin::Request(request) => {
                self.durability.wait(Waiter::Request(request));
            }
            Origin::Departed => {}
        }
    }

    pub(super) fn append(&mut self, now: Timestamp, update: Update, from: Option<SessionId>) {
        self.counts.updates += 1;
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
        self.unapplied.push((sequence, update));
        if let Some(from) = from {
            self.senders.push_back((sequence, from));
        }
        self.apply_at.get_or_insert(now + APPLY_WITHIN);
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

    /// Says yes to a session whose update changed nothing, once all it may have seen is durable.
    pub(super) fn confirm(&mut self, session: SessionId) {
        let wants_status = self
            .sessions
            .get(&session)
            .is_some_and(|known| known.manner.wants_status);
        if wants_status && !self.durability.wait(Waiter::Session(session)) {
            self.status(session, true, 1);
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

    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        request: RequestId,
        update: Update,
        only_if_empty: bool,
    ) {
        if only_if_empty {
            self.conditional.insert(request, update);
            self.questions.push(Question::Emptiness { request });
        } else if update.is_empty() {
            self.answer(request, Reply::Applied);
        } else {
            self.accept(now, Origin::Request(request), update);
        }
    }

    pub(super) fn emptiness_known(&mut self, now: Timestamp, request: RequestId, is_empty: bool) {
        if !is_empty {
            self.conditional.remove(&request);
            self.answer(request, Reply::NotEmpty);
        } else if self.run.is_some() || !self.unapplied.is_empty() {
            // Something came while we looked: look again.
            self.questions.push(Question::Emptiness { request });
        } else if let Some(update) = self.conditional.remove(&request) {
            self.apply(now, request, update, false);
        }
    }
}
