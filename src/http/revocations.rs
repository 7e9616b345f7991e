//! A back end takes a user's access back: their sockets close, their tokens are refused.

use bytes::Buf;
use futures::Stream;
use serde::Deserialize;
use warp::reply::Response;

use crate::http::problem::Problem;
use crate::http::{Api, Head, body, caller, no_content};
use crate::model::{RoomName, UserId};

/// `POST /v1/revocations`
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
    let (user, room) = request.parse()?;
    api.relay.revoke(&user, room.as_ref()).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    user_id: String,
    room: Option<String>,
}

impl Request {
    fn parse(self) -> Result<(UserId, Option<RoomName>), Problem> {
        let user = UserId::parse(&self.user_id).ok_or(Problem::bad_request("`userId` is empty"))?;
        let room = self.room.as_deref().map(RoomName::parse).transpose()?;
        Ok((user, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_names_a_user_and_perhaps_a_room() {
        let parse = |text: &str| serde_json::from_str::<Request>(text).unwrap().parse();
        let (user, room) = parse(r#"{"userId":"ann","room":"session/42"}"#).unwrap();
        assert_eq!(user.as_str(), "ann");
        assert_eq!(room.unwrap().as_str(), "session/42");
        assert_eq!(parse(r#"{"userId":"ann","why":"…"}"#).unwrap().1, None);
        assert_eq!(parse(r#"{"userId":"ann","room":null}"#).unwrap().1, None);
        assert!(parse(r#"{"userId":""}"#).is_err());
        assert!(parse(r#"{"userId":"ann","room":"a//b"}"#).is_err());
    }
}
