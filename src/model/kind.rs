//! Kinds of room, and the row of numbers that makes a kind.

use std::sync::Arc;
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

/// The numbers that make a kind. Contract, section 5; zero means "none" or "never" where noted.
///
/// Where a number is asked for by nothing in a kind (a feed has no capacity), it is zero.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// How many users may be in at once; zero is no limit.
    pub capacity: usize,
    /// Whether whoever finds the room full waits for a place.
    pub has_queue: bool,
    /// How long a session that owes signs of life may be silent; zero where sockets owe none.
    pub heartbeat_timeout: Duration,
    /// Inactivity after which somebody is idle; zero is never.
    pub idle_after: Duration,
    /// Inactivity after which somebody is away; zero is never.
    pub away_after: Duration,
    /// How long "typing" lasts after the last message that said so.
    pub typing: Duration,
    /// How long an entry stays after its last session was closed cleanly; zero is not at all.
    pub linger_clean: Duration,
    /// The same after its last session was lost.
    pub linger_lost: Duration,
    /// How long changes are gathered before they are told; zero is at once.
    pub gather: Duration,
    /// How long a lost connection's resume token is good; the feed only.
    pub resume: Duration,
    /// How long a room without connections stays loaded.
    pub unload_after: Duration,
    /// How often a peer is asked whether it is there.
    pub ping_every: Duration,
    /// How long after an unanswered ping a connection is given up.
    pub dead_after: Duration,
    /// What is remembered of those who left.
    pub memory: LastSeen,
    /// Who is a participant.
    pub participants: Participants,
    /// Whether no two of those who chose no colour look alike, as long as there are enough hues.
    pub has_distinct_colors: bool,
    /// Whether each session is written down while it is there (the table of presences).
    pub is_recorded: bool,
}

/// Whether it is remembered when somebody was last seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastSeen {
    /// Whoever is gone is gone.
    Forgotten,
    /// As long as the room is loaded.
    WhileLoaded,
    /// In the store.
    Stored,
}

/// What makes somebody a participant of a room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Participants {
    /// An awareness state that shows them.
    Shown,
    /// A connection that was admitted.
    Admitted,
}

impl Policy {
    /// The contract's numbers for a kind of room.
    pub fn of(kind: Kind) -> Self {
        let common = Self {
            capacity: 0,
            has_queue: false,
            heartbeat_timeout: Duration::ZERO,
            idle_after: Duration::ZERO,
            away_after: Duration::ZERO,
            typing: Duration::from_secs(5),
            linger_clean: Duration::ZERO,
            linger_lost: Duration::ZERO,
            gather: Duration::ZERO,
            resume: Duration::ZERO,
            unload_after: Duration::from_secs(60),
            ping_every: Duration::from_secs(10),
            dead_after: Duration::from_secs(20),
            memory: LastSeen::Forgotten,
            participants: Participants::Admitted,
            has_distinct_colors: false,
            is_recorded: false,
        };
        match kind {
            Kind::Session => Self {
                memory: LastSeen::WhileLoaded,
                participants: Participants::Shown,
                ..common
            },
            Kind::Board => Self {
                capacity: 100,
                has_queue: true,
                heartbeat_timeout: Duration::from_secs(300),
                idle_after: Duration::from_secs(60),
                away_after: Duration::from_secs(180),
                linger_lost: Duration::from_secs(300),
                memory: LastSeen::Stored,
                has_distinct_colors: true,
                is_recorded: true,
                ..common
            },
            Kind::Event => Self {
                heartbeat_timeout: Duration::from_secs(45),
                linger_lost: Duration::from_secs(45),
                memory: LastSeen::Stored,
                ..common
            },
            Kind::Workspace => common,
        }
    }

    /// The contract's numbers for the follow feed.
    pub fn of_feed() -> Self {
        Self {
            away_after: Duration::from_secs(300),
            typing: Duration::ZERO,
            linger_clean: Duration::from_secs(60),
            linger_lost: Duration::from_secs(60),
            gather: Duration::from_secs(2),
            resume: Duration::from_secs(60),
            memory: LastSeen::Stored,
            ..Self::of(Kind::Workspace)
        }
    }
}

/// The numbers of every kind, and of the feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policies {
    /// Of sessions.
    pub session: Arc<Policy>,
    /// Of boards.
    pub board: Arc<Policy>,
    /// Of event rooms.
    pub event: Arc<Policy>,
    /// Of workspaces.
    pub workspace: Arc<Policy>,
    /// Of the follow feed.
    pub feed: Arc<Policy>,
}

impl Policies {
    /// The numbers of one kind; all its rooms share them.
    pub fn of(&self, kind: Kind) -> &Arc<Policy> {
        match kind {
            Kind::Session => &self.session,
            Kind::Board => &self.board,
            Kind::Event => &self.event,
            Kind::Workspace => &self.workspace,
        }
    }

    /// The numbers of one kind, to be changed.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Policy {
        Arc::make_mut(match kind {
            Kind::Session => &mut self.session,
            Kind::Board => &mut self.board,
            Kind::Event => &mut self.event,
            Kind::Workspace => &mut self.workspace,
        })
    }

    /// How long a heartbeat session lasts in a room of this kind when it names no interval: kinds
    /// in which only sockets count use the event rooms' number.
    pub fn heartbeat_limit(&self, kind: Kind) -> Duration {
        match self.of(kind).heartbeat_timeout {
            Duration::ZERO => self.event.heartbeat_timeout,
            limit => limit,
        }
    }
}

impl Default for Policies {
    /// The contract's numbers.
    fn default() -> Self {
        Self {
            session: Arc::new(Policy::of(Kind::Session)),
            board: Arc::new(Policy::of(Kind::Board)),
            event: Arc::new(Policy::of(Kind::Event)),
            workspace: Arc::new(Policy::of(Kind::Workspace)),
            feed: Arc::new(Policy::of_feed()),
        }
    }
}
