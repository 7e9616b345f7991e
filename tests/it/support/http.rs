//! The HTTP API as a program uses it: one request per connection, and event streams.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::document::Document;
use crate::support::time::{PATIENCE, within};
use crate::support::tokens;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Header lines, names in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in {:?}", String::from_utf8_lossy(&self.body));
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The `code` of a problem; fails if the answer is none.
    pub fn problem(&self) -> (u16, String) {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/problem+json"),
            "no problem but {self:?}"
        );
        (
            self.status,
            self.json()["code"].as_str().expect("a code").to_owned(),
        )
    }
}

/// Asks; `token` goes into the `Authorization` header.
pub async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &[u8],
) -> Answer {
    let kind = match body.first() {
        Some(b'{') => "application/json",
        _ => "application/octet-stream",
    };
    let mut headers = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    if let Some(token) = token {
        headers.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    ask_with(address, method, path, &headers, body).await
}

/// Asks with these header lines, each ending in CRLF.
pub async fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    within(PATIENCE, path, answer(address, method, path, headers, body)).await
}

/// Asks for something that is answered after ten seconds if the store does not.
pub async fn post_patiently(address: SocketAddr, path: &str, token: &str, body: &[u8]) -> Answer {
    let kind = match body.first() {
        Some(b'{') => "application/json",
        _ => "application/octet-stream",
    };
    let length = body.len();
    let headers = format!(
        "Content-Type: {kind}\r\nContent-Length: {length}\r\nAuthorization: Bearer {token}\r\n"
    );
    within(
        2 * PATIENCE,
        path,
        answer(address, "POST", path, &headers, body),
    )
    .await
}

async fn answer(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let (mut tcp, head, mut bytes) = begin(address, method, path, headers, body).await;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    while length.is_none_or(|length| bytes.len() < length) {
        if tcp.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            break;
        }
    }
    if head.contains("transfer-encoding: chunked") {
        let mut whole = Vec::new();
        while let Some(chunk) = take_chunk(&mut bytes) {
            whole.extend_from_slice(&chunk);
        }
        bytes = whole;
    }
    Answer {
        status,
        head,
        body: bytes,
    }
}

pub async fn get(address: SocketAddr, path: &str, token: &str) -> Answer {
    ask(address, "GET", path, Some(token), b"").await
}

/// The answer's JSON; fails if the status is not 200.
pub async fn get_json(address: SocketAddr, path: &str, token: &str) -> Value {
    let answer = get(address, path, token).await;
    assert_eq!(
        answer.status,
        200,
        "{path}: {}",
        String::from_utf8_lossy(&answer.body)
    );
    answer.json()
}

/// A room's document, as a back end reads it.
pub async fn document(address: SocketAddr, room: &str) -> Document {
    let answer = get(
        address,
        &format!("/v1/rooms/{room}/document"),
        &tokens::service(),
    )
    .await;
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    Document::of_update(&answer.body)
}

/// Who is in a room, as a back end reads it.
pub async fn roster(address: SocketAddr, room: &str) -> Vec<Value> {
    let path = format!("/v1/rooms/{room}/presence");
    let answer = get_json(address, &path, &tokens::service()).await;
    assert_eq!(answer["room"], room);
    answer["participants"]
        .as_array()
        .expect("a list of participants")
        .clone()
}

/// The line `Host`, if these lines have none.
pub fn host_unless_in(headers: &str, address: SocketAddr) -> String {
    match headers.contains("Host: ") {
        true => String::new(),
        false => format!("Host: {address}\r\n"),
    }
}

async fn begin(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> (TcpStream, String, Vec<u8>) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let host = host_unless_in(headers, address);
    let request = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    // The relay may answer and close before it has taken a body that it does not want.
    let _ = tcp.write_all(body).await;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let count = tcp.read_buf(&mut bytes).await.unwrap_or(0);
        assert!(0 < count, "{method} {path}: no answer");
    };
    let head: String = String::from_utf8_lossy(&bytes[..end])
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}\n", name.to_ascii_lowercase()),
            None => format!("{line}\n"),
        })
        .collect();
    bytes.drain(..end);
    (tcp, head, bytes)
}

/// Takes the first whole chunk; `None` if there is none yet, or it is the last.
fn take_chunk(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let line = bytes.windows(2).position(|window| window == b"\r\n")?;
    let length = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?, 16).ok()?;
    let end = line + 2 + length + 2;
    if length == 0 || bytes.len() < end {
        return None;
    }
    let chunk = bytes[line + 2..end - 2].to_vec();
    bytes.drain(..end);
    Some(chunk)
}

/// A stream of server-sent events, being read.
pub struct Events {
    tcp: TcpStream,
    bytes: Vec<u8>,
    is_chunked: bool,
    text: String,
}

impl Events {
    /// Opens a stream; the token goes into the query, as `EventSource` must do it.
    pub async fn open(address: SocketAddr, path: &str, token: &str) -> Self {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}token={token}");
        let headers = "Accept: text/event-stream\r\n";
        let answer = begin(address, "GET", &path, headers, b"");
        let (tcp, head, bytes) = within(PATIENCE, "a stream", answer).await;
        assert!(
            head.contains("content-type: text/event-stream"),
            "no stream but {head}"
        );
        let is_chunked = head.contains("transfer-encoding: chunked");
        Self {
            tcp,
            bytes,
            is_chunked,
            text: String::new(),
        }
    }

    /// The next event and its data; `None` when the stream ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        within(PATIENCE, "an event", self.read()).await
    }

    /// What arrives within a time.
    pub async fn next_within(&mut self, time: std::time::Duration) -> Option<(String, Value)> {
        tokio::time::timeout(time, self.read()).await.ok().flatten()
    }

    async fn read(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some(at) = self.text.find("\n\n") {
                let block: String = self.text.drain(..at + 2).collect();
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name))?;
                    Some(line.trim_start().to_owned())
                };
                assert!(field("id:").is_none(), "events have no ids:\n{block}");
                if let (Some(event), Some(data)) = (field("event:"), field("data:")) {
                    return Some((event, serde_json::from_str(&data).expect("data is JSON")));
                }
            }
            let fresh = match self.is_chunked {
                true => take_chunk(&mut self.bytes),
                false if self.bytes.is_empty() => None,
                false => Some(std::mem::take(&mut self.bytes)),
            };
            match fresh {
                Some(fresh) => self
                    .text
                    .push_str(std::str::from_utf8(&fresh).expect("UTF-8")),
                None => {
                    if self.tcp.read_buf(&mut self.bytes).await.unwrap_or(0) == 0 {
                        return None;
                    }
                }
            }
        }
    }
}
