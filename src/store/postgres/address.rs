//! From `postgres://…` to a way of connecting: timeouts, TLS, and what must never be repeated.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::StoreError;

/// How long one host may take to accept a connection. `connect_timeout` in the URL replaces it.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What was sent and not taken by the other machine's kernel for so long ends the connection.
const UNTAKEN_FOR_MAX: Duration = Duration::from_secs(15);
/// How long a quiet connection is not asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Where the database is and how to get in. It has no `Debug`: there is a password in it.
pub struct Address {
    /// What to connect to.
    pub config: Config,
    /// How, where the server offers TLS.
    pub tls: MakeRustlsConnect,
    /// What no message may contain.
    secrets: Vec<String>,
}

impl Address {
    /// Reads a URL. Errors say what is wrong with it and nothing of what is in it.
    ///
    /// `name` is what the server shows of us to others, unless the URL has another.
    pub fn parse(url: &str, name: &str) -> Result<Self, StoreError> {
        let bad =
            |why: &str| StoreError::Unusable(format!("the store's URL cannot be used: {why}"));
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|prefix| url.strip_prefix(prefix))
            .ok_or_else(|| bad("it does not begin with postgres://"))?;
        let (place, options) = match rest.rfind('@') {
            Some(at) => match rest[at..].find('?') {
                Some(mark) => (&rest[..at + mark], &rest[at + mark + 1..]),
                None => (rest, ""),
            },
            None => rest.split_once('?').unwrap_or((rest, "")),
        };
        if place.matches('@').count() > 1 {
            return Err(bad("an @ in a user's name or password is written %40"));
        }

        let mut tls = Tls::default();
        let mut passed_on = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslmode", mode)) => tls.mode = Mode::parse(mode).map_err(bad)?,
                Some(("sslrootcert", path)) => tls.roots = Some(path.replace("%2F", "/")),
                _ => passed_on.push(option),
            }
        }
        let plain = format!("postgres://{place}?{}", passed_on.join("&"));
        let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
            // What follows an unescaped character of a password may be taken for an option.
            match error.source() {
                Some(source) if !options.contains("password") => bad(&source.to_string()),
                _ => bad("write postgres://user:password@host:port/database?option=value"),
            }
        })?;

        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        if config.get_application_name().is_none() {
            config.application_name(name);
        }
        config
            .ssl_mode(tls.mode.for_driver())
            .tcp_user_timeout(UNTAKEN_FOR_MAX)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);

        let as_written = place
            .split_once('@')
            .and_then(|(user, _)| user.split_once(':'))
            .map(|(_, password)| password.to_owned());
        let as_meant = config
            .get_password()
            .map(|password| String::from_utf8_lossy(password).into_owned());
        let secrets = [as_written, as_meant].into_iter().flatten();
        Ok(Self {
            tls: MakeRustlsConnect::new(tls.config().map_err(|why| bad(&why))?),
            config,
            secrets: secrets.filter(|secret| !secret.is_empty()).collect(),
        })
    }

    /// The same text without the password, should it have come into it.
    pub fn scrubbed(&self, text: String) -> String {
        self.secrets
            .iter()
            .fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// `sslmode`, with the meaning it has everywhere else.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Mode {
    /// In the clear.
    Disable,
    /// Encrypted if the server can, whoever it is.
    #[default]
    Prefer,
    /// Encrypted, whoever it is.
    Require,
    /// Encrypted, and the server has shown that it is the one named.
    VerifyFull,
}

impl Mode {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-full" => Ok(Self::VerifyFull),
            "verify-ca" => Err("sslmode verify-ca is not supported; use verify-full"),
            _ => Err("sslmode is disable, prefer, require or verify-full"),
        }
    }

    fn for_driver(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyFull => SslMode::Require,
        }
    }
}

#[derive(Default)]
struct Tls {
    mode: Mode,
    /// A PEM file with the authorities to trust instead of the public ones.
    roots: Option<String>,
}

impl Tls {
    fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(match (self.mode, &self.roots) {
            (Mode::VerifyFull, roots) => builder
                .with_root_certificates(trusted(roots.as_deref())?)
                .with_no_client_auth(),
            // Whoever names an authority believes that somebody looks at it.
            (_, Some(_)) => return Err("sslrootcert needs sslmode=verify-full".to_owned()),
            (Mode::Disable | Mode::Prefer | Mode::Require, None) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody::new(&provider)))
                .with_no_client_auth(),
        })
    }
}

fn trusted(file: Option<&str>) -> Result<RootCertStore, String> {
    let Some(file) = file else {
        let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        return Ok(RootCertStore { roots });
    };
    let mut store = RootCertStore::empty();
    let unreadable = |error| format!("sslrootcert cannot be read: {error}");
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        store
            .add(certificate.map_err(unreadable)?)
            .map_err(|error| format!("sslrootcert: {error}"))?;
    }
    if store.is_empty() {
        return Err("there is no certificate in sslrootcert".to_owned());
    }
    Ok(store)
}

/// Takes any certificate, as `prefer` and `require` do in every Postgres client: the line is
/// encrypted, and who is at the other end is not asked.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Anybody {
    fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        match Address::parse(url, "us") {
            Ok(_) => panic!("{url} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_of_ours_and_of_the_driver_may_be_mixed() {
        let url = "postgres://ann:pw@db.example:6000/notes?sslmode=require&connect_timeout=9";
        let address = Address::parse(url, "us").unwrap();
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(address.config.get_dbname(), Some("notes"));
        assert_eq!(address.config.get_ports(), [6000]);
        assert_eq!(
            address.config.get_connect_timeout(),
            Some(&Duration::from_secs(9))
        );
    }

    #[test]
    fn a_mode_that_would_promise_more_than_it_does_is_refused() {
        assert!(refusal("postgres://a@h/d?sslmode=verify-ca").contains("verify-full"));
        assert!(refusal("postgres://a@h/d?sslmode=always").contains("verify-full"));
        assert!(refusal("postgres://a@h/d?sslmode=require&sslrootcert=/x").contains("verify-full"));
        assert!(refusal("postgres://a@h/d?sslmode=verify-full&sslrootcert=/x").contains("read"));
    }

    #[test]
    fn a_url_that_cannot_be_read_does_not_show_its_password() {
        for url in [
            "postgres://ann:hunter2@x?y@host/db",
            "postgres://ann:hunter2@host:port/db",
            "postgres://ann:hunter2@host/db?hunter=hunter2",
            "postgres://host/db?password=hunter2&unter2=",
            "mysql://ann:hunter2@host/db",
        ] {
            assert!(!refusal(url).contains("unter2"), "{}", refusal(url));
        }
        let address = Address::parse("postgres://ann:h%75nter2@host/db", "us").unwrap();
        let text = address.scrubbed("hunter2 or h%75nter2".to_owned());
        assert_eq!(text, "*** or ***");
    }
}
