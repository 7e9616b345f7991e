//! One user: their windows in order, who hears of them, and what those have been told.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::feed::Told;
use crate::feed::profile::Status;
use crate::feed::window::{Place, Window};
use crate::model::ConnectionId;

/// One user who has a window, or of whom somebody hears.
#[derive(Debug)]
pub(super) struct Person {
    /// All their windows; the last is the most active.
    windows: BTreeSet<Place>,
    /// How many of these make them online rather than away.
    online: usize,
    /// How many of these hide them.
    invisible: usize,
    /// How many of these have only just logged in, and may still say how they begin.
    settling: usize,
    /// Those whose connection is gone, in the order in which that happened.
    pub(super) lingering: BTreeSet<(Timestamp, ConnectionId)>,
    /// When the last of their connections that are gone ended.
    pub(super) ended_at: Option<Timestamp>,
    /// The open windows that hear of them.
    pub(super) followers: BTreeSet<ConnectionId>,
    /// What these have been told.
    pub(super) told: Told,
    /// Whether everybody else has been told to hide them.
    pub(super) is_hidden: bool,
}

impl Person {
    /// Somebody without windows, last seen then.
    pub(super) fn absent(seen: Option<Timestamp>) -> Self {
        Self {
            windows: BTreeSet::new(),
            online: 0,
            invisible: 0,
            settling: 0,
            lingering: BTreeSet::new(),
            ended_at: None,
            followers: BTreeSet::new(),
            told: Told::Offline(seen),
            is_hidden: false,
        }
    }

    /// One of their windows counts from now on, as it is.
    pub(super) fn add(&mut self, name: ConnectionId, window: &Window) {
        self.windows.insert(window.place(name));
        self.online += usize::from(window.is_online());
        self.invisible += usize::from(window.is_invisible());
        self.settling += usize::from(window.is_settling());
    }

    /// It no longer does; it must be as it was when it was added.
    pub(super) fn subtract(&mut self, name: ConnectionId, window: &Window) {
        let was_there = self.windows.remove(&window.place(name));
        debug_assert!(was_there);
        self.online -= usize::from(window.is_online());
        self.invisible -= usize::from(window.is_invisible());
        self.settling -= usize::from(window.is_settling());
    }

    /// Whether they have a window that hides them.
    pub(super) fn has_invisible_window(&self) -> bool {
        0 < self.invisible
    }

    /// Whether they have any window.
    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Whether they have a window whose connection is there.
    pub(super) fn has_open_window(&self) -> bool {
        self.lingering.len() < self.windows.len()
    }

    /// Whether they may come back into sight: by a connection that is there, and not while a window
    /// may still say that it hides them.
    pub(super) fn may_appear(&self) -> bool {
        self.has_open_window() && self.settling == 0
    }

    /// The window that is shown to followers, and with which status; `None` if nothing is to be
    /// shown.
    pub(super) fn shown(&self) -> Option<(ConnectionId, Status)> {
        let &(_, _, name) = self.windows.last()?;
        let status = match self.online {
            0 => Status::Away,
            _ => Status::Online,
        };
        (!self.is_hidden).then_some((name, status))
    }

    /// How followers see them: what these have been told, or are about to be, should nothing come
    /// behind the login. `None`: as offline.
    pub(super) fn seen_as(&self) -> Option<Status> {
        match &self.told {
            Told::Online(profile) => Some(profile.status),
            Told::Offline(_) => self.shown().map(|(_, status)| status),
        }
    }

    /// The names of all their windows.
    pub(super) fn window_names(&self) -> Vec<ConnectionId> {
        self.windows.iter().map(|&(_, _, name)| name).collect()
    }

    /// They were seen then, as the store has it: they may be new here.
    pub(super) fn note_seen(&mut self, seen: Option<Timestamp>) {
        if let Told::Offline(known) = &mut self.told {
            *known = seen.max(*known);
        }
    }
}
