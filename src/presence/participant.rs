//! One user in one room, made of all their sessions there.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::model::{Color, Role, UserId};
use crate::presence::Status;

/// What one session shows of its user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Appearance {
    /// The display name.
    pub name: Arc<str>,
    /// An avatar's address.
    pub avatar: Option<Arc<str>>,
    /// What they are in this room.
    pub role: Option<Role>,
    /// Their colour.
    pub color: Color,
    /// What they are doing.
    pub status: Status,
    /// What the client sent last, as JSON text.
    pub data: Option<Arc<str>>,
}

/// What others see of a user in a room: the nine fields of the contract, section 2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Participant {
    /// Who.
    pub user: UserId,
    /// As the session shows them whose appearance last changed in content.
    pub appearance: Appearance,
    /// Whether a session of theirs is connected.
    pub is_connected: bool,
    /// Connected: the last activity. Gone: the end of the last session.
    pub last_seen: Timestamp,
}
