//! Names and tokens in addresses: percent-decoding that refuses what it cannot decode.

use crate::model::{BadRoomName, RoomName};

/// The room a path names: what follows the route's prefix, decoded once as a whole.
pub fn room_from_path(raw: &str) -> Result<RoomName, BadRoomName> {
    let text = percent_decode(raw).ok_or(BadRoomName::Encoding)?;
    RoomName::parse(&text)
}

/// Undoes percent-encoding once; `None` for a broken escape or bytes that are no UTF-8.
pub fn percent_decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            bytes.push(hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The first value of `key` in a query (`a=1&b=2`), decoded as a form field; `None` when it is
/// missing or cannot be decoded.
pub fn query_value(query: &str, key: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| percent_decode(&value.replace('+', " ")))
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_as_a_whole() {
        let name = |raw| room_from_path(raw).map(|room| room.as_str().to_owned());
        assert_eq!(name("session/42").as_deref(), Ok("session/42"));
        assert_eq!(name("session%2F42").as_deref(), Ok("session/42"));
        assert_eq!(name("Gr%c3%B6%C3%9Fe").as_deref(), Ok("Größe"));
        assert_eq!(name("a%252Fb").as_deref(), Ok("a%2Fb"));
        assert_eq!(name("a+b").as_deref(), Ok("a+b"));
    }

    #[test]
    fn broken_escapes_and_invalid_utf_8_are_bad_names() {
        for raw in ["%", "a%2", "%zz", "%+1", "%ff", "a%C3"] {
            assert_eq!(room_from_path(raw), Err(BadRoomName::Encoding), "{raw}");
        }
        assert_eq!(room_from_path("a%00"), Err(BadRoomName::ControlCharacter));
        assert_eq!(room_from_path("a/%2e%2e/b"), Err(BadRoomName::Segment));
        assert_eq!(room_from_path(""), Err(BadRoomName::Length));
    }

    #[test]
    fn a_query_is_read_by_its_keys() {
        let query = "_pk=1&token=a.b-c_d&if=empty&x=a%20b+c&flag&token=second&bad=%f";
        assert_eq!(query_value(query, "token").as_deref(), Some("a.b-c_d"));
        assert_eq!(query_value(query, "x").as_deref(), Some("a b c"));
        assert_eq!(query_value(query, "flag"), None);
        assert_eq!(query_value(query, "bad"), None);
        assert_eq!(query_value("", "token"), None);
    }
}
