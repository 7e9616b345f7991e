//! Names for things that come and go: connections, sessions, Yjs clients, requests.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// One socket (or one HTTP heartbeat session), unique in this process for ever.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub u64);

/// One connection's share in one document: a socket of the y-websocket door has one, a Hocuspocus
/// socket one for each document (or provider) it carries. Unique in this process for ever.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// A Yjs client id: the number a client draws for itself. Up to 2^53-1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(pub u64);

/// What ends a session that has no socket: hard to guess, and all that its owner has to show.
pub type SessionToken = Arc<str>;

/// A question put to a room from outside (HTTP), answered by the same number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// A map whose keys are numbers that we give out. For keys that others choose (client ids, names)
/// it would be a way to slow us down: they need the standard library's own.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Spreads a number over 64 bits with one multiplication (Knuth's, by the golden ratio). A message is
/// looked up by its connection or session some twenty times on its way through.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        // Maps take their bucket from the low bits, which a product mixes least.
        self.0.rotate_left(32)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn numbers_in_a_row_do_not_meet() {
        let hasher = BuildHasherDefault::<IdHasher>::default();
        for step in [1, 2, 3, 64, 1_000, 4_096] {
            let hashes = (0..1_000).map(|number| hasher.hash_one(SessionId(number * step)));
            let buckets: HashSet<u64> = hashes.map(|hash| hash % 2_048).collect();
            // By chance it would be 790.
            assert!(
                600 < buckets.len(),
                "{} with steps of {step}",
                buckets.len()
            );
        }
    }
}
