//! The dialect of boards: `{"type": …, "payload": {…}}`.
//!
//! What a session shows beside its status is kept as the JSON text that everybody else is shown
//! too, `{"cursor":{"x":…,"y":…}}`. Elsewhere people may show anything (by a heartbeat, say), so
//! whatever the text is, a board shows the cursor in it or none.

use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::model::Color;
use crate::wire::dialect::{self, BadMessage, Complaint, Object};

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage<'a> {
    /// It is there.
    Heartbeat,
    /// What its user is doing: at least one of the two.
    Update {
        /// What they say of themselves.
        status: Option<Reported>,
        /// Where they point.
        cursor: Option<Cursor>,
    },
    /// A new token.
    Auth {
        /// The token.
        token: Cow<'a, str>,
    },
}

/// What a client may say of its user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reported {
    /// There; `active` is the same.
    Online,
    /// There, quiet for a while.
    Idle,
    /// There, quiet for long.
    Away,
}

impl Reported {
    fn of_name(name: &str) -> Result<Self, BadMessage> {
        match name {
            "active" | "online" => Ok(Self::Online),
            "idle" => Ok(Self::Idle),
            "away" => Ok(Self::Away),
            _ => Err(BadMessage),
        }
    }
}

/// A place on a board.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Cursor {
    /// From the left.
    #[serde(deserialize_with = "exact_number", serialize_with = "as_short_number")]
    pub x: f64,
    /// From the top.
    #[serde(deserialize_with = "exact_number", serialize_with = "as_short_number")]
    pub y: f64,
}

impl Cursor {
    /// The JSON text that is kept of it.
    pub fn to_data(self) -> String {
        let mut out = Vec::new();
        dialect::write(&mut out, &Data { cursor: Some(self) });
        String::from_utf8(out).unwrap_or_default()
    }

    /// The cursor in what somebody shows, if there is one.
    pub fn of_data(data: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Shown {
            cursor: Object<Cursor>,
        }
        let shown: Object<Shown> = serde_json::from_str(data).ok()?;
        Some(shown.0.cursor.0)
    }
}

#[derive(Serialize)]
struct Data {
    cursor: Option<Cursor>,
}

/// Reads what a client says.
pub fn decode(text: &str) -> Result<ClientMessage<'_>, BadMessage> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let Envelope { kind } = dialect::read(text)?;
    match &*kind {
        "heartbeat" => {
            #[derive(Deserialize)]
            struct Nothing {}
            #[derive(Deserialize)]
            struct Heartbeat {
                #[serde(rename = "payload")]
                _payload: Option<Object<Nothing>>,
            }
            // Whatever may be in its payload, there is nothing in it for us.
            dialect::read::<Heartbeat>(text)?;
            Ok(ClientMessage::Heartbeat)
        }
        "presence:update" => {
            #[derive(Deserialize)]
            struct Update<'a> {
                #[serde(borrow)]
                payload: Object<Payload<'a>>,
            }
            #[derive(Deserialize)]
            struct Payload<'a> {
                #[serde(borrow)]
                status: Option<Cow<'a, str>>,
                cursor: Option<Object<Cursor>>,
            }
            let Object(Payload { status, cursor }) = dialect::read::<Update<'_>>(text)?.payload;
            let status = status.as_deref().map(Reported::of_name).transpose()?;
            if status.is_none() && cursor.is_none() {
                return Err(BadMessage);
            }
            Ok(ClientMessage::Update {
                status,
                cursor: cursor.map(|Object(cursor)| cursor),
            })
        }
        "auth" => Ok(ClientMessage::Auth {
            token: dialect::read_token(text)?,
        }),
        _ => Err(BadMessage),
    }
}

/// What the server says.
#[derive(Clone, Debug)]
pub enum ServerMessage<'a> {
    /// First of all, to who has been let in.
    Joined {
        /// The board, as the route names it.
        board: &'a str,
        /// The receiver's session.
        session: &'a str,
        /// Everybody, the receiver too.
        users: &'a [User<'a>],
    },
    /// Somebody has come.
    UserJoined {
        /// The board.
        board: &'a str,
        /// Who.
        user: User<'a>,
    },
    /// Somebody is doing something else.
    Update {
        /// The board.
        board: &'a str,
        /// Whose id.
        user: &'a str,
        /// What they are doing.
        status: &'a str,
        /// Where they point.
        cursor: Option<Cursor>,
    },
    /// Somebody has gone.
    UserLeft {
        /// The board.
        board: &'a str,
        /// Whose id.
        user: &'a str,
    },
    /// The receiver waits for a place.
    Queued {
        /// The board.
        board: &'a str,
        /// How many are to be let in before, and one: the first is 1.
        position: usize,
    },
    /// Something is not taken, or to be done.
    Error(Complaint),
    /// A new token is in force.
    AuthOk {
        /// Until when, in milliseconds since 1970.
        expires_at_millis: u64,
    },
}

/// Somebody on a board.
#[derive(Clone, Debug, Serialize)]
pub struct User<'a> {
    /// The id.
    #[serde(rename = "user_id")]
    pub user: &'a str,
    /// The name.
    #[serde(rename = "display_name")]
    pub name: &'a str,
    /// An avatar's address.
    #[serde(rename = "avatar_url")]
    pub avatar: Option<&'a str>,
    /// What they are doing.
    pub status: &'a str,
    /// Their colour.
    #[serde(serialize_with = "as_text")]
    pub color: Color,
}

impl ServerMessage<'_> {
    /// Appends the message as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Joined {
                board,
                session,
                users,
            } => {
                let payload = JoinedPayload {
                    board_id: board,
                    session_id: session,
                    current_users: users,
                };
                envelope(out, "board:joined", &payload);
            }
            Self::UserJoined { board, ref user } => {
                let payload = UserJoinedPayload {
                    board_id: board,
                    user,
                };
                envelope(out, "user:joined", &payload);
            }
            Self::Update {
                board,
                user,
                status,
                cursor,
            } => {
                let payload = UpdatePayload {
                    board_id: board,
                    user_id: user,
                    status,
                    cursor,
                };
                envelope(out, "presence:update", &payload);
            }
            Self::UserLeft { board, user } => {
                let payload = UserLeftPayload {
                    board_id: board,
                    user_id: user,
                };
                envelope(out, "user:left", &payload);
            }
            Self::Queued { board, position } => {
                let payload = QueuedPayload {
                    board_id: board,
                    position,
                };
                envelope(out, "board:queued", &payload);
            }
            Self::Error(complaint) => {
                let payload = ErrorPayload {
                    code: complaint.code(),
                    message: complaint.message(),
                };
                envelope(out, "error", &payload);
            }
            // Renewal is the same in all dialects, and has no payload.
            Self::AuthOk { expires_at_millis } => dialect::write_auth_ok(out, expires_at_millis),
        }
    }
}

fn envelope(out: &mut Vec<u8>, kind: &str, payload: &impl Serialize) {
    #[derive(Serialize)]
    struct Envelope<'a, P> {
        #[serde(rename = "type")]
        kind: &'a str,
        payload: &'a P,
    }
    dialect::write(out, &Envelope { kind, payload });
}

#[derive(Serialize)]
struct JoinedPayload<'a> {
    board_id: &'a str,
    session_id: &'a str,
    current_users: &'a [User<'a>],
}

#[derive(Serialize)]
struct UserJoinedPayload<'a> {
    board_id: &'a str,
    #[serde(flatten)]
    user: &'a User<'a>,
}

#[derive(Serialize)]
struct UpdatePayload<'a> {
    board_id: &'a str,
    user_id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Cursor>,
}

#[derive(Serialize)]
struct UserLeftPayload<'a> {
    board_id: &'a str,
    user_id: &'a str,
}

#[derive(Serialize)]
struct QueuedPayload<'a> {
    board_id: &'a str,
    position: usize,
}

#[derive(Serialize)]
struct ErrorPayload {
    code: &'static str,
    message: &'static str,
}

fn as_text<S: Serializer>(color: &Color, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(color)
}

/// As JavaScript reads numbers: the nearest there is. (What `serde_json` does by itself is quicker,
/// and may miss by one.)
fn exact_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?.get();
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number
        .filter(|_| is_number)
        .ok_or_else(|| Error::custom("no finite number"))
}

/// As JavaScript writes numbers: whole ones without a fraction.
fn as_short_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    /// Below this, every whole number is one that both sides have.
    const WHOLE_MAX: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn update(status: Option<Reported>, cursor: Option<(f64, f64)>) -> ClientMessage<'static> {
        ClientMessage::Update {
            status,
            cursor: cursor.map(|(x, y)| Cursor { x, y }),
        }
    }

    #[test]
    fn clients_are_understood() {
        let cases = [
            (
                r#"{"type":"heartbeat","payload":{}}"#,
                ClientMessage::Heartbeat,
            ),
            (r#"{"type":"heartbeat"}"#, ClientMessage::Heartbeat),
            (
                r#" {"payload":{"at":[[1]],"board_id":7},"type":"heartbeat","token":5} "#,
                ClientMessage::Heartbeat,
            ),
            (
                r#"{"type":"presence:update","payload":{"status":"active"}}"#,
                update(Some(Reported::Online), None),
            ),
            (
                r#"{"type":"presence:update","payload":{"status":"online"}}"#,
                update(Some(Reported::Online), None),
            ),
            (
                r#"{"type":"presence:update","payload":{"status":"idle","cursor":null}}"#,
                update(Some(Reported::Idle), None),
            ),
            (
                r#"{"type":"presence:update","payload":{"cursor":{"x":-1.5,"y":2e3,"z":0}}}"#,
                update(None, Some((-1.5, 2_000.0))),
            ),
            (
                r#"{"type":"presence:update","payload":{"status":"away","cursor":{"x":1,"y":2}},"token":{}}"#,
                update(Some(Reported::Away), Some((1.0, 2.0))),
            ),
            (
                r#"{"type":"auth","token":"a.b.c"}"#,
                ClientMessage::Auth {
                    token: "a.b.c".into(),
                },
            ),
            (
                r#"{"\u0074ype":"\u0061uth","token":"a\u002e"}"#,
                ClientMessage::Auth { token: "a.".into() },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_whole() {
        for text in [
            "",
            "{",
            "null",
            "5",
            r#""heartbeat""#,
            r#"["heartbeat"]"#,
            "{}",
            r#"{"type":"heartbeat"} x"#,
            r#"{"type":5}"#,
            r#"{"type":null}"#,
            r#"{"type":"Heartbeat"}"#,
            r#"{"type":"user:left","payload":{}}"#,
            r#"{"type":"heartbeat","payload":5}"#,
            r#"{"type":"heartbeat","payload":[]}"#,
            r#"{"type":"presence:update"}"#,
            r#"{"type":"presence:update","payload":{}}"#,
            r#"{"type":"presence:update","payload":[]}"#,
            r#"{"type":"presence:update","payload":["idle",null]}"#,
            r#"{"type":"presence:update","payload":{"status":"busy"}}"#,
            r#"{"type":"presence:update","payload":{"status":"offline"}}"#,
            r#"{"type":"presence:update","payload":{"status":"typing"}}"#,
            r#"{"type":"presence:update","payload":{"status":1}}"#,
            r#"{"type":"presence:update","payload":{"status":{"idle":null}}}"#,
            r#"{"type":"presence:update","payload":{"status":null}}"#,
            r#"{"type":"presence:update","payload":{"cursor":[1,2]}}"#,
            r#"{"type":"presence:update","payload":{"cursor":{"x":1}}}"#,
            r#"{"type":"presence:update","payload":{"cursor":{"x":1,"y":"2"}}}"#,
            r#"{"type":"presence:update","payload":{"cursor":{"x":1,"y":null}}}"#,
            r#"{"type":"presence:update","payload":{"cursor":{"x":1e999,"y":0}}}"#,
            r#"{"type":"presence:update","payload":{"cursor":{"x":NaN,"y":0}}}"#,
            r#"{"type":"presence:update","payload":{"status":"idle","cursor":"here"}}"#,
            r#"{"type":"presence:update","status":"idle"}"#,
            r#"{"type":"auth"}"#,
            r#"{"type":"auth","token":null}"#,
            r#"{"type":"auth","payload":{"token":"a"}}"#,
        ] {
            assert_eq!(decode(text), Err(BadMessage), "{text}");
        }
    }

    #[test]
    fn unknown_fields_may_be_as_deep_as_they_like() {
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        let text = format!(r#"{{"type":"heartbeat","x":{deep}}}"#);
        assert_eq!(decode(&text), Ok(ClientMessage::Heartbeat));
    }

    fn written(message: &ServerMessage<'_>) -> String {
        let mut out = Vec::new();
        message.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn jane() -> User<'static> {
        User {
            user: "user_456",
            name: "Jane \"J\" Smith",
            avatar: Some("https://a.example/j.png"),
            status: "online",
            color: Color::parse("#3b82f6").unwrap(),
        }
    }

    #[test]
    fn the_server_speaks_as_agreed() {
        let bare = User {
            avatar: None,
            ..jane()
        };
        let users = [jane(), bare];
        let joined = ServerMessage::Joined {
            board: "board_123",
            session: "session_abc",
            users: &users,
        };
        assert_eq!(
            written(&joined),
            r##"{"type":"board:joined","payload":{"board_id":"board_123","session_id":"session_abc","current_users":[{"user_id":"user_456","display_name":"Jane \"J\" Smith","avatar_url":"https://a.example/j.png","status":"online","color":"#3b82f6"},{"user_id":"user_456","display_name":"Jane \"J\" Smith","avatar_url":null,"status":"online","color":"#3b82f6"}]}}"##
        );
        let cases = [
            (
                ServerMessage::UserJoined {
                    board: "b",
                    user: jane(),
                },
                r##"{"type":"user:joined","payload":{"board_id":"b","user_id":"user_456","display_name":"Jane \"J\" Smith","avatar_url":"https://a.example/j.png","status":"online","color":"#3b82f6"}}"##,
            ),
            (
                ServerMessage::Update {
                    board: "b",
                    user: "ann",
                    status: "idle",
                    cursor: None,
                },
                r#"{"type":"presence:update","payload":{"board_id":"b","user_id":"ann","status":"idle"}}"#,
            ),
            (
                ServerMessage::Update {
                    board: "b",
                    user: "ann",
                    status: "online",
                    cursor: Some(Cursor { x: 10.0, y: -0.25 }),
                },
                r#"{"type":"presence:update","payload":{"board_id":"b","user_id":"ann","status":"online","cursor":{"x":10,"y":-0.25}}}"#,
            ),
            (
                ServerMessage::UserLeft {
                    board: "b",
                    user: "ann",
                },
                r#"{"type":"user:left","payload":{"board_id":"b","user_id":"ann"}}"#,
            ),
            (
                ServerMessage::Queued {
                    board: "b",
                    position: 1,
                },
                r#"{"type":"board:queued","payload":{"board_id":"b","position":1}}"#,
            ),
            (
                ServerMessage::Error(Complaint::BoardFull),
                r#"{"type":"error","payload":{"code":"BOARD_FULL","message":"the board is full"}}"#,
            ),
            (
                ServerMessage::AuthOk {
                    expires_at_millis: 1_795_249_800_000,
                },
                r#"{"type":"auth:ok","exp":1795249800}"#,
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(written(&message), expected);
        }
    }

    #[test]
    fn a_cursor_is_found_in_whatever_somebody_shows() {
        let cursor = Cursor { x: 1.5, y: -3.0 };
        assert_eq!(cursor.to_data(), r#"{"cursor":{"x":1.5,"y":-3}}"#);
        assert_eq!(Cursor::of_data(&cursor.to_data()), Some(cursor));
        assert_eq!(
            Cursor::of_data(r#"{"mood":[1],"cursor":{"x":1.5,"y":-3,"name":"a"}}"#),
            Some(cursor)
        );
        for none in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"cursor":null}"#,
            r#"{"cursor":[1,2]}"#,
            r#"{"cursor":{"x":1}}"#,
            r#"{"cursor":{"x":"1","y":2}}"#,
            r#"[{"x":1,"y":2}]"#,
            r#"{"cursor":{"x":1e999,"y":2}}"#,
        ] {
            assert_eq!(Cursor::of_data(none), None, "{none}");
        }
    }

    /// Texts that are nearly messages.
    fn message_like() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"type\"",
            "\"payload\"",
            "\"heartbeat\"",
            "\"presence:update\"",
            "\"status\"",
            "\"cursor\"",
            "\"x\"",
            "\"y\"",
            "\"idle\"",
            "null",
            "1",
            "1e999",
            "\"auth\"",
            "\"token\"",
            "\"\\ud800\"",
            "é",
            "\\",
            "\"",
        ]);
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panicking(text: String, near in message_like()) {
            let _ = decode(&text);
            let _ = decode(&near);
            let _ = Cursor::of_data(&text);
            let _ = Cursor::of_data(&near);
        }

        #[test]
        fn every_update_is_read_as_it_was_meant(
            status in prop::option::of(prop::sample::select(vec!["active", "online", "idle", "away"])),
            cursor in prop::option::of((-1e12..1e12_f64, any::<i32>())),
        ) {
            let mut payload = serde_json::Map::new();
            if let Some(status) = status {
                payload.insert("status".to_owned(), status.into());
            }
            if let Some((x, y)) = cursor {
                payload.insert("cursor".to_owned(), serde_json::json!({"x": x, "y": y}));
            }
            let text = serde_json::json!({"type": "presence:update", "payload": payload}).to_string();
            let reported = status.map(|status| match status {
                "idle" => Reported::Idle,
                "away" => Reported::Away,
                _ => Reported::Online,
            });
            let expected = match (reported, cursor) {
                (None, None) => Err(BadMessage),
                (reported, cursor) => Ok(update(reported, cursor.map(|(x, y)| (x, f64::from(y))))),
            };
            prop_assert_eq!(decode(&text), expected);
        }

        #[test]
        fn cursors_survive_being_kept(x in any::<f64>(), y in any::<f64>()) {
            prop_assume!(x.is_finite() && y.is_finite());
            let cursor = Cursor { x, y };
            prop_assert_eq!(Cursor::of_data(&cursor.to_data()), Some(cursor));
        }

        #[test]
        fn what_the_server_says_is_json(
            board: String, user: String, name: String, avatar: Option<String>, position: usize,
        ) {
            let entry = User {
                user: &user,
                name: &name,
                avatar: avatar.as_deref(),
                status: "away",
                color: Color::parse("#000000").unwrap(),
            };
            let joined = ServerMessage::Joined { board: &board, session: "1", users: std::slice::from_ref(&entry) };
            let message: serde_json::Value = serde_json::from_str(&written(&joined)).unwrap();
            let shown = serde_json::json!({
                "user_id": user, "display_name": name, "avatar_url": avatar, "status": "away",
                "color": "#000000",
            });
            prop_assert_eq!(&message["payload"]["current_users"], &serde_json::json!([shown]));
            let come = ServerMessage::UserJoined { board: &board, user: entry };
            let message: serde_json::Value = serde_json::from_str(&written(&come)).unwrap();
            let mut flat = shown;
            flat["board_id"] = board.clone().into();
            prop_assert_eq!(&message["payload"], &flat);
            let queued = ServerMessage::Queued { board: &board, position };
            let message: serde_json::Value = serde_json::from_str(&written(&queued)).unwrap();
            prop_assert_eq!(&message["payload"]["position"], &serde_json::json!(position));
        }
    }
}
