//! What happened to a room's roster lately, for members who are told in text.
//!
//! A log, as the backlog of updates is one: each member has a position in it. Who falls behind what
//! is kept is sent how things are, as if they came now.

use std::collections::{HashMap, VecDeque};

use crate::limits::NEWS_MAX;
use crate::model::{SessionId, UserId};
use crate::presence::{Change, Coalesced};

/// One change, and the session that did it.
#[derive(Clone, Debug)]
pub struct Item {
    number: u64,
    pub(super) change: Change,
    pub(super) by: Option<SessionId>,
}

/// The latest changes, numbered from 1.
#[derive(Debug, Default)]
pub struct News {
    items: VecDeque<Item>,
    newest: u64,
}

impl News {
    /// Adds the newest.
    pub fn push(&mut self, change: Change, by: Option<SessionId>) {
        self.newest += 1;
        let number = self.newest;
        self.items.push_back(Item { number, change, by });
        if NEWS_MAX < self.items.len() {
            self.items.pop_front();
        }
    }

    /// The number of the newest.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What comes after `position`; `None` when part of it is no longer here.
    pub fn after(&self, position: u64) -> Option<impl Iterator<Item = &Item> + Clone> {
        let oldest = self
            .items
            .front()
            .map_or(self.newest + 1, |item| item.number);
        (oldest <= position + 1).then(|| {
            let start = self.items.partition_point(|item| item.number <= position);
            self.items.range(start..)
        })
    }

    /// Forgets what everybody has been told.
    pub fn trim(&mut self, everybody_knows: u64) {
        while let Some(oldest) = self.items.front()
            && oldest.number <= everybody_knows
        {
            self.items.pop_front();
        }
        if self.items.is_empty() {
            self.items.shrink_to(16);
        }
    }
}

/// What one member is told of changes: not its own, and of each user only what it comes to.
pub fn coalesce<'a>(
    items: impl Iterator<Item = &'a Item>,
    session: Option<SessionId>,
) -> Vec<Change> {
    let mut told: Vec<Option<Change>> = Vec::new();
    let mut last_of: HashMap<&UserId, usize> = HashMap::new();
    for item in items.filter(|item| session.is_none() || item.by != session) {
        let user = &item.change.participant().user;
        let earlier = last_of
            .get(user)
            .and_then(|&place| told.get_mut(place)?.take());
        let coalesced = match earlier {
            Some(earlier) => earlier.and_then(item.change.clone()),
            None => Coalesced::One(item.change.clone()),
        };
        match coalesced {
            Coalesced::None => {
                last_of.remove(user);
            }
            Coalesced::One(change) => {
                last_of.insert(user, told.len());
                told.push(Some(change));
            }
            Coalesced::Both(earlier, later) => {
                told.push(Some(earlier));
                last_of.insert(user, told.len());
                told.push(Some(later));
            }
        }
    }
    told.into_iter().flatten().collect()
}
