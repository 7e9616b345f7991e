//! What the members of one room lack, at the end of a turn.

use bytes::Bytes;

use crate::limits::BACKLOG_BYTES_MAX;
use crate::model::{ConnectionId, SessionId};
use crate::relay::fanout::{self, Recent, Told, Turnful};
use crate::relay::outlet::Outlet;
use crate::relay::rooms::{Link, Member, OpenRoom};

/// Frames for a member on another worker.
pub struct FarSend {
    pub(super) worker: usize,
    pub(super) connection: ConnectionId,
    pub(super) session: SessionId,
    pub(super) chunks: Vec<Bytes>,
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

    /// Sends the members what they lack and can be sent, and notes that they have it. Returns what
    /// is for other workers, whose position is no longer in the backlog, and for whom there is more.
    pub(super) fn collect(
        &mut self,
        outlet: &mut Outlet<'_>,
        named: impl Fn(SessionId) -> String,
        scratch: &mut Vec<u8>,
    ) -> (Vec<FarSend>, Vec<SessionId>, Vec<SessionId>) {
        let (mut far, mut resyncs, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
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
                Link::Here(id) => outlet.is_full(id),
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
                is_closed,
                closes: _,
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
            if *is_closed {
                // It is remembered how far it got.
            } else if *is_waiting {
                progress.position = *newest;
            } else if kept_up {
                if let Link::Here(id) = link
                    && has_news
                    && direct.is_empty()
                {
                    // What nearly everybody is sent, nearly always.
                    if turnful.involves(session) {
                        scratch.clear();
                        turnful.for_one(dialect, session, scratch);
                        outlet.send_copy(*id, scratch);
                    } else {
                        outlet.send_shared(*id, turnful.for_all(dialect));
                    }
                } else if has_news {
                    match turnful.involves(session) {
                        true => direct.write(|out| turnful.for_one(dialect, session, out)),
                        false => direct.share(turnful.for_all(dialect).bytes.clone()),
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
                            resyncs.push(session);
                        }
                    }
                    progress.position = *newest;
                }
            }
            if direct.is_empty() {
                return;
            }
            direct.fill(dialect);
            match link {
                Link::Here(id) => match direct.take_small() {
                    Some(frames) => outlet.send_copy(*id, &frames),
                    None => outlet.send_chunks(*id, direct.take()),
                },
                Link::Far {
                    worker,
                    connection,
                    is_full,
                } => {
                    *is_full = true;
                    far.push(FarSend {
                        worker: *worker,
                        connection: *connection,
                        session,
                        chunks: direct.take(),
                    });
                }
            }
            if !direct.is_empty() {
                unfinished.push(session);
            }
        };
        let (mut everybody_has, mut everybody_knows) = (*newest, news.newest());
        if has_news {
            for (&session, member) in members.iter_mut() {
                one(session, member);
                if !member.is_closed {
                    everybody_has = everybody_has.min(member.progress.position);
                }
                if member.dialect.is_text() && !member.is_waiting {
                    everybody_knows = everybody_knows.min(member.progress.news);
                }
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
            backlog.trim(everybody_has, BACKLOG_BYTES_MAX);
            news.trim(everybody_knows);
        }
        (far, resyncs, unfinished)
    }
}
