//! What the members of one room lack, at the end of a turn.

use bytes::Bytes;

use crate::limits::BACKLOG_BYTES_MAX;
use crate::model::{ConnectionId, SessionId};
use crate::relay::fanout::{self, Recent, Told, Turnful};
use crate::relay::rooms::{Link, Member, OpenRoom};

/// What a room's flush sends, gathered while the room is borrowed.
#[derive(Default)]
pub struct Sends {
    pub(super) here: Vec<(ConnectionId, Vec<Bytes>)>,
    pub(super) far: Vec<(usize, ConnectionId, SessionId, Vec<Bytes>)>,
    pub(super) resyncs: Vec<SessionId>,
}

impl OpenRoom {
    /// Takes in an update for the members.
    pub(super) fn forward(&mut self, recent: Recent) {
        if recent.sequence != self.newest + 1 {
            // The first since the document was loaded: the log goes on where the store's ends.
            let before = recent.sequence - 1;
            for member in self.members.values_mut() {
                if member.progress.position == self.newest {
                    member.progress.position = before;
                }
            }
            self.flushed = before;
        }
        self.newest = recent.sequence;
        self.backlog.push(recent);
    }

    /// Composes what the members lack and can be sent, and notes that they have it.
    pub(super) fn collect(
        &mut self,
        is_full: impl Fn(ConnectionId) -> bool,
        named: impl Fn(SessionId) -> String,
        sends: &mut Sends,
    ) {
        let Self {
            room,
            members,
            backlog,
            newest,
            flushed,
            flushed_awareness,
            news,
            flushed_news,
            ..
        } = self;
        let awareness = room.awareness();
        let version = awareness.version();
        let has_news =
            *flushed < *newest || *flushed_awareness < version || *flushed_news < news.newest();
        let entries = awareness.since(*flushed_awareness).collect();
        let updates = backlog
            .after(*flushed)
            .map_or_else(Vec::new, Iterator::collect);
        let heard = news
            .after(*flushed_news)
            .map_or_else(Vec::new, Iterator::collect);
        let mut turnful = Turnful::new(updates, entries, heard);
        let mut touched = std::mem::take(&mut self.touched);
        let mut one = |session: SessionId, member: &mut Member| {
            let full = match member.link {
                Link::Here(id) => is_full(id),
                Link::Far { is_full, .. } => is_full,
            };
            if full {
                return;
            }
            let Member {
                link,
                user,
                dialect,
                progress,
                direct,
                is_waiting,
                since: _,
            } = member;
            if !dialect.has_document() {
                progress.position = *flushed;
                progress.awareness = Told::Version(*flushed_awareness);
            }
            if !dialect.is_text() {
                progress.news = *flushed_news;
            }
            let kept_up = !progress.is_held
                && !progress.is_resyncing
                && progress.position == *flushed
                && progress.awareness == Told::Version(*flushed_awareness)
                && progress.news == *flushed_news;
            if *is_waiting {
                progress.position = *newest;
            } else if kept_up {
                if has_news {
                    match turnful.involves(session) {
                        true => direct.write(|out| turnful.for_one(dialect, session, out)),
                        false => direct.share(turnful.for_all(dialect)),
                    }
                }
                progress.position = *newest;
                progress.awareness = Told::Version(version);
                progress.news = news.newest();
            } else {
                let told = progress.news;
                if dialect.is_text() && told < news.newest() {
                    match news.after(told) {
                        Some(items) => direct.write(|out| {
                            fanout::compose_news(dialect, out, Some(session), items);
                        }),
                        None => direct.write(|out| {
                            let connected = room.connected();
                            dialect.write_snapshot(out, &named(session), user, &connected);
                        }),
                    }
                }
                progress.news = news.newest();
                if progress.awareness != Told::Nothing && dialect.has_document() {
                    let told = progress.awareness;
                    direct.write(|out| {
                        fanout::compose_awareness(dialect, out, session, awareness, told);
                    });
                    progress.awareness = Told::Version(version);
                }
                if !progress.is_held && !progress.is_resyncing && progress.position < *newest {
                    match backlog.after(progress.position) {
                        Some(updates) => direct.write(|out| {
                            if dialect.has_document() {
                                fanout::compose_updates(dialect, out, Some(session), updates);
                            }
                        }),
                        None => {
                            progress.is_resyncing = true;
                            sends.resyncs.push(session);
                        }
                    }
                    progress.position = *newest;
                }
            }
            if direct.is_empty() {
                return;
            }
            let chunks = direct.take();
            match link {
                Link::Here(id) => sends.here.push((*id, chunks)),
                Link::Far {
                    worker,
                    connection,
                    is_full,
                } => {
                    *is_full = true;
                    sends.far.push((*worker, *connection, session, chunks));
                }
            }
        };
        if has_news {
            for (&session, member) in members.iter_mut() {
                one(session, member);
            }
        } else {
            touched.sort_unstable();
            touched.dedup();
            for session in touched {
                if let Some(member) = members.get_mut(&session) {
                    one(session, member);
                }
            }
        }
        *flushed = *newest;
        *flushed_awareness = version;
        *flushed_news = news.newest();
        if has_news {
            let everybody_has = members
                .values()
                .map(|member| member.progress.position)
                .min();
            backlog.trim(everybody_has.unwrap_or(*newest), BACKLOG_BYTES_MAX);
            let everybody_knows = members
                .values()
                .filter(|member| member.dialect.is_text() && !member.is_waiting)
                .map(|member| member.progress.news)
                .min();
            news.trim(everybody_knows.unwrap_or(news.newest()));
        }
    }
}
