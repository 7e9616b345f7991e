//! What changed in a room's roster, and what two changes of one user come to.

use crate::presence::{Appearance, Participant};

/// One change. `Joined` and `Left` of one user alternate, whatever happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Somebody is there who was not.
    Joined(Participant),
    /// Somebody who is there looks different; a new `last_seen` alone is no change.
    Changed {
        /// As others knew them.
        before: Appearance,
        /// As they are now.
        after: Participant,
    },
    /// Somebody is gone; as they are now.
    Left(Participant),
}

impl Change {
    /// Whom it is about, as they are now.
    pub fn participant(&self) -> &Participant {
        match self {
            Self::Joined(participant) | Self::Left(participant) => participant,
            Self::Changed { after, .. } => after,
        }
    }

    /// What this change and a later one of the same user come to, for somebody who heard of
    /// neither: nothing, one change, or, where somebody left and another came back in their place,
    /// both.
    pub fn and_then(self, later: Self) -> Coalesced {
        match (self, later) {
            (Self::Joined(_), Self::Changed { after, .. }) => Coalesced::One(Self::Joined(after)),
            (Self::Joined(_), Self::Left(_)) => Coalesced::None,
            (Self::Changed { before, .. }, Self::Changed { after, .. }) => {
                match before == after.appearance {
                    true => Coalesced::None,
                    false => Coalesced::One(Self::Changed { before, after }),
                }
            }
            // A change that is followed by the end, and whatever does not alternate.
            (_, later @ Self::Left(_)) => Coalesced::One(later),
            (earlier, later) => Coalesced::Both(earlier, later),
        }
    }
}

/// What two changes of one user come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Coalesced {
    /// Nothing.
    None,
    /// One change.
    One(Change),
    /// An end and a new beginning.
    Both(Change, Change),
}
