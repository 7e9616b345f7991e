//! The dialect of the follow feed: what users do, told to those who follow them.
//!
//! Keys are short, because these messages are many: `t` is the type, `s` the status, `a` the activity,
//! `p` the project, `l` the language. Clients may write the latter four out.

use std::borrow::Cow;
use std::time::Duration;

use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::limits::FEED_FIELD_BYTES_MAX;
use crate::wire::dialect::{self, BadMessage, Complaint, Seconds};

/// What a client says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientMessage<'a> {
    /// Here I am; the first message.
    Login {
        /// A token, if it was not in the address.
        token: Option<Cow<'a, str>>,
        /// What the last `hello` gave for coming back.
        resume: Option<Cow<'a, str>>,
        /// How the window begins.
        first: StatusUpdate<'a>,
    },
    /// What the client's user does in this window.
    StatusUpdate(StatusUpdate<'a>),
    /// A goodbye.
    Logout,
    /// A new token.
    Auth {
        /// The token.
        token: Cow<'a, str>,
    },
}

/// The fields that an update names; the others stay.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StatusUpdate<'a> {
    /// Whether the user is at it, or wants to be seen at all.
    pub status: Option<Status>,
    /// What they do.
    pub activity: Option<Cow<'a, str>>,
    /// On which project.
    pub project: Option<Cow<'a, str>>,
    /// In which language.
    pub language: Option<Cow<'a, str>>,
}

/// What a client may say of its user's presence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub enum Status {
    Online,
    Away,
    Invisible,
}

impl Status {
    fn parse(name: &str) -> Result<Self, BadMessage> {
        match name {
            "Online" => Ok(Self::Online),
            "Away" => Ok(Self::Away),
            "Invisible" => Ok(Self::Invisible),
            _ => Err(BadMessage),
        }
    }
}

/// Reads what a client says.
pub fn decode(text: &str) -> Result<ClientMessage<'_>, BadMessage> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        t: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    struct Login<'a> {
        #[serde(borrow, default)]
        token: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        resume: Option<Cow<'a, str>>,
    }
    let Kind { t } = dialect::read(text)?;
    match &*t {
        "login" => {
            let Login { token, resume } = dialect::read(text)?;
            let first = status_update(text)?;
            Ok(ClientMessage::Login {
                token,
                resume,
                first,
            })
        }
        "statusUpdate" => Ok(ClientMessage::StatusUpdate(status_update(text)?)),
        "logout" => Ok(ClientMessage::Logout),
        "auth" => Ok(ClientMessage::Auth {
            token: dialect::read_token(text)?,
        }),
        _ => Err(BadMessage),
    }
}

/// The fields of a status, of any message that may have them.
fn status_update(text: &str) -> Result<StatusUpdate<'_>, BadMessage> {
    #[derive(Deserialize)]
    struct Update<'a> {
        #[serde(borrow, default, alias = "status")]
        s: Option<Cow<'a, str>>,
        #[serde(borrow, default, alias = "activity")]
        a: Option<Cow<'a, str>>,
        #[serde(borrow, default, alias = "project")]
        p: Option<Cow<'a, str>>,
        #[serde(borrow, default, alias = "language")]
        l: Option<Cow<'a, str>>,
    }
    let Update { s, a, p, l } = dialect::read(text)?;
    let fits = |text: &Cow<'_, str>| text.len() <= FEED_FIELD_BYTES_MAX;
    if ![&a, &p, &l].into_iter().flatten().all(fits) {
        return Err(BadMessage);
    }
    Ok(StatusUpdate {
        status: s.as_deref().map(Status::parse).transpose()?,
        activity: a,
        project: p,
        language: l,
    })
}

/// What the server says.
#[derive(Clone, Debug)]
pub enum ServerMessage<'a> {
    /// The login was good.
    Hello {
        /// For coming back, once.
        resume: &'a str,
        /// How long after the connection is gone.
        window: Duration,
        /// Whether this is a coming back.
        is_resumed: bool,
        /// What followers see of the client's user: `Online`, `Away` or `Offline`.
        seen_as: &'a str,
    },
    /// Everybody whom the client's user follows.
    Sync {
        /// Who, and how they are.
        users: &'a [(&'a str, State<'a>)],
    },
    /// What changed of somebody.
    Changed {
        /// Who.
        user: &'a str,
        /// Whether they are at it.
        status: Option<&'a str>,
        /// What they do.
        activity: Option<&'a str>,
        /// On which project.
        project: Option<&'a str>,
        /// In which language.
        language: Option<&'a str>,
    },
    /// Somebody has come or gone, or is new to the client.
    State {
        /// Who.
        user: &'a str,
        /// How they are.
        state: State<'a>,
    },
    /// Something is not taken, or to be done.
    Error(Complaint),
    /// A new token is in force.
    AuthOk {
        /// Until when, in milliseconds since 1970.
        expires_at_millis: u64,
    },
}

/// How somebody is.
#[derive(Clone, Copy, Debug)]
pub enum State<'a> {
    /// There.
    Online {
        /// Whether they are at it: `Online` or `Away`.
        status: &'a str,
        /// What they do.
        activity: &'a str,
        /// On which project.
        project: &'a str,
        /// In which language.
        language: &'a str,
    },
    /// Not there.
    Offline {
        /// Since when, in milliseconds since 1970, if they were ever seen.
        seen_millis: Option<u64>,
    },
}

impl ServerMessage<'_> {
    /// Appends the message as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Hello {
                resume,
                window,
                is_resumed,
                seen_as,
            } => dialect::write(
                out,
                &Hello {
                    t: "hello",
                    resume,
                    window: Seconds {
                        millis: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
                    },
                    resumed: is_resumed,
                    s: seen_as,
                },
            ),
            Self::Sync { users } => {
                let (t, users) = ("sync", Users(users));
                dialect::write(out, &Sync { t, users });
            }
            Self::Changed {
                user,
                status,
                activity,
                project,
                language,
            } => dialect::write(
                out,
                &Changed {
                    t: "u",
                    id: user,
                    s: status,
                    a: activity,
                    p: project,
                    l: language,
                },
            ),
            Self::State { user, state } => match state {
                State::Online {
                    status,
                    activity,
                    project,
                    language,
                } => dialect::write(
                    out,
                    &Online {
                        t: "o",
                        id: user,
                        s: status,
                        a: activity,
                        p: project,
                        l: language,
                    },
                ),
                State::Offline { seen_millis } => {
                    let (t, id, ts) = ("x", user, seen_millis);
                    dialect::write(out, &Offline { t, id, ts });
                }
            },
            Self::Error(complaint) => dialect::write(
                out,
                &Error {
                    t: "error",
                    code: complaint.code(),
                    message: complaint.message(),
                },
            ),
            Self::AuthOk { expires_at_millis } => {
                let exp = Seconds {
                    millis: expires_at_millis,
                };
                dialect::write(out, &AuthOk { t: "auth:ok", exp });
            }
        }
    }
}

#[derive(Serialize)]
struct Hello<'a> {
    t: &'static str,
    resume: &'a str,
    window: Seconds,
    resumed: bool,
    s: &'a str,
}

#[derive(Serialize)]
struct Sync<'a> {
    t: &'static str,
    users: Users<'a>,
}

struct Users<'a>(&'a [(&'a str, State<'a>)]);

impl Serialize for Users<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for &(username, state) in self.0 {
            match state {
                State::Online {
                    status,
                    activity,
                    project,
                    language,
                } => list.serialize_element(&OnlineUser {
                    username,
                    s: status,
                    a: activity,
                    p: project,
                    l: language,
                })?,
                State::Offline { seen_millis } => list.serialize_element(&OfflineUser {
                    username,
                    s: "Offline",
                    ts: seen_millis,
                })?,
            }
        }
        list.end()
    }
}

#[derive(Serialize)]
struct OnlineUser<'a> {
    username: &'a str,
    s: &'a str,
    a: &'a str,
    p: &'a str,
    l: &'a str,
}

#[derive(Serialize)]
struct OfflineUser<'a> {
    username: &'a str,
    s: &'static str,
    ts: Option<u64>,
}

#[derive(Serialize)]
struct Changed<'a> {
    t: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l: Option<&'a str>,
}

#[derive(Serialize)]
struct Online<'a> {
    t: &'static str,
    id: &'a str,
    s: &'a str,
    a: &'a str,
    p: &'a str,
    l: &'a str,
}

#[derive(Serialize)]
struct Offline<'a> {
    t: &'static str,
    id: &'a str,
    ts: Option<u64>,
}

#[derive(Serialize)]
struct Error {
    t: &'static str,
    code: &'static str,
    message: &'static str,
}

#[derive(Serialize)]
struct AuthOk {
    t: &'static str,
    exp: Seconds,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn update<'a>(
        status: Option<Status>,
        activity: Option<&'a str>,
        project: Option<&'a str>,
        language: Option<&'a str>,
    ) -> ClientMessage<'a> {
        ClientMessage::StatusUpdate(StatusUpdate {
            status,
            activity: activity.map(Cow::Borrowed),
            project: project.map(Cow::Borrowed),
            language: language.map(Cow::Borrowed),
        })
    }

    #[test]
    fn clients_are_understood() {
        let login = |token: Option<&'static str>, resume: Option<&'static str>| {
            let (token, resume) = (token.map(Cow::Borrowed), resume.map(Cow::Borrowed));
            let first = StatusUpdate::default();
            ClientMessage::Login {
                token,
                resume,
                first,
            }
        };
        let cases = [
            (r#"{"t":"login"}"#, login(None, None)),
            (
                r#"{"t":"login","token":"a.b","resume":"r"}"#,
                login(Some("a.b"), Some("r")),
            ),
            (r#"{"resume":null,"t":"login","x":[{}]}"#, login(None, None)),
            (
                r#"{"t":"login","s":"Invisible","activity":"Coding","l":"Rust","project":null}"#,
                ClientMessage::Login {
                    token: None,
                    resume: None,
                    first: StatusUpdate {
                        status: Some(Status::Invisible),
                        activity: Some("Coding".into()),
                        project: None,
                        language: Some("Rust".into()),
                    },
                },
            ),
            (r#"{"t":"logout","s":5}"#, ClientMessage::Logout),
            (
                r#"{"t":"auth","token":"a.b.c"}"#,
                ClientMessage::Auth {
                    token: "a.b.c".into(),
                },
            ),
            (r#"{"t":"statusUpdate"}"#, update(None, None, None, None)),
            (
                r#"{"t":"statusUpdate","s":"Away","a":"Coding","p":"","l":"Rust"}"#,
                update(Some(Status::Away), Some("Coding"), Some(""), Some("Rust")),
            ),
            (
                r#"{"t":"statusUpdate","status":"Invisible","activity":"Idle","project":"\u00e4","language":"Go"}"#,
                update(Some(Status::Invisible), Some("Idle"), Some("ä"), Some("Go")),
            ),
            (
                r#"{"t":"statusUpdate","s":"Online","project":"x"}"#,
                update(Some(Status::Online), None, Some("x"), None),
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
            "nonsense",
            "[]",
            "{}",
            r#"["login"]"#,
            r#"{"type":"login"}"#,
            r#"{"t":"Login"}"#,
            r#"{"t":"sync","users":[]}"#,
            r#"{"t":"login","token":5}"#,
            r#"{"t":"login","resume":{}}"#,
            r#"{"t":"login","s":"invisible"}"#,
            r#"{"t":"login","s":5}"#,
            r#"{"t":"login","a":"Coding","activity":"Coding"}"#,
            r#"{"t":"auth"}"#,
            r#"{"t":"statusUpdate","s":"online"}"#,
            r#"{"t":"statusUpdate","s":"Offline"}"#,
            r#"{"t":"statusUpdate","s":["Online"]}"#,
            r#"{"t":"statusUpdate","s":{"Online":null}}"#,
            r#"{"t":"statusUpdate","a":1}"#,
            r#"{"t":"statusUpdate","s":"Online","l":false}"#,
            r#"{"t":"statusUpdate","a":"Coding","activity":"Coding"}"#,
            r#"{"t":"statusUpdate","a":"\ud800"}"#,
        ] {
            assert_eq!(decode(text), Err(BadMessage), "{text}");
        }
    }

    #[test]
    fn fields_are_short() {
        for field in ["a", "p", "l", "activity", "project", "language"] {
            for kind in ["statusUpdate", "login"] {
                let say = |text: &str| {
                    let text = format!(r#"{{"t":"{kind}","s":"Away","{field}":"{text}"}}"#);
                    decode(&text).is_ok()
                };
                assert!(say(&"x".repeat(256)));
                assert!(!say(&"x".repeat(257)));
                // Bytes are counted, not characters.
                assert!(say(&"é".repeat(128)));
                assert!(!say(&"é".repeat(129)));
            }
        }
    }

    fn written(message: &ServerMessage<'_>) -> String {
        let mut out = Vec::new();
        message.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_the_server_says_is_what_the_contract_says() {
        let online = State::Online {
            status: "Away",
            activity: "Coding",
            project: "",
            language: "\"",
        };
        let offline = |seen_millis| State::Offline { seen_millis };
        let hello = |millis, is_resumed| ServerMessage::Hello {
            resume: "r",
            window: Duration::from_millis(millis),
            is_resumed,
            seen_as: if is_resumed { "Offline" } else { "Away" },
        };
        let changed = |status, activity| ServerMessage::Changed {
            user: "ann",
            status,
            activity,
            project: None,
            language: None,
        };
        let (user, complaint) = ("ann", Complaint::TokenRefreshRequired);
        let users = [
            ("ann", online),
            ("bob", offline(Some(7))),
            ("cid", offline(None)),
        ];
        let cases = [
            (
                hello(60_000, false),
                r#"{"t":"hello","resume":"r","window":60,"resumed":false,"s":"Away"}"#,
            ),
            (
                hello(500, true),
                r#"{"t":"hello","resume":"r","window":0.5,"resumed":true,"s":"Offline"}"#,
            ),
            (
                ServerMessage::Sync { users: &users },
                r#"{"t":"sync","users":[{"username":"ann","s":"Away","a":"Coding","p":"","l":"\""},{"username":"bob","s":"Offline","ts":7},{"username":"cid","s":"Offline","ts":null}]}"#,
            ),
            (
                ServerMessage::Sync { users: &[] },
                r#"{"t":"sync","users":[]}"#,
            ),
            (
                changed(None, Some("Debugging")),
                r#"{"t":"u","id":"ann","a":"Debugging"}"#,
            ),
            (
                changed(Some("Online"), None),
                r#"{"t":"u","id":"ann","s":"Online"}"#,
            ),
            (
                ServerMessage::State {
                    user,
                    state: online,
                },
                r#"{"t":"o","id":"ann","s":"Away","a":"Coding","p":"","l":"\""}"#,
            ),
            (
                ServerMessage::State {
                    user,
                    state: offline(Some(1_703_789_400_000)),
                },
                r#"{"t":"x","id":"ann","ts":1703789400000}"#,
            ),
            (
                ServerMessage::State {
                    user,
                    state: offline(None),
                },
                r#"{"t":"x","id":"ann","ts":null}"#,
            ),
            (
                ServerMessage::Error(complaint),
                r#"{"t":"error","code":"TOKEN_REFRESH_REQUIRED","message":"the token ends soon: send a new one"}"#,
            ),
            (
                ServerMessage::AuthOk {
                    expires_at_millis: 5_000,
                },
                r#"{"t":"auth:ok","exp":5}"#,
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(written(&message), expected);
        }
    }

    proptest! {
        /// Whatever is written into the fields, a client reads the same.
        #[test]
        fn every_text_survives(user: String, activity: String, project: String) {
            let state = State::Online {
                status: "Online",
                activity: &activity,
                project: &project,
                language: "",
            };
            let text = written(&ServerMessage::State { user: &user, state });
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read["id"].as_str(), Some(&*user));
            prop_assert_eq!(read["a"].as_str(), Some(&*activity));
            prop_assert_eq!(read["p"].as_str(), Some(&*project));
        }

        #[test]
        fn nothing_a_client_sends_does_harm(text: String) {
            let _ = decode(&text);
        }
    }
}
