//! The promises of the contract, shown from outside: a real relay process, real sockets, clients
//! that are not ours to change.
//!
//! A module is a promise. Everything a test needs to talk to the relay is in `support`, which
//! shares no code with `src/wire`: frames are written and read a second time there, so a mistake
//! in one shows up against the other. Nothing sleeps until things settle; a test waits for the
//! message it expects, and fails saying what it waited for.

#![allow(
    clippy::unwrap_used,
    reason = "what fails in a test is the test, and it should stop where it is"
)]

mod access;
mod bad_input;
mod boards;
mod bounds;
mod cli;
mod clock;
mod collab;
mod convergence;
mod documents;
mod drain;
mod durability;
mod embedded_store;
mod fairness;
mod feed;
mod ghosts;
mod heartbeats;
mod hostile;
mod hostile_documents;
mod leaks;
mod live_page;
#[cfg(feature = "postgres")]
mod one_writer;
mod operator;
mod outages;
mod people;
#[cfg(feature = "postgres")]
mod postgres;
mod presence;
mod races;
mod recorded;
mod refusals;
mod revocations;
mod store;
mod support;
mod tools;
mod watching;
mod web_demo;
mod workspaces;
