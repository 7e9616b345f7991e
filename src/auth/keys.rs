//! One key and the one algorithm it is for: a secret, or a public key from a PEM file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value};
use tracing::warn;

use crate::auth::claims::Claims;

/// A key file or key set that is larger is refused unread.
pub const KEY_BYTES_MAX: u64 = 1 << 20;
/// The signature is as good as the secret is long; HS256 asks for this much.
const SECRET_BYTES_ADVISED: usize = 32;

/// A shared secret. Never shown, not even for debugging.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Any text; that it is not empty is checked where it is used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What a file holds, less the line break that editors put at its end.
    pub fn of_file(path: &Path) -> Result<Self, KeyError> {
        let refused = |why| KeyError::SecretFile {
            path: path.to_owned(),
            why,
        };
        let text = String::from_utf8(read_file("--jwt-secret-file", path)?)
            .map_err(|_| refused("this is no UTF-8"))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        match text.strip_suffix('\r').unwrap_or(text) {
            "" => Err(refused("it is empty")),
            text => Ok(Self::new(text)),
        }
    }

    /// The secret itself, for signing.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why there is nothing to verify tokens with. Each names the option to change.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key source and no `--dev`.
    #[error(
        "no key to verify tokens with: set --jwt-secret, --jwt-secret-file, --jwt-key or --jwks, or \
         --dev to let guests in on this machine only"
    )]
    Missing,
    /// A secret that anybody knows.
    #[error("--jwt-secret is empty")]
    EmptySecret,
    /// A file that holds no secret.
    #[error("--jwt-secret-file: {}: {why}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file that cannot be read.
    #[error("{option}: cannot read {}: {why}", path.display())]
    Unreadable {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// A file that holds no key of a kind we take.
    #[error("--jwt-key: {}: {why}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        why: &'static str,
    },
    /// A key set without a usable key, or none at all.
    #[error("--jwks: {location}: {why}")]
    KeySet {
        /// File or URL.
        location: String,
        /// What is wrong with it.
        why: String,
    },
    /// The system gives no thread.
    #[error("--jwks: no thread to read the key set: {0}")]
    Thread(io::Error),
    /// The cryptography does not work as expected.
    #[error("the {0:?} self-test failed")]
    SelfTest(Algorithm),
    /// The system gives no random numbers.
    #[error("cannot make a random secret for --dev: {0}")]
    Random(#[from] getrandom::Error),
}

/// A key that verifies with one algorithm; what the token asks for only decides whether it fits.
#[derive(Clone, Debug)]
pub struct PinnedKey {
    key: DecodingKey,
    algorithm: Algorithm,
    validation: Validation,
}

impl PinnedKey {
    /// Pins an algorithm to a key.
    pub fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        // The signature is all we leave to the library: it would read its own clock, with leeway.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Self {
            key,
            algorithm,
            validation,
        }
    }

    /// An HS256 secret.
    pub fn of_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::EmptySecret);
        }
        if secret.len() < SECRET_BYTES_ADVISED {
            warn!(
                bytes = secret.len(),
                "--jwt-secret is short: HS256 wants {SECRET_BYTES_ADVISED} random bytes"
            );
        }
        let key = DecodingKey::from_secret(secret).map_err(|_| KeyError::EmptySecret)?;
        let key = Self::new(key, Algorithm::HS256);
        key.self_test_by_signing(secret)?;
        Ok(key)
    }

    /// The public key of a PEM file: RS256, ES256 or EdDSA, as its type says.
    pub fn of_pem_file(path: &Path) -> Result<Self, KeyError> {
        let pem = read_file("--jwt-key", path)?;
        let key = Self::of_pem(&pem).map_err(|why| KeyError::Pem {
            path: path.to_owned(),
            why,
        })?;
        key.self_test_by_refusing()?;
        Ok(key)
    }

    fn of_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let text = str::from_utf8(pem).map_err(|_| "not a PEM file")?;
        if text.contains("PRIVATE KEY-----") {
            return Err("a private key: the relay wants the public one \
                        (openssl pkey -in private.pem -pubout -out public.pem)");
        }
        if text.contains("BEGIN CERTIFICATE-----") {
            return Err("a certificate: the relay wants its public key \
                        (openssl x509 -in certificate.pem -noout -pubkey)");
        }
        if text.contains("BEGIN RSA PUBLIC KEY-----") {
            return Ok(Self::new(
                DecodingKey::from_rsa_pem(pem).map_err(|_| "a broken RSA public key")?,
                Algorithm::RS256,
            ));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| "no public key in PEM (BEGIN PUBLIC KEY)")?;
        let (key, algorithm) = match key_type(&der) {
            Some(KeyType::Rsa) if der.len() < RSA_2048_SPKI_BYTES => {
                return Err("an RSA key shorter than 2048 bits");
            }
            Some(KeyType::Rsa) => (DecodingKey::from_rsa_pem(pem), Algorithm::RS256),
            Some(KeyType::P256) => (DecodingKey::from_ec_pem(pem), Algorithm::ES256),
            Some(KeyType::Ed25519) => (DecodingKey::from_ed_pem(pem), Algorithm::EdDSA),
            None => return Err("neither an RSA, a P-256 nor an Ed25519 key"),
        };
        Ok(Self::new(
            key.map_err(|_| "a broken public key")?,
            algorithm,
        ))
    }

    /// The algorithm that this key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The claims of a token that this key signed, with its algorithm; times are not looked at.
    pub fn claims_of(&self, token: &str) -> Option<Claims> {
        let decoded =
            jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation);
        decoded.ok().map(|decoded| decoded.claims)
    }

    /// Fails rather than panics later, should the cryptography be missing from the build.
    fn self_test_by_signing(&self, secret: &[u8]) -> Result<(), KeyError> {
        let claims = Map::from_iter([("sub".to_owned(), Value::from("self-test"))]);
        let header = Header::new(self.algorithm);
        EncodingKey::from_secret(secret)
            .and_then(|key| jsonwebtoken::encode(&header, &claims, &key))
            .ok()
            .and_then(|token| self.claims_of(&token))
            .filter(|read| *read == claims)
            .map(|_| ())
            .ok_or(KeyError::SelfTest(self.algorithm))
    }

    /// A public key cannot sign; a signature of the right length that is none must be refused.
    pub fn self_test_by_refusing(&self) -> Result<(), KeyError> {
        let forged = "A".repeat(86);
        match jsonwebtoken::crypto::verify(&forged, b"self-test", &self.key, self.algorithm) {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(KeyError::SelfTest(self.algorithm)),
        }
    }
}

/// Reads a small file, named by `option`.
pub fn read_file(option: &'static str, path: &Path) -> Result<Vec<u8>, KeyError> {
    let read = || {
        if fs::metadata(path)?.len() > KEY_BYTES_MAX {
            return Err(io::Error::other("larger than 1 MiB"));
        }
        fs::read(path)
    };
    read().map_err(|why| KeyError::Unreadable {
        option,
        path: path.to_owned(),
        why,
    })
}

enum KeyType {
    Rsa,
    P256,
    Ed25519,
}

/// Smaller than any SubjectPublicKeyInfo of a 2048 bit modulus (294 bytes), larger than of a 1920
/// bit one. The verifier refuses everything from shorter keys; better to say so at start.
const RSA_2048_SPKI_BYTES: usize = 290;

/// What a SubjectPublicKeyInfo holds. P-256 and Ed25519 keys have one encoding of one length, so
/// their beginnings are compared whole: that is what tells P-256 from other curves of 256 bits.
fn key_type(der: &[u8]) -> Option<KeyType> {
    const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                          \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    const RSA_ALGORITHM: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    if der.starts_with(P256) && der.len() == P256.len() + 64 {
        return Some(KeyType::P256);
    }
    if der.starts_with(ED25519) && der.len() == ED25519.len() + 32 {
        return Some(KeyType::Ed25519);
    }
    // A tag and its length, 2 to 4 bytes, stand before the algorithm.
    (2..=4)
        .any(|start| {
            der.get(start..)
                .is_some_and(|rest| rest.starts_with(RSA_ALGORITHM))
        })
        .then_some(KeyType::Rsa)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::{key_path, sign};

    #[test]
    fn the_key_decides_the_algorithm() {
        for (file, private, algorithm) in [
            ("rsa.public.pem", "rsa", Algorithm::RS256),
            ("rsa.public.pkcs1.pem", "rsa", Algorithm::RS256),
            ("ec-p256.public.pem", "ec-p256", Algorithm::ES256),
            ("ed25519.public.pem", "ed25519", Algorithm::EdDSA),
        ] {
            let key = PinnedKey::of_pem_file(&key_path(file)).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let claims = serde_json::json!({"sub": "ann"});
            let token = sign(private, None, &claims);
            assert_eq!(
                key.claims_of(&token).map(Value::from),
                Some(claims),
                "{file}"
            );
        }
    }

    #[test]
    fn files_that_hold_no_usable_key_are_refused_with_the_reason() {
        for (file, why) in [
            ("rsa.private.pem", "--jwt-key: "),
            ("rsa.private.pem", "a private key"),
            ("ec-p256.certificate.pem", "a certificate"),
            ("rsa-1024.public.pem", "shorter than 2048 bits"),
            ("ec-p384.public.pem", "neither an RSA, a P-256"),
            ("ec-secp256k1.public.pem", "neither an RSA, a P-256"),
            ("README.md", "no public key in PEM"),
            ("absent.pem", "--jwt-key: cannot read "),
        ] {
            let error = PinnedKey::of_pem_file(&key_path(file)).unwrap_err();
            assert!(error.to_string().contains(why), "{file}: {error}");
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file_with_a_line_break_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for text in ["s e\tcret", "s e\tcret\n", "s e\tcret\r\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Secret::of_file(&path).unwrap(), Secret::new("s e\tcret"));
        }
        for (text, why) in [(&b"\n"[..], "it is empty"), (b"\xff", "no UTF-8")] {
            fs::write(&path, text).unwrap();
            let error = Secret::of_file(&path).unwrap_err().to_string();
            assert!(
                error.starts_with("--jwt-secret-file: ") && error.ends_with(why),
                "{error}"
            );
        }
        let absent = Secret::of_file(&folder.path().join("absent")).unwrap_err();
        assert!(
            absent
                .to_string()
                .contains("--jwt-secret-file: cannot read")
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(matches!(
            PinnedKey::of_secret(b""),
            Err(KeyError::EmptySecret)
        ));
    }
}
