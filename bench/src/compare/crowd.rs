//! The load: rooms full of clients that type or move their cursors, and what each of them is sent.
//!
//! Every change has a place in the sequence of its writer (its clock), and every client keeps how
//! far it has got with each writer of its room. A delivery is one change that one other client has
//! got, in whatever frame it came: merged updates count as all that is in them, and an awareness
//! state as all those of its writer that it replaces. What was sent and has not been delivered
//! when all is quiet again is lost. A writer hears nothing of its own changes, or ignores it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Poll, Token};

use copresence::wire::hocuspocus::ClientMessage;
use copresence::wire::yjs::SyncMessage;

use crate::compare::contestant::{Contestant, Signer};
use crate::compare::histogram::Histogram;
use crate::compare::protocol::{
    Heard, Protocol, State, changes, entries, place, write_cursor, write_goodbye, write_update,
};
use crate::compare::socket::{Brought, READ_BYTES, Socket};
use crate::server::Server;
use crate::stopwatch::Stopwatch;
use crate::typing::{self, LongText};
use crate::usage;

/// The first client id: as long on the wire as random ones are.
const CLIENT_MIN: u64 = 1 << 30;
/// Ids of those who only look in.
const VISITOR_MIN: u64 = 1 << 31;
/// When each of a writer's last changes was sent.
const STAMPS: usize = 1 << 12;
/// A socket with more than this waiting is not given more.
const OUT_BYTES_MAX: usize = 256 << 10;
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Nothing came for this long: all is quiet.
const QUIET: Duration = Duration::from_millis(300);
/// How long what is still on its way may rest.
const DRAINED_AFTER: Duration = Duration::from_secs(2);
const DRAINED_WITHIN: Duration = Duration::from_secs(20);
/// One read of a visitor: others must not wait long for it.
const VISITOR_READ_BYTES: usize = 64 << 10;
const NO_UPDATE: &[u8] = &[0, 0];
const NO_ENTRIES: &[u8] = &[0];

/// Who does what.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub rooms: usize,
    /// In each room.
    pub members: usize,
    /// Of these, who makes changes.
    pub writers: usize,
    pub what: What,
    pub pace: Pace,
}

/// What a change is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// A key at the end of what its writer typed.
    Typing,
    /// A key somewhere in a long text.
    Writing,
    /// A cursor that moves.
    Cursors,
}

/// When a writer makes its next change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each writer so often, whatever happens.
    PerSecond(f64),
    /// As soon as the others, on average, lack fewer than so many of its changes.
    Window(u32),
}

/// When measuring ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Elapsed(Duration),
    /// So many changes, of all writers together.
    Sent(u64),
    /// The visitors have the document.
    Joined,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    pub delivered: u64,
    pub lasted: Duration,
    /// The server's processor time.
    pub cpu: Duration,
    /// The generator's, where it does not turn in a loop.
    pub own_busy: f64,
    pub bytes: u64,
    pub frames: u64,
    pub latencies: Histogram,
    /// Sockets that the server closed.
    pub cut: usize,
    pub sent: u64,
}

impl Figures {
    /// Processor seconds for a million deliveries, which are microseconds for one.
    pub fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.delivered as f64
    }
}

/// Connected clients.
pub struct Crowd {
    address: SocketAddr,
    signer: Signer,
    contestant: Contestant,
    protocol: Protocol,
    load: Load,
    poll: Poll,
    clients: Vec<Client>,
    tally: Tally,
    visitors: Vec<Visitor>,
    /// Visitors are read one at a time, between two looks at everybody else.
    visitors_poll: Poll,
    visitors_ready: VecDeque<usize>,
    visited: u64,
    buffer: Vec<u8>,
    /// Sockets that have more than one read brought.
    unread: Vec<usize>,
    watch: Stopwatch,
    /// Changes that were due, where the pace is fixed.
    due: u64,
    due_since: Duration,
    text: LongText,
}

struct Client {
    socket: Socket,
    room: usize,
    is_answered: bool,
    /// Of its awareness state.
    clock: u64,
    body: Vec<u8>,
}

/// Who only wants the document.
struct Visitor {
    socket: Socket,
    room: usize,
    answer: Option<Vec<u8>>,
}

struct Writer {
    sent: u32,
    /// Over all others in its room.
    delivered: u64,
    is_ready: bool,
    stamps: Box<[u32]>,
}

struct Tally {
    load: Load,
    writers: Vec<Writer>,
    /// For each client, how far it is with each writer of its room.
    seen: Vec<u32>,
    /// Writers that may go on.
    ready: Vec<usize>,
    /// The clock at which a client has just been told that it is gone itself.
    nudged: Option<u64>,
    delivered: u64,
    frames: u64,
    /// Frames with something in them: keep-alives have nothing.
    news: u64,
    latencies: Histogram,
    now_micros: u32,
}

impl Crowd {
    /// Opens all sockets and waits until everybody has a document.
    pub fn gather(server: &Server, contestant: Contestant, load: Load) -> Result<Self> {
        let size = load.rooms * load.members;
        let first = match load.what {
            What::Typing | What::Writing => 0,
            // The state with which a client introduces itself.
            What::Cursors => 1,
        };
        let mut crowd = Self {
            address: server.address,
            signer: Signer::new()?,
            contestant,
            protocol: contestant.protocol(),
            load,
            poll: Poll::new()?,
            clients: Vec::with_capacity(size),
            tally: Tally {
                load,
                writers: (0..load.rooms * load.writers)
                    .map(|_| Writer {
                        sent: first,
                        delivered: u64::from(first) * (load.members as u64 - 1),
                        is_ready: false,
                        stamps: vec![0; STAMPS].into(),
                    })
                    .collect(),
                seen: vec![first; size * load.writers],
                ready: Vec::new(),
                nudged: None,
                delivered: 0,
                frames: 0,
                news: 0,
                latencies: Histogram::default(),
                now_micros: 0,
            },
            visitors: Vec::new(),
            visitors_poll: Poll::new()?,
            visitors_ready: VecDeque::new(),
            visited: 0,
            buffer: vec![0; READ_BYTES],
            unread: Vec::new(),
            watch: Stopwatch::start(),
            due: 0,
            due_since: Duration::ZERO,
            text: LongText::without_removals(CLIENT_MIN),
        };
        for number in 0..size {
            crowd.join(number)?;
            // Nobody is to be dropped for not reading while the others come.
            crowd.turn(Some(Duration::ZERO))?;
        }
        let watch = Stopwatch::start();
        let mut quiet_since = Duration::ZERO;
        loop {
            // Of many thousand clients somebody is kept alive at any moment.
            let news = crowd.tally.news;
            crowd.turn(Some(Duration::from_millis(10)))?;
            if crowd.tally.news != news {
                quiet_since = watch.elapsed();
            }
            let is_answered = !contestant.has_documents()
                || crowd.clients.iter().all(|client| client.is_answered);
            if is_answered && quiet_since + QUIET < watch.elapsed() {
                break;
            }
            ensure!(crowd.cut() == 0, "{} sockets were closed", crowd.cut());
            let waiting = crowd.clients.iter().filter(|client| !client.is_answered);
            ensure!(
                watch.elapsed() < READY_WITHIN,
                "no quiet: {} of {size} have been given no document",
                waiting.count()
            );
        }
        Ok(crowd)
    }

    fn join(&mut self, number: usize) -> Result<()> {
        let room = number / self.load.members;
        let name = self.contestant.room(room);
        let id = CLIENT_MIN + number as u64;
        let mut socket = self.open(&name, id)?;
        socket.register(self.poll.registry(), Token(number))?;
        let mut message = Vec::new();
        write_cursor(&mut message, id, 1, 1);
        let mut body = Vec::new();
        self.protocol
            .write_raw(&mut socket.out, &mut body, &name, &message);
        socket.flush();
        self.clients.push(Client {
            socket,
            room,
            is_answered: false,
            clock: 1,
            body,
        });
        Ok(())
    }

    /// Opens a socket on which its first messages wait to be sent.
    fn open(&self, room: &str, id: u64) -> Result<Socket> {
        let token = self.signer.token(self.contestant, id)?;
        let mut socket = Socket::open(self.address, &self.contestant.path(room, &token))?;
        greet(self.protocol, &mut socket.out, room, &token);
        Ok(socket)
    }

    /// Lets the load run, first without counting.
    pub fn measure(&mut self, server: &Server, warm_up: Duration, until: Until) -> Result<Figures> {
        self.start();
        let begin = self.watch.elapsed();
        while self.watch.elapsed() < begin + warm_up {
            self.step()?;
        }
        let (cpu, own) = (server.cpu()?, usage::cpu("self")?);
        let (bytes, sent) = (self.bytes(), self.sent());
        let start = self.watch.elapsed();
        self.tally.delivered = 0;
        self.tally.frames = 0;
        self.tally.latencies.clear();
        if let Until::Joined = until {
            self.ask();
        }
        let mut idle = Duration::ZERO;
        let mut before = start;
        loop {
            let is_idle = !self.step()?;
            let now = self.watch.elapsed();
            if is_idle {
                idle += now - before;
            }
            before = now;
            let is_over = match until {
                Until::Elapsed(lasting) => start + lasting <= now,
                Until::Sent(count) => sent + count <= self.sent(),
                Until::Joined => self.is_everybody_received(),
            };
            if is_over {
                break;
            }
            ensure!(
                now < start + Duration::from_secs(300),
                "the load does not come to its end"
            );
        }
        let lasted = self.watch.elapsed() - start;
        let own_busy = match self.load.pace {
            Pace::PerSecond(_) => 1.0 - idle.as_secs_f64() / lasted.as_secs_f64(),
            Pace::Window(_) => (usage::cpu("self")? - own).as_secs_f64() / lasted.as_secs_f64(),
        };
        Ok(Figures {
            delivered: self.tally.delivered,
            lasted,
            cpu: server.cpu()?.saturating_sub(cpu),
            own_busy,
            bytes: self.bytes() - bytes,
            frames: self.tally.frames,
            latencies: self.tally.latencies.clone(),
            cut: self.cut(),
            sent: self.sent() - sent,
        })
    }

    /// Sends nothing more, waits until all is quiet, and returns what was lost.
    pub fn drain(&mut self) -> Result<u64> {
        let watch = Stopwatch::start();
        let mut last = watch.elapsed();
        while 0 < self.missing() {
            let before = self.tally.delivered;
            self.turn(Some(Duration::from_millis(10)))?;
            if self.tally.delivered != before {
                last = watch.elapsed();
            }
            if last + DRAINED_AFTER < watch.elapsed() || DRAINED_WITHIN < watch.elapsed() {
                break;
            }
        }
        Ok(self.missing())
    }

    /// People come into the first room, are seen, and go.
    pub fn visit(&mut self, people: u64) -> Result<()> {
        let name = self.contestant.room(0);
        for _ in 0..people {
            let id = VISITOR_MIN + self.visited;
            self.visited += 1;
            let mut socket = self.open(&name, id)?;
            let mut message = Vec::new();
            write_cursor(&mut message, id, 1, 1);
            self.protocol
                .write_raw(&mut socket.out, &mut Vec::new(), &name, &message);
            write_goodbye(&mut socket.out);
            socket.flush();
            let watch = Stopwatch::start();
            while !socket.is_gone {
                socket.read(&mut self.buffer, |_| {})?;
                self.turn(Some(Duration::ZERO))?;
                ensure!(watch.elapsed() < READY_WITHIN, "a visitor was not let go");
            }
        }
        Ok(())
    }

    /// Opens sockets for people who will want the document of a room.
    pub fn invite(&mut self, people: usize, room: usize) -> Result<()> {
        self.visitors.clear();
        self.visitors_ready.clear();
        let name = self.contestant.room(room);
        for number in 0..people {
            let mut socket = self.open(&name, VISITOR_MIN + number as u64)?;
            socket.register(self.visitors_poll.registry(), Token(number))?;
            self.visitors.push(Visitor {
                socket,
                room,
                answer: None,
            });
            self.turn(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// They all ask for it, and wait until they have it.
    pub fn receive_visitors(&mut self) -> Result<()> {
        self.ask();
        let watch = Stopwatch::start();
        while !self.is_everybody_received() {
            self.turn(Some(Duration::ZERO))?;
            ensure!(watch.elapsed() < READY_WITHIN, "a visitor has no document");
        }
        Ok(())
    }

    fn ask(&mut self) {
        for visitor in &mut self.visitors {
            visitor.socket.flush();
        }
    }

    fn is_everybody_received(&self) -> bool {
        let mut visitors = self.visitors.iter();
        visitors.all(|visitor| visitor.answer.is_some())
    }

    /// Sends the visitors away.
    pub fn dismiss(&mut self) {
        for visitor in &mut self.visitors {
            write_goodbye(&mut visitor.socket.out);
            visitor.socket.flush();
        }
        self.visitors.clear();
        self.visitors_ready.clear();
    }

    /// What the visitors were sent.
    pub fn answers(&self) -> impl Iterator<Item = &[u8]> {
        self.visitors
            .iter()
            .filter_map(|visitor| visitor.answer.as_deref())
    }

    fn start(&mut self) {
        self.due = 0;
        self.due_since = self.watch.elapsed();
        self.tally.ready = (0..self.tally.writers.len()).collect();
    }

    /// Makes the changes that are due, then listens; whether anything happened.
    fn step(&mut self) -> Result<bool> {
        match self.load.pace {
            Pace::PerSecond(rate) => {
                let writers = self.tally.writers.len();
                // The writers take turns, so that the load is even.
                let every = Duration::from_secs_f64(1.0 / rate) / writers.max(1) as u32;
                let mut has_sent = false;
                while 0 < writers
                    && self.due_since + every * self.due as u32 <= self.watch.elapsed()
                {
                    let at = self.due_since + every * self.due as u32;
                    let writer = self.due as usize % writers;
                    self.change(writer, at.as_micros() as u32);
                    self.flush(writer);
                    self.due += 1;
                    has_sent = true;
                }
                // Turns in a loop: a sleep ends too late for what is due within a millisecond.
                Ok(self.turn(Some(Duration::ZERO))? || has_sent)
            }
            Pace::Window(window) => {
                let now = self.watch.elapsed().as_micros() as u32;
                for writer in std::mem::take(&mut self.tally.ready) {
                    self.tally.writers[writer].is_ready = false;
                    let client = self.client_of(writer);
                    while self.tally.may_go_on(writer, window)
                        && self.clients[client].socket.out.len() < OUT_BYTES_MAX
                    {
                        self.change(writer, now);
                    }
                    self.flush(writer);
                }
                self.turn(Some(Duration::from_millis(100)))
            }
        }
    }

    fn client_of(&self, writer: usize) -> usize {
        writer / self.load.writers * self.load.members + writer % self.load.writers
    }

    fn change(&mut self, writer: usize, now_micros: u32) {
        let number = self.client_of(writer);
        let id = CLIENT_MIN + number as u64;
        let client = &mut self.clients[number];
        let known = &mut self.tally.writers[writer];
        known.stamps[known.sent as usize % STAMPS] = now_micros;
        let mut message = Vec::with_capacity(128);
        match self.load.what {
            What::Typing => {
                write_update(&mut message, &typing::append(id, u64::from(known.sent)));
            }
            What::Writing => write_update(&mut message, &self.text.next_update()),
            What::Cursors => {
                client.clock += 1;
                write_cursor(&mut message, id, client.clock, known.sent + 1);
            }
        }
        known.sent += 1;
        let name = match self.protocol {
            Protocol::YWebsocket => String::new(),
            Protocol::Hocuspocus => self.contestant.room(client.room),
        };
        let out = &mut client.socket.out;
        self.protocol
            .write_raw(out, &mut client.body, &name, &message);
    }

    fn flush(&mut self, writer: usize) {
        let number = self.client_of(writer);
        self.clients[number].socket.flush();
    }

    /// Listens once; whether anybody said anything.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let mut events = Events::with_capacity(1_024);
        let unread = std::mem::take(&mut self.unread);
        let timeout = match unread.is_empty() {
            true => timeout,
            false => Some(Duration::ZERO),
        };
        self.poll.poll(&mut events, timeout)?;
        self.tally.now_micros = self.watch.elapsed().as_micros() as u32;
        for event in &events {
            let number = event.token().0;
            if event.is_writable() {
                self.clients[number].socket.flush();
            }
            if event.is_readable() {
                self.listen(number)?;
            }
        }
        for &number in &unread {
            self.listen(number)?;
        }
        let is_visited = !self.visitors.is_empty() && self.turn_to_visitors()?;
        Ok(!events.is_empty() || !unread.is_empty() || is_visited)
    }

    fn turn_to_visitors(&mut self) -> Result<bool> {
        if self.visitors_ready.is_empty() {
            let mut events = Events::with_capacity(1_024);
            self.visitors_poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                let number = event.token().0;
                if event.is_readable() {
                    self.visitors_ready.push_back(number);
                }
            }
        }
        let Some(number) = self.visitors_ready.pop_front() else {
            return Ok(false);
        };
        if self.listen_to_visitor(number)? == Brought::Part {
            self.visitors_ready.push_back(number);
        }
        Ok(true)
    }

    fn listen(&mut self, number: usize) -> Result<()> {
        let client = &mut self.clients[number];
        let mut questions = 0;
        let mut failure = None;
        let tally = &mut self.tally;
        let (protocol, has_answered) = (self.protocol, &mut client.is_answered);
        let brought = client.socket.read(&mut self.buffer, |payload| {
            tally.frames += 1;
            match tally.hear(protocol, number, payload) {
                Ok(Reply::Question) => questions += 1,
                Ok(Reply::Answer) => *has_answered = true,
                Ok(Reply::Nothing) => {}
                Err(error) => failure = Some(error),
            }
        })?;
        if let Some(error) = failure {
            return Err(error).with_context(|| format!("what client {number} was sent"));
        }
        if let Some(clock) = self.tally.nudged.take() {
            // Told that it is gone, a client says that it is not, as Yjs's awareness does.
            client.clock = client.clock.max(clock) + 1;
            let writers = self.load.writers;
            let local = number % self.load.members;
            let place = match self.load.what {
                What::Cursors if local < writers => {
                    self.tally.writers[client.room * writers + local].sent
                }
                _ => 1,
            };
            let name = self.contestant.room(client.room);
            let mut message = Vec::new();
            write_cursor(
                &mut message,
                CLIENT_MIN + number as u64,
                client.clock,
                place,
            );
            let out = &mut client.socket.out;
            self.protocol
                .write_raw(out, &mut client.body, &name, &message);
        }
        if 0 < questions {
            let name = self.contestant.room(client.room);
            let nothing = ClientMessage::Sync(SyncMessage::Step2(NO_UPDATE));
            for _ in 0..questions {
                self.protocol.write(&mut client.socket.out, &name, nothing);
            }
        }
        if !client.socket.out.is_empty() {
            client.socket.flush();
        }
        if brought == Brought::Part {
            self.unread.push(number);
        }
        Ok(())
    }

    fn listen_to_visitor(&mut self, number: usize) -> Result<Brought> {
        let Some(visitor) = self.visitors.get_mut(number) else {
            return Ok(Brought::All);
        };
        let mut is_asked = false;
        let (protocol, answer) = (self.protocol, &mut visitor.answer);
        let buffer = &mut self.buffer[..VISITOR_READ_BYTES];
        let brought = visitor
            .socket
            .read(buffer, |payload| match protocol.hear(payload) {
                Ok(Heard::Answer(update)) => *answer = Some(update.to_vec()),
                Ok(Heard::Question) => is_asked = true,
                _ => {}
            })?;
        if visitor.socket.is_gone && visitor.answer.is_none() {
            bail!("a visitor was turned out");
        }
        if is_asked {
            let name = self.contestant.room(visitor.room);
            let nothing = ClientMessage::Sync(SyncMessage::Step2(NO_UPDATE));
            self.protocol.write(&mut visitor.socket.out, &name, nothing);
            visitor.socket.flush();
        }
        Ok(brought)
    }

    fn cut(&self) -> usize {
        let clients = self.clients.iter();
        clients.filter(|client| client.socket.is_gone).count()
    }

    fn bytes(&self) -> u64 {
        let sockets = self.clients.iter().map(|client| &client.socket);
        sockets.map(|socket| socket.bytes_read).sum()
    }

    fn sent(&self) -> u64 {
        let writers = self.tally.writers.iter();
        writers.map(|writer| u64::from(writer.sent)).sum()
    }

    fn missing(&self) -> u64 {
        let others = self.load.members as u64 - 1;
        let expected = self.sent() * others;
        let writers = self.tally.writers.iter();
        expected - writers.map(|writer| writer.delivered).sum::<u64>()
    }
}

/// What is said first of all.
pub fn greet(protocol: Protocol, out: &mut Vec<u8>, room: &str, token: &str) {
    if protocol == Protocol::Hocuspocus {
        let version = None;
        protocol.write(out, room, ClientMessage::Auth { token, version });
    }
    let nothing = ClientMessage::Sync(SyncMessage::Step1(&[0]));
    protocol.write(out, room, nothing);
}

enum Reply {
    Question,
    Answer,
    Nothing,
}

impl Tally {
    fn hear(&mut self, protocol: Protocol, client: usize, payload: &[u8]) -> Result<Reply> {
        let is_cursors = self.load.what == What::Cursors;
        let heard = protocol.hear(payload)?;
        if !matches!(heard, Heard::Awareness(NO_ENTRIES) | Heard::Other) {
            self.news += 1;
        }
        match heard {
            Heard::Question => return Ok(Reply::Question),
            Heard::Answer(_) => return Ok(Reply::Answer),
            Heard::Update(update) if !is_cursors => {
                changes(update, |id, start, end| {
                    self.deliver(client, id, start, end)
                })?;
            }
            Heard::Awareness(payload) => entries(payload, |id, clock, state| match state {
                State::Gone if id == CLIENT_MIN + client as u64 => self.nudged = Some(clock),
                // A newer state stands for all that it replaces.
                State::There(json) if is_cursors => {
                    let place = place(json).unwrap_or_default();
                    self.deliver(client, id, 0, u64::from(place));
                }
                State::Gone | State::There(_) => {}
            })?,
            Heard::Denied(reason) => bail!("not let in: {reason}"),
            Heard::Update(_) | Heard::Status(_) | Heard::Other => {}
        }
        Ok(Reply::Nothing)
    }

    /// A client has got what somebody sent, up to `end`.
    fn deliver(&mut self, client: usize, id: u64, start: u64, end: u64) {
        let (members, writers) = (self.load.members, self.load.writers);
        let room = client / members;
        let first = CLIENT_MIN + (room * members) as u64;
        let Some(local) = id.checked_sub(first).map(|local| local as usize) else {
            return;
        };
        if writers <= local || local == client % members {
            return;
        }
        let seen = &mut self.seen[client * writers + local];
        let (start, end) = (start.max(u64::from(*seen)), end);
        // Some servers say again what was said before.
        if end <= start {
            return;
        }
        *seen = end as u32;
        let writer = room * writers + local;
        let known = &mut self.writers[writer];
        let sent_at = known.stamps[start as usize % STAMPS];
        self.latencies.add(self.now_micros.wrapping_sub(sent_at));
        known.delivered += end - start;
        self.delivered += end - start;
        if !std::mem::replace(&mut known.is_ready, true) {
            self.ready.push(writer);
        }
    }

    fn may_go_on(&self, writer: usize, window: u32) -> bool {
        let known = &self.writers[writer];
        let others = self.load.members as u64 - 1;
        u64::from(known.sent) * others < known.delivered + u64::from(window) * others
    }
}
