//! What somebody is doing, as far as others are told.

/// A participant's status.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// There, and active.
    Online,
    /// There, quiet for a while.
    Idle,
    /// There, quiet for long.
    Away,
    /// There, and typing.
    Typing,
    /// Not there.
    Offline,
}

impl Status {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Idle => "idle",
            Self::Away => "away",
            Self::Typing => "typing",
            Self::Offline => "offline",
        }
    }
}
