//! What a session's client counts as not saved, as far as our answers depend on it.
//!
//! A Hocuspocus client counts one for each update it sends, and takes one away for each "saved" it is
//! told. With a step 1 it begins again, at one, for the step 2 with which it will answer ours. It counts
//! no other step 2: one that answers a question of ours which followed none of theirs is to be told
//! nothing, but brings whatever was refused before, and so makes that good.

/// The count of one session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// How often it has begun to count.
    round: u32,
    /// Whether a step 2 is still to come that it counts.
    awaits_step2: bool,
    /// Step 2s to come that it does not count.
    uncounted: u32,
    /// What it counts and was told "not saved" of.
    refused: u32,
    /// Whether it was sent the document without having asked.
    is_given: bool,
}

/// What a step 2 is to the count of its client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worth {
    /// One, of this round.
    One {
        /// See [`Tally::refuse`].
        round: u32,
    },
    /// All that was refused before, if it is taken.
    Refused,
}

impl Tally {
    /// The client sends a step 1, and begins to count.
    pub fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.awaits_step2 = true;
        self.refused = 0;
    }

    /// It is asked what it has, without having asked.
    pub fn ask(&mut self) {
        self.uncounted = self.uncounted.saturating_add(1);
    }

    /// It sends a step 2.
    pub fn hear_step2(&mut self) -> Worth {
        let round = self.round;
        if std::mem::take(&mut self.awaits_step2) || self.uncounted == 0 {
            return Worth::One { round };
        }
        self.uncounted -= 1;
        Worth::Refused
    }

    /// So many are told "saved" of a step 2 that was taken.
    pub fn settle(&mut self, worth: Worth) -> u32 {
        match worth {
            Worth::One { .. } => 1,
            Worth::Refused => std::mem::take(&mut self.refused),
        }
    }

    /// So many updates of this round were refused; of an earlier one the client knows nothing more.
    pub fn refuse(&mut self, updates: u32, round: u32) {
        if round == self.round {
            self.refused = self.refused.saturating_add(updates);
        }
    }

    /// The round it is in.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Whether it has neither asked for the document nor was given it; from now on it is.
    pub fn gives(&mut self) -> bool {
        self.round == 0 && !std::mem::replace(&mut self.is_given, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's own count beside it: below zero or above it at the end would be a fault.
    #[test]
    fn what_a_client_counts_is_told_exactly() {
        let mut tally = Tally::default();
        tally.begin();
        let mut count = 1;
        let worth = tally.hear_step2();
        count -= tally.settle(worth);
        assert_eq!(count, 0, "the step 2 of its own start");

        for _ in 0..3 {
            count += 1;
            tally.refuse(1, tally.round());
        }
        tally.ask();
        let worth = tally.hear_step2();
        assert_eq!(worth, Worth::Refused);
        count -= tally.settle(worth);
        assert_eq!(count, 0, "what was refused is made good, once");

        tally.ask();
        let worth = tally.hear_step2();
        assert_eq!(tally.settle(worth), 0, "nothing was refused since");
        let worth = tally.hear_step2();
        assert_eq!(tally.settle(worth), 1, "unasked, as some clients do");
    }

    #[test]
    fn a_new_start_forgets_what_was_refused() {
        let mut tally = Tally::default();
        tally.begin();
        let Worth::One { round } = tally.hear_step2() else {
            panic!("it counts that");
        };
        tally.refuse(1, round);
        tally.begin();
        // Found out only now, of the step 2 before: the client has forgotten it.
        tally.refuse(1, round);
        tally.ask();
        assert_eq!(tally.hear_step2(), Worth::One { round: round + 1 });
        assert_eq!(tally.hear_step2(), Worth::Refused);
        assert_eq!(tally.settle(Worth::Refused), 0);
    }

    #[test]
    fn the_document_is_given_once_and_only_to_who_has_not_asked() {
        let mut tally = Tally::default();
        assert!(tally.gives());
        assert!(!tally.gives());
        let mut tally = Tally::default();
        tally.begin();
        assert!(!tally.gives());
    }
}
