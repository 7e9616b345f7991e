//! The dialect of workspaces: who is where.
//!
//! Where somebody is, is kept as the JSON text that everybody else is shown too,
//! `{"currentPath":…,"resourceType":…,"resourceId":…}`. By other ways in people may show anything
//! there, so whatever the text is, a workspace shows what of a location is in it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::limits::{WORKSPACE_PATH_BYTES_MAX, WORKSPACE_RESOURCE_BYTES_MAX};
use crate::wire::dialect::{self, BadMessage, Complaint};

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage<'a> {
    /// Where its user is now: replaces what they said before, whole.
    Update(Location<'a>),
    /// A new token.
    Auth {
        /// The token.
        token: Cow<'a, str>,
    },
}

/// Where somebody is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Location<'a> {
    /// The page; empty until they have said.
    #[serde(borrow)]
    pub current_path: Cow<'a, str>,
    /// What kind of thing they look at.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<Cow<'a, str>>,
    /// Which one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<Cow<'a, str>>,
}

impl<'a> Location<'a> {
    /// The JSON text that is kept of it.
    pub fn to_data(&self) -> String {
        let mut out = Vec::new();
        dialect::write(&mut out, self);
        String::from_utf8(out).unwrap_or_default()
    }

    /// The location in what somebody shows; what is missing in it, or no text, is not shown.
    pub fn of_data(data: &'a str) -> Self {
        if let Ok(location) = dialect::read(data) {
            return location;
        }
        let shown: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
        let text = |name| Some(Cow::Owned(shown.get(name)?.as_str()?.to_owned()));
        Self {
            current_path: text("currentPath").unwrap_or_default(),
            resource_type: text("resourceType"),
            resource_id: text("resourceId"),
        }
    }

    fn fits(&self) -> bool {
        let fits = |text: &Option<Cow<'_, str>>| {
            text.as_ref()
                .is_none_or(|text| text.len() <= WORKSPACE_RESOURCE_BYTES_MAX)
        };
        self.current_path.len() <= WORKSPACE_PATH_BYTES_MAX
            && fits(&self.resource_type)
            && fits(&self.resource_id)
    }
}

/// Reads what a client says.
pub fn decode(text: &str) -> Result<ClientMessage<'_>, BadMessage> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let Kind { kind } = dialect::read(text)?;
    match &*kind {
        "presence_update" => {
            let location: Location<'_> = dialect::read(text)?;
            match location.fits() {
                true => Ok(ClientMessage::Update(location)),
                false => Err(BadMessage),
            }
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
    /// First of all.
    Snapshot {
        /// Everybody but the receiver's user.
        users: &'a [User<'a>],
    },
    /// Somebody has come.
    UserJoined {
        /// The id.
        user: &'a str,
        /// The name.
        name: &'a str,
        /// An avatar's address.
        image: Option<&'a str>,
    },
    /// Somebody is elsewhere.
    Changed {
        /// The id.
        user: &'a str,
        /// The name.
        name: &'a str,
        /// Where.
        location: &'a Location<'a>,
    },
    /// Somebody has gone.
    UserLeft {
        /// The id.
        user: &'a str,
    },
    /// Something is not taken, or to be done.
    Error(Complaint),
    /// A new token is in force.
    AuthOk {
        /// Until when, in milliseconds since 1970.
        expires_at_millis: u64,
    },
}

/// Somebody in a workspace.
#[derive(Clone, Debug, Serialize)]
pub struct User<'a> {
    /// The id.
    #[serde(rename = "userId")]
    pub user: &'a str,
    /// The name.
    #[serde(rename = "userName")]
    pub name: &'a str,
    /// An avatar's address.
    #[serde(rename = "userImage")]
    pub image: Option<&'a str>,
    /// Where.
    #[serde(flatten)]
    pub location: Location<'a>,
}

impl ServerMessage<'_> {
    /// Appends the message as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Snapshot { users } => {
                let kind = "presence_snapshot";
                dialect::write(out, &Snapshot { kind, users });
            }
            Self::UserJoined { user, name, image } => dialect::write(
                out,
                &UserJoined {
                    kind: "user_joined",
                    user_id: user,
                    user_name: name,
                    user_image: image,
                },
            ),
            Self::Changed {
                user,
                name,
                location,
            } => dialect::write(
                out,
                &Changed {
                    kind: "presence_changed",
                    user_id: user,
                    user_name: name,
                    location,
                },
            ),
            Self::UserLeft { user } => {
                let kind = "user_left";
                let user_id = user;
                dialect::write(out, &UserLeft { kind, user_id });
            }
            Self::Error(complaint) => dialect::write(
                out,
                &Error {
                    kind: "error",
                    code: complaint.code(),
                    message: complaint.message(),
                },
            ),
            Self::AuthOk { expires_at_millis } => dialect::write_auth_ok(out, expires_at_millis),
        }
    }
}

#[derive(Serialize)]
struct Snapshot<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    users: &'a [User<'a>],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserJoined<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    user_id: &'a str,
    user_name: &'a str,
    user_image: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    user_id: &'a str,
    user_name: &'a str,
    #[serde(flatten)]
    location: &'a Location<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserLeft<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    user_id: &'a str,
}

#[derive(Serialize)]
struct Error {
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'static str,
    message: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location<'a>(path: &'a str, kind: Option<&'a str>, id: Option<&'a str>) -> Location<'a> {
        Location {
            current_path: path.into(),
            resource_type: kind.map(Cow::Borrowed),
            resource_id: id.map(Cow::Borrowed),
        }
    }

    #[test]
    fn clients_are_understood() {
        let cases = [
            (
                r#"{"type":"presence_update","currentPath":"/w/1/docs/2","resourceType":"document","resourceId":"2"}"#,
                location("/w/1/docs/2", Some("document"), Some("2")),
            ),
            (
                r#"{"type":"presence_update","currentPath":""}"#,
                location("", None, None),
            ),
            (
                r#"{"currentPath":"/\u00e4","resourceId":null,"resourceType":"task","x":{},"type":"presence_update"}"#,
                location("/ä", Some("task"), None),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text), Ok(ClientMessage::Update(expected)), "{text}");
        }
        assert_eq!(
            decode(r#"{"type":"auth","token":"a.b.c"}"#),
            Ok(ClientMessage::Auth {
                token: "a.b.c".into()
            })
        );
    }

    #[test]
    fn what_is_no_message_is_refused_whole() {
        for text in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"["presence_update","/"]"#,
            r#"{"type":"presence_update"}"#,
            r#"{"type":"presence_update","currentPath":null}"#,
            r#"{"type":"presence_update","currentPath":5}"#,
            r#"{"type":"presence_update","currentPath":"/","resourceType":5}"#,
            r#"{"type":"presence_update","currentPath":"/","resourceId":{}}"#,
            r#"{"type":"presence","currentPath":"/"}"#,
            r#"{"type":"presence_changed","currentPath":"/"}"#,
            r#"{"type":"auth","token":["a"]}"#,
        ] {
            assert_eq!(decode(text), Err(BadMessage), "{text}");
        }
    }

    #[test]
    fn what_somebody_says_of_themselves_is_short() {
        let said = |path: usize, kind: usize, id: usize| {
            let [path, kind, id] = [path, kind, id].map(|length| "x".repeat(length));
            let update = location(&path, Some(&kind), Some(&id)).to_data();
            decode(&update.replacen('{', r#"{"type":"presence_update","#, 1)).is_ok()
        };
        assert!(said(2_048, 256, 256));
        assert!(!said(2_049, 256, 256));
        assert!(!said(2_048, 257, 256));
        assert!(!said(2_048, 256, 257));
        // Bytes are counted, not characters.
        let path = "é".repeat(1_025);
        let text = format!(r#"{{"type":"presence_update","currentPath":"{path}"}}"#);
        assert_eq!(decode(&text), Err(BadMessage));
    }

    fn written(message: &ServerMessage<'_>) -> String {
        let mut out = Vec::new();
        message.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_server_speaks_as_agreed() {
        let users = [
            User {
                user: "ann",
                name: "Ann",
                image: Some("https://a.example/a.png"),
                location: location("/docs", Some("document"), Some("7")),
            },
            User {
                user: "bob",
                name: "Bob",
                image: None,
                location: Location::default(),
            },
        ];
        let cases = [
            (
                ServerMessage::Snapshot { users: &users },
                r#"{"type":"presence_snapshot","users":[{"userId":"ann","userName":"Ann","userImage":"https://a.example/a.png","currentPath":"/docs","resourceType":"document","resourceId":"7"},{"userId":"bob","userName":"Bob","userImage":null,"currentPath":""}]}"#,
            ),
            (
                ServerMessage::UserJoined {
                    user: "ann",
                    name: "Ann",
                    image: None,
                },
                r#"{"type":"user_joined","userId":"ann","userName":"Ann","userImage":null}"#,
            ),
            (
                ServerMessage::Changed {
                    user: "ann",
                    name: "Ann",
                    location: &location("/tasks", Some("task"), Some("3")),
                },
                r#"{"type":"presence_changed","userId":"ann","userName":"Ann","currentPath":"/tasks","resourceType":"task","resourceId":"3"}"#,
            ),
            (
                ServerMessage::Changed {
                    user: "ann",
                    name: "Ann",
                    location: &location("/", None, None),
                },
                r#"{"type":"presence_changed","userId":"ann","userName":"Ann","currentPath":"/"}"#,
            ),
            (
                ServerMessage::UserLeft { user: "ann" },
                r#"{"type":"user_left","userId":"ann"}"#,
            ),
            (
                ServerMessage::Error(Complaint::BadMessage),
                r#"{"type":"error","code":"BAD_MESSAGE","message":"the message could not be read, and nothing of it was applied"}"#,
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
    fn a_location_is_found_in_whatever_somebody_shows() {
        let full = location("/a", Some("b"), Some("c"));
        assert_eq!(
            full.to_data(),
            r#"{"currentPath":"/a","resourceType":"b","resourceId":"c"}"#
        );
        assert_eq!(
            location("/a", None, None).to_data(),
            r#"{"currentPath":"/a"}"#
        );
        assert_eq!(
            Location::of_data(r#"{"mood":[],"currentPath":7,"resourceId":"c","resourceType":{}}"#),
            location("", None, Some("c"))
        );
        for nothing in ["", "null", "[1]", r#""/a""#, "{}", r#"["/a","b","c"]"#] {
            assert_eq!(Location::of_data(nothing), Location::default(), "{nothing}");
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
            "\"presence_update\"",
            "\"currentPath\"",
            "\"resourceId\"",
            "\"/a\"",
            "null",
            "1",
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
            let _ = Location::of_data(&text);
            let _ = Location::of_data(&near);
        }

        #[test]
        fn every_update_is_read_as_it_was_meant(
            path in ".{0,40}", kind in prop::option::of(".{0,9}"), id in prop::option::of(".{0,9}"),
        ) {
            let mut update = serde_json::json!({"type": "presence_update", "currentPath": path});
            if let Some(kind) = &kind {
                update["resourceType"] = kind.clone().into();
            }
            if let Some(id) = &id {
                update["resourceId"] = id.clone().into();
            }
            let text = update.to_string();
            let expected = location(&path, kind.as_deref(), id.as_deref());
            prop_assert_eq!(decode(&text), Ok(ClientMessage::Update(expected.clone())));
            let data = expected.to_data();
            prop_assert_eq!(Location::of_data(&data), expected);
        }
    }
}
