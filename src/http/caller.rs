//! Who is asking, and whether this room is theirs: token, room name, access, in this order.

use warp::http::Method;
use warp::http::header::AUTHORIZATION;

use crate::auth::{Flaw, TokenError};
use crate::http::problem::Problem;
use crate::http::{Api, Head};
use crate::model::{Access, RoomName, Token};
use crate::wire::url;

/// The caller's token, verified; a guest's when there is none and the relay runs with `--dev`. Who reads
/// too often is told to wait.
pub(super) async fn identify(api: &Api, head: &Head) -> Result<Token, Problem> {
    let token = verify(api, head, presented_token(head)).await?;
    // Back ends are trusted, and guests are new each time and on this machine.
    if is_read(head) && !token.is_service && !token.is_guest {
        let now = api.relay.clock().now();
        api.reads.take(now, &token.identity.user).map_err(|wait| {
            let detail = "200 reads a second, and 400 at once, over all routes";
            Problem::rate_limited_for(detail, wait)
        })?;
    }
    Ok(token)
}

/// The same where a token in the address is none.
pub(super) async fn identify_by_header(api: &Api, head: &Head) -> Result<Token, Problem> {
    verify(api, head, bearer_token(head)).await
}

async fn verify(api: &Api, head: &Head, token: Option<String>) -> Result<Token, Problem> {
    api.relay.admits()?;
    let verifier = api.relay.verifier();
    let now = api.relay.clock().moment();
    let verified = match token {
        Some(token) => verifier.verify_fresh(now, &token).await,
        None => verifier
            .guest()
            .ok_or(TokenError::Unauthorized(Flaw::Missing)),
    };
    counted(api, &head.path, verified)
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
    let now = api.relay.clock().moment();
    let checked = api.relay.verifier().check_in_room(now, token, room);
    counted(api, room.as_str(), checked)
}

/// Whether the token is still good behind a body, which may have taken minutes to come.
pub(super) fn check_again(api: &Api, head: &Head, token: &Token) -> Result<(), Problem> {
    let now = api.relay.clock().moment();
    let checked = match token.expires_at {
        Some(expires_at) if expires_at <= now.own_time() => Err(TokenError::Expired),
        Some(_) | None => api.relay.verifier().check_everywhere(now, token),
    };
    counted(api, &head.path, checked)
}

/// Tells whoever runs the relay of a token that is not taken.
fn counted<T>(api: &Api, at: &str, outcome: Result<T, TokenError>) -> Result<T, Problem> {
    outcome.map_err(|error| {
        api.relay.refuse_token(at, error);
        error.into()
    })
}

/// `Authorization: Bearer`, else, where a link or an `EventSource` may have to do without
/// headers, `?token=`. An empty one is none.
fn presented_token(head: &Head) -> Option<String> {
    let token = match bearer_token(head) {
        None if is_read(head) => url::query_value(&head.query, "token"),
        other => other,
    };
    token.filter(|token| !token.is_empty())
}

fn is_read(head: &Head) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
}

fn bearer_token(head: &Head) -> Option<String> {
    let (scheme, token) = head.header(AUTHORIZATION)?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    let token = token.trim();
    (is_bearer && !token.is_empty()).then(|| token.to_owned())
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
        assert_eq!(
            token("GET", "/v1/x?token=q", Some("Bearer ")).as_deref(),
            Some("q")
        );
    }
}
