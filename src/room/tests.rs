//! What must hold for updates to be forwarded as they came, and what a room owes its sessions.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, GetString, ReadTxn, StateVector as YrsStateVector, Text, Transact};

use super::*;
use crate::limits::{
    APPLY_WITHIN, ASKS_WITHIN, EARLY_AT_ONCE, HELD_UPDATES_MAX, RUN_BYTES_MAX,
    SIFT_INLINE_BYTES_MAX, SNAPSHOT_LOG_BYTES_MIN, STORED_WITHIN,
};
use crate::model::{Access, Identity, Kind};

use crate::wire::histories::hostile;
use crate::wire::validator;
use crate::wire::yjs::StateVector;

const DOCUMENT_BYTES_MAX: usize = 8 << 20;
const ANN: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);
const EVE: SessionId = SessionId(3);

/// A room with a store and a clock, and what it told everybody.
struct Driver {
    room: Room,
    now: Timestamp,
    stored: Vec<(Sequence, Bytes)>,
    last: Sequence,
    /// Tasks that were sent away and are not back.
    away: Vec<Task>,
    sifts: Vec<Sift>,
    runs_tasks: bool,
    /// What a store that is down is given.
    waiting: Option<Vec<Keep>>,
    told: Vec<Told>,
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Update {
        sequence: Sequence,
        update: Bytes,
        from: Option<SessionId>,
    },
    Message(SessionId, Message),
    Refused(SessionId, Refusal),
    Reply(Reply),
    Unload,
}

impl Driver {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut driver = Self {
            room: Room::new(now, Policy::of(Kind::Session), DOCUMENT_BYTES_MAX),
            now,
            stored: Vec::new(),
            last: 0,
            away: Vec::new(),
            sifts: Vec::new(),
            runs_tasks: true,
            waiting: None,
            told: Vec::new(),
        };
        driver.handle(Input::Tick);
        driver
    }

    /// A new room over the same store.
    fn restart(&mut self) {
        self.room = Room::new(self.now, Policy::of(Kind::Session), DOCUMENT_BYTES_MAX);
        self.handle(Input::Tick);
    }

    fn handle(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.room.handle(self.now, input);
            self.room.handle(self.now, Input::TurnEnds);
            while let Some(output) = self.room.poll_output() {
                self.perform(output, &mut inputs);
            }
        }
    }

    fn perform(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Load => {
                inputs.push_back(Input::Loaded {
                    updates: self.stored.clone(),
                    last: self.last,
                    people: Vec::new(),
                });
            }
            Output::Work(task) if self.runs_tasks => {
                inputs.push_back(Input::Reported(Box::new(task.run())));
            }
            Output::Work(task) => self.away.push(*task),
            Output::Sift(sift) if self.runs_tasks => {
                inputs.push_back(Input::Sifted(Box::new(sift.run())));
            }
            Output::Sift(sift) => self.sifts.push(*sift),
            Output::Keep(keep) => match &mut self.waiting {
                Some(waiting) => waiting.push(keep),
                None => inputs.extend(self.keep(keep)),
            },
            Output::Update {
                sequence,
                update,
                from,
            } => {
                self.told.push(Told::Update {
                    sequence,
                    update,
                    from,
                });
            }
            Output::Tell { session, message } => self.told.push(Told::Message(session, message)),
            Output::Refuse { session, refusal } => self.told.push(Told::Refused(session, refusal)),
            Output::Answer { reply, .. } => self.told.push(Told::Reply(reply)),
            Output::Unload => self.told.push(Told::Unload),
            Output::AskSockets { sessions } => inputs.push_back(Input::Answering { sessions }),
            Output::Awareness
            | Output::StateDropped { .. }
            | Output::Presence { .. }
            | Output::Admitted { .. }
            | Output::Expired { .. }
            | Output::Attendance { .. }
            | Output::Record(_)
            | Output::Seen(_)
            | Output::Stateless { .. } => {}
        }
    }

    fn keep(&mut self, keep: Keep) -> Option<Input> {
        match keep {
            Keep::Append { sequence, update } => {
                self.stored.push((sequence, update));
                self.last = sequence;
                return Some(Input::Stored { through: sequence });
            }
            Keep::Snapshot { through, update } => {
                self.stored.retain(|&(sequence, _)| through < sequence);
                self.stored.insert(0, (through, update));
            }
            Keep::Quarantine { sequence } | Keep::Withdraw { sequence } => {
                self.stored.retain(|&(kept, _)| kept != sequence);
            }
        }
        None
    }

    /// The store takes nothing.
    fn store_goes(&mut self) {
        self.waiting = Some(Vec::new());
    }

    /// It is back, and takes what it was given.
    fn store_takes_what_waits(&mut self) {
        for keep in self.waiting.take().unwrap_or_default() {
            if let Some(input) = self.keep(keep) {
                self.handle(input);
            }
        }
    }

    fn apply(&mut self, request: u64, update: &Bytes, only_if_empty: bool) {
        self.handle(Input::Apply {
            request: RequestId(request),
            update: checked(update),
            only_if_empty,
        });
    }

    /// What back ends were answered since the last time.
    fn replies(&mut self) -> Vec<Reply> {
        let replies = self.take_told().into_iter();
        let replies = replies.filter_map(|told| match told {
            Told::Reply(reply) => Some(reply),
            _ => None,
        });
        replies.collect()
    }

    fn join(&mut self, session: SessionId, access: Access) {
        self.handle(Input::Join {
            session,
            grant: grant_of(session, access),
            manner: MANNER,
        });
    }

    fn renew(&mut self, session: SessionId, access: Access) {
        let grant = grant_of(session, access);
        self.handle(Input::Renew { session, grant });
    }

    fn reopen(&mut self, session: SessionId, access: Access, message: FromSession) {
        self.handle(Input::Reopen {
            session,
            grant: grant_of(session, access),
            manner: MANNER,
            message,
        });
    }

    /// Whom the room asked what they have, since it was last looked.
    fn asked(&mut self) -> Vec<SessionId> {
        let told = self.take_told().into_iter();
        told.filter_map(|told| match told {
            Told::Message(session, Message::Ask { .. } | Message::Answer { .. }) => Some(session),
            _ => None,
        })
        .collect()
    }

    /// Joins and begins as clients do.
    fn enter(&mut self, session: SessionId, access: Access) {
        self.join(session, access);
        self.answer_to(session);
        self.say(
            session,
            FromSession::Step2(checked(&Bytes::from_static(&[0, 0]))),
        );
        self.told.clear();
    }

    fn say(&mut self, session: SessionId, message: FromSession) {
        self.handle(Input::Message { session, message });
    }

    fn edit(&mut self, session: SessionId, update: &Bytes) {
        self.say(session, FromSession::Update(checked(update)));
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.handle(Input::Tick);
    }

    fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// What a peer that has nothing is answered.
    fn answer_to(&mut self, session: SessionId) -> Bytes {
        self.told.clear();
        self.say(session, FromSession::Step1(StateVector::empty()));
        let answer = self.take_told().into_iter().find_map(|told| match told {
            Told::Message(to, Message::Answer { update, .. }) if to == session => Some(update),
            _ => None,
        });
        answer.expect("step 1 is answered")
    }

    /// The document, as somebody who comes is sent it.
    fn content(&mut self) -> Bytes {
        self.join(EVE, Access::Read);
        self.answer_to(EVE)
    }

    fn statuses(&mut self) -> HashMap<SessionId, Vec<bool>> {
        let mut statuses: HashMap<SessionId, Vec<bool>> = HashMap::new();
        for told in self.take_told() {
            if let Told::Message(session, Message::Status { is_applied, times }) = told {
                let of_session = statuses.entry(session).or_default();
                of_session.extend((0..times).map(|_| is_applied));
            }
        }
        statuses
    }
}

const MANNER: Manner = Manner {
    wants_status: true,
    may_wait: false,
    has_no_document: false,
};

fn grant_of(session: SessionId, access: Access) -> Grant {
    Grant {
        identity: Identity {
            user: UserId::parse(&format!("user-{}", session.0)).unwrap(),
            name: "somebody".into(),
            avatar: None,
            color: None,
        },
        role: None,
        access,
        is_stamped: true,
        is_participant: true,
    }
}

fn checked(update: &Bytes) -> Update {
    validator::update(update.clone()).expect("a real update")
}

/// The updates of somebody who types words one after the other.
fn typed(words: &[&str]) -> Vec<Bytes> {
    let doc = Doc::with_client_id(7);
    let text = doc.get_or_insert_text("text");
    words
        .iter()
        .map(|word| {
            let mut transaction = doc.transact_mut();
            let end = text.len(&transaction);
            text.insert(&mut transaction, end, word);
            Bytes::from(transaction.encode_update_v1())
        })
        .collect()
}

/// The update of a client that writes this at the beginning.
fn written_by(client: u64, text: &str) -> Bytes {
    let doc = Doc::with_client_id(client);
    let field = doc.get_or_insert_text("text");
    let mut transaction = doc.transact_mut();
    field.insert(&mut transaction, 0, text);
    transaction.encode_update_v1().into()
}

fn text_of<'a>(updates: impl IntoIterator<Item = &'a Bytes>) -> String {
    let doc = Doc::new();
    let text = doc.get_or_insert_text("text");
    for update in updates {
        let update = yrs::Update::decode_v1(update).expect("a decodable update");
        doc.transact_mut()
            .apply_update(update)
            .expect("an applicable update");
    }
    text.get_string(&doc.transact())
}

/// What an update holds of each client, in the order of the clients.
fn clocks(update: &Bytes) -> Vec<(u64, u64)> {
    checked(update)
        .clock_ends()
        .map(|(client, _, end)| (client.0, end))
        .collect()
}

/// What a session was sent after it joined with nothing: the answer, then updates.
fn received(told: &[Told], session: SessionId) -> Vec<Bytes> {
    told.iter()
        .filter_map(|told| match told {
            Told::Message(to, Message::Answer { update, .. }) if *to == session => Some(update),
            Told::Update { update, from, .. } if *from != Some(session) => Some(update),
            _ => None,
        })
        .cloned()
        .collect()
}

#[test]
fn updates_are_forwarded_as_the_bytes_that_came_in_the_order_of_the_log() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.join(BOB, Access::Write);
    let words = typed(&["one ", "two ", "three "]);
    driver.take_told();
    for word in &words {
        driver.edit(ANN, word);
    }
    let forwarded: Vec<Bytes> = driver
        .told
        .iter()
        .filter_map(|told| match told {
            Told::Update { update, from, .. } => {
                assert_eq!(*from, Some(ANN));
                Some(update.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(forwarded, words);
    let logged: Vec<Bytes> = driver
        .stored
        .iter()
        .map(|(_, update)| update.clone())
        .collect();
    assert_eq!(logged, words);
    assert_eq!(driver.statuses()[&ANN], [true, true, true]);
}

/// What was said in one turn, and how it left.
fn in_one_turn(said: &[(SessionId, &Bytes)]) -> (Driver, Vec<(Option<SessionId>, Bytes)>) {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.join(BOB, Access::Write);
    driver.take_told();
    for &(session, update) in said {
        let message = FromSession::Update(checked(update));
        driver
            .room
            .handle(driver.now, Input::Message { session, message });
    }
    driver.handle(Input::TurnEnds);
    let forwarded = driver.told.iter().filter_map(|told| match told {
        Told::Update { update, from, .. } => Some((*from, update.clone())),
        _ => None,
    });
    let forwarded = forwarded.collect();
    (driver, forwarded)
}

#[test]
fn what_a_session_types_in_one_turn_is_one_update_and_each_is_acknowledged() {
    let words = typed(&["one ", "two ", "three "]);
    let said: Vec<_> = words.iter().map(|word| (ANN, word)).collect();
    let (mut driver, forwarded) = in_one_turn(&said);
    assert_eq!(forwarded.len(), 1);
    assert_eq!(text_of([&forwarded[0].1]), "one two three ");
    assert_eq!(driver.stored, [(1, forwarded[0].1.clone())]);
    assert_eq!(driver.statuses()[&ANN], [true, true, true]);
    assert_eq!(text_of([&driver.answer_to(BOB)]), "one two three ");
}

#[test]
fn nobody_s_updates_are_put_together_with_those_of_others() {
    let words = typed(&["one ", "two ", "three ", "four "]);
    let said = [
        (ANN, &words[0]),
        (ANN, &words[1]),
        (BOB, &words[2]),
        (ANN, &words[3]),
    ];
    let (mut driver, forwarded) = in_one_turn(&said);
    let from: Vec<_> = forwarded.iter().map(|(from, _)| *from).collect();
    assert_eq!(from, [Some(ANN), Some(BOB), Some(ANN)]);
    assert_eq!(
        text_of(forwarded.iter().map(|(_, update)| update)),
        "one two three four "
    );
    let statuses = driver.statuses();
    assert_eq!(statuses[&ANN], [true, true, true]);
    assert_eq!(statuses[&BOB], [true]);
}

#[test]
fn who_asks_within_a_turn_is_answered_with_what_came_before() {
    let words = typed(&["one ", "two ", "three "]);
    let (mut driver, _) = in_one_turn(&[(ANN, &words[0])]);
    let message = FromSession::Update(checked(&words[1]));
    driver.room.handle(
        driver.now,
        Input::Message {
            session: ANN,
            message,
        },
    );
    assert_eq!(text_of([&driver.answer_to(BOB)]), "one two ");
    driver.edit(ANN, &words[2]);
    assert_eq!(text_of([&driver.answer_to(BOB)]), "one two three ");
}

#[test]
fn an_update_beyond_a_run_s_size_leaves_as_it_came() {
    let words = typed(&["one ", "two ", &"x".repeat(RUN_BYTES_MAX), "four "]);
    let said: Vec<_> = words.iter().map(|word| (ANN, word)).collect();
    let (_, forwarded) = in_one_turn(&said);
    let updates: Vec<_> = forwarded.into_iter().map(|(_, update)| update).collect();
    assert_eq!(updates[1..], words[2..]);
    assert_eq!(text_of(&updates[..1]), "one two ");
}

#[test]
fn the_document_catches_up_before_it_is_read() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    for word in typed(&["one ", "two "]) {
        driver.edit(ANN, &word);
    }
    driver.join(BOB, Access::Write);
    assert_eq!(text_of([&driver.answer_to(BOB)]), "one two ");
}

#[test]
fn the_document_catches_up_by_itself_in_batches() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.runs_tasks = false;
    for word in typed(&["one ", "two ", "three "]) {
        driver.edit(ANN, &word);
    }
    assert!(driver.away.is_empty(), "nobody reads: no hurry");
    assert!(
        driver
            .room
            .next_deadline()
            .is_some_and(|at| at <= driver.now + APPLY_WITHIN)
    );
    driver.wait(APPLY_WITHIN);
    assert_eq!(driver.away.len(), 1);
    assert_eq!(driver.away[0].apply.len(), 3);
}

#[test]
fn while_the_document_is_away_the_room_goes_on() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.join(BOB, Access::Write);
    driver.runs_tasks = false;
    driver.say(BOB, FromSession::Step1(StateVector::empty()));
    let words = typed(&["one ", "two "]);
    for word in &words {
        driver.edit(ANN, word);
    }
    assert_eq!(driver.statuses()[&ANN], [true, true]);
    let task = driver.away.pop().expect("the question was sent away");
    driver.runs_tasks = true;
    driver.handle(Input::Reported(Box::new(task.run())));
    let Some(Told::Message(
        BOB,
        Message::Answer {
            through, update, ..
        },
    )) = driver
        .told
        .iter()
        .find(|told| matches!(told, Told::Message(BOB, Message::Answer { .. })))
    else {
        panic!("the answer came back: {:?}", driver.told)
    };
    // What came meanwhile is behind the answer, and known to be.
    assert_eq!((*through, text_of([update])), (0, String::new()));
    assert_eq!(text_of([&driver.answer_to(BOB)]), "one two ");
}

#[test]
fn who_joins_before_a_gap_closes_is_not_left_without_what_was_behind_it() {
    let words = typed(&["one ", "two ", "three ", "four "]);
    for joins_after in 0..=words.len() {
        let mut driver = Driver::new();
        driver.join(ANN, Access::Write);
        // The last three arrive before the first: a gap, as other relays and stores may leave it.
        let order = [&words[1], &words[3], &words[2], &words[0]];
        for (number, word) in order.into_iter().enumerate() {
            if number == joins_after {
                driver.join(BOB, Access::Write);
                driver.say(BOB, FromSession::Step1(StateVector::empty()));
            }
            driver.edit(ANN, word);
            driver.wait(APPLY_WITHIN);
        }
        if joins_after == words.len() {
            driver.join(BOB, Access::Write);
            driver.say(BOB, FromSession::Step1(StateVector::empty()));
        }
        let joined = driver
            .told
            .iter()
            .position(|told| *told == Told::Message(BOB, Message::Hold))
            .expect("the question was heard");
        let received = received(&driver.told[joined..], BOB);
        assert_eq!(
            text_of(&received),
            "one two three four ",
            "joined after {joins_after}"
        );
    }
}

#[test]
fn a_gap_that_closes_sends_everybody_what_a_newcomer_may_lack() {
    // Blocks of one client that do not build on each other: yrs takes the one behind a gap in, says
    // that it has nothing beyond the gap, and gives it to nobody who has all before the gap.
    let doc = Doc::with_client_id(7);
    let updates: Vec<Bytes> = ["one", "two", "three"]
        .into_iter()
        .map(|root| {
            let text = doc.get_or_insert_text(root);
            let mut transaction = doc.transact_mut();
            text.insert(&mut transaction, 0, root);
            Bytes::from(transaction.encode_update_v1())
        })
        .collect();
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.edit(ANN, &updates[0]);
    driver.edit(ANN, &updates[2]);
    driver.join(BOB, Access::Write);
    driver.take_told();
    let has_one = yrs::Update::decode_v1(&updates[0])
        .expect("decodable")
        .state_vector();
    let has_one = validator::state_vector(has_one.encode_v1().into()).expect("a state vector");
    driver.say(BOB, FromSession::Step1(has_one));
    driver.edit(ANN, &updates[1]);
    driver.wait(APPLY_WITHIN);

    let bobs = Doc::new();
    for update in [updates[0].clone()]
        .into_iter()
        .chain(received(&driver.told, BOB))
    {
        let update = yrs::Update::decode_v1(&update).expect("decodable");
        bobs.transact_mut()
            .apply_update(update)
            .expect("applicable");
    }
    for root in ["one", "two", "three"] {
        let text = bobs.get_or_insert_text(root);
        assert_eq!(text.get_string(&bobs.transact()), root);
    }
}

#[test]
fn what_a_returning_client_types_waits_for_what_it_brings() {
    let words = typed(&["one ", "two ", "three "]);
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.take_told();
    // "one" was typed offline, "two" as soon as the link was open, before we had asked for "one".
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    driver.edit(ANN, &words[1]);
    assert_eq!(driver.stored, [(1, words[1].clone())], "kept all the same");
    driver.say(ANN, FromSession::Step2(checked(&words[0])));
    driver.edit(ANN, &words[2]);
    // What is before a gap is never behind it.
    let sent = received(&driver.told, BOB);
    let clocks = sent.iter().flat_map(|update| {
        let ends = checked(update).clock_ends().collect::<Vec<_>>();
        ends.into_iter().map(|(_, start, end)| (start, end))
    });
    assert_eq!(clocks.collect::<Vec<_>>(), [(0, 8), (8, 14)]);
    assert_eq!(text_of(&sent), "one two three ");
    assert_eq!(driver.statuses()[&ANN], [true, true, true]);
}

#[test]
fn what_waits_for_its_foundation_survives_a_snapshot_and_a_restart() {
    let words = typed(&["one ", "two ", "three "]);
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.edit(ANN, &words[0]);
    driver.edit(ANN, &words[2]);
    assert_eq!(driver.statuses()[&ANN], [true, true], "both are kept");
    // Comes again when its author returns; it is not kept again.
    driver.say(ANN, FromSession::Step2(checked(&words[2])));
    assert_eq!(driver.stored.len(), 2);
    assert_eq!(driver.statuses()[&ANN], [true]);
    let long = "x".repeat(SNAPSHOT_LOG_BYTES_MIN + 1);
    driver.edit(ANN, &written_by(8, &long));
    driver.wait(APPLY_WITHIN);
    assert_eq!(driver.stored.len(), 2, "a snapshot, and what waits");
    assert_eq!(driver.stored[1].1, words[2]);

    driver.restart();
    driver.join(BOB, Access::Write);
    driver.take_told();
    driver.say(BOB, FromSession::Step1(StateVector::empty()));
    driver.edit(BOB, &words[1]);
    driver.wait(APPLY_WITHIN);
    let received = received(&driver.told, ANN);
    assert!(received.contains(&words[2]), "what had waited comes last");
    let text = text_of([&driver.answer_to(BOB)]);
    assert!(text.contains("one two three "), "{text:?}");
}

#[test]
fn what_waits_is_not_lost_to_a_snapshot_that_comes_with_something_large() {
    let words = typed(&["one ", "two ", "three "]);
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.edit(ANN, &words[0]);
    driver.edit(ANN, &words[2]);
    driver.runs_tasks = false;
    driver.edit(ANN, &written_by(8, &"x".repeat(SNAPSHOT_LOG_BYTES_MIN + 1)));
    let sift = driver.sifts.pop().expect("it is large");
    driver.handle(Input::Sifted(Box::new(sift.run())));
    driver.wait(APPLY_WITHIN);
    // While the document is away somebody brings much: that is asked together with the snapshot.
    driver.say(ANN, FromSession::Step2(checked(&much_by(9))));
    for _ in 0..2 {
        let task = driver.away.pop().expect("it is applied, and then asked");
        driver.handle(Input::Reported(Box::new(task.run())));
    }
    assert_eq!(driver.room.waiting().updates, 1, "also while it is away");
    let sift = driver.sifts.pop().expect("it is large, and new");
    driver.runs_tasks = true;
    driver.handle(Input::Sifted(Box::new(sift.run())));
    while let Some(task) = driver.away.pop() {
        driver.handle(Input::Reported(Box::new(task.run())));
    }
    driver.wait(APPLY_WITHIN);
    let kept = driver.stored.iter().filter(|(_, it)| *it == words[2]);
    assert_eq!(kept.count(), 1);
    assert!(driver.stored[0].1.len() > SNAPSHOT_LOG_BYTES_MIN);

    driver.restart();
    driver.join(BOB, Access::Write);
    driver.edit(BOB, &words[1]);
    driver.wait(APPLY_WITHIN);
    let text = text_of([&driver.answer_to(BOB)]);
    assert!(text.contains("one two three "), "{text:?}");
}

#[test]
fn who_never_asks_for_the_document_is_sent_updates_after_a_while() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.join(BOB, Access::Write);
    driver.say(BOB, FromSession::Step1(StateVector::empty()));
    driver.take_told();
    let listens = |told: &[Told]| {
        let of = |told: &Told| match told {
            Told::Message(session, Message::Listen) => Some(*session),
            _ => None,
        };
        told.iter().filter_map(of).collect::<Vec<_>>()
    };
    driver.wait(ASKS_WITHIN);
    assert_eq!(listens(&driver.take_told()), [ANN]);
    driver.wait(ASKS_WITHIN);
    assert_eq!(listens(&driver.take_told()), []);
}

#[test]
fn a_key_now_and_then_is_one_task() {
    let words = typed(&["one "]);
    let mut driver = Driver::new();
    driver.enter(ANN, Access::Write);
    driver.runs_tasks = false;
    driver.edit(ANN, &words[0]);
    driver.wait(APPLY_WITHIN);
    let task = driver.away.pop().expect("it takes the key in");
    driver.handle(Input::Reported(Box::new(task.run())));
    assert_eq!(driver.room.next_deadline(), None);
}

#[test]
fn more_than_may_wait_is_refused() {
    let words = typed(&["one "; HELD_UPDATES_MAX + 2]);
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    for word in words.iter().skip(1) {
        driver.edit(ANN, word);
    }
    let refused = Told::Refused(ANN, Refusal::LimitDocument);
    let refusals = driver.take_told();
    assert_eq!(refusals.iter().filter(|told| **told == refused).count(), 1);
    assert_eq!(driver.stored.len(), HELD_UPDATES_MAX);
    driver.edit(ANN, &words[0]);
    let text = text_of([&driver.answer_to(ANN)]);
    assert_eq!(text, "one ".repeat(HELD_UPDATES_MAX + 1));
}

/// The update of a client that writes much in two places at once.
fn much_by(client: u64) -> Bytes {
    let doc = Doc::with_client_id(client);
    let (text, other) = (
        doc.get_or_insert_text("text"),
        doc.get_or_insert_text("other"),
    );
    let mut transaction = doc.transact_mut();
    text.insert(&mut transaction, 0, "much ");
    other.insert(&mut transaction, 0, &"x".repeat(SIFT_INLINE_BYTES_MAX));
    transaction.encode_update_v1().into()
}

#[test]
fn what_is_large_is_gone_through_elsewhere_and_what_comes_meanwhile_goes_behind_it() {
    let words = typed(&["one ", "two "]);
    let much = much_by(9);
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.join(BOB, Access::Write);
    driver.edit(BOB, &words[0]);
    driver.take_told();
    driver.runs_tasks = false;
    driver.edit(ANN, &much);
    driver.edit(BOB, &words[1]);
    // Somebody asks for the document meanwhile, and its answer comes first.
    driver.say(EVE, FromSession::Step1(StateVector::empty()));
    driver.say(BOB, FromSession::Step1(StateVector::empty()));
    while let Some(task) = driver.away.pop() {
        driver.handle(Input::Reported(Box::new(task.run())));
    }
    assert_eq!(driver.stored.len(), 1, "nothing is taken yet");
    assert!(driver.statuses().is_empty());
    driver.wait(Duration::from_secs(3_600));
    assert!(!driver.told.contains(&Told::Unload));
    let sift = driver.sifts.pop().expect("it was sent away");
    driver.runs_tasks = true;
    driver.handle(Input::Sifted(Box::new(sift.run())));
    let stored: Vec<_> = driver.stored.iter().map(|(_, update)| update).collect();
    assert_eq!(stored, [&words[0], &much, &words[1]]);
    let has_answer = |told: &Told| matches!(told, Told::Message(BOB, Message::Answer { .. }));
    assert!(driver.told.iter().any(has_answer));
    let statuses = driver.statuses();
    assert_eq!(
        (&statuses[&ANN], &statuses[&BOB]),
        (&vec![true], &vec![true])
    );
    let text = text_of([&driver.answer_to(BOB)]);
    assert!(
        text.contains("one two ") && text.contains("much "),
        "{text:?}"
    );
}

#[test]
fn what_is_large_and_waits_is_released_elsewhere_too() {
    let doc = Doc::with_client_id(9);
    let (text, other) = (
        doc.get_or_insert_text("text"),
        doc.get_or_insert_text("other"),
    );
    let first = {
        let mut transaction = doc.transact_mut();
        text.insert(&mut transaction, 0, "first ");
        Bytes::from(transaction.encode_update_v1())
    };
    let second = {
        let mut transaction = doc.transact_mut();
        text.insert(&mut transaction, 6, "second ");
        other.insert(&mut transaction, 0, &"x".repeat(SIFT_INLINE_BYTES_MAX));
        Bytes::from(transaction.encode_update_v1())
    };
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.take_told();
    driver.edit(ANN, &second);
    assert_eq!(driver.stored, [(1, second.clone())]);
    driver.runs_tasks = false;
    driver.edit(ANN, &first);
    assert_eq!(driver.stored.len(), 2);
    let sift = driver.sifts.pop().expect("what waited is large");
    driver.runs_tasks = true;
    driver.handle(Input::Sifted(Box::new(sift.run())));
    assert_eq!(driver.stored.len(), 3);
    assert_eq!(driver.statuses()[&ANN], [true, true]);
    assert_eq!(text_of([&driver.answer_to(ANN)]), "first second ");
}

#[test]
fn what_comes_while_the_document_is_built_is_taken_some_at_a_time_in_order() {
    let words = typed(&["one "; 2 * EARLY_AT_ONCE + 10]);
    let mut driver = Driver::new();
    driver.runs_tasks = false;
    driver.restart();
    driver.join(ANN, Access::Write);
    let (last, words) = words.split_last().expect("some");
    for word in words {
        driver.edit(ANN, word);
    }
    let task = driver.away.pop().expect("the log is read");
    driver.runs_tasks = true;
    driver.handle(Input::Reported(Box::new(task.run())));
    assert_eq!(
        driver.room.next_deadline(),
        Some(driver.now),
        "there is more"
    );
    // What comes now is not before them.
    driver.edit(ANN, last);
    while driver.room.next_deadline() == Some(driver.now) {
        driver.wait(Duration::ZERO);
    }
    assert_eq!(driver.statuses()[&ANN].len(), words.len() + 1);
    assert_eq!(
        text_of([&driver.answer_to(ANN)]),
        "one ".repeat(words.len() + 1)
    );
}

#[test]
fn what_comes_while_the_document_is_built_is_not_taken_beyond_its_limit() {
    let mut driver = Driver::new();
    driver.restart();
    driver.runs_tasks = false;
    driver.restart();
    driver.join(ANN, Access::Write);
    let half = "x".repeat(DOCUMENT_BYTES_MAX / 2);
    driver.edit(ANN, &written_by(8, &half));
    driver.edit(ANN, &written_by(9, &half));
    let refused = Told::Refused(ANN, Refusal::LimitDocument);
    assert!(driver.told.contains(&refused));
    let task = driver.away.pop().expect("the log is read");
    driver.runs_tasks = true;
    driver.handle(Input::Reported(Box::new(task.run())));
    assert_eq!(driver.stored.len(), 1);
}

#[test]
fn a_reader_changes_nothing_and_is_told_so() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.join(EVE, Access::Read);
    let words = typed(&["one ", "two "]);
    driver.edit(ANN, &words[0]);
    driver.take_told();
    driver.edit(EVE, &words[1]);
    assert_eq!(driver.statuses()[&EVE], [false]);
    assert_eq!(driver.room.take_counts().dropped, 1);
    // Bringing what is known already is no edit.
    driver.say(EVE, FromSession::Step2(checked(&words[0])));
    driver.say(EVE, FromSession::Step2(checked(&words[1])));
    assert_eq!(driver.statuses()[&EVE], [true, false]);
    assert_eq!(text_of([&driver.answer_to(ANN)]), "one ");
}

#[test]
fn a_step_2_without_news_is_confirmed_and_not_sent_around() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    let doc = Doc::with_client_id(9);
    let text = doc.get_or_insert_text("text");
    text.insert(&mut doc.transact_mut(), 0, "abc");
    text.remove_range(&mut doc.transact_mut(), 1, 1);
    let whole = Bytes::from(
        doc.transact()
            .encode_state_as_update_v1(&YrsStateVector::default()),
    );
    driver.edit(ANN, &whole);
    driver.take_told();
    // What a returning client sends: no blocks, but every deletion there is.
    let known = doc.transact().state_vector();
    let again = Bytes::from(doc.transact().encode_diff_v1(&known));
    assert_ne!(again.as_ref(), [0, 0]);
    driver.say(ANN, FromSession::Step2(checked(&again)));
    driver.say(ANN, FromSession::Step2(Update::empty()));
    assert!(
        !driver
            .told
            .iter()
            .any(|told| matches!(told, Told::Update { .. }))
    );
    assert_eq!(driver.statuses()[&ANN], [true, true]);
    assert_eq!(driver.stored.len(), 1);
}

#[test]
fn a_room_that_was_unloaded_comes_back_the_same() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    let words = typed(&["one ", "two "]);
    driver.edit(ANN, &words[0]);
    driver.handle(Input::Leave {
        session: ANN,
        ending: Ending::Clean,
    });
    driver.wait(Duration::from_secs(59));
    assert!(!driver.told.contains(&Told::Unload));
    driver.wait(Duration::from_secs(2));
    assert!(driver.told.contains(&Told::Unload));
    driver.restart();
    driver.join(BOB, Access::Write);
    driver.edit(BOB, &words[1]);
    assert_eq!(
        driver
            .stored
            .iter()
            .map(|&(sequence, _)| sequence)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(text_of([&driver.answer_to(BOB)]), "one two ");
}

#[test]
fn a_long_log_becomes_a_snapshot() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    let doc = Doc::with_client_id(7);
    let text = doc.get_or_insert_text("text");
    let pages: Vec<String> = (0..300).map(|number| format!("{number:010000}")).collect();
    // Written and deleted over and over: the document stays small, the log does not.
    for page in &pages {
        let mut transaction = doc.transact_mut();
        let length = text.len(&transaction);
        text.remove_range(&mut transaction, 0, length);
        text.insert(&mut transaction, 0, page);
        let update = Bytes::from(transaction.encode_update_v1());
        drop(transaction);
        driver.edit(ANN, &update);
        driver.wait(APPLY_WITHIN);
    }
    let kept: usize = driver.stored.iter().map(|(_, update)| update.len()).sum();
    assert!(
        kept < SNAPSHOT_LOG_BYTES_MIN + 200_000,
        "{kept} bytes are kept"
    );
    assert_eq!(text_of([&driver.answer_to(ANN)]), pages[299]);
    driver.restart();
    driver.join(BOB, Access::Write);
    assert_eq!(text_of([&driver.answer_to(BOB)]), pages[299]);
}

#[test]
fn what_breaks_crdt_libraries_is_kept_as_it_came_and_harms_nobody() {
    for (name, updates) in hostile::all(1) {
        let mut driver = Driver::new();
        driver.join(ANN, Access::Write);
        driver.join(EVE, Access::Write);
        let words = typed(&["one ", "two "]);
        driver.edit(ANN, &words[0]);
        for update in &updates {
            driver.edit(EVE, update);
        }
        driver.edit(ANN, &words[1]);
        driver.wait(APPLY_WITHIN);
        let is_refusal = |told: &Told| matches!(told, Told::Refused(..));
        assert!(!driver.told.iter().any(is_refusal), "{name}");
        let live = driver.answer_to(ANN);
        assert!(live.windows(4).any(|text| text == b"one "), "{name}");
        driver.restart();
        driver.join(BOB, Access::Write);
        let again = driver.answer_to(BOB);
        assert_eq!(
            clocks(&again),
            clocks(&live),
            "{name}: the same after a restart"
        );
    }
}

#[test]
fn a_document_beyond_its_limit_takes_no_more() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    let page = "x".repeat(2_500_000);
    for update in typed(&[&page, &page, &page, &page]) {
        driver.edit(ANN, &update);
    }
    assert!(
        driver
            .told
            .contains(&Told::Refused(ANN, Refusal::LimitDocument))
    );
    assert_eq!(driver.room.take_counts().updates, 3);
}

#[test]
fn of_racing_first_contents_one_wins() {
    let mut driver = Driver::new();
    driver.runs_tasks = false;
    for (request, word) in ["one ", "two ", "three "].into_iter().enumerate() {
        let doc = Doc::with_client_id(request as u64 + 10);
        let text = doc.get_or_insert_text("text");
        let mut transaction = doc.transact_mut();
        text.insert(&mut transaction, 0, word);
        let update = checked(&Bytes::from(transaction.encode_update_v1()));
        let request = RequestId(request as u64);
        driver.handle(Input::Apply {
            request,
            update,
            only_if_empty: true,
        });
    }
    driver.runs_tasks = true;
    let loading = driver.away.drain(..).collect::<Vec<_>>();
    for task in loading {
        driver.handle(Input::Reported(Box::new(task.run())));
    }
    let replies: Vec<Told> = driver.take_told();
    let won = replies
        .iter()
        .filter(|told| **told == Told::Reply(Reply::Applied))
        .count();
    let lost = replies
        .iter()
        .filter(|told| **told == Told::Reply(Reply::NotEmpty))
        .count();
    assert_eq!((won, lost), (1, 2));
    driver.join(ANN, Access::Write);
    assert_eq!(text_of([&driver.answer_to(ANN)]), "one ");
}

#[test]
fn many_who_join_alike_share_one_encoding() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.edit(ANN, &typed(&["one "])[0]);
    let first = driver.answer_to(ANN);
    driver.join(BOB, Access::Write);
    let second = driver.answer_to(BOB);
    assert_eq!(first.as_ptr(), second.as_ptr());
    let vector = Bytes::from(Doc::new().transact().state_vector().encode_v1());
    assert_eq!(vector, StateVector::empty().bytes());
}

/// An empty step 2: "you have all that I have".
fn nothing_new() -> FromSession {
    FromSession::Step2(checked(&Bytes::from_static(&[0, 0])))
}

#[test]
fn a_reader_who_may_write_is_asked_and_what_was_refused_is_made_good_once() {
    let words = typed(&["one ", "two ", "three ", "four "]);
    let mut driver = Driver::new();
    driver.enter(ANN, Access::Read);
    for word in &words[..3] {
        driver.edit(ANN, word);
    }
    assert_eq!(driver.statuses()[&ANN], [false, false, false]);
    driver.renew(ANN, Access::Read);
    assert_eq!(driver.asked(), [], "nothing has changed");
    driver.renew(ANN, Access::Write);
    assert_eq!(driver.asked(), [ANN]);
    // Typed before the question has reached it: it stands on what was dropped.
    driver.edit(ANN, &words[3]);
    assert_eq!(driver.statuses()[&ANN], [true]);
    let all = yrs::merge_updates_v1(&words).unwrap();
    driver.say(ANN, FromSession::Step2(checked(&all.into())));
    assert_eq!(driver.statuses()[&ANN], [true, true, true]);
    assert_eq!(text_of([&driver.content()]), "one two three four ");

    // Again, and nothing was refused since: its client counts nothing.
    driver.renew(ANN, Access::Read);
    driver.renew(ANN, Access::Write);
    driver.say(ANN, nothing_new());
    assert_eq!(driver.statuses().get(&ANN), None);
    driver.say(ANN, nothing_new());
    assert_eq!(driver.statuses()[&ANN], [true], "unasked");
}

#[test]
fn a_step_2_that_was_refused_counts_as_well_unless_its_client_has_begun_again() {
    let words = typed(&["one ", "two "]);
    for begins_again in [false, true] {
        let mut driver = Driver::new();
        driver.join(ANN, Access::Read);
        driver.answer_to(ANN);
        driver.say(ANN, FromSession::Step2(checked(&words[0])));
        driver.edit(ANN, &words[1]);
        assert_eq!(driver.statuses()[&ANN], [false, false]);
        if begins_again {
            driver.answer_to(ANN);
        }
        driver.renew(ANN, Access::Write);
        let all = yrs::merge_updates_v1(&words).unwrap();
        let answer = FromSession::Step2(checked(&all.into()));
        driver.take_told();
        if begins_again {
            // The one that it counts.
            driver.say(ANN, answer.clone());
            assert_eq!(driver.statuses()[&ANN], [true]);
            driver.say(ANN, answer);
            assert_eq!(driver.statuses().get(&ANN), None);
        } else {
            driver.say(ANN, answer);
            assert_eq!(driver.statuses()[&ANN], [true, true]);
        }
    }
}

#[test]
fn whoever_begins_without_a_step_1_is_asked_and_given_the_document() {
    let words = typed(&["one ", "two "]);
    let mut driver = Driver::new();
    driver.enter(ANN, Access::Write);
    driver.edit(ANN, &words[0]);
    driver.join(BOB, Access::Write);
    driver.take_told();
    driver.wait(ASKS_WITHIN);
    assert_eq!(driver.asked(), [BOB]);
    driver.say(BOB, FromSession::Step2(checked(&words[1])));
    let told = driver.take_told();
    let given = told.iter().find_map(|told| match told {
        Told::Message(BOB, Message::Answer { update, .. }) => Some(update),
        _ => None,
    });
    assert!(given.is_some_and(|update| text_of([update]).starts_with("one ")));
    let counts = |told: &Told| matches!(told, Told::Message(BOB, Message::Status { .. }));
    assert!(!told.iter().any(counts), "its client counts none of this");
    driver.say(BOB, nothing_new());
    assert_eq!(driver.asked(), [], "given once");
    assert_eq!(text_of([&driver.content()]), "one two ");
}

#[test]
fn what_only_somebody_says_who_is_here_reopens_what_was_closed() {
    let words = typed(&["one ", "two ", "three "]);
    let mut driver = Driver::new();
    driver.enter(ANN, Access::Write);
    // The new client's greeting, and behind it the old one's farewell.
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    driver.handle(Input::Closed { session: ANN });
    driver.reopen(ANN, Access::Write, FromSession::Step1(StateVector::empty()));
    driver.reopen(ANN, Access::Write, FromSession::QueryAwareness);
    assert!(!driver.room.has_session(ANN));
    driver.take_told();
    driver.reopen(ANN, Access::Write, FromSession::Step2(checked(&words[0])));
    assert!(driver.room.has_session(ANN));
    let told = driver.take_told();
    assert!(told.contains(&Told::Message(ANN, Message::QueryAwareness)));
    let saved = |told: &&Told| {
        matches!(
            told,
            Told::Message(
                ANN,
                Message::Status {
                    is_applied: true,
                    times: 1
                }
            )
        )
    };
    assert_eq!(told.iter().filter(saved).count(), 1);
    // The answer to the question that this brought.
    driver.say(ANN, nothing_new());
    assert_eq!(driver.statuses().get(&ANN), None);
    driver.edit(ANN, &words[1]);
    assert_eq!(driver.statuses()[&ANN], [true]);
    driver.handle(Input::Closed { session: ANN });
    driver.reopen(ANN, Access::Read, FromSession::Update(checked(&words[2])));
    assert_eq!(driver.statuses()[&ANN], [false], "as its token is now");
    assert_eq!(text_of([&driver.content()]), "one two ");
}

#[test]
fn what_was_sent_before_the_close_is_acknowledged_after_it() {
    let words = typed(&["one ", "two "]);
    let mut driver = Driver::new();
    driver.enter(ANN, Access::Write);
    driver.runs_tasks = false;
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    driver.say(ANN, FromSession::Step2(checked(&words[0])));
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    driver.handle(Input::Closed { session: ANN });
    driver.runs_tasks = true;
    while let Some(task) = driver.away.pop() {
        driver.handle(Input::Reported(Box::new(task.run())));
    }
    let told = driver.take_told();
    let saved = |told: &&Told| {
        matches!(
            told,
            Told::Message(
                ANN,
                Message::Status {
                    is_applied: true,
                    times: 1
                }
            )
        )
    };
    assert_eq!(told.iter().filter(saved).count(), 1);
    let asks = |told: &&Told| matches!(told, Told::Message(ANN, Message::Ask { .. }));
    assert_eq!(told.iter().filter(asks).count(), 1, "for whoever goes on");
    driver.handle(Input::Leave {
        session: ANN,
        ending: Ending::Clean,
    });
    assert!(driver.room.closed.is_empty());
}

#[test]
fn a_room_with_nobody_but_who_closed_it_is_unloaded_and_takes_up_again_what_they_say() {
    let words = typed(&["one ", "two "]);
    let mut driver = Driver::new();
    driver.enter(ANN, Access::Write);
    driver.edit(ANN, &words[0]);
    driver.handle(Input::Closed { session: ANN });
    driver.wait(APPLY_WITHIN);
    driver.wait(Policy::of(Kind::Session).unload_after);
    assert!(driver.take_told().contains(&Told::Unload));
    driver.restart();
    driver.reopen(ANN, Access::Write, FromSession::Update(checked(&words[1])));
    let told = driver.take_told();
    let is_given = |told: &Told| matches!(told, Told::Message(ANN, Message::Answer { .. }));
    assert!(told.iter().any(is_given));
    assert_eq!(text_of([&driver.content()]), "one two ");
}

fn was_told_of(told: &[Told], words: &str) -> bool {
    told.iter().any(|told| match told {
        Told::Update { update, .. } => text_of([update]).contains(words),
        Told::Message(_, Message::Answer { update, .. } | Message::Resync { update, .. })
        | Told::Reply(Reply::Document { update, .. }) => text_of([update]).contains(words),
        _ => false,
    })
}

const NOT_APPLIED: Reply = Reply::NotStored { is_applied: false };

#[test]
fn a_template_is_in_no_answer_before_the_store_has_it_and_then_in_all() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.answer_to(ANN);
    driver.store_goes();
    driver.apply(1, &written_by(8, "template "), true);
    driver.handle(Input::Read {
        request: RequestId(2),
    });
    driver.handle(Input::Resync { session: ANN });
    driver.wait(Duration::from_secs(1));
    assert!(!was_told_of(&driver.told, "template"));
    let is_durable = true;
    let empty = Reply::Document {
        update: Bytes::from_static(&[0, 0]),
        is_durable,
        waiting_updates: 0,
    };
    assert_eq!(driver.replies(), [empty], "all of that is on disk");
    assert_eq!(text_of([&driver.answer_to(ANN)]), "");

    // Others go their way, and are shown.
    driver.join(BOB, Access::Write);
    driver.edit(BOB, &written_by(9, "edit "));
    assert!(was_told_of(&driver.told, "edit"));
    assert_eq!(text_of([&driver.answer_to(ANN)]), "edit ");
    driver.handle(Input::Read {
        request: RequestId(3),
    });
    let Some(Reply::Document { is_durable, .. }) = driver.replies().pop() else {
        panic!("it is answered");
    };
    assert!(!is_durable, "the edit is not");

    driver.store_takes_what_waits();
    let told = driver.take_told();
    assert!(was_told_of(&told, "template"));
    assert!(told.contains(&Told::Reply(Reply::Applied)));
    for text in [text_of([&driver.answer_to(ANN)]), {
        driver.restart();
        driver.join(ANN, Access::Write);
        text_of([&driver.answer_to(ANN)])
    }] {
        assert!(
            text.contains("template ") && text.contains("edit "),
            "{text}"
        );
    }
}

#[test]
fn a_second_template_waits_for_what_becomes_of_the_first() {
    let mut driver = Driver::new();
    driver.store_goes();
    driver.apply(1, &written_by(8, "one "), true);
    driver.apply(2, &written_by(9, "two "), true);
    assert_eq!(driver.replies(), []);
    driver.store_takes_what_waits();
    assert_eq!(driver.replies(), [Reply::Applied, Reply::NotEmpty]);

    let mut driver = Driver::new();
    driver.store_goes();
    driver.apply(1, &written_by(8, "one "), true);
    driver.wait(Duration::from_secs(4));
    driver.apply(2, &written_by(9, "two "), true);
    driver.wait(STORED_WITHIN - Duration::from_secs(4));
    assert_eq!(driver.replies(), [NOT_APPLIED]);
    driver.store_takes_what_waits();
    assert_eq!(driver.replies(), [Reply::Applied]);
    for _ in 0..2 {
        driver.join(ANN, Access::Write);
        assert_eq!(text_of([&driver.answer_to(ANN)]), "two ");
        driver.restart();
    }
}

#[test]
fn a_template_that_the_store_takes_too_late_was_never_there() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.store_goes();
    driver.apply(1, &written_by(8, "late "), true);
    driver.edit(ANN, &written_by(9, "edit "));
    driver.wait(STORED_WITHIN - Duration::from_millis(1));
    assert_eq!(driver.replies(), []);
    driver.wait(Duration::from_millis(1));
    assert_eq!(driver.replies(), [NOT_APPLIED]);
    driver.store_takes_what_waits();
    assert!(!was_told_of(&driver.told, "late"));
    assert_eq!(driver.statuses()[&ANN], [true], "the edit is stored");
    for _ in 0..2 {
        assert_eq!(text_of([&driver.answer_to(ANN)]), "edit ");
        driver.restart();
        driver.join(ANN, Access::Write);
    }
    driver.wait(STORED_WITHIN);
    assert_eq!(driver.replies(), [], "nobody is answered twice");
}

#[test]
fn what_a_back_end_brings_is_applied_at_once_and_kept_when_the_store_takes_it() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.store_goes();
    driver.apply(1, &written_by(8, "news "), false);
    assert!(was_told_of(&driver.told, "news"));
    driver.wait(STORED_WITHIN);
    let in_force = Reply::NotStored { is_applied: true };
    assert_eq!(driver.replies(), [in_force]);
    assert_eq!(driver.room.next_deadline(), driver.room.due_at);
    driver.store_takes_what_waits();
    assert_eq!(driver.replies(), [], "nobody is answered twice");
    driver.restart();
    driver.join(ANN, Access::Write);
    assert_eq!(text_of([&driver.answer_to(ANN)]), "news ");
}

#[test]
fn what_waits_for_a_document_that_does_not_load_is_given_back() {
    let mut driver = Driver::new();
    driver.runs_tasks = false;
    driver.restart();
    driver.apply(1, &written_by(8, "one "), false);
    driver.apply(2, &written_by(9, "two "), true);
    driver.wait(STORED_WITHIN);
    assert_eq!(driver.replies(), [NOT_APPLIED, NOT_APPLIED]);
    driver.runs_tasks = true;
    for task in std::mem::take(&mut driver.away) {
        driver.handle(Input::Reported(Box::new(task.run())));
    }
    assert_eq!(driver.replies(), []);
    driver.join(ANN, Access::Write);
    assert_eq!(text_of([&driver.answer_to(ANN)]), "");
    assert!(driver.stored.is_empty());
}

#[test]
fn a_snapshot_does_not_take_the_place_of_a_template_that_is_not_in_it() {
    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.store_goes();
    driver.apply(1, &written_by(8, "template "), true);
    driver.edit(ANN, &written_by(9, &"x".repeat(SNAPSHOT_LOG_BYTES_MIN + 1)));
    driver.answer_to(ANN);
    driver.wait(APPLY_WITHIN);
    let waiting = driver.waiting.as_ref().expect("it is away");
    let is_snapshot = |keep: &Keep| matches!(keep, Keep::Snapshot { .. });
    // By now nobody waits for the template any more.
    let withdrawn = waiting
        .iter()
        .position(|keep| matches!(keep, Keep::Withdraw { .. }));
    let snapshot = waiting.iter().position(is_snapshot);
    assert!(withdrawn.is_some() && withdrawn < snapshot.or(Some(usize::MAX)));

    let mut driver = Driver::new();
    driver.join(ANN, Access::Write);
    driver.store_goes();
    driver.apply(1, &written_by(8, "template "), true);
    driver.edit(ANN, &written_by(9, &"x".repeat(SNAPSHOT_LOG_BYTES_MIN + 1)));
    driver.answer_to(ANN);
    driver.wait(Duration::from_secs(1));
    assert!(
        !driver
            .waiting
            .as_ref()
            .is_some_and(|all| all.iter().any(is_snapshot))
    );
    driver.store_takes_what_waits();
    driver.answer_to(ANN);
    driver.wait(APPLY_WITHIN);
    assert_eq!(driver.stored.len(), 1, "there is one now");
    driver.restart();
    driver.join(ANN, Access::Write);
    assert!(text_of([&driver.answer_to(ANN)]).contains("template "));
}
