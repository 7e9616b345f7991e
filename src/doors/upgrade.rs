//! What every door shares until its socket has left for a worker.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headers::authorization::{Authorization, Bearer};
use headers::{HeaderMapExt, SecWebsocketAccept, SecWebsocketKey};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, CONNECTION,
    CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{Method, StatusCode};
use warp::path::Peek;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::auth::{FOREIGN_HOST, Flaw, TokenError, host_allowed, origin_allowed};
use crate::doors::knocking::HeldPlace;
use crate::doors::renewal::second_ends;
use crate::doors::{DoorOptions, Doorstep, HttpStream};
use crate::limits::{CLOSE_HELD_BYTES_MAX, CLOSE_LINGER};
use crate::metrics::UpgradeLabel;
use crate::model::{Kind, RoomName, Token};
use crate::relay::{Door, Holder, Home, Newcomer, RawSocket, RawStream, Relay};
use crate::wire::close::Refusal;
use crate::wire::websocket::{self, Decoder, Event};
use crate::wire::{problem, url};

/// A request to a door, before anything about it has been checked.
pub struct Knock {
    /// The raw path, without its first slash and what the relay is mounted under.
    pub path: Peek,
    /// The raw query, without the question mark.
    pub query: String,
    method: Method,
    headers: HeaderMap,
    upgrade: Option<OnUpgrade>,
    /// Who it is, once that is known.
    holder: OnceLock<Holder>,
    /// What is wrong with their token, once that is known.
    flaw: OnceLock<TokenError>,
}

/// What a door decides about a knock.
pub struct Welcome {
    /// The door's side of the connection.
    pub door: Box<dyn Door>,
    /// Where the connection lives.
    pub home: Home,
}

/// Every request, whole; what is no door's is for the caller to reject.
pub fn knock() -> impl Filter<Extract = (Knock,), Error = Infallible> + Clone {
    warp::method()
        .and(warp::path::peek())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|method, path, query, headers, upgrade| Knock {
            path,
            query,
            method,
            headers,
            upgrade,
            holder: OnceLock::new(),
            flaw: OnceLock::new(),
        })
}

impl Knock {
    /// The token of the query or, from clients that are no browsers, of the header. An empty one is
    /// none.
    pub fn token(&self) -> Option<String> {
        let is_one = |token: &String| !token.is_empty();
        url::query_value(&self.query, "token")
            .filter(is_one)
            .or_else(|| {
                let header = self.headers.typed_get::<Authorization<Bearer>>()?;
                Some(header.token().to_owned()).filter(is_one)
            })
    }

    /// Who asks: by the query's token, or as a guest where those are let in.
    pub async fn verify(&self, relay: &Relay) -> Result<Token, Refusal> {
        self.verify_given(relay, self.token().as_deref()).await
    }

    /// The same by a certain token.
    pub async fn verify_given(&self, relay: &Relay, token: Option<&str>) -> Result<Token, Refusal> {
        let token = verify(relay, token).await.map_err(|error| {
            let _ = self.flaw.set(error);
            Refusal::from(error)
        })?;
        // Their place is taken, not a stranger's. Who knocks twice at once is still the same.
        let _ = self.holder.set(Holder::from(&token));
        Ok(token)
    }

    /// Upgrades the request; `welcome` decides whether the socket is let in or closed.
    pub async fn answer<W>(self, relay: Relay, doorstep: Arc<Doorstep>, welcome: W) -> Response
    where
        W: AsyncFnOnce(&Self, &Relay) -> Result<Welcome, Refusal>,
    {
        if self.method == Method::OPTIONS {
            let mut response = StatusCode::NO_CONTENT.into_response();
            response.headers_mut().insert(ALLOW, METHODS);
            return response;
        }
        let (key, upgrade) = match self.upgrade_asked(&relay, &doorstep.options) {
            Ok(asked) => asked,
            Err(unfit) => {
                tracing::debug!(
                    path = self.path.as_str(),
                    reason = unfit.why().name(),
                    "a request at a door became no socket"
                );
                relay.metrics().upgrade_refused(unfit.why());
                let mut response = unfit.into_response();
                self.add_origin(response.headers_mut(), &relay, &doorstep.options);
                return response;
            }
        };
        let id = relay.next_connection();
        let decision = match relay.may_let_in() {
            Ok(()) => welcome(&self, &relay).await.and_then(|welcome| {
                let place = relay.take_place(id, self.holder.get().cloned())?;
                Ok((place, welcome))
            }),
            Err(refusal) => Err(refusal),
        };
        let held_for = decision.as_ref().err().and_then(|&refusal| {
            if refusal == Refusal::TryAgain {
                let clock = relay.clock();
                return Some(clock.until(second_ends(clock.moment())));
            }
            let token = self.token()?;
            let now = relay.clock().now();
            let path = self.path.as_str();
            doorstep.knocking.hold_back(now, &token, path, refusal)
        });
        // Not awaited here: it resolves after the response has left.
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let socket = raw_socket(upgraded);
            match decision {
                Ok((place, Welcome { door, home })) => {
                    let policy = match &home {
                        Home::Room(room) => relay.policies().of(room.kind()),
                        Home::Feed => &relay.policies().feed,
                        Home::Anywhere => relay.policies().of(Kind::Session),
                    };
                    tracing::debug!(
                        connection = %id,
                        door = door.label().name(),
                        path = self.path.as_str(),
                        user = self.holder.get().map(|holder| holder.user.as_str()),
                        "a socket opened"
                    );
                    let newcomer = Newcomer {
                        id,
                        socket,
                        door,
                        place,
                        ping_every: policy.ping_every,
                        dead_after: policy.dead_after,
                        message: None,
                    };
                    relay.adopt(newcomer, &home).await;
                }
                Err(refusal) => {
                    relay.metrics().closed(refusal.reason());
                    let path = self.path.as_str();
                    // What was revoked for this room alone is only known now.
                    let revoked = match refusal {
                        Refusal::Revoked => Some(TokenError::Revoked),
                        Refusal::TryAgain => Some(TokenError::TooEarly),
                        _ => None,
                    };
                    let flaw = self.flaw.into_inner().or(revoked);
                    if let Some(error) = flaw {
                        relay.refuse_token(path, error);
                    }
                    let why = flaw.map(TokenError::reason);
                    let user = self.holder.into_inner().map(|holder| holder.user);
                    relay.note_turned_away(path, user, refusal, why);
                    let _counted = relay.turn_away();
                    let Ok(mut stream) = stream_of(socket) else {
                        return;
                    };
                    let refusal = match held_for {
                        None => refusal,
                        Some(time) => {
                            relay.metrics().closes_held.inc();
                            let place = doorstep.knocking.take_place();
                            match hold(&relay, &mut stream, place, time, refusal).await {
                                Some(refusal) => refusal,
                                None => return,
                            }
                        }
                    };
                    turn_away(stream, refusal).await;
                }
            }
        });
        let mut response = Response::new(String::new().into());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.typed_insert(SecWebsocketAccept::from(key));
        // A client that names subprotocols fails unless one of them is chosen.
        let protocols = self
            .headers
            .get("sec-websocket-protocol")
            .and_then(|value| value.to_str().ok().and_then(|list| list.split(',').next()));
        if let Some(first) = protocols.and_then(|first| HeaderValue::from_str(first.trim()).ok()) {
            headers.insert("sec-websocket-protocol", first);
        }
        response
    }

    /// The key and the stream, if a WebSocket is asked for that may be.
    fn upgrade_asked(
        &self,
        relay: &Relay,
        options: &DoorOptions,
    ) -> Result<(SecWebsocketKey, OnUpgrade), Unfit> {
        if self.method != Method::GET {
            return Err(Unfit::Method);
        }
        if !is_upgrade(&self.headers) {
            return Err(Unfit::NoWebSocket);
        }
        if !self.is_host_allowed(relay) {
            return Err(Unfit::Host);
        }
        if !self.is_origin_allowed(relay, options) {
            let origin = self.headers.get(ORIGIN);
            let origin = String::from_utf8_lossy(origin.map_or(b"", HeaderValue::as_bytes));
            let path = format!("/{}", self.path.as_str());
            return Err(Unfit::Origin(relay.refuse_origin(&origin, &path)));
        }
        let key = self.headers.get(SEC_WEBSOCKET_KEY);
        let is_key = key.is_some_and(|key| is_websocket_key(key.as_bytes()));
        let key = self.headers.typed_get::<SecWebsocketKey>();
        let (true, Some(key)) = (is_key, key) else {
            return Err(Unfit::Key);
        };
        let Some(upgrade) = self.upgrade.clone() else {
            return Err(Unfit::NoWebSocket);
        };
        if relay.is_draining() {
            // Before the upgrade: clients that never saw a message wait longer to come back.
            return Err(Unfit::Draining);
        }
        Ok((key, upgrade))
    }

    /// Whether we were called by a name of ours. One that is no text is nobody's.
    fn is_host_allowed(&self, relay: &Relay) -> bool {
        let host = self.headers.get(HOST);
        let host = host.map(|name| name.to_str().unwrap_or_default());
        host_allowed(host, relay.verifier().is_dev())
    }

    fn is_origin_allowed(&self, relay: &Relay, options: &DoorOptions) -> bool {
        let text = |name| self.headers.get(name).map(HeaderValue::to_str);
        let host = text(HOST).and_then(Result::ok);
        let is_dev = relay.verifier().is_dev();
        match text(ORIGIN) {
            Some(Err(_)) => false,
            Some(Ok(origin)) => origin_allowed(Some(origin), host, &options.allow_origins, is_dev),
            None => true,
        }
    }

    /// Tells the browser that this page may read the answer.
    fn add_origin(&self, headers: &mut HeaderMap, relay: &Relay, options: &DoorOptions) {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.headers.get(ORIGIN)
            && self.is_origin_allowed(relay, options)
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("retry-after"),
            );
        }
    }
}

/// What doors take.
const METHODS: HeaderValue = HeaderValue::from_static("GET, OPTIONS");

/// Why a request becomes no socket.
enum Unfit {
    Method,
    NoWebSocket,
    Key,
    Host,
    /// With what is said about it.
    Origin(String),
    Draining,
}

impl Unfit {
    fn why(&self) -> UpgradeLabel {
        match self {
            Self::Method => UpgradeLabel::Method,
            Self::NoWebSocket => UpgradeLabel::NoWebSocket,
            Self::Key => UpgradeLabel::Key,
            Self::Host => UpgradeLabel::Host,
            Self::Origin(_) => UpgradeLabel::Origin,
            Self::Draining => UpgradeLabel::Draining,
        }
    }

    fn into_response(self) -> Response {
        let (status, code, detail, headers) = match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "a socket is opened with GET".into(),
                vec![(ALLOW, METHODS)],
            ),
            Self::NoWebSocket => (
                StatusCode::UPGRADE_REQUIRED,
                "BAD_REQUEST",
                "here is a WebSocket of version 13; the request asks for none".into(),
                vec![
                    (UPGRADE, HeaderValue::from_static("websocket")),
                    (CONNECTION, HeaderValue::from_static("upgrade")),
                    (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
                ],
            ),
            Self::Key => (
                StatusCode::BAD_REQUEST,
                "BAD_REQUEST",
                "`Sec-WebSocket-Key` is 16 bytes in base64".into(),
                Vec::new(),
            ),
            Self::Host => (
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                FOREIGN_HOST.into(),
                Vec::new(),
            ),
            Self::Origin(detail) => (StatusCode::FORBIDDEN, "FORBIDDEN", detail, Vec::new()),
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                Refusal::Draining.reason(),
                "the relay is shutting down; come back to its successor".into(),
                vec![(RETRY_AFTER, HeaderValue::from_static("1"))],
            ),
        };
        let title = status.canonical_reason().unwrap_or_default();
        let body = problem::write(status.as_u16(), title, code, &detail, None);
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        let common = [
            (
                CONTENT_TYPE,
                HeaderValue::from_static(problem::CONTENT_TYPE),
            ),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        response
            .headers_mut()
            .extend(common.into_iter().chain(headers));
        response
    }
}

/// 16 bytes in base64 (RFC 6455, 4.2.1): what is none was not made by a WebSocket client.
fn is_websocket_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match key.split_last_chunk::<2>() {
        Some((digits, b"==")) => digits.len() == 22 && digits.iter().all(is_base64),
        _ => false,
    }
}

/// Who bears the token, or a guest where those are let in.
async fn verify(relay: &Relay, token: Option<&str>) -> Result<Token, TokenError> {
    let verifier = relay.verifier();
    match token {
        Some(token) => verifier.verify_fresh(relay.clock().moment(), token).await,
        None => verifier
            .guest()
            .ok_or(TokenError::Unauthorized(Flaw::Missing)),
    }
}

/// The room named by a raw path behind a door's prefix.
pub fn room_of_path(path: &str) -> Result<RoomName, Refusal> {
    url::room_from_path(path).map_err(|_| Refusal::BadRoom)
}

/// The room of a kind whose name goes on with the one segment that a raw path is.
pub fn room_of_segment(kind: Kind, raw: &str) -> Result<RoomName, Refusal> {
    let segment = url::percent_decode(raw).ok_or(Refusal::BadRoom)?;
    if segment.contains('/') {
        return Err(Refusal::BadRoom);
    }
    RoomName::parse(&format!("{}/{segment}", kind.name())).map_err(|_| Refusal::BadRoom)
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let names = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| {
                value
                    .split(',')
                    .any(|token| token.trim().eq_ignore_ascii_case(wanted))
            })
    };
    names(CONNECTION, "upgrade")
        && names(UPGRADE, "websocket")
        && headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version == "13")
}

/// A TCP stream can leave this runtime for its worker's; anything else is driven from here.
fn raw_socket(upgraded: Upgraded) -> RawSocket {
    match tcp_of(upgraded) {
        Ok((stream, read_ahead)) => {
            // Every message is to leave at once; a relay gathers by itself.
            let _ = stream.set_nodelay(true);
            match stream.into_std() {
                Ok(stream) => {
                    let stream = RawStream::Tcp(stream);
                    RawSocket { stream, read_ahead }
                }
                Err(_) => {
                    let stream = RawStream::Other(Box::new(tokio::io::empty()));
                    RawSocket { stream, read_ahead }
                }
            }
        }
        Err(upgraded) => RawSocket {
            stream: RawStream::Other(Box::new(TokioIo::new(upgraded))),
            read_ahead: bytes::Bytes::new(),
        },
    }
}

/// The connection itself: our own server's, or that of whoever mounted the relay.
fn tcp_of(upgraded: Upgraded) -> Result<(TcpStream, bytes::Bytes), Upgraded> {
    match upgraded.downcast::<TokioIo<HttpStream>>() {
        Ok(parts) => Ok((parts.io.into_inner().into_tcp(), parts.read_buf)),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
            Ok((parts.io.into_inner(), parts.read_buf))
        }
    }
}

/// A stream for this runtime, with what was read of it already.
fn stream_of(socket: RawSocket) -> std::io::Result<Refused> {
    let stream: Box<dyn crate::relay::Stream> = match socket.stream {
        RawStream::Tcp(stream) => {
            stream.set_nonblocking(true)?;
            Box::new(TcpStream::from_std(stream)?)
        }
        RawStream::Other(stream) => stream,
    };
    Ok(Refused {
        stream,
        read_ahead: socket.read_ahead,
    })
}

/// A socket that nobody takes in.
struct Refused {
    stream: Box<dyn crate::relay::Stream>,
    read_ahead: bytes::Bytes,
}

/// Says nothing to a refused client for a while: as long as its socket is open, it does not come again.
/// What it is to be told then; nothing if it goes by itself.
async fn hold(
    relay: &Relay,
    socket: &mut Refused,
    mut place: HeldPlace<'_>,
    time: Duration,
    refusal: Refusal,
) -> Option<Refusal> {
    let drains = async {
        while !relay.is_draining() {
            tokio::time::sleep(DRAINING_CHECKED_EVERY).await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep(time) => Some(refusal),
        () = place.lost() => Some(refusal),
        () = drains => Some(Refusal::Draining),
        () = goes(socket) => None,
    }
}

/// How often a socket that is held is told of the end of all.
const DRAINING_CHECKED_EVERY: Duration = Duration::from_millis(100);

/// Waits until the client ends the socket, by a close frame or without a word. What else it says is
/// nothing to us; of somebody who says much no more is read.
async fn goes(socket: &mut Refused) {
    let mut decoder = Decoder::new(CLOSE_HELD_BYTES_MAX);
    let mut buffer = socket.read_ahead.to_vec();
    let mut left = CLOSE_HELD_BYTES_MAX;
    loop {
        let mut input = &mut buffer[..];
        left = left.saturating_sub(input.len());
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(Event::Close { code })) => {
                    let mut reply = Vec::new();
                    websocket::write_close_reply(&mut reply, code);
                    // Who is gone before it is read does not miss it.
                    let _ = socket.stream.write_all(&reply).await;
                    return;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    left = 0;
                    break;
                }
            }
        }
        if left == 0 {
            std::future::pending::<()>().await;
        }
        buffer.clear();
        buffer.reserve_exact(HELD_READ_BYTES);
        if !matches!(socket.stream.read_buf(&mut buffer).await, Ok(count) if 0 < count) {
            return;
        }
    }
}

/// One read of a socket that is held.
const HELD_READ_BYTES: usize = 1 << 10;

/// Closes an upgraded socket that nobody takes in, and waits a little for its answer: a socket
/// dropped with something unread takes the close frame with it.
async fn turn_away(Refused { mut stream, .. }: Refused, refusal: Refusal) {
    let mut frame = Vec::new();
    websocket::write_close(&mut frame, refusal.code(), refusal.reason());
    let farewell = async {
        stream.write_all(&frame).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
        while 0 < stream.read(&mut ignored).await? {}
        std::io::Result::Ok(())
    };
    // A peer that goes on talking, or is gone, is not waited for.
    let _ = tokio::time::timeout(CLOSE_LINGER, farewell).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        for key in [
            "dGhlIHNhbXBsZSBub25jZQ==",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "+/+/+/+/+/+/+/+/+/+/+w==",
        ] {
            assert!(is_websocket_key(key.as_bytes()), "{key}");
        }
        for none in [
            "",
            "==",
            "x",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZQ=A",
            "dGhlIHNhbXBsZSBub25jZWFhYQ==",
            "dGhlIHNhbXBsZSBub25j*Q==",
        ] {
            assert!(!is_websocket_key(none.as_bytes()), "{none}");
        }
    }
}
