//! Who came, who left, and why: a bounded list for whoever runs the relay.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limits::{OBSERVED_PATH_BYTES_MAX, TIMELINE_MAX};
use crate::metrics::{DoorLabel, EndLabel};
use crate::model::{ConnectionId, RoomName, UserId};
use crate::presence::Ending;
use crate::relay::fanout::Dialect;
use crate::room::awareness::StateLimit;
use crate::wire::close::Refusal;

/// How a connection, or its part in a room, ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Departure {
    /// By a close frame, or by saying so.
    Closed,
    /// The stream ended without a word.
    Lost,
    /// Nobody answered our pings.
    Silent,
    /// Its signs of life stopped.
    Expired,
    /// We ended it.
    Refused(Refusal),
}

impl Departure {
    /// What it is to the roster.
    pub fn ending(self) -> Ending {
        match self {
            Self::Closed => Ending::Clean,
            Self::Lost | Self::Silent => Ending::Lost,
            // There is nothing to wait for.
            Self::Expired
            | Self::Refused(Refusal::Revoked | Refusal::Forbidden | Refusal::HeartbeatTimeout) => {
                Ending::Over
            }
            Self::Refused(_) => Ending::Lost,
        }
    }

    /// As what it is counted.
    pub fn label(self) -> EndLabel {
        match self {
            Self::Closed => EndLabel::Closed,
            Self::Lost => EndLabel::Lost,
            Self::Silent => EndLabel::Silent,
            Self::Expired | Self::Refused(_) => EndLabel::Refused,
        }
    }

    /// The reason that the other side was given, if we ended it.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.reason()),
            Self::Closed | Self::Lost | Self::Silent | Self::Expired => None,
        }
    }
}

/// By which way somebody is in a room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Through a door, by a socket.
    Door(DoorLabel),
    /// By heartbeats.
    Heartbeats,
}

impl Way {
    pub(super) fn of(dialect: &Dialect) -> Self {
        Self::Door(match dialect {
            Dialect::YWebsocket => DoorLabel::Sync,
            Dialect::Hocuspocus { .. } => DoorLabel::Collab,
            Dialect::Board { .. } => DoorLabel::Boards,
            Dialect::Workspace => DoorLabel::Workspaces,
        })
    }
}

/// Where something happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Spot {
    /// In a room, or at its door.
    Room(RoomName),
    /// At something that may be no room: a path, or a document's name, as somebody wrote it.
    Written(Arc<str>),
    /// Nowhere in particular: at a socket that has no room.
    Nowhere,
}

impl Spot {
    /// What somebody wrote, cut where it is too long to be kept.
    pub fn written(text: &str) -> Self {
        Self::Written(text[..text.floor_char_boundary(OBSERVED_PATH_BYTES_MAX)].into())
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happening {
    /// They are in.
    Came,
    /// They wait for a place.
    Waits,
    /// They are gone: they were in, or waited.
    Left(Departure),
    /// They never were in.
    TurnedAway(Refusal),
    /// They are in, and an awareness state of theirs was dropped.
    StateDropped(StateLimit),
}

/// Somebody came or left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passage {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub spot: Spot,
    /// Who, if that was known.
    pub user: Option<UserId>,
    /// Their name.
    pub name: Option<Arc<str>>,
    /// By which way, if that was known.
    pub way: Option<Way>,
    /// By which socket.
    pub connection: Option<ConnectionId>,
    /// What.
    pub what: Happening,
    /// What was wrong with their token, in a word, if that was it.
    pub why: Option<&'static str>,
}

/// The latest comings and goings, numbered from 0.
#[derive(Debug, Default)]
pub struct Timeline {
    passages: VecDeque<Passage>,
    next: u64,
}

impl Timeline {
    /// Adds the newest; forgets the oldest when there are too many.
    pub fn note(&mut self, passage: Passage) {
        tracing::debug!(
            spot = ?passage.spot,
            user = passage.user.as_ref().map(UserId::as_str),
            way = ?passage.way,
            connection = passage.connection.map(|id| id.0),
            why = passage.why,
            "{:?}",
            passage.what
        );
        if self.passages.len() == TIMELINE_MAX {
            self.passages.pop_front();
        }
        self.passages.push_back(passage);
        self.next += 1;
    }

    /// What is kept from number `from` on, and the number to ask from next. A number that has not
    /// been given out is of another life of the relay: everything is new.
    pub fn since(&self, from: u64) -> (Vec<Passage>, u64) {
        let oldest = self.next - self.passages.len() as u64;
        let known = match from <= self.next {
            true => from.saturating_sub(oldest) as usize,
            false => 0,
        };
        (self.passages.range(known..).cloned().collect(), self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(number: u64) -> Passage {
        Passage {
            at: Timestamp::from_millis(number),
            spot: Spot::Nowhere,
            user: UserId::parse("ann"),
            name: None,
            way: Some(Way::Heartbeats),
            connection: None,
            what: Happening::Came,
            why: None,
        }
    }

    #[test]
    fn a_timeline_keeps_the_latest_and_goes_on_where_somebody_read_to() {
        let times = |timeline: &Timeline, from| {
            let (passages, next) = timeline.since(from);
            let times = passages.iter().map(|passage| passage.at.as_millis());
            (times.collect::<Vec<_>>(), next)
        };
        let mut timeline = Timeline::default();
        assert_eq!(times(&timeline, 0), (vec![], 0));
        for number in 0..3 {
            timeline.note(passage(number));
        }
        assert_eq!(times(&timeline, 0), (vec![0, 1, 2], 3));
        assert_eq!(times(&timeline, 2), (vec![2], 3));
        assert_eq!(times(&timeline, 3), (vec![], 3));
        // Of an earlier life of the relay.
        assert_eq!(times(&timeline, 4), (vec![0, 1, 2], 3));

        let many = TIMELINE_MAX as u64 + 5;
        for number in 3..many {
            timeline.note(passage(number));
        }
        let (kept, next) = times(&timeline, 1);
        assert_eq!((kept.len(), kept[0], next), (TIMELINE_MAX, 5, many));
        assert_eq!(times(&timeline, many - 1), (vec![many - 1], many));
    }

    #[test]
    fn what_somebody_wrote_is_cut() {
        let Spot::Written(cut) = Spot::written(&"é".repeat(10_000)) else {
            panic!("it was written");
        };
        assert!(cut.len() <= OBSERVED_PATH_BYTES_MAX && cut.starts_with('é'));
    }
}
