//! The files of the built web demo, below `/demo/`: those in its folder, wherever links in it lead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::filters::fs::File;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{HeaderMap, HeaderValue, Method};
use warp::path::Tail;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::http::problem::Problem;
use crate::metrics::Metrics;

/// Where the pages are, as their build was told; also their name in metrics.
const PLACE: &str = "demo";
/// What the build puts here is named by its content: another content has another name.
const HASHED: &str = "assets";
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// Nothing from elsewhere but pictures of people. Styles are also set by the editor while it runs.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: https:; \
     style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'self'",
);

/// Serves the folder to `GET` and `HEAD`; without one, rejects everything. A path that names no
/// file is a page of the application, which looks at the path itself; one that names a file that is
/// not there is nothing.
pub fn web_demo(folder: Option<PathBuf>, metrics: Arc<Metrics>) -> BoxedFilter<(Response,)> {
    let Some(folder) = folder else {
        let nothing = async || Err::<Response, Rejection>(warp::reject::not_found());
        return warp::any().and_then(nothing).boxed();
    };
    let index = folder.join("index.html");
    let root: Arc<Path> = folder.clone().into();
    let assets = folder.join(HASHED);
    let of_folder = warp::any().map({
        let root = Arc::clone(&root);
        move || Arc::clone(&root)
    });
    let files = warp::path(PLACE)
        .and(warp::fs::dir(folder))
        .and(of_folder.clone())
        .and_then(only_within)
        .map(move |file: File| {
            let is_hashed = file.path().starts_with(&assets);
            answer(file, if is_hashed { FOR_GOOD } else { ASK_AGAIN })
        });
    let pages = warp::path(PLACE)
        .and(warp::get().or(warp::head()).unify())
        .and(warp::path::tail())
        .and_then(async |tail: Tail| match is_page(tail.as_str()) {
            true => Ok(()),
            false => Err(warp::reject::not_found()),
        })
        .untuple_one()
        .and(warp::fs::file(index))
        .and(of_folder)
        .and_then(only_within)
        .map(|file| answer(file, ASK_AGAIN));
    let nothing = warp::path(PLACE).and(warp::method()).map(|method| {
        let problem = match method {
            Method::GET | Method::HEAD => Problem::not_found(),
            _ => Problem::method_not_allowed(&[Method::GET, Method::HEAD]),
        };
        problem.into_response()
    });
    files
        .or(pages)
        .unify()
        .or(nothing)
        .unify()
        .map(move |response: Response| {
            metrics.http_request("/demo", response.status().as_u16());
            response
        })
        .boxed()
}

/// A link in the folder may lead out of it, to what is nobody's business.
async fn only_within(file: File, root: Arc<Path>) -> Result<File, Rejection> {
    // Asked each time: the folder itself may be a link that leads to another build now.
    let found = tokio::try_join!(
        tokio::fs::canonicalize(&root),
        tokio::fs::canonicalize(file.path()),
    );
    match found {
        Ok((root, path)) if path.starts_with(&root) => Ok(file),
        Ok(_) | Err(_) => Err(warp::reject::not_found()),
    }
}

/// Whether somebody typed it who wants to see the application.
fn is_page(tail: &str) -> bool {
    Path::new(tail).extension().is_none() && !tail.contains('%')
}

fn answer(file: File, caching: HeaderValue) -> Response {
    let mut response = file.into_response();
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CACHE_CONTROL, caching);
    headers.insert(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    // Tokens travel in queries.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
