//! The built web demo below `/demo/`: types, caching, the application's own paths, and nothing else.

use std::fs;

use tempfile::TempDir;

use crate::support::http::{self, Answer};
use crate::support::relay::Relay;

/// A relay with a built demo, and beside it what nobody may read.
struct Demo {
    relay: Relay,
    _folder: TempDir,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("dist/assets")).unwrap();
        for (name, text) in [
            ("dist/index.html", "<!doctype html>the application"),
            ("dist/favicon.svg", "<svg/>"),
            ("dist/assets/index-4f2a.js", "let a"),
            ("dist/assets/index-77.css", "a{}"),
            ("secret.txt", "secret"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let dist = folder.path().join("dist");
        Self {
            relay: Relay::options()
                .argument("--web")
                .argument(dist.to_str().unwrap())
                .start(),
            _folder: folder,
        }
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        http::ask(self.relay.address, method, path, None, b"").await
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_their_type_and_hashed_ones_are_kept_for_good() {
    let demo = Demo::start();
    let immutable = "public, max-age=31536000, immutable";
    for (path, kind, caching) in [
        ("/demo/", "text/html", "no-cache"),
        ("/demo/index.html", "text/html", "no-cache"),
        ("/demo/favicon.svg", "image/svg+xml", "no-cache"),
        ("/demo/assets/index-4f2a.js", "text/javascript", immutable),
        ("/demo/assets/index-77.css", "text/css", immutable),
    ] {
        let answer = demo.ask("GET", path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("cache-control"), Some(caching), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(!answer.body.is_empty(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_the_application_are_its_page_and_missing_files_are_missing() {
    let demo = Demo::start();
    for page in ["/demo", "/demo/session", "/demo/board?room=x", "/demo/a/b"] {
        let answer = demo.ask("GET", page).await;
        assert_eq!(answer.status, 200, "{page}");
        assert_eq!(answer.header("content-type"), Some("text/html"), "{page}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{page}");
        assert!(text(&answer).contains("the application"), "{page}");
    }
    let head = demo.ask("HEAD", "/demo/session").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for missing in ["/demo/assets/index-0.js", "/demo/robots.txt"] {
        let problem = demo.ask("GET", missing).await.problem();
        assert_eq!(problem, (404, "NOT_FOUND".to_owned()), "{missing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_of_the_folder_is_read() {
    let demo = Demo::start();
    for path in [
        "/demo/../secret.txt",
        "/demo/%2e%2e/secret.txt",
        "/demo/..%2fsecret.txt",
        "/demo/assets/..%2f..%2fsecret.txt",
        "/demo//etc/passwd",
        "/demo/%2fetc%2fpasswd",
    ] {
        let answer = demo.ask("GET", path).await;
        let text = text(&answer);
        let is_harmless = answer.status == 404 || text.contains("the application");
        assert!(is_harmless, "{path}: {} {text}", answer.status);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn links_that_lead_out_of_the_folder_lead_nowhere() {
    let demo = Demo::start();
    let folder = demo._folder.path();
    let link = |to: &str, from: &str| {
        std::os::unix::fs::symlink(folder.join(to), folder.join("dist").join(from)).unwrap();
    };
    link("secret.txt", "notes.txt");
    link("", "up");
    link("dist/favicon.svg", "icon.svg");
    for path in ["/demo/notes.txt", "/demo/up/secret.txt"] {
        let answer = demo.ask("GET", path).await;
        assert_eq!(answer.problem(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    let inside = demo.ask("GET", "/demo/icon.svg").await;
    assert_eq!((inside.status, text(&inside).as_str()), (200, "<svg/>"));
    // The application's own page is no exception.
    fs::remove_file(folder.join("dist/index.html")).unwrap();
    link("secret.txt", "index.html");
    for path in ["/demo/", "/demo/session"] {
        let answer = demo.ask("GET", path).await;
        assert_eq!(answer.problem(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_reading_only_and_leaves_other_paths_alone() {
    let demo = Demo::start();
    for method in ["POST", "PUT", "DELETE"] {
        let problem = demo.ask(method, "/demo/").await.problem();
        assert_eq!(problem, (405, "METHOD_NOT_ALLOWED".to_owned()), "{method}");
    }
    assert_eq!(demo.ask("GET", "/health/live").await.status, 200);
    let not_found = (404, "NOT_FOUND".to_owned());
    assert_eq!(demo.ask("GET", "/demonstration").await.problem(), not_found);
    let plain = Relay::start();
    let answer = http::ask(plain.address, "GET", "/demo/", None, b"").await;
    assert_eq!(answer.problem(), not_found);
}
