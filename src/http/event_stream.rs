//! Server-sent events for as long as the caller may see what they are about.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use warp::Reply;
use warp::http::HeaderValue;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::reply::Response;

use crate::clock::{SystemClock, Timestamp};
use crate::http::Api;
use crate::limits::{AUTHORITY_CHECK_EVERY, STREAM_COMMENT_EVERY};
use crate::metrics::Metrics;
use crate::relay::UserPlace;

/// What a stream is about. It is asked for more only when the client's socket has room, so what a
/// slow client does not take stays with the source, which bounds it.
pub(super) trait Source: Send + 'static {
    /// Whether the caller may still see what it says, as far as revocations go.
    fn is_allowed(&mut self) -> bool;

    /// Waits until there is something to say; `false` when there never will be. Given up and asked
    /// again at any time.
    fn ready(&mut self) -> impl Future<Output = bool> + Send;

    /// What there is to say: events, or nothing after all. `None` ends the stream.
    fn say(&mut self) -> impl Future<Output = Option<String>> + Send;
}

/// Appends one event: a name and one line of JSON.
pub(super) fn write_event(out: &mut String, name: &str, data: &str) {
    for part in ["event: ", name, "\ndata: ", data, "\n\n"] {
        out.push_str(part);
    }
}

/// A stream that begins with `first`, if that is not empty, and ends with the caller's token. It holds
/// one of the caller's places.
pub(super) fn respond<S: Source>(
    api: &Api,
    place: UserPlace,
    ends_at: Option<Timestamp>,
    first: String,
    source: S,
) -> Response {
    let clock = api.relay.clock();
    let stream = EventStream {
        source,
        first,
        schedule: Schedule::new(clock.now(), ends_at),
        clock,
        _counted: Counted::new(api.relay.metrics()),
        _place: place,
    };
    let texts = futures::stream::unfold(stream, |mut stream| async {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(text), stream))
    });
    let texts = Exclusive(Mutex::new(Box::pin(texts)));
    let mut response = warp::reply::stream(texts).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Some proxies hold answers back until a buffer is full; this one asks them not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A stream that only its owner polls: warp wants streams that threads may share, and what waits for
/// a worker's answer is none. The mutex is never locked.
struct Exclusive<T>(Mutex<Pin<Box<dyn Stream<Item = T> + Send>>>);

impl<T> Stream for Exclusive<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let stream = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        stream.as_mut().poll_next(context)
    }
}

struct EventStream<S> {
    source: S,
    first: String,
    schedule: Schedule,
    clock: SystemClock,
    _counted: Counted,
    _place: UserPlace,
}

/// A stream that is counted as open until it is dropped, however it ends.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.streams.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

impl<S: Source> EventStream<S> {
    /// What to send next; `None` when the caller may no longer read, or the relay drains.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let due = self.schedule.due(self.clock.now());
            if due == Due::End || !self.source.is_allowed() {
                return None;
            }
            if !self.first.is_empty() {
                return Some(std::mem::take(&mut self.first).into());
            }
            let wait = match due {
                Due::End => return None,
                Due::Comment => return Some(Bytes::from_static(b":\n\n")),
                Due::Later(wait) => wait,
            };
            // When the time is over, look at the clock and the revocations again.
            let Ok(is_more) = tokio::time::timeout(wait, self.source.ready()).await else {
                continue;
            };
            if !is_more {
                return None;
            }
            let text = self.source.say().await?;
            let has_ended = self.schedule.has_ended(self.clock.now());
            if has_ended || !self.source.is_allowed() {
                return None;
            }
            if !text.is_empty() {
                return Some(text.into());
            }
        }
    }
}

/// What a stream does when nothing happens.
struct Schedule {
    ends_at: Option<Timestamp>,
    comment_at: Timestamp,
}

#[derive(Debug, Eq, PartialEq)]
enum Due {
    End,
    Comment,
    Later(Duration),
}

impl Schedule {
    fn new(now: Timestamp, ends_at: Option<Timestamp>) -> Self {
        Self {
            ends_at,
            comment_at: now + STREAM_COMMENT_EVERY,
        }
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at <= now)
    }

    fn due(&mut self, now: Timestamp) -> Due {
        if self.has_ended(now) {
            return Due::End;
        }
        if self.comment_at <= now {
            self.comment_at = now + STREAM_COMMENT_EVERY;
            return Due::Comment;
        }
        let mut wait = AUTHORITY_CHECK_EVERY.min(self.comment_at.since(now));
        if let Some(ends_at) = self.ends_at {
            wait = wait.min(ends_at.since(now));
        }
        Due::Later(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_quiet_stream_comments_every_15_seconds_until_the_token_ends() {
        let begin = Timestamp::from_millis(1_000_000);
        let mut schedule = Schedule::new(begin, Some(begin + 40 * SECOND));
        let (mut now, mut comments, mut looks) = (begin, Vec::new(), 0);
        loop {
            match schedule.due(now) {
                Due::End => break,
                Due::Comment => comments.push(now.since(begin).as_secs()),
                Due::Later(wait) => {
                    assert!(Duration::ZERO < wait && wait < SECOND);
                    looks += 1;
                    now = now + wait;
                }
            }
        }
        assert_eq!(comments, [15, 30]);
        assert_eq!(now, begin + 40 * SECOND);
        assert!(looks < 100);
    }

    #[test]
    fn a_guests_stream_has_no_end() {
        let begin = Timestamp::from_millis(1_000_000);
        let mut schedule = Schedule::new(begin, None);
        assert_eq!(schedule.due(begin + 1000 * 3600 * SECOND), Due::Comment);
    }
}
