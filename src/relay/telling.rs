//! What members of the text dialects are told of others, as text frames.

use crate::model::UserId;
use crate::presence::{Appearance, Change, Participant, Status};
use crate::relay::fanout::Dialect;
use crate::wire::websocket::{self, Opcode};
use crate::wire::{boards, workspaces};

impl Dialect {
    /// Whether its members are told in text who comes and goes.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Board { .. } | Self::Workspace)
    }

    /// Writes what a change is to others, if it is something to this dialect.
    pub(super) fn write_change(&self, out: &mut Vec<u8>, change: &Change) {
        match self {
            Self::YWebsocket | Self::Hocuspocus { .. } => {}
            Self::Board { board } => write_board_change(out, board, change),
            Self::Workspace => write_workspace_change(out, change),
        }
    }

    /// Writes how things are, for a member who has just been let in, or has fallen behind.
    pub(super) fn write_snapshot(
        &self,
        out: &mut Vec<u8>,
        session: &str,
        receiver: &UserId,
        connected: &[Participant],
    ) {
        match self {
            Self::YWebsocket | Self::Hocuspocus { .. } => {}
            Self::Board { board } => {
                let users: Vec<_> = connected.iter().map(board_user).collect();
                write_text(out, |out| {
                    let users = &users;
                    let joined = boards::ServerMessage::Joined {
                        board,
                        session,
                        users,
                    };
                    joined.write(out);
                });
            }
            Self::Workspace => {
                let others = connected.iter().filter(|one| one.user != *receiver);
                let users: Vec<_> = others.map(workspace_user).collect();
                write_text(out, |out| {
                    workspaces::ServerMessage::Snapshot { users: &users }.write(out);
                });
            }
        }
    }

    /// Writes where a member stands in the queue.
    pub(super) fn write_queued(&self, out: &mut Vec<u8>, position: usize) {
        if let Self::Board { board } = self {
            write_text(out, |out| {
                boards::ServerMessage::Queued { board, position }.write(out);
            });
        }
    }
}

fn write_board_change(out: &mut Vec<u8>, board: &str, change: &Change) {
    let participant = change.participant();
    let user = participant.user.as_str();
    let shown = &participant.appearance;
    let update = boards::ServerMessage::Update {
        board,
        user,
        status: board_status(shown),
        cursor: cursor(shown),
    };
    match change {
        Change::Joined(_) => {
            let user = board_user(participant);
            let joined = boards::ServerMessage::UserJoined { board, user };
            write_text(out, |out| joined.write(out));
            if cursor(shown).is_some() {
                // It moved in the turn in which it came, or comes out of hiding.
                write_text(out, |out| update.write(out));
            }
        }
        Change::Changed { before, .. } => {
            let looks = |shown: &Appearance| (board_status(shown), cursor(shown));
            // A new name or colour: the dialect has no word for it.
            if looks(before) != looks(shown) {
                write_text(out, |out| update.write(out));
            }
        }
        Change::Left(_) => write_text(out, |out| {
            boards::ServerMessage::UserLeft { board, user }.write(out);
        }),
    }
}

fn write_workspace_change(out: &mut Vec<u8>, change: &Change) {
    let participant = change.participant();
    let user = participant.user.as_str();
    let shown = &participant.appearance;
    let (name, image) = (&*shown.name, shown.avatar.as_deref());
    let place = location(shown);
    let changed = workspaces::ServerMessage::Changed {
        user,
        name,
        location: &place,
    };
    match change {
        Change::Joined(_) => {
            let joined = workspaces::ServerMessage::UserJoined { user, name, image };
            write_text(out, |out| joined.write(out));
            if place != workspaces::Location::default() {
                // It went there in the turn in which it came, or comes out of hiding.
                write_text(out, |out| changed.write(out));
            }
        }
        Change::Changed { before, .. } => {
            if before.name != shown.name || location(before) != place {
                write_text(out, |out| changed.write(out));
            }
        }
        Change::Left(_) => write_text(out, |out| {
            workspaces::ServerMessage::UserLeft { user }.write(out);
        }),
    }
}

fn board_user(participant: &Participant) -> boards::User<'_> {
    let shown = &participant.appearance;
    boards::User {
        user: participant.user.as_str(),
        name: &shown.name,
        avatar: shown.avatar.as_deref(),
        status: board_status(shown),
        color: shown.color,
    }
}

fn workspace_user(participant: &Participant) -> workspaces::User<'_> {
    let shown = &participant.appearance;
    workspaces::User {
        user: participant.user.as_str(),
        name: &shown.name,
        image: shown.avatar.as_deref(),
        location: location(shown),
    }
}

/// Boards know three words: to them a typist is online.
fn board_status(shown: &Appearance) -> &'static str {
    match shown.status {
        Status::Typing => Status::Online.name(),
        status => status.name(),
    }
}

fn cursor(shown: &Appearance) -> Option<boards::Cursor> {
    boards::Cursor::of_data(shown.data.as_deref()?)
}

fn location(shown: &Appearance) -> workspaces::Location<'_> {
    let data = shown.data.as_deref().unwrap_or_default();
    workspaces::Location::of_data(data)
}

/// Writes one text frame.
pub(super) fn write_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut text = Vec::new();
    write(&mut text);
    websocket::write_header(out, Opcode::Text, text.len());
    out.extend_from_slice(&text);
}
