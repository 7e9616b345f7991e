//! One session in a room: what it shows, what it reports, and how long it is good for.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::RECORD_EVERY;
use crate::model::{Participants, Policy, Role, SessionId, UserId};
use crate::presence::{Appearance, Saying, Status};

/// A session as it is written down while it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Which.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
    /// What it does; never offline.
    pub status: Status,
    /// What the client sent last, as JSON text.
    pub data: Option<Arc<str>>,
    /// Since when it is in.
    pub connected_at: Timestamp,
    /// Its last sign of life.
    pub last_heartbeat_at: Timestamp,
    /// When it ended, if it has.
    pub disconnected_at: Option<Timestamp>,
}

/// A session as whoever runs the relay sees it, also where others see nothing of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Whose.
    pub user: UserId,
    /// Their name, by their token.
    pub name: Arc<str>,
    /// What they are in this room.
    pub role: Option<Role>,
    /// Since when it is in, or waits.
    pub since: Timestamp,
    /// When it was last heard of in this room.
    pub last_sign: Timestamp,
    /// Whether it waits for a place.
    pub is_waiting: bool,
    /// Whether its user hides from everybody.
    pub is_hidden: bool,
}

/// What is known of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub user: UserId,
    /// Whether it waits for a place.
    pub is_waiting: bool,
    /// Who its token says they are.
    pub identity: Appearance,
    /// What its awareness shows, if it shows somebody.
    pub shown: Option<Appearance>,
    /// What it sent last about where it is.
    pub data: Option<Arc<str>>,
    /// What its client said of itself: idle or away, until it acts.
    pub reported: Option<Status>,
    pub typing_until: Option<Timestamp>,
    pub last_activity: Timestamp,
    /// Since when it counts as quiet: time that its user spent cut off is none.
    pub quiet_since: Timestamp,
    /// When it was last heard of at all.
    pub last_sign: Timestamp,
    pub connected_at: Timestamp,
    /// Good until its signs of life stop: for so long, and until then.
    pub expires: Option<(Duration, Timestamp)>,
    /// What was last written down of it, and when.
    pub recorded: Option<(Status, Timestamp)>,
    /// The earliest deadline that is set for it.
    pub scheduled: Option<Timestamp>,
}

impl Session {
    /// What it shows of its user now.
    pub fn appearance(&self, now: Timestamp, policy: &Policy) -> Option<Appearance> {
        let is_shown_by_itself =
            policy.participants == Participants::Admitted || self.expires.is_some();
        let who = match &self.shown {
            Some(shown) => shown,
            None if is_shown_by_itself => &self.identity,
            None => return None,
        };
        Some(Appearance {
            status: self.status(now, policy),
            data: self.data.clone(),
            ..who.clone()
        })
    }

    /// What it does now.
    pub fn status(&self, now: Timestamp, policy: &Policy) -> Status {
        let has_passed = |span: Duration| !span.is_zero() && self.quiet_since + span <= now;
        if self.typing_until.is_some_and(|until| now < until) {
            Status::Typing
        } else if let Some(reported) = self.reported {
            reported
        } else if has_passed(policy.away_after) {
            Status::Away
        } else if has_passed(policy.idle_after) {
            Status::Idle
        } else {
            Status::Online
        }
    }

    /// When it is something else, if nothing happens before.
    pub fn next_deadline(&self, now: Timestamp, policy: &Policy) -> Option<Timestamp> {
        let typing = self.typing_until.filter(|&until| now < until);
        let is_quiet = self.reported.is_none();
        let inactive = [policy.idle_after, policy.away_after]
            .into_iter()
            .filter(|span| is_quiet && !span.is_zero())
            .map(|span| self.quiet_since + span)
            .filter(|&at| now < at);
        let expiry = self.expires.map(|(_, at)| at);
        inactive.chain(typing).chain(expiry).min()
    }

    /// The session did something.
    pub fn act(&mut self, now: Timestamp) {
        self.last_activity = now.max(self.last_activity);
        self.quiet_since = self.last_activity;
        self.last_sign = now.max(self.last_sign);
        self.reported = None;
    }

    /// Whether it has acted at this very time, and acting again would change nothing.
    pub fn has_acted(&self, now: Timestamp) -> bool {
        [self.last_activity, self.quiet_since, self.last_sign] == [now; 3]
            && self.reported.is_none()
    }

    /// The session says something of its user: what they do, if it names a status.
    pub fn report(&mut self, now: Timestamp, status: Option<Status>, typing: Duration) {
        self.act(now);
        if status.is_some() {
            self.typing_until = None;
        }
        match status {
            Some(Status::Idle | Status::Away) => self.reported = status,
            Some(Status::Typing) => self.typing_until = Some(now + typing),
            Some(Status::Online | Status::Offline) | None => {}
        }
    }

    /// What comes with a sign of life. Those repeat what they say: no news is no activity. Whether it
    /// says something.
    pub fn hear(&mut self, now: Timestamp, saying: Saying, typing: Duration) -> bool {
        let Saying { status, data } = saying;
        if status.is_none() && (data.is_none() || self.data == data) {
            return false;
        }
        self.report(now, status, typing);
        self.data = data.or(self.data.take());
        true
    }

    /// Goes on where a session of the same user was lost: its user is what and where they were.
    pub fn take_up(&mut self, now: Timestamp, lost: &Self, since: Timestamp) {
        self.data = lost.data.clone();
        self.reported = lost.reported;
        self.last_activity = lost.last_activity;
        self.quiet_since = lost.quiet_since + now.since(since);
        // Their colour may come from an awareness state, which takes a moment to come again.
        self.shown = lost.shown.as_ref().map(|shown| Appearance {
            color: shown.color,
            ..self.identity.clone()
        });
    }

    /// What is to be written down now, if something is: a new status at once, a sign of life only
    /// after a while, the end always.
    pub fn record(
        &mut self,
        id: SessionId,
        now: Timestamp,
        policy: &Policy,
        ended: Option<Timestamp>,
    ) -> Option<SessionRecord> {
        if !policy.is_recorded || self.is_waiting {
            return None;
        }
        let status = self.status(now, policy);
        let is_due = match self.recorded {
            None => true,
            Some((known, at)) => known != status || at + RECORD_EVERY <= self.last_sign,
        };
        if !is_due && ended.is_none() {
            return None;
        }
        self.recorded = Some((status, now));
        Some(SessionRecord {
            session: id,
            user: self.user.clone(),
            status,
            data: self.data.clone(),
            connected_at: self.connected_at,
            last_heartbeat_at: self.last_sign,
            disconnected_at: ended,
        })
    }
}
