//! Request bodies: read up to a limit; documents within a budget that all requests share.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use warp::http::header::CONTENT_LENGTH;

use crate::http::Head;
use crate::http::problem::Problem;
use crate::limits::{
    BODY_BYTES_MAX, BODY_SILENCE_MAX, DOCUMENT_BODIES_MAX, PACE_BYTES, PACE_WITHIN,
};
use crate::model::{Token, UserId};

/// The budget is counted in these, so that its numbers fit a semaphore of 32 bits.
const BLOCK_BYTES: usize = 4 << 10;

/// How many bytes of large bodies may be in memory on their way in, over all requests, and whose they
/// are. Small ones need nothing of it: no document under way keeps out a heartbeat or a revocation.
pub(super) struct BodyBudget {
    blocks: Semaphore,
    /// Whose document is on its way: one of each user.
    uploading: Mutex<HashSet<UserId>>,
}

impl BodyBudget {
    /// Room for a few documents of the largest size.
    pub fn new(document_bytes_max: usize) -> Self {
        let blocks = document_bytes_max
            .div_ceil(BLOCK_BYTES)
            .saturating_mul(DOCUMENT_BODIES_MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            blocks: Semaphore::new(blocks),
            uploading: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.uploading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body in memory; its share of the budget returns when it is dropped.
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub bytes: Bytes,
    _share: Share<'a>,
}

/// What a body has of the budget: nothing while it is small.
#[derive(Default, Debug)]
struct Share<'a> {
    blocks: Option<SemaphorePermit<'a>>,
    upload: Option<Upload<'a>>,
}

/// The one large document of a user that is on its way.
struct Upload<'a> {
    budget: &'a BodyBudget,
    user: UserId,
}

impl std::fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upload").field(&self.user).finish()
    }
}

impl<'a> Upload<'a> {
    fn begin(budget: &'a BodyBudget, user: &UserId) -> Result<Self, Problem> {
        if !budget.lock().insert(user.clone()) {
            return Err(Problem::rate_limited(
                "a document of this user is on its way in, and there may be one at a time",
            ));
        }
        let user = user.clone();
        Ok(Self { budget, user })
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        self.budget.lock().remove(&self.user);
    }
}

/// Reads a whole body of at most `bytes_max`.
pub(super) async fn read<'a, S, B>(
    head: &Head,
    body: S,
    bytes_max: usize,
    budget: &'a BodyBudget,
) -> Result<Body<'a>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    read_for(head, body, bytes_max, budget, None).await
}

/// The same for a document: of each user one large one at a time, but for back ends.
pub(super) async fn read_document<'a, S, B>(
    head: &Head,
    body: S,
    bytes_max: usize,
    budget: &'a BodyBudget,
    token: &Token,
) -> Result<Body<'a>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let user = (!token.is_service).then_some(&token.identity.user);
    read_for(head, body, bytes_max, budget, user).await
}

async fn read_for<'a, S, B>(
    head: &Head,
    body: S,
    bytes_max: usize,
    budget: &'a BodyBudget,
    user: Option<&UserId>,
) -> Result<Body<'a>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let announced = head
        .header(CONTENT_LENGTH)
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| (bytes_max as u64) < length) {
        return Err(Problem::too_large(bytes_max));
    }
    let mut share = Share::default();
    if announced.is_some_and(|length| BODY_BYTES_MAX < length) {
        share.begin(budget, user)?;
    }
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    let mut window = pin!(tokio::time::sleep(PACE_WITHIN));
    let mut had_before = 0;
    loop {
        let chunk = tokio::select! {
            chunk = tokio::time::timeout(BODY_SILENCE_MAX, body.next()) => {
                chunk.map_err(|_| Problem::bad_request("the body stopped arriving"))?
            }
            () = window.as_mut() => {
                if bytes.len() < had_before + PACE_BYTES {
                    return Err(Problem::bad_request(TOO_SLOW));
                }
                had_before = bytes.len();
                window.set(tokio::time::sleep(PACE_WITHIN));
                continue;
            }
        };
        let chunk = match chunk {
            None => break,
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => return Err(Problem::bad_request("the body ended early")),
        };
        let length = bytes.len().saturating_add(chunk.remaining());
        if bytes_max < length {
            return Err(Problem::too_large(bytes_max));
        }
        if BODY_BYTES_MAX < length as u64 {
            share.begin(budget, user)?;
        }
        bytes.put(chunk);
        share.grow(budget, bytes.capacity())?;
    }
    Ok(Body {
        bytes: bytes.freeze(),
        _share: share,
    })
}

const TOO_SLOW: &str = "the body came slower than 2 KiB a second";

impl<'a> Share<'a> {
    /// The body is no small one.
    fn begin(&mut self, budget: &'a BodyBudget, user: Option<&UserId>) -> Result<(), Problem> {
        if self.blocks.is_none() {
            self.upload = user.map(|user| Upload::begin(budget, user)).transpose()?;
            self.blocks = Some(take(budget, 0)?);
        }
        Ok(())
    }

    /// What counts is what is allocated: a growing buffer is up to twice its contents.
    fn grow(&mut self, budget: &'a BodyBudget, capacity: usize) -> Result<(), Problem> {
        let Some(share) = &mut self.blocks else {
            return Ok(());
        };
        let blocks = capacity.div_ceil(BLOCK_BYTES);
        share.merge(take(budget, blocks.saturating_sub(share.num_permits()))?);
        Ok(())
    }
}

/// Reads a small body that is JSON, whatever its content type.
pub(super) async fn read_json<T, S, B>(
    head: &Head,
    body: S,
    budget: &BodyBudget,
) -> Result<T, Problem>
where
    T: DeserializeOwned,
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let body = read(head, body, BODY_BYTES_MAX as usize, budget).await?;
    serde_json::from_slice(&body.bytes)
        .map_err(|error| Problem::bad_request(format!("not the JSON expected: {error}")))
}

fn take(budget: &BodyBudget, blocks: usize) -> Result<SemaphorePermit<'_>, Problem> {
    u32::try_from(blocks)
        .ok()
        .and_then(|blocks| budget.blocks.try_acquire_many(blocks).ok())
        .ok_or(Problem::rate_limited(
            "too many documents are on their way in",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::head;

    fn chunks(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, warp::Error>> + Send + use<> {
        let chunks: Vec<_> = sizes.iter().map(|&size| Ok(vec![7; size].into())).collect();
        futures::stream::iter(chunks)
    }

    async fn length(sizes: &[usize], budget: &BodyBudget) -> Result<usize, Problem> {
        let head = head("POST", "/", &[]);
        let body = read(&head, chunks(sizes), 10_000, budget).await?;
        Ok(body.bytes.len())
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
        let budget = BodyBudget::new(10_000);
        assert_eq!(length(&[], &budget).await, Ok(0));
        assert_eq!(length(&[1, 9_998, 1], &budget).await, Ok(10_000));
        let too_large = Err(Problem::too_large(10_000));
        assert_eq!(length(&[1, 9_998, 2], &budget).await, too_large);
        let head = head("POST", "/", &[("content-length", "10001")]);
        let announced = read(&head, chunks(&[]), 10_000, &budget).await;
        assert_eq!(announced.map(|body| body.bytes.len()), too_large);
    }

    /// More than a small body, and fewer than fit the budget at once.
    const LARGE: usize = 200_000;

    fn token(user: &str, is_service: bool) -> Token {
        Token {
            is_service,
            ..crate::http::tests::token(user)
        }
    }

    #[tokio::test]
    async fn documents_share_a_budget_and_give_it_back() {
        let budget = BodyBudget::new(LARGE);
        let head = head("POST", "/", &[]);
        let upload = |size| read(&head, chunks(&[size]), LARGE, &budget);
        let mut held = Vec::new();
        let refused = loop {
            match upload(LARGE).await {
                Ok(body) => held.push(body),
                Err(problem) => break problem,
            }
        };
        assert_eq!(held.len(), DOCUMENT_BODIES_MAX);
        assert!(format!("{refused:?}").contains("RATE_LIMITED"));
        // Heartbeats and revocations are small.
        for _ in 0..100 {
            held.push(upload(BODY_BYTES_MAX as usize).await.unwrap());
        }
        held.clear();
        assert!(upload(LARGE).await.is_ok());
    }

    #[tokio::test]
    async fn a_user_has_one_large_document_under_way_and_a_back_end_several() {
        let budget = BodyBudget::new(LARGE);
        let head = head("POST", "/", &[]);
        let upload = async |token: Token, sizes| {
            read_document(&head, chunks(sizes), LARGE, &budget, &token).await
        };
        let first = upload(token("ann", false), &[LARGE / 2]).await.unwrap();
        let second = upload(token("ann", false), &[LARGE / 4, LARGE / 4]).await;
        let problem = format!("{:?}", second.err());
        assert!(
            problem.contains("RATE_LIMITED") && problem.contains("one at a time"),
            "{problem}"
        );
        assert!(upload(token("ann", false), &[60_000]).await.is_ok());
        assert!(upload(token("ben", false), &[LARGE / 2]).await.is_ok());
        drop(first);
        let _again = upload(token("ann", false), &[LARGE / 2]).await.unwrap();
        let _one = upload(token("backend", true), &[70_000]).await.unwrap();
        assert!(upload(token("backend", true), &[70_000]).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_announced_as_large_is_refused_before_it_comes() {
        let budget = BodyBudget::new(LARGE);
        let announced = head("POST", "/", &[("content-length", "150000")]);
        let ann = token("ann", false);
        let never = futures::stream::pending::<Result<Bytes, warp::Error>>();
        let mut first = pin!(read_document(&announced, never, LARGE, &budget, &ann));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        let second = read_document(&announced, chunks(&[]), LARGE, &budget, &ann).await;
        assert!(format!("{:?}", second.err()).contains("RATE_LIMITED"));
    }

    /// A body of pieces that each come after some seconds.
    fn trickle(
        bytes: usize,
        seconds: u64,
    ) -> impl Stream<Item = Result<Bytes, warp::Error>> + Send + use<> {
        futures::stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            Ok(vec![7; bytes].into())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up() {
        let budget = BodyBudget::new(1 << 20);
        let head = head("POST", "/", &[]);
        let slow = read(&head, trickle(1_000, 5), 1 << 20, &budget).await;
        assert_eq!(
            slow.map(|body| body.bytes.len()),
            Err(Problem::bad_request(TOO_SLOW))
        );
        // One that is slow, but not that slow, may take as long as it needs.
        let steady = trickle(20_000, 5).take(50);
        let body = read(&head, steady, 1 << 20, &budget).await;
        assert_eq!(body.map(|body| body.bytes.len()), Ok(1_000_000));
        let silent = read(&head, trickle(90_000, 11), 1 << 20, &budget).await;
        assert!(format!("{:?}", silent.err()).contains("stopped arriving"));
    }

    #[tokio::test]
    async fn json_is_read_whatever_its_content_type_and_refused_when_it_is_none() {
        let budget = BodyBudget::new(10_000);
        let head = head("POST", "/", &[("content-type", "text/plain")]);
        let read = |text: &'static str| {
            let body = futures::stream::iter([Ok(Bytes::from_static(text.as_bytes()))]);
            read_json::<Vec<u8>, _, _>(&head, body, &budget)
        };
        assert_eq!(read("[1,2]").await, Ok(vec![1, 2]));
        assert!(read("[1,2").await.is_err());
        assert!(read("{}").await.is_err());
    }
}
