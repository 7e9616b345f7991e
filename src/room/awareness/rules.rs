//! The rules one by one, where the scenarios show only that they work together.

use std::time::Duration;

use super::world::{Row, grant, payload, state};
use super::*;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_000_000);

#[test]
fn guests_get_another_name_each_time_and_still_come_back() {
    let guest = |name| Grant {
        is_stamped: false,
        ..grant(name)
    };
    let mut awareness = Awareness::new();
    awareness.open(NOW, SessionId(0), &guest("guest-1"));
    announce(&mut awareness, NOW, 0, (100, 5, Some(state(1))));
    awareness.open(NOW, SessionId(1), &guest("guest-2"));
    announce(&mut awareness, NOW, 1, (100, 9, Some(state(2))));
    assert_eq!(entry(&awareness, 100).session, Some(SessionId(0)));
    awareness.close(NOW, SessionId(0));
    awareness.open(NOW, SessionId(2), &guest("guest-3"));
    announce(&mut awareness, NOW, 2, (100, 5, Some(state(1))));
    let back = entry(&awareness, 100);
    assert_eq!((back.session, back.clock), (Some(SessionId(2)), 7));
    assert_eq!(back.state.as_deref(), Some(&*state(1)));
}

#[test]
fn an_announcement_is_one_state_directly_after_the_first_step_1() {
    let held_as_own = |prepare: &dyn Fn(&mut Awareness)| {
        let mut awareness = room(1);
        awareness.close(NOW, SessionId(0));
        open(&mut awareness, NOW, 1, "user-0");
        prepare(&mut awareness);
        send(&mut awareness, NOW, 1, &[(100, 5, Some(state(1)))]);
        awareness.sessions.get(&SessionId(1)).unwrap().own.is_some()
    };
    let session = SessionId(1);
    assert!(held_as_own(&|room| room.step1(NOW, session)));
    assert!(!held_as_own(&|_| {}));
    assert!(!held_as_own(&|room| {
        room.step1(NOW, session);
        room.other(NOW, session);
    }));
    assert!(!held_as_own(&|room| {
        room.step1(NOW, session);
        room.step2(NOW, session);
        room.step1(NOW, session);
    }));
    // A queued null before it announces nothing and spoils nothing.
    assert!(held_as_own(&|room| {
        send(room, NOW, 1, &[(100, 5, None)]);
        room.step1(NOW, session);
    }));
}

#[test]
fn a_newcomer_is_pushed_the_others_once() {
    let pushes = |awareness: &mut Awareness| {
        let is_push = |event: &Event| {
            matches!(
                event,
                Event::Push {
                    session: SessionId(9)
                }
            )
        };
        drain(awareness)
            .iter()
            .filter(|event| is_push(event))
            .count()
    };
    let mut awareness = room(2);
    open(&mut awareness, NOW, 9, "ann");
    assert_eq!(pushes(&mut awareness), 0);
    awareness.step1(NOW, SessionId(9));
    assert_eq!(pushes(&mut awareness), 0);
    send(&mut awareness, NOW, 9, &[(900, 1, Some(state(1)))]);
    awareness.step2(NOW, SessionId(9));
    awareness.tick(NOW + Duration::from_secs(1));
    assert_eq!(pushes(&mut awareness), 1);

    // Without a state at its first step 2; and with a late announcement of a known id again.
    awareness.close(NOW, SessionId(9));
    open(&mut awareness, NOW, 9, "ann");
    awareness.step1(NOW, SessionId(9));
    awareness.step2(NOW, SessionId(9));
    assert_eq!(pushes(&mut awareness), 1);
    send(&mut awareness, NOW, 9, &[(900, 7, Some(state(1)))]);
    assert_eq!(pushes(&mut awareness), 1);

    // Silent: after 300 ms.
    awareness.close(NOW, SessionId(9));
    open(&mut awareness, NOW, 9, "ann");
    assert_eq!(
        awareness.next_deadline(),
        Some(NOW + Duration::from_millis(300))
    );
    awareness.tick(NOW + Duration::from_millis(299));
    assert_eq!(pushes(&mut awareness), 0);
    awareness.tick(NOW + Duration::from_millis(300));
    assert_eq!(pushes(&mut awareness), 1);
    awareness.query(NOW, SessionId(9));
    assert_eq!(pushes(&mut awareness), 1);
}

#[test]
fn a_silent_raise_is_no_cast() {
    let mut awareness = room(2);
    let version = awareness.version();
    awareness.close(NOW, SessionId(1));
    open(&mut awareness, NOW, 2, "user-1");
    announce(&mut awareness, NOW, 2, (101, 5, Some(state(1))));
    let nudge = |session, client, clock| Event::Nudge {
        session: SessionId(session),
        client: ClientId(client),
        clock,
    };
    let events = drain(&mut awareness);
    assert!(events.contains(&nudge(2, 101, 6)) && events.contains(&nudge(0, 100, 6)));
    assert_eq!(entry(&awareness, 100).clock, 7);
    let cast: Vec<_> = awareness.since(version).map(|entry| entry.client).collect();
    assert_eq!(cast, [ClientId(101)]);
}

#[test]
fn who_shows_whom_follows_the_states() {
    let shows = |awareness: &mut Awareness| -> Vec<(u64, bool)> {
        drain(awareness)
            .into_iter()
            .filter_map(|event| match event {
                Event::Shows {
                    session,
                    appearance,
                } => Some((session.0, appearance.is_some())),
                _ => None,
            })
            .collect()
    };
    let mut awareness = Awareness::new();
    open(&mut awareness, NOW, 0, "ann");
    announce(&mut awareness, NOW, 0, (1, 0, Some("{}".to_owned())));
    assert_eq!(shows(&mut awareness), []);
    send(&mut awareness, NOW, 0, &[(1, 2, Some(state(1)))]);
    assert_eq!(shows(&mut awareness), [(0, true)]);
    // A renewal, and a caret that moves.
    send(&mut awareness, NOW, 0, &[(1, 3, Some(state(1)))]);
    assert_eq!(
        drain(&mut awareness),
        [Event::Cast {
            client: ClientId(1)
        }]
    );
    send(&mut awareness, NOW, 0, &[(1, 4, Some(state(2)))]);
    let session = SessionId(0);
    let events = drain(&mut awareness);
    assert_eq!(
        events,
        [
            Event::Cast {
                client: ClientId(1)
            },
            Event::Active { session }
        ]
    );
    // The same user's newer link: never a moment without.
    open(&mut awareness, NOW, 1, "ann");
    announce(&mut awareness, NOW, 1, (1, 4, Some(state(2))));
    assert_eq!(shows(&mut awareness), [(1, true), (0, false)]);
    awareness.close(NOW, SessionId(0));
    assert_eq!(shows(&mut awareness), []);
    send(&mut awareness, NOW, 1, &[(1, 9, None)]);
    assert_eq!(shows(&mut awareness), [(1, false)]);
    send(&mut awareness, NOW, 1, &[(1, 10, Some(state(2)))]);
    assert_eq!(shows(&mut awareness), [(1, true)]);
    awareness.close(NOW, SessionId(1));
    assert_eq!(
        drain(&mut awareness),
        [
            Event::Cast {
                client: ClientId(1)
            },
            Event::Shows {
                session: SessionId(1),
                appearance: None
            }
        ]
    );
}

#[test]
fn a_back_end_is_relayed_and_makes_nobody_present() {
    let back_end = Grant {
        is_participant: false,
        ..grant("service")
    };
    let mut awareness = Awareness::new();
    awareness.open(NOW, SessionId(0), &back_end);
    announce(&mut awareness, NOW, 0, (1, 1, Some(state(1))));
    awareness.close(NOW, SessionId(0));
    let is_about_people =
        |event: &Event| matches!(event, Event::Shows { .. } | Event::Active { .. });
    let events = drain(&mut awareness);
    assert!(!events.iter().any(is_about_people));
    assert!(events.contains(&Event::Cast {
        client: ClientId(1)
    }));
}

#[test]
fn a_renewed_token_stamps_again_what_differs() {
    let mut awareness = room(1);
    let version = awareness.version();
    awareness.renew(NOW, SessionId(0), &grant("user-0"));
    assert_eq!(drain(&mut awareness), []);
    let mut renamed = grant("user-0");
    renamed.identity.name = "Renamed".into();
    awareness.renew(NOW, SessionId(0), &renamed);
    let cast = awareness.since(version).next().unwrap();
    assert!(cast.state.as_deref().unwrap().contains("Renamed"));
    let clock = cast.clock;
    let events = drain(&mut awareness);
    assert_eq!(
        events[0],
        Event::Nudge {
            session: SessionId(0),
            client: ClientId(100),
            clock: clock - 1
        }
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Shows { .. }))
    );
    // The answer to the nudge ends it.
    send(&mut awareness, NOW, 0, &[(100, clock, Some(state(0)))]);
    assert_eq!(drain(&mut awareness), []);
}

#[test]
fn members_who_are_behind_get_the_newest_in_the_order_of_casts() {
    let mut awareness = room(3);
    let version = awareness.version();
    send(&mut awareness, NOW, 2, &[(102, 8, Some(state(1)))]);
    send(&mut awareness, NOW, 0, &[(100, 8, Some(state(1)))]);
    send(&mut awareness, NOW, 2, &[(102, 9, None)]);
    let behind: Vec<_> = awareness
        .since(version)
        .map(|entry| (entry.client.0, entry.clock, entry.state.is_some()))
        .collect();
    assert_eq!(behind, [(100, 8, true), (102, 9, false)]);
    assert_eq!(awareness.since(awareness.version()).count(), 0);
    let present: Vec<_> = awareness.present().map(|entry| entry.client.0).collect();
    assert_eq!(present, [101, 100]);
}

#[test]
fn the_echo_of_somebody_who_just_left_makes_no_ghost() {
    let mut awareness = room(1);
    // Even from the same user's other tab, which has no state of its own.
    open(&mut awareness, NOW, 1, "user-0");
    awareness.step1(NOW, SessionId(1));
    awareness.step2(NOW, SessionId(1));
    awareness.close(NOW, SessionId(0));
    drain(&mut awareness);
    let clock = entry(&awareness, 100).clock;
    for rows in [1, 2] {
        let echo: Vec<Row> = vec![(100, clock, Some(state(0))); rows];
        send(&mut awareness, NOW, 1, &echo);
    }
    assert_eq!(drain(&mut awareness), []);
    assert_eq!(entry(&awareness, 100).state, None);
}

#[test]
fn what_was_queued_before_is_not_taken_for_new() {
    let mut awareness = room(1);
    send(&mut awareness, NOW, 0, &[(100, 9, Some(state(9)))]);
    drain(&mut awareness);
    for clock in 0..=9 {
        send(&mut awareness, NOW, 0, &[(100, clock, Some(state(1)))]);
    }
    send(&mut awareness, NOW, 0, &[(100, 8, None)]);
    assert_eq!(drain(&mut awareness), []);
    // But a null at the same clock is somebody who goes offline on purpose.
    send(&mut awareness, NOW, 0, &[(100, 9, None)]);
    assert_eq!(
        drain(&mut awareness)[0],
        Event::Cast {
            client: ClientId(100)
        }
    );
}

#[test]
fn in_a_batch_the_own_entries_are_applied() {
    let mut awareness = room(2);
    let theirs = entry(&awareness, 100);
    let batch = [
        (100, 99, None),
        (101, 9, Some(state(5))),
        (100, 99, Some(state(6))),
    ];
    send(&mut awareness, NOW, 1, &batch);
    assert_eq!(entry(&awareness, 100), theirs);
    assert!(entry(&awareness, 101).state.unwrap().contains('5'));
}

#[test]
fn a_nudge_lost_with_the_old_link_is_made_up_for() {
    let mut awareness = room(1);
    let clock = entry(&awareness, 100).clock;
    open(&mut awareness, NOW, 1, "user-0");
    let later = NOW + Duration::from_secs(1);
    announce(&mut awareness, later, 1, (100, clock - 1, Some(state(0))));
    let nudge = Event::Nudge {
        session: SessionId(1),
        client: ClientId(100),
        clock: clock - 1,
    };
    assert!(drain(&mut awareness).contains(&nudge));
    assert_eq!(entry(&awareness, 100).clock, clock);
}

#[test]
fn all_who_are_due_are_renewed_in_one_step() {
    let mut awareness = Awareness::new();
    for number in 0..5 {
        let at = NOW + Duration::from_millis(200 * number);
        open(&mut awareness, at, number, &format!("user-{number}"));
        announce(
            &mut awareness,
            at,
            number,
            (100 + number, 5, Some(state(number))),
        );
    }
    drain(&mut awareness);
    let mut asked = Vec::new();
    let mut steps = Vec::new();
    while let Some(due) = awareness.next_deadline()
        && due <= NOW + Duration::from_secs(60)
    {
        awareness.tick(due);
        let (mut casts, mut nudges) = (0, 0);
        for event in drain(&mut awareness) {
            match event {
                Event::Ask { sessions } => {
                    for &session in &sessions {
                        // The last one's socket does not answer.
                        if session != SessionId(4) {
                            awareness.answer(due, session);
                        }
                    }
                    asked.push(sessions.len());
                }
                Event::Cast { .. } => casts += 1,
                Event::Nudge { .. } => nudges += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(casts, nudges);
        if 0 < casts {
            steps.push((due.since(NOW).as_millis(), casts));
        }
    }
    assert_eq!(asked[0], 5);
    assert_eq!(steps, [(21_000, 4), (42_000, 4)]);
    assert_eq!(entry(&awareness, 104).clock, 6, "as it was announced");
}

#[test]
fn a_crowd_is_renewed_in_several_steps() {
    use crate::limits::AWARENESS_RENEWED_AT_ONCE_MAX;

    let count = 2 * AWARENESS_RENEWED_AT_ONCE_MAX as u64 + 3;
    let mut awareness = room(count);
    let mut steps = Vec::new();
    while steps.len() < 3 {
        let due = awareness.next_deadline().unwrap();
        awareness.tick(due);
        let events = drain(&mut awareness);
        for event in &events {
            if let Event::Ask { sessions } = event {
                sessions
                    .iter()
                    .for_each(|&session| awareness.answer(due, session));
            }
        }
        let casts = events
            .iter()
            .filter(|event| matches!(event, Event::Cast { .. }));
        let casts = casts.count();
        if 0 < casts {
            steps.push((due.since(NOW).as_millis(), casts));
        }
    }
    let at_once = AWARENESS_RENEWED_AT_ONCE_MAX;
    assert_eq!(steps, [(21_000, at_once), (21_000, at_once), (21_000, 3)]);
}

#[test]
fn what_is_passed_on_is_neither_renewed_nor_nudged() {
    let mut awareness = room(2);
    open(&mut awareness, NOW, 2, "user-1");
    // Beside its own id, that of another tab.
    announce(&mut awareness, NOW, 2, (200, 1, Some(state(1))));
    send(&mut awareness, NOW, 2, &[(300, 1, Some(state(1)))]);
    awareness.close(NOW, SessionId(0));
    // A newcomer that may know everybody as gone.
    open(&mut awareness, NOW, 3, "user-0");
    announce(&mut awareness, NOW, 3, (100, 5, Some(state(0))));
    let is_about_tab =
        |event: &Event| matches!(event, Event::Nudge { client, .. } if client.0 == 300);
    assert!(!drain(&mut awareness).iter().any(is_about_tab));
    let raised = entry(&awareness, 300).clock;
    // Its own clock is below; what it says next is heard all the same.
    send(&mut awareness, NOW, 2, &[(300, 2, Some(state(7)))]);
    assert!(raised < entry(&awareness, 300).clock);
    assert!(entry(&awareness, 300).state.unwrap().contains('7'));
    send(&mut awareness, NOW, 2, &[(300, 2, None)]);
    assert_eq!(entry(&awareness, 300).state, None);
}

#[test]
fn whoever_was_here_without_a_state_is_no_newcomer_with_one() {
    let raised = |is_half_open: bool| {
        let mut awareness = room(1);
        let before = entry(&awareness, 100).clock;
        open(&mut awareness, NOW, 1, "ann");
        awareness.step2(NOW, SessionId(1));
        if !is_half_open {
            awareness.close(NOW, SessionId(1));
        }
        open(&mut awareness, NOW, 2, "ann");
        announce(&mut awareness, NOW, 2, (900, 1, Some(state(1))));
        entry(&awareness, 100).clock - before
    };
    assert_eq!(raised(false), 1);
    assert_eq!(raised(true), 1);
}

/// Awareness with `sessions` of users `user-0`, `user-1`, …, each with its announced id 100, 101, ….
pub(super) fn room(sessions: u64) -> Awareness {
    let mut awareness = Awareness::new();
    for number in 0..sessions {
        open(&mut awareness, NOW, number, &format!("user-{number}"));
        announce(
            &mut awareness,
            NOW,
            number,
            (100 + number, 5, Some(state(number))),
        );
    }
    drain(&mut awareness);
    awareness
}

pub(super) fn open(awareness: &mut Awareness, now: Timestamp, session: u64, user: &str) {
    awareness.open(now, SessionId(session), &grant(user));
}

pub(super) fn announce(awareness: &mut Awareness, now: Timestamp, session: u64, row: Row) {
    awareness.step1(now, SessionId(session));
    send(awareness, now, session, &[row]);
}

pub(super) fn send(awareness: &mut Awareness, now: Timestamp, session: u64, rows: &[Row]) {
    awareness.receive(now, SessionId(session), &payload(rows));
}

pub(super) fn drain(awareness: &mut Awareness) -> Vec<Event> {
    std::iter::from_fn(|| awareness.poll_event()).collect()
}

pub(super) fn entry(awareness: &Awareness, client: u64) -> Entry {
    awareness.entry(ClientId(client)).unwrap().clone()
}
