//! The room that a map made for a crowd, given back once the crowd has left.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Below this a map is not worth making smaller.
const KEPT: usize = 64;

/// Makes a map smaller that has become mostly empty. To be called after each removal: it does
/// something only when three quarters are gone, so a removal costs little on average.
pub fn give_back<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if KEPT + 4 * map.len() < map.capacity() {
        map.shrink_to(2 * map.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_never_much_larger_than_what_is_in_it() {
        let mut map: HashMap<u32, u32> = (0..10_000).map(|number| (number, number)).collect();
        for number in 0..10_000 {
            map.remove(&number);
            give_back(&mut map);
            assert!(map.capacity() <= 2 * KEPT + 4 * map.len());
        }
    }
}
