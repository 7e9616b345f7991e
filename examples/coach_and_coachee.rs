//! Two headless people in one session: they edit its document and print what they see of each other.
//!
//! `cargo run --example coach_and_coachee` runs a short scene against a relay of its own.
//! `-- --url ws://ADDRESS/sync/session/demo` plays it in a relay that runs already (with `--dev`,
//! or with `?token=…` at the end), again and again until Ctrl-C; `--once` and `--forever` say
//! otherwise. The clients are nothing but yrs, its own sync protocol, and a WebSocket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use copresence::auth::{AuthOptions, Verifier};
use copresence::clock::SystemClock;
use copresence::http::HttpOptions;
use copresence::metrics::Metrics;
use copresence::relay::{Relay, RelayOptions};
use copresence::store::MemoryStore;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use yrs::sync::{Awareness, DefaultProtocol, Message, Protocol, SyncMessage};
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, GetString, ReadTxn, Text, TextRef, Transact};

/// Two headless people in one session.
#[derive(Parser)]
struct Options {
    /// The session's address; without it, a relay is started here
    #[arg(long)]
    url: Option<String>,
    /// Play until Ctrl-C
    #[arg(long, conflicts_with = "once")]
    forever: bool,
    /// Play once, also at an address
    #[arg(long)]
    once: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let is_endless = options.forever || (options.url.is_some() && !options.once);
    let (coach_url, coachee_url) = match options.url {
        Some(url) => (url.clone(), url),
        None => start_relay().await?,
    };
    tokio::select! {
        played = play(&coach_url, &coachee_url, is_endless) => played,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// The scene: they meet, they write, one leaves and comes back.
async fn play(coach_url: &str, coachee_url: &str, is_endless: bool) -> Result<()> {
    let beat = Duration::from_millis(500);
    let coach = Person::arrive("Jim", "#15803d", coach_url, Awareness::new(Doc::new())).await?;
    let mut caleb = Awareness::new(Doc::new());
    for session in 1.. {
        sleep(beat).await;
        let coachee = Person::arrive("Caleb", "#1d4ed8", coachee_url, caleb).await?;
        sleep(beat).await;
        coach
            .write(&format!("Session {session}. How was your week? "))
            .await?;
        sleep(beat).await;
        coachee.write("Long. But I kept the promise. ").await?;
        sleep(beat).await;
        // At once, so that what they write crosses on the way.
        tokio::try_join!(coach.write("Well done. "), coachee.write("Thank you. "))?;
        sleep(beat).await;
        caleb = coachee.leave().await?;
        sleep(beat).await;
        coach.write("Next time we talk about rest. ").await?;
        sleep(beat).await;
        let coachee = Person::arrive("Caleb", "#1d4ed8", coachee_url, caleb).await?;
        sleep(beat).await;
        coachee.write("See you then.\n").await?;
        sleep(beat).await;
        caleb = coachee.leave().await?;
        if !is_endless {
            break;
        }
        sleep(4 * beat).await;
    }
    coach.leave().await?;
    Ok(())
}

/// A relay in this process; returns where the coach and the coachee connect, each with a token.
async fn start_relay() -> Result<(String, String)> {
    let verifier = Verifier::new(AuthOptions {
        is_dev: true,
        ..AuthOptions::default()
    })?;
    let clock = SystemClock::new();
    let relay = Relay::start(
        RelayOptions::default(),
        Arc::new(MemoryStore::new()),
        verifier.clone(),
        Arc::new(Metrics::new()),
        clock,
    )?;
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let routes = copresence::routes(relay, HttpOptions::default());
    tokio::spawn(warp::serve(routes).incoming(socket).run());
    let expires_at = clock.now().as_millis() / 1000 + 3600;
    let url = |user: &str, name: &str, role: &str| {
        let claims = json!({
            "sub": user,
            "name": name,
            "exp": expires_at,
            "rooms": {"session/demo": {"role": role, "access": "write"}},
        });
        let token = verifier
            .sign_dev(clock.now(), &claims)
            .context("cannot sign a token")?;
        anyhow::Ok(format!("ws://{address}/sync/session/demo?token={token}"))
    };
    Ok((
        url("jim", "Jim", "coach")?,
        url("caleb", "Caleb", "coachee")?,
    ))
}

/// Somebody in the session, with a task that keeps the connection.
struct Person {
    name: &'static str,
    wishes: mpsc::Sender<Wish>,
    task: JoinHandle<Result<Awareness>>,
}

enum Wish {
    Write(String),
    Leave,
}

impl Person {
    /// Connects with what they know from last time.
    async fn arrive(
        name: &'static str,
        color: &'static str,
        url: &str,
        mut awareness: Awareness,
    ) -> Result<Self> {
        println!("{name:>6} arrives");
        let user = json!({"name": name, "color": color});
        let presence = json!({"name": name, "color": color, "isConnected": true});
        awareness.set_local_state(json!({"user": user, "presence": presence}))?;
        let socket = connect(url).await?;
        let text = awareness.doc().get_or_insert_text("text");
        let connection = Connection {
            name,
            socket,
            text,
            awareness,
            seen: BTreeMap::new(),
        };
        // A person types faster than a network only for a moment.
        let (wishes, wished) = mpsc::channel(8);
        let task = tokio::spawn(connection.run(wished));
        Ok(Self { name, wishes, task })
    }

    async fn write(&self, words: &str) -> Result<()> {
        self.wish(Wish::Write(words.to_owned())).await
    }

    /// Closes the connection; what is returned is what they take home.
    async fn leave(self) -> Result<Awareness> {
        self.wish(Wish::Leave).await?;
        println!("{:>6} leaves", self.name);
        self.task.await?
    }

    async fn wish(&self, wish: Wish) -> Result<()> {
        let sent = self.wishes.send(wish).await;
        sent.ok()
            .with_context(|| format!("{} lost the connection", self.name))
    }
}

async fn connect(url: &str) -> Result<WebSocketStream<TcpStream>> {
    let authority = url
        .strip_prefix("ws://")
        .and_then(|rest| rest.split('/').next())
        .context("the address does not begin with ws://")?;
    let address: SocketAddr = tokio::net::lookup_host(authority)
        .await
        .with_context(|| format!("cannot find {authority}"))?
        .next()
        .with_context(|| format!("{authority} has no address"))?;
    let tcp = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot reach {address}"))?;
    tcp.set_nodelay(true)?;
    let (socket, _) = tokio_tungstenite::client_async(url, tcp).await?;
    Ok(socket)
}

struct Connection {
    name: &'static str,
    socket: WebSocketStream<TcpStream>,
    text: TextRef,
    awareness: Awareness,
    /// Who was there when last looked, by what was printed of them.
    seen: BTreeMap<String, String>,
}

impl Connection {
    async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) -> Result<Awareness> {
        self.greet().await?;
        // Others forget a state that is not renewed for 30 s.
        let mut renewals = tokio::time::interval(Duration::from_secs(15));
        renewals.reset();
        loop {
            tokio::select! {
                frame = self.socket.next() => match frame {
                    Some(Ok(Frame::Binary(bytes))) => self.receive(&bytes).await?,
                    Some(Ok(Frame::Close(why))) => bail!("{} was sent away: {why:?}", self.name),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => bail!("the relay hung up on {}", self.name),
                },
                wish = wishes.recv() => match wish {
                    Some(Wish::Write(words)) => self.write(&words).await?,
                    Some(Wish::Leave) | None => {
                        self.socket.close(None).await?;
                        return Ok(self.awareness);
                    }
                },
                _ = renewals.tick() => {
                    if let Some(state) = self.awareness.local_state_raw() {
                        self.awareness.set_local_state_raw(state);
                        self.send_own_state().await?;
                    }
                }
            }
        }
    }

    /// What a client says first: what it has of the document, and who it is.
    async fn greet(&mut self) -> Result<()> {
        let state_vector = self.awareness.doc().transact().state_vector();
        self.send(Message::Sync(SyncMessage::SyncStep1(state_vector)))
            .await?;
        self.send_own_state().await
    }

    async fn send_own_state(&mut self) -> Result<()> {
        let own = [self.awareness.client_id()];
        let update = self.awareness.update_with_clients(own)?;
        self.send(Message::Awareness(update)).await
    }

    async fn receive(&mut self, bytes: &[u8]) -> Result<()> {
        let before = self.words();
        let answer = match Message::decode_v1(bytes)? {
            Message::Awareness(update) => {
                let own = self.awareness.client_id();
                let is_about_us = update.clients.contains_key(&own);
                self.awareness.apply_update(update)?;
                if is_about_us {
                    // The relay took us for gone: we say that we are here.
                    self.send_own_state().await?;
                }
                None
            }
            message => DefaultProtocol.handle_message(&mut self.awareness, message)?,
        };
        if let Some(answer) = answer {
            self.send(answer).await?;
        }
        self.look();
        let words = self.words();
        if words != before {
            println!("{:>6} reads  {:?}", self.name, newest_of(&words));
        }
        Ok(())
    }

    async fn write(&mut self, words: &str) -> Result<()> {
        let update = {
            let mut transaction = self.awareness.doc().transact_mut();
            self.text.push(&mut transaction, words);
            transaction.encode_update_v1()
        };
        println!("{:>6} writes {words:?}", self.name);
        self.send(Message::Sync(SyncMessage::Update(update))).await
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        self.socket.send(Frame::binary(message.encode_v1())).await?;
        Ok(())
    }

    fn words(&self) -> String {
        self.text.get_string(&self.awareness.doc().transact())
    }

    /// Prints who appeared, changed or is gone.
    fn look(&mut self) {
        let own = self.awareness.client_id();
        let others: BTreeMap<String, String> = self
            .awareness
            .iter()
            .filter(|(client, _)| *client != own)
            .filter_map(|(client, state)| {
                let state: Value = serde_json::from_str(&state.data?).ok()?;
                Some((client.to_string(), describe(&state)))
            })
            .collect();
        for (client, other) in &others {
            if self.seen.get(client) != Some(other) {
                println!("{:>6} sees   🟢 {other}", self.name);
            }
        }
        for (_, other) in self
            .seen
            .iter()
            .filter(|(client, _)| !others.contains_key(*client))
        {
            println!("{:>6} sees   ⚫ {other}", self.name);
        }
        self.seen = others;
    }
}

/// As the relay vouches for them; of a guest, as they call themselves.
fn describe(state: &Value) -> String {
    let text = |pointer: &str| state.pointer(pointer).and_then(Value::as_str);
    let name = text("/presence/name")
        .or(text("/user/name"))
        .unwrap_or("somebody");
    match text("/presence/role") {
        Some(role) => format!("{name}, {role}"),
        None => name.to_owned(),
    }
}

/// The end of a text that may have become long.
fn newest_of(words: &str) -> String {
    let count = words.chars().count();
    match count.checked_sub(60) {
        Some(skipped) if 0 < skipped => {
            format!("…{}", words.chars().skip(skipped).collect::<String>())
        }
        _ => words.to_owned(),
    }
}
