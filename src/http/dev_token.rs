//! Tokens for the demo, signed for anybody who asks; exists with `--dev` only.

use bytes::Buf;
use futures::Stream;
use serde_json::{Value, json};
use warp::reply::Response;

use crate::http::problem::Problem;
use crate::http::{Api, Head, body, json_response};

/// `POST /dev/token`: claims in, `{"token"}` out.
pub(super) async fn sign<S, B>(api: &Api, head: &Head, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let claims: Value = body::read_json(head, body, &api.bodies).await?;
    if !claims.is_object() {
        return Err(Problem::bad_request("claims are a JSON object"));
    }
    let user = claims.get("sub").and_then(Value::as_str);
    if user.is_none_or(str::is_empty) {
        return Err(Problem::bad_request("a token needs a `sub`: whose it is"));
    }
    let now = api.relay.clock().moment();
    let token = api
        .relay
        .verifier()
        .sign_dev(now, &claims)
        .ok_or(Problem::bad_request("these claims cannot be signed here"))?;
    Ok(json_response(json!({ "token": token }).to_string()))
}
