//! Room names: what may be one, and the kind it implies.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::model::Kind;

/// The longest room name, in bytes of UTF-8. Contract, section 2.
pub const ROOM_NAME_BYTES_MAX: usize = 255;

/// Where people gather. Only `parse` makes one, so whoever holds one may trust it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// Accepts 1 to 255 bytes of `/`-separated segments without control characters. Neither case
    /// nor Unicode is normalised.
    pub fn parse(text: &str) -> Result<Self, BadRoomName> {
        if text.is_empty() || ROOM_NAME_BYTES_MAX < text.len() {
            return Err(BadRoomName::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(BadRoomName::ControlCharacter);
        }
        if text
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(BadRoomName::Segment);
        }
        Ok(Self(text.into()))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the room is for: the first segment decides, if a second follows.
    pub fn kind(&self) -> Kind {
        match self.0.split_once('/') {
            Some(("board", _)) => Kind::Board,
            Some(("event", _)) => Kind::Event,
            Some(("workspace", _)) => Kind::Workspace,
            _ => Kind::Session,
        }
    }

    /// Whether the name is `prefix` or continues it after a `/`.
    pub fn is_under(&self, prefix: &str) -> bool {
        match self.0.strip_prefix(prefix) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is no room name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRoomName {
    /// Empty, or longer than [`ROOM_NAME_BYTES_MAX`].
    #[error("a room name has 1 to {ROOM_NAME_BYTES_MAX} bytes")]
    Length,
    /// U+0000 to 1F or U+007F to 9F.
    #[error("a room name has no control characters")]
    ControlCharacter,
    /// An empty, `.` or `..` segment.
    #[error("a room name has no empty, `.` or `..` segment")]
    Segment,
    /// Broken percent escapes, or bytes that are no UTF-8.
    #[error("a room name is percent-encoded UTF-8")]
    Encoding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_parsed() {
        let long = "x".repeat(ROOM_NAME_BYTES_MAX);
        for good in [
            "a",
            "session/42",
            "acme.jim-caleb-v0",
            "Größe/…",
            "a/.b/c..",
            &long,
        ] {
            assert_eq!(RoomName::parse(good).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(ROOM_NAME_BYTES_MAX + 1);
        let bad = [
            ("", BadRoomName::Length),
            (too_long.as_str(), BadRoomName::Length),
            ("a\u{7}b", BadRoomName::ControlCharacter),
            ("a\u{9f}", BadRoomName::ControlCharacter),
            ("/a", BadRoomName::Segment),
            ("a/", BadRoomName::Segment),
            ("a//b", BadRoomName::Segment),
            ("a/../b", BadRoomName::Segment),
            (".", BadRoomName::Segment),
        ];
        for (text, why) in bad {
            assert_eq!(RoomName::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn the_first_segment_decides_the_kind_if_a_second_follows() {
        let kind = |text| RoomName::parse(text).unwrap().kind();
        assert_eq!(kind("session/42"), Kind::Session);
        assert_eq!(kind("board/7"), Kind::Board);
        assert_eq!(kind("event/expo/stand-1"), Kind::Event);
        assert_eq!(kind("workspace/w"), Kind::Workspace);
        assert_eq!(kind("board"), Kind::Session);
        assert_eq!(kind("boards/7"), Kind::Session);
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let room = RoomName::parse("event/expo/stand-1").unwrap();
        assert!(room.is_under("event/expo"));
        assert!(room.is_under("event/expo/stand-1"));
        assert!(!room.is_under("event/ex"));
    }
}
