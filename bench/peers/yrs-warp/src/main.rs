//! The peer yrs-warp, put together as its own example is, with a broadcast group for each room:
//! in memory, a free port. The argument is how many messages a group's channel holds.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::Mutex;
use warp::Filter;
use warp::ws::{WebSocket, Ws};
use yrs::Doc;
use yrs::sync::Awareness;
use yrs_warp::broadcast::BroadcastGroup;
use yrs_warp::ws::{WarpSink, WarpStream};

type Groups = Arc<Mutex<HashMap<String, Arc<BroadcastGroup>>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let capacity: usize = std::env::args().nth(1).ok_or("how many messages?")?.parse()?;
    let groups = Groups::default();
    let route = warp::path!(String).and(warp::ws()).map(move |room: String, ws: Ws| {
        let groups = groups.clone();
        ws.on_upgrade(async move |socket| serve(socket, room, groups, capacity).await)
    });
    let (address, server) = warp::serve(route).bind_ephemeral(([127, 0, 0, 1], 0));
    println!("listening on http://{address}");
    server.await;
    Ok(())
}

async fn serve(socket: WebSocket, room: String, groups: Groups, capacity: usize) {
    let group = {
        let mut groups = groups.lock().await;
        match groups.get(&room) {
            Some(group) => group.clone(),
            None => {
                let awareness = Arc::new(Awareness::new(Doc::new()));
                let group = Arc::new(BroadcastGroup::new(awareness, capacity).await);
                groups.insert(room, group.clone());
                group
            }
        }
    };
    let (sink, stream) = socket.split();
    let sink = Arc::new(Mutex::new(WarpSink::from(sink)));
    // How a connection ends is its client's business.
    let _ = group.subscribe(sink, WarpStream::from(stream)).completed().await;
}
