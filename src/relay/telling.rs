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

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::model::Color;

    use super::*;

    fn ann(status: Status, data: Option<&str>) -> Participant {
        let user = UserId::parse("ann").unwrap();
        Participant {
            appearance: Appearance {
                name: "Ann".into(),
                avatar: None,
                role: None,
                color: Color::parse("#000000").unwrap(),
                status,
                data: data.map(Into::into),
            },
            user,
            is_connected: true,
            last_seen: Timestamp::ZERO,
        }
    }

    /// The types of the messages that members are sent, and the last message.
    fn told(dialect: &Dialect, change: &Change) -> (Vec<String>, String) {
        let mut out = Vec::new();
        dialect.write_change(&mut out, change);
        let (mut types, mut last, mut rest) = (Vec::new(), String::new(), out.as_slice());
        while let [0x81, length, tail @ ..] = rest {
            let (length, tail) = match length {
                126 => (usize::from(tail[0]) << 8 | usize::from(tail[1]), &tail[2..]),
                short => (usize::from(*short), tail),
            };
            last = String::from_utf8(tail[..length].to_vec()).unwrap();
            let message: serde_json::Value = serde_json::from_str(&last).unwrap();
            types.push(message["type"].as_str().unwrap().to_owned());
            rest = &tail[length..];
        }
        assert!(rest.is_empty());
        (types, last)
    }

    fn changed(before: Participant, after: Participant) -> Change {
        Change::Changed {
            before: before.appearance,
            after,
        }
    }

    const AT_DOCS: &str = r#"{"currentPath":"/docs"}"#;
    const AT_2: &str = r#"{"cursor":{"x":2,"y":2}}"#;

    #[test]
    fn where_somebody_is_who_has_just_come_is_told_too() {
        let board = Dialect::Board { board: "b".into() };
        let joined = |data| Change::Joined(ann(Status::Online, data));
        assert_eq!(told(&board, &joined(None)).0, ["user:joined"]);
        let (types, last) = told(&board, &joined(Some(AT_2)));
        assert_eq!(types, ["user:joined", "presence:update"]);
        assert!(last.contains(AT_2.trim_start_matches('{').trim_end_matches('}')));
        assert_eq!(told(&Dialect::Workspace, &joined(None)).0, ["user_joined"]);
        let (types, last) = told(&Dialect::Workspace, &joined(Some(AT_DOCS)));
        assert_eq!(types, ["user_joined", "presence_changed"]);
        assert!(last.contains("/docs"));
    }

    #[test]
    fn what_a_dialect_does_not_show_is_no_news_to_it() {
        let board = Dialect::Board { board: "b".into() };
        let nothing: [String; 0] = [];
        // To a board, typing is being online; a workspace has no status.
        let types = changed(ann(Status::Online, None), ann(Status::Typing, None));
        assert_eq!(told(&board, &types).0, nothing);
        assert_eq!(told(&Dialect::Workspace, &types).0, nothing);
        let rests = changed(ann(Status::Typing, None), ann(Status::Idle, None));
        assert_eq!(told(&board, &rests).0, ["presence:update"]);
        assert_eq!(told(&Dialect::Workspace, &rests).0, nothing);
        // A place is nothing to a board, a cursor nothing to a workspace.
        let goes = changed(
            ann(Status::Online, None),
            ann(Status::Online, Some(AT_DOCS)),
        );
        assert_eq!(told(&board, &goes).0, nothing);
        assert_eq!(told(&Dialect::Workspace, &goes).0, ["presence_changed"]);
        let points = changed(ann(Status::Online, None), ann(Status::Online, Some(AT_2)));
        assert_eq!(told(&board, &points).0, ["presence:update"]);
        assert_eq!(told(&Dialect::Workspace, &points).0, nothing);
        // Being nowhere is what it was before anything was said.
        let nowhere = ann(Status::Online, Some(r#"{"currentPath":""}"#));
        let says = changed(ann(Status::Online, None), nowhere);
        assert_eq!(told(&Dialect::Workspace, &says).0, nothing);
    }

    #[test]
    fn the_binary_doors_are_told_nothing_in_text() {
        let left = Change::Left(ann(Status::Offline, None));
        let nothing: [String; 0] = [];
        assert_eq!(told(&Dialect::YWebsocket, &left).0, nothing);
        assert_eq!(told(&Dialect::Workspace, &left).0, ["user_left"]);
    }
}
