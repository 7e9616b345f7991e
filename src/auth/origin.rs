//! Which browser origins may talk to the relay, and by which name: the checks every way in makes first.

use std::net::IpAddr;

/// What is said to whoever called us by another name.
pub const FOREIGN_HOST: &str = "with --dev the relay answers to names of this machine alone: \
                                localhost, 127.0.0.1 or [::1] in `Host`";

/// Whether a request may go on. Programs send no `Origin` and pass; a browser passes from the
/// page's own host (`Host` names it) and from the origins the operator allows; with `--dev` from every
/// port of this machine too.
///
/// The scheme is not compared with our own: behind a proxy that ends TLS it is unknown here.
pub fn origin_allowed(
    origin: Option<&str>,
    host: Option<&str>,
    allowed: &[String],
    is_dev: bool,
) -> bool {
    let Some(origin) = origin else {
        return true;
    };
    let is_listed = allowed
        .iter()
        .any(|entry| entry.trim_end_matches('/').eq_ignore_ascii_case(origin));
    is_listed || is_same_host(origin, host) || (is_dev && is_loopback_origin(origin))
}

/// Whether a request may call us by this name. With `--dev` only those of loopback: a web page can have
/// its own name lead to this machine, and its browser would take us for its own host. What names no
/// host is no browser.
pub fn host_allowed(host: Option<&str>, is_dev: bool) -> bool {
    !is_dev || host.is_none_or(is_loopback)
}

fn is_loopback_origin(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(scheme, authority)| {
        matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") && is_loopback(authority)
    })
}

/// Of a host with or without a port.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .filter(|(_, port)| port.is_empty() || port.starts_with(':'))
            .map(|(host, _)| host),
        None => authority.split(':').next(),
    };
    host.is_some_and(|host| {
        let address = host.parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|at| at.is_loopback())
    })
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
            assert!(
                origin_allowed(origin, host, &[], false),
                "{origin:?} {host:?}"
            );
        }
    }

    #[test]
    fn other_origins_need_to_be_listed_whole() {
        let allowed = ["https://app.example".to_owned()];
        let host = Some("relay.example");
        let app = Some("https://app.example");
        assert!(origin_allowed(app, host, &allowed, false));
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
                !origin_allowed(Some(stranger), host, &allowed, false),
                "{stranger}"
            );
        }
        let refused = |origin, host| !origin_allowed(Some(origin), host, &[], false);
        assert!(refused("http://a:8080", Some("a:80")));
        assert!(refused("http://a", None));
        assert!(refused("http://localhost:5173", Some("localhost:8787")));
    }

    #[test]
    fn with_dev_every_port_of_this_machine_is_let_in() {
        let let_in = |origin| origin_allowed(Some(origin), Some("127.0.0.1:8787"), &[], true);
        for own in [
            "http://localhost:5173",
            "http://LOCALHOST",
            "https://127.0.0.1:3000",
            "http://127.1.2.3",
            "http://[::1]:4",
        ] {
            assert!(let_in(own), "{own}");
        }
        for stranger in [
            "http://localhost.evil.example",
            "http://evil.localhost.example:80",
            "http://127.0.0.1.evil.example",
            "http://[::1].evil.example",
            "http://10.0.0.1",
            "ftp://localhost",
            "null",
            "localhost",
        ] {
            assert!(!let_in(stranger), "{stranger}");
        }
    }

    #[test]
    fn with_dev_only_names_of_loopback_are_ours() {
        for host in ["localhost:8787", "127.0.0.1", "[::1]:8787", "127.0.0.1:80"] {
            assert!(host_allowed(Some(host), true), "{host}");
        }
        for host in [
            "rebound.example:8787",
            "localhost.example",
            "127.0.0.1.nip.io:8787",
            "192.0.2.1",
            "",
            "[::2]:8787",
        ] {
            assert!(!host_allowed(Some(host), true), "{host}");
            assert!(host_allowed(Some(host), false), "{host}");
        }
        assert!(host_allowed(None, true));
    }
}
