//! One room: a document, its awareness and its roster.
//!
//! A [`Room`] is a machine without clocks, sockets or threads. [`Room::handle`] lets one thing
//! happen, [`Room::poll_output`] says what is to be done about it (drain it before the next input),
//! [`Room::next_deadline`] when to come back with [`Input::Tick`]. It does not know which protocol
//! a session speaks, how far a socket is behind, or where documents are kept.
//!
//! Updates are forwarded before the document has them: it catches up in batches, and always before it
//! is read. What one session says in one go until [`Input::TurnEnds`] is one update to all others. An
//! update that stands on something that has not come waits in `holdback` until it has. Reading, applying
//! and encoding are [`Task`]s that the caller runs wherever it likes; while the document is away with
//! one, the room goes on.
//!
//! Start with `input` and `output`, then [`Room::handle`]; `editing` is what sessions say, `closing` what
//! becomes of those that their clients close, `applying` what back ends bring, `catching_up` what happens
//! to the document.

mod applying;
pub mod awareness;
mod catching_up;
mod closing;
mod document;
mod durability;
mod editing;
mod holdback;
mod input;
mod object;
mod output;
#[cfg(test)]
mod presence_tests;
mod run;
mod stamp;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::{ASKS_WITHIN, UNLOAD_RETRY_AFTER};
use crate::model::{Access, Grant, LastSeen, Policy, RequestId, SessionId, UserId};
use crate::presence::{self, Admission, Ending, Entering, Participant, Roster, Saying, Standing};
use crate::room::applying::Applying;
use crate::room::awareness::{Awareness, Event};
use crate::room::closing::Closed;
use crate::room::durability::Durability;
use crate::room::run::Run;
use crate::room::stamp::appearance_of;
use crate::room::tally::Tally;
use crate::small::SmallIdMap;
use crate::wire::close::Refusal;
use crate::wire::yjs::{StateVector, Update};

pub use document::{Answer, Document, Question, Report, Sequence, Task};
pub use holdback::{HoldBack, Sift, Sifted};
pub use input::{FromSession, Input, Manner};
pub use output::{Keep, Message, Output, Reply};

/// One room. See the module's front page.
pub struct Room {
    policy: Arc<Policy>,
    document_bytes_max: usize,
    sessions: SmallIdMap<SessionId, Session>,
    /// Those who wait for a place: they hear nothing but that, and are not heard.
    waiting: SmallIdMap<SessionId, Arriving>,
    /// Those that their client closed: they are not here, but may turn out to be.
    closed: SmallIdMap<SessionId, Closed>,
    awareness: Awareness,
    roster: Roster,
    document: Slot,
    /// The size of the last snapshot.
    snapshot_bytes: usize,
    /// The document's size as last reported: of its last encoding and of what came since.
    document_bytes: usize,
    has_loaded: bool,
    /// A failed load is tried again then.
    reload_at: Option<Timestamp>,
    /// What came before the document was loaded, or while something large is sifted, and how much it is.
    early: VecDeque<(Origin, Update)>,
    early_bytes: usize,
    /// When more of it is accepted, if there was too much for one turn.
    early_at: Option<Timestamp>,
    /// What has been passed on, and what waits for that. Known once the document has been built; away
    /// while something large is sifted.
    holdback: Option<HoldBack>,
    sifting: Option<Sifting>,
    /// What the session that spoke last has typed in this turn: not yet in the log.
    run: Option<Run>,
    /// In the log, not yet in the document.
    unapplied: Vec<(Sequence, Update)>,
    unapplied_bytes: usize,
    /// When the document takes that in.
    due_at: Option<Timestamp>,
    questions: Vec<Question>,
    /// Sessions that have not said yet what they have, and how long updates wait for that: those that
    /// are typed before it has the document it could not place.
    silent: VecDeque<(Timestamp, SessionId)>,
    /// Who asked who is here before it was known who was.
    readers: Vec<RequestId>,
    /// What back ends bring.
    applying: Applying,
    durability: Durability,
    log_bytes: usize,
    is_snapshot_asked: bool,
    /// Since when there has been nobody.
    empty_since: Option<Timestamp>,
    /// Whether it has said that it may be forgotten.
    is_over: bool,
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
    /// What the store kept as updates and is none, set aside.
    pub quarantined: u64,
}

/// Who and what waits in a room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Waiting {
    /// Users who wait for a place.
    pub people: usize,
    /// Accepted updates whose foundation has not come.
    pub updates: usize,
    /// The same in bytes.
    pub bytes: usize,
}

/// A session that is in. Who it is, its awareness and the roster know.
struct Session {
    access: Access,
    manner: Manner,
    tally: Tally,
}

/// A session that is not in yet.
struct Arriving {
    grant: Grant,
    manner: Manner,
}

/// Where the document is.
enum Slot {
    Loading,
    Here(Box<Document>),
    Away,
}

/// What the room waits for while the hold-back queue is away.
struct Sifting {
    /// Who sent what is sifted; `None` if it had waited.
    asked: Option<Origin>,
    /// How many updates were held back when it was sent away, and how large they are.
    held: (usize, usize),
    /// The document came back meanwhile: looked at when the queue is there again.
    report: Option<Box<Report>>,
}

#[derive(Clone, Copy)]
enum Origin {
    Session {
        session: SessionId,
        /// So many are told "saved" when it is.
        saved: u32,
    },
    /// A session that could write when it sent this, and has left since.
    Departed,
    /// A back end, and how long it waits.
    Request(RequestId, Timestamp),
}

impl Origin {
    fn session(self) -> Option<SessionId> {
        match self {
            Self::Session { session, .. } => Some(session),
            Self::Request(..) | Self::Departed => None,
        }
    }
}

impl Room {
    /// An empty room that asks for its document.
    pub fn new(now: Timestamp, policy: impl Into<Arc<Policy>>, document_bytes_max: usize) -> Self {
        let policy = policy.into();
        Self {
            roster: Roster::new(policy.clone()),
            policy,
            document_bytes_max,
            sessions: SmallIdMap::new(),
            waiting: SmallIdMap::new(),
            closed: SmallIdMap::new(),
            awareness: Awareness::new(),
            document: Slot::Loading,
            snapshot_bytes: 0,
            document_bytes: 0,
            has_loaded: false,
            reload_at: None,
            early: VecDeque::new(),
            early_bytes: 0,
            early_at: None,
            holdback: None,
            sifting: None,
            run: None,
            unapplied: Vec::new(),
            unapplied_bytes: 0,
            due_at: None,
            questions: Vec::new(),
            silent: VecDeque::new(),
            readers: Vec::new(),
            applying: Applying::default(),
            durability: Durability::default(),
            log_bytes: 0,
            is_snapshot_asked: false,
            empty_since: Some(now),
            is_over: false,
            counts: Counts::default(),
            outputs: VecDeque::from([Output::Load]),
        }
    }

    /// Lets one thing happen. Drain `poll_output` before the next.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        let may_be_last = matches!(input, Input::Tick | Input::Reported(_));
        if !matches!(input, Input::TurnEnds) {
            // What was due before happens before.
            self.roster.tick(now);
        }
        match input {
            Input::TurnEnds => {
                self.seal(now);
                self.send_document_away(now);
                return;
            }
            Input::Loaded {
                updates,
                last,
                people,
            } => {
                self.roster.remember(people);
                self.loaded(updates, last);
                self.answer_readers();
            }
            Input::LoadFailed { refusal } => self.load_failed(now, refusal),
            Input::Join {
                session,
                grant,
                manner,
            } => self.join(now, session, grant, manner),
            Input::Heartbeat {
                request,
                session,
                grant,
                lasts,
                status,
                data,
            } => {
                let saying = Saying { status, data };
                let is_in = self.heartbeat(now, session, &grant, lasts, saying);
                self.answer(
                    request,
                    match is_in {
                        true => Reply::Present,
                        false => Reply::Refused(Refusal::BoardFull),
                    },
                );
            }
            Input::Hide { user, hides } => {
                self.roster.hide(now, &user, hides);
                self.awareness.hide(now, &user, hides);
            }
            Input::Close => self.roster.close(now),
            Input::Expel { user } => self.roster.expel(now, &user),
            Input::Participants { request } => {
                self.readers.push(request);
                if self.has_loaded || self.policy.memory != LastSeen::Stored {
                    self.answer_readers();
                }
            }
            Input::Leave { session, ending } => self.leave(now, session, ending),
            Input::Closed { session } => self.close_session(now, session),
            Input::Reopen {
                session,
                grant,
                manner,
                message,
            } => self.reopen(now, session, grant, manner, message),
            Input::Renew { session, grant } => self.renew(now, session, grant),
            Input::Message { session, message } => self.message(now, session, message),
            Input::Answering { sessions } => {
                for session in sessions {
                    self.awareness.answer(now, session);
                }
            }
            Input::Resync { session } => self.questions.push(Question::Resync { session }),
            Input::Reported(report) => self.came_back(now, report),
            Input::Sifted(sifted) => self.sifted(now, *sifted),
            Input::Stored { through } => self.stored(now, through),
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
        self.tell_presence(now);
        self.note_emptiness(now);
        self.send_document_away(now);
        if may_be_last {
            self.rest();
        }
    }

    /// The next thing to do; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with `Tick` next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let is_here = matches!(self.document, Slot::Here(_));
        let document = self.due_at.filter(|_| is_here);
        let unload = self
            .empty_since
            .map(|since| since + self.policy.unload_after);
        [
            document,
            unload,
            self.silent.front().map(|&(until, _)| until),
            self.reload_at,
            self.early_at,
            self.durability.next_deadline(),
            self.applying.next_deadline(),
            self.awareness.next_deadline(),
            self.roster.next_deadline(),
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

    /// Those who are here.
    pub fn connected(&self) -> Vec<Participant> {
        self.roster.connected()
    }

    /// Whether the user has a place here or waits for one, seen by others or not.
    pub fn has_user(&self, user: &UserId) -> bool {
        self.roster.has_user(user)
    }

    /// Whether the session is in or waits.
    pub fn has_session(&self, session: SessionId) -> bool {
        self.roster.has(session)
    }

    /// One user's entry.
    pub fn participant(&self, user: &UserId) -> Option<Participant> {
        self.roster.participant(user)
    }

    /// A session as whoever runs the relay sees it; a back end's has none.
    pub fn standing(&self, session: SessionId) -> Option<Standing> {
        self.roster.standing(session)
    }

    /// How many users have a place, and how many wait for one.
    pub fn places(&self) -> (usize, usize) {
        (self.roster.users(), self.roster.waiting())
    }

    /// Who and what waits.
    pub fn waiting(&self) -> Waiting {
        let (updates, bytes) = self.held();
        Waiting {
            people: self.roster.waiting(),
            updates,
            bytes,
        }
    }

    /// How many updates are held back, and how large they are; also while they are away being sifted.
    fn held(&self) -> (usize, usize) {
        let held = self.holdback.as_ref();
        let held = held.map(|holdback| (holdback.updates(), holdback.bytes()));
        let away = self.sifting.as_ref().map(|sifting| sifting.held);
        held.or(away).unwrap_or_default()
    }

    /// Whether somebody has typed since the last `TurnEnds`.
    pub fn has_run(&self) -> bool {
        self.run.is_some()
    }

    /// Whether everything that was accepted is on disk.
    pub fn is_durable(&self) -> bool {
        self.durability.is_durable()
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// How much is kept of people, in entries of all lists and the room made for more.
    #[cfg(test)]
    fn entries(&self) -> usize {
        let sessions = self.sessions.capacity() + self.waiting.capacity();
        sessions
            + self.closed.capacity()
            + self.awareness.len()
            + self.roster.entries()
            + self.silent.len()
    }

    /// How much of the room made in maps and queues is for nobody.
    #[cfg(test)]
    fn spare(&self) -> usize {
        let sessions = self.sessions.capacity() - self.sessions.len();
        let closed = self.closed.capacity() - self.closed.len();
        let waiting = self.waiting.capacity() - self.waiting.len() + closed;
        let outputs = self.outputs.capacity() - self.outputs.len();
        let log = self.unapplied.capacity() + self.early.capacity();
        let (awareness, roster) = (self.awareness.spare(), self.roster.spare());
        sessions + waiting + outputs + log + self.questions.capacity() + awareness + roster
    }

    // Coming and going.

    fn join(&mut self, now: Timestamp, session: SessionId, grant: Grant, manner: Manner) {
        let arriving = Arriving { grant, manner };
        if !arriving.grant.is_participant {
            // A back end is nobody who could hide.
            self.roster.forget_if_absent(&arriving.grant.identity.user);
            self.welcome(now, session, arriving);
            self.outputs.push_back(Output::Admitted { session });
            return;
        }
        let entering = Entering {
            user: arriving.grant.identity.user.clone(),
            identity: appearance_of(&arriving.grant),
            may_wait: manner.may_wait,
            lasts: None,
        };
        match self.roster.enter(now, session, entering) {
            Admission::In => self.welcome(now, session, arriving),
            Admission::Waiting => {
                self.waiting.insert(session, arriving);
            }
            Admission::Full => {
                let refusal = Refusal::BoardFull;
                self.outputs.push_back(Output::Refuse { session, refusal });
            }
        }
    }

    /// The session is in, and is told so: whom the room refuses hears nothing else.
    fn welcome(&mut self, now: Timestamp, session: SessionId, arriving: Arriving) {
        let (access, manner) = (arriving.grant.access, arriving.manner);
        self.admit(now, session, arriving);
        self.tell_access(session, access, manner);
    }

    fn tell_access(&mut self, session: SessionId, access: Access, manner: Manner) {
        if manner.wants_status {
            self.tell(session, Message::Access(access));
        }
    }

    /// The session is in: it is heard from now on.
    fn admit(&mut self, now: Timestamp, session: SessionId, arriving: Arriving) {
        let user = &arriving.grant.identity.user;
        self.awareness.open(now, session, &arriving.grant);
        if self.roster.hides(user) {
            self.awareness.hide(now, user, true);
        }
        let admitted = Session {
            access: arriving.grant.access,
            manner: arriving.manner,
            tally: Tally::default(),
        };
        self.sessions.insert(session, admitted);
        if !arriving.manner.has_no_document {
            self.silent.push_back((now + ASKS_WITHIN, session));
        }
    }

    /// A place became free for a session that waited. What it said until now was dropped: it is
    /// sent the document, and asked what it has, as if it came now.
    fn admit_from_queue(&mut self, now: Timestamp, session: SessionId, arriving: Arriving) {
        let has_document = !arriving.manner.has_no_document;
        self.admit(now, session, arriving);
        if has_document {
            self.silent.retain(|&(_, silent)| silent != session);
            self.give(session, StateVector::empty());
            self.tell(session, Message::QueryAwareness);
        }
    }

    fn leave(&mut self, now: Timestamp, session: SessionId, ending: Ending) {
        self.waiting.remove(&session);
        self.closed.remove(&session);
        self.silent.retain(|&(_, silent)| silent != session);
        if self.sessions.remove(&session).is_some() {
            // First of all the others are told: nobody is to see a ghost.
            self.awareness.close(now, session);
        }
        self.roster.leave(now, session, ending);
        self.durability.forget(session);
        // What it brought is kept, though nobody waits for the answer any more.
        self.questions.retain(|question| {
            asker(question) != Some(session) || matches!(question, Question::Novelty { .. })
        });
    }

    fn renew(&mut self, now: Timestamp, session: SessionId, grant: Grant) {
        if let Some(known) = self.sessions.get_mut(&session) {
            self.awareness.renew(now, session, &grant);
            self.roster.renew(now, session, appearance_of(&grant));
            let before = std::mem::replace(&mut known.access, grant.access);
            let manner = known.manner;
            self.tell_access(session, grant.access, manner);
            let is_promoted = before == Access::Read && grant.access == Access::Write;
            if is_promoted && !manner.has_no_document {
                // What it typed meanwhile was dropped, and what it types now may stand on that.
                self.ask(session);
            }
        } else if let Some(known) = self.waiting.get_mut(&session) {
            self.roster.renew(now, session, appearance_of(&grant));
            known.grant = grant;
        }
    }

    /// Somebody without a socket is here; `false` if there is no place for them.
    fn heartbeat(
        &mut self,
        now: Timestamp,
        session: SessionId,
        grant: &Grant,
        lasts: Duration,
        saying: Saying,
    ) -> bool {
        let entering = Entering {
            user: grant.identity.user.clone(),
            identity: appearance_of(grant),
            may_wait: false,
            lasts: Some(lasts),
        };
        self.roster.heartbeat(now, session, entering, saying) == Admission::In
    }

    /// Since when there has been nobody.
    fn note_emptiness(&mut self, now: Timestamp) {
        let is_empty =
            self.sessions.is_empty() && self.waiting.is_empty() && self.roster.is_empty();
        if !is_empty {
            self.empty_since = None;
            self.is_over = false;
        } else if !self.is_over {
            self.empty_since.get_or_insert(now);
        }
    }

    // Time, and telling.

    fn tick(&mut self, now: Timestamp) {
        self.awareness.tick(now);
        if self.early_at.is_some_and(|at| at <= now) {
            self.take_early(now);
        }
        self.give_up_applying(now);
        while let Some(&(until, session)) = self.silent.front()
            && until <= now
        {
            self.silent.pop_front();
            self.tell(session, Message::Listen);
            // It may have typed before it came in, or while it was not let in.
            self.ask(session);
        }
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
            && self.sifting.is_none()
            && self.early.is_empty()
            && self.questions.is_empty()
            && self.applying.is_empty()
            && self.durability.is_durable();
        if is_quiet && self.run.is_none() && self.unapplied.is_empty() {
            // Said once: a deadline that has passed already would be due for ever.
            self.empty_since = None;
            self.is_over = true;
            self.outputs.push_back(Output::Unload);
        } else {
            // Look again after another while, which is some time even where rooms go at once.
            self.empty_since = Some(now + UNLOAD_RETRY_AFTER);
        }
    }

    /// Gives back the room that queues made when much happened, if nothing does for now.
    fn rest(&mut self) {
        if !self.unapplied.is_empty() || !matches!(self.document, Slot::Here(_)) {
            return;
        }
        self.outputs.shrink_to_fit();
        self.early.shrink_to_fit();
        self.silent.shrink_to_fit();
        self.questions.shrink_to_fit();
        self.durability.rest();
        self.awareness.rest();
        self.roster.rest();
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
                Event::Dropped {
                    session,
                    limit,
                    bytes,
                } => self.outputs.push_back(Output::StateDropped {
                    session,
                    limit,
                    bytes,
                }),
                Event::Ask { sessions } => {
                    self.outputs.push_back(Output::AskSockets { sessions });
                }
                Event::Shows {
                    session,
                    appearance,
                } => self
                    .roster
                    .show(now, session, appearance.map(|shown| *shown)),
                Event::Active { session } => self.roster.bring_forward(now, session),
            }
        }
        if has_changed {
            self.outputs.push_back(Output::Awareness);
        }
    }

    fn tell_presence(&mut self, now: Timestamp) {
        // Changes first: whoever is let in is told how things are then, and nothing twice.
        let mut admitted = Vec::new();
        while let Some(event) = self.roster.poll_event() {
            match event {
                presence::Event::Change { change, by } => {
                    self.outputs.push_back(Output::Presence { change, by });
                }
                presence::Event::Admitted(session) => admitted.push(session),
                presence::Event::Queued { session, position } => {
                    self.tell(session, Message::Queued(position));
                }
                presence::Event::Expired(session) => {
                    self.outputs.push_back(Output::Expired { session });
                }
                presence::Event::Attendance { user, is_here } => {
                    self.outputs.push_back(Output::Attendance { user, is_here });
                }
                presence::Event::Record(record) => self.outputs.push_back(Output::Record(record)),
                presence::Event::Seen(person) => self.outputs.push_back(Output::Seen(person)),
            }
        }
        for session in admitted {
            self.outputs.push_back(Output::Admitted { session });
            if let Some(arriving) = self.waiting.remove(&session) {
                self.admit_from_queue(now, session, arriving);
            }
        }
    }

    /// Answers who asked who is here.
    fn answer_readers(&mut self) {
        for request in std::mem::take(&mut self.readers) {
            let participants = self.roster.participants();
            self.answer(request, Reply::Participants(participants));
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
            Origin::Session { session, .. } => {
                self.outputs.push_back(Output::Refuse { session, refusal });
            }
            Origin::Request(request, _) => self.answer(request, Reply::Refused(refusal)),
            Origin::Departed => {}
        }
    }
}

fn asker(question: &Question) -> Option<SessionId> {
    match question {
        Question::Diff { session, .. }
        | Question::Ask { session }
        | Question::Resync { session }
        | Question::Novelty { session, .. } => Some(*session),
        Question::Whole { .. } | Question::Emptiness { .. } | Question::Snapshot => None,
    }
}
