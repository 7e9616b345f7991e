//! Is this text JSON, and not too deep? One pass, without recursion or allocation.
//!
//! What counts is what `JSON.parse` takes, as it is clients that read it: any number, and halves of
//! surrogate pairs.

/// Why a text is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::wire) enum BadJson {
    Syntax,
    TooDeep,
}

/// How deep this check can look: one bit for each open bracket.
pub(in crate::wire) const DEPTH_LIMIT: usize = 1_024;

/// Whether `text` is one JSON value with at most `depth_max` brackets open at a time.
pub(in crate::wire) fn check(text: &str, depth_max: usize) -> Result<(), BadJson> {
    let mut scan = Scan {
        bytes: text.as_bytes(),
        at: 0,
    };
    let mut open = Open::default();
    loop {
        match scan.peek_token() {
            Some(bracket @ (b'{' | b'[')) => {
                if open.depth == depth_max.min(DEPTH_LIMIT) {
                    return Err(BadJson::TooDeep);
                }
                scan.at += 1;
                let is_object = bracket == b'{';
                let close = if is_object { b'}' } else { b']' };
                if scan.peek_token() == Some(close) {
                    scan.at += 1;
                } else {
                    open.push(is_object);
                    if is_object {
                        scan.key()?;
                    }
                    continue;
                }
            }
            Some(b'"') => scan.string()?,
            Some(b'-' | b'0'..=b'9') => scan.number()?,
            Some(b'n') => scan.literal("null")?,
            Some(b't') => scan.literal("true")?,
            Some(b'f') => scan.literal("false")?,
            _ => return Err(BadJson::Syntax),
        }
        // A value has ended, and with it perhaps what it is in.
        loop {
            let token = scan.peek_token();
            if open.depth == 0 {
                return token.map_or(Ok(()), |_| Err(BadJson::Syntax));
            }
            scan.at += 1;
            match (token, open.is_object()) {
                (Some(b','), true) => {
                    scan.key()?;
                    break;
                }
                (Some(b','), false) => break,
                (Some(b'}'), true) | (Some(b']'), false) => {
                    open.depth -= 1;
                }
                _ => return Err(BadJson::Syntax),
            }
        }
    }
}

/// The brackets that are open: a bit for each, set for an object.
#[derive(Default)]
struct Open {
    objects: [u64; DEPTH_LIMIT / 64],
    depth: usize,
}

impl Open {
    fn push(&mut self, is_object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if let Some(word) = self.objects.get_mut(word) {
            *word = *word & !(1 << bit) | u64::from(is_object) << bit;
        }
        self.depth += 1;
    }

    fn is_object(&self) -> bool {
        let innermost = self.depth.saturating_sub(1);
        let word = self.objects.get(innermost / 64).copied().unwrap_or(0);
        word >> (innermost % 64) & 1 == 1
    }
}

/// Whether a text that passed the check is the value `null`.
pub(in crate::wire) fn is_null(text: &str) -> bool {
    text.trim_matches([' ', '\t', '\n', '\r']) == "null"
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn literal(&mut self, word: &str) -> Result<(), BadJson> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(BadJson::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn key(&mut self) -> Result<(), BadJson> {
        if self.peek_token() != Some(b'"') {
            return Err(BadJson::Syntax);
        }
        self.string()?;
        if self.peek_token() != Some(b':') {
            return Err(BadJson::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), BadJson> {
        self.at += 1;
        loop {
            let plain = self.bytes[self.at..]
                .iter()
                .position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
                .ok_or(BadJson::Syntax)?;
            self.at += plain + 1;
            match self.bytes[self.at - 1] {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                _ => return Err(BadJson::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<(), BadJson> {
        match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => return Ok(()),
            Some(b'u') => {}
            _ => return Err(BadJson::Syntax),
        }
        for _ in 0..4 {
            match self.next() {
                Some(byte) if byte.is_ascii_hexdigit() => {}
                _ => return Err(BadJson::Syntax),
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), BadJson> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), BadJson> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(BadJson::Syntax);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    #[test]
    fn what_browsers_write_is_json() {
        for text in [
            "null",
            " {} ",
            "[]",
            r#"{"a":[1,-2.5e+3,"x",true,false,null,{}],"b":{"c":[[]]}}"#,
            r#""é \u00e9 \ud83d\ude00 \n""#,
            "-0",
            "1e999",
            r#""\ud800""#,
        ] {
            assert_eq!(check(text, 64), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_nearly_json_is_none() {
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "{",
            "}",
            "[1,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            "{a:1}",
            r#"{"a":1,}"#,
            "[1 2]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "[}",
            "{]",
            "[1]]",
            "NaN",
            "\u{feff}1",
        ] {
            assert_eq!(check(text, 64), Err(BadJson::Syntax), "{text}");
        }
    }

    #[test]
    fn nesting_is_counted_and_deep_texts_cost_nothing() {
        assert_eq!(check(&nested(64), 64), Ok(()));
        assert_eq!(check(&nested(65), 64), Err(BadJson::TooDeep));
        assert_eq!(check(&"[".repeat(1_000_000), 100), Err(BadJson::TooDeep));
        assert_eq!(check(&nested(DEPTH_LIMIT), 5_000), Ok(()));
        assert_eq!(
            check(&nested(DEPTH_LIMIT + 1), 5_000),
            Err(BadJson::TooDeep)
        );
        // What is open is remembered for each, however deep.
        let mixed = "[{\"a\":".repeat(400) + "1" + &"}]".repeat(400);
        assert_eq!(check(&mixed, 1_000), Ok(()));
        let wrong = "[{\"a\":".repeat(400) + "1" + &"}]".repeat(399) + "]}";
        assert_eq!(check(&wrong, 1_000), Err(BadJson::Syntax));
        let siblings = format!("[{}]", vec![nested(63); 20].join(","));
        assert_eq!(check(&siblings, 64), Ok(()));
    }

    #[test]
    fn null_is_recognised_with_blanks_around_it() {
        assert!(is_null("null") && is_null(" null\n"));
        assert!(!is_null("\"null\"") && !is_null("[null]"));
    }

    /// Texts made of the pieces of JSON, so that many are valid and the rest nearly so.
    fn json_like() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\"",
            "null",
            "true",
            "1",
            "-0",
            "1.5e300",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616",
            "1e308",
            "2e308",
            "1.7976931348623157e308",
            "-9223372036854775809",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\\udc00\"",
            "\"\\u00e9\"",
            " ",
            "\n",
            "0",
            "e",
            ".",
            "-",
            "\"",
            "\\",
            "é",
            "\u{1}",
        ]);
        let soup = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
        let leaf = soup.clone();
        let tree = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| format!("[{}]", values.join(","))),
                prop::collection::vec(inner, 0..4).prop_map(|values| {
                    let members: Vec<_> = values.iter().map(|v| format!("\"k\":{v}")).collect();
                    format!("{{{}}}", members.join(" ,"))
                }),
            ]
        });
        prop_oneof![soup, tree]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_strict_parser_and_this_check_agree_but_for_numbers_and_surrogates(text in json_like()) {
            let ours = check(&text, 100).is_ok();
            // It holds neither what is beyond its floats nor halves of surrogate pairs.
            let has_exponent = text.as_bytes().windows(2).any(|it| it[0] == b'e' && it[1].is_ascii_digit());
            let is_beyond = has_exponent || text.contains("\\ud800") || text.contains("\\udc00");
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert!(ours == theirs || ours && is_beyond, "{}", text);
        }

        #[test]
        fn any_text_is_checked_without_panicking(text: String) {
            let _ = check(&text, 64);
        }
    }
}
