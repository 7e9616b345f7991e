//! A network that can go silent: a TCP proxy that stops forwarding without closing anything.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards to the relay until told to be silent.
pub struct Proxy {
    pub address: SocketAddr,
    silent: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = watch::Sender::new(false);
        let listen = silent.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else {
                    continue;
                };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(forward(near_read, far_write, listen.clone()));
                tokio::spawn(forward(far_read, near_write, listen.clone()));
            }
        });
        Self {
            address,
            silent,
            task,
        }
    }

    /// From now on nothing arrives at either end, and neither is told.
    pub fn fall_silent(&self) {
        self.silent.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut silent: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = tokio::select! {
            count = from.read(&mut buffer) => count.unwrap_or(0),
            () = silence(&mut silent) => return std::future::pending().await,
        };
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Returns when the network is to go silent, or the proxy is gone and the network with it.
async fn silence(silent: &mut watch::Receiver<bool>) {
    // The guard inside the answer must not live across the caller's waiting.
    let _ = silent.wait_for(|&silent| silent).await.is_ok();
}
