//! Is this awareness payload sane?

use bytes::Bytes;

use crate::wire::yjs::AwarenessUpdate;

/// The payload as it is.
pub fn awareness(bytes: Bytes) -> Result<AwarenessUpdate, std::convert::Infallible> {
    Ok(AwarenessUpdate(bytes))
}
