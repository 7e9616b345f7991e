//! Tokens: verified into a [`Token`], renewed, revoked.
//!
//! There is exactly one source of keys, and a key is for one algorithm: what a token says about
//! itself only chooses among keys, it never changes how one is used. The library that does the
//! cryptography is asked about the signature alone; the claims, and the times among them, are
//! checked here against the caller's clock, without leeway but for `nbf`. Nothing here knows of sockets,
//! doors or rooms, and no token is ever logged.
//!
//! Start with [`Verifier::verify`]; `keys` has secrets and PEM files, `key_set` sets that change
//! while we run, `claims` what a token may say, `flaw` what may be wrong with one, `revocations` who is refused all the same, `guests`
//! the people of `--dev` who have no token, and `session_tokens` what sessions without a socket are
//! ended by.

mod claims;
mod flaw;
mod guests;
mod key_set;
mod keys;
mod revocations;
mod session_tokens;

use std::path::PathBuf;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;
use tracing::warn;

mod origin;

use crate::clock::{Moment, Timestamp};
use crate::limits::REVOCATIONS_MAX;
use crate::model::{Pattern, RoomName, SessionToken, Token, UserId};
use crate::wire::close::Refusal;
use claims::{Claims, Expected, token_of};
use key_set::{KeySet, KeySetSource, Lookup, Pace};
use keys::PinnedKey;
use revocations::{Revocations, Verdict};
use session_tokens::SessionTokens;

pub use flaw::Flaw;
pub use keys::{KeyError, Secret};

/// A longer token is refused unread. Room lists fit; what does not would not fit a URL either.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// How long a token of `--dev` is good that does not say.
const DEV_TOKEN_LASTS: Duration = Duration::from_secs(3_600);

/// What a verifier is made of.
#[derive(Clone, Debug, Default)]
pub struct AuthOptions {
    /// Where keys come from; may be missing with `is_dev` only.
    pub key: Option<KeySource>,
    /// The `iss` that tokens must have.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have, or have among theirs.
    pub audience: Option<String>,
    /// `--dev`: lets guests in and signs tokens.
    pub is_dev: bool,
}

/// Where keys come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// An HS256 secret.
    Secret(Secret),
    /// A file with one.
    SecretFile(PathBuf),
    /// A public key in PEM: RS256, ES256 or EdDSA, as its type says.
    PemFile(PathBuf),
    /// A key set in a file.
    KeySetFile(PathBuf),
    /// A key set at an `http://` or `https://` address.
    KeySetUrl(String),
}

pub use origin::{FOREIGN_HOST, host_allowed, origin_allowed};

/// Verifies tokens against the one configured key. Cheap to clone; shared by all threads.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    keys: Keys,
    expected: Expected,
    is_dev: bool,
    /// With `--dev` and a secret.
    signing_key: Option<EncodingKey>,
    revocations: RwLock<Revocations>,
    session_tokens: SessionTokens,
}

enum Keys {
    One(Box<PinnedKey>),
    Set(Arc<KeySet>),
}

/// Why a token is no good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Missing, malformed, signed by somebody else, for somebody else, or not valid yet.
    #[error("{0}")]
    Unauthorized(Flaw),
    /// Good otherwise, but its `exp` has come.
    #[error("it has expired")]
    Expired,
    /// Good otherwise, but its bearer is refused.
    #[error("it was revoked")]
    Revoked,
    /// Good otherwise, but issued in the very second in which its bearer was refused, and that second
    /// lasts: the next token is newer.
    #[error("the token is of the second in which others were revoked")]
    TooEarly,
    /// Its key is not in the key set: `verify_fresh` re-reads that, `verify` does not.
    #[error("its key is not known")]
    UnknownKey,
    /// The key set has never been read: nobody can be let in yet.
    #[error("there are no keys yet to verify tokens with")]
    NoKeys,
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unauthorized(Flaw::TooLong) => Self::LimitToken,
            TokenError::Unauthorized(_) | TokenError::UnknownKey => Self::Unauthorized,
            TokenError::Expired => Self::TokenExpired,
            TokenError::Revoked => Self::Revoked,
            TokenError::NoKeys => Self::KeysDown,
            TokenError::TooEarly => Self::TryAgain,
        }
    }
}

impl Verifier {
    /// Reads and tests the key. Waits for the key set if that is at a URL; one that cannot be reached
    /// is asked again later, see [`Verifier::missing_keys`].
    pub fn new(options: AuthOptions) -> Result<Self, KeyError> {
        Self::with_pace(options, Pace::default())
    }

    fn with_pace(options: AuthOptions, pace: Pace) -> Result<Self, KeyError> {
        let source = match options.key {
            Some(KeySource::SecretFile(path)) => KeySource::Secret(Secret::of_file(&path)?),
            Some(source) => source,
            None if options.is_dev => KeySource::Secret(random_secret()?),
            None => return Err(KeyError::Missing),
        };
        let keys = match &source {
            KeySource::Secret(secret) => {
                Keys::One(Box::new(PinnedKey::of_secret(secret.as_bytes())?))
            }
            KeySource::SecretFile(path) => {
                let secret = Secret::of_file(path)?;
                Keys::One(Box::new(PinnedKey::of_secret(secret.as_bytes())?))
            }
            KeySource::PemFile(path) => Keys::One(Box::new(PinnedKey::of_pem_file(path)?)),
            KeySource::KeySetFile(path) => {
                Keys::Set(KeySet::open(KeySetSource::File(path.clone()), pace)?)
            }
            KeySource::KeySetUrl(url) => {
                Keys::Set(KeySet::open(KeySetSource::Url(url.clone()), pace)?)
            }
        };
        let signing_key = match &source {
            KeySource::Secret(secret) if options.is_dev => {
                let key = EncodingKey::from_secret(secret.as_bytes());
                Some(key.map_err(|_| KeyError::EmptySecret)?)
            }
            _ => None,
        };
        Ok(Self(Arc::new(Inner {
            keys,
            expected: Expected {
                issuer: options.issuer,
                audience: options.audience,
            },
            is_dev: options.is_dev,
            signing_key,
            revocations: RwLock::new(Revocations::new()),
            session_tokens: SessionTokens::new()?,
        })))
    }

    /// Never waits. `UnknownKey` only with a key set that may be re-read now: then ask
    /// [`Verifier::verify_fresh`].
    pub fn verify(&self, now: impl Into<Moment>, token: &str) -> Result<Token, TokenError> {
        let now = now.into();
        self.check(now, token).map_err(|error| match &self.0.keys {
            Keys::Set(set)
                if error == TokenError::UnknownKey && !set.may_reread(now.own_time()) =>
            {
                TokenError::Unauthorized(Flaw::UnknownKey)
            }
            _ => error,
        })
    }

    /// Like `verify`, but re-reads the key set (rate-limited) when the key is not known, and never
    /// answers `UnknownKey`.
    pub async fn verify_fresh(
        &self,
        now: impl Into<Moment>,
        token: &str,
    ) -> Result<Token, TokenError> {
        let now = now.into();
        let first = self.check(now, token);
        let (Keys::Set(set), Err(TokenError::UnknownKey)) = (&self.0.keys, &first) else {
            return first;
        };
        set.reread(now.own_time()).await;
        self.check(now, token).map_err(|error| match error {
            TokenError::UnknownKey => TokenError::Unauthorized(Flaw::UnknownKey),
            error => error,
        })
    }

    /// Why nobody with a token can be let in for now: the key set has never been read. `None` when
    /// there are keys.
    pub fn missing_keys(&self) -> Option<Arc<str>> {
        match &self.0.keys {
            Keys::One(_) => None,
            Keys::Set(set) => set.missing(),
        }
    }

    /// Whether `--dev` is on.
    pub fn is_dev(&self) -> bool {
        self.0.is_dev
    }

    /// `--dev`: a caller without a token, somebody new each time; `None` otherwise.
    pub fn guest(&self) -> Option<Token> {
        if !self.0.is_dev {
            return None;
        }
        guests::make_guest()
    }

    /// `--dev`: the guest who names their session so: the same each time. `None` otherwise.
    pub fn guest_of_session(&self, session: &str) -> Option<Token> {
        if !self.0.is_dev {
            return None;
        }
        guests::guest_of(self.0.session_tokens.number_of(session)?)
    }

    /// What ends somebody's session in a room that has no socket; opaque, and the same for the same
    /// session. `None` only if the machine cannot compute it.
    pub fn session_token(
        &self,
        room: &RoomName,
        user: &UserId,
        session: &str,
    ) -> Option<SessionToken> {
        self.0.session_tokens.of(room, user, session)
    }

    /// `--dev` with a secret, or without any key: signs claims, for the demo; `None` otherwise. What a
    /// good token must have and these lack is added: an end in an hour, the issuer, the audience.
    pub fn sign_dev(&self, now: impl Into<Moment>, claims: &Value) -> Option<String> {
        let key = self.0.signing_key.as_ref()?;
        let mut claims = claims.as_object()?.clone();
        let end = now.into().wall + DEV_TOKEN_LASTS;
        let expected = &self.0.expected;
        let needed = [
            ("exp", Some(Value::from(end.as_millis() / 1_000))),
            ("iss", expected.issuer.clone().map(Value::from)),
            ("aud", expected.audience.clone().map(Value::from)),
        ];
        for (name, value) in needed {
            let is_said = claims.get(name).is_some_and(|claim| !claim.is_null());
            if let (false, Some(value)) = (is_said, value) {
                claims.insert(name.to_owned(), value);
            }
        }
        jsonwebtoken::encode(&Header::default(), &claims, key).ok()
    }

    /// Refuses the user's tokens issued until `at`, in some rooms or everywhere; one that was made
    /// later stands. Tokens say in whole seconds when they were issued, so one made within the same
    /// second is refused too.
    pub fn revoke(&self, at: Timestamp, user: &UserId, rooms: Option<&Pattern>) {
        let has_forgotten = {
            let lock = &self.0.revocations;
            let mut revocations = lock.write().unwrap_or_else(|poison| poison.into_inner());
            revocations.revoke(at, user, rooms)
        };
        if has_forgotten {
            warn!("more than {REVOCATIONS_MAX} revocations: the oldest is forgotten");
        }
    }

    /// Whether a token verified earlier may still be shown for this room.
    pub fn check_in_room(
        &self,
        now: Moment,
        token: &Token,
        room: &RoomName,
    ) -> Result<(), TokenError> {
        said(self.revocations().verdict(now.wall, token, Some(room)))
    }

    /// Whether a token verified earlier may still be shown.
    pub fn check_everywhere(&self, now: Moment, token: &Token) -> Result<(), TokenError> {
        said(self.revocations().verdict(now.wall, token, None))
    }

    /// Whether what was opened with a token verified earlier has to end, for this room.
    pub fn is_revoked(&self, now: Moment, token: &Token, room: &RoomName) -> bool {
        self.check_in_room(now, token, room).is_err()
    }

    /// Whether what was opened with a token verified earlier has to end, for every room.
    pub fn is_revoked_everywhere(&self, now: Moment, token: &Token) -> bool {
        self.check_everywhere(now, token).is_err()
    }

    /// How many revocations were ever made: while this stays the same, no answer about them changes.
    pub fn revocations_made(&self) -> u64 {
        self.revocations().made()
    }

    fn check(&self, now: Moment, token: &str) -> Result<Token, TokenError> {
        let claims = self.signed_claims(token)?;
        let token = token_of(&claims, &self.0.expected, now)?;
        self.check_everywhere(now, &token)?;
        Ok(token)
    }

    fn signed_claims(&self, token: &str) -> Result<Claims, TokenError> {
        let no = |flaw| Err(TokenError::Unauthorized(flaw));
        if TOKEN_BYTES_MAX < token.len() {
            return no(Flaw::TooLong);
        }
        // An algorithm we do not know, `none` among them, is no header at all.
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return no(Flaw::Malformed);
        };
        if header.crit.is_some() {
            // It demands that we understand extensions, and we know none.
            return no(Flaw::Malformed);
        }
        match &self.0.keys {
            Keys::One(key) => match key.claims_of(token) {
                Some(claims) => Ok(claims),
                None if key.algorithm() != header.alg => no(Flaw::Algorithm),
                None => no(Flaw::Signature),
            },
            Keys::Set(set) => match set.look_up(&header, token) {
                Lookup::Signed(claims) => Ok(claims),
                Lookup::Forged => no(Flaw::Signature),
                Lookup::UnknownKey => Err(TokenError::UnknownKey),
                Lookup::NoKeys => Err(TokenError::NoKeys),
            },
        }
    }

    fn revocations(&self) -> RwLockReadGuard<'_, Revocations> {
        let lock = &self.0.revocations;
        lock.read().unwrap_or_else(|poison| poison.into_inner())
    }
}

fn said(verdict: Verdict) -> Result<(), TokenError> {
    match verdict {
        Verdict::Good => Ok(()),
        Verdict::TooEarly => Err(TokenError::TooEarly),
        Verdict::Revoked => Err(TokenError::Revoked),
    }
}

/// A secret that ends with the process, as do the tokens signed with it.
fn random_secret() -> Result<Secret, KeyError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(Secret::new(
        random
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    ))
}

#[cfg(test)]
mod fixtures;

#[cfg(test)]
mod tests;
