//! Keys and tokens that the tests of this folder share.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

/// A file of `tests/fixtures/keys`.
pub fn key_path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/keys")
        .join(file)
}

/// Signs with the private key `rsa`, `rsa-next`, `ec-p256` or `ed25519`.
pub fn sign(private: &str, kid: Option<&str>, claims: &Value) -> String {
    let pem = std::fs::read(key_path(&format!("{private}.private.pem"))).unwrap();
    let (algorithm, key) = match private {
        "ec-p256" => (Algorithm::ES256, EncodingKey::from_ec_pem(&pem)),
        "ed25519" => (Algorithm::EdDSA, EncodingKey::from_ed_pem(&pem)),
        _ => (Algorithm::RS256, EncodingKey::from_rsa_pem(&pem)),
    };
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, &key.unwrap()).unwrap()
}

/// Signs with a secret.
pub fn sign_with_secret(secret: &[u8], claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret).unwrap();
    jsonwebtoken::encode(&Header::default(), claims, &key).unwrap()
}
