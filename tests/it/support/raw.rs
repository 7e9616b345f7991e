//! A socket that may do anything: broken frames, no mask, half a message, silence.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::http::host_unless_in;
use crate::support::time::{PATIENCE, within};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame as it stands on the wire.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// How the relay ended a socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    Closed(u16, String),
    /// FIN or RST without a close frame.
    Cut,
}

/// The outside of a frame, to be got wrong at will.
#[derive(Clone)]
pub struct Shape {
    pub is_last: bool,
    pub reserved: u8,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    /// Written instead of the payload's length.
    pub claimed_length: Option<u64>,
    /// Writes lengths in 64 bits even if fewer do.
    pub is_wasteful: bool,
}

impl Shape {
    pub fn of(opcode: u8) -> Self {
        Self {
            is_last: true,
            reserved: 0,
            opcode,
            mask: Some([0x1b, 0xad, 0xf0, 0x0d]),
            claimed_length: None,
            is_wasteful: false,
        }
    }

    pub fn write(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![u8::from(self.is_last) << 7 | self.reserved << 4 | self.opcode];
        let mask_bit = u8::from(self.mask.is_some()) << 7;
        let length = self.claimed_length.unwrap_or(payload.len() as u64);
        if length < 126 && !self.is_wasteful {
            frame.push(mask_bit | length as u8);
        } else if length < 1 << 16 && !self.is_wasteful {
            frame.push(mask_bit | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        } else {
            frame.push(mask_bit | 127);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        let mask = self.mask.unwrap_or_default();
        if self.mask.is_some() {
            frame.extend_from_slice(&mask);
        }
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }
}

/// A binary message as a browser sends it.
pub fn binary(payload: &[u8]) -> Vec<u8> {
    Shape::of(BINARY).write(payload)
}

/// A TCP connection, upgraded.
pub struct RawSocket {
    tcp: TcpStream,
    unread: Vec<u8>,
    fences: u64,
    /// Bytes of the frames that `next` gave.
    pub received_bytes: u64,
}

impl RawSocket {
    /// Upgrades at a path with query; panics if the relay refuses.
    pub async fn open(address: SocketAddr, path: &str) -> Self {
        Self::try_open(address, path, "")
            .await
            .unwrap_or_else(|status| {
                panic!("{path} was not upgraded: status {status}");
            })
    }

    /// With further header lines, each ending in CRLF; the status if it was not upgraded.
    pub async fn try_open(address: SocketAddr, path: &str, headers: &str) -> Result<Self, u16> {
        let tcp = TcpStream::connect(address).await.map_err(|_| 0_u16)?;
        Self::upgrade(tcp, address, path, headers).await
    }

    /// With a small receive buffer, so that not reading is felt at the other end soon.
    pub async fn open_narrow(address: SocketAddr, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = socket.connect(address).await.unwrap();
        Self::upgrade(tcp, address, path, "")
            .await
            .expect("the relay refused the upgrade")
    }

    async fn upgrade(
        mut tcp: TcpStream,
        address: SocketAddr,
        path: &str,
        headers: &str,
    ) -> Result<Self, u16> {
        tcp.set_nodelay(true).unwrap();
        let host = host_unless_in(headers, address);
        let request = format!(
            "GET {path} HTTP/1.1\r\n{host}Connection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        tcp.write_all(request.as_bytes()).await.map_err(|_| 0_u16)?;
        let mut unread = Vec::new();
        let end = loop {
            if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let count = within(
                PATIENCE,
                "an answer to the upgrade",
                tcp.read_buf(&mut unread),
            );
            if count.await.unwrap_or(0) == 0 {
                return Err(0);
            }
        };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        if status != 101 {
            return Err(status);
        }
        // The answer to the sample key of RFC 6455.
        assert!(
            head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "a wrong accept key:\n{head}"
        );
        unread.drain(..end);
        Ok(Self {
            tcp,
            unread,
            fences: 0,
            received_bytes: 0,
        })
    }

    /// Sends bytes; false when the relay no longer takes them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.tcp.write_all(bytes).await.is_ok()
    }

    /// Sends a well-formed binary message.
    pub async fn say(&mut self, message: &[u8]) -> bool {
        self.send(&binary(message)).await
    }

    /// The next frame; `None` at FIN or RST.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                self.received_bytes += length as u64;
                return Some(frame);
            }
            match self.tcp.read_buf(&mut self.unread).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads and drops frames until the relay ends the socket.
    pub async fn ended(&mut self) -> Ended {
        self.ended_after(Duration::ZERO).await
    }

    /// The same where the relay is to wait so long before.
    pub async fn ended_after(&mut self, wait: Duration) -> Ended {
        within(wait + PATIENCE, "the relay to end the socket", async {
            while let Some(frame) = self.next().await {
                if frame.opcode == CLOSE {
                    return ended_by(&frame);
                }
            }
            Ended::Cut
        })
        .await
    }

    /// The next binary message; `Err` when the socket ended.
    pub async fn heard(&mut self) -> Result<Vec<u8>, Ended> {
        let next = async {
            loop {
                match self.next().await {
                    None => return Err(Ended::Cut),
                    Some(frame) if frame.opcode == CLOSE => return Err(ended_by(&frame)),
                    Some(frame) if frame.opcode == BINARY => return Ok(frame.payload),
                    Some(_) => {}
                }
            }
        };
        within(PATIENCE, "a message", next).await
    }

    /// Reads messages until one fits; `Err` when the socket ended.
    pub async fn heard_that(&mut self, fits: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Ended> {
        let search = async {
            loop {
                let message = self.heard().await?;
                if fits(&message) {
                    return Ok(message);
                }
            }
        };
        within(PATIENCE, "a certain message", search).await
    }

    /// Returns when everything sent so far has been dealt with: pings are answered in order.
    /// Messages that come before the answer are dropped. `Err` when the socket ended.
    pub async fn fence(&mut self) -> Result<(), Ended> {
        self.fences += 1;
        let payload = self.fences.to_be_bytes();
        // Whether the relay still takes it shows in what it answers.
        self.send(&Shape::of(PING).write(&payload)).await;
        let pong = async {
            loop {
                match self.next().await {
                    None => return Err(Ended::Cut),
                    Some(frame) if frame.opcode == CLOSE => return Err(ended_by(&frame)),
                    Some(frame) if frame.opcode == PONG && frame.payload == payload => {
                        return Ok(());
                    }
                    Some(_) => {}
                }
            }
        };
        within(PATIENCE, "an answer to a ping", pong).await
    }

    /// Whether the relay leaves the socket open for that long.
    pub async fn lasts(&mut self, time: Duration) -> bool {
        self.ended_within(time).await.is_none()
    }

    /// How the relay ends the socket, if it does within that time.
    pub async fn ended_within(&mut self, time: Duration) -> Option<Ended> {
        let ended = async {
            while let Some(frame) = self.next().await {
                if frame.opcode == CLOSE {
                    return ended_by(&frame);
                }
            }
            Ended::Cut
        };
        tokio::time::timeout(time, ended).await.ok()
    }

    /// The connection is reset.
    pub fn reset(self) {
        self.tcp.set_zero_linger().unwrap();
    }
}

fn ended_by(close: &Frame) -> Ended {
    match close.payload.split_at_checked(2) {
        Some((code, reason)) => Ended::Closed(
            u16::from_be_bytes([code[0], code[1]]),
            String::from_utf8(reason.to_vec()).expect("a reason is UTF-8"),
        ),
        None => Ended::Closed(1005, String::new()),
    }
}

/// A server's frame: never masked, never fragmented by ours.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&[first, second], mut rest) = bytes.split_first_chunk::<2>()?;
    assert_eq!(
        first & 0xf0,
        0x80,
        "the relay sent a fragment, or reserved bits"
    );
    assert_eq!(second & 0x80, 0, "the relay sent a masked frame");
    let length = match second & 0x7f {
        126 => {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            rest = tail;
            u64::from(u16::from_be_bytes(*length))
        }
        127 => {
            let (length, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            u64::from_be_bytes(*length)
        }
        short => u64::from(short),
    } as usize;
    let payload = rest.get(..length)?.to_vec();
    let consumed = bytes.len() - rest.len() + length;
    Some((
        Frame {
            opcode: first & 0x0f,
            payload,
        },
        consumed,
    ))
}
