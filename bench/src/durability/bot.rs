//! A client of the Hocuspocus protocol, no more than what is needed to type and to be told that it
//! is saved: no document, no awareness, one socket, one room.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use copresence::wire::hocuspocus::{ClientMessage, write_address};
use copresence::wire::lib0::Reader;
use copresence::wire::websocket::{Opcode, write_masked};
use copresence::wire::yjs::SyncMessage;

/// Clients must mask; how does not matter to anybody here.
const MASK: [u8; 4] = [1, 2, 3, 4];
const UPGRADE: &str = "GET /collab HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
const NO_UPDATE: &[u8] = &[0, 0];
const ANSWER_BYTES_MAX: usize = 4 << 10;
const READ_BYTES: usize = 4 << 10;

/// A connected client.
pub struct Bot {
    stream: TcpStream,
    room: String,
    received: Vec<u8>,
    /// How much of `received` has been handled.
    handled: usize,
    frame: Vec<u8>,
    body: Vec<u8>,
    /// Statuses to come that are not for an update.
    statuses_owed: usize,
}

/// What of a frame matters here.
enum Told {
    /// The document, or what was missing of it.
    Document(Vec<u8>),
    /// What does the client have that the server lacks?
    Question,
    Saved(bool),
    Other,
}

impl Bot {
    /// Connects, opens the room, and returns with the document as the server has it.
    pub async fn join(address: SocketAddr, room: &str) -> Result<(Self, Vec<u8>)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut bot = Self {
            stream,
            room: room.to_owned(),
            received: Vec::new(),
            handled: 0,
            frame: Vec::new(),
            body: Vec::new(),
            statuses_owed: 0,
        };
        bot.upgrade().await?;
        bot.send(ClientMessage::Auth {
            token: "",
            version: None,
        })
        .await?;
        bot.send(ClientMessage::Sync(SyncMessage::Step1(&[0])))
            .await?;
        loop {
            if let Told::Document(update) = bot.next().await? {
                return Ok((bot, update));
            }
        }
    }

    /// Sends an update and waits until the server says that it is saved.
    pub async fn save(&mut self, update: &[u8]) -> Result<()> {
        self.send(ClientMessage::Sync(SyncMessage::Update(update)))
            .await?;
        loop {
            if let Told::Saved(is_saved) = self.next().await? {
                ensure!(is_saved, "an update was not taken");
                return Ok(());
            }
        }
    }

    async fn upgrade(&mut self) -> Result<()> {
        self.stream.write_all(UPGRADE.as_bytes()).await?;
        loop {
            let end = self
                .received
                .windows(4)
                .position(|part| part == b"\r\n\r\n");
            if let Some(end) = end {
                let is_open = self.received.starts_with(b"HTTP/1.1 101");
                ensure!(is_open, "the server did not open a WebSocket");
                self.handled = end + 4;
                return Ok(());
            }
            ensure!(
                self.received.len() < ANSWER_BYTES_MAX,
                "no end of an answer"
            );
            self.read().await?;
        }
    }

    async fn send(&mut self, message: ClientMessage<'_>) -> Result<()> {
        self.body.clear();
        write_address(&mut self.body, &self.room);
        message.write_body(&mut self.body);
        self.frame.clear();
        write_masked(&mut self.frame, Opcode::Binary, true, MASK, &self.body);
        Ok(self.stream.write_all(&self.frame).await?)
    }

    async fn next(&mut self) -> Result<Told> {
        loop {
            if let Some((opcode, start, end)) = frame(&self.received[self.handled..])? {
                let (start, end) = (self.handled + start, self.handled + end);
                self.handled = end;
                let payload = &self.received[start..end];
                match opcode {
                    2 => match told(payload)? {
                        Told::Question => {
                            // A server may let edits wait for the answer.
                            let nothing = SyncMessage::Step2(NO_UPDATE);
                            self.send(ClientMessage::Sync(nothing)).await?;
                            self.statuses_owed += 1;
                        }
                        Told::Saved(_) if 0 < self.statuses_owed => self.statuses_owed -= 1,
                        told => return Ok(told),
                    },
                    8 => bail!("the server closed: {}", String::from_utf8_lossy(payload)),
                    9 => {
                        self.frame.clear();
                        write_masked(&mut self.frame, Opcode::Pong, true, MASK, payload);
                        self.stream.write_all(&self.frame).await?;
                    }
                    _ => {}
                }
            } else {
                self.read().await?;
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        self.received.drain(..self.handled);
        self.handled = 0;
        self.received.reserve(READ_BYTES);
        let count = self.stream.read_buf(&mut self.received).await?;
        ensure!(0 < count, "the server is gone");
        Ok(())
    }
}

/// The opcode of the first frame, and where its payload is; `None` when it is not all there.
fn frame(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>> {
    let Some(&[first, length]) = bytes.first_chunk() else {
        return Ok(None);
    };
    ensure!(first & 0x80 != 0, "a frame in parts");
    ensure!(length & 0x80 == 0, "a masked frame from a server");
    let long = &bytes[2..];
    let (start, length) = match length {
        126 => match long.first_chunk() {
            Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match long.first_chunk() {
            Some(length) => (10, usize::try_from(u64::from_be_bytes(*length))?),
            None => return Ok(None),
        },
        length => (2, usize::from(length)),
    };
    let end = start + length;
    Ok((end <= bytes.len()).then_some((first & 0x0f, start, end)))
}

fn told(payload: &[u8]) -> Result<Told> {
    // A ping of the protocol's own has no address.
    if payload.len() < 2 {
        return Ok(Told::Other);
    }
    let mut reader = Reader::new(payload);
    reader.varstring().context("a frame without an address")?;
    Ok(match reader.varuint()? {
        0 => match SyncMessage::decode(&mut reader)? {
            SyncMessage::Step2(update) => Told::Document(update.to_vec()),
            SyncMessage::Step1(_) => Told::Question,
            SyncMessage::Update(_) => Told::Other,
        },
        2 if reader.varuint()? == 1 => bail!("not let in: {}", reader.varstring()?),
        8 => Told::Saved(reader.varuint()? == 1),
        _ => Told::Other,
    })
}
