//! What the members of one room lack, at the end of a turn.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::{SystemClock, Timestamp};
use crate::limits::{BACKLOG_BYTES_MAX, TURN_MAX};
use crate::metrics::Metrics;
use crate::model::{ConnectionId, SessionId};
use crate::relay::connection::{Connection, State};
use crate::relay::connections::Connections;
use crate::relay::fanout::{self, Frames, Recent, Told, Turnful};
use crate::relay::rooms::{Link, Member, OpenRoom};
use crate::wire::websocket;

/// Where the frames of a room's members on this worker go.
pub struct Outlet<'a> {
    pub(super) connections: &'a mut Connections,
    pub(super) metrics: &'a Metrics,
    pub(super) now: Timestamp,
    /// Whether anybody was sent anything.
    pub(super) has_sent: bool,
    /// Looked at now and then: a crowd is not written to in one go.
    pub(super) clock: SystemClock,
    /// When the turn began.
    pub(super) turn_began: Duration,
    pub(super) is_late: bool,
    pub(super) writes: usize,
    /// Those who are written to when others have had their turn.
    pub(super) line: Vec<ConnectionId>,
}

/// Frames for a member on another worker.
pub struct FarSend {
    pub(super) worker: usize,
    pub(super) connection: ConnectionId,
    pub(super) session: SessionId,
    pub(super) chunks: Vec<Bytes>,
}

/// When a connection is written to.
#[derive(Clone, Copy)]
enum Manner {
    Now,
    /// When it stands first in line.
    Later,
}

/// Writes between two looks at the clock: some fifty microseconds.
const WRITES_BETWEEN_LOOKS: usize = 8;

impl Outlet<'_> {
    fn is_full(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_none_or(Connection::is_full)
    }

    fn send(
        &mut self,
        id: ConnectionId,
        messages: u64,
        bytes: usize,
        write: impl FnOnce(&mut Connection, Manner),
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if bytes == 0 {
            return;
        }
        self.has_sent = true;
        self.metrics
            .messages_out
            .of(connection.label)
            .inc_by(messages);
        self.metrics
            .bytes_out
            .of(connection.label)
            .inc_by(bytes as u64);
        if self.writes.is_multiple_of(WRITES_BETWEEN_LOOKS) {
            let lasted = self.clock.elapsed().saturating_sub(self.turn_began);
            self.is_late |= TURN_MAX <= lasted;
        }
        self.writes += 1;
        match self.is_late {
            false => write(connection, Manner::Now),
            true => {
                write(connection, Manner::Later);
                self.line.push(id);
            }
        }
        if connection.state == State::Broken {
            // Handled once the room is not being flushed.
            connection.waker.wake_by_ref();
        }
    }

    fn send_shared(&mut self, id: ConnectionId, frames: &Frames) {
        let (now, bytes) = (self.now, frames.bytes.len());
        self.send(
            id,
            frames.messages,
            bytes,
            |connection, manner| match manner {
                Manner::Now => connection.write_shared(now, &frames.bytes),
                Manner::Later => connection.put_off(now, frames.bytes.clone()),
            },
        );
    }

    fn send_copy(&mut self, id: ConnectionId, frames: &[u8]) {
        let messages = websocket::count_frames(std::iter::once(frames));
        let now = self.now;
        self.send(
            id,
            messages,
            frames.len(),
            |connection, manner| match manner {
                Manner::Now => connection.write_copy(now, frames),
                Manner::Later => connection.put_off(now, Bytes::copy_from_slice(frames)),
            },
        );
    }

    fn send_chunks(&mut self, id: ConnectionId, chunks: Vec<Bytes>) {
        let messages = websocket::count_frames(chunks.iter().map(|chunk| &chunk[..]));
        let (now, bytes) = (self.now, chunks.iter().map(Bytes::len).sum());
        self.send(id, messages, bytes, |connection, manner| {
            for chunk in chunks {
                match manner {
                    Manner::Now => connection.write(now, chunk),
                    Manner::Later => connection.put_off(now, chunk),
                }
            }
        });
    }
}

impl OpenRoom {
    /// Takes in an update for the members.
    pub(super) fn forward(&mut self, recent: Recent) {
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

    /// Sends the members what they lack and can be sent, and notes that they have it. Returns what
    /// is for other workers, and whose position is no longer in the backlog.
    pub(super) fn collect(
        &mut self,
        outlet: &mut Outlet<'_>,
        named: impl Fn(SessionId) -> String,
        scratch: &mut Vec<u8>,
    ) -> (Vec<FarSend>, Vec<SessionId>) {
        let (mut far, mut resyncs) = (Vec::new(), Vec::new());
        let Self {
            room,
            members,
            backlog,
            newest,
            flushed,
            flushed_awareness,
            news,
            flushed_news,
            ..
        } = self;
        let awareness = room.awareness();
        let version = awareness.version();
        let has_news =
            *flushed < *newest || *flushed_awareness < version || *flushed_news < news.newest();
        let entries = awareness.since(*flushed_awareness).collect();
        let updates = backlog
            .after(*flushed)
            .map_or_else(Vec::new, Iterator::collect);
        let heard = news
            .after(*flushed_news)
            .map_or_else(Vec::new, Iterator::collect);
        let mut turnful = Turnful::new(updates, entries, heard);
        let mut touched = std::mem::take(&mut self.touched);
        let mut one = |session: SessionId, member: &mut Member| {
            let full = match member.link {
                Link::Here(id) => outlet.is_full(id),
                Link::Far { is_full, .. } => is_full,
            };
            if full {
                return;
            }
            let Member {
                link,
                user,
                dialect,
                progress,
                direct,
                is_waiting,
                since: _,
            } = member;
            if !dialect.has_document() {
                progress.position = *flushed;
                progress.awareness = Told::Version(*flushed_awareness);
            }
            if !dialect.is_text() {
                progress.news = *flushed_news;
            }
            let kept_up = !progress.is_held
                && !progress.is_resyncing
                && progress.position == *flushed
                && progress.awareness == Told::Version(*flushed_awareness)
                && progress.news == *flushed_news;
            if *is_waiting {
                progress.position = *newest;
            } else if kept_up {
                if let Link::Here(id) = link
                    && has_news
                    && direct.is_empty()
                {
                    // What nearly everybody is sent, nearly always.
                    if turnful.involves(session) {
                        scratch.clear();
                        turnful.for_one(dialect, session, scratch);
                        outlet.send_copy(*id, scratch);
                    } else {
                        outlet.send_shared(*id, turnful.for_all(dialect));
                    }
                } else if has_news {
                    match turnful.involves(session) {
                        true => direct.write(|out| turnful.for_one(dialect, session, out)),
                        false => direct.share(turnful.for_all(dialect).bytes.clone()),
                    }
                }
                progress.position = *newest;
                progress.awareness = Told::Version(version);
                progress.news = news.newest();
            } else {
                let told = progress.news;
                if dialect.is_text() && told < news.newest() {
                    match news.after(told) {
                        Some(items) => direct.write(|out| {
                            fanout::compose_news(dialect, out, Some(session), items);
                        }),
                        None => direct.write(|out| {
                            let connected = room.connected();
                            dialect.write_snapshot(out, &named(session), user, &connected);
                        }),
                    }
                }
                progress.news = news.newest();
                if progress.awareness != Told::Nothing && dialect.has_document() {
                    let told = progress.awareness;
                    direct.write(|out| {
                        fanout::compose_awareness(dialect, out, session, awareness, told);
                    });
                    progress.awareness = Told::Version(version);
                }
                if !progress.is_held && !progress.is_resyncing && progress.position < *newest {
                    match backlog.after(progress.position) {
                        Some(updates) => direct.write(|out| {
                            if dialect.has_document() {
                                fanout::compose_updates(dialect, out, Some(session), updates);
                            }
                        }),
                        None => {
                            progress.is_resyncing = true;
                            resyncs.push(session);
                        }
                    }
                    progress.position = *newest;
                }
            }
            if direct.is_empty() {
                return;
            }
            match link {
                Link::Here(id) => match direct.take_small() {
                    Some(frames) => outlet.send_copy(*id, &frames),
                    None => outlet.send_chunks(*id, direct.take()),
                },
                Link::Far {
                    worker,
                    connection,
                    is_full,
                } => {
                    *is_full = true;
                    far.push(FarSend {
                        worker: *worker,
                        connection: *connection,
                        session,
                        chunks: direct.take(),
                    });
                }
            }
        };
        let (mut everybody_has, mut everybody_knows) = (*newest, news.newest());
        if has_news {
            for (&session, member) in members.iter_mut() {
                one(session, member);
                everybody_has = everybody_has.min(member.progress.position);
                if member.dialect.is_text() && !member.is_waiting {
                    everybody_knows = everybody_knows.min(member.progress.news);
                }
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
        *flushed_news = news.newest();
        if has_news {
            backlog.trim(everybody_has, BACKLOG_BYTES_MAX);
            news.trim(everybody_knows);
        }
        (far, resyncs)
    }
}
