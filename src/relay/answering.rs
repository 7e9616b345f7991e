//! Which sockets answer: a room asks before it renews what a silent client says of itself.

use std::collections::BTreeMap;

use crate::model::{ConnectionId, SessionId};
use crate::relay::inbox::{SocketsAsked, ToWorker};
use crate::relay::rooms::{Link, RoomKey};
use crate::relay::worker::Worker;
use crate::room::Input;

impl Worker {
    /// Tells the room which of these sessions have a socket that answers; of those on other workers it
    /// hears later.
    pub(super) fn ask_sockets(&mut self, key: RoomKey, sessions: &[SessionId]) {
        let Some(open) = self.rooms.get(key) else {
            return;
        };
        let (room, life) = (open.name.clone(), open.life);
        let mut here = Vec::new();
        let mut far: BTreeMap<usize, Vec<(ConnectionId, SessionId)>> = BTreeMap::new();
        for &session in sessions {
            match open.members.get(&session).map(|member| member.link) {
                Some(Link::Here(id)) if self.answers(id) => here.push(session),
                Some(Link::Here(_)) | None => {}
                Some(Link::Far {
                    worker, connection, ..
                }) => far.entry(worker).or_default().push((connection, session)),
            }
        }
        if !here.is_empty() {
            let answering = Input::Answering { sessions: here };
            self.agenda.push_back((key, answering));
        }
        for (number, sockets) in far {
            let asked = SocketsAsked {
                worker: self.around.number,
                room: room.clone(),
                life,
                sockets,
            };
            self.send_post(number, ToWorker::AskSockets(Box::new(asked)));
        }
    }

    /// The same for a room on another worker.
    pub(super) fn answer_for_sockets(&mut self, asked: SocketsAsked) {
        let SocketsAsked {
            worker,
            room,
            life,
            sockets,
        } = asked;
        let answering = sockets.into_iter().filter(|&(id, _)| self.answers(id));
        let sessions: Vec<SessionId> = answering.map(|(_, session)| session).collect();
        if !sessions.is_empty() {
            let input = Box::new(Input::Answering { sessions });
            self.send_post(worker, ToWorker::Room { room, life, input });
        }
    }

    fn answers(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(&id);
        connection.is_some_and(|connection| connection.pulse.answers(self.now()))
    }
}
