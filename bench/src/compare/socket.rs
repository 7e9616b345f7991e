//! One WebSocket of the generator, which reads and writes without waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::compare::protocol::write_pong;

const ANSWER_BYTES_MAX: usize = 4 << 10;
/// How long a server may take to open a WebSocket.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// What one socket may bring before it is another's turn.
pub const READ_BYTES: usize = 256 << 10;

const CLOSE: u8 = 8;
const PING: u8 = 9;

/// A WebSocket, open.
pub struct Socket {
    stream: TcpStream,
    /// A frame that has not ended yet.
    held: Vec<u8>,
    /// Frames to be sent.
    pub out: Vec<u8>,
    /// The other side closed or failed.
    pub is_gone: bool,
    pub bytes_read: u64,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Brought {
    /// Nothing more is there.
    All,
    /// There may be more.
    Part,
}

impl Socket {
    /// Connects, and waits until the server has opened the WebSocket.
    pub fn open(address: SocketAddr, path: &str) -> Result<Self> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(OPEN_WITHIN))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )?;
        let mut held = Vec::new();
        let end = loop {
            if let Some(end) = held.windows(4).position(|part| part == b"\r\n\r\n") {
                break end;
            }
            ensure!(held.len() < ANSWER_BYTES_MAX, "no end of an answer");
            let mut part = [0; 1_024];
            let count = stream.read(&mut part).context("no WebSocket in time")?;
            ensure!(0 < count, "a server closed instead of opening a WebSocket");
            held.extend_from_slice(&part[..count]);
        };
        if !held.starts_with(b"HTTP/1.1 101") {
            bail!("no WebSocket: {}", String::from_utf8_lossy(&held[..end]));
        }
        held.drain(..end + 4);
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            held,
            out: Vec::new(),
            is_gone: false,
            bytes_read: 0,
        })
    }

    /// Reports the socket under a token from now on, whenever there is something new.
    pub fn register(&mut self, registry: &Registry, token: Token) -> Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        Ok(registry.register(&mut self.stream, token, both)?)
    }

    /// Reads once, and hands out the messages that are whole.
    pub fn read(&mut self, buffer: &mut [u8], mut hear: impl FnMut(&[u8])) -> Result<Brought> {
        let count = match self.stream.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Brought::All),
            Err(_) => 0,
        };
        if count == 0 {
            self.is_gone = true;
            return Ok(Brought::All);
        }
        self.bytes_read += count as u64;
        let mut held = std::mem::take(&mut self.held);
        let mut rest = match held.is_empty() {
            true => &buffer[..count],
            false => {
                held.extend_from_slice(&buffer[..count]);
                &held[..]
            }
        };
        while let Some((opcode, start, end)) = frame(rest)? {
            let payload = &rest[start..end];
            match opcode {
                CLOSE => self.is_gone = true,
                PING => write_pong(&mut self.out, payload),
                1 | 2 => hear(payload),
                _ => {}
            }
            rest = &rest[end..];
        }
        if held.is_empty() {
            self.held = rest.to_vec();
        } else {
            let handled = held.len() - rest.len();
            held.drain(..handled);
            self.held = held;
        }
        Ok(if count == buffer.len() {
            Brought::Part
        } else {
            Brought::All
        })
    }

    /// Writes what it takes; the rest when it can take more.
    pub fn flush(&mut self) {
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

/// The opcode of the first frame of a server, and where its payload is, if it is all there.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_three_lengths_are_found() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            let opcode = copresence::wire::websocket::Opcode::Binary;
            copresence::wire::websocket::write_header(&mut bytes, opcode, length);
            let start = bytes.len();
            bytes.resize(start + length, 7);
            assert_eq!(frame(&bytes).unwrap(), Some((2, start, start + length)));
            if 0 < length {
                bytes.pop();
                assert_eq!(frame(&bytes).unwrap(), None);
            }
        }
    }
}
