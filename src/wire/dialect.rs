//! What the JSON dialects have in common: reading objects, renewing tokens, complaints.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::limits::DIALECT_MESSAGE_BYTES_MAX;

/// The text is no message of the dialect: no JSON, an unknown type, a missing or wrong field, or
/// more than any message needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no message of this dialect")]
pub struct BadMessage;

/// What a client is told that did something that is not taken, or has something to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the names are the contract's codes")]
pub enum Complaint {
    BadMessage,
    RateLimited,
    BadToken,
    TokenRefreshRequired,
    BoardFull,
}

impl Complaint {
    /// The `code` of the error.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadMessage => "BAD_MESSAGE",
            Self::RateLimited => "RATE_LIMITED",
            Self::BadToken => "BAD_TOKEN",
            Self::TokenRefreshRequired => "TOKEN_REFRESH_REQUIRED",
            Self::BoardFull => "BOARD_FULL",
        }
    }

    /// The `message` of the error, for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::BadMessage => "the message could not be read, and nothing of it was applied",
            Self::RateLimited => "too many messages: the latest were dropped",
            Self::BadToken => "the token was not taken, and the old one stays in force",
            Self::TokenRefreshRequired => "the token ends soon: send a new one",
            Self::BoardFull => "the board is full",
        }
    }
}

/// Reads a message whose fields are those of `T`, and others that are ignored.
pub(in crate::wire) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadMessage> {
    if DIALECT_MESSAGE_BYTES_MAX < text.len() {
        return Err(BadMessage);
    }
    let object: Object<T> = serde_json::from_str(text).map_err(|_| BadMessage)?;
    Ok(object.0)
}

/// Appends JSON text.
pub(in crate::wire) fn write(out: &mut Vec<u8>, message: &impl Serialize) {
    let before = out.len();
    // Texts and numbers written to memory cannot fail; half a message must not stay if they do.
    if serde_json::to_writer(&mut *out, message).is_err() {
        debug_assert!(false, "a message that is no JSON");
        out.truncate(before);
        out.extend_from_slice(b"{}");
    }
}

/// The token of a message that renews it.
pub(in crate::wire) fn read_token(text: &str) -> Result<Cow<'_, str>, BadMessage> {
    #[derive(serde::Deserialize)]
    struct Auth<'a> {
        #[serde(borrow)]
        token: Cow<'a, str>,
    }
    read(text).map(|Auth { token }| token)
}

/// Appends the answer to a token that was taken.
pub(in crate::wire) fn write_auth_ok(out: &mut Vec<u8>, expires_at_millis: u64) {
    #[derive(Serialize)]
    struct AuthOk {
        #[serde(rename = "type")]
        kind: &'static str,
        exp: Seconds,
    }
    let exp = Seconds {
        millis: expires_at_millis,
    };
    let kind = "auth:ok";
    write(out, &AuthOk { kind, exp });
}

/// A time as tokens have it: seconds since 1970, with a fraction where there is one.
pub(in crate::wire) struct Seconds {
    /// Milliseconds since 1970.
    pub(in crate::wire) millis: u64,
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.millis % 1_000 {
            0 => serializer.serialize_u64(self.millis / 1_000),
            _ => serializer.serialize_f64(self.millis as f64 / 1_000.0),
        }
    }
}

/// A JSON object. Without this, arrays would do for objects: serde takes fields by place, too.
pub(in crate::wire) struct Object<T>(pub(in crate::wire) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_at_whole_seconds_or_between_them() {
        let seconds = |millis| serde_json::to_string(&Seconds { millis }).unwrap();
        assert_eq!(seconds(1_795_249_800_000), "1795249800");
        assert_eq!(seconds(1_795_249_800_500), "1795249800.5");
    }

    #[test]
    fn arrays_are_no_objects() {
        assert_eq!(read_token(r#"{"token":"a.b"}"#).as_deref(), Ok("a.b"));
        assert_eq!(read_token(r#"["a.b"]"#), Err(BadMessage));
        assert_eq!(read_token(r#"{"token":1}"#), Err(BadMessage));
    }

    #[test]
    fn messages_are_not_larger_than_any_needs_to_be() {
        let filler = " ".repeat(DIALECT_MESSAGE_BYTES_MAX);
        assert_eq!(
            read_token(&format!(r#"{{"token":"a"{filler}}}"#)),
            Err(BadMessage)
        );
    }
}
