//! One thread: its rooms, their sockets, one bounded inbox, and the end of a turn.
//!
//! Everything here runs on one thread and never waits while it holds the worker. Sockets are read
//! by a task each; what they say goes straight into the rooms. The first change of a turn wakes the
//! flush task, which runs behind all readers that are ready, and sends what the turn changed: one
//! write for each member.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

use crate::auth::Verifier;
use crate::clock::{SystemClock, Timestamp};
use crate::limits::{
    BACKLOG_BYTES_MAX, DIRECT_BYTES_MAX, FAR_QUEUE_MAX, Limits, PONG_BEHIND_BYTES_MAX,
    READ_BUFFER_BYTES, READ_PAUSE_BYTES, STORE_RETRY_AFTER, THROTTLE_PAUSE, WORKER_INBOX_MAX,
};
use crate::metrics::Metrics;
use crate::model::{ConnectionId, Grant, Policies, RequestId, RoomName, SessionId, UserId};
use crate::presence::{Change, Ending, Participant};
use crate::relay::connection::{
    Beat, Bucket, Connection, Door, Ears, Handling, Newcomer, Pulse, Seat, SeatPlace, State, Tail,
};
use crate::relay::deadlines::Deadlines;
use crate::relay::fanout::{self, Dialect, Direct, Progress, Recent, Told, Turnful};
use crate::relay::heavy::{HeavyPool, Job, Order};
use crate::relay::inbox::{Delivery, FarEvent, ToWorker};
use crate::relay::placement::worker_of;
use crate::relay::rooms::{Link, Member, OpenRoom, RoomKey, Rooms};
use crate::relay::socket::{RawSocket, Socket};
use crate::relay::{PresenceEvent, Shared};
use crate::room::{FromSession, Input, Keep, Message, Output, Reply, Room, Task};
use crate::store::{Store, Write};
use crate::wire::close::Refusal;
use crate::wire::websocket::{self, Decoder, Event, Opcode};

/// What all workers share.
#[derive(Clone)]
pub struct Surroundings {
    /// This worker's number.
    pub number: usize,
    /// Every worker's inbox.
    pub inboxes: Arc<[mpsc::Sender<ToWorker>]>,
    /// Counters and flags of the whole relay.
    pub shared: Arc<Shared>,
    /// Where documents are kept.
    pub store: Arc<dyn Store>,
    /// Where heavy jobs go.
    pub heavy: HeavyPool,
    /// Tokens.
    pub verifier: Verifier,
    /// Time.
    pub clock: SystemClock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How long this worker's turns took.
    pub turns: Histogram,
    /// Caps.
    pub limits: Limits,
    /// The kinds' numbers.
    pub policies: Policies,
}

/// What one thread owns.
pub struct Worker {
    around: Surroundings,
    rooms: Rooms,
    connections: HashMap<ConnectionId, Connection>,
    watchers: HashMap<RoomName, Vec<mpsc::Sender<PresenceEvent>>>,
    requests: HashMap<RequestId, oneshot::Sender<Reply>>,
    room_deadlines: Deadlines<RoomKey>,
    connection_deadlines: Deadlines<ConnectionId>,
    /// Rooms that changed in this turn.
    dirty: Vec<RoomKey>,
    /// Inputs that follow from outputs.
    agenda: VecDeque<(RoomKey, Input)>,
    refusals: VecDeque<(Link, SessionId, Refusal)>,
    /// Connections whose stream failed or ended.
    broken: Vec<ConnectionId>,
    unloads: Vec<RoomKey>,
    writes: Vec<(RoomName, Write)>,
    write_again_at: Option<Timestamp>,
    /// Orders that the heavy threads had no room for.
    orders: VecDeque<Order>,
    /// What other workers had no room for.
    posts: Vec<VecDeque<ToWorker>>,
    draining: Option<(Timestamp, Option<oneshot::Sender<()>>)>,
    arrivals: Vec<ConnectionId>,
    wakers: Rc<Wakers>,
    /// One for all sockets; taken out while one is read.
    buffer: Vec<u8>,
}

/// How the worker's tasks are woken.
#[derive(Default)]
struct Wakers {
    flush: Notify,
    timer: Notify,
    post: Notify,
    arrival: Notify,
}

/// Runs a worker on this thread until the relay is gone.
pub async fn run(around: Surroundings, mut inbox: mpsc::Receiver<ToWorker>) {
    let local = LocalSet::new();
    let worker = Rc::new(RefCell::new(Worker::new(around)));
    let wakers = worker.borrow().wakers.clone();
    local.spawn_local(flush_turns(worker.clone(), wakers.clone()));
    local.spawn_local(keep_time(worker.clone(), wakers.clone()));
    local.spawn_local(post(worker.clone(), wakers.clone()));
    local.spawn_local(welcome(worker.clone(), wakers));
    local
        .run_until(async move {
            let mut messages = Vec::with_capacity(64);
            while 0 < inbox.recv_many(&mut messages, 64).await {
                let mut worker = worker.borrow_mut();
                for message in messages.drain(..) {
                    if let ToWorker::Stop = message {
                        return;
                    }
                    worker.take(message);
                }
                worker.settle();
            }
        })
        .await;
}

/// The end of turns: runs behind every reader that was ready when the turn's first change came.
async fn flush_turns(worker: Rc<RefCell<Worker>>, wakers: Rc<Wakers>) {
    loop {
        wakers.flush.notified().await;
        worker.borrow_mut().end_turn();
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
                    () = sleep => worker.borrow_mut().tick(),
                    () = wakers.timer.notified() => {}
                }
            }
            None => wakers.timer.notified().await,
        }
    }
}

/// Brings to other workers what their inboxes had no room for.
async fn post(worker: Rc<RefCell<Worker>>, wakers: Rc<Wakers>) {
    loop {
        wakers.post.notified().await;
        loop {
            let next = {
                let mut worker = worker.borrow_mut();
                let inboxes = worker.around.inboxes.clone();
                let waiting = worker.posts.iter().position(|posts| !posts.is_empty());
                waiting.map(|number| (inboxes, number, worker.posts[number].pop_front()))
            };
            let Some((inboxes, number, Some(message))) = next else {
                break;
            };
            if let Some(inbox) = inboxes.get(number) {
                // A worker that is gone needs no post.
                let _ = inbox.send(message).await;
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

impl Worker {
    fn new(around: Surroundings) -> Self {
        let posts = around.inboxes.iter().map(|_| VecDeque::new()).collect();
        Self {
            around,
            rooms: Rooms::default(),
            connections: HashMap::new(),
            watchers: HashMap::new(),
            requests: HashMap::new(),
            room_deadlines: Deadlines::new(),
            connection_deadlines: Deadlines::new(),
            dirty: Vec::new(),
            agenda: VecDeque::new(),
            refusals: VecDeque::new(),
            broken: Vec::new(),
            unloads: Vec::new(),
            writes: Vec::new(),
            write_again_at: None,
            orders: VecDeque::new(),
            posts,
            draining: None,
            arrivals: Vec::new(),
            wakers: Rc::default(),
            buffer: vec![0; READ_BUFFER_BYTES],
        }
    }

    fn now(&self) -> Timestamp {
        self.around.clock.now()
    }

    // What reaches the worker from outside.

    fn take(&mut self, message: ToWorker) {
        match message {
            ToWorker::Adopt(newcomer) => self.adopt(*newcomer),
            ToWorker::Call(call) => call(self),
            ToWorker::Room { room, life, input } => {
                self.order_again();
                if let Some(key) = self.rooms.find(&room)
                    && self.rooms.get(key).is_some_and(|open| open.life == life)
                {
                    self.let_happen(key, *input);
                }
            }
            ToWorker::FromFar {
                room,
                session,
                event,
            } => self.from_far(room, session, event),
            ToWorker::ToFar {
                connection,
                session,
                delivery,
            } => {
                self.to_far(connection, session, delivery);
            }
            ToWorker::Revoke { user, room } => self.revoke(&user, room.as_ref()),
            ToWorker::Drain { deadline, done } => self.drain(deadline, done),
            ToWorker::Stop => {}
        }
    }

    fn adopt(&mut self, newcomer: Newcomer) {
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
            state: State::Open,
            tail: Tail::default(),
            waker: Waker::noop().clone(),
            pulse: Pulse::new(now, ping_every, dead_after),
            bucket: Bucket::new(now, self.around.limits.rate),
            unread: socket.read_ahead.to_vec(),
            resume_at: None,
            owed_bytes: 0,
            owed_credits: Vec::new(),
            message_bytes_max,
            scheduled: None,
            _place: place,
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

    fn revoke(&mut self, user: &UserId, room: Option<&RoomName>) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.with_door(id, |door, turn| door.revoked(turn, user, room));
        }
    }

    fn drain(&mut self, deadline: Timestamp, done: oneshot::Sender<()>) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        self.draining = Some((deadline, Some(done)));
        self.watchers.clear();
        for id in ids {
            self.close(id, Refusal::Draining);
        }
    }

    /// Whether draining is over: answers who waits for it.
    fn check_drained(&mut self) {
        let Some((deadline, done)) = &mut self.draining else {
            return;
        };
        let is_done = self.connections.is_empty() && self.writes.is_empty();
        if is_done || *deadline <= self.around.clock.now() {
            if let Some(done) = done.take() {
                // Whoever asked may have given up.
                let _ = done.send(());
            }
        }
    }

    // Sockets.

    fn poll_connection(&mut self, id: ConnectionId, context: &mut Context<'_>) -> Poll<()> {
        let outcome = self.listen(id, context);
        self.schedule(id);
        self.settle();
        outcome
    }

    fn listen(&mut self, id: ConnectionId, context: &mut Context<'_>) -> Poll<()> {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(());
        };
        if !connection.waker.will_wake(context.waker()) {
            connection.waker = context.waker().clone();
        }
        if connection.is_full() {
            connection.flush_again(now);
            if !connection.is_full() {
                self.drained(id);
            }
        }
        if !self.read_unread(id) {
            return Poll::Pending;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.read(id, context, &mut buffer);
        self.buffer = buffer;
        outcome
    }

    fn read(&mut self, id: ConnectionId, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<()> {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else {
                return Poll::Ready(());
            };
            if connection.state == State::Broken {
                self.broken.push(id);
                return Poll::Ready(());
            }
            // Who does not take what waits is not listened to; the socket wakes us when it does.
            if READ_PAUSE_BYTES < connection.owed_bytes && connection.is_full() {
                return Poll::Pending;
            }
            match connection.socket.poll_read(context, buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if 0 < count => {
                    if connection.state != State::Open {
                        continue;
                    }
                    self.around
                        .metrics
                        .bytes_in
                        .of(connection.label)
                        .inc_by(count as u64);
                    let is_more = count == buffer.len();
                    self.received(id, &mut buffer[..count]);
                    let is_paused = self
                        .connections
                        .get(&id)
                        .is_some_and(|connection| !connection.unread.is_empty());
                    if is_paused {
                        return Poll::Pending;
                    }
                    if is_more {
                        // The others of this thread first.
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(_) => {
                    connection.state = State::Broken;
                }
            }
        }
    }

    /// Goes on with what had to wait; whether the socket may be read.
    fn read_unread(&mut self, id: ConnectionId) -> bool {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return true;
        };
        if connection.resume_at.is_some_and(|at| now < at) {
            return false;
        }
        connection.resume_at = None;
        let mut unread = std::mem::take(&mut connection.unread);
        if !unread.is_empty() {
            self.received(id, &mut unread);
        }
        self.connections
            .get(&id)
            .is_none_or(|connection| connection.unread.is_empty())
    }

    /// Takes in what a socket said.
    fn received(&mut self, id: ConnectionId, mut input: &mut [u8]) {
        let Some(mut ears) = self
            .connections
            .get_mut(&id)
            .and_then(|connection| connection.ears.take())
        else {
            return;
        };
        loop {
            let now = self.now();
            let is_congested = self.posts.iter().any(|posts| FAR_QUEUE_MAX < posts.len());
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            if connection.state != State::Open {
                break;
            }
            ears.decoder
                .set_message_bytes_max(connection.message_bytes_max);
            if !input.is_empty() && (is_congested || !connection.bucket.has_one(now)) {
                connection.unread.extend_from_slice(input);
                connection.resume_at = Some(now + THROTTLE_PAUSE);
                break;
            }
            let Ears { decoder, door } = &mut *ears;
            let event = match decoder.decode(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(connection = %id, %error, "a socket broke the protocol");
                    self.close(id, error.refusal());
                    break;
                }
            };
            connection.pulse.heard();
            connection.bucket.take();
            let (is_text, payload) = match event {
                Event::Text(text) => (true, text.as_bytes()),
                Event::Binary(payload) => (false, payload),
                Event::Ping(payload) => {
                    let mut frame = Vec::with_capacity(2 + payload.len());
                    websocket::write_pong(&mut frame, payload);
                    // A flood of pings whose answers nobody reads must not pile up. One that comes
                    // while a little waits is answered: clients take silence for a dead link.
                    if connection.waiting_bytes() < PONG_BEHIND_BYTES_MAX {
                        connection.write_control(Bytes::from(frame));
                    }
                    continue;
                }
                Event::Pong(_) => continue,
                Event::Close { code } => {
                    let mut frame = Vec::new();
                    websocket::write_close_reply(&mut frame, code);
                    connection.close(now, frame);
                    self.depart(id, Ending::Clean);
                    break;
                }
            };
            self.around.metrics.messages_in.of(connection.label).inc();
            let mut turn = Turn {
                worker: self,
                connection: id,
            };
            if let Handling::MoveTo(worker) = door.message(&mut turn, is_text, payload) {
                let message = payload.to_vec();
                self.hand_over(id, ears, message, input, worker);
                return;
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ears = Some(ears);
        }
    }

    /// Sends a connection that has no sessions yet to another worker, with what it said.
    fn hand_over(
        &mut self,
        id: ConnectionId,
        ears: Box<Ears>,
        message: Vec<u8>,
        rest: &[u8],
        worker: usize,
    ) {
        let Some(connection) = self.remove(id) else {
            return;
        };
        let (ping_every, dead_after) = connection.pulse.intervals();
        let stream = match connection.socket.release() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(connection = %id, %error, "a socket could not move");
                return;
            }
        };
        let newcomer = Newcomer {
            id,
            socket: RawSocket {
                stream,
                read_ahead: Bytes::copy_from_slice(rest),
            },
            door: ears.door,
            place: connection._place,
            ping_every,
            dead_after,
            message: Some(message),
        };
        self.send_post(worker, ToWorker::Adopt(Box::new(newcomer)));
    }

    /// The socket takes more again: whoever held something back for it may go on.
    fn drained(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.owed_bytes = 0;
        let credits = std::mem::take(&mut connection.owed_credits);
        let seats = connection.seats.clone();
        for seat in seats {
            match seat.place {
                SeatPlace::Here(key) => self.touch(key, seat.session),
                SeatPlace::Far { worker, room } => {
                    if credits.contains(&seat.session) {
                        let session = seat.session;
                        let event = FarEvent::Credit;
                        self.send_post(
                            worker,
                            ToWorker::FromFar {
                                room,
                                session,
                                event,
                            },
                        );
                    }
                }
            }
        }
    }

    /// Ends the connection's sessions; the socket may still be saying goodbye.
    fn depart(&mut self, id: ConnectionId, ending: Ending) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        for seat in std::mem::take(&mut connection.seats) {
            self.leave(seat, ending);
        }
    }

    fn leave(&mut self, seat: Seat, ending: Ending) {
        let session = seat.session;
        match seat.place {
            SeatPlace::Here(key) => self.left(key, session, ending),
            SeatPlace::Far { worker, room } => {
                let event = FarEvent::Leave(ending);
                self.send_post(
                    worker,
                    ToWorker::FromFar {
                        room,
                        session,
                        event,
                    },
                );
            }
        }
    }

    fn left(&mut self, key: RoomKey, session: SessionId, ending: Ending) {
        if let Some(open) = self.rooms.get_mut(key) {
            open.members.remove(&session);
            self.let_happen(key, Input::Leave { session, ending });
        }
    }

    fn close(&mut self, id: ConnectionId, refusal: Refusal) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.state != State::Open {
            return;
        }
        self.around.metrics.closed(refusal.reason());
        let mut frame = Vec::new();
        websocket::write_close(&mut frame, refusal.code(), refusal.reason());
        connection.close(now, frame);
        self.depart(id, Ending::Lost);
        self.schedule(id);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.connection_deadlines.set(id, None);
        self.around.metrics.connections.of(connection.label).dec();
        Some(connection)
    }

    fn with_door(&mut self, id: ConnectionId, act: impl FnOnce(&mut dyn Door, &mut Turn<'_>)) {
        let Some(mut ears) = self
            .connections
            .get_mut(&id)
            .and_then(|connection| connection.ears.take())
        else {
            return;
        };
        act(
            &mut *ears.door,
            &mut Turn {
                worker: self,
                connection: id,
            },
        );
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ears = Some(ears);
        }
        self.schedule(id);
    }

    fn schedule(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            self.connection_deadlines.set(id, None);
            return;
        };
        let deadline = connection.next_deadline();
        if connection.scheduled != deadline {
            connection.scheduled = deadline;
            let earliest = self.connection_deadlines.next();
            self.connection_deadlines.set(id, deadline);
            if deadline.is_some_and(|at| earliest.is_none_or(|earliest| at < earliest)) {
                self.wakers.timer.notify_one();
            }
        }
    }

    // Rooms.

    /// Lets one thing happen to one room, then does what the room asks for.
    fn let_happen(&mut self, key: RoomKey, input: Input) {
        let now = self.now();
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        open.room.handle(now, input);
        while let Some(output) = self
            .rooms
            .get_mut(key)
            .and_then(|open| open.room.poll_output())
        {
            self.perform(key, output);
        }
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        let counts = open.room.take_counts();
        self.around.metrics.updates_accepted.inc_by(counts.updates);
        self.around.metrics.updates_read_only.inc_by(counts.dropped);
        self.around
            .metrics
            .updates_quarantined
            .inc_by(counts.quarantined);
        let deadline = open.room.next_deadline();
        if open.scheduled != deadline {
            open.scheduled = deadline;
            let earliest = self.room_deadlines.next();
            self.room_deadlines.set(key, deadline);
            if deadline.is_some_and(|at| earliest.is_none_or(|earliest| at < earliest)) {
                self.wakers.timer.notify_one();
            }
        }
    }

    fn perform(&mut self, key: RoomKey, output: Output) {
        match output {
            Output::Load => self.order(key, Job::Load),
            Output::Work(task) => self.work(key, task),
            Output::Keep(keep) => self.keep(key, keep),
            Output::Update {
                sequence,
                update,
                from,
            } => {
                self.mark_dirty(key);
                if let Some(open) = self.rooms.get_mut(key) {
                    open.forward(Recent {
                        sequence,
                        update,
                        from,
                    });
                }
            }
            Output::Awareness => self.mark_dirty(key),
            Output::Tell { session, message } => self.tell(key, session, &message),
            Output::Stateless { from, text } => self.tell_stateless(key, from, &text),
            Output::Refuse { session, refusal } => {
                let member = self
                    .rooms
                    .get(key)
                    .and_then(|open| open.members.get(&session));
                if let Some(member) = member {
                    self.refusals.push_back((member.link, session, refusal));
                }
            }
            Output::Presence(change) => self.tell_watchers(key, change),
            Output::Answer { request, reply } => {
                if let Some(asker) = self.requests.remove(&request) {
                    // Whoever asked may have given up.
                    let _ = asker.send(reply);
                }
            }
            Output::Unload => self.unloads.push(key),
        }
    }

    fn open_room(&mut self, name: &RoomName) -> RoomKey {
        if let Some(key) = self.rooms.find(name) {
            return key;
        }
        let policy = self.around.policies.of(name.kind()).clone();
        let document_bytes_max = self.around.limits.document_bytes_max;
        let room = Room::new(self.now(), policy, document_bytes_max);
        let key = self.rooms.open(name.clone(), room);
        self.around.metrics.rooms.inc();
        // A new room asks for its document at once.
        self.let_happen(key, Input::Tick);
        key
    }

    fn work(&mut self, key: RoomKey, task: Box<Task>) {
        if task.cost_micros() <= crate::limits::INLINE_TASK_MICROS {
            self.agenda
                .push_back((key, Input::Reported(Box::new(task.run()))));
        } else {
            self.order(key, Job::Work(task));
        }
    }

    fn order(&mut self, key: RoomKey, job: Job) {
        if let Job::Load = job {
            // The store is asked after everything it has been given.
            self.write_now();
        }
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let reply_to = self.around.inboxes[self.around.number].clone();
        let order = Order {
            room: open.name.clone(),
            life: open.life,
            job,
            reply_to,
        };
        self.orders.push_back(order);
        self.order_again();
    }

    fn order_again(&mut self) {
        while let Some(order) = self.orders.pop_front() {
            if let Err(order) = self.around.heavy.order(order) {
                self.orders.push_front(*order);
                return;
            }
        }
    }

    fn keep(&mut self, key: RoomKey, keep: Keep) {
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let write = match keep {
            Keep::Append { sequence, update } => Write::Append { sequence, update },
            Keep::Snapshot { through, update } => Write::Snapshot { through, update },
            Keep::Quarantine { sequence } => {
                tracing::error!(room = %open.name, sequence, "an update broke its document");
                Write::Quarantine { sequence }
            }
        };
        self.writes.push((open.name.clone(), write));
        self.wakers.flush.notify_one();
    }

    /// Hands the store what this turn keeps, and tells the rooms what it has.
    fn write_now(&mut self) {
        if self.writes.is_empty() || self.write_again_at.is_some_and(|at| self.now() < at) {
            return;
        }
        self.write_again_at = None;
        if let Err(error) = self.around.store.write(&self.writes) {
            tracing::error!(%error, "the store does not take updates; they are kept in memory");
            self.around.shared.store_failed(&error);
            self.write_again_at = Some(self.now() + STORE_RETRY_AFTER);
            self.wakers.timer.notify_one();
            return;
        }
        self.around.shared.store_works();
        for (room, write) in std::mem::take(&mut self.writes) {
            if let Write::Append { sequence, .. } = write
                && let Some(key) = self.rooms.find(&room)
            {
                self.agenda
                    .push_back((key, Input::Stored { through: sequence }));
            }
        }
    }

    fn mark_dirty(&mut self, key: RoomKey) {
        if let Some(open) = self.rooms.get_mut(key)
            && !open.is_dirty
        {
            open.is_dirty = true;
            self.dirty.push(key);
            self.wakers.flush.notify_one();
        }
    }

    /// Something waits for one member.
    fn touch(&mut self, key: RoomKey, session: SessionId) {
        self.mark_dirty(key);
        if let Some(open) = self.rooms.get_mut(key) {
            open.touched.push(session);
        }
    }

    fn tell(&mut self, key: RoomKey, session: SessionId, message: &Message) {
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        let newest = open.newest;
        let Some(member) = open.members.get_mut(&session) else {
            return;
        };
        match message {
            Message::Hold => {
                // The answer holds at least what there is now.
                member.progress.is_held = true;
                member.progress.position = newest;
                return;
            }
            Message::Answer { through, .. } => {
                member.progress.is_held = false;
                member.progress.position = *through;
            }
            Message::Resync { through, .. } => {
                member.progress.is_resyncing = false;
                member.progress.position = *through;
                self.around.metrics.slow_resyncs.inc();
            }
            Message::PushAwareness => member.progress.awareness = Told::ToBePushed,
            Message::Status(_) | Message::Nudge { .. } => {}
        }
        let before = member.direct.bytes();
        let dialect = &member.dialect;
        member.direct.push(dialect, message);
        let added = member.direct.bytes() - before;
        self.owe(key, session, before, added);
        self.touch(key, session);
    }

    fn tell_stateless(&mut self, key: RoomKey, from: SessionId, text: &[u8]) {
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        let mut told = Vec::new();
        for (&session, member) in &mut open.members {
            if session != from && matches!(member.dialect, Dialect::Hocuspocus { .. }) {
                let before = member.direct.bytes();
                member.direct.push_stateless(&member.dialect, text);
                told.push((session, before, member.direct.bytes() - before));
            }
        }
        for (session, before, added) in told {
            self.owe(key, session, before, added);
            self.touch(key, session);
        }
    }

    /// Counts what waits for a socket that is full; too much ends it.
    fn owe(&mut self, key: RoomKey, session: SessionId, before: usize, added: usize) {
        let Some(member) = self
            .rooms
            .get(key)
            .and_then(|open| open.members.get(&session))
        else {
            return;
        };
        if let Link::Here(id) = member.link
            && let Some(connection) = self.connections.get_mut(&id)
            && connection.is_full()
        {
            connection.owed_bytes += added;
        }
        // One large answer may wait, but nothing behind it.
        if DIRECT_BYTES_MAX < before {
            self.refusals
                .push_back((member.link, session, Refusal::Slow));
        }
    }

    fn tell_watchers(&mut self, key: RoomKey, change: Change) {
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let Some(watchers) = self.watchers.get_mut(&open.name) else {
            return;
        };
        // Who is too far behind is let go: it comes back for a snapshot.
        watchers.retain(|watcher| {
            watcher
                .try_send(PresenceEvent::Change(change.clone()))
                .is_ok()
        });
        if watchers.is_empty() {
            self.watchers.remove(&open.name);
        }
    }

    // The end of a turn.

    /// Does what follows from what has happened, until nothing more does.
    fn settle(&mut self) {
        loop {
            if let Some((key, input)) = self.agenda.pop_front() {
                self.let_happen(key, input);
            } else if let Some((link, session, refusal)) = self.refusals.pop_front() {
                self.refuse(link, session, refusal);
            } else if let Some(id) = self.broken.pop() {
                self.depart(id, Ending::Lost);
                self.remove(id);
            } else if let Some(key) = self.unloads.pop() {
                self.unload(key);
            } else {
                break;
            }
        }
        if self.draining.is_some() {
            self.check_drained();
        }
    }

    fn refuse(&mut self, link: Link, session: SessionId, refusal: Refusal) {
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

    fn unload(&mut self, key: RoomKey) {
        if self
            .rooms
            .get(key)
            .is_some_and(|open| open.members.is_empty())
            && self.rooms.close(key).is_some()
        {
            self.room_deadlines.set(key, None);
            self.dirty.retain(|&dirty| dirty != key);
            self.agenda.retain(|&(other, _)| other != key);
            self.around.metrics.rooms.dec();
        }
    }

    fn end_turn(&mut self) {
        let started = self.around.clock.elapsed();
        self.write_now();
        self.settle();
        while let Some(key) = self.dirty.pop() {
            self.flush_room(key);
            self.settle();
        }
        let took = self.around.clock.elapsed().saturating_sub(started);
        self.around.turns.observe(took.as_secs_f64());
    }

    /// Sends every member what it lacks.
    fn flush_room(&mut self, key: RoomKey) {
        let now = self.now();
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        open.is_dirty = false;
        let mut sends = Sends::default();
        open.collect(
            |id| self.connections.get(&id).is_none_or(Connection::is_full),
            &mut sends,
        );
        let Sends { here, far, resyncs } = sends;
        for (id, chunks) in here {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            for chunk in chunks {
                self.around
                    .metrics
                    .bytes_out
                    .of(connection.label)
                    .inc_by(chunk.len() as u64);
                connection.write(now, chunk);
            }
            if connection.state == State::Broken {
                // Handled once the room is not being flushed.
                connection.waker.wake_by_ref();
            }
        }
        for (worker, connection, session, chunks) in far {
            let delivery = Delivery::Frames(chunks);
            self.send_post(
                worker,
                ToWorker::ToFar {
                    connection,
                    session,
                    delivery,
                },
            );
        }
        for session in resyncs {
            self.agenda.push_back((key, Input::Resync { session }));
        }
    }

    // Other workers.

    fn send_post(&mut self, worker: usize, message: ToWorker) {
        let Some(posts) = self.posts.get_mut(worker) else {
            return;
        };
        if posts.is_empty() {
            match self.around.inboxes[worker].try_send(message) {
                Ok(()) => return,
                Err(
                    mpsc::error::TrySendError::Full(message)
                    | mpsc::error::TrySendError::Closed(message),
                ) => posts.push_back(message),
            }
        } else {
            posts.push_back(message);
        }
        self.wakers.post.notify_one();
    }

    fn from_far(&mut self, room: RoomName, session: SessionId, event: FarEvent) {
        if let FarEvent::Join {
            connection,
            worker,
            grant,
            dialect,
        } = event
        {
            let link = Link::Far {
                worker,
                connection,
                is_full: false,
            };
            self.seat(&room, session, link, grant, dialect);
            return;
        }
        let Some(key) = self.rooms.find(&room) else {
            return;
        };
        match event {
            FarEvent::Join { .. } => {}
            FarEvent::Message(message) => {
                self.let_happen(key, Input::Message { session, message });
            }
            FarEvent::Renew(grant) => self.let_happen(key, Input::Renew { session, grant }),
            FarEvent::Leave(ending) => self.left(key, session, ending),
            FarEvent::Credit => {
                let member = self
                    .rooms
                    .get_mut(key)
                    .and_then(|open| open.members.get_mut(&session));
                if let Some(member) = member
                    && let Link::Far { is_full, .. } = &mut member.link
                {
                    *is_full = false;
                    self.touch(key, session);
                }
            }
        }
    }

    fn to_far(&mut self, id: ConnectionId, session: SessionId, delivery: Delivery) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(seat) = connection.seats.iter().find(|seat| seat.session == session) else {
            return;
        };
        match delivery {
            Delivery::Frames(chunks) => {
                let place = seat.place.clone();
                for chunk in chunks {
                    self.around
                        .metrics
                        .bytes_out
                        .of(connection.label)
                        .inc_by(chunk.len() as u64);
                    connection.write(now, chunk);
                }
                if connection.is_full() {
                    connection.owed_credits.push(session);
                } else if let SeatPlace::Far { worker, room } = place {
                    let event = FarEvent::Credit;
                    self.send_post(
                        worker,
                        ToWorker::FromFar {
                            room,
                            session,
                            event,
                        },
                    );
                }
            }
            Delivery::Refuse(refusal) => {
                self.with_door(id, |door, turn| door.refused(turn, session, refusal));
            }
        }
    }

    fn seat(
        &mut self,
        room: &RoomName,
        session: SessionId,
        link: Link,
        grant: Grant,
        dialect: Dialect,
    ) -> RoomKey {
        let key = self.open_room(room);
        let wants_status = matches!(dialect, Dialect::Hocuspocus { .. });
        if let Some(open) = self.rooms.get_mut(key) {
            let progress = Progress {
                position: open.newest,
                awareness: Told::Nothing,
                is_held: false,
                is_resyncing: false,
            };
            let member = Member {
                link,
                dialect,
                progress,
                direct: Direct::default(),
            };
            open.members.insert(session, member);
        }
        self.let_happen(
            key,
            Input::Join {
                session,
                grant,
                wants_status,
            },
        );
        key
    }

    // Time.

    fn next_deadline(&self) -> Option<Timestamp> {
        let draining = self
            .draining
            .as_ref()
            .and_then(|(deadline, done)| done.as_ref().map(|_| *deadline));
        [
            self.room_deadlines.next(),
            self.connection_deadlines.next(),
            self.write_again_at,
            draining,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick(&mut self) {
        let now = self.now();
        while let Some(key) = self.room_deadlines.pop_due(now) {
            if let Some(open) = self.rooms.get_mut(key) {
                open.scheduled = None;
                self.let_happen(key, Input::Tick);
            }
        }
        while let Some(id) = self.connection_deadlines.pop_due(now) {
            self.tick_connection(id, now);
        }
        if self.write_again_at.is_some_and(|at| at <= now) {
            self.write_again_at = None;
            self.wakers.flush.notify_one();
        }
        self.settle();
    }

    fn tick_connection(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.scheduled = None;
        match connection.state {
            State::Closing { until } => {
                if until <= now {
                    connection.state = State::Broken;
                    connection.waker.wake_by_ref();
                }
            }
            State::Broken => connection.waker.wake_by_ref(),
            State::Open => {
                self.beat(id, now);
                let is_due = |connection: &Connection| {
                    let ears = connection.ears.as_ref();
                    ears.and_then(|ears| ears.door.next_deadline())
                        .is_some_and(|at| at <= now)
                };
                if self.connections.get(&id).is_some_and(is_due) {
                    self.with_door(id, |door, turn| door.tick(turn));
                }
                if let Some(connection) = self.connections.get_mut(&id)
                    && connection.resume_at.is_some_and(|at| at <= now)
                {
                    connection.waker.wake_by_ref();
                    connection.resume_at = None;
                }
            }
        }
        self.schedule(id);
    }

    fn beat(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match connection.pulse.beat(now) {
            Beat::Fine => {}
            Beat::Dead => {
                tracing::debug!(connection = %id, "a peer has answered nothing for too long");
                connection.state = State::Broken;
                self.broken.push(id);
                connection.waker.wake_by_ref();
            }
            Beat::Ping { with_data } => {
                let mut frame = Vec::new();
                websocket::write_ping(&mut frame, &[]);
                connection.write_control(Bytes::from(frame));
                if with_data
                    && !connection.is_full()
                    && let Some(ears) = &connection.ears
                {
                    let message = ears.door.keep_alive();
                    let mut frame = Vec::new();
                    websocket::write_header(&mut frame, Opcode::Binary, message.len());
                    frame.extend_from_slice(message);
                    connection.write(now, Bytes::from(frame));
                }
            }
        }
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
        self.rooms
            .iter()
            .filter_map(|(_, open)| connected(open))
            .collect()
    }

    /// Tells the watcher who is there, and from now on what changes.
    pub(super) fn watch(&mut self, room: RoomName, watcher: mpsc::Sender<PresenceEvent>) {
        let snapshot = PresenceEvent::Snapshot(self.participants(&room));
        if watcher.try_send(snapshot).is_ok() {
            let watchers = self.watchers.entry(room).or_default();
            // Streams of quiet rooms end without anything being sent: sweep here.
            watchers.retain(|watcher| !watcher.is_closed());
            watchers.push(watcher);
        }
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
        let key = self.open_room(room);
        self.requests.insert(request, asker);
        self.let_happen(key, input);
    }
}

/// What a room's flush sends, gathered while the room is borrowed.
#[derive(Default)]
struct Sends {
    here: Vec<(ConnectionId, Vec<Bytes>)>,
    far: Vec<(usize, ConnectionId, SessionId, Vec<Bytes>)>,
    resyncs: Vec<SessionId>,
}

impl OpenRoom {
    /// Takes in an update for the members.
    fn forward(&mut self, recent: Recent) {
        if recent.sequence != self.newest + 1 {
            // The first since the document was loaded: the log goes on where the store's ends.
            let before = recent.sequence - 1;
            for member in self.members.values_mut() {
                if member.progress.position == self.newest {
                    member.progress.position = before;
                }
            }
            self.flushed = before;
        }
        self.newest = recent.sequence;
        self.backlog.push(recent);
    }

    /// Composes what the members lack and can be sent, and notes that they have it.
    fn collect(&mut self, is_full: impl Fn(ConnectionId) -> bool, sends: &mut Sends) {
        let Self {
            room,
            members,
            backlog,
            newest,
            flushed,
            flushed_awareness,
            ..
        } = self;
        let awareness = room.awareness();
        let version = awareness.version();
        let has_news = *flushed < *newest || *flushed_awareness < version;
        let entries = awareness.since(*flushed_awareness).collect();
        let updates = backlog
            .after(*flushed)
            .map_or_else(Vec::new, Iterator::collect);
        let mut turnful = Turnful::new(updates, entries);
        let mut touched = std::mem::take(&mut self.touched);
        let mut one = |session: SessionId, member: &mut Member| {
            let full = match member.link {
                Link::Here(id) => is_full(id),
                Link::Far { is_full, .. } => is_full,
            };
            if full {
                return;
            }
            let Member {
                link,
                dialect,
                progress,
                direct,
            } = member;
            let kept_up = !progress.is_held
                && !progress.is_resyncing
                && progress.position == *flushed
                && progress.awareness == Told::Version(*flushed_awareness);
            if kept_up {
                if has_news {
                    match turnful.involves(session) {
                        true => direct.write(|out| turnful.for_one(dialect, session, out)),
                        false => direct.share(turnful.for_all(dialect)),
                    }
                }
                progress.position = *newest;
                progress.awareness = Told::Version(version);
            } else {
                if progress.awareness != Told::Nothing {
                    let told = progress.awareness;
                    direct.write(|out| {
                        fanout::compose_awareness(dialect, out, session, awareness, told);
                    });
                    progress.awareness = Told::Version(version);
                }
                if !progress.is_held && !progress.is_resyncing && progress.position < *newest {
                    match backlog.after(progress.position) {
                        Some(updates) => direct.write(|out| {
                            let none = std::iter::empty();
                            fanout::compose(dialect, out, Some(session), updates, none);
                        }),
                        None => {
                            progress.is_resyncing = true;
                            sends.resyncs.push(session);
                        }
                    }
                    progress.position = *newest;
                }
            }
            if direct.is_empty() {
                return;
            }
            let chunks = direct.take();
            match link {
                Link::Here(id) => sends.here.push((*id, chunks)),
                Link::Far {
                    worker,
                    connection,
                    is_full,
                } => {
                    *is_full = true;
                    sends.far.push((*worker, *connection, session, chunks));
                }
            }
        };
        if has_news {
            for (&session, member) in members.iter_mut() {
                one(session, member);
            }
        } else {
            touched.sort_unstable();
            touched.dedup();
            for session in touched {
                if let Some(member) = members.get_mut(&session) {
                    one(session, member);
                }
            }
        }
        *flushed = *newest;
        *flushed_awareness = version;
        if has_news {
            let everybody_has = members
                .values()
                .map(|member| member.progress.position)
                .min();
            backlog.trim(everybody_has.unwrap_or(*newest), BACKLOG_BYTES_MAX);
        }
    }
}

/// What a door may do while it handles something of one connection.
pub struct Turn<'a> {
    worker: &'a mut Worker,
    connection: ConnectionId,
}

impl Turn<'_> {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.worker.now()
    }

    /// Tokens.
    pub fn verifier(&self) -> &Verifier {
        &self.worker.around.verifier
    }

    /// The connection's name.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The connection's worker, for answers that take a while.
    pub fn inbox(&self) -> mpsc::Sender<ToWorker> {
        self.worker.around.inboxes[self.worker.around.number].clone()
    }

    /// The worker that owns a room, if it is another than this.
    pub fn elsewhere(&self, room: &RoomName) -> Option<usize> {
        let owner = worker_of(room, self.worker.around.inboxes.len());
        (owner != self.worker.around.number).then_some(owner)
    }

    /// Takes a seat in a room for the connection.
    pub fn enter(&mut self, room: &RoomName, mut grant: Grant, dialect: Dialect) -> Seat {
        grant.is_stamped &= !self.worker.around.shared.trusts_awareness();
        let session = self.worker.around.shared.next_session();
        let place = match self.elsewhere(room) {
            None => {
                let link = Link::Here(self.connection);
                SeatPlace::Here(self.worker.seat(room, session, link, grant, dialect))
            }
            Some(owner) => {
                let event = FarEvent::Join {
                    connection: self.connection,
                    worker: self.worker.around.number,
                    grant,
                    dialect,
                };
                let room = room.clone();
                let message = ToWorker::FromFar {
                    room: room.clone(),
                    session,
                    event,
                };
                self.worker.send_post(owner, message);
                SeatPlace::Far {
                    worker: owner,
                    room,
                }
            }
        };
        let seat = Seat { session, place };
        if let Some(connection) = self.worker.connections.get_mut(&self.connection) {
            connection.seats.push(seat.clone());
        }
        seat
    }

    /// Tells the seat's room what the session says.
    pub fn say(&mut self, seat: &Seat, message: FromSession) {
        let session = seat.session;
        match &seat.place {
            SeatPlace::Here(key) => {
                self.worker
                    .let_happen(*key, Input::Message { session, message });
            }
            SeatPlace::Far { worker, room } => {
                let (room, event) = (room.clone(), FarEvent::Message(message));
                self.worker.send_post(
                    *worker,
                    ToWorker::FromFar {
                        room,
                        session,
                        event,
                    },
                );
            }
        }
    }

    /// The session's token was renewed.
    pub fn renew(&mut self, seat: &Seat, mut grant: Grant) {
        grant.is_stamped &= !self.worker.around.shared.trusts_awareness();
        let session = seat.session;
        match &seat.place {
            SeatPlace::Here(key) => self
                .worker
                .let_happen(*key, Input::Renew { session, grant }),
            SeatPlace::Far { worker, room } => {
                let (room, event) = (room.clone(), FarEvent::Renew(grant));
                self.worker.send_post(
                    *worker,
                    ToWorker::FromFar {
                        room,
                        session,
                        event,
                    },
                );
            }
        }
    }

    /// Gives the seat up; the connection stays.
    pub fn leave(&mut self, seat: &Seat, ending: Ending) {
        if let Some(connection) = self.worker.connections.get_mut(&self.connection) {
            connection.seats.retain(|other| other != seat);
        }
        self.worker.leave(seat.clone(), ending);
    }

    /// Sends a message of the door's own.
    pub fn send(&mut self, message: &[u8]) {
        let now = self.worker.now();
        let mut frame = Vec::with_capacity(message.len() + 10);
        websocket::write_header(&mut frame, Opcode::Binary, message.len());
        frame.extend_from_slice(message);
        let Some(connection) = self.worker.connections.get_mut(&self.connection) else {
            return;
        };
        if connection.state != State::Open {
            return;
        }
        connection.write(now, Bytes::from(frame));
        // The door answers what the client asks: who asks on without reading is too slow.
        if DIRECT_BYTES_MAX < connection.owed_bytes {
            self.close(Refusal::Slow);
        } else if connection.is_full() {
            connection.owed_bytes += message.len();
        }
    }

    /// Ends the connection.
    pub fn close(&mut self, refusal: Refusal) {
        self.worker.close(self.connection, refusal);
    }

    /// The largest message the client may send from now on.
    pub fn limit_messages(&mut self, bytes_max: Option<usize>) {
        let standard = self.worker.around.limits.message_bytes_max;
        if let Some(connection) = self.worker.connections.get_mut(&self.connection) {
            connection.message_bytes_max = bytes_max.unwrap_or(standard).min(standard);
        }
    }

    /// Counts an update or a state that was refused.
    pub fn count_refused(&self, refusal: Refusal) {
        if refusal == Refusal::BadUpdate {
            self.worker.around.metrics.updates_refused.inc();
        }
    }

    /// Counts a document that was refused while its socket stays.
    pub fn count_denied(&self, refusal: Refusal) {
        self.worker.around.metrics.closed(refusal.reason());
    }

    /// Counts a token that was no good.
    pub fn count_auth_failure(&self) {
        self.worker.around.metrics.auth_failures.inc();
    }

    /// Has a token checked that needs the key set to be read again; the door hears of it by its
    /// `verified`.
    pub fn verify_later(&self, key: String, token: String) {
        let (verifier, clock) = (self.verifier().clone(), self.worker.around.clock);
        let (inbox, id) = (self.inbox(), self.connection);
        tokio::task::spawn_local(async move {
            let outcome = verifier.verify_fresh(clock.now(), &token).await;
            let tell = move |worker: &mut Worker| {
                worker.with_door(id, |door, turn| door.verified(turn, &key, outcome));
            };
            // A worker that is gone has no doors.
            let _ = inbox.send(ToWorker::Call(Box::new(tell))).await;
        });
    }
}

/// A worker's inbox: bounded; HTTP waits for room in it, other workers keep what it has no room for.
pub fn inbox() -> (mpsc::Sender<ToWorker>, mpsc::Receiver<ToWorker>) {
    mpsc::channel(WORKER_INBOX_MAX)
}
