//! Who is in a room, where a user is, and who is in all rooms below a name: live.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::mpsc;
use warp::reply::Response;

use crate::http::event_stream::{Source, respond, write_event};
use crate::http::presence::{View, prefix_in_query, user_in_path};
use crate::http::problem::Problem;
use crate::http::{Api, Head, caller, shapes};
use crate::limits::{ROOMS_AT_ONCE, STREAM_GATHER};
use crate::model::{Access, RoomName};
use crate::presence::{Change, Participant};
use crate::relay::{Holder, Newest, PresenceEvent, Relay};

/// `GET /v1/rooms/{room…}/presence/stream`
pub(super) async fn of_room(api: &Api, head: &Head, raw_room: &str) -> Result<Response, Problem> {
    let (token, room) = caller::enter(api, head, raw_room, Access::Read).await?;
    let place = api.relay.take_user_place(&Holder::from(&token))?;
    let events = api.relay.watch_room(&room).await?;
    let ends_at = token.expires_at;
    let source = RoomSource {
        view: View::of(api, token),
        room,
        events,
        event: None,
    };
    Ok(respond(api, place, ends_at, String::new(), source))
}

/// `GET /v1/users/{user_id}/presence/stream`
pub(super) async fn of_user(api: &Api, head: &Head, raw_user: &str) -> Result<Response, Problem> {
    let view = View::of_caller(api, head).await?;
    let user = user_in_path(raw_user)?;
    let place = api.relay.take_user_place(&Holder::from(&view.token))?;
    let ends_at = view.token.expires_at;
    let mut shown = Shown::new(view);
    let (mut rooms, news) = api.relay.watch_user(&user).await?;
    shown.view.narrow_to_user(&mut rooms);
    shown
        .rooms
        .extend(rooms.iter().map(|(room, _)| room.clone()));
    let mut first = String::new();
    let snapshot = shapes::user_presence(&user, &rooms);
    write_event(&mut first, "snapshot", &snapshot);
    let source = UserSource {
        shown,
        news,
        waiting: VecDeque::new(),
    };
    Ok(respond(api, place, ends_at, first, source))
}

/// `GET /v1/presence/stream?under={prefix}`
pub(super) async fn under(api: &Api, head: &Head) -> Result<Response, Problem> {
    let view = View::of_caller(api, head).await?;
    let prefix = prefix_in_query(head)?;
    let place = api.relay.take_user_place(&Holder::from(&view.token))?;
    let ends_at = view.token.expires_at;
    let mut shown = Shown::new(view);
    let (names, news) = api.relay.watch_under(&prefix).await?;
    let rooms = shown.view.active(&api.relay, names).await?;
    shown
        .rooms
        .extend(rooms.iter().map(|active| active.room.clone()));
    let mut first = String::new();
    write_event(
        &mut first,
        "snapshot",
        &shapes::rooms_under(&prefix, &rooms),
    );
    let source = UnderSource {
        shown,
        relay: api.relay.clone(),
        news,
        waiting: VecDeque::new(),
    };
    Ok(respond(api, place, ends_at, first, source))
}

/// Everything that happens in a room.
struct RoomSource {
    view: View,
    room: RoomName,
    events: mpsc::Receiver<PresenceEvent>,
    event: Option<PresenceEvent>,
}

impl Source for RoomSource {
    fn is_allowed(&mut self) -> bool {
        self.view.shows(&self.room)
    }

    async fn ready(&mut self) -> bool {
        if self.event.is_none() {
            self.event = self.events.recv().await;
        }
        self.event.is_some()
    }

    async fn say(&mut self) -> Option<String> {
        let mut text = String::new();
        let (name, data) = match self.event.take()? {
            PresenceEvent::Snapshot(participants) => {
                let data = shapes::room_presence(&self.room, &participants);
                ("snapshot", data)
            }
            PresenceEvent::Change(Change::Joined(now)) => ("joined", shapes::participant(&now)),
            PresenceEvent::Change(Change::Changed { after: now, .. }) => {
                ("changed", shapes::participant(&now))
            }
            PresenceEvent::Change(Change::Left(now)) => ("left", shapes::participant(&now)),
        };
        write_event(&mut text, name, &data);
        Some(text)
    }
}

/// The rooms of one user, each as it is now.
struct UserSource {
    shown: Shown,
    news: Newest<Participant>,
    /// Taken from the news, to be said.
    waiting: VecDeque<(RoomName, Participant)>,
}

impl Source for UserSource {
    fn is_allowed(&mut self) -> bool {
        self.shown.is_allowed()
    }

    async fn ready(&mut self) -> bool {
        !self.waiting.is_empty() || self.news.ready().await
    }

    async fn say(&mut self) -> Option<String> {
        if self.waiting.is_empty() {
            self.waiting.extend(self.news.take());
        }
        let mut text = String::new();
        let count = self.waiting.len().min(ROOMS_AT_ONCE);
        for (room, now) in self.waiting.drain(..count) {
            if self.shown.note(&room, now.is_connected) {
                write_event(&mut text, "changed", &shapes::user_room(&room, &now));
            }
        }
        Some(text)
    }
}

/// The rooms below a name, each as it is now.
struct UnderSource {
    shown: Shown,
    relay: Relay,
    news: Newest<()>,
    /// Taken from the news, to be looked at.
    waiting: VecDeque<RoomName>,
}

impl Source for UnderSource {
    fn is_allowed(&mut self) -> bool {
        self.shown.is_allowed()
    }

    async fn ready(&mut self) -> bool {
        !self.waiting.is_empty() || self.news.ready().await
    }

    async fn say(&mut self) -> Option<String> {
        if self.waiting.is_empty() {
            tokio::time::sleep(STREAM_GATHER).await;
            let mut changed = self.news.take();
            changed.retain(|room, ()| self.shown.view.shows(room));
            self.waiting.extend(changed.into_keys());
        }
        let count = self.waiting.len().min(ROOMS_AT_ONCE);
        let rooms = self.waiting.drain(..count).collect();
        let mut text = String::new();
        for active in self.relay.active_rooms(rooms).await.ok()? {
            if self.shown.note(&active.room, !active.users.is_empty()) {
                write_event(&mut text, "changed", &shapes::active_room(&active));
            }
        }
        Some(text)
    }
}

/// What a caller may see of many rooms, and in which of them they were told that somebody is.
struct Shown {
    view: View,
    rooms: BTreeSet<RoomName>,
    /// How many revocations there were when they were last looked at.
    revocations: u64,
}

impl Shown {
    fn new(view: View) -> Self {
        Self {
            revocations: view.verifier.revocations_made(),
            rooms: BTreeSet::new(),
            view,
        }
    }

    /// Whether no revocation takes anything back of what the caller was shown. Whoever begins again
    /// is shown what is left.
    fn is_allowed(&mut self) -> bool {
        let View {
            token,
            verifier,
            clock,
        } = &self.view;
        let made = verifier.revocations_made();
        if made == self.revocations {
            return true;
        }
        self.revocations = made;
        let now = clock.moment();
        !verifier.is_revoked_everywhere(now, token)
            && !self
                .rooms
                .iter()
                .any(|room| verifier.is_revoked(now, token, room))
    }

    /// Whether the room's new entry is to be shown: not where the caller may not read, and not
    /// where somebody came and went unseen.
    fn note(&mut self, room: &RoomName, is_active: bool) -> bool {
        if !self.view.shows(room) {
            return false;
        }
        match is_active {
            true => {
                self.rooms.insert(room.clone());
                true
            }
            false => self.rooms.remove(room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::shapes::tests::ann;
    use crate::model::UserId;
    use crate::presence::Status;
    use crate::relay::ActiveRoom;
    use crate::wire::protocols_page::blocks;

    #[test]
    fn an_event_is_a_name_and_one_line_of_json() {
        let mut text = String::new();
        write_event(&mut text, "left", &shapes::participant(&ann()));
        let lines: Vec<_> = text.split(['\n', '\r']).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "event: left");
        assert!(lines[1].starts_with("data: {\"userId\":\"ann\""), "{text}");
    }

    #[test]
    fn streams_are_as_the_page_of_protocols_shows_them() {
        let mut ann = ann();
        ann.appearance.name = "Ann".into();
        ann.appearance.role = Some("host".into());
        ann.appearance.data = Some(r#"{"page":"/booths"}"#.into());
        let mut typing = ann.clone();
        typing.appearance.status = Status::Typing;
        let mut gone = ann.clone();
        gone.appearance.status = Status::Offline;
        gone.appearance.data = None;
        gone.is_connected = false;

        let block: serde_json::Value =
            serde_json::from_str(blocks("json stream participant")[0]).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&shapes::participant(&ann)).unwrap();
        assert_eq!(block, shown);

        let check = |kind: &str, events: &[(&str, String)]| {
            let mut text = String::new();
            for (name, data) in events {
                write_event(&mut text, name, data);
            }
            // The page leaves out the empty line behind the last.
            assert_eq!(format!("{}\n", text.trim_end()), blocks(kind)[0], "{kind}");
        };
        let room = RoomName::parse("event/expo/stand-1").unwrap();
        check(
            "text stream room",
            &[
                ("snapshot", shapes::room_presence(&room, &[])),
                ("joined", shapes::participant(&ann)),
                ("changed", shapes::participant(&typing)),
                ("left", shapes::participant(&gone)),
            ],
        );
        let user = UserId::parse("ann").unwrap();
        check(
            "text stream user",
            &[
                ("snapshot", shapes::user_presence(&user, &[])),
                ("changed", shapes::user_room(&room, &ann)),
            ],
        );
        let prefix = RoomName::parse("event/expo").unwrap();
        let active = |users| ActiveRoom {
            room: room.clone(),
            users,
        };
        check(
            "text stream under",
            &[
                ("snapshot", shapes::rooms_under(&prefix, &[])),
                ("changed", shapes::active_room(&active(vec![ann]))),
                ("changed", shapes::active_room(&active(Vec::new()))),
            ],
        );
    }
}
