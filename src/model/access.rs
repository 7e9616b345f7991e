//! What a token lets its bearer do: patterns to access, and the grant for one room.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::model::room_name::{BadRoomName, ROOM_NAME_BYTES_MAX};
use crate::model::{Identity, Role, RoomName, UserId};

/// What may be done with a document. Whoever may write may read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Access {
    /// Sees everything and is seen; changes nothing.
    Read,
    /// Edits too.
    Write,
}

/// A room name, or a prefix of room names when it ends in `*` (any text, `/` too).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Every text is a pattern; one that is no room name and no prefix matches nothing.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether it may fit the room of this name or one below it.
    fn may_fit_under(&self, name: &RoomName) -> bool {
        match self.0.strip_suffix('*') {
            // One of the two goes on where the other ends.
            Some(prefix) => name.as_str().starts_with(prefix) || is_under(prefix, name.as_str()),
            None => is_under(&self.0, name.as_str()),
        }
    }

    /// A pattern that some room's name fits; others are a mistake where they are not a token's.
    pub fn parse(text: &str) -> Result<Self, BadRoomName> {
        match text.strip_suffix('*') {
            Some(prefix) if ROOM_NAME_BYTES_MAX < prefix.len() => Err(BadRoomName::Length),
            // The segment that the prefix ends in may go on; all before it are whole.
            Some(prefix) => RoomName::parse(&format!("{prefix}x"))
                .or_else(|error| match prefix.len() {
                    ROOM_NAME_BYTES_MAX => RoomName::parse(prefix),
                    _ => Err(error),
                })
                .map(|_| Self::new(text)),
            None => RoomName::parse(text).map(|_| Self::new(text)),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the names of its rooms begin with, if it is not the name of one.
    pub fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }

    /// Whether the room is one of those.
    pub fn covers(&self, room: &RoomName) -> bool {
        self.fit(room).is_some()
    }

    /// How well the pattern fits: `None` not at all, else greater is better; the exact name wins,
    /// then the longest prefix.
    fn fit(&self, room: &RoomName) -> Option<usize> {
        match self.0.strip_suffix('*') {
            Some(prefix) => room.as_str().starts_with(prefix).then_some(prefix.len()),
            None => (*self.0 == *room.as_str()).then_some(usize::MAX),
        }
    }
}

/// One entry of the `rooms` claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoomRule {
    /// For which rooms.
    pub pattern: Pattern,
    /// As what.
    pub role: Option<Role>,
    /// To do what.
    pub access: Access,
}

/// A verified token: who somebody is and where they may go. Made by `auth` only.
#[derive(Clone, Debug)]
pub struct Token {
    /// Who.
    pub identity: Identity,
    /// The `rooms` claim.
    pub rooms: Vec<RoomRule>,
    /// The `allowedDocumentNames` claim: write access.
    pub allowed: Vec<Pattern>,
    /// The `readonlyDocumentNames` claim: read access.
    pub readonly: Vec<Pattern>,
    /// The `follows` claim.
    pub follows: Vec<UserId>,
    /// `scope: service`: a back end.
    pub is_service: bool,
    /// A guest of `--dev`: may enter every room, is not stamped.
    pub is_guest: bool,
    /// When it was issued (`iat`), if it says.
    pub issued_at: Option<Timestamp>,
    /// When it ends; never, for a guest.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// What the bearer may do in a room; `None` is no access. `rooms` wins over
    /// `allowedDocumentNames`, that over `readonlyDocumentNames`; within one, the exact name wins,
    /// then the longest prefix, alone.
    pub fn grant(&self, room: &RoomName) -> Option<Grant> {
        let (role, access) = self.role_and_access(room)?;
        Some(Grant {
            identity: self.identity.clone(),
            role,
            access,
            is_stamped: !self.is_guest,
            is_participant: !self.is_service,
        })
    }

    /// Whether the bearer may see who is in the room and what its document says.
    pub fn may_read(&self, room: &RoomName) -> bool {
        self.role_and_access(room).is_some()
    }

    /// Whether the bearer may change the document.
    pub fn may_write(&self, room: &RoomName) -> bool {
        self.role_and_access(room)
            .is_some_and(|(_, access)| access == Access::Write)
    }

    /// Whether there may be a room of this name, or below it, that the bearer may read.
    pub fn may_read_under(&self, name: &RoomName) -> bool {
        let patterns = self.rooms.iter().map(|rule| &rule.pattern);
        let mut all = patterns.chain(&self.allowed).chain(&self.readonly);
        self.is_guest || self.is_service || all.any(|pattern| pattern.may_fit_under(name))
    }

    fn role_and_access(&self, room: &RoomName) -> Option<(Option<Role>, Access)> {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.fit(room).is_some());
        let rule = self
            .rooms
            .iter()
            .filter_map(|rule| rule.pattern.fit(room).map(|fit| (fit, rule)))
            .max_by_key(|&(fit, _)| fit);
        if let Some((_, rule)) = rule {
            Some((rule.role.clone(), rule.access))
        } else if any(&self.allowed) || self.is_guest || self.is_service {
            Some((None, Access::Write))
        } else if any(&self.readonly) {
            Some((None, Access::Read))
        } else {
            None
        }
    }
}

/// Whether the text is the name or continues it after a `/`.
fn is_under(text: &str, name: &str) -> bool {
    let rest = text.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// An identity and what it may do in one room. Whoever holds one has been let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Who.
    pub identity: Identity,
    /// As what, in this room.
    pub role: Option<Role>,
    /// To do what.
    pub access: Access,
    /// Whether awareness states are stamped with the identity; guests and `--trust-awareness`
    /// speak for themselves.
    pub is_stamped: bool,
    /// Whether being connected makes somebody present; a back end is never a participant.
    pub is_participant: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(rooms: &[(&str, &str, Access)], allowed: &[&str], readonly: &[&str]) -> Token {
        Token {
            identity: Identity {
                user: UserId::parse("ann").unwrap(),
                name: "Ann".into(),
                avatar: None,
                color: None,
            },
            rooms: rooms
                .iter()
                .map(|&(pattern, role, access)| RoomRule {
                    pattern: Pattern::new(pattern),
                    role: Some(role.into()),
                    access,
                })
                .collect(),
            allowed: allowed.iter().copied().map(Pattern::new).collect(),
            readonly: readonly.iter().copied().map(Pattern::new).collect(),
            follows: Vec::new(),
            is_service: false,
            is_guest: false,
            issued_at: None,
            expires_at: None,
        }
    }

    fn access(token: &Token, room: &str) -> Option<(Option<Role>, Access)> {
        token
            .grant(&RoomName::parse(room).unwrap())
            .map(|grant| (grant.role, grant.access))
    }

    #[test]
    fn the_exact_name_wins_then_the_longest_prefix_alone() {
        let token = token(
            &[
                ("session/*", "guest", Access::Read),
                ("session/4*", "coach", Access::Write),
                ("session/42", "observer", Access::Read),
            ],
            &[],
            &[],
        );
        assert_eq!(
            access(&token, "session/42"),
            Some((Some("observer".into()), Access::Read))
        );
        assert_eq!(
            access(&token, "session/43"),
            Some((Some("coach".into()), Access::Write))
        );
        assert_eq!(
            access(&token, "session/9/x"),
            Some((Some("guest".into()), Access::Read))
        );
        assert_eq!(access(&token, "sessions"), None);
    }

    #[test]
    fn a_pattern_that_no_room_fits_is_a_mistake() {
        for good in [
            "a",
            "session/42",
            "*",
            "session/*",
            "session/4*",
            "a/b/*",
            "a*b",
        ] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/*", "a//*", "a/../*", "a\n*", "a/", "**/", "/a"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        let longest = "x".repeat(ROOM_NAME_BYTES_MAX);
        assert!(Pattern::parse(&format!("{longest}*")).is_ok());
        assert!(Pattern::parse(&format!("{longest}x*")).is_err());
    }

    #[test]
    fn rooms_win_over_tiptaps_lists_and_writing_over_reading() {
        let token = token(&[("a", "r", Access::Read)], &["a", "b*"], &["b", "c"]);
        assert_eq!(access(&token, "a"), Some((Some("r".into()), Access::Read)));
        assert_eq!(access(&token, "b"), Some((None, Access::Write)));
        assert_eq!(access(&token, "c"), Some((None, Access::Read)));
        assert_eq!(access(&token, "d"), None);
    }

    #[test]
    fn the_longest_prefix_decides_even_where_a_shorter_one_gives_more() {
        let token = token(
            &[("*", "admin", Access::Write), ("event/*", "", Access::Read)],
            &["event/expo"],
            &[],
        );
        let role_and_access = access(&token, "event/expo");
        assert_eq!(role_and_access, Some((Some("".into()), Access::Read)));
        assert!(token.may_read(&RoomName::parse("event/expo").unwrap()));
        assert!(!token.may_write(&RoomName::parse("event/expo").unwrap()));
        assert!(token.may_write(&RoomName::parse("a").unwrap()));
    }

    #[test]
    fn without_a_matching_pattern_there_is_no_access() {
        let token = token(
            &[("session/4", "r", Access::Write), ("", "r", Access::Write)],
            &["board/*"],
            &["event/"],
        );
        for room in ["session/42", "session", "board", "event/a"] {
            assert_eq!(access(&token, room), None, "{room}");
        }
    }

    #[test]
    fn a_back_end_may_write_everywhere_and_is_nobody() {
        let mut token = token(&[], &[], &["a"]);
        token.is_service = true;
        let grant = token.grant(&RoomName::parse("a").unwrap()).unwrap();
        assert_eq!(grant.access, Access::Write);
        assert!(!grant.is_participant && grant.is_stamped);
    }

    #[test]
    fn a_guest_may_enter_every_room_and_speaks_for_themselves() {
        let mut token = token(&[], &[], &[]);
        token.is_guest = true;
        let grant = token.grant(&RoomName::parse("a").unwrap()).unwrap();
        assert_eq!(grant.access, Access::Write);
        assert!(grant.is_participant && !grant.is_stamped);
    }

    #[test]
    fn under_a_name_may_be_rooms_for_whoever_has_a_pattern_that_meets_it() {
        let name = RoomName::parse("event/expo").unwrap();
        for (pattern, may_be) in [
            ("*", true),
            ("ev*", true),
            ("event/expo*", true),
            ("event/expo", true),
            ("event/expo/a", true),
            ("event/expo/a*", true),
            ("event/expo/*", true),
            ("event/exp", false),
            ("event/expo-2", false),
            ("event/expo-2*", false),
            ("event/other/*", false),
            ("board/*", false),
            ("", false),
        ] {
            let pattern = Pattern::new(pattern);
            assert_eq!(pattern.may_fit_under(&name), may_be, "{pattern:?}");
            // Nothing that fits a room there is passed over.
            for room in ["event/expo", "event/expo/a", "event/expo/a/b"] {
                let fits = pattern.fit(&RoomName::parse(room).unwrap()).is_some();
                assert!(may_be || !fits, "{pattern:?} {room}");
            }
        }
    }
}
