//! Request bodies: read up to a limit, within a budget all requests share.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use warp::http::header::CONTENT_LENGTH;

use crate::http::Head;
use crate::http::problem::Problem;
use crate::limits::{BODY_BYTES_MAX, BODY_SILENCE_MAX, BODY_WITHIN, DOCUMENT_BODIES_MAX};

/// The budget is counted in these, so that its numbers fit a semaphore of 32 bits.
const BLOCK_BYTES: usize = 4 << 10;

/// How many bytes of documents may be in memory on their way in, over all requests.
pub(super) struct BodyBudget {
    blocks: Semaphore,
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
        }
    }
}

/// A body in memory; its share of the budget returns when it is dropped.
pub(super) struct Body<'a> {
    pub bytes: Bytes,
    _share: SemaphorePermit<'a>,
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
    let announced = head
        .header(CONTENT_LENGTH)
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| (bytes_max as u64) < length) {
        return Err(Problem::too_large(bytes_max));
    }
    tokio::time::timeout(BODY_WITHIN, collect(body, bytes_max, budget))
        .await
        .map_err(|_| Problem::bad_request("the body took too long"))?
}

async fn collect<S, B>(body: S, bytes_max: usize, budget: &BodyBudget) -> Result<Body<'_>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    let mut share = take(budget, 0)?;
    loop {
        let chunk = tokio::time::timeout(BODY_SILENCE_MAX, body.next())
            .await
            .map_err(|_| Problem::bad_request("the body stopped arriving"))?;
        let chunk = match chunk {
            None => break,
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => return Err(Problem::bad_request("the body ended early")),
        };
        if bytes_max < bytes.len().saturating_add(chunk.remaining()) {
            return Err(Problem::too_large(bytes_max));
        }
        bytes.put(chunk);
        // What counts is what is allocated: a growing buffer is up to twice its contents.
        let blocks = bytes.capacity().div_ceil(BLOCK_BYTES);
        share.merge(take(budget, blocks.saturating_sub(share.num_permits()))?);
    }
    Ok(Body {
        bytes: bytes.freeze(),
        _share: share,
    })
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

    #[tokio::test]
    async fn bodies_share_a_budget_and_give_it_back() {
        let budget = BodyBudget::new(10_000);
        let head = head("POST", "/", &[]);
        let mut held = Vec::new();
        let refused = loop {
            match read(&head, chunks(&[10_000]), 10_000, &budget).await {
                Ok(body) => held.push(body),
                Err(problem) => break problem,
            }
        };
        assert_eq!(held.len(), DOCUMENT_BODIES_MAX);
        assert!(format!("{refused:?}").contains("RATE_LIMITED"));
        held.clear();
        assert_eq!(length(&[10_000], &budget).await, Ok(10_000));
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
