//! States that are too much: they alone are dropped, and whoever runs the relay is told.

use super::rules::{NOW, announce, drain, entry, open, room, send};
use super::world::{Row, grant, state};
use super::*;
use crate::limits::{AWARENESS_STATE_BYTES_MAX, AWARENESS_USER_BYTES_MAX};

/// A state of so many bytes that needs no stamp.
fn large(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

fn dropped(awareness: &mut Awareness) -> Vec<(u64, StateLimit, usize)> {
    drain(awareness)
        .into_iter()
        .filter_map(|event| match event {
            Event::Dropped {
                session,
                limit,
                bytes,
            } => Some((session.0, limit, bytes)),
            _ => None,
        })
        .collect()
}

#[test]
fn of_a_state_that_is_too_large_the_one_before_stays_and_is_renewed() {
    let mut awareness = room(1);
    let before = entry(&awareness, 100);
    let bytes = AWARENESS_STATE_BYTES_MAX + 1;
    send(&mut awareness, NOW, 0, &[(100, 9, Some(large(bytes)))]);
    assert_eq!(dropped(&mut awareness), [(0, StateLimit::State, bytes)]);
    let after = entry(&awareness, 100);
    assert_eq!((after.state, after.clock), (before.state, 9));
    assert_eq!(after.session, Some(SessionId(0)));
    assert!(before.version < after.version, "everybody is told");
    // Nobody's activity.
    send(&mut awareness, NOW, 0, &[(100, 10, Some(large(bytes)))]);
    let is_activity = |event: &Event| matches!(event, Event::Active { .. } | Event::Shows { .. });
    assert!(!drain(&mut awareness).iter().any(is_activity));
    // What is small enough again is taken.
    send(&mut awareness, NOW, 0, &[(100, 11, Some(state(7)))]);
    assert!(entry(&awareness, 100).state.unwrap().contains('7'));
    assert_eq!(dropped(&mut awareness), []);
}

#[test]
fn a_first_state_that_is_too_large_shows_nobody_and_harms_nobody() {
    let mut awareness = room(1);
    open(&mut awareness, NOW, 1, "ann");
    let bytes = AWARENESS_STATE_BYTES_MAX + 1;
    announce(&mut awareness, NOW, 1, (900, 1, Some(large(bytes))));
    assert_eq!(dropped(&mut awareness), [(1, StateLimit::State, bytes)]);
    assert_eq!(awareness.entry(ClientId(900)), None);
    send(&mut awareness, NOW, 1, &[(900, 2, Some(state(3)))]);
    assert_eq!(entry(&awareness, 900).session, Some(SessionId(1)));
    // By a new link, while the old one is half-open: what was there stays, and goes with it.
    open(&mut awareness, NOW, 2, "ann");
    announce(&mut awareness, NOW, 2, (900, 3, Some(large(bytes))));
    awareness.close(NOW, SessionId(1));
    let kept = entry(&awareness, 900);
    assert_eq!(kept.session, Some(SessionId(2)));
    assert!(kept.state.unwrap().contains('3'));
}

#[test]
fn somebody_elses_state_that_is_too_large_is_an_echo() {
    let mut awareness = room(2);
    let before = entry(&awareness, 100);
    let bytes = AWARENESS_STATE_BYTES_MAX + 1;
    send(&mut awareness, NOW, 1, &[(100, 99, Some(large(bytes)))]);
    assert_eq!(drain(&mut awareness), []);
    assert_eq!(entry(&awareness, 100), before);
}

#[test]
fn a_session_holds_256_kib_and_the_rest_of_its_frame_is_taken() {
    let mut awareness = room(1);
    let own = entry(&awareness, 100).state.unwrap().len();
    let size = AWARENESS_STATE_BYTES_MAX;
    let rows: Vec<Row> = (1..4).map(|id| (id, 1, Some(large(size)))).collect();
    send(&mut awareness, NOW, 0, &rows);
    let rest = size - own;
    send(
        &mut awareness,
        NOW,
        0,
        &[
            (4, 1, Some(large(rest + 1))),
            (5, 1, Some("{}".to_owned())),
            (1, 2, Some(large(10))),
        ],
    );
    assert_eq!(
        dropped(&mut awareness),
        [(0, StateLimit::Session, rest + 1)]
    );
    assert_eq!(awareness.entry(ClientId(4)), None);
    assert_eq!(entry(&awareness, 5).state.as_deref(), Some("{}"));
    assert_eq!(entry(&awareness, 1).state.as_deref(), Some(&*large(10)));
    // There is room again.
    send(&mut awareness, NOW, 0, &[(4, 1, Some(large(rest + 1)))]);
    assert_eq!(dropped(&mut awareness), []);
    assert!(entry(&awareness, 4).state.is_some());
    // Of an id that is known, the one before stays, and is renewed.
    send(&mut awareness, NOW, 0, &[(1, 3, Some(large(size)))]);
    assert_eq!(dropped(&mut awareness), [(0, StateLimit::Session, size)]);
    let kept = entry(&awareness, 1);
    assert_eq!((kept.state.as_deref(), kept.clock), (Some(&*large(10)), 3));
}

#[test]
fn a_user_holds_1_mib_in_a_room_by_however_many_sessions() {
    let mut awareness = Awareness::new();
    let size = AWARENESS_STATE_BYTES_MAX;
    let most = (AWARENESS_USER_BYTES_MAX / size) as u64;
    for number in 0..most {
        open(&mut awareness, NOW, number, "mallory");
        announce(&mut awareness, NOW, number, (number, 1, Some(large(size))));
    }
    assert_eq!(dropped(&mut awareness), []);
    open(&mut awareness, NOW, 50, "mallory");
    announce(&mut awareness, NOW, 50, (50, 1, Some("{}".to_owned())));
    assert_eq!(dropped(&mut awareness), [(50, StateLimit::User, 2)]);
    // Others have their own.
    open(&mut awareness, NOW, 51, "ann");
    announce(&mut awareness, NOW, 51, (51, 1, Some(large(size))));
    assert_eq!(dropped(&mut awareness), []);
    // One as large as before is no more; one that leaves, or takes its state away, makes room.
    let other = large(size).replacen('x', "y", 1);
    send(&mut awareness, NOW, 3, &[(3, 9, Some(other.clone()))]);
    assert_eq!(entry(&awareness, 3).state.as_deref(), Some(&*other));
    send(&mut awareness, NOW, 3, &[(3, 10, None)]);
    send(&mut awareness, NOW, 50, &[(50, 2, Some(large(size)))]);
    assert_eq!(dropped(&mut awareness), []);
    awareness.close(NOW, SessionId(4));
    send(&mut awareness, NOW, 3, &[(3, 11, Some(other))]);
    assert_eq!(dropped(&mut awareness), []);
    for session in (0..most).chain([50, 51]) {
        awareness.close(NOW, SessionId(session));
    }
    assert!(awareness.accounts.is_empty());
}

#[test]
fn a_new_link_takes_its_users_state_over_without_counting_it_twice() {
    let mut awareness = Awareness::new();
    let size = AWARENESS_STATE_BYTES_MAX;
    let most = (AWARENESS_USER_BYTES_MAX / size) as u64;
    for number in 0..most {
        open(&mut awareness, NOW, number, "ann");
        announce(&mut awareness, NOW, number, (number, 1, Some(large(size))));
    }
    open(&mut awareness, NOW, 70, "ann");
    announce(&mut awareness, NOW, 70, (0, 2, Some(large(size))));
    assert_eq!(dropped(&mut awareness), []);
    assert_eq!(entry(&awareness, 0).session, Some(SessionId(70)));
    // The token is renewed: as before.
    awareness.renew(NOW, SessionId(70), &grant("ann"));
    for session in (0..most).chain([70]) {
        awareness.close(NOW, SessionId(session));
    }
    assert!(awareness.accounts.is_empty());
}

#[test]
fn one_message_is_looked_at_as_far_as_anybody_has_ids_and_states() {
    let mut awareness = room(1);
    // The same id over and over: each would be stamped.
    let size = AWARENESS_STATE_BYTES_MAX;
    let rows: Vec<Row> = (10..100)
        .map(|clock| (100, clock, Some(large(size))))
        .collect();
    send(&mut awareness, NOW, 0, &rows);
    assert_eq!(dropped(&mut awareness).len(), 86);
    assert_eq!(entry(&awareness, 100).clock, 99);
    // Very many entries, the own one behind them all.
    let echoes = (0..AWARENESS_ENTRIES_MAX as u64).map(|id| (10_000 + id, 1, None));
    let rows: Vec<Row> = echoes.chain([(100, 200, Some(state(1)))]).collect();
    send(&mut awareness, NOW, 0, &rows);
    assert_eq!(entry(&awareness, 100).clock, 99);
    send(&mut awareness, NOW, 0, &rows[1..]);
    assert_eq!(entry(&awareness, 100).clock, 200);
}
