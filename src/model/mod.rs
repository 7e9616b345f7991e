//! The words of the contract as types.
//!
//! A value that exists is valid: whoever holds a [`RoomName`] or a [`Grant`] may trust it, because
//! only the parser makes one. Nothing here knows of Yjs, JSON, sockets, stores or clocks. Start
//! with [`RoomName`], then [`Token`] and [`Grant`].

mod access;
mod identity;
mod ids;
mod kind;
mod palette;
mod room_name;

pub use access::{Access, Grant, Pattern, RoomRule, Token};
pub use identity::{Color, Identity, Role, UserId};
pub use ids::{ClientId, ConnectionId, IdHasher, IdMap, RequestId, SessionId, SessionToken};
pub use kind::{Kind, LastSeen, Participants, Policies, Policy};
pub use room_name::{BadRoomName, ROOM_NAME_BYTES_MAX, RoomName};
