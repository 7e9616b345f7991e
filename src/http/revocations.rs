//! A back end takes a user's access back: their sockets close, their tokens are refused.

use bytes::Buf;
use futures::Stream;
use serde::Deserialize;
use warp::reply::Response;

use crate::http::problem::Problem;
use crate::http::{Api, Head, body, caller, no_content};
use crate::limits::STORED_ID_BYTES_MAX;
use crate::model::{Pattern, UserId};
use crate::relay::RevokeError;

/// `POST /v1/revocations`: in force at once, answered when it is stored.
pub(super) async fn revoke<S, B>(api: &Api, head: &Head, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let token = caller::identify(api, head).await?;
    if !token.is_service {
        return Err(Problem::forbidden("only a service token may revoke"));
    }
    let request: Request = body::read_json(head, body, &api.bodies).await?;
    caller::check_again(api, head, &token)?;
    let (user, rooms) = request.parse()?;
    api.relay.revoke(&user, rooms.as_ref()).await?;
    Ok(no_content())
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotStored => Self::not_stored(true),
            RevokeError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    user_id: String,
    room: Option<String>,
}

impl Request {
    fn parse(self) -> Result<(UserId, Option<Pattern>), Problem> {
        let user = UserId::parse(&self.user_id).ok_or(Problem::bad_request("`userId` is empty"))?;
        if STORED_ID_BYTES_MAX < self.user_id.len() || self.user_id.contains('\0') {
            let detail = format!("`userId` has no NUL and at most {STORED_ID_BYTES_MAX} bytes");
            return Err(Problem::bad_request(detail));
        }
        let rooms = self.room.as_deref().map(Pattern::parse).transpose()?;
        Ok((user, rooms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_names_a_user_and_perhaps_rooms() {
        let parse = |text: &str| serde_json::from_str::<Request>(text).unwrap().parse();
        let (user, room) = parse(r#"{"userId":"ann","room":"session/42"}"#).unwrap();
        assert_eq!(user.as_str(), "ann");
        assert_eq!(room, Some(Pattern::new("session/42")));
        let below = parse(r#"{"userId":"ann","room":"session/*"}"#).unwrap().1;
        assert_eq!(below, Some(Pattern::new("session/*")));
        assert_eq!(parse(r#"{"userId":"ann","why":"…"}"#).unwrap().1, None);
        assert_eq!(parse(r#"{"userId":"ann","room":null}"#).unwrap().1, None);
        for bad in [
            r#"{"userId":""}"#,
            r#"{"userId":"a\u0000"}"#,
            r#"{"userId":"ann","room":"a//b"}"#,
            r#"{"userId":"ann","room":"a//*"}"#,
            r#"{"userId":"ann","room":""}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let long = format!(r#"{{"userId":"{}"}}"#, "x".repeat(STORED_ID_BYTES_MAX + 1));
        assert!(parse(&long).is_err());
    }
}
