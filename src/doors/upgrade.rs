//! What every door shares until its socket has left for a worker.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headers::authorization::{Authorization, Bearer};
use headers::{HeaderMapExt, SecWebsocketAccept, SecWebsocketKey};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use warp::http::StatusCode;
use warp::http::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::path::Peek;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::auth::{TokenError, origin_allowed};
use crate::doors::Doorstep;
use crate::doors::knocking::HeldPlace;
use crate::limits::{CLOSE_HELD_BYTES_MAX, CLOSE_LINGER};
use crate::model::{Kind, RoomName, Token};
use crate::relay::{Door, Holder, Home, Newcomer, RawSocket, RawStream, Relay};
use crate::wire::close::Refusal;
use crate::wire::url;
use crate::wire::websocket::{self, Decoder, Event};

/// A request to a door, before anything about it has been checked.
pub struct Knock {
    /// The raw path, without its first slash and what the relay is mounted under.
    pub path: Peek,
    /// The raw query, without the question mark.
    pub query: String,
    headers: HeaderMap,
    upgrade: Option<OnUpgrade>,
    /// Who it is, once that is known.
    holder: OnceLock<Holder>,
}

/// What a door decides about a knock.
pub struct Welcome {
    /// The door's side of the connection.
    pub door: Box<dyn Door>,
    /// Where the connection lives.
    pub home: Home,
}

/// Every `GET`, whole; what is no door's is for the caller to reject.
pub fn knock() -> impl Filter<Extract = (Knock,), Error = Rejection> + Clone {
    warp::get()
        .and(warp::path::peek())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|path, query, headers, upgrade| Knock {
            path,
            query,
            headers,
            upgrade,
            holder: OnceLock::new(),
        })
}

impl Knock {
    /// The token of the query or, from clients that are no browsers, of the header.
    pub fn token(&self) -> Option<String> {
        url::query_value(&self.query, "token").or_else(|| {
            let header = self.headers.typed_get::<Authorization<Bearer>>()?;
            Some(header.token().to_owned())
        })
    }

    /// Who asks: by the query's token, or as a guest where those are let in.
    pub async fn verify(&self, relay: &Relay) -> Result<Token, Refusal> {
        let token = verify(relay, self.token().as_deref()).await?;
        self.note(&token);
        Ok(token)
    }

    /// Notes who it is: their place is taken, not a stranger's.
    pub fn note(&self, token: &Token) {
        // Who knocks twice at once is still the same.
        let _ = self.holder.set(Holder::from(token));
    }

    /// Upgrades the request; `welcome` decides whether the socket is let in or closed.
    pub async fn answer<W>(self, relay: Relay, doorstep: Arc<Doorstep>, welcome: W) -> Response
    where
        W: AsyncFnOnce(&Self, &Relay) -> Result<Welcome, Refusal>,
    {
        if !is_upgrade(&self.headers) {
            let mut response = problem(StatusCode::UPGRADE_REQUIRED, "BAD_REQUEST");
            response
                .headers_mut()
                .insert(UPGRADE, HeaderValue::from_static("websocket"));
            return response;
        }
        let text = |name| {
            self.headers
                .get(name)
                .map(|value: &HeaderValue| value.to_str())
        };
        let origin = match text(ORIGIN) {
            Some(Err(_)) => return problem(StatusCode::FORBIDDEN, "FORBIDDEN"),
            Some(Ok(origin)) => Some(origin),
            None => None,
        };
        let host = text(HOST).and_then(Result::ok);
        if !origin_allowed(origin, host, &doorstep.options.allow_origins) {
            return problem(StatusCode::FORBIDDEN, "FORBIDDEN");
        }
        let key = self.headers.typed_get::<SecWebsocketKey>();
        let (Some(key), Some(upgrade)) = (key, self.upgrade.clone()) else {
            return problem(StatusCode::BAD_REQUEST, "BAD_REQUEST");
        };
        if relay.is_draining() {
            // Before the upgrade: clients that never saw a message wait longer to come back.
            return problem(StatusCode::SERVICE_UNAVAILABLE, Refusal::Draining.reason());
        }
        let id = relay.next_connection();
        let decision = welcome(&self, &relay).await.and_then(|welcome| {
            let place = relay.take_place(id, self.holder.get().cloned())?;
            Ok((place, welcome))
        });
        let held_for = decision.as_ref().err().and_then(|&refusal| {
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
                    let user = self.holder.into_inner().map(|holder| holder.user);
                    relay.note_turned_away(self.path.as_str(), user, refusal);
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
}

/// Who bears the token, or a guest where those are let in.
pub async fn verify(relay: &Relay, token: Option<&str>) -> Result<Token, Refusal> {
    let verifier = relay.verifier();
    let verified = match token {
        Some(token) => verifier.verify_fresh(relay.clock().now(), token).await,
        None => verifier.guest().ok_or(TokenError::Unauthorized),
    };
    verified.map_err(|error| {
        relay.metrics().auth_failures.inc();
        Refusal::from(error)
    })
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
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            // Every message is to leave at once; a relay gathers by itself.
            let _ = stream.set_nodelay(true);
            match stream.into_std() {
                Ok(stream) => {
                    let stream = RawStream::Tcp(stream);
                    RawSocket {
                        stream,
                        read_ahead: parts.read_buf,
                    }
                }
                Err(_) => {
                    let stream = RawStream::Other(Box::new(tokio::io::empty()));
                    RawSocket {
                        stream,
                        read_ahead: parts.read_buf,
                    }
                }
            }
        }
        Err(upgraded) => RawSocket {
            stream: RawStream::Other(Box::new(TokioIo::new(upgraded))),
            read_ahead: bytes::Bytes::new(),
        },
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

fn problem(status: StatusCode, code: &str) -> Response {
    let body = format!(
        r#"{{"type":"about:blank","title":"{}","status":{},"code":"{code}"}}"#,
        status.canonical_reason().unwrap_or_default(),
        status.as_u16(),
    );
    let reply = warp::reply::with_status(body, status);
    warp::reply::with_header(reply, "content-type", "application/problem+json").into_response()
}
