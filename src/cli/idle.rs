//! Which HTTP connections have nothing to do, the longest idle first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::Service;
use tokio::sync::Notify;
use warp::http::Response;

/// The idle connections, in the order in which they became so.
#[derive(Default)]
pub(super) struct IdleLine(Mutex<Line>);

#[derive(Default)]
struct Line {
    last: u64,
    idle: BTreeMap<u64, Arc<Notify>>,
}

impl IdleLine {
    /// A connection that has asked for nothing yet.
    pub(super) fn enter(self: &Arc<Self>) -> Arc<Idle> {
        let idle = Arc::new(Idle {
            line: Arc::clone(self),
            place: AtomicU64::new(0),
            has_asked: AtomicBool::new(false),
            leave: Arc::default(),
        });
        idle.rest();
        idle
    }

    /// Tells the connection that has been idle for longest to end; whether there is one.
    pub(super) fn dismiss_oldest(&self) -> bool {
        let oldest = self.lock().idle.pop_first();
        oldest.inspect(|(_, leave)| leave.notify_one()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing panics while it holds the lock; if it ever does, the line is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, as far as it is idle.
pub(super) struct Idle {
    line: Arc<IdleLine>,
    /// Where it stands in the line; 0 while it has something to do.
    place: AtomicU64,
    has_asked: AtomicBool,
    leave: Arc<Notify>,
}

impl Idle {
    /// Waits until it is told to end.
    pub(super) async fn dismissed(&self) {
        self.leave.notified().await;
    }

    /// Whether anything was ever asked.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Whether nothing is asked now.
    pub(super) fn is_idle(&self) -> bool {
        self.place.load(Ordering::Relaxed) != 0
    }

    fn rest(&self) {
        let mut line = self.line.lock();
        line.last += 1;
        let place = line.last;
        line.idle.insert(place, Arc::clone(&self.leave));
        self.place.store(place, Ordering::Relaxed);
    }

    fn work(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
        let place = self.place.swap(0, Ordering::Relaxed);
        self.line.lock().idle.remove(&place);
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let place = *self.place.get_mut();
        self.line.lock().idle.remove(&place);
    }
}

/// A service of one connection, which has something to do from a request to the end of its answer.
pub(super) struct Watched<S> {
    pub(super) service: S,
    pub(super) idle: Arc<Idle>,
}

impl<S, B> Service<Request<Incoming>> for Watched<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = Busy::new(&self.idle);
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Answer { body, _busy: busy }))
        })
    }
}

/// Something is being done for a connection.
struct Busy(Arc<Idle>);

impl Busy {
    fn new(idle: &Arc<Idle>) -> Self {
        idle.work();
        Self(Arc::clone(idle))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.rest();
    }
}

/// An answer; when it has been sent, its connection is idle.
pub(super) struct Answer<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_goes_first_and_who_has_something_to_do_stays() {
        let line = Arc::new(IdleLine::default());
        let (first, second, third) = (line.enter(), line.enter(), line.enter());
        let busy = Busy::new(&first);
        assert!(first.has_asked() && !first.is_idle() && second.is_idle());
        let places = || -> Vec<u64> { line.lock().idle.keys().copied().collect() };
        assert_eq!(places(), [2, 3]);
        drop(busy);
        // It has begun to be idle last of all.
        assert_eq!(places(), [2, 3, 4]);
        assert!(line.dismiss_oldest());
        assert_eq!(places(), [3, 4]);
        drop(third);
        assert!(line.dismiss_oldest());
        assert!(!line.dismiss_oldest());
        drop((first, second));
    }
}
