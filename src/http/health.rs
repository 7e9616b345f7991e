//! For the machines that watch: alive, ready, and the numbers.

use serde::Serialize;
use warp::http::header::{CONTENT_TYPE, RETRY_AFTER};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::http::{Api, json_response};

/// `GET /metrics`
pub(super) fn metrics(api: &Api) -> Response {
    let mut response = Response::new(api.relay.metrics_page().into());
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

/// `GET /health/live`: whoever reads this was answered.
pub(super) fn live() -> Response {
    json_response(r#"{"live":true}"#.to_owned())
}

/// `GET /health/ready`: 503 with the reasons while there are any.
pub(super) fn ready(reasons: &[String]) -> Response {
    #[derive(Serialize)]
    struct Ready<'a> {
        ready: bool,
        reasons: &'a [String],
    }
    let ready = reasons.is_empty();
    let text = serde_json::to_string(&Ready { ready, reasons }).unwrap_or_default();
    let mut response = json_response(text);
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_lost_with_a_reason() {
        assert_eq!(ready(&[]).status(), 200);
        assert_eq!(ready(&["DRAINING".to_owned()]).status(), 503);
    }
}
