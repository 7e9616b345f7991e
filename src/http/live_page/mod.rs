//! The operator's live page at `/`: a page, its style and its script, built into the binary.
//!
//! The page itself holds nothing about this relay but whether guests are let in. What it shows it
//! asks for each second at `/live/state`, with a service token in a header; without a token it asks
//! for one and shows nothing. The token is never in an address. See `state` for what is answered.

mod state;

use warp::http::HeaderValue;
use warp::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use warp::reply::Response;

pub(super) use state::state;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("app.js");
/// Stands in the page where it says whether guests are let in.
const NO_GUESTS: &str = "data-guests=\"no\"";
const GUESTS: &str = "data-guests=\"yes\"";

/// Nothing from elsewhere, nothing written into the page, and in nobody's frame.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A file of the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum File {
    Page,
    Style,
    Script,
}

/// Serves a file; `lets_guests_in` is where nobody needs a token.
pub(super) fn file(file: File, lets_guests_in: bool) -> Response {
    let (kind, text) = match file {
        File::Page if lets_guests_in => (
            "text/html; charset=utf-8",
            PAGE.replacen(NO_GUESTS, GUESTS, 1).into(),
        ),
        File::Page => ("text/html; charset=utf-8", PAGE.into()),
        File::Style => ("text/css; charset=utf-8", STYLE.into()),
        File::Script => ("text/javascript; charset=utf-8", SCRIPT.into()),
    };
    let mut response = Response::new(text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_whether_guests_are_let_in() {
        assert_eq!(PAGE.matches(NO_GUESTS).count(), 1);
        assert!(!PAGE.contains(GUESTS));
        let body = |lets_guests_in| format!("{:?}", file(File::Page, lets_guests_in).body());
        assert!(!body(true).is_empty() && !body(false).is_empty());
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_nothing_is_written_into_it() {
        for text in [PAGE, STYLE, SCRIPT] {
            let addresses = text.match_indices("://");
            // A namespace is no address to fetch.
            let fetched =
                addresses.filter(|(at, _)| !text[at + 3..].starts_with("www.w3.org/2000/svg"));
            assert_eq!(fetched.count(), 0);
        }
        for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        for unsafe_word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!SCRIPT.contains(unsafe_word), "{unsafe_word}");
        }
        let scripts = PAGE.matches("<script").count();
        assert_eq!(scripts, PAGE.matches("<script src=\"live/").count());
    }
}
