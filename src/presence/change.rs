//! What changed in a room's roster.

use crate::presence::Participant;

/// One change. `Joined` and `Left` of one user alternate, whatever happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Somebody is there who was not.
    Joined(Participant),
    /// Somebody who is there looks different; a new `last_seen` alone is no change.
    Changed(Participant),
    /// Somebody is gone; as they are now.
    Left(Participant),
}
