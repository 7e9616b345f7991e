//! The relay as a library, mounted into the test's own process: for stores that are ours to spoil.

use std::net::SocketAddr;
use std::sync::Arc;

use copresence::auth::{AuthOptions, KeySource, Secret, Verifier};
use copresence::clock::SystemClock;
use copresence::http::HttpOptions;
use copresence::metrics::Metrics;
use copresence::relay::{Relay, RelayOptions};
use copresence::store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::client::{Client, Provider, draw_client_id};
use crate::support::relay::{Share, share};
use crate::support::tokens::{self, SECRET};

/// A relay on a free port, for as long as this lives.
pub struct Mounted {
    pub relay: Relay,
    pub address: SocketAddr,
    server: JoinHandle<()>,
    _share: Share,
}

impl Mounted {
    pub async fn start(store: Arc<dyn Store>) -> Self {
        Self::with(RelayOptions::default(), store).await
    }

    pub async fn with(options: RelayOptions, store: Arc<dyn Store>) -> Self {
        Self::with_clock(options, store, SystemClock::new()).await
    }

    pub async fn with_clock(
        options: RelayOptions,
        store: Arc<dyn Store>,
        clock: SystemClock,
    ) -> Self {
        let share = share();
        let auth = AuthOptions {
            key: Some(KeySource::Secret(Secret::new(SECRET))),
            ..AuthOptions::default()
        };
        let verifier = Verifier::new(auth).unwrap();
        let metrics = Arc::new(Metrics::new());
        let relay = Relay::start(options, store, verifier, metrics, clock).unwrap();
        let routes = copresence::routes(relay.clone(), HttpOptions::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(warp::serve(routes).incoming(listener).run());
        Self {
            relay,
            address,
            server,
            _share: share,
        }
    }

    /// Somebody who may write, not connected yet.
    pub fn client(&self, provider: Provider, room: &str) -> Client {
        let token = tokens::member("somebody");
        Client::at(self.address, provider, room, &token, draw_client_id())
    }

    /// The same, in sync.
    pub async fn join(&self, provider: Provider, room: &str) -> Client {
        let mut client = self.client(provider, room);
        client.connect().await;
        client
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.server.abort();
    }
}
