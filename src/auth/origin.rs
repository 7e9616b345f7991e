//! Which browser origins may talk to the relay: the check every way in makes first.

/// Whether a request may go on. Programs send no `Origin` and pass; a browser passes from the
/// page's own host (`Host` names it) and from the origins the operator allows.
///
/// The scheme is not compared with our own: behind a proxy that ends TLS it is unknown here.
pub fn origin_allowed(origin: Option<&str>, host: Option<&str>, allowed: &[String]) -> bool {
    let Some(origin) = origin else {
        return true;
    };
    let is_listed = allowed
        .iter()
        .any(|entry| entry.trim_end_matches('/').eq_ignore_ascii_case(origin));
    is_listed || is_same_host(origin, host)
}

fn is_same_host(origin: &str, host: Option<&str>) -> bool {
    let Some(host) = host else {
        return false;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        // `null`: a sandboxed frame or a file; nobody's own host.
        return false;
    };
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    // Browsers leave the default port out; proxies may write it into `Host`.
    let strip = |text: &'_ str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !authority.is_empty() && strip(authority) == strip(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_the_pages_own_host_pass() {
        for (origin, host) in [
            (None, None),
            (None, Some("relay.example")),
            (Some("http://127.0.0.1:8787"), Some("127.0.0.1:8787")),
            (Some("https://Relay.example"), Some("relay.example")),
            (Some("https://relay.example"), Some("relay.example:443")),
            (Some("http://[::1]:8787"), Some("[::1]:8787")),
        ] {
            assert!(origin_allowed(origin, host, &[]), "{origin:?} {host:?}");
        }
    }

    #[test]
    fn other_origins_need_to_be_listed_whole() {
        let allowed = ["https://app.example".to_owned()];
        let host = Some("relay.example");
        assert!(origin_allowed(Some("https://app.example"), host, &allowed));
        for stranger in [
            "https://app.example.evil",
            "http://app.example",
            "https://app.example:8443",
            "https://evil/https://app.example",
            "null",
            "",
            "://relay.example",
            "ftp://relay.example",
        ] {
            assert!(
                !origin_allowed(Some(stranger), host, &allowed),
                "{stranger}"
            );
        }
        assert!(!origin_allowed(Some("http://a:8080"), Some("a:80"), &[]));
        assert!(!origin_allowed(Some("http://a"), None, &[]));
    }
}
