//! Whose client ids were, beyond the minute in which they can be nobody else's.

use std::collections::VecDeque;

use crate::limits::{AWARENESS_FORMER_MAX, AWARENESS_FORMER_PER_USER_MAX};
use crate::model::{ClientId, UserId};
use crate::small::SmallMap;

/// The users whose ids are forgotten, but for that they were theirs. Somebody else may use such an id;
/// it is theirs again when they come back with it.
#[derive(Debug, Default)]
pub(super) struct Former {
    user_of: SmallMap<ClientId, UserId>,
    /// The oldest first.
    ids_of: SmallMap<UserId, VecDeque<ClientId>>,
}

impl Former {
    /// The id is forgotten; it was this user's. It stays that of whoever had it first.
    pub(super) fn remember(&mut self, client: ClientId, user: &UserId) {
        if self.user_of.contains_key(&client) {
            return;
        }
        let count = self.ids_of.get(user).map_or(0, VecDeque::len);
        if AWARENESS_FORMER_PER_USER_MAX <= count {
            self.forget_oldest(&user.clone());
        } else if AWARENESS_FORMER_MAX <= self.user_of.len() {
            let somebody = self.ids_of.keys().next().cloned();
            somebody
                .into_iter()
                .for_each(|user| self.forget_oldest(&user));
        }
        self.user_of.insert(client, user.clone());
        match self.ids_of.get_mut(user) {
            Some(ids) => ids.push_back(client),
            None => {
                self.ids_of.insert(user.clone(), VecDeque::from([client]));
            }
        }
    }

    /// Whether the id was this user's.
    pub(super) fn was(&self, client: ClientId, user: &UserId) -> bool {
        self.user_of.get(&client) == Some(user)
    }

    fn forget_oldest(&mut self, user: &UserId) {
        let Some(ids) = self.ids_of.get_mut(user) else {
            return;
        };
        if let Some(oldest) = ids.pop_front() {
            self.user_of.remove(&oldest);
        }
        if ids.is_empty() {
            self.ids_of.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_user_so_many_ids_are_remembered_the_latest() {
        let user = |name: &str| UserId::parse(name).unwrap();
        let mut former = Former::default();
        former.remember(ClientId(1), &user("bob"));
        for id in 1..=AWARENESS_FORMER_PER_USER_MAX as u64 + 3 {
            former.remember(ClientId(id), &user("ann"));
        }
        let last = AWARENESS_FORMER_PER_USER_MAX as u64 + 3;
        assert!(former.was(ClientId(1), &user("bob")), "who had it first");
        assert!(!former.was(ClientId(2), &user("ann")) && !former.was(ClientId(3), &user("ann")));
        assert!(former.was(ClientId(4), &user("ann")) && former.was(ClientId(last), &user("ann")));
        assert_eq!(former.user_of.len(), AWARENESS_FORMER_PER_USER_MAX + 1);
    }

    #[test]
    fn of_very_many_users_some_are_remembered() {
        let mut former = Former::default();
        for id in 0..AWARENESS_FORMER_MAX as u64 + 10 {
            let user = UserId::parse(&format!("user-{id}")).unwrap();
            former.remember(ClientId(id), &user);
        }
        assert_eq!(former.user_of.len(), AWARENESS_FORMER_MAX);
        assert_eq!(former.ids_of.len(), AWARENESS_FORMER_MAX);
    }
}
