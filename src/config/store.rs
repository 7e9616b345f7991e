//! Where documents are kept, as an address: `sqlite:PATH`, `postgres://…` or `memory:`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Options};

/// What keeps the documents. Its text is for people and logs: it holds no password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreChoice {
    /// One file, for one process.
    Sqlite(PathBuf),
    /// A database, for one process at a time.
    Postgres(DatabaseUrl),
    /// Nothing is kept once the relay ends.
    Memory,
}

/// The address of a database, with the password that it may hold.
#[derive(Clone, Eq, PartialEq)]
pub struct DatabaseUrl(String);

/// The embedded store's folder, and its file there.
const DATA: &str = "copresence-data";
const FILE: &str = "copresence.db";
const SUPPORTED: &str = "`sqlite:PATH`, `postgres://…` and `memory:` are";

impl StoreChoice {
    /// What `--store` says, else the embedded store in `--data`.
    pub fn of(options: &Options) -> Result<Self, ConfigError> {
        if let Some(url) = &options.store {
            return Self::parse("--store", url);
        }
        let folder = options.data.as_deref().unwrap_or(Path::new(DATA));
        if folder.as_os_str().is_empty() {
            return Err(ConfigError::new("--data is empty"));
        }
        // Joined to the current folder, so that no name can mean anything else to SQLite.
        Ok(Self::Sqlite(Path::new(".").join(folder).join(FILE)))
    }

    /// Reads an address that was given as `option`.
    pub fn parse(option: &str, url: &str) -> Result<Self, ConfigError> {
        let refuse = |why: String| Err(ConfigError::new(format!("{option}: {why}")));
        if url.is_empty() {
            return Err(ConfigError::new(format!("{option} is empty")));
        }
        // Errors never quote what is behind the scheme: it may hold a password.
        let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme))
        else {
            return refuse(format!(
                "this is no address; {SUPPORTED} (a file needs `sqlite:`)"
            ));
        };
        match scheme {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => refuse("nothing may follow `memory:`".to_owned()),
            "sqlite" => sqlite_path(rest)
                .map(|path| Self::Sqlite(Path::new(".").join(path)))
                .ok_or_else(|| {
                    let why =
                        "`sqlite:` needs a path, e.g. sqlite:/var/lib/copresence/documents.db";
                    ConfigError::new(format!("{option}: {why}"))
                }),
            "postgres" | "postgresql" if !cfg!(feature = "postgres") => refuse(format!(
                "this build of copresence has no `{scheme}:`; build it with the feature `postgres`"
            )),
            "postgres" | "postgresql" if 2 < rest.len() && rest.starts_with("//") => {
                Ok(Self::Postgres(DatabaseUrl(url.to_owned())))
            }
            "postgres" | "postgresql" => refuse(format!(
                "`{scheme}:` needs a server, e.g. postgres://user:password@host/database"
            )),
            _ => refuse(format!("`{scheme}:` is not supported; {SUPPORTED}")),
        }
    }
}

impl DatabaseUrl {
    /// The whole address, with the password: for the database alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => {
                let path = path.strip_prefix(".").unwrap_or(path);
                write!(f, "sqlite:{}", path.display())
            }
            Self::Postgres(url) => url.fmt(f),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let place = match rest.split('@').collect::<Vec<_>>()[..] {
            [place] => Some(place),
            [who, place] if !who.contains(['/', '?', '#']) => Some(place),
            // Some `@` is not where it should be: do not guess what is the password.
            _ => None,
        };
        // The parameters behind `?` may hold a password too.
        let place = place.and_then(|place| place.split(['?', '#']).next());
        write!(f, "{scheme}://{}", place.unwrap_or("…"))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// `PATH` or `///PATH`; not a host, nor what SQLite takes for something else than a file.
fn sqlite_path(rest: &str) -> Option<&str> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return None,
        None => rest,
    };
    let is_special = path.starts_with(':') || path.starts_with("file:") || path.contains('\0');
    (!path.is_empty() && !path.ends_with('/') && !is_special).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<StoreChoice, String> {
        StoreChoice::parse("--store", url).map_err(|error| error.to_string())
    }

    fn of(data: Option<&str>, store: Option<&str>) -> String {
        let options = Options {
            data: data.map(PathBuf::from),
            store: store.map(str::to_owned),
            ..Options::default()
        };
        StoreChoice::of(&options).map_or_else(|error| error.to_string(), |store| store.to_string())
    }

    #[test]
    fn documents_are_in_the_folder_unless_an_address_says_otherwise() {
        assert_eq!(of(None, None), "sqlite:copresence-data/copresence.db");
        assert_eq!(of(Some("/srv/x"), None), "sqlite:/srv/x/copresence.db");
        assert_eq!(of(Some("/srv/x"), Some("memory:")), "memory:");
        assert_eq!(of(Some(""), None), "--data is empty");
        assert_eq!(of(None, Some("")), "--store is empty");
    }

    #[test]
    fn a_file_is_named_by_its_path() {
        for (url, path) in [
            ("sqlite:a.db", "./a.db"),
            ("sqlite:a/b.db", "./a/b.db"),
            ("sqlite:/a/b.db", "/a/b.db"),
            ("sqlite:///a/b.db", "/a/b.db"),
        ] {
            assert_eq!(parse(url), Ok(StoreChoice::Sqlite(path.into())), "{url}");
        }
        for bad in [
            "sqlite:",
            "sqlite://host/a",
            "sqlite::memory:",
            "sqlite:file:a",
            "sqlite:a/",
        ] {
            assert!(parse(bad).unwrap_err().contains("needs a path"), "{bad}");
        }
    }

    #[test]
    fn what_is_not_supported_is_told_what_is() {
        for url in [
            "mysql://u:hunter2@x",
            "host=x password=hunter2",
            "./a:hunter2",
            ":hunter2",
        ] {
            let error = parse(url).unwrap_err();
            assert!(
                error.contains("sqlite:PATH") && error.contains("postgres://"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(parse("mysql://x").unwrap_err().contains("`mysql:`"));
        assert!(parse("memory:x").is_err());
    }

    #[test]
    #[cfg(not(feature = "postgres"))]
    fn a_build_without_postgres_says_so() {
        assert!(
            parse("postgres://x/y")
                .unwrap_err()
                .contains("feature `postgres`")
        );
    }

    #[test]
    #[cfg(feature = "postgres")]
    fn a_database_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://db/x", "postgres://db/x"),
            (
                "postgresql://ann:hunter2@db:5432/x",
                "postgresql://db:5432/x",
            ),
            ("postgres://db/x?password=hunter2", "postgres://db/x"),
            ("postgres://ann:hun/ter2@db/x", "postgres://…"),
            ("postgres://ann:hun@ter2@db/x", "postgres://…"),
            ("postgres:///x?user=ann&password=hun@ter2", "postgres://…"),
        ] {
            let store = parse(url).unwrap();
            assert_eq!(store.to_string(), shown);
            assert!(!format!("{store:?}").contains("ter2"), "{store:?}");
            let StoreChoice::Postgres(exposed) = store else {
                panic!("{store:?} is no Postgres");
            };
            assert_eq!(exposed.expose(), url);
        }
        assert!(parse("postgres:db").unwrap_err().contains("needs a server"));
    }
}
