//! A worker's sockets, by their names.

use crate::model::{ConnectionId, IdMap};
use crate::relay::connection::Connection;

/// Each stands on its own: a map has up to twice the places it needs, and a connection is wide.
#[derive(Default)]
pub struct Connections(IdMap<ConnectionId, Box<Connection>>);

impl Connections {
    /// One more.
    pub fn insert(&mut self, id: ConnectionId, connection: Connection) {
        self.0.insert(id, Box::new(connection));
    }

    /// One less.
    pub fn remove(&mut self, id: &ConnectionId) -> Option<Connection> {
        self.0.remove(id).map(|connection| *connection)
    }

    /// The connection of this name.
    pub fn get(&self, id: &ConnectionId) -> Option<&Connection> {
        self.0.get(id).map(|connection| &**connection)
    }

    /// The connection of this name.
    pub fn get_mut(&mut self, id: &ConnectionId) -> Option<&mut Connection> {
        self.0.get_mut(id).map(|connection| &mut **connection)
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (&ConnectionId, &Connection)> {
        self.0.iter().map(|(id, connection)| (id, &**connection))
    }

    /// All their names.
    pub fn keys(&self) -> impl Iterator<Item = &ConnectionId> {
        self.0.keys()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
