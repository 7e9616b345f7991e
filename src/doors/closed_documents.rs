//! The documents that a socket's client has closed last, by their addresses.
//!
//! What comes for one of them is not at once what it seems: see `room::closing`.

use std::collections::VecDeque;

use crate::limits::CLOSED_DOCUMENTS_MAX;

/// The last few, with what is kept of each.
pub struct ClosedDocuments<T> {
    /// The oldest first.
    latest: VecDeque<(String, T)>,
}

impl<T> ClosedDocuments<T> {
    /// None yet.
    pub fn new() -> Self {
        let latest = VecDeque::new();
        Self { latest }
    }

    /// Remembers another; answers with what is remembered no longer.
    pub fn push(&mut self, address: String, kept: T) -> Option<T> {
        let before = self.take(&address);
        self.latest.push_back((address, kept));
        if CLOSED_DOCUMENTS_MAX < self.latest.len() {
            return self.latest.pop_front().map(|(_, oldest)| oldest);
        }
        before
    }

    /// What is kept of one.
    pub fn get_mut(&mut self, address: &str) -> Option<&mut T> {
        let place = self.place(address)?;
        self.latest.get_mut(place).map(|(_, kept)| kept)
    }

    /// Forgets one.
    pub fn take(&mut self, address: &str) -> Option<T> {
        let place = self.place(address)?;
        self.latest.remove(place).map(|(_, kept)| kept)
    }

    /// Whether it is among them.
    pub fn has(&self, address: &str) -> bool {
        self.place(address).is_some()
    }

    fn place(&self, address: &str) -> Option<usize> {
        // What was closed last is what anything still comes for.
        self.latest.iter().rposition(|(known, _)| known == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_oldest_given_back() {
        let mut closed = ClosedDocuments::new();
        for number in 0..CLOSED_DOCUMENTS_MAX {
            assert_eq!(closed.push(number.to_string(), number), None);
        }
        assert_eq!(closed.push("0".to_owned(), 1_000), Some(0), "closed again");
        assert_eq!(closed.push("new".to_owned(), 2_000), Some(1));
        assert!(closed.has("0") && !closed.has("1"));
        assert_eq!(closed.get_mut("new"), Some(&mut 2_000));
        assert_eq!(closed.take("0"), Some(1_000));
        assert_eq!(closed.take("0"), None);
    }
}
