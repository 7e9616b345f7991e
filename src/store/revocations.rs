//! Whose tokens are refused, in which rooms, and since when: what a restart must not forget.

use crate::clock::Timestamp;
use crate::model::{Pattern, UserId};
use crate::store::StoreError;

/// The tokens of a user that were issued until a time are refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// Whose.
    pub user: UserId,
    /// In these rooms; `None` is everywhere.
    pub rooms: Option<Pattern>,
    /// Those issued until then.
    pub at: Timestamp,
}

/// What keeps revocations. Methods block, as those of [`Store`](crate::store::Store) do. Users are
/// those that [`is_storable`](crate::store::is_storable) takes: no token has another.
pub trait Revocations: Send + Sync + 'static {
    /// Writes revocations down, all or none; when it returns `Ok` they survive a loss of power. Of the
    /// same user and the same rooms the later time stays. Those made before `kept_from` are removed.
    fn revoke(&self, batch: &[Revocation], kept_from: Timestamp) -> Result<(), StoreError>;

    /// Those made since then, the latest first; an error if one of them cannot be read, because
    /// somebody would be let in.
    fn revocations(&self, since: Timestamp, limit: usize) -> Result<Vec<Revocation>, StoreError>;
}

/// How the rooms are written where there must be a text: no pattern is empty.
pub(super) const EVERYWHERE: &str = "";

/// And back.
pub(super) fn rooms_of(text: &str) -> Option<Pattern> {
    (text != EVERYWHERE).then(|| Pattern::new(text))
}

impl Revocation {
    /// The rooms as text.
    pub(super) fn rooms_text(&self) -> &str {
        self.rooms.as_ref().map_or(EVERYWHERE, Pattern::as_str)
    }
}

/// Why revocations are not handed out.
pub(super) fn unreadable() -> StoreError {
    let why = "a revocation cannot be read, so somebody might be let in who must not be; see \
               `copresence check`";
    StoreError::Down(why.to_owned())
}
