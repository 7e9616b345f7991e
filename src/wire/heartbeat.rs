//! Presence without a socket: the bodies of heartbeats and leaves, as programs and beacons post them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{
    HEARTBEAT_DATA_BYTES_MAX, HEARTBEAT_DATA_DEPTH_MAX, HEARTBEAT_INTERVAL_MAX,
    HEARTBEAT_INTERVAL_MIN, HEARTBEAT_SESSION_BYTES_MAX,
};
use crate::model::{BadRoomName, RoomName, SessionToken};
use crate::wire::dialect::Object;
use crate::wire::json;

/// "I am here."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heartbeat {
    /// Where.
    pub room: RoomName,
    /// The client's name for this stay of its user's: a tab, say.
    pub session: Arc<str>,
    /// When the next heartbeat may be expected, if the client says.
    pub interval: Option<Duration>,
    /// What the user does, if the client says.
    pub doing: Option<Doing>,
    /// What else it says, as the text of a JSON object; `None` leaves what was said before.
    pub data: Option<Arc<str>>,
}

/// What a heartbeat may say that its user does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Doing {
    /// Something.
    Active,
    /// Nothing.
    Idle,
    /// Typing, for some seconds from now.
    Typing,
}

/// "I am gone."
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Leave {
    /// By what the heartbeats were answered.
    Token(SessionToken),
    /// By name; whose session it is a token must tell.
    Session {
        /// Where.
        room: RoomName,
        /// The client's name for it.
        session: Arc<str>,
    },
}

/// Why a body is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadBody {
    /// No JSON, a missing or wrong field, a number out of its range.
    #[error("not the JSON expected: {0}")]
    Malformed(Cow<'static, str>),
    /// `room` is no room's name.
    #[error(transparent)]
    Room(#[from] BadRoomName),
    /// `data` is larger than this many bytes.
    #[error("`data` has at most {0} bytes")]
    DataTooLarge(usize),
}

/// Reads a heartbeat.
pub fn decode(body: &[u8]) -> Result<Heartbeat, BadBody> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape<'a> {
        #[serde(borrow)]
        room: Cow<'a, str>,
        #[serde(borrow)]
        session_id: Cow<'a, str>,
        interval: Option<f64>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let shape: Shape<'_> = read(body)?;
    let said = shape.data.filter(|data| !json::is_null(data.get()));
    let (doing, data) = match said {
        Some(said) => split_data(said.get())?,
        None => (None, None),
    };
    Ok(Heartbeat {
        session: session(&shape.session_id)?,
        interval: shape.interval.map(interval).transpose()?,
        room: RoomName::parse(&shape.room)?,
        doing,
        data,
    })
}

/// Reads a leave.
pub fn decode_leave(body: &[u8]) -> Result<Leave, BadBody> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape<'a> {
        #[serde(borrow)]
        session_token: Option<Cow<'a, str>>,
        #[serde(borrow)]
        room: Option<Cow<'a, str>>,
        #[serde(borrow)]
        session_id: Option<Cow<'a, str>>,
    }
    let shape: Shape<'_> = read(body)?;
    match (shape.session_token, shape.room, shape.session_id) {
        (Some(token), ..) => Ok(Leave::Token(token.as_ref().into())),
        (None, Some(room), Some(id)) => Ok(Leave::Session {
            session: session(&id)?,
            room: RoomName::parse(&room)?,
        }),
        (None, ..) => Err(malformed("`sessionToken`, or `room` and `sessionId`")),
    }
}

/// The answer to a heartbeat. `has_left`: the session left before it came, and it counts for nothing.
pub fn answer(token: &SessionToken, has_left: bool) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        session_token: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        left: Option<bool>,
    }
    serde_json::to_string(&Answer {
        session_token: token,
        left: has_left.then_some(true),
    })
    .unwrap_or_default()
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadBody> {
    let text = std::str::from_utf8(body).map_err(|_| malformed("no UTF-8"))?;
    let object: Result<Object<T>, _> = serde_json::from_str(text);
    object
        .map(|Object(value)| value)
        .map_err(|error| BadBody::Malformed(error.to_string().into()))
}

fn malformed(why: &'static str) -> BadBody {
    BadBody::Malformed(why.into())
}

fn session(id: &str) -> Result<Arc<str>, BadBody> {
    match id.len() {
        1..=HEARTBEAT_SESSION_BYTES_MAX => Ok(id.into()),
        _ => Err(malformed("`sessionId` has 1 to 256 bytes")),
    }
}

fn interval(millis: f64) -> Result<Duration, BadBody> {
    let range =
        HEARTBEAT_INTERVAL_MIN.as_millis() as f64..=HEARTBEAT_INTERVAL_MAX.as_millis() as f64;
    match range.contains(&millis) {
        true => Ok(Duration::from_millis(millis as u64)),
        false => Err(malformed("`interval` is 250 to 600000 (milliseconds)")),
    }
}

/// Takes the status out of what is said; the rest is kept as it came.
fn split_data(text: &str) -> Result<(Option<Doing>, Option<Arc<str>>), BadBody> {
    if HEARTBEAT_DATA_BYTES_MAX < text.len() {
        return Err(BadBody::DataTooLarge(HEARTBEAT_DATA_BYTES_MAX));
    }
    if json::check(text, HEARTBEAT_DATA_DEPTH_MAX).is_err() {
        return Err(malformed("`data` nests too deep"));
    }
    let mut from = serde_json::Deserializer::from_str(text);
    let Fields(fields) =
        Fields::deserialize(&mut from).map_err(|_| malformed("`data` is an object"))?;
    let mut doing = None;
    let mut rest = String::from("{");
    for (key, value) in fields {
        if key == "status" {
            doing = Some(match value.get() {
                "\"active\"" => Doing::Active,
                "\"idle\"" => Doing::Idle,
                "\"typing\"" => Doing::Typing,
                _ => return Err(malformed("`status` is `active`, `idle` or `typing`")),
            });
            continue;
        }
        if rest.len() > 1 {
            rest.push(',');
        }
        rest.push_str(&serde_json::to_string(&key).unwrap_or_default());
        rest.push(':');
        rest.push_str(value.get());
    }
    rest.push('}');
    Ok((doing, Some(rest.into())))
}

/// An object's fields as they came; of several with one name the last, as everybody reads it.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    match fields.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, known)) => *known = value,
                        None => fields.push((key, value)),
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn beat(body: &str) -> Heartbeat {
        decode(body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    fn with_data(data: &str) -> String {
        format!(r#"{{"room":"event/expo","sessionId":"tab","data":{data}}}"#)
    }

    #[test]
    fn a_heartbeat_says_who_where_and_what() {
        let bare = Heartbeat {
            room: room("event/expo"),
            session: "tab".into(),
            interval: None,
            doing: None,
            data: None,
        };
        assert_eq!(beat(r#"{"room":"event/expo","sessionId":"tab"}"#), bare);
        assert_eq!(
            beat(
                r#"{"sessionId":"t\u0061b","more":[],"room":"event\/expo","interval":null,"data":null}"#
            ),
            bare
        );
        let full = beat(
            r#"{"room":"event/expo","sessionId":"tab","interval":30000,"data":{"status":"typing","page":"/a"}}"#,
        );
        assert_eq!(
            full,
            Heartbeat {
                interval: Some(Duration::from_secs(30)),
                doing: Some(Doing::Typing),
                data: Some(r#"{"page":"/a"}"#.into()),
                ..bare
            }
        );
    }

    #[test]
    fn data_is_kept_as_it_came_but_for_the_status() {
        let data = |text| beat(&with_data(text)).data.unwrap().to_string();
        assert_eq!(data("{}"), "{}");
        assert_eq!(data(r#"{"status":"active"}"#), "{}");
        assert_eq!(
            data(r#"{ "a" : 1e400, "status":"idle", "b":{"status":"deep"}, "c":"\ud800" }"#),
            r#"{"a":1e400,"b":{"status":"deep"},"c":"\ud800"}"#
        );
        assert_eq!(data(r#"{"a":1,"\u0061":2}"#), r#"{"a":2}"#);
        assert_eq!(data("{\"\\n\":\n1}"), "{\"\\n\":1}");
    }

    #[test]
    fn of_several_statuses_the_last_counts() {
        let doing = |text| beat(&with_data(text)).doing;
        assert_eq!(
            doing(r#"{"status":"idle","status":"active"}"#),
            Some(Doing::Active)
        );
        assert_eq!(doing(r#"{"mood":"fine"}"#), None);
    }

    #[test]
    fn what_is_out_of_bounds_is_not_taken() {
        let bad = |body: &str| decode(body.as_bytes()).unwrap_err();
        let is_malformed = |body: &str| matches!(bad(body), BadBody::Malformed(_));
        for body in [
            "",
            "[]",
            "not json",
            r#"["event/expo","tab"]"#,
            r#"{"room":"event/expo"}"#,
            r#"{"sessionId":"tab"}"#,
            r#"{"room":1,"sessionId":"tab"}"#,
            r#"{"room":"event/expo","sessionId":7}"#,
            r#"{"room":"event/expo","sessionId":""}"#,
            &format!(
                r#"{{"room":"event/expo","sessionId":"{}"}}"#,
                "x".repeat(257)
            ),
            r#"{"room":"event/expo","sessionId":"tab","interval":249.9}"#,
            r#"{"room":"event/expo","sessionId":"tab","interval":600001}"#,
            r#"{"room":"event/expo","sessionId":"tab","interval":-1}"#,
            r#"{"room":"event/expo","sessionId":"tab","interval":"30000"}"#,
            &with_data("[]"),
            &with_data("\"typing\""),
            &with_data(r#"{"status":"online"}"#),
            &with_data(r#"{"status":"offline"}"#),
            &with_data(r#"{"status":null}"#),
            &with_data(&format!(r#"{{"a":{}{}}}"#, "[".repeat(64), "]".repeat(64))),
        ] {
            assert!(is_malformed(body), "{body}");
        }
        assert!(matches!(
            decode(b"{\"room\":\"\xff\"}"),
            Err(BadBody::Malformed(_))
        ));
        let bad_room = r#"{"room":"a//b","sessionId":"tab"}"#;
        assert_eq!(bad(bad_room), BadBody::Room(BadRoomName::Segment));
        let of_size = |bytes: usize| {
            let data = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - r#"{"a":""}"#.len()));
            decode(with_data(&data).as_bytes())
        };
        assert!(of_size(HEARTBEAT_DATA_BYTES_MAX).is_ok());
        assert_eq!(
            of_size(HEARTBEAT_DATA_BYTES_MAX + 1),
            Err(BadBody::DataTooLarge(HEARTBEAT_DATA_BYTES_MAX))
        );
    }

    #[test]
    fn whoever_leaves_has_a_token_or_says_which_session() {
        let leave = |body: &str| decode_leave(body.as_bytes());
        assert_eq!(
            leave(r#"{"sessionToken":"abc","room":7e0}"#.replace("7e0", "\"a\"").as_str()),
            Ok(Leave::Token("abc".into()))
        );
        assert_eq!(
            leave(r#"{"room":"event/expo","sessionId":"tab"}"#),
            Ok(Leave::Session {
                room: room("event/expo"),
                session: "tab".into(),
            })
        );
        for body in [
            "{}",
            "",
            r#"{"room":"a"}"#,
            r#"{"sessionId":"tab"}"#,
            r#"{"sessionToken":1}"#,
        ] {
            assert!(matches!(leave(body), Err(BadBody::Malformed(_))), "{body}");
        }
        let bad_room = leave(r#"{"room":"","sessionId":"tab"}"#);
        assert_eq!(bad_room, Err(BadBody::Room(BadRoomName::Length)));
    }

    #[test]
    fn the_answer_is_the_sessions_token() {
        let token = SessionToken::from("a\"b");
        assert_eq!(answer(&token, false), r#"{"sessionToken":"a\"b"}"#);
        let left = r#"{"sessionToken":"a\"b","left":true}"#;
        assert_eq!(answer(&token, true), left);
    }

    proptest! {
        #[test]
        fn no_body_is_too_much(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body);
            let _ = decode_leave(&body);
        }

        #[test]
        fn what_is_kept_is_one_object_without_a_status(
            fields in proptest::collection::vec(("[a-z\"\\\\é]{0,3}|status", "(active|[a-z]{0,3})"), 0..6),
        ) {
            let object: serde_json::Map<_, _> = fields
                .into_iter()
                .map(|(key, value)| (key, serde_json::Value::from(value)))
                .collect();
            let body = with_data(&serde_json::to_string(&object).unwrap());
            match decode(body.as_bytes()) {
                Ok(beat) => {
                    let kept: serde_json::Map<_, _> = serde_json::from_str(&beat.data.unwrap()).unwrap();
                    let mut wanted = object.clone();
                    let status = wanted.remove("status");
                    prop_assert_eq!(kept, wanted);
                    prop_assert_eq!(status.is_some(), beat.doing.is_some());
                }
                Err(_) => prop_assert!(object.contains_key("status")),
            }
        }
    }
}
