//! The API for programs and people.
//!
//! One warp filter answers the paths in `route` and rejects every other, so it can be mounted
//! beside somebody else's routes. A request goes through `gate` (origin, method), `caller`
//! (token) and then the file named like what it asks for; whatever is wrong on the way becomes a
//! `problem`. The handlers hold no room, only the relay's handle, and know nothing of workers,
//! sockets or Yjs. Start with [`routes`], then `answer` below it.

mod body;
mod caller;
mod dev_token;
mod documents;
mod event_stream;
mod follows;
mod gate;
mod health;
mod heartbeats;
mod live_page;
mod openapi;
mod presence;
mod presence_stream;
mod problem;
mod reading_rate;
mod revocations;
mod route;
mod shapes;
mod web_demo;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Buf;
use futures::Stream;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use warp::http::{HeaderMap, HeaderValue, Method};
use warp::path::{FullPath, Peek};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::http::body::BodyBudget;
use crate::http::gate::Gate;
use crate::http::heartbeats::HeartbeatRate;
use crate::http::problem::Problem;
use crate::http::reading_rate::ReadingRate;
use crate::http::route::{Route, Wanted};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::relay::Relay;

pub use web_demo::web_demo;

/// What the operator decides about the API.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Browser origins that may use `/v1` beside the relay's own.
    pub allow_origins: Vec<String>,
    /// The largest document that may be posted, in bytes.
    pub document_bytes_max: usize,
    /// Whether `POST /dev/token` exists.
    pub is_dev: bool,
    /// Whether the operator's live page is at `/`.
    pub has_live_page: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            allow_origins: Vec::new(),
            document_bytes_max: Limits::default().document_bytes_max,
            is_dev: false,
            has_live_page: false,
        }
    }
}

/// The API as one filter; rejects the paths that are not its own.
pub fn routes(
    relay: Relay,
    options: HttpOptions,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let wanted = Wanted::of(&options);
    let api = Arc::new(Api {
        relay,
        bodies: BodyBudget::new(options.document_bytes_max),
        heartbeats: HeartbeatRate::new(),
        reads: ReadingRate::new(),
        description: openapi::describe(wanted),
        options,
    });
    warp::path::peek()
        .and_then(move |path: Peek| {
            // Decided before the body is taken: whoever is asked next still finds it.
            let route = Route::find(path.as_str(), wanted).ok_or_else(warp::reject::not_found);
            std::future::ready(route)
        })
        .and(request_head())
        .and(warp::body::stream())
        .then(move |route, head, body| answer(Arc::clone(&api), route, head, body))
}

/// What answers when nobody else did: 404 as a problem, which pages of these origins may read. Comes
/// last in a program of our own.
pub fn not_found(
    metrics: Arc<Metrics>,
    allow_origins: Vec<String>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    let allow_origins = Arc::<[String]>::from(allow_origins);
    request_head().map(move |head: Head| {
        metrics.http_request("none", 404);
        let mut response = Problem::not_found().into_response();
        gate::add_origin(&head, &allow_origins, response.headers_mut());
        add_common_headers(response.headers_mut());
        response
    })
}

/// What every handler has at hand.
struct Api {
    relay: Relay,
    options: HttpOptions,
    bodies: BodyBudget,
    heartbeats: HeartbeatRate,
    reads: ReadingRate,
    /// The API, described.
    description: String,
}

/// A request without its body.
struct Head {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
}

impl Head {
    fn header(&self, name: impl warp::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The name that we are called by; one that is no text is nobody's.
    fn host(&self) -> Option<&str> {
        let host = self.headers.get(HOST)?;
        Some(host.to_str().unwrap_or_default())
    }
}

fn request_head() -> impl Filter<Extract = (Head,), Error = Infallible> + Copy {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .map(|method, path: FullPath, query, headers| Head {
            method,
            path: path.as_str().to_owned(),
            query,
            headers,
        })
}

async fn answer<S, B>(api: Arc<Api>, route: Route, head: Head, body: S) -> Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let clock = api.relay.clock();
    let begun = clock.elapsed();
    let is_dev = api.relay.verifier().is_dev();
    let gate = Gate::new(&route, &head, &api.options.allow_origins, is_dev);
    let checked = match gate.refused_origin() {
        Some(origin) => {
            let detail = api.relay.refuse_origin(&origin, &head.path);
            Err(Problem::forbidden(detail))
        }
        None => gate.check(),
    };
    let mut response = match checked {
        Ok(Some(preflight)) => preflight,
        Ok(None) => dispatch(&api, &route, &head, body)
            .await
            .unwrap_or_else(Problem::into_response),
        Err(problem) => problem.into_response(),
    };
    gate.add_headers(response.headers_mut());
    add_common_headers(response.headers_mut());
    let status = response.status().as_u16();
    api.relay.metrics().http_request(route.name(), status);
    // The path alone: the query may hold a token.
    tracing::debug!(
        method = %head.method,
        path = head.path,
        status,
        micros = clock.elapsed().saturating_sub(begun).as_micros() as u64,
        "answered"
    );
    response
}

async fn dispatch<S, B>(api: &Api, route: &Route, head: &Head, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    match route {
        Route::RoomPresence { room } => presence::of_room(api, head, room).await,
        Route::RoomPresenceStream { room } => presence_stream::of_room(api, head, room).await,
        Route::UserPresence { user } => presence::of_user(api, head, user).await,
        Route::UserPresenceStream { user } => presence_stream::of_user(api, head, user).await,
        Route::Follows { user } if head.method == Method::PUT => {
            follows::replace(api, head, user, body).await
        }
        Route::Follows { user } => follows::read(api, head, user).await,
        Route::Follow { user, other } => follows::change_one(api, head, user, other).await,
        Route::PresenceUnder => presence::under(api, head).await,
        Route::PresenceUnderStream => presence_stream::under(api, head).await,
        Route::Document { room } if head.method == Method::POST => {
            documents::apply(api, head, room, body).await
        }
        Route::Document { room } => documents::read(api, head, room).await,
        Route::Heartbeat => heartbeats::beat(api, head, body).await,
        Route::Leave => heartbeats::leave(api, head, body).await,
        Route::Revocations => revocations::revoke(api, head, body).await,
        Route::Metrics => Ok(health::metrics(api)),
        Route::Live => Ok(health::live()),
        Route::Ready => Ok(health::ready(&api.relay.unready_reasons())),
        Route::OpenApi => Ok(json_response(api.description.clone())),
        Route::DevToken => dev_token::sign(api, head, body).await,
        Route::LivePage(file) => {
            let lets_guests_in = api.relay.verifier().guest().is_some();
            Ok(live_page::file(*file, lets_guests_in))
        }
        Route::LiveState => live_page::state(api, head).await,
    }
}

/// What is true of every answer: it is about now, and its type is what it says.
fn add_common_headers(headers: &mut HeaderMap) {
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// A 200 with a JSON text.
fn json_response(text: String) -> Response {
    let mut response = Response::new(text.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A 204.
fn no_content() -> Response {
    warp::http::StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderName;

    use super::*;
    use crate::model::{Identity, Token, UserId};

    /// A request's head.
    pub(super) fn head(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Head {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Head {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect(),
        }
    }

    /// A token of somebody who may do nothing.
    pub(super) fn token(user: &str) -> Token {
        Token {
            identity: Identity {
                user: UserId::parse(user).unwrap(),
                name: user.into(),
                avatar: None,
                color: None,
            },
            rooms: Vec::new(),
            allowed: Vec::new(),
            readonly: Vec::new(),
            follows: Vec::new(),
            is_service: false,
            is_guest: false,
            issued_at: None,
            expires_at: None,
        }
    }

    /// Runs a request through the gate alone: status, `Allow`, and the origin that is let in.
    fn gate(method: &str, target: &str, headers: &[(&'static str, &str)]) -> (u16, String, String) {
        let head = head(method, target, headers);
        let all = Wanted {
            dev_token: true,
            live_page: true,
        };
        let path = target.split('?').next().unwrap();
        let route = Route::find(&path[1..], all).unwrap();
        let allowed = ["https://app.example".to_owned()];
        let is_dev = headers.iter().any(|(name, _)| *name == DEV);
        let gate = Gate::new(&route, &head, &allowed, is_dev);
        let checked = match gate.refused_origin() {
            Some(_) => Err(Problem::forbidden("no")),
            None => gate.check(),
        };
        let mut response = match checked {
            Ok(Some(preflight)) => preflight,
            Ok(None) => Response::default(),
            Err(problem) => problem.into_response(),
        };
        gate.add_headers(response.headers_mut());
        let header = |name| match response.headers().get(name) {
            Some(value) => value.to_str().unwrap().to_owned(),
            None => String::new(),
        };
        (
            response.status().as_u16(),
            header("allow"),
            header("access-control-allow-origin"),
        )
    }

    const APP: (&str, &str) = ("origin", "https://app.example");
    /// A header that no browser sends says that a relay runs with `--dev`.
    const DEV: &str = "x-test-dev";
    const EVIL: (&str, &str) = ("origin", "https://evil.example");

    #[test]
    fn the_origin_is_checked_first_and_told() {
        let path = "/v1/rooms/a/presence";
        let ok = |origin: &str| (200, String::new(), origin.to_owned());
        assert_eq!(gate("GET", path, &[]), ok(""));
        assert_eq!(gate("GET", path, &[APP]), ok(APP.1));
        let own = ("origin", "http://relay:8787");
        assert_eq!(gate("GET", path, &[own, ("host", "relay:8787")]), ok(own.1));
        for method in ["GET", "OPTIONS", "DELETE"] {
            let (status, _, origin) = gate(method, path, &[EVIL]);
            assert_eq!((status, origin.as_str()), (403, ""), "{method}");
        }
        assert_eq!(gate("GET", "/metrics", &[EVIL]), ok(""));
        assert_eq!(gate("POST", "/dev/token", &[EVIL]).0, 403);
        assert_eq!(gate("GET", "/live/state", &[EVIL]).0, 403);
    }

    #[test]
    fn with_dev_a_name_from_elsewhere_is_refused_at_every_path() {
        let dev = (DEV, "1");
        let rebound = ("host", "rebound.example:8787");
        for path in ["/v1/presence", "/dev/token", "/metrics", "/", "/live/state"] {
            let method = if path == "/dev/token" { "POST" } else { "GET" };
            let status = |headers: &[(&'static str, &str)]| gate(method, path, headers).0;
            assert_eq!(status(&[dev, rebound]), 403, "{path}");
            assert_eq!(status(&[dev, ("host", "localhost:8787")]), 200, "{path}");
            assert_eq!(status(&[rebound]), 200, "{path}");
            let vite = ("origin", "http://localhost:5173");
            assert_eq!(status(&[dev, ("host", "127.0.0.1:8787"), vite]), 200);
        }
    }

    #[test]
    fn a_preflight_needs_no_token() {
        let (status, allow, origin) = gate("OPTIONS", "/v1/rooms/a/document", &[APP]);
        assert_eq!(status, 204);
        assert_eq!(allow, "GET, HEAD, POST, OPTIONS");
        assert_eq!(origin, APP.1);
    }

    #[test]
    fn other_methods_are_told_which_would_do() {
        let allow = |method, path| {
            let (status, allow, _) = gate(method, path, &[]);
            (status, allow)
        };
        let reads = (405, "GET, HEAD, OPTIONS".to_owned());
        assert_eq!(allow("POST", "/v1/rooms/a/presence"), reads);
        assert_eq!(allow("DELETE", "/health/ready"), reads);
        let writes = (405, "POST, OPTIONS".to_owned());
        assert_eq!(allow("GET", "/v1/revocations"), writes);
        assert_eq!(allow("HEAD", "/v1/rooms/a/document").0, 200);
    }
}
