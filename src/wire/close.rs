//! Every close code: number, reason, and whether the client should come back.

use super::websocket;

/// Why the relay ends a socket, or refuses one document on a Hocuspocus socket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(
    missing_docs,
    reason = "the names are the contract's reasons, section 2"
)]
pub enum Refusal {
    BadRoom,
    BadMessage,
    BadUpdate,
    BadFrame,
    Unauthorized,
    TokenExpired,
    Revoked,
    LimitToken,
    Forbidden,
    HeartbeatTimeout,
    Replaced,
    InvalidUtf8,
    RateLimited,
    LimitMessage,
    LimitDocument,
    /// Too many documents on one Hocuspocus socket.
    LimitDocuments,
    Draining,
    BoardFull,
    LimitConnections,
    StoreDown,
    /// `STORE_DOWN` for one document that is damaged: the others are as they were.
    StoreDamaged,
    /// The keys that tokens are verified with have never been read.
    KeysDown,
    Slow,
    /// A token of the very second in which its user's tokens were revoked: the next is newer.
    TryAgain,
}

impl Refusal {
    /// The WebSocket close code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRoom | Self::BadMessage | Self::BadUpdate => 4400,
            Self::BadFrame => 1002,
            Self::Unauthorized | Self::TokenExpired | Self::Revoked | Self::LimitToken => 4401,
            Self::Forbidden => 4403,
            Self::HeartbeatTimeout => 4408,
            Self::Replaced => 4409,
            Self::InvalidUtf8 => 1007,
            Self::RateLimited => 1008,
            Self::LimitMessage | Self::LimitDocument | Self::LimitDocuments => 1009,
            Self::Draining => 1012,
            Self::BoardFull
            | Self::LimitConnections
            | Self::StoreDown
            | Self::StoreDamaged
            | Self::KeysDown
            | Self::Slow
            | Self::TryAgain => 1013,
        }
    }

    /// The close reason, and the `code` of problems and permission denials.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRoom => "BAD_ROOM",
            Self::BadMessage => "BAD_MESSAGE",
            Self::BadUpdate => "BAD_UPDATE",
            Self::BadFrame => "BAD_FRAME",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::Revoked => "REVOKED",
            Self::LimitToken => "LIMIT_TOKEN",
            Self::Forbidden => "FORBIDDEN",
            Self::HeartbeatTimeout => "HEARTBEAT_TIMEOUT",
            Self::Replaced => "REPLACED",
            Self::InvalidUtf8 => "INVALID_UTF8",
            Self::RateLimited => "RATE_LIMITED",
            Self::LimitMessage => "LIMIT_MESSAGE",
            Self::LimitDocument => "LIMIT_DOCUMENT",
            Self::LimitDocuments => "LIMIT_DOCUMENTS",
            Self::Draining => "DRAINING",
            Self::BoardFull => "BOARD_FULL",
            Self::LimitConnections => "LIMIT_CONNECTIONS",
            Self::StoreDown | Self::StoreDamaged => "STORE_DOWN",
            Self::KeysDown => "KEYS_DOWN",
            Self::Slow => "SLOW",
            Self::TryAgain => "TRY_AGAIN",
        }
    }
    /// Whether coming back later, unchanged, can succeed.
    ///
    /// | refusal | come back? |
    /// | --- | --- |
    /// | draining, full, store or keys down, too slow, too fast | yes, after a while |
    /// | a token of the second of a revocation | yes, with the next token |
    /// | silent for too long | yes, at once |
    /// | a token that is missing, bad, too long, expired or revoked | only with another one |
    /// | no access, a bad name, a forged or oversized message | no: it would end the same |
    /// | replaced | no: the newer connection has taken its place |
    ///
    /// What clients really do about a code is their own affair: y-websocket 3.1 stays away after
    /// 4400 to 4499, the others return whatever the code.
    pub fn should_retry(self) -> bool {
        match self {
            Self::HeartbeatTimeout
            | Self::RateLimited
            | Self::Draining
            | Self::BoardFull
            | Self::LimitConnections
            | Self::StoreDown
            | Self::StoreDamaged
            | Self::KeysDown
            | Self::Slow
            | Self::TryAgain => true,
            Self::BadRoom
            | Self::BadMessage
            | Self::BadUpdate
            | Self::BadFrame
            | Self::Unauthorized
            | Self::TokenExpired
            | Self::Revoked
            | Self::LimitToken
            | Self::Forbidden
            | Self::Replaced
            | Self::InvalidUtf8
            | Self::LimitMessage
            | Self::LimitDocument
            | Self::LimitDocuments => false,
        }
    }

    /// Appends the close frame that says so.
    pub fn write_close(self, out: &mut Vec<u8>) {
        websocket::write_close(out, self.code(), self.reason());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 24] = [
        Refusal::BadRoom,
        Refusal::BadMessage,
        Refusal::BadUpdate,
        Refusal::BadFrame,
        Refusal::Unauthorized,
        Refusal::TokenExpired,
        Refusal::Revoked,
        Refusal::LimitToken,
        Refusal::Forbidden,
        Refusal::HeartbeatTimeout,
        Refusal::Replaced,
        Refusal::InvalidUtf8,
        Refusal::RateLimited,
        Refusal::LimitMessage,
        Refusal::LimitDocument,
        Refusal::LimitDocuments,
        Refusal::Draining,
        Refusal::BoardFull,
        Refusal::LimitConnections,
        Refusal::StoreDown,
        Refusal::StoreDamaged,
        Refusal::KeysDown,
        Refusal::Slow,
        Refusal::TryAgain,
    ];

    #[test]
    fn every_reason_is_unique_and_reads_like_a_code() {
        // To clients a damaged document is one that the store cannot give them.
        assert_eq!(Refusal::StoreDamaged.reason(), Refusal::StoreDown.reason());
        let others = ALL.iter().filter(|&&one| one != Refusal::StoreDamaged);
        let mut reasons: Vec<_> = others.map(|refusal| refusal.reason()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), ALL.len() - 1);
        for reason in reasons {
            assert!(
                reason
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b == b'_' || b == b'8')
            );
        }
    }

    #[test]
    fn what_is_temporary_has_no_code_that_ends_a_y_websocket_client_for_good() {
        for refusal in ALL {
            let ends_for_good = (4400..4500).contains(&refusal.code());
            // A silent board client is told to come back by its own dialect.
            if refusal.should_retry() && refusal != Refusal::HeartbeatTimeout {
                assert!(!ends_for_good, "{refusal:?}");
            }
        }
    }

    #[test]
    fn the_close_frame_carries_code_and_reason() {
        let mut out = Vec::new();
        Refusal::Forbidden.write_close(&mut out);
        assert_eq!(out, [&[0x88, 11, 0x11, 0x33][..], b"FORBIDDEN"].concat());
    }
}
