//! One thread: its rooms, their sockets, one bounded inbox, and the end of a turn.
//!
//! Everything here runs on one thread and never waits while it holds the worker. Sockets are read
//! by a task each; what they say goes straight into the rooms. The first change of a turn wakes the
//! flush task, which runs behind all readers that are ready, and sends what the turn changed: one
//! write for each member.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

use crate::auth::Verifier;
use crate::clock::{Step, SystemClock, Timestamp};
use crate::deadlines::Deadlines;
use crate::limits::{
    CLOCK_COMPARED_EVERY, Limits, READ_BUFFER_BYTES, STEPS_BETWEEN_CLOCKS, TURN_MAX,
    WORKER_INBOX_MAX,
};
use crate::metrics::Metrics;
use crate::model::{
    ConnectionId, Pattern, Policies, RequestId, RoomName, SessionId, SessionToken, UserId,
};
use crate::presence::{Farewells, Participant};
use crate::relay::Shared;
use crate::relay::connection::{Bucket, Connection, Ears, Handling, Newcomer, State, Tail};
use crate::relay::connections::Connections;
use crate::relay::feed::{FEED_WORKER, FeedHost};
use crate::relay::heavy::{HeavyPool, Order};
use crate::relay::hosting::count_waiting;
use crate::relay::inbox::{Delivery, ToWorker};
use crate::relay::notices::Notices;
use crate::relay::people::PeopleWriter;
use crate::relay::pulse::Pulse;
use crate::relay::rooms::{Link, OpenRoom, RoomKey, Rooms};
use crate::relay::socket::Socket;
use crate::relay::storage::{Kept, Storage};
use crate::relay::timeline::{Departure, Timeline};
use crate::relay::turn_times::TurnTimes;
use crate::relay::typing::Typist;
use crate::relay::watching::Watching;
use crate::relay::whereabouts::Whereabouts;
use crate::room::{Input, Reply, Waiting};
use crate::small::SmallSet;
use crate::store::{BatchIds, Store};
use crate::wire::close::Refusal;
use crate::wire::websocket::Decoder;

/// What a worker works with; most of it all workers share.
pub struct Surroundings {
    /// This worker's number.
    pub number: usize,
    /// Every worker's inbox.
    pub inboxes: Arc<[mpsc::Sender<ToWorker>]>,
    /// Counters and flags of the whole relay.
    pub shared: Arc<Shared>,
    /// Where documents are kept.
    pub store: Arc<dyn Store>,
    /// The thread that writes to it.
    pub storage: Storage,
    /// Names for what this worker writes to it itself.
    pub batches: BatchIds,
    /// The thread that writes down what is to be remembered of people.
    pub people: PeopleWriter,
    /// Where heavy jobs go.
    pub heavy: HeavyPool,
    /// Where documents are loaded.
    pub loaders: HeavyPool,
    /// Tokens.
    pub verifier: Verifier,
    /// Time.
    pub clock: SystemClock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How long this worker's turns took.
    pub turns: TurnTimes,
    /// Caps.
    pub limits: Limits,
    /// The kinds' numbers.
    pub policies: Policies,
}

/// What one thread owns.
pub struct Worker {
    pub(super) around: Surroundings,
    pub(super) rooms: Rooms,
    pub(super) connections: Connections,
    pub(super) watching: Watching,
    pub(super) requests: HashMap<RequestId, oneshot::Sender<Reply>>,
    pub(super) room_deadlines: Deadlines<RoomKey>,
    pub(super) connection_deadlines: Deadlines<ConnectionId>,
    /// Rooms that changed in this turn, or in one before that had no time for them; each once.
    pub(super) dirty: VecDeque<RoomKey>,
    /// Inputs that follow from outputs.
    pub(super) agenda: VecDeque<(RoomKey, Input)>,
    pub(super) refusals: VecDeque<(Link, SessionId, Refusal)>,
    /// Sessions that turned out to go on, whose doors are to hear of it.
    pub(super) reopened: VecDeque<(Link, SessionId, u32)>,
    /// Connections whose stream failed or ended.
    pub(super) broken: Vec<ConnectionId>,
    /// Rooms to which something has happened.
    pub(super) to_reckon: Vec<RoomKey>,
    pub(super) unloads: Vec<RoomKey>,
    /// What this turn keeps.
    pub(super) writes: Vec<Kept>,
    /// Handed to the storage and not on disk yet.
    pub(super) uncommitted: usize,
    /// The same by turns: how many, and when the turn began that kept them.
    pub(super) kept_in: VecDeque<(usize, Duration)>,
    /// What other workers had no room for.
    pub(super) posts: Vec<VecDeque<ToWorker>>,
    /// Where the sessions without a socket are.
    pub(super) beat_rooms: HashMap<SessionToken, RoomKey>,
    /// Sessions without a socket that have just left.
    pub(super) farewells: Farewells,
    /// The rooms that everybody is in.
    pub(super) whereabouts: Whereabouts<RoomKey>,
    /// The sockets whose tokens are theirs.
    pub(super) bearers: Whereabouts<ConnectionId>,
    /// Those who hide from everybody.
    pub(super) hidden: HashSet<UserId>,
    /// On one worker, the follow feed.
    pub(super) feed: Option<Box<FeedHost>>,
    pub(super) draining: Option<Draining>,
    pub(super) arrivals: Vec<ConnectionId>,
    /// Those who are written to between turns, for there is much; each once.
    pub(super) line: VecDeque<ConnectionId>,
    pub(super) wakers: Rc<Wakers>,
    /// When what happens now arrived: a clock is read once for all that one wake-up brings.
    pub(super) began: Duration,
    pub(super) now: Timestamp,
    /// Who came and left lately.
    pub(super) timeline: Timeline,
    pub(super) notices: Notices,
    /// Why sessions without a socket end, should one now.
    pub(super) beats_end_by: Departure,
    /// One for all sockets; taken out while one is read.
    pub(super) buffer: Vec<u8>,
    /// What one member is sent that nobody else is.
    pub(super) scratch: Vec<u8>,
    pub(super) typist: Typist,
}

/// How the worker's tasks are woken.
#[derive(Default)]
pub(super) struct Wakers {
    pub(super) flush: Notify,
    pub(super) timer: Notify,
    pub(super) post: Notify,
    pub(super) arrival: Notify,
    pub(super) line: Notify,
}

/// The worker that watches the system's clock for all.
const CLOCK_WORKER: usize = 0;

/// Runs a worker on this thread until the relay is gone.
pub async fn run(around: Surroundings, mut inbox: mpsc::Receiver<ToWorker>) {
    let local = LocalSet::new();
    let worker = Rc::new(RefCell::new(Worker::new(around)));
    let wakers = worker.borrow().wakers.clone();
    local.spawn_local(flush_turns(worker.clone(), wakers.clone()));
    local.spawn_local(keep_time(worker.clone(), wakers.clone()));
    local.spawn_local(post(worker.clone(), wakers.clone()));
    local.spawn_local(write_pieces(worker.clone(), wakers.clone()));
    local.spawn_local(welcome(worker.clone(), wakers));
    if worker.borrow().around.number == CLOCK_WORKER {
        local.spawn_local(watch_clock(worker.clone()));
    }
    local
        .run_until(async move {
            let mut messages = Vec::with_capacity(64);
            while 0 < inbox.recv_many(&mut messages, 64).await {
                let mut messages = messages.drain(..);
                while !messages.as_slice().is_empty() {
                    if worker.borrow_mut().take_some(&mut messages) {
                        return;
                    }
                    if !messages.as_slice().is_empty() {
                        tokio::task::yield_now().await;
                    }
                }
            }
        })
        .await;
}

/// The end of turns: runs behind every reader that was ready when the turn's first change came.
async fn flush_turns(worker: Rc<RefCell<Worker>>, wakers: Rc<Wakers>) {
    loop {
        wakers.flush.notified().await;
        while all_at_once(|| worker.borrow_mut().end_turn()).await {
            // Some rooms are left for the next turn, which begins with everybody who is ready.
            tokio::task::yield_now().await;
        }
    }
}

/// Writes what is too much for a turn. After some pieces it lets the runtime look for what has arrived,
/// and everybody whose turn it is go first.
async fn write_pieces(worker: Rc<RefCell<Worker>>, wakers: Rc<Wakers>) {
    loop {
        wakers.line.notified().await;
        while worker.borrow_mut().write_pieces() {
            tokio::task::yield_now().await;
        }
    }
}

async fn keep_time(worker: Rc<RefCell<Worker>>, wakers: Rc<Wakers>) {
    let clock = worker.borrow().around.clock;
    loop {
        let next = worker.borrow().next_deadline();
        match next {
            Some(deadline) => {
                // A sleep ends on the millisecond after the one asked for.
                let sleep = tokio::time::sleep(clock.until(deadline));
                tokio::select! {
                    () = sleep => {
                        all_at_once(|| worker.borrow_mut().tick()).await;
                        // More may be due, but not before everybody who is ready.
                        tokio::task::yield_now().await;
                    }
                    () = wakers.timer.notified() => {}
                }
            }
            None => wakers.timer.notified().await,
        }
    }
}

/// Looks whether the system's clock was set, or went on while the machine slept. What is waited for
/// until some time may then be due at once, at every worker.
async fn watch_clock(worker: Rc<RefCell<Worker>>) {
    let clock = worker.borrow().around.clock;
    loop {
        tokio::time::sleep(CLOCK_COMPARED_EVERY).await;
        let Some(step) = clock.compare() else {
            continue;
        };
        let mut worker = worker.borrow_mut();
        worker.around.metrics.clock_steps.inc();
        match step {
            Step::Forward(by) => {
                tracing::warn!(
                    ?by,
                    "the system's clock went on without us, or was set forward"
                );
            }
            Step::Back(by) => tracing::warn!(?by, "the system's clock was set back"),
        }
        for number in 0..worker.around.inboxes.len() {
            let look = |worker: &mut Worker| worker.wakers.timer.notify_one();
            worker.send_post(number, ToWorker::Call(Box::new(look)));
        }
    }
}

/// The runtime lets a task use sockets 128 times, and then tells it that they are full. That is meant
/// for tasks that would go on for ever; a turn ends.
async fn all_at_once<T>(act: impl FnOnce() -> T) -> T {
    tokio::task::unconstrained(async { act() }).await
}

/// Brings to other workers what their inboxes had no room for.
async fn post(worker: Rc<RefCell<Worker>>, wakers: Rc<Wakers>) {
    loop {
        wakers.post.notified().await;
        loop {
            let next = {
                let worker = worker.borrow();
                let waiting = worker.posts.iter().position(|posts| !posts.is_empty());
                waiting.map(|number| (number, worker.around.inboxes[number].clone()))
            };
            let Some((number, inbox)) = next else {
                break;
            };
            // The message stays first in line until there is room: nothing may overtake it.
            let place = inbox.reserve().await;
            let message = worker.borrow_mut().posts[number].pop_front();
            // A worker that is gone needs no post.
            if let (Ok(place), Some(message)) = (place, message) {
                place.send(message);
            }
        }
    }
}

/// Starts a task for each connection that moved in.
async fn welcome(worker: Rc<RefCell<Worker>>, wakers: Rc<Wakers>) {
    loop {
        wakers.arrival.notified().await;
        let arrivals = std::mem::take(&mut worker.borrow_mut().arrivals);
        for id in arrivals {
            let worker = worker.clone();
            tokio::task::spawn_local(std::future::poll_fn(move |context| {
                worker.borrow_mut().poll_connection(id, context)
            }));
        }
    }
}

/// Who is to be told how draining goes.
pub(super) struct Draining {
    /// That everything accepted is stored; told once.
    saved: Option<oneshot::Sender<()>>,
    /// That all sockets are gone; told once.
    closed: Option<oneshot::Sender<()>>,
}

impl Worker {
    pub(super) fn new(around: Surroundings) -> Self {
        let posts = around.inboxes.iter().map(|_| VecDeque::new()).collect();
        let has_feed = around.number == FEED_WORKER;
        let feed = has_feed.then(|| Box::new(FeedHost::new(&around.policies.feed)));
        let now = around.clock.now();
        Self {
            around,
            rooms: Rooms::default(),
            connections: Connections::default(),
            watching: Watching::default(),
            requests: HashMap::new(),
            room_deadlines: Deadlines::new(),
            connection_deadlines: Deadlines::new(),
            dirty: VecDeque::new(),
            agenda: VecDeque::new(),
            refusals: VecDeque::new(),
            reopened: VecDeque::new(),
            broken: Vec::new(),
            to_reckon: Vec::new(),
            unloads: Vec::new(),
            writes: Vec::new(),
            uncommitted: 0,
            kept_in: VecDeque::new(),
            posts,
            beat_rooms: HashMap::new(),
            farewells: Farewells::default(),
            whereabouts: Whereabouts::default(),
            bearers: Whereabouts::default(),
            hidden: HashSet::new(),
            feed,
            draining: None,
            arrivals: Vec::new(),
            line: VecDeque::new(),
            began: Duration::ZERO,
            now,
            timeline: Timeline::default(),
            notices: Notices::default(),
            beats_end_by: Departure::Expired,
            wakers: Rc::default(),
            buffer: vec![0; READ_BUFFER_BYTES],
            scratch: Vec::new(),
            typist: Typist::default(),
        }
    }

    /// The time at which what happens now arrived.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Something arrives, or is due: reads the clock.
    pub(super) fn begin(&mut self) -> Duration {
        self.began = self.around.clock.elapsed();
        // Copies of the clock may learn an instant apart that it goes slower.
        self.now = self.now.max(self.around.clock.at(self.began));
        self.began
    }

    // What reaches the worker from outside.

    /// Takes messages until the turn has lasted for long enough; whether the worker is to stop.
    fn take_some(&mut self, messages: &mut impl Iterator<Item = ToWorker>) -> bool {
        let started = self.begin();
        for message in messages {
            if let ToWorker::Stop = message {
                return true;
            }
            self.take(message);
            if self.has_lasted(started) {
                break;
            }
        }
        self.settle();
        false
    }

    pub(super) fn take(&mut self, message: ToWorker) {
        match message {
            ToWorker::Adopt(newcomer) => self.adopt(*newcomer),
            ToWorker::Call(call) => call(self),
            ToWorker::Room { room, life, input } => {
                if let Some(key) = self.rooms.find(&room)
                    && self.rooms.get(key).is_some_and(|open| open.life == life)
                {
                    self.let_happen(key, *input);
                }
            }
            ToWorker::Checked {
                connection,
                key,
                outcome,
            } => self.checked(connection, &key, outcome),
            ToWorker::Committed(committed) => self.committed(committed),
            ToWorker::FromFar {
                room,
                session,
                event,
            } => self.far_event(room, session, event),
            ToWorker::ToFar {
                connection,
                session,
                delivery,
            } => {
                self.far_delivery(connection, session, delivery);
            }
            ToWorker::AskSockets(asked) => self.answer_for_sockets(*asked),
            ToWorker::Revoke { user, rooms } => self.revoke(&user, rooms.as_ref()),
            ToWorker::Hide { user, hides } => self.hide(&user, hides),
            ToWorker::Drain { saved, closed } => self.drain(saved, closed),
            ToWorker::Stop => {}
        }
    }

    pub(super) fn adopt(&mut self, newcomer: Newcomer) {
        let Newcomer {
            id,
            socket,
            door,
            place,
            ping_every,
            dead_after,
            message,
        } = newcomer;
        let now = self.now();
        let message_bytes_max = self.around.limits.message_bytes_max;
        let socket_stream = match Socket::adopt(socket.stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(connection = %id, %error, "a socket could not move in");
                return;
            }
        };
        self.around.metrics.connections.of(door.label()).inc();
        let connection = Connection {
            label: door.label(),
            socket: socket_stream,
            ears: Some(Box::new(Ears {
                decoder: Decoder::new(message_bytes_max),
                door,
            })),
            seats: Vec::new(),
            bearers: SmallSet::new(),
            state: State::Open,
            tail: Tail::default(),
            is_in_line: false,
            waker: Waker::noop().clone(),
            pulse: Pulse::new(now, ping_every, dead_after),
            bucket: Bucket::new(now, self.around.limits.rate),
            unread: socket.read_ahead.to_vec(),
            late_pong: None,
            is_checking: false,
            resume_at: None,
            owed_bytes: 0,
            owed_credits: Vec::new(),
            message_bytes_max,
            scheduled: None,
            has_ended: false,
            pace: None,
            place,
        };
        self.connections.insert(id, connection);
        if self.draining.is_some() {
            self.close(id, Refusal::Draining);
        }
        self.with_door(id, |door, turn| {
            door.tick(turn);
            if let Some(message) = message
                && let Handling::MoveTo(_) = door.message(turn, false, &message)
            {
                tracing::error!(connection = %id, "a connection was sent on twice");
                turn.close(Refusal::BadMessage);
            }
        });
        self.arrivals.push(id);
        self.wakers.arrival.notify_one();
        self.schedule(id);
    }

    pub(super) fn revoke(&mut self, user: &UserId, rooms: Option<&Pattern>) {
        if rooms.is_none() {
            // Before their connections end, or their windows would linger. The feed is no room.
            self.feed_expel(user);
        }
        let ids: Vec<ConnectionId> = self.bearers.places(user).collect();
        for id in ids {
            self.with_door(id, |door, turn| door.revoked(turn, user, rooms));
        }
        self.expel(user, rooms);
    }

    /// One of the connection's tokens is this user's: a revocation finds it.
    pub(super) fn note_bearer(&mut self, id: ConnectionId, user: &UserId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.bearers.contains(user)
        {
            connection.bearers.insert(user.clone());
            self.bearers.note(user.clone(), id, true);
        }
    }

    pub(super) fn drain(&mut self, saved: oneshot::Sender<()>, closed: oneshot::Sender<()>) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        self.draining = Some(Draining {
            saved: Some(saved),
            closed: Some(closed),
        });
        self.watching.end_all();
        self.feed_stop();
        for id in ids {
            self.close(id, Refusal::Draining);
        }
        // Nobody is here any more, and that is written down.
        let rooms: Vec<RoomKey> = self.rooms.iter().map(|(key, _)| key).collect();
        for key in rooms {
            self.let_happen(key, Input::Close);
        }
    }

    /// How far draining has come: answers who waits for it. What is stored and who has gone are
    /// two questions: a client that answers nothing must not make it look as if something was lost.
    pub(super) fn check_drained(&mut self) {
        // What follows may bring more to write.
        let is_sealed = self.dirty.is_empty() && self.is_settled();
        let Some(draining) = &mut self.draining else {
            return;
        };
        let is_stored = is_sealed && self.writes.is_empty() && self.uncommitted == 0;
        let answers = [
            (is_stored, &mut draining.saved),
            (self.connections.is_empty(), &mut draining.closed),
        ];
        for (has_come, answer) in answers {
            if let Some(answer) = answer.take_if(|_| has_come) {
                // Whoever asked may have given up.
                let _ = answer.send(());
            }
        }
    }

    // The end of a turn.

    /// Does what follows from what has happened, until nothing more does or the turn has lasted for long
    /// enough: the end of the next turn goes on.
    pub(super) fn settle(&mut self) {
        for step in 1.. {
            if self.is_settled() {
                break;
            }
            if let Some((key, input)) = self.agenda.pop_front() {
                self.let_happen(key, input);
            } else if let Some((link, session, refusal)) = self.refusals.pop_front() {
                self.refuse(link, session, refusal);
            } else if let Some((link, session, closes)) = self.reopened.pop_front() {
                self.tell_reopened(link, session, closes);
            } else if let Some(id) = self.broken.pop() {
                self.depart(id, Departure::Lost);
                self.remove(id);
            } else if let Some(key) = self.to_reckon.pop() {
                self.reckon(key);
            } else if let Some(key) = self.unloads.pop() {
                self.unload(key);
            }
            // A clock costs as much as a small step.
            if step % STEPS_BETWEEN_CLOCKS == 0 && self.has_lasted(self.began) {
                self.wakers.flush.notify_one();
                break;
            }
        }
        if self.draining.is_some() {
            self.check_drained();
        }
    }

    fn is_settled(&self) -> bool {
        self.agenda.is_empty()
            && self.refusals.is_empty()
            && self.broken.is_empty()
            && self.to_reckon.is_empty()
            && self.unloads.is_empty()
            && self.reopened.is_empty()
    }

    pub(super) fn refuse(&mut self, link: Link, session: SessionId, refusal: Refusal) {
        match link {
            Link::Here(id) => self.with_door(id, |door, turn| door.refused(turn, session, refusal)),
            Link::Far {
                worker, connection, ..
            } => {
                let delivery = Delivery::Refuse(refusal);
                self.send_post(
                    worker,
                    ToWorker::ToFar {
                        connection,
                        session,
                        delivery,
                    },
                );
            }
        }
    }

    pub(super) fn unload(&mut self, key: RoomKey) {
        if self
            .rooms
            .get(key)
            .is_some_and(|open| open.members.values().all(|member| member.is_closed))
            && let Some(closed) = self.rooms.close(key)
        {
            count_waiting(&self.around.metrics, closed.waiting, Waiting::default());
            // A large document takes long to drop.
            self.around.heavy.order(Order::Forget(closed));
            self.room_deadlines.set(key, None);
            self.dirty.retain(|&dirty| dirty != key);
            self.agenda.retain(|&(other, _)| other != key);
            self.around.metrics.rooms.dec();
        }
    }

    /// Whether the thread has been kept busy for long enough: what is left is for the next turn,
    /// behind everybody who is ready.
    pub(super) fn has_lasted(&self, started: Duration) -> bool {
        TURN_MAX <= self.around.clock.elapsed().saturating_sub(started)
    }

    /// A turn begins: from here on the thread is busy.
    pub(super) fn begin_turn(&mut self) -> Duration {
        self.around.turns.begin();
        self.begin()
    }

    /// Notes how long the thread was kept busy in one go.
    pub(super) fn observe_turn(&mut self, started: Duration) {
        let took = self.around.clock.elapsed().saturating_sub(started);
        self.around.turns.end(took);
    }

    /// Sends what has changed; whether rooms are left for which there was no time.
    pub(super) fn end_turn(&mut self) -> bool {
        let started = self.begin_turn();
        self.write_now();
        self.settle();
        while let Some(key) = self.dirty.pop_front() {
            self.seal(key);
            self.flush_room(key);
            self.settle();
            if self.has_lasted(started) {
                break;
            }
        }
        self.write_now();
        self.settle();
        self.observe_turn(started);
        !self.dirty.is_empty() || !self.is_settled()
    }

    // Time.

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        [
            self.room_deadlines.next(),
            self.connection_deadlines.next(),
            self.feed.as_ref().and_then(|host| host.next_deadline()),
            self.farewells.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn tick(&mut self) {
        let started = self.begin_turn();
        let now = self.now();
        while !self.has_lasted(started)
            && let Some(key) = self.room_deadlines.pop_due(now)
        {
            if let Some(open) = self.rooms.get_mut(key) {
                open.scheduled = None;
                open.rest();
                self.let_happen(key, Input::Tick);
                self.settle();
            }
        }
        let since_rooms = self.around.clock.elapsed();
        while !self.has_lasted(since_rooms)
            && let Some(id) = self.connection_deadlines.pop_due(now)
        {
            self.tick_connection(id, now);
        }
        self.feed_tick();
        self.farewells.tick(now);
        self.settle();
        self.observe_turn(started);
    }

    // What HTTP asks, by way of `ToWorker::Call`.

    /// The room's participants; nobody when it is not loaded.
    pub(super) fn participants(&self, room: &RoomName) -> Vec<Participant> {
        let open = self.rooms.find(room).and_then(|key| self.rooms.get(key));
        open.map_or_else(Vec::new, |open| open.room.participants())
    }

    /// Every room here in which the user is connected.
    pub(super) fn rooms_of(&self, user: &UserId) -> Vec<(RoomName, Participant)> {
        let connected = |open: &OpenRoom| {
            let participant = open.room.participant(user)?;
            participant
                .is_connected
                .then(|| (open.name.clone(), participant))
        };
        self.whereabouts
            .places(user)
            .filter_map(|key| connected(self.rooms.get(key)?))
            .collect()
    }

    /// Puts a request to a room, opening it if need be.
    pub(super) fn request(
        &mut self,
        room: &RoomName,
        request: RequestId,
        input: Input,
        asker: oneshot::Sender<Reply>,
    ) {
        if self.draining.is_some() {
            // Whoever asked may have given up.
            let _ = asker.send(Reply::Refused(Refusal::Draining));
            return;
        }
        let takes_nothing = self.around.storage.is_down() || self.has_too_much_unsaved();
        if matches!(input, Input::Apply { .. }) && takes_nothing {
            // Whoever asked may have given up.
            let _ = asker.send(Reply::Refused(Refusal::StoreDown));
            return;
        }
        let key = self.open_room(room);
        self.requests.insert(request, asker);
        self.let_happen(key, input);
    }
}

/// A worker's inbox: bounded; HTTP waits for room in it, other workers keep what it has no room for.
pub fn inbox() -> (mpsc::Sender<ToWorker>, mpsc::Receiver<ToWorker>) {
    mpsc::channel(WORKER_INBOX_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::fixtures::idle_worker;

    fn about(user: &str) -> ToWorker {
        ToWorker::Revoke {
            user: UserId::parse(user).unwrap(),
            rooms: None,
        }
    }

    /// Whom it is about, if it was sent by a test.
    fn user(message: Option<ToWorker>) -> Option<UserId> {
        match message {
            Some(ToWorker::Revoke { user, .. }) => Some(user),
            _ => None,
        }
    }

    #[test]
    fn what_follows_from_a_turn_that_has_lasted_is_for_the_next() {
        let (mut worker, _receivers) = idle_worker(1);
        worker.around.clock = SystemClock::new();
        let names = (0..100).map(|number| RoomName::parse(&format!("session/{number}")).unwrap());
        for name in names.collect::<Vec<_>>() {
            worker.open_room(&name);
        }
        worker.settle();
        let keys: Vec<RoomKey> = worker.rooms.iter().map(|(key, _)| key).collect();
        worker
            .agenda
            .extend(keys.iter().map(|&key| (key, Input::Tick)));
        while worker.around.clock.elapsed() < 2 * TURN_MAX {
            std::hint::spin_loop();
        }
        worker.began = Duration::ZERO;
        worker.settle();
        assert_eq!(worker.agenda.len(), 100 - STEPS_BETWEEN_CLOCKS);
        // The next turns do the rest.
        while worker.end_turn() {}
        assert!(worker.is_settled());
    }

    #[tokio::test]
    async fn what_a_full_inbox_had_no_room_for_is_not_overtaken() {
        let (mut worker, mut receivers) = idle_worker(2);
        let mut other = receivers.remove(1);
        while 0 < worker.around.inboxes[1].capacity() {
            worker.send_post(1, ToWorker::Stop);
        }
        worker.send_post(1, about("first"));
        let (wakers, worker) = (worker.wakers.clone(), Rc::new(RefCell::new(worker)));
        let local = LocalSet::new();
        local.spawn_local(post(worker.clone(), wakers));
        local
            .run_until(async {
                // It waits for room now...
                tokio::task::yield_now().await;
                other.recv().await;
                other.recv().await;
                // ... and there is some, also for one that comes later.
                worker.borrow_mut().send_post(1, about("second"));
                let mut users = Vec::new();
                while users.len() < 2 {
                    users.extend(user(other.recv().await));
                }
                let names: Vec<&str> = users.iter().map(UserId::as_str).collect();
                assert_eq!(names, ["first", "second"]);
            })
            .await;
    }
}
