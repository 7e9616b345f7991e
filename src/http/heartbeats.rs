//! Presence without a socket: "I am here" and "I am gone", posted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Buf;
use futures::Stream;
use warp::reply::Response;

use crate::clock::Timestamp;
use crate::http::problem::Problem;
use crate::http::{Api, Head, body, caller, json_response, no_content};
use crate::limits::{BODY_BYTES_MAX, HEARTBEAT_USERS_MAX, HEARTBEAT_WINDOW, HEARTBEATS_MAX};
use crate::model::{Access, RoomName, SessionToken, Token, UserId};
use crate::presence::Status;
use crate::relay::{Attendance, Heartbeat};
use crate::wire::heartbeat::{self, BadBody, Doing, Leave};

/// `POST /v1/presence/heartbeat`
pub(super) async fn beat<S, B>(api: &Api, head: &Head, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let token = caller::identify(api, head).await?;
    let body = body::read(head, body, BODY_BYTES_MAX as usize, &api.bodies).await?;
    caller::check_again(api, head, &token)?;
    let said = heartbeat::decode(&body.bytes)?;
    let (token, session_token) = own_session(api, token, &said.room, &said.session)?;
    let grant = token.grant(&said.room).ok_or(Problem::forbidden(NOBODY))?;
    let lasts = match said.interval {
        // One may be lost, and the next be late.
        Some(interval) => interval * 5 / 2,
        None => api.relay.policies().heartbeat_limit(said.room.kind()),
    };
    let beat = Heartbeat {
        token: session_token.clone(),
        grant,
        lasts,
        status: said.doing.map(|doing| match doing {
            Doing::Active => Status::Online,
            Doing::Idle => Status::Idle,
            Doing::Typing => Status::Typing,
        }),
        data: said.data,
    };
    let user = &token.identity.user;
    let now = api.relay.clock().now();
    api.heartbeats.take(now, user).map_err(|wait| {
        let detail = "10 heartbeats in 10 seconds, over all rooms";
        Problem::rate_limited_for(detail, wait)
    })?;
    let attendance = api.relay.heartbeat(&said.room, beat).await;
    if !matches!(attendance, Ok(Attendance::Counts)) {
        api.heartbeats.give_back(now, user);
    }
    let has_left = attendance? == Attendance::HasLeft;
    // A revocation that was made meanwhile may have come to the room before.
    if let Err(revoked) = caller::check_access(api, &token, &said.room, Access::Read) {
        api.relay.leave(&session_token, Some(&said.room)).await?;
        return Err(revoked);
    }
    Ok(json_response(heartbeat::answer(&session_token, has_left)))
}

/// `POST /v1/presence/leave`: whoever has the session's token needs no other. JSON whatever the
/// content type: a page that is being closed can send nothing but plain text.
pub(super) async fn leave<S, B>(api: &Api, head: &Head, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let body = body::read(head, body, BODY_BYTES_MAX as usize, &api.bodies).await?;
    let (session_token, room) = match heartbeat::decode_leave(&body.bytes) {
        Ok(Leave::Token(session_token)) => (session_token, None),
        Ok(Leave::Session { room, session }) => {
            let token = caller::identify(api, head).await?;
            let (_, session_token) = own_session(api, token, &room, &session)?;
            (session_token, Some(room))
        }
        Err(bad) => {
            if let BadBody::Room(_) = bad {
                // Who is asking comes before what is wrong with a name.
                caller::identify(api, head).await?;
            }
            return Err(bad.into());
        }
    };
    api.relay.leave(&session_token, room.as_ref()).await?;
    Ok(no_content())
}

const NOBODY: &str = "a back end is nobody's participant";

/// The session of the caller by that name in that room, if they may be there.
fn own_session(
    api: &Api,
    mut token: Token,
    room: &RoomName,
    session: &str,
) -> Result<(Token, SessionToken), Problem> {
    let verifier = api.relay.verifier();
    if token.is_guest {
        // Nothing but the session tells one request of a guest's from another's.
        let known = verifier.guest_of_session(session);
        token = known.ok_or(Problem::unauthorized("a token is needed"))?;
    }
    caller::check_access(api, &token, room, Access::Read)?;
    if token.is_service {
        return Err(Problem::forbidden(NOBODY));
    }
    let session_token = verifier
        .session_token(room, &token.identity.user, session)
        .ok_or(Problem::bad_request("this session cannot be named"))?;
    Ok((token, session_token))
}

/// How often each user has been heard of lately.
pub(super) struct HeartbeatRate {
    users: Mutex<Users>,
}

struct Users {
    /// When the heartbeats of the last seconds came, for each user, in order.
    taken: HashMap<UserId, VecDeque<Timestamp>>,
    /// How many users there are when those who fell silent are next looked for.
    sweep_at: usize,
}

/// There is little to gain from looking for the silent among so few.
const SWEPT_FROM: usize = 1_024;

impl HeartbeatRate {
    pub fn new() -> Self {
        Self {
            users: Mutex::new(Users {
                taken: HashMap::new(),
                sweep_at: SWEPT_FROM,
            }),
        }
    }

    /// Counts a heartbeat, or says how long to wait.
    pub fn take(&self, now: Timestamp, user: &UserId) -> Result<(), Duration> {
        let mut users = self.lock();
        users.sweep_if_many(now);
        if HEARTBEAT_USERS_MAX <= users.taken.len() && !users.taken.contains_key(user) {
            return Err(HEARTBEAT_WINDOW);
        }
        let taken = users.taken.entry(user.clone()).or_default();
        while taken
            .front()
            .is_some_and(|&at| at + HEARTBEAT_WINDOW <= now)
        {
            taken.pop_front();
        }
        match taken.front() {
            Some(&oldest) if HEARTBEATS_MAX <= taken.len() => {
                Err((oldest + HEARTBEAT_WINDOW).since(now))
            }
            _ => {
                taken.push_back(now);
                Ok(())
            }
        }
    }

    /// One taken at that time came to nothing.
    pub fn give_back(&self, at: Timestamp, user: &UserId) {
        let mut users = self.lock();
        if let Some(taken) = users.taken.get_mut(user)
            && let Some(place) = taken.iter().rposition(|&other| other == at)
        {
            taken.remove(place);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users {
    /// Forgets who has been silent, whenever there are twice as many as were left the last time: a
    /// constant cost for each.
    fn sweep_if_many(&mut self, now: Timestamp) {
        if self.taken.len() < self.sweep_at {
            return;
        }
        self.taken
            .retain(|_, taken| taken.back().is_some_and(|&at| now < at + HEARTBEAT_WINDOW));
        self.sweep_at = (2 * self.taken.len()).clamp(SWEPT_FROM, HEARTBEAT_USERS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn ten_in_any_ten_seconds_and_refused_ones_do_not_count() {
        let rate = HeartbeatRate::new();
        let ann = user("ann");
        let millis = Duration::from_millis;
        for number in 0..10 {
            assert_eq!(rate.take(at(number * 500), &ann), Ok(()));
        }
        assert_eq!(rate.take(at(5_000), &ann), Err(millis(5_000)));
        for _ in 0..100 {
            assert_eq!(rate.take(at(9_999), &ann), Err(millis(1)));
        }
        assert_eq!(rate.take(at(9_999), &user("ben")), Ok(()));
        // The first has left the window, and the refused ones were never in it.
        assert_eq!(rate.take(at(10_000), &ann), Ok(()));
        assert_eq!(rate.take(at(10_000), &ann), Err(millis(500)));
        assert_eq!(rate.take(at(10_500), &ann), Ok(()));
    }

    #[test]
    fn what_came_to_nothing_is_given_back() {
        let rate = HeartbeatRate::new();
        let ann = user("ann");
        for number in 0..100 {
            assert_eq!(rate.take(at(number), &ann), Ok(()));
            rate.give_back(at(number), &ann);
        }
        rate.give_back(at(7), &ann);
    }

    #[test]
    fn the_silent_are_forgotten() {
        let rate = HeartbeatRate::new();
        for number in 0..100_000 {
            assert_eq!(
                rate.take(at(100 * number), &user(&number.to_string())),
                Ok(())
            );
        }
        assert!(rate.lock().taken.len() <= SWEPT_FROM);
    }

    #[test]
    fn there_is_an_end_to_how_many_are_counted() {
        let rate = HeartbeatRate::new();
        for number in 0..HEARTBEAT_USERS_MAX {
            assert_eq!(rate.take(at(0), &user(&number.to_string())), Ok(()));
        }
        assert_eq!(rate.take(at(1), &user("one-more")), Err(HEARTBEAT_WINDOW));
        assert_eq!(rate.take(at(1), &user("0")), Ok(()));
        assert_eq!(rate.take(at(10_000), &user("one-more")), Ok(()));
    }
}
