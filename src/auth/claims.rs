//! What a token claims, checked and turned into a [`Token`].

use serde_json::{Map, Value};

use crate::auth::{Flaw, TokenError};
use crate::clock::{Moment, Timestamp};
use crate::limits::{NOT_BEFORE_LEEWAY, STORED_ID_BYTES_MAX};
use crate::model::{Access, Color, Identity, Pattern, RoomRule, Token, UserId};

/// The claims of a token whose signature is good.
pub type Claims = Map<String, Value>;

/// Values that a token must have; unchecked where `None`.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The `iss` claim.
    pub issuer: Option<String>,
    /// The `aud` claim, or one of them.
    pub audience: Option<String>,
}

/// Checks claims against the contract, section 4. A claim of the wrong type spoils the token; `null`
/// is the same as no claim, because back ends write it for people without a picture. `Expired` is
/// only said of a token that is good otherwise. What a token says of times is about the world's clock;
/// when it ends is told in the relay's own time, by which it is waited for.
pub fn token_of(claims: &Claims, expected: &Expected, now: Moment) -> Result<Token, TokenError> {
    let mut token = read(claims, expected, now.wall).map_err(TokenError::Unauthorized)?;
    if token
        .expires_at
        .is_none_or(|expires_at| expires_at <= now.wall)
    {
        return Err(TokenError::Expired);
    }
    token.expires_at = token.expires_at.map(|at| now.own_time_of(at));
    Ok(token)
}

fn read(claims: &Claims, expected: &Expected, now: Timestamp) -> Result<Token, Flaw> {
    let expires_at = time(claims, "exp")?.ok_or(Flaw::Claim("exp"))?;
    let is_early =
        time(claims, "nbf")?.is_some_and(|not_before| now + NOT_BEFORE_LEEWAY < not_before);
    if is_early {
        return Err(Flaw::Early);
    }
    check_is_for_us(claims, expected)?;
    let user = text(claims, "sub")?
        .and_then(user)
        .ok_or(Flaw::Claim("sub"))?;
    let name = text(claims, "name")?.filter(|name| !name.is_empty());
    let picture = text(claims, "picture")?.filter(|picture| !picture.is_empty());
    Ok(Token {
        identity: Identity {
            name: name.unwrap_or(user.as_str()).into(),
            avatar: picture.map(Into::into),
            // A colour in another notation is no reason to lock somebody out.
            color: text(claims, "color")?.and_then(Color::parse),
            user,
        },
        rooms: rules(claims)?,
        allowed: patterns(claims, "allowedDocumentNames")?,
        readonly: patterns(claims, "readonlyDocumentNames")?,
        follows: texts(claims, "follows")?
            .into_iter()
            .filter_map(UserId::parse)
            .collect(),
        is_service: text(claims, "scope")?
            // RFC 8693: one space and nothing else is between two words.
            .is_some_and(|scope| scope.split(' ').any(|word| word == "service")),
        is_guest: false,
        // An issuer whose clock is ahead must not make its tokens immune to revocations.
        issued_at: time(claims, "iat")?.map(|issued_at| issued_at.min(now)),
        expires_at: Some(expires_at),
    })
}

/// Somebody of whom things can be written down: above all, that their tokens are revoked.
fn user(sub: &str) -> Option<UserId> {
    let is_storable = sub.len() <= STORED_ID_BYTES_MAX && !sub.contains('\0');
    UserId::parse(sub).filter(|_| is_storable)
}

fn check_is_for_us(claims: &Claims, expected: &Expected) -> Result<(), Flaw> {
    let issuer = text(claims, "iss")?;
    let audiences = match claim(claims, "aud") {
        Some(Value::String(audience)) => vec![audience.as_str()],
        _ => texts(claims, "aud")?,
    };
    if let Some(expected) = &expected.issuer
        && issuer != Some(expected)
    {
        return Err(Flaw::Issuer);
    }
    if let Some(expected) = &expected.audience
        && !audiences.contains(&expected.as_str())
    {
        return Err(Flaw::Audience);
    }
    Ok(())
}

fn rules(claims: &Claims) -> Result<Vec<RoomRule>, Flaw> {
    const WRONG: Flaw = Flaw::Claim("rooms");
    let rooms = match claim(claims, "rooms") {
        None => return Ok(Vec::new()),
        Some(Value::Object(rooms)) => rooms,
        Some(_) => return Err(WRONG),
    };
    rooms
        .iter()
        .map(|(pattern, rule)| {
            let rule = rule.as_object().ok_or(WRONG)?;
            let said = |name| text(rule, name).map_err(|_| WRONG);
            Ok(RoomRule {
                pattern: Pattern::new(pattern),
                role: said("role")?
                    .filter(|role| !role.is_empty())
                    .map(Into::into),
                access: match said("access")? {
                    None | Some("read") => Access::Read,
                    Some("write") => Access::Write,
                    Some(_) => return Err(WRONG),
                },
            })
        })
        .collect()
}

fn patterns(claims: &Claims, name: &'static str) -> Result<Vec<Pattern>, Flaw> {
    let texts = texts(claims, name)?;
    Ok(texts.into_iter().map(Pattern::new).collect())
}

// Below, the flaw is a claim of the wrong type, `None` no claim.

fn texts<'a>(claims: &'a Claims, name: &'static str) -> Result<Vec<&'a str>, Flaw> {
    let texts = match claim(claims, name) {
        None => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    texts.ok_or(Flaw::Claim(name))
}

fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<&'a str>, Flaw> {
    match claim(claims, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Flaw::Claim(name)),
    }
}

/// A NumericDate: seconds since 1970, with fractions or without. Before 1970 is 1970.
fn time(claims: &Claims, name: &'static str) -> Result<Option<Timestamp>, Flaw> {
    let seconds = match claim(claims, name) {
        None => return Ok(None),
        Some(Value::Number(seconds)) => seconds.as_f64(),
        Some(_) => None,
    };
    let millis = (seconds.ok_or(Flaw::Claim(name))? * 1_000.0).round();
    Ok(Some(Timestamp::from_millis(millis as u64)))
}

fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::RoomName;

    const NOW: Timestamp = Timestamp::from_millis(1_000_500);

    fn check_expecting(expected: &Expected, changes: Value) -> Result<Token, TokenError> {
        let mut claims = json!({"sub": "ann", "exp": 2_000});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        token_of(claims.as_object().unwrap(), expected, NOW.into())
    }

    fn check(changes: Value) -> Result<Token, TokenError> {
        check_expecting(&Expected::default(), changes)
    }

    #[test]
    fn every_claim_of_the_contract_is_read() {
        let token = check(json!({
            "name": "Ann", "picture": "https://x.test/a.png", "color": "#3B82F6", "iat": 999.25,
            "rooms": {
                "session/42": {"role": "coach", "access": "write"},
                "session/*": {"role": "guest"},
            },
            "allowedDocumentNames": ["a", "b*"], "readonlyDocumentNames": ["c"],
            "follows": ["bob", ""], "scope": "openid service", "other": [1, {"x": null}],
        }))
        .unwrap();
        assert_eq!(&*token.identity.name, "Ann");
        assert_eq!(
            token.identity.avatar.as_deref(),
            Some("https://x.test/a.png")
        );
        assert_eq!(token.identity.color, Color::parse("#3b82f6"));
        assert_eq!(token.issued_at, Some(Timestamp::from_millis(999_250)));
        assert_eq!(token.expires_at, Some(Timestamp::from_millis(2_000_000)));
        assert_eq!(token.follows, [UserId::parse("bob").unwrap()]);
        assert!(token.is_service && !token.is_guest);
        let grant = |room| token.grant(&RoomName::parse(room).unwrap());
        let coach = grant("session/42").unwrap();
        assert_eq!(
            (coach.role.as_deref(), coach.access),
            (Some("coach"), Access::Write)
        );
        let guest = grant("session/1").unwrap();
        assert_eq!(
            (guest.role.as_deref(), guest.access),
            (Some("guest"), Access::Read)
        );
        assert_eq!(token.allowed, [Pattern::new("a"), Pattern::new("b*")]);
        assert_eq!(token.readonly, [Pattern::new("c")]);
    }

    #[test]
    fn a_bare_token_names_its_user_and_opens_nothing() {
        let token = check(json!({"name": null, "picture": "", "scope": "services"})).unwrap();
        assert_eq!(&*token.identity.name, "ann");
        assert_eq!(token.identity.avatar, None);
        assert!(!token.is_service);
        assert!(token.grant(&RoomName::parse("a").unwrap()).is_none());
    }

    #[test]
    fn a_token_ends_exactly_at_exp() {
        assert_eq!(
            check(json!({"exp": 1_000.5})).unwrap_err(),
            TokenError::Expired
        );
        assert_eq!(
            check(json!({"exp": 1_000})).unwrap_err(),
            TokenError::Expired
        );
        assert_eq!(check(json!({"exp": -5})).unwrap_err(), TokenError::Expired);
        assert!(check(json!({"exp": 1_000.501})).is_ok());
        assert!(check(json!({"exp": 1e300})).is_ok());
    }

    #[test]
    fn a_token_begins_five_seconds_before_nbf_and_ends_exactly_at_exp() {
        assert!(check(json!({"nbf": 1_005.5})).is_ok());
        let early = check(json!({"nbf": 1_005.501})).unwrap_err();
        assert_eq!(early, TokenError::Unauthorized(Flaw::Early));
        let late = check(json!({"nbf": 900, "exp": 1_000.5})).unwrap_err();
        assert_eq!(late, TokenError::Expired);
    }

    #[test]
    fn a_token_from_the_future_counts_as_issued_now() {
        assert_eq!(check(json!({"iat": 9_999})).unwrap().issued_at, Some(NOW));
    }

    #[test]
    fn a_missing_or_wrong_claim_spoils_the_token() {
        let wrong = [
            json!({"exp": null}),
            json!({"exp": "2000"}),
            json!({"exp": true}),
            json!({"nbf": "0"}),
            json!({"iat": []}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"sub": "a\u{0}nn"}),
            json!({"sub": "a".repeat(STORED_ID_BYTES_MAX + 1)}),
            json!({"name": 7}),
            json!({"picture": {}}),
            json!({"color": 0x3b82f6}),
            json!({"scope": ["service"]}),
            json!({"iss": 1}),
            json!({"aud": 1}),
            json!({"aud": [1]}),
            json!({"follows": "bob"}),
            json!({"follows": [1]}),
            json!({"allowedDocumentNames": "a"}),
            json!({"readonlyDocumentNames": [null]}),
            json!({"rooms": []}),
            json!({"rooms": "a"}),
            json!({"rooms": {"a": null}}),
            json!({"rooms": {"a": "write"}}),
            json!({"rooms": {"a": ["coach", "write"]}}),
            json!({"rooms": {"a": {"role": 1}}}),
            json!({"rooms": {"a": {"access": "admin"}}}),
            json!({"rooms": {"a": {"access": true}}}),
        ];
        for changes in wrong {
            let refused = check(changes.clone()).unwrap_err();
            // The operator is told which.
            let (name, _) = changes.as_object().unwrap().iter().next().unwrap();
            let TokenError::Unauthorized(Flaw::Claim(told)) = refused else {
                panic!("{changes}: {refused:?}");
            };
            assert_eq!(told, name, "{changes}");
        }
    }

    #[test]
    fn a_scope_is_words_with_spaces_between() {
        for (scope, is_service) in [
            ("service", true),
            ("openid service email", true),
            ("service  openid", true),
            ("openid\u{a0}service", false),
            ("openid\u{2003}service", false),
            ("openid\tservice", false),
            ("openid\nservice", false),
            ("Service", false),
        ] {
            let token = check(json!({"scope": scope})).unwrap();
            assert_eq!(token.is_service, is_service, "{scope:?}");
        }
    }

    #[test]
    fn a_colour_in_another_notation_is_ignored() {
        assert_eq!(
            check(json!({"color": "tomato"})).unwrap().identity.color,
            None
        );
    }

    #[test]
    fn issuer_and_audience_are_checked_when_configured() {
        let expected = Expected {
            issuer: Some("us".into()),
            audience: Some("relay".into()),
        };
        for (changes, is_good) in [
            (json!({"iss": "us", "aud": "relay"}), true),
            (json!({"iss": "us", "aud": ["other", "relay"]}), true),
            (json!({"iss": "us", "aud": ["other"]}), false),
            (json!({"iss": "us"}), false),
            (json!({"iss": "them", "aud": "relay"}), false),
            (json!({"aud": "relay"}), false),
        ] {
            let outcome = check_expecting(&expected, changes.clone());
            assert_eq!(outcome.is_ok(), is_good, "{changes}");
        }
        assert!(check(json!({"iss": "anyone", "aud": "anything"})).is_ok());
    }
}
