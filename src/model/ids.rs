//! Names for things that come and go: connections, sessions, Yjs clients, requests.

use std::fmt;
use std::sync::Arc;

/// One socket (or one HTTP heartbeat session), unique in this process for ever.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub u64);

/// One connection's share in one document: a socket of the y-websocket door has one, a Hocuspocus
/// socket one for each document (or provider) it carries. Unique in this process for ever.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// A Yjs client id: the number a client draws for itself. Up to 2^53-1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(pub u64);

/// What ends a session that has no socket: hard to guess, and all that its owner has to show.
pub type SessionToken = Arc<str>;

/// A question put to a room from outside (HTTP), answered by the same number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
