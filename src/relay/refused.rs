//! Whom the relay does not let in, for whoever runs it: pages of other origins, and tokens that are
//! no good.
//!
//! Both are told in the log, counted, and listed on the live page. Anybody can cause them, as often as
//! they like: what is remembered has a bound, and so has what is logged.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use crate::auth::TokenError;
use crate::clock::Timestamp;
use crate::limits::{
    OBSERVED_ORIGINS_MAX, OBSERVED_PATH_BYTES_MAX, ORIGINS_FORGOTTEN_AFTER, ORIGINS_NAMED_MAX,
    TOKEN_REFUSALS_TOLD_EVERY,
};
use crate::metrics::Metrics;
use crate::relay::{Relay, Shared};

/// What was refused since the relay began.
#[derive(Debug, Default)]
pub struct Refused {
    origins: HashMap<Arc<str>, RefusedOrigin>,
    /// When there were so many origins that all were forgotten.
    forgotten_at: Timestamp,
    tokens: HashMap<&'static str, Told>,
}

/// An origin whose pages are not let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedOrigin {
    /// As the browser says it.
    pub origin: Arc<str>,
    /// How often.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
}

/// Tokens that were refused for the same reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefusedTokens {
    /// What was wrong with the last.
    pub error: TokenError,
    /// How many.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
}

#[derive(Debug)]
struct Told {
    tokens: RefusedTokens,
    /// When it was last logged, and how many had been counted then.
    logged_at: Timestamp,
    logged: u64,
}

/// The lists, for the live page.
#[derive(Clone, Debug, Default)]
pub struct RefusedLists {
    /// Origins, the latest first, as many as are listed.
    pub origins: Vec<RefusedOrigin>,
    /// How many more there are.
    pub origins_more: usize,
    /// Tokens by reason, the most frequent first.
    pub tokens: Vec<RefusedTokens>,
}

impl Refused {
    /// A page of this origin was refused; whether that is to be logged: once for each origin.
    pub fn origin(&mut self, now: Timestamp, origin: &str) -> bool {
        let origin = cut(origin);
        if let Some(known) = self.origins.get_mut(origin) {
            known.count += 1;
            known.last_at = now;
            return false;
        }
        if ORIGINS_NAMED_MAX <= self.origins.len() {
            // Somebody makes them up. Until they are forgotten, new ones are counted and not named.
            if now < self.forgotten_at + ORIGINS_FORGOTTEN_AFTER {
                return false;
            }
            self.origins.clear();
        }
        if self.origins.is_empty() {
            self.forgotten_at = now;
        }
        let origin: Arc<str> = origin.into();
        let refused = RefusedOrigin {
            origin: origin.clone(),
            count: 1,
            last_at: now,
        };
        self.origins.insert(origin, refused);
        true
    }

    /// A token was refused. If that is to be logged: how many were for this reason since the last
    /// time it was.
    pub fn token(&mut self, now: Timestamp, error: TokenError) -> Option<u64> {
        let told = self.tokens.entry(error.reason()).or_insert(Told {
            tokens: RefusedTokens {
                error,
                count: 0,
                last_at: now,
            },
            logged_at: now,
            logged: 0,
        });
        let is_first = told.tokens.count == 0;
        told.tokens = RefusedTokens {
            error,
            count: told.tokens.count + 1,
            last_at: now,
        };
        if !is_first && now < told.logged_at + TOKEN_REFUSALS_TOLD_EVERY {
            return None;
        }
        let since = told.tokens.count - told.logged;
        told.logged_at = now;
        told.logged = told.tokens.count;
        Some(since)
    }

    /// The lists.
    pub fn lists(&self) -> RefusedLists {
        let mut origins: Vec<_> = self.origins.values().cloned().collect();
        origins.sort_unstable_by(|a, b| {
            let order = b.last_at.cmp(&a.last_at);
            order.then_with(|| a.origin.cmp(&b.origin))
        });
        let origins_more = origins.len().saturating_sub(OBSERVED_ORIGINS_MAX);
        origins.truncate(OBSERVED_ORIGINS_MAX);
        let mut tokens: Vec<_> = self.tokens.values().map(|told| told.tokens).collect();
        tokens.sort_unstable_by_key(|tokens| {
            (std::cmp::Reverse(tokens.count), tokens.error.reason())
        });
        RefusedLists {
            origins,
            origins_more,
            tokens,
        }
    }
}

/// What a stranger wrote, as far as it is kept or logged.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(OBSERVED_PATH_BYTES_MAX)]
}

impl Relay {
    /// A page of this origin is not let in at this path; what it is told.
    pub fn refuse_origin(&self, origin: &str, path: &str) -> String {
        let origin = cut(origin);
        self.metrics().origins_refused.inc();
        let is_new = self
            .0
            .shared
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .origin(self.0.clock.now(), origin);
        if is_new {
            tracing::warn!(
                origin,
                path = cut(path),
                "a page was refused because of its origin; `--allow-origin {origin}` would let it in"
            );
        }
        format!("pages of {origin} are not let in; the relay's --allow-origin names those that are")
    }

    /// A token is no good; `at` is where it was shown.
    pub fn refuse_token(&self, at: &str, error: TokenError) {
        let now = self.0.clock.now();
        self.0.shared.refuse_token(self.metrics(), now, at, error);
    }

    /// What was refused since the relay began.
    pub(super) fn refused_lists(&self) -> RefusedLists {
        let refused = &self.0.shared.refused;
        refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lists()
    }
}

impl Shared {
    /// A token is no good; `at` is where it was shown.
    pub(super) fn refuse_token(
        &self,
        metrics: &Metrics,
        now: Timestamp,
        at: &str,
        error: TokenError,
    ) {
        let reason = error.reason();
        metrics.auth_failures(reason).inc();
        let refused = &self.refused;
        let since = refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .token(now, error);
        let Some(count) = since else {
            return;
        };
        let at = cut(at);
        match error {
            // As tokens go.
            TokenError::Expired | TokenError::Revoked | TokenError::TooEarly => {
                tracing::info!(at, reason, count, "a token was refused: {error}");
            }
            TokenError::Unauthorized(_) | TokenError::UnknownKey | TokenError::NoKeys => {
                tracing::warn!(at, reason, count, "a token was refused: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::auth::Flaw;

    use super::*;

    const BEGIN: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn an_origin_is_logged_once_and_made_up_ones_have_an_end() {
        let mut refused = Refused::default();
        assert!(refused.origin(BEGIN, "https://app.example"));
        let later = BEGIN + Duration::from_secs(5);
        assert!(!refused.origin(later, "https://app.example"));
        let lists = refused.lists();
        assert_eq!((lists.origins[0].count, lists.origins_more), (2, 0));
        assert_eq!(lists.origins[0].last_at, later);

        let made_up = |number: usize| format!("https://{number}.example");
        let logged = (0..10 * ORIGINS_NAMED_MAX)
            .filter(|&number| refused.origin(later, &made_up(number)))
            .count();
        assert_eq!(logged, ORIGINS_NAMED_MAX - 1);
        assert_eq!(refused.origins.len(), ORIGINS_NAMED_MAX);
        let lists = refused.lists();
        assert_eq!(lists.origins.len(), OBSERVED_ORIGINS_MAX);
        assert_eq!(lists.origins_more, ORIGINS_NAMED_MAX - OBSERVED_ORIGINS_MAX);
        // Whoever sets up another page an hour later sees it named.
        let hour_later = later + ORIGINS_FORGOTTEN_AFTER;
        assert!(refused.origin(hour_later, "https://new.example"));
        assert_eq!(refused.origins.len(), 1);
    }

    #[test]
    fn a_long_origin_is_cut() {
        let mut refused = Refused::default();
        refused.origin(BEGIN, &"é".repeat(10_000));
        assert!(refused.lists().origins[0].origin.len() <= OBSERVED_PATH_BYTES_MAX);
    }

    #[test]
    fn why_a_token_is_refused_is_logged_now_and_then_and_always_counted() {
        let mut refused = Refused::default();
        let signature = TokenError::Unauthorized(Flaw::Signature);
        assert_eq!(refused.token(BEGIN, signature), Some(1));
        for _ in 0..1_000 {
            assert_eq!(refused.token(BEGIN, signature), None);
        }
        // Another reason is other news.
        assert_eq!(refused.token(BEGIN, TokenError::Expired), Some(1));
        let later = BEGIN + TOKEN_REFUSALS_TOLD_EVERY;
        assert_eq!(refused.token(later, signature), Some(1_001));
        let claim = |name| TokenError::Unauthorized(Flaw::Claim(name));
        refused.token(later, claim("sub"));
        refused.token(later, claim("exp"));
        let lists = refused.lists();
        let counts: Vec<_> = lists
            .tokens
            .iter()
            .map(|tokens| (tokens.error, tokens.count))
            .collect();
        let expected = [
            (signature, 1_002),
            (claim("exp"), 2),
            (TokenError::Expired, 1),
        ];
        assert_eq!(counts, expected);
    }
}
