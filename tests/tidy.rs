//! What keeps the house in order: who may import what, front pages, the code map.
//!
//! The table below is the design: a new arrow between folders is a change of this file, and argued
//! for as one. It reads text, not syntax, so it can be fooled; it is for colleagues, not for foes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the repository may say so as it likes"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Ring 0 to ring 5: a folder or file of `src/`, what of ours it may use (a name stands for all
/// below it), and which outside crates.
const MAY_IMPORT: [(&str, &str, &str); 20] = [
    ("model", "clock::Timestamp", ""),
    ("clock", "model", "tokio"),
    ("limits", "model", ""),
    ("slack", "", ""),
    ("small", "model slack", ""),
    ("deadlines", "clock::Timestamp small", ""),
    ("metrics", "model process", "prometheus_client"),
    ("process", "", "libc"),
    (
        "presence",
        "model clock::Timestamp deadlines limits small",
        "",
    ),
    (
        "feed",
        "model clock::Timestamp deadlines limits presence::Ending",
        "",
    ),
    ("wire", "model limits small", "serde serde_json"),
    (
        "room",
        "model presence wire clock::Timestamp limits small",
        "serde serde_json",
    ),
    (
        "auth",
        "model clock limits wire::close",
        "anyhow getrandom jsonwebtoken rustls serde serde_json tokio ureq",
    ),
    (
        "store",
        "model clock::Timestamp limits metrics",
        "crc32fast futures rusqlite rustls serde_json tokio tokio_postgres tokio_postgres_rustls webpki_roots",
    ),
    (
        "relay",
        "auth clock deadlines feed limits metrics model presence room slack small store wire",
        "anyhow futures getrandom libc prometheus_client slab tokio",
    ),
    (
        "doors",
        "auth clock feed limits metrics model presence relay room::FromSession wire",
        "futures headers hyper hyper_util tokio warp",
    ),
    (
        "http",
        "auth clock limits metrics model presence process relay wire",
        "futures headers serde serde_json tokio warp",
    ),
    (
        "config",
        "auth limits model relay",
        "anyhow clap serde toml",
    ),
    // The composition root: the only place where concrete stores are named.
    ("cli", EVERYTHING, EVERYTHING),
    ("main", EVERYTHING, EVERYTHING),
];
const EVERYTHING: &str = "*";
const FREE_EVERYWHERE: [&str; 3] = ["bytes", "thiserror", "tracing"];

#[test]
fn every_folder_imports_only_what_its_row_names() {
    let dependencies = dependencies();
    let mut wrong = BTreeSet::new();
    for file in sources() {
        let place = file.place();
        if place == "lib" {
            continue;
        }
        let Some((_, ours, outside)) = MAY_IMPORT.iter().find(|(name, ..)| *name == place) else {
            wrong.insert(format!("{place} has no row in the table"));
            continue;
        };
        let code = file.code_without_tests();
        for path in paths_of_ours(&code) {
            let is_own = is_below(&path, place);
            if !is_own && !allows(ours, |allowed| is_below(&path, allowed)) {
                wrong.insert(format!("{} uses crate::{path}", file.name));
            }
        }
        for name in heads_of_paths(&code).filter(|name| dependencies.contains(*name)) {
            let is_free = FREE_EVERYWHERE.contains(&name);
            if !is_free && !allows(outside, |allowed| allowed == name) {
                wrong.insert(format!("{} uses the crate {name}", file.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not in the table of {}:\n{wrong:#?}",
        file!()
    );
}

fn allows(list: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    list == EVERYTHING || list.split(' ').any(is_meant)
}

#[test]
fn every_file_says_what_it_is() {
    for file in sources() {
        let first = file.text.lines().next().unwrap_or_default();
        assert!(
            first.len() > 10 && first.starts_with("//! "),
            "{} begins with `{first}`",
            file.name
        );
        let front_page = file
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        assert!(
            !file.name.ends_with("mod.rs") || front_page >= 3,
            "{} has no front page: what it is, what it does not know, where to start",
            file.name
        );
    }
}

#[test]
fn the_code_map_shows_the_folders_that_exist() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mentioned: BTreeSet<&str> = map
        .split('`')
        .filter(|text| text.starts_with("src/") && !text.contains(' '))
        .collect();
    for path in &mentioned {
        assert!(
            root().join(path).exists(),
            "ARCHITECTURE.md names {path}, which is gone"
        );
    }
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let slash = if entry.path().is_dir() { "/" } else { "" };
        let path = format!("src/{}{slash}", entry.file_name().to_str().unwrap());
        assert!(
            mentioned.contains(path.as_str()),
            "ARCHITECTURE.md does not name `{path}`"
        );
    }
}

#[test]
fn nothing_is_left_lying_about() {
    for file in sources() {
        let code = file.code_without_tests();
        for word in ["todo!", "dbg!", "unimplemented!"] {
            assert!(!code.contains(word), "{} contains {word}", file.name);
        }
        let may_print = ["cli", "main"].contains(&file.place());
        assert!(
            may_print || !code.contains("println!"),
            "{} prints",
            file.name
        );
    }
    // Put together here so that this file does not contain them.
    let foreign = [
        ["/wo", "rk/"].concat(),
        ["../sha", "red"].concat(),
        ["\"res", "olved\": "].concat(),
    ];
    for path in files_below(root()) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue; // Not text.
        };
        for word in &foreign {
            let is_own_path =
                |at: usize| text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.');
            let found = text.match_indices(word).any(|(at, _)| !is_own_path(at));
            assert!(!found, "{} contains {word}", path.display());
        }
    }
}

/// A limit that nothing goes by, or only what is said about it, guards nothing.
#[test]
fn every_limit_limits_something() {
    let limits = fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let names = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'))
        .map(|(name, _)| name);
    let code: Vec<String> = sources()
        .iter()
        .filter(|source| source.name != "limits.rs")
        .map(Source::code_without_tests)
        .collect();
    let is_used = |name: &str| {
        let is_word = |text: &str, at: usize| {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part)
        };
        // Once in an import, and where it is used.
        let uses = code.iter().flat_map(|text| {
            let found = text.match_indices(name);
            found.filter(move |&(at, _)| is_word(text, at))
        });
        2 <= uses.count()
    };
    let unused: Vec<&str> = names.filter(|name| !is_used(name)).collect();
    assert!(unused.is_empty(), "nothing goes by {unused:?}");
}

#[test]
fn the_longest_files_are_known() {
    let mut lengths: Vec<_> = sources()
        .into_iter()
        .map(|file| (file.text.lines().count(), file.name))
        .collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    for (lines, name) in lengths.iter().take(8) {
        println!("{lines:>5} {name}");
    }
}

/// A file of `src/`, named from there.
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Its row in the table.
    fn place(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Whether the folder's front page takes it in for tests only.
    fn is_test(&self) -> bool {
        let path = root().join("src").join(&self.name);
        let front_page = fs::read_to_string(path.with_file_name("mod.rs")).unwrap_or_default();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        front_page.contains(&format!("#[cfg(test)]\nmod {stem};"))
    }

    /// Without comments, and without the tests at its bottom, which may use what they like.
    fn code_without_tests(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        let is_body = |rest: &str| rest.lines().next().is_some_and(|line| line.ends_with('{'));
        let mut marks = self.text.match_indices("#[cfg(test)]\nmod ");
        let end = marks.find(|(at, mark)| is_body(&self.text[at + mark.len()..]));
        let code = &self.text[..end.map_or(self.text.len(), |(at, _)| at)];
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        code.lines().filter(is_code).collect::<Vec<_>>().join("\n")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let source = |path: PathBuf| Source {
        name: path
            .strip_prefix(root().join("src"))
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/"),
        text: fs::read_to_string(&path).unwrap(),
    };
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files_below(&root().join("src"))
        .into_iter()
        .filter(is_rust)
        .map(source)
        .collect()
}

/// All files, but for what is built, installed or recorded by git.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        match name {
            "target" | "node_modules" | ".git" => {}
            _ if path.is_dir() => files.extend(files_below(&path)),
            _ => files.push(path),
        }
    }
    files
}

fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest
        .split("\n[")
        .find(|section| section.starts_with("dependencies]"));
    let lines = section.unwrap_or_default().lines().skip(1);
    lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.replace('-', "_"))
        .collect()
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Every `crate::…` path, with the groups in braces written out.
fn paths_of_ours(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if !code[..at].ends_with(|c: char| is_name(c) || c == '$') {
            write_out("", &code[at + "crate::".len()..], &mut paths);
        }
    }
    paths
}

/// Reads one path or group at the start of `text`; returns what follows it.
fn write_out<'a>(prefix: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let mut text = text.trim_start();
    if let Some(mut inside) = text.strip_prefix('{') {
        loop {
            inside = write_out(prefix, inside, paths).trim_start();
            match inside.strip_prefix(',') {
                Some(rest) => inside = rest,
                None => return inside.strip_prefix('}').unwrap_or(inside),
            }
        }
    }
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    text = &text[end..];
    match text.strip_prefix("::") {
        Some(rest) => write_out(&format!("{path}::"), rest, paths),
        None => {
            if end > 0 {
                paths.push(path.trim_end_matches("::self").to_owned());
            }
            text.trim_start_matches('*')
        }
    }
}

/// The first names of all paths.
fn heads_of_paths(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("::").filter_map(|(at, _)| {
        let before = &code[..at];
        let start = before.rfind(|c| !is_name(c)).map_or(0, |last| last + 1);
        let is_head = start < at && !before[..start].ends_with("::");
        is_head.then(|| &before[start..])
    })
}

#[test]
fn groups_of_imports_are_written_out() {
    let code = "use crate::wire::{self, yjs::{Update, Step}, lib0};\nfn f(r: crate::room::Room) {}";
    let found = paths_of_ours(code);
    let expected = [
        "wire",
        "wire::yjs::Update",
        "wire::yjs::Step",
        "wire::lib0",
        "room::Room",
    ];
    assert_eq!(found, expected);
    assert_eq!(
        heads_of_paths("a::b::c(tokio::spawn)").collect::<Vec<_>>(),
        ["a", "tokio"]
    );
}
