//! The floor: one thread that forwards WebSocket frames, unread, to the others of the same path.
//!
//! What it costs is what sockets cost; a relay can only add to that, unless it merges. It unmasks
//! (frames to clients must not be masked), gathers what one wait for events brought, and writes it
//! to each member at once. It checks nothing, bounds nothing and knows no protocol.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 128 << 10;
/// The key is not answered: only our own generator connects here, and it does not look.
const WELCOME: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\n\r\n";

struct Client {
    stream: TcpStream,
    /// Where it is, once it has said so.
    room: Option<usize>,
    /// A request or frame that has not ended yet.
    held: Vec<u8>,
    out: Vec<u8>,
    is_dirty: bool,
    is_gone: bool,
}

#[derive(Default)]
struct Floor {
    clients: Vec<Option<Client>>,
    rooms: Vec<Vec<usize>>,
    by_path: HashMap<String, usize>,
    dirty: Vec<usize>,
}

fn main() -> Result<()> {
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; READ_BYTES];
    let mut floor = Floor::default();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(floor.clients.len());
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, token, both)?;
                    floor.clients.push(Some(Client {
                        stream,
                        room: None,
                        held: Vec::new(),
                        out: Vec::new(),
                        is_dirty: false,
                        is_gone: false,
                    }));
                }
                continue;
            }
            let id = event.token().0;
            if event.is_writable()
                && let Some(Some(client)) = floor.clients.get_mut(id)
            {
                client.flush();
            }
            if event.is_readable() {
                floor.read(id, &mut buffer)?;
            }
        }
        floor.flush();
    }
}

impl Floor {
    fn read(&mut self, id: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let Some(Some(client)) = self.clients.get_mut(id) else {
                return Ok(());
            };
            let count = match client.stream.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => break,
            };
            self.take(id, &mut buffer[..count])?;
            // A short read has emptied the socket: the next bytes wake us again.
            if count < READ_BYTES {
                return Ok(());
            }
        }
        self.remove(id);
        Ok(())
    }

    fn take(&mut self, id: usize, input: &mut [u8]) -> Result<()> {
        let Some(client) = self.clients.get_mut(id).and_then(Option::as_mut) else {
            return Ok(());
        };
        let mut held = std::mem::take(&mut client.held);
        let mut input = match held.is_empty() {
            true => input,
            false => {
                held.extend_from_slice(input);
                &mut held[..]
            }
        };
        let room = match client.room {
            Some(room) => room,
            None => {
                let Some(end) = input.windows(4).position(|part| part == b"\r\n\r\n") else {
                    client.held = input.to_vec();
                    return Ok(());
                };
                let head = String::from_utf8_lossy(&input[..end]).into_owned();
                let path = head.split(' ').nth(1).context("no path")?;
                let next = self.rooms.len();
                let room = *self.by_path.entry(path.to_owned()).or_insert(next);
                if room == next {
                    self.rooms.push(Vec::new());
                }
                client.room = Some(room);
                client.out.extend_from_slice(WELCOME);
                client.flush();
                self.rooms[room].push(id);
                input = &mut input[end + 4..];
                room
            }
        };
        let mut gathered = Vec::new();
        while let Some((start, end)) = frame(input) {
            let (frame, rest) = input.split_at_mut(end);
            forward(frame, start, &mut gathered);
            input = rest;
        }
        let rest = input.to_vec();
        if let Some(Some(client)) = self.clients.get_mut(id) {
            client.held = rest;
        }
        if gathered.is_empty() {
            return Ok(());
        }
        for &other in &self.rooms[room] {
            if other != id
                && let Some(Some(client)) = self.clients.get_mut(other)
            {
                client.out.extend_from_slice(&gathered);
                if !client.is_dirty {
                    client.is_dirty = true;
                    self.dirty.push(other);
                }
            }
        }
        Ok(())
    }

    /// One write for each member that something is for.
    fn flush(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(Some(client)) = self.clients.get_mut(id) else {
                continue;
            };
            client.is_dirty = false;
            client.flush();
            if client.is_gone {
                self.remove(id);
            }
        }
    }

    fn remove(&mut self, id: usize) {
        if let Some(client) = self.clients[id].take()
            && let Some(room) = client.room
        {
            self.rooms[room].retain(|&other| other != id);
        }
    }
}

impl Client {
    fn flush(&mut self) {
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_gone = true;
                    written = self.out.len();
                }
            }
        }
        self.out.drain(..written);
    }
}

/// Where the first frame's mask begins, and where the frame ends, if it is all there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match bytes.get(1)? & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(length).ok()?)
        }
        length => (2, usize::from(length)),
    };
    let end = start + 4 + length;
    (end <= bytes.len()).then_some((start, end))
}

/// Appends a frame as it goes to others.
fn forward(frame: &mut [u8], start: usize, out: &mut Vec<u8>) {
    // Pings, pongs and goodbyes are for this end of the connection.
    if 8 <= frame[0] & 0x0f {
        return;
    }
    frame[1] &= 0x7f;
    out.extend_from_slice(&frame[..start]);
    let (mask, payload) = frame[start..].split_at_mut(4);
    let mask = [mask[0], mask[1], mask[2], mask[3]];
    let mut words = payload.chunks_exact_mut(4);
    for word in words.by_ref() {
        for (byte, mask) in word.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
    out.extend_from_slice(payload);
}
