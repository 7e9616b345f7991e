//! Timelines of the feed: what each rule of the contract means, at exact times.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use super::*;

#[test]
fn a_follower_hears_what_changed_and_a_stranger_nothing() {
    check(
        "
         0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
         0s  cid1 login              -> seen cid 0s, cid1 hello, cid1 sync
         1s  ann1 login              -> seen ann 1s, bob1 o ann Online Idle, ann1 hello, ann1 sync
         2s  ann1 says a=Coding      ->
         4s  tick                    -> bob1 u ann a=Coding
        ",
    );
}

#[test]
fn changes_are_gathered_for_two_seconds_from_the_first() {
    check(
        "
         0s    ann1 login                  -> seen ann 0s, ann1 hello, ann1 sync
         0s    bob1 login follows ann      -> seen bob 0s, bob1 hello, bob1 sync ann:Online:Idle
         1s    ann1 says a=Coding p=relay  ->
         2.9s  ann1 says l=Rust s=Away     ->
         3s    tick                        -> bob1 u ann s=Away a=Coding p=relay l=Rust
         4s    ann1 says p=feed            ->
         5s    ann1 says p=relay           ->
         6s    tick                        ->
         6s    ann1 says p=feed            ->
         7.9s  ann1 says p=rooms           ->
         8s    tick                        -> bob1 u ann p=rooms
        ",
    );
}

#[test]
fn coming_and_going_are_told_at_once_and_take_along_what_waits() {
    check(
        "
         0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
         1s  ann1 login              -> seen ann 1s, bob1 o ann Online Idle, ann1 hello, ann1 sync
         2s  ann1 says a=Coding      ->
         3s  ann1 logout             -> seen ann 3s, bob1 x ann 3s
         9s  ann2 login              -> seen ann 9s, bob1 o ann Online Idle, ann2 hello, ann2 sync
        ",
    );
}

#[test]
fn newcomers_see_what_followers_have_been_told() {
    check(
        "
         0s  ann1 login              -> seen ann 0s, ann1 hello, ann1 sync
         1s  ann1 says a=Coding      ->
         2s  bob1 login follows ann  -> seen bob 2s, bob1 hello, bob1 sync ann:Online:Idle
         2s  cid1 login              -> seen cid 2s, cid1 hello, cid1 sync
         2s  cid follows ann         -> cid1 o ann Online Idle
         3s  tick                    -> bob1,cid1 u ann a=Coding
        ",
    );
}

#[test]
fn five_minutes_without_an_update_are_away() {
    check(
        "
           0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
         200s  ann1 says               ->
         301s  bob1 says               ->
         500s  tick                    ->
         502s  tick                    -> bob1 u ann s=Away
         600s  ann1 says               ->
         602s  tick                    -> bob1 u ann s=Online
         603s  ann1 says s=Away        ->
         605s  tick                    -> bob1 u ann s=Away
         606s  ann1 says a=Coding      ->
         608s  tick                    -> bob1 u ann a=Coding
        ",
    );
}

#[test]
fn whoever_is_revoked_is_gone_at_once_with_all_windows_and_cannot_resume() {
    check(
        "
          0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
          0s  ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
          1s  ann2 login              -> ann2 hello, ann2 sync
          2s  ann1 closes             ->
          3s  ann is revoked          -> seen ann 3s, bob1 x ann 3s
          3s  ann2 closes             ->
          4s  ann is revoked          ->
          4s  cid is revoked          ->
          5s  ann3 login resume ann1  -> ann3 hello, ann3 sync
        5.1s  tick                    -> seen ann 5.1s, bob1 o ann Online Idle
        ",
    );
}

#[test]
fn the_most_active_window_is_shown() {
    check(
        "
          0s  bob1 login follows ann    -> seen bob 0s, bob1 hello, bob1 sync ann:never
          0s  ann1 login                -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
          0s  ann2 login                -> ann2 hello, ann2 sync
          1s  ann1 says a=Coding p=one  ->
          3s  tick                      -> bob1 u ann a=Coding p=one
          4s  ann2 says a=Coding p=two  ->
          6s  tick                      -> bob1 u ann p=two
          7s  ann1 says                 ->
          9s  tick                      -> bob1 u ann p=one
         10s  ann2 says a=Debugging     ->
         12s  tick                      -> bob1 u ann a=Debugging p=two
         13s  ann1 says a=Reading       ->
         15s  tick                      ->
         16s  ann2 says a=Idle          ->
         18s  tick                      -> bob1 u ann a=Reading p=one
         19s  ann1 says s=Away          ->
         21s  tick                      ->
         22s  ann2 says s=Away          ->
         24s  tick                      -> bob1 u ann s=Away
         25s  ann1 logout               ->
         27s  tick                      -> bob1 u ann a=Idle p=two
        ",
    );
}

#[test]
fn invisible_in_any_window_is_offline_at_once() {
    check(
        "
           0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
           0s  ann2 login              -> ann2 hello, ann2 sync
           1s  ann2 says a=Coding      ->
           2s  ann1 says s=Invisible   -> hidden ann, seen ann 2s, bob1 x ann 2s
           3s  ann2 says a=Debugging   ->
          30s  cid1 login follows ann  -> seen cid 30s, cid1 hello, cid1 sync ann:2s
          40s  ann1 says s=Online      -> shown ann, seen ann 40s, bob1,cid1 o ann Online Debugging
          41s  ann1 says s=Invisible   -> hidden ann, seen ann 41s, bob1,cid1 x ann 41s
          50s  ann1 is lost            ->
         110s  tick                    -> shown ann, seen ann 110s, bob1,cid1 o ann Online Debugging
        ",
    );
}

#[test]
fn what_the_invisible_do_is_told_to_nobody() {
    check(
        "
           0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
           0s  ann2 login              -> ann2 hello, ann2 sync
           5s  ann1 says s=Invisible   -> hidden ann, seen ann 5s, bob1 x ann 5s
           6s  ann3 login              -> ann3 hello unseen, ann3 sync
           7s  ann3 logout             ->
          20s  ann2 closes             ->
          30s  ann1 logout             -> shown ann
          30s  cid1 login follows ann  -> seen cid 30s, cid1 hello, cid1 sync ann:5s
          80s  tick                    ->
          81s  dan1 login follows ann  -> seen dan 81s, dan1 hello, dan1 sync ann:5s
        ",
    );
}

#[test]
fn a_window_that_closed_while_hidden_comes_back_with_its_connection() {
    check(
        "
           0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
           0s  ann2 login              -> ann2 hello, ann2 sync
           5s  ann1 says s=Invisible   -> hidden ann, seen ann 5s, bob1 x ann 5s
          20s  ann2 closes             ->
          30s  ann1 logout             -> shown ann
          40s  ann4 login resume ann2  -> ann4 hello resumed
          40.1s tick                   -> seen ann 40.1s, bob1 o ann Online Idle
        ",
    );
}

#[test]
fn an_invisible_window_comes_back_invisible() {
    check(
        "
           0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
           1s  ann1 says s=Invisible   -> hidden ann, seen ann 1s, bob1 x ann 1s
           9s  ann1 closes             ->
          20s  ann2 login resume ann1  -> ann2 hello resumed unseen
          30s  ann2 closes             ->
          90s  tick                    -> shown ann
        ",
    );
}

#[test]
fn who_comes_in_invisible_is_told_to_nobody() {
    check(
        "
           0s    bob1 login follows ann                  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           1s    ann1 login s=Invisible a=Coding         -> hidden ann, ann1 hello unseen, ann1 sync
           2s    ann1 logout                             -> shown ann
           9s    ann2 login quietly                      -> ann2 hello, ann2 sync
           9.05s ann2 says s=Invisible                   -> hidden ann
          20s    ann2 says s=Away                        -> shown ann, seen ann 20s, bob1 o ann Away Idle
          21s    ann2 says s=Invisible                   -> hidden ann, seen ann 21s, bob1 x ann 21s
          30s    ann3 login s=Online                     -> ann3 hello unseen, ann3 sync
          40s    ann2 logout                             -> shown ann, seen ann 40s, bob1 o ann Online Idle
          41s    ann4 login s=Invisible follows bob      -> hidden ann, seen ann 41s, bob1 x ann 41s, ann4 hello unseen, ann4 sync bob:Online:Idle
        ",
    );
}

#[test]
fn what_comes_right_behind_a_login_counts_as_in_it() {
    check(
        "
           0s    bob1 login follows ann    -> seen bob 0s, bob1 hello, bob1 sync ann:never
           1s    ann1 login quietly p=one  -> ann1 hello, ann1 sync
           1.05s ann1 says a=Coding        ->
           1.06s ann1 says s=Online        ->
           1.07s cid1 login follows ann    -> seen cid 1.07s, cid1 hello, cid1 sync ann:never
           1.1s  tick                      -> seen ann 1.1s, bob1,cid1 o ann Online Coding
           2s    ann2 login quietly        -> ann2 hello, ann2 sync
           3s    ann1 logout               ->
           4s    ann2 logout               -> seen ann 4s, bob1,cid1 x ann 4s
           5s    ann3 login s=Away l=Rust  -> seen ann 5s, bob1,cid1 o ann Away Idle, ann3 hello as Away, ann3 sync
        ",
    );
}

#[test]
fn who_is_gone_before_they_were_seen_was_never_there() {
    check(
        "
           0s    bob1 login follows ann       -> seen bob 0s, bob1 hello, bob1 sync ann:never
           1s    ann1 login quietly           -> ann1 hello, ann1 sync
           1.05s ann1 closes                  ->
          10s    ann2 login resume ann1       -> ann2 hello resumed
          10.05s ann2 says s=Invisible        -> hidden ann
          20s    ann3 login quietly           -> ann3 hello unseen, ann3 sync
          20.05s ann2 says s=Online           -> shown ann
          20.06s ann3 closes                  -> seen ann 20.06s, bob1 o ann Online Idle
        ",
    );
}

#[test]
fn a_resume_says_how_the_window_goes_on() {
    check(
        "
          0s  bob1 login follows ann                       -> seen bob 0s, bob1 hello, bob1 sync ann:never
          0s  ann1 login                                   -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
          1s  ann1 closes                                  ->
          2s  ann2 login resume ann1 a=Coding              -> ann2 hello resumed
          4s  tick                                         -> bob1 u ann a=Coding
          5s  ann2 closes                                  ->
          6s  ann3 login resume ann2 s=Invisible           -> hidden ann, seen ann 6s, bob1 x ann 6s, ann3 hello resumed unseen
          7s  ann3 closes                                  ->
         20s  ann4 login resume ann3 s=Online a=Debugging  -> shown ann, seen ann 20s, bob1 o ann Online Debugging, ann4 hello resumed
        ",
    );
}

#[test]
fn hiding_is_at_once_and_showing_again_now_and_then() {
    check(
        "
          0s    bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
          0s    ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
          1s    ann1 says s=Invisible   -> hidden ann, seen ann 1s, bob1 x ann 1s
          1.1s  ann1 says s=Online      -> shown ann, seen ann 1.1s, bob1 o ann Online Idle
          1.2s  ann1 says s=Invisible   -> hidden ann, seen ann 1.2s, bob1 x ann 1.2s
          1.3s  ann1 says s=Online      ->
          1.4s  ann1 says s=Invisible   ->
          1.5s  ann1 says s=Online      ->
          1.6s  cid1 login follows ann  -> seen cid 1.6s, cid1 hello, cid1 sync ann:1.2s
          1.7s  ann2 login              -> ann2 hello unseen, ann2 sync
          3.1s  tick                    -> shown ann, seen ann 3.1s, bob1,cid1 o ann Online Idle
          4s    ann1 says s=Invisible   -> hidden ann, seen ann 4s, bob1,cid1 x ann 4s
          4.1s  ann1 logout             ->
          4.2s  ann2 logout             ->
          5.1s  tick                    -> shown ann
        ",
    );
}

#[test]
fn whoever_appears_and_hides_all_the_time_is_told_of_now_and_then() {
    let mut feed = Feed::new(&Policy::of_feed());
    let ann = ConnectionId(1);
    feed.handle(seconds(0.0), login(ann, "ann", &[], &[], None, 1));
    let bob = login(ConnectionId(2), "bob", &["ann"], &[], None, 2);
    feed.handle(seconds(0.0), bob);
    while feed.poll_output().is_some() {}
    let mut told = 0;
    for number in 0..10_000_u32 {
        let said = Some(match number % 2 {
            0 => Said::Invisible,
            _ => Said::Online,
        });
        let update = Update {
            said,
            ..Update::default()
        };
        let now = seconds(f64::from(number) / 1_000.0);
        feed.handle(
            now,
            Input::Update {
                window: ann,
                update,
            },
        );
        while let Some(output) = feed.poll_output() {
            told += u32::from(matches!(output, Output::Hidden { .. }));
        }
    }
    // Ten seconds: once at the beginning, and then every two.
    assert!((8..=12).contains(&told), "{told}");
}

#[test]
fn a_closed_window_stays_for_a_minute() {
    check(
        "
           0s    bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s    ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
           0s    ann2 login              -> ann2 hello, ann2 sync
           1s    ann1 says a=Coding      ->
           3s    tick                    -> bob1 u ann a=Coding
          10s    ann1 closes             ->
          40s    ann2 is lost            ->
          70s    tick                    ->
          72s    tick                    -> bob1 u ann a=Idle
          99.9s  cid1 login follows ann  -> seen cid 99.9s, cid1 hello, cid1 sync ann:Online:Idle
         100s    tick                    -> seen ann 40s, bob1,cid1 x ann 40s
        ",
    );
}

#[test]
fn a_lingering_window_keeps_its_status() {
    check(
        "
           0s  bob1 login follows ann  -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
         200s  bob1 says               ->
         290s  ann1 closes             ->
         302s  tick                    ->
         310s  ann2 login resume ann1  -> ann2 hello resumed
         312s  tick                    -> bob1 u ann s=Away
        ",
    );
}

#[test]
fn a_resume_is_silent_and_brings_what_was_missed() {
    check(
        "
          0s  bob1 login follows ann,cid,dan,eve,zoe        -> seen bob 0s, bob1 hello, bob1 sync ann:never cid:never dan:never eve:never zoe:1s
          0s  amy1 login follows bob                        -> seen amy 0s, amy1 hello, amy1 sync bob:Online:Idle
          0s  ann1 login                                    -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
          0s  cid1 login                                    -> seen cid 0s, bob1 o cid Online Idle, cid1 hello, cid1 sync
          0s  eve1 login                                    -> seen eve 0s, bob1 o eve Online Idle, eve1 hello, eve1 sync
          1s  bob1 is lost                                  ->
          2s  ann1 says a=Coding                            ->
          4s  tick                                          ->
          5s  ann1 says p=unsent                            ->
          5s  cid1 logout                                   -> seen cid 5s
          5s  dan1 login                                    -> seen dan 5s, dan1 hello, dan1 sync
          5s  eve1 says a=Coding                            ->
          6s  eve1 says a=Idle                              ->
          6s  bob2 login follows ann,cid,dan,eve,zoe resume bob1 -> bob2 hello resumed, bob2 u ann a=Coding, bob2 x cid 5s, bob2 o dan Online Idle
          7s  tick                                          -> bob2 u ann p=unsent
         70s  tick                                          ->
        ",
    );
}

#[test]
fn whoever_may_have_missed_something_is_told_everything_again() {
    check(
        "
          0s  ann1 login                      -> seen ann 0s, ann1 hello, ann1 sync
          0s  bob1 login follows ann,zoe      -> seen bob 0s, bob1 hello, bob1 sync ann:Online:Idle zoe:1s
          1s  bob1 is stuck                   ->
          2s  bob2 login follows ann,zoe resume bob1  -> bob2 hello resumed, bob2 o ann Online Idle, bob2 x zoe 1s
        ",
    );
}

#[test]
fn a_resume_goes_by_the_follows_of_now() {
    check(
        "
          0s  ann1 login                                    -> seen ann 0s, ann1 hello, ann1 sync
          0s  bob1 login follows ann,cid                    -> seen bob 0s, bob1 hello, bob1 sync ann:Online:Idle cid:never
          1s  bob1 is lost                                  ->
          2s  bob follows only ann,dan                      ->
          3s  bob2 login follows ann,dan claims zoe resume bob1 -> bob2 hello resumed, bob2 x dan never, bob2 x zoe 1s
          4s  cid1 login                                    -> seen cid 4s, cid1 hello, cid1 sync
          5s  dan1 login                                    -> seen dan 5s, bob2 o dan Online Idle, dan1 hello, dan1 sync
        ",
    );
}

#[test]
fn a_resume_token_is_good_once_for_its_user_and_for_a_minute() {
    check(
        "
           0s  bob1 login follows ann    -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login                -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync
           1s  ann1 closes               ->
           2s  eve1 login resume ann1 s=Online -> seen eve 2s, eve1 hello, eve1 sync
           3s  ann2 login resume ann1    -> ann2 hello resumed
           4s  ann3 login resume ann1    -> ann3 hello, ann3 sync
           5s  ann2 closes               ->
           6s  ann3 logout               ->
          65s  ann4 login resume ann2 s=Online -> seen ann 6s, bob1 x ann 6s, seen ann 65s, bob1 o ann Online Idle, ann4 hello, ann4 sync
          66s  ann5 login resume nobody  -> ann5 hello, ann5 sync
          67s  ann5 logout               ->
          68s  ann6 login resume ann5    -> ann6 hello, ann6 sync
        ",
    );
}

#[test]
fn a_resume_while_the_old_connection_is_open_replaces_it() {
    check(
        "
           0s  bob1 login follows ann              -> seen bob 0s, bob1 hello, bob1 sync ann:never
           0s  ann1 login follows bob              -> seen ann 0s, bob1 o ann Online Idle, ann1 hello, ann1 sync bob:Online:Idle
           1s  ann1 says a=Coding                  ->
           2s  ann2 login follows bob resume ann1  -> replaced ann1, ann2 hello resumed
           2s  ann1 says a=Debugging               ->
           2s  ann1 closes                         ->
           3s  tick                                -> bob1 u ann a=Coding
           4s  bob1 says a=Coding                  ->
           6s  tick                                -> ann2 u bob a=Coding
          90s  ann2 logout                         -> seen ann 90s, bob1 x ann 90s
        ",
    );
}

#[test]
fn follows_change_while_connected() {
    check(
        "
          0s  ann1 login                 -> seen ann 0s, ann1 hello, ann1 sync
          0s  bob1 login claims cid,zoe  -> seen bob 0s, bob1 hello, bob1 sync cid:never zoe:1s
          0s  bob2 login                 -> bob2 hello, bob2 sync
          1s  bob follows ann            -> bob1 o ann Online Idle, bob2 o ann Online Idle
          2s  bob follows ann            ->
          3s  bob follows cid            -> bob2 x cid never
          4s  bob unfollows cid          ->
          5s  cid1 login                 -> seen cid 5s, bob1 o cid Online Idle, cid1 hello, cid1 sync
          6s  bob follows only zoe       -> bob2 x zoe 1s
          7s  ann1 says a=Coding         ->
          9s  tick                       ->
         10s  ann1 logout                -> seen ann 10s
         11s  bob follows only ann       -> bob1 x ann 10s, bob2 x ann 10s
        ",
    );
}

#[test]
fn who_follows_themselves_sees_what_others_are_told() {
    check(
        "
          0s  ann1 login follows ann              -> seen ann 0s, ann1 hello, ann1 sync ann:Online:Idle
          1s  ann1 says a=Coding                  ->
          3s  tick                                -> ann1 u ann a=Coding
          4s  ann2 login follows ann              -> ann2 hello, ann2 sync ann:Online:Coding
          5s  ann2 says s=Invisible               -> hidden ann, seen ann 5s, ann1,ann2 x ann 5s
          6s  ann1 closes                         ->
          7s  ann2 says s=Online                  -> shown ann, seen ann 7s, ann2 o ann Online Coding
          8s  ann3 login follows ann resume ann1  -> ann3 hello resumed, ann3 o ann Online Coding
        ",
    );
}

#[test]
fn the_end_of_the_process_is_when_those_online_were_last_seen() {
    check(
        "
          0s  ann1 login             -> seen ann 0s, ann1 hello, ann1 sync
          0s  bob1 login             -> seen bob 0s, bob1 hello, bob1 sync
          0s  cid1 login             -> seen cid 0s, cid1 hello, cid1 sync
          1s  bob1 closes            ->
          2s  cid1 says s=Invisible  -> hidden cid, seen cid 2s
          9s  stop                   -> seen ann 9s, seen bob 1s
        ",
    );
}

/// A follower of somebody who hides and one of somebody who is gone receive the same, whatever the
/// hidden one does: everything after the `x` is compared, for old and new followers.
#[test]
fn the_invisible_cannot_be_told_from_those_who_are_offline() {
    let hiding = "
         10s  ann1 says s=Invisible
         11s  ann2 says a=Debugging p=secret
         15s  ann2 closes
         20s  ann5 login resume ann2
         21s  ann1 closes
         22s  ann6 login resume ann1
         25s  ann5 logout
         40s  ann6 says a=Coding
         90s  ann6 closes
    ";
    let leaving = "
         10s  ann1 logout
         10s  ann2 logout
    ";
    let looking = "
         12s  bob2 login follows ann
         13s  cid1 login claims ann
         14s  bob1 is lost
         24s  bob3 login follows ann resume bob1
         50s  eve1 login
         51s  eve follows ann
         52s  eve unfollows ann
        151s  eve follows only ann
        152s  ann9 login
    ";
    // Whether somebody lingers or not while they go must not show either, so both have windows
    // that are open when it begins.
    let beginning = "
          0s  bob1 login follows ann
          0s  ann1 login
          1s  ann2 login
    ";
    let told = |ann: &str| {
        let mut lines: Vec<&str> = [beginning, ann, looking]
            .into_iter()
            .flat_map(str::lines)
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines.sort_by_key(|line| time(line));
        let mut play = Play::new();
        let mut heard = Vec::new();
        for line in lines {
            heard.extend(play.until(time(line)));
            heard.extend(play.line(line));
        }
        heard.extend(play.until(seconds(1000.0)));
        let is_for_others = |said: &String| {
            !["ann", "hidden", "shown"]
                .iter()
                .any(|start| said.starts_with(start))
        };
        heard.retain(is_for_others);
        heard
    };
    let hidden = told(hiding);
    assert_eq!(hidden, told(leaving));
    assert!(hidden.contains(&"eve1 x ann 10s".to_owned()), "{hidden:?}");
}

#[test]
fn the_work_of_an_update_is_that_of_its_connected_followers() {
    let work = |strangers: u64, followers: u64, gone: u64| {
        let mut feed = Feed::new(&Policy::of_feed());
        let mut name = 0;
        let mut login = |feed: &mut Feed, user: &str, follows: &[&str]| {
            name += 1;
            let login = login(ConnectionId(name), user, follows, &[], None, name.into());
            feed.handle(seconds(0.0), login);
            ConnectionId(name)
        };
        let ann = login(&mut feed, "ann", &[]);
        for number in 0..strangers {
            login(&mut feed, &format!("stranger-{number}"), &["zoe"]);
        }
        for number in 0..followers {
            login(&mut feed, &format!("follower-{number}"), &["ann"]);
        }
        for number in 0..gone {
            let window = login(&mut feed, &format!("gone-{number}"), &["ann"]);
            let ending = Ending::Lost;
            feed.handle(seconds(0.0), closed(window, ending));
        }
        while feed.poll_output().is_some() {}
        let before = feed.counts();
        let activity = Some("Coding".into());
        let update = Update {
            activity,
            ..Update::default()
        };
        let window = ann;
        feed.handle(seconds(1.0), Input::Update { window, update });
        feed.handle(seconds(3.0), Input::Tick);
        let mut told = 0;
        while let Some(output) = feed.poll_output() {
            let Output::Send { windows, .. } = output else {
                panic!("{output:?}");
            };
            told += windows.len() as u64;
        }
        let after = feed.counts();
        let work = (
            after.considered - before.considered,
            after.sent - before.sent,
        );
        (work, told)
    };
    assert_eq!(work(0, 0, 0), ((0, 0), 0));
    assert_eq!(work(1_000, 0, 0), ((0, 0), 0));
    assert_eq!(work(1_000, 3, 0), ((3, 3), 3));
    assert_eq!(work(0, 3, 50), ((3, 3), 3));
}

#[test]
fn nothing_is_kept_of_those_who_are_gone_but_when_they_were_seen() {
    let mut feed = Feed::new(&Policy::of_feed());
    for number in 0..500_u64 {
        let now = seconds(number as f64);
        let follows = format!("other-{}", number % 7);
        let name = ConnectionId(number);
        let login = login(
            name,
            &format!("user-{number}"),
            &[&follows],
            &[],
            None,
            u128::from(number),
        );
        feed.handle(now, login);
        let ending = Ending::Clean;
        let window = name;
        feed.handle(now, closed(window, ending));
        while feed.poll_output().is_some() {}
        assert!(feed.windows.len() <= 61 && feed.people.len() <= 61 + 7);
    }
    feed.handle(seconds(1000.0), Input::Tick);
    assert!(feed.windows.is_empty() && feed.people.is_empty() && feed.by_token.is_empty());
    assert_eq!(feed.next_deadline(), None);
}

#[test]
fn somebody_who_comes_and_goes_does_not_fill_the_memory() {
    let mut feed = Feed::new(&Policy::of_feed());
    let count = FEED_LINGERING_PER_USER_MAX as u64 + 10;
    for number in 0..count {
        let name = ConnectionId(number);
        let now = Timestamp::from_millis(number);
        feed.handle(now, login(name, "ann", &[], &[], None, u128::from(number)));
        let ending = Ending::Clean;
        let window = name;
        feed.handle(now, closed(window, ending));
    }
    assert_eq!(feed.windows.len(), FEED_LINGERING_PER_USER_MAX);
    // The newest can still be resumed, the oldest no longer.
    let resumed = |feed: &mut Feed, name, number| {
        while feed.poll_output().is_some() {}
        let resume = Some(ResumeToken(number));
        feed.handle(
            Timestamp::from_millis(count),
            login(ConnectionId(name), "ann", &[], &[], resume, name.into()),
        );
        std::iter::from_fn(|| feed.poll_output()).any(|output| {
            matches!(
                output,
                Output::Send {
                    message: Message::Hello {
                        is_resumed: true,
                        ..
                    },
                    ..
                }
            )
        })
    };
    assert!(!resumed(&mut feed, 1_000, 0));
    assert!(resumed(&mut feed, 1_001, u128::from(count) - 1));
}

/// Plays a timeline: `time  what happens  -> what is asked for`, one line for each. Between the
/// lines nothing may be asked for.
fn check(timeline: &str) {
    let mut play = Play::new();
    let lines = timeline.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty()) {
        let (happens, expected) = line.split_once("->").unwrap();
        let early = play.until(Timestamp::from_millis(time(line).as_millis() - 1));
        assert_eq!(early, [""; 0], "before {line:?}");
        assert_eq!(
            play.line(happens).join(", "),
            expected.trim(),
            "at {line:?}"
        );
    }
}

/// A feed and the names that a timeline gives to its windows.
struct Play {
    feed: Feed,
    names: Vec<String>,
    tokens: HashMap<String, ResumeToken>,
    stored: HashMap<String, BTreeSet<UserId>>,
}

impl Play {
    fn new() -> Self {
        Self {
            feed: Feed::new(&Policy::of_feed()),
            names: Vec::new(),
            tokens: HashMap::new(),
            stored: HashMap::new(),
        }
    }

    /// Lets time pass until then.
    fn until(&mut self, end: Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(at) = self.feed.next_deadline().filter(|&at| at <= end) {
            self.feed.handle(at, Input::Tick);
            told.extend(self.drain());
        }
        told
    }

    /// Plays one line.
    fn line(&mut self, line: &str) -> Vec<String> {
        let now = time(line);
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let input = match words[..] {
            ["tick"] => Input::Tick,
            ["stop"] => Input::Stop,
            [name, "login", ref details @ ..] => {
                let of = |what| {
                    let at = details.iter().position(|word| *word == what)?;
                    details.get(at + 1).copied()
                };
                let list = |what| of(what).map_or(vec![], |list| list.split(',').collect());
                let resume = of("resume").map(|name| match self.tokens.get(name) {
                    Some(token) => *token,
                    None => ResumeToken(0),
                });
                self.names.push(name.to_owned());
                let number = self.names.len();
                let token = number as u128;
                self.tokens.insert(name.to_owned(), ResumeToken(token));
                let user = name.trim_end_matches(|c: char| c.is_ascii_digit());
                let stored = list("follows").into_iter().map(self::user).collect();
                self.stored.insert(user.to_owned(), stored);
                let mut input = login(
                    ConnectionId(number as u64),
                    user,
                    &list("follows"),
                    &list("claims"),
                    resume,
                    token,
                );
                if let Input::Login(login) = &mut input {
                    let first = update_in_words(details);
                    let is_said = first.said.is_some() || details.contains(&"quietly");
                    login.first = Update {
                        said: if is_said {
                            first.said
                        } else {
                            login.first.said
                        },
                        ..first
                    };
                }
                input
            }
            [name, "says", ref fields @ ..] => {
                let window = self.window(name);
                let update = update_in_words(fields);
                Input::Update { window, update }
            }
            [name, "logout"] => Input::Logout {
                window: self.window(name),
            },
            [name, "is", "revoked"] => Input::Expel { user: user(name) },
            [name, "closes"] => Input::Closed {
                window: self.window(name),
                ending: Ending::Clean,
                was_all_sent: true,
            },
            [name, "is", "stuck"] => Input::Closed {
                window: self.window(name),
                ending: Ending::Lost,
                was_all_sent: false,
            },
            [name, "is", "lost"] => Input::Closed {
                window: self.window(name),
                ending: Ending::Lost,
                was_all_sent: true,
            },
            [name, "follows", "only", list] => {
                let all = list.split(',').map(user).collect();
                self.stored.insert(name.to_owned(), all);
                self.follows(name)
            }
            [name, "follows", other] => {
                let stored = self.stored.entry(name.to_owned()).or_default();
                stored.insert(user(other));
                self.follows(name)
            }
            [name, "unfollows", other] => {
                let stored = self.stored.entry(name.to_owned()).or_default();
                stored.remove(&user(other));
                self.follows(name)
            }
            _ => panic!("what is {line:?}?"),
        };
        self.feed.handle(now, input);
        let mut told = self.drain();
        if words == ["stop"] {
            told.sort();
        }
        told
    }

    fn drain(&mut self) -> Vec<String> {
        let outputs: Vec<_> = std::iter::from_fn(|| self.feed.poll_output()).collect();
        outputs
            .into_iter()
            .map(|output| self.in_words(output))
            .collect()
    }

    fn follows(&self, name: &str) -> Input {
        Input::Follows {
            user: user(name),
            stored: self.stored[name].clone(),
            seen: stored_seen(),
        }
    }

    fn window(&self, name: &str) -> ConnectionId {
        let at = self.names.iter().position(|other| other == name).unwrap();
        ConnectionId(at as u64 + 1)
    }

    fn in_words(&self, output: Output) -> String {
        let name = |window: &ConnectionId| self.names[window.0 as usize - 1].clone();
        match output {
            Output::Replaced(window) => format!("replaced {}", name(&window)),
            Output::Hidden { user, is_hidden } => {
                format!("{} {user}", if is_hidden { "hidden" } else { "shown" })
            }
            Output::Seen { user, at } => format!("seen {user} {}", since_start(at)),
            Output::Send { windows, message } => {
                let windows: Vec<_> = windows.iter().map(name).collect();
                format!("{} {}", windows.join(","), message_in_words(&message))
            }
        }
    }
}

/// Of the words those that are fields.
fn update_in_words(words: &[&str]) -> Update {
    let mut update = Update::default();
    for (field, text) in words.iter().filter_map(|word| word.split_once('=')) {
        match (field, text) {
            ("s", "Online") => update.said = Some(Said::Online),
            ("s", "Away") => update.said = Some(Said::Away),
            ("s", "Invisible") => update.said = Some(Said::Invisible),
            ("a", text) => update.activity = Some(text.into()),
            ("p", text) => update.project = Some(text.into()),
            ("l", text) => update.language = Some(text.into()),
            _ => panic!("what is {field:?}?"),
        }
    }
    update
}

fn message_in_words(message: &Message) -> String {
    match message {
        Message::Hello {
            is_resumed,
            seen_as,
            ..
        } => {
            let resumed = if *is_resumed { " resumed" } else { "" };
            let seen = match seen_as {
                Some(Status::Online) => "",
                Some(Status::Away) => " as Away",
                None => " unseen",
            };
            format!("hello{resumed}{seen}")
        }
        Message::Sync(users) => {
            let mut words = "sync".to_owned();
            for (user, told) in users {
                let how = match told {
                    Told::Offline(None) => "never".to_owned(),
                    Told::Offline(Some(at)) => since_start(*at),
                    Told::Online(profile) => profile_in_words(profile).replace(' ', ":"),
                };
                write!(words, " {user}:{how}").unwrap();
            }
            words
        }
        Message::Changed { user, changes } => {
            let status = changes.status.map(|status| status.name().into());
            let fields: [(_, Option<Arc<str>>); 4] = [
                ("s", status),
                ("a", changes.activity.clone()),
                ("p", changes.project.clone()),
                ("l", changes.language.clone()),
            ];
            let mut words = format!("u {user}");
            for (field, text) in fields {
                if let Some(text) = text {
                    write!(words, " {field}={text}").unwrap();
                }
            }
            words
        }
        Message::State { user, told } => match told {
            Told::Offline(None) => format!("x {user} never"),
            Told::Offline(Some(at)) => format!("x {user} {}", since_start(*at)),
            Told::Online(profile) => format!("o {user} {}", profile_in_words(profile)),
        },
    }
}

fn profile_in_words(profile: &Profile) -> String {
    format!("{} {}", profile.status.name(), profile.work.activity)
}

fn since_start(at: Timestamp) -> String {
    format!("{}s", (at.as_millis() - START) as f64 / 1000.0)
}

/// The time at which a line happens.
fn time(line: &str) -> Timestamp {
    let word = line.split_whitespace().next().unwrap();
    seconds(word.trim_end_matches('s').parse().unwrap())
}

/// Timelines begin a day after 1970.
const START: u64 = 86_400_000;

fn seconds(seconds: f64) -> Timestamp {
    Timestamp::from_millis(START + (seconds * 1000.0).round() as u64)
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn closed(window: ConnectionId, ending: Ending) -> Input {
    Input::Closed {
        window,
        ending,
        was_all_sent: true,
    }
}

/// What the store knows: of all these people, one has been seen before.
fn stored_seen() -> Seen {
    Seen::from([(user("zoe"), seconds(1.0))])
}

/// A login that says `Online`, but for one that resumes.
fn login(
    window: ConnectionId,
    name: &str,
    stored: &[&str],
    claimed: &[&str],
    resume: Option<ResumeToken>,
    next_resume: u128,
) -> Input {
    let set = |names: &[&str]| -> BTreeSet<UserId> { names.iter().copied().map(user).collect() };
    Input::Login(Box::new(Login {
        window,
        user: user(name),
        stored: set(stored),
        claimed: set(claimed),
        seen: stored_seen(),
        resume,
        next_resume: ResumeToken(next_resume),
        first: Update {
            said: resume.is_none().then_some(Said::Online),
            ..Update::default()
        },
    }))
}
