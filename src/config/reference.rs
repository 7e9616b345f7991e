//! The tables of `docs/operating.md`, made from the options themselves: the page is whole, or a test
//! fails. With `TEST_COPRESENCE_WRITE_DOCS=1` the test writes them instead.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Args, Command};

use super::*;

const PAGE: &str = "docs/operating.md";

/// A key of `[kind.NAME]`: what it says, and its number in a kind.
struct Key {
    name: &'static str,
    meaning: &'static str,
    of: fn(&Policy) -> String,
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

const KEYS: [Key; 13] = [
    Key {
        name: "capacity",
        meaning: "users who may be in a room at once; 0 is no limit",
        of: |policy| policy.capacity.to_string(),
    },
    Key {
        name: "queue",
        meaning: "whether whoever finds the board full waits for a place",
        of: |policy| policy.has_queue.to_string(),
    },
    Key {
        name: "heartbeat_timeout_ms",
        meaning: "how long a session that owes signs of life may be silent; 0 where only sockets count",
        of: |policy| millis(policy.heartbeat_timeout),
    },
    Key {
        name: "idle_after_ms",
        meaning: "inactivity after which somebody is idle; 0 is never",
        of: |policy| millis(policy.idle_after),
    },
    Key {
        name: "away_after_ms",
        meaning: "inactivity after which somebody is away; 0 is never",
        of: |policy| millis(policy.away_after),
    },
    Key {
        name: "typing_ms",
        meaning: "how long \"typing\" lasts after the last message that said so",
        of: |policy| millis(policy.typing),
    },
    Key {
        name: "linger_clean_ms",
        meaning: "how long an entry stays after its last connection was closed",
        of: |policy| millis(policy.linger_clean),
    },
    Key {
        name: "linger_lost_ms",
        meaning: "the same after it was lost; where it is not 0, it follows `heartbeat_timeout_ms`",
        of: |policy| millis(policy.linger_lost),
    },
    Key {
        name: "gather_ms",
        meaning: "how long changes are gathered before others are told; 0 is at once",
        of: |policy| millis(policy.gather),
    },
    Key {
        name: "resume_ms",
        meaning: "how long a lost window can be resumed",
        of: |policy| millis(policy.resume),
    },
    Key {
        name: "unload_after_ms",
        meaning: "how long a room stays in memory when everybody has left",
        of: |policy| millis(policy.unload_after),
    },
    Key {
        name: "ping_every_ms",
        meaning: "how often a quiet peer is asked whether it is there; in rooms at most 15000",
        of: |policy| millis(policy.ping_every),
    },
    Key {
        name: "dead_after_ms",
        meaning: "how long a ping may go unanswered until the connection is given up",
        of: |policy| millis(policy.dead_after),
    },
];

const TABLES: [&str; 5] = ["session", "board", "event", "workspace", "feed"];

/// One row for each key, one column for each kind; `–` where a kind has no such key.
fn kinds_table() -> String {
    let policies = Policies::default();
    let mut table = String::from("| key | meaning |");
    for name in TABLES {
        write!(table, " `{name}` |").unwrap();
    }
    table.push_str("\n| --- | --- | --- | --- | --- | --- | --- |\n");
    for key in &KEYS {
        write!(table, "| `{}` | {} |", key.name, key.meaning).unwrap();
        for kind in TABLES {
            let policy = Kind::ALL.iter().find(|one| one.name() == kind);
            let policy = policy.map_or(&policies.feed, |&kind| policies.of(kind));
            let number = (key.of)(policy);
            let toml = format!("dev = true\n[kind.{kind}]\n{} = {number}", key.name);
            let is_taken = Config::new(Options::of_toml(&toml).unwrap()).is_ok();
            let shown = if is_taken { &*number } else { "–" };
            write!(table, " {shown} |").unwrap();
        }
        table.push('\n');
    }
    table
}

fn options_table(heading: Option<&str>) -> String {
    let command = Options::augment_args(Command::new("serve"));
    let mut table = String::from("| option | default | meaning |\n| --- | --- | --- |\n");
    let options = command.get_arguments();
    for option in options.filter(|option| option.get_help_heading() == heading) {
        let help = option.get_help().unwrap().to_string();
        let (meaning, default) = help.rsplit_once("[default: ").unwrap();
        let default = default.trim_end().trim_end_matches(']');
        let name = option.get_long().unwrap();
        let value = option.get_value_names().unwrap_or_default();
        let value = value
            .first()
            .map_or(String::new(), |value| match value.as_str() {
                "BOOL" => String::new(),
                value => format!(" {value}"),
            });
        let meaning = meaning.trim().replace('|', "\\|");
        writeln!(table, "| `--{name}{value}` | {default} | {meaning} |").unwrap();
    }
    table
}

/// Puts a table where the page has its place for it.
fn put(page: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name} -->\n");
    let end = format!("<!-- end of {name} -->");
    let (before, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{PAGE} has no `{}`", begin.trim_end()));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("{PAGE} has no `{end}`"));
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_page_for_operators_has_every_option_and_every_number_of_every_kind() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let mut whole = page.clone();
    for (name, table) in [
        ("options", options_table(None)),
        ("options: who gets in", options_table(Some("Who gets in"))),
        ("options: limits", options_table(Some("Limits"))),
        ("kinds", kinds_table()),
    ] {
        whole = put(&whole, name, &table);
    }
    if std::env::var_os("TEST_COPRESENCE_WRITE_DOCS").is_some() {
        fs::write(&path, whole).unwrap();
        return;
    }
    assert!(
        page == whole,
        "the tables of {PAGE} are not those of the options; \
         TEST_COPRESENCE_WRITE_DOCS=1 cargo test --lib config::reference writes them"
    );
}

#[test]
fn no_option_has_a_heading_without_a_table() {
    let command = Options::augment_args(Command::new("serve"));
    for option in command.get_arguments() {
        let heading = option.get_help_heading();
        assert!(
            matches!(heading, None | Some("Who gets in" | "Limits")),
            "{heading:?}"
        );
    }
}

#[test]
fn the_keys_of_a_kind_are_those_that_the_file_takes() {
    // Whoever names a key that is not there is told all that are.
    let error = Options::of_toml("[kind.board]\nx = 1").unwrap_err();
    let error = error.to_string();
    let (_, listed) = error.split_once("expected one of ").unwrap();
    let listed: Vec<&str> = listed
        .split(", ")
        .map(|name| name.trim_matches('`'))
        .collect();
    let keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(keys, listed);

    let error = Options::of_toml("[kind.x]").unwrap_err().to_string();
    for name in TABLES {
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
}
