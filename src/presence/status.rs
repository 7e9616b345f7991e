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
    /// Every status, the most active first: of somebody's sessions the first of these is shown.
    pub const BY_ACTIVITY: [Self; 5] = [
        Self::Typing,
        Self::Online,
        Self::Idle,
        Self::Away,
        Self::Offline,
    ];

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
