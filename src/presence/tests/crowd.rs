//! Many people: racing for few places, and coming and going for a day.

use std::collections::{BTreeMap, VecDeque};

use super::*;

const SEED: u64 = 0x5eed_b0a2;

/// What races for the places of a board.
struct Race {
    roster: Roster,
    now: u64,
    next_session: u64,
    /// Every session that is there, with its user's number.
    sessions: Vec<(u64, u64)>,
    /// Those who should be waiting, in order.
    queue: VecDeque<u64>,
    admissions: usize,
}

impl Race {
    fn has(&self, user: u64) -> bool {
        self.sessions.iter().any(|&(_, other)| other == user)
    }

    fn join(&mut self, number: u64) {
        let session = self.next_session;
        self.next_session += 1;
        let waits = self.queue.contains(&number);
        let is_in = self.has(number) && !waits;
        let admission = enter(&mut self.roster, self.now, session, &name_of(number));
        if is_in || self.roster.users() < 100 {
            assert_eq!(admission, Admission::In);
        }
        if admission == Admission::Waiting && !waits {
            self.queue.push_back(number);
        }
        self.sessions.push((session, number));
        self.listen();
    }

    fn leave(&mut self, place: usize, ending: Ending) {
        let (session, number) = self.sessions.swap_remove(place);
        self.roster
            .leave(seconds(self.now), SessionId(session), ending);
        if !self.has(number) {
            self.queue.retain(|&other| other != number);
        }
        self.listen();
    }

    /// Whoever is let in was the first to wait, with all their tabs; and no place stays free.
    fn listen(&mut self) {
        let mut admitted: BTreeMap<u64, usize> = BTreeMap::new();
        let mut order = Vec::new();
        while let Some(event) = self.roster.poll_event() {
            if let Event::Admitted(session) = event {
                let of = |&&(other, _): &&(u64, u64)| other == session.0;
                let (_, number) = *self.sessions.iter().find(of).unwrap();
                if self.queue.contains(&number) && !order.contains(&number) {
                    order.push(number);
                }
                *admitted.entry(number).or_default() += 1;
            }
        }
        for number in order {
            assert_eq!(self.queue.pop_front(), Some(number), "out of order");
            let tabs = self.sessions.iter().filter(|&&(_, other)| other == number);
            assert_eq!(admitted[&number], tabs.count(), "a tab was left behind");
            self.admissions += 1;
        }
        assert!(self.roster.users() <= 100, "{} are in", self.roster.users());
        assert_eq!(self.roster.waiting(), self.queue.len());
        assert!(
            self.queue.is_empty() || self.roster.users() == 100,
            "a seat was lost"
        );
    }
}

#[test]
fn ten_thousand_racing_joins_and_leaves_never_break_a_board_of_a_hundred() {
    let mut random = Random(SEED);
    let mut race = Race {
        roster: Roster::new(Policy {
            linger_lost: Duration::from_secs(3),
            idle_after: Duration::ZERO,
            away_after: Duration::ZERO,
            ..Policy::of(Kind::Board)
        }),
        now: 0,
        next_session: 0,
        sessions: Vec::new(),
        queue: VecDeque::new(),
        admissions: 0,
    };
    let (mut joins, mut leaves, mut tabs_max) = (0, 0, 0);
    for turn in 0..10_000 {
        // Waves: a crowd gathers, and goes again.
        let share_of_joins = if turn / 1_000 % 2 == 0 { 60 } else { 42 };
        let is_empty = race.sessions.is_empty();
        if is_empty || random.below(100) < share_of_joins {
            race.join(random.below(300));
            joins += 1;
        } else {
            let place = random.below(race.sessions.len() as u64) as usize;
            let ending = [Ending::Clean, Ending::Lost, Ending::Over][random.below(3) as usize];
            race.leave(place, ending);
            leaves += 1;
        }
        if random.below(10) == 0 {
            race.now += 1;
            race.roster.tick(seconds(race.now));
            race.listen();
        }
        let connected = race.roster.connected();
        assert_eq!(connected.len(), race.roster.users(), "a user counts once");
        tabs_max = tabs_max.max(race.sessions.len());
    }
    assert!(
        4_000 < joins && 4_000 < leaves,
        "{joins} joins, {leaves} leaves"
    );
    assert!(200 < race.admissions && 300 < tabs_max, "it was no race");
    while !race.sessions.is_empty() {
        race.leave(0, Ending::Clean);
    }
    race.roster.tick(seconds(race.now + 3));
    race.listen();
    assert!(race.roster.is_empty());
    for number in 0..100 {
        race.join(1_000 + number);
    }
    assert_eq!(race.roster.users(), 100, "every seat can be taken again");
    race.join(2_000);
    assert_eq!(race.roster.waiting(), 1);
}

#[test]
fn a_day_of_a_workspace_takes_memory_for_those_who_are_there_now() {
    const PEOPLE: u64 = 10_000;
    const DAY: u64 = 24 * 3600;
    let mut random = Random(SEED);
    // Everybody comes three times, most around noon, and looks at a few things.
    let mut agenda: BTreeMap<(u64, u64), Vec<Act>> = BTreeMap::new();
    for session in 0..3 * PEOPLE {
        let person = session % PEOPLE;
        let from = (0..4).map(|_| random.below(DAY / 4 - 900)).sum::<u64>();
        let to = from + 60 + random.below(3_000);
        let mut acts = vec![(from, Act::Come(person))];
        acts.extend((0..random.below(4)).map(|_| (from + random.below(to - from), Act::Move)));
        acts.push((to, Act::Go));
        for (at, act) in acts {
            agenda.entry((at, session)).or_default().push(act);
        }
    }
    let mut roster = Roster::new(Policy::of(Kind::Workspace));
    let (mut most, mut changes) = (0, 0);
    for ((at, session), acts) in agenda {
        for act in acts {
            match act {
                Act::Come(person) => {
                    enter(&mut roster, at, session, &name_of(person));
                }
                Act::Move => {
                    let place = format!("/page/{}", random.below(100));
                    let data = Some(place.as_str().into());
                    roster.report(seconds(at), SessionId(session), None, data);
                }
                Act::Go => roster.leave(seconds(at), SessionId(session), Ending::Clean),
            }
        }
        while roster.poll_event().is_some() {
            changes += 1;
        }
        let there = roster.users();
        most = most.max(there);
        let entries = roster.entries();
        assert!(
            entries <= 300 + 16 * there,
            "{entries} entries for {there} people at {at} s"
        );
    }
    assert!(
        1_000 < most && 50_000 < changes,
        "{most}, {changes}: no crowd"
    );
    assert!(roster.is_empty());
    assert!(roster.entries() <= 300, "{} entries", roster.entries());
}

enum Act {
    Come(u64),
    Move,
    Go,
}

/// A small generator of numbers that are random enough (SplitMix64), and the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn name_of(number: u64) -> String {
    format!("user-{number}")
}
