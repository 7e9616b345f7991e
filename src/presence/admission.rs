//! Who waits for a place in a full room: first come, first served, per user.

use std::collections::VecDeque;

use crate::limits::QUEUE_USERS_MAX;
use crate::model::{SessionId, UserId};
use crate::small::SmallMap;

/// Whether somebody who asked is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// They are in.
    In,
    /// They wait; their place is told with the events.
    Waiting,
    /// There is no place, and they cannot wait.
    Full,
}

/// The users who wait. All sessions of a user share one place in the queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<UserId>,
    waiting: SmallMap<UserId, Waiting>,
    /// Whether places may have moved since they were last told.
    has_moved: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each with the place it was last told; 0 is none.
    sessions: Vec<(SessionId, usize)>,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub fn has(&self, user: &UserId) -> bool {
        self.waiting.contains_key(user)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Puts a session in line, behind all others or where its user stands already; `false` when the
    /// queue is full.
    pub fn push(&mut self, user: &UserId, session: SessionId) -> bool {
        if let Some(waiting) = self.waiting.get_mut(user) {
            waiting.sessions.push((session, 0));
        } else {
            if QUEUE_USERS_MAX <= self.order.len() {
                return false;
            }
            self.order.push_back(user.clone());
            let sessions = vec![(session, 0)];
            self.waiting.insert(user.clone(), Waiting { sessions });
        }
        self.has_moved = true;
        true
    }

    /// The session waits no longer; its user neither, if it was their last.
    pub fn remove(&mut self, user: &UserId, session: SessionId) {
        let Some(waiting) = self.waiting.get_mut(user) else {
            return;
        };
        waiting.sessions.retain(|&(other, _)| other != session);
        if waiting.sessions.is_empty() {
            self.waiting.remove(user);
            self.order.retain(|other| other != user);
            self.has_moved = true;
        }
    }

    /// The head of the queue, with all their sessions.
    pub fn pop(&mut self) -> Option<(UserId, Vec<SessionId>)> {
        let user = self.order.pop_front()?;
        self.has_moved = true;
        let waiting = self.waiting.remove(&user).unwrap_or_default();
        let sessions = waiting.sessions.into_iter();
        Some((user, sessions.map(|(session, _)| session).collect()))
    }

    /// Whoever stands elsewhere than they were told: their sessions and their place, from 1.
    pub fn moved(&mut self) -> Vec<(SessionId, usize)> {
        if !std::mem::take(&mut self.has_moved) {
            return Vec::new();
        }
        let mut moved = Vec::new();
        for (index, user) in self.order.iter().enumerate() {
            let position = index + 1;
            let waiting = self.waiting.get_mut(user);
            for (session, told) in waiting.into_iter().flat_map(|one| &mut one.sessions) {
                if *told != position {
                    *told = position;
                    moved.push((*session, position));
                }
            }
        }
        moved
    }
}
