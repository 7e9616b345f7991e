//! Writing to the sockets of one room's members: at once, or when others have had their turn.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::{SystemClock, Timestamp};
use crate::limits::TURN_MAX;
use crate::metrics::Metrics;
use crate::model::ConnectionId;
use crate::relay::connection::{Connection, State};
use crate::relay::connections::Connections;
use crate::relay::fanout::Frames;
use crate::wire::websocket;

/// Where the frames of a room's members on this worker go.
pub struct Outlet<'a> {
    connections: &'a mut Connections,
    metrics: &'a Metrics,
    now: Timestamp,
    /// Looked at now and then: a crowd is not written to in one go.
    clock: SystemClock,
    turn_began: Duration,
    is_late: bool,
    writes: usize,
    line: Vec<ConnectionId>,
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

impl<'a> Outlet<'a> {
    /// For a turn that began then.
    pub(super) fn new(
        connections: &'a mut Connections,
        metrics: &'a Metrics,
        clock: SystemClock,
        now: Timestamp,
        turn_began: Duration,
    ) -> Self {
        Self {
            connections,
            metrics,
            now,
            clock,
            turn_began,
            is_late: false,
            writes: 0,
            line: Vec::new(),
        }
    }

    /// Whether anybody was sent anything, and those who are written to when others have had their turn.
    pub(super) fn close(self) -> (bool, Vec<ConnectionId>) {
        (0 < self.writes, self.line)
    }

    pub(super) fn is_full(&self, id: ConnectionId) -> bool {
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

    pub(super) fn send_shared(&mut self, id: ConnectionId, frames: &Frames) {
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

    pub(super) fn send_copy(&mut self, id: ConnectionId, frames: &[u8]) {
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

    pub(super) fn send_chunks(&mut self, id: ConnectionId, chunks: Vec<Bytes>) {
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
