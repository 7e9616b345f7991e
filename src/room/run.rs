//! What one session types in one turn: updates that came behind each other, as one.
//!
//! A fast typist, or one whose link brought much at once, sends dozens of updates in a turn. They
//! get one place in the log, leave as one, are kept as one and are applied as one. An update that
//! cannot be put together with those before it begins a run of its own; one that stays alone leaves
//! as the bytes that came. Nobody's updates are put together with those of others: should one break
//! the document, it and its run are set aside.

use crate::limits::{RUN_BYTES_MAX, UPDATES_TOGETHER_MAX};
use crate::model::SessionId;
use crate::room::document::Sequence;
use crate::wire::merging::Merging;
use crate::wire::yjs::Update;

/// Updates of a turn that have one place in the log.
pub(super) struct Run {
    /// The place.
    pub sequence: Sequence,
    /// Whose they are; a back end's stay alone.
    pub from: Option<SessionId>,
    /// How long they are together, at most.
    pub bytes: usize,
    updates: Updates,
}

enum Updates {
    One(Update),
    Several(Merging),
}

impl Run {
    /// A run of one update.
    pub fn new(sequence: Sequence, from: Option<SessionId>, update: Update) -> Self {
        Self {
            sequence,
            from,
            bytes: update.bytes().len(),
            updates: Updates::One(update),
        }
    }

    /// Takes an update in; `false` if it has to begin a run of its own.
    pub fn push(&mut self, from: Option<SessionId>, update: &Update) -> bool {
        let bytes = self.bytes + update.bytes().len();
        if from.is_none() || from != self.from || RUN_BYTES_MAX < bytes {
            return false;
        }
        let is_taken = match &mut self.updates {
            Updates::One(first) => {
                let mut merging = Merging::new();
                let is_taken = merging.push_checked(first) && merging.push_checked(update);
                if is_taken {
                    self.updates = Updates::Several(merging);
                }
                is_taken
            }
            Updates::Several(merging) => {
                merging.updates() < UPDATES_TOGETHER_MAX && merging.push_checked(update)
            }
        };
        if is_taken {
            self.bytes = bytes;
        }
        is_taken
    }

    /// All of it as one update.
    pub fn into_update(self) -> Update {
        match self.updates {
            Updates::One(update) => update,
            Updates::Several(mut merging) => merging.take(),
        }
    }
}
