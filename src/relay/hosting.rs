//! A worker's rooms: letting things happen to them, and doing what they ask for.

use bytes::Bytes;

use crate::limits::{DIRECT_BYTES_MAX, INLINE_TASK_MICROS, SCRATCH_BYTES_KEPT, WRITES_KEPT};
use crate::metrics::Metrics;
use crate::model::{LastSeen, RoomName, SessionId};
use crate::presence::Change;
use crate::relay::fanout::{Dialect, Recent, Told};
use crate::relay::flush::FarSend;
use crate::relay::heavy::{Job, Order, RoomOrder};
use crate::relay::inbox::{Delivery, ToWorker};
use crate::relay::outlet::Outlet;
use crate::relay::rooms::{Link, OpenRoom, RoomKey};
use crate::relay::storage::{Committed, Home, Kept, ends, writes_of};
use crate::relay::timeline::{Departure, Happening};
use crate::relay::worker::Worker;
use crate::room::{Counts, Input, Keep, Message, Output, Room, Sequence, Task, Waiting};
use crate::store::Write;
use crate::wire::close::Refusal;

impl Worker {
    /// Lets one thing happen to one room, then does what the room asks for.
    pub(super) fn let_happen(&mut self, key: RoomKey, input: Input) {
        self.finish_typing();
        let now = self.now();
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        self.beats_end_by = match &input {
            Input::Expel { .. } => Departure::Refused(Refusal::Revoked),
            Input::Close => Departure::Refused(Refusal::Draining),
            _ => Departure::Expired,
        };
        open.room.handle(now, input);
        while let Some(open) = self.rooms.get_mut(key) {
            match open.room.poll_output() {
                Some(output) => self.perform(key, output),
                None => {
                    let has_run = open.room.has_run();
                    if !open.is_to_be_reckoned {
                        open.is_to_be_reckoned = true;
                        self.to_reckon.push(key);
                    }
                    if has_run {
                        self.mark_dirty(key);
                    }
                    break;
                }
            }
        }
    }

    /// Once for all that happened to a room in a turn: counts it, and notes when the room's next
    /// deadline is.
    pub(super) fn reckon(&mut self, key: RoomKey) {
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        open.is_to_be_reckoned = false;
        let counts = open.room.take_counts();
        if counts != Counts::default() {
            let metrics = &self.around.metrics;
            metrics.updates_accepted.inc_by(counts.updates);
            metrics.updates_read_only.inc_by(counts.dropped);
            metrics.updates_quarantined.inc_by(counts.quarantined);
        }
        let waiting = open.room.waiting();
        if waiting != open.waiting {
            let before = std::mem::replace(&mut open.waiting, waiting);
            count_waiting(&self.around.metrics, before, waiting);
        }
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

    pub(super) fn perform(&mut self, key: RoomKey, output: Output) {
        match output {
            Output::Load => {
                let remembers = |open: &OpenRoom| {
                    self.around.policies.of(open.name.kind()).memory == LastSeen::Stored
                };
                let remembers = self.rooms.get(key).is_some_and(remembers);
                let people = remembers.then(|| self.around.people.clone());
                self.order(key, Job::Load { people });
            }
            Output::Work(task) => self.work(key, task),
            Output::Sift(sift) => self.order(key, Job::Sift(sift)),
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
            Output::StateDropped {
                session,
                limit,
                bytes,
            } => self.state_dropped(key, session, limit, bytes),
            Output::AskSockets { sessions } => self.ask_sockets(key, &sessions),
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
            Output::Presence { change, by } => {
                self.tell_watchers(key, &change);
                self.tell_members(key, *change, by);
            }
            Output::Admitted { session } => self.admitted(key, session),
            Output::Expired { session } => {
                self.beat_ended(key, session, Happening::Left(self.beats_end_by));
            }
            Output::Attendance { user, is_here } => self.whereabouts.note(user, key, is_here),
            Output::Record(record) => self.record(key, *record),
            Output::Seen(person) => self.remember_seen(key, *person),
            Output::Answer { request, reply } => {
                if let Some(asker) = self.requests.remove(&request) {
                    // Whoever asked may have given up.
                    let _ = asker.send(reply);
                }
            }
            Output::Unload => self.unloads.push(key),
        }
    }

    pub(super) fn open_room(&mut self, name: &RoomName) -> RoomKey {
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

    pub(super) fn work(&mut self, key: RoomKey, task: Box<Task>) {
        // Many rooms may have something to do at once: what this turn has no time for is done elsewhere.
        if task.cost_micros() <= INLINE_TASK_MICROS && !self.has_lasted(self.began) {
            self.agenda
                .push_back((key, Input::Reported(Box::new(task.run()))));
        } else {
            self.order(key, Job::Work(task));
        }
    }

    pub(super) fn order(&mut self, key: RoomKey, job: Job) {
        let is_load = matches!(job, Job::Load { .. });
        if is_load {
            // The store is asked after everything it has been given.
            self.write_now();
        }
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let reply_to = self.around.inboxes[self.around.number].clone();
        // A room that begins has all it needs on disk, or it would not have been unloaded: it need
        // not wait for a store that only reads. One that begins again needs what it kept since.
        let after = match open.has_kept {
            true => self.around.storage.ticket(),
            false => 0,
        };
        let order = Order::Room(RoomOrder {
            room: open.name.clone(),
            life: open.life,
            job,
            after,
            reply_to,
        });
        match is_load {
            true => self.around.loaders.order(order),
            false => self.around.heavy.order(order),
        }
    }

    pub(super) fn keep(&mut self, key: RoomKey, keep: Keep) {
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        open.has_kept = true;
        let write = match keep {
            Keep::Append { sequence, update } => Write::Append { sequence, update },
            Keep::Snapshot { through, update } => Write::Snapshot { through, update },
            Keep::Withdraw { sequence } => {
                tracing::info!(room = %open.name, sequence, "an update came too late to the store");
                Write::Quarantine { sequence }
            }
            Keep::Quarantine { sequence } => {
                tracing::error!(room = %open.name, sequence, "an update broke its document");
                Write::Quarantine { sequence }
            }
        };
        self.writes.push(Kept {
            room: open.name.clone(),
            home: Home {
                worker: self.around.number,
                key,
                life: open.life,
            },
            write,
        });
        self.wakers.flush.notify_one();
    }

    /// Hands over what this turn keeps.
    pub(super) fn write_now(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        if !self.around.store.is_immediate() {
            self.uncommitted += self.writes.len();
            self.kept_in.push_back((self.writes.len(), self.began));
            self.around.storage.keep(&mut self.writes);
            return;
        }
        let writes = std::mem::take(&mut self.writes);
        let id = self.around.batches.next_id();
        match self.around.store.commit(Some(id), &writes_of(&writes)) {
            Ok(()) => {
                for (home, through) in ends(&writes) {
                    self.stored(home, through);
                }
            }
            Err(error) => self.around.storage.suspect(&error),
        }
        self.writes = writes;
        self.writes.clear();
        self.writes.shrink_to(WRITES_KEPT);
    }

    /// Whether the store is so far behind that no more edits are taken.
    pub(super) fn has_too_much_unsaved(&self) -> bool {
        self.around.limits.unsaved_bytes_max < self.around.storage.unsaved_bytes()
    }

    /// What was handed over is on disk.
    pub(super) fn committed(&mut self, committed: Committed) {
        self.uncommitted = self.uncommitted.saturating_sub(committed.writes);
        self.time_acknowledgements(committed.writes);
        for (home, through) in committed.updates {
            self.stored(home, through);
        }
    }

    /// So many writes are on disk, in the order in which they were kept: each turn's are timed when the
    /// last of them is.
    fn time_acknowledgements(&mut self, mut writes: usize) {
        while let Some((left, began)) = self.kept_in.front_mut() {
            if writes < *left {
                *left -= writes;
                return;
            }
            writes -= *left;
            let took = self.began.saturating_sub(*began);
            self.around
                .metrics
                .acknowledgement
                .observe(took.as_secs_f64());
            self.kept_in.pop_front();
        }
        self.kept_in.shrink_to(WRITES_KEPT);
    }

    pub(super) fn stored(&mut self, home: Home, through: Sequence) {
        let is_it = |open: &OpenRoom| open.life == home.life;
        if self.rooms.get(home.key).is_some_and(is_it) {
            self.agenda.push_back((home.key, Input::Stored { through }));
        }
    }

    pub(super) fn mark_dirty(&mut self, key: RoomKey) {
        if let Some(open) = self.rooms.get_mut(key)
            && open.dirty_since.is_none()
        {
            open.dirty_since = Some(self.began);
            self.dirty.push_back(key);
            self.wakers.flush.notify_one();
        }
    }

    /// Something waits for one member.
    pub(super) fn touch(&mut self, key: RoomKey, session: SessionId) {
        self.mark_dirty(key);
        if let Some(open) = self.rooms.get_mut(key) {
            open.touched.push(session);
        }
    }

    pub(super) fn tell(&mut self, key: RoomKey, session: SessionId, message: &Message) {
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
            Message::Listen => {
                member.progress.is_held = false;
                self.touch(key, session);
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
            Message::Status { .. }
            | Message::Access(_)
            | Message::Ask { .. }
            | Message::Nudge { .. }
            | Message::QueryAwareness
            | Message::Queued(_) => {}
        }
        let before = member.direct.bytes();
        let dialect = &member.dialect;
        member.direct.push(dialect, message);
        let added = member.direct.bytes() - before;
        self.owe(key, session, before, added);
        self.touch(key, session);
    }

    pub(super) fn tell_stateless(&mut self, key: RoomKey, from: SessionId, text: &Bytes) {
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        let mut told = Vec::new();
        for (&session, member) in open.members.iter_mut() {
            let is_heard = matches!(member.dialect, Dialect::Hocuspocus { .. });
            if session != from && is_heard && !member.is_closed {
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
    pub(super) fn owe(&mut self, key: RoomKey, session: SessionId, before: usize, added: usize) {
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

    /// Who came or went is told in text to those whose dialect has it.
    fn tell_members(&mut self, key: RoomKey, change: Change, by: Option<SessionId>) {
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        if 0 < open.text_members {
            open.news.push(change, by);
            self.mark_dirty(key);
        }
    }

    /// A member is let in: first of all it is told how things are.
    fn admitted(&mut self, key: RoomKey, session: SessionId) {
        self.note_session(key, session, Happening::Came);
        let shared = self.around.shared.clone();
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        let Some(member) = open.members.get_mut(&session) else {
            return;
        };
        member.is_waiting = false;
        if std::mem::take(&mut member.is_closed) {
            // It goes on where it was, if that can be told.
            let progress = &mut member.progress;
            if !progress.is_held && !open.backlog.reaches(progress.position, open.newest) {
                progress.is_resyncing = true;
                self.agenda.push_back((key, Input::Resync { session }));
            }
            self.reopened
                .push_back((member.link, session, member.closes));
            self.touch(key, session);
            return;
        }
        member.progress.position = open.newest;
        if !member.dialect.is_text() {
            return;
        }
        open.text_members += 1;
        member.progress.news = open.news.newest();
        let connected = open.room.connected();
        let (dialect, user) = (&member.dialect, &member.user);
        let before = member.direct.bytes();
        member.direct.write(|out| {
            dialect.write_snapshot(out, &shared.session_name(session), user, &connected);
        });
        let added = member.direct.bytes() - before;
        self.owe(key, session, before, added);
        self.touch(key, session);
    }

    pub(super) fn tell_watchers(&mut self, key: RoomKey, change: &Change) {
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let participants = self.around.metrics.participants.of(open.name.kind());
        match change {
            Change::Joined(_) => participants.inc(),
            Change::Left(_) => participants.dec(),
            Change::Changed { .. } => 0,
        };
        self.watching.tell(&open.name, change);
    }

    /// What was typed in this turn goes its ways.
    pub(super) fn seal(&mut self, key: RoomKey) {
        if self.rooms.get(key).is_some_and(|open| open.room.has_run()) {
            self.let_happen(key, Input::TurnEnds);
        }
    }

    /// Sends every member what it lacks.
    pub(super) fn flush_room(&mut self, key: RoomKey) {
        let Some(open) = self.rooms.get_mut(key) else {
            return;
        };
        let dirty_since = open.dirty_since.take();
        let mut outlet = Outlet::new(
            &mut self.connections,
            &self.around.metrics,
            self.around.clock,
            self.now,
            self.began,
        );
        let named = |session| self.around.shared.session_name(session);
        let (far, resyncs, unfinished) = open.collect(&mut outlet, named, &mut self.scratch);
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_BYTES_KEPT);
        let (has_sent, line) = outlet.close();
        if has_sent && let Some(since) = dirty_since {
            let took = self.around.clock.elapsed().saturating_sub(since);
            self.around.metrics.delivery.observe(took);
        }
        for id in line {
            self.put_in_line(id);
        }
        for FarSend {
            worker,
            connection,
            session,
            chunks,
        } in far
        {
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
        for session in unfinished {
            self.touch(key, session);
        }
        for session in resyncs {
            self.agenda.push_back((key, Input::Resync { session }));
        }
    }
}

/// A room has so many who wait, after so many before.
pub(super) fn count_waiting(metrics: &Metrics, before: Waiting, after: Waiting) {
    for (gauge, before, after) in [
        (&metrics.people_waiting, before.people, after.people),
        (&metrics.waiting_updates, before.updates, after.updates),
        (&metrics.waiting_bytes, before.bytes, after.bytes),
    ] {
        gauge.inc_by(after as i64 - before as i64);
    }
}
