//! Signs of life of one socket: when to ping it, and when to give it up.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::ANSWERS_WITHIN;

/// A machine without a clock: what happened goes in, [`Pulse::beat`] says what is due.
///
/// Who says nothing is given up within an interval and the patience behind it. Who talks and is
/// talked to is pinged no more often than it takes to keep that promise.
#[derive(Debug)]
pub struct Pulse {
    interval: Duration,
    ping_every: Duration,
    dead_after: Duration,
    next_ping: Timestamp,
    /// The oldest ping that has not been answered.
    asked: Option<Timestamp>,
    last_sent: Timestamp,
    last_progress: Timestamp,
    last_heard: Timestamp,
}

/// What the pulse asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beat {
    /// Nothing is due.
    Fine,
    /// Send a ping.
    Ping {
        /// And something that is data, since nothing else was sent for a while.
        with_data: bool,
    },
    /// The other side is gone.
    Dead,
}

impl Pulse {
    /// A connection that is alive now.
    pub fn new(now: Timestamp, ping_every: Duration, dead_after: Duration) -> Self {
        // A little early, so that ping and patience together stay within what is promised.
        let interval = ping_every;
        let ping_every = interval - interval / 20;
        Self {
            interval,
            ping_every,
            dead_after,
            next_ping: now + ping_every,
            asked: None,
            last_sent: now,
            last_progress: now,
            last_heard: now,
        }
    }

    /// Something came, if only a part of a message.
    pub fn heard(&mut self, now: Timestamp) {
        self.asked = None;
        self.last_heard = now;
    }

    /// When it last did.
    pub fn last_heard(&self) -> Timestamp {
        self.last_heard
    }

    /// Whether the other side answers: it owes us nothing, or not for long.
    pub fn answers(&self, now: Timestamp) -> bool {
        let owes = |asked: Timestamp| self.last_progress <= asked;
        self.asked
            .is_none_or(|asked| !owes(asked) || now.since(asked) < ANSWERS_WITHIN)
    }

    /// Messages were sent.
    pub fn sent(&mut self, now: Timestamp) {
        self.last_sent = now;
    }

    /// The socket took more of what waits: over a slow link it may take long until the other side
    /// sees our ping.
    pub fn progressed(&mut self, now: Timestamp) {
        self.last_progress = now;
    }

    /// What is due.
    pub fn beat(&mut self, now: Timestamp) -> Beat {
        if self.asked.is_some_and(|asked| asked < self.last_progress) {
            self.asked = None;
        }
        if self
            .asked
            .is_some_and(|asked| asked + self.dead_after <= now)
        {
            return Beat::Dead;
        }
        if now < self.next_ping {
            return Beat::Fine;
        }
        let is_recent = |at: Timestamp| now.since(at) < self.ping_every / 2;
        let with_data = !is_recent(self.last_sent);
        if !with_data && is_recent(self.last_heard) {
            self.next_ping = self.last_sent.min(self.last_heard) + self.ping_every;
            return Beat::Fine;
        }
        self.next_ping = now + self.ping_every;
        self.asked.get_or_insert(now);
        Beat::Ping { with_data }
    }

    /// As given to `new`, to be given to another.
    pub fn intervals(&self) -> (Duration, Duration) {
        (self.interval, self.dead_after)
    }

    /// When to ask `beat` again.
    pub fn next_deadline(&self) -> Timestamp {
        match self.asked {
            Some(asked) => self.next_ping.min(asked + self.dead_after),
            None => self.next_ping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING_EVERY: Duration = Duration::from_secs(10);
    const DEAD_AFTER: Duration = Duration::from_secs(20);

    /// Browsers see no pings: what keeps a client of Yjs is that something it can read comes often
    /// enough. The configuration allows what fits into its patience twice.
    #[test]
    fn nobody_hears_nothing_for_twice_the_interval() {
        let limit = 2 * PING_EVERY.as_millis() as u64;
        // Messages to it every so often, and signs of life from it every so often.
        for sent_every in (100..25_000).step_by(397) {
            for heard_every in [300, 4_000, 9_500, 14_000, 25_000] {
                let mut pulse = Pulse::new(at(0), PING_EVERY, DEAD_AFTER);
                let mut last = 0;
                for millis in (0..120_000).step_by(10) {
                    if millis % heard_every < 10 {
                        pulse.heard(at(millis));
                    }
                    if millis % sent_every < 10 && sent_every < 20_000 {
                        pulse.sent(at(millis));
                        last = millis;
                    }
                    let beat = match pulse.next_deadline() <= at(millis) {
                        true => pulse.beat(at(millis)),
                        false => Beat::Fine,
                    };
                    if beat == (Beat::Ping { with_data: true }) {
                        pulse.sent(at(millis));
                        pulse.heard(at(millis));
                        last = millis;
                    }
                    assert!(millis - last < limit, "{sent_every} {heard_every} {millis}");
                }
            }
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A minute and a half, in which `act` is done every so many milliseconds; when it was pinged, and
    /// when it was given up.
    fn live(every: u64, act: impl Fn(&mut Pulse, Timestamp)) -> (Vec<u64>, Option<u64>) {
        let mut pulse = Pulse::new(at(0), PING_EVERY, DEAD_AFTER);
        let mut pings = Vec::new();
        for millis in 0..90_000 {
            if millis % every == 0 {
                act(&mut pulse, at(millis));
            }
            if pulse.next_deadline() <= at(millis) {
                match pulse.beat(at(millis)) {
                    Beat::Fine => {}
                    Beat::Ping { .. } => pings.push(millis),
                    Beat::Dead => return (pings, Some(millis)),
                }
            }
        }
        (pings, None)
    }

    #[test]
    fn a_quiet_peer_is_pinged_within_each_interval_and_given_up_in_time() {
        let (pings, dead) = live(100_000, |_, _| {});
        assert_eq!(pings, [9_500, 19_000, 28_500]);
        assert_eq!(dead, Some(29_500));
    }

    #[test]
    fn whoever_answers_is_pinged_as_often() {
        let mut pulse = Pulse::new(at(0), PING_EVERY, DEAD_AFTER);
        for ping in 1..10 {
            let time = at(ping * 9_500);
            assert_eq!(pulse.beat(time), Beat::Ping { with_data: true });
            pulse.sent(time);
            pulse.heard(time + Duration::from_millis(80));
            assert_eq!(pulse.next_deadline(), at((ping + 1) * 9_500));
        }
    }

    #[test]
    fn whoever_owes_an_answer_for_some_time_does_not_answer() {
        let mut pulse = Pulse::new(at(0), PING_EVERY, DEAD_AFTER);
        assert!(pulse.answers(at(9_000)));
        assert_eq!(pulse.beat(at(9_500)), Beat::Ping { with_data: true });
        assert!(pulse.answers(at(14_499)));
        assert!(!pulse.answers(at(14_500)));
        pulse.progressed(at(15_000));
        assert!(pulse.answers(at(15_000)), "it takes what waits");
        assert_eq!(pulse.beat(at(19_000)), Beat::Ping { with_data: true });
        assert!(!pulse.answers(at(24_000)));
        pulse.heard(at(24_001));
        assert!(pulse.answers(at(24_001)));
    }

    #[test]
    fn whoever_talks_and_is_talked_to_needs_no_ping() {
        let (pings, dead) = live(4_000, |pulse, now| {
            pulse.heard(now);
            pulse.sent(now);
        });
        assert_eq!((pings, dead), (vec![], None));
    }

    #[test]
    fn whoever_is_told_nothing_is_told_something() {
        let (pings, dead) = live(1_000, |pulse, now| pulse.heard(now));
        assert_eq!((pings.len(), dead), (9, None));
    }

    #[test]
    fn whoever_says_nothing_is_given_up_however_much_it_is_told() {
        let (pings, dead) = live(1_000, |pulse, now| pulse.sent(now));
        assert_eq!(pings, [9_500, 19_000, 28_500]);
        assert_eq!(dead, Some(29_500));
    }

    #[test]
    fn whoever_falls_silent_is_given_up_as_soon_as_any_other() {
        for last in (0..30_000).step_by(125) {
            let mut pulse = Pulse::new(at(0), PING_EVERY, DEAD_AFTER);
            let mut now = 0;
            let dead = loop {
                pulse.sent(at(now));
                if now <= last {
                    pulse.heard(at(now));
                }
                if pulse.beat(at(now)) == Beat::Dead {
                    break now;
                }
                now += 125;
            };
            assert!(dead - last <= 30_000, "{last}: {dead}");
        }
    }

    #[test]
    fn whoever_takes_what_waits_is_alive() {
        let (_, dead) = live(15_000, |pulse, now| pulse.progressed(now));
        assert_eq!(dead, None);
    }
}
