//! A JSON object as the raw text of its members, so that what is not touched stays as it was.

use std::borrow::Cow;

use serde_json::Value;

/// The members of a JSON object in their order. Only a few are ever asked for: the names of the others
/// are not looked at, and a state of thousands of members costs no more than its length. Numbers of
/// any precision and escapes of any kind pass through as text.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: Vec<Member<'a>>,
    /// Where the members are that may be asked for, as far as there are such.
    places: Vec<(&'static str, usize)>,
    /// Whether one of those came more than once. The last value is kept, as `JSON.parse` does.
    pub(super) has_duplicates: bool,
}

#[derive(Debug)]
struct Member<'a> {
    /// The name as written, with its quotes.
    key: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl<'a> Object<'a> {
    /// The members of an object that is valid JSON; `None` if it is something else. Only these names,
    /// which are ASCII, can be asked for.
    pub(super) fn parse(text: &'a str, names: &[&'static str]) -> Option<Self> {
        let mut scan = Scan { text, at: 0 };
        let mut object = Self {
            members: Vec::new(),
            places: Vec::new(),
            has_duplicates: false,
        };
        scan.expect(b'{')?;
        if scan.next_is(b'}') {
            return scan.is_at_end().then_some(object);
        }
        loop {
            let key = scan.string()?;
            scan.expect(b':')?;
            let value = scan.value()?;
            let name = names.iter().copied().find(|name| spells(key, name));
            match name.and_then(|name| object.place(name)) {
                Some(place) => {
                    object.has_duplicates = true;
                    object.members.get_mut(place)?.value = Cow::Borrowed(value);
                }
                None => {
                    let place = object.members.len();
                    object.places.extend(name.map(|name| (name, place)));
                    object.members.push(Member {
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

    /// The member's value, if that is an object, of which these names can be asked for.
    pub(super) fn object(&self, name: &str, names: &[&'static str]) -> Option<Object<'a>> {
        match self.get(name)?.value {
            Cow::Borrowed(value) if value.starts_with('{') => Object::parse(value, names),
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
        let value = Cow::Owned(json);
        if let Some(place) = self.place(name)
            && let Some(member) = self.members.get_mut(place)
        {
            member.value = value;
        } else {
            self.places.push((name, self.members.len()));
            let key = Cow::Owned(Value::from(name).to_string());
            self.members.push(Member { key, value });
        }
    }

    /// Takes the member out; says whether there was none.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(place) = self.place(name) else {
            return true;
        };
        self.members.remove(place);
        self.places.retain(|(known, _)| *known != name);
        for (_, other) in &mut self.places {
            *other -= usize::from(place < *other);
        }
        false
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
        self.members.get(self.place(name)?)
    }

    fn place(&self, name: &str) -> Option<usize> {
        let mut places = self.places.iter();
        places.find(|(known, _)| *known == name).map(|&(_, at)| at)
    }
}

/// Whether a JSON string is this ASCII text. It may be written with escapes.
fn spells(json: &str, name: &str) -> bool {
    let inside = json.as_bytes();
    let inside = inside.get(1..inside.len().saturating_sub(1));
    let mut rest = inside.unwrap_or_default();
    if rest.len() == name.len() {
        return rest == name.as_bytes();
    }
    for &wanted in name.as_bytes() {
        rest = match rest {
            [b'\\', b'u', b'0', b'0', high, low, rest @ ..] => {
                let digits = [*high, *low].map(|digit| char::from(digit).to_digit(16));
                let [Some(high), Some(low)] = digits else {
                    return false;
                };
                if high << 4 | low != u32::from(wanted) {
                    return false;
                }
                rest
            }
            [first, rest @ ..] if *first == wanted => rest,
            _ => return false,
        };
    }
    rest.is_empty()
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
            assert_eq!(Object::parse(text, &["a"]).unwrap().to_json(), text);
        }
    }

    #[test]
    fn white_space_between_members_is_all_that_is_lost() {
        let object = Object::parse(" {\t\"a\" :\n[ 1 ] ,\r\"b\" : -0 } ", &["a"]).unwrap();
        assert_eq!(object.to_json(), r#"{"a":[ 1 ],"b":-0}"#);
    }

    #[test]
    fn of_duplicates_that_matter_the_last_is_kept_where_the_first_was() {
        let text = r#"{"a":1,"b":2,"\u0061":3,"b":4}"#;
        let object = Object::parse(text, &["a"]).unwrap();
        assert!(object.has_duplicates);
        assert_eq!(object.to_json(), r#"{"a":3,"b":2,"b":4}"#);
        let object = Object::parse(text, &["c"]).unwrap();
        assert!(!object.has_duplicates);
        assert_eq!(object.to_json(), text);
    }

    #[test]
    fn only_names_that_matter_are_remembered() {
        let members: Vec<_> = (0..6_500).map(|name| format!("\"{name}\":0")).collect();
        let text = format!("{{{}}}", members.join(","));
        let object = Object::parse(&text, &["7", "x"]).unwrap();
        assert_eq!(object.places, [("7", 7)]);
        assert_eq!(object.to_json(), text);
    }

    #[test]
    fn members_come_and_go_where_they_are() {
        let names = ["a", "b", "c", "d"];
        let mut object = Object::parse(r#"{"a":1,"x":0,"b":2,"c":3}"#, &names).unwrap();
        assert!(!object.remove("b") && object.remove("b") && object.remove("d"));
        object.set("c", "4".to_owned());
        object.set("d", "5".to_owned());
        assert!(!object.set_string("b", "6") && object.set_string("b", "6"));
        assert_eq!(object.to_json(), r#"{"a":1,"x":0,"c":4,"d":5,"b":"6"}"#);
    }

    #[test]
    fn a_name_is_known_however_it_is_written() {
        for json in [r#""user""#, r#""\u0075ser""#, r#""us\u0065\u0072""#] {
            assert!(spells(json, "user"), "{json}");
        }
        for json in [
            "",
            "\"",
            r#""""#,
            r#""use""#,
            r#""users""#,
            r#""User""#,
            r#""\u0055ser""#,
            r#""\u0175ser""#,
            r#""\u00""#,
            r#""us\u0065\u00""#,
            r#""use\r""#,
            r#""us\\er""#,
        ] {
            assert!(!spells(json, "user"), "{json}");
        }
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
            assert!(Object::parse(text, &["a"]).is_none(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_can_make_it_panic(text in r#"[{}\[\]":,\\a1 é]{0,24}"#) {
            let _ = Object::parse(&text, &["a"]);
        }
    }
}
