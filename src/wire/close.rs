//! Every close code: number, reason, and whether the client should come back.

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
    Unauthorized,
    TokenExpired,
    Revoked,
    Forbidden,
    HeartbeatTimeout,
    Replaced,
    InvalidUtf8,
    RateLimited,
    LimitMessage,
    LimitAwareness,
    LimitDocument,
    Draining,
    BoardFull,
    LimitConnections,
    StoreDown,
    Slow,
}

impl Refusal {
    /// The WebSocket close code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRoom | Self::BadMessage | Self::BadUpdate => 4400,
            Self::Unauthorized | Self::TokenExpired | Self::Revoked => 4401,
            Self::Forbidden => 4403,
            Self::HeartbeatTimeout => 4408,
            Self::Replaced => 4409,
            Self::InvalidUtf8 => 1007,
            Self::RateLimited => 1008,
            Self::LimitMessage | Self::LimitAwareness | Self::LimitDocument => 1009,
            Self::Draining => 1012,
            Self::BoardFull | Self::LimitConnections | Self::StoreDown | Self::Slow => 1013,
        }
    }

    /// The close reason, and the `code` of problems and permission denials.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRoom => "BAD_ROOM",
            Self::BadMessage => "BAD_MESSAGE",
            Self::BadUpdate => "BAD_UPDATE",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::Revoked => "REVOKED",
            Self::Forbidden => "FORBIDDEN",
            Self::HeartbeatTimeout => "HEARTBEAT_TIMEOUT",
            Self::Replaced => "REPLACED",
            Self::InvalidUtf8 => "INVALID_UTF8",
            Self::RateLimited => "RATE_LIMITED",
            Self::LimitMessage => "LIMIT_MESSAGE",
            Self::LimitAwareness => "LIMIT_AWARENESS",
            Self::LimitDocument => "LIMIT_DOCUMENT",
            Self::Draining => "DRAINING",
            Self::BoardFull => "BOARD_FULL",
            Self::LimitConnections => "LIMIT_CONNECTIONS",
            Self::StoreDown => "STORE_DOWN",
            Self::Slow => "SLOW",
        }
    }
}
