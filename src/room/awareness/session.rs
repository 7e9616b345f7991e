//! What awareness keeps of one session: what it may do, what it holds, and where its opening is.

use crate::clock::Timestamp;
use crate::limits::{AWARENESS_IDS_PER_SESSION_MAX, AWARENESS_PUSH_AFTER};
use crate::model::{ClientId, Grant};
use crate::presence::Appearance;
use crate::small::SmallSet;

/// One session, from `open` to `close`.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) grant: Grant,
    /// The id that is the client's own; at most one.
    pub(super) own: Option<ClientId>,
    /// The id that was its own before its client closed it, and that it may announce at any clock.
    pub(super) expected: Option<ClientId>,
    /// Whether it got that without an announcement, by its first state long after it opened: which may
    /// as well have been that of another tab.
    pub(super) is_own_unsure: bool,
    /// The ids it holds: its own, and those of tabs that it passes on.
    pub(super) held: SmallSet<ClientId>,
    /// How much the states of those are.
    pub(super) bytes: usize,
    /// How much of the message that is being received has been looked at.
    pub(super) taken_bytes: usize,
    /// An id that was its user's, which somebody else uses: it becomes theirs when they hide no more.
    pub(super) claimed: Option<ClientId>,
    /// When the present states are pushed to it at the latest; `None` once they were.
    pub(super) push_at: Option<Timestamp>,
    /// Whether its user hides: its states are kept, and nobody is sent them.
    pub(super) is_hidden: bool,
    /// When its socket was last found to answer.
    pub(super) answered: Option<Timestamp>,
    /// What it was last said to show.
    pub(super) shown: Option<Appearance>,
    opening: Opening,
}

/// Where a session is with its first step 1. Only the frame directly after it announces: after a
/// later one (clients may sync again at any time) the next frame may be an echo.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Opening {
    BeforeStep1,
    AfterStep1,
    Past,
}

impl Session {
    pub(super) fn new(now: Timestamp, grant: Grant) -> Self {
        Self {
            grant,
            own: None,
            expected: None,
            is_own_unsure: false,
            held: SmallSet::new(),
            bytes: 0,
            taken_bytes: 0,
            claimed: None,
            push_at: Some(now + AWARENESS_PUSH_AFTER),
            is_hidden: false,
            answered: None,
            shown: None,
            opening: Opening::BeforeStep1,
        }
    }

    pub(super) fn hear_step1(&mut self) {
        self.opening = match self.opening {
            Opening::BeforeStep1 => Opening::AfterStep1,
            Opening::AfterStep1 | Opening::Past => Opening::Past,
        };
    }

    /// Hears any other frame; says whether it came directly after the step 1.
    pub(super) fn hear_frame(&mut self) -> bool {
        let is_after_step1 = self.opening == Opening::AfterStep1;
        if is_after_step1 {
            self.opening = Opening::Past;
        }
        is_after_step1
    }

    /// Whether it may hold the id beside those it holds.
    pub(super) fn has_room_for(&self, client: ClientId) -> bool {
        self.held.len() < AWARENESS_IDS_PER_SESSION_MAX || self.held.contains(&client)
    }
}
