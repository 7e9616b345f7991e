//! Where each user is on a worker: hiding, shutting out and looking up somebody cost as much as the rooms
//! they are in and the sockets they hold, however many others there are.

use std::collections::HashMap;

use crate::model::UserId;
use crate::slack::give_back;
use crate::small::SmallSet;

/// Users, each with all their places: rooms that they are in or wait for, or sockets that are theirs.
pub struct Whereabouts<P> {
    of: HashMap<UserId, SmallSet<P>>,
}

impl<P: Copy + Ord> Whereabouts<P> {
    /// The user has come there, or is there no longer.
    pub fn note(&mut self, user: UserId, place: P, is_here: bool) {
        if is_here {
            let places = self.of.entry(user).or_default();
            places.insert(place);
        } else if let Some(places) = self.of.get_mut(&user) {
            places.remove(&place);
            if places.is_empty() {
                self.of.remove(&user);
                give_back(&mut self.of);
            }
        }
    }

    /// Every place the user is at.
    pub fn places(&self, user: &UserId) -> impl Iterator<Item = P> {
        let places = self.of.get(user).into_iter();
        places.flat_map(|places| places.iter().copied())
    }
}

impl<P> Default for Whereabouts<P> {
    fn default() -> Self {
        Self { of: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use crate::model::{Access, Grant, Identity, RequestId, RoomName, UserId};
    use crate::relay::Heartbeat;
    use crate::relay::fixtures::idle_worker;
    use crate::relay::worker::Worker;
    use crate::room::Input;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn room(number: usize) -> RoomName {
        RoomName::parse(&format!("event/expo/{number}")).unwrap()
    }

    fn beat(worker: &mut Worker, number: usize, name: &str) {
        let grant = Grant {
            identity: Identity {
                user: user(name),
                name: name.into(),
                avatar: None,
                color: None,
            },
            role: None,
            access: Access::Read,
            is_stamped: true,
            is_participant: true,
        };
        let heartbeat = Heartbeat {
            token: format!("{name} in {number}").into(),
            grant,
            lasts: Duration::from_secs(60),
            status: None,
            data: None,
        };
        let (asker, _) = oneshot::channel();
        let request = RequestId(number as u64);
        worker.heartbeat(&room(number), request, heartbeat, asker);
    }

    #[tokio::test]
    async fn hiding_costs_as_much_as_the_rooms_somebody_is_in() {
        let (mut worker, _receivers) = idle_worker(1);
        for number in 0..8_000 {
            beat(&mut worker, number, &format!("somebody-{}", number % 100));
        }
        let ann = user("ann");
        beat(&mut worker, 17, "ann");
        beat(&mut worker, 4_711, "ann");
        let cost = |worker: &mut Worker, what: &dyn Fn(&mut Worker)| {
            let before = worker.rooms.looks();
            what(worker);
            worker.rooms.looks() - before
        };
        let shown = |worker: &Worker| worker.rooms_of(&user("ann")).len();
        assert_eq!(shown(&worker), 2);
        for hides in [true, false, true, false] {
            let looks = cost(&mut worker, &|worker| worker.hide(&ann, hides));
            assert!(0 < looks && looks < 50, "{looks}");
            assert_eq!(shown(&worker), if hides { 0 } else { 2 });
        }
        let looks = cost(&mut worker, &|worker| {
            assert_eq!(worker.rooms_of(&user("ann")).len(), 2);
        });
        assert!(looks < 10, "{looks}");
        let looks = cost(&mut worker, &|worker| worker.hide(&user("nobody"), true));
        assert_eq!(looks, 0);
        let looks = cost(&mut worker, &|worker| worker.expel(&ann, None));
        assert!(looks < 50, "{looks}");
        assert_eq!(worker.whereabouts.places(&ann).count(), 0);
        assert_eq!(worker.whereabouts.places(&user("somebody-17")).count(), 80);
        let looks = cost(&mut worker, &|worker| {
            let prefix = RoomName::parse("event/expo/4711").unwrap();
            assert_eq!(worker.rooms_under(&prefix), [prefix]);
        });
        assert!(looks < 10, "{looks}");
    }

    #[tokio::test]
    async fn who_is_gone_is_nowhere() {
        let (mut worker, _receivers) = idle_worker(1);
        // As many as one user may hold.
        let many = crate::limits::Limits::default().per_user_max;
        for number in 0..many {
            beat(&mut worker, number, "ann");
        }
        let ann = user("ann");
        assert_eq!(worker.whereabouts.places(&ann).count(), many);
        for number in 0..many {
            assert!(worker.end_beat(&format!("ann in {number}").into(), true));
        }
        assert_eq!(worker.whereabouts.places(&ann).count(), 0);
        assert!(worker.whereabouts.of.is_empty());
        beat(&mut worker, 1, "ben");
        let key = worker.rooms.find(&room(1)).unwrap();
        worker.let_happen(key, Input::Close);
        assert!(worker.whereabouts.of.is_empty());
    }
}
