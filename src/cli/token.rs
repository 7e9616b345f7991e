//! Signs a token for a secret, to try things out with.

use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value, json};

use crate::auth::TOKEN_BYTES_MAX;
use crate::clock::Timestamp;
use crate::config::{ConfigError, Span};
use crate::model::{Color, RoomName};

/// The flags of `token`.
#[derive(Debug, clap::Args)]
pub struct TokenOptions {
    /// The secret that the relay has as --jwt-secret
    #[arg(
        long,
        env = "COPRESENCE_JWT_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    secret: String,

    /// The user id
    #[arg(long, value_name = "USER")]
    sub: String,

    /// The display name [default: the user id]
    #[arg(long)]
    name: Option<String>,

    /// The address of an avatar [default: none]
    #[arg(long, value_name = "URL")]
    picture: Option<String>,

    /// The colour, #rrggbb [default: made from the user id]
    #[arg(long, value_name = "COLOR", value_parser = parse_color)]
    color: Option<String>,

    /// A room, or a prefix of rooms ending in `*`, with role and access (`read` or `write`), e.g.
    /// session/42=coach:write or 'session/*=read'; repeatable [default: none]
    #[arg(long = "room", value_name = "PATTERN=ROLE:ACCESS")]
    rooms: Vec<Room>,

    /// A user id that the user follows; repeatable [default: none]
    #[arg(long = "follow", value_name = "USER")]
    follows: Vec<String>,

    /// `service` for a back end [default: none]
    #[arg(long, value_parser = ["service"])]
    scope: Option<String>,

    /// The `iss`, where the relay has --jwt-issuer [default: none]
    #[arg(long, env = "COPRESENCE_JWT_ISSUER", value_name = "TEXT")]
    issuer: Option<String>,

    /// The `aud`, where the relay has --jwt-audience [default: none]
    #[arg(long, env = "COPRESENCE_JWT_AUDIENCE", value_name = "TEXT")]
    audience: Option<String>,

    /// How long the token is good for
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time_to_live)]
    expires_in: Span,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Room {
    pattern: String,
    role: Option<String>,
    access: String,
}

impl FromStr for Room {
    type Err = String;

    /// The last `=` ends the pattern, and the last `:` the role: both may be in names.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not like session/42=coach:write or session/42=read");
        let (pattern, rest) = text.rsplit_once('=').ok_or_else(wrong)?;
        let (role, access) = match rest.rsplit_once(':') {
            Some((role, access)) => (Some(role).filter(|role| !role.is_empty()), access),
            None => (None, rest),
        };
        if pattern.is_empty() || !matches!(access, "read" | "write") {
            return Err(wrong());
        }
        check_pattern(pattern)?;
        Ok(Self {
            pattern: pattern.to_owned(),
            role: role.map(str::to_owned),
            access: access.to_owned(),
        })
    }
}

/// A pattern that no room fits is a slip.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let example = match pattern.strip_suffix('*') {
        // What comes next completes a last segment, whatever there is of it.
        Some(prefix) => format!("{prefix}x"),
        None => pattern.to_owned(),
    };
    match RoomName::parse(&example) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("no room fits `{pattern}`: {why}")),
    }
}

/// A colour that is none would be passed over.
fn parse_color(text: &str) -> Result<String, String> {
    match Color::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("`{text}` is no colour, e.g. #3b82f6")),
    }
}

fn parse_time_to_live(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match span.0 < Duration::from_secs(1) {
        // Tokens know whole seconds.
        true => Err(format!("a token that lasts `{text}` has expired already")),
        false => Ok(span),
    }
}

impl TokenOptions {
    /// The signed token; one that the relay would refuse is an error.
    pub fn sign(&self, now: Timestamp) -> anyhow::Result<String> {
        self.check()?;
        let key = EncodingKey::from_secret(self.secret.as_bytes())?;
        let token = jsonwebtoken::encode(&Header::default(), &self.claims(now), &key)?;
        if TOKEN_BYTES_MAX < token.len() {
            return Err(ConfigError::new(format!(
                "the token has {} bytes, and relays take at most {TOKEN_BYTES_MAX}: give it fewer \
                 --room and --follow",
                token.len()
            ))
            .into());
        }
        Ok(token)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let texts = [
            ("--secret", Some(&self.secret)),
            ("--sub", Some(&self.sub)),
            ("--name", self.name.as_ref()),
            ("--picture", self.picture.as_ref()),
            ("--issuer", self.issuer.as_ref()),
            ("--audience", self.audience.as_ref()),
        ];
        let follows = self.follows.iter().map(|user| ("--follow", Some(user)));
        for (option, text) in texts.into_iter().chain(follows) {
            if text.is_some_and(String::is_empty) {
                return Err(ConfigError::new(format!("{option} is empty")));
            }
        }
        let mut patterns = HashSet::new();
        match self
            .rooms
            .iter()
            .find(|room| !patterns.insert(&room.pattern))
        {
            Some(twice) => Err(ConfigError::new(format!(
                "--room: `{}` is there twice, and only one would count",
                twice.pattern
            ))),
            None => Ok(()),
        }
    }

    fn claims(&self, now: Timestamp) -> Map<String, Value> {
        let seconds = |time: Timestamp| Value::from(time.as_millis() / 1_000);
        let mut claims = Map::from_iter([
            ("sub".to_owned(), Value::from(self.sub.as_str())),
            ("iat".to_owned(), seconds(now)),
            ("exp".to_owned(), seconds(now + self.expires_in.0)),
        ]);
        let texts = [
            ("name", &self.name),
            ("picture", &self.picture),
            ("color", &self.color),
            ("scope", &self.scope),
            ("iss", &self.issuer),
            ("aud", &self.audience),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                claims.insert(name.to_owned(), Value::from(text.as_str()));
            }
        }
        if !self.follows.is_empty() {
            claims.insert("follows".to_owned(), json!(self.follows));
        }
        if !self.rooms.is_empty() {
            let rooms = self.rooms.iter().map(|room| {
                let mut rule = Map::from_iter([("access".to_owned(), json!(room.access))]);
                if let Some(role) = &room.role {
                    rule.insert("role".to_owned(), json!(role));
                }
                (room.pattern.clone(), Value::from(rule))
            });
            claims.insert("rooms".to_owned(), rooms.collect());
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::auth::{AuthOptions, KeySource, Secret, Verifier};
    use crate::model::{Access, RoomName};

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        options: TokenOptions,
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn sign(flags: &str) -> Result<String, String> {
        let words = ["token", "--secret", "s"].into_iter();
        let flags = Flags::try_parse_from(words.chain(flags.split_whitespace()));
        let flags = flags.map_err(|error| error.to_string())?;
        flags.options.sign(NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_lets_its_bearer_into_the_rooms_it_names() {
        let token = sign(
            "--sub ann --name Ann --color #3b82f6 --room session/42=coach:write --follow bob \
             --room session/*=read --room a=b=:write --scope service --issuer us --audience relay",
        );
        let verifier = Verifier::new(AuthOptions {
            key: Some(KeySource::Secret(Secret::new("s"))),
            issuer: Some("us".into()),
            audience: Some("relay".into()),
            is_dev: false,
        });
        let token = verifier.unwrap().verify(NOW, &token.unwrap()).unwrap();
        assert_eq!(&*token.identity.name, "Ann");
        assert_eq!(token.expires_at, Some(NOW + Duration::from_secs(3_600)));
        assert!(token.is_service);
        assert_eq!(token.follows.len(), 1);
        for (room, role, access) in [
            ("session/42", Some("coach"), Access::Write),
            ("session/1", None, Access::Read),
            ("a=b", None, Access::Write),
        ] {
            let grant = token.grant(&RoomName::parse(room).unwrap()).unwrap();
            assert_eq!(
                (grant.role.as_deref(), grant.access),
                (role, access),
                "{room}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (flags, part) in [
            ("--sub ann --room a", "`a` is not like"),
            ("--sub ann --room a=coach", "`a=coach` is not like"),
            ("--sub ann --room =read", "`=read` is not like"),
            ("--sub=", "--sub is empty"),
            ("", "--sub"),
            ("--sub ann --expires-in soon", "`soon` is no time"),
            ("--sub ann --expires-in 0", "expired already"),
            ("--sub ann --expires-in 999ms", "expired already"),
            ("--sub ann --color tomato", "`tomato` is no colour"),
            ("--sub ann --scope services", "service"),
            (
                "--sub ann --room a=read --room a=write",
                "`a` is there twice",
            ),
            ("--sub ann --room a//b=read", "no room fits `a//b`"),
            ("--sub ann --room /a*=read", "no room fits `/a*`"),
            ("--sub ann --follow=", "--follow is empty"),
            ("--sub ann --issuer=", "--issuer is empty"),
        ] {
            let error = sign(flags).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let long = format!("--sub ann --name {}", "x".repeat(TOKEN_BYTES_MAX));
        assert!(sign(&long).unwrap_err().contains("16384"));
        // Prefixes that any room fits, or that end in the middle of a segment.
        for pattern in ["*", "session/*", "session/4*", "session*"] {
            assert!(sign(&format!("--sub ann --room {pattern}=read")).is_ok());
        }
    }
}
