//! Names for batches of writes, so that one whose answer was lost can be told from another.

/// A batch's name: whose it is, and which of theirs. A store keeps, in the batch's own transaction,
/// the last one of each writer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BatchId {
    pub(super) writer: u64,
    pub(super) number: u64,
}

/// Gives names to the batches of one writer: one thread, which hands in its next batch only when it
/// knows what became of the last one. It cannot be copied, because two writers of one name would take
/// each other's batches for their own.
#[derive(Debug)]
pub struct BatchIds {
    writer: u64,
    last: u64,
}

impl BatchIds {
    /// For a writer of this name; drawn at random, since it must be nobody else's, ever.
    pub fn new(writer: u64) -> Self {
        Self { writer, last: 0 }
    }

    /// For the next batch. Who tries a batch again gives it the name that it had.
    pub fn next_id(&mut self) -> BatchId {
        self.last += 1;
        BatchId {
            writer: self.writer,
            number: self.last,
        }
    }
}

impl BatchId {
    /// Both numbers as databases have them: the same bits, signed.
    pub(super) fn as_signed(self) -> (i64, i64) {
        (self.writer.cast_signed(), self.number.cast_signed())
    }
}
