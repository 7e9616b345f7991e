//! What a roster tells, as timelines and against a naive model.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::Color;
use crate::presence::Status;

use super::*;
use crate::clock::Timestamp;
use crate::model::{Kind, Policy, SessionId, UserId};

#[test]
fn two_tabs_are_one_participant() {
    check(
        "
         0s  ann shows tab1 red    -> joined ann red online
         5s  ann shows tab2 red    ->
         9s  tab1 leaves           ->
        12s  tab2 leaves           -> left ann red offline
        ",
    );
}

#[test]
fn the_tab_that_changed_last_is_shown() {
    check(
        "
         0s  ann shows tab1 red    -> joined ann red online
         1s  ann shows tab2 blue   -> changed ann blue online
         2s  ann shows tab1 red    ->
         3s  ann shows tab1 green  -> changed ann green online
         4s  tab1 leaves           -> changed ann blue online
         5s  ann shows tab3 red    -> changed ann red online
         6s  tab2 leaves           ->
         7s  tab3 leaves           -> left ann red offline
        ",
    );
}

#[test]
fn a_tab_that_moves_comes_forward() {
    check(
        "
         0s  ann shows tab1 red    -> joined ann red online
         1s  ann shows tab2 blue   -> changed ann blue online
         2s  tab1 moves            -> changed ann red online
         3s  tab1 moves            ->
         4s  tab2 touches          ->
         5s  tab1 leaves           -> changed ann blue online
        ",
    );
}

#[test]
fn the_most_active_tab_gives_the_status() {
    check(
        "
         0s  ann shows tab1 red away    -> joined ann red away
         1s  ann shows tab2 red idle    -> changed ann red idle
         2s  ann shows tab3 red typing  -> changed ann red typing
         3s  ann shows tab1 red online  ->
         4s  tab3 leaves                -> changed ann red online
         5s  tab1 leaves                -> changed ann red idle
        ",
    );
}

#[test]
fn joined_and_left_of_one_user_alternate() {
    check(
        "
         0s  ann shows tab1 red    -> joined ann red online
         1s  bob shows tab9 blue   -> joined bob blue online
         2s  tab1 leaves           -> left ann red offline
         2s  tab1 leaves           ->
         2s  tab1 touches          ->
         3s  ann shows tab2 red    -> joined ann red online
         4s  tab9 leaves           -> left bob blue offline
        ",
    );
}

#[test]
fn of_someone_gone_only_who_they_are_is_kept() {
    let mut roster = Roster::new();
    let (ann, tab) = (user("ann"), SessionId(1));
    let shown = Appearance {
        data: Some("{}".into()),
        ..appearance("red", Status::Typing)
    };
    roster.show(seconds(1), tab, &ann, shown.clone());
    roster.leave(seconds(7), tab, Ending::Lost);
    let kept = roster.participant(&ann).unwrap();
    assert!(!kept.is_connected);
    assert_eq!(kept.last_seen, seconds(7));
    assert_eq!(
        kept.appearance,
        Appearance {
            status: Status::Offline,
            data: None,
            ..shown
        }
    );
}

#[test]
fn the_connected_come_first_and_then_the_latest_seen() {
    let mut roster = Roster::new();
    for (place, name) in ["cid", "ann", "bob", "dan"].into_iter().enumerate() {
        let session = SessionId(place as u64);
        roster.show(
            seconds(1),
            session,
            &user(name),
            appearance("red", Status::Online),
        );
    }
    roster.leave(seconds(2), SessionId(1), Ending::Clean);
    roster.leave(seconds(3), SessionId(2), Ending::Clean);
    roster.touch(seconds(9), SessionId(3));
    let names: Vec<_> = roster
        .participants()
        .iter()
        .map(|participant| participant.user.to_string())
        .collect();
    assert_eq!(names, ["dan", "cid", "bob", "ann"]);
}

#[test]
fn only_the_newest_of_those_gone_are_remembered() {
    let mut roster = Roster::new();
    let count = OFFLINE_PARTICIPANTS_MAX as u64 + 10;
    for number in 0..count {
        let name = user(&format!("user-{number}"));
        roster.show(
            seconds(number),
            SessionId(number),
            &name,
            appearance("red", Status::Online),
        );
        roster.leave(seconds(number), SessionId(number), Ending::Clean);
    }
    let participants = roster.participants();
    assert_eq!(participants.len(), OFFLINE_PARTICIPANTS_MAX);
    assert_eq!(participants[0].user, user(&format!("user-{}", count - 1)));
    assert_eq!(roster.participant(&user("user-9")), None);
    assert!(roster.participant(&user("user-10")).is_some());
}

/// What happens in random histories, by number of session and user.
#[derive(Clone, Debug)]
enum Step {
    Show(u64, usize, &'static str, Status),
    Touch(u64),
    BringForward(u64),
    Leave(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let session = 0..6_u64;
    let color = prop::sample::select(&["red", "green", "blue"][..]);
    let status = prop::sample::select(&Status::BY_ACTIVITY[..4]);
    prop_oneof![
        4 => (session.clone(), 0..3_usize, color, status)
            .prop_map(|(session, user, color, status)| Step::Show(session, user, color, status)),
        1 => session.clone().prop_map(Step::Touch),
        1 => session.clone().prop_map(Step::BringForward),
        2 => session.prop_map(Step::Leave),
    ]
}

/// The roster in the simplest way that could be right: a list of sessions, the last changed
/// last, and everything else computed anew.
#[derive(Default)]
struct Model {
    sessions: Vec<(u64, usize, Appearance)>,
    last_seen: BTreeMap<usize, (Timestamp, Appearance)>,
}

impl Model {
    fn step(&mut self, now: Timestamp, step: &Step) {
        match step {
            Step::Show(session, user, color, status) => {
                let next = (*session, *user, appearance(color, *status));
                if !self.sessions.contains(&next) {
                    if self.user_of(*session) != Some(*user) {
                        self.step(now, &Step::Leave(*session));
                    }
                    self.sessions.retain(|(other, ..)| other != session);
                    self.sessions.push(next);
                }
                self.see(now, *user);
            }
            Step::Touch(session) => {
                if let Some(user) = self.user_of(*session) {
                    self.see(now, user);
                }
            }
            Step::BringForward(session) => {
                if let Some(user) = self.user_of(*session) {
                    self.sessions.sort_by_key(|(other, ..)| other == session);
                    self.see(now, user);
                }
            }
            Step::Leave(session) => {
                if let Some(user) = self.user_of(*session) {
                    let before = self.appearance(user).unwrap();
                    self.sessions.retain(|(other, ..)| other != session);
                    if self.appearance(user).is_none() {
                        self.last_seen.insert(user, (now, before));
                    }
                }
            }
        }
    }

    fn user_of(&self, session: u64) -> Option<usize> {
        self.sessions
            .iter()
            .find(|(other, ..)| *other == session)
            .map(|(_, user, _)| *user)
    }

    fn see(&mut self, now: Timestamp, user: usize) {
        let shown = self.appearance(user).unwrap();
        self.last_seen.insert(user, (now, shown));
    }

    fn appearance(&self, user: usize) -> Option<Appearance> {
        let mine = || self.sessions.iter().filter(|(_, of, _)| *of == user);
        let (.., shown) = mine().next_back()?;
        let status = Status::BY_ACTIVITY
            .into_iter()
            .find(|status| mine().any(|(.., shown)| shown.status == *status))?;
        Some(Appearance {
            status,
            ..shown.clone()
        })
    }

    fn participants(&self) -> Vec<Participant> {
        let mut all: Vec<_> = self
            .last_seen
            .iter()
            .map(
                |(&number, (last_seen, shown))| match self.appearance(number) {
                    Some(appearance) => Participant {
                        user: user(USERS[number]),
                        appearance,
                        is_connected: true,
                        last_seen: *last_seen,
                    },
                    None => Participant::gone(user(USERS[number]), shown.clone(), *last_seen),
                },
            )
            .collect();
        all.sort_by_key(|one| (!one.is_connected, Reverse(one.last_seen), one.user.clone()));
        all
    }
}

const USERS: [&str; 3] = ["ann", "bob", "cid"];

proptest! {
    /// The list agrees with the model after every step, and whoever only listens to the
    /// changes arrives at the same list.
    #[test]
    fn the_roster_is_what_its_sessions_say(
        history in prop::collection::vec((any_step(), 0..3_u64), 1..60)
    ) {
        let (mut roster, mut model) = (Roster::new(), Model::default());
        let mut told: BTreeMap<UserId, Participant> = BTreeMap::new();
        let mut now = seconds(1);
        for (step, pause) in history {
            now = now + Duration::from_secs(pause);
            model.step(now, &step);
            match step {
                Step::Show(session, number, color, status) => roster.show(
                    now,
                    SessionId(session),
                    &user(USERS[number]),
                    appearance(color, status),
                ),
                Step::Touch(session) => roster.touch(now, SessionId(session)),
                Step::BringForward(session) => roster.bring_forward(now, SessionId(session)),
                Step::Leave(session) => {
                    roster.leave(now, SessionId(session), Ending::Clean);
                }
            }
            while let Some(change) = roster.poll_change() {
                let (is_there, after) = match change {
                    Change::Joined(after) => (false, after),
                    Change::Changed(after) | Change::Left(after) => (true, after),
                };
                let before = told.get(&after.user);
                prop_assert_eq!(before.is_some_and(|one| one.is_connected), is_there);
                told.insert(after.user.clone(), after);
            }
            let participants = roster.participants();
            prop_assert_eq!(&participants, &model.participants());
            for participant in &participants {
                let heard = &told[&participant.user];
                prop_assert_eq!(&heard.appearance, &participant.appearance);
                prop_assert_eq!(heard.is_connected, participant.is_connected);
            }
        }
    }
}

/// Plays a timeline: `time  what happens  -> what is told`, one line for each.
fn check(timeline: &str) {
    let mut roster = Roster::new();
    let mut now = Timestamp::ZERO;
    for line in timeline
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (happens, expected) = line.split_once("->").unwrap();
        let words: Vec<_> = happens.split_whitespace().collect();
        now = seconds(words[0].trim_end_matches('s').parse().unwrap());
        match words[1..] {
            [who, "shows", tab, color] => roster.show(
                now,
                session(tab),
                &user(who),
                appearance(color, Status::Online),
            ),
            [who, "shows", tab, color, status] => {
                let is_named = |other: &Status| other.name() == status;
                let status = Status::BY_ACTIVITY.into_iter().find(is_named).unwrap();
                roster.show(now, session(tab), &user(who), appearance(color, status));
            }
            [tab, "touches"] => roster.touch(now, session(tab)),
            [tab, "moves"] => roster.bring_forward(now, session(tab)),
            [tab, "leaves"] => roster.leave(now, session(tab), Ending::Clean),
            _ => panic!("what is {line:?}?"),
        }
        let told: Vec<_> = std::iter::from_fn(|| roster.poll_change())
            .map(in_words)
            .collect();
        assert_eq!(told.join(", "), expected.trim(), "at {line:?}");
    }
    assert!(roster.participants().iter().all(|one| one.last_seen <= now));
}

fn in_words(change: Change) -> String {
    let (verb, after) = match change {
        Change::Joined(after) => ("joined", after),
        Change::Changed(after) => ("changed", after),
        Change::Left(after) => ("left", after),
    };
    let status = after.appearance.status.name();
    format!("{verb} {} {} {status}", after.user, after.appearance.name)
}

fn session(tab: &str) -> SessionId {
    SessionId(tab.trim_start_matches("tab").parse().unwrap())
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// The colour is told by the name, so that timelines can be read.
fn appearance(color: &str, status: Status) -> Appearance {
    Appearance {
        name: color.into(),
        avatar: None,
        role: None,
        color: Color::of_user(&user(color)),
        status,
        data: None,
    }
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1000 * seconds)
}
