//! One room: a document, its awareness and its roster.
//!
//! A [`Room`] is a machine without clocks, sockets or threads. [`Room::handle`] lets one thing
//! happen, [`Room::poll_output`] says what is to be done about it (drain it before the next input),
//! [`Room::next_deadline`] when to come back with [`Input::Tick`]. It does not know which protocol
//! a session speaks, how far a socket is behind, or where documents are kept.
//!
//! Updates are forwarded as the bytes that came, before the document has them: it catches up in
//! batches, and always before it is read. Reading, applying and encoding are [`Task`]s that the
//! caller runs wherever it likes; while the document is away with one, the room goes on.
//!
//! Start with `input` and `output`, then [`Room::handle`].

pub mod awareness;
mod document;
mod durability;
mod input;
mod object;
mod output;
mod stamp;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::limits::{
    APPLY_WITHIN, RELOAD_AFTER, SETTLE_WITHIN, SETTLING_BYTES_MAX, SNAPSHOT_LOG_BYTES_MIN,
    UNAPPLIED_BYTES_MAX, UNLOAD_RETRY_AFTER,
};
use crate::model::{Access, Grant, Policy, RequestId, SessionId, UserId};
use crate::presence::{Ending, Participant, Roster};
use crate::room::awareness::{Awareness, Event};
use crate::room::durability::{Durability, Waiter};
use crate::wire::close::Refusal;
use crate::wire::validator;
use crate::wire::yjs::Update;

#[cfg(test)]
pub(crate) use document::faults;
pub use document::{Answer, Document, Question, Report, Sequence, Task};
pub use input::{FromSession, Input};
pub use output::{Keep, Message, Output, Reply};

/// One room. See the module's front page.
pub struct Room {
    policy: Policy,
    document_bytes_max: usize,
    sessions: HashMap<SessionId, Session>,
    awareness: Awareness,
    roster: Roster,
    document: Slot,
    /// The size of the last snapshot.
    snapshot_bytes: usize,
    /// The document's size as last reported: of its last encoding and of what came since.
    document_bytes: usize,
    has_loaded: bool,
    /// A failed rebuild is tried again then.
    reload_at: Option<Timestamp>,
    /// What came before the document was loaded.
    early: VecDeque<(Origin, Update)>,
    /// In the log, not yet in the document.
    unapplied: Vec<(Sequence, Update)>,
    unapplied_bytes: usize,
    /// Who sent what is unapplied or away being applied.
    senders: VecDeque<(Sequence, SessionId)>,
    apply_at: Option<Timestamp>,
    questions: Vec<Question>,
    /// When the first session has been waited for long enough.
    settle_at: Option<Timestamp>,
    /// Back ends' updates that wait to hear whether the document is empty.
    conditional: HashMap<RequestId, Update>,
    durability: Durability,
    log_bytes: usize,
    is_snapshot_asked: bool,
    /// Since when there has been nobody.
    empty_since: Option<Timestamp>,
    counts: Counts,
    outputs: VecDeque<Output>,
}

/// What a room has counted since it was last asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Updates accepted.
    pub updates: u64,
    /// Updates of readers, dropped.
    pub dropped: u64,
    /// Updates set aside because yrs failed on them.
    pub quarantined: u64,
}

struct Session {
    grant: Grant,
    wants_status: bool,
    /// Its edits while it is not yet known what it brings: see `Settling`.
    settling: Option<Settling>,
}

/// A session has said what it has and not yet what we lack. What it typed since its link opened
/// rests on what it typed before, which its step 2 will bring: until then its edits wait, so that
/// they are passed on in the order in which they can be applied.
struct Settling {
    until: Timestamp,
    edits: Vec<Update>,
    bytes: usize,
}

/// Where the document is.
enum Slot {
    Loading,
    Here(Document),
    Away,
}

#[derive(Clone, Copy)]
enum Origin {
    Session(SessionId),
    /// A session that could write when it sent this, and has left since.
    Departed,
    Request(RequestId),
}

impl Room {
    /// An empty room that asks for its document.
    pub fn new(now: Timestamp, policy: Policy, document_bytes_max: usize) -> Self {
        Self {
            policy,
            document_bytes_max,
            sessions: HashMap::new(),
            awareness: Awareness::new(),
            roster: Roster::new(),
            document: Slot::Loading,
            snapshot_bytes: 0,
            document_bytes: 0,
            has_loaded: false,
            reload_at: None,
            early: VecDeque::new(),
            unapplied: Vec::new(),
            unapplied_bytes: 0,
            senders: VecDeque::new(),
            apply_at: None,
            questions: Vec::new(),
            settle_at: None,
            conditional: HashMap::new(),
            durability: Durability::default(),
            log_bytes: 0,
            is_snapshot_asked: false,
            empty_since: Some(now),
            counts: Counts::default(),
            outputs: VecDeque::from([Output::Load]),
        }
    }

    /// Lets one thing happen. Drain `poll_output` before the next.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Loaded { updates, last } => self.loaded(now, updates, last),
            Input::LoadFailed { refusal } => self.load_failed(now, refusal),
            Input::Join {
                session,
                grant,
                wants_status,
            } => {
                self.join(now, session, grant, wants_status);
            }
            Input::Leave { session, ending } => self.leave(now, session, ending),
            Input::Renew { session, grant } => self.renew(now, session, grant),
            Input::Message { session, message } => self.message(now, session, message),
            Input::Resync { session } => self.questions.push(Question::Resync { session }),
            Input::Reported(report) => self.reported(now, *report),
            Input::Stored { through } => self.stored(through),
            Input::Read { request } => self.questions.push(Question::Whole { request }),
            Input::Apply {
                request,
                update,
                only_if_empty,
            } => {
                self.apply(now, request, update, only_if_empty);
            }
            Input::Tick => self.tick(now),
        }
        self.tell_awareness(now);
        self.tell_presence();
        self.send_document_away(now);
    }

    /// The next thing to do; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with `Tick` next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let apply = self
            .apply_at
            .filter(|_| matches!(self.document, Slot::Here(_)));
        let unload = self
            .empty_since
            .map(|since| since + self.policy.unload_after);
        [
            apply,
            unload,
            self.settle_at,
            self.reload_at,
            self.awareness.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The awareness states, for composing what members lack.
    pub fn awareness(&self) -> &Awareness {
        &self.awareness
    }

    /// Everybody here and those who left, in the contract's order.
    pub fn participants(&self) -> Vec<Participant> {
        self.roster.participants()
    }

    /// One user's entry.
    pub fn participant(&self, user: &UserId) -> Option<Participant> {
        self.roster.participant(user)
    }

    /// What is accepted but not on disk, in bytes.
    pub fn unstored_bytes(&self) -> usize {
        self.durability.unstored_bytes()
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    // Coming and going.

    fn join(&mut self, now: Timestamp, session: SessionId, grant: Grant, wants_status: bool) {
        self.empty_since = None;
        self.awareness.open(now, session, &grant);
        let known = Session {
            grant,
            wants_status,
            settling: None,
        };
        self.sessions.insert(session, known);
    }

    fn leave(&mut self, now: Timestamp, session: SessionId, ending: Ending) {
        // What it typed last was meant to be kept.
        self.settle(now, session);
        if self.sessions.remove(&session).is_none() {
            return;
        }
        // First of all the others are told: nobody is to see a ghost.
        self.awareness.close(now, session);
        self.tell_awareness(now);
        self.roster.leave(now, session, ending);
        self.durability.forget(session);
        // What it brought is kept, though nobody waits for the answer any more.
        self.questions.retain(|question| {
            asker(question) != Some(session) || matches!(question, Question::Novelty { .. })
        });
        if self.sessions.is_empty() {
            self.empty_since = Some(now);
        }
    }

    fn renew(&mut self, now: Timestamp, session: SessionId, grant: Grant) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        self.awareness.renew(now, session, &grant);
        known.grant = grant;
    }

    // What sessions say.

    fn message(&mut self, now: Timestamp, session: SessionId, message: FromSession) {
        if !self.sessions.contains_key(&session) {
            return;
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
                    .is_some_and(|known| known.grant.access == Access::Write);
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
            FromSession::Other => self.awareness.other(now, session),
        }
    }

    fn begin_settling(&mut self, now: Timestamp, session: SessionId) {
        if let Some(known) = self.sessions.get_mut(&session)
            && known.grant.access == Access::Write
            && known.settling.is_none()
        {
            let until = now + SETTLE_WITHIN;
            known.settling = Some(Settling {
                until,
                edits: Vec::new(),
                bytes: 0,
            });
            self.settle_at = Some(self.settle_at.map_or(until, |at| at.min(until)));
        }
    }

    /// It is known what the session brings, or it has been waited for long enough.
    fn settle(&mut self, now: Timestamp, session: SessionId) {
        let settling = self
            .sessions
            .get_mut(&session)
            .and_then(|known| known.settling.take());
        for update in settling.into_iter().flat_map(|settling| settling.edits) {
            self.edit(now, session, update);
        }
    }

    fn settle_overdue(&mut self, now: Timestamp) {
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

    fn edit_in_order(&mut self, now: Timestamp, session: SessionId, update: Update) {
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

    fn edit(&mut self, now: Timestamp, session: SessionId, update: Update) {
        let Some(known) = self.sessions.get(&session) else {
            return;
        };
        if known.grant.access == Access::Write {
            self.accept(now, Origin::Session(session), update);
        } else {
            self.counts.dropped += 1;
            self.status(session, false);
        }
    }

    /// A valid update of somebody who may write: gives it its place and sends it on.
    fn accept(&mut self, now: Timestamp, origin: Origin, update: Update) {
        if !self.has_loaded {
            self.early.push_back((origin, update));
            return;
        }
        let bytes = update.bytes().clone();
        if self.document_bytes_max < self.document_bytes + self.unapplied_bytes + bytes.len() {
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
                    .is_some_and(|known| known.wants_status)
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

    fn append(&mut self, now: Timestamp, update: Update, from: Option<SessionId>) {
        let bytes = update.bytes().clone();
        self.counts.updates += 1;
        self.log_bytes += bytes.len();
        self.unapplied_bytes += bytes.len();
        let sequence = self.durability.append(bytes.len());
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
    fn confirm(&mut self, session: SessionId) {
        let wants_status = self
            .sessions
            .get(&session)
            .is_some_and(|known| known.wants_status);
        if wants_status && !self.durability.wait(Waiter::Session(session)) {
            self.status(session, true);
        }
    }

    fn status(&mut self, session: SessionId, is_applied: bool) {
        if self
            .sessions
            .get(&session)
            .is_some_and(|known| known.wants_status)
        {
            self.tell(session, Message::Status(is_applied));
        }
    }

    // What back ends say.

    fn apply(&mut self, now: Timestamp, request: RequestId, update: Update, only_if_empty: bool) {
        if only_if_empty {
            self.conditional.insert(request, update);
            self.questions.push(Question::Emptiness { request });
        } else if update.is_empty() {
            self.answer(request, Reply::Applied);
        } else {
            self.accept(now, Origin::Request(request), update);
        }
    }

    fn emptiness_known(&mut self, now: Timestamp, request: RequestId, is_empty: bool) {
        if !is_empty {
            self.conditional.remove(&request);
            self.answer(request, Reply::NotEmpty);
        } else if !self.unapplied.is_empty() {
            // Something came while we looked: look again.
            self.questions.push(Question::Emptiness { request });
        } else if let Some(update) = self.conditional.remove(&request) {
            self.apply(now, request, update, false);
        }
    }

    // The document.

    fn loaded(&mut self, now: Timestamp, updates: Vec<(Sequence, Bytes)>, last: Sequence) {
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
        // A rebuild: what was accepted since the store was asked comes behind what it had.
        let newest = updates.last().map_or(0, |&(sequence, _)| sequence);
        let mut apply = std::mem::take(&mut self.unapplied);
        apply.retain(|&(sequence, _)| newest < sequence);
        self.unapplied_bytes = 0;
        self.apply_at = None;
        self.document = Slot::Away;
        let ask = std::mem::take(&mut self.questions);
        let task = Task {
            document: None,
            load: updates,
            apply,
            ask,
        };
        self.outputs.push_back(Output::Work(Box::new(task)));
        for (origin, update) in std::mem::take(&mut self.early) {
            self.accept(now, origin, update);
        }
    }

    fn load_failed(&mut self, now: Timestamp, refusal: Refusal) {
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.refuse(Origin::Session(session), refusal);
        }
        for question in std::mem::take(&mut self.questions) {
            if let Question::Whole { request } | Question::Emptiness { request } = question {
                self.conditional.remove(&request);
                self.answer(request, Reply::Refused(refusal));
            }
        }
        for (origin, _) in std::mem::take(&mut self.early) {
            if let Origin::Request(_) = origin {
                self.refuse(origin, refusal);
            }
        }
        match self.has_loaded {
            // A rebuild: what is not stored yet must not be forgotten.
            true => self.reload_at = Some(now + RELOAD_AFTER),
            // The next caller tries again with a new room.
            false => self.outputs.push_back(Output::Unload),
        }
    }

    /// Gives the document what it lacks and asks what there is to ask, if it is time.
    fn send_document_away(&mut self, now: Timestamp) {
        let is_due = !self.questions.is_empty()
            || self.apply_at.is_some_and(|at| at <= now)
            || UNAPPLIED_BYTES_MAX < self.unapplied_bytes;
        if !is_due || !matches!(self.document, Slot::Here(_)) {
            return;
        }
        let Slot::Here(document) = std::mem::replace(&mut self.document, Slot::Away) else {
            return;
        };
        self.apply_at = None;
        self.unapplied_bytes = 0;
        let task = Task {
            document: Some(document),
            load: Vec::new(),
            apply: std::mem::take(&mut self.unapplied),
            ask: std::mem::take(&mut self.questions),
        };
        self.outputs.push_back(Output::Work(Box::new(task)));
    }

    fn reported(&mut self, now: Timestamp, report: Report) {
        for &sequence in &report.damaged {
            self.outputs
                .push_back(Output::Keep(Keep::Quarantine { sequence }));
            self.counts.quarantined += 1;
        }
        for &sequence in &report.overdue {
            if let Some(session) = self.sender(sequence) {
                self.refuse(Origin::Session(session), Refusal::LimitDocument);
            }
        }
        let Some(document) = report.document else {
            self.broken(report);
            return;
        };
        let applied = document.applied();
        self.document_bytes = document.bytes();
        self.document = Slot::Here(document);
        while self
            .senders
            .front()
            .is_some_and(|&(sequence, _)| sequence <= applied)
        {
            self.senders.pop_front();
        }
        if let Some(update) = report
            .catch_up
            .and_then(|bytes| validator::update(bytes).ok())
        {
            self.append(now, update, None);
        }
        for answer in report.answers {
            self.answered(now, applied, answer);
        }
        if self.is_snapshot_due() && !self.is_snapshot_asked {
            self.is_snapshot_asked = true;
            self.questions.push(Question::Snapshot);
        }
    }

    /// Whether the log has outgrown what it would be as one update; sooner near the limit, so that
    /// nobody is refused for what a snapshot would have saved.
    fn is_snapshot_due(&self) -> bool {
        let is_long = SNAPSHOT_LOG_BYTES_MIN.max(2 * self.snapshot_bytes) < self.log_bytes;
        let is_near_limit = self.document_bytes_max / 2 < self.document_bytes
            && self.document_bytes_max / 8 < self.log_bytes;
        is_long || is_near_limit
    }

    fn answered(&mut self, now: Timestamp, applied: Sequence, answer: Answer) {
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
            } => {
                let is_here = self.sessions.contains_key(&session);
                match has_news {
                    true if is_here => self.edit(now, session, update),
                    true if may_write => self.accept(now, Origin::Departed, update),
                    _ => self.confirm(session),
                }
                self.settle(now, session);
            }
            Answer::Whole { request, update } => {
                let is_durable = self.durability.is_durable();
                self.answer(request, Reply::Document { update, is_durable });
            }
            Answer::Emptiness { request, is_empty } => {
                self.emptiness_known(now, request, is_empty);
            }
            Answer::Snapshot { update } => {
                self.is_snapshot_asked = false;
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

    /// yrs failed: sets the update aside, ends who sent it, and begins again from what is stored.
    fn broken(&mut self, report: Report) {
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

    fn sender(&self, sequence: Sequence) -> Option<SessionId> {
        let place = self
            .senders
            .binary_search_by_key(&sequence, |&(sent, _)| sent)
            .ok()?;
        self.senders.get(place).map(|&(_, session)| session)
    }

    fn stored(&mut self, through: Sequence) {
        self.durability.stored(through);
        while let Some(waiter) = self.durability.pop_answered() {
            match waiter {
                Waiter::Session(session) => self.status(session, true),
                Waiter::Request(request) => self.answer(request, Reply::Applied),
            }
        }
    }

    // Time, and telling.

    fn tick(&mut self, now: Timestamp) {
        self.awareness.tick(now);
        self.settle_overdue(now);
        if self.reload_at.is_some_and(|at| at <= now) {
            self.reload_at = None;
            self.outputs.push_back(Output::Load);
        }
        let Some(since) = self.empty_since else {
            return;
        };
        if now < since + self.policy.unload_after {
            return;
        }
        let is_quiet = matches!(self.document, Slot::Here(_))
            && self.questions.is_empty()
            && self.conditional.is_empty()
            && self.durability.is_durable();
        if is_quiet && self.unapplied.is_empty() {
            // Said once: a deadline that has passed already would be due for ever.
            self.empty_since = None;
            self.outputs.push_back(Output::Unload);
        } else {
            // Look again after another while, which is some time even where rooms go at once.
            self.empty_since = Some(now + UNLOAD_RETRY_AFTER);
        }
    }

    fn tell_awareness(&mut self, now: Timestamp) {
        let mut has_changed = false;
        while let Some(event) = self.awareness.poll_event() {
            match event {
                Event::Cast { .. } => has_changed = true,
                Event::Nudge {
                    session,
                    client,
                    clock,
                } => {
                    self.tell(session, Message::Nudge { client, clock });
                }
                Event::Push { session } => self.tell(session, Message::PushAwareness),
                Event::Shows {
                    session,
                    appearance: Some(appearance),
                } => {
                    if let Some(known) = self.sessions.get(&session) {
                        let user = known.grant.identity.user.clone();
                        self.roster.show(now, session, &user, appearance);
                    }
                }
                Event::Shows {
                    session,
                    appearance: None,
                } => {
                    self.roster.leave(now, session, Ending::Clean);
                }
                Event::Active { session } => self.roster.bring_forward(now, session),
            }
        }
        if has_changed {
            self.outputs.push_back(Output::Awareness);
        }
    }

    fn tell_presence(&mut self) {
        while let Some(change) = self.roster.poll_change() {
            self.outputs.push_back(Output::Presence(change));
        }
    }

    fn tell(&mut self, session: SessionId, message: Message) {
        self.outputs.push_back(Output::Tell { session, message });
    }

    fn answer(&mut self, request: RequestId, reply: Reply) {
        self.outputs.push_back(Output::Answer { request, reply });
    }

    fn refuse(&mut self, origin: Origin, refusal: Refusal) {
        match origin {
            Origin::Session(session) => {
                self.outputs.push_back(Output::Refuse { session, refusal });
            }
            Origin::Request(request) => self.answer(request, Reply::Refused(refusal)),
            Origin::Departed => {}
        }
    }
}

fn asker(question: &Question) -> Option<SessionId> {
    match question {
        Question::Diff { session, .. }
        | Question::Resync { session }
        | Question::Novelty { session, .. } => Some(*session),
        Question::Whole { .. } | Question::Emptiness { .. } | Question::Snapshot => None,
    }
}
