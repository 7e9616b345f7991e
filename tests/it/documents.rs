//! Documents over HTTP: what a back end reads and writes is what editors see.

use futures::future::join_all;
use yrs::{Map, Text};

use crate::support::client::{Client, Provider};
use crate::support::document::Document;
use crate::support::http;
use crate::support::relay::Relay;
use crate::support::tokens::{self, Claims};

fn path(room: &str) -> String {
    format!("/v1/rooms/{room}/document")
}

async fn post(relay: &Relay, path: &str, token: &str, update: &[u8]) -> http::Answer {
    http::ask(relay.address, "POST", path, Some(token), update).await
}

/// An update that writes these words into an empty document.
fn saying(client: u64, words: &str) -> Vec<u8> {
    Document::new(client).edit(|document, transaction| document.text.push(transaction, words))
}

#[tokio::test]
async fn what_a_back_end_writes_is_seen_live_on_both_doors() {
    let relay = Relay::start();
    let room = "session/live";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ann")).await;
    let ben = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ben")).await;
    let answer = post(
        &relay,
        &path(room),
        &tokens::service(),
        &saying(300, "Agenda. "),
    )
    .await;
    assert_eq!(answer.status, 204);
    ann.until_text("Agenda. ").await;
    ben.until_text("Agenda. ").await;
    ben.write("Notes.");
    ann.until_text("Agenda. Notes.").await;
    let answer = http::get(relay.address, &path(room), &tokens::service()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(Document::of_update(&answer.body).content(), ann.content());
}

#[tokio::test]
async fn a_document_can_be_prepared_before_anybody_comes() {
    let relay = Relay::start();
    let room = "session/prepared";
    let answer = http::get(relay.address, &path(room), &tokens::service()).await;
    assert_eq!(
        (answer.status, answer.body),
        (200, vec![0, 0]),
        "an empty update"
    );
    let answer = post(
        &relay,
        &path(room),
        &tokens::service(),
        &saying(301, "Template"),
    )
    .await;
    assert_eq!(answer.status, 204);
    for provider in Provider::ALL {
        let client = Client::join(&relay, provider, room, &tokens::member("ann")).await;
        client.until_text("Template").await;
    }
}

#[tokio::test]
async fn of_many_who_fill_an_empty_document_one_wins() {
    let relay = Relay::start();
    for round in 0..10 {
        let room = format!("session/race-{round}");
        let path = format!("{}?if=empty", path(&room));
        let posts = (0..8).map(|caller| {
            let (relay, path) = (&relay, &path);
            async move {
                let update = saying(400 + caller, &format!("template of {caller}"));
                post(relay, path, &tokens::service(), &update).await
            }
        });
        let answers = join_all(posts).await;
        let winners: Vec<_> = (0..8)
            .filter(|&caller| answers[caller].status == 204)
            .collect();
        assert_eq!(winners.len(), 1, "round {round}");
        for answer in answers.iter().filter(|answer| answer.status != 204) {
            assert_eq!(answer.problem(), (412, "PRECONDITION_FAILED".to_owned()));
        }
        let document = http::document(relay.address, &room).await;
        assert_eq!(document.text(), format!("template of {}", winners[0]));
    }
}

#[tokio::test]
async fn a_document_with_content_is_not_filled_again() {
    let relay = Relay::start();
    let room = "session/filled";
    let ann = Client::join(&relay, Provider::Hocuspocus4, room, &tokens::member("ann")).await;
    ann.edit(|document, transaction| {
        document.map.insert(transaction, "title", "mine");
    });
    ann.until("saved", |state| state.unsynced == 0).await;
    let conditional = format!("{}?if=empty", path(room));
    let answer = post(
        &relay,
        &conditional,
        &tokens::service(),
        &saying(302, "late"),
    )
    .await;
    assert_eq!(answer.problem(), (412, "PRECONDITION_FAILED".to_owned()));
    let answer = post(
        &relay,
        &path(room),
        &tokens::service(),
        &saying(302, "also"),
    )
    .await;
    assert_eq!(answer.status, 204);
    ann.until_text("also").await;
}

#[tokio::test]
async fn updates_that_are_none_are_refused_and_change_nothing() {
    let relay = Relay::start();
    let room = "session/bad-post";
    let ann = Client::join(&relay, Provider::YWebsocket, room, &tokens::member("ann")).await;
    let nested = [
        &[1, 1, 1, 0, 8, 1, 1, 97, 1][..],
        &[117, 1].repeat(10_000),
        &[126, 0],
    ]
    .concat();
    for update in [
        &b"rubbish"[..],
        b"",
        &[0x80, 0x80, 0x80, 0x80, 1],
        &[1, 1, 2, 5, 146, 69, 2, 0, 1, 51, 0],
        &nested,
    ] {
        let (status, code) = post(&relay, &path(room), &tokens::service(), update)
            .await
            .problem();
        assert_eq!(status, 400, "{update:?}");
        assert!(
            matches!(code.as_str(), "BAD_UPDATE" | "BAD_REQUEST"),
            "{code}"
        );
    }
    let answer = post(
        &relay,
        &path(room),
        &tokens::service(),
        &saying(303, "good"),
    )
    .await;
    assert_eq!(answer.status, 204);
    ann.until_text("good").await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let relay = Relay::options().argument("--max-document=100000").start();
    let update = saying(304, &"x".repeat(200_000));
    let answer = post(&relay, &path("session/large"), &tokens::service(), &update).await;
    assert_eq!(answer.problem().0, 413);
    assert_eq!(
        http::document(relay.address, "session/large").await.text(),
        ""
    );
}

#[tokio::test]
async fn documents_are_read_and_written_by_those_who_may() {
    let relay = Relay::start();
    let room = "session/rights";
    let update = saying(305, "words");
    let reader = Claims::of("reader").reads(room).sign();
    assert_eq!(
        http::get(relay.address, &path(room), &reader).await.status,
        200
    );
    let refused = post(&relay, &path(room), &reader, &update).await;
    assert_eq!(refused.problem(), (403, "FORBIDDEN".to_owned()));
    let refused = http::ask(relay.address, "POST", &path(room), None, &update).await;
    assert_eq!(refused.problem(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(http::document(relay.address, room).await.text(), "");
}

#[tokio::test]
async fn wrong_ways_and_methods_are_named() {
    let relay = Relay::start();
    let token = tokens::service();
    let answer = http::get(relay.address, "/v1/nothing", &token).await;
    assert_eq!(answer.problem(), (404, "NOT_FOUND".to_owned()));
    let answer = http::ask(
        relay.address,
        "DELETE",
        &path("session/1"),
        Some(&token),
        b"",
    )
    .await;
    assert_eq!(answer.problem(), (405, "METHOD_NOT_ALLOWED".to_owned()));
}
