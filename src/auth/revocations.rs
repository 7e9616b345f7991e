//! Whose tokens are refused although they verify: users, or users in one room, until a time.

use std::collections::{HashMap, VecDeque};

use crate::clock::Timestamp;
use crate::model::{RoomName, Token, UserId};

/// How many revocations are remembered. The oldest is forgotten first, which is harmless once the
/// tokens it was about have expired: at one revocation a second that gives them 27 hours.
pub const REVOCATIONS_MAX: usize = 100_000;

/// The revocations so far. A repeated one replaces the time of the former.
#[derive(Debug)]
pub struct Revocations {
    of_user: HashMap<UserId, OfUser>,
    /// In the order they were made; repeated ones are in it more than once.
    history: VecDeque<(Timestamp, UserId, Option<RoomName>)>,
    revocations_max: usize,
    made: u64,
}

#[derive(Debug, Default)]
struct OfUser {
    everywhere: Option<Timestamp>,
    in_room: HashMap<RoomName, Timestamp>,
}

impl Revocations {
    /// Remembers at most so many.
    pub fn new(revocations_max: usize) -> Self {
        Self {
            of_user: HashMap::new(),
            history: VecDeque::new(),
            revocations_max,
            made: 0,
        }
    }

    /// How many were ever made: whoever has looked need look again only when this has grown.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Refuses the user's tokens issued until `now`. Whether an older revocation had to be
    /// forgotten for it is returned.
    pub fn revoke(&mut self, now: Timestamp, user: &UserId, room: Option<&RoomName>) -> bool {
        self.made += 1;
        let of_user = self.of_user.entry(user.clone()).or_default();
        match room {
            Some(room) => {
                of_user.in_room.insert(room.clone(), now);
            }
            None => of_user.everywhere = Some(now),
        }
        self.history.push_back((now, user.clone(), room.cloned()));
        self.forget_beyond_bound()
    }

    /// Whether the token is refused whatever the room.
    pub fn is_revoked_everywhere(&self, token: &Token) -> bool {
        self.of_user
            .get(&token.identity.user)
            .is_some_and(|of_user| is_covered(token, of_user.everywhere))
    }

    /// Whether the token is refused in this room.
    pub fn is_revoked(&self, token: &Token, room: &RoomName) -> bool {
        self.of_user
            .get(&token.identity.user)
            .is_some_and(|of_user| {
                is_covered(token, of_user.everywhere)
                    || is_covered(token, of_user.in_room.get(room).copied())
            })
    }

    fn forget_beyond_bound(&mut self) -> bool {
        if self.history.len() <= self.revocations_max {
            return false;
        }
        let Some((at, user, room)) = self.history.pop_front() else {
            return false;
        };
        let Some(of_user) = self.of_user.get_mut(&user) else {
            return false;
        };
        // A later revocation of the same user and room keeps its place: it has a later time.
        let was_last = match &room {
            Some(room) => {
                of_user.in_room.get(room) == Some(&at) && of_user.in_room.remove(room).is_some()
            }
            None => of_user.everywhere == Some(at) && of_user.everywhere.take().is_some(),
        };
        if of_user.everywhere.is_none() && of_user.in_room.is_empty() {
            self.of_user.remove(&user);
        }
        was_last
    }
}

/// A token that does not say when it was issued may be older than any revocation.
fn is_covered(token: &Token, revoked_at: Option<Timestamp>) -> bool {
    revoked_at.is_some_and(|at| token.issued_at.is_none_or(|issued_at| issued_at <= at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Identity;

    fn token(user: &str, issued_at: Option<u64>) -> Token {
        Token {
            identity: Identity {
                user: UserId::parse(user).unwrap(),
                name: user.into(),
                avatar: None,
                color: None,
            },
            rooms: Vec::new(),
            allowed: Vec::new(),
            readonly: Vec::new(),
            follows: Vec::new(),
            is_service: false,
            is_guest: false,
            issued_at: issued_at.map(Timestamp::from_millis),
            expires_at: None,
        }
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn revoke(revocations: &mut Revocations, at: u64, user: &str, in_room: Option<&str>) -> bool {
        let in_room = in_room.map(room);
        let user = UserId::parse(user).unwrap();
        revocations.revoke(Timestamp::from_millis(at), &user, in_room.as_ref())
    }

    #[test]
    fn tokens_issued_until_the_revocation_are_refused_and_later_ones_are_not() {
        let mut revocations = Revocations::new(10);
        revoke(&mut revocations, 1_000, "ann", None);
        for (issued_at, is_refused) in [
            (Some(999), true),
            (Some(1_000), true),
            (Some(1_001), false),
            (None, true),
        ] {
            let token = token("ann", issued_at);
            assert_eq!(revocations.is_revoked_everywhere(&token), is_refused);
            assert_eq!(revocations.is_revoked(&token, &room("a")), is_refused);
        }
        assert!(!revocations.is_revoked_everywhere(&token("bob", None)));
    }

    #[test]
    fn a_revocation_in_one_room_leaves_the_others() {
        let mut revocations = Revocations::new(10);
        revoke(&mut revocations, 1_000, "ann", Some("a"));
        let token = token("ann", Some(500));
        assert!(revocations.is_revoked(&token, &room("a")));
        assert!(!revocations.is_revoked(&token, &room("b")));
        assert!(!revocations.is_revoked_everywhere(&token));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten_first() {
        let mut revocations = Revocations::new(2);
        assert!(!revoke(&mut revocations, 1, "ann", None));
        assert!(!revoke(&mut revocations, 2, "bob", Some("a")));
        // Ann's first revocation falls out, but her newer one stands.
        assert!(!revoke(&mut revocations, 3, "ann", None));
        assert!(revocations.is_revoked_everywhere(&token("ann", Some(3))));
        assert!(revoke(&mut revocations, 4, "cem", None));
        assert!(!revocations.is_revoked(&token("bob", None), &room("a")));
        assert_eq!(revocations.of_user.len(), 2);
        assert_eq!(revocations.history.len(), 2);
    }
}
