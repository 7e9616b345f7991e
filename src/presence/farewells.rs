//! Sessions without a socket that have just said goodbye: what is still on its way from them counts for
//! nothing.

use crate::clock::Timestamp;
use crate::deadlines::Deadlines;
use crate::limits::{FAREWELL_STRANGERS_MAX, FAREWELL_TOKEN_BYTES_MAX, FAREWELLS_MAX, LEFT_FOR};
use crate::model::SessionToken;

/// The goodbyes of the last moments. A page that is closed sends its last heartbeat and its goodbye side
/// by side, and they may change places on their way.
#[derive(Debug, Default)]
pub struct Farewells {
    /// Of sessions that there were.
    known: Deadlines<SessionToken>,
    /// Of sessions that nobody has heard of: anybody can say goodbye for what they make up, and that
    /// must not push out the others.
    strangers: Deadlines<SessionToken>,
}

impl Farewells {
    /// Somebody says goodbye for the session of this token. `is_known`: there was such a session, or
    /// it is its own user who says so.
    pub fn note(&mut self, now: Timestamp, token: &SessionToken, is_known: bool) {
        self.tick(now);
        if FAREWELL_TOKEN_BYTES_MAX < token.len() {
            return;
        }
        let (goodbyes, max) = match is_known {
            true => (&mut self.known, FAREWELLS_MAX),
            false => (&mut self.strangers, FAREWELL_STRANGERS_MAX),
        };
        goodbyes.set(token.clone(), Some(now + LEFT_FOR));
        if max < goodbyes.count()
            && let Some(earliest) = goodbyes.next()
        {
            goodbyes.pop_due(earliest);
        }
    }

    /// Whether the session of this token has just left.
    pub fn has_left(&mut self, now: Timestamp, token: &SessionToken) -> bool {
        self.tick(now);
        self.known.contains(token) || self.strangers.contains(token)
    }

    /// Forgets goodbyes that were said long enough ago.
    pub fn tick(&mut self, now: Timestamp) {
        while self.known.pop_due(now).is_some() {}
        while self.strangers.pop_due(now).is_some() {}
    }

    /// When `tick` is needed next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let all = [self.known.next(), self.strangers.next()];
        all.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_goodbye_holds_for_two_seconds() {
        for is_known in [true, false] {
            let mut farewells = Farewells::default();
            let token: SessionToken = "ann-1".into();
            assert!(!farewells.has_left(at(0), &token));
            farewells.note(at(0), &token, is_known);
            assert!(farewells.has_left(at(0), &token));
            assert!(farewells.has_left(at(1_999), &token));
            assert!(!farewells.has_left(at(1_999), &"ann-2".into()));
            assert_eq!(farewells.next_deadline(), Some(at(2_000)));
            assert!(!farewells.has_left(at(2_000), &token));
            assert_eq!(farewells.next_deadline(), None);
            // Said again, it holds on.
            farewells.note(at(3_000), &token, is_known);
            farewells.note(at(4_000), &token, is_known);
            assert!(farewells.has_left(at(5_999), &token));
            assert!(!farewells.has_left(at(6_000), &token));
        }
    }

    #[test]
    fn what_strangers_make_up_has_bounds_and_pushes_out_nobody() {
        let mut farewells = Farewells::default();
        let token: SessionToken = "ann-1".into();
        farewells.note(at(0), &token, true);
        farewells.note(
            at(0),
            &"x".repeat(FAREWELL_TOKEN_BYTES_MAX + 1).into(),
            false,
        );
        for number in 0..2 * FAREWELL_STRANGERS_MAX {
            farewells.note(at(1), &number.to_string().into(), false);
        }
        assert!(farewells.has_left(at(1), &token));
        assert_eq!(farewells.strangers.count(), FAREWELL_STRANGERS_MAX);
        for number in 0..FAREWELLS_MAX + 10 {
            farewells.note(at(2), &number.to_string().into(), true);
        }
        assert_eq!(farewells.known.count(), FAREWELLS_MAX);
        assert!(!farewells.has_left(at(2), &token));
    }
}
