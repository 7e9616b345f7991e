//! What one client can do to the others: nothing; and to the memory: not much.

use std::time::Duration;

use super::rules::{NOW, announce, drain, entry, open, room, send};
use super::world::{Dice, Row, state};
use super::*;

#[test]
fn ten_thousand_tries_change_nobody_elses_entry() {
    for seed in 0..5 {
        let mut dice = Dice(seed);
        let mut awareness = room(5);
        // Somebody who left a moment ago is a target too.
        open(&mut awareness, NOW, 5, "user-5");
        announce(&mut awareness, NOW, 5, (105, 5, Some(state(5))));
        awareness.close(NOW, SessionId(5));
        drain(&mut awareness);
        let before: Vec<_> = (100..106).map(|client| entry(&awareness, client)).collect();

        let mut now = NOW;
        let mut session = 1_000;
        open(&mut awareness, now, session, "mallory");
        for _ in 0..10_000 {
            now = now + Duration::from_millis(dice.below(5));
            match dice.below(40) {
                0 => awareness.step1(now, SessionId(session)),
                1 => awareness.step2(now, SessionId(session)),
                2 => awareness.other(now, SessionId(session)),
                3 => awareness.query(now, SessionId(session)),
                4 if dice.below(10) == 0 => {
                    awareness.close(now, SessionId(session));
                    session += 1;
                    open(&mut awareness, now, session, "mallory");
                }
                _ => {
                    let count = [1, 1, 1, 0, 2, 7][dice.below(6) as usize];
                    let rows: Vec<Row> = (0..count)
                        .map(|_| {
                            let client = 98 + dice.below(10);
                            let known = entry(&awareness, 100 + client % 6).clock;
                            let clock = match dice.below(4) {
                                0 => known,
                                1 => known + 1 + dice.below(3),
                                2 => dice.below(AWARENESS_CLOCK_MAX + 1),
                                _ => dice.below(12),
                            };
                            let text = [Some(state(9)), Some("null ".to_owned()), None];
                            (client, clock, text[dice.below(3) as usize].clone())
                        })
                        .collect();
                    send(&mut awareness, now, session, &rows);
                }
            }
            awareness.tick(now);
            for event in drain(&mut awareness) {
                match event {
                    // Whoever comes back has the others told again what they are.
                    Event::Cast { client } => {
                        let after = awareness.entry(client).unwrap();
                        let before = before.iter().find(|before| before.client == client);
                        assert!(before.is_none_or(|before| before.state == after.state));
                    }
                    Event::Shows { session, .. } | Event::Active { session } => {
                        assert!(1_000 <= session.0, "{session} seemed to move: {seed}");
                    }
                    Event::Nudge { .. }
                    | Event::Push { .. }
                    | Event::Ask { .. }
                    | Event::Dropped { .. } => {}
                }
            }
        }
        for before in before {
            let after = entry(&awareness, before.client.0);
            assert!(before.clock <= after.clock && after.clock < before.clock + 1_000);
            assert_eq!(after.state, before.state, "{seed}");
            assert_eq!(after.session, before.session, "{seed}");
        }
    }
}

#[test]
fn an_id_stays_with_its_user_while_it_is_remembered() {
    let mut awareness = room(1);
    awareness.close(NOW, SessionId(0));
    drain(&mut awareness);
    open(&mut awareness, NOW, 7, "mallory");
    announce(&mut awareness, NOW, 7, (100, 50, Some(state(1))));
    assert_eq!(drain(&mut awareness), []);
    assert_eq!(entry(&awareness, 100).state, None);
    // Then it is free.
    awareness.tick(NOW + crate::limits::AWARENESS_MEMORY);
    send(&mut awareness, NOW, 7, &[(100, 50, Some(state(1)))]);
    assert!(entry(&awareness, 100).state.is_some());
}

/// Mallory uses the id that `user-0` had until more than a minute ago, at a high clock.
fn taken_by_mallory() -> Awareness {
    let mut awareness = room(1);
    awareness.close(NOW, SessionId(0));
    awareness.tick(NOW + crate::limits::AWARENESS_MEMORY);
    open(&mut awareness, NOW, 7, "mallory");
    announce(&mut awareness, NOW, 7, (100, 50_000, Some(state(1))));
    assert_eq!(entry(&awareness, 100).session, Some(SessionId(7)));
    drain(&mut awareness);
    awareness
}

fn is_shown_as(awareness: &Awareness, user: &str, session: u64) -> bool {
    let entry = entry(awareness, 100);
    let is_theirs = |state: &str| state.contains(&user.to_uppercase());
    entry.session == Some(SessionId(session)) && entry.state.as_deref().is_some_and(is_theirs)
}

#[test]
fn an_id_goes_back_to_its_former_user_after_however_long() {
    let mut awareness = taken_by_mallory();
    open(&mut awareness, NOW, 1, "somebody-else");
    announce(&mut awareness, NOW, 1, (100, 60_000, Some(state(2))));
    assert!(is_shown_as(&awareness, "mallory", 7), "it was never theirs");

    open(&mut awareness, NOW, 2, "user-0");
    announce(&mut awareness, NOW, 2, (100, 6, Some(state(1))));
    assert!(is_shown_as(&awareness, "user-0", 2));
    let events = drain(&mut awareness);
    let gone = Event::Shows {
        session: SessionId(7),
        appearance: None,
    };
    assert!(events.contains(&gone), "mallory is not shown by it");
    // Mallory's client goes on as if nothing had happened.
    for clock in 50_000..50_010 {
        send(&mut awareness, NOW, 7, &[(100, clock, Some(state(clock)))]);
        send(&mut awareness, NOW, 7, &[(100, clock, None)]);
    }
    assert!(is_shown_as(&awareness, "user-0", 2));
    // Once more, while mallory is known to have had it.
    awareness.close(NOW, SessionId(2));
    awareness.tick(NOW + crate::limits::AWARENESS_MEMORY);
    announce(&mut awareness, NOW, 7, (100, 90_000, Some(state(1))));
    open(&mut awareness, NOW, 3, "user-0");
    announce(&mut awareness, NOW, 3, (100, 6, Some(state(1))));
    assert!(is_shown_as(&awareness, "user-0", 3));
}

#[test]
fn who_hides_takes_an_id_back_when_they_appear() {
    let mut awareness = taken_by_mallory();
    open(&mut awareness, NOW, 2, "user-0");
    let user = UserId::parse("user-0").unwrap();
    awareness.hide(NOW, &user, true);
    announce(&mut awareness, NOW, 2, (100, 6, Some(state(1))));
    send(&mut awareness, NOW, 2, &[(100, 7, Some(state(1)))]);
    assert!(is_shown_as(&awareness, "mallory", 7), "nobody can tell");
    awareness.hide(NOW, &user, false);
    send(&mut awareness, NOW, 2, &[(100, 8, Some(state(1)))]);
    assert!(is_shown_as(&awareness, "user-0", 2));
}

#[test]
fn twenty_thousand_joins_and_leaves_leave_no_trace() {
    let mut awareness = Awareness::new();
    let mut now = NOW;
    for number in 0..20_000 {
        now = now + Duration::from_millis(1);
        open(&mut awareness, now, number, "user");
        announce(
            &mut awareness,
            now,
            number,
            (number, 1, Some(state(number))),
        );
        awareness.close(now, SessionId(number));
        awareness.tick(now);
        drain(&mut awareness);
    }
    assert_eq!(awareness.len(), 20_000);
    while let Some(deadline) = awareness.next_deadline() {
        assert!(deadline <= now + Duration::from_secs(60));
        awareness.tick(deadline);
    }
    assert!(awareness.is_empty());
    assert_eq!(awareness.since(0).count(), 0);
    assert!(awareness.sessions.is_empty() && awareness.pushes.is_empty());
    assert!(awareness.accounts.is_empty());
}

#[test]
fn a_session_holds_only_so_many_ids_and_departed_ones_are_bounded() {
    use crate::limits::{AWARENESS_DEPARTED_MAX, AWARENESS_IDS_PER_SESSION_MAX};

    let mut awareness = Awareness::new();
    let sessions = (AWARENESS_DEPARTED_MAX / AWARENESS_IDS_PER_SESSION_MAX) as u64 + 10;
    for session in 0..sessions {
        open(&mut awareness, NOW, session, "mallory");
        let rows: Vec<Row> = (0..1_000)
            .map(|number| (1_000 * session + number, 1, Some("{}".to_owned())))
            .collect();
        send(&mut awareness, NOW, session, &rows);
        assert_eq!(awareness.present().count(), AWARENESS_IDS_PER_SESSION_MAX);
        awareness.close(NOW, SessionId(session));
        drain(&mut awareness);
    }
    assert_eq!(awareness.len(), AWARENESS_DEPARTED_MAX);
}

#[test]
fn no_clock_rises_to_where_an_echo_would_be_refused() {
    let mut awareness = room(1);
    for _ in 0..10 {
        send(&mut awareness, NOW, 0, &[(100, AWARENESS_CLOCK_MAX, None)]);
        send(
            &mut awareness,
            NOW,
            0,
            &[(100, AWARENESS_CLOCK_MAX, Some(state(9)))],
        );
        assert_eq!(entry(&awareness, 100).clock, AWARENESS_CLOCK_MAX);
    }
}
