//! A socket's token, and the newer ones that take its place while the socket stays.

use crate::auth::{Flaw, TokenError, Verifier};
use crate::clock::{Moment, Timestamp};
use crate::limits::REFRESH_BEFORE;
use crate::model::{Grant, RoomName, Token};
use crate::relay::Turn;
use crate::wire::close::Refusal;

/// The token that a socket goes by.
#[derive(Debug)]
pub struct Renewal {
    token: Token,
    /// When the client is asked for a new token; once for each.
    refresh_at: Option<Timestamp>,
    /// Whether a new one is being checked.
    is_checking: bool,
}

/// What the token needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// A newer one soon: the client is to be asked.
    Refresh,
    /// It has ended, and the socket with it.
    End,
}

impl Renewal {
    /// Goes by this token from now on.
    pub fn new(now: Timestamp, token: Token) -> Self {
        Self {
            refresh_at: refresh_at(now, token.expires_at),
            token,
            is_checking: false,
        }
    }

    /// The token in force.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// When `due` is worth asking.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.refresh_at.or(self.token.expires_at)
    }

    /// What is due now. `Refresh` is said once for each token.
    pub fn due(&mut self, now: Timestamp) -> Due {
        let has_come = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if has_come(self.token.expires_at) {
            Due::End
        } else if has_come(self.refresh_at) {
            self.refresh_at = None;
            Due::Refresh
        } else {
            Due::Nothing
        }
    }

    /// The client sends a new token. `None` when its key must be fetched first: the door hears of
    /// it by its `verified`, and hands the outcome to `take`. One at a time.
    pub fn verify(
        &mut self,
        turn: &mut Turn<'_>,
        token: &str,
    ) -> Option<Result<Token, TokenError>> {
        if self.is_checking {
            return Some(Err(TokenError::Unauthorized(Flaw::Hasty)));
        }
        let outcome = turn.verifier().verify(turn.moment(), token);
        if let Err(TokenError::UnknownKey) = outcome {
            self.is_checking = true;
            turn.verify_later(String::new(), token.to_owned());
            return None;
        }
        Some(outcome)
    }

    /// Goes by a new token, which must be of the same user. An error leaves the old one in force.
    pub fn take(
        &mut self,
        now: Timestamp,
        outcome: Result<Token, TokenError>,
    ) -> Result<&Token, TokenError> {
        self.is_checking = false;
        let token = outcome?;
        if token.identity.user != self.token.identity.user {
            return Err(TokenError::Unauthorized(Flaw::OtherUser));
        }
        *self = Self::new(now, token);
        Ok(&self.token)
    }
}

/// What a token lets its bearer do in a room, unless that has been revoked.
pub fn grant(
    verifier: &Verifier,
    now: Moment,
    token: &Token,
    room: &RoomName,
) -> Result<Grant, Refusal> {
    let grant = token.grant(room).ok_or(Refusal::Forbidden)?;
    verifier.check_in_room(now, token, room)?;
    Ok(grant)
}

/// When a token that was issued now is surely newer than one that was issued in this second. Whoever has
/// one of those that came too early is sent away then and not before: their program asks for another when
/// they are, and may give up for good if that is of the same second.
///
/// Tokens go by the world's clock; the answer is in the relay's own time.
pub fn second_ends(now: Moment) -> Timestamp {
    now.own_time_of(Timestamp::from_millis(
        (now.wall.as_millis() / 1_000 + 1) * 1_000,
    ))
}

/// When the bearer of a token is asked for a new one. Who brings one that ends sooner than that is
/// asked half-way, not at once and for ever.
pub fn refresh_at(now: Timestamp, expires_at: Option<Timestamp>) -> Option<Timestamp> {
    let remaining = expires_at?.since(now);
    let patience = remaining.checked_sub(REFRESH_BEFORE);
    Some(now + patience.unwrap_or(remaining / 2))
}

#[cfg(test)]
mod tests {
    use crate::model::{Identity, UserId};

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((1_000_000 + seconds) * 1_000)
    }

    fn token(user: &str, expires: Option<u64>) -> Token {
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
            issued_at: None,
            expires_at: expires.map(at),
        }
    }

    #[test]
    fn a_token_is_asked_for_once_a_minute_before_its_end() {
        let mut renewal = Renewal::new(at(0), token("ann", Some(3_600)));
        assert_eq!(renewal.next_deadline(), Some(at(3_540)));
        assert_eq!(renewal.due(at(3_539)), Due::Nothing);
        assert_eq!(renewal.due(at(3_540)), Due::Refresh);
        assert_eq!(renewal.due(at(3_599)), Due::Nothing);
        assert_eq!(renewal.next_deadline(), Some(at(3_600)));
        assert_eq!(renewal.due(at(3_600)), Due::End);
    }

    #[test]
    fn a_short_token_is_asked_for_half_way() {
        let mut renewal = Renewal::new(at(0), token("ann", Some(20)));
        assert_eq!(renewal.due(at(9)), Due::Nothing);
        assert_eq!(renewal.due(at(10)), Due::Refresh);
        assert_eq!(renewal.due(at(20)), Due::End);
    }

    #[test]
    fn a_new_token_is_a_new_round() {
        let mut renewal = Renewal::new(at(0), token("ann", Some(120)));
        assert_eq!(renewal.due(at(60)), Due::Refresh);
        let renewed = renewal.take(at(61), Ok(token("ann", Some(300))));
        assert_eq!(renewed.map(|token| token.expires_at), Ok(Some(at(300))));
        assert_eq!(renewal.due(at(120)), Due::Nothing);
        assert_eq!(renewal.due(at(240)), Due::Refresh);
        assert_eq!(renewal.due(at(300)), Due::End);
    }

    #[test]
    fn a_bad_token_changes_nothing() {
        let mut renewal = Renewal::new(at(0), token("ann", Some(120)));
        let bob = renewal.take(at(1), Ok(token("bob", Some(9_999))));
        let other = TokenError::Unauthorized(Flaw::OtherUser);
        assert_eq!(bob.err(), Some(other));
        let expired = Err(TokenError::Expired);
        let outcome = renewal.take(at(1), expired);
        assert_eq!(outcome.err(), Some(TokenError::Expired));
        assert_eq!(renewal.token().identity.user.as_str(), "ann");
        assert_eq!(renewal.next_deadline(), Some(at(60)));
    }

    #[test]
    fn guests_are_never_asked() {
        let mut renewal = Renewal::new(at(0), token("guest", None));
        assert_eq!(renewal.next_deadline(), None);
        assert_eq!(renewal.due(at(1_000_000)), Due::Nothing);
    }
}
