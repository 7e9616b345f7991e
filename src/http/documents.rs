//! A room's document as one Yjs update, out and in.

use bytes::{Buf, Bytes};
use futures::Stream;
use warp::http::HeaderValue;
use warp::http::header::CONTENT_TYPE;
use warp::reply::Response;

use crate::http::problem::Problem;
use crate::http::{Api, Head, body, caller, no_content};
use crate::limits::INLINE_BYTES_MAX;
use crate::model::Access;
use crate::wire::close::Refusal;
use crate::wire::yjs::Update;
use crate::wire::{url, validator};

/// Tells whether everything in the answer is on disk: `true` or `false`.
const DURABLE: &str = "x-copresence-durable";

/// Tells how many accepted updates are not in the answer, for what they stand on has not come. They may
/// well be on disk.
const WAITING: &str = "x-copresence-waiting";

/// The headers of ours that scripts of other origins may read.
pub(super) const EXPOSED_HEADERS: &str =
    "x-copresence-durable, x-copresence-waiting, retry-after, www-authenticate";

/// `GET /v1/rooms/{room…}/document`
pub(super) async fn read(api: &Api, head: &Head, raw_room: &str) -> Result<Response, Problem> {
    let (_, room) = caller::enter(api, head, raw_room, Access::Read).await?;
    let document = api.relay.document(&room).await?;
    let mut response = Response::new(document.update.into());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    let is_durable = if document.is_durable { "true" } else { "false" };
    headers.insert(DURABLE, HeaderValue::from_static(is_durable));
    headers.insert(WAITING, HeaderValue::from(document.waiting_updates));
    Ok(response)
}

/// `POST /v1/rooms/{room…}/document`: answered once the update is durable.
pub(super) async fn apply<S, B>(
    api: &Api,
    head: &Head,
    raw_room: &str,
    body: S,
) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let (token, room) = caller::enter(api, head, raw_room, Access::Write).await?;
    let only_if_empty = only_if_empty(&head.query)?;
    let bytes_max = api.options.document_bytes_max;
    // Held until the answer: what is being applied is still in memory.
    let body = body::read_document(head, body, bytes_max, &api.bodies, &token).await?;
    let update = validate(body.bytes.clone()).await?;
    // All that may have taken minutes.
    caller::check_again(api, head, &token)?;
    caller::check_access(api, &token, &room, Access::Write)?;
    api.relay.apply_update(&room, update, only_if_empty).await?;
    Ok(no_content())
}

fn only_if_empty(query: &str) -> Result<bool, Problem> {
    match url::query_value(query, "if").as_deref() {
        None => Ok(false),
        Some("empty") => Ok(true),
        Some(_) => Err(Problem::bad_request("`if` can be `empty`")),
    }
}

/// A large update takes a while to walk: that happens where it holds nobody up.
async fn validate(bytes: Bytes) -> Result<Update, Problem> {
    let checked = if bytes.len() <= INLINE_BYTES_MAX {
        validator::update(bytes)
    } else {
        tokio::task::spawn_blocking(move || validator::update(bytes))
            .await
            .map_err(|_| Problem::from(Refusal::BadUpdate))?
    };
    checked.map_err(|invalid| invalid.refusal().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_we_do_not_know_is_not_ignored() {
        assert_eq!(only_if_empty(""), Ok(false));
        assert_eq!(only_if_empty("token=x&if=empty"), Ok(true));
        assert!(only_if_empty("if=new").is_err());
    }
}
