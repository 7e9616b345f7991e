//! Whose tokens are refused although they verify: users, or users in some rooms, until a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limits::{REVOCATIONS_KEPT_FOR, REVOCATIONS_MAX};
use crate::model::{Pattern, RoomName, Token, UserId};

/// The revocations of the last months. A repeated one replaces the time of the former.
#[derive(Debug)]
pub struct Revocations {
    of_user: HashMap<UserId, OfUser>,
    /// The oldest first.
    by_age: BTreeSet<(Timestamp, UserId, Option<Pattern>)>,
    revocations_max: usize,
    made: u64,
}

#[derive(Debug, Default)]
struct OfUser {
    everywhere: Option<Timestamp>,
    in_room: HashMap<Arc<str>, Timestamp>,
    /// By what the rooms' names begin with.
    below: HashMap<Arc<str>, Timestamp>,
}

/// What revocations say of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing.
    Good,
    /// It was issued in the very second of a revocation, and that second lasts: nobody can tell which
    /// came first, but from the next second on there are tokens that are surely newer.
    TooEarly,
    /// It is refused.
    Revoked,
}

impl Revocations {
    /// Remembers as many as there may be.
    pub fn new() -> Self {
        Self::with_max(REVOCATIONS_MAX)
    }

    fn with_max(revocations_max: usize) -> Self {
        Self {
            of_user: HashMap::new(),
            by_age: BTreeSet::new(),
            revocations_max,
            made: 0,
        }
    }

    /// How many were ever made: whoever has looked need look again only when this has grown.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Refuses the user's tokens issued until `at`; one that was made later stands. Whether an older
    /// revocation had to be forgotten before its time is returned.
    pub fn revoke(&mut self, at: Timestamp, user: &UserId, rooms: Option<&Pattern>) -> bool {
        self.made += 1;
        let of_user = self.of_user.entry(user.clone()).or_default();
        let before = of_user.time_of(rooms);
        if before.is_some_and(|before| at <= before) {
            return false;
        }
        match rooms {
            None => of_user.everywhere = Some(at),
            Some(rooms) => {
                let (map, key) = of_user.place(rooms);
                map.insert(key.into(), at);
            }
        }
        if let Some(before) = before {
            self.by_age.remove(&(before, user.clone(), rooms.cloned()));
        }
        self.by_age.insert((at, user.clone(), rooms.cloned()));
        self.forget(at)
    }

    /// Whether the token is refused, in this room or, without one, wherever it is shown.
    pub fn verdict(&self, now: Timestamp, token: &Token, room: Option<&RoomName>) -> Verdict {
        let Some(of_user) = self.of_user.get(&token.identity.user) else {
            return Verdict::Good;
        };
        let mut verdict = Verdict::Good;
        of_user.each_for(room, |at| {
            verdict = verdict.worse(verdict_of(now, token, at));
        });
        verdict
    }

    /// Forgets those that are old, and the oldest of too many; whether there were too many.
    fn forget(&mut self, now: Timestamp) -> bool {
        let mut were_too_many = false;
        while let Some((at, ..)) = self.by_age.first() {
            let is_old = *at + REVOCATIONS_KEPT_FOR < now;
            let are_too_many = self.revocations_max < self.by_age.len();
            if !is_old && !are_too_many {
                break;
            }
            were_too_many |= are_too_many && !is_old;
            if let Some((_, user, rooms)) = self.by_age.pop_first() {
                self.forget_one(&user, rooms.as_ref());
            }
        }
        were_too_many
    }

    fn forget_one(&mut self, user: &UserId, rooms: Option<&Pattern>) {
        let Some(of_user) = self.of_user.get_mut(user) else {
            return;
        };
        match rooms {
            None => of_user.everywhere = None,
            Some(rooms) => {
                let (map, key) = of_user.place(rooms);
                map.remove(key);
            }
        }
        if of_user.is_empty() {
            self.of_user.remove(user);
        }
    }
}

impl OfUser {
    fn is_empty(&self) -> bool {
        self.everywhere.is_none() && self.in_room.is_empty() && self.below.is_empty()
    }

    fn time_of(&mut self, rooms: Option<&Pattern>) -> Option<Timestamp> {
        match rooms {
            None => self.everywhere,
            Some(rooms) => {
                let (map, key) = self.place(rooms);
                map.get(key).copied()
            }
        }
    }

    fn place<'a>(&mut self, rooms: &'a Pattern) -> (&mut HashMap<Arc<str>, Timestamp>, &'a str) {
        match rooms.prefix() {
            Some(prefix) => (&mut self.below, prefix),
            None => (&mut self.in_room, rooms.as_str()),
        }
    }

    /// Shows when the user was last revoked everywhere, in this room, and in all whose names begin as
    /// its does. However many there are of those, it takes one look for each character of the name.
    fn each_for(&self, room: Option<&RoomName>, mut show: impl FnMut(Timestamp)) {
        self.everywhere.into_iter().for_each(&mut show);
        let Some(room) = room.map(RoomName::as_str) else {
            return;
        };
        self.in_room
            .get(room)
            .copied()
            .into_iter()
            .for_each(&mut show);
        if !self.below.is_empty() {
            let ends = room.char_indices().map(|(at, _)| at).chain([room.len()]);
            ends.filter_map(|end| self.below.get(&room[..end]).copied())
                .for_each(show);
        }
    }
}

impl Verdict {
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Revoked, _) | (_, Self::Revoked) => Self::Revoked,
            (Self::TooEarly, _) | (_, Self::TooEarly) => Self::TooEarly,
            (Self::Good, Self::Good) => Self::Good,
        }
    }
}

/// A token that does not say when it was issued may be older than any revocation.
fn verdict_of(now: Timestamp, token: &Token, revoked_at: Timestamp) -> Verdict {
    let second = |at: Timestamp| at.as_millis() / 1_000;
    match token.issued_at {
        Some(issued_at) if revoked_at < issued_at => Verdict::Good,
        Some(issued_at)
            if second(issued_at) == second(revoked_at) && second(now) == second(revoked_at) =>
        {
            Verdict::TooEarly
        }
        Some(_) | None => Verdict::Revoked,
    }
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

    fn revoke(revocations: &mut Revocations, at: u64, user: &str, rooms: Option<&str>) -> bool {
        let rooms = rooms.map(|rooms| Pattern::parse(rooms).unwrap());
        let user = UserId::parse(user).unwrap();
        revocations.revoke(Timestamp::from_millis(at), &user, rooms.as_ref())
    }

    /// Long after all of these revocations.
    fn verdict(revocations: &Revocations, token: &Token, room: &str) -> Verdict {
        let room = Some(room)
            .filter(|room| !room.is_empty())
            .map(|room| RoomName::parse(room).unwrap());
        revocations.verdict(Timestamp::from_millis(90_000), token, room.as_ref())
    }

    #[test]
    fn tokens_issued_until_the_revocation_are_refused_and_later_ones_are_not() {
        let mut revocations = Revocations::new();
        revoke(&mut revocations, 1_000, "ann", None);
        for (issued_at, expected) in [
            (Some(999), Verdict::Revoked),
            (Some(1_000), Verdict::Revoked),
            (Some(1_001), Verdict::Good),
            (None, Verdict::Revoked),
        ] {
            let token = token("ann", issued_at);
            assert_eq!(verdict(&revocations, &token, ""), expected);
            assert_eq!(verdict(&revocations, &token, "a"), expected);
        }
        let bob = token("bob", None);
        assert_eq!(verdict(&revocations, &bob, ""), Verdict::Good);
    }

    #[test]
    fn while_its_second_lasts_a_token_is_too_early_and_then_revoked() {
        let mut revocations = Revocations::new();
        revoke(&mut revocations, 5_400, "ann", Some("a/*"));
        let room = RoomName::parse("a/b").unwrap();
        let at = |now, issued_at| {
            let token = token("ann", issued_at);
            revocations.verdict(Timestamp::from_millis(now), &token, Some(&room))
        };
        assert_eq!(at(5_400, Some(5_000)), Verdict::TooEarly);
        assert_eq!(at(5_999, Some(5_000)), Verdict::TooEarly);
        assert_eq!(at(6_000, Some(5_000)), Verdict::Revoked);
        assert_eq!(at(6_000, Some(6_000)), Verdict::Good);
        // What is surely older is refused at once, and what is surely newer let in.
        assert_eq!(at(5_400, Some(4_000)), Verdict::Revoked);
        assert_eq!(at(5_400, None), Verdict::Revoked);
        assert_eq!(at(5_500, Some(5_450)), Verdict::Good);
    }

    #[test]
    fn a_revocation_in_some_rooms_leaves_the_others() {
        let mut revocations = Revocations::new();
        revoke(&mut revocations, 1_000, "ann", Some("a"));
        revoke(&mut revocations, 1_000, "ann", Some("session/*"));
        revoke(&mut revocations, 1_000, "ann", Some("event/ö*"));
        let token = token("ann", Some(500));
        for room in ["a", "session/1", "session/1/x", "event/ö", "event/öl"] {
            assert_eq!(
                verdict(&revocations, &token, room),
                Verdict::Revoked,
                "{room}"
            );
        }
        for room in ["", "b", "ab", "session", "sessions/1", "event/o"] {
            assert_eq!(verdict(&revocations, &token, room), Verdict::Good, "{room}");
        }
        revoke(&mut revocations, 1_000, "ann", Some("*"));
        assert_eq!(verdict(&revocations, &token, "b"), Verdict::Revoked);
        assert_eq!(verdict(&revocations, &token, ""), Verdict::Good);
    }

    #[test]
    fn an_earlier_time_never_takes_the_place_of_a_later_one() {
        let mut revocations = Revocations::new();
        for rooms in [None, Some("a"), Some("b*")] {
            revoke(&mut revocations, 2_000, "ann", rooms);
            revoke(&mut revocations, 1_000, "ann", rooms);
        }
        let token = token("ann", Some(1_500));
        for room in ["", "a", "bc"] {
            assert_eq!(verdict(&revocations, &token, room), Verdict::Revoked);
        }
        assert_eq!(revocations.by_age.len(), 3);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten_first() {
        let mut revocations = Revocations::with_max(2);
        assert!(!revoke(&mut revocations, 1, "ann", None));
        assert!(!revoke(&mut revocations, 2, "bob", Some("a*")));
        // The same once more takes no place.
        assert!(!revoke(&mut revocations, 3, "ann", None));
        let ann = token("ann", Some(3));
        assert_eq!(verdict(&revocations, &ann, ""), Verdict::Revoked);
        assert!(revoke(&mut revocations, 4, "cem", None));
        assert_eq!(
            verdict(&revocations, &token("bob", None), "a"),
            Verdict::Good
        );
        assert_eq!(revocations.of_user.len(), 2);
        assert_eq!(revocations.by_age.len(), 2);
    }

    #[test]
    fn what_is_older_than_it_need_be_is_forgotten_without_a_word() {
        let mut revocations = Revocations::new();
        revoke(&mut revocations, 1_000, "ann", None);
        let kept = REVOCATIONS_KEPT_FOR.as_millis() as u64;
        assert!(!revoke(&mut revocations, 1_000 + kept, "bob", None));
        assert_eq!(revocations.by_age.len(), 2);
        assert!(!revoke(&mut revocations, 1_001 + kept, "bob", Some("a")));
        assert_eq!(revocations.of_user.len(), 1);
    }
}
