//! The follow feed: who sees what of the users they follow, across all rooms and in none.
//!
//! A user has *windows* (connections that logged in), each of which says what its user does. All
//! windows of a user fold into one [`Profile`], and of that only *followers* hear: the windows of
//! those who follow the user. What they have been told is kept once for each user, not for each
//! follower, so the work of an update is: fold, compare, and one message for those who hear of it.
//!
//! What changes is told a while after the first change, so that many changes are one message, or
//! none. Coming and going are told at once. A window whose connection ends lingers: it keeps its
//! status, and another connection that knows its token goes on for it without anybody noticing.
//! Then the client is told what changed while it was away, which is known because a lingering window
//! keeps what it was last sent.
//!
//! A window can make its user invisible. To followers that is being offline from that moment on,
//! and whatever the user's windows do until it ends is told to nobody. A window may begin so: its login
//! says how it begins, or what comes right behind the login does, and nobody comes into sight before.
//! Hiding is at once; whoever hides and appears again and again appears now and then.
//!
//! The feed knows nothing of sockets, JSON, tokens, stores or clocks: time, randomness and what the
//! store has come in as values. Start with [`Feed::handle`]; whatever happens to a window ends in
//! `Feed::refresh`, which is the only place where somebody comes, goes or changes for others.

mod input;
mod output;
mod person;
mod profile;
mod seen;
mod window;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod world;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::deadlines::Deadlines;
use crate::feed::person::Person;
use crate::feed::seen::Memory;
use crate::feed::window::{Lingering, Phase, Window};
use crate::limits::{FEED_LINGERING_PER_USER_MAX, FEED_SETTLES_WITHIN};
use crate::model::{ConnectionId, Policy, UserId};
use crate::presence::Ending;

pub use input::{Input, Login, ResumeToken, Seen};
pub use output::{Message, Output, Told};
pub use profile::{Changes, Profile, Said, Status, Update, Work};

/// The follow feed of everybody.
#[derive(Debug)]
pub struct Feed {
    policy: Policy,
    windows: HashMap<ConnectionId, Window>,
    /// Everybody who has a window, or of whom an open window hears.
    people: HashMap<UserId, Person>,
    /// When those were last seen of whom nobody hears.
    seen: Memory,
    by_token: HashMap<ResumeToken, ConnectionId>,
    /// When windows have been silent for too long to be `Online`.
    silent: Deadlines<ConnectionId>,
    /// When windows have lingered long enough.
    gone: Deadlines<ConnectionId>,
    /// When windows that have not said how they begin have said all that counts as said by the login.
    settling: Deadlines<ConnectionId>,
    /// When those who hear of a user are told what changed; there is one if something has.
    tell: Deadlines<UserId>,
    /// Those who hid and were shown again, and from when on they may be shown again another time.
    shown_again: Deadlines<UserId>,
    /// Counts updates, so that the latest is known even within one millisecond.
    latest: u64,
    counts: Counts,
    outputs: VecDeque<Output>,
}

/// What the feed has had to do, for telling how its work grows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Windows that were looked at because of a user they might hear of.
    pub considered: u64,
    /// Messages to windows.
    pub sent: u64,
}

impl Feed {
    /// A feed without windows.
    pub fn new(policy: &Policy) -> Self {
        Self {
            policy: policy.clone(),
            windows: HashMap::new(),
            people: HashMap::new(),
            seen: Memory::default(),
            by_token: HashMap::new(),
            silent: Deadlines::new(),
            gone: Deadlines::new(),
            settling: Deadlines::new(),
            tell: Deadlines::new(),
            shown_again: Deadlines::new(),
            latest: 0,
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Lets one thing happen. Drain `poll_output` after every call.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.catch_up(now);
        match input {
            Input::Login(login) => self.login(now, *login),
            Input::Update { window, update } => self.update(now, window, update),
            Input::Logout { window } => {
                if self.windows.get(&window).is_some_and(Window::is_open) {
                    self.end(now, window);
                }
            }
            Input::Closed {
                window,
                ending,
                was_all_sent,
            } => self.close(now, window, ending, was_all_sent),
            Input::Expel { user } => self.expel(now, &user),
            Input::Follows { user, stored, seen } => self.change_follows(&user, &stored, &seen),
            Input::Tick => {}
            Input::Stop => self.stop(now),
        }
        // Where nothing is gathered, changes are due at once.
        self.catch_up(now);
        debug_assert_eq!(self.windows.len(), self.by_token.len());
    }

    /// The next thing that the feed asks for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` next, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [
            self.silent.next(),
            self.gone.next(),
            self.settling.next(),
            self.tell.next(),
            self.shown_again.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How much work there has been.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many windows there are, those included that may still be resumed.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Whether the user has a window.
    pub fn has_windows(&self, user: &UserId) -> bool {
        self.people.get(user).is_some_and(Person::has_windows)
    }

    // What can happen.

    fn login(&mut self, now: Timestamp, login: Login) {
        if self.windows.contains_key(&login.window) {
            return;
        }
        let resumable = login
            .resume
            .and_then(|token| self.by_token.get(&token).copied())
            .filter(|name| self.may_resume(now, *name, &login.user));
        match resumable {
            Some(old) => self.resume(now, old, login),
            None => self.begin(now, login),
        }
    }

    /// Whether the token's window is the user's and still there: bound to the user, and for a
    /// limited time once the connection is gone.
    fn may_resume(&self, now: Timestamp, name: ConnectionId, user: &UserId) -> bool {
        self.windows
            .get(&name)
            .is_some_and(|window| match &window.phase {
                _ if window.user != *user => false,
                Phase::Open => true,
                Phase::Lingering(Lingering { closed_at, .. }) => {
                    now < *closed_at + self.policy.resume
                }
            })
    }

    /// A new window.
    fn begin(&mut self, now: Timestamp, login: Login) {
        let (name, user) = (login.window, login.user.clone());
        self.latest += 1;
        let window = Window::new(now, self.latest, &login);
        let follows = window.follows();
        self.person(&user, None).add(name, &window);
        self.by_token.insert(window.resume, name);
        self.windows.insert(name, window);
        self.await_silence(now, name);
        self.await_first_words(now, name);
        self.refresh(now, &user);
        self.greet(name, false);
        let followed = follows.into_iter().map(|user| {
            let told = self.follow(name, &user, &login.seen);
            (user, told)
        });
        let sync = Message::Sync(followed.collect());
        self.send(name, sync);
    }

    /// A window goes on by another connection: its followers notice nothing, its client learns
    /// what it has missed.
    fn resume(&mut self, now: Timestamp, old: ConnectionId, login: Login) {
        let Some(mut window) = self.windows.remove(&old) else {
            return;
        };
        self.by_token.remove(&window.resume);
        let heard = self.end_phase(old, &mut window);
        if heard.was_open {
            self.outputs.push_back(Output::Replaced(old));
        }
        let (name, user) = (login.window, login.user.clone());
        self.latest += 1;
        let latest = self.latest;
        let person = self.person(&user, None);
        person.subtract(old, &window);
        window.resume(now, latest, &login);
        person.add(name, &window);
        let follows = window.follows();
        self.by_token.insert(window.resume, name);
        self.windows.insert(name, window);
        self.await_silence(now, name);
        self.await_first_words(now, name);
        self.refresh(now, &user);
        self.greet(name, true);
        for user in follows {
            let told = self.follow(name, &user, &login.seen);
            if let Some(message) = news(user, &heard.heard, told) {
                self.send(name, message);
            }
        }
    }

    fn update(&mut self, now: Timestamp, name: ConnectionId, update: Update) {
        if !self.windows.get(&name).is_some_and(Window::is_open) {
            return;
        }
        self.latest += 1;
        let latest = self.latest;
        let user = self.alter(name, |window| window.update(now, latest, update));
        self.await_silence(now, name);
        if let Some(user) = user {
            self.refresh(now, &user);
        }
    }

    fn close(&mut self, now: Timestamp, name: ConnectionId, ending: Ending, was_all_sent: bool) {
        let Some(window) = self.windows.get(&name).filter(|window| window.is_open()) else {
            return;
        };
        let linger = match ending {
            Ending::Clean | Ending::Over => self.policy.linger_clean,
            Ending::Lost => self.policy.linger_lost,
        };
        if linger.is_zero() {
            self.end(now, name);
            return;
        }
        let was_settling = window.is_settling();
        // Whoever is gone says nothing more.
        self.alter(name, Window::settle);
        let Some(mut window) = self.windows.remove(&name) else {
            return;
        };
        let user = window.user.clone();
        let mut heard = self.end_phase(name, &mut window).heard;
        if !was_all_sent {
            // What the client knows is anybody's guess: whoever resumes is told everything.
            heard.clear();
        }
        let closed_at = now;
        window.phase = Phase::Lingering(Lingering { closed_at, heard });
        self.gone.set(name, Some(now + linger));
        self.windows.insert(name, window);
        let person = self.person(&user, None);
        person.ended_at = Some(now);
        person.lingering.insert((now, name));
        if FEED_LINGERING_PER_USER_MAX < person.lingering.len()
            && let Some(&(_, oldest)) = person.lingering.first()
        {
            self.end(now, oldest);
        }
        if was_settling {
            // Another window may have waited for this one.
            self.refresh(now, &user);
        }
    }

    fn expel(&mut self, now: Timestamp, user: &UserId) {
        let windows = self.people.get(user).map(Person::window_names);
        for name in windows.into_iter().flatten() {
            self.remove(now, name);
        }
        self.refresh(now, user);
    }

    fn change_follows(&mut self, user: &UserId, stored: &BTreeSet<UserId>, seen: &Seen) {
        let windows = self.people.get(user).map(Person::window_names);
        for name in windows.into_iter().flatten() {
            let Some(window) = self.windows.get_mut(&name) else {
                continue;
            };
            let (added, removed) = window.change_follows(stored);
            if !window.is_open() {
                continue;
            }
            for user in removed {
                self.unfollow(name, &user);
            }
            for user in added {
                let told = self.follow(name, &user, seen);
                self.send(name, Message::State { user, told });
            }
        }
    }

    fn stop(&mut self, now: Timestamp) {
        let seen = |(user, person): (&UserId, &Person)| {
            let Told::Online(_) = person.told else {
                return None;
            };
            let at = match person.ended_at {
                Some(ended_at) if !person.has_open_window() => ended_at,
                _ => now,
            };
            let user = user.clone();
            Some(Output::Seen { user, at })
        };
        self.outputs.extend(self.people.iter().filter_map(seen));
    }

    // What follows from it.

    /// Does what was due until now, each at its own time, however late this is called.
    fn catch_up(&mut self, now: Timestamp) {
        while let Some(at) = self.next_deadline().filter(|&at| at <= now) {
            // What happens at the same time happens together, and is told if something is then.
            let mut changed = BTreeSet::new();
            while let Some(name) = self.silent.pop_due(at) {
                changed.extend(self.alter(name, Window::fall_silent));
            }
            while let Some(name) = self.gone.pop_due(at) {
                changed.extend(self.remove(at, name));
            }
            while let Some(name) = self.settling.pop_due(at) {
                changed.extend(self.alter(name, Window::settle));
            }
            while let Some(user) = self.shown_again.pop_due(at) {
                changed.insert(user);
            }
            for user in changed {
                self.refresh(at, &user);
            }
            while let Some(user) = self.tell.pop_due(at) {
                self.tell(&user);
            }
        }
    }

    /// Changes something about a window. Returns whose it is, to be refreshed.
    fn alter(&mut self, name: ConnectionId, change: impl FnOnce(&mut Window)) -> Option<UserId> {
        let window = self.windows.get_mut(&name)?;
        let person = self.people.get_mut(&window.user)?;
        person.subtract(name, window);
        change(window);
        person.add(name, window);
        Some(window.user.clone())
    }

    /// Somebody's windows may have changed: they have come, are gone, or differ from what followers
    /// have been told.
    fn refresh(&mut self, now: Timestamp, user: &UserId) {
        let Some(person) = self.people.get_mut(user) else {
            return;
        };
        let is_hidden = person.has_invisible_window();
        // Everybody in all of the user's rooms is told of it, and as often as the user likes. So who
        // was shown again a moment ago stays hidden for now.
        let may_change = is_hidden || !self.shown_again.contains(user);
        if person.is_hidden != is_hidden && may_change {
            person.is_hidden = is_hidden;
            if !is_hidden && !self.policy.gather.is_zero() {
                let again_at = now + self.policy.gather;
                self.shown_again.set(user.clone(), Some(again_at));
            }
            let user = user.clone();
            self.outputs.push_back(Output::Hidden { user, is_hidden });
        }
        let may_appear = person.may_appear();
        let profile = person.shown().and_then(|(name, status)| {
            let work = self.windows.get(&name)?.work().clone();
            Some(Profile { status, work })
        });
        match (&person.told, profile) {
            (Told::Offline(_), None) => {}
            (Told::Offline(_), Some(profile)) => {
                // Lingering windows keep somebody online, but bring nobody back: that a window
                // closed while it was hidden must not come out when the hiding ends.
                if may_appear {
                    self.announce(user, Told::Online(Arc::new(profile)), now);
                }
            }
            (Told::Online(_), None) => {
                let at = match person.ended_at {
                    Some(ended_at) if !person.has_windows() => ended_at,
                    _ => now,
                };
                self.announce(user, Told::Offline(Some(at)), at);
            }
            (Told::Online(told), Some(profile)) => {
                if **told != profile && !self.tell.contains(user) {
                    let tell_at = now + self.policy.gather;
                    self.tell.set(user.clone(), Some(tell_at));
                }
            }
        }
        self.forget_if_nobody(user);
    }

    /// Somebody comes or goes, as others are to see it: told at once, with all that waited.
    fn announce(&mut self, user: &UserId, told: Told, seen: Timestamp) {
        let Some(person) = self.people.get_mut(user) else {
            return;
        };
        person.told = told.clone();
        let user = user.clone();
        self.tell.set(user.clone(), None);
        self.outputs.push_back(Output::Seen {
            user: user.clone(),
            at: seen,
        });
        self.publish(&user.clone(), Message::State { user, told });
    }

    /// Enough has been gathered: those who hear of the user are told what changed in the end.
    fn tell(&mut self, user: &UserId) {
        let Some(person) = self.people.get_mut(user) else {
            return;
        };
        let (Told::Online(told), Some((name, status))) = (&person.told, person.shown()) else {
            return;
        };
        let Some(window) = self.windows.get(&name) else {
            return;
        };
        let profile = Profile {
            status,
            work: window.work().clone(),
        };
        if let Some(changes) = profile.changes_since(told) {
            person.told = Told::Online(Arc::new(profile));
            let user = user.clone();
            self.publish(&user.clone(), Message::Changed { user, changes });
        }
    }

    /// Tells those who hear of the user.
    fn publish(&mut self, user: &UserId, message: Message) {
        let Some(person) = self.people.get(user) else {
            return;
        };
        let windows: Vec<_> = person.followers.iter().copied().collect();
        self.counts.considered += windows.len() as u64;
        self.counts.sent += windows.len() as u64;
        if !windows.is_empty() {
            self.outputs.push_back(Output::Send { windows, message });
        }
    }

    /// Tells one window.
    fn send(&mut self, name: ConnectionId, message: Message) {
        self.counts.sent += 1;
        let windows = vec![name];
        self.outputs.push_back(Output::Send { windows, message });
    }

    fn greet(&mut self, name: ConnectionId, is_resumed: bool) {
        let Some(window) = self.windows.get(&name) else {
            return;
        };
        let seen_as = self.people.get(&window.user).and_then(Person::seen_as);
        let hello = Message::Hello {
            resume: window.resume,
            resume_within: self.policy.resume,
            is_resumed,
            seen_as,
        };
        self.send(name, hello);
    }

    /// From now on the window hears of the user. Returns what others have been told of them.
    fn follow(&mut self, name: ConnectionId, user: &UserId, seen: &Seen) -> Told {
        self.counts.considered += 1;
        let person = self.person(user, seen.get(user).copied());
        person.followers.insert(name);
        person.told.clone()
    }

    /// The window no longer hears of the user. Returns what it has heard.
    fn unfollow(&mut self, name: ConnectionId, user: &UserId) -> Option<Told> {
        self.counts.considered += 1;
        let person = self.people.get_mut(user)?;
        person.followers.remove(&name);
        let told = person.told.clone();
        self.forget_if_nobody(user);
        Some(told)
    }

    /// Schedules when the window makes its user `Away` unless it says something before.
    fn await_silence(&mut self, now: Timestamp, name: ConnectionId) {
        let away_after = self.policy.away_after;
        let Some(window) = self.windows.get(&name) else {
            return;
        };
        let may_fall_silent = window.is_online() && !away_after.is_zero();
        let silent_at = may_fall_silent.then(|| now.max(window.updated_at() + away_after));
        self.silent.set(name, silent_at);
    }

    /// Schedules when what the window says is no longer said by its login.
    fn await_first_words(&mut self, now: Timestamp, name: ConnectionId) {
        let is_settling = self.windows.get(&name).is_some_and(Window::is_settling);
        let settled_at = is_settling.then(|| now + FEED_SETTLES_WITHIN);
        self.settling.set(name, settled_at);
    }

    /// Ends what the window, which is out of `windows`, has due and hears, and returns what it was
    /// last sent.
    fn end_phase(&mut self, name: ConnectionId, window: &mut Window) -> Heard {
        let phase = std::mem::replace(&mut window.phase, Phase::Open);
        match phase {
            Phase::Open => {
                self.silent.set(name, None);
                self.settling.set(name, None);
                let hear = |user: UserId| {
                    let told = self.unfollow(name, &user)?;
                    Some((user, told))
                };
                Heard {
                    was_open: true,
                    heard: window.follows().into_iter().filter_map(hear).collect(),
                }
            }
            Phase::Lingering(lingering) => {
                self.gone.set(name, None);
                if let Some(person) = self.people.get_mut(&window.user) {
                    person.lingering.remove(&(lingering.closed_at, name));
                }
                Heard {
                    was_open: false,
                    heard: lingering.heard,
                }
            }
        }
    }

    /// The window is gone for good, and that counts at once.
    fn end(&mut self, now: Timestamp, name: ConnectionId) {
        if let Some(user) = self.remove(now, name) {
            self.refresh(now, &user);
        }
    }

    /// The window is gone for good. Returns whose it was, to be refreshed.
    fn remove(&mut self, now: Timestamp, name: ConnectionId) -> Option<UserId> {
        let mut window = self.windows.remove(&name)?;
        self.by_token.remove(&window.resume);
        let was_open = self.end_phase(name, &mut window).was_open;
        let person = self.person(&window.user, None);
        person.subtract(name, &window);
        if was_open {
            person.ended_at = Some(now);
        }
        Some(window.user)
    }

    /// The user's entry, made if there is none; `seen` is what the store knows.
    fn person(&mut self, user: &UserId, seen: Option<Timestamp>) -> &mut Person {
        let remembered = &mut self.seen;
        let person = self
            .people
            .entry(user.clone())
            .or_insert_with(|| Person::absent(remembered.take(user)));
        person.note_seen(seen);
        person
    }

    /// Drops the entry of somebody who has no window, of whom nobody hears, and who is neither hidden
    /// nor was shown again a moment ago.
    fn forget_if_nobody(&mut self, user: &UserId) {
        let Some(person) = self.people.get(user) else {
            return;
        };
        let was_hidden = person.is_hidden || self.shown_again.contains(user);
        if person.has_windows() || !person.followers.is_empty() || was_hidden {
            return;
        }
        if let Told::Offline(Some(at)) = person.told {
            self.seen.remember(user.clone(), at);
        }
        self.people.remove(user);
    }
}

/// What a window was last sent, and whether it was still open.
struct Heard {
    was_open: bool,
    heard: HashMap<UserId, Told>,
}

/// What to tell a window that was last sent one thing of a user, when now it is another.
fn news(user: UserId, heard: &HashMap<UserId, Told>, told: Told) -> Option<Message> {
    match (heard.get(&user), &told) {
        (Some(before), _) if *before == told => None,
        (Some(Told::Online(before)), Told::Online(now)) => {
            let changes = now.changes_since(before)?;
            Some(Message::Changed { user, changes })
        }
        _ => Some(Message::State { user, told }),
    }
}
