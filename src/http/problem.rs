//! What went wrong, as `application/problem+json` (RFC 9457) with the contract's codes.

use std::borrow::Cow;
use std::time::Duration;

use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use crate::auth::{Flaw, TOKEN_BYTES_MAX, TokenError};
use crate::model::BadRoomName;
use crate::relay::{ApplyError, Unavailable};
use crate::wire::close::Refusal;
use crate::wire::heartbeat::BadBody;
use crate::wire::problem;

/// How soon somebody who was told to come back may do so.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An answer that is an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
    /// Whether what was asked for was done all the same, where that is in question.
    applied: Option<bool>,
}

impl Problem {
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", detail)
    }

    pub fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail)
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing here")
    }

    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "this path takes other methods",
        );
        match HeaderValue::from_str(&method_list(allowed)) {
            Ok(value) => problem.with_header(ALLOW, value),
            Err(_) => problem,
        }
    }

    pub fn too_large(bytes_max: usize) -> Self {
        let detail = format!("at most {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", detail)
    }

    pub fn too_many(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", detail)
    }

    pub fn rate_limited(detail: &'static str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", detail)
            .with_header(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// The same, for somebody who can be told how long to wait.
    pub fn rate_limited_for(detail: &'static str, wait: Duration) -> Self {
        // Whole seconds: a fraction more is waited for.
        let seconds = wait.as_millis().div_ceil(1_000).max(1) as u64;
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", detail)
            .with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The same, for a user who holds as much as they may.
    fn too_many_of_user() -> Self {
        Self::rate_limited(
            "as many sockets, sessions and streams of this user are open as --max-per-user allows",
        )
    }

    fn board_full() -> Self {
        Self::new(StatusCode::CONFLICT, "BOARD_FULL", "no free place")
    }

    fn unavailable(refusal: Refusal) -> Self {
        let detail = match refusal {
            Refusal::Draining => "the relay is shutting down; come back to its successor",
            Refusal::StoreDown => "the store does not answer; come back",
            Refusal::StoreDamaged => "the store cannot give this document; the log says why",
            _ => "not now; come back",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, refusal.reason(), detail)
            .with_header(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            header: None,
            applied: None,
        }
    }

    /// The store did not have it in time. What was not applied can be sent again; what was is kept as
    /// soon as the store takes it, so nobody is told when to come back.
    pub fn not_stored(applied: bool) -> Self {
        let mut problem = match applied {
            false => Self::unavailable(Refusal::StoreDown),
            true => {
                let detail = "in force, but not on disk yet: the store has not taken it in time";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, Refusal::StoreDown.reason(), detail)
            }
        };
        problem.applied = Some(applied);
        problem
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let status = self.status.as_u16();
        let text = problem::write(status, title, self.code, &self.detail, self.applied);
        let mut response = Response::new(text.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(problem::CONTENT_TYPE),
        );
        headers.extend(self.header);
        response
    }
}

/// `GET, HEAD, …, OPTIONS`, for `Allow`.
pub(super) fn method_list(methods: &[Method]) -> String {
    let mut list = String::new();
    for method in methods {
        list.push_str(method.as_str());
        list.push_str(", ");
    }
    list + "OPTIONS"
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        if let TokenError::NoKeys | TokenError::TooEarly = error {
            return Self::from(Refusal::from(error));
        }
        // A limit is no secret; everything else that is wrong with a token is for the operator.
        Self::unauthorized(match error {
            TokenError::Unauthorized(Flaw::Missing) => Cow::from("a token is needed"),
            TokenError::Unauthorized(Flaw::TooLong) => Cow::from(token_too_long()),
            TokenError::Unauthorized(_)
            | TokenError::UnknownKey
            | TokenError::NoKeys
            | TokenError::TooEarly => Cow::from("the token does not verify"),
            TokenError::Expired => Cow::from("the token has expired"),
            TokenError::Revoked => Cow::from("the token was revoked"),
        })
    }
}

fn token_too_long() -> String {
    format!("a token has at most {} KiB", TOKEN_BYTES_MAX >> 10)
}

impl From<BadRoomName> for Problem {
    fn from(error: BadRoomName) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_ROOM", error.to_string())
    }
}

impl From<Unavailable> for Problem {
    fn from(Unavailable(refusal): Unavailable) -> Self {
        match refusal {
            Refusal::BoardFull => Self::board_full(),
            Refusal::LimitConnections => Self::too_many_of_user(),
            other => Self::unavailable(other),
        }
    }
}

impl From<BadBody> for Problem {
    fn from(error: BadBody) -> Self {
        match error {
            BadBody::Malformed(_) => Self::bad_request(error.to_string()),
            BadBody::Room(bad) => bad.into(),
            BadBody::DataTooLarge(bytes_max) => Self::too_large(bytes_max),
        }
    }
}

impl From<ApplyError> for Problem {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::NotEmpty => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "PRECONDITION_FAILED",
                "the document has content already",
            ),
            ApplyError::NotStored { is_applied } => Self::not_stored(is_applied),
            // Nothing was: the answer says so, as the one above does.
            ApplyError::Refused(Refusal::StoreDown) => Self::not_stored(false),
            ApplyError::Refused(refusal) => refusal.into(),
        }
    }
}

/// A close reason where there is no socket to close: the status that says the same.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadRoom => Self::new(StatusCode::BAD_REQUEST, "BAD_ROOM", "not a room's name"),
            Refusal::BadUpdate => Self::bad_request("not a Yjs update (v1) that can be applied"),
            Refusal::BadMessage | Refusal::BadFrame | Refusal::InvalidUtf8 => {
                Self::bad_request("the message cannot be understood")
            }
            Refusal::Unauthorized | Refusal::TokenExpired | Refusal::Revoked => {
                Self::unauthorized("no token, or one that is no longer good")
            }
            Refusal::LimitToken => Self::unauthorized(token_too_long()),
            Refusal::Forbidden => Self::forbidden("the token does not allow this"),
            Refusal::LimitMessage | Refusal::LimitDocument => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "TOO_LARGE",
                "the document would become too large",
            ),
            Refusal::RateLimited => Self::rate_limited("too many requests"),
            Refusal::BoardFull => Self::board_full(),
            Refusal::LimitConnections => Self::too_many_of_user(),
            Refusal::Draining
            | Refusal::StoreDown
            | Refusal::StoreDamaged
            | Refusal::Slow
            | Refusal::KeysDown
            | Refusal::TryAgain
            | Refusal::LimitDocuments
            | Refusal::HeartbeatTimeout
            | Refusal::Replaced => Self::unavailable(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use warp::hyper::body::Body;

    use super::*;

    fn check(problem: impl Into<Problem>, status: u16, code: &str) -> Response {
        let problem = problem.into();
        assert_eq!((problem.status.as_u16(), problem.code), (status, code));
        let response = problem.into_response();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert!(!response.body().is_end_stream());
        response
    }

    #[test]
    fn every_refusal_has_the_contracts_status_and_code() {
        let header = |response: Response, name| response.headers()[name].clone();
        let response = check(TokenError::Expired, 401, "UNAUTHORIZED");
        assert_eq!(header(response, WWW_AUTHENTICATE), "Bearer");
        let response = check(TokenError::NoKeys, 503, "KEYS_DOWN");
        assert_eq!(header(response, RETRY_AFTER), "1");
        let response = check(Unavailable(Refusal::Draining), 503, "DRAINING");
        assert_eq!(header(response, RETRY_AFTER), "1");
        let response = check(
            Problem::method_not_allowed(&[Method::GET]),
            405,
            "METHOD_NOT_ALLOWED",
        );
        assert_eq!(header(response, ALLOW), "GET, OPTIONS");
        check(BadRoomName::Encoding, 400, "BAD_ROOM");
        check(ApplyError::NotEmpty, 412, "PRECONDITION_FAILED");
        let refused = |refusal| ApplyError::Refused(refusal);
        check(refused(Refusal::BadUpdate), 400, "BAD_REQUEST");
        check(refused(Refusal::LimitDocument), 413, "TOO_LARGE");
        let response = check(refused(Refusal::StoreDown), 503, "STORE_DOWN");
        assert_eq!(header(response, RETRY_AFTER), "1");
        let late = |is_applied| ApplyError::NotStored { is_applied };
        let response = check(late(false), 503, "STORE_DOWN");
        assert_eq!(header(response, RETRY_AFTER), "1");
        let response = check(late(true), 503, "STORE_DOWN");
        assert!(!response.headers().contains_key(RETRY_AFTER));
        assert_eq!(Problem::not_stored(true).applied, Some(true));
        check(Problem::not_found(), 404, "NOT_FOUND");
        check(Problem::forbidden("…"), 403, "FORBIDDEN");
    }
}
