//! The JSON of presence: the contract's shapes, made from the core's types.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{RoomName, UserId};
use crate::presence::Participant;
use crate::relay::ActiveRoom;

/// A room's presence: `{"room","participants":[…]}`.
pub(super) fn room_presence(room: &RoomName, participants: &[Participant]) -> String {
    #[derive(Serialize)]
    struct RoomPresence<'a> {
        room: &'a str,
        participants: Vec<ParticipantShape<'a>>,
    }
    to_line(&RoomPresence {
        room: room.as_str(),
        participants: participants.iter().map(ParticipantShape::of).collect(),
    })
}

/// A user's presence: `{"userId","rooms":[{"room", …participant}]}`.
pub(super) fn user_presence(user: &UserId, rooms: &[(RoomName, Participant)]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct UserPresence<'a> {
        user_id: &'a str,
        rooms: Vec<UserRoomShape<'a>>,
    }
    to_line(&UserPresence {
        user_id: user.as_str(),
        rooms: rooms
            .iter()
            .map(|(room, participant)| UserRoomShape::of(room, participant))
            .collect(),
    })
}

/// A user in one room: `{"room", …participant}`.
pub(super) fn user_room(room: &RoomName, participant: &Participant) -> String {
    to_line(&UserRoomShape::of(room, participant))
}

/// Rooms below a prefix: `{"under","rooms":[…],"totalActiveUsers"}`, distinct users.
pub(super) fn rooms_under(prefix: &RoomName, rooms: &[ActiveRoom]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct RoomsUnder<'a> {
        under: &'a str,
        rooms: Vec<ActiveRoomShape<'a>>,
        total_active_users: usize,
    }
    let users = rooms.iter().flat_map(|active| &active.users);
    let distinct: HashSet<&UserId> = users.map(|participant| &participant.user).collect();
    to_line(&RoomsUnder {
        under: prefix.as_str(),
        rooms: rooms.iter().map(ActiveRoomShape::of).collect(),
        total_active_users: distinct.len(),
    })
}

/// One of them: `{"room","activeUsers":[…],"activeCount"}`.
pub(super) fn active_room(active: &ActiveRoom) -> String {
    to_line(&ActiveRoomShape::of(active))
}

/// One participant: always nine fields.
pub(super) fn participant(participant: &Participant) -> String {
    to_line(&ParticipantShape::of(participant))
}

#[derive(Serialize)]
struct UserRoomShape<'a> {
    room: &'a str,
    #[serde(flatten)]
    participant: ParticipantShape<'a>,
}

impl<'a> UserRoomShape<'a> {
    fn of(room: &'a RoomName, participant: &'a Participant) -> Self {
        Self {
            room: room.as_str(),
            participant: ParticipantShape::of(participant),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActiveRoomShape<'a> {
    room: &'a str,
    active_users: Vec<ParticipantShape<'a>>,
    active_count: usize,
}

impl<'a> ActiveRoomShape<'a> {
    fn of(active: &'a ActiveRoom) -> Self {
        Self {
            room: active.room.as_str(),
            active_users: active.users.iter().map(ParticipantShape::of).collect(),
            active_count: active.users.len(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParticipantShape<'a> {
    user_id: &'a str,
    name: &'a str,
    avatar: Option<&'a str>,
    role: Option<&'a str>,
    color: String,
    status: &'static str,
    is_connected: bool,
    last_seen: String,
    data: Option<&'a RawValue>,
}

impl<'a> ParticipantShape<'a> {
    fn of(participant: &'a Participant) -> Self {
        let shown = &participant.appearance;
        Self {
            user_id: participant.user.as_str(),
            name: &shown.name,
            avatar: shown.avatar.as_deref(),
            role: shown.role.as_deref(),
            color: shown.color.to_string(),
            status: shown.status.name(),
            is_connected: participant.is_connected,
            last_seen: participant.last_seen.to_rfc3339(),
            data: shown
                .data
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok()),
        }
    }
}

/// Compact JSON on one line: what a client sent may hold line breaks between its tokens, and a
/// line break ends a server-sent event's field. Inside strings JSON escapes them.
fn to_line(shape: &impl Serialize) -> String {
    let text = serde_json::to_string(shape).unwrap_or_else(|error| {
        tracing::error!(%error, "presence could not be written as JSON");
        "null".to_owned()
    });
    if text.contains(['\r', '\n']) {
        text.replace(['\r', '\n'], " ")
    } else {
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::Color;
    use crate::presence::{Appearance, Status};

    pub(in crate::http) fn ann() -> Participant {
        Participant {
            user: UserId::parse("ann").unwrap(),
            appearance: Appearance {
                name: "Ann \"A\"".into(),
                avatar: None,
                role: Some("coach".into()),
                color: Color::parse("#3b82f6").unwrap(),
                status: Status::Online,
                data: Some("{\n\"cursor\": {\"x\": 1e400}\r}".into()),
            },
            is_connected: true,
            last_seen: Timestamp::from_millis(1_795_249_800_123),
        }
    }

    #[test]
    fn a_participant_is_always_nine_fields() {
        assert_eq!(
            participant(&ann()),
            r##"{"userId":"ann","name":"Ann \"A\"","avatar":null,"role":"coach","color":"#3b82f6","status":"online","isConnected":true,"lastSeen":"2026-11-21T08:30:00.123Z","data":{ "cursor": {"x": 1e400} }}"##
        );
        let mut bare = ann();
        bare.appearance.role = None;
        bare.appearance.data = Some("not json".into());
        let text = participant(&bare);
        assert!(text.contains(r#""role":null"#), "{text}");
        assert!(text.ends_with(r#""data":null}"#), "{text}");
    }

    #[test]
    fn rooms_and_users_hold_participants() {
        let room = RoomName::parse("session/42").unwrap();
        let ann = ann();
        let one = participant(&ann);
        assert_eq!(
            room_presence(&room, std::slice::from_ref(&ann)),
            format!(r#"{{"room":"session/42","participants":[{one}]}}"#)
        );
        assert_eq!(
            room_presence(&room, &[]),
            r#"{"room":"session/42","participants":[]}"#
        );
        let rooms = user_presence(&ann.user, &[(room.clone(), ann.clone())]);
        let entry = user_room(&room, &ann);
        assert_eq!(rooms, format!(r#"{{"userId":"ann","rooms":[{entry}]}}"#));
        assert_eq!(
            rooms,
            format!(
                r#"{{"userId":"ann","rooms":[{{"room":"session/42",{}]}}"#,
                &one[1..]
            )
        );
    }

    #[test]
    fn under_a_prefix_users_are_counted_once() {
        let active = |name, users: &[Participant]| ActiveRoom {
            room: RoomName::parse(name).unwrap(),
            users: users.to_vec(),
        };
        let ben = Participant {
            user: UserId::parse("ben").unwrap(),
            ..ann()
        };
        let rooms = [
            active("event/a", &[ann(), ben]),
            active("event/b", &[ann()]),
        ];
        let prefix = RoomName::parse("event").unwrap();
        let one = participant(&ann());
        let last = format!(r#"{{"room":"event/b","activeUsers":[{one}],"activeCount":1}}"#);
        assert_eq!(active_room(&rooms[1]), last);
        let text = rooms_under(&prefix, &rooms);
        assert!(
            text.starts_with(r#"{"under":"event","rooms":[{"room":"event/a""#),
            "{text}"
        );
        assert!(text.contains(r#""activeCount":2}"#), "{text}");
        assert!(
            text.ends_with(&format!(r#"{last}],"totalActiveUsers":2}}"#)),
            "{text}"
        );
        assert_eq!(
            rooms_under(&prefix, &[]),
            r#"{"under":"event","rooms":[],"totalActiveUsers":0}"#
        );
    }
}
