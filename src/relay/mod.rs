//! The workers that drive the pure parts, and the handle that doors and HTTP hold.
//!
//! One thread for each core owns the rooms that hash to it, and the sockets whose rooms those are.
//! A [`Relay`] is the way in from everywhere else: it puts a socket or a question into the inbox of
//! the worker that owns the room. Nothing here knows tokens' contents, routes or what a message
//! means; that is what doors are for.
//!
//! Start with `worker`: its `run`, its `let_happen` and its `end_turn`.

mod answering;
mod attendance;
mod closing;
mod connection;
mod connections;
mod fanout;
mod far;
mod feed;
#[cfg(test)]
mod fixtures;
mod flush;
mod heavy;
mod hosting;
#[cfg(test)]
mod hot_path;
mod inbox;
mod listening;
mod news;
mod notices;
mod observation;
mod observing;
mod outlet;
mod people;
mod placement;
mod places;
mod pulse;
mod refused;
mod revoking;
mod rooms;
mod socket;
mod storage;
mod telling;
mod timeline;
mod turn;
mod turn_times;
mod typing;
mod watching;
mod whereabouts;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::auth::{TokenError, Verifier};
use crate::clock::SystemClock;
use crate::limits::{
    HEAVY_THREADS_MIN, LOAD_THREADS, Limits, STREAM_EVENTS_MAX, WORKER_STACK_BYTES,
};
use crate::metrics::Metrics;
use crate::model::{
    ConnectionId, LastSeen, Policies, RequestId, RoomName, SessionId, SessionToken, UserId,
};
use crate::presence::{Change, Participant};
use crate::relay::feed::FEED_WORKER;
use crate::relay::heavy::HeavyPool;
use crate::relay::inbox::ToWorker;
use crate::relay::people::PeopleWriter;
use crate::relay::placement::worker_of;
use crate::relay::refused::Refused;
use crate::relay::revoking::Revoking;
use crate::relay::storage::Storage;
use crate::relay::turn_times::TurnTimes;
use crate::relay::worker::{Surroundings, Worker};
use crate::room::{Input, Reply};
use crate::store::{BatchIds, Store, StoreError};
use crate::wire::close::Refusal;
use crate::wire::yjs::Update;

pub use attendance::{Attendance, Heartbeat};
pub use closing::Reopening;
pub use connection::{Door, Handling, Newcomer, Seat};
pub use fanout::Dialect;
pub use feed::ChangeFollowsError;
pub use heavy::keep_little_memory;
pub use observation::{
    Observation, ObservedConnection, ObservedPerson, ObservedRoom, ObservedSession, Opened,
    Question,
};
pub use placement::Home;
pub use places::{Holder, Place, Places, RefusedSocket, UserPlace};
pub use refused::{RefusedLists, RefusedOrigin, RefusedTokens};
pub use revoking::RevokeError;
pub use socket::{RawSocket, RawStream, Stream};
pub use timeline::{Departure, Happening, Passage, Spot, Timeline, Way};
pub use turn::Turn;

pub use crate::room::awareness::StateLimit;
pub use crate::store::{FollowsChange, FollowsError};
pub use watching::{ActiveRoom, Newest};

/// Handle to a running relay: cheap to clone. The relay stops when the last one is gone.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    inboxes: Arc<[mpsc::Sender<ToWorker>]>,
    shared: Arc<Shared>,
    verifier: Verifier,
    metrics: Arc<Metrics>,
    clock: SystemClock,
    limits: Limits,
    policies: Policies,
    storage: Storage,
    people: PeopleWriter,
    revoking: Revoking,
}

/// What a relay is made with.
#[derive(Clone, Debug, Default)]
pub struct RelayOptions {
    /// Worker threads; one for each core when zero.
    pub workers: usize,
    /// Caps.
    pub limits: Limits,
    /// The kinds' numbers.
    pub policies: Policies,
    /// Believe what awareness states say about who somebody is.
    pub trust_awareness: bool,
}

/// Counters and flags that all workers share.
pub struct Shared {
    next_id: AtomicU64,
    next_worker: AtomicUsize,
    /// Drawn when the relay started: tells its sessions from those of others, and of before.
    life: u64,
    places: Places,
    is_draining: AtomicBool,
    trust_awareness: bool,
    /// Whether the store refused its last write; the text is below.
    is_store_down: AtomicBool,
    store_error: Mutex<String>,
    /// Those of whom no worker has heard.
    turned_away: Mutex<Timeline>,
    /// Origins and tokens that were not let in.
    refused: Mutex<Refused>,
}

/// What a stream of a room's presence is told: a snapshot, then changes. A stream that falls behind
/// ends; who comes back gets a new snapshot.
#[derive(Clone, Debug)]
pub enum PresenceEvent {
    /// Everybody, as they are now.
    Snapshot(Vec<Participant>),
    /// What changed since.
    Change(Change),
}

/// A room's document as one update.
#[derive(Clone, Debug)]
pub struct DocumentState {
    /// A Yjs update, v1.
    pub update: Bytes,
    /// Whether all of it is on disk.
    pub is_durable: bool,
    /// How many accepted updates are not in it, for what they stand on has not come.
    pub waiting_updates: usize,
}

/// Why a back end's update was not applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// It was to be applied to an empty document only.
    #[error("the document has content already")]
    NotEmpty,
    /// The store has not taken it in time.
    #[error("the store has not answered in time")]
    NotStored {
        /// Whether it is in the document, and kept as soon as the store takes it; else it never was.
        is_applied: bool,
    },
    /// For a reason that a socket would be closed for.
    #[error("refused: {}", .0.reason())]
    Refused(Refusal),
}

/// The relay cannot answer now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.reason())]
pub struct Unavailable(pub Refusal);

impl Relay {
    /// Starts the threads.
    pub fn start(
        options: RelayOptions,
        store: Arc<dyn Store>,
        verifier: Verifier,
        metrics: Arc<Metrics>,
        clock: SystemClock,
    ) -> anyhow::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = if options.workers == 0 {
            cores
        } else {
            options.workers
        };
        let shared = Arc::new(Shared::new(&options)?);
        for (option, value) in options.limits.named() {
            metrics.limit(option, value);
        }
        for reason in TokenError::REASONS {
            // At zero from the start: what has never happened can be told from what is not counted.
            drop(metrics.auth_failures(reason));
        }
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| worker::inbox()).unzip();
        let inboxes: Arc<[_]> = inboxes.into();
        let storage = Storage::start(
            store.clone(),
            shared.clone(),
            metrics.clone(),
            inboxes.clone(),
            BatchIds::new(draw_number()?),
        )?;
        if let Some(whom) = store.awaits() {
            storage.suspect(&StoreError::Down(whom));
        }
        let people = PeopleWriter::start(store.clone())?;
        let revoking = Revoking::start(store.clone(), verifier.clone(), clock)?;
        let threads = cores.max(HEAVY_THREADS_MIN);
        let heavy = HeavyPool::start("heavy", threads, store.clone(), &storage)?;
        // Threads of their own: a store that answers slowly must not hold up what needs it not.
        let loaders = HeavyPool::start("load", LOAD_THREADS, store.clone(), &storage)?;
        for (number, receiver) in receivers.into_iter().enumerate() {
            let around = Surroundings {
                number,
                inboxes: inboxes.clone(),
                shared: shared.clone(),
                store: store.clone(),
                storage: storage.clone(),
                batches: BatchIds::new(draw_number()?),
                people: people.clone(),
                heavy: heavy.clone(),
                loaders: loaders.clone(),
                verifier: verifier.clone(),
                clock,
                turns: TurnTimes::new(
                    metrics.turn_seconds(number),
                    metrics.turn_processor_seconds(number),
                ),
                metrics: metrics.clone(),
                limits: options.limits.clone(),
                policies: options.policies.clone(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(WORKER_STACK_BYTES)
                .spawn(move || runtime.block_on(worker::run(around, receiver)))?;
        }
        let RelayOptions {
            limits, policies, ..
        } = options;
        let inner = Inner {
            inboxes,
            shared,
            verifier,
            metrics,
            clock,
            limits,
            policies,
            storage,
            people,
            revoking,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// The clock everything here goes by.
    pub fn clock(&self) -> SystemClock {
        self.0.clock
    }

    /// The relay's counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// All metrics, as of now, in the Prometheus text format.
    pub fn metrics_page(&self) -> String {
        let Shared { is_draining, .. } = &*self.0.shared;
        let metrics = self.metrics();
        let is_store_up = !self.0.storage.is_down();
        metrics.store_up.set(i64::from(is_store_up));
        let is_draining = is_draining.load(Ordering::Relaxed);
        metrics.draining.set(i64::from(is_draining));
        metrics.encode()
    }

    /// What checks tokens.
    pub fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    /// The caps.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The kinds' numbers.
    pub fn policies(&self) -> &Policies {
        &self.0.policies
    }

    /// A name for a new connection.
    pub fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.0.shared.next_id())
    }

    /// Whether anybody can be let in at all now.
    pub fn may_let_in(&self) -> Result<(), Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        let verifier = &self.0.verifier;
        if verifier.missing_keys().is_some() && !verifier.is_dev() {
            // Clients that are told that their token is bad do not come back.
            return Err(Refusal::KeysDown);
        }
        self.admits().map_err(|Unavailable(refusal)| refusal)
    }

    /// A place for a socket: its holder's, or one of those for sockets that have not said whose they
    /// are.
    pub fn take_place(
        &self,
        connection: ConnectionId,
        holder: Option<Holder>,
    ) -> Result<Place, Refusal> {
        let places = &self.0.shared.places;
        let Some(holder) = holder else {
            let now = self.0.clock.now();
            let (place, gives_way) = places.take_as_stranger(now, connection)?;
            if let Some(oldest) = gives_way {
                self.close_stranger_soon(oldest);
            }
            return Ok(place);
        };
        places.take(connection, holder)
    }

    /// Counts a socket that has no place while it is told so.
    pub fn turn_away(&self) -> RefusedSocket {
        self.0.shared.places.refuse()
    }

    /// How many sockets are open, those that are being turned away among them.
    pub fn sockets(&self) -> usize {
        self.0.shared.places.sockets()
    }

    /// One of the places of a user, for something that is no socket.
    pub fn take_user_place(&self, holder: &Holder) -> Result<UserPlace, Unavailable> {
        let places = &self.0.shared.places;
        places.take_for(holder).map_err(Unavailable)
    }

    /// Closes the socket of a stranger, wherever it lives.
    fn close_stranger_soon(&self, connection: ConnectionId) {
        for inbox in self.0.inboxes.iter() {
            let close = move |worker: &mut Worker| worker.close_stranger(connection);
            // With a worker that has no time now it stays until its minute is over.
            let _ = inbox.try_send(ToWorker::Call(Box::new(close)));
        }
    }

    /// Gives a socket to the worker where it lives, or to the next in turn.
    pub async fn adopt(&self, newcomer: Newcomer, home: &Home) {
        let worker = match home {
            Home::Room(room) => worker_of(room, self.0.inboxes.len()),
            Home::Feed => FEED_WORKER,
            Home::Anywhere => {
                let turn = self.0.shared.next_worker.fetch_add(1, Ordering::Relaxed);
                turn % self.0.inboxes.len()
            }
        };
        // A worker that is gone closes the socket by dropping it.
        let _ = self.0.inboxes[worker]
            .send(ToWorker::Adopt(Box::new(newcomer)))
            .await;
    }

    /// A room's participants; nobody when it is not loaded.
    pub async fn room_presence(&self, room: &RoomName) -> Result<Vec<Participant>, Unavailable> {
        if self.policies().of(room.kind()).memory == LastSeen::Stored {
            let request = self.next_request();
            let reply = self.request(room, request, Input::Participants { request });
            return match reply.await? {
                Reply::Participants(participants) => Ok(participants),
                Reply::Refused(refusal) => Err(Unavailable(refusal)),
                _ => Err(Unavailable(Refusal::StoreDown)),
            };
        }
        let asked = room.clone();
        self.ask(self.worker_of(room), move |worker| {
            worker.participants(&asked)
        })
        .await
    }

    /// What happens to a room's roster. The first event is a snapshot; when the stream falls
    /// behind, it ends.
    pub async fn watch_room(
        &self,
        room: &RoomName,
    ) -> Result<mpsc::Receiver<PresenceEvent>, Unavailable> {
        if self.policies().of(room.kind()).memory == LastSeen::Stored {
            // Loads the room, so that the snapshot has those who were here before.
            self.room_presence(room).await?;
        }
        let (watcher, events) = mpsc::channel(STREAM_EVENTS_MAX);
        let watched = room.clone();
        self.ask(self.worker_of(room), move |worker| {
            worker.watch_room(watched, watcher);
        })
        .await?;
        Ok(events)
    }

    /// Every room the user is connected in.
    pub async fn user_presence(
        &self,
        user: &UserId,
    ) -> Result<Vec<(RoomName, Participant)>, Unavailable> {
        let mut found = Vec::new();
        for number in 0..self.0.inboxes.len() {
            let user = user.clone();
            found.extend(
                self.ask(number, move |worker| worker.rooms_of(&user))
                    .await?,
            );
        }
        Ok(found)
    }

    /// The room's document; loads it if need be.
    pub async fn document(&self, room: &RoomName) -> Result<DocumentState, Unavailable> {
        let request = self.next_request();
        match self.request(room, request, Input::Read { request }).await? {
            Reply::Document {
                update,
                is_durable,
                waiting_updates,
            } => Ok(DocumentState {
                update,
                is_durable,
                waiting_updates,
            }),
            Reply::Refused(refusal) => Err(Unavailable(refusal)),
            _ => Err(Unavailable(Refusal::StoreDown)),
        }
    }

    /// Applies an update, seen live by the editors. Returns once it is durable.
    pub async fn apply_update(
        &self,
        room: &RoomName,
        update: Update,
        only_if_empty: bool,
    ) -> Result<(), ApplyError> {
        let request = self.next_request();
        let input = Input::Apply {
            request,
            update,
            only_if_empty,
        };
        let reply = self.request(room, request, input).await;
        match reply.map_err(|Unavailable(refusal)| ApplyError::Refused(refusal))? {
            Reply::Applied => Ok(()),
            Reply::NotEmpty => Err(ApplyError::NotEmpty),
            Reply::NotStored { is_applied } => Err(ApplyError::NotStored { is_applied }),
            Reply::Refused(refusal) => Err(ApplyError::Refused(refusal)),
            _ => Err(ApplyError::Refused(Refusal::StoreDown)),
        }
    }

    /// Somebody without a socket is in a room, from now on or still.
    pub async fn heartbeat(
        &self,
        room: &RoomName,
        heartbeat: Heartbeat,
    ) -> Result<Attendance, Unavailable> {
        if self.is_draining() {
            return Err(Unavailable(Refusal::Draining));
        }
        let request = self.next_request();
        let (asker, answered) = oneshot::channel();
        let asked = room.clone();
        let beat = move |worker: &mut Worker| worker.heartbeat(&asked, request, heartbeat, asker);
        if self.ask(self.worker_of(room), beat).await? == Attendance::HasLeft {
            return Ok(Attendance::HasLeft);
        }
        match answered.await {
            Ok(Reply::Present) => Ok(Attendance::Counts),
            Ok(Reply::Refused(refusal)) => Err(Unavailable(refusal)),
            _ => Err(Unavailable(Refusal::Draining)),
        }
    }

    /// The session of this token leaves its room; nothing else happens if there is none. `room`: where it
    /// is, if that is its own user who says so.
    pub async fn leave(
        &self,
        token: &SessionToken,
        room: Option<&RoomName>,
    ) -> Result<(), Unavailable> {
        let all = 0..self.0.inboxes.len();
        let asked = match room.map(|room| self.worker_of(room)) {
            Some(number) => number..number + 1,
            None => all,
        };
        for number in asked {
            let (token, is_by_its_user) = (token.clone(), room.is_some());
            let end = move |worker: &mut Worker| worker.end_beat(&token, is_by_its_user);
            if self.ask(number, end).await? {
                break;
            }
        }
        Ok(())
    }

    /// Why the relay is not ready; nothing when it is.
    pub fn unready_reasons(&self) -> Vec<String> {
        let shared = &self.0.shared;
        let mut reasons = Vec::new();
        if shared.is_draining.load(Ordering::Relaxed) {
            reasons.push(Refusal::Draining.reason().to_owned());
        }
        let troubles = [self.0.storage.trouble(), self.0.revoking.trouble()];
        for trouble in troubles.into_iter().flatten() {
            reasons.push(format!("{}: {trouble}", Refusal::StoreDown.reason()));
        }
        if let Some(why) = self.0.verifier.missing_keys() {
            reasons.push(format!("{}: {why}", Refusal::KeysDown.reason()));
        }
        reasons
    }

    /// Waits until nothing can ever be stored again, because others have had the store to write to;
    /// says who. The relay has refused newcomers since; whoever mounts it calls
    /// [`drain`](Self::drain) then, which closes the sockets, and ends the process.
    pub async fn failed(&self) -> StoreError {
        self.0.storage.failed().await
    }

    /// Whether newcomers are refused.
    pub fn is_draining(&self) -> bool {
        self.0.shared.is_draining.load(Ordering::Relaxed)
    }

    /// Refuses newcomers from now on.
    pub fn refuse_newcomers(&self) {
        self.0.shared.refuse_newcomers();
    }

    /// Refuses newcomers, closes every socket, and returns when all accepted updates are stored and
    /// all sockets are closed, or when time is over. An error says that not all was stored; a client
    /// that does not answer the close costs time, and nothing else.
    pub async fn drain(&self, at_most: Duration) -> Result<(), Unavailable> {
        self.refuse_newcomers();
        let started = self.0.clock.elapsed();
        let mut workers_saved = Vec::new();
        let mut workers_closed = Vec::new();
        for inbox in self.0.inboxes.iter() {
            let (saved, all_saved) = oneshot::channel();
            let (closed, all_closed) = oneshot::channel();
            if inbox.send(ToWorker::Drain { saved, closed }).await.is_ok() {
                workers_saved.push(all_saved);
                workers_closed.push(all_closed);
            }
        }
        let left = || at_most.saturating_sub(self.0.clock.elapsed().saturating_sub(started));
        let all_saved = futures::future::join_all(workers_saved);
        let all_saved = tokio::time::timeout(left(), all_saved).await;
        let is_saved = all_saved.is_ok_and(|workers| workers.iter().all(Result::is_ok));
        let people = self.0.people.clone();
        let for_people = left();
        let remembered = tokio::task::spawn_blocking(move || people.flush(for_people)).await;
        if !remembered.is_ok_and(|all| all) {
            tracing::warn!("what was to be remembered of people is not all written");
        }
        let revoking = self.0.revoking.clone();
        let for_revocations = left();
        let revoked = tokio::task::spawn_blocking(move || revoking.flush(for_revocations)).await;
        if !revoked.is_ok_and(|all| all) {
            tracing::error!("a revocation is not stored, and ends with this process");
        }
        // Those who are being turned away are told that it is for now.
        let refused = self.0.shared.places.refused_are_gone();
        let all_closed = futures::future::join(futures::future::join_all(workers_closed), refused);
        if tokio::time::timeout(left(), all_closed).await.is_err() {
            tracing::info!("some clients did not answer the close in time");
        }
        if is_saved {
            Ok(())
        } else {
            Err(Unavailable(Refusal::Draining))
        }
    }

    fn worker_of(&self, room: &RoomName) -> usize {
        worker_of(room, self.0.inboxes.len())
    }

    fn next_request(&self) -> RequestId {
        RequestId(self.0.shared.next_id())
    }

    /// Has a worker do something and answer.
    async fn ask<T: Send + 'static>(
        &self,
        worker: usize,
        question: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let call = ToWorker::Call(Box::new(move |worker| {
            // Whoever asked may have given up.
            let _ = answer.send(question(worker));
        }));
        let gone = Unavailable(Refusal::Draining);
        self.0.inboxes[worker].send(call).await.map_err(|_| gone)?;
        answered.await.map_err(|_| gone)
    }

    async fn request(
        &self,
        room: &RoomName,
        request: RequestId,
        input: Input,
    ) -> Result<Reply, Unavailable> {
        let (asker, answered) = oneshot::channel();
        let asked = room.clone();
        let put = move |worker: &mut Worker| worker.request(&asked, request, input, asker);
        self.ask(self.worker_of(room), put).await?;
        answered.await.map_err(|_| Unavailable(Refusal::StoreDown))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.storage.stop();
        self.people.stop();
        self.revoking.stop();
        for inbox in self.inboxes.iter() {
            // A full inbox belongs to a worker that is stuck; there is nobody left to tell.
            let _ = inbox.try_send(ToWorker::Stop);
        }
    }
}

impl Shared {
    fn new(options: &RelayOptions) -> anyhow::Result<Self> {
        Ok(Self {
            next_id: AtomicU64::new(1),
            next_worker: AtomicUsize::new(0),
            life: draw_number()?,
            places: Places::new(&options.limits),
            is_draining: AtomicBool::new(false),
            trust_awareness: options.trust_awareness,
            is_store_down: AtomicBool::new(false),
            store_error: Mutex::default(),
            turned_away: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn next_session(&self) -> SessionId {
        SessionId(self.next_id())
    }

    /// A session's name outside: no other session has it, here, elsewhere or later.
    fn session_name(&self, session: SessionId) -> String {
        format!("{:016x}-{:x}", self.life, session.0)
    }

    fn trusts_awareness(&self) -> bool {
        self.trust_awareness
    }

    fn refuse_newcomers(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Said once, when it begins: whoever fails meanwhile fails for the same reason.
    fn store_failed(&self, error: &StoreError) {
        if !self.is_store_down() {
            tracing::error!(%error, "the store fails; edits stay in memory until it is back");
        }
        *self
            .store_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error.to_string();
        self.is_store_down.store(true, Ordering::Relaxed);
    }

    fn is_store_down(&self) -> bool {
        self.is_store_down.load(Ordering::Relaxed)
    }

    /// What the store said last when it did not do something.
    fn store_error(&self) -> String {
        let error = self.store_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn store_works(&self) {
        if self.is_store_down.load(Ordering::Relaxed) {
            self.is_store_down.store(false, Ordering::Relaxed);
            tracing::info!("the store is back");
        }
    }
}

fn draw_number() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("no randomness: {error}"))
}
