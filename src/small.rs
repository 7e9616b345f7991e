//! Maps and ordered sets that cost little while there is little in them.
//!
//! Most rooms hold two or three people, and have a dozen maps and sets to keep them in. A hash map
//! begins with room for three and a B-tree with room for eleven. Those here begin as a list that is
//! as long as what is in it, and looking through a handful is faster than hashing, too. Above
//! [`FEW_MAX`] they are what the standard library has, with all its promises to crowds.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hash};

use crate::model::IdHasher;
use crate::slack::give_back;

/// So many are kept in a list.
pub const FEW_MAX: usize = 8;
/// They are in a list again when no more are left than this. It is less, so that one who comes and
/// goes does not turn one into the other each time.
const FEW_AGAIN: usize = FEW_MAX / 2;

/// A small map whose keys are numbers that we give out: see [`IdMap`](crate::model::IdMap).
pub type SmallIdMap<K, V> = SmallMap<K, V, BuildHasherDefault<IdHasher>>;

/// A map that is a list while it is small. Its order means nothing.
#[derive(Debug)]
pub struct SmallMap<K, V, S = RandomState>(Map<K, V, S>);

#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "most maps are never large, and a hash map is twice as wide as a list"
)]
enum Map<K, V, S> {
    Few(Vec<(K, V)>),
    Many(Box<HashMap<K, V, S>>),
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> SmallMap<K, V, S> {
    /// An empty one.
    pub fn new() -> Self {
        Self(Map::Few(Vec::new()))
    }

    /// Puts a value in; what was in its place.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match &mut self.0 {
            Map::Few(few) => {
                if let Some((_, known)) = few.iter_mut().find(|(known, _)| *known == key) {
                    return Some(std::mem::replace(known, value));
                }
                if few.len() < FEW_MAX {
                    few.reserve_exact(1);
                    few.push((key, value));
                } else {
                    let mut many: HashMap<K, V, S> = std::mem::take(few).into_iter().collect();
                    many.insert(key, value);
                    self.0 = Map::Many(Box::new(many));
                }
                None
            }
            Map::Many(many) => many.insert(key, value),
        }
    }

    /// Takes a value out, and gives back the room of those who left.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        match &mut self.0 {
            Map::Few(few) => {
                let place = few.iter().position(|(known, _)| known == key)?;
                let (_, value) = few.swap_remove(place);
                keep_one_spare(few);
                Some(value)
            }
            Map::Many(many) => {
                let value = many.remove(key)?;
                if many.len() <= FEW_AGAIN {
                    let mut few = Vec::with_capacity(many.len());
                    few.extend(many.drain());
                    self.0 = Map::Few(few);
                } else {
                    give_back(many);
                }
                Some(value)
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.0 {
            Map::Few(few) => {
                let found = few.iter().find(|(known, _)| known == key);
                found.map(|(_, value)| value)
            }
            Map::Many(many) => many.get(key),
        }
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.0 {
            Map::Few(few) => {
                let found = few.iter_mut().find(|(known, _)| known == key);
                found.map(|(_, value)| value)
            }
            Map::Many(many) => many.get_mut(key),
        }
    }

    /// Whether there is a value for the key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }
}

impl<K, V, S> SmallMap<K, V, S> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Map::Few(few) => few.len(),
            Map::Many(many) => many.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there is room for.
    pub fn capacity(&self) -> usize {
        match &self.0 {
            Map::Few(few) => few.capacity(),
            Map::Many(many) => many.capacity(),
        }
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + Clone {
        match &self.0 {
            Map::Few(few) => Either::Few(few.iter().map(|(key, value)| (key, value))),
            Map::Many(many) => Either::Many(many.iter()),
        }
    }

    /// All keys and values, these to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        match &mut self.0 {
            Map::Few(few) => Either::Few(few.iter_mut().map(|(key, value)| (&*key, value))),
            Map::Many(many) => Either::Many(many.iter_mut()),
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }
}

impl<K, V, S> Default for SmallMap<K, V, S> {
    fn default() -> Self {
        Self(Map::Few(Vec::new()))
    }
}

/// A set in order that is a sorted list while it is small.
#[derive(Clone, Debug)]
pub struct SmallSet<K>(Set<K>);

#[derive(Clone, Debug)]
#[expect(
    clippy::box_collection,
    reason = "most sets are never large, and so both are as wide as a list"
)]
enum Set<K> {
    Few(Vec<K>),
    Many(Box<BTreeSet<K>>),
}

impl<K: Ord> SmallSet<K> {
    /// An empty one.
    pub fn new() -> Self {
        Self(Set::Few(Vec::new()))
    }

    /// Puts a key in; whether it was not there.
    pub fn insert(&mut self, key: K) -> bool {
        match &mut self.0 {
            Set::Few(few) => {
                let Err(place) = few.binary_search(&key) else {
                    return false;
                };
                if few.len() < FEW_MAX {
                    few.reserve_exact(1);
                    few.insert(place, key);
                } else {
                    let mut many: BTreeSet<K> = std::mem::take(few).into_iter().collect();
                    many.insert(key);
                    self.0 = Set::Many(Box::new(many));
                }
                true
            }
            Set::Many(many) => many.insert(key),
        }
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        let was_there = match &mut self.0 {
            Set::Few(few) => match few.binary_search(key) {
                Ok(place) => {
                    few.remove(place);
                    true
                }
                Err(_) => false,
            },
            Set::Many(many) => many.remove(key),
        };
        self.shrink();
        was_there
    }

    /// Takes the first out.
    pub fn pop_first(&mut self) -> Option<K> {
        let first = match &mut self.0 {
            Set::Few(few) => (!few.is_empty()).then(|| few.remove(0)),
            Set::Many(many) => many.pop_first(),
        };
        self.shrink();
        first
    }

    /// Takes the last out.
    pub fn pop_last(&mut self) -> Option<K> {
        let last = match &mut self.0 {
            Set::Few(few) => few.pop(),
            Set::Many(many) => many.pop_last(),
        };
        self.shrink();
        last
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &K) -> bool {
        match &self.0 {
            Set::Few(few) => few.binary_search(key).is_ok(),
            Set::Many(many) => many.contains(key),
        }
    }

    /// The first.
    pub fn first(&self) -> Option<&K> {
        match &self.0 {
            Set::Few(few) => few.first(),
            Set::Many(many) => many.first(),
        }
    }

    /// The last.
    pub fn last(&self) -> Option<&K> {
        match &self.0 {
            Set::Few(few) => few.last(),
            Set::Many(many) => many.last(),
        }
    }

    /// All in order that are not before this one.
    pub fn from(&self, start: K) -> impl Iterator<Item = &K> {
        match &self.0 {
            Set::Few(few) => {
                let place = few.partition_point(|key| *key < start);
                Either::Few(few.get(place..).unwrap_or_default().iter())
            }
            Set::Many(many) => Either::Many(many.range(start..)),
        }
    }

    fn shrink(&mut self) {
        match &mut self.0 {
            Set::Few(few) => keep_one_spare(few),
            Set::Many(many) if many.len() <= FEW_AGAIN => {
                let mut few = Vec::with_capacity(many.len());
                few.extend(std::mem::take(&mut **many));
                self.0 = Set::Few(few);
            }
            Set::Many(_) => {}
        }
    }
}

impl<K> SmallSet<K> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Set::Few(few) => few.len(),
            Set::Many(many) => many.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All in order.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        match &self.0 {
            Set::Few(few) => Either::Few(few.iter()),
            Set::Many(many) => Either::Many(many.iter()),
        }
    }
}

impl<K> Default for SmallSet<K> {
    fn default() -> Self {
        Self(Set::Few(Vec::new()))
    }
}

/// What goes is often followed by what comes, as when an entry moves to the end of an order: for
/// that one place is kept.
fn keep_one_spare<T>(few: &mut Vec<T>) {
    if few.len() + 1 < few.capacity() {
        few.shrink_to(few.len() + 1);
    }
}

/// One of two ways to go through the same things.
#[derive(Clone)]
enum Either<A, B> {
    Few(A),
    Many(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Either<A, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Self::Few(few) => few.next(),
            Self::Many(many) => many.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(few) => few.size_hint(),
            Self::Many(many) => many.size_hint(),
        }
    }

    fn fold<R, F: FnMut(R, T) -> R>(self, start: R, act: F) -> R {
        match self {
            Self::Few(few) => few.fold(start, act),
            Self::Many(many) => many.fold(start, act),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys to put in (`true`) and take out, more often the first while a crowd comes, then the
    /// second.
    fn comings_and_goings() -> impl Strategy<Value = Vec<(bool, u8)>> {
        let phase = |chance| prop::collection::vec((prop::bool::weighted(chance), 0..40_u8), 0..60);
        let phases = prop::collection::vec(prop_oneof![phase(0.9), phase(0.5), phase(0.1)], 1..5);
        phases.prop_map(|phases| phases.concat())
    }

    fn is_a_list<K, V, S>(map: &SmallMap<K, V, S>) -> bool {
        matches!(map.0, Map::Few(_))
    }

    proptest! {
        #[test]
        fn a_small_map_is_a_map(steps in comings_and_goings()) {
            let mut model = BTreeMap::new();
            let mut map: SmallMap<u8, usize> = SmallMap::new();
            for (number, (comes, key)) in steps.into_iter().enumerate() {
                match comes {
                    true => prop_assert_eq!(map.insert(key, number), model.insert(key, number)),
                    false => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.is_empty(), model.is_empty());
                for key in 0..40 {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                    prop_assert_eq!(map.get_mut(&key), model.get_mut(&key));
                    prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
                }
                let all: BTreeMap<u8, usize> = map.iter().map(|(&key, &at)| (key, at)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(map.iter_mut().count(), model.len());
                prop_assert!(is_a_list(&map) || FEW_AGAIN < map.len());
                prop_assert!(!is_a_list(&map) || map.capacity() <= map.len() + 1);
            }
        }

        #[test]
        fn a_small_set_is_a_set_in_order(steps in comings_and_goings()) {
            let mut model = BTreeSet::new();
            let mut set = SmallSet::new();
            for (number, (comes, key)) in steps.into_iter().enumerate() {
                match (comes, number % 7) {
                    (true, _) => prop_assert_eq!(set.insert(key), model.insert(key)),
                    (false, 0) => prop_assert_eq!(set.pop_first(), model.pop_first()),
                    (false, 1) => prop_assert_eq!(set.pop_last(), model.pop_last()),
                    (false, _) => prop_assert_eq!(set.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.is_empty(), model.is_empty());
                prop_assert_eq!(set.first(), model.first());
                prop_assert_eq!(set.last(), model.last());
                prop_assert!(set.iter().eq(model.iter()));
                for key in 0..40 {
                    prop_assert_eq!(set.contains(&key), model.contains(&key));
                    prop_assert!(set.from(key).eq(model.range(key..)));
                }
                let is_a_list = matches!(set.0, Set::Few(_));
                prop_assert!(is_a_list || FEW_AGAIN < set.len());
            }
        }
    }

    #[test]
    fn one_who_comes_and_goes_turns_nothing_over() {
        let mut map: SmallMap<usize, ()> = SmallMap::new();
        for key in 0..=FEW_MAX {
            map.insert(key, ());
        }
        assert!(!is_a_list(&map));
        for _ in 0..10 {
            map.remove(&0);
            assert!(!is_a_list(&map));
            map.insert(0, ());
        }
        for key in FEW_AGAIN..=FEW_MAX {
            map.remove(&key);
        }
        assert!(is_a_list(&map));
    }

    #[test]
    fn an_empty_one_is_no_wider_than_a_list() {
        let list = size_of::<Vec<u64>>();
        assert_eq!(size_of::<SmallMap<u64, u64>>(), list);
        assert_eq!(size_of::<SmallSet<u64>>(), list);
    }
}
