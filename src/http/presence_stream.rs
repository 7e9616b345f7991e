//! Who is in a room, live: server-sent events for as long as the caller may read.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::Reply;
use warp::http::HeaderValue;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::reply::Response;

use crate::auth::Verifier;
use crate::clock::{SystemClock, Timestamp};
use crate::http::problem::Problem;
use crate::http::{Api, Head, caller, shapes};
use crate::limits::{AUTHORITY_CHECK_EVERY, STREAM_COMMENT_EVERY};
use crate::model::{Access, RoomName, Token};
use crate::presence::Change;
use crate::relay::PresenceEvent;

/// `GET /v1/rooms/{room…}/presence/stream`
pub(super) async fn open(api: &Api, head: &Head, raw_room: &str) -> Result<Response, Problem> {
    let (token, room) = caller::enter(api, head, raw_room, Access::Read).await?;
    let events = api.relay.watch_room(&room).await?;
    let clock = api.relay.clock();
    let watch = Watch {
        events,
        schedule: Schedule::new(clock.now(), token.expires_at),
        clock,
        verifier: api.relay.verifier().clone(),
        token,
        room,
    };
    let stream = futures::stream::unfold(watch, |mut watch| async {
        let text = watch.next().await?;
        Some((Ok::<_, Infallible>(text), watch))
    });
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Some proxies hold answers back until a buffer is full; this one asks them not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One open stream. It is asked for more only when the client's socket has room, so a slow client
/// leaves its events with the relay, which replaces what piles up by a new snapshot.
struct Watch {
    events: mpsc::Receiver<PresenceEvent>,
    schedule: Schedule,
    clock: SystemClock,
    verifier: Verifier,
    token: Token,
    room: RoomName,
}

impl Watch {
    /// What to send next; `None` when the caller may no longer read, or the relay drains.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let wait = match self.schedule.due(self.clock.now()) {
                _ if self.verifier.is_revoked(&self.token, &self.room) => return None,
                Due::End => return None,
                Due::Comment => return Some(Bytes::from_static(b":\n\n")),
                Due::Later(wait) => wait,
            };
            // When the time is over, look at the clock and the revocations again.
            let Ok(event) = tokio::time::timeout(wait, self.events.recv()).await else {
                continue;
            };
            let event = event?;
            let has_ended = self.schedule.has_ended(self.clock.now());
            if has_ended || self.verifier.is_revoked(&self.token, &self.room) {
                return None;
            }
            return Some(event_text(&self.room, &event));
        }
    }
}

/// What a stream does when nothing happens.
struct Schedule {
    ends_at: Option<Timestamp>,
    comment_at: Timestamp,
}

#[derive(Debug, Eq, PartialEq)]
enum Due {
    End,
    Comment,
    Later(Duration),
}

impl Schedule {
    fn new(now: Timestamp, ends_at: Option<Timestamp>) -> Self {
        Self {
            ends_at,
            comment_at: now + STREAM_COMMENT_EVERY,
        }
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at <= now)
    }

    fn due(&mut self, now: Timestamp) -> Due {
        if self.has_ended(now) {
            return Due::End;
        }
        if self.comment_at <= now {
            self.comment_at = now + STREAM_COMMENT_EVERY;
            return Due::Comment;
        }
        let mut wait = AUTHORITY_CHECK_EVERY.min(self.comment_at.since(now));
        if let Some(ends_at) = self.ends_at {
            wait = wait.min(ends_at.since(now));
        }
        Due::Later(wait)
    }
}

fn event_text(room: &RoomName, event: &PresenceEvent) -> Bytes {
    let (name, data) = match event {
        PresenceEvent::Snapshot(participants) => {
            ("snapshot", shapes::room_presence(room, participants))
        }
        PresenceEvent::Change(Change::Joined(participant)) => {
            ("joined", shapes::participant(participant))
        }
        PresenceEvent::Change(Change::Changed {
            after: participant, ..
        }) => ("changed", shapes::participant(participant)),
        PresenceEvent::Change(Change::Left(participant)) => {
            ("left", shapes::participant(participant))
        }
    };
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::shapes::tests::ann;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_event_is_a_name_and_one_line_of_json() {
        let room = RoomName::parse("session/42").unwrap();
        let text = |event| String::from_utf8(event_text(&room, &event).to_vec()).unwrap();
        assert_eq!(
            text(PresenceEvent::Snapshot(Vec::new())),
            "event: snapshot\ndata: {\"room\":\"session/42\",\"participants\":[]}\n\n"
        );
        let left = text(PresenceEvent::Change(Change::Left(ann())));
        let lines: Vec<_> = left.split(['\n', '\r']).collect();
        assert_eq!(lines.len(), 4, "{left}");
        assert_eq!(lines[0], "event: left");
        assert!(lines[1].starts_with("data: {\"userId\":\"ann\""), "{left}");
    }

    #[test]
    fn a_quiet_stream_comments_every_15_seconds_until_the_token_ends() {
        let begin = Timestamp::from_millis(1_000_000);
        let mut schedule = Schedule::new(begin, Some(begin + 40 * SECOND));
        let (mut now, mut comments, mut looks) = (begin, Vec::new(), 0);
        loop {
            match schedule.due(now) {
                Due::End => break,
                Due::Comment => comments.push(now.since(begin).as_secs()),
                Due::Later(wait) => {
                    assert!(Duration::ZERO < wait && wait < SECOND);
                    looks += 1;
                    now = now + wait;
                }
            }
        }
        assert_eq!(comments, [15, 30]);
        assert_eq!(now, begin + 40 * SECOND);
        assert!(looks < 100);
    }

    #[test]
    fn a_guests_stream_has_no_end() {
        let begin = Timestamp::from_millis(1_000_000);
        let mut schedule = Schedule::new(begin, None);
        assert_eq!(schedule.due(begin + 1000 * 3600 * SECOND), Due::Comment);
    }
}
