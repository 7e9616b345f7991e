//! A small world for tests: simulated Yjs clients of all kinds, their links with a latency, and one
//! room's awareness and roster between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::model::{self, Access, ClientId, Grant, Identity, Policy, SessionId, UserId};
use crate::presence::{self, Change, Entering, Roster};
use crate::room::awareness::{Awareness, Event};
use crate::room::stamp::stamp;
use crate::wire::validator;
use crate::wire::yjs::AwarenessUpdate;

/// One entry of an awareness message: id, clock, state.
pub(super) type Row = (u64, u64, Option<String>);

/// How a client behaves where they differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// y-websocket: echoes what it hears; nothing is queued while offline.
    YWebsocket,
    /// Hocuspocus 2 and 3: echo, and queue what they send while offline, with the nulls of all the
    /// others; delivered before the step 1.
    QueueFirst,
    /// The same, delivered after the announcement.
    QueueLast,
    /// Hocuspocus 4: echoes nothing.
    Quiet,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self::YWebsocket,
        Self::QueueFirst,
        Self::QueueLast,
        Self::Quiet,
    ];

    fn queues(self) -> bool {
        matches!(self, Self::QueueFirst | Self::QueueLast)
    }
}

/// How long it takes until every client has renewed its state.
const RENEWED_WITHIN: Duration = Duration::from_secs(21);

/// Which client of a world.
pub(super) type Place = usize;

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) awareness: Awareness,
    pub(super) roster: Roster,
    pub(super) clients: Vec<Client>,
    pub(super) nudges: usize,
    /// Who was nudged, in order.
    pub(super) nudged: Vec<Place>,
    /// Frames that reached the server.
    pub(super) frames_up: usize,
    /// Changes of the roster so far, in words.
    pub(super) told: Vec<String>,
    hidden: BTreeSet<UserId>,
    links: BTreeMap<SessionId, Link>,
    latency: Duration,
    next_session: u64,
    /// Broadcast channels between the tabs of a browser.
    broadcasts: VecDeque<(Place, Vec<Row>)>,
    next_check: Timestamp,
}

struct Link {
    client: Place,
    up: VecDeque<(Timestamp, Up)>,
    down: VecDeque<(Timestamp, Down)>,
    /// The version up to which the client has been sent casts; `None` before the first push.
    seen: Option<u64>,
    /// Half-open: nothing arrives any more, and the server does not know.
    is_cut: bool,
}

enum Up {
    Step1,
    Step2,
    Awareness(Vec<Row>),
}

enum Down {
    Step1,
    Awareness(Vec<Row>),
}

pub(super) struct Client {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) grant: Grant,
    pub(super) clock: u64,
    pub(super) state: Option<String>,
    pub(super) others: BTreeMap<u64, Other>,
    pub(super) link: Option<SessionId>,
    /// Tabs of one browser hear each other.
    pub(super) browser: Option<u32>,
    /// Its tab is hidden: its timers run once a minute. What it hears, it hears at once.
    pub(super) is_throttled: bool,
    /// Its tab is frozen: nothing of it runs, and what arrives waits. Its socket answers.
    pub(super) is_frozen: bool,
    queue: Vec<Vec<Row>>,
    renewed: Timestamp,
    /// When its timers run next.
    next_check: Timestamp,
    /// Since when it is connected, and since when it can be seen, too.
    connected: Option<Timestamp>,
    seen: Option<Timestamp>,
    /// It came back while its user hid: until then it may miss those it knew before.
    misses_until: Timestamp,
}

pub(super) struct Other {
    clock: u64,
    pub(super) state: Option<String>,
    heard: Timestamp,
}

impl World {
    pub(super) fn new(latency_ms: u64) -> Self {
        Self {
            now: Timestamp::from_millis(1_000_000),
            awareness: Awareness::new(),
            roster: Roster::new(Policy::of(model::Kind::Session)),
            clients: Vec::new(),
            nudges: 0,
            nudged: Vec::new(),
            frames_up: 0,
            told: Vec::new(),
            hidden: BTreeSet::new(),
            links: BTreeMap::new(),
            latency: Duration::from_millis(latency_ms),
            next_session: 0,
            broadcasts: VecDeque::new(),
            next_check: Timestamp::from_millis(1_000_000),
        }
    }

    /// A client with the state that every client starts with, not yet connected.
    pub(super) fn client(&mut self, user: &str, kind: Kind) -> Place {
        self.clients.push(Client {
            id: 1_000 + self.clients.len() as u64,
            kind,
            grant: grant(user),
            clock: 0,
            state: Some("{}".to_owned()),
            others: BTreeMap::new(),
            link: None,
            browser: None,
            is_throttled: false,
            is_frozen: false,
            queue: Vec::new(),
            renewed: self.now,
            next_check: self.now,
            connected: None,
            seen: None,
            misses_until: self.now,
        });
        self.clients.len() - 1
    }

    pub(super) fn connect(&mut self, place: Place) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let link = Link {
            client: place,
            up: VecDeque::new(),
            down: VecDeque::new(),
            seen: None,
            is_cut: false,
        };
        self.links.insert(session, link);
        let grant = self.clients[place].grant.clone();
        let user = grant.identity.user.clone();
        let is_hidden = self.hidden.contains(&user);
        self.turn(|awareness, now| {
            awareness.open(now, session, &grant);
            if is_hidden {
                awareness.hide(now, &user, true);
            }
        });
        self.send_down(session, Down::Step1);

        let client = &mut self.clients[place];
        client.link = Some(session);
        client.connected = Some(self.now);
        if is_hidden {
            client.misses_until = self.now + RENEWED_WITHIN;
        }
        let is_seen = client.state.is_some() && !is_hidden;
        client.seen = is_seen.then_some(self.now);
        let queue = std::mem::take(&mut client.queue);
        let announcement = client.state.is_some().then(|| vec![client.row(client.id)]);
        let (first, last) = match client.kind {
            Kind::QueueFirst => (queue, Vec::new()),
            _ => (Vec::new(), queue),
        };
        for rows in first {
            self.send_up(session, Up::Awareness(rows));
        }
        self.send_up(session, Up::Step1);
        for rows in announcement.into_iter().chain(last) {
            self.send_up(session, Up::Awareness(rows));
        }
    }

    /// The link is lost, and both sides notice at once.
    pub(super) fn disconnect(&mut self, place: Place) {
        if let Some(session) = self.lose(place) {
            self.end(session);
        }
    }

    /// The client notices that its link is lost; the server does not. Ends with `end`.
    pub(super) fn lose(&mut self, place: Place) -> Option<SessionId> {
        let client = &mut self.clients[place];
        let session = client.link.take()?;
        client.connected = None;
        client.seen = None;
        if let Some(link) = self.links.get_mut(&session) {
            link.is_cut = true;
            link.up.clear();
            link.down.clear();
        }
        let mut gone = Vec::new();
        for (&id, other) in &mut client.others {
            if other.state.take().is_some() {
                gone.push((id, other.clock, None));
            }
        }
        if client.kind.queues() && !gone.is_empty() {
            client.queue.push(gone.clone());
        }
        self.broadcast(place, gone);
        Some(session)
    }

    /// The server notices that a session is over.
    pub(super) fn end(&mut self, session: SessionId) {
        self.links.remove(&session);
        self.turn(|awareness, now| {
            awareness.close(now, session);
        });
    }

    /// The user of this client hides, or no longer.
    pub(super) fn hide(&mut self, place: Place, hides: bool) {
        let user = self.clients[place].grant.identity.user.clone();
        match hides {
            true => self.hidden.insert(user.clone()),
            false => self.hidden.remove(&user),
        };
        for client in &mut self.clients {
            if client.grant.identity.user == user {
                let is_seen = client.link.is_some() && client.state.is_some() && !hides;
                client.seen = is_seen.then_some(self.now);
            }
        }
        self.roster.hide(self.now, &user, hides);
        self.turn(|awareness, now| awareness.hide(now, &user, hides));
    }

    /// The tab of this client is hidden, or seen again.
    pub(super) fn throttle(&mut self, place: Place, is_throttled: bool) {
        let client = &mut self.clients[place];
        client.is_throttled = is_throttled;
        // Timers run when a tab is seen again.
        client.next_check = self.now + Duration::from_secs(if is_throttled { 60 } else { 0 });
    }

    /// The tab is gone without a word, and its links to other tabs with it.
    pub(super) fn vanish(&mut self, place: Place) {
        let client = &mut self.clients[place];
        client.is_frozen = true;
        client.browser = None;
        client.connected = None;
        client.seen = None;
    }

    /// What a client sees of another.
    pub(super) fn sees(&self, viewer: Place, target: Place) -> bool {
        let id = self.clients[target].id;
        let other = self.clients[viewer].others.get(&id);
        other.is_some_and(|other| other.state.is_some())
    }

    /// The server restarts and remembers nothing.
    pub(super) fn restart(&mut self) {
        for place in 0..self.clients.len() {
            self.lose(place);
        }
        self.links.clear();
        self.awareness = Awareness::new();
        self.roster = Roster::new(Policy::of(model::Kind::Session));
    }

    /// The program sets another state; its name is forged, so that no state agrees as it is.
    pub(super) fn set(&mut self, place: Place, number: u64) {
        self.set_state(place, Some(state(number)));
    }

    /// The program takes the state away, or the page is hidden.
    pub(super) fn set_null(&mut self, place: Place) {
        self.set_state(place, None);
    }

    fn set_state(&mut self, place: Place, state: Option<String>) {
        let now = self.now;
        let client = &mut self.clients[place];
        let is_hidden = self.hidden.contains(&client.grant.identity.user);
        client.clock += 1;
        client.renewed = now;
        if state.is_none() || is_hidden {
            client.seen = None;
        } else if client.state.is_none() && client.link.is_some() {
            client.seen = Some(now);
        }
        client.state = state;
        let rows = vec![client.row(client.id)];
        self.tell(place, rows, true);
    }

    /// Lets time pass, with everything that happens in it.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            self.settle();
            let due = self
                .links
                .values()
                .flat_map(|link| {
                    let hears = !self.clients[link.client].is_frozen;
                    [
                        link.up.front().map(|up| up.0),
                        link.down.front().map(|d| d.0).filter(|_| hears),
                    ]
                })
                .chain([self.awareness.next_deadline(), Some(self.next_check)])
                .flatten()
                .min()
                .unwrap_or(end);
            if end < due {
                break;
            }
            self.now = self.now.max(due);
            if self.next_check <= self.now {
                self.next_check = self.now + Duration::from_secs(3);
                for place in 0..self.clients.len() {
                    let client = &mut self.clients[place];
                    if client.next_check <= self.now && !client.is_frozen {
                        let every = if client.is_throttled { 60 } else { 3 };
                        client.next_check = self.now + Duration::from_secs(every);
                        self.check_times(place);
                    }
                }
            }
            self.turn(|awareness, now| awareness.tick(now));
        }
        self.now = end;
    }

    /// Delivers everything that has arrived by now; then nobody who is there may be missing.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "the room melts");
            if let Some((place, rows)) = self.broadcasts.pop_front() {
                self.hear(place, &rows);
                continue;
            }
            let now = self.now;
            let next_down = self.links.iter_mut().find_map(|(&session, link)| {
                if self.clients[link.client].is_frozen {
                    return None;
                }
                let (_, down) = link.down.pop_front_if(|(due, _)| *due <= now)?;
                Some((session, link.client, down))
            });
            if let Some((session, place, down)) = next_down {
                match down {
                    Down::Step1 => self.send_up(session, Up::Step2),
                    Down::Awareness(rows) => self.hear(place, &rows),
                }
                continue;
            }
            let next_up = self.links.iter_mut().find_map(|(&session, link)| {
                let (_, up) = link.up.pop_front_if(|(due, _)| *due <= now)?;
                Some((session, up))
            });
            let Some((session, up)) = next_up else {
                break;
            };
            self.frames_up += 1;
            self.turn(|awareness, now| match up {
                Up::Step1 => awareness.step1(now, session),
                Up::Step2 => awareness.step2(now, session),
                Up::Awareness(rows) => awareness.receive(now, session, &payload(&rows)),
            });
        }
        self.assert_nobody_is_missing();
    }

    /// One turn of the server: something happens, and all that follows from it is sent.
    fn turn(&mut self, happen: impl FnOnce(&mut Awareness, Timestamp)) {
        happen(&mut self.awareness, self.now);
        let mut pushed = Vec::new();
        while let Some(event) = self.awareness.poll_event() {
            match event {
                Event::Nudge {
                    session,
                    client,
                    clock,
                } => {
                    self.nudges += 1;
                    self.nudged.push(self.links[&session].client);
                    self.send_down(session, Down::Awareness(vec![(client.0, clock, None)]));
                }
                Event::Push { session } => pushed.push(session),
                Event::Ask { sessions } => {
                    for session in sessions {
                        if self.links.get(&session).is_some_and(|link| !link.is_cut) {
                            self.awareness.answer(self.now, session);
                        }
                    }
                }
                Event::Dropped { .. } => panic!("nobody here says much"),
                Event::Cast { .. } => {}
                Event::Shows {
                    session,
                    appearance,
                } => {
                    if let Some(identity) = &appearance
                        && !self.roster.has(session)
                    {
                        let client = &self.clients[self.links[&session].client];
                        let entering = Entering {
                            user: client.grant.identity.user.clone(),
                            identity: (**identity).clone(),
                            may_wait: false,
                            lasts: None,
                        };
                        let is_hidden = self.hidden.contains(&entering.user);
                        self.roster
                            .hide(self.now, &entering.user.clone(), is_hidden);
                        self.roster.enter(self.now, session, entering);
                    }
                    self.roster
                        .show(self.now, session, appearance.map(|shown| *shown));
                }
                Event::Active { session } => self.roster.bring_forward(self.now, session),
            }
        }
        while let Some(event) = self.roster.poll_event() {
            let presence::Event::Change { change, .. } = event else {
                continue;
            };
            let word = match *change {
                Change::Joined(_) => "joined",
                Change::Changed { .. } => "changed",
                Change::Left(_) => "left",
            };
            self.told
                .push(format!("{word} {}", change.participant().user));
        }
        let mut down = Vec::new();
        for (&session, link) in &mut self.links {
            let rows: Vec<Row> = if pushed.contains(&session) {
                self.awareness.present().collect::<Vec<_>>()
            } else if let Some(seen) = link.seen {
                self.awareness.since(seen).collect()
            } else {
                continue;
            }
            .into_iter()
            .filter(|entry| entry.session != Some(session))
            .map(|entry| {
                (
                    entry.client.0,
                    entry.clock,
                    entry.state.as_deref().map(str::to_owned),
                )
            })
            .collect();
            link.seen = Some(self.awareness.version());
            if !rows.is_empty() {
                down.push((session, rows));
            }
        }
        for (session, rows) in down {
            self.send_down(session, Down::Awareness(rows));
        }
    }

    /// What a client does with awareness that it hears: y-protocols' rules, then its provider's.
    fn hear(&mut self, place: Place, rows: &[Row]) {
        let now = self.now;
        let client = &mut self.clients[place];
        let mut changed = Vec::new();
        for (id, clock, state) in rows {
            let (id, clock) = (*id, *clock);
            if id == client.id {
                let is_removal = state.is_none() && client.state.is_some();
                if clock < client.clock || (clock == client.clock && !is_removal) {
                    continue;
                }
                client.clock = clock + u64::from(is_removal);
                client.renewed = now;
                assert!(state.is_none(), "a client's own state was overwritten");
                changed.push(id);
            } else {
                let is_known = client.others.contains_key(&id);
                let other = client.others.entry(id).or_insert(Other {
                    clock: 0,
                    state: None,
                    heard: now,
                });
                let is_removal = state.is_none() && other.state.is_some();
                if clock < other.clock || (clock == other.clock && !is_removal) {
                    continue;
                }
                *other = Other {
                    clock,
                    state: state.clone(),
                    heard: now,
                };
                if is_known || state.is_some() {
                    changed.push(id);
                }
            }
        }
        if !changed.is_empty() {
            let rows = changed.into_iter().map(|id| client.row(id)).collect();
            self.tell(place, rows, false);
        }
    }

    /// The client's awareness changed, by itself or by what it heard.
    fn tell(&mut self, place: Place, rows: Vec<Row>, is_local: bool) {
        let client = &mut self.clients[place];
        if is_local || client.kind != Kind::Quiet {
            match client.link {
                Some(session) => self.send_up(session, Up::Awareness(rows.clone())),
                None if client.kind.queues() => client.queue.push(rows.clone()),
                None => {}
            }
        }
        self.broadcast(place, rows);
    }

    fn broadcast(&mut self, place: Place, rows: Vec<Row>) {
        let browser = self.clients[place].browser;
        for (tab, client) in self.clients.iter().enumerate() {
            if browser.is_some() && client.browser == browser && tab != place {
                self.broadcasts.push_back((tab, rows.clone()));
            }
        }
    }

    /// Renews the own state when it is 15 s old, and drops others after 30 s of silence.
    fn check_times(&mut self, place: Place) {
        let now = self.now;
        let client = &mut self.clients[place];
        if client.state.is_some() && Duration::from_secs(15) <= now.since(client.renewed) {
            let state = client.state.clone();
            self.set_state(place, state);
        }
        let client = &mut self.clients[place];
        let mut gone = Vec::new();
        for (&id, other) in &mut client.others {
            let is_silent = Duration::from_secs(30) <= now.since(other.heard);
            if is_silent && other.state.take().is_some() {
                gone.push((id, other.clock, None));
            }
        }
        if !gone.is_empty() {
            self.tell(place, gone, false);
        }
    }

    fn send_up(&mut self, session: SessionId, up: Up) {
        let due = self.now + self.latency;
        if let Some(link) = self.links.get_mut(&session)
            && !link.is_cut
        {
            link.up.push_back((due, up));
        }
    }

    fn send_down(&mut self, session: SessionId, down: Down) {
        let due = self.now + self.latency;
        if let Some(link) = self.links.get_mut(&session)
            && !link.is_cut
        {
            link.down.push_back((due, down));
        }
    }

    /// How long it may take until somebody new sees and is seen: two round trips.
    fn patience(&self) -> Duration {
        4 * self.latency
    }

    fn assert_nobody_is_missing(&self) {
        let is_settled = |since: Option<Timestamp>| {
            since.is_some_and(|since| self.patience() < self.now.since(since))
        };
        // A tab that loses its link tells the other tabs that everybody is gone, and they believe
        // it until it is back or everybody has renewed: nothing that a server could know.
        let is_misled = |viewer: &Client| {
            let is_beside =
                |tab: &&Client| viewer.browser.is_some() && tab.browser == viewer.browser;
            let mut beside = self.clients.iter().filter(is_beside);
            beside.any(|tab| !is_settled(tab.connected))
        };
        let is_viewer = |one: &&Client| is_settled(one.connected) && !is_misled(one);
        for viewer in self.clients.iter().filter(is_viewer) {
            if viewer.is_frozen || self.now < viewer.misses_until {
                continue;
            }
            for target in self.clients.iter().filter(|one| is_settled(one.seen)) {
                let is_visible = viewer.id == target.id
                    || viewer
                        .others
                        .get(&target.id)
                        .is_some_and(|other| other.state.is_some());
                assert!(
                    is_visible,
                    "{:?} {} lost {:?} {} at {}",
                    viewer.kind, viewer.id, target.kind, target.id, self.now
                );
            }
        }
    }

    /// Everybody who is connected sees exactly those who are, with their newest states; and so
    /// does the roster.
    pub(super) fn assert_views_are_right(&self) {
        let is_seen = |client: &&Client| {
            let is_hidden = self.hidden.contains(&client.grant.identity.user);
            client.link.is_some() && client.state.is_some() && !is_hidden
        };
        let is_viewer = |client: &&Client| {
            client.link.is_some() && !client.is_frozen && client.misses_until <= self.now
        };
        for viewer in self.clients.iter().filter(is_viewer) {
            let sees: BTreeMap<u64, &str> = viewer
                .others
                .iter()
                .filter_map(|(&id, other)| Some((id, other.state.as_deref()?)))
                .collect();
            let expected: BTreeMap<u64, String> = self
                .clients
                .iter()
                .filter(is_seen)
                .filter(|client| client.id != viewer.id)
                .map(|client| {
                    let text = client.state.clone().unwrap();
                    // Between tabs of one browser it passes as it is.
                    let is_direct = client.browser.is_some()
                        && client.browser == viewer.browser
                        && sees.get(&client.id) == Some(&&*text);
                    if is_direct {
                        return (client.id, text);
                    }
                    let stamped = stamp(&client.grant, &text).unwrap();
                    (client.id, stamped.state.into_owned())
                })
                .collect();
            let expected: BTreeMap<u64, &str> = expected
                .iter()
                .map(|(&id, text)| (id, text.as_str()))
                .collect();
            assert_eq!(
                sees, expected,
                "{:?} {} at {}",
                viewer.kind, viewer.id, self.now
            );
        }
        for client in &self.clients {
            let user = &client.grant.identity.user;
            let is_connected = self
                .clients
                .iter()
                .filter(is_seen)
                .any(|other| other.grant.identity.user == *user && other.is_shown());
            let listed = self
                .roster
                .participant(user)
                .is_some_and(|one| one.is_connected);
            assert_eq!(listed, is_connected, "{user} in the roster");
        }
    }

    /// Lets everything arrive that a return causes; then every view must be right.
    pub(super) fn arrive(&mut self) {
        let patience = self.patience() + self.latency;
        self.run(u64::try_from(patience.as_millis()).unwrap() + 1);
        self.assert_views_are_right();
    }

    /// For a minute nothing happens but renewals and their echoes.
    pub(super) fn assert_silence(&mut self) {
        let (nudges, frames) = (self.nudges, self.frames_up);
        self.run(60_000);
        self.assert_views_are_right();
        assert_eq!(self.nudges, nudges, "nudges while nobody comes or goes");
        let count = self.clients.len();
        assert!(
            self.frames_up - frames <= 5 * count * count,
            "more than renewals"
        );
    }
}

impl Client {
    fn row(&self, id: u64) -> Row {
        if id == self.id {
            (id, self.clock, self.state.clone())
        } else {
            let other = &self.others[&id];
            (id, other.clock, other.state.clone())
        }
    }

    fn is_shown(&self) -> bool {
        self.state.as_deref().is_some_and(|state| state != "{}")
    }
}

/// A state that has to be stamped, told apart by its number.
pub(super) fn state(number: u64) -> String {
    format!(r#"{{"user":{{"name":"forged"}},"number":{number}}}"#)
}

pub(super) fn grant(user: &str) -> Grant {
    Grant {
        identity: Identity {
            user: UserId::parse(user).unwrap(),
            name: user.to_uppercase().into(),
            avatar: None,
            color: None,
        },
        role: None,
        access: Access::Read,
        is_stamped: true,
        is_participant: true,
    }
}

/// The one place where tests encode awareness.
pub(super) fn payload(rows: &[Row]) -> AwarenessUpdate {
    let mut bytes = Vec::new();
    write_varuint(&mut bytes, rows.len() as u64);
    for (client, clock, state) in rows {
        let text = state.as_deref().unwrap_or("null");
        write_varuint(&mut bytes, ClientId(*client).0);
        write_varuint(&mut bytes, *clock);
        write_varuint(&mut bytes, text.len() as u64);
        bytes.extend_from_slice(text.as_bytes());
    }
    validator::awareness(Bytes::from(bytes)).unwrap()
}

fn write_varuint(bytes: &mut Vec<u8>, mut number: u64) {
    while 0x80 <= number {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
