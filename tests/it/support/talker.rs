//! A client of a JSON dialect: texts, and on boards binary messages too, on one socket.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::frames;
use crate::support::raw::{self, Ended, Frame, RawSocket, Shape};
use crate::support::time::{PATIENCE, within};

/// What the relay said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Text(Value),
    Binary(Vec<u8>),
    Ended(Ended),
}

/// A socket at a JSON door.
pub struct Talker {
    socket: RawSocket,
    /// Binary messages, passed over while texts were waited for.
    pub binary: Vec<Vec<u8>>,
}

impl Talker {
    /// Opens a socket; the query gets the token.
    pub async fn open(address: SocketAddr, path: &str, token: &str) -> Self {
        let socket = RawSocket::open(address, &format!("{path}?token={token}")).await;
        Self {
            socket,
            binary: Vec::new(),
        }
    }

    /// The same with a small receive buffer: not reading is soon felt at the other end.
    pub async fn open_narrow(address: SocketAddr, path: &str, token: &str) -> Self {
        let socket = RawSocket::open_narrow(address, &format!("{path}?token={token}")).await;
        Self {
            socket,
            binary: Vec::new(),
        }
    }

    pub async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        // Whether the relay still takes it shows in what it says next.
        self.socket
            .send(&Shape::of(raw::TEXT).write(text.as_bytes()))
            .await;
    }

    pub async fn say_binary(&mut self, message: &[u8]) {
        self.socket.say(message).await;
    }

    /// Whatever comes next; pings are answered on the way, as every client does.
    pub async fn next(&mut self) -> Said {
        let next = async {
            loop {
                let Some(frame) = self.socket.next().await else {
                    return Said::Ended(Ended::Cut);
                };
                let Frame { opcode, payload } = &frame;
                match *opcode {
                    raw::TEXT => {
                        let text = std::str::from_utf8(payload).expect("a text is UTF-8");
                        return Said::Text(serde_json::from_str(text).expect("a text is JSON"));
                    }
                    raw::BINARY => return Said::Binary(payload.clone()),
                    raw::PING => {
                        self.socket.send(&Shape::of(raw::PONG).write(payload)).await;
                    }
                    raw::CLOSE => {
                        let code = u16::from_be_bytes([payload[0], payload[1]]);
                        let reason = String::from_utf8_lossy(&payload[2..]).into_owned();
                        return Said::Ended(Ended::Closed(code, reason));
                    }
                    _ => {}
                }
            }
        };
        within(PATIENCE, "the relay to say something", next).await
    }

    /// The next text; binary messages are put aside. Fails when the socket ends.
    pub async fn hear(&mut self) -> Value {
        loop {
            match self.next().await {
                Said::Text(text) => return text,
                Said::Binary(message) => self.binary.push(message),
                Said::Ended(ended) => panic!("the socket ended: {ended:?}"),
            }
        }
    }

    /// Everything that is said before the socket ends, and how it ends.
    pub async fn last_words(&mut self) -> (Vec<Value>, Ended) {
        let mut texts = Vec::new();
        loop {
            match self.next().await {
                Said::Text(text) => texts.push(text),
                Said::Binary(message) => self.binary.push(message),
                Said::Ended(ended) => return (texts, ended),
            }
        }
    }

    /// Hears texts until one fits; what came before is dropped.
    pub async fn hear_that(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(PATIENCE, what, async {
            loop {
                let text = self.hear().await;
                if fits(&text) {
                    return text;
                }
            }
        })
        .await
    }

    /// The next sync or awareness message; texts before it fail the test.
    pub async fn hear_binary(&mut self) -> Vec<u8> {
        match self.binary.is_empty() {
            false => self.binary.remove(0),
            true => match self.next().await {
                Said::Binary(message) => message,
                other => panic!("{other:?} instead of a binary message"),
            },
        }
    }

    /// Waits for the answer to a step 1 and returns the document's update; other messages, texts
    /// too, are dropped.
    pub async fn document(&mut self) -> Vec<u8> {
        loop {
            let message = match self.binary.is_empty() {
                false => self.binary.remove(0),
                true => match self.next().await {
                    Said::Binary(message) => message,
                    Said::Text(_) => continue,
                    Said::Ended(ended) => panic!("the socket ended: {ended:?}"),
                },
            };
            if let Some(frames::Message::Update {
                is_answer: true,
                update,
            }) = frames::read(&message)
            {
                return update.to_vec();
            }
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        self.socket
            .send(&Shape::of(raw::CLOSE).write(&1000_u16.to_be_bytes()))
            .await;
        while !matches!(self.next().await, Said::Ended(_)) {}
    }

    /// The connection is reset: no word.
    pub fn vanish(self) {
        self.socket.reset();
    }
}
