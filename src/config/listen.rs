//! Where to listen, as people write it: `127.0.0.1:8787`, `localhost:8787`, `:8787`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

/// An address to listen on, whose name may have to be looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Host {
    Address(IpAddr),
    Name(String),
    /// Every address of the machine.
    Any,
}

/// What a listening socket may be bound to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Places {
    /// The first of these that can be had.
    Addresses(Vec<SocketAddr>),
    /// Whatever the system knows by this name.
    Name(String, u16),
}

const LOCALHOST: &str = "localhost";

impl Listen {
    /// This address.
    pub const fn at(address: Ipv4Addr, port: u16) -> Self {
        Self {
            host: Host::Address(IpAddr::V4(address)),
            port,
        }
    }

    /// Whether only this machine gets there, as far as the text says.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case(LOCALHOST),
            Host::Any => false,
        }
    }

    /// Where to bind.
    pub fn places(&self) -> Places {
        let port = self.port;
        match &self.host {
            Host::Address(address) => Places::Addresses(vec![SocketAddr::new(*address, port)]),
            // Where there is IPv6 the first takes callers of both kinds.
            Host::Any => Places::Addresses(vec![
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            ]),
            Host::Name(name) => Places::Name(name.clone(), port),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no address, e.g. 127.0.0.1:8787, localhost:8787 or :8787");
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self {
                host: Host::Address(address.ip()),
                port: address.port(),
            });
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // `parse` would take a sign.
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.and_then(|port| port.parse().ok()).ok_or_else(wrong)?;
        let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !name.bytes().all(is_of_a_name) {
            return Err(wrong());
        }
        let host = match name {
            "" => Host::Any,
            name => Host::Name(name.to_owned()),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Any => write!(f, ":{}", self.port),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_port_alone() {
        for (text, is_loopback) in [
            ("127.0.0.1:8787", true),
            ("[::1]:0", true),
            ("0.0.0.0:8787", false),
            ("localhost:8787", true),
            ("relay.internal:80", false),
            (":8787", false),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
            assert_eq!(listen.is_loopback(), is_loopback, "{text}");
        }
        for bad in [
            "",
            "here",
            "8787",
            "localhost",
            "::1:8787x",
            "a b:80",
            "localhost:+80",
            "localhost:65536",
            "http://localhost:8787",
            "::1:80",
        ] {
            let why = bad.parse::<Listen>().unwrap_err();
            assert!(why.contains("localhost:8787"), "{bad}: {why}");
        }
    }

    #[test]
    fn a_port_alone_is_every_address_of_the_machine() {
        let Places::Addresses(addresses) = ":80".parse::<Listen>().unwrap().places() else {
            panic!("there is no name to look up");
        };
        assert!(
            addresses
                .iter()
                .all(|address| address.ip().is_unspecified())
        );
        let named = "localhost:80".parse::<Listen>().unwrap().places();
        assert_eq!(named, Places::Name("localhost".to_owned(), 80));
    }
}
