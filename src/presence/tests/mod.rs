//! What a roster must do, as timelines at exact times.
//!
//! A timeline is a line for everything that happens, `time  what happens  -> what is told`. Whatever
//! is told at a time without a line fails the test. `model` compares random histories with the
//! simplest roster that could be right, `crowd` is many people.

mod crowd;
mod model;

use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::limits::{OFFLINE_PARTICIPANTS_MAX, QUEUE_USERS_MAX};
use crate::model::{Color, Kind, LastSeen, Participants, Policy, SessionId, UserId};

// One entry for each user.

#[test]
fn two_tabs_are_one_participant() {
    check(
        &Policy::of(Kind::Workspace),
        "
         0s  ann opens tab1   -> joined ann online
         5s  ann opens tab2   ->
         9s  tab1 closes      ->
        12s  tab2 breaks      -> left ann 12s
        ",
    );
}

#[test]
fn the_tab_that_changed_last_is_shown() {
    check(
        &Policy::of(Kind::Session),
        "
         0s  ann opens tab1    ->
         0s  tab1 shows red    -> joined ann online red
         0s  ann opens tab2    ->
         1s  tab2 shows blue   -> changed ann online blue
         2s  tab1 shows red    ->
         3s  tab1 shows green  -> changed ann online green
         4s  tab1 closes       -> changed ann online blue
         5s  ann opens tab3    ->
         5s  tab3 shows red    -> changed ann online red
         6s  tab2 closes       ->
         7s  tab3 closes       -> left ann 7s
        ",
    );
}

#[test]
fn a_tab_that_moves_comes_forward() {
    check(
        &Policy::of(Kind::Session),
        "
         0s  ann opens tab1    ->
         0s  tab1 shows red    -> joined ann online red
         0s  ann opens tab2    ->
         1s  tab2 shows blue   -> changed ann online blue
         2s  tab1 moves        -> changed ann online red
         3s  tab1 moves        ->
         4s  tab2 edits        ->
         5s  tab1 closes       -> changed ann online blue
        ",
    );
}

#[test]
fn the_last_update_wins_and_the_latest_of_the_others_is_next() {
    check(
        &Policy::of(Kind::Workspace),
        "
         0s  ann opens tab1      -> joined ann online
         0s  ann opens tab2      ->
         1s  tab1 says /a        -> changed ann online @/a
         2s  tab2 says /b        -> changed ann online @/b
         3s  tab2 says /b        ->
         4s  tab1 says /a        -> changed ann online @/a
         5s  ann opens tab3      ->
         6s  tab1 closes         -> changed ann online @/b
         7s  tab2 closes         -> changed ann online
         8s  tab3 closes         -> left ann 8s
        ",
    );
}

#[test]
fn heartbeats_that_repeat_themselves_do_not_take_turns() {
    check(
        &Policy::of(Kind::Event),
        "
         0s  ann beats beat1 60s      -> joined ann online
         0s  beat1 says /a            -> changed ann online @/a
         1s  ann beats beat2 60s      ->
         1s  beat2 says /b            -> changed ann online @/b
         2s  beat1 says /a            ->
         3s  beat2 says /b            ->
         4s  beat1 says /c            -> changed ann online @/c
        ",
    );
}

#[test]
fn the_most_active_tab_gives_the_status() {
    check(
        &Policy::of(Kind::Event),
        "
         0s  ann opens tab1       -> joined ann online
         0s  tab1 is away         -> changed ann away
         1s  ann opens tab2       -> changed ann online
         1s  tab2 is idle         -> changed ann idle
         2s  ann opens tab3       -> changed ann online
         2s  tab3 is typing       -> changed ann typing
         3s  tab1 is online       ->
         4s  tab3 closes          -> changed ann online
         5s  tab1 closes          -> changed ann idle
        ",
    );
}

#[test]
fn joined_and_left_of_one_user_alternate() {
    check(
        &Policy::of(Kind::Session),
        "
         0s  ann opens tab1    ->
         0s  tab1 shows red    -> joined ann online red
         1s  bob opens tab9    ->
         1s  tab9 shows blue   -> joined bob online blue
         2s  tab1 shows nothing -> left ann 2s
         2s  tab1 closes       ->
         2s  tab1 closes       ->
         2s  tab1 edits        ->
         3s  ann opens tab2    ->
         3s  tab2 shows red    -> joined ann online red
         4s  tab9 closes       -> left bob 4s
        ",
    );
}

#[test]
fn a_renewed_token_changes_the_name_and_no_more() {
    check(
        &Policy::of(Kind::Board),
        "
         0s  ann opens tab1        -> joined ann online
         0s  tab1 is idle          -> changed ann idle
         9s  tab1 is renewed red   -> changed ann idle red
         9s  tab1 is renewed red   ->
       180s  tab1 is renewed ann   -> changed ann idle
        ",
    );
}

// Idle, away, typing.

#[test]
fn whoever_does_nothing_falls_idle_and_then_away() {
    check(
        &Policy::of(Kind::Board),
        "
           0s  ann opens tab1  -> joined ann online
          10s  tab1 lives      ->
          60s                  -> changed ann idle
         170s  tab1 lives      ->
         180s                  -> changed ann away
         200s  tab1 edits      -> changed ann online
         250s  tab1 edits      ->
         310s                  -> changed ann idle
         311s  tab1 says x     -> changed ann online @x
         371s                  -> changed ann idle @x
         372s  tab1 moves      -> changed ann online @x
         432s                  -> changed ann idle @x
         433s  tab1 shows red  -> changed ann online red @x
         493s                  -> changed ann idle red @x
         494s  tab1 shows red  -> changed ann online red @x
        ",
    );
}

#[test]
fn where_nobody_falls_idle_time_changes_nothing() {
    for kind in [Kind::Session, Kind::Event, Kind::Workspace] {
        let mut roster = Roster::new(Policy::of(kind));
        enter(&mut roster, 0, 1, "ann");
        roster.show(seconds(0), SessionId(1), Some(appearance("ann")));
        while roster.poll_event().is_some() {}
        assert_eq!(roster.next_deadline(), None);
        roster.tick(seconds(1_000_000));
        assert_eq!(roster.connected()[0].appearance.status, Status::Online);
    }
}

#[test]
fn a_reported_status_stays_until_its_user_acts_or_says_otherwise() {
    check(
        &Policy::of(Kind::Board),
        "
           0s  ann opens tab1  -> joined ann online
           1s  tab1 is idle    -> changed ann idle
           2s  tab1 is idle    ->
         182s  tab1 lives      ->
         500s  tab1 edits      -> changed ann online
         501s  tab1 is away    -> changed ann away
         502s  tab1 is idle    -> changed ann idle
         503s  tab1 moves      -> changed ann online
         504s  tab1 is away    -> changed ann away
         505s  tab1 says x     -> changed ann online @x
         506s  tab1 is away    -> changed ann away @x
         507s  tab1 is online  -> changed ann online @x
         508s  tab1 is away    -> changed ann away @x
         509s  tab1 shows red  -> changed ann online red @x
         569s                  -> changed ann idle red @x
         570s  tab1 is away    -> changed ann away red @x
        ",
    );
}

#[test]
fn a_heartbeat_is_no_activity_unless_it_says_something_new() {
    check(
        &Policy::of(Kind::Board),
        "
           0s  ann beats beat1 300s  -> joined ann online
           0s  beat1 says /a         -> changed ann online @/a
          60s  ann beats beat1 300s  -> changed ann idle @/a
          61s  beat1 says /a         ->
          62s  beat1 says /b         -> changed ann online @/b
         122s                        -> changed ann idle @/b
         123s  beat1 is online       -> changed ann online @/b
        ",
    );
}

#[test]
fn a_heartbeat_is_one_change_with_all_that_comes_in_it() {
    check(
        &Policy::of(Kind::Event),
        "
          0s  ann beats beat1 60s idle @/a    -> joined ann idle @/a
          1s  ann beats beat1 60s             ->
          2s  red beats beat1 60s typing @/b  -> changed ann typing red @/b
          3s  red beats beat1 60s @/b         ->
          4s  bob opens tab2                  -> joined bob online
          5s  bob beats beat3 60s idle @/c    -> changed bob online @/c
          6s  tab2 closes                     -> changed bob idle @/c
          7s                                  -> changed ann online red @/b
         63s                                  -> expired beat1, left ann 63s
         65s                                  -> expired beat3, left bob 65s
        ",
    );
    check(
        &Policy {
            gather: Duration::from_secs(2),
            ..Policy::of(Kind::Event)
        },
        "
          0s  ann beats beat1 60s typing @/a  -> joined ann typing @/a
          1s  ann beats beat1 60s idle @/b    ->
          3s                                  -> changed ann idle @/b
        ",
    );
    // Somebody who was lost comes back, and says something else.
    check(
        &Policy::of(Kind::Board),
        "
          0s  ann opens tab1                  -> joined ann online
          1s  tab1 says x                     -> changed ann online @x
          2s  tab1 breaks                     ->
          3s  ann beats beat2 60s idle @y     -> changed ann idle @y
          4s  ann beats beat2 60s             ->
        ",
    );
}

#[test]
fn typing_ends_by_itself_five_seconds_after_it_was_last_said() {
    check(
        &Policy::of(Kind::Event),
        "
         0s     ann beats beat1 60s  -> joined ann online
         1s     beat1 is typing      -> changed ann typing
         4s     beat1 is typing      ->
         5s     beat1 says x         -> changed ann typing @x
         6s     ann beats beat1 60s  ->
         9s                          -> changed ann online @x
        10s     beat1 is typing      -> changed ann typing @x
        11s     beat1 is idle        -> changed ann idle @x
        12s     beat1 is typing      -> changed ann typing @x
        13s     beat1 is online      -> changed ann online @x
        14s     beat1 is typing      -> changed ann typing @x
        14999ms ann opens tab2       ->
        15s     beat1 closes         -> changed ann online
        ",
    );
}

#[test]
fn a_lost_typist_has_stopped_typing() {
    check(
        &Policy::of(Kind::Event),
        "
         0s  ann opens tab1  -> joined ann online
         1s  tab1 is typing  -> changed ann typing
         2s  tab1 breaks     -> changed ann online
        47s                  -> left ann 2s
        ",
    );
}

// Signs of life.

#[test]
fn a_session_that_lives_by_heartbeats_ends_exactly_when_they_have_stopped_for_long_enough() {
    check(
        &Policy::of(Kind::Event),
        "
         0s     ann beats beat1 45s    -> joined ann online
        44999ms                        ->
        44999ms ann beats beat1 45s    ->
        50s     ann beats beat1 625ms  ->
        50625ms                        -> expired beat1, left ann 50625ms
        60s     ann beats beat2 625ms  -> joined ann online
        60600ms ann beats beat2 45s    ->
        60700ms beat2 edits            ->
       105600ms                        -> expired beat2, left ann 105600ms
        ",
    );
}

#[test]
fn who_has_a_socket_and_heartbeats_is_there_until_both_are_gone() {
    for kind in [Kind::Event, Kind::Workspace] {
        check(
            &Policy::of(kind),
            "
             0s  ann beats beat8 45s  -> joined ann online
             1s  ann opens tab1       ->
            45s                       -> expired beat8
            46s  ann beats beat9 45s  ->
            50s  tab1 breaks          ->
            60s  beat9 closes         -> left ann 60s
            ",
        );
    }
}

#[test]
fn heartbeats_alone_make_somebody_present_where_sockets_have_to_show_something() {
    check(
        &Policy::of(Kind::Session),
        "
         0s  ann opens tab1       ->
         0s  ann beats beat8 45s  -> joined ann online
         1s  tab1 shows red       -> changed ann online red
        45s                       -> expired beat8
        46s  tab1 shows nothing   -> left ann 46s
        ",
    );
}

#[test]
fn what_was_due_happens_at_its_time_however_late_it_is_noticed() {
    let mut roster = Roster::new(Policy::of(Kind::Event));
    beat(&mut roster, 0, 1, "ann", 45_000);
    enter(&mut roster, 0, 2, "bob");
    roster.leave(seconds(3), SessionId(2), Ending::Lost);
    roster.tick(seconds(1000));
    let seen = |name| roster.participant(&user(name)).unwrap().last_seen;
    assert_eq!((seen("ann"), seen("bob")), (seconds(45), seconds(3)));
}

// Lingering.

#[test]
fn who_was_lost_stays_for_a_while_and_who_closed_is_gone() {
    check(
        &Policy::of(Kind::Board),
        "
           0s  ann opens tab1  -> joined ann online
           1s  tab1 edits      ->
           2s  tab1 breaks     ->
         302s                  -> left ann 2s
         303s  ann opens tab2  -> joined ann online
         304s  tab2 closes     -> left ann 304s
         305s  ann opens tab3  -> joined ann online
         306s  tab3 is over    -> left ann 306s
        ",
    );
    check(
        &Policy::of(Kind::Workspace),
        "
           0s  ann opens tab1  -> joined ann online
           2s  tab1 breaks     -> left ann 2s
        ",
    );
    check(
        &Policy::of_feed(),
        "
           0s  ann opens tab1  -> joined ann online
           2s  tab1 closes     ->
          62s                  -> left ann 2s
          63s  ann opens tab2  -> joined ann online
          64s  tab2 is over    -> left ann 64s
        ",
    );
}

#[test]
fn who_comes_back_in_time_has_never_been_away() {
    check(
        &Policy::of(Kind::Board),
        "
           0s  ann opens tab1  -> joined ann online
           0s  tab1 says x     -> changed ann online @x
          50s  tab1 breaks     ->
         349s  ann opens tab2  ->
         359s                  -> changed ann idle @x
         360s  tab2 breaks     ->
         400s  ann opens tab3  ->
         519s                  -> changed ann away @x
         520s  tab3 edits      -> changed ann online @x
         521s  tab3 is away    -> changed ann away @x
         522s  tab3 breaks     ->
         800s  ann opens tab4  ->
         801s  tab4 closes     -> left ann 801s
        ",
    );
}

#[test]
fn a_colour_from_awareness_outlasts_the_moment_without_it() {
    let mut roster = Roster::new(Policy::of(Kind::Board));
    let shown = Appearance {
        color: Color::parse("#123456").unwrap(),
        ..appearance("ann")
    };
    enter(&mut roster, 0, 1, "ann");
    roster.show(seconds(0), SessionId(1), Some(shown.clone()));
    roster.leave(seconds(1), SessionId(1), Ending::Lost);
    while roster.poll_event().is_some() {}
    enter(&mut roster, 2, 2, "ann");
    roster.show(seconds(2), SessionId(2), Some(shown));
    let changes = std::iter::from_fn(|| roster.poll_event())
        .filter(|event| matches!(event, Event::Change { .. }));
    assert_eq!(changes.count(), 0);
}

#[test]
fn of_several_tabs_only_the_end_of_the_last_counts() {
    check(
        &Policy::of(Kind::Board),
        "
           0s  ann opens tab1  -> joined ann online
           0s  ann opens tab2  ->
           1s  tab1 breaks     ->
           2s  tab2 closes     -> left ann 2s
           3s  ann opens tab3  -> joined ann online
           3s  ann opens tab4  ->
           4s  tab3 closes     ->
           5s  tab4 breaks     ->
           6s  ann opens tab5  ->
           6s  ann opens tab6  ->
           7s  tab5 closes     ->
           8s  tab6 breaks     ->
         308s                  -> left ann 8s
        ",
    );
}

#[test]
fn where_people_have_to_show_themselves_what_stays_waits_until_they_do() {
    let policy = Policy {
        linger_lost: Duration::from_secs(10),
        ..Policy::of(Kind::Session)
    };
    check(
        &policy,
        "
          0s  ann opens tab1   ->
          0s  tab1 shows red   -> joined ann online red
          1s  tab1 breaks      ->
          2s  ann opens tab2   ->
          3s  tab2 shows red   ->
          4s  tab2 shows blue  -> changed ann online blue
          5s  tab2 breaks      ->
          6s  ann opens tab3   ->
          7s  tab3 breaks      ->
          8s  ann opens tab4   ->
         15s                   -> left ann 5s
         16s  tab4 shows red   -> joined ann online red
        ",
    );
}

#[test]
fn who_is_expelled_does_not_linger_and_has_no_heartbeats_left() {
    check(
        &Policy::of(Kind::Event),
        "
          0s  ann opens tab1       -> joined ann online
          0s  bob beats beat9 45s  -> joined bob online
          1s  tab1 breaks          ->
          2s  ann is expelled      -> left ann 1s
          3s  ann beats beat2 45s  -> joined ann online
          3s  ann opens tab3       ->
          4s  ann is expelled      -> expired beat2
          5s  tab3 is over         -> left ann 5s
          6s  bob opens tab4       ->
          6s  ann opens tab5       -> joined ann online
          7s  tab5 breaks          ->
          8s  closing              -> expired beat9, left ann 7s
          9s  tab4 closes          -> left bob 9s
        ",
    );
}

// A place, and waiting for one.

#[test]
fn whoever_finds_the_room_full_waits_and_the_first_to_wait_is_the_first_let_in() {
    check(
        &board_of(1),
        "
          0s  ann opens tab1  -> joined ann online
          1s  bob opens tab2  -> queued tab2 1
          2s  cid opens tab3  -> queued tab3 2
          3s  dan opens tab4  -> queued tab4 3
          4s  ann opens tab5  ->
          5s  bob opens tab6  -> queued tab6 1
          6s  tab1 closes     ->
          7s  tab2 closes     ->
          8s  cid opens tab7  -> queued tab7 2
          9s  tab3 closes     ->
         10s  tab5 closes     -> left ann 10s, admitted tab6, joined bob online, queued tab7 1, queued tab4 2
         11s  tab6 closes     -> left bob 11s, admitted tab7, joined cid online, queued tab4 1
         12s  tab4 breaks     ->
         13s  tab7 closes     -> left cid 13s
        ",
    );
}

#[test]
fn all_tabs_of_a_waiting_user_are_let_in_together() {
    check(
        &board_of(1),
        "
          0s  ann opens tab1  -> joined ann online
          1s  bob opens tab2  -> queued tab2 1
          1s  cid opens tab3  -> queued tab3 2
          2s  bob opens tab4  -> queued tab4 1
          3s  tab1 closes     -> left ann 3s, admitted tab2, joined bob online, admitted tab4, queued tab3 1
          4s  tab2 closes     ->
          5s  tab4 closes     -> left bob 5s, admitted tab3, joined cid online
        ",
    );
}

#[test]
fn a_place_is_free_when_nobody_is_waited_for_any_more() {
    check(
        &Policy {
            idle_after: Duration::ZERO,
            away_after: Duration::ZERO,
            ..board_of(1)
        },
        "
           0s  ann opens tab1  -> joined ann online
           1s  bob opens tab2  -> queued tab2 1
           2s  tab1 breaks     ->
           3s  ann opens tab3  ->
           4s  tab3 breaks     ->
         304s                  -> left ann 4s, admitted tab2, joined bob online
         305s  ann opens tab4  -> queued tab4 1
         306s  bob is expelled ->
         307s  tab2 is over    -> left bob 307s, admitted tab4, joined ann online
        ",
    );
}

#[test]
fn who_was_let_in_after_a_long_wait_is_online() {
    check(
        &board_of(1),
        "
           0s  ann beats beat1 50s  -> joined ann online
           1s  bob opens tab2       -> queued tab2 1
          50s                       -> expired beat1, left ann 50s, admitted tab2, joined bob online
         110s                       -> changed bob idle
        ",
    );
}

#[test]
fn what_those_who_wait_do_is_nothing_to_anybody() {
    check(
        &board_of(1),
        "
           0s  ann opens tab1      -> joined ann online
           1s  bob opens tab2      -> queued tab2 1
           2s  tab2 says x         ->
           3s  tab2 is away        ->
           4s  tab2 shows red      ->
           5s  tab2 moves          ->
           6s  tab2 edits          ->
           7s  tab2 lives          ->
           8s  bob hides           ->
           9s  bob appears         ->
          10s  tab2 is renewed bo  ->
          11s  tab1 closes         -> left ann 11s, admitted tab2, joined bob online bo
        ",
    );
}

#[test]
fn who_cannot_wait_is_sent_away() {
    check(
        &board_of(1),
        "
          0s  ann opens tab1             -> joined ann online
          1s  bob opens tab2 impatiently -> full
          2s  cid opens tab3             -> queued tab3 1
          3s  bob opens tab4 impatiently -> full
          4s  cid opens tab5 impatiently -> full
          5s  dan beats beat6 45s        -> full
          6s  ann opens tab7 impatiently ->
          7s  ann beats beat8 45s        ->
        ",
    );
    check(
        &Policy {
            has_queue: false,
            ..board_of(1)
        },
        "
          0s  ann opens tab1  -> joined ann online
          1s  bob opens tab2  -> full
          2s  tab1 closes     -> left ann 2s
          3s  bob opens tab3  -> joined bob online
        ",
    );
}

#[test]
fn a_thousand_may_wait_and_no_more() {
    let mut roster = Roster::new(board_of(1));
    enter(&mut roster, 0, 0, "user-0");
    for number in 1..=QUEUE_USERS_MAX as u64 {
        let admission = enter(&mut roster, 0, number, &format!("user-{number}"));
        assert_eq!(admission, Admission::Waiting);
    }
    assert_eq!(enter(&mut roster, 1, 5000, "late"), Admission::Full);
    // Another tab of somebody who waits takes no place in the queue.
    assert_eq!(enter(&mut roster, 1, 5001, "user-7"), Admission::Waiting);
    roster.leave(seconds(2), SessionId(9), Ending::Clean);
    assert_eq!(enter(&mut roster, 3, 5002, "late"), Admission::Waiting);
    assert_eq!((roster.users(), roster.waiting()), (1, QUEUE_USERS_MAX));
}

// Hiding.

#[test]
fn who_hides_is_gone_to_all_others_until_they_appear() {
    check(
        &Policy::of(Kind::Board),
        "
          0s  ann opens tab1  -> joined ann online
          1s  tab1 says x     -> changed ann online @x
          5s  ann hides       -> left ann 5s
          5s  ann hides       ->
          6s  tab1 says y     ->
          7s  tab1 is away    ->
          8s  ann opens tab2  ->
          9s  tab1 closes     ->
         10s  ann appears     -> joined ann online
         10s  ann appears     ->
         11s  ann hides       -> left ann 11s
         12s  tab2 breaks     ->
        312s                  ->
        313s  ann opens tab3  -> joined ann online
        ",
    );
}

#[test]
fn who_hides_before_they_come_is_not_seen_coming() {
    check(
        &board_of(1),
        "
          0s  ann hides       ->
          0s  ann opens tab1  ->
          1s  bob opens tab2  -> queued tab2 1
          2s  bob hides       ->
          3s  tab1 closes     -> admitted tab2
          4s  bob appears     -> joined bob online
          5s  ann opens tab3  -> queued tab3 1
          6s  tab2 closes     -> left bob 6s, admitted tab3, joined ann online
        ",
    );
}

#[test]
fn who_hides_and_leaves_was_last_seen_when_they_hid() {
    let mut roster = Roster::new(Policy::of(Kind::Board));
    enter(&mut roster, 0, 1, "ann");
    roster.hide(seconds(5), &user("ann"), true);
    let hidden = roster.participants();
    roster.touch(seconds(6), SessionId(1));
    roster.leave(seconds(7), SessionId(1), Ending::Clean);
    assert_eq!(roster.participants(), hidden);
    assert_eq!(hidden[0].last_seen, seconds(5));
    assert!(!hidden[0].is_connected);
    // Nothing is written down either that tells when they really left.
    let seen: Vec<_> = std::iter::from_fn(|| roster.poll_event())
        .filter_map(|event| match event {
            Event::Seen(person) => Some(person.last_seen),
            _ => None,
        })
        .collect();
    assert_eq!(seen, [seconds(0), seconds(5)]);
}

#[test]
fn who_lingers_hidden_may_appear_and_leave() {
    check(
        &Policy::of(Kind::Board),
        "
          0s  ann opens tab1  -> joined ann online
          1s  ann hides       -> left ann 1s
          2s  tab1 breaks     ->
          3s  ann appears     -> joined ann online
        302s                  -> left ann 2s
        ",
    );
}

// Gathering.

#[test]
fn gathered_changes_are_told_once_counted_from_the_first() {
    check(
        &Policy::of_feed(),
        "
          0s     ann opens tab1  -> joined ann online
          1s     tab1 says a     ->
          2s     tab1 says b     ->
          2999ms tab1 says c     ->
          3s                     -> changed ann online @c
          4s     tab1 says d     ->
          5s     tab1 says c     ->
          7s     tab1 says e     ->
          8s     ann hides       -> left ann 8s
          8s     ann appears     -> joined ann online @e
          9s     tab1 says f     ->
         10s     tab1 is over    -> left ann 10s
        ",
    );
}

#[test]
fn what_is_gathered_is_in_no_list_before_it_is_told() {
    let mut roster = Roster::new(Policy::of_feed());
    enter(&mut roster, 0, 1, "ann");
    roster.report(seconds(1), SessionId(1), Some(Status::Away), None);
    assert_eq!(roster.connected()[0].appearance.status, Status::Online);
    roster.tick(seconds(3));
    assert_eq!(roster.connected()[0].appearance.status, Status::Away);
}

// What is remembered.

#[test]
fn of_someone_gone_only_who_they_are_is_kept() {
    let mut roster = Roster::new(Policy::of(Kind::Event));
    enter(&mut roster, 1, 1, "ann");
    roster.report(
        seconds(2),
        SessionId(1),
        Some(Status::Typing),
        Some("{}".into()),
    );
    roster.leave(seconds(7), SessionId(1), Ending::Clean);
    let kept = roster.participant(&user("ann")).unwrap();
    assert!(!kept.is_connected);
    assert_eq!(kept.last_seen, seconds(7));
    assert_eq!(
        kept.appearance,
        Appearance {
            status: Status::Offline,
            ..appearance("ann")
        }
    );
}

#[test]
fn of_someone_there_the_last_activity_of_any_tab_is_told() {
    let mut roster = Roster::new(Policy::of(Kind::Board));
    let seen = |roster: &Roster| roster.participant(&user("ann")).unwrap().last_seen;
    enter(&mut roster, 1, 1, "ann");
    enter(&mut roster, 2, 2, "ann");
    assert_eq!(seen(&roster), seconds(2));
    roster.touch(seconds(3), SessionId(1));
    roster.beat(seconds(4), SessionId(2), None);
    roster.leave(seconds(5), SessionId(1), Ending::Clean);
    assert_eq!(seen(&roster), seconds(3));
    roster.leave(seconds(6), SessionId(2), Ending::Lost);
    assert_eq!(seen(&roster), seconds(3), "who lingers is there");
    enter(&mut roster, 7, 3, "ann");
    assert_eq!(seen(&roster), seconds(3), "coming back is no activity");
}

#[test]
fn the_connected_come_first_and_then_the_latest_seen() {
    let mut roster = Roster::new(Policy::of(Kind::Event));
    for (place, name) in ["cid", "ann", "bob", "dan"].into_iter().enumerate() {
        enter(&mut roster, 1, place as u64, name);
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
    let mut roster = Roster::new(Policy::of(Kind::Session));
    let count = OFFLINE_PARTICIPANTS_MAX as u64 + 10;
    for number in 0..count {
        let name = format!("user-{number}");
        enter(&mut roster, number, number, &name);
        let session = SessionId(number);
        roster.show(seconds(number), session, Some(appearance(&name)));
        roster.leave(seconds(number), session, Ending::Clean);
    }
    let participants = roster.participants();
    assert_eq!(participants.len(), OFFLINE_PARTICIPANTS_MAX);
    assert_eq!(participants[0].user, user(&format!("user-{}", count - 1)));
    assert_eq!(roster.participant(&user("user-9")), None);
    assert!(roster.participant(&user("user-10")).is_some());
}

#[test]
fn a_workspace_remembers_nobody() {
    let mut roster = Roster::new(Policy::of(Kind::Workspace));
    enter(&mut roster, 0, 1, "ann");
    roster.leave(seconds(1), SessionId(1), Ending::Lost);
    assert_eq!(roster.participants(), []);
}

#[test]
fn those_remembered_from_before_are_offline_unless_they_are_here() {
    let mut roster = Roster::new(Policy::of(Kind::Board));
    enter(&mut roster, 100, 1, "ann");
    enter(&mut roster, 100, 2, "bob");
    enter(&mut roster, 100, 4, "eve");
    roster.hide(seconds(100), &user("eve"), true);
    roster.leave(seconds(101), SessionId(2), Ending::Clean);
    let before = |name: &str| Participant::gone(user(name), appearance(name), seconds(9));
    roster.remember(["ann", "bob", "cid", "eve"].map(before).to_vec());
    let list: Vec<_> = roster
        .participants()
        .into_iter()
        .map(|one| (one.user.to_string(), one.is_connected, one.last_seen))
        .collect();
    let line = |name: &str, is_connected, at| (name.to_owned(), is_connected, seconds(at));
    assert_eq!(
        list,
        [
            line("ann", true, 100),
            line("bob", false, 101),
            line("eve", false, 100),
            line("cid", false, 9),
        ]
    );
    enter(&mut roster, 102, 3, "cid");
    roster.leave(seconds(103), SessionId(3), Ending::Clean);
    let cid = roster.participant(&user("cid")).unwrap();
    assert_eq!(cid.last_seen, seconds(103));
}

#[test]
fn that_somebody_was_seen_is_said_when_they_come_and_go_and_once_a_minute() {
    check_written(
        &Policy::of(Kind::Event),
        "
          0s  ann opens tab1  -> seen ann 0s
         59s  tab1 edits      ->
         60s  tab1 edits      -> seen ann 60s
         61s  tab1 lives      ->
         90s  tab1 says x     ->
        120s  tab1 lives      -> seen ann 120s
        200s  ann opens tab2  -> seen ann 200s
        201s  tab1 closes     ->
        202s  tab2 closes     -> seen ann 202s
        ",
    );
    for kind in [Kind::Session, Kind::Workspace] {
        check_written(
            &Policy::of(kind),
            "
              0s  ann opens tab1  ->
              0s  tab1 shows red  ->
             61s  tab1 edits      ->
             62s  tab1 closes     ->
            ",
        );
    }
}

#[test]
fn sessions_of_boards_are_written_down_when_they_change_and_now_and_then() {
    let policy = Policy {
        memory: LastSeen::WhileLoaded,
        ..board_of(1)
    };
    check_written(
        &policy,
        "
           0s  ann opens tab1  -> tab1 online alive 0s
           1s  ann opens tab2  -> tab2 online alive 1s
           2s  bob opens tab9  ->
          14s  tab1 lives      ->
          15s  tab1 lives      -> tab1 online alive 15s
          16s  tab1 is idle    -> tab1 idle alive 16s
          17s  tab1 edits      -> tab1 online alive 17s
          18s  tab1 says x     ->
          32s  tab1 says y     -> tab1 online alive 32s @y
          61s                  -> tab2 idle alive 1s
          62s  tab2 closes     -> tab2 idle alive 1s ended 62s
          63s  tab1 breaks     ->
         100s  ann opens tab3  -> tab1 online alive 32s @y ended 63s, tab3 online alive 100s @y
         101s  tab3 closes     -> tab3 online alive 100s @y ended 101s, tab9 online alive 101s
         102s  tab9 breaks     ->
         402s                  -> tab9 online alive 101s ended 102s
        ",
    );
}

#[test]
fn hiding_is_nothing_to_the_table_of_sessions() {
    let policy = Policy {
        memory: LastSeen::WhileLoaded,
        ..board_of(1)
    };
    check_written(
        &policy,
        "
           0s  ann opens tab1  -> tab1 online alive 0s
           1s  ann hides       ->
           2s  tab1 closes     -> tab1 online alive 0s ended 2s
        ",
    );
}

// Colours.

/// As others see those who are there.
fn colors(roster: &Roster) -> Vec<(String, Color)> {
    let connected = roster.connected().into_iter();
    let of = |one: Participant| (one.user.to_string(), one.appearance.color);
    connected.map(of).collect()
}

fn color_of(roster: &Roster, name: &str) -> Option<Color> {
    let colors = colors(roster);
    colors
        .into_iter()
        .find(|(user, _)| user == name)
        .map(|(_, color)| color)
}

/// Users whose ids give them a colour of this hue.
fn users_of_hue(hue: usize) -> impl Iterator<Item = String> {
    let names = (0..).map(|number| format!("user-{number}"));
    names.filter(move |name| Color::of_user(&user(name)).hue() == Some(hue))
}

#[test]
fn on_a_board_no_two_are_alike_while_there_are_hues() {
    let mut roster = Roster::new(Policy::of(Kind::Board));
    // The worst that can be: ids that all give the same hue.
    let names: Vec<String> = users_of_hue(5).take(Color::HUES + 2).collect();
    for (number, name) in names.iter().enumerate() {
        enter(&mut roster, 0, number as u64, name);
        let own = Color::of_user(&user(name));
        let shown = color_of(&roster, name).unwrap();
        if number == 0 || Color::HUES <= number {
            assert_eq!(shown, own);
        } else {
            assert_eq!(shown, Color::of_hue(5 + number));
        }
    }
    let hues = |roster: &Roster| -> std::collections::BTreeSet<usize> {
        colors(roster)
            .iter()
            .filter_map(|(_, color)| color.hue())
            .collect()
    };
    assert_eq!(hues(&roster).len(), Color::HUES);
    // They keep what they have until they leave, whoever else goes; then it is free.
    let before = colors(&roster);
    roster.leave(seconds(1), SessionId(3), Ending::Clean);
    let stayed: Vec<_> = before
        .into_iter()
        .filter(|(name, _)| *name != names[3])
        .collect();
    let mut now = colors(&roster);
    now.sort_by_key(|(name, _)| stayed.iter().position(|(other, _)| other == name));
    assert_eq!(now, stayed);
    enter(&mut roster, 2, 100, &names[3]);
    assert_eq!(color_of(&roster, &names[3]), Some(Color::of_hue(5 + 3)));
    // Lost and back is not left.
    roster.leave(seconds(3), SessionId(100), Ending::Lost);
    assert_eq!(color_of(&roster, &names[3]), Some(Color::of_hue(5 + 3)));
    enter(&mut roster, 4, 101, &names[3]);
    assert_eq!(color_of(&roster, &names[3]), Some(Color::of_hue(5 + 3)));
}

#[test]
fn a_chosen_colour_is_never_another_and_keeps_others_off_its_hue() {
    let mut roster = Roster::new(Policy::of(Kind::Board));
    let names: Vec<String> = users_of_hue(5).take(3).collect();
    let chosen = Color::parse(&Color::of_hue(5).to_string()).unwrap();
    let entering = |name: &str, color| Entering {
        user: user(name),
        identity: Appearance {
            color,
            ..appearance(name)
        },
        may_wait: true,
        lasts: None,
    };
    for (number, name) in names[..2].iter().enumerate() {
        roster.enter(seconds(0), SessionId(number as u64), entering(name, chosen));
        assert_eq!(color_of(&roster, name), Some(chosen));
    }
    enter(&mut roster, 1, 2, &names[2]);
    assert_eq!(color_of(&roster, &names[2]), Some(Color::of_hue(6)));
    // By an awareness state as well; and whoever takes their choice back is given one.
    let mine = Color::parse("#00ff00").unwrap();
    let shows = Appearance {
        color: mine,
        ..appearance(&names[2])
    };
    roster.show(seconds(2), SessionId(2), Some(shows));
    assert_eq!(color_of(&roster, &names[2]), Some(mine));
    roster.show(seconds(3), SessionId(2), None);
    assert_eq!(color_of(&roster, &names[2]), Some(Color::of_hue(6)));
    // Elsewhere everybody has the colour of their id.
    let mut room = Roster::new(Policy::of(Kind::Event));
    for (number, name) in names.iter().enumerate() {
        enter(&mut room, 0, number as u64, name);
        assert_eq!(color_of(&room, name), Some(Color::of_user(&user(name))));
    }
}

#[test]
fn that_a_colour_is_taken_tells_nothing_of_who_hides() {
    let mut roster = Roster::new(Policy::of(Kind::Board));
    let names: Vec<String> = users_of_hue(5).take(2).collect();
    enter(&mut roster, 0, 0, &names[0]);
    roster.hide(seconds(1), &user(&names[0]), true);
    enter(&mut roster, 2, 1, &names[1]);
    assert_eq!(
        color_of(&roster, &names[1]),
        Some(Color::of_user(&user(&names[1])))
    );
    roster.hide(seconds(3), &user(&names[0]), false);
    assert_eq!(color_of(&roster, &names[0]), Some(Color::of_hue(6)));
    assert_eq!(
        color_of(&roster, &names[1]),
        Some(Color::of_user(&user(&names[1])))
    );
}

// The words of timelines.

/// Plays a timeline and compares what is told of people and places.
fn check(policy: &Policy, timeline: &str) {
    play(policy, timeline, |event| match event {
        Event::Record(_) | Event::Seen(_) | Event::Attendance { .. } => None,
        Event::Change { .. } | Event::Admitted(_) | Event::Queued { .. } | Event::Expired(_) => {
            Some(in_words(event))
        }
    });
}

/// Plays a timeline and compares what is to be written down.
fn check_written(policy: &Policy, timeline: &str) {
    play(policy, timeline, |event| match event {
        Event::Record(_) | Event::Seen(_) => Some(in_words(event)),
        Event::Change { .. }
        | Event::Admitted(_)
        | Event::Queued { .. }
        | Event::Expired(_)
        | Event::Attendance { .. } => None,
    });
}

fn play(policy: &Policy, timeline: &str, told: impl Fn(Event) -> Option<String>) {
    let mut roster = Roster::new(policy.clone());
    let lines = timeline.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty()) {
        let (happens, expected) = line.split_once("->").unwrap();
        let words: Vec<_> = happens.split_whitespace().collect();
        let now = Timestamp::ZERO + span(words[0]);
        while let Some(due) = roster.next_deadline().filter(|&due| due < now) {
            roster.tick(due);
            let early: Vec<_> = std::iter::from_fn(|| roster.poll_event())
                .filter_map(&told)
                .collect();
            assert!(early.is_empty(), "{early:?} at {due} before {line:?}");
        }
        roster.tick(now);
        let mut heard: Vec<_> = std::iter::from_fn(|| roster.poll_event()).collect();
        let (entered, admission) = happen(&mut roster, now, &words[1..]);
        heard.extend(
            // Who is let in at once is known by the answer.
            std::iter::from_fn(|| roster.poll_event())
                .filter(|event| *event != Event::Admitted(entered)),
        );
        let mut words: Vec<_> = heard.into_iter().filter_map(&told).collect();
        if admission == Some(Admission::Full) {
            words.push("full".to_owned());
        }
        assert_eq!(words.join(", "), expected.trim(), "at {line:?}");
    }
}

/// Lets one thing happen; answers with the session, if one entered, and how that ended.
fn happen(roster: &mut Roster, now: Timestamp, words: &[&str]) -> (SessionId, Option<Admission>) {
    let nobody = SessionId(u64::MAX);
    match *words {
        [] => {}
        [who, "opens", tab] | [who, "opens", tab, "impatiently"] => {
            let entering = Entering {
                user: user(who),
                identity: appearance(who),
                may_wait: words.len() == 3,
                lasts: None,
            };
            let admission = roster.enter(now, session(tab), entering);
            return (session(tab), Some(admission));
        }
        [who, "beats", tab, lasts, ref saying @ ..] => {
            let entering = Entering {
                user: user(who),
                identity: appearance(who),
                may_wait: false,
                lasts: Some(span(lasts)),
            };
            let mut said = Saying::default();
            for word in saying {
                match word.strip_prefix('@') {
                    Some(data) => said.data = Some(data.into()),
                    None => said.status = Some(status(word)),
                }
            }
            let id = session(tab);
            return (id, Some(roster.heartbeat(now, id, entering, said)));
        }
        [tab, "closes"] => roster.leave(now, session(tab), Ending::Clean),
        [tab, "breaks"] => roster.leave(now, session(tab), Ending::Lost),
        [tab, "is", "over"] => roster.leave(now, session(tab), Ending::Over),
        [who, "is", "expelled"] => roster.expel(now, &user(who)),
        ["closing"] => roster.close(now),
        [who, "hides"] => roster.hide(now, &user(who), true),
        [who, "appears"] => roster.hide(now, &user(who), false),
        [tab, "is", "renewed", name] => roster.renew(now, session(tab), appearance(name)),
        [tab, "is", name] => roster.report(now, session(tab), Some(status(name)), None),
        [tab, "says", data] => roster.report(now, session(tab), None, Some(data.into())),
        [tab, "shows", "nothing"] => roster.show(now, session(tab), None),
        [tab, "shows", name] => roster.show(now, session(tab), Some(appearance(name))),
        [tab, "moves"] => roster.bring_forward(now, session(tab)),
        [tab, "edits"] => roster.touch(now, session(tab)),
        [tab, "lives"] => roster.beat(now, session(tab), None),
        _ => panic!("what is {words:?}?"),
    }
    (nobody, None)
}

fn in_words(event: Event) -> String {
    let time = |at: Timestamp| match at.as_millis() {
        millis if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    };
    let data = |data: Option<&str>| data.map_or_else(String::new, |data| format!(" @{data}"));
    match event {
        Event::Change { change, .. } => {
            let verb = match &*change {
                Change::Joined(_) => "joined",
                Change::Changed { .. } => "changed",
                Change::Left(after) => {
                    return format!("left {} {}", after.user, time(after.last_seen));
                }
            };
            let Participant {
                user, appearance, ..
            } = change.participant();
            let name = match *appearance.name == *user.as_str() {
                true => String::new(),
                false => format!(" {}", appearance.name),
            };
            let status = appearance.status.name();
            let data = data(appearance.data.as_deref());
            format!("{verb} {user} {status}{name}{data}")
        }
        Event::Admitted(session) => format!("admitted tab{}", session.0),
        Event::Queued { session, position } => format!("queued tab{} {position}", session.0),
        Event::Expired(session) => format!("expired beat{}", session.0),
        Event::Attendance { user, is_here } => {
            format!("{user} {}", if is_here { "is here" } else { "is not here" })
        }
        Event::Record(record) => {
            let ended = record
                .disconnected_at
                .map_or_else(String::new, |at| format!(" ended {}", time(at)));
            format!(
                "tab{} {} alive {}{}{ended}",
                record.session.0,
                record.status.name(),
                time(record.last_heartbeat_at),
                data(record.data.as_deref()),
            )
        }
        Event::Seen(person) => format!("seen {} {}", person.user, time(person.last_seen)),
    }
}

fn enter(roster: &mut Roster, at: u64, session: u64, name: &str) -> Admission {
    let entering = Entering {
        user: user(name),
        identity: appearance(name),
        may_wait: true,
        lasts: None,
    };
    roster.enter(seconds(at), SessionId(session), entering)
}

fn beat(roster: &mut Roster, at: u64, session: u64, name: &str, lasts_millis: u64) -> Admission {
    let entering = Entering {
        user: user(name),
        identity: appearance(name),
        may_wait: false,
        lasts: Some(Duration::from_millis(lasts_millis)),
    };
    roster.enter(seconds(at), SessionId(session), entering)
}

fn board_of(capacity: usize) -> Policy {
    Policy {
        capacity,
        ..Policy::of(Kind::Board)
    }
}

fn status(name: &str) -> Status {
    let is_named = |other: &Status| other.name() == name;
    let status = Status::BY_ACTIVITY.into_iter().find(is_named);
    status.unwrap_or_else(|| panic!("what is {name:?}?"))
}

fn session(tab: &str) -> SessionId {
    let number = tab.trim_start_matches(char::is_alphabetic);
    SessionId(number.parse().unwrap())
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// The colour is told by the name, so that timelines can be read; green is one that somebody chose.
fn appearance(name: &str) -> Appearance {
    let chosen = (name == "green").then(|| Color::parse("#00ff00")).flatten();
    Appearance {
        name: name.into(),
        avatar: None,
        role: None,
        color: chosen.unwrap_or(Color::of_user(&user(name))),
        status: Status::Online,
        data: None,
    }
}

fn span(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => Duration::from_secs(text.trim_end_matches('s').parse().unwrap()),
    }
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1000 * seconds)
}
