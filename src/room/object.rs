//! A JSON object as the raw text of its members, so that what is not touched stays as it was.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

/// The members of a JSON object in their order. Only names and the values that are asked for are
/// decoded; numbers of any precision and escapes of any kind pass through as text.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: Vec<Member<'a>>,
    /// Whether a name came more than once. The last value is kept, as `JSON.parse` does.
    pub(super) has_duplicates: bool,
}

#[derive(Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    /// The name as written, with its quotes.
    key: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl<'a> Object<'a> {
    /// The members of an object that is valid JSON; `None` if it is something else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut scan = Scan { text, at: 0 };
        let mut object = Self {
            members: Vec::new(),
            has_duplicates: false,
        };
        let mut place_of = HashMap::new();
        scan.expect(b'{')?;
        if scan.next_is(b'}') {
            return scan.is_at_end().then_some(object);
        }
        loop {
            let key = scan.string()?;
            scan.expect(b':')?;
            let value = scan.value()?;
            // A name with half a surrogate pair is no name that is looked for: as written will do.
            let name = decode(key).unwrap_or(Cow::Borrowed(key));
            match place_of.get(&name) {
                Some(&place) => {
                    object.has_duplicates = true;
                    let member: &mut Member<'_> = object.members.get_mut(place)?;
                    member.value = Cow::Borrowed(value);
                }
                None => {
                    place_of.insert(name.clone(), object.members.len());
                    object.members.push(Member {
                        name,
                        key: Cow::Borrowed(key),
                        value: Cow::Borrowed(value),
                    });
                }
            }
            if !scan.next_is(b',') {
                break;
            }
        }
        scan.expect(b'}')?;
        scan.is_at_end().then_some(object)
    }

    /// The member's value, if that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Object<'a>> {
        match self.get(name)?.value {
            Cow::Borrowed(value) if value.starts_with('{') => Object::parse(value),
            _ => None,
        }
    }

    /// The member's value, if that is a string.
    pub(super) fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        decode(&self.get(name)?.value)
    }

    /// Makes the member this string; says whether it was already.
    pub(super) fn set_string(&mut self, name: &'static str, value: &str) -> bool {
        let agrees = self.string(name).is_some_and(|present| present == value);
        if !agrees {
            self.set(name, Value::from(value).to_string());
        }
        agrees
    }

    /// Makes the member this JSON text.
    pub(super) fn set(&mut self, name: &'static str, json: String) {
        match self.members.iter_mut().find(|member| member.name == name) {
            Some(member) => member.value = Cow::Owned(json),
            None => self.members.push(Member {
                name: Cow::Borrowed(name),
                key: Cow::Owned(Value::from(name).to_string()),
                value: Cow::Owned(json),
            }),
        }
    }

    /// Takes the member out; says whether there was none.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let count = self.members.len();
        self.members.retain(|member| member.name != name);
        self.members.len() == count
    }

    /// The object as JSON text.
    pub(super) fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (place, member) in self.members.iter().enumerate() {
            if 0 < place {
                json.push(',');
            }
            json.push_str(&member.key);
            json.push(':');
            json.push_str(&member.value);
        }
        json.push('}');
        json
    }

    fn get(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// The text of a JSON string; `None` if it is none, or has half a surrogate pair, which JavaScript
/// can hold and Rust cannot.
fn decode(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}

/// A walk over JSON that is known to be valid. It looks only for where things end; should the text
/// be something else after all, it answers `None`.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.next_is(byte).then_some(())
    }

    /// Passes white space, and the byte if it is there.
    fn next_is(&mut self, byte: u8) -> bool {
        self.pass_space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn is_at_end(&mut self) -> bool {
        self.pass_space();
        self.peek().is_none()
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.pass_space();
        let start = self.at;
        self.pass_string()?;
        self.text.get(start..self.at)
    }

    fn value(&mut self) -> Option<&'a str> {
        self.pass_space();
        let start = self.at;
        match self.peek()? {
            b'"' => self.pass_string()?,
            b'{' | b'[' => self.pass_nested()?,
            _ => self.pass_word(),
        }
        self.text
            .get(start..self.at)
            .filter(|value| !value.is_empty())
    }

    fn pass_string(&mut self) -> Option<()> {
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }

    fn pass_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.pass_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn pass_word(&mut self) {
        while let Some(byte) = self.peek()
            && !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
        {
            self.at += 1;
        }
    }

    fn pass_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_comes_out_as_it_went_in() {
        for text in [
            "{}",
            r#"{"a":1}"#,
            r#"{"n":123456789012345678901234567890.10e+400,"s":"\ud800 \"}{][,","o":{"]":[{}]}}"#,
            r#"{"\udc00":null,"\u0061":[],"é":true}"#,
        ] {
            assert_eq!(Object::parse(text).unwrap().to_json(), text);
        }
    }

    #[test]
    fn white_space_between_members_is_all_that_is_lost() {
        let object = Object::parse(" {\t\"a\" :\n[ 1 ] ,\r\"b\" : -0 } ").unwrap();
        assert_eq!(object.to_json(), r#"{"a":[ 1 ],"b":-0}"#);
    }

    #[test]
    fn of_duplicates_the_last_is_kept_where_the_first_was() {
        let object = Object::parse(r#"{"a":1,"b":2,"\u0061":3}"#).unwrap();
        assert!(object.has_duplicates);
        assert_eq!(object.to_json(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in [
            "",
            "null",
            "[{}]",
            "\"{}\"",
            "{",
            "{\"",
            "{\"a",
            "{\"a\\",
            "{\"a\":",
            "{\"a\":}",
            "{\"a\":{]",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{}x",
            "{a:1}",
        ] {
            assert!(Object::parse(text).is_none(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_can_make_it_panic(text in r#"[{}\[\]":,\\a1 é]{0,24}"#) {
            let _ = Object::parse(&text);
        }
    }
}
