//! `GET /live/state`: how things are now, for whoever runs the relay.
//!
//! Counters are as in the metrics, and rise: the page makes rates of them. Times are milliseconds
//! since 1970. Comings and goings are told from where the caller has read to.

use serde::Serialize;
use warp::reply::Response;

use crate::clock::Timestamp;
use crate::http::problem::Problem;
use crate::http::{Api, Head, caller, json_response};
use crate::limits::OBSERVED_FIND_BYTES_MAX;
use crate::metrics::{DoorLabel, Metrics};
use crate::model::{RoomName, UserId};
use crate::process;
use crate::relay::{
    self, Departure, Happening, Observation, ObservedConnection, ObservedPerson, ObservedRoom,
    Opened, Passage, Question, RefusedLists, Spot, Way,
};
use crate::wire::close::Refusal;
use crate::wire::url;

/// `GET /live/state`
pub(in crate::http) async fn state(api: &Api, head: &Head) -> Result<Response, Problem> {
    let token = caller::identify_by_header(api, head).await?;
    if !token.is_service && !token.is_guest {
        return Err(Problem::forbidden(
            "only a service token shows how things are",
        ));
    }
    let question = question(&head.query)?;
    let observation = api.relay.observe(&question).await?;
    let reasons = api.relay.unready_reasons();
    let state = State {
        at: api.relay.clock().now().as_millis(),
        version: env!("CARGO_PKG_VERSION"),
        now: Now::of(api.relay.metrics(), &observation),
        ready: reasons.is_empty(),
        reasons,
        rooms: Listed {
            list: observation.rooms.iter().map(Room::of).collect(),
            more: observation.rooms_more,
        },
        people: Listed {
            list: observation.people.iter().map(Person::of).collect(),
            more: observation.people_more,
        },
        in_room: question
            .room
            .as_ref()
            .map(|_| connections(&observation.in_room)),
        of_user: question
            .user
            .as_ref()
            .map(|_| connections(&observation.of_user)),
        refused: Refused::of(&observation.refused),
        timeline: Timeline {
            list: observation.passages.iter().map(Entry::of).collect(),
            next: write_numbers(&observation.next),
        },
    };
    Ok(json_response(
        serde_json::to_string(&state).unwrap_or_default(),
    ))
}

fn question(query: &str) -> Result<Question, Problem> {
    let value = |name| url::query_value(query, name).filter(|value| !value.is_empty());
    let find = value("find");
    if find
        .as_ref()
        .is_some_and(|text| OBSERVED_FIND_BYTES_MAX < text.len())
    {
        return Err(Problem::bad_request("`find` is too long"));
    }
    Ok(Question {
        find,
        room: value("room")
            .map(|name| RoomName::parse(&name))
            .transpose()?,
        user: value("user").and_then(|user| UserId::parse(&user)),
        from: read_numbers(&value("from").unwrap_or_default()),
    })
}

/// What is no list of numbers is none: then everything is told.
fn read_numbers(text: &str) -> Vec<u64> {
    let numbers: Result<Vec<u64>, _> = text.split('.').map(str::parse).collect();
    numbers.unwrap_or_default()
}

fn write_numbers(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join(".")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    at: u64,
    version: &'static str,
    now: Now,
    ready: bool,
    reasons: Vec<String>,
    rooms: Listed<Room<'a>>,
    people: Listed<Person<'a>>,
    in_room: Option<Listed<Connection<'a>>>,
    of_user: Option<Listed<Connection<'a>>>,
    refused: Refused<'a>,
    timeline: Timeline<'a>,
}

#[derive(Serialize)]
struct Listed<T> {
    list: Vec<T>,
    more: usize,
}

/// Who was not let in since the relay began, whether they came to a room or not.
#[derive(Serialize)]
struct Refused<'a> {
    origins: Listed<RefusedOrigin<'a>>,
    tokens: Vec<RefusedTokens>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusedOrigin<'a> {
    origin: &'a str,
    count: u64,
    last_at: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusedTokens {
    reason: &'static str,
    /// What was wrong with the last of them.
    detail: String,
    count: u64,
    last_at: u64,
}

impl<'a> Refused<'a> {
    fn of(lists: &'a RefusedLists) -> Self {
        let origin = |seen: &'a relay::RefusedOrigin| RefusedOrigin {
            origin: &seen.origin,
            count: seen.count,
            last_at: seen.last_at.as_millis(),
        };
        let tokens = |seen: &relay::RefusedTokens| RefusedTokens {
            reason: seen.error.reason(),
            detail: seen.error.to_string(),
            count: seen.count,
            last_at: seen.last_at.as_millis(),
        };
        Self {
            origins: Listed {
                list: lists.origins.iter().map(origin).collect(),
                more: lists.origins_more,
            },
            tokens: lists.tokens.iter().map(tokens).collect(),
        }
    }
}

#[derive(Serialize)]
struct Timeline<'a> {
    list: Vec<Entry<'a>>,
    next: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Now {
    people: usize,
    rooms: usize,
    connections: i64,
    slow: usize,
    waiting_bytes: usize,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    unsaved_bytes: i64,
    /// Accepted updates that wait for what they stand on.
    waiting_updates: i64,
    memory_bytes: Option<u64>,
    /// How many deliveries took at most so many microseconds, and longer than the bound before;
    /// without a bound, longer than all.
    delivery: Vec<(Option<u64>, u64)>,
}

impl Now {
    fn of(metrics: &Metrics, observation: &Observation) -> Self {
        let connections = |door: &DoorLabel| metrics.connections.of(*door).get();
        let micros = |bound: std::time::Duration| bound.as_micros() as u64;
        Self {
            people: observation.people_total,
            rooms: observation.rooms_total,
            connections: DoorLabel::ALL.iter().map(connections).sum(),
            slow: observation.slow_total,
            waiting_bytes: observation.waiting_bytes,
            messages_in: metrics.messages_in.sum(),
            messages_out: metrics.messages_out.sum(),
            bytes_in: metrics.bytes_in.sum(),
            bytes_out: metrics.bytes_out.sum(),
            unsaved_bytes: metrics.unsaved_bytes.get(),
            waiting_updates: metrics.waiting_updates.get(),
            memory_bytes: process::resident_bytes(),
            delivery: metrics
                .delivery
                .counts()
                .map(|(bound, count)| (bound.map(micros), count))
                .collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Room<'a> {
    room: &'a str,
    kind: &'static str,
    people: usize,
    connections: usize,
    waiting: usize,
    waiting_updates: usize,
    slow: usize,
    is_durable: bool,
}

impl<'a> Room<'a> {
    fn of(seen: &'a ObservedRoom) -> Self {
        Self {
            room: seen.room.as_str(),
            kind: seen.room.kind().name(),
            people: seen.people,
            connections: seen.connections,
            waiting: seen.waiting,
            waiting_updates: seen.waiting_updates,
            slow: seen.slow,
            is_durable: seen.is_durable,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Person<'a> {
    user_id: &'a str,
    name: &'a str,
    rooms: usize,
    connections: usize,
    slow: usize,
    since: u64,
    is_hidden: bool,
}

impl<'a> Person<'a> {
    fn of(seen: &'a ObservedPerson) -> Self {
        Self {
            user_id: seen.user.as_str(),
            name: &seen.name,
            rooms: seen.rooms,
            connections: seen.connections,
            slow: seen.slow,
            since: seen.since.as_millis(),
            is_hidden: seen.is_hidden,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection<'a> {
    /// The number of the socket; a session of heartbeats has none.
    connection: Option<u64>,
    session: u64,
    /// The follow feed is no room.
    room: Option<&'a str>,
    user_id: &'a str,
    name: &'a str,
    role: Option<&'a str>,
    door: &'static str,
    since: u64,
    last_sign: u64,
    is_slow: bool,
    waiting_bytes: usize,
    is_participant: bool,
    is_waiting: bool,
    is_hidden: bool,
}

fn connections(opened: &Opened) -> Listed<Connection<'_>> {
    Listed {
        list: opened.connections.iter().map(Connection::of).collect(),
        more: opened.more,
    }
}

impl<'a> Connection<'a> {
    fn of(seen: &'a ObservedConnection) -> Self {
        let session = &seen.session;
        Self {
            connection: session.socket.map(|(_, id)| id.0),
            session: session.session.0,
            room: session.room.as_ref().map(RoomName::as_str),
            user_id: session.user.as_str(),
            name: &session.name,
            role: session.role.as_deref(),
            door: door(session.way),
            since: session.since.as_millis(),
            last_sign: seen.last_sign.as_millis(),
            is_slow: seen.is_slow,
            waiting_bytes: seen.waiting_bytes,
            is_participant: session.is_participant,
            is_waiting: session.is_waiting,
            is_hidden: session.is_hidden,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    at: u64,
    room: Option<&'a str>,
    /// Where there is no room: what they wrote instead.
    path: Option<&'a str>,
    user_id: Option<&'a str>,
    name: Option<&'a str>,
    door: Option<&'static str>,
    connection: Option<u64>,
    /// `came`, `waiting`, `closed`, `lost`, `expired`, `refused`, or `dropped`: a state of theirs was.
    what: &'static str,
    /// Of those who are not in now: whether they were.
    was_in: bool,
    code: Option<u16>,
    reason: Option<&'static str>,
    /// What was wrong with their token, if that was it.
    why: Option<&'static str>,
}

impl<'a> Entry<'a> {
    fn of(passage: &'a Passage) -> Self {
        let (room, path) = match &passage.spot {
            Spot::Room(room) => (Some(room.as_str()), None),
            Spot::Written(path) => (None, Some(&**path)),
            Spot::Nowhere => (None, None),
        };
        let (what, refusal) = told(passage.what);
        Self {
            at: Timestamp::as_millis(passage.at),
            room,
            path,
            user_id: passage.user.as_ref().map(UserId::as_str),
            name: passage.name.as_deref(),
            door: passage.way.map(door),
            connection: passage.connection.map(|id| id.0),
            what,
            was_in: matches!(passage.what, Happening::Left(_)),
            code: refusal.map(Refusal::code),
            reason: match passage.what {
                Happening::Left(Departure::Silent) => Some("NO_ANSWER"),
                Happening::StateDropped(limit) => Some(limit.name()),
                _ => refusal.map(Refusal::reason),
            },
            why: passage.why,
        }
    }
}

/// What happened, in a word.
fn told(what: Happening) -> (&'static str, Option<Refusal>) {
    match what {
        Happening::Came => ("came", None),
        Happening::Waits => ("waiting", None),
        Happening::StateDropped(_) => ("dropped", None),
        Happening::Left(Departure::Closed) => ("closed", None),
        Happening::Left(Departure::Lost | Departure::Silent) => ("lost", None),
        Happening::Left(Departure::Expired) => ("expired", None),
        Happening::Left(Departure::Refused(
            refusal @ (Refusal::HeartbeatTimeout | Refusal::TokenExpired),
        )) => ("expired", Some(refusal)),
        Happening::Left(Departure::Refused(refusal)) | Happening::TurnedAway(refusal) => {
            ("refused", Some(refusal))
        }
    }
}

fn door(way: Way) -> &'static str {
    match way {
        Way::Door(door) => door.name(),
        Way::Heartbeats => "heartbeat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::StateLimit;

    #[test]
    fn a_question_is_read_from_the_query() {
        let asked = question("find=b%C3%A9&room=board%2F1&user=ann&from=3.0.12&token=x").unwrap();
        assert_eq!(asked.find.as_deref(), Some("bé"));
        assert_eq!(asked.room.unwrap().as_str(), "board/1");
        assert_eq!(asked.user.unwrap().as_str(), "ann");
        assert_eq!(asked.from, [3, 0, 12]);
        let empty = question("find=&room=&user=&from=").unwrap();
        assert!(empty.find.is_none() && empty.room.is_none() && empty.user.is_none());
        assert!(empty.from.is_empty());
        assert!(question("room=a//b").is_err());
        assert!(question(&format!("find={}", "x".repeat(10_000))).is_err());
        for odd in ["x", "1.x", "-1", "1..2", "99999999999999999999"] {
            assert!(question(&format!("from={odd}")).unwrap().from.is_empty());
        }
        assert_eq!(read_numbers(&write_numbers(&[3, 0, 12])), [3, 0, 12]);
    }

    #[test]
    fn why_somebody_left_is_a_word_and_a_code() {
        let entry = |what| {
            let passage = Passage {
                at: Timestamp::from_millis(7),
                spot: Spot::Nowhere,
                user: None,
                name: None,
                way: Some(Way::Heartbeats),
                connection: None,
                what,
                why: None,
            };
            let entry = Entry::of(&passage);
            (entry.what, entry.was_in, entry.code, entry.reason)
        };
        let left = |departure| entry(Happening::Left(departure));
        let refused = |refusal| left(Departure::Refused(refusal));
        assert_eq!(entry(Happening::Came), ("came", false, None, None));
        assert_eq!(left(Departure::Closed), ("closed", true, None, None));
        assert_eq!(left(Departure::Lost), ("lost", true, None, None));
        let silent = ("lost", true, None, Some("NO_ANSWER"));
        assert_eq!(left(Departure::Silent), silent);
        assert_eq!(left(Departure::Expired), ("expired", true, None, None));
        let timeout = ("expired", true, Some(4408), Some("HEARTBEAT_TIMEOUT"));
        assert_eq!(refused(Refusal::HeartbeatTimeout), timeout);
        let slow = ("refused", true, Some(1013), Some("SLOW"));
        assert_eq!(refused(Refusal::Slow), slow);
        let dropped = ("dropped", false, None, Some("state"));
        assert_eq!(entry(Happening::StateDropped(StateLimit::State)), dropped);
        let full = ("refused", false, Some(1013), Some("BOARD_FULL"));
        assert_eq!(entry(Happening::TurnedAway(Refusal::BoardFull)), full);
    }
}
