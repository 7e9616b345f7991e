//! The hot path, whole and alone: frames in, frames out, one thread, no sockets and no time.
//!
//! Each test lets a worker take what a few clients say at once, turn after turn, exactly as it would
//! with sockets, and sees that everybody was told. `cargo xtask test` runs them once more under
//! `valgrind` and compares the instructions of [`counted_turn`] with those in `bench/hot-path.txt`, so they
//! do the same each time: streams are in memory, and the clock stands still.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::limits::{READ_BUFFER_BYTES, WRITE_PIECE_BYTES};
use crate::metrics::DoorLabel;
use crate::model::{ConnectionId, Grant, Pattern, RoomName, SessionId, UserId};
use crate::relay::connection::{Door, Handling, Newcomer, Seat};
use crate::relay::fanout::Dialect;
use crate::relay::fixtures::idle_worker;
use crate::relay::inbox::ToWorker;
use crate::relay::places::Holder;
use crate::relay::socket::{RawSocket, RawStream};
use crate::relay::turn::Turn;
use crate::relay::worker::Worker;
use crate::room::FromSession;
use crate::wire::close::Refusal;
use crate::wire::lib0::{write_varbytes, write_varstring, write_varuint};
use crate::wire::validator;
use crate::wire::websocket::{Opcode, write_masked};
use crate::wire::y_websocket::{self, ClientMessage, KEEPALIVE};
use crate::wire::yjs::SyncMessage;

const TURNS: u32 = 20;
/// Client ids as long on the wire as random ones are.
const CLIENT_MIN: u64 = 1 << 30;

const CROWD: usize = 50;

#[test]
fn typing_in_pairs() {
    let mut stage = Stage::new(20, 2);
    stage.run(|client, turn| vec![client.key(turn)]);
    stage.expect_deliveries(2 * 20);
}

#[test]
fn bursts_of_typing_in_pairs() {
    let mut stage = Stage::new(10, 2);
    stage.run(|client, turn| {
        let keys = (0..10).map(|key| client.key(1 + (turn - 1) * 10 + key));
        keys.collect()
    });
    stage.expect_deliveries(2 * 10);
}

#[test]
fn five_typing_in_a_crowd() {
    let mut stage = Stage::new(1, CROWD);
    stage.run(|client, turn| said(client.number < 5, || client.key(turn)));
    stage.expect_deliveries(CROWD);
}

#[test]
fn cursors_of_a_crowd() {
    let mut stage = Stage::new(1, CROWD);
    stage.run(|client, turn| vec![client.cursor(turn)]);
    stage.expect_deliveries(CROWD);
}

#[test]
fn one_cursor_in_a_crowd() {
    let mut stage = Stage::new(1, CROWD);
    stage.run(|client, turn| said(client.number == 7, || client.cursor(turn)));
    stage.expect_deliveries(CROWD - 1);
}

/// Not counted: doors go on with what they had to put off, and nothing is read meanwhile.
#[test]
fn what_a_door_types_between_reads_is_told_at_once() {
    let mut stage = Stage::new(1, 2);
    stage.play(turn, |client, _| said(client.number == 0, || client.key(1)));
    let _within = stage.runtime.enter();
    let (ann, ben) = (&stage.clients[0], &stage.clients[1]);
    let before = ben.pipe.lock().unwrap().written;
    let key = ann.key(2);
    stage.worker.with_door(ann.id, |door, turn| {
        door.message(turn, false, &key);
    });
    stage.worker.end_turn();
    assert!(before < ben.pipe.lock().unwrap().written);
}

/// Not counted: what is too much for a turn is written between turns, a piece at a time.
#[test]
fn much_is_written_in_pieces_in_turn_with_others() {
    let mut stage = Stage::new(1, 3);
    let much = 5 * WRITE_PIECE_BYTES;
    let text = "x".repeat(much);
    let read_all = |worker: &mut Worker, ready: &[ConnectionId]| {
        for _ in 0..=much / READ_BUFFER_BYTES {
            turn(worker, ready);
        }
    };
    stage.play(read_all, |client, _| {
        said(client.number == 0, || client.text(1, &text))
    });
    assert_eq!(stage.deliveries, [0], "too much for a turn");
    let mut context = Context::from_waker(Waker::noop());
    let others: Vec<_> = stage.clients[1..].iter().map(|client| client.id).collect();
    for &id in &others {
        assert!(stage.worker.poll_connection(id, &mut context).is_pending());
    }
    let mut written = [0, 0];
    for piece in 0.. {
        let is_left = stage.worker.write_piece();
        let now = [1, 2].map(|number: usize| stage.clients[number].pipe.lock().unwrap().written);
        let grown = (now[0] - written[0], now[1] - written[1]);
        assert!(grown.0 + grown.1 <= WRITE_PIECE_BYTES);
        assert_eq!(0 < grown.0, piece % 2 == 0, "they take turns");
        written = now;
        if !is_left {
            break;
        }
    }
    assert!(much < written[0] && written[0] == written[1]);
}

fn said(says: bool, message: impl Fn() -> Vec<u8>) -> Vec<Vec<u8>> {
    says.then(message).into_iter().collect()
}

/// What is counted.
#[inline(never)]
fn counted_turn(worker: &mut Worker, ready: &[ConnectionId]) {
    turn(worker, ready);
}

/// All that is ready is read, then the turn ends.
fn turn(worker: &mut Worker, ready: &[ConnectionId]) {
    let mut context = Context::from_waker(Waker::noop());
    for &id in ready {
        assert!(worker.poll_connection(id, &mut context).is_pending());
    }
    worker.end_turn();
}

/// A worker with rooms full of clients.
struct Stage {
    worker: Worker,
    inbox: mpsc::Receiver<ToWorker>,
    clients: Vec<Client>,
    /// Clients written to, in each turn that was measured.
    deliveries: Vec<usize>,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new(rooms: usize, members: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (worker, inboxes) = {
            let _within = runtime.enter();
            idle_worker(1)
        };
        let mut stage = Self {
            worker,
            inbox: inboxes.into_iter().next().unwrap(),
            clients: Vec::new(),
            deliveries: Vec::new(),
            runtime,
        };
        for number in 0..rooms * members {
            let room = RoomName::parse(&format!("session/{}", number / members)).unwrap();
            stage.admit(number, room);
        }
        stage.load(rooms);
        // Everybody says what real clients say first, and hears the others do so.
        for round in 0..4 {
            stage.play(turn, |client, _| match round {
                0 => vec![client.greeting()],
                1 => vec![client.nothing_missing()],
                2 => vec![client.key(0)],
                _ => vec![client.cursor(0)],
            });
        }
        for client in &stage.clients {
            assert!(0 < client.pipe.lock().unwrap().written, "nobody was let in");
        }
        stage.deliveries.clear();
        stage
    }

    fn admit(&mut self, number: usize, room: RoomName) {
        let _within = self.runtime.enter();
        let pipe = Arc::new(Mutex::new(Pipe::default()));
        let around = &self.worker.around;
        let id = ConnectionId(around.shared.next_id());
        let mut grant = around.verifier.guest().unwrap().grant(&room).unwrap();
        // Somebody whose name is put into what they say of themselves.
        grant.is_stamped = true;
        let holder = Holder {
            user: grant.identity.user.clone(),
            is_service: false,
        };
        let place = around.shared.places.take(id, holder).ok().unwrap();
        let door = Box::new(EndlessDoor {
            arriving: Some((room, grant)),
            seat: None,
        });
        self.worker.adopt(Newcomer {
            id,
            socket: RawSocket {
                stream: RawStream::Other(Box::new(PipeEnd(pipe.clone()))),
                read_ahead: Bytes::new(),
            },
            door,
            place,
            ping_every: Duration::from_secs(3_600),
            dead_after: Duration::from_secs(3_600),
            message: None,
        });
        self.clients.push(Client { number, id, pipe });
    }

    /// Documents are loaded on other threads; each is a message.
    fn load(&mut self, rooms: usize) {
        let _within = self.runtime.enter();
        for _ in 0..rooms {
            let message = self.inbox.blocking_recv().unwrap();
            self.worker.take(message);
            self.worker.settle();
        }
    }

    fn run(&mut self, says: impl Fn(&Client, u32) -> Vec<Vec<u8>>) {
        for _ in 0..TURNS {
            self.play(counted_turn, &says);
        }
    }

    /// One turn: what each client says arrives, and everybody is told.
    fn play(
        &mut self,
        turn: impl Fn(&mut Worker, &[ConnectionId]),
        says: impl Fn(&Client, u32) -> Vec<Vec<u8>>,
    ) {
        let _within = self.runtime.enter();
        let turn_number = self.deliveries.len() as u32 + 1;
        let mut ready = Vec::new();
        for client in &self.clients {
            let mut pipe = client.pipe.lock().unwrap();
            pipe.written = 0;
            let messages = says(client, turn_number);
            if !messages.is_empty() {
                ready.push(client.id);
            }
            for message in messages {
                write_masked(
                    &mut pipe.input,
                    Opcode::Binary,
                    true,
                    [1, 2, 3, 4],
                    &message,
                );
            }
        }
        turn(&mut self.worker, &ready);
        let told = self.clients.iter();
        let told = told.filter(|client| 0 < client.pipe.lock().unwrap().written);
        self.deliveries.push(told.count());
    }

    fn expect_deliveries(&self, each_turn: usize) {
        assert_eq!(self.deliveries, vec![each_turn; TURNS as usize]);
    }
}

struct Client {
    number: usize,
    id: ConnectionId,
    pipe: Arc<Mutex<Pipe>>,
}

impl Client {
    fn id(&self) -> u64 {
        CLIENT_MIN + self.number as u64
    }

    fn greeting(&self) -> Vec<u8> {
        let mut out = Vec::new();
        SyncMessage::Step1(&[0]).write(&mut out);
        out
    }

    fn nothing_missing(&self) -> Vec<u8> {
        let mut out = Vec::new();
        SyncMessage::Step2(&[0, 0]).write(&mut out);
        out
    }

    /// The update that adds a character behind the last.
    fn key(&self, clock: u32) -> Vec<u8> {
        self.text(clock, "x")
    }

    /// The same with a longer text.
    fn text(&self, clock: u32, text: &str) -> Vec<u8> {
        let mut update = Vec::new();
        for number in [1, 1, self.id(), u64::from(clock)] {
            write_varuint(&mut update, number);
        }
        match clock.checked_sub(1) {
            None => {
                update.extend_from_slice(&[4, 1]);
                write_varstring(&mut update, "text");
            }
            Some(before) => {
                update.push(0x84);
                write_varuint(&mut update, self.id());
                write_varuint(&mut update, u64::from(before));
            }
        }
        write_varstring(&mut update, text);
        update.push(0);
        let mut out = Vec::new();
        SyncMessage::Update(&update).write(&mut out);
        out
    }

    fn cursor(&self, place: u32) -> Vec<u8> {
        let state = format!(
            r##"{{"user":{{"name":"User","color":"#30bced"}},"cursor":{{"anchor":{place},"head":{place}}}}}"##
        );
        let mut entry = Vec::new();
        // Beyond what the relay raises a newcomer's clock to.
        for number in [1, self.id(), u64::from(place) * 1_000] {
            write_varuint(&mut entry, number);
        }
        write_varstring(&mut entry, &state);
        let mut out = vec![1];
        write_varbytes(&mut out, &entry);
        out
    }
}

/// The door `/sync` behind its upgrade: nothing ends here.
struct EndlessDoor {
    arriving: Option<(RoomName, Grant)>,
    seat: Option<Seat>,
}

impl Door for EndlessDoor {
    fn label(&self) -> DoorLabel {
        DoorLabel::Sync
    }

    fn message(&mut self, turn: &mut Turn<'_>, _is_text: bool, payload: &[u8]) -> Handling {
        if let Ok(ClientMessage::Sync(SyncMessage::Update(update))) = y_websocket::decode(payload)
            && turn.types(self.seat.as_ref().unwrap(), update)
        {
            return Handling::Done;
        }
        let outcome = read(payload);
        self.checked(turn, "", outcome);
        Handling::Done
    }

    fn checked(&mut self, turn: &mut Turn<'_>, _key: &str, outcome: Result<FromSession, Refusal>) {
        turn.say(self.seat.as_ref().unwrap(), outcome.unwrap());
    }

    fn refused(&mut self, _turn: &mut Turn<'_>, _session: SessionId, refusal: Refusal) {
        panic!("refused: {refusal:?}");
    }

    fn revoked(&mut self, _turn: &mut Turn<'_>, _user: &UserId, _rooms: Option<&Pattern>) {}

    fn tick(&mut self, turn: &mut Turn<'_>) {
        if let Some((room, grant)) = self.arriving.take() {
            self.seat = Some(turn.enter(&room, grant, Dialect::YWebsocket));
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn keep_alive(&self) -> &'static [u8] {
        KEEPALIVE
    }
}

fn read(payload: &[u8]) -> Result<FromSession, Refusal> {
    let copy = Bytes::copy_from_slice;
    let message = y_websocket::decode(payload).map_err(|_| Refusal::BadMessage)?;
    Ok(match message {
        ClientMessage::Sync(SyncMessage::Step1(vector)) => FromSession::Step1(
            validator::state_vector(copy(vector)).map_err(|_| Refusal::BadMessage)?,
        ),
        ClientMessage::Sync(SyncMessage::Step2(update)) => FromSession::Step2(
            validator::update(copy(update)).map_err(|invalid| invalid.refusal())?,
        ),
        ClientMessage::Sync(SyncMessage::Update(update)) => FromSession::Update(
            validator::update(copy(update)).map_err(|invalid| invalid.refusal())?,
        ),
        ClientMessage::Awareness(payload) => FromSession::Awareness(
            validator::awareness(copy(payload)).map_err(|invalid| invalid.refusal())?,
        ),
        ClientMessage::QueryAwareness => FromSession::QueryAwareness,
        ClientMessage::Auth => FromSession::Other,
    })
}

/// What one client has said, and how much it was told.
#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    written: usize,
}

/// The relay's end of it.
struct PipeEnd(Arc<Mutex<Pipe>>);

impl AsyncRead for PipeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let input = &mut self.0.lock().unwrap().input;
        if input.is_empty() {
            return Poll::Pending;
        }
        let rest = input.split_off(input.len().min(buffer.remaining()));
        buffer.put_slice(&std::mem::replace(input, rest));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
