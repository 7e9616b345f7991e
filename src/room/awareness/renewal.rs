//! Renewing for owners that are silent: browsers let the timers of a hidden tab run once a minute.
//!
//! A client drops whoever it has not heard of for 30 s. So what a session announced as its own, and
//! nobody was sent for 20 s, is raised and cast as if its owner had renewed it; the owner is nudged,
//! and so renews from there when its timers run again. Only its socket can tell that it is still
//! there: it is asked for first, and whoever does not answer is not renewed. Never renewed is what a
//! session passes on for another tab, for nobody knows whether that is there, and whoever hides.

use crate::clock::Timestamp;
use crate::limits::{
    AWARENESS_ANSWER_WITHIN, AWARENESS_ASKED_AT_ONCE_MAX, AWARENESS_RENEW_AFTER,
    AWARENESS_RENEWED_AT_ONCE_MAX,
};
use crate::model::{ClientId, SessionId};
use crate::room::awareness::{Awareness, Event};

/// When to look for silent owners.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// Nobody has been silent for too long before this. It is no earlier than it need be when it is
    /// set, and left alone after: the order of casts changes with every cursor.
    look_at: Option<Timestamp>,
    /// When sockets were asked for, if they have been.
    asked: Option<Timestamp>,
}

impl Renewal {
    /// Something was cast.
    pub(super) fn cast(&mut self, now: Timestamp) {
        if self.look_at.is_none() {
            self.look_at = Some(now + AWARENESS_RENEW_AFTER);
        }
    }

    /// Something that was last cast then may have to be renewed from now on.
    pub(super) fn watch(&mut self, cast: Timestamp) {
        let due = cast + AWARENESS_RENEW_AFTER;
        self.look_at = Some(self.look_at.map_or(due, |at| at.min(due)));
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.look_at
    }
}

impl Awareness {
    /// The session's socket answers.
    pub fn answer(&mut self, now: Timestamp, session: SessionId) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.answered = Some(now);
        }
    }

    /// Renews for the silent whose sockets answer, and asks for those of others.
    pub(super) fn renew_silent(&mut self, now: Timestamp) {
        if self.renewal.look_at.is_none_or(|at| now < at) {
            return;
        }
        if let Some(asked) = self.renewal.asked {
            let answers = |session: &SessionId| {
                let member = self.sessions.get(session);
                member.is_some_and(|member| member.answered.is_some_and(|at| asked <= at))
            };
            let mut due = self
                .silent_since(now)
                .filter(|one| AWARENESS_RENEW_AFTER < now.since(one.since) && answers(&one.owner))
                .map(|one| one.client);
            let renewed: Vec<ClientId> = due.by_ref().take(AWARENESS_RENEWED_AT_ONCE_MAX).collect();
            let is_more = due.next().is_some();
            drop(due);
            for client in renewed {
                self.raise(now, client);
                self.cast(now, client);
            }
            if is_more {
                // In the next step, which comes at once, but behind whoever else is ready.
                self.renewal.look_at = Some(now);
                return;
            }
        }
        self.ask_silent(now);
    }

    /// Asks for the sockets of all who will have been silent for too long when they have answered.
    fn ask_silent(&mut self, now: Timestamp) {
        let due = |one: &Silent| one.since + AWARENESS_RENEW_AFTER;
        let answered_at = now + AWARENESS_ANSWER_WITHIN;
        let mut first: Option<Timestamp> = None;
        for one in self.silent() {
            let due = due(&one);
            first = Some(first.map_or(due, |first| first.min(due)));
            if answered_at < one.cast + AWARENESS_RENEW_AFTER {
                // All behind this one are due later than now.
                break;
            }
        }
        if first.is_none_or(|first| now < first) {
            self.renewal.asked = None;
            self.renewal.look_at = first;
            return;
        }
        let sessions: Vec<SessionId> = self
            .silent_since(answered_at)
            .filter(|one| due(one) <= answered_at)
            .take(AWARENESS_ASKED_AT_ONCE_MAX)
            .map(|one| one.owner)
            .collect();
        self.events.push_back(Event::Ask { sessions });
        self.renewal.asked = Some(now);
        self.renewal.look_at = Some(answered_at);
    }

    /// Those among whom somebody has been silent for too long at that time, if anybody has.
    fn silent_since(&self, now: Timestamp) -> impl Iterator<Item = Silent> {
        self.silent()
            .take_while(move |one| one.cast + AWARENESS_RENEW_AFTER <= now)
    }

    /// Announced states that others know, the longest not cast first.
    fn silent(&self) -> impl Iterator<Item = Silent> {
        self.memory
            .present()
            .filter_map(|entry| self.memory.get(entry.client))
            .filter(|known| known.is_announced)
            .filter_map(|known| {
                Some(Silent {
                    client: known.entry.client,
                    owner: known.entry.session?,
                    cast: known.cast,
                    since: known.cast.max(known.nudged),
                })
            })
    }
}

/// An announced state, and since when its owner may have been silent.
struct Silent {
    client: ClientId,
    owner: SessionId,
    cast: Timestamp,
    since: Timestamp,
}
