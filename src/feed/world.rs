//! Random histories, compared with a model that computes everything anew every tenth of a second,
//! and seen through clients that know only what they have been sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const USERS: usize = 4;
// In tenths of a second.
const AWAY_AFTER: u64 = 70;
const LINGER_CLEAN: u64 = 30;
const LINGER_LOST: u64 = 50;
const RESUME: u64 = 30;
const GATHER: u64 = 20;
const SETTLES_WITHIN: u64 = 1;

/// What happens in random histories. Windows and tokens are picked by any number, from those there
/// have been.
#[derive(Clone, Debug)]
enum Step {
    Login {
        user: usize,
        stored: u8,
        claimed: u8,
        resume: Option<usize>,
        first: Update,
    },
    Update(usize, Update),
    Logout(usize),
    Close(usize, Ending),
    Follows(usize, u8),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// At every tenth of a second every client's picture of everybody it follows is what the model says
    /// followers have been told, whichever windows come, go, linger, resume and hide.
    #[test]
    fn clients_see_what_the_model_says(
        history in prop::collection::vec((any_step(), any_pause()), 1..80)
    ) {
        let mut world = World::new();
        for (step, pause) in history {
            world.step(step);
            for _ in 0..pause {
                world.pass_a_tenth();
            }
        }
        for _ in 0..150 {
            world.pass_a_tenth();
        }
        world.check_all_is_told();
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let window = || any::<usize>();
    let user = || 0..USERS;
    let said = prop::option::of(prop::sample::select(
        &[Said::Online, Said::Online, Said::Away, Said::Invisible][..],
    ));
    let word = |words: &'static [&'static str]| {
        prop::option::of(prop::sample::select(words).prop_map(Arc::from))
    };
    let update = || {
        let fields = (
            said.clone(),
            word(&["Idle", "Coding", "Debugging", "Reading"]),
            word(&["one", "two"]),
        );
        fields.prop_map(|(said, activity, project)| Update {
            said,
            activity,
            project,
            language: None,
        })
    };
    let first = prop_oneof![Just(Update::default()), update()];
    let ending = prop::sample::select(&[Ending::Clean, Ending::Lost][..]);
    prop_oneof![
        4 => (user(), any::<u8>(), any::<u8>(), prop::option::of(window()), first).prop_map(
            |(user, stored, claimed, resume, first)| {
                Step::Login { user, stored, claimed: claimed & stored >> 2, resume, first }
            }
        ),
        8 => (window(), update()).prop_map(|(window, update)| Step::Update(window, update)),
        1 => window().prop_map(Step::Logout),
        3 => (window(), ending).prop_map(|(window, ending)| Step::Close(window, ending)),
        2 => (user(), any::<u8>()).prop_map(|(user, stored)| Step::Follows(user, stored)),
    ]
}

fn any_pause() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0_u64), 2 => Just(1), 4 => 2..30_u64, 1 => 30..90_u64]
}

/// The feed, the model, and the clients between them.
struct World {
    feed: Feed,
    /// In tenths of a second.
    now: u64,
    model: Model,
    /// What each open or lingering window's client has been told, merged.
    pictures: BTreeMap<u64, BTreeMap<usize, Told>>,
    hidden: BTreeSet<UserId>,
    /// Of every login there has been; the number is also that of the window.
    logins: u64,
}

impl World {
    fn new() -> Self {
        let policy = Policy {
            away_after: tenths(AWAY_AFTER),
            linger_clean: tenths(LINGER_CLEAN),
            linger_lost: tenths(LINGER_LOST),
            resume: tenths(RESUME),
            gather: tenths(GATHER),
            ..Policy::of_feed()
        };
        Self {
            feed: Feed::new(&policy),
            now: 10_000,
            model: Model::default(),
            pictures: BTreeMap::new(),
            hidden: BTreeSet::new(),
            logins: 0,
        }
    }

    fn pass_a_tenth(&mut self) {
        self.now += 1;
        self.model.settle(self.now);
        if self
            .feed
            .next_deadline()
            .is_some_and(|at| at <= time(self.now))
        {
            self.feed.handle(time(self.now), Input::Tick);
        }
        self.deliver(None);
        self.check();
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        let pick = |any: usize| match self.logins {
            0 => None,
            logins => Some(any as u64 % logins + 1),
        };
        let (input, resumed) = match step {
            Step::Login {
                user,
                stored,
                claimed,
                resume,
                first,
            } => {
                let resume = resume.and_then(pick);
                self.logins += 1;
                let name = self.logins;
                let login = Login {
                    window: ConnectionId(name),
                    user: user_id(user),
                    stored: ids(&set(stored)),
                    claimed: ids(&set(claimed)),
                    seen: stored_seen(),
                    resume: resume.map(|token| ResumeToken(u128::from(token))),
                    next_resume: ResumeToken(u128::from(name)),
                    first: first.clone(),
                };
                let old =
                    self.model
                        .login(now, name, user, [set(stored), set(claimed)], resume, &first);
                let picture = old.map(|(old, _)| self.pictures.remove(&old).unwrap());
                self.pictures.insert(name, picture.unwrap_or_default());
                (Input::Login(Box::new(login)), Some((name, old)))
            }
            Step::Update(window, update) => {
                let Some(window) = pick(window) else { return };
                self.model.update(now, window, &update);
                let window = ConnectionId(window);
                (Input::Update { window, update }, None)
            }
            Step::Logout(window) => {
                let Some(window) = pick(window) else { return };
                self.model.logout(now, window);
                let window = ConnectionId(window);
                (Input::Logout { window }, None)
            }
            Step::Close(window, ending) => {
                let Some(window) = pick(window) else { return };
                self.model.close(now, window, ending);
                let window = ConnectionId(window);
                let closed = Input::Closed {
                    window,
                    ending,
                    was_all_sent: true,
                };
                (closed, None)
            }
            Step::Follows(user, stored) => {
                self.model.change_follows(user, &set(stored));
                // Clients forget of whom they no longer hear.
                for window in self.model.windows.iter().filter(|one| one.is_open()) {
                    let follows = window.follows();
                    let picture = self.pictures.get_mut(&window.name).unwrap();
                    picture.retain(|user, _| follows.contains(user));
                }
                let follows = Input::Follows {
                    user: user_id(user),
                    stored: ids(&set(stored)),
                    seen: stored_seen(),
                };
                (follows, None)
            }
        };
        self.model.settle(now);
        self.feed.handle(time(now), input);
        self.deliver(resumed);
        if let Some((name, _)) = resumed {
            let window = self.model.window(name).unwrap();
            let follows = window.follows();
            let picture = self.pictures.get_mut(&name).unwrap();
            picture.retain(|user, _| follows.contains(user));
        }
        self.check();
    }

    /// Hands the feed's messages to the clients. `login` is the window that has just logged in, and
    /// the one it goes on for and whether that was open.
    fn deliver(&mut self, login: Option<(u64, Option<(u64, bool)>)>) {
        let mut replaced = None;
        while let Some(output) = self.feed.poll_output() {
            match output {
                Output::Seen { .. } => {}
                Output::Hidden { user, is_hidden } => {
                    let is_news = match is_hidden {
                        true => self.hidden.insert(user),
                        false => self.hidden.remove(&user),
                    };
                    assert!(is_news, "hidden and shown alternate");
                }
                Output::Replaced(window) => replaced = Some(window.0),
                Output::Send { windows, message } => {
                    assert!(!windows.is_empty());
                    for ConnectionId(window) in windows {
                        let is_new = login.is_some_and(|(name, _)| name == window);
                        self.receive(window, is_new, &message);
                    }
                }
            }
        }
        let expected = login.and_then(|(_, old)| old);
        let expected = expected.and_then(|(old, was_open)| was_open.then_some(old));
        assert_eq!(replaced, expected);
    }

    fn receive(&mut self, window: u64, is_new: bool, message: &Message) {
        let to = self.model.window(window);
        assert!(to.is_some_and(ModelWindow::is_open), "{message:?}");
        let picture = self.pictures.get_mut(&window).unwrap();
        match message {
            Message::Hello {
                resume, seen_as, ..
            } => {
                assert!(is_new);
                assert_eq!(resume.0, u128::from(window));
                let user = to.map(|window| window.user).unwrap();
                assert_eq!(*seen_as, self.model.seen_as(user));
            }
            Message::Sync(users) => {
                assert!(is_new && picture.is_empty());
                *picture = users
                    .iter()
                    .map(|(user, told)| (number(user), told.clone()))
                    .collect();
            }
            Message::State { user, told } => {
                let before = picture.insert(number(user), told.clone());
                assert_ne!(before.as_ref(), Some(told), "told twice");
                let is_online = |told: &Told| matches!(told, Told::Online(_));
                let alternates = before.is_none_or(|before| is_online(&before) != is_online(told));
                assert!(alternates || is_new, "{message:?}");
            }
            Message::Changed { user, changes } => {
                let Some(Told::Online(before)) = picture.get(&number(user)) else {
                    panic!("{message:?} of somebody who is not there");
                };
                let mut profile = (**before).clone();
                assert_ne!(*changes, Changes::default());
                if let Some(status) = changes.status {
                    assert_ne!(profile.status, status);
                    profile.status = status;
                }
                for (field, change) in [
                    (&mut profile.work.activity, &changes.activity),
                    (&mut profile.work.project, &changes.project),
                    (&mut profile.work.language, &changes.language),
                ] {
                    if let Some(text) = change {
                        assert_ne!(field, text);
                        *field = text.clone();
                    }
                }
                picture.insert(number(user), Told::Online(Arc::new(profile)));
            }
        }
    }

    fn check(&self) {
        for window in self.model.windows.iter().filter(|one| one.is_open()) {
            let told: BTreeMap<usize, Told> = window
                .follows()
                .into_iter()
                .map(|user| (user, self.model.told(user)))
                .collect();
            assert_eq!(self.pictures[&window.name], told, "at {}", self.now);
        }
        assert_eq!(self.hidden, ids(&self.model.hidden));
        // Nothing is kept that is of no more use.
        assert_eq!(self.feed.windows.len(), self.model.windows.len());
        let follows = self.model.windows.iter().filter(|one| one.is_open());
        let mut needed: BTreeSet<usize> = follows.flat_map(ModelWindow::follows).collect();
        needed.extend(self.model.windows.iter().map(|window| window.user));
        needed.extend(&self.model.hidden);
        needed.extend((0..USERS).filter(|&user| self.model.was_shown_again(user)));
        assert_eq!(self.feed.people.len(), needed.len());
    }

    /// After a quiet while, what followers have been told is how it is.
    fn check_all_is_told(&self) {
        for user in 0..USERS {
            match (self.model.truth(user), self.model.told(user)) {
                (Some(truth), Told::Online(told)) => assert_eq!(truth, *told),
                (None, Told::Offline(_)) => {}
                (Some(_), Told::Offline(_)) => assert!(!self.model.has_open_window(user)),
                (None, Told::Online(_)) => panic!("somebody gone is shown"),
            }
        }
    }
}

/// The feed in the simplest way that could be right: a list of windows; every tenth of a second everything is
/// computed from it.
#[derive(Default)]
struct Model {
    windows: Vec<ModelWindow>,
    now: u64,
    updates: u64,
    told: BTreeMap<usize, Told>,
    first_unsent: BTreeMap<usize, u64>,
    hidden: BTreeSet<usize>,
    shown_again: BTreeMap<usize, u64>,
    last_end: BTreeMap<usize, u64>,
}

struct ModelWindow {
    name: u64,
    user: usize,
    said: Said,
    work: Work,
    updated: (u64, u64),
    /// When it logged in without saying whether its user hides.
    quiet_since: Option<u64>,
    closed: Option<(u64, u64)>,
    stored: BTreeSet<usize>,
    claimed: BTreeSet<usize>,
}

impl ModelWindow {
    fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    fn follows(&self) -> BTreeSet<usize> {
        &self.stored | &self.claimed
    }
}

impl Model {
    fn window(&self, name: u64) -> Option<&ModelWindow> {
        self.windows.iter().find(|window| window.name == name)
    }

    fn open_window(&mut self, name: u64) -> Option<&mut ModelWindow> {
        let mut windows = self.windows.iter_mut();
        windows.find(|window| window.name == name && window.is_open())
    }

    /// Returns the window that is resumed, and whether it was open.
    fn login(
        &mut self,
        now: u64,
        name: u64,
        user: usize,
        [stored, claimed]: [BTreeSet<usize>; 2],
        resume: Option<u64>,
        first: &Update,
    ) -> Option<(u64, bool)> {
        let quiet_since = first.said.is_none().then_some(now);
        // A window's token has the window's number.
        let resumable = self.windows.iter_mut().find(|window| {
            let is_late = window.closed.is_some_and(|(at, _)| at + RESUME <= now);
            Some(window.name) == resume && window.user == user && !is_late
        });
        if let Some(window) = resumable {
            let old = (window.name, window.is_open());
            window.name = name;
            window.closed = None;
            window.stored = stored;
            window.claimed = claimed;
            window.quiet_since = quiet_since;
            if *first != Update::default() {
                self.update(now, name, first);
            }
            return Some(old);
        }
        self.updates += 1;
        self.windows.push(ModelWindow {
            name,
            user,
            said: Said::Online,
            work: Work::default(),
            updated: (now, self.updates),
            quiet_since,
            closed: None,
            stored,
            claimed,
        });
        self.update(now, name, first);
        None
    }

    fn update(&mut self, now: u64, name: u64, update: &Update) {
        let updates = self.updates + 1;
        if let Some(window) = self.open_window(name) {
            window.said = update.said.unwrap_or(window.said);
            let work = &mut window.work;
            work.activity = update.activity.clone().unwrap_or(work.activity.clone());
            work.project = update.project.clone().unwrap_or(work.project.clone());
            window.updated = (now, updates);
            self.updates = updates;
        }
    }

    fn logout(&mut self, now: u64, name: u64) {
        if let Some(window) = self.open_window(name) {
            let user = window.user;
            self.last_end.insert(user, now);
            self.windows.retain(|window| window.name != name);
        }
    }

    fn close(&mut self, now: u64, name: u64, ending: Ending) {
        if let Some(window) = self.open_window(name) {
            let linger = match ending {
                Ending::Clean | Ending::Over => LINGER_CLEAN,
                Ending::Lost => LINGER_LOST,
            };
            window.closed = Some((now, now + linger));
            window.quiet_since = None;
            let user = window.user;
            self.last_end.insert(user, now);
        }
    }

    fn change_follows(&mut self, user: usize, stored: &BTreeSet<usize>) {
        let windows = self.windows.iter_mut();
        for window in windows.filter(|window| window.user == user) {
            window.stored = stored.clone();
        }
    }

    /// What follows from how it is now.
    fn settle(&mut self, now: u64) {
        self.now = now;
        self.windows
            .retain(|window| window.closed.is_none_or(|(_, gone)| now < gone));
        for user in 0..USERS {
            if self.wants_to_hide(user) {
                self.hidden.insert(user);
            } else if !self.was_shown_again(user) && self.hidden.remove(&user) {
                self.shown_again.insert(user, now);
            }
            let truth = self.truth(user).map(Arc::new);
            match (self.told(user), truth) {
                (Told::Offline(_), Some(truth)) if self.may_appear(user) => {
                    self.tell(user, Told::Online(truth));
                }
                (Told::Offline(_), _) => {}
                (Told::Online(_), None) => {
                    let is_hidden = self.windows.iter().any(|window| window.user == user);
                    let at = if is_hidden { now } else { self.last_end[&user] };
                    self.tell(user, Told::Offline(Some(time(at))));
                }
                (Told::Online(told), Some(truth)) => {
                    if told != truth {
                        self.first_unsent.entry(user).or_insert(now);
                    }
                    let first = self.first_unsent.get(&user);
                    if first.is_some_and(|first| first + GATHER <= now) {
                        self.tell(user, Told::Online(truth));
                    }
                }
            }
        }
    }

    fn tell(&mut self, user: usize, told: Told) {
        self.told.insert(user, told);
        self.first_unsent.remove(&user);
    }

    /// What followers have been told.
    fn told(&self, user: usize) -> Told {
        let seen_before = (user == 0).then(|| time(1));
        let told = self.told.get(&user).cloned();
        told.unwrap_or(Told::Offline(seen_before))
    }

    fn windows_of(&self, user: usize) -> impl Iterator<Item = &ModelWindow> {
        self.windows
            .iter()
            .filter(move |window| window.user == user)
    }

    fn has_open_window(&self, user: usize) -> bool {
        self.windows_of(user).any(ModelWindow::is_open)
    }

    fn may_appear(&self, user: usize) -> bool {
        let is_quiet = |window: &ModelWindow| {
            let since = window.quiet_since;
            since.is_some_and(|since| self.now < since + SETTLES_WITHIN)
        };
        self.has_open_window(user) && !self.windows_of(user).any(is_quiet)
    }

    /// How followers see the user, of whom a window has just logged in.
    fn seen_as(&self, user: usize) -> Option<Status> {
        match self.told(user) {
            Told::Online(profile) => Some(profile.status),
            Told::Offline(_) => self.truth(user).map(|profile| profile.status),
        }
    }

    fn was_shown_again(&self, user: usize) -> bool {
        let shown = self.shown_again.get(&user);
        shown.is_some_and(|&at| self.now < at + GATHER)
    }

    fn wants_to_hide(&self, user: usize) -> bool {
        self.windows_of(user)
            .any(|window| window.said == Said::Invisible)
    }

    /// How the user is to be shown, if at all.
    fn truth(&self, user: usize) -> Option<Profile> {
        if self.hidden.contains(&user) {
            return None;
        }
        let shown = self.windows_of(user).max_by_key(|window| {
            let ranks = ["Idle", "", "Coding", "Debugging"];
            let rank = ranks
                .iter()
                .position(|name| **name == *window.work.activity);
            (rank.unwrap_or(1), window.updated.1)
        })?;
        let is_online = self.windows_of(user).any(|window| {
            let until = window.closed.map_or(self.now, |(at, _)| at);
            window.said == Said::Online && until < window.updated.0 + AWAY_AFTER
        });
        Some(Profile {
            status: if is_online {
                Status::Online
            } else {
                Status::Away
            },
            work: shown.work.clone(),
        })
    }
}

/// What the store knows is old: the feed must not believe it over what it knows itself.
fn stored_seen() -> Seen {
    Seen::from([(user_id(0), time(1))])
}

fn set(bits: u8) -> BTreeSet<usize> {
    (0..USERS).filter(|user| bits >> user & 1 == 1).collect()
}

fn ids(users: &BTreeSet<usize>) -> BTreeSet<UserId> {
    users.iter().copied().map(user_id).collect()
}

fn user_id(number: usize) -> UserId {
    UserId::parse(&number.to_string()).unwrap()
}

fn number(user: &UserId) -> usize {
    user.as_str().parse().unwrap()
}

fn tenths(tenths: u64) -> Duration {
    Duration::from_millis(100 * tenths)
}

fn time(tenths: u64) -> Timestamp {
    Timestamp::from_millis(100 * tenths)
}
