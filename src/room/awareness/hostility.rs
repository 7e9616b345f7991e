//! What one client can do to the others: nothing; and to the memory: not much. With it the single
//! rules that the scenarios do not show one by one.

use std::time::Duration;

use super::world::{Row, grant, payload, state};
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// Awareness with `sessions` of users `user-0`, `user-1`, …, each with its announced id 100, 101, ….
fn room(sessions: u64) -> Awareness {
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

fn open(awareness: &mut Awareness, now: Timestamp, session: u64, user: &str) {
    awareness.open(now, SessionId(session), &grant(user));
}

fn announce(awareness: &mut Awareness, now: Timestamp, session: u64, row: Row) {
    awareness.step1(now, SessionId(session));
    send(awareness, now, session, &[row]);
}

fn send(awareness: &mut Awareness, now: Timestamp, session: u64, rows: &[Row]) {
    awareness.receive(now, SessionId(session), &payload(rows));
}

fn drain(awareness: &mut Awareness) -> Vec<Event> {
    std::iter::from_fn(|| awareness.poll_event()).collect()
}

fn entry(awareness: &Awareness, client: u64) -> Entry {
    awareness.entry(ClientId(client)).unwrap().clone()
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

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
                                2 => dice.below(1 << 32),
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
                    Event::Cast { client } => {
                        assert!(!(100..106).contains(&client.0), "{client} was cast: {seed}");
                    }
                    Event::Shows { session, .. } | Event::Active { session } => {
                        assert!(1_000 <= session.0, "{session} seemed to move: {seed}");
                    }
                    Event::Nudge { .. } | Event::Push { .. } => {}
                }
            }
        }
        for before in before {
            let after = entry(&awareness, before.client.0);
            let clock = before.clock;
            assert!(clock <= after.clock && after.clock < clock + 1_000);
            assert_eq!(Entry { clock, ..after }, before);
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
        send(
            &mut awareness,
            NOW,
            0,
            &[(100, AWARENESS_CLOCK_MAX + 1, Some(state(8)))],
        );
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

#[test]
fn an_announcement_is_one_state_directly_after_the_first_step_1() {
    let held_as_own = |prepare: &dyn Fn(&mut Awareness)| {
        let mut awareness = room(1);
        awareness.close(NOW, SessionId(0));
        open(&mut awareness, NOW, 1, "user-0");
        prepare(&mut awareness);
        send(&mut awareness, NOW, 1, &[(100, 5, Some(state(1)))]);
        awareness.sessions[&SessionId(1)].own.is_some()
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
