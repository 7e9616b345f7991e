//! Who is asking, and whether this room is theirs: token, room name, access, in this order.

use warp::http::Method;
use warp::http::header::AUTHORIZATION;

use crate::auth::TokenError;
use crate::http::problem::Problem;
use crate::http::{Api, Head};
use crate::model::{Access, RoomName, Token};
use crate::wire::url;

/// The caller's token, verified; a guest's when there is none and the relay runs with `--dev`.
pub(super) async fn identify(api: &Api, head: &Head) -> Result<Token, Problem> {
    verify(api, presented_token(head)).await
}

/// The same where a token in the address is none.
pub(super) async fn identify_by_header(api: &Api, head: &Head) -> Result<Token, Problem> {
    verify(api, bearer_token(head).filter(|token| !token.is_empty())).await
}

async fn verify(api: &Api, token: Option<String>) -> Result<Token, Problem> {
    api.relay.admits()?;
    let verifier = api.relay.verifier();
    let now = api.relay.clock().now();
    let verified = match token {
        Some(token) => verifier
            .verify_fresh(now, &token)
            .await
            .map_err(Problem::from),
        None => verifier
            .guest()
            .ok_or(Problem::unauthorized("a token is needed")),
    };
    counted(api, verified)
}

/// Lets the caller into a room for `needed`, or says why not. Rooms they may not enter look the
/// same whether they exist or not.
pub(super) async fn enter(
    api: &Api,
    head: &Head,
    raw_room: &str,
    needed: Access,
) -> Result<(Token, RoomName), Problem> {
    let token = identify(api, head).await?;
    let room = url::room_from_path(raw_room)?;
    check_access(api, &token, &room, needed)?;
    Ok((token, room))
}

/// The same for a caller and a room that are known already.
pub(super) fn check_access(
    api: &Api,
    token: &Token,
    room: &RoomName,
    needed: Access,
) -> Result<(), Problem> {
    let is_allowed = match needed {
        Access::Read => token.may_read(room),
        Access::Write => token.may_write(room),
    };
    if !is_allowed {
        return Err(Problem::forbidden("the token does not allow this"));
    }
    let now = api.relay.clock().now();
    let checked = api.relay.verifier().check_in_room(now, token, room);
    counted(api, checked.map_err(Problem::from))
}

/// Whether the token is still good behind a body, which may have taken minutes to come.
pub(super) fn check_again(api: &Api, token: &Token) -> Result<(), Problem> {
    let now = api.relay.clock().now();
    let checked = match token.expires_at {
        Some(expires_at) if expires_at <= now => Err(TokenError::Expired),
        Some(_) | None => api.relay.verifier().check_everywhere(now, token),
    };
    counted(api, checked.map_err(Problem::from))
}

fn counted<T>(api: &Api, outcome: Result<T, Problem>) -> Result<T, Problem> {
    if outcome.is_err() {
        api.relay.metrics().auth_failures.inc();
    }
    outcome
}

/// `Authorization: Bearer`, else, where a link or an `EventSource` may have to do without
/// headers, `?token=`.
fn presented_token(head: &Head) -> Option<String> {
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let token = match bearer_token(head) {
        None if is_read => url::query_value(&head.query, "token"),
        other => other,
    };
    token.filter(|token| !token.is_empty())
}

fn bearer_token(head: &Head) -> Option<String> {
    let (scheme, token) = head.header(AUTHORIZATION)?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::head;

    #[test]
    fn the_token_is_in_a_header_or_for_reading_in_the_query() {
        let token = |method, target, authorization: Option<&str>| {
            let headers = authorization.map(|value| ("authorization", value));
            presented_token(&head(method, target, headers.as_slice()))
        };
        let bearer = Some("bearer  abc ");
        assert_eq!(token("POST", "/v1/x", bearer).as_deref(), Some("abc"));
        assert_eq!(
            token("GET", "/v1/x?token=q", bearer).as_deref(),
            Some("abc")
        );
        assert_eq!(token("GET", "/v1/x?a&token=q", None).as_deref(), Some("q"));
        assert_eq!(
            token("GET", "/v1/x?token=q", Some("Basic eA==")).as_deref(),
            Some("q")
        );
        assert_eq!(token("POST", "/v1/x?token=q", None), None);
        assert_eq!(token("GET", "/v1/x?token=", None), None);
        assert_eq!(token("GET", "/v1/x", Some("Bearer ")), None);
    }
}
