//! Bytes and text to values and back; decides nothing.
//!
//! `lib0` reads and writes the encoding all Yjs protocols share, `yjs` the sync and awareness
//! messages, `validator` (with `json`) tells sane updates from forged ones, `typed` knows the usual
//! kind, `frontier` tells what can be applied from what rests on something missing, `merging` puts
//! updates together, `document` is a document as its structs. `y_websocket` and `hocuspocus` are
//! the framings of the two Yjs doors, `websocket` the frames of RFC 6455 below them.
//! `boards`, `workspaces` and `feed` are dialects in JSON, which share `dialect`; `heartbeat` has the
//! bodies of presence without a socket. `url` decodes the names and tokens in addresses, and `close`
//! is the one table of close codes, `problem` the body of HTTP answers that are errors.
//! Nothing here allocates more than the bytes it was given, and nothing knows of rooms, sockets or
//! time. Start with `y_websocket`, the shorter door.

pub mod boards;
pub mod close;
pub mod dialect;
pub mod document;
pub mod feed;
pub mod frontier;
pub mod heartbeat;
#[cfg(test)]
pub(crate) mod histories;
pub mod hocuspocus;
mod json;
pub mod lib0;
pub mod merging;
pub mod problem;
#[cfg(test)]
pub(crate) mod protocols_page;
pub mod typed;
pub mod url;
pub mod validator;
#[cfg(test)]
mod validator_against_yrs;
pub mod websocket;
pub mod workspaces;
pub mod y_websocket;
pub mod yjs;
