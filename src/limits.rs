//! Every cap and interval that is not a kind's own, with its reason.

use std::time::Duration;

/// The caps that the operator may set. Contract, sections 3 and 7.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The largest WebSocket message, in bytes.
    pub message_bytes_max: usize,
    /// The largest document, in bytes of its encoding.
    pub document_bytes_max: usize,
    /// How many sockets the process holds.
    pub connections_max: usize,
    /// How many more it holds that have not said whose they are. They take nobody else's place.
    pub strangers_max: usize,
    /// How many sockets, feed windows, heartbeat sessions and streams of one user, together.
    pub per_user_max: usize,
    /// How much may wait for a store that cannot write, in bytes over all rooms.
    pub unsaved_bytes_max: usize,
    /// Messages per second and connection, sustained.
    pub rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            document_bytes_max: 256 << 20,
            connections_max: 20_000,
            strangers_max: 2_000,
            per_user_max: 100,
            unsaved_bytes_max: 256 << 20,
            rate: 1_000,
        }
    }
}

impl Limits {
    /// Each with the name of its option, as metrics show them.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        let Self {
            message_bytes_max,
            document_bytes_max,
            connections_max,
            // It follows from the one before.
            strangers_max: _,
            per_user_max,
            unsaved_bytes_max,
            rate,
        } = self;
        [
            ("max-message", *message_bytes_max as u64),
            ("max-document", *document_bytes_max as u64),
            ("max-connections", *connections_max as u64),
            ("max-per-user", *per_user_max as u64),
            ("max-unsaved", *unsaved_bytes_max as u64),
            ("rate", u64::from(*rate)),
        ]
    }
}

/// Sockets that have not authenticated are this part of `connections_max`: who comes is one for a
/// moment, and ten thousand that come back at once do so over some seconds.
pub const STRANGERS_SHARE: usize = 10;
/// As many of them are let in however few connections there may be.
pub const STRANGERS_MIN: usize = 64;
/// When all their places are taken, one that has been here for so long gives way to the next: it had
/// the time to fetch a token and say who it is, and must not keep out those who are about to.
pub const STRANGER_GIVES_WAY_AFTER: Duration = Duration::from_secs(5);
/// What all of them together may have sent: each may send 5 MiB, which waits for its token.
pub const STRANGER_BYTES_MAX: usize = 64 << 20;
/// What may have come of all further messages of a user, when one that has not ended is of any allowed
/// size: somebody who comes back with two tabs sends two documents at once, a thousand nobody does.
pub const UNFINISHED_FURTHER_BYTES_MAX: usize = 16 << 20;
/// Less than this of an unfinished message is not counted: a read ends within one every few
/// milliseconds on a busy socket.
pub const UNFINISHED_COUNTED_FROM: usize = 4 << 10;
/// A message or a body that has begun must go on: in each such time...
pub const PACE_WITHIN: Duration = Duration::from_secs(30);
/// ... by so much. That is 2 KiB a second, the worst of networks that anybody edits over.
pub const PACE_BYTES: usize = 60 << 10;
/// A stateless message: a notice between clients, sent on to everybody in the document.
pub const STATELESS_BYTES_MAX: usize = 256 << 10;

/// A burst is this many seconds' worth of messages at once.
pub const RATE_BURST_SECONDS: u32 = 2;

/// An awareness state's JSON, in bytes. A cursor, a name and a colour are 200. One that is larger is
/// dropped, and the one before it stays.
pub const AWARENESS_STATE_BYTES_MAX: usize = 64 << 10;
/// The states that one session holds, together: its own, and those of tabs that it passes on. Also what
/// is looked at of one message: stamping takes some half a millisecond for so much.
pub const AWARENESS_SESSION_BYTES_MAX: usize = 256 << 10;
/// The states of all sessions that a user has in one room: what everybody who comes is sent of them.
pub const AWARENESS_USER_BYTES_MAX: usize = 1 << 20;
/// How deep an awareness state's JSON may nest: clients parse it recursively.
pub const AWARENESS_STATE_DEPTH_MAX: usize = 64;
/// Entries of one awareness message that are looked at, in a tenth of a millisecond. Nobody has so many
/// of their own; what is longer is the echo of a large room.
pub const AWARENESS_ENTRIES_MAX: usize = 1_000;
/// Awareness states one session may hold: its own, and tabs it relays for over BroadcastChannel.
pub const AWARENESS_IDS_PER_SESSION_MAX: usize = 64;
/// Clocks of yrs clients are 32 bits wide and wrap; refuse long before.
pub const AWARENESS_CLOCK_MAX: u64 = (1 << 32) - (1 << 16);
/// Departed client ids remembered in one room. Far more than leave in a minute, unless somebody
/// makes them up.
pub const AWARENESS_DEPARTED_MAX: usize = 65_536;
/// Client ids of one user that are remembered as theirs while a room is loaded, when their clocks are
/// forgotten. A page has another each time that it is opened.
pub const AWARENESS_FORMER_PER_USER_MAX: usize = 1_000;
/// Such ids of all users of a room: some megabytes, in a room to which very many have come.
pub const AWARENESS_FORMER_MAX: usize = 100_000;
/// How often whoever runs the relay is told that a user's states are dropped, for each limit.
pub const NOTICE_EVERY: Duration = Duration::from_secs(60);
/// Such notices remembered at a time on one worker; what comes beyond is counted, and not told.
pub const NOTICES_MAX: usize = 1_000;
/// A name or role that somebody who is not stamped gives themselves, as far as the roster keeps it.
pub const SELF_GIVEN_NAME_BYTES_MAX: usize = 1 << 10;
/// How long a departed client id's clock is remembered (wire facts, 2.4).
pub const AWARENESS_MEMORY: Duration = Duration::from_secs(60);
/// How long a newcomer's announcement is waited for before the others are pushed to it.
pub const AWARENESS_PUSH_AFTER: Duration = Duration::from_millis(300);
/// Without an own id known: how recent another session's end counts as this client's (2.4 rule 6).
pub const AWARENESS_RETURN_WITHIN: Duration = Duration::from_secs(20);
/// A raised id also goes to all others if it was last cast longer ago than this (2.4 rule 7): the nudge
/// puts off its owner's own renewal, and who is not renewed by then is renewed by us.
pub const AWARENESS_CAST_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A state that was last cast longer ago than this is renewed for its owner: a visible tab does so
/// itself after 15 to 18 s, a hidden one once a minute, and clients drop who is silent for 30 s.
pub const AWARENESS_RENEW_AFTER: Duration = Duration::from_secs(20);
/// So long the sockets of silent owners have to say that they are there, from whichever worker; and
/// whoever falls silent meanwhile is renewed together with them.
pub const AWARENESS_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Silent owners asked for at once in one room.
pub const AWARENESS_ASKED_AT_ONCE_MAX: usize = 1_000;
/// States renewed in one step of one room: a message of so many is put together for each of them.
pub const AWARENESS_RENEWED_AT_ONCE_MAX: usize = 64;
/// How long a socket may owe us an answer and still count as one that answers. A round trip is less.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

const _: () = assert!(
    AWARENESS_CAST_AGAIN_AFTER.as_secs()
        + AWARENESS_RENEW_AFTER.as_secs()
        + 3 * AWARENESS_ANSWER_WITHIN.as_secs()
        < 30,
    "clients drop after 30 s whoever they do not hear of"
);

/// How deep JSON-like values in an update may nest. Browsers walk them recursively, and fail near 8,000.
pub const UPDATE_NESTING_MAX: usize = 1_000;
/// The largest client id that JavaScript can hold exactly.
pub const CLIENT_ID_MAX: u64 = (1 << 53) - 1;
/// One past the largest clock: yrs computes with 32 bits, and clients with signed ones.
pub const CLOCK_END: u64 = 1 << 31;

/// Received before authentication, per socket; after it, what waits there for a document's token.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 5 << 20;
/// The same in frames.
pub const UNAUTHENTICATED_FRAMES_MAX: usize = 1_000;
/// How long a socket may stay without having authenticated anywhere.
pub const UNAUTHENTICATED_FOR_MAX: Duration = Duration::from_secs(60);
/// Documents on one Hocuspocus socket.
pub const DOCUMENTS_PER_SOCKET_MAX: usize = 1_000;
/// Documents that its client has closed and that are remembered on one Hocuspocus socket: what a client
/// made anew says for one of them comes right behind the close, and an editor has a few open at most.
pub const CLOSED_DOCUMENTS_MAX: usize = 64;

/// A client of y-websocket or Hocuspocus that hears nothing for so long drops its link: what a kind
/// says of pings must fit into it twice.
pub const CLIENT_QUIET_MAX: Duration = Duration::from_secs(30);
/// How often a key set is read again, some seconds more or less: a key that its issuer withdrew is good
/// until then.
pub const KEY_SET_READ_EVERY: Duration = Duration::from_secs(300);
/// How soon it is tried again after it could not be read...
pub const KEY_SET_RETRY_AFTER_FIRST: Duration = Duration::from_secs(1);
/// ... and how soon at the latest, after failing for long.
pub const KEY_SET_RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// How far ahead of ours the clock may be that a token's `nbf` comes from. Nothing else has leeway:
/// clients that are refused for it do not come back.
pub const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
/// How often it is looked whether the system's clock was set: an expiry ends what it ends a second
/// after its time at the latest.
pub const CLOCK_COMPARED_EVERY: Duration = Duration::from_millis(500);
/// How long a revocation is kept, in memory and in the store (contract, section 2): tokens that live
/// longer are good again.
pub const REVOCATIONS_KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);
/// How many are kept, of different users or rooms: one every 20 s in that time, some 100 MB. Of more the
/// oldest is forgotten first.
pub const REVOCATIONS_MAX: usize = 400_000;
/// Revocations that wait for a store that takes none, before more are refused.
pub const REVOCATIONS_WAITING_MAX: usize = 10_000;
/// How long whoever wants something written waits for a store that takes nothing (contract, section 2).
pub const STORED_WITHIN: Duration = Duration::from_secs(10);
/// How long before a token's end its bearer is asked for a new one.
pub const REFRESH_BEFORE: Duration = Duration::from_secs(60);
/// The largest message of a JSON dialect: a token with a long list of rooms, and room to spare. It is
/// read where it arrives, so it must not take long.
pub const DIALECT_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Where somebody in a workspace is: a path. Contract, section 6.2.
pub const WORKSPACE_PATH_BYTES_MAX: usize = 2 << 10;
/// What they look at there: its type, and its id.
pub const WORKSPACE_RESOURCE_BYTES_MAX: usize = 256;
/// A client of a JSON dialect whose bad messages are so many...
pub const BAD_MESSAGES_MAX: usize = 20;
/// ... within this time is closed: it will not get better. Contract, section 6.
pub const BAD_MESSAGES_WITHIN: Duration = Duration::from_secs(10);
/// A client of a JSON dialect that sends too much is told so this often, however much it sends...
pub const RATE_LIMITED_TOLD_EVERY: Duration = Duration::from_secs(1);
/// ... closed when it has gone on for so long (contract, section 7)...
pub const RATE_LIMITED_FOR_MAX: Duration = Duration::from_secs(10);
/// ... and forgiven when nothing had to be dropped for so long. More than a second, in which
/// somebody who sends a little too much is one message over.
pub const RATE_LIMITED_FORGOTTEN_AFTER: Duration = Duration::from_secs(2);
/// Where a message replaces all before it, the newest that was dropped for coming too fast is taken so
/// long after the first: ten a second beside the rate.
pub const NEWEST_WITHIN: Duration = Duration::from_millis(100);
/// A message that came too fast is looked into for that up to this length, which all that are good have:
/// the rest is as dear as it is useless.
pub const NEWEST_BYTES_MAX: usize = 16 << 10;
/// A token that was refused for good is remembered for so long. Clients that do not know that it is for
/// good come back ten times a second, so from the second time on its close is held back...
pub const KNOCKS_REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// ... for so long, then twice as long...
pub const CLOSE_HELD_FIRST: Duration = Duration::from_secs(1);
/// ... and so on up to this. Clients take a link that says nothing for 30 s for a dead one.
pub const CLOSE_HELD_MAX: Duration = Duration::from_secs(20);
/// Sockets that are held so: beside the places of all others, and when another comes the oldest goes.
pub const CLOSES_HELD_MAX: usize = 256;
/// What a socket that is held may send before it is read no further.
pub const CLOSE_HELD_BYTES_MAX: usize = 64 << 10;
/// Refused tokens remembered at a time.
pub const KNOCKS_MAX: usize = 16_384;
/// How long a closed socket may take to answer before it is cut.
pub const CLOSE_LINGER: Duration = Duration::from_secs(2);

/// Offline participants that a room presence lists at most.
pub const OFFLINE_PARTICIPANTS_MAX: usize = 1_000;
/// Users who may wait for a place in one room.
pub const QUEUE_USERS_MAX: usize = 1_000;
/// How often a sign of life of one session is written down at most.
pub const RECORD_EVERY: Duration = Duration::from_secs(15);
/// Records about people that wait for a store that is down, one for each session or person.
pub const PEOPLE_WAITING_MAX: usize = 100_000;
/// How often it is written down at most that somebody who is there still is: after a crash, this is
/// how far back "last seen" may lie.
pub const SEEN_EVERY: Duration = Duration::from_secs(60);
/// What a heartbeat says beside its status, in bytes of JSON.
pub const HEARTBEAT_DATA_BYTES_MAX: usize = 4 << 10;
/// How deep that may nest, as awareness states may.
pub const HEARTBEAT_DATA_DEPTH_MAX: usize = 64;
/// A client's name for its session; a UUID has 36 bytes.
pub const HEARTBEAT_SESSION_BYTES_MAX: usize = 256;
/// The shortest interval that a heartbeat may name.
pub const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// The longest.
pub const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(600);
/// Heartbeats of one user, over all rooms, within `HEARTBEAT_WINDOW`.
pub const HEARTBEATS_MAX: usize = 10;
/// How long a heartbeat counts.
pub const HEARTBEAT_WINDOW: Duration = Duration::from_secs(10);
/// Users whose heartbeats are counted at a time: more than could be answered within the window.
pub const HEARTBEAT_USERS_MAX: usize = 200_000;
/// How long after a `leave` a heartbeat of that session counts for nothing: what was on its way side by
/// side with the goodbye of a page that closes. Contract, section 6.4.
pub const LEFT_FOR: Duration = Duration::from_secs(2);
/// Goodbyes of so many sessions are remembered for that long, by each worker: more leave at once at the
/// end of no event...
pub const FAREWELLS_MAX: usize = 65_536;
/// ... and of so many that nobody has heard of: anybody may say goodbye for what they make up...
pub const FAREWELL_STRANGERS_MAX: usize = 4_096;
/// ... in so few bytes: the token of a session has 43.
pub const FAREWELL_TOKEN_BYTES_MAX: usize = 64;
/// A user may read (`GET` and `HEAD` below `/v1`, over all routes) as often as this: two hundred times a
/// second, of which others notice a millisecond at most. Back ends (`scope: service`) as often as they like.
pub const READ_EVERY: Duration = Duration::from_millis(5);
/// So many reads a user may have ahead of that: a page that opens asks for many things at once.
pub const READS_AT_ONCE: u32 = 400;
/// Users whose reads are counted at a time: more than could be answered while they count.
pub const READ_USERS_MAX: usize = 200_000;
/// Bodies of `POST` requests that are not documents. What is no larger needs nothing of the budget for
/// bodies: nobody's uploads keep others from a heartbeat, or from revoking.
pub const BODY_BYTES_MAX: u64 = 64 << 10;
/// How long a connection may take to ask for something first of all.
pub const HTTP_HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests, the head of the next included. Longer than
/// balancers keep theirs (60 s): of two ends that close when they like, one loses a request.
pub const HTTP_IDLE_MAX: Duration = Duration::from_secs(75);
/// Connections beside all others, that answer for the relay's health when those are taken, and tell the
/// rest to come back; when another comes the oldest goes.
pub const HTTP_SPARE_MAX: usize = 32;
/// How long one of these may take.
pub const HTTP_SPARE_WITHIN: Duration = Duration::from_secs(2);
/// Open files that are no connections: stores and what they write, spare connections...
pub const OPEN_FILES_KEPT: usize = 128;
/// ... and what each thread has of its own, for each core.
pub const OPEN_FILES_KEPT_PER_CORE: usize = 8;
/// Connections for the API that are never sockets, where files are scarce...
pub const HTTP_CONNECTIONS_MIN: usize = 64;
/// ... or this part of all: idle ones make room for others.
pub const HTTP_CONNECTIONS_SHARE: usize = 100;
/// The part of the sockets that are strangers' where files are scarce.
pub const STRANGERS_SHARE_OF_FEW: usize = 20;
/// Headers of one request.
pub const HTTP_HEADERS_MAX: usize = 64;
/// A request's head in bytes; tokens are in it. Also what is read of a body at once.
pub const HTTP_BUFFER_BYTES_MAX: usize = 64 << 10;
/// A request's address in bytes: what the library that reads it takes.
pub const HTTP_ADDRESS_BYTES_MAX: usize = (u16::MAX - 1) as usize;
/// The longest wait after failing to accept a connection.
pub const LISTENER_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long a request's body may pause before it is given up; over a longer time see `PACE_BYTES`.
pub const BODY_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Documents of the largest size that may be on their way in at once, over all requests; of each user,
/// but for back ends, one.
pub const DOCUMENT_BODIES_MAX: usize = 2;
/// Work on more bytes than this (about a tenth of a millisecond) is handed to another thread.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// How often a stream asks whether its caller may still read; a revocation holds within 1 s.
pub const AUTHORITY_CHECK_EVERY: Duration = Duration::from_millis(500);
/// A comment on a quiet stream of server-sent events.
pub const STREAM_COMMENT_EVERY: Duration = Duration::from_secs(15);
/// Events that a slow stream may be behind before it is sent a new snapshot instead.
pub const STREAM_EVENTS_MAX: usize = 256;
/// Rooms that a slow stream of many rooms may be behind before it ends, and so begins again.
pub const STREAM_ROOMS_MAX: usize = 4_096;
/// Rooms whose lists a worker makes in one go, and a stream writes: each holds everybody in it.
pub const ROOMS_AT_ONCE: usize = 32;
/// How long a stream of rooms gathers changes: who comes is rarely alone, and each change of a room
/// brings the whole list. A part of the 200 ms in which a change is promised.
pub const STREAM_GATHER: Duration = Duration::from_millis(25);
/// Watchers that a worker has, beyond which it looks for those whose client is gone.
pub const WATCHERS_SWEPT_FROM: usize = 64;

/// Comings and goings that each worker remembers for whoever runs the relay: some minutes of a busy
/// day, and a megabyte at most.
pub const TIMELINE_MAX: usize = 1_000;
/// Rooms, and people, on the live page at once: more than anybody reads; the rest is searched for.
pub const OBSERVED_MAX: usize = 200;
/// Connections of the room or the person that is looked at.
pub const OBSERVED_CONNECTIONS_MAX: usize = 200;
/// Sessions that a worker looks at in one go for the live page: about a tenth of a millisecond.
pub const OBSERVED_SESSIONS_AT_ONCE: usize = 500;
/// What somebody looks for there: as long as a room's name.
pub const OBSERVED_FIND_BYTES_MAX: usize = 255;
/// What is kept of a path that led nowhere, or of an origin that was not let in.
pub const OBSERVED_PATH_BYTES_MAX: usize = 255;

/// Threads that own rooms: more than the largest machine has cores for.
pub const WORKERS_MAX: usize = 256;
/// The stack of our own threads. Nothing that others send makes anything recurse.
pub const WORKER_STACK_BYTES: usize = 4 << 20;
/// Origins that were not let in and are known by name, each logged once: an operator has a few; with
/// more, somebody makes them up.
pub const ORIGINS_NAMED_MAX: usize = 256;
/// When there are as many, those of the time before are forgotten after so long: this is how often
/// that many lines are logged at most.
pub const ORIGINS_FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);
/// Of them, the latest are listed for whoever runs the relay.
pub const OBSERVED_ORIGINS_MAX: usize = 20;
/// How often it is logged at most that tokens are refused for the same reason: clients come again each
/// second.
pub const TOKEN_REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(10);

/// What waits for a worker from outside (HTTP, store, other workers); when full, callers wait or
/// are told to come back.
pub const WORKER_INBOX_MAX: usize = 4_096;

/// Updates of one document that may wait for others they depend on: what somebody types while
/// offline edits are still on their way, and what broken or hostile clients send. Each update of the
/// room is compared with all of them.
pub const HELD_UPDATES_MAX: usize = 1_000;
/// The same in bytes.
pub const HELD_BYTES_MAX: usize = 8 << 20;
/// A room that could not be unloaded when its time had come is looked at again after this long.
pub const UNLOAD_RETRY_AFTER: Duration = Duration::from_secs(1);
/// What the allocator may keep at the end of each thread's heap. Larger buffers are mapped for
/// themselves.
pub const HEAP_END_BYTES_KEPT: i32 = 256 << 10;
/// Updates put together before a document takes them in: enough that its own work is little, few
/// enough that putting them together is.
pub const UPDATES_TOGETHER_MAX: usize = 256;
/// What a session types in a turn is put together up to this; more is as well sent in two.
pub const RUN_BYTES_MAX: usize = 64 << 10;
/// How long updates may go unapplied when nobody reads the document: they are applied together. A
/// transaction costs as much as twenty keys in it, a wake-up of its own besides, and a document at rest
/// is built for it: where a key comes now and then that is more than everything else it costs.
pub const APPLY_WITHIN: Duration = Duration::from_secs(30);
/// As many of them end the wait, which two people who type make in six seconds: what one is kept in
/// takes some two hundred bytes.
pub const UNAPPLIED_UPDATES_MAX: usize = 128;
/// As many bytes of them end the wait.
pub const UNAPPLIED_BYTES_MAX: usize = 256 << 10;
/// A log shorter than this is not worth a snapshot.
pub const SNAPSHOT_LOG_BYTES_MIN: usize = 1 << 20;
/// How long after a failed rebuild a room's document is loaded again.
pub const RELOAD_AFTER: Duration = Duration::from_secs(1);

/// What members who are behind have missed is kept per room, up to so many bytes; who is behind
/// further is sent the whole document again.
pub const BACKLOG_BYTES_MAX: usize = 4 << 20;
/// Changes of a room's roster that are kept for members who are behind; who is behind further is
/// told how things are.
pub const NEWS_MAX: usize = 1_024;
/// Messages for one member alone (statuses, nudges, stateless texts) that wait for its socket.
pub const DIRECT_BYTES_MAX: usize = 1 << 20;
/// Acknowledgements made for one member at once. More are counted until these have left.
pub const STATUS_BYTES_AT_ONCE: usize = 64 << 10;
/// A socket is not read while more than this waits to be written to it.
pub const READ_PAUSE_BYTES: usize = 256 << 10;
/// While more than this waits to be written only the last ping is answered, behind it.
pub const PONG_BEHIND_BYTES_MAX: usize = 16 << 10;
/// One read of one socket, shared by all sockets of a worker: what one socket does per turn. Some
/// hundred updates, which take less than a millisecond.
pub const READ_BUFFER_BYTES: usize = 16 << 10;
/// A turn that has lasted so long begins nothing more: what is left waits for the next.
pub const TURN_MAX: Duration = Duration::from_micros(500);
/// Of what follows from a turn, so many steps are taken between two looks at the clock.
pub const STEPS_BETWEEN_CLOCKS: usize = 16;
/// More than this is not written to a socket within a turn, but piece by piece between turns: to a
/// loopback or a fast network a piece takes some eighty microseconds, and larger ones save a tenth.
pub const WRITE_PIECE_BYTES: usize = 128 << 10;
/// Of the buffer in which a member's own frames are put together, so much stays between turns.
pub const SCRATCH_BYTES_KEPT: usize = 64 << 10;
/// Of the list of what a turn keeps, room for so many stays.
pub const WRITES_KEPT: usize = 1 << 10;
/// A task cheaper than this many microseconds runs where it is asked for.
pub const INLINE_TASK_MICROS: usize = 300;
/// A document of fewer bytes is not worth to drop the content of what is deleted in it.
pub const COMPACT_FROM_BYTES: usize = 16 << 10;
/// Whether deletions are derived is not looked for in a document with more values of map keys, or further
/// than through so many structs: each is some hundred bytes while it is.
pub const DERIVED_ENTRIES_MAX: usize = 1 << 18;
/// Of the updates that came before a document could take them, so many are taken in one go: some two
/// microseconds each.
pub const EARLY_AT_ONCE: usize = 128;
/// The same in bytes.
pub const EARLY_BYTES_AT_ONCE: usize = 32 << 10;
/// An update of more bytes than this, unless it is typed text, is compared elsewhere with what has come: that
/// takes some thirty nanoseconds for a byte when each client in it has little.
pub const SIFT_INLINE_BYTES_MAX: usize = 8 << 10;
/// What may wait for another worker before sockets that speak to it are read no further.
pub const FAR_QUEUE_MAX: usize = 1_024;
/// How long a socket that sent too much rests before it is read again.
pub const THROTTLE_PAUSE: Duration = Duration::from_millis(20);
/// How long after a failed write the store is tried again.
pub const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a store that is given nothing is asked whether it could be written to. Contract, section 2.
pub const STORE_ASKED_EVERY: Duration = Duration::from_secs(2);
/// A store that says nothing for so long counts as down: as long as whoever wants something written waits.
pub const STORE_ANSWERS_WITHIN: Duration = STORED_WITHIN;
/// How long a client may sync before its token comes, where nobody is let in without.
pub const TOKEN_WITHIN: Duration = Duration::from_millis(500);
/// The first retry of a failed write comes sooner: most failures pass.
pub const STORE_RETRY_AFTER_FIRST: Duration = Duration::from_millis(50);
/// A store that has been given nothing for so long gives back memory. Sooner than a document that rests
/// is folded, behind which the allocator does the same.
pub const STORE_RESTS_AFTER: Duration = Duration::from_secs(5);
/// How often a relay that waits for its database asks whether it is free, and how often it says for
/// whom it waits.
pub const WRITER_LOCK_RETRY_AFTER: Duration = Duration::from_millis(500);
/// See above: often enough for who watches a rollout, and a handful of lines for a night.
pub const WRITER_LOCK_SAID_EVERY: Duration = Duration::from_secs(10);
/// How often the session that writes is asked whether it is still there: who lost it when nobody
/// typed notices before others see an old document for long.
pub const WRITER_LOCK_CHECKED_EVERY: Duration = Duration::from_secs(2);
/// How long a command waits for a store that another process has. `--wait` replaces it.
pub const TOOL_WAIT: Duration = Duration::from_secs(10);
/// How long a relay whose store was taken may take to close its sockets: there is nothing to save.
pub const TAKEN_CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Writers of whom a database remembers the last batch: the one that writes, and those who may come
/// back with a batch of which they do not know what became.
pub const BATCH_WRITERS_KEPT: u32 = 64;
/// Writes in one commit, so that no acknowledgement waits long behind others.
pub const COMMIT_WRITES_MAX: usize = 8_192;
/// Bytes in one commit, but for a single larger write.
pub const COMMIT_BYTES_MAX: usize = 16 << 20;
/// From so many writes in one commit on the embedded store puts several updates of a document into
/// one row...
pub const PACK_FROM_WRITES: usize = 64;
/// ... up to so many, ...
pub const PACKED_UPDATES_MAX: usize = 64;
/// ... none of them larger: what is large is not worth copying.
pub const PACKED_UPDATE_BYTES_MAX: usize = 1 << 10;
/// A commit of so many writes says that many come: the next gathers some more...
pub const GATHER_FROM_WRITES: usize = 3;
/// ... for so long, and on as long as more comes...
pub const GATHER_FIRST: Duration = Duration::from_millis(2);
/// ... at most for so long: what an acknowledgement may be late by...
pub const GATHER_MAX: Duration = Duration::from_millis(16);
/// ... or when there is enough to do.
pub const GATHER_WRITES_MAX: usize = 4_096;
/// How long loading a document waits for what was accepted before to be written.
pub const LOAD_AFTER_WRITES_WITHIN: Duration = Duration::from_secs(5);
/// Threads for heavy jobs, where there are fewer cores: a long one must not hold up all others.
pub const HEAVY_THREADS_MIN: usize = 4;
/// Threads that load documents: they wait for the store, not for a core.
pub const LOAD_THREADS: usize = 8;
/// Connections that read the embedded store, opened beforehand: one for each thread that loads, and one
/// for what else is asked meanwhile.
pub const STORE_READERS: usize = LOAD_THREADS + 1;
/// The address of a Hocuspocus frame: a room name and the id of a session, with room to spare.
pub const ADDRESS_BYTES_MAX: usize = 1_024;

/// How long updates wait for a session to say what it has, which real clients do first of all. Who
/// does not is sent what comes then.
pub const ASKS_WITHIN: Duration = Duration::from_secs(1);

/// Windows of one user in the feed whose connections are gone: somebody who comes and goes without
/// resuming must not fill the memory in the minute that each of them lingers.
pub const FEED_LINGERING_PER_USER_MAX: usize = 64;
/// Users of whom nobody hears and whose last seen the feed keeps: the store may be some seconds, or
/// an outage, behind.
pub const FEED_SEEN_MAX: usize = 65_536;
/// How long a client of the feed may take to log in.
pub const FEED_LOGIN_WITHIN: Duration = Duration::from_secs(10);
/// How long after a login that does not say whether its user hides what comes counts as said by it:
/// editors send both in one go, or the one when the other is answered. Contract, section 6.3.
pub const FEED_SETTLES_WITHIN: Duration = Duration::from_millis(100);
/// A field of a status in the feed, in bytes.
pub const FEED_FIELD_BYTES_MAX: usize = 256;
/// An id that a store keeps, in bytes: two of them are a key, and an index of Postgres takes no key
/// above 2,700 bytes. Identity providers give out 255 at most.
pub const STORED_ID_BYTES_MAX: usize = 1 << 10;
/// The body that is a whole list of follows: as many as there may be, of a hundred bytes each.
pub const FOLLOWS_BODY_BYTES_MAX: usize = 1 << 20;
/// Whom one user may follow. A feed sends all of them when it begins.
pub const FOLLOWS_MAX: usize = 10_000;
/// How long the presences of boards are kept after they ended: enough to see who was there in the
/// last week, and a bound on how many there are.
pub const PRESENCES_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Presences past that time that are removed for each one that ends: more than come, so a backlog
/// shrinks, and few enough that nobody waits for it.
pub const PRESENCES_REMOVED_MAX: usize = 8;

/// Rooms of a store that a tool looks at together: names in memory, documents in one commit.
pub const TOOL_ROOMS_MAX: usize = 64;
/// Users, and what is known of them, that a tool looks at together.
pub const TOOL_PEOPLE_MAX: usize = 1_000;
/// As many bytes of their documents end a commit before.
pub const TOOL_COMMIT_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::config::Options;

    #[test]
    fn every_limit_is_shown_by_the_name_of_its_option() {
        let options = Options::augment_args(clap::Command::new("serve"));
        for (name, value) in Limits::default().named() {
            let is_it = |option: &clap::Arg| option.get_long() == Some(name);
            assert!(options.get_arguments().any(is_it), "--{name}");
            assert!(0 < value);
        }
    }
}
