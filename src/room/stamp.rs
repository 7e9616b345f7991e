//! Stamping: what an awareness state says about who somebody is comes from the token.

use std::borrow::Cow;
use std::sync::Arc;

use crate::limits::{AWARENESS_STATE_BYTES_MAX, SELF_GIVEN_NAME_BYTES_MAX};
use crate::model::{Color, Grant};
use crate::presence::{Appearance, Status};
use crate::room::object::Object;

/// An awareness state as others are to see it.
#[derive(Debug)]
pub struct Stamped<'a> {
    /// The state's JSON: the very bytes that came, if they agree with the token.
    pub state: Cow<'a, str>,
    /// What it shows of its user: something if the state has a `presence` or `user` object.
    pub appearance: Option<Appearance>,
}

/// Stamps a state that is valid JSON with who its sender is. In the object `presence` these are
/// `userId`, `name` and `role`, in the object `user` it is `name`; everything else stays as it was
/// written. `None` if the text is no JSON after all, or what others would echo is over the limit.
pub fn stamp<'a>(grant: &Grant, state: &'a str) -> Option<Stamped<'a>> {
    if AWARENESS_STATE_BYTES_MAX < state.len() {
        return None;
    }
    let stamped = stamp_any(grant, state)?;
    (echo_bytes_max(&stamped.state) <= AWARENESS_STATE_BYTES_MAX).then_some(stamped)
}

/// The most bytes that a state can have once a client has parsed it and written it out again, as
/// most do with what they receive. It must not be above the limit, or echoing it would cost them
/// their connection. Only numbers with an exponent grow: `1e20` is written with 21 digits.
fn echo_bytes_max(state: &str) -> usize {
    const NUMBER_BYTES_MAX: usize = 25;
    if state.len() <= AWARENESS_STATE_BYTES_MAX / NUMBER_BYTES_MAX {
        return state.len();
    }
    let is_exponent = |pair: &&[u8]| matches!(pair, [b'0'..=b'9', b'e' | b'E']);
    let exponents = state.as_bytes().windows(2).filter(is_exponent).count();
    state.len() + exponents * NUMBER_BYTES_MAX
}

fn stamp_any<'a>(grant: &Grant, state: &'a str) -> Option<Stamped<'a>> {
    if !state.trim_start_matches(JSON_SPACE).starts_with('{') {
        return Some(Stamped {
            state: Cow::Borrowed(state),
            appearance: None,
        });
    }
    let mut whole = Object::parse(state, &["presence", "user"])?;
    let mut presence = whole.object("presence", &["userId", "name", "role", "color"]);
    let mut user = whole.object("user", &["name", "color"]);
    let appearance = (presence.is_some() || user.is_some())
        .then(|| appearance(grant, presence.as_ref(), user.as_ref()));
    if !grant.is_stamped {
        return Some(Stamped {
            state: Cow::Borrowed(state),
            appearance,
        });
    }

    let mut agrees = !whole.has_duplicates;
    if let Some(presence) = &mut presence {
        let identity = &grant.identity;
        let same_user = presence.set_string("userId", identity.user.as_str());
        let same_name = presence.set_string("name", &identity.name);
        let same_role = match &grant.role {
            Some(role) => presence.set_string("role", role),
            None => presence.remove("role"),
        };
        if !(same_user && same_name && same_role) || presence.has_duplicates {
            whole.set("presence", presence.to_json());
            agrees = false;
        }
    }
    if let Some(user) = &mut user {
        let same_name = user.set_string("name", &grant.identity.name);
        if !same_name || user.has_duplicates {
            whole.set("user", user.to_json());
            agrees = false;
        }
    }
    Some(Stamped {
        state: if agrees {
            Cow::Borrowed(state)
        } else {
            Cow::Owned(whole.to_json())
        },
        appearance,
    })
}

/// How somebody looks who shows nothing of themselves but that they are there.
pub fn appearance_of(grant: &Grant) -> Appearance {
    appearance(grant, None, None)
}

/// What JSON allows between its parts.
pub(super) const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn appearance(
    grant: &Grant,
    presence: Option<&Object<'_>>,
    user: Option<&Object<'_>>,
) -> Appearance {
    let identity = &grant.identity;
    let said = |object: Option<&Object<'_>>, name: &str| -> Option<Arc<str>> {
        object?
            .string(name)
            .filter(|text| text.len() <= SELF_GIVEN_NAME_BYTES_MAX)
            .map(Arc::from)
    };
    let color_of = |object: Option<&Object<'_>>| Color::parse(&object?.string("color")?);
    let (said_name, said_role) = if grant.is_stamped {
        (None, None)
    } else {
        let name = said(presence, "name").or_else(|| said(user, "name"));
        (name, said(presence, "role"))
    };
    Appearance {
        name: said_name.unwrap_or_else(|| identity.name.clone()),
        avatar: identity.avatar.clone(),
        role: said_role.or_else(|| grant.role.clone()),
        color: identity
            .color
            .or_else(|| color_of(presence))
            .or_else(|| color_of(user))
            .unwrap_or_else(|| Color::of_user(&identity.user)),
        status: Status::Online,
        data: None,
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Access, Identity, UserId};

    use super::*;

    #[test]
    fn a_state_that_agrees_passes_byte_for_byte() {
        for state in [
            r#"{"presence":{"userId":"u1","name":"Ann \"A\"","role":"coach","isConnected":false}}"#,
            r##" { "user" : { "name" : "Ann \"A\"" , "color" : "#FF0000" } } "##,
            r#"{"presence":{"name":"Ann \u0022A\"","userId":"\u00751","role":"coach"}}"#,
            r#"{"presence":null,"user":"Eve","cursor":{"anchor":123456789012345678901}}"#,
            r#"{"presence":["userId"],"x":"\ud800","\udfff":["\udc00"]}"#,
            "{}",
            "[]",
            "\"text\"",
            "7",
        ] {
            assert_eq!(stamped(&ann(), state), state);
            assert!(matches!(
                stamp(&ann(), state).unwrap().state,
                Cow::Borrowed(_)
            ));
        }
    }

    #[test]
    fn who_somebody_is_comes_from_the_token() {
        check(
            r#"{"presence":{"userId":"eve","name":"Eve","role":"admin","lastSeen":1.50}}"#,
            r#"{"presence":{"userId":"u1","name":"Ann \"A\"","role":"coach","lastSeen":1.50}}"#,
        );
        check(
            r#"{"presence":{}}"#,
            r#"{"presence":{"userId":"u1","name":"Ann \"A\"","role":"coach"}}"#,
        );
        check(
            r##"{"a":1e999,"user":{"name":7,"color":"#00ff00"},"z":"\ud83d"}"##,
            r##"{"a":1e999,"user":{"name":"Ann \"A\"","color":"#00ff00"},"z":"\ud83d"}"##,
        );
        check(
            r#"{"presence":{"name":"\ud800","\ud800":1}}"#,
            r#"{"presence":{"name":"Ann \"A\"","\ud800":1,"userId":"u1","role":"coach"}}"#,
        );
    }

    #[test]
    fn who_has_no_role_cannot_say_one() {
        let nobody = Grant {
            role: None,
            ..ann()
        };
        assert_eq!(
            stamped(
                &nobody,
                r#"{"presence":{"role":"admin","userId":"u1","name":"Ann \"A\""}}"#
            ),
            r#"{"presence":{"userId":"u1","name":"Ann \"A\""}}"#
        );
    }

    #[test]
    fn nobody_hides_behind_a_second_key() {
        check(
            r#"{"user":{"name":"Ann \"A\""},"x":1,"user":{"name":"Eve"}}"#,
            r#"{"user":{"name":"Ann \"A\""},"x":1}"#,
        );
        check(
            r#"{"user":{"name":"Eve","na\u006de":"Ann \"A\""}}"#,
            r#"{"user":{"name":"Ann \"A\""}}"#,
        );
        check(
            r#"{"\u0075ser":{"name":"Eve"}}"#,
            r#"{"\u0075ser":{"name":"Ann \"A\""}}"#,
        );
        check(
            r#"{"presence":{"role":"admin","role":"coach","userId":"u1","name":"Ann \"A\""}}"#,
            r#"{"presence":{"role":"coach","userId":"u1","name":"Ann \"A\""}}"#,
        );
    }

    #[test]
    fn stamping_what_is_stamped_changes_nothing() {
        let once = stamped(
            &ann(),
            r#"{"user":{},"presence":{"role":1,"role":2},"a":[]}"#,
        );
        assert_eq!(stamped(&ann(), &once), once);
    }

    #[test]
    fn a_presence_or_a_user_object_makes_somebody_appear() {
        for state in [r#"{"presence":{}}"#, r#"{"user":{}}"#] {
            let looks = shown(&ann(), state).unwrap();
            assert_eq!(&*looks.name, "Ann \"A\"");
            assert_eq!(looks.avatar.as_deref(), Some("https://example.org/a.png"));
            assert_eq!(looks.role.as_deref(), Some("coach"));
            assert_eq!(looks.color, Color::of_user(&ann().identity.user));
            assert_eq!((looks.status, looks.data), (Status::Online, None));
        }
        for state in ["{}", "[]", r#"{"presence":1,"user":null,"x":{"user":{}}}"#] {
            assert_eq!(shown(&ann(), state), None);
        }
    }

    #[test]
    fn the_tokens_colour_comes_before_the_states() {
        let color = |grant, state| shown(&grant, state).unwrap().color.to_string();
        let both = r##"{"user":{"color":"#00ff00"},"presence":{"color":"#0000ff"}}"##;
        assert_eq!(color(ann(), both), "#0000ff");
        assert_eq!(
            color(
                ann(),
                r##"{"user":{"color":"#00ff00"},"presence":{"color":"red"}}"##
            ),
            "#00ff00"
        );
        let mut chosen = ann();
        chosen.identity.color = Color::parse("#ff0000");
        assert_eq!(color(chosen, both), "#ff0000");
    }

    #[test]
    fn a_guest_speaks_for_themselves() {
        let guest = Grant {
            is_stamped: false,
            ..ann()
        };
        let state = r#"{"presence":{"name":"Eve","role":"boss","userId":"x"},"user":{"name":"E"}}"#;
        assert_eq!(stamped(&guest, state), state);
        let looks = shown(&guest, state).unwrap();
        assert_eq!((&*looks.name, looks.role.as_deref()), ("Eve", Some("boss")));
        let looks = shown(&guest, r#"{"presence":{"name":1},"user":{"name":"E"}}"#).unwrap();
        assert_eq!((&*looks.name, looks.role.as_deref()), ("E", Some("coach")));
        let long = format!(r#"{{"user":{{"name":"{}"}}}}"#, "x".repeat(60_000));
        assert_eq!(&*shown(&guest, &long).unwrap().name, "Ann \"A\"");
    }

    #[test]
    fn a_state_with_very_many_members_costs_no_more_than_its_length() {
        let members: Vec<_> = (0..6500).map(|number| format!("\"{number}\":0")).collect();
        let members = members.join(",");
        let plain = format!("{{{members}}}");
        assert_eq!(stamped(&ann(), &plain), plain);
        let inside = format!(r#"{{"presence":{{{members}}}}}"#);
        assert!(stamped(&ann(), &inside).contains(r#""6499":0,"userId":"u1""#));
    }

    #[test]
    fn no_state_grows_over_the_limit_when_it_is_stamped_or_echoed() {
        let filled = |length: usize| format!(r#"{{"user":{{}},"x":"{}"}}"#, "x".repeat(length));
        assert!(stamp(&ann(), &filled(65_000)).is_some());
        assert!(stamp(&ann(), &filled(AWARENESS_STATE_BYTES_MAX - 20)).is_none());
        let numbers = |count| format!("[{}0]", "1e20,".repeat(count));
        assert!(stamp(&ann(), &numbers(2_000)).is_some());
        assert!(stamp(&ann(), &numbers(13_000)).is_none());
    }

    fn check(state: &str, expected: &str) {
        assert_eq!(stamped(&ann(), state), expected);
    }

    fn stamped(grant: &Grant, state: &str) -> String {
        stamp(grant, state).unwrap().state.into_owned()
    }

    fn shown(grant: &Grant, state: &str) -> Option<Appearance> {
        stamp(grant, state).unwrap().appearance
    }

    fn ann() -> Grant {
        Grant {
            identity: Identity {
                user: UserId::parse("u1").unwrap(),
                name: "Ann \"A\"".into(),
                avatar: Some("https://example.org/a.png".into()),
                color: None,
            },
            role: Some("coach".into()),
            access: Access::Read,
            is_stamped: true,
            is_participant: true,
        }
    }
}
