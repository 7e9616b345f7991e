//! What the tests use to start a relay and to talk to it as others do.
//!
//! [`relay`] is the process, [`client`] a well-behaved editor on either Yjs door, [`old_client`]
//! one of 2024, [`talker`] a client of a JSON dialect, [`raw`] a socket that may do anything, [`proxy`] a network that can go silent.
//! `postgres` is a database server of the tests' own. [`mounted`] is the relay within the test's
//! own process, for [`faulty`], a store that fails on demand.
//! [`frames`] has the bytes, [`hostile`] those that break CRDT libraries, [`tokens`] the passes, [`http`] the other way in.

pub mod client;
pub mod document;
pub mod faulty;
pub mod frames;
#[path = "../../fixtures/hostile.rs"]
pub mod hostile;
pub mod http;
pub mod mounted;
pub mod old_client;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod relay;
pub mod talker;
pub mod time;
pub mod tokens;
