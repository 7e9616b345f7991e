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
//! Start with `input` and `output`, then [`Room::handle`]; `editing` is what sessions say,
//! `catching_up` what happens to the document.

pub mod awareness;
mod catching_up;
mod document;
mod durability;
mod editing;
mod input;
mod object;
mod output;
mod stamp;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use crate::clock::Timestamp;
use crate::limits::UNLOAD_RETRY_AFTER;
use crate::model::{Grant, Policy, RequestId, SessionId, UserId};
use crate::presence::{Ending, Participant, Roster};
use crate::room::awareness::{Awareness, Event};
use crate::room::durability::Durability;
use crate::wire::close::Refusal;
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
