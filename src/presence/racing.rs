//! Many who come and go at a full board at once, compared with the plainest queue there is.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::QUEUE_USERS_MAX;
use crate::model::{Color, Kind, Policy, SessionId, UserId};
use crate::presence::{
    Admission, Appearance, Change, Ending, Entering, Event, Participant, Roster, Status,
};

const CAPACITY: usize = 100;
const STEPS: usize = 10_000;

#[test]
fn ten_thousand_race_for_a_hundred_places_and_nobody_is_forgotten() {
    for seed in 1..=3 {
        race(seed, 400, 55);
    }
}

#[test]
fn more_than_can_wait_are_sent_away() {
    let refused = race(99, 4_000, 80);
    assert!(0 < refused, "the queue was never full");
}

/// What a board is, put plainly.
#[derive(Default)]
struct Plain {
    /// Who has a place: their sessions, or until when it is kept for them without any.
    seats: BTreeMap<u64, Result<Vec<SessionId>, Timestamp>>,
    queue: VecDeque<(u64, Vec<SessionId>)>,
    sessions: Vec<(SessionId, u64)>,
    admitted: Vec<SessionId>,
}

impl Plain {
    fn enter(&mut self, user: u64, session: SessionId, may_wait: bool) -> Admission {
        if let Some(seat) = self.seats.get_mut(&user) {
            match seat {
                Ok(sessions) => sessions.push(session),
                Err(_) => *seat = Ok(vec![session]),
            }
        } else if self.seats.len() < CAPACITY && self.queue.is_empty() {
            self.seats.insert(user, Ok(vec![session]));
        } else if !may_wait {
            return Admission::Full;
        } else if let Some((_, sessions)) = self.queue.iter_mut().find(|(who, _)| *who == user) {
            sessions.push(session);
            self.sessions.push((session, user));
            return Admission::Waiting;
        } else if self.queue.len() < QUEUE_USERS_MAX {
            self.queue.push_back((user, vec![session]));
            self.sessions.push((session, user));
            return Admission::Waiting;
        } else {
            return Admission::Full;
        }
        self.sessions.push((session, user));
        self.admitted.push(session);
        Admission::In
    }

    fn leave(&mut self, session: SessionId, kept_until: Option<Timestamp>) {
        self.sessions.retain(|(other, _)| *other != session);
        for (_, sessions) in &mut self.queue {
            sessions.retain(|other| *other != session);
        }
        self.queue.retain(|(_, sessions)| !sessions.is_empty());
        for seat in self.seats.values_mut() {
            if let Ok(sessions) = seat
                && sessions.contains(&session)
            {
                sessions.retain(|other| *other != session);
                if sessions.is_empty()
                    && let Some(until) = kept_until
                {
                    *seat = Err(until);
                }
            }
        }
        self.seats
            .retain(|_, seat| !matches!(seat, Ok(sessions) if sessions.is_empty()));
        self.refill();
    }

    fn tick(&mut self, now: Timestamp) {
        // One at a time: whose place is free first is refilled first.
        loop {
            let is_over = |seat: &Result<_, Timestamp>| matches!(seat, Err(at) if *at <= now);
            let over = self.seats.iter().filter(|(_, seat)| is_over(seat));
            let Some((&user, _)) = over.min_by_key(|(_, seat)| seat.as_ref().err().copied()) else {
                return;
            };
            self.seats.remove(&user);
            self.refill();
        }
    }

    fn refill(&mut self) {
        while self.seats.len() < CAPACITY
            && let Some((user, sessions)) = self.queue.pop_front()
        {
            self.admitted.extend(&sessions);
            self.seats.insert(user, Ok(sessions));
        }
    }
}

/// Lets chance rule for `STEPS` steps, of which so many in a hundred are arrivals; returns how many
/// were sent away for lack of a place to wait.
fn race(seed: u64, users: u64, arrivals: u64) -> usize {
    let policy = Policy {
        linger_lost: Duration::from_secs(30),
        ..Policy::of(Kind::Board)
    };
    assert_eq!(policy.capacity, CAPACITY);
    let mut chance = Chance(seed);
    let (mut roster, mut plain) = (Roster::new(policy.clone()), Plain::default());
    let mut now = Timestamp::from_millis(1_000_000);
    let mut told: HashMap<SessionId, usize> = HashMap::new();
    let mut there: BTreeMap<UserId, Participant> = BTreeMap::new();
    let mut refused = 0;
    for step in 0..STEPS as u64 {
        let context = format!("seed {seed}, step {step}");
        now = now + Duration::from_millis(chance.below(50));
        roster.tick(now);
        plain.tick(now);
        let comes = plain.sessions.is_empty() || chance.below(100) < arrivals;
        if comes {
            let (user, session) = (chance.below(users), SessionId(step));
            let may_wait = 0 < chance.below(10);
            let admission = roster.enter(now, session, entering(user, may_wait));
            assert_eq!(admission, plain.enter(user, session, may_wait), "{context}");
            refused += usize::from(admission == Admission::Full && may_wait);
        } else {
            let index = chance.below(plain.sessions.len() as u64) as usize;
            let (session, _) = plain.sessions[index];
            let (ending, kept) = match chance.below(3) {
                0 => (Ending::Lost, Some(now + policy.linger_lost)),
                1 => (Ending::Clean, None),
                _ => (Ending::Over, None),
            };
            roster.leave(now, session, ending);
            plain.leave(session, kept);
        }
        let mut admitted = Vec::new();
        while let Some(event) = roster.poll_event() {
            match event {
                Event::Admitted(session) => admitted.push(session),
                Event::Queued { session, position } => {
                    let before = told.insert(session, position);
                    assert_ne!(before, Some(position), "told twice: {context}");
                }
                Event::Change { change, .. } => note(&mut there, change, &context),
                Event::Expired(_) | Event::Record(_) | Event::Seen(_) => {}
            }
        }
        assert_eq!(admitted, plain.admitted, "{context}");
        plain.admitted.clear();
        assert!(roster.users() <= CAPACITY, "{context}");
        assert_eq!(roster.users(), plain.seats.len(), "{context}");
        assert_eq!(roster.waiting(), plain.queue.len(), "{context}");
        let has_free = plain.seats.len() < CAPACITY;
        assert!(
            plain.queue.is_empty() || !has_free,
            "a free place: {context}"
        );
        if 0 < step % 10 {
            continue;
        }
        for (place, (_, sessions)) in plain.queue.iter().enumerate() {
            for session in sessions {
                assert_eq!(told.get(session), Some(&(place + 1)), "{context}");
            }
        }
        // Whoever listened knows exactly who is there, once each.
        let names: Vec<_> = plain.seats.keys().map(|&user| id(user)).collect();
        let mut heard: Vec<_> = there.keys().cloned().collect();
        heard.sort_by_key(number);
        assert_eq!(heard, names, "{context}");
        let connected = roster.connected();
        assert_eq!(connected.len(), names.len(), "{context}");
    }
    refused
}

fn note(there: &mut BTreeMap<UserId, Participant>, change: Change, context: &str) {
    match change {
        Change::Joined(one) => {
            let before = there.insert(one.user.clone(), one);
            assert_eq!(before, None, "joined twice: {context}");
        }
        Change::Changed { after, .. } => {
            let before = there.insert(after.user.clone(), after);
            assert!(before.is_some(), "changed without being there: {context}");
        }
        Change::Left(one) => {
            let before = there.remove(&one.user);
            assert!(before.is_some(), "left without being there: {context}");
        }
    }
}

fn id(user: u64) -> UserId {
    UserId::parse(&format!("user {user}")).unwrap()
}

fn number(user: &UserId) -> u64 {
    user.as_str().trim_start_matches("user ").parse().unwrap()
}

fn entering(user: u64, may_wait: bool) -> Entering {
    Entering {
        user: id(user),
        identity: Appearance {
            name: "somebody".into(),
            avatar: None,
            role: None,
            color: Color::of_user(&id(user)),
            status: Status::Online,
            data: None,
        },
        may_wait,
        lasts: None,
    }
}

/// Numbers that look random and are the same for a seed: xorshift64*.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}
