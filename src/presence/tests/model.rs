//! Random histories, compared with the simplest roster that could be right.
//!
//! The model keeps, of every session, the list of what it did, and computes everything else anew,
//! second by second. It knows no deadlines, no counts and no changes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What happens in random histories. Users and sessions are told by number; what a session does
/// that is not there is nothing.
#[derive(Clone, Debug)]
enum Step {
    Enter {
        slot: usize,
        user: usize,
        may_wait: bool,
        lasts: Option<u64>,
    },
    Leave(usize, Ending),
    Show(usize, Option<&'static str>),
    BringForward(usize),
    Touch(usize),
    Report(usize, Option<Status>, Option<&'static str>),
    Beat(usize, Option<u64>),
    Heartbeat(
        usize,
        u64,
        &'static str,
        Option<Status>,
        Option<&'static str>,
    ),
    Renew(usize, &'static str),
    Hide(usize, bool),
    Expel(usize),
}

const USERS: [&str; 3] = ["ann", "bob", "cid"];
const SLOTS: usize = 5;

fn any_step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    let user = 0..USERS.len();
    let name = prop::sample::select(&["red", "green"][..]);
    let place = prop::sample::select(&["/a", "/b"][..]);
    let status = prop::option::weighted(0.3, prop::sample::select(&Status::BY_ACTIVITY[..4]));
    let ending = prop::sample::select(&[Ending::Clean, Ending::Lost, Ending::Over][..]);
    let enter = (
        slot.clone(),
        user.clone(),
        prop::bool::weighted(0.8),
        prop::option::weighted(0.2, 1..9_u64),
    );
    prop_oneof![
        6 => enter.prop_map(|(slot, user, may_wait, lasts)| Step::Enter {
            slot,
            user,
            may_wait: may_wait && lasts.is_none(),
            lasts,
        }),
        4 => (slot.clone(), ending).prop_map(|(slot, ending)| Step::Leave(slot, ending)),
        3 => (slot.clone(), prop::option::weighted(0.8, name.clone()))
            .prop_map(|(slot, shown)| Step::Show(slot, shown)),
        1 => slot.clone().prop_map(Step::BringForward),
        2 => slot.clone().prop_map(Step::Touch),
        9 => (slot.clone(), status.clone(), prop::option::of(place.clone()))
            .prop_map(|(slot, status, place)| Step::Report(slot, status, place)),
        2 => (slot.clone(), prop::option::of(1..9_u64))
            .prop_map(|(slot, lasts)| Step::Beat(slot, lasts)),
        3 => (slot.clone(), 1..9_u64, name.clone(), status.clone(), prop::option::of(place.clone()))
            .prop_map(|(slot, lasts, name, status, place)| {
                Step::Heartbeat(slot, lasts, name, status, place)
            }),
        1 => (slot, name).prop_map(|(slot, name)| Step::Renew(slot, name)),
        1 => (user.clone(), any::<bool>()).prop_map(|(user, hides)| Step::Hide(user, hides)),
        1 => user.prop_map(Step::Expel),
    ]
}

/// Policies with small numbers, so that much happens within a short history.
fn any_policy() -> impl Strategy<Value = Policy> {
    let seconds = |most: u64| (0..most).prop_map(Duration::from_secs);
    let memory = [LastSeen::Forgotten, LastSeen::WhileLoaded, LastSeen::Stored];
    let participants = [Participants::Shown, Participants::Admitted];
    let places = (0..4_usize, any::<bool>());
    let quiet = (seconds(5), seconds(9), seconds(4));
    let lingering = (seconds(6), seconds(6), seconds(4));
    let rest = (
        prop::sample::select(memory.to_vec()),
        prop::sample::select(participants.to_vec()),
        any::<bool>(),
    );
    (places, quiet, lingering, rest).prop_map(
        |((capacity, has_queue), (idle, away, typing), (clean, lost, gather), rest)| Policy {
            capacity,
            has_queue,
            idle_after: idle,
            away_after: away,
            typing,
            linger_clean: clean,
            linger_lost: lost,
            gather,
            memory: rest.0,
            participants: rest.1,
            has_distinct_colors: rest.2,
            is_recorded: true,
            ..Policy::of(Kind::Workspace)
        },
    )
}

/// A roster without a thought for speed.
struct Model {
    policy: Policy,
    now: u64,
    sessions: BTreeMap<u64, Session>,
    queue: Vec<usize>,
    lingering: BTreeMap<usize, Lingering>,
    hidden: BTreeSet<usize>,
    /// As others were told of them.
    told: BTreeMap<usize, Appearance>,
    /// Since when there is something that others were not told.
    unsent: BTreeMap<usize, u64>,
    /// The colours that were given.
    given: BTreeMap<usize, Color>,
    gone: BTreeMap<usize, (u64, Appearance)>,
    /// The last activity of sessions that ended, of those who have a place.
    floor: BTreeMap<usize, u64>,
    turns: u64,
}

#[derive(Clone)]
struct Session {
    user: usize,
    waits: bool,
    identity: Appearance,
    shown: Option<Appearance>,
    data: Option<&'static str>,
    /// What it did, and when, as far as quiet counts.
    acts: Vec<(u64, Option<Status>)>,
    last_activity: u64,
    lasts: Option<(u64, u64)>,
    /// Its turn: of a user's sessions the one with the highest is shown.
    turn: u64,
}

struct Lingering {
    until: u64,
    since: u64,
    appearance: Appearance,
    session: Session,
}

impl Session {
    fn status(&self, now: u64, policy: &Policy) -> Status {
        let typing = |until: &(u64, Option<Status>)| now < until.0 + policy.typing.as_secs();
        let said = self.acts.iter().rev().find(|(_, said)| said.is_some());
        if said
            .filter(|act| act.1 == Some(Status::Typing))
            .is_some_and(typing)
        {
            return Status::Typing;
        }
        let &(at, last) = self.acts.last().unwrap();
        if let Some(status @ (Status::Idle | Status::Away)) = last {
            return status;
        }
        let is_quiet_for = |span: Duration| !span.is_zero() && at + span.as_secs() <= now;
        match () {
            () if is_quiet_for(policy.away_after) => Status::Away,
            () if is_quiet_for(policy.idle_after) => Status::Idle,
            () => Status::Online,
        }
    }

    fn appearance(&self, now: u64, policy: &Policy) -> Option<Appearance> {
        let is_there = policy.participants == Participants::Admitted || self.lasts.is_some();
        let who = self
            .shown
            .clone()
            .or_else(|| is_there.then(|| self.identity.clone()))?;
        Some(Appearance {
            status: self.status(now, policy),
            data: self.data.map(Into::into),
            ..who
        })
    }
}

impl Model {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            now: 0,
            sessions: BTreeMap::new(),
            queue: Vec::new(),
            lingering: BTreeMap::new(),
            hidden: BTreeSet::new(),
            told: BTreeMap::new(),
            unsent: BTreeMap::new(),
            given: BTreeMap::new(),
            gone: BTreeMap::new(),
            floor: BTreeMap::new(),
            turns: 0,
        }
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            let is_over = |session: &Session, now| session.lasts.is_some_and(|(_, at)| at <= now);
            // Statuses change by time alone; then whoever is due ends, one after the other.
            self.tell_all();
            for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                if is_over(&self.sessions[&id], self.now) {
                    self.leave(id, Ending::Over);
                }
            }
            for user in 0..USERS.len() {
                if self
                    .lingering
                    .get(&user)
                    .is_some_and(|l| l.until <= self.now)
                {
                    self.end_lingering(user);
                }
            }
            for user in 0..USERS.len() {
                let gather = self.policy.gather.as_secs();
                if self
                    .unsent
                    .get(&user)
                    .is_some_and(|at| at + gather <= self.now)
                {
                    self.unsent.remove(&user);
                    self.tell_now(user, self.now);
                }
            }
        }
    }

    fn has_place(&self, user: usize) -> bool {
        self.lingering.contains_key(&user)
            || self
                .sessions
                .values()
                .any(|one| one.user == user && !one.waits)
    }

    fn places(&self) -> usize {
        (0..USERS.len())
            .filter(|&user| self.has_place(user))
            .count()
    }

    fn enter(&mut self, id: u64, user: usize, may_wait: bool, lasts: Option<u64>) -> Admission {
        let is_free = self.policy.capacity == 0
            || (self.queue.is_empty() && self.places() < self.policy.capacity);
        let has_place = self.has_place(user) || is_free;
        let waits = may_wait && self.policy.has_queue;
        if !has_place && !waits {
            if !self.queue.contains(&user) {
                self.hidden.remove(&user);
            }
            return Admission::Full;
        }
        let session = Session {
            user,
            waits: !has_place,
            identity: appearance(USERS[user]),
            shown: None,
            data: None,
            acts: vec![(self.now, None)],
            last_activity: self.now,
            lasts: lasts.map(|span| (span, self.now + span)),
            turn: 0,
        };
        self.sessions.insert(id, session);
        if has_place {
            self.admit(id, true);
            return Admission::In;
        }
        if !self.queue.contains(&user) {
            self.queue.push(user);
        }
        Admission::Waiting
    }

    fn admit(&mut self, id: u64, comes_forward: bool) {
        let (now, policy) = (self.now, self.policy.clone());
        let mut session = self.sessions[&id].clone();
        let user = session.user;
        session.waits = false;
        session.acts = vec![(now, None)];
        session.last_activity = now;
        let is_there = policy.participants == Participants::Admitted || session.lasts.is_some();
        if is_there && let Some(lingering) = self.lingering.remove(&user) {
            let away = now - lingering.since;
            let lost = lingering.session;
            session.data = lost.data;
            session.shown = lost.shown.map(|shown| Appearance {
                color: shown.color,
                ..session.identity.clone()
            });
            session.acts = lost
                .acts
                .iter()
                .map(|&(at, said)| (at + away, said))
                .collect();
            session.last_activity = lost.last_activity;
        }
        if comes_forward && (session.shown.is_some() || session.data.is_some()) {
            self.turns += 1;
            session.turn = self.turns;
        }
        self.sessions.insert(id, session);
        self.tell(user);
    }

    fn leave(&mut self, id: u64, ending: Ending) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        let user = session.user;
        let has_others = self.sessions.values().any(|one| one.user == user);
        if session.waits {
            if !has_others {
                self.queue.retain(|&other| other != user);
                self.hidden.remove(&user);
            }
            return;
        }
        let linger = match ending {
            Ending::Clean => self.policy.linger_clean.as_secs(),
            Ending::Lost => self.policy.linger_lost.as_secs(),
            Ending::Over => 0,
        };
        let floor = self.floor.entry(user).or_default();
        *floor = session.last_activity.max(*floor);
        // Whoever is gone does not type.
        for (_, said) in &mut session.acts {
            if *said == Some(Status::Typing) {
                *said = Some(Status::Online);
            }
        }
        let appearance = session.appearance(self.now, &self.policy);
        if let Some(appearance) = appearance
            && !has_others
            && 0 < linger
        {
            let lingering = Lingering {
                until: self.now + linger,
                since: self.now,
                appearance,
                session,
            };
            self.lingering.insert(user, lingering);
        }
        self.settle(user, self.now);
    }

    fn end_lingering(&mut self, user: usize) {
        if let Some(lingering) = self.lingering.remove(&user) {
            self.settle(user, lingering.since);
        }
    }

    /// Somebody has one session or entry less.
    fn settle(&mut self, user: usize, end: u64) {
        if self.has_place(user) {
            match self.shown(user) {
                Some(_) => self.tell(user),
                None => self.tell_now(user, end),
            }
            return;
        }
        self.hidden.remove(&user);
        self.tell_now(user, end);
        self.floor.remove(&user);
        while (self.policy.capacity == 0 || self.places() < self.policy.capacity)
            && !self.queue.is_empty()
        {
            let next = self.queue.remove(0);
            let theirs: Vec<_> = (self.sessions.iter())
                .filter(|(_, one)| one.user == next)
                .map(|(&id, _)| id)
                .collect();
            for id in theirs {
                self.admit(id, false);
            }
        }
    }

    /// A session does something: it may come forward by what it shows then.
    fn act(&mut self, id: u64, said: Option<Status>, change: impl FnOnce(&mut Session) -> bool) {
        let (now, policy) = (self.now, self.policy.clone());
        let Some(session) = self.sessions.get_mut(&id).filter(|one| !one.waits) else {
            return;
        };
        let before = session.appearance(now, &policy);
        session.acts.push((now, said));
        session.last_activity = now;
        let comes_forward = change(session);
        let after = session.appearance(now, &policy);
        let has_said_something = session.shown.is_some() || session.data.is_some();
        let looks_new = before != after && has_said_something;
        if after.is_some() && (comes_forward || looks_new) {
            self.turns += 1;
            session.turn = self.turns;
        }
        let user = session.user;
        if after.is_some() {
            self.lingering.remove(&user);
        }
        self.tell(user);
    }

    fn shown(&self, user: usize) -> Option<Appearance> {
        let shown = self.uncolored(user)?;
        let given = self.given.get(&user).filter(|_| !shown.color.is_chosen());
        Some(Appearance {
            color: given.copied().unwrap_or(shown.color),
            ..shown
        })
    }

    /// Whoever chose no colour is given one, where no two are to look alike.
    fn give_color(&mut self, user: usize) {
        if !self.policy.has_distinct_colors {
            return;
        }
        let own = self.uncolored(user).map(|shown| shown.color);
        let Some(own) = own.filter(|color| !color.is_chosen()) else {
            self.given.remove(&user);
            return;
        };
        let others = self.told.iter().filter(|(other, _)| **other != user);
        let taken: Vec<_> = others.filter_map(|(_, told)| told.color.hue()).collect();
        let first = own.hue().unwrap();
        let mut hues = (0..Color::HUES).map(|step| (first + step) % Color::HUES);
        let free = hues.find(|hue| !taken.contains(hue));
        let color = match free {
            Some(hue) if hue != first => Color::of_hue(hue),
            _ => own,
        };
        self.given.entry(user).or_insert(color);
    }

    fn uncolored(&self, user: usize) -> Option<Appearance> {
        if self.hidden.contains(&user) {
            return None;
        }
        let mut mine: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, one)| one.user == user && !one.waits)
            .filter_map(|(&id, one)| Some((one.turn, id, one.appearance(self.now, &self.policy)?)))
            .collect();
        mine.sort_by_key(|&(turn, id, _)| (turn, id));
        let Some((.., last)) = mine.last() else {
            return self.lingering.get(&user).map(|one| one.appearance.clone());
        };
        let status = Status::BY_ACTIVITY
            .into_iter()
            .find(|status| mine.iter().any(|(.., one)| one.status == *status))?;
        Some(Appearance {
            status,
            ..last.clone()
        })
    }

    fn tell_all(&mut self) {
        for user in 0..USERS.len() {
            self.tell(user);
        }
    }

    fn tell(&mut self, user: usize) {
        let shown = self.shown(user);
        let is_change = shown.is_some() && self.told.contains_key(&user);
        if self.policy.gather.is_zero() || !is_change {
            self.tell_now(user, self.now);
        } else if shown.as_ref() != self.told.get(&user) {
            self.unsent.entry(user).or_insert(self.now);
        }
    }

    fn tell_now(&mut self, user: usize, end: u64) {
        self.give_color(user);
        match self.shown(user) {
            Some(shown) => {
                if self.told.insert(user, shown).is_none() {
                    self.unsent.remove(&user);
                }
                self.gone.remove(&user);
            }
            None => {
                self.unsent.remove(&user);
                if let Some(told) = self.told.remove(&user)
                    && self.policy.memory != LastSeen::Forgotten
                {
                    self.gone.insert(user, (end, told));
                }
            }
        }
    }

    fn last_activity(&self, user: usize) -> u64 {
        let shown = self.sessions.values().filter(|one| {
            one.user == user && !one.waits && one.appearance(self.now, &self.policy).is_some()
        });
        let last = shown.map(|one| one.last_activity).max().unwrap_or(0);
        last.max(self.floor.get(&user).copied().unwrap_or(0))
    }

    fn participants(&self) -> Vec<Participant> {
        let there = self.told.iter().map(|(&number, told)| Participant {
            user: user(USERS[number]),
            appearance: told.clone(),
            is_connected: true,
            last_seen: seconds(self.last_activity(number)),
        });
        let gone = self.gone.iter().map(|(&number, (at, told))| {
            Participant::gone(user(USERS[number]), told.clone(), seconds(*at))
        });
        let mut all: Vec<_> = there.chain(gone).collect();
        all.sort_by_key(|one| (!one.is_connected, Reverse(one.last_seen), one.user.clone()));
        all
    }
}

/// What somebody knows who only listens.
#[derive(Default)]
struct Listener {
    people: BTreeMap<UserId, Participant>,
    places: BTreeMap<u64, usize>,
    /// Sessions that were let in and are not written down as ended.
    open: BTreeSet<u64>,
    /// Users who have a place or wait for one.
    here: BTreeSet<UserId>,
}

impl Listener {
    /// How many changes there were of each user.
    fn hear(&mut self, roster: &mut Roster) -> BTreeMap<UserId, usize> {
        let mut changes = BTreeMap::new();
        while let Some(event) = roster.poll_event() {
            match event {
                Event::Change { change, .. } => {
                    let user = change.participant().user.clone();
                    let known = self.people.get(&user).filter(|one| one.is_connected);
                    match &*change {
                        Change::Joined(_) => assert_eq!(known, None, "joined twice"),
                        Change::Changed { before, after } => {
                            assert_eq!(known.map(|one| &one.appearance), Some(before));
                            assert_ne!(*before, after.appearance, "a change that is none");
                        }
                        Change::Left(_) => assert!(known.is_some(), "left without being there"),
                    }
                    *changes.entry(user.clone()).or_default() += 1;
                    self.people.insert(user, change.participant().clone());
                }
                Event::Admitted(session) => {
                    self.places.remove(&session.0);
                    assert!(self.open.insert(session.0), "let in twice");
                }
                Event::Queued { session, position } => {
                    let before = self.places.insert(session.0, position);
                    assert_ne!(before, Some(position), "told the same place twice");
                    assert!(before.is_none_or(|before| position < before), "fell back");
                }
                Event::Record(record) if record.disconnected_at.is_some() => {
                    assert!(self.open.remove(&record.session.0), "ended twice");
                }
                Event::Attendance { user, is_here } => {
                    let is_news = match is_here {
                        true => self.here.insert(user),
                        false => self.here.remove(&user),
                    };
                    assert!(is_news, "being here and not being here alternate");
                }
                Event::Record(_) | Event::Seen(_) | Event::Expired(_) => {}
            }
        }
        changes
    }
}

fn happen(roster: &mut Roster, model: &mut Model, slots: &mut [Option<u64>; SLOTS], step: &Step) {
    let now = seconds(model.now);
    let live = |slot: usize| slots[slot].filter(|id| model.sessions.contains_key(id));
    match *step {
        Step::Enter {
            slot,
            user: number,
            may_wait,
            lasts,
        } => {
            if live(slot).is_some() {
                return;
            }
            let id = 1 + slots.iter().flatten().max().copied().unwrap_or(0);
            let entering = Entering {
                user: user(USERS[number]),
                identity: appearance(USERS[number]),
                may_wait,
                lasts: lasts.map(Duration::from_secs),
            };
            let admission = roster.enter(now, SessionId(id), entering);
            assert_eq!(admission, model.enter(id, number, may_wait, lasts));
            if admission != Admission::Full {
                slots[slot] = Some(id);
            }
        }
        Step::Leave(slot, ending) => {
            let Some(id) = live(slot) else { return };
            roster.leave(now, SessionId(id), ending);
            model.leave(id, ending);
        }
        Step::Show(slot, shown) => {
            let Some(id) = live(slot) else { return };
            let shown = shown.map(appearance);
            roster.show(now, SessionId(id), shown.clone());
            model.act(id, None, |session| {
                session.shown = shown;
                false
            });
        }
        Step::BringForward(slot) => {
            let Some(id) = live(slot) else { return };
            roster.bring_forward(now, SessionId(id));
            model.act(id, None, |_| true);
        }
        Step::Touch(slot) => {
            let Some(id) = live(slot) else { return };
            roster.touch(now, SessionId(id));
            model.act(id, None, |_| false);
        }
        Step::Report(slot, status, data) => {
            let Some(id) = live(slot) else { return };
            roster.report(now, SessionId(id), status, data.map(Into::into));
            let is_beat = model.sessions[&id].lasts.is_some();
            let is_news = data.is_some() && model.sessions[&id].data != data;
            if is_beat && status.is_none() && !is_news {
                return;
            }
            model.act(id, status, |session| {
                session.data = data.or(session.data);
                data.is_some() && !is_beat
            });
        }
        Step::Beat(slot, lasts) => {
            let Some(id) = live(slot) else { return };
            roster.beat(now, SessionId(id), lasts.map(Duration::from_secs));
            let now = model.now;
            if let Some(session) = model.sessions.get_mut(&id)
                && let Some((before, _)) = session.lasts
            {
                let span = lasts.unwrap_or(before);
                session.lasts = Some((span, now + span));
            }
        }
        Step::Heartbeat(slot, lasts, name, status, data) => {
            let Some(id) = live(slot) else { return };
            let number = model.sessions[&id].user;
            if model.sessions[&id].lasts.is_none() {
                return;
            }
            let entering = Entering {
                user: user(USERS[number]),
                identity: appearance(name),
                may_wait: false,
                lasts: Some(Duration::from_secs(lasts)),
            };
            let saying = Saying {
                status,
                data: data.map(Into::into),
            };
            roster.heartbeat(now, SessionId(id), entering, saying);
            let now = model.now;
            let Some(session) = model.sessions.get_mut(&id) else {
                return;
            };
            session.lasts = Some((lasts, now + lasts));
            let is_news = status.is_some() || data.is_some() && session.data != data;
            if !is_news {
                session.identity = appearance(name);
                model.tell(number);
                return;
            }
            model.act(id, status, |session| {
                session.identity = appearance(name);
                session.data = data.or(session.data);
                false
            });
        }
        Step::Renew(slot, name) => {
            let Some(id) = live(slot) else { return };
            roster.renew(now, SessionId(id), appearance(name));
            if let Some(session) = model.sessions.get_mut(&id) {
                session.identity = appearance(name);
                let user = session.user;
                model.tell(user);
            }
        }
        Step::Hide(number, hides) => {
            roster.hide(now, &user(USERS[number]), hides);
            match hides {
                true => model.hidden.insert(number),
                false => model.hidden.remove(&number),
            };
            model.tell(number);
        }
        Step::Expel(number) => {
            roster.expel(now, &user(USERS[number]));
            let theirs: Vec<_> = (model.sessions.iter())
                .filter(|(_, one)| one.user == number && one.lasts.is_some())
                .map(|(&id, _)| id)
                .collect();
            for id in theirs {
                model.leave(id, Ending::Over);
            }
            model.end_lingering(number);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// After every step the list is the model's, and so is what a listener knows; places are never
    /// more than there are, and the queue moves in order. In the end nobody is left over.
    #[test]
    fn a_roster_is_what_its_history_says(
        policy in any_policy(),
        history in prop::collection::vec((any_step(), prop::sample::select(&[0, 0, 1, 1, 2, 5][..])), 1..150),
    ) {
        let mut roster = Roster::new(policy.clone());
        let mut model = Model::new(policy.clone());
        let mut listener = Listener::default();
        let mut slots = [None; SLOTS];
        for (step, pause) in history {
            model.wait(pause);
            roster.tick(seconds(model.now));
            listener.hear(&mut roster);
            prop_assert_eq!(roster.participants(), model.participants(), "before {:?}", step);
            happen(&mut roster, &mut model, &mut slots, &step);
            let changes = listener.hear(&mut roster);
            if let Step::Enter { .. } | Step::Heartbeat(..) = step {
                prop_assert!(changes.values().all(|&count| count == 1), "{:?}", changes);
            }
            for (number, name) in USERS.into_iter().enumerate() {
                let is_here = model.has_place(number) || model.queue.contains(&number);
                prop_assert_eq!(roster.has_user(&user(name)), is_here);
                prop_assert_eq!(listener.here.contains(&user(name)), is_here);
            }

            let participants = roster.participants();
            prop_assert_eq!(&participants, &model.participants(), "after {:?}", step);
            for one in &participants {
                let heard = &listener.people[&one.user];
                prop_assert_eq!(&heard.appearance, &one.appearance);
                prop_assert_eq!(heard.is_connected, one.is_connected);
            }
            let connected = listener.people.values().filter(|one| one.is_connected).count();
            prop_assert_eq!(connected, roster.connected().len());

            prop_assert_eq!(roster.users(), model.places());
            prop_assert!(policy.capacity == 0 || roster.users() <= policy.capacity);
            prop_assert_eq!(roster.waiting(), model.queue.len());
            listener.places.retain(|id, _| model.sessions.contains_key(id));
            let places: BTreeMap<u64, usize> = (model.sessions.iter())
                .filter(|(_, one)| one.waits)
                .map(|(&id, one)| (id, 1 + model.queue.iter().position(|&user| user == one.user).unwrap()))
                .collect();
            prop_assert_eq!(&listener.places, &places);
            for id in slots.into_iter().flatten() {
                prop_assert_eq!(roster.has(SessionId(id)), model.sessions.contains_key(&id));
            }
        }
        let now = seconds(model.now);
        for id in model.sessions.keys() {
            roster.leave(now, SessionId(*id), Ending::Over);
        }
        roster.close(now);
        listener.hear(&mut roster);
        prop_assert!(roster.is_empty());
        prop_assert_eq!(roster.connected(), []);
        prop_assert_eq!(roster.next_deadline(), None);
        prop_assert_eq!(&listener.open, &BTreeSet::new(), "sessions without an end");
    }
}
