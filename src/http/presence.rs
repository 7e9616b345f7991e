//! Who is in a room, and where a user is: as of now.

use warp::reply::Response;

use crate::http::problem::Problem;
use crate::http::{Api, Head, caller, json_response, shapes};
use crate::model::{Access, UserId};
use crate::wire::url;

/// `GET /v1/rooms/{room…}/presence`
pub(super) async fn of_room(api: &Api, head: &Head, raw_room: &str) -> Result<Response, Problem> {
    let (_, room) = caller::enter(api, head, raw_room, Access::Read).await?;
    let participants = api.relay.room_presence(&room).await?;
    Ok(json_response(shapes::room_presence(&room, &participants)))
}

/// `GET /v1/users/{user_id}/presence`: of the rooms the caller may read, and no others.
pub(super) async fn of_user(api: &Api, head: &Head, raw_user: &str) -> Result<Response, Problem> {
    let token = caller::identify(api, head).await?;
    let user = url::percent_decode(raw_user)
        .and_then(|text| UserId::parse(&text))
        .ok_or(Problem::bad_request("not a user's id"))?;
    let verifier = api.relay.verifier();
    let mut rooms = api.relay.user_presence(&user).await?;
    rooms.retain(|(room, participant)| {
        participant.is_connected && token.may_read(room) && !verifier.is_revoked(&token, room)
    });
    rooms.sort_by(|(a, _), (b, _)| a.cmp(b));
    let entries = rooms.iter().map(|(room, participant)| (room, participant));
    Ok(json_response(shapes::user_presence(&user, entries)))
}
