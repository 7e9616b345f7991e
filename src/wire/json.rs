//! Is this text JSON, and not too deep? One pass, without recursion or allocation.

/// Whose reading of JSON counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::wire) enum Dialect {
    /// What `JSON.parse` takes: any number, and halves of surrogate pairs.
    Browser,
    /// What yrs takes: surrogates in pairs, integers up to 2^63-1, floats that are finite.
    Yrs,
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::wire) enum BadJson {
    Syntax,
    TooDeep,
}

/// How deep this check can look: one bit of a number for each open bracket.
pub(in crate::wire) const DEPTH_LIMIT: usize = 127;

/// Whether `text` is one JSON value with at most `depth_max` brackets open at a time.
pub(in crate::wire) fn check(
    text: &str,
    dialect: Dialect,
    depth_max: usize,
) -> Result<(), BadJson> {
    let mut scan = Scan {
        text,
        bytes: text.as_bytes(),
        at: 0,
        dialect,
    };
    // The brackets that are open: a bit for each, set for an object; the innermost is the lowest.
    let mut objects = 0_u128;
    let mut depth = 0;
    loop {
        match scan.peek_token() {
            Some(open @ (b'{' | b'[')) => {
                if depth == depth_max.min(DEPTH_LIMIT) {
                    return Err(BadJson::TooDeep);
                }
                scan.at += 1;
                let is_object = open == b'{';
                let close = if is_object { b'}' } else { b']' };
                if scan.peek_token() == Some(close) {
                    scan.at += 1;
                } else {
                    depth += 1;
                    objects = objects << 1 | u128::from(is_object);
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
            if depth == 0 {
                return token.map_or(Ok(()), |_| Err(BadJson::Syntax));
            }
            scan.at += 1;
            let is_object = objects & 1 == 1;
            match (token, is_object) {
                (Some(b','), true) => {
                    scan.key()?;
                    break;
                }
                (Some(b','), false) => break,
                (Some(b'}'), true) | (Some(b']'), false) => {
                    depth -= 1;
                    objects >>= 1;
                }
                _ => return Err(BadJson::Syntax),
            }
        }
    }
}

/// Whether a text that passed the check is the value `null`.
pub(in crate::wire) fn is_null(text: &str) -> bool {
    text.trim_matches([' ', '\t', '\n', '\r']) == "null"
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
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
        let unit = self.hex()?;
        if self.dialect == Dialect::Browser {
            return Ok(());
        }
        match unit {
            0xd800..=0xdbff => {
                self.literal("\\u")?;
                match self.hex()? {
                    0xdc00..=0xdfff => Ok(()),
                    _ => Err(BadJson::Syntax),
                }
            }
            0xdc00..=0xdfff => Err(BadJson::Syntax),
            _ => Ok(()),
        }
    }

    fn hex(&mut self) -> Result<u32, BadJson> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            value = value << 4 | digit.ok_or(BadJson::Syntax)?;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<(), BadJson> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let is_surely_in_range = is_integer && self.at - start <= 18;
        if self.dialect == Dialect::Browser || is_surely_in_range {
            return Ok(());
        }
        let token = &self.text[start..self.at];
        // The parser that yrs uses decides, so that no rounding at the edge can differ.
        let is_finite = serde_json::from_str::<f64>(token).is_ok();
        let is_too_large_for_yrs = token.parse::<u64>().is_ok_and(|n| n > i64::MAX as u64);
        if is_finite && !is_too_large_for_yrs {
            Ok(())
        } else {
            Err(BadJson::Syntax)
        }
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
            assert_eq!(check(text, Dialect::Browser, 64), Ok(()), "{text}");
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
            assert_eq!(
                check(text, Dialect::Browser, 64),
                Err(BadJson::Syntax),
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_is_counted_and_deep_texts_cost_nothing() {
        assert_eq!(check(&nested(64), Dialect::Browser, 64), Ok(()));
        assert_eq!(
            check(&nested(65), Dialect::Browser, 64),
            Err(BadJson::TooDeep)
        );
        assert_eq!(
            check(&"[".repeat(1_000_000), Dialect::Yrs, 100),
            Err(BadJson::TooDeep)
        );
        let siblings = format!("[{}]", vec![nested(63); 20].join(","));
        assert_eq!(check(&siblings, Dialect::Browser, 64), Ok(()));
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
        fn yrs_and_this_check_agree(text in json_like()) {
            let ours = check(&text, Dialect::Yrs, 100).is_ok();
            prop_assert_eq!(ours, serde_json::from_str::<yrs::Any>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn any_text_is_checked_without_panicking(text: String) {
            let _ = check(&text, Dialect::Yrs, 100);
            let _ = check(&text, Dialect::Browser, 64);
        }
    }
}
