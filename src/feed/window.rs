//! One window of a user: what it says, whom it hears of, and what it heard before its connection
//! ended.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::feed::profile::{Rank, Said, Update, Work};
use crate::feed::{Login, ResumeToken, Told};
use crate::model::{ConnectionId, UserId};

/// One window of a user.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) user: UserId,
    said: Said,
    work: Work,
    /// Grows with every update of any window, so that the latest of equals is known.
    latest: u64,
    updated_at: Timestamp,
    /// Whether it has been without an update for so long that its `Online` no longer counts.
    is_silent: bool,
    /// Whether it may still say how it begins: until then it brings nobody who is offline back.
    is_settling: bool,
    pub(super) resume: ResumeToken,
    stored: BTreeSet<UserId>,
    claimed: BTreeSet<UserId>,
    pub(super) phase: Phase,
}

/// Whether the window's connection is there.
#[derive(Debug)]
pub(super) enum Phase {
    /// It is.
    Open,
    /// It is not; the window keeps its status for a while.
    Lingering(Lingering),
}

/// What is kept of a window whose connection is gone.
#[derive(Debug)]
pub(super) struct Lingering {
    pub(super) closed_at: Timestamp,
    /// What it was last sent of each user it follows.
    pub(super) heard: HashMap<UserId, Told>,
}

/// How a window counts among its user's: the greatest is the one that is shown.
pub(super) type Place = (Rank, u64, ConnectionId);

impl Window {
    /// A window as its login lets it begin.
    pub(super) fn new(now: Timestamp, latest: u64, login: &Login) -> Self {
        let mut window = Self {
            user: login.user.clone(),
            said: Said::default(),
            work: Work::default(),
            latest,
            updated_at: now,
            is_silent: false,
            is_settling: login.first.said.is_none(),
            resume: login.next_resume,
            stored: login.stored.clone(),
            claimed: login.claimed.clone(),
            phase: Phase::Open,
        };
        window.update(now, latest, login.first.clone());
        window
    }

    /// Applies what the window says. Even if that is nothing new, its user is active.
    pub(super) fn update(&mut self, now: Timestamp, latest: u64, update: Update) {
        let Update {
            said,
            activity,
            project,
            language,
        } = update;
        self.said = said.unwrap_or(self.said);
        for (field, new) in [
            (&mut self.work.activity, activity),
            (&mut self.work.project, project),
            (&mut self.work.language, language),
        ] {
            if let Some(new) = new {
                *field = new;
            }
        }
        self.latest = latest;
        self.updated_at = now;
        self.is_silent = false;
    }

    /// There has been no update for too long.
    pub(super) fn fall_silent(&mut self) {
        self.is_silent = true;
    }

    /// What came until now counts as in the login.
    pub(super) fn settle(&mut self) {
        self.is_settling = false;
    }

    /// Another connection goes on for this window: whom it hears of is as of now, what it says as
    /// it was, but for what the login says.
    pub(super) fn resume(&mut self, now: Timestamp, latest: u64, login: &Login) {
        self.resume = login.next_resume;
        self.stored = login.stored.clone();
        self.claimed = login.claimed.clone();
        self.phase = Phase::Open;
        self.is_settling = login.first.said.is_none();
        if !login.first.is_empty() {
            self.update(now, latest, login.first.clone());
        }
    }

    /// Whom the user follows in the store has changed. Returns of whom the window is to hear from
    /// now on, and of whom no longer.
    pub(super) fn change_follows(
        &mut self,
        stored: &BTreeSet<UserId>,
    ) -> (Vec<UserId>, Vec<UserId>) {
        let is_news = |user: &&UserId| !self.claimed.contains(*user);
        let added = stored.difference(&self.stored).filter(is_news);
        let removed = self.stored.difference(stored).filter(is_news);
        let changes = (added.cloned().collect(), removed.cloned().collect());
        self.stored = stored.clone();
        changes
    }

    /// Everybody the window hears of, once each, in order of their ids.
    pub(super) fn follows(&self) -> BTreeSet<UserId> {
        self.stored.union(&self.claimed).cloned().collect()
    }

    /// Whether the window makes its user `Online` rather than `Away`.
    pub(super) fn is_online(&self) -> bool {
        self.said == Said::Online && !self.is_silent
    }

    /// Whether the window hides its user.
    pub(super) fn is_invisible(&self) -> bool {
        self.said == Said::Invisible
    }

    /// Whether it may still say how it begins.
    pub(super) fn is_settling(&self) -> bool {
        self.is_settling
    }

    /// What its user does in it.
    pub(super) fn work(&self) -> &Work {
        &self.work
    }

    /// When the window was last updated.
    pub(super) fn updated_at(&self) -> Timestamp {
        self.updated_at
    }

    /// How it counts among its user's windows, as `name`.
    pub(super) fn place(&self, name: ConnectionId) -> Place {
        (self.work.rank(), self.latest, name)
    }

    /// Whether its connection is there.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }
}
