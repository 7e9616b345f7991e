//! What is checked before anything is looked at: the origin and the method; and CORS.

use std::borrow::Cow;

use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HOST, ORIGIN, VARY,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::{Reply, Response};

use crate::auth::{FOREIGN_HOST, host_allowed, origin_allowed};
use crate::http::problem::{Problem, method_list};
use crate::http::route::Route;
use crate::http::{Head, documents};

/// How long a browser may remember a preflight, in seconds.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// The outcome of the origin check, kept for the answer's headers.
pub(super) struct Gate<'a> {
    route: &'a Route,
    method: &'a Method,
    /// What the browser said its page is from.
    origin: Option<&'a HeaderValue>,
    is_allowed: bool,
    /// Whether we were called by a name of ours.
    is_host_allowed: bool,
}

impl<'a> Gate<'a> {
    pub fn new(route: &'a Route, head: &'a Head, allow_origins: &[String], is_dev: bool) -> Self {
        Self {
            route,
            method: &head.method,
            origin: head.headers.get(ORIGIN),
            is_allowed: is_allowed(head, allow_origins, is_dev),
            is_host_allowed: host_allowed(head.host(), is_dev),
        }
    }

    /// The origin that is not let in, if that is so: comes before `check`.
    pub fn refused_origin(&self) -> Option<Cow<'_, str>> {
        let is_refused = self.route.is_for_browsers() && !self.is_allowed;
        let origin = self.origin.filter(|_| is_refused)?;
        Some(String::from_utf8_lossy(origin.as_bytes()))
    }

    /// `None` lets the request through; a response answers `OPTIONS`, a browser's preflight among
    /// them.
    pub fn check(&self) -> Result<Option<Response>, Problem> {
        if !self.is_host_allowed {
            return Err(Problem::forbidden(FOREIGN_HOST));
        }
        if self.method == Method::OPTIONS {
            return Ok(Some(self.describe()));
        }
        if self.route.methods().contains(self.method) {
            Ok(None)
        } else {
            Err(Problem::method_not_allowed(self.route.methods()))
        }
    }

    fn describe(&self) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let Ok(methods) = HeaderValue::from_str(&method_list(self.route.methods())) else {
            return response;
        };
        let headers = response.headers_mut();
        headers.insert(ALLOW, methods.clone());
        if self.route.is_for_browsers() && self.origin.is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, content-type"),
            );
            headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
        }
        response
    }

    /// Tells the browser that this page may read the answer, errors included.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        if self.route.is_for_browsers() {
            tell(self.origin.filter(|_| self.is_allowed), headers);
        }
    }
}

/// The same for an answer that belongs to no route.
pub(super) fn add_origin(head: &Head, allow_origins: &[String], headers: &mut HeaderMap) {
    let origin = head.headers.get(ORIGIN);
    // Of what belongs to no route nothing depends on who asks, in `--dev` neither.
    tell(
        origin.filter(|_| is_allowed(head, allow_origins, false)),
        headers,
    );
}

fn is_allowed(head: &Head, allow_origins: &[String], is_dev: bool) -> bool {
    match head.headers.get(ORIGIN).map(HeaderValue::to_str) {
        None => true,
        Some(Ok(text)) => origin_allowed(Some(text), head.header(HOST), allow_origins, is_dev),
        Some(Err(_)) => false,
    }
}

fn tell(allowed: Option<&HeaderValue>, headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(documents::EXPOSED_HEADERS),
        );
    }
}
