//! Who is in a room, where a user is, and who is in all rooms below a name: as of now.

use warp::reply::Response;

use crate::auth::Verifier;
use crate::clock::SystemClock;
use crate::http::problem::Problem;
use crate::http::{Api, Head, caller, json_response, shapes};
use crate::limits::ROOMS_AT_ONCE;
use crate::model::{Access, RoomName, Token, UserId};
use crate::presence::Participant;
use crate::relay::{ActiveRoom, Relay, Unavailable};
use crate::wire::url;

/// `GET /v1/rooms/{room…}/presence`
pub(super) async fn of_room(api: &Api, head: &Head, raw_room: &str) -> Result<Response, Problem> {
    let (_, room) = caller::enter(api, head, raw_room, Access::Read).await?;
    let participants = api.relay.room_presence(&room).await?;
    Ok(json_response(shapes::room_presence(&room, &participants)))
}

/// `GET /v1/users/{user_id}/presence`: of the rooms the caller may read, and no others.
pub(super) async fn of_user(api: &Api, head: &Head, raw_user: &str) -> Result<Response, Problem> {
    let view = View::of_caller(api, head).await?;
    let user = user_in_path(raw_user)?;
    let mut rooms = api.relay.user_presence(&user).await?;
    view.narrow_to_user(&mut rooms);
    Ok(json_response(shapes::user_presence(&user, &rooms)))
}

/// `GET /v1/presence?under={prefix}`: of the rooms the caller may read, and no others.
pub(super) async fn under(api: &Api, head: &Head) -> Result<Response, Problem> {
    let view = View::of_caller(api, head).await?;
    let prefix = prefix_in_query(head)?;
    // Who may see nothing there makes nobody look.
    let names = match view.token.may_read_under(&prefix) {
        true => api.relay.rooms_under(&prefix).await?,
        false => Vec::new(),
    };
    let rooms = view.active(&api.relay, names).await?;
    Ok(json_response(shapes::rooms_under(&prefix, &rooms)))
}

pub(super) fn user_in_path(raw_user: &str) -> Result<UserId, Problem> {
    url::percent_decode(raw_user)
        .and_then(|text| UserId::parse(&text))
        .ok_or(Problem::bad_request("not a user's id"))
}

/// What could not be a room's name has no rooms below it either.
pub(super) fn prefix_in_query(head: &Head) -> Result<RoomName, Problem> {
    let prefix = url::query_value(&head.query, "under")
        .ok_or(Problem::bad_request("`under` says below which name"))?;
    Ok(RoomName::parse(&prefix)?)
}

/// What a caller may see where rooms are many: some of them, and no hint of the others.
pub(super) struct View {
    pub token: Token,
    pub verifier: Verifier,
    pub clock: SystemClock,
}

impl View {
    pub async fn of_caller(api: &Api, head: &Head) -> Result<Self, Problem> {
        let token = caller::identify(api, head).await?;
        Ok(Self::of(api, token))
    }

    /// Of somebody who is known already.
    pub fn of(api: &Api, token: Token) -> Self {
        Self {
            token,
            verifier: api.relay.verifier().clone(),
            clock: api.relay.clock(),
        }
    }

    /// Whether the caller may read the room, as of now.
    pub fn shows(&self, room: &RoomName) -> bool {
        let is_revoked = || {
            let now = self.clock.moment();
            self.verifier.is_revoked(now, &self.token, room)
        };
        self.token.may_read(room) && !is_revoked()
    }

    /// Those of these rooms in which somebody is, by their names. Those that the caller may not see
    /// are not even looked at, and no worker looks at many at a time.
    pub async fn active(
        &self,
        relay: &Relay,
        mut names: Vec<RoomName>,
    ) -> Result<Vec<ActiveRoom>, Unavailable> {
        names.retain(|room| self.shows(room));
        names.sort_unstable();
        let mut found = Vec::new();
        for some in names.chunks(ROOMS_AT_ONCE) {
            found.extend(relay.active_rooms(some.to_vec()).await?);
        }
        // They come by workers.
        found.sort_unstable_by(|a, b| a.room.cmp(&b.room));
        found.retain(|active| !active.users.is_empty());
        Ok(found)
    }

    /// Leaves those of a user's rooms that the caller may see, by their names.
    pub fn narrow_to_user(&self, rooms: &mut Vec<(RoomName, Participant)>) {
        rooms.retain(|(room, participant)| participant.is_connected && self.shows(room));
        rooms.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    }
}
