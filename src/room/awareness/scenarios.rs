//! What people do to their links, with clients of every kind: everybody is right at once, nobody
//! is ever missing, and it is silent afterwards.

use super::world::{Dice, Kind, Place, World};

/// Six people of mixed kinds who have been there for a while; the returning one comes first. Plays
/// with every kind of returning client and several latencies.
fn for_every_kind(play: impl Fn(&mut World, Place)) {
    for latency in [0, 20, 250] {
        for kind in Kind::ALL {
            let mut world = World::new(latency);
            let returning = world.client("rita", kind);
            for (number, kind) in Kind::ALL.into_iter().chain([Kind::YWebsocket]).enumerate() {
                world.client(&format!("user-{number}"), kind);
            }
            for place in 0..world.clients.len() {
                world.set(place, place as u64);
                world.connect(place);
                world.run(700);
            }
            world.run(21_000);
            world.assert_views_are_right();
            play(&mut world, returning);
            world.arrive();
            world.assert_silence();
        }
    }
}

#[test]
fn a_link_lost_and_back_at_once() {
    for_every_kind(|world, rita| {
        world.disconnect(rita);
        world.connect(rita);
        world.arrive();
        world.disconnect(rita);
        world.run(100);
        world.connect(rita);
    });
}

#[test]
fn away_for_five_seconds() {
    for_every_kind(|world, rita| {
        world.disconnect(rita);
        world.run(5_000);
        world.assert_views_are_right();
        world.connect(rita);
    });
}

#[test]
fn away_for_longer_than_anybody_remembers() {
    for_every_kind(|world, rita| {
        world.disconnect(rita);
        world.run(70_000);
        world.assert_views_are_right();
        assert_eq!(world.awareness.len(), world.clients.len() - 1);
        world.connect(rita);
    });
}

#[test]
fn three_restarts_of_the_server_without_memory() {
    for_every_kind(|world, _| {
        for number in 0..4 {
            let extra = world.client(&format!("extra-{number}"), Kind::ALL[number]);
            world.set(extra, 50);
            world.connect(extra);
        }
        world.arrive();
        for restart in 0..3 {
            world.restart();
            for place in 0..world.clients.len() {
                world.run(37 * restart);
                world.connect(place);
            }
            world.arrive();
        }
        assert_eq!(world.clients.len(), 10);
    });
}

#[test]
fn two_return_at_once() {
    for_every_kind(|world, rita| {
        for other in 1..world.clients.len() {
            world.disconnect(rita);
            world.disconnect(other);
            world.run(1_000);
            world.connect(rita);
            world.connect(other);
            world.arrive();
        }
    });
}

#[test]
fn changes_while_away_are_seen_at_the_return() {
    for_every_kind(|world, rita| {
        world.disconnect(rita);
        for number in 0..3 {
            world.set(rita, 100 + number);
            world.set(2, 200 + number);
            world.run(400);
        }
        world.connect(rita);
    });
}

#[test]
fn a_state_taken_away_while_offline_stays_away() {
    for_every_kind(|world, rita| {
        world.disconnect(rita);
        world.set_null(rita);
        world.run(3_000);
        world.connect(rita);
    });
}

#[test]
fn a_state_taken_away_while_offline_and_set_again() {
    for_every_kind(|world, rita| {
        world.disconnect(rita);
        world.set_null(rita);
        world.run(1_000);
        world.set(rita, 300);
        world.run(1_000);
        world.connect(rita);
    });
}

#[test]
fn a_state_taken_away_online_and_then_the_link_lost() {
    for_every_kind(|world, rita| {
        world.set_null(rita);
        world.arrive();
        world.disconnect(rita);
        world.run(2_000);
        world.connect(rita);
        world.arrive();
        // Long after its opening the client gets an own id by its first state.
        world.set(rita, 301);
    });
}

#[test]
fn a_page_hidden_and_shown_on_the_same_link() {
    for_every_kind(|world, rita| {
        world.set_null(rita);
        world.arrive();
        world.set(rita, 302);
        world.arrive();
        world.set_null(rita);
        world.set(rita, 303);
    });
}

#[test]
fn a_page_hidden_and_shown_on_a_new_link() {
    for_every_kind(|world, rita| {
        world.set_null(rita);
        world.disconnect(rita);
        world.run(500);
        world.set(rita, 304);
        world.connect(rita);
    });
}

#[test]
fn twenty_reconnects_in_a_row() {
    for_every_kind(|world, rita| {
        for number in 0..20 {
            world.disconnect(rita);
            world.run(300 + 500 * (number % 7));
            world.connect(rita);
            if world.clients.len() as u64 * 100 < number * 50 {
                world.set(rita, 400 + number);
            }
            world.arrive();
        }
    });
}

#[test]
fn somebody_who_reconnects_all_the_time_makes_nobody_vanish() {
    for_every_kind(|world, rita| {
        for _ in 0..24 {
            world.disconnect(rita);
            world.connect(rita);
            world.run(5_000);
            world.assert_views_are_right();
        }
    });
}

#[test]
fn changes_that_race_the_nudge() {
    for_every_kind(|world, rita| {
        for moment in [0, 1, 10, 20, 21, 40, 41, 60, 250, 499, 500, 501, 750, 751] {
            world.disconnect(rita);
            world.run(900);
            world.connect(rita);
            world.run(moment);
            world.set(rita, 500 + moment);
            world.set(1, 600 + moment);
            world.run(1);
            world.set(2, 700 + moment);
            world.arrive();
        }
    });
}

#[test]
fn the_clock_is_far_ahead_of_the_client() {
    for_every_kind(|world, rita| {
        // Others come and go while rita's nudges are lost with her link.
        let session = world.lose(rita);
        for _ in 0..5 {
            world.disconnect(1);
            world.run(1_000);
            world.connect(1);
            world.run(1_000);
        }
        session.into_iter().for_each(|session| world.end(session));
        world.connect(rita);
        world.arrive();
        world.set(rita, 800);
    });
}

#[test]
fn an_old_link_that_is_half_open_removes_nothing() {
    for_every_kind(|world, rita| {
        let session = world.lose(rita);
        world.run(2_000);
        world.connect(rita);
        world.arrive();
        assert!(!world.told.iter().any(|told| told == "left rita"));
        world.run(10_000);
        session.into_iter().for_each(|session| world.end(session));
        world.arrive();
        assert!(!world.told.iter().any(|told| told == "left rita"));
    });
}

#[test]
fn somebody_without_a_state_sees_everybody() {
    for_every_kind(|world, rita| {
        world.set_null(rita);
        world.run(21_000);
        for away in [0, 2_000, 10_000] {
            world.disconnect(rita);
            world.run(away);
            world.connect(rita);
            world.arrive();
        }
    });
}

#[test]
fn who_hides_is_gone_to_the_others_and_works_on() {
    for_every_kind(|world, rita| {
        world.hide(rita, true);
        world.arrive();
        for number in 90..93 {
            world.set(rita, number);
            world.arrive();
        }
        world.hide(rita, false);
        world.arrive();
        // Hidden for long, renewing its state; and while somebody new comes.
        world.hide(rita, true);
        world.run(40_000);
        let newcomer = world.client("newcomer", Kind::Quiet);
        world.set(newcomer, 99);
        world.connect(newcomer);
        world.arrive();
        world.hide(rita, false);
        world.arrive();
        // Away and back while hidden; taken away and set again.
        world.hide(rita, true);
        world.disconnect(rita);
        world.run(3_000);
        world.connect(rita);
        world.arrive();
        world.set_null(rita);
        world.arrive();
        world.set(rita, 94);
        world.hide(rita, false);
        world.arrive();
        // Gone while hidden.
        world.hide(rita, true);
        world.disconnect(rita);
        world.arrive();
        world.hide(rita, false);
        world.connect(rita);
    });
}

#[test]
fn nobody_hears_anything_of_what_a_hidden_user_does() {
    let mut world = World::new(0);
    let (ann, bob) = (
        world.client("ann", Kind::Quiet),
        world.client("bob", Kind::Quiet),
    );
    for place in [ann, bob] {
        world.set(place, place as u64);
        world.connect(place);
        world.arrive();
    }
    world.hide(ann, true);
    world.arrive();
    let version = world.awareness.version();
    world.set(ann, 50);
    world.arrive();
    world.set_null(ann);
    world.arrive();
    world.set(ann, 51);
    world.arrive();
    world.disconnect(ann);
    world.arrive();
    assert_eq!(world.awareness.version(), version, "something was cast");
    let told = world.told.iter().filter(|told| told.ends_with("ann"));
    assert_eq!(told.collect::<Vec<_>>(), ["joined ann", "left ann"]);
}

#[test]
fn a_hidden_tab_is_seen_for_as_long_as_its_socket_answers() {
    for_every_kind(|world, rita| {
        world.throttle(rita, true);
        // `run` fails when anybody is missing at any moment.
        world.run(360_000);
        world.assert_views_are_right();
        world.set(rita, 70);
        world.arrive();
        // A whole room of them.
        for place in 0..world.clients.len() {
            world.throttle(place, true);
        }
        world.run(360_000);
        world.assert_views_are_right();
        for place in 0..world.clients.len() {
            world.throttle(place, false);
        }
        world.run(20_000);
    });
}

#[test]
fn nudges_that_are_handled_late_end_in_silence() {
    for_every_kind(|world, rita| {
        world.clients[rita].is_frozen = true;
        world.run(600_000);
        world.assert_views_are_right();
        world.clients[rita].is_frozen = false;
        world.arrive();
        // The same, and its program had something to say first.
        world.clients[rita].is_frozen = true;
        world.run(90_000);
        world.set(rita, 71);
        world.clients[rita].is_frozen = false;
        world.arrive();
        world.run(20_000);
    });
}

#[test]
fn nobody_is_renewed_whose_socket_does_not_answer_or_who_hides() {
    for latency in [0, 20] {
        let mut world = World::new(latency);
        let (ann, bob) = (
            world.client("ann", Kind::YWebsocket),
            world.client("bob", Kind::Quiet),
        );
        for place in [ann, bob] {
            world.set(place, place as u64);
            world.connect(place);
            world.arrive();
        }
        let session = world.lose(bob);
        world.run(29_000);
        assert!(world.sees(ann, bob));
        world.run(5_000);
        assert!(!world.sees(ann, bob), "its own timers dropped it");
        session.into_iter().for_each(|session| world.end(session));
        world.connect(bob);
        world.arrive();
        world.hide(bob, true);
        world.throttle(bob, true);
        world.arrive();
        let nudges = world.nudged.len();
        world.run(90_000);
        assert!(!world.nudged[nudges..].contains(&bob));
        assert!(!world.sees(ann, bob));
    }
}

#[test]
fn a_tab_that_vanished_behind_another_is_gone() {
    for (latency, has_state) in [(0, true), (20, true), (0, false), (20, false)] {
        let mut world = World::new(latency);
        let far = world.client("far", Kind::Quiet);
        let beside = world.client("tabs", Kind::YWebsocket);
        let tab = world.client("tabs", Kind::YWebsocket);
        for place in [far, beside, tab] {
            world.set(place, 10 + place as u64);
        }
        if !has_state {
            world.clients[beside].state = None;
        }
        world.connect(far);
        world.connect(beside);
        world.arrive();
        if has_state {
            world.connect(tab);
            world.arrive();
        }
        for place in [beside, tab] {
            world.clients[place].browser = Some(1);
        }
        if has_state {
            // Its own link is down: it is seen through the other tab.
            world.disconnect(tab);
            world.run(200);
            world.set(tab, 77);
            // The other tab hears of everybody again whom this one told it had gone.
            world.run(20_000);
        } else {
            // It has never had one, and the other tab has no state that would tell them apart.
            world.set(tab, 77);
            world.run(60_000);
        }
        let id = super::ClientId(world.clients[tab].id);
        assert!(world.sees(far, tab));
        world.run(100);
        let nudges = world.nudges;
        world.vanish(tab);
        world.run(33_500);
        assert!(!world.sees(far, tab), "{has_state}");
        assert_eq!(world.awareness.entry(id).unwrap().state, None);
        assert_eq!(world.nudges, nudges, "nobody was renewed");
    }
}

#[test]
fn nobody_is_told_that_somebody_hidden_is_back() {
    for_every_kind(|world, rita| {
        for has_state in [true, false] {
            // Whoever left a moment ago without hiding may come back.
            world.run(21_000);
            world.hide(rita, true);
            world.arrive();
            let (nudges, version) = (world.nudged.len(), world.awareness.version());
            for _ in 0..3 {
                world.disconnect(rita);
                world.run(2_000);
                world.connect(rita);
                world.arrive();
                world.disconnect(rita);
            }
            let others = world.nudged[nudges..].iter().filter(|&&who| who != rita);
            assert_eq!(others.count(), 0);
            let cast = world.awareness.since(version).count();
            assert!(cast < world.clients.len(), "renewals only");
            // Nor does somebody new show that they were there.
            let nudges = world.nudged.len();
            let newcomer = world.client("newcomer", Kind::Quiet);
            world.set_null(newcomer);
            world.connect(newcomer);
            world.arrive();
            assert!(world.nudged.len() == nudges);
            world.disconnect(newcomer);
            world.hide(rita, false);
            world.connect(rita);
            world.arrive();
            if has_state {
                world.set_null(rita);
                world.arrive();
            }
        }
    });
}

#[test]
fn quick_joins_and_leaves_leave_no_ghost() {
    for_every_kind(|world, _| {
        for number in 0..20 {
            let guest = world.client("guest", Kind::ALL[number % 4]);
            world.set(guest, 900);
            world.connect(guest);
            world.run(number as u64 * 13);
            world.disconnect(guest);
            world.run(7);
        }
        world.arrive();
    });
}

#[test]
fn tabs_of_one_browser_tell_each_other_and_the_server() {
    for latency in [0, 20] {
        let mut world = World::new(latency);
        let far = world.client("far", Kind::Quiet);
        world.set(far, 1);
        world.connect(far);
        let tabs: Vec<_> = (0..3)
            .map(|_| world.client("tabs", Kind::YWebsocket))
            .collect();
        let silent = world.client("tabs", Kind::YWebsocket);
        world.clients[silent].state = None;
        for &tab in tabs.iter().chain([&silent]) {
            world.clients[tab].browser = Some(1);
            if tab != silent {
                world.set(tab, 10 + tab as u64);
            }
            world.connect(tab);
            world.arrive();
        }
        world.run(20_000);
        world.assert_views_are_right();
        // Each tab owns its id, whoever brought it first.
        for &tab in &tabs {
            let entry = world
                .awareness
                .entry(super::ClientId(world.clients[tab].id))
                .unwrap();
            assert_eq!(entry.session, world.clients[tab].link);
        }

        // A tab whose own link is down stays visible through another one, with what it changes.
        world.disconnect(tabs[1]);
        world.run(200);
        world.set(tabs[1], 77);
        world.run(200);
        let seen = |world: &World| {
            world.clients[far].others[&world.clients[tabs[1]].id]
                .state
                .clone()
        };
        assert!(seen(&world).unwrap().contains("77"));
        assert_eq!(
            world
                .told
                .iter()
                .filter(|told| *told == "left tabs")
                .count(),
            0
        );

        // It takes its id back when it returns, and the other tab's end does not remove it.
        world.connect(tabs[1]);
        world.arrive();
        let entry = world
            .awareness
            .entry(super::ClientId(world.clients[tabs[1]].id))
            .unwrap();
        assert_eq!(entry.session, world.clients[tabs[1]].link);
        world.run(16_000);
        world.assert_silence();
    }
}

#[test]
fn whatever_people_do_everybody_is_right_in_the_end() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut world = World::new([0, 20, 250][dice.below(3) as usize]);
        let count = 2 + dice.below(5);
        for number in 0..count {
            let user = format!("user-{}", number % 4);
            let kind = Kind::ALL[dice.below(4) as usize];
            world.client(&user, kind);
        }
        for step in 0..60 {
            let place = dice.below(count) as Place;
            let is_connected = world.clients[place].link.is_some();
            match dice.below(10) {
                0..4 if !is_connected => world.connect(place),
                0..2 => world.disconnect(place),
                // A half-open link; not with a null that was lost in it, which nobody can know of.
                2 if is_connected && world.clients[place].state.is_some() => {
                    let session = world.lose(place);
                    world.run(dice.below(800));
                    if dice.below(2) == 0 {
                        world.connect(place);
                    }
                    world.run(dice.below(800));
                    session.into_iter().for_each(|session| world.end(session));
                }
                3 if dice.below(8) == 0 => world.restart(),
                4 => world.set_null(place),
                5 => world.hide(place, dice.below(2) == 0),
                _ => world.set(place, step),
            }
            let pauses = [0, 1, 30, 300, 2_000, 12_000];
            world.run(pauses[dice.below(6) as usize]);
        }
        world.arrive();
        world.assert_silence();
    }
}
