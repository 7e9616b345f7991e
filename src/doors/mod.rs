//! Ways in: one file for each door.
//!
//! A door upgrades a request, finds out who asks and what they may do, and then turns what its
//! clients say into what a room understands. `upgrade` is what all doors share until the socket has
//! left for its worker, `http_stream` what a socket is before that, `knocking` what is done about those
//! who come again with what was refused; `sync` is y-websocket, `collab` Hocuspocus, `boards` y-websocket with texts
//! between, `workspaces` texts alone, as does `feed`, which leads to no room. A socket's token is
//! renewed as `renewal` says, `manners` is the patience of the doors that speak JSON, `newest` what
//! they keep of what comes too fast, `conversation` manners and renewal for those that lead to a room. None knows what happens in a room.
//!
//! Checks go: origin, token, room name, access. Only a wrong origin refuses the upgrade (and whatever
//! asks for none, and a relay that is going); everything else is upgraded and then closed with a code, because browsers cannot read a refused upgrade.

mod boards;
mod checked;
mod closed_documents;
mod collab;
mod conversation;
mod feed;
mod http_stream;
mod knocking;
mod manners;
mod newest;
mod renewal;
mod sync;
mod upgrade;
mod workspaces;

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::doors::knocking::Knocking;
use crate::relay::Relay;

pub use http_stream::HttpStream;

/// What the doors need to know beside the relay.
#[derive(Clone, Debug, Default)]
pub struct DoorOptions {
    /// Browser origins that may connect, beside the relay's own.
    pub allow_origins: Vec<String>,
}

/// What all doors share: how they are set, and who comes again and again.
struct Doorstep {
    options: DoorOptions,
    knocking: Knocking,
}

/// All doors as one filter, which rejects what is not theirs.
pub fn routes(relay: Relay, options: DoorOptions) -> BoxedFilter<(Response,)> {
    let options = Arc::new(Doorstep {
        options,
        knocking: Knocking::default(),
    });
    sync::route(relay.clone(), options.clone())
        .or(collab::route(relay.clone(), options.clone()))
        .unify()
        .or(boards::route(relay.clone(), options.clone()))
        .unify()
        .or(workspaces::route(relay.clone(), options.clone()))
        .unify()
        .or(feed::route(relay, options))
        .unify()
        .map(Reply::into_response)
        .boxed()
}
