//! A well-behaved headless editor on either Yjs door, with the habits of the real providers.
//!
//! A [`Client`] is a document and an awareness map with a link that runs beside the test. It edits
//! offline, comes back, echoes what it hears (as most providers do), renews its state, gives up a
//! link that says nothing for 30 s, and notes as a fault whatever would make a real client throw.
//! Tests look at its [`State`] with [`Client::until`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as WsMessage};
use yrs::TransactionMut;

use crate::support::document::{Content, Document};
use crate::support::frames::{self, Message};
use crate::support::random::Random;
use crate::support::relay::Relay;
use crate::support::time::{PATIENCE, now, within};

/// Whose habits a client has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Provider {
    /// y-websocket 2.x and 3.x.
    YWebsocket,
    /// `@hocuspocus/provider` 2.x and 3.x: echo, and after a drop send the others' departures.
    Hocuspocus2,
    /// `@hocuspocus/provider` 4.x: no echo, and the version behind the token.
    Hocuspocus4,
}

impl Provider {
    pub const ALL: [Self; 3] = [Self::YWebsocket, Self::Hocuspocus2, Self::Hocuspocus4];

    fn is_hocuspocus(self) -> bool {
        self != Self::YWebsocket
    }

    fn echoes(self) -> bool {
        self != Self::Hocuspocus4
    }
}

/// How a link ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending {
    /// By a close frame of the relay.
    Closed(u16, String),
    /// The upgrade was answered with another status.
    Refused(u16),
    /// Without a word, or by the client itself.
    Lost,
}

/// What a client knows of one client id.
struct Known {
    clock: u64,
    state: Option<String>,
    heard: Duration,
}

/// Somebody appeared, or is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sighting {
    pub client: u64,
    pub is_present: bool,
    /// When it was seen, in time since the suite began.
    pub at: Duration,
}

/// Everything a client knows; tests read it.
pub struct State {
    pub provider: Provider,
    pub room: String,
    pub document: Document,
    pub client: u64,
    known: HashMap<u64, Known>,
    own_is_from: Duration,
    outbox: VecDeque<Vec<u8>>,
    /// Departures that an old Hocuspocus provider sends after coming back.
    stale: Vec<(u64, u64)>,
    pub is_open: bool,
    pub is_synced: bool,
    /// `read-write` or `readonly`, once authenticated.
    pub scope: Option<String>,
    pub denied: Option<String>,
    pub ending: Option<Ending>,
    /// What the Hocuspocus provider calls `unsyncedChanges`.
    pub unsynced: i64,
    pub accepted: usize,
    pub refused: usize,
    pub stateless: Vec<String>,
    pub tokens_wanted: usize,
    pub documents_closed: Vec<String>,
    pub frames: usize,
    last_frame: Duration,
    /// Every arrival and departure seen, in order.
    pub sightings: Vec<Sighting>,
    /// What would have made a real client throw.
    pub faults: Vec<String>,
    /// A client that lies must not complain about the answers.
    pub is_hostile: bool,
}

impl State {
    pub fn text(&self) -> String {
        self.document.text()
    }

    /// The awareness state of a client id.
    pub fn state_of(&self, client: u64) -> Option<Value> {
        let text = self.known.get(&client)?.state.as_ref()?;
        Some(serde_json::from_str(text).expect("the relay passed on what is no JSON"))
    }

    pub fn sees(&self, client: u64) -> bool {
        self.known
            .get(&client)
            .is_some_and(|known| known.state.is_some())
    }

    pub fn clock_of(&self, client: u64) -> u64 {
        self.known.get(&client).map_or(0, |known| known.clock)
    }

    /// All present states but its own, as they were received.
    pub fn others(&self) -> BTreeMap<u64, String> {
        self.known
            .iter()
            .filter(|&(&client, _)| client != self.client)
            .filter_map(|(&client, known)| Some((client, known.state.clone()?)))
            .collect()
    }

    /// Arrivals (`true`) and departures of one client id since `time`.
    pub fn seen_of(&self, client: u64, time: Duration) -> Vec<bool> {
        let of_it = self
            .sightings
            .iter()
            .filter(|seen| seen.client == client && time <= seen.at);
        of_it.map(|seen| seen.is_present).collect()
    }

    fn send(&mut self, frame: Vec<u8>) {
        if self.is_open {
            let frame = match self.provider.is_hocuspocus() {
                true => frames::named(&self.room, &frame),
                false => frame,
            };
            self.outbox.push_back(frame);
        }
    }

    fn send_own(&mut self, clients: &[u64]) {
        let entries: Vec<_> = clients
            .iter()
            .filter_map(|client| {
                let known = self.known.get(client)?;
                Some((
                    *client,
                    known.clock,
                    known.state.as_deref().unwrap_or("null"),
                ))
            })
            .collect();
        if !entries.is_empty() {
            let frame = frames::awareness(&entries);
            self.send(frame);
        }
    }

    fn set_own(&mut self, state: Option<String>) {
        let known = self.known.get(&self.client);
        if state.is_none() && known.is_none_or(|known| known.state.is_none()) {
            return;
        }
        let clock = known.map_or(0, |known| known.clock + 1);
        self.own_is_from = now();
        self.known.insert(
            self.client,
            Known {
                clock,
                state,
                heard: now(),
            },
        );
        self.send_own(&[self.client]);
    }

    /// The link is up: what a provider says without waiting for anything.
    fn greet(&mut self, token: Option<&str>) {
        self.is_open = true;
        self.ending = None;
        self.denied = None;
        self.last_frame = now();
        if let Some(token) = token.filter(|_| self.provider.is_hocuspocus()) {
            let version = (self.provider == Provider::Hocuspocus4).then_some("4.8.0");
            self.outbox
                .push_back(frames::token(&self.room, token, version));
        }
        self.unsynced = 1;
        let step1 = frames::step1(&self.document.state_vector());
        self.send(step1);
        if self.sees(self.client) {
            self.send_own(&[self.client]);
        }
        for (client, clock) in std::mem::take(&mut self.stale) {
            let frame = frames::awareness(&[(client, clock, "null")]);
            self.send(frame);
        }
    }

    /// The link is down: the others are gone from sight, their clocks are remembered.
    fn part(&mut self, ending: Ending) {
        self.is_open = false;
        self.is_synced = false;
        self.scope = None;
        self.outbox.clear();
        self.ending.get_or_insert(ending);
        for (&client, known) in &mut self.known {
            if client != self.client && known.state.take().is_some() {
                if self.provider == Provider::Hocuspocus2 {
                    self.stale.push((client, known.clock));
                }
                self.sightings.push(Sighting {
                    client,
                    is_present: false,
                    at: now(),
                });
            }
        }
    }

    fn receive(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.last_frame = now();
        let message = if self.provider.is_hocuspocus() {
            match frames::split_name(frame) {
                Some((name, message)) if name == self.room => message,
                Some(_) => return,
                None => {
                    return self
                        .faults
                        .push(format!("a frame without a name: {frame:02x?}"));
                }
            }
        } else {
            frame
        };
        let Some(message) = frames::read(message) else {
            return self
                .faults
                .push(format!("an unreadable frame: {frame:02x?}"));
        };
        match message {
            Message::Step1(state_vector) => {
                let step2 = frames::step2(&self.document.diff(state_vector));
                self.send(step2);
            }
            Message::Update { is_answer, update } => {
                self.document.apply(update);
                self.is_synced |= is_answer;
            }
            Message::Awareness(entries) => {
                let entries: Vec<_> = entries
                    .into_iter()
                    .map(|(client, clock, state)| (client, clock, state.to_owned()))
                    .collect();
                self.hear(entries);
            }
            Message::QueryAwareness => self.send_own(&[self.client]),
            Message::TokenWanted => self.tokens_wanted += 1,
            Message::Denied(reason) => self.denied = Some(reason.to_owned()),
            Message::Authenticated(scope) => self.scope = Some(scope.to_owned()),
            Message::Stateless(text) => self.stateless.push(text.to_owned()),
            Message::DocumentClosed(reason) => self.documents_closed.push(reason.to_owned()),
            Message::SyncStatus(true) => {
                self.accepted += 1;
                self.unsynced -= 1;
                if self.unsynced < 0 {
                    self.faults
                        .push("more acknowledgements than changes".to_owned());
                }
            }
            Message::SyncStatus(false) => self.refused += 1,
        }
        if !self.provider.is_hocuspocus()
            && (self.scope.is_some() || 0 < self.accepted + self.refused)
        {
            self.faults
                .push(format!("a Hocuspocus message on /sync: {frame:02x?}"));
        }
    }

    /// The receiving half of y-protocols' awareness.
    fn hear(&mut self, entries: Vec<(u64, u64, String)>) {
        let mut changed = Vec::new();
        for (client, clock, text) in entries {
            let state = (text != "null").then_some(text);
            let known = self.known.get(&client);
            let known_clock = known.map_or(0, |known| known.clock);
            let is_present = known.is_some_and(|known| known.state.is_some());
            let is_news =
                known_clock < clock || (known_clock == clock && state.is_none() && is_present);
            if !is_news {
                continue;
            }
            changed.push(client);
            let is_own = client == self.client;
            if is_own && state.is_some() {
                self.faults
                    .push("the client's own id with a state: it is overwritten".to_owned());
            }
            let revived = known
                .filter(|known| is_own && state.is_none() && known.state.is_some())
                .and_then(|known| known.state.clone());
            let (clock, state) = match revived {
                Some(own) => {
                    self.own_is_from = now();
                    (clock + 1, Some(own))
                }
                None => (clock, state),
            };
            if is_present != state.is_some() {
                let is_present = state.is_some();
                self.sightings.push(Sighting {
                    client,
                    is_present,
                    at: now(),
                });
            }
            self.known.insert(
                client,
                Known {
                    clock,
                    state,
                    heard: now(),
                },
            );
        }
        if self.provider.echoes() {
            self.send_own(&changed);
        }
    }

    /// What providers do every 3 s. False when the link has been silent for too long.
    fn check(&mut self) -> bool {
        let (now, own) = (now(), self.client);
        if self.sees(own) && Duration::from_secs(15) <= now - self.own_is_from {
            let state = self.known.get(&own).and_then(|known| known.state.clone());
            self.set_own(state);
        }
        for (&client, known) in &mut self.known {
            if client != own
                && Duration::from_secs(30) <= now - known.heard
                && known.state.take().is_some()
            {
                self.sightings.push(Sighting {
                    client,
                    is_present: false,
                    at: now,
                });
            }
        }
        now - self.last_frame <= Duration::from_secs(30)
    }
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    to_send: Notify,
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.state());
        self.to_send.notify_one();
        self.changed.send_modify(|version| *version += 1);
        answer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

enum Command {
    Close(u16),
    HangUp,
    Reset,
    StopReading,
    ReadAgain,
}

struct Link {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// A headless editor.
pub struct Client {
    shared: Arc<Shared>,
    address: SocketAddr,
    token: Option<String>,
    is_narrow: bool,
    link: Option<Link>,
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.task.abort();
        }
    }
}

impl Client {
    /// Not connected yet. The client id is drawn from the name it has in the test.
    pub fn new(relay: &Relay, provider: Provider, room: &str, token: &str) -> Self {
        Self::with_id(relay, provider, room, token, draw_client_id())
    }

    pub fn with_id(
        relay: &Relay,
        provider: Provider,
        room: &str,
        token: &str,
        client: u64,
    ) -> Self {
        Self::at(relay.address, provider, room, token, client)
    }

    /// Of a relay that another process started.
    pub fn at(
        address: SocketAddr,
        provider: Provider,
        room: &str,
        token: &str,
        client: u64,
    ) -> Self {
        let state = State {
            provider,
            room: room.to_owned(),
            document: Document::new(client),
            client,
            known: HashMap::new(),
            own_is_from: now(),
            outbox: VecDeque::new(),
            stale: Vec::new(),
            is_open: false,
            is_synced: false,
            scope: None,
            denied: None,
            ending: None,
            unsynced: 0,
            accepted: 0,
            refused: 0,
            stateless: Vec::new(),
            tokens_wanted: 0,
            documents_closed: Vec::new(),
            frames: 0,
            last_frame: now(),
            sightings: Vec::new(),
            faults: Vec::new(),
            is_hostile: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: watch::Sender::new(0),
                to_send: Notify::new(),
            }),
            address,
            token: Some(token.to_owned()),
            is_narrow: false,
            link: None,
        }
    }

    /// Connects and waits until it has the document.
    pub async fn join(relay: &Relay, provider: Provider, room: &str, token: &str) -> Self {
        let mut client = Self::new(relay, provider, room, token);
        client.connect().await;
        client
    }

    /// Like `join`, with a presence state as the coaching front end has it.
    pub async fn show_up(
        relay: &Relay,
        provider: Provider,
        room: &str,
        token: &str,
        user: &str,
    ) -> Self {
        let mut client = Self::new(relay, provider, room, token);
        client.set_state(presence_of(user));
        client.connect().await;
        client
    }

    /// Opens a link and waits until synced.
    pub async fn connect(&mut self) {
        self.open();
        self.until("the document", |state| state.is_synced).await;
    }

    /// Opens a link; see `State::ending` for whether it lasts.
    pub fn open(&mut self) {
        if let Some(link) = self.link.take() {
            link.task.abort();
            self.shared.change(|state| {
                if state.is_open {
                    state.part(Ending::Lost);
                }
            });
        }
        self.shared.change(|state| state.ending = None);
        let (commands, receiver) = mpsc::channel(8);
        let url = self.url();
        let shared = Arc::clone(&self.shared);
        let (address, token, is_narrow) = (self.address, self.token.clone(), self.is_narrow);
        let task = tokio::spawn(async move {
            let ending = match dial(address, is_narrow).await {
                Ok(tcp) => run(&shared, tcp, &url, token.as_deref(), receiver).await,
                Err(_) => Ending::Lost,
            };
            shared.change(|state| state.part(ending));
        });
        self.link = Some(Link { commands, task });
    }

    fn url(&self) -> String {
        let state = self.state();
        let address = self.address;
        match (&self.token, state.provider) {
            (Some(token), Provider::YWebsocket) => {
                format!("ws://{address}/sync/{}?token={token}", state.room)
            }
            (None, Provider::YWebsocket) => format!("ws://{address}/sync/{}", state.room),
            _ => format!("ws://{address}/collab"),
        }
    }

    /// The next `open` goes elsewhere: to a relay that was started again, or through a proxy.
    pub fn move_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// With a small receive buffer: not reading is felt at the other end soon.
    pub fn set_narrow(&mut self) {
        self.is_narrow = true;
    }

    pub fn set_token(&mut self, token: Option<String>) {
        self.token = token;
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    pub fn id(&self) -> u64 {
        self.state().client
    }

    pub fn text(&self) -> String {
        self.state().text()
    }

    pub fn content(&self) -> Content {
        self.state().document.content()
    }

    pub fn sees(&self, other: &Client) -> bool {
        let id = other.id();
        self.state().sees(id)
    }

    /// Sets the awareness state.
    pub fn set_state(&self, state: Value) {
        self.shared
            .change(|own| own.set_own(Some(state.to_string())));
    }

    /// Sets the awareness state to this very text.
    pub fn set_state_text(&self, text: &str) {
        self.shared.change(|own| own.set_own(Some(text.to_owned())));
    }

    /// `setLocalState(null)`.
    pub fn clear_state(&self) {
        self.shared.change(|own| own.set_own(None));
    }

    /// Edits; sends the change if there is a link.
    pub fn edit(&self, change: impl FnOnce(&Document, &mut TransactionMut)) {
        self.shared.change(|state| {
            let update = state.document.edit(change);
            send_update(state, &update);
        });
    }

    pub fn edit_randomly(&self, random: &mut Random) {
        self.shared.change(|state| {
            let update = state.document.edit_randomly(random);
            send_update(state, &update);
        });
    }

    /// Appends to the text.
    pub fn write(&self, words: &str) {
        use yrs::Text;
        self.edit(|document, transaction| document.text.push(transaction, words));
    }

    /// Any message of the door's protocol; on `/collab` the room's name is put in front.
    pub fn send(&self, frame: Vec<u8>) {
        self.shared.change(|state| state.send(frame));
    }

    /// A frame exactly as it is.
    pub fn send_as_is(&self, frame: Vec<u8>) {
        self.shared.change(|state| state.outbox.push_back(frame));
    }

    /// A fresh token on the same connection.
    pub fn renew(&self, token: &str) {
        let room = self.state().room.clone();
        self.send_as_is(frames::token(&room, token, None));
    }

    /// A close frame, as a program that ends well sends it.
    pub async fn close(&mut self) {
        self.end(Command::Close(1000)).await;
    }

    /// FIN without a close frame, as a closed tab may leave it.
    pub async fn hang_up(&mut self) {
        self.end(Command::HangUp).await;
    }

    /// RST.
    pub async fn reset(&mut self) {
        self.end(Command::Reset).await;
    }

    pub async fn stop_reading(&self) {
        self.command(Command::StopReading).await;
    }

    pub async fn read_again(&self) {
        self.command(Command::ReadAgain).await;
    }

    async fn command(&self, command: Command) {
        if let Some(link) = &self.link {
            // A link that has ended needs no command.
            let _ = link.commands.send(command).await;
        }
    }

    async fn end(&mut self, command: Command) {
        self.command(command).await;
        if let Some(link) = self.link.take() {
            within(PATIENCE, "the link to end", link.task)
                .await
                .unwrap();
        }
    }

    /// Waits until the client knows something; fails naming what was waited for.
    pub async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        self.wait_for(what, |state| holds(state).then_some(()))
            .await;
    }

    pub async fn wait_for<T>(&self, what: &str, probe: impl Fn(&State) -> Option<T>) -> T {
        self.wait_for_within(PATIENCE, what, probe).await
    }

    pub async fn wait_for_within<T>(
        &self,
        limit: Duration,
        what: &str,
        probe: impl Fn(&State) -> Option<T>,
    ) -> T {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            loop {
                {
                    let state = self.state();
                    let is_well = state.is_hostile || state.faults.is_empty();
                    assert!(is_well, "a client met {:?}", state.faults);
                    if let Some(answer) = probe(&state) {
                        return answer;
                    }
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(answer) => answer,
            Err(_) => {
                let state = self.state();
                panic!(
                    "a {:?} client waited {limit:?} in vain for {what}; open {}, synced {}, \
                     ending {:?}, denied {:?}, {} frames, unsynced {}, sees {:?}",
                    state.provider,
                    state.is_open,
                    state.is_synced,
                    state.ending,
                    state.denied,
                    state.frames,
                    state.unsynced,
                    state.others().keys().collect::<Vec<_>>(),
                )
            }
        }
    }

    /// Waits for the end of the link; returns how it ended.
    pub async fn ended(&self) -> Ending {
        self.wait_for("the end of the link", |state| state.ending.clone())
            .await
    }

    /// Waits until the other is in sight.
    pub async fn until_sees(&self, other: &Client) {
        let id = other.id();
        self.until("another to appear", |state| state.sees(id))
            .await;
    }

    pub async fn until_missing(&self, other: &Client) {
        let id = other.id();
        self.until("another to be gone", |state| !state.sees(id))
            .await;
    }

    pub async fn until_text(&self, text: &str) {
        self.until(&format!("the text {text:?}"), |state| state.text() == text)
            .await;
    }
}

fn send_update(state: &mut State, update: &[u8]) {
    // An edit that changed nothing has no update.
    if state.is_open && update != [0, 0] {
        state.unsynced += 1;
        state.send(frames::update(update));
    }
}

/// Waits until all hold everything that any of them holds now, and returns what they show.
pub async fn converged<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Content {
    let clients: Vec<_> = clients.into_iter().collect();
    let union = Document::new(1);
    for client in &clients {
        union.apply(&client.state().document.whole());
    }
    let goal = union.content();
    for client in clients {
        client
            .until("what the others hold", |state| {
                state.document.content() == goal
            })
            .await;
    }
    goal
}

/// The presence object of the coaching front end, claiming to be `user`.
pub fn presence_of(user: &str) -> Value {
    serde_json::json!({
        "presence": {"userId": user, "name": user, "color": "#3b82f6", "isConnected": true},
    })
}

/// Client ids are random in life; here they are merely different.
pub fn draw_client_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    // 32 bits, as yjs 13 draws them, and never 0 or 1.
    (Random::new(drawn).next() & 0xffff_0000) | (drawn + 2)
}

async fn dial(address: SocketAddr, is_narrow: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if is_narrow {
        socket.set_recv_buffer_size(4096)?;
    }
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn run(
    shared: &Shared,
    tcp: TcpStream,
    url: &str,
    token: Option<&str>,
    mut commands: mpsc::Receiver<Command>,
) -> Ending {
    let mut socket = match tokio_tungstenite::client_async(url, tcp).await {
        Ok((socket, _)) => socket,
        Err(WsError::Http(response)) => return Ending::Refused(response.status().as_u16()),
        Err(_) => return Ending::Lost,
    };
    shared.change(|state| state.greet(token));
    let mut checks = tokio::time::interval(Duration::from_secs(3));
    let mut reads = true;
    loop {
        let outgoing = std::mem::take(&mut shared.state().outbox);
        for frame in outgoing {
            if socket
                .feed(WsMessage::binary(Bytes::from(frame)))
                .await
                .is_err()
            {
                return last_words(socket).await;
            }
        }
        if socket.flush().await.is_err() {
            return last_words(socket).await;
        }
        tokio::select! {
            message = socket.next(), if reads => match message {
                Some(Ok(WsMessage::Binary(frame))) => shared.change(|state| state.receive(&frame)),
                Some(Ok(WsMessage::Text(text))) => {
                    shared.change(|state| state.faults.push(format!("a text frame: {text}")));
                }
                Some(Ok(WsMessage::Close(frame))) => {
                    let ending = ending_of(frame);
                    // The answer to the relay's close; it may be gone already.
                    let _ = socket.flush().await;
                    return ending;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ending::Lost,
            },
            () = shared.to_send.notified() => {}
            _ = checks.tick() => {
                if !shared.change(State::check) {
                    shared.change(|state| state.faults.push("nothing heard for 30 s".to_owned()));
                    return Ending::Lost;
                }
            }
            command = commands.recv() => match command {
                Some(Command::StopReading) => reads = false,
                Some(Command::ReadAgain) => reads = true,
                Some(command) => {
                    leave(socket, command).await;
                    return Ending::Lost;
                }
                None => return Ending::Lost,
            },
        }
    }
}

fn ending_of(frame: Option<CloseFrame>) -> Ending {
    match frame {
        Some(frame) => Ending::Closed(frame.code.into(), frame.reason.as_str().to_owned()),
        None => Ending::Closed(1005, String::new()),
    }
}

/// The relay may have said why before it stopped listening.
async fn last_words(mut socket: WebSocketStream<TcpStream>) -> Ending {
    while let Some(Ok(message)) = socket.next().await {
        if let WsMessage::Close(frame) = message {
            return ending_of(frame);
        }
    }
    Ending::Lost
}

async fn leave(mut socket: WebSocketStream<TcpStream>, command: Command) {
    match command {
        Command::Close(code) => {
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: "".into(),
            };
            let _ = socket.close(Some(frame)).await;
            let _ = tokio::time::timeout(Duration::from_secs(2), last_words(socket)).await;
        }
        Command::HangUp => {
            let _ = socket.get_mut().shutdown().await;
            // Read until the relay hangs up too: bytes left unread would turn FIN into RST.
            let _ = tokio::time::timeout(Duration::from_secs(2), last_words(socket)).await;
        }
        _ => {
            let _ = socket.get_ref().set_zero_linger();
        }
    }
}
