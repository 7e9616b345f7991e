//! The relay inside somebody else's warp program: its own pages and login beside copresence's doors.
//!
//! `cargo run --example mount`, then open the printed address. The program decides who people are
//! (here it believes everybody's name) and signs their tokens; the relay verifies them with the
//! same secret, and everything under `/sync`, `/collab` and `/v1` is its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use copresence::auth::{AuthOptions, KeySource, Secret, Verifier};
use copresence::clock::SystemClock;
use copresence::http::HttpOptions;
use copresence::metrics::Metrics;
use copresence::relay::{Relay, RelayOptions};
use copresence::store::MemoryStore;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::net::TcpListener;
use warp::Filter;

/// In life this comes from where the program's other secrets come from.
const SECRET: &str = "known to this program and its relay";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let relay = Relay::start(
        RelayOptions::default(),
        Arc::new(MemoryStore::new()),
        Verifier::new(AuthOptions {
            key: Some(KeySource::Secret(Secret::new(SECRET))),
            ..AuthOptions::default()
        })?,
        Arc::new(Metrics::new()),
        SystemClock::new(),
    )?;

    let page = warp::path::end().map(|| warp::reply::html(PAGE));
    let clock = relay.clock();
    let token = warp::path!("token" / String).map(move |user: String| {
        let hour = clock.now().as_millis() / 1000 + 3600;
        sign(&user, hour).unwrap_or_else(|error| format!("no token: {error}"))
    });
    // The program's routes first; the relay's filter rejects what is not its own.
    let routes = page
        .or(token)
        .or(copresence::routes(relay.clone(), HttpOptions::default()));

    let socket = TcpListener::bind("127.0.0.1:0")
        .await
        .context("cannot listen on loopback")?;
    println!("listening on http://{}", socket.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(
        warp::serve(routes)
            .incoming(socket)
            .graceful(async {
                // The other end is gone when the program is: that is a reason to stop too.
                let _ = stopped.await;
            })
            .run(),
    );

    tokio::signal::ctrl_c().await?;
    // Upgraded sockets are the relay's: it sends everybody away before the server stops.
    relay.drain(Duration::from_secs(10)).await?;
    drop(stop);
    server.await?;
    Ok(())
}

/// A token with which somebody may edit every session, good until `expires_at`.
fn sign(user: &str, expires_at: u64) -> Result<String, jsonwebtoken::errors::Error> {
    let claims = json!({
        "sub": user,
        "exp": expires_at,
        "rooms": {"session/*": {"role": "coach", "access": "write"}},
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes())?;
    jsonwebtoken::encode(&Header::default(), &claims, &key)
}

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>A program with a relay in it</title>
<h1>Who is in session/1</h1>
<p>Open this page's program with any Yjs editor: y-websocket at <code>/sync</code>, Hocuspocus at
<code>/collab</code>, a token from <code>/token/YOUR-NAME</code>.</p>
<pre id="who">…</pre>
<script>
  const show = (data) => { document.getElementById("who").textContent += data + "\n"; };
  fetch("/token/the-page").then((answer) => answer.text()).then((token) => {
    const events = new EventSource("/v1/rooms/session/1/presence/stream?token=" + token);
    for (const kind of ["snapshot", "joined", "changed", "left"]) {
      events.addEventListener(kind, (event) => show(kind + " " + event.data));
    }
  });
</script>
"#;
