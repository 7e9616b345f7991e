//! The worker that holds the follow feed: its windows' sockets live here too.
//!
//! The feed belongs to all rooms and to none, so it has a worker of its own choosing: the first. What
//! it needs of the store (whom somebody follows, when those were last seen) is read by the loading
//! threads; until a login has that, its socket is not read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::feed::{
    Counts, Feed, Input, Login, Message, Output, ResumeToken, Seen, Status, Told, Update,
};
use crate::limits::DIRECT_BYTES_MAX;
use crate::metrics::Metrics;
use crate::model::{ConnectionId, Policy, UserId};
use crate::relay::connection::State;
use crate::relay::heavy::Order;
use crate::relay::inbox::ToWorker;
use crate::relay::storage::Storage;
use crate::relay::timeline::{Departure, Happening};
use crate::relay::worker::Worker;
use crate::relay::{Relay, Unavailable};
use crate::store::{FollowsChange, FollowsError, Record, Store, StoreError};
use crate::wire::close::Refusal;
use crate::wire::feed::{ServerMessage, State as Shown};
use crate::wire::websocket::{self, Opcode};

/// The worker that holds the feed.
pub(super) const FEED_WORKER: usize = 0;

/// The feed, and what it waits for.
pub(super) struct FeedHost {
    feed: Feed,
    /// Logins that wait for the store.
    arriving: HashMap<ConnectionId, Arriving>,
    /// Users whose follows are being read anew.
    rereading: HashMap<UserId, Rereading>,
    /// Sockets to be ended once everything else that the feed asks for is done: an end is news to
    /// the feed, and nothing may overtake what is still being told.
    ending: Vec<(ConnectionId, Refusal)>,
    /// Who has logged in, for whoever runs the relay.
    windows: BTreeMap<ConnectionId, Window>,
}

/// Somebody who has logged in.
struct Window {
    user: UserId,
    since: Timestamp,
}

/// A login that waits for the store.
struct Arriving {
    user: UserId,
    claimed: BTreeSet<UserId>,
    resume: Option<ResumeToken>,
    first: Update,
    /// Whether the user's follows have changed since they were asked for.
    is_stale: bool,
}

/// A user whose follows are being read anew, because they have changed.
#[derive(Default)]
struct Rereading {
    /// Whether they have changed again since they were asked for.
    is_stale: bool,
    /// Who waits until the windows know.
    waiting: Vec<oneshot::Sender<()>>,
}

/// What the store knows of whom somebody follows.
struct Known {
    stored: BTreeSet<UserId>,
    seen: Seen,
}

impl FeedHost {
    /// A feed without windows.
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            feed: Feed::new(policy),
            arriving: HashMap::new(),
            rereading: HashMap::new(),
            ending: Vec::new(),
            windows: BTreeMap::new(),
        }
    }

    /// When the feed is to be ticked.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.feed.next_deadline()
    }

    /// Whether the connection has logged in.
    pub(super) fn has_window(&self, window: ConnectionId) -> bool {
        self.windows.contains_key(&window)
    }

    /// Who has logged in since when, from a connection on.
    pub(super) fn windows_from(
        &self,
        from: ConnectionId,
    ) -> impl Iterator<Item = (ConnectionId, &UserId, Timestamp)> {
        let windows = self.windows.range(from..);
        windows.map(|(&id, window)| (id, &window.user, window.since))
    }
}

impl Relay {
    /// Whom the user follows, in the store.
    pub async fn follows(&self, user: &UserId) -> Result<Vec<UserId>, Unavailable> {
        let user = user.clone();
        let follows = self
            .ask_store(move |store| store.follows(&user))
            .await?
            .map_err(|_| Unavailable(Refusal::StoreDown))?;
        Ok(follows)
    }

    /// Changes whom the user follows; their windows know when this returns.
    pub async fn change_follows(
        &self,
        user: &UserId,
        change: FollowsChange,
    ) -> Result<(), ChangeFollowsError> {
        let changed = user.clone();
        let stored = self
            .ask_store(move |store| match store.change_follows(&changed, &change) {
                Ok(()) => Ok(Ok(())),
                Err(FollowsError::Store(error)) => Err(error),
                Err(refused) => Ok(Err(refused)),
            })
            .await?
            .map_err(|_| Unavailable(Refusal::StoreDown))?;
        stored.map_err(ChangeFollowsError::Refused)?;
        let (told, windows_know) = oneshot::channel();
        let user = user.clone();
        self.ask(FEED_WORKER, move |worker| worker.reread_follows(user, told))
            .await?;
        // Whoever does not answer has nobody to tell.
        let _ = windows_know.await;
        Ok(())
    }

    /// Asks the store on a thread made for it.
    async fn ask_store<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Result<T, StoreError>, Unavailable> {
        let (asker, answered) = oneshot::channel();
        self.ask(FEED_WORKER, move |worker| {
            worker.ask_store(question, move |_, answer| {
                // Whoever asked may have given up.
                let _ = asker.send(answer);
            });
        })
        .await?;
        answered.await.map_err(|_| Unavailable(Refusal::Draining))
    }
}

/// Why a list of follows is as it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeFollowsError {
    /// It cannot be made so.
    #[error("{0}")]
    Refused(FollowsError),
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Worker {
    /// Somebody logs in: they are heard of, and hear, once the store has said whom they follow.
    /// Until then their socket is not read.
    pub(super) fn feed_login(
        &mut self,
        window: ConnectionId,
        user: UserId,
        claimed: BTreeSet<UserId>,
        resume: Option<ResumeToken>,
        first: Update,
    ) {
        self.pause_reading(window, true);
        let arriving = Arriving {
            user,
            claimed,
            resume,
            first,
            is_stale: false,
        };
        if let Some(host) = &mut self.feed {
            host.arriving.insert(window, arriving);
            self.ask_about_arriving(window);
        }
    }

    fn ask_about_arriving(&mut self, window: ConnectionId) {
        let arriving = self
            .feed
            .as_mut()
            .and_then(|host| host.arriving.get_mut(&window));
        let Some(arriving) = arriving else {
            return;
        };
        arriving.is_stale = false;
        let (user, claimed) = (arriving.user.clone(), arriving.claimed.clone());
        let question = move |store: &dyn Store| what_is_known(store, &user, &claimed);
        self.ask_store(question, move |worker, known| {
            worker.arrive(window, known);
        });
    }

    /// The store has said what it knows of somebody who logs in.
    fn arrive(&mut self, window: ConnectionId, known: Result<Known, StoreError>) {
        let Some(host) = &mut self.feed else {
            return;
        };
        match host.arriving.get(&window) {
            // The socket ended while it waited.
            None => return,
            Some(arriving) if arriving.is_stale => return self.ask_about_arriving(window),
            Some(_) => {}
        }
        let Some(arriving) = host.arriving.remove(&window) else {
            return;
        };
        self.pause_reading(window, false);
        let Ok(next_resume) = draw_token() else {
            return self.close(window, Refusal::StoreDown);
        };
        match known {
            Ok(Known { stored, seen }) => {
                self.note_window(window, &arriving.user, Happening::Came);
                let since = self.now();
                let user = arriving.user.clone();
                if let Some(host) = &mut self.feed {
                    host.windows.insert(window, Window { user, since });
                }
                let login = Login {
                    window,
                    user: arriving.user,
                    stored,
                    claimed: arriving.claimed,
                    seen,
                    resume: arriving.resume,
                    next_resume,
                    first: arriving.first,
                };
                self.let_feed(Input::Login(Box::new(login)));
            }
            Err(_) => self.close(window, Refusal::StoreDown),
        }
    }

    /// A window says something.
    pub(super) fn feed_update(&mut self, window: ConnectionId, update: Update) {
        self.let_feed(Input::Update { window, update });
    }

    /// A window says goodbye.
    pub(super) fn feed_logout(&mut self, window: ConnectionId) {
        self.let_feed(Input::Logout { window });
    }

    /// A connection has ended, which may have been a window.
    pub(super) fn feed_departed(&mut self, window: ConnectionId, departure: Departure) {
        let Some(host) = &mut self.feed else {
            return;
        };
        host.arriving.remove(&window);
        let left = host.windows.remove(&window);
        if let Some(left) = left {
            self.note_window(window, &left.user, Happening::Left(departure));
        }
        let ending = departure.ending();
        let was_all_sent = self
            .connections
            .get(&window)
            .is_some_and(|connection| !connection.is_full());
        self.let_feed(Input::Closed {
            window,
            ending,
            was_all_sent,
        });
    }

    /// A user's tokens are revoked: followers are told at once, whatever windows there are.
    pub(super) fn feed_expel(&mut self, user: &UserId) {
        let user = user.clone();
        self.let_feed(Input::Expel { user });
    }

    /// The process ends: that those who are here were seen now is to be remembered.
    pub(super) fn feed_stop(&mut self) {
        self.let_feed(Input::Stop);
    }

    /// Time has passed.
    pub(super) fn feed_tick(&mut self) {
        let now = self.now();
        let deadline = self.feed.as_ref().and_then(|host| host.next_deadline());
        if deadline.is_some_and(|at| at <= now) {
            self.let_feed(Input::Tick);
        }
    }

    /// A user's follows have changed in the store: their windows are to know, and then `told`.
    fn reread_follows(&mut self, user: UserId, told: oneshot::Sender<()>) {
        let Some(host) = &mut self.feed else {
            return;
        };
        let of_user = |arriving: &&mut Arriving| arriving.user == user;
        for arriving in host.arriving.values_mut().filter(of_user) {
            arriving.is_stale = true;
        }
        if !host.feed.has_windows(&user) {
            return;
        }
        if let Some(rereading) = host.rereading.get_mut(&user) {
            rereading.is_stale = true;
            rereading.waiting.push(told);
            return;
        }
        let rereading = Rereading {
            is_stale: false,
            waiting: vec![told],
        };
        host.rereading.insert(user.clone(), rereading);
        self.ask_about_follows(user);
    }

    fn ask_about_follows(&mut self, user: UserId) {
        let asked = user.clone();
        let question = move |store: &dyn Store| what_is_known(store, &asked, &BTreeSet::new());
        self.ask_store(question, move |worker, known| worker.reread(user, known));
    }

    fn reread(&mut self, user: UserId, known: Result<Known, StoreError>) {
        let Some(rereading) = self
            .feed
            .as_mut()
            .and_then(|host| host.rereading.get_mut(&user))
        else {
            return;
        };
        if std::mem::take(&mut rereading.is_stale) {
            return self.ask_about_follows(user);
        }
        // A store that cannot be read leaves the windows as they are, until somebody logs in anew.
        if let Ok(Known { stored, seen }) = known {
            let user = user.clone();
            self.let_feed(Input::Follows { user, stored, seen });
        }
        let rereading = self
            .feed
            .as_mut()
            .and_then(|host| host.rereading.remove(&user));
        for told in rereading.into_iter().flat_map(|done| done.waiting) {
            // Whoever waited may have given up.
            let _ = told.send(());
        }
    }

    /// Lets one thing happen to the feed, then does what it asks for.
    fn let_feed(&mut self, input: Input) {
        let now = self.now();
        let earliest = self.next_deadline();
        let Some(host) = &mut self.feed else {
            return;
        };
        let before = host.feed.counts();
        host.feed.handle(now, input);
        let after = host.feed.counts();
        let windows = host.feed.windows() as i64;
        self.around.metrics.feed_windows.set(windows);
        count(&self.around.metrics, before, after);
        while let Some(output) = self.feed.as_mut().and_then(|host| host.feed.poll_output()) {
            self.perform_feed(output);
        }
        while let Some((window, refusal)) = self.feed.as_mut().and_then(|host| host.ending.pop()) {
            self.close(window, refusal);
        }
        let deadline = self.feed.as_ref().and_then(|host| host.next_deadline());
        if deadline.is_some_and(|at| earliest.is_none_or(|earliest| at < earliest)) {
            self.wakers.timer.notify_one();
        }
    }

    fn perform_feed(&mut self, output: Output) {
        match output {
            Output::Send { windows, message } => {
                let frame = text_frame(&message);
                let is_answer = matches!(message, Message::Hello { .. } | Message::Sync(_));
                for window in windows {
                    self.tell_window(window, frame.clone(), is_answer);
                }
            }
            Output::Replaced(window) => self.end_soon(window, Refusal::Replaced),
            Output::Hidden { user, is_hidden } => self.hide_everywhere(&user, is_hidden),
            Output::Seen { user, at } => self.around.people.keep(Record::FeedSeen { user, at }),
        }
    }

    /// Writes to a window's socket, or ends it if it takes nothing: when it comes back it is told
    /// what it missed. The answer to a login may be as long as it is.
    fn tell_window(&mut self, window: ConnectionId, frame: Bytes, is_answer: bool) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&window) else {
            return;
        };
        if connection.state != State::Open {
            return;
        }
        let length = frame.len();
        connection.write(now, frame);
        let metrics = &self.around.metrics;
        metrics.messages_out.of(connection.label).inc();
        let bytes_out = metrics.bytes_out.of(connection.label);
        bytes_out.inc_by(length as u64);
        if connection.is_full() && !is_answer {
            connection.owed_bytes += length;
            if DIRECT_BYTES_MAX < connection.owed_bytes {
                self.end_soon(window, Refusal::Slow);
            }
        }
    }

    fn end_soon(&mut self, window: ConnectionId, refusal: Refusal) {
        if let Some(host) = &mut self.feed {
            host.ending.push((window, refusal));
        }
    }

    /// Has the store asked on a thread made for it; the answer comes back to this worker.
    fn ask_store<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(&mut Self, Result<T, StoreError>) + Send + 'static,
    ) {
        let ask = Box::new(move |store: &dyn Store, storage: &Storage| {
            let answer = question(store);
            if let Err(error) = &answer {
                storage.suspect(error);
            }
            ToWorker::Call(Box::new(move |worker| then(worker, answer)))
        });
        let reply_to = self.around.inboxes[self.around.number].clone();
        self.around.loaders.order(Order::Ask { ask, reply_to });
    }
}

/// Reads whom a user follows, and when those and `others` were last seen.
fn what_is_known(
    store: &dyn Store,
    user: &UserId,
    others: &BTreeSet<UserId>,
) -> Result<Known, StoreError> {
    let stored: BTreeSet<UserId> = store.follows(user)?.into_iter().collect();
    let all: Vec<UserId> = stored.union(others).cloned().collect();
    let seen = match all.is_empty() {
        true => Seen::new(),
        false => store.feed_seen(&all)?.into_iter().collect(),
    };
    Ok(Known { stored, seen })
}

fn draw_token() -> Result<ResumeToken, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(ResumeToken(u128::from_be_bytes(random)))
}

fn count(metrics: &Metrics, before: Counts, after: Counts) {
    let (considered, sent) = (
        after.considered - before.considered,
        after.sent - before.sent,
    );
    metrics.feed_considered.inc_by(considered);
    metrics.feed_messages.inc_by(sent);
}

/// The message as a frame, made once for all who are sent it.
fn text_frame(message: &Message) -> Bytes {
    let mut text = Vec::new();
    match message {
        Message::Hello {
            resume,
            resume_within,
            is_resumed,
            seen_as,
        } => ServerMessage::Hello {
            resume: &resume.to_string(),
            window: *resume_within,
            is_resumed: *is_resumed,
            seen_as: seen_as.map_or("Offline", Status::name),
        }
        .write(&mut text),
        Message::Sync(users) => {
            let users: Vec<_> = users
                .iter()
                .map(|(user, told)| (user.as_str(), shown(told)))
                .collect();
            ServerMessage::Sync { users: &users }.write(&mut text);
        }
        Message::Changed { user, changes } => ServerMessage::Changed {
            user: user.as_str(),
            status: changes.status.map(Status::name),
            activity: changes.activity.as_deref(),
            project: changes.project.as_deref(),
            language: changes.language.as_deref(),
        }
        .write(&mut text),
        Message::State { user, told } => {
            let (user, state) = (user.as_str(), shown(told));
            ServerMessage::State { user, state }.write(&mut text);
        }
    }
    let mut frame = Vec::with_capacity(text.len() + 10);
    websocket::write_frame(&mut frame, Opcode::Text, &text);
    Bytes::from(frame)
}

fn shown(told: &Told) -> Shown<'_> {
    match told {
        Told::Offline(seen) => Shown::Offline {
            seen_millis: seen.map(Timestamp::as_millis),
        },
        Told::Online(profile) => Shown::Online {
            status: profile.status.name(),
            activity: &profile.work.activity,
            project: &profile.work.project,
            language: &profile.work.language,
        },
    }
}
