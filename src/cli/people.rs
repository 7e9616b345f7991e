//! All that a store remembers of people, walked through by the tools: to count it, or to copy it.
//! Whose tokens are refused is part of it.

use std::fmt;

use crate::clock::Timestamp;
use crate::limits::{OFFLINE_PARTICIPANTS_MAX, TOOL_PEOPLE_MAX, TOOL_ROOMS_MAX};
use crate::model::{RoomName, UserId};
use crate::store::{Departed, FollowsChange, FollowsError, Record, Revocation, Store, StoreError};

/// What was gone through.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sums {
    /// Times at which somebody was last seen, in a room or in the feed.
    pub(super) last_seen: usize,
    /// Users whom somebody follows.
    pub(super) follows: usize,
    /// Whose tokens are refused, and where.
    pub(super) revocations: usize,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            last_seen,
            follows,
            revocations,
        } = self;
        write!(f, "{last_seen} last seen, {follows} follows")?;
        match revocations {
            // Most stores have none.
            0 => Ok(()),
            _ => write!(f, ", {revocations} revocations"),
        }
    }
}

/// A part of what is remembered.
enum Known {
    Departed(RoomName, Vec<Departed>),
    FeedSeen(Vec<(UserId, Timestamp)>),
    Follows(UserId, Vec<UserId>),
    Revocations(Vec<Revocation>),
}

impl Sums {
    fn count(&mut self, known: &Known) {
        match known {
            Known::Departed(_, people) => self.last_seen += people.len(),
            Known::FeedSeen(seen) => self.last_seen += seen.len(),
            Known::Follows(_, others) => self.follows += others.len(),
            Known::Revocations(some) => self.revocations += some.len(),
        }
    }
}

/// Reads all of it.
pub(super) fn count(store: &dyn Store) -> Result<Sums, StoreError> {
    let mut sums = Sums::default();
    each(store, &mut |known| {
        sums.count(&known);
        Ok::<_, StoreError>(())
    })?;
    Ok(sums)
}

/// Writes to `to` all that `from` remembers. Of two times at which somebody was seen the later one
/// stays, and of two revocations; where both have a list of follows, that of `from` counts.
pub(super) fn copy(from: &dyn Store, to: &dyn Store) -> Result<Sums, FollowsError> {
    let mut sums = Sums::default();
    let mut records = Vec::new();
    each(from, &mut |known| -> Result<(), FollowsError> {
        sums.count(&known);
        match known {
            Known::Departed(room, people) => records.extend(people.into_iter().map(|person| {
                let room = room.clone();
                Record::Departed { room, person }
            })),
            Known::FeedSeen(seen) => {
                let records_of_feed = seen.into_iter();
                records.extend(records_of_feed.map(|(user, at)| Record::FeedSeen { user, at }));
            }
            Known::Follows(user, others) if to.follows(&user)? != others => {
                to.change_follows(&user, &FollowsChange::Replace(others))?;
            }
            Known::Follows(..) => {}
            // The relay that opens it removes what is old.
            Known::Revocations(some) => to.revoke(&some, Timestamp::ZERO)?,
        }
        if TOOL_PEOPLE_MAX <= records.len() {
            to.record(&records)?;
            records.clear();
        }
        Ok(())
    })?;
    to.record(&records)?;
    Ok(sums)
}

/// Shows all of it, part by part.
fn each<E: From<StoreError>>(
    store: &dyn Store,
    show: &mut dyn FnMut(Known) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = None;
    loop {
        let rooms = store.rooms_departed(after.as_ref(), TOOL_ROOMS_MAX)?;
        for room in &rooms {
            let people = store.departed(room, OFFLINE_PARTICIPANTS_MAX)?;
            show(Known::Departed(room.clone(), people))?;
        }
        after = rooms.into_iter().next_back();
        if after.is_none() {
            break;
        }
    }
    let mut after = None;
    loop {
        let users = store.feed_users(after.as_ref(), TOOL_PEOPLE_MAX)?;
        show(Known::FeedSeen(store.feed_seen(&users)?))?;
        after = users.into_iter().next_back();
        if after.is_none() {
            break;
        }
    }
    let mut after = None;
    loop {
        let users = store.followers(after.as_ref(), TOOL_PEOPLE_MAX)?;
        for user in &users {
            show(Known::Follows(user.clone(), store.follows(user)?))?;
        }
        after = users.into_iter().next_back();
        if after.is_none() {
            break;
        }
    }
    let revocations = store.revocations(Timestamp::ZERO, usize::MAX)?;
    for some in revocations.chunks(TOOL_PEOPLE_MAX) {
        show(Known::Revocations(some.to_vec()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Color, Pattern};
    use crate::store::{MemoryStore, People, Revocations};

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn departed(room: &str, id: &str, millis: u64) -> Record {
        Record::Departed {
            room: RoomName::parse(room).unwrap(),
            person: Departed {
                user: user(id),
                name: id.into(),
                avatar: None,
                role: None,
                color: Color::of_user(&user(id)),
                last_seen: at(millis),
            },
        }
    }

    fn feed_seen(id: &str, millis: u64) -> Record {
        Record::FeedSeen {
            user: user(id),
            at: at(millis),
        }
    }

    fn follow(store: &MemoryStore, id: &str, others: &[&str]) {
        let all = others.iter().map(|other| user(other)).collect();
        let change = FollowsChange::Replace(all);
        store.change_follows(&user(id), &change).unwrap();
    }

    /// All of it, as text.
    fn told(store: &MemoryStore) -> Vec<String> {
        let mut told = Vec::new();
        each(store, &mut |known| {
            match known {
                Known::Departed(room, people) => told.extend(people.iter().map(|person| {
                    format!("{} in {room} {}", person.user, person.last_seen.as_millis())
                })),
                Known::FeedSeen(seen) => told.extend(
                    seen.iter()
                        .map(|(user, at)| format!("{user} {}", at.as_millis())),
                ),
                Known::Follows(user, others) => told.push(format!("{user}: {others:?}")),
                Known::Revocations(some) => told.extend(some.iter().map(|one| {
                    let rooms = one.rooms.as_ref().map(Pattern::as_str);
                    format!("{} out of {rooms:?} {}", one.user, one.at.as_millis())
                })),
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
        told
    }

    #[test]
    fn everything_is_copied_and_counted_whatever_its_number() {
        let (from, to) = (MemoryStore::new(), MemoryStore::new());
        for number in 0..2 * TOOL_ROOMS_MAX {
            let room = format!("event/{number}");
            let records = [departed(&room, "ann", 1), departed(&room, "bob", 2)];
            from.record(&records).unwrap();
        }
        for number in 0..2 * TOOL_PEOPLE_MAX {
            let id = format!("{number}");
            from.record(&[feed_seen(&id, 1)]).unwrap();
            follow(&from, &id, &["ann", "bob", "zoë"]);
        }
        let revoked = |number: u64, rooms: Option<&str>| Revocation {
            user: user(&format!("{number}")),
            rooms: rooms.map(Pattern::new),
            at: at(number),
        };
        let revocations: Vec<_> = (0..2 * TOOL_PEOPLE_MAX as u64)
            .flat_map(|number| [revoked(number, None), revoked(number, Some("event/*"))])
            .collect();
        from.revoke(&revocations, Timestamp::ZERO).unwrap();
        let sums = Sums {
            last_seen: 4 * TOOL_ROOMS_MAX + 2 * TOOL_PEOPLE_MAX,
            follows: 6 * TOOL_PEOPLE_MAX,
            revocations: 4 * TOOL_PEOPLE_MAX,
        };
        assert_eq!(count(&from).unwrap(), sums);
        for _ in 0..2 {
            assert_eq!(copy(&from, &to).unwrap(), sums);
            assert!(told(&to) == told(&from));
        }
    }

    #[test]
    fn later_times_stay_and_lists_are_the_sources() {
        let (from, to) = (MemoryStore::new(), MemoryStore::new());
        let room = "event/1";
        from.record(&[departed(room, "ann", 9), departed(room, "bob", 1)])
            .unwrap();
        from.record(&[feed_seen("ann", 9), feed_seen("bob", 1)])
            .unwrap();
        to.record(&[departed(room, "ann", 5), departed(room, "bob", 5)])
            .unwrap();
        to.record(&[
            feed_seen("ann", 5),
            feed_seen("bob", 5),
            feed_seen("cyd", 5),
        ])
        .unwrap();
        follow(&from, "ann", &["bob"]);
        follow(&from, "bob", &[]);
        follow(&to, "ann", &["cyd"]);
        follow(&to, "bob", &["cyd"]);
        follow(&to, "cyd", &["ann"]);
        copy(&from, &to).unwrap();
        assert_eq!(
            told(&to),
            [
                "ann in event/1 9",
                "bob in event/1 5",
                "ann 9",
                "bob 5",
                "cyd 5",
                "ann: [UserId(\"bob\")]",
                "bob: []",
                "cyd: [UserId(\"ann\")]",
            ]
        );
    }
}
