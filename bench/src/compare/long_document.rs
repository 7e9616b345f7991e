//! A document of many single edits: taking it in, and giving it to those who join.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use mio::{Events, Poll, Token};

use copresence::wire::hocuspocus::ClientMessage;
use copresence::wire::yjs::SyncMessage;
use yrs::Update;
use yrs::updates::decoder::Decode;

use crate::compare::contestant::{Contestant, Signer};
use crate::compare::crowd::{Crowd, Load, Pace, Until, What, greet};
use crate::compare::protocol::{Heard, Protocol, write_update};
use crate::compare::socket::{Brought, READ_BYTES, Socket};
use crate::compare::table::{Row, Table, count, shown};
use crate::compare::turns::{self, Turns};
use crate::compare::{Bench, median, millis};
use crate::server::Server;
use crate::stopwatch::Stopwatch;
use crate::typing::{self, LongText};

/// About as many as the best known recording of somebody writing a paper has.
const EDITS: usize = 260_000;
const EDITS_QUICK: usize = 20_000;
const CLIENT: u64 = 2_718_281_828;
/// The room's number.
const ROOM: usize = 1_000;
const JOINERS: usize = 100;
const ALONE_TIMES: usize = 10;
/// What is written at once.
const PIECE_BYTES: usize = 64 << 10;
const TAKEN_WITHIN: Duration = Duration::from_secs(300);
/// How long a server may take to come to rest before its memory is looked at: the relay waits some ten
/// seconds whether a document is edited again.
const RESTED_AFTER: Duration = Duration::from_secs(20);
/// Before, it has done some of the same elsewhere: the code it runs is memory, too.
const WARMED_UP_BY: usize = 3_000;
const WARM_UP_ROOM: usize = 2_000;
/// What one document takes shows when there are several: memory that was used for a moment is used
/// again for the next.
const DOCUMENTS: usize = 8;
const ASKED_EVERY: Duration = Duration::from_secs(2);
const WHO: [Contestant; 7] = [
    Contestant::Hocuspocus,
    Contestant::YWebsocket,
    Contestant::YrsWarp,
    Contestant::YSweet,
    Contestant::Relay,
    Contestant::RelayCollab,
    Contestant::RelayMemory,
];

/// People who type meanwhile, elsewhere.
const OTHERS: Load = Load {
    rooms: 20,
    members: 2,
    writers: 2,
    what: What::Typing,
    pace: Pace::PerSecond(10.0),
};

pub fn run(bench: &Bench) -> Result<Vec<Table>> {
    let edits = if bench.is_quick { EDITS_QUICK } else { EDITS };
    let mut text = LongText::new(CLIENT);
    let updates: Vec<Vec<u8>> = (0..edits).map(|_| text.next_update()).collect();
    let typed = text.typed();
    let (mut intakes, mut joins) = (Vec::new(), Vec::new());
    let memory = match bench.contestants(&[Contestant::RelayCollab]).next() {
        Some(relay) => memory_of_several(bench, relay, &updates)?,
        None => String::new(),
    };
    for contestant in bench.contestants(&WHO) {
        eprintln!("long document: {}", contestant.name());
        match once(bench, contestant, &updates, typed) {
            Ok((intake, join)) => {
                intakes.push(intake);
                joins.push(join);
            }
            Err(error) => {
                eprintln!("    failed: {error:#}");
                let failed = |count| Row {
                    contestant,
                    figure: None,
                    why: "failed",
                    others: vec![String::new(); count],
                };
                intakes.push(failed(4));
                joins.push(failed(8));
            }
        }
    }
    let edits = count(edits as f64);
    Ok(vec![
        Table {
            name: "intake",
            title: format!("Taking in {edits} single edits"),
            unit: "CPU µs each",
            columns: vec!["edits/s", "acknowledged", "memory, MiB", "to its encoding"],
            rows: intakes,
            notes: vec![
                "One client sends them as fast as they are taken, alone in its room, and asks for \
                 the document at the end. Where there are acknowledgements it waits for all of \
                 them; the relay's mean that the edit is on disk, Hocuspocus's that it is in \
                 memory. Memory is what the server has grown by 20 seconds later, with the \
                 document loaded, and how many times the length of the document as one update \
                 that is; it has done the same with a short document before."
                    .to_owned(),
                memory,
            ],
        },
        Table {
            name: "join",
            title: format!("Joining that document, {JOINERS} at once"),
            unit: "CPU ms each",
            columns: vec![
                "all have it after",
                "alone, CPU",
                "alone, after",
                "after a restart, CPU",
                "after a restart, after",
                "others' keys meanwhile, p99",
                turns::COLUMNS[0],
                turns::COLUMNS[1],
            ],
            rows: joins,
            notes: vec![
                "From the request for a WebSocket until the whole document is there. Meanwhile, in \
                 a second pass, forty people type elsewhere: how long their keys take."
                    .to_owned(),
            ],
        },
    ])
}

/// What a document takes where there are several: as it is worked on, and typed from its beginning to
/// its end.
fn memory_of_several(bench: &Bench, relay: Contestant, worked_on: &[Vec<u8>]) -> Result<String> {
    let typed: Vec<Vec<u8>> = (0..worked_on.len() as u64)
        .map(|clock| typing::append(CLIENT, clock))
        .collect();
    let mut said = Vec::new();
    for updates in [worked_on, &typed] {
        let server = bench.programs.start(relay)?;
        drop(take_in(
            &server,
            relay,
            WARM_UP_ROOM,
            &updates[..WARMED_UP_BY],
        )?);
        thread::sleep(RESTED_AFTER);
        let empty = server.resident_bytes()?;
        let taken = (0..DOCUMENTS)
            .map(|document| take_in(&server, relay, ROOM + document, updates))
            .collect::<Result<Vec<_>>>()?;
        thread::sleep(RESTED_AFTER);
        let held = server.resident_bytes()?.saturating_sub(empty) / DOCUMENTS as u64;
        let encoded = taken.iter().map(|taken| taken.encoded_bytes).max();
        let encoded = encoded.unwrap_or(1) as u64;
        said.push(format!(
            "{} KiB each, {} times the {} KiB of its encoding",
            shown(held as f64 / 1_024.0),
            shown(held as f64 / encoded as f64),
            shown(encoded as f64 / 1_024.0),
        ));
    }
    Ok(format!(
        "Where {DOCUMENTS} such documents are loaded, the relay has grown by {}; where as many \
         characters were typed from the beginning to the end, by {}. Connections and buffers \
         included.",
        said[0], said[1],
    ))
}

fn once(
    bench: &Bench,
    contestant: Contestant,
    updates: &[Vec<u8>],
    typed: u64,
) -> Result<(Row, Row)> {
    let server = bench.programs.start(contestant)?;
    let few = updates.len().min(WARMED_UP_BY);
    drop(take_in(&server, contestant, WARM_UP_ROOM, &updates[..few])?);
    thread::sleep(RESTED_AFTER);
    let (before, empty) = (server.cpu()?, server.resident_bytes()?);
    let watch = Stopwatch::start();
    // It stays while others join: some forget a document once nobody has it open.
    let taken = take_in(&server, contestant, ROOM, updates)?;
    let took = watch.elapsed().as_secs_f64();
    let cpu = (server.cpu()? - before).as_secs_f64();
    thread::sleep(RESTED_AFTER);
    let held = server.resident_bytes()?.saturating_sub(empty) as f64;
    let intake = Row {
        contestant,
        figure: Some(cpu * 1e6 / updates.len() as f64),
        why: "",
        others: vec![
            count(updates.len() as f64 / took),
            match taken.statuses {
                0 => "no".to_owned(),
                statuses => count(statuses as f64),
            },
            shown(held / 1_048_576.0),
            shown(held / taken.encoded_bytes as f64),
        ],
    };
    eprintln!("    {} µs each", shown(cpu * 1e6 / updates.len() as f64));

    let alone = join_alone(&server, contestant, ALONE_TIMES, typed)?;
    let nobody = Load { rooms: 0, ..OTHERS };
    let mut crowd = Crowd::gather(&server, contestant, nobody)?;
    let (before, watch) = (server.cpu()?, Stopwatch::start());
    crowd.invite(JOINERS, ROOM)?;
    crowd.receive_visitors()?;
    let after = watch.elapsed();
    let each = (server.cpu()? - before).as_secs_f64() * 1_000.0 / JOINERS as f64;
    for answer in crowd.answers().take(1) {
        check(answer, typed)?;
    }
    crowd.dismiss();
    eprintln!("    {} ms for each of {JOINERS}", shown(each));

    let mut others = Crowd::gather(&server, contestant, OTHERS)?;
    others.invite(JOINERS, ROOM)?;
    let turns_before = Turns::read(&server, contestant)?;
    let meanwhile = others.measure(&server, Duration::from_secs(1), Until::Joined)?;
    let turns_after = Turns::read(&server, contestant)?;
    let [turns, own] = Turns::p999(turns_before.as_ref(), turns_after.as_ref());
    drop(others);
    drop(crowd);
    let restarted = match contestant.is_relay() && contestant != Contestant::RelayMemory {
        true => {
            server.stop()?;
            let server = bench.programs.start_again(contestant, false)?;
            Some(join_alone(&server, contestant, 1, typed)?)
        }
        false => None,
    };
    let p99 = meanwhile.latencies.quantile(0.99);
    let in_millis = |seconds: f64| millis(seconds);
    let join = Row {
        contestant,
        figure: Some(each),
        why: "",
        others: vec![
            millis(after.as_secs_f64()),
            in_millis(alone.0),
            in_millis(alone.1),
            restarted.map_or_else(String::new, |(cpu, _)| in_millis(cpu)),
            restarted.map_or_else(String::new, |(_, after)| in_millis(after)),
            p99.map_or_else(String::new, |p99| millis(p99.as_secs_f64())),
            turns,
            own,
        ],
    };
    Ok((intake, join))
}

/// What came of sending all.
struct Taken {
    /// How many were acknowledged.
    statuses: usize,
    /// The length of the document as one update.
    encoded_bytes: usize,
    /// The writer's, still open.
    _socket: Socket,
}

/// Sends all.
fn take_in(
    server: &Server,
    contestant: Contestant,
    room: usize,
    updates: &[Vec<u8>],
) -> Result<Taken> {
    let (protocol, room) = (contestant.protocol(), contestant.room(room));
    let token = Signer::new()?.token(contestant, CLIENT)?;
    let mut socket = Socket::open(server.address, &contestant.path(&room, &token))?;
    let mut poll = Poll::new()?;
    socket.register(poll.registry(), Token(0))?;
    greet(protocol, &mut socket.out, &room, &token);
    // Whoever is asked what it has answers first, as real clients do.
    protocol.write(
        &mut socket.out,
        &room,
        ClientMessage::Sync(SyncMessage::Step2(&[0, 0])),
    );
    let (mut message, mut body) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; READ_BYTES];
    let mut events = Events::with_capacity(8);
    let mut updates_left = updates.iter();
    let (mut answers, mut statuses, mut encoded_bytes) = (0, 0, 0);
    let mut asked: Option<Duration> = None;
    let watch = Stopwatch::start();
    let wanted = match protocol {
        Protocol::Hocuspocus => updates.len(),
        Protocol::YWebsocket => 0,
    };
    loop {
        while socket.out.len() < PIECE_BYTES {
            // Not before the first answer: it would hold up what comes later.
            let Some(update) = updates_left.as_slice().first().filter(|_| 0 < answers) else {
                break;
            };
            updates_left.next();
            write_update(&mut message, update);
            protocol.write_raw(&mut socket.out, &mut body, &room, &message);
        }
        // Some drop an answer when too much waits for its reader: then it is asked again.
        let is_time = asked.is_none_or(|at| at + ASKED_EVERY < watch.elapsed());
        if is_time && updates_left.len() == 0 && wanted <= statuses {
            asked = Some(watch.elapsed());
            let question = ClientMessage::Sync(SyncMessage::Step1(&[0]));
            protocol.write(&mut socket.out, &room, question);
        }
        socket.flush();
        // What the socket takes at once, nobody tells us to go on after.
        let goes_on = socket.out.is_empty() && 0 < updates_left.len() && 0 < answers;
        let patience = Duration::from_millis(if goes_on { 0 } else { 100 });
        poll.poll(&mut events, Some(patience))?;
        while socket.read(&mut buffer, |payload| match protocol.hear(payload) {
            Ok(Heard::Answer(update)) => {
                answers += 1;
                encoded_bytes = update.len();
            }
            Ok(Heard::Status(true)) => statuses += 1,
            _ => {}
        })? == Brought::Part
        {}
        ensure!(
            !socket.is_gone,
            "the server closed after {statuses} statuses"
        );
        if asked.is_some() && 1 < answers {
            return Ok(Taken {
                statuses,
                encoded_bytes,
                _socket: socket,
            });
        }
        ensure!(watch.elapsed() < TAKEN_WITHIN, "it takes too long");
    }
}

/// Processor seconds, and seconds until it is there: medians.
fn join_alone(
    server: &Server,
    contestant: Contestant,
    times: usize,
    typed: u64,
) -> Result<(f64, f64)> {
    let nobody = Load { rooms: 0, ..OTHERS };
    let mut crowd = Crowd::gather(server, contestant, nobody)?;
    let mut each = Vec::new();
    for _ in 0..times {
        let (before, watch) = (server.cpu()?, Stopwatch::start());
        crowd.invite(1, ROOM)?;
        crowd.receive_visitors()?;
        let after = watch.elapsed().as_secs_f64();
        each.push(((server.cpu()? - before).as_secs_f64(), after));
        for answer in crowd.answers() {
            check(answer, typed)?;
        }
        crowd.dismiss();
    }
    Ok((
        median(each.iter().map(|(cpu, _)| *cpu)),
        median(each.iter().map(|(_, after)| *after)),
    ))
}

/// Whether it is all there.
fn check(document: &[u8], typed: u64) -> Result<()> {
    let state = Update::decode_v1(document)?.state_vector();
    let found = u64::from(state.get(&yrs::ClientID::new(CLIENT)));
    ensure!(found == typed, "{found} characters of {typed}");
    Ok(())
}
