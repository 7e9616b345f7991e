//! copresence: a Yjs collaboration relay and presence server.
//!
//! Browsers edit shared documents through it with the Yjs clients they already use, and everybody
//! sees at once who else is there. This crate is the relay as a library; the binary beside it is
//! the same relay behind a command line.
//!
//! The folders are rings, and a ring uses lower rings only:
//!
//! * ring 0, [`model`]: the words of the contract as types;
//! * ring 1, [`presence`] (who is in one room), [`feed`] (what users see of those they follow) and
//!   [`wire`] (bytes and text to values and back): pure state machines and codecs;
//! * ring 2, [`room`]: one document, its awareness and its roster;
//! * ring 3, [`auth`] and [`store`]: tokens, and what outlives a room;
//! * ring 4, [`relay`]: the worker threads that drive the pure parts;
//! * ring 5, [`doors`] and [`http`]: the ways in.
//!
//! Start reading with `room`, then `relay::worker`. A program that wants to mount the relay into
//! its own warp routes starts with [`relay::Relay`] and [`routes`].

pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deadlines;
pub mod doors;
pub mod feed;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod presence;
pub mod process;
pub mod relay;
pub mod room;
pub mod slack;
pub mod small;
pub mod store;
pub mod wire;

use doors::DoorOptions;
use http::HttpOptions;
use relay::Relay;
use warp::Filter;

/// The whole relay as one warp filter: every door and the API, to be mounted into another
/// program's routes. Rejects the paths that are not its own.
pub fn routes(
    relay: Relay,
    options: HttpOptions,
) -> impl Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone {
    let doors = DoorOptions {
        allow_origins: options.allow_origins.clone(),
    };
    doors::routes(relay.clone(), doors)
        .or(http::routes(relay, options))
        .unify()
}
