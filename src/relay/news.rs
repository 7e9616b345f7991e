//! What happened to a room's roster lately, for members who are told in text.
//!
//! A log, as the backlog of updates is one: each member has a position in it. Who falls behind what
//! is kept is sent how things are, as if they came now.

use std::collections::{HashMap, VecDeque};

use crate::limits::NEWS_MAX;
use crate::model::{SessionId, UserId};
use crate::presence::{Change, Coalesced};

/// One change, and the session that did it.
#[derive(Clone, Debug)]
pub struct Item {
    number: u64,
    pub(super) change: Change,
    pub(super) by: Option<SessionId>,
}

/// The latest changes, numbered from 1.
#[derive(Debug, Default)]
pub struct News {
    items: VecDeque<Item>,
    newest: u64,
}

impl News {
    /// Adds the newest.
    pub fn push(&mut self, change: Change, by: Option<SessionId>) {
        self.newest += 1;
        let number = self.newest;
        self.items.push_back(Item { number, change, by });
        if NEWS_MAX < self.items.len() {
            self.items.pop_front();
        }
    }

    /// The number of the newest.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What comes after `position`; `None` when part of it is no longer here.
    pub fn after(&self, position: u64) -> Option<impl Iterator<Item = &Item> + Clone> {
        let oldest = self
            .items
            .front()
            .map_or(self.newest + 1, |item| item.number);
        (oldest <= position + 1).then(|| {
            let start = self.items.partition_point(|item| item.number <= position);
            self.items.range(start..)
        })
    }

    /// Forgets what everybody has been told.
    pub fn trim(&mut self, everybody_knows: u64) {
        while let Some(oldest) = self.items.front()
            && oldest.number <= everybody_knows
        {
            self.items.pop_front();
        }
        if self.items.is_empty() {
            self.items.shrink_to(16);
        }
    }

    /// Nothing happens for a while: gives back the room that was made when much did.
    pub fn rest(&mut self) {
        if self.items.is_empty() {
            self.items.shrink_to_fit();
        }
    }
}

/// What one member is told of changes: not its own, and of each user only what it comes to.
pub fn coalesce<'a>(
    items: impl Iterator<Item = &'a Item>,
    session: Option<SessionId>,
) -> Vec<Change> {
    let mut told: Vec<Option<Change>> = Vec::new();
    let mut last_of: HashMap<&UserId, usize> = HashMap::new();
    for item in items {
        let user = &item.change.participant().user;
        if session.is_some() && item.by == session {
            // What another tab of its user did before and does after is no longer one change.
            last_of.remove(user);
            continue;
        }
        let earlier = last_of
            .get(user)
            .and_then(|&place| told.get_mut(place)?.take());
        let coalesced = match earlier {
            Some(earlier) => earlier.and_then(item.change.clone()),
            None => Coalesced::One(item.change.clone()),
        };
        match coalesced {
            Coalesced::None => {
                last_of.remove(user);
            }
            Coalesced::One(change) => {
                last_of.insert(user, told.len());
                told.push(Some(change));
            }
            Coalesced::Both(earlier, later) => {
                told.push(Some(earlier));
                last_of.insert(user, told.len());
                told.push(Some(later));
            }
        }
    }
    told.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::clock::Timestamp;
    use crate::model::Color;
    use crate::presence::{Appearance, Participant, Status};

    use super::*;

    const USERS: [&str; 3] = ["ann", "bob", "cid"];

    #[test]
    fn of_each_user_only_what_it_comes_to_is_told() {
        let told = told("+ann:1 ann:2 +bob:1 ann:3 -bob ann:4 +cid:1", None);
        assert_eq!(told, ["joined ann 4", "joined cid 1"]);
        assert_eq!(told_after_ann("ann:2 ann:1", None), [""; 0]);
        assert_eq!(told_after_ann("ann:2 -ann", None), ["left ann"]);
        assert_eq!(
            told_after_ann("-ann +ann:1 ann:2", None),
            ["left ann", "joined ann 2"]
        );
        assert_eq!(told_after_ann("-ann +ann:1 -ann", None), ["left ann"]);
    }

    #[test]
    fn nobody_is_told_what_they_did_themselves() {
        assert_eq!(told_after_ann("ann:2 ann:3!", Some(ME)), ["changed ann 2"]);
        // Another tab took back what this one had not seen: it must see that.
        let told = told_after_ann("ann:2 ann:3! ann:1", Some(ME));
        assert_eq!(told, ["changed ann 2", "changed ann 1"]);
    }

    #[test]
    fn who_is_too_far_behind_finds_part_of_it_gone() {
        let mut news = News::default();
        let total = NEWS_MAX as u64 + 10;
        for _ in 0..total {
            news.push(Change::Joined(participant(0, Some(1))), None);
        }
        assert_eq!(news.items.len(), NEWS_MAX);
        assert!(news.after(9).is_none());
        assert_eq!(news.after(10).unwrap().count(), NEWS_MAX);
        assert_eq!(news.after(total).unwrap().count(), 0);
        news.trim(total - 1);
        assert!(news.after(total - 2).is_none());
        assert_eq!(news.after(total - 1).unwrap().count(), 1);
        news.trim(total);
        assert!(news.items.is_empty() && news.items.capacity() < 64);
        assert_eq!(news.after(total).unwrap().count(), 0);
        assert!(news.after(total - 1).is_none());
    }

    proptest! {
        /// Whoever reads coalesced news from any position on ends with the view of somebody who
        /// heard everything, and hears of no user twice but for an end and a new beginning.
        #[test]
        fn coalesced_news_come_to_the_same(
            history in prop::collection::vec((0..3_usize, prop::option::of(0..3_u8), any::<bool>()), 0..40),
            skipped in 0..40_u64,
            is_sender in any::<bool>(),
        ) {
            let mut news = News::default();
            let mut truth: BTreeMap<UserId, Appearance> = BTreeMap::new();
            let mut views = vec![truth.clone()];
            let mut last_own: Option<(u64, Appearance)> = None;
            for (user, look, is_mine) in history {
                let after = participant(user, look);
                let before = truth.get(&after.user).cloned();
                let change = match before {
                    None if look.is_some() => Change::Joined(after),
                    Some(before) if look.is_some() && before != after.appearance => {
                        Change::Changed { before, after }
                    }
                    Some(_) if look.is_none() => Change::Left(after),
                    _ => continue,
                };
                // Only ann's tab is asked about, and it does nothing but look different.
                let is_change = matches!(change, Change::Changed { .. });
                let by = (is_mine && user == 0 && is_change).then_some(ME);
                if by == Some(ME) {
                    let number = news.newest() + 1;
                    last_own = Some((number, change.participant().appearance.clone()));
                }
                apply(&mut truth, &change);
                news.push(change, by);
                views.push(truth.clone());
            }
            let from = skipped.min(news.newest());
            let session = is_sender.then_some(ME);
            let told = coalesce(news.after(from).unwrap(), session);
            let mut view = views[from as usize].clone();
            let mut told_of: HashMap<UserId, Vec<&Change>> = HashMap::new();
            for change in &told {
                apply(&mut view, change);
                let user = change.participant().user.clone();
                told_of.entry(user).or_default().push(change);
            }
            for name in USERS {
                let user = UserId::parse(name).unwrap();
                // Who did it knows how they look since, as long as they are told nothing else.
                let told_before = |number: u64| {
                    let items = news.after(from).unwrap();
                    let before = coalesce(items.filter(|item| item.number <= number), session);
                    before.iter().filter(|change| change.participant().user == user).count()
                };
                let own = last_own.as_ref().filter(|_| is_sender && name == "ann");
                let own = own.filter(|(number, _)| {
                    from < *number
                        && told_of.get(&user).map_or(0, Vec::len) == told_before(*number)
                });
                let seen = own.map(|(_, look)| look).or(view.get(&user));
                prop_assert_eq!(seen, truth.get(&user), "{}", name);
                let is_twice_fine = is_sender && name == "ann";
                match told_of.get(&user).map(Vec::as_slice) {
                    None | Some([_] | [Change::Left(_), Change::Joined(_)]) => {}
                    Some(many) => prop_assert!(is_twice_fine, "{:?}", many),
                }
            }
        }
    }

    const ME: SessionId = SessionId(7);

    /// Plays a history in short: `+ann:1` joins, `ann:2` looks different, `-ann` leaves; `!` is by
    /// the member itself.
    fn told(history: &str, session: Option<SessionId>) -> Vec<String> {
        in_words(history, 0, session)
    }

    /// The same for somebody who knows already that ann looks like 1.
    fn told_after_ann(history: &str, session: Option<SessionId>) -> Vec<String> {
        in_words(&format!("+ann:1 {history}"), 1, session)
    }

    fn in_words(history: &str, from: u64, session: Option<SessionId>) -> Vec<String> {
        let mut news = News::default();
        let mut shown: HashMap<UserId, Appearance> = HashMap::new();
        for word in history.split_whitespace() {
            let (word, by) = match word.strip_suffix('!') {
                Some(word) => (word, Some(ME)),
                None => (word, None),
            };
            let (name, look) = match word.split_once(':') {
                Some((name, look)) => (name, Some(look.parse().unwrap())),
                None => (word, None),
            };
            let name = name.trim_start_matches(['+', '-']);
            let number = USERS.iter().position(|user| *user == name).unwrap();
            let after = participant(number, look);
            let before = shown.insert(after.user.clone(), after.appearance.clone());
            let change = match word.as_bytes()[0] {
                b'+' => Change::Joined(after),
                b'-' => Change::Left(after),
                _ => Change::Changed {
                    before: before.unwrap(),
                    after,
                },
            };
            news.push(change, by);
        }
        coalesce(news.after(from).unwrap(), session)
            .into_iter()
            .map(|change| match change {
                Change::Joined(one) => format!("joined {} {}", one.user, one.appearance.name),
                Change::Changed { after, .. } => {
                    format!("changed {} {}", after.user, after.appearance.name)
                }
                Change::Left(one) => format!("left {}", one.user),
            })
            .collect()
    }

    fn apply(view: &mut BTreeMap<UserId, Appearance>, change: &Change) {
        let one = change.participant();
        match change {
            Change::Left(_) => view.remove(&one.user),
            Change::Joined(_) | Change::Changed { .. } => {
                view.insert(one.user.clone(), one.appearance.clone())
            }
        };
    }

    /// Somebody who looks like a number, or has gone.
    fn participant(number: usize, look: Option<u8>) -> Participant {
        let user = UserId::parse(USERS[number]).unwrap();
        let appearance = Appearance {
            name: look.unwrap_or_default().to_string().into(),
            avatar: None,
            role: None,
            color: Color::of_user(&user),
            status: Status::Online,
            data: None,
        };
        match look {
            Some(_) => Participant {
                user,
                appearance,
                is_connected: true,
                last_seen: Timestamp::ZERO,
            },
            None => Participant::gone(user, appearance, Timestamp::ZERO),
        }
    }
}
