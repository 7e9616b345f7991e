//! The roster of one room: sessions in, participants and changes out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::deadlines::Deadlines;
use crate::limits::SEEN_EVERY;
use crate::model::{Color, LastSeen, Participants, Policy, SessionId, UserId};
use crate::presence::admission::Queue;
use crate::presence::departed::Departed;
use crate::presence::hues::Hues;
use crate::presence::participant::Presence;
use crate::presence::session::Session;
use crate::presence::{
    Admission, Appearance, Change, Participant, SessionRecord, Standing, Status,
};
use crate::small::{SmallIdMap, SmallMap, SmallSet};

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// By a close frame or a `leave`.
    Clean,
    /// Without a word.
    Lost,
    /// It was shut out, or its time was up: there is nothing to wait for.
    Over,
}

/// A session that wants to be in.
#[derive(Clone, Debug)]
pub struct Entering {
    /// Whose.
    pub user: UserId,
    /// Who its token says they are.
    pub identity: Appearance,
    /// Whether it can be told that it waits.
    pub may_wait: bool,
    /// How long it is good for after each sign of life; `None` for one that ends by being ended.
    pub lasts: Option<Duration>,
}

/// What a sign of life says beside that its sender is there.
#[derive(Clone, Debug, Default)]
pub struct Saying {
    /// What they do, if they say.
    pub status: Option<Status>,
    /// What else they say, as JSON text; it replaces what they said before.
    pub data: Option<Arc<str>>,
}

/// What a roster tells; drain with `poll_event` after every call that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody came, looks different or went.
    Change {
        /// What.
        change: Box<Change>,
        /// The session that did it, which is not told.
        by: Option<SessionId>,
    },
    /// The session is in: at once, or after having waited.
    Admitted(SessionId),
    /// The session waits, at this place from 1.
    Queued {
        /// Which.
        session: SessionId,
        /// Where.
        position: usize,
    },
    /// The session's signs of life have stopped, and it is gone.
    Expired(SessionId),
    /// Whether the user has a place or waits for one is from now on another than before.
    Attendance {
        /// Whose.
        user: UserId,
        /// Whether they have or do.
        is_here: bool,
    },
    /// The session is to be written down.
    Record(Box<SessionRecord>),
    /// It is to be remembered that somebody was there: they are, or they have just gone.
    Seen(Box<Participant>),
}

/// Who is in a room, who waits, and who was there.
#[derive(Debug)]
pub struct Roster {
    policy: Arc<Policy>,
    sessions: SmallIdMap<SessionId, Session>,
    /// Everybody who has a place.
    users: SmallMap<UserId, User>,
    queue: Queue,
    departed: Departed,
    /// Those who hide from everybody.
    hidden: SmallSet<UserId>,
    /// Which are shown, where no two are to look alike.
    hues: Option<Box<Hues>>,
    deadlines: Deadlines<Due>,
    /// Counts what sessions show, so that the latest is known even within one millisecond.
    change: u64,
    events: VecDeque<Event>,
}

/// Somebody who has a place.
#[derive(Debug, Default)]
struct User {
    /// How many sessions they have, shown or not.
    sessions: usize,
    presence: Presence,
    /// What stays of them when their last session is gone, for a while.
    lingering: Option<Box<Lingering>>,
    /// As others know them.
    told: Option<Appearance>,
    /// The colour they were given, where no two are to look alike, until they leave or choose one. Whoever
    /// hides has none: that it is taken would tell of them.
    given: Option<Color>,
    /// The last activity in a session that has ended.
    last_seen: Timestamp,
    /// When it was last said that they were seen.
    remembered: Timestamp,
}

impl User {
    /// What is shown of them where no two are to look alike: whoever chose no colour is given one.
    fn colored(&mut self, shown: Option<Appearance>, hues: &Hues) -> Option<Appearance> {
        let own = shown.as_ref().map(|shown| shown.color);
        let told = self.told.as_ref().map(|told| told.color);
        let own = own.filter(|color| !color.is_chosen());
        self.given = own.map(|own| self.given.unwrap_or_else(|| hues.pick(own, told)));
        let shown = shown?;
        let color = self.given.unwrap_or(shown.color);
        Some(Appearance { color, ..shown })
    }
}

/// An entry without sessions.
#[derive(Debug)]
struct Lingering {
    appearance: Appearance,
    /// The end of the last session.
    since: Timestamp,
    /// That session, which is not over yet as far as records go.
    session: SessionId,
    state: Session,
}

/// What is due for whom.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Due {
    /// The session expires, falls idle, or stops typing.
    Session(SessionId),
    /// The entry has lingered for long enough.
    Linger(UserId),
    /// Changes have been gathered for long enough.
    Gather(UserId),
}

impl Roster {
    /// An empty room of a kind with these numbers.
    pub fn new(policy: impl Into<Arc<Policy>>) -> Self {
        let policy: Arc<Policy> = policy.into();
        Self {
            hues: policy.has_distinct_colors.then(Box::default),
            policy,
            sessions: SmallIdMap::new(),
            users: SmallMap::new(),
            queue: Queue::default(),
            departed: Departed::default(),
            hidden: SmallSet::new(),
            deadlines: Deadlines::new(),
            change: 0,
            events: VecDeque::new(),
        }
    }

    // Coming and going.

    /// A session wants to be in. A user who is in is let in again with every session; else whoever
    /// comes when the room is full waits behind the others, if they can be told so.
    pub fn enter(&mut self, now: Timestamp, session: SessionId, entering: Entering) -> Admission {
        self.enter_saying(now, session, entering, Saying::default())
    }

    /// A sign of life of a session that lasts by them: it enters, or lasts on. Whatever it says is told
    /// together, as one change.
    pub fn heartbeat(
        &mut self,
        now: Timestamp,
        session: SessionId,
        entering: Entering,
        saying: Saying,
    ) -> Admission {
        let Some(known) = self.sessions.get_mut(&session) else {
            return self.enter_saying(now, session, entering, saying);
        };
        known.identity = entering.identity;
        known.last_sign = now.max(known.last_sign);
        known.expires = entering.lasts.map(|span| (span, now + span));
        let says_something = known.hear(now, saying, self.policy.typing);
        self.refresh(now, session, says_something.then_some(session));
        self.finish();
        Admission::In
    }

    fn enter_saying(
        &mut self,
        now: Timestamp,
        session: SessionId,
        entering: Entering,
        saying: Saying,
    ) -> Admission {
        let Entering {
            user,
            identity,
            may_wait,
            lasts,
        } = entering;
        let was_here = self.has_user(&user);
        let has_place = self.users.contains_key(&user)
            || self.policy.capacity == 0
            || (self.queue.is_empty() && self.users.len() < self.policy.capacity);
        if !has_place {
            let waits = may_wait && self.policy.has_queue && self.queue.push(&user, session);
            if !waits {
                self.forget_if_absent(&user);
                return Admission::Full;
            }
        }
        if !was_here {
            self.note_attendance(&user, true);
        }
        let entered = Session {
            user,
            is_waiting: !has_place,
            identity,
            shown: None,
            data: None,
            reported: None,
            typing_until: None,
            last_activity: now,
            quiet_since: now,
            last_sign: now,
            connected_at: now,
            expires: lasts.map(|span| (span, now + span)),
            recorded: None,
            scheduled: None,
        };
        self.sessions.insert(session, entered);
        if has_place {
            self.admit(now, session, Some(session), saying);
        }
        self.finish();
        match has_place {
            true => Admission::In,
            false => Admission::Waiting,
        }
    }

    /// The session is gone.
    pub fn leave(&mut self, now: Timestamp, session: SessionId, ending: Ending) {
        let Some(mut left) = self.sessions.remove(&session) else {
            return;
        };
        self.deadlines.set(Due::Session(session), None);
        if left.is_waiting {
            self.queue.remove(&left.user, session);
            self.note_absence(&left.user);
            self.finish();
            return;
        }
        let user = left.user.clone();
        let linger = match ending {
            Ending::Clean => self.policy.linger_clean,
            Ending::Lost => self.policy.linger_lost,
            Ending::Over => Duration::ZERO,
        };
        // A lost typist has stopped typing.
        left.typing_until = None;
        let shown_last = left.appearance(now, &self.policy);
        let Some(entry) = self.users.get_mut(&user) else {
            return;
        };
        entry.sessions -= 1;
        entry.presence.remove(session);
        entry.last_seen = entry.last_seen.max(left.last_activity);
        // Time does not go back, but an end before the last activity would look like it.
        let end = now.max(entry.last_seen);
        match shown_last {
            Some(appearance) if 0 == entry.sessions && !linger.is_zero() => {
                entry.lingering = Some(Box::new(Lingering {
                    appearance,
                    since: end,
                    session,
                    state: left,
                }));
                self.deadlines
                    .set(Due::Linger(user.clone()), Some(now + linger));
                self.tell(now, &user, Some(session));
            }
            _ => {
                let record = left.record(session, now, &self.policy, Some(end));
                self.events.extend(record.map(Box::new).map(Event::Record));
                if 0 == entry.sessions && entry.lingering.is_none() {
                    self.remove(end, now, &user);
                } else {
                    self.tell(now, &user, Some(session));
                }
            }
        }
        self.finish();
    }

    /// The session's token was renewed: they may be called something else now.
    pub fn renew(&mut self, now: Timestamp, session: SessionId, identity: Appearance) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.identity = identity;
            self.refresh(now, session, None);
        }
        self.finish();
    }

    /// The user hides from everybody, or no longer: while they do, they are gone as far as anybody
    /// can tell, but keep their place. May be said of somebody who is about to come.
    pub fn hide(&mut self, now: Timestamp, user: &UserId, hides: bool) {
        let has_changed = match hides {
            true => self.hidden.insert(user.clone()),
            false => self.hidden.remove(user),
        };
        if has_changed {
            self.tell(now, user, None);
        }
        self.finish();
    }

    /// The user is shut out: what stays of them, and sessions that nobody closes, end at once.
    pub fn expel(&mut self, now: Timestamp, user: &UserId) {
        self.end_beats(now, |session| session.user == *user);
        self.linger_due(now, user);
        self.finish();
    }

    /// Whoever is here without anybody who could still leave, or lingers, ends at once.
    pub fn close(&mut self, now: Timestamp) {
        self.end_beats(now, |_| true);
        let lingers =
            |(user, entry): (&UserId, &User)| entry.lingering.as_ref().map(|_| user.clone());
        let lingering: Vec<_> = self.users.iter().filter_map(lingers).collect();
        for user in lingering {
            self.linger_due(now, &user);
        }
        self.finish();
    }

    /// Those who were here before the room was last loaded, as they were remembered.
    pub fn remember(&mut self, people: Vec<Participant>) {
        for person in people {
            let is_known = self.participant(&person.user).is_some();
            if !is_known {
                self.keep_gone(person);
            }
        }
        self.finish();
    }

    // What sessions say.

    /// What the session's awareness shows of its user; `None` is nothing any more. One equal to the
    /// last is an activity and nothing more.
    pub fn show(&mut self, now: Timestamp, session: SessionId, shown: Option<Appearance>) {
        let Some(known) = heard(&mut self.sessions, session) else {
            return;
        };
        known.act(now);
        known.shown = shown;
        self.refresh(now, session, Some(session));
        self.finish();
    }

    /// The session's awareness changed in content, if not in what it shows (a caret moved): of
    /// several tabs this is the one that shows its user now.
    pub fn bring_forward(&mut self, now: Timestamp, session: SessionId) {
        let Some(known) = heard(&mut self.sessions, session) else {
            return;
        };
        known.act(now);
        self.put_in_front(session);
        self.refresh(now, session, Some(session));
        self.finish();
    }

    /// The session did something that changes nothing of what it shows (an edit). Whoever was idle
    /// or away is online again.
    pub fn touch(&mut self, now: Timestamp, session: SessionId) {
        let Some(known) = heard(&mut self.sessions, session) else {
            return;
        };
        if known.has_acted(now) {
            // Of a burst the first says it all.
            return;
        }
        let before = known.status(now, &self.policy);
        known.act(now);
        if before != Status::Online || !self.will_notice(session, now) {
            self.refresh(now, session, Some(session));
            self.finish();
        } else if self.policy.memory == LastSeen::Stored || self.policy.is_recorded {
            self.note(now, session);
        }
    }

    /// The session says what its user does, or where they are, or both. `data` replaces what it
    /// sent before.
    pub fn report(
        &mut self,
        now: Timestamp,
        session: SessionId,
        status: Option<Status>,
        data: Option<Arc<str>>,
    ) {
        let Some(known) = heard(&mut self.sessions, session) else {
            return;
        };
        let is_beat = known.expires.is_some();
        let says_where = data.is_some();
        if is_beat {
            if !known.hear(now, Saying { status, data }, self.policy.typing) {
                return;
            }
        } else {
            known.report(now, status, self.policy.typing);
            known.data = data.or(known.data.take());
        }
        if says_where && !is_beat {
            // The last update wins, even if it says what this session said before.
            self.put_in_front(session);
        }
        self.refresh(now, session, Some(session));
        self.finish();
    }

    /// A sign of life, which is no activity: a session that lasts so long lasts on from now.
    pub fn beat(&mut self, now: Timestamp, session: SessionId, lasts: Option<Duration>) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        known.last_sign = now.max(known.last_sign);
        if let Some((lasted, _)) = known.expires {
            let span = lasts.unwrap_or(lasted);
            known.expires = Some((span, now + span));
        }
        self.schedule(now, session);
        self.note(now, session);
        self.finish();
    }

    // Time.

    /// What is due happens, at the time it was due.
    pub fn tick(&mut self, now: Timestamp) {
        while let Some((at, due)) = self.deadlines.pop_due_at(now) {
            match due {
                Due::Session(session) => self.session_due(at, session),
                Due::Linger(user) => self.linger_due(at, &user),
                Due::Gather(user) => self.tell_now(at, &user, None),
            }
            self.finish();
        }
    }

    /// When `tick` is needed next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    // What came of it.

    /// The next thing to tell; drain after every call that changes something.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Nothing happens for a while: gives back the room that was made when much did.
    pub fn rest(&mut self) {
        self.events.shrink_to_fit();
    }

    /// Everybody, connected first, then by last seen (latest first), at most
    /// `OFFLINE_PARTICIPANTS_MAX` of those gone.
    pub fn participants(&self) -> Vec<Participant> {
        let mut all = self.connected();
        all.extend(self.departed.iter().cloned());
        all
    }

    /// Those who are there, by last seen (latest first).
    pub fn connected(&self) -> Vec<Participant> {
        let mut connected: Vec<_> = self
            .users
            .keys()
            .filter_map(|user| self.connected_one(user))
            .collect();
        connected.sort_unstable_by(|a, b| {
            let order = b.last_seen.cmp(&a.last_seen);
            order.then_with(|| a.user.cmp(&b.user))
        });
        connected
    }

    /// One user's entry.
    pub fn participant(&self, user: &UserId) -> Option<Participant> {
        self.connected_one(user)
            .or_else(|| self.departed.get(user).cloned())
    }

    /// Whether the user has a place or waits for one, seen by others or not.
    pub fn has_user(&self, user: &UserId) -> bool {
        self.users.contains_key(user) || self.queue.has(user)
    }

    /// Whether the user hides.
    pub fn hides(&self, user: &UserId) -> bool {
        self.hidden.contains(user)
    }

    /// Whether the session is in or waits.
    pub fn has(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// A session as whoever runs the relay sees it.
    pub fn standing(&self, session: SessionId) -> Option<Standing> {
        let known = self.sessions.get(&session)?;
        Some(Standing {
            user: known.user.clone(),
            name: known.identity.name.clone(),
            role: known.identity.role.clone(),
            since: known.connected_at,
            last_sign: known.last_sign.max(known.last_activity),
            is_waiting: known.is_waiting,
            is_hidden: self.hidden.contains(&known.user),
        })
    }

    /// Whether somebody is here without a socket: by signs of life alone, or by lingering.
    pub fn has_somebody_unconnected(&self) -> bool {
        let by_signs_of_life = |session: &Session| session.expires.is_some();
        let by_lingering = |entry: &User| entry.lingering.is_some();
        self.sessions.values().any(by_signs_of_life) || self.users.values().any(by_lingering)
    }

    /// Whether nobody has a place or waits for one.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.queue.is_empty()
    }

    /// How many users have a place.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// How many users wait for one.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How much is kept, in entries of all lists and the room made for more.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        let sessions_and_users = self.sessions.capacity() + self.users.capacity();
        let others = self.queue.len() + self.departed.iter().count() + self.hidden.len();
        sessions_and_users + others + self.deadlines.capacity()
    }

    /// How much of the room made in maps and queues is for nobody.
    #[cfg(test)]
    pub(crate) fn spare(&self) -> usize {
        let sessions = self.sessions.capacity() - self.sessions.len();
        let users = self.users.capacity() - self.users.len();
        sessions + users + self.events.capacity()
    }

    // Inside.

    /// Gives the session's user a place, if they have none, and the session its part in their entry.
    fn admit(&mut self, now: Timestamp, session: SessionId, by: Option<SessionId>, saying: Saying) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        known.is_waiting = false;
        known.connected_at = now;
        known.act(now);
        let user = known.user.clone();
        if !self.users.contains_key(&user) {
            self.users.insert(user.clone(), User::default());
        }
        let Some(entry) = self.users.get_mut(&user) else {
            return;
        };
        entry.sessions += 1;
        // Where others know them by being there, they go on as they were; where they have to show
        // themselves first, what stays of them stays until then.
        let is_there =
            self.policy.participants == Participants::Admitted || known.expires.is_some();
        let taken_up = entry.lingering.take_if(|_| is_there);
        if let Some(lingering) = &taken_up {
            known.take_up(now, &lingering.state, lingering.since);
        }
        known.hear(now, saying, self.policy.typing);
        if let Some(lingering) = taken_up {
            self.end_lingering(&user, lingering);
        }
        self.events.push_back(Event::Admitted(session));
        self.refresh(now, session, by);
    }

    /// What stayed of somebody is no longer needed: its session is over for the records too.
    fn end_lingering(&mut self, user: &UserId, lingering: Box<Lingering>) {
        self.deadlines.set(Due::Linger(user.clone()), None);
        let Lingering {
            since,
            session,
            mut state,
            ..
        } = *lingering;
        let record = state.record(session, since, &self.policy, Some(since));
        self.events.extend(record.map(Box::new).map(Event::Record));
    }

    /// Works out again what the session shows. `by`: who did it; their session comes forward.
    fn refresh(&mut self, now: Timestamp, session: SessionId, by: Option<SessionId>) {
        let Some(known) = self.sessions.get(&session) else {
            return;
        };
        if known.is_waiting {
            return;
        }
        let (user, appearance) = (known.user.clone(), known.appearance(now, &self.policy));
        let has_said_something = known.shown.is_some() || known.data.is_some();
        let Some(entry) = self.users.get_mut(&user) else {
            return;
        };
        match appearance {
            Some(appearance) => {
                let change = by.filter(|_| has_said_something).map(|_| {
                    self.change += 1;
                    self.change
                });
                entry.presence.show(session, appearance, change);
                let lingering = entry.lingering.take();
                if let Some(lingering) = lingering {
                    self.end_lingering(&user, lingering);
                }
            }
            None => entry.presence.remove(session),
        }
        self.schedule(now, session);
        self.tell(now, &user, by);
        self.note(now, session);
    }

    /// Of its user's sessions this is the one that is shown now.
    fn put_in_front(&mut self, session: SessionId) {
        let user = self.sessions.get(&session).map(|known| &known.user);
        if let Some(entry) = user.and_then(|user| self.users.get_mut(user)) {
            self.change += 1;
            entry.presence.bring_forward(self.change, session);
        }
    }

    fn schedule(&mut self, now: Timestamp, session: SessionId) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let next = known.next_deadline(now, &self.policy);
        if known.scheduled != next {
            known.scheduled = next;
            self.deadlines.set(Due::Session(session), next);
        }
    }

    /// Whether an activity needs no new deadline: one that comes too early is worked out again when
    /// it comes.
    fn will_notice(&self, session: SessionId, now: Timestamp) -> bool {
        let falls_idle = !self.policy.idle_after.is_zero() || !self.policy.away_after.is_zero();
        let scheduled = self
            .sessions
            .get(&session)
            .and_then(|known| known.scheduled);
        !falls_idle || scheduled.is_some_and(|at| now < at)
    }

    /// Writes down what is due to be written down of the session, and that its user was seen.
    fn note(&mut self, now: Timestamp, session: SessionId) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let record = known.record(session, now, &self.policy, None);
        self.events.extend(record.map(Box::new).map(Event::Record));
        let user = known.user.clone();
        let is_due = |entry: &User| entry.told.is_some() && entry.remembered + SEEN_EVERY <= now;
        if self.users.get(&user).is_some_and(is_due) {
            self.note_seen(now, &user);
        }
    }

    fn note_seen(&mut self, now: Timestamp, user: &UserId) {
        if self.policy.memory != LastSeen::Stored {
            return;
        }
        if let Some(seen) = self.connected_one(user) {
            let gone = Participant::gone(user.clone(), seen.appearance, now);
            self.events.push_back(Event::Seen(Box::new(gone)));
        }
        if let Some(entry) = self.users.get_mut(user) {
            entry.remembered = now;
        }
    }

    fn session_due(&mut self, at: Timestamp, session: SessionId) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        known.scheduled = None;
        if known.expires.is_some_and(|(_, until)| until <= at) {
            self.events.push_back(Event::Expired(session));
            self.leave(at, session, Ending::Over);
        } else {
            self.refresh(at, session, None);
        }
    }

    /// Ends sessions that live by signs of life alone.
    fn end_beats(&mut self, now: Timestamp, is_meant: impl Fn(&Session) -> bool) {
        let meant = |(&id, session): (&SessionId, &Session)| {
            (session.expires.is_some() && is_meant(session)).then_some(id)
        };
        let mut sessions: Vec<_> = self.sessions.iter().filter_map(meant).collect();
        sessions.sort_unstable();
        for session in sessions {
            self.events.push_back(Event::Expired(session));
            self.leave(now, session, Ending::Over);
        }
    }

    fn linger_due(&mut self, at: Timestamp, user: &UserId) {
        let Some(entry) = self.users.get_mut(user) else {
            return;
        };
        let Some(lingering) = entry.lingering.take() else {
            return;
        };
        let since = lingering.since;
        let has_sessions = 0 < entry.sessions;
        self.end_lingering(user, lingering);
        if has_sessions {
            // None of them shows anything, or what stayed would have ended before.
            self.tell_now(since, user, None);
        } else {
            self.remove(since, at, user);
        }
    }

    /// The user has no session any more and nothing to wait for: their place is free.
    fn remove(&mut self, end: Timestamp, now: Timestamp, user: &UserId) {
        self.deadlines.set(Due::Gather(user.clone()), None);
        let Some(entry) = self.users.remove(user) else {
            return;
        };
        self.note_absence(user);
        if let Some(told) = entry.told {
            if let Some(hues) = &mut self.hues {
                hues.note(Some(told.color), None);
            }
            self.tell_left(user, told, end, None);
        }
        while self.policy.capacity == 0 || self.users.len() < self.policy.capacity {
            let Some((_, sessions)) = self.queue.pop() else {
                break;
            };
            for session in sessions {
                self.admit(now, session, None, Saying::default());
            }
        }
    }

    /// A session or a place of the user's is gone: they may not be here at all any more.
    fn note_absence(&mut self, user: &UserId) {
        self.forget_if_absent(user);
        if !self.has_user(user) {
            self.note_attendance(user, false);
        }
    }

    fn note_attendance(&mut self, user: &UserId, is_here: bool) {
        let user = user.clone();
        self.events.push_back(Event::Attendance { user, is_here });
    }

    /// A user who neither has a place nor waits for one cannot hide here.
    pub fn forget_if_absent(&mut self, user: &UserId) {
        if !self.has_user(user) {
            self.hidden.remove(user);
        }
    }

    /// Tells what others do not know yet of the user, now or when it has been gathered.
    fn tell(&mut self, now: Timestamp, user: &UserId, by: Option<SessionId>) {
        let Some(entry) = self.users.get(user) else {
            return;
        };
        let is_a_change = entry.told.is_some() && self.shown(user, entry).is_some();
        if self.policy.gather.is_zero() || !is_a_change {
            self.tell_now(now, user, by);
        } else if self.shown(user, entry) != entry.told {
            // Counted from the first that has not been told.
            let due = Due::Gather(user.clone());
            if !self.deadlines.contains(&due) {
                self.deadlines.set(due, Some(now + self.policy.gather));
            }
        }
    }

    fn tell_now(&mut self, now: Timestamp, user: &UserId, by: Option<SessionId>) {
        if !self.policy.gather.is_zero() {
            self.deadlines.set(Due::Gather(user.clone()), None);
        }
        let Some(entry) = self.users.get(user) else {
            return;
        };
        let after = self.unadorned(user, entry);
        let Some(entry) = self.users.get_mut(user) else {
            return;
        };
        let after = match &self.hues {
            Some(hues) => entry.colored(after, hues),
            None => after,
        };
        if entry.told == after {
            return;
        }
        let before = std::mem::replace(&mut entry.told, after);
        if let Some(hues) = &mut self.hues {
            let color = |shown: &Option<Appearance>| shown.as_ref().map(|shown| shown.color);
            hues.note(color(&before), color(&entry.told));
        }
        match (before, self.connected_one(user)) {
            (None, Some(after)) => {
                self.departed.forget(user);
                let change = Box::new(Change::Joined(after));
                self.events.push_back(Event::Change { change, by });
                self.note_seen(now, user);
            }
            (Some(before), Some(after)) => {
                let change = Box::new(Change::Changed { before, after });
                self.events.push_back(Event::Change { change, by });
            }
            (Some(before), None) => self.tell_left(user, before, now, by),
            (None, None) => {}
        }
    }

    fn tell_left(
        &mut self,
        user: &UserId,
        shown_last: Appearance,
        end: Timestamp,
        by: Option<SessionId>,
    ) {
        let gone = Participant::gone(user.clone(), shown_last, end);
        let change = Box::new(Change::Left(gone.clone()));
        self.events.push_back(Event::Change { change, by });
        if self.policy.memory == LastSeen::Stored {
            self.events.push_back(Event::Seen(Box::new(gone.clone())));
        }
        self.keep_gone(gone);
    }

    /// What others may know of the user.
    fn shown(&self, user: &UserId, entry: &User) -> Option<Appearance> {
        let shown = self.unadorned(user, entry)?;
        let color = match entry.given {
            Some(given) if !shown.color.is_chosen() => given,
            _ => shown.color,
        };
        Some(Appearance { color, ..shown })
    }

    /// The same in the colour they chose, or that their id gives them.
    fn unadorned(&self, user: &UserId, entry: &User) -> Option<Appearance> {
        if self.hidden.contains(user) {
            return None;
        }
        let lingering = entry.lingering.as_ref();
        entry
            .presence
            .appearance()
            .or_else(|| lingering.map(|lingering| lingering.appearance.clone()))
    }

    /// As others were told, so that a list and the changes after it agree.
    fn connected_one(&self, user: &UserId) -> Option<Participant> {
        let entry = self.users.get(user)?;
        let appearance = entry.told.clone()?;
        let activity = entry
            .presence
            .sessions()
            .filter_map(|session| self.sessions.get(&session))
            .map(|session| session.last_activity)
            .max();
        Some(Participant {
            user: user.clone(),
            appearance,
            is_connected: true,
            last_seen: activity.unwrap_or_default().max(entry.last_seen),
        })
    }

    /// Keeps somebody who left, where that is remembered.
    fn keep_gone(&mut self, participant: Participant) {
        if self.policy.memory != LastSeen::Forgotten {
            self.departed.keep(participant);
        }
    }

    /// After everything that happens: those whose place in the queue moved are told.
    fn finish(&mut self) {
        for (session, position) in self.queue.moved() {
            self.events.push_back(Event::Queued { session, position });
        }
        self.check();
    }

    fn check(&self) {
        debug_assert!(self.users.len() <= self.policy.capacity || self.policy.capacity == 0);
        debug_assert!(self.queue.is_empty() || self.policy.capacity <= self.users.len());
    }
}

/// The session, if it is heard: what somebody who waits does is nothing to anybody.
fn heard(
    sessions: &mut SmallIdMap<SessionId, Session>,
    session: SessionId,
) -> Option<&mut Session> {
    sessions.get_mut(&session).filter(|known| !known.is_waiting)
}
