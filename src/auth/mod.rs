//! Tokens: verified into a [`Token`](crate::model::Token), renewed, revoked.

#![allow(missing_docs, unused_variables, clippy::todo)]

mod origin;

use crate::clock::Timestamp;
use crate::model::{RoomName, Token, UserId};

pub use origin::origin_allowed;

/// Verifies tokens against the one configured key. Cheap to clone; shared by all threads.
#[derive(Clone)]
pub struct Verifier {}

/// Why a token is no good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    #[error("no token, or one that does not verify")]
    Unauthorized,
    #[error("the token has expired")]
    Expired,
    #[error("the token was revoked")]
    Revoked,
    /// Its `kid` is not in the key set: `refresh_keys`, then try again.
    #[error("the token's key is not known")]
    UnknownKey,
}

impl Verifier {
    /// Never waits. `UnknownKey` only with a key set that may be re-read now.
    pub fn verify(&self, now: Timestamp, token: &str) -> Result<Token, TokenError> {
        todo!()
    }
    /// Like `verify`, re-reading the key set (rate-limited) when the key is not known.
    pub async fn verify_fresh(&self, now: Timestamp, token: &str) -> Result<Token, TokenError> {
        todo!()
    }
    /// `--dev`: a caller without a token; `None` otherwise.
    pub fn guest(&self) -> Option<Token> {
        todo!()
    }
    /// Refuses the user's tokens issued until `now`, in one room or everywhere.
    pub fn revoke(&self, now: Timestamp, user: &UserId, room: Option<&RoomName>) {
        todo!()
    }
    /// Whether a token verified earlier has been revoked since, for this room.
    pub fn is_revoked(&self, token: &Token, room: &RoomName) -> bool {
        todo!()
    }
}
