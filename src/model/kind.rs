//! Kinds of room, and the row of numbers that makes a kind.

use std::time::Duration;

/// What a room is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A document that people edit together; the coaching session, and the default.
    Session,
    /// A whiteboard with a capacity and a queue.
    Board,
    /// An event room, entered by socket or by heartbeat.
    Event,
    /// A workspace: who is where.
    Workspace,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Session, Self::Board, Self::Event, Self::Workspace];

    /// Its name in room names and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Board => "board",
            Self::Event => "event",
            Self::Workspace => "workspace",
        }
    }
}

/// The numbers that make a kind. Contract, section 5; zero means "never" or "none" where noted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// How long a room without connections stays loaded.
    pub unload_after: Duration,
    /// How often a peer is asked whether it is there.
    pub ping_every: Duration,
    /// How long after an unanswered ping a connection is given up.
    pub dead_after: Duration,
}

impl Policy {
    /// The contract's numbers for a kind.
    pub fn of(_kind: Kind) -> Self {
        Self {
            unload_after: Duration::from_secs(60),
            ping_every: Duration::from_secs(10),
            dead_after: Duration::from_secs(20),
        }
    }
}

/// The numbers of every kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policies {
    /// Of sessions.
    pub session: Policy,
    /// Of boards.
    pub board: Policy,
    /// Of event rooms.
    pub event: Policy,
    /// Of workspaces.
    pub workspace: Policy,
}

impl Policies {
    /// The numbers of one kind.
    pub fn of(&self, kind: Kind) -> &Policy {
        match kind {
            Kind::Session => &self.session,
            Kind::Board => &self.board,
            Kind::Event => &self.event,
            Kind::Workspace => &self.workspace,
        }
    }

    /// The numbers of one kind, to be changed.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Policy {
        match kind {
            Kind::Session => &mut self.session,
            Kind::Board => &mut self.board,
            Kind::Event => &mut self.event,
            Kind::Workspace => &mut self.workspace,
        }
    }
}

impl Default for Policies {
    /// The contract's numbers.
    fn default() -> Self {
        Self {
            session: Policy::of(Kind::Session),
            board: Policy::of(Kind::Board),
            event: Policy::of(Kind::Event),
            workspace: Policy::of(Kind::Workspace),
        }
    }
}
