//! What a window says its user is doing, what followers are shown, and how the one becomes the other.

use std::sync::Arc;

/// What a window says of its user's presence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Said {
    /// Here. Away without saying so, after a while without an update.
    #[default]
    Online,
    /// Here, but not at it.
    Away,
    /// To be shown to nobody, whatever the user's other windows say.
    Invisible,
}

/// What followers are shown of somebody who is online to them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// At it, in some window.
    Online,
    /// At it in none.
    Away,
}

impl Status {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::Away => "Away",
        }
    }
}

/// What somebody works on, in one window.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Work {
    /// `Coding`, `Debugging`, `Idle` or any other word.
    pub activity: Arc<str>,
    /// On which project.
    pub project: Arc<str>,
    /// In which language.
    pub language: Arc<str>,
}

impl Default for Work {
    /// What is shown of a window that has not said anything yet.
    fn default() -> Self {
        Self {
            activity: "Idle".into(),
            project: "".into(),
            language: "".into(),
        }
    }
}

impl Work {
    /// How active the work is.
    pub(super) fn rank(&self) -> Rank {
        match &*self.activity {
            "Debugging" => Rank::Debugging,
            "Coding" => Rank::Coding,
            "Idle" => Rank::Idle,
            _ => Rank::Other,
        }
    }
}

/// How active a window is: of somebody's windows the most active is shown.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    Idle,
    Other,
    Coding,
    Debugging,
}

/// The fields that a window's update names; the others stay.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Update {
    /// See [`Said`].
    pub said: Option<Said>,
    /// See [`Work`].
    pub activity: Option<Arc<str>>,
    /// See [`Work`].
    pub project: Option<Arc<str>>,
    /// See [`Work`].
    pub language: Option<Arc<str>>,
}

impl Update {
    /// Whether no field is named.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Somebody who is online, as followers see them: all their windows folded into one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Profile {
    /// Whether they are at it.
    pub status: Status,
    /// What they do.
    pub work: Work,
}

impl Profile {
    /// What changed since `before`; `None` when nothing did.
    pub(super) fn changes_since(&self, before: &Self) -> Option<Changes> {
        let text = |of: fn(&Work) -> &Arc<str>| {
            let (before, after) = (of(&before.work), of(&self.work));
            (before != after).then(|| after.clone())
        };
        let changes = Changes {
            status: (self.status != before.status).then_some(self.status),
            activity: text(|work| &work.activity),
            project: text(|work| &work.project),
            language: text(|work| &work.language),
        };
        (changes != Changes::default()).then_some(changes)
    }
}

/// The fields of a profile that changed, with what they are now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// See [`Profile`].
    pub status: Option<Status>,
    /// See [`Work`].
    pub activity: Option<Arc<str>>,
    /// See [`Work`].
    pub project: Option<Arc<str>>,
    /// See [`Work`].
    pub language: Option<Arc<str>>,
}
