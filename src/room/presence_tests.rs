//! What a room owes people: places, waiting, heartbeats, and when it may be forgotten.

use std::time::Duration;

use yrs::{Text, Transact};

use super::*;
use crate::limits::RELOAD_AFTER;
use crate::model::{Access, ClientId, Identity, Kind};
use crate::presence::Change;
use crate::wire::validator;
use crate::wire::yjs::{AwarenessEntry, AwarenessUpdate};

const ANN: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);
const CID: SessionId = SessionId(3);

/// A room and a clock; what it asks for, in words.
struct Driver {
    room: Room,
    now: Timestamp,
    /// Whether the store answers.
    loads: bool,
    told: Vec<String>,
}

impl Driver {
    fn new(policy: Policy) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut driver = Self {
            room: Room::new(now, policy, 1 << 20),
            now,
            loads: true,
            told: Vec::new(),
        };
        driver.handle(Input::Tick);
        driver.told.clear();
        driver
    }

    fn handle(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.room.handle(self.now, input);
            self.room.handle(self.now, Input::TurnEnds);
            while let Some(output) = self.room.poll_output() {
                match output {
                    Output::Load if self.loads => inputs.push_back(Input::Loaded {
                        updates: Vec::new(),
                        last: 0,
                        people: Vec::new(),
                    }),
                    Output::Work(task) => {
                        inputs.push_back(Input::Reported(Box::new(task.run())));
                    }
                    Output::Keep(Keep::Append { sequence, .. }) => {
                        inputs.push_back(Input::Stored { through: sequence });
                    }
                    Output::AskSockets { sessions } => {
                        inputs.push_back(Input::Answering { sessions });
                    }
                    other => self.told.extend(in_words(&other)),
                }
            }
        }
    }

    fn join(&mut self, session: SessionId, name: &str, manner: Manner) {
        let grant = grant(name);
        self.handle(Input::Join {
            session,
            grant,
            manner,
        });
    }

    fn join_board(&mut self, session: SessionId, name: &str) {
        let manner = Manner {
            may_wait: true,
            ..Manner::default()
        };
        self.join(session, name, manner);
    }

    fn beat(&mut self, session: SessionId, name: &str, lasts: u64) {
        self.handle(Input::Heartbeat {
            request: RequestId(session.0),
            session,
            grant: grant(name),
            lasts: Duration::from_secs(lasts),
            status: None,
            data: None,
        });
    }

    fn say(&mut self, session: SessionId, message: FromSession) {
        self.handle(Input::Message { session, message });
    }

    fn leave(&mut self, session: SessionId, ending: Ending) {
        self.handle(Input::Leave { session, ending });
    }

    /// Time passes, with a tick at every deadline.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.room.next_deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.handle(Input::Tick);
        }
        self.now = end;
    }

    fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

#[test]
fn who_waits_hears_nothing_and_is_not_heard() {
    let mut driver = Driver::new(board_of(1));
    driver.join_board(ANN, "ann");
    driver.join_board(BOB, "bob");
    assert_eq!(
        driver.take_told(),
        ["joined ann", "admitted 1", "tell 2 place 1"]
    );
    driver.say(BOB, FromSession::Step1(StateVector::empty()));
    driver.say(BOB, FromSession::Step2(an_update()));
    driver.say(BOB, FromSession::Update(an_update()));
    driver.say(
        BOB,
        FromSession::Awareness(awareness_of(9, 5, "{\"user\":{}}")),
    );
    driver.say(BOB, FromSession::QueryAwareness);
    driver.say(BOB, FromSession::Stateless("hello".into()));
    let status = Some(presence::Status::Away);
    driver.say(
        BOB,
        FromSession::Report {
            status,
            data: Some("{}".into()),
        },
    );
    driver.say(BOB, FromSession::Alive);
    driver.wait(Duration::from_secs(1));
    assert_eq!(
        driver.take_told(),
        ["tell 1 push", "tell 1 listen", "tell 1 ask"]
    );
    assert!(driver.room.awareness().is_empty());
    assert_eq!(driver.room.connected().len(), 1);
    assert_eq!(driver.room.take_counts(), Counts::default());
    // The room has not kept any of it for later either.
    driver.leave(BOB, Ending::Clean);
    driver.leave(ANN, Ending::Clean);
    assert_eq!(driver.take_told(), ["left ann"]);
}

#[test]
fn who_is_let_in_is_told_so_before_the_document_and_awareness() {
    let mut driver = Driver::new(board_of(1));
    driver.join_board(ANN, "ann");
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    driver.say(
        ANN,
        FromSession::Awareness(awareness_of(7, 1, "{\"user\":{}}")),
    );
    driver.join_board(BOB, "bob");
    driver.join_board(CID, "cid");
    driver.take_told();
    driver.leave(ANN, Ending::Clean);
    assert_eq!(
        driver.take_told(),
        [
            // Nobody is to see a ghost.
            "awareness",
            "left ann",
            "joined bob",
            "tell 3 place 1",
            "admitted 2",
            "tell 2 hold",
            "tell 2 query",
            "tell 2 answer",
        ]
    );
    driver.wait(Duration::from_millis(300));
    assert_eq!(driver.take_told(), ["tell 2 push"]);
    driver.say(
        BOB,
        FromSession::Awareness(awareness_of(9, 5, "{\"user\":{}}")),
    );
    assert!(driver.take_told().contains(&"awareness".to_owned()));
}

#[test]
fn without_a_way_to_tell_them_people_are_refused_where_it_is_full() {
    let mut driver = Driver::new(board_of(1));
    driver.join_board(ANN, "ann");
    driver.take_told();
    driver.join(BOB, "bob", Manner::default());
    driver.beat(CID, "cid", 45);
    assert_eq!(
        driver.take_told(),
        ["refuse 2 BOARD_FULL", "refused BOARD_FULL"]
    );
    driver.join(SessionId(4), "ann", Manner::default());
    driver.beat(SessionId(5), "ann", 45);
    assert_eq!(driver.take_told(), ["admitted 4", "present", "admitted 5"]);
    // A back end takes no place and needs none.
    let grant = Grant {
        is_participant: false,
        ..grant("robot")
    };
    driver.handle(Input::Join {
        session: SessionId(6),
        grant,
        manner: Manner::default(),
    });
    assert_eq!(driver.take_told(), ["admitted 6"]);
    assert_eq!(driver.room.connected().len(), 1);
}

#[test]
fn a_document_that_cannot_be_read_is_nothing_to_those_who_do_not_read_it() {
    let text = Manner {
        has_no_document: true,
        ..Manner::default()
    };
    let mut driver = Driver::new(Policy::of(Kind::Event));
    driver.room = Room::new(driver.now, Policy::of(Kind::Event), 1 << 20);
    driver.loads = false;
    driver.join(ANN, "ann", Manner::default());
    driver.join(BOB, "bob", text);
    driver.beat(CID, "cid", 45);
    driver.take_told();
    let refusal = Refusal::StoreDown;
    driver.handle(Input::LoadFailed { refusal });
    assert_eq!(driver.take_told(), ["refuse 1 STORE_DOWN"]);
    driver.leave(ANN, Ending::Over);
    assert_eq!(driver.take_told(), ["left ann"]);
    // It is tried again, and in time it works.
    driver.wait(RELOAD_AFTER);
    assert_eq!(driver.take_told(), ["tell 2 push", "load"]);
    driver.loads = true;
    driver.handle(Input::LoadFailed { refusal });
    driver.wait(RELOAD_AFTER);
    driver.take_told();
    driver.join(ANN, "ann", Manner::default());
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    assert!(driver.take_told().contains(&"tell 1 answer".to_owned()));
    assert_eq!(driver.room.connected().len(), 3);
}

#[test]
fn a_room_of_readers_that_cannot_be_read_is_forgotten_unless_somebody_lingers() {
    let refusal = Refusal::StoreDown;
    let mut driver = Driver::new(Policy::of(Kind::Event));
    driver.loads = false;
    driver.room = Room::new(driver.now, Policy::of(Kind::Event), 1 << 20);
    driver.join(ANN, "ann", Manner::default());
    driver.join(BOB, "bob", Manner::default());
    driver.leave(BOB, Ending::Lost);
    driver.take_told();
    driver.handle(Input::LoadFailed { refusal });
    driver.leave(ANN, Ending::Over);
    assert_eq!(driver.take_told(), ["refuse 1 STORE_DOWN", "left ann"]);
    driver.wait(Duration::from_secs(44));
    assert_eq!(driver.take_told(), ["load"], "who lingers is kept");
    driver.wait(Duration::from_secs(1));
    assert_eq!(driver.take_told(), ["left bob"]);
    driver.handle(Input::LoadFailed { refusal });
    assert_eq!(driver.take_told(), ["unload"]);
}

#[test]
fn a_room_is_forgotten_a_minute_after_the_last_is_gone_in_every_way() {
    let mut driver = Driver::new(board_of(1));
    driver.join_board(ANN, "ann");
    driver.join_board(BOB, "bob");
    driver.leave(ANN, Ending::Lost);
    driver.take_told();
    // Ann lingers and Bob waits.
    driver.wait(Duration::from_secs(299));
    assert_eq!(driver.take_told(), [""; 0]);
    driver.leave(BOB, Ending::Clean);
    driver.wait(Duration::from_secs(1));
    assert_eq!(driver.take_told(), ["left ann"]);
    driver.beat(CID, "cid", 30);
    driver.take_told();
    driver.wait(Duration::from_secs(30));
    assert_eq!(driver.take_told(), ["expired 3", "left cid"]);
    driver.wait(Duration::from_millis(59_999));
    assert_eq!(driver.take_told(), [""; 0]);
    driver.wait(Duration::from_millis(1));
    assert_eq!(driver.take_told(), ["unload"]);
    driver.wait(Duration::from_secs(600));
    assert_eq!(driver.take_told(), [""; 0], "it is said once");
}

#[test]
fn who_came_back_before_it_was_forgotten_keeps_the_room() {
    let mut driver = Driver::new(Policy::of(Kind::Workspace));
    driver.join_board(ANN, "ann");
    driver.leave(ANN, Ending::Clean);
    driver.wait(Duration::from_secs(59));
    driver.join_board(BOB, "bob");
    driver.wait(Duration::from_secs(1));
    driver.take_told();
    driver.wait(Duration::from_secs(600));
    assert_eq!(driver.take_told(), [""; 0]);
}

#[test]
fn when_the_relay_stops_nobody_is_left_who_has_no_socket() {
    let mut driver = Driver::new(Policy::of(Kind::Event));
    driver.join(ANN, "ann", Manner::default());
    driver.leave(ANN, Ending::Lost);
    driver.beat(BOB, "bob", 45);
    driver.join(CID, "cid", Manner::default());
    driver.take_told();
    driver.handle(Input::Close);
    assert_eq!(driver.take_told(), ["expired 2", "left bob", "left ann"]);
    driver.leave(CID, Ending::Over);
    assert_eq!(driver.take_told(), ["left cid"]);
}

#[test]
fn who_hides_is_in_no_list_and_no_awareness_until_they_appear() {
    let visible = |driver: &Driver| {
        let states = driver.room.awareness().present().count();
        (states, driver.room.connected().len())
    };
    let hide = |driver: &mut Driver, hides| {
        let user = grant("ann").identity.user;
        driver.handle(Input::Hide { user, hides });
    };
    let show = |driver: &mut Driver, session: SessionId, clock| {
        driver.say(session, FromSession::Step1(StateVector::empty()));
        let state = awareness_of(session.0, clock, "{\"user\":{}}");
        driver.say(session, FromSession::Awareness(state));
    };
    let mut driver = Driver::new(Policy::of(Kind::Session));
    hide(&mut driver, true);
    driver.join(ANN, "ann", Manner::default());
    driver.take_told();
    show(&mut driver, ANN, 3);
    let heard = ["tell 1 hold", "tell 1 answer", "tell 1 push"];
    assert_eq!(driver.take_told(), heard, "nothing for others");
    assert_eq!(visible(&driver), (0, 0));
    hide(&mut driver, false);
    assert_eq!(driver.take_told(), ["awareness", "joined ann"]);
    assert_eq!(visible(&driver), (1, 1));
    hide(&mut driver, true);
    assert_eq!(driver.take_told(), ["awareness", "left ann"]);
    assert_eq!(visible(&driver), (0, 0));
    driver.leave(ANN, Ending::Clean);
    assert_eq!(driver.take_told(), [""; 0]);
    // That they hid here ended with their last session: whoever lets them in says so again.
    driver.join(BOB, "ann", Manner::default());
    show(&mut driver, BOB, 3);
    assert_eq!(visible(&driver), (1, 1));
}

#[test]
fn a_back_end_of_a_user_who_hides_hides_nobody() {
    let mut driver = Driver::new(Policy::of(Kind::Workspace));
    let back_end = Grant {
        is_participant: false,
        ..grant("ann")
    };
    let user = grant("ann").identity.user;
    driver.handle(Input::Hide { user, hides: true });
    driver.handle(Input::Join {
        session: BOB,
        grant: back_end,
        manner: Manner::default(),
    });
    driver.join(ANN, "ann", Manner::default());
    assert_eq!(driver.room.connected().len(), 1);
}

#[test]
fn a_room_keeps_of_a_day_what_is_there_now() {
    let mut driver = Driver::new(Policy::of(Kind::Workspace));
    let there_at = |hour: u64| 1 + 700 * (12 - hour.abs_diff(12)) / 12;
    let (mut first, mut next) = (0, 0);
    for hour in 0..24 {
        let mut entries_max = 0;
        for _ in 0..420 {
            // Whoever has been there for longest goes when there are enough.
            let session = SessionId(next);
            driver.join_board(session, &format!("user-{}", next % 10_000));
            let state = awareness_of(next + 1, 1, "{\"user\":{}}");
            driver.say(session, FromSession::Step1(StateVector::empty()));
            driver.say(session, FromSession::Awareness(state));
            next += 1;
            while first + there_at(hour) < next {
                driver.leave(SessionId(first), Ending::Clean);
                first += 1;
            }
            driver.wait(Duration::from_millis(3_600_000 / 420));
            driver.told.clear();
            entries_max = entries_max.max(driver.room.entries());
        }
        let there = (next - first) as usize;
        assert_eq!(driver.room.connected().len(), there);
        let entries = driver.room.entries();
        assert!(
            entries < 600 + 24 * there,
            "{entries} for {there} at {hour}"
        );
    }
    assert!(10_000 < next, "{next} came");
}

#[test]
fn a_room_at_rest_has_room_for_nobody_but_those_who_are_there() {
    for people in [1, 2, 3, 5, 7] {
        let mut driver = Driver::new(Policy::of(Kind::Session));
        for number in 1..=people + 1 {
            let session = SessionId(number);
            driver.join(session, &format!("user-{number}"), Manner::default());
            driver.say(session, FromSession::Step1(StateVector::empty()));
            let state = awareness_of(number, 1, r#"{"user":{}}"#);
            driver.say(session, FromSession::Awareness(state));
            let nothing = validator::update(vec![0, 0].into()).unwrap();
            driver.say(session, FromSession::Step2(nothing));
        }
        for _ in 0..100 {
            driver.say(ANN, FromSession::Update(an_update()));
        }
        // One leaves; in five maps the place that was theirs is kept for whoever comes next.
        driver.leave(SessionId(people + 1), Ending::Clean);
        driver.wait(Duration::from_secs(61));
        let spare = driver.room.spare();
        assert!(spare <= 5, "{people} people and room for {spare} more");
    }
}

#[test]
fn a_state_of_its_own_reopens_what_was_closed_and_nobody_elses_does() {
    let mut driver = Driver::new(Policy::of(Kind::Session));
    let reopen = |driver: &mut Driver, update| {
        driver.handle(Input::Reopen {
            session: ANN,
            grant: grant("ann"),
            manner: Manner::default(),
            message: FromSession::Awareness(update),
        });
    };
    let state = "{\"user\":{}}";
    driver.join(BOB, "bob", Manner::default());
    driver.say(BOB, FromSession::Step1(StateVector::empty()));
    driver.say(BOB, FromSession::Awareness(awareness_of(9, 5, state)));
    driver.join(ANN, "ann", Manner::default());
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    driver.say(ANN, FromSession::Awareness(awareness_of(7, 1, state)));
    // The old client's farewell, at a clock that the new one does not know.
    driver.say(ANN, FromSession::Awareness(awareness_of(7, 12, "null")));
    driver.handle(Input::Closed { session: ANN });
    driver.take_told();
    for (client, clock, state) in [
        (7, 13, "null"),
        (7, 13, " null "),
        (9, 6, state),
        (8, 1, state),
    ] {
        reopen(&mut driver, awareness_of(client, clock, state));
        assert_eq!(driver.take_told(), Vec::<String>::new(), "{client} {state}");
    }
    reopen(&mut driver, awareness_of(7, 1, state));
    let told = driver.take_told();
    assert!(told.contains(&"joined ann".to_owned()), "{told:?}");
    let entry = driver.room.awareness().entry(ClientId(7)).unwrap();
    assert_eq!(
        (entry.clock, entry.state.is_some()),
        (13, true),
        "raised above the farewell"
    );
    // From here on the new client's clock counts.
    driver.say(
        ANN,
        FromSession::Awareness(awareness_of(7, 2, "{\"user\":{\"name\":\"x\"}}")),
    );
    let entry = driver.room.awareness().entry(ClientId(7)).unwrap();
    assert_eq!(entry.clock, 14);
}

#[test]
fn a_state_among_those_of_others_announces_who_was_reopened_by_something_else() {
    let mut driver = Driver::new(Policy::of(Kind::Session));
    let state = "{\"user\":{}}";
    driver.join(ANN, "ann", Manner::default());
    driver.say(ANN, FromSession::Step1(StateVector::empty()));
    driver.say(ANN, FromSession::Awareness(awareness_of(7, 3, state)));
    driver.handle(Input::Closed { session: ANN });
    driver.handle(Input::Reopen {
        session: ANN,
        grant: grant("ann"),
        manner: Manner::default(),
        message: FromSession::Update(an_update()),
    });
    assert!(driver.take_told().contains(&"tell 1 query".to_owned()));
    let entry = |client, clock| AwarenessEntry {
        client: ClientId(client),
        clock,
        state: Some(state),
    };
    let all = AwarenessUpdate::compose([entry(9, 4), entry(7, 1)].into_iter()).unwrap();
    driver.say(ANN, FromSession::Awareness(all));
    let entry = driver.room.awareness().entry(ClientId(7)).unwrap();
    assert_eq!((entry.clock, entry.state.is_some()), (5, true));
}

#[test]
fn whoever_goes_on_where_it_is_full_by_now_is_refused() {
    let mut driver = Driver::new(board_of(1));
    driver.join(ANN, "ann", Manner::default());
    driver.handle(Input::Closed { session: ANN });
    driver.join(BOB, "bob", Manner::default());
    driver.take_told();
    driver.handle(Input::Reopen {
        session: ANN,
        grant: grant("ann"),
        manner: Manner::default(),
        message: FromSession::Update(an_update()),
    });
    assert_eq!(driver.take_told(), ["refuse 1 BOARD_FULL"]);
}

#[test]
fn whom_the_room_refuses_is_not_told_that_they_are_in() {
    let mut driver = Driver::new(board_of(1));
    let manner = Manner {
        wants_status: true,
        ..Manner::default()
    };
    for (session, name) in [(ANN, "ann"), (BOB, "bob")] {
        driver.room.handle(
            driver.now,
            Input::Join {
                session,
                grant: grant(name),
                manner,
            },
        );
    }
    let told: Vec<SessionId> = std::iter::from_fn(|| driver.room.poll_output())
        .filter_map(|output| match output {
            Output::Tell {
                session,
                message: Message::Access(Access::Write),
            } => Some(session),
            _ => None,
        })
        .collect();
    assert_eq!(told, [ANN]);
}

// The driver's words.

fn in_words(output: &Output) -> Option<String> {
    Some(match output {
        Output::Load => "load".to_owned(),
        Output::Update { sequence, .. } => format!("update {sequence}"),
        Output::Awareness => "awareness".to_owned(),
        Output::Tell { session, message } => {
            let message = match message {
                Message::Access(_) => return None,
                Message::Ask { .. } => "ask".to_owned(),
                Message::Hold => "hold".to_owned(),
                Message::Listen => "listen".to_owned(),
                Message::Answer { .. } => "answer".to_owned(),
                Message::Resync { .. } => "resync".to_owned(),
                Message::Status { .. } => "status".to_owned(),
                Message::Nudge { .. } => return None,
                Message::PushAwareness => "push".to_owned(),
                Message::QueryAwareness => "query".to_owned(),
                Message::Queued(place) => format!("place {place}"),
            };
            format!("tell {} {message}", session.0)
        }
        Output::Stateless { .. } => "stateless".to_owned(),
        Output::Refuse { session, refusal } => format!("refuse {} {}", session.0, refusal.reason()),
        Output::Presence { change, .. } => match &**change {
            Change::Joined(one) => format!("joined {}", one.user),
            Change::Changed { after, .. } => format!("changed {}", after.user),
            Change::Left(one) => format!("left {}", one.user),
        },
        Output::Admitted { session } => format!("admitted {}", session.0),
        Output::Expired { session } => format!("expired {}", session.0),
        Output::Answer { reply, .. } => match reply {
            Reply::Present => "present".to_owned(),
            Reply::Refused(refusal) => format!("refused {}", refusal.reason()),
            Reply::Document { .. }
            | Reply::Applied
            | Reply::NotEmpty
            | Reply::NotStored { .. }
            | Reply::Participants(_) => "answer".to_owned(),
        },
        Output::Unload => "unload".to_owned(),
        Output::AskSockets { .. }
        | Output::StateDropped { .. }
        | Output::Work(_)
        | Output::Sift(_)
        | Output::Keep(_)
        | Output::Record(_)
        | Output::Seen(_)
        | Output::Attendance { .. } => return None,
    })
}

fn grant(name: &str) -> Grant {
    let identity = Identity {
        user: UserId::parse(name).unwrap(),
        name: name.into(),
        avatar: None,
        color: None,
    };
    Grant {
        identity,
        role: None,
        access: Access::Write,
        is_stamped: true,
        is_participant: true,
    }
}

/// Nobody falls idle, so that timelines are short.
fn board_of(capacity: usize) -> Policy {
    Policy {
        capacity,
        idle_after: Duration::ZERO,
        away_after: Duration::ZERO,
        ..Policy::of(Kind::Board)
    }
}

fn awareness_of(client: u64, clock: u64, state: &str) -> AwarenessUpdate {
    let entry = AwarenessEntry {
        client: ClientId(client),
        clock,
        state: Some(state),
    };
    AwarenessUpdate::compose(std::iter::once(entry)).unwrap()
}

/// Somebody's first word.
fn an_update() -> Update {
    let doc = yrs::Doc::with_client_id(7);
    let text = doc.get_or_insert_text("text");
    let mut transaction = doc.transact_mut();
    text.insert(&mut transaction, 0, "word");
    validator::update(transaction.encode_update_v1().into()).unwrap()
}
