//! What is wrong with a token, in words for whoever runs the relay. Its bearer is never told: to
//! somebody who guesses, each of these is a hint.

use crate::auth::{TOKEN_BYTES_MAX, TokenError};

/// Why a token does not verify.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Flaw {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// It is not even read.
    #[error("it is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not three parts, no header, or one that demands what we do not know.
    #[error("it is no JWT that could be read")]
    Malformed,
    /// The key is for another.
    #[error("it is signed by another algorithm than that of the configured key")]
    Algorithm,
    /// The key set has no such key, and did not get it when it was read again.
    #[error("its key is not in the key set (--jwks)")]
    UnknownKey,
    /// By another key, or it was changed since.
    #[error("its signature is not by the configured key, or it was changed")]
    Signature,
    /// This claim is missing where it is required, or of the wrong type.
    #[error("its claim `{0}` is missing, or not of the right type")]
    Claim(&'static str),
    /// Its `nbf` is still to come.
    #[error("its `nbf` is still to come: do the clocks agree?")]
    Early,
    /// `iss` is not what `--jwt-issuer` says.
    #[error("its `iss` is not what --jwt-issuer demands")]
    Issuer,
    /// `aud` is not what `--jwt-audience` says.
    #[error("its `aud` is not what --jwt-audience demands")]
    Audience,
    /// A new token, of somebody else than the old.
    #[error("it is to replace a token of another user")]
    OtherUser,
    /// A new token while the one before is still being checked.
    #[error("it came while the one before was still being checked")]
    Hasty,
}

impl TokenError {
    /// Every word that `reason` has.
    pub const REASONS: [&'static str; 16] = [
        "missing",
        "too_long",
        "malformed",
        "algorithm",
        "unknown_key",
        "signature",
        "claim",
        "not_yet",
        "issuer",
        "audience",
        "other_user",
        "hasty",
        "expired",
        "revoked",
        "no_keys",
        "same_second",
    ];

    /// In a word, for metrics and lists.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unauthorized(flaw) => match flaw {
                Flaw::Missing => "missing",
                Flaw::TooLong => "too_long",
                Flaw::Malformed => "malformed",
                Flaw::Algorithm => "algorithm",
                Flaw::UnknownKey => "unknown_key",
                Flaw::Signature => "signature",
                Flaw::Claim(_) => "claim",
                Flaw::Early => "not_yet",
                Flaw::Issuer => "issuer",
                Flaw::Audience => "audience",
                Flaw::OtherUser => "other_user",
                Flaw::Hasty => "hasty",
            },
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NoKeys => "no_keys",
            Self::TooEarly => "same_second",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let flaws = [
            Flaw::Missing,
            Flaw::TooLong,
            Flaw::Malformed,
            Flaw::Algorithm,
            Flaw::UnknownKey,
            Flaw::Signature,
            Flaw::Claim("exp"),
            Flaw::Early,
            Flaw::Issuer,
            Flaw::Audience,
            Flaw::OtherUser,
            Flaw::Hasty,
        ];
        let errors = flaws.map(TokenError::Unauthorized);
        let others = [
            TokenError::Expired,
            TokenError::Revoked,
            TokenError::NoKeys,
            TokenError::TooEarly,
        ];
        let reasons: Vec<_> = errors.into_iter().chain(others).collect();
        let words: Vec<_> = reasons.iter().map(|error| error.reason()).collect();
        assert_eq!(words, TokenError::REASONS);
        assert!(TokenError::REASONS.contains(&TokenError::UnknownKey.reason()));
    }

    #[test]
    fn the_page_of_metrics_explains_every_reason() {
        let page = include_str!("../../docs/metrics.md");
        for reason in TokenError::REASONS {
            let is_row =
                |line: &str| line.starts_with("| `") && line.contains(&format!("`{reason}`"));
            assert!(page.lines().any(is_row), "{reason}");
        }
    }

    #[test]
    fn the_limit_is_named() {
        let error = TokenError::Unauthorized(Flaw::TooLong);
        assert_eq!(error.to_string(), "it is longer than 16384 bytes");
    }
}
