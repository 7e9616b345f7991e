//! Problems: what an HTTP answer that is an error says (RFC 9457), the same whoever makes it.

use serde::Serialize;

/// The content type of `write`.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A problem as JSON. `title` is the status in words, `code` what programs go by, `detail` what a
/// person reads: it names the limit that was hit, or the option to change. `applied` says, where that is
/// in question, whether what was asked for was done all the same.
pub fn write(status: u16, title: &str, code: &str, detail: &str, applied: Option<bool>) -> String {
    #[derive(Serialize)]
    struct Problem<'a> {
        r#type: &'static str,
        title: &'a str,
        status: u16,
        code: &'a str,
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        applied: Option<bool>,
    }
    let problem = Problem {
        r#type: "about:blank",
        title,
        status,
        code,
        detail,
        applied,
    };
    // Texts, a number and a truth are always JSON.
    serde_json::to_string(&problem).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_its_five_members_whatever_is_in_them() {
        let text = write(403, "Forbidden", "FORBIDDEN", "not \"this\"\n", None);
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Forbidden", "status": 403, "code": "FORBIDDEN",
            "detail": "not \"this\"\n",
        });
        assert_eq!(problem, expected);
    }
}
