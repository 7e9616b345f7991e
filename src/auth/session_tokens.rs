//! What ends a session that has no socket: whoever was given it may end that session, and no other.

use jsonwebtoken::{Algorithm, EncodingKey};

use crate::auth::keys::KeyError;
use crate::model::{RoomName, SessionToken, UserId};

/// Makes the tokens of sessions, for as long as the process lives.
pub(super) struct SessionTokens {
    key: EncodingKey,
}

impl SessionTokens {
    /// With a key of its own, that nobody knows.
    pub fn new() -> Result<Self, KeyError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        Ok(Self {
            key: EncodingKey::from_secret(&random).map_err(|_| KeyError::EmptySecret)?,
        })
    }

    /// The token of a session: the same for the same three, and for no others.
    pub fn of(&self, room: &RoomName, user: &UserId, session: &str) -> Option<SessionToken> {
        let message = written_apart([room.as_str(), user.as_str(), session]);
        Some(self.sign(&message)?.into())
    }

    /// A number that belongs to a text here, and cannot be guessed from it.
    pub fn number_of(&self, text: &str) -> Option<[u8; 9]> {
        // Texts of three parts begin otherwise.
        let signed = self.sign(&written_apart([text]))?;
        signed.as_bytes().first_chunk().copied()
    }

    /// HMAC-SHA256, in base64url.
    fn sign(&self, message: &str) -> Option<String> {
        jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::HS256).ok()
    }
}

/// Each part behind its length: no two lists of parts look the same.
fn written_apart<const N: usize>(parts: [&str; N]) -> String {
    let mut text = format!("{N}:");
    for part in parts {
        text.push_str(&format!("{}:{part}", part.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_token_and_others_have_others() {
        let (here, elsewhere) = (SessionTokens::new().unwrap(), SessionTokens::new().unwrap());
        let of = |tokens: &SessionTokens, room: &str, user: &str, session: &str| {
            let (room, user) = (RoomName::parse(room), UserId::parse(user));
            tokens.of(&room.unwrap(), &user.unwrap(), session).unwrap()
        };
        let one = of(&here, "event/1", "ann", "tab");
        assert_eq!(one, of(&here, "event/1", "ann", "tab"));
        assert_eq!(one.len(), 43);
        for (room, user, session) in [
            ("event/1", "ann", "tab2"),
            ("event/1", "ann2", "tab"),
            ("event/12", "ann", "tab"),
            ("event/1", "annt", "ab"),
            ("event/1", "ann3:t", "ab"),
        ] {
            assert_ne!(one, of(&here, room, user, session));
        }
        assert_ne!(one, of(&elsewhere, "event/1", "ann", "tab"));
    }
}
