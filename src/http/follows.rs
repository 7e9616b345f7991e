//! Whom a user follows: the user reads the list, a back end writes it.

use bytes::Buf;
use futures::Stream;
use serde::{Deserialize, Serialize};
use warp::http::Method;
use warp::reply::Response;

use crate::http::problem::Problem;
use crate::http::{Api, Head, body, caller, json_response, no_content, presence};
use crate::limits::FOLLOWS_BODY_BYTES_MAX;
use crate::model::{Token, UserId};
use crate::relay::{ChangeFollowsError, FollowsChange, FollowsError};

/// `GET /v1/users/{user_id}/follows`
pub(super) async fn read(api: &Api, head: &Head, raw_user: &str) -> Result<Response, Problem> {
    let token = caller::identify(api, head).await?;
    let user = presence::user_in_path(raw_user)?;
    if !token.is_service && token.identity.user != user {
        return Err(Problem::forbidden("only the user and a back end may read"));
    }
    let follows = api.relay.follows(&user).await?;
    let list = List {
        follows: follows.iter().map(UserId::as_str).collect(),
    };
    Ok(json_response(
        serde_json::to_string(&list).unwrap_or_default(),
    ))
}

/// `PUT /v1/users/{user_id}/follows`: the whole list.
pub(super) async fn replace<S, B>(
    api: &Api,
    head: &Head,
    raw_user: &str,
    body: S,
) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let token = caller::identify(api, head).await?;
    let user = presence::user_in_path(raw_user)?;
    may_write(&token)?;
    let body = body::read(head, body, FOLLOWS_BODY_BYTES_MAX, &api.bodies).await?;
    caller::check_again(api, head, &token)?;
    let list: List<String> = serde_json::from_slice(&body.bytes)
        .map_err(|error| Problem::bad_request(format!("not the JSON expected: {error}")))?;
    let all = list.parse()?;
    change(api, &user, FollowsChange::Replace(all)).await
}

/// `PUT` and `DELETE /v1/users/{user_id}/follows/{other}`: one more, or one less.
pub(super) async fn change_one(
    api: &Api,
    head: &Head,
    raw_user: &str,
    raw_other: &str,
) -> Result<Response, Problem> {
    let token = caller::identify(api, head).await?;
    let user = presence::user_in_path(raw_user)?;
    let other = presence::user_in_path(raw_other)?;
    may_write(&token)?;
    let one = match head.method == Method::PUT {
        true => FollowsChange::Add(other),
        false => FollowsChange::Remove(other),
    };
    change(api, &user, one).await
}

fn may_write(token: &Token) -> Result<(), Problem> {
    match token.is_service {
        true => Ok(()),
        false => Err(Problem::forbidden("only a service token may write follows")),
    }
}

async fn change(api: &Api, user: &UserId, change: FollowsChange) -> Result<Response, Problem> {
    api.relay.change_follows(user, change).await?;
    Ok(no_content())
}

#[derive(Deserialize, Serialize)]
struct List<T> {
    follows: Vec<T>,
}

impl List<String> {
    fn parse(self) -> Result<Vec<UserId>, Problem> {
        self.follows
            .iter()
            .map(|id| UserId::parse(id).ok_or(Problem::bad_request("a user's id is empty")))
            .collect()
    }
}

impl From<ChangeFollowsError> for Problem {
    fn from(error: ChangeFollowsError) -> Self {
        match error {
            ChangeFollowsError::Refused(FollowsError::TooMany) => {
                Self::too_many(FollowsError::TooMany.to_string())
            }
            ChangeFollowsError::Refused(error) => Self::bad_request(error.to_string()),
            ChangeFollowsError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_ids() {
        let parse = |text: &str| -> Option<Vec<String>> {
            let list: List<String> = serde_json::from_str(text).ok()?;
            let all = list.parse().ok()?;
            Some(all.iter().map(UserId::to_string).collect())
        };
        assert_eq!(parse(r#"{"follows":[]}"#), Some(vec![]));
        let two = vec!["ann".to_owned(), "Zoë".to_owned()];
        assert_eq!(parse(r#"{"follows":["ann","Zoë"],"x":1}"#), Some(two));
        for bad in [
            r#"{"follows":["ann",""]}"#,
            r#"{"follows":[5]}"#,
            "[]",
            "{}",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
