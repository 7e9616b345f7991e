//! Tokens as an application's back end would sign them.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use crate::support::time::unix_seconds;

/// The secret of every relay that the tests start.
pub const SECRET: &str = "a secret that is long enough for the tests of this suite";

/// The claims of a token in the making. Good for an hour, and for nothing until rooms are named.
#[derive(Clone)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Issued a second ago: what is of the very second of a revocation is a matter of its own.
    pub fn of(user: &str) -> Self {
        let now = unix_seconds();
        let Value::Object(claims) = json!({"sub": user, "iat": now - 1, "exp": now + 3600}) else {
            unreachable!("an object was written")
        };
        Self(claims)
    }

    /// Sets any claim.
    pub fn with(mut self, claim: &str, value: Value) -> Self {
        self.0.insert(claim.to_owned(), value);
        self
    }

    pub fn without(mut self, claim: &str) -> Self {
        self.0.remove(claim);
        self
    }

    pub fn name(self, name: &str) -> Self {
        self.with("name", name.into())
    }

    /// Access to the rooms of a pattern, as somebody.
    pub fn room(mut self, pattern: &str, role: &str, access: &str) -> Self {
        let rooms = self.0.entry("rooms").or_insert_with(|| json!({}));
        rooms[pattern] = json!({"role": role, "access": access});
        self
    }

    pub fn writes(self, pattern: &str) -> Self {
        self.room(pattern, "member", "write")
    }

    pub fn reads(self, pattern: &str) -> Self {
        self.room(pattern, "observer", "read")
    }

    pub fn for_service(self) -> Self {
        self.with("scope", "service".into())
    }

    pub fn expires_in(self, seconds: i64) -> Self {
        let at = unix_seconds() as i64 + seconds;
        self.with("exp", at.into())
    }

    pub fn sign(&self) -> String {
        self.sign_with(
            Algorithm::HS256,
            &EncodingKey::from_secret(SECRET.as_bytes()).unwrap(),
        )
    }

    pub fn sign_with(&self, algorithm: Algorithm, key: &EncodingKey) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), &self.0, key).unwrap()
    }

    /// What a forger sends to a server that believes a token's own word: `alg: none`.
    pub fn unsigned(&self) -> String {
        let signed = self.sign();
        let claims = signed.split('.').nth(1).unwrap();
        // {"alg":"none","typ":"JWT"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
    }
}

/// Somebody who may write everywhere below `session/` and is a coach there.
pub fn coach(user: &str) -> Claims {
    Claims::of(user).room("session/*", "coach", "write")
}

/// Writes everywhere; for tests that are not about access.
pub fn member(user: &str) -> String {
    Claims::of(user).writes("*").sign()
}

/// A back end.
pub fn service() -> String {
    Claims::of("back-end").for_service().sign()
}
