//! The newest of what came too fast, where a message replaces all before it.
//!
//! What is above the rate is dropped, and a client that comes back with a long queue has its newest word
//! at the end of it. Where that makes the others of no account, it is kept, and taken a little later.

use crate::clock::Timestamp;
use crate::limits::{NEWEST_BYTES_MAX, NEWEST_WITHIN};

/// Reads a message that came too fast, if it may be one to keep.
pub fn read<'a, M, E>(
    payload: &'a [u8],
    decode: impl FnOnce(&'a str) -> Result<M, E>,
) -> Option<M> {
    // Checked for UTF-8 where the frame was read.
    let text = str::from_utf8(payload).ok();
    let text = text.filter(|text| text.len() <= NEWEST_BYTES_MAX)?;
    decode(text).ok()
}

/// What is to be taken, unless something newer comes before.
#[derive(Debug)]
pub struct Newest<T>(Option<(Timestamp, T)>);

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Newest<T> {
    /// Keeps what `merge` makes of what is kept already.
    pub fn keep(&mut self, now: Timestamp, merge: impl FnOnce(Option<T>) -> T) {
        let (at, kept) = match self.0.take() {
            Some((at, kept)) => (at, Some(kept)),
            None => (now + NEWEST_WITHIN, None),
        };
        self.0 = Some((at, merge(kept)));
    }

    /// What is kept, for a message that is taken and comes behind it.
    pub fn take(&mut self) -> Option<T> {
        self.0.take().map(|(_, kept)| kept)
    }

    /// What is kept, once it is time.
    pub fn take_due(&mut self, now: Timestamp) -> Option<T> {
        self.0.take_if(|(at, _)| *at <= now).map(|(_, kept)| kept)
    }

    /// When that is.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_is_taken_and_not_much_later_than_the_first() {
        let at = |millis: u64| Timestamp::from_millis(1_000_000 + millis);
        let mut newest = Newest::<u32>::default();
        assert_eq!(newest.take_due(at(0)), None);
        for number in 0..50 {
            newest.keep(at(number.into()), |_| number);
        }
        assert_eq!(newest.next_deadline(), Some(at(0) + NEWEST_WITHIN));
        assert_eq!(newest.take_due(at(50)), None);
        assert_eq!(newest.take_due(at(0) + NEWEST_WITHIN), Some(49));
        assert_eq!((newest.take(), newest.next_deadline()), (None, None));
    }

    #[test]
    fn what_names_some_fields_leaves_the_others() {
        let now = Timestamp::from_millis(1);
        let mut newest = Newest::default();
        newest.keep(now, |_| (Some('a'), None));
        newest.keep(now, |kept: Option<(Option<char>, Option<char>)>| {
            (kept.and_then(|kept| kept.0), Some('b'))
        });
        assert_eq!(newest.take(), Some((Some('a'), Some('b'))));
    }
}
