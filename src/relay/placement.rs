//! Which worker owns a room, and where a socket lives.

use crate::model::RoomName;

/// Where a connection lives: beside what it talks to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Home {
    /// With the room's worker.
    Room(RoomName),
    /// With the follow feed's.
    Feed,
    /// With any: what it talks to will be known later.
    Anywhere,
}

/// The number of the worker that owns the room: FNV-1a over its name, the same for everybody who
/// asks, for as long as the process lives.
pub fn worker_of(room: &RoomName, workers: usize) -> usize {
    let hash = room
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    // The low bits of FNV-1a are its weakest: fold the high half in before picking.
    ((hash ^ (hash >> 32)) % workers.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_spread_over_the_workers() {
        let mut rooms_of = [0; 4];
        for number in 0..4_000 {
            let room = RoomName::parse(&format!("session/{number}")).unwrap();
            rooms_of[worker_of(&room, 4)] += 1;
        }
        assert!(
            rooms_of.iter().all(|rooms| (800..1_200).contains(rooms)),
            "{rooms_of:?}"
        );
    }
}
