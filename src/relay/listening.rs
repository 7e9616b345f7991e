//! A worker's sockets: moving in, being read, signs of life, moving out and ending.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::limits::{
    FAR_QUEUE_MAX, PONG_BEHIND_BYTES_MAX, READ_PAUSE_BYTES, THROTTLE_PAUSE, UNFINISHED_COUNTED_FROM,
};
use crate::metrics::DoorLabel;
use crate::model::{ConnectionId, SessionId};
use crate::relay::connection::{
    Connection, Door, Ears, Flushed, Handling, Newcomer, Pace, Seat, SeatPlace, State,
};
use crate::relay::feed::FeedHost;
use crate::relay::inbox::{FarEvent, ToWorker};
use crate::relay::pulse::Beat;
use crate::relay::rooms::{OpenRoom, RoomKey};
use crate::relay::socket::RawSocket;
use crate::relay::timeline::{Departure, Happening, Passage, Spot, Way};
use crate::relay::turn::Turn;
use crate::relay::worker::Worker;
use crate::room::FromSession;
use crate::room::Input;
use crate::wire::close::Refusal;
use crate::wire::websocket::{self, Event, Opcode};

impl Worker {
    pub(super) fn poll_connection(
        &mut self,
        id: ConnectionId,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let started = self.begin_turn();
        let outcome = self.listen(id, context);
        self.schedule(id);
        self.settle();
        self.observe_turn(started);
        outcome
    }

    pub(super) fn listen(&mut self, id: ConnectionId, context: &mut Context<'_>) -> Poll<()> {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(());
        };
        if !connection.waker.will_wake(context.waker()) {
            connection.waker = context.waker().clone();
        }
        if connection.has_much() {
            self.put_in_line(id);
        } else if connection.is_full() && connection.flush_again(now) == Flushed::All {
            self.drained(id);
        }
        if !self.read_unread(id) {
            return Poll::Pending;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.read(id, context, &mut buffer);
        self.buffer = buffer;
        outcome
    }

    /// The socket is written to between turns from now on, a piece at a time and in turn with others:
    /// a large document sent to a hundred newcomers must not hold up what others type.
    pub(super) fn put_in_line(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_in_line
        {
            connection.is_in_line = true;
            self.line.push_back(id);
            self.wakers.line.notify_one();
        }
    }

    /// Writes pieces to the first in line, as many as a turn has time for; whether anybody is left in it.
    pub(super) fn write_pieces(&mut self) -> bool {
        let started = self.begin_turn();
        let mut is_left = self.write_piece();
        while is_left && !self.has_lasted(started) {
            is_left = self.write_piece();
        }
        self.settle();
        self.observe_turn(started);
        is_left
    }

    /// Writes a piece to the first in line; whether anybody is left in it.
    pub(super) fn write_piece(&mut self) -> bool {
        let Some(id) = self.line.pop_front() else {
            return false;
        };
        let now = self.now();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_in_line = false;
            match connection.flush_again(now) {
                Flushed::All => self.drained(id),
                Flushed::Part => self.put_in_line(id),
                // Its task is woken when it takes more.
                Flushed::Full if connection.state == State::Broken => {
                    connection.waker.wake_by_ref()
                }
                Flushed::Full => {}
            }
        }
        !self.line.is_empty()
    }

    pub(super) fn read(
        &mut self,
        id: ConnectionId,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<()> {
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
                    let is_paused = self.connections.get(&id).is_some_and(|connection| {
                        connection.is_checking || !connection.unread.is_empty()
                    });
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
    pub(super) fn read_unread(&mut self, id: ConnectionId) -> bool {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return true;
        };
        if connection.is_checking || connection.resume_at.is_some_and(|at| now < at) {
            return false;
        }
        connection.resume_at = None;
        let mut unread = std::mem::take(&mut connection.unread);
        if !unread.is_empty() {
            self.received(id, &mut unread);
        }
        self.connections
            .get(&id)
            .is_none_or(|connection| !connection.is_checking && connection.unread.is_empty())
    }

    /// Something large has been looked through: goes on with it, and with what came behind it.
    pub(super) fn checked(
        &mut self,
        id: ConnectionId,
        key: &str,
        outcome: Result<FromSession, Refusal>,
    ) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.is_checking = false;
        connection.pulse.heard(now);
        connection.waker.wake_by_ref();
        if connection.state == State::Open {
            self.with_door(id, |door, turn| door.checked(turn, key, outcome));
        }
    }

    /// Takes in what a socket said.
    pub(super) fn received(&mut self, id: ConnectionId, input: &mut [u8]) {
        self.listen_to(id, input);
        self.finish_typing();
    }

    fn listen_to(&mut self, id: ConnectionId, mut input: &mut [u8]) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        // Part of a large message is one, too: it may take longer than a peer may be silent.
        connection.pulse.heard(now);
        if connection.place.is_strange()
            && let Err(refusal) = connection.place.hear_stranger(input.len())
        {
            return self.close(id, refusal);
        }
        let Some(mut ears) = connection.ears.take() else {
            return;
        };
        let mut has_ended_one = false;
        loop {
            let is_congested = self.posts.iter().any(|posts| FAR_QUEUE_MAX < posts.len());
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            if connection.state != State::Open {
                break;
            }
            ears.decoder
                .set_message_bytes_max(connection.message_bytes_max);
            if connection.is_checking {
                connection.unread.extend_from_slice(input);
                // It has been copied, and may be large.
                ears.decoder.forget_delivered();
                break;
            }
            let is_too_fast = !connection.bucket.has_one(now);
            let drops = ears.door.drops_excess(true);
            if !input.is_empty() && (is_congested || (is_too_fast && !drops)) {
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
            connection.bucket.take();
            let (is_text, payload) = match event {
                Event::Text(text) => (true, text.as_bytes()),
                Event::Binary(payload) => (false, payload),
                Event::Ping(payload) => {
                    let mut frame = Vec::with_capacity(2 + payload.len());
                    websocket::write_pong(&mut frame, payload);
                    // A flood of pings whose answers nobody reads must not pile up: while much
                    // waits only the last is answered, later (RFC 6455, 5.5.3). Not to answer it
                    // at all would not do: clients take silence for a dead link.
                    let is_late = PONG_BEHIND_BYTES_MAX <= connection.waiting_bytes();
                    if !(is_late && connection.late_pong.is_some()) {
                        let bytes_out = self.around.metrics.bytes_out.of(connection.label);
                        bytes_out.inc_by(frame.len() as u64);
                    }
                    match is_late {
                        true => connection.late_pong = Some(frame.into()),
                        false => connection.write_control(Bytes::from(frame)),
                    }
                    continue;
                }
                Event::Pong(_) => continue,
                Event::Close { code } => {
                    let mut frame = Vec::new();
                    websocket::write_close_reply(&mut frame, code);
                    self.say_goodbye(id, frame);
                    self.depart(id, Departure::Closed);
                    break;
                }
            };
            has_ended_one = true;
            self.around.metrics.messages_in.of(connection.label).inc();
            let rests = is_too_fast && !door.drops_excess(is_text);
            let mut turn = Turn {
                worker: self,
                connection: id,
            };
            if is_too_fast && !rests {
                door.too_fast(&mut turn, payload);
                continue;
            }
            if let Handling::MoveTo(worker) = door.message(&mut turn, is_text, payload) {
                let message = payload.to_vec();
                self.hand_over(id, ears.door, message, input, worker);
                return;
            }
            if rests && let Some(connection) = self.connections.get_mut(&id) {
                connection.unread.extend_from_slice(input);
                connection.resume_at = Some(now + THROTTLE_PAUSE);
                break;
            }
        }
        let unfinished = ears.decoder.unfinished_bytes();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ears = Some(ears);
            if unfinished.is_some() || connection.pace.is_some() {
                self.weigh(id, unfinished, has_ended_one);
            }
        }
    }

    /// Counts what has come of a message that has not ended, and sees that it goes on.
    fn weigh(&mut self, id: ConnectionId, unfinished: Option<usize>, has_ended_one: bool) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if (has_ended_one || unfinished.is_none()) && connection.place.holds() {
            connection.place.hold_nothing();
        }
        let Some(bytes) = unfinished else {
            connection.pace = None;
            return;
        };
        match &mut connection.pace {
            Some(pace) if !has_ended_one => pace.goes_on(now, bytes),
            pace => *pace = Some(Pace::new(now, bytes)),
        }
        if UNFINISHED_COUNTED_FROM <= bytes
            && let Err(refusal) = connection.place.hold(bytes)
        {
            self.close(id, refusal);
        }
    }

    /// A message that has begun has not gone on as it must, unless it is we who do not read.
    fn tire(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(pace) = connection.pace.filter(|pace| pace.until <= now) else {
            return;
        };
        let is_read = !connection.is_checking
            && connection.unread.is_empty()
            && !(READ_PAUSE_BYTES < connection.owed_bytes && connection.is_full());
        if is_read {
            tracing::debug!(connection = %id, "a message stopped arriving");
            return self.close(id, Refusal::Slow);
        }
        connection.pace = Some(pace.later(now));
    }

    /// Sends a connection that has no sessions yet to another worker, with what it said.
    pub(super) fn hand_over(
        &mut self,
        id: ConnectionId,
        door: Box<dyn Door>,
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
            door,
            place: connection.place,
            ping_every,
            dead_after,
            message: Some(message),
        };
        self.send_post(worker, ToWorker::Adopt(Box::new(newcomer)));
    }

    /// The socket takes more again: whoever held something back for it may go on.
    pub(super) fn drained(&mut self, id: ConnectionId) {
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
    pub(super) fn depart(&mut self, id: ConnectionId, departure: Departure) {
        self.finish_typing();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let is_window = connection.label == DoorLabel::Feed;
        if !connection.has_ended {
            connection.has_ended = true;
            let how = departure.label();
            self.around.metrics.ended(how);
            tracing::debug!(
                connection = %id,
                door = connection.label.name(),
                how = how.name(),
                reason = departure.reason(),
                "a socket ended"
            );
        }
        for seat in std::mem::take(&mut connection.seats) {
            self.leave(seat, departure);
        }
        if is_window {
            self.feed_departed(id, departure);
        }
    }

    /// Stops reading a connection while something it said is being looked into, or goes on.
    pub(super) fn pause_reading(&mut self, id: ConnectionId, is_paused: bool) {
        let now = self.now();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_checking = is_paused;
            connection.pulse.heard(now);
            connection.waker.wake_by_ref();
        }
    }

    pub(super) fn leave(&mut self, seat: Seat, departure: Departure) {
        let session = seat.session;
        match seat.place {
            SeatPlace::Here(key) => self.left(key, session, departure),
            SeatPlace::Far { worker, room } => {
                let event = FarEvent::Leave(departure);
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

    pub(super) fn left(&mut self, key: RoomKey, session: SessionId, departure: Departure) {
        let never_was_in = |open: &OpenRoom| {
            let member = open.members.get(&session);
            member.is_some_and(|member| member.is_waiting) && !open.room.has_session(session)
        };
        let what = match departure {
            Departure::Refused(refusal) if self.rooms.get(key).is_some_and(never_was_in) => {
                Happening::TurnedAway(refusal)
            }
            _ => Happening::Left(departure),
        };
        let is_closed = |open: &OpenRoom| {
            let member = open.members.get(&session);
            member.is_some_and(|member| member.is_closed)
        };
        if !self.rooms.get(key).is_some_and(is_closed) {
            self.note_session(key, session, what);
        }
        if let Some(open) = self.rooms.get_mut(key) {
            if let Some(member) = open.members.remove(&session)
                && member.dialect.is_text()
                && !member.is_waiting
            {
                open.text_members -= 1;
            }
            let ending = departure.ending();
            self.let_happen(key, Input::Leave { session, ending });
        }
    }

    pub(super) fn close(&mut self, id: ConnectionId, refusal: Refusal) {
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
        let way = Some(Way::Door(connection.label));
        let is_nowhere = connection.seats.is_empty();
        self.say_goodbye(id, frame);
        let is_window = |host: &FeedHost| host.has_window(id);
        let is_window = self.feed.as_deref().is_some_and(is_window);
        if is_nowhere && !is_window {
            // Neither a room nor the feed will say so.
            self.note(Passage {
                at: now,
                spot: Spot::Nowhere,
                user: None,
                name: None,
                way,
                connection: Some(id),
                what: Happening::TurnedAway(refusal),
                why: None,
            });
        }
        self.depart(id, Departure::Refused(refusal));
        self.schedule(id);
    }

    /// Ends a connection that has given its place to another, unless it has said meanwhile whose it is.
    pub(super) fn close_stranger(&mut self, id: ConnectionId) {
        let connection = self.connections.get(&id);
        if connection.is_some_and(|connection| connection.place.is_strange()) {
            self.close(id, Refusal::LimitConnections);
        }
    }

    /// Ends a connection that its client is done with.
    pub(super) fn finish(&mut self, id: ConnectionId) {
        let mut frame = Vec::new();
        websocket::write_close_reply(&mut frame, Some(1000));
        self.say_goodbye(id, frame);
        self.depart(id, Departure::Closed);
        self.schedule(id);
    }

    /// Sends the last frame of a connection that is open.
    fn say_goodbye(&mut self, id: ConnectionId, frame: Vec<u8>) {
        let now = self.now();
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.state == State::Open
        {
            let bytes_out = self.around.metrics.bytes_out.of(connection.label);
            bytes_out.inc_by(frame.len() as u64);
            connection.close(now, frame);
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let mut connection = self.connections.remove(&id)?;
        while let Some(user) = connection.bearers.pop_first() {
            self.bearers.note(user, id, false);
        }
        self.connection_deadlines.set(id, None);
        self.around.metrics.connections.of(connection.label).dec();
        Some(connection)
    }

    pub(super) fn with_door(
        &mut self,
        id: ConnectionId,
        act: impl FnOnce(&mut dyn Door, &mut Turn<'_>),
    ) {
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
        self.finish_typing();
        self.schedule(id);
    }

    pub(super) fn schedule(&mut self, id: ConnectionId) {
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

    pub(super) fn tick_connection(&mut self, id: ConnectionId, now: Timestamp) {
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
                self.tire(id, now);
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

    /// Whether the connection is sent nothing but what concerns its place in a queue.
    fn is_waiting(&self, id: ConnectionId) -> bool {
        let seats = self
            .connections
            .get(&id)
            .map(|connection| &connection.seats);
        seats.into_iter().flatten().any(|seat| match &seat.place {
            SeatPlace::Here(key) => self
                .rooms
                .get(*key)
                .and_then(|open| open.members.get(&seat.session))
                .is_some_and(|member| member.is_waiting && !member.is_closed),
            // Only doors that nobody waits at have seats elsewhere.
            SeatPlace::Far { .. } => false,
        })
    }

    pub(super) fn beat(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match connection.pulse.beat(now) {
            Beat::Fine => {}
            Beat::Dead => {
                connection.state = State::Broken;
                connection.waker.wake_by_ref();
                self.broken.push(id);
                self.depart(id, Departure::Silent);
            }
            Beat::Ping { with_data } => {
                let mut frame = Vec::new();
                websocket::write_ping(&mut frame, &[]);
                let metrics = &self.around.metrics;
                let bytes_out = metrics.bytes_out.of(connection.label);
                bytes_out.inc_by(frame.len() as u64);
                connection.write_control(Bytes::from(frame));
                if with_data
                    && !self.is_waiting(id)
                    && let Some(connection) = self.connections.get_mut(&id)
                    && !connection.is_full()
                    && let Some(ears) = &connection.ears
                {
                    let message = ears.door.keep_alive();
                    if !message.is_empty() {
                        let mut frame = Vec::new();
                        websocket::write_header(&mut frame, Opcode::Binary, message.len());
                        frame.extend_from_slice(message);
                        let metrics = &self.around.metrics;
                        metrics.messages_out.of(connection.label).inc();
                        let bytes_out = metrics.bytes_out.of(connection.label);
                        bytes_out.inc_by(frame.len() as u64);
                        connection.write(now, Bytes::from(frame));
                    }
                }
            }
        }
    }
}
