//! A key set (JWKS) in a file or at a URL: read again every few minutes, and when a token names a key
//! that it does not have. One that cannot be reached at start is waited for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, RwLock, Weak};
use std::thread;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};

use crate::auth::claims::Claims;
use crate::auth::keys::{KEY_BYTES_MAX, KeyError, PinnedKey, read_file};
use crate::clock::Timestamp;
use crate::limits::{KEY_SET_READ_EVERY, KEY_SET_RETRY_AFTER_FIRST, KEY_SET_RETRY_AFTER_MAX};

/// Strangers can name keys that do not exist; that must not make us a burden to the issuer.
pub const REREAD_EVERY: Duration = Duration::from_secs(10);
/// A token without `kid` is tried against each key that fits: keep that cheap.
const KEYS_MAX: usize = 32;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_REDIRECTS_MAX: u32 = 3;
/// A 2048 bit modulus in base64url; the verifier refuses everything from shorter keys.
const RSA_2048_MODULUS_CHARS: usize = 342;

/// Where a key set is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySetSource {
    /// A JSON file.
    File(PathBuf),
    /// An `http://` or `https://` address.
    Url(String),
}

/// What a key set says to a token.
pub enum Lookup {
    /// It was signed by a key of the set.
    Signed(Claims),
    /// It was not, and no other version of the set would change that.
    Forged,
    /// No key of the set fits; a newer version may have one.
    UnknownKey,
    /// The set has never been read.
    NoKeys,
}

/// How often a set is read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When all is well.
    pub every: Duration,
    /// After it failed, for the first time...
    pub retry_first: Duration,
    /// ... and for the umpteenth.
    pub retry_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: KEY_SET_READ_EVERY,
            retry_first: KEY_SET_RETRY_AFTER_FIRST,
            retry_max: KEY_SET_RETRY_AFTER_MAX,
        }
    }
}

/// The keys as last read, and when that may happen again.
pub struct KeySet {
    source: KeySetSource,
    known: RwLock<Known>,
    /// In milliseconds since 1970; 0 is never. Set before reading, so that failures count too.
    reread_at: AtomicU64,
    /// Held while re-reading: whoever else misses a key waits for the same answer.
    rereading: Arc<Mutex<()>>,
    /// The reading thread ends when this is dropped.
    _alive: SyncSender<()>,
}

/// What is known of a set.
#[derive(Clone)]
enum Known {
    Keys {
        keys: Arc<[NamedKey]>,
        /// As it was read: one that has not changed is not looked at again.
        text: Arc<[u8]>,
    },
    /// Nothing yet, and why.
    Missing(Arc<str>),
}

#[derive(Clone)]
struct NamedKey {
    id: Option<String>,
    key: PinnedKey,
}

/// Why a set was not read.
enum ReadError {
    /// Its place does not answer, or not as it should: that may pass.
    Away(KeyError),
    /// What is there is no key set.
    Wrong(KeyError),
}

impl KeySet {
    /// Reads the set for the first time, waiting for it; then keeps reading it, on a thread of its own.
    /// What is there must have a usable key. A place that cannot be reached is asked again.
    pub fn open(source: KeySetSource, pace: Pace) -> Result<Arc<Self>, KeyError> {
        if let KeySetSource::Url(url) = &source
            && url.starts_with("http://")
            && !is_loopback(url)
        {
            warn!("--jwks: over http:// anybody on the way can slip keys in; prefer https://");
        }
        let known = match read(&source).and_then(|text| usable(&source, text)) {
            Ok(known) => known,
            Err(ReadError::Wrong(error)) => return Err(error),
            Err(ReadError::Away(error)) => {
                warn!(%error, "no key set yet: nobody is let in until it can be read");
                Known::Missing(error.to_string().into())
            }
        };
        // Nothing is ever sent: what is waited for is that nobody could any more.
        let (alive, ended) = sync_channel(0);
        let set = Arc::new(Self {
            source,
            known: RwLock::new(known),
            reread_at: AtomicU64::new(0),
            rereading: Arc::default(),
            _alive: alive,
        });
        let weak = Arc::downgrade(&set);
        thread::Builder::new()
            .name("key-set".to_owned())
            .spawn(move || keep_reading(&weak, &ended, pace))
            .map_err(KeyError::Thread)?;
        Ok(set)
    }

    /// Why there are no keys; `None` when there are.
    pub fn missing(&self) -> Option<Arc<str>> {
        match self.known() {
            Known::Keys { .. } => None,
            Known::Missing(why) => Some(why),
        }
    }

    /// Tries the keys that the token's header points to. Never waits.
    pub fn look_up(&self, header: &Header, token: &str) -> Lookup {
        let Known::Keys { keys, .. } = self.known() else {
            return Lookup::NoKeys;
        };
        let mut fitting = keys
            .iter()
            .filter(|named| header.kid.is_none() || named.id == header.kid)
            .peekable();
        if fitting.peek().is_none() {
            return Lookup::UnknownKey;
        }
        let signed = fitting
            .filter(|named| named.key.algorithm() == header.alg)
            .find_map(|named| named.key.claims_of(token));
        match signed {
            Some(claims) => Lookup::Signed(claims),
            None if header.kid.is_some() => Lookup::Forged,
            // Issuers with one key at a time may leave `kid` out: it may be their next one's.
            None => Lookup::UnknownKey,
        }
    }

    /// Whether asking for a newer version could help now: it is time, or somebody is at it.
    pub fn may_reread(&self, now: Timestamp) -> bool {
        self.is_due(now) || self.rereading.try_lock().is_err()
    }

    /// Reads the set again, or waits for somebody else who is doing so; not more often than
    /// [`REREAD_EVERY`]. When that fails the keys stay.
    pub async fn reread(self: &Arc<Self>, now: Timestamp) {
        let turn = Arc::clone(&self.rereading).lock_owned().await;
        if !self.is_due(now) {
            return;
        }
        self.reread_at.store(now.as_millis(), Ordering::Relaxed);
        let set = Arc::clone(self);
        // The turn goes with the thread: a caller who gives up does not end the reading.
        let reading = spawn_blocking(move || {
            set.read_again();
            drop(turn);
        });
        if reading.await.is_err() {
            warn!("--jwks: re-reading the key set failed: the reader died");
        }
    }

    /// Whether it could be read.
    fn read_again(&self) -> bool {
        let known = self.known();
        let read = read(&self.source).and_then(|text| match &known {
            Known::Keys { text: former, .. } if **former == *text => Ok(known.clone()),
            // An issuer that withdraws all its keys means it.
            Known::Keys { .. } => parse_text(&self.source, text),
            Known::Missing(_) => usable(&self.source, text),
        });
        let new = match read {
            Ok(new) => new,
            Err(ReadError::Away(error) | ReadError::Wrong(error)) => {
                match known {
                    Known::Keys { .. } => {
                        warn!(%error, "key set not read again, the former keys stay");
                    }
                    Known::Missing(_) => {
                        warn!(%error, "still no key set: nobody is let in");
                        self.set(Known::Missing(error.to_string().into()));
                    }
                }
                return false;
            }
        };
        if let Known::Keys { keys, text } = &new {
            let is_former = matches!(
                &known,
                Known::Keys { text: former, .. } if Arc::ptr_eq(former, text)
            );
            match is_former {
                true => debug!(keys = keys.len(), "key set read again, it is as it was"),
                false => info!(keys = keys.len(), "key set read"),
            }
        }
        self.set(new);
        true
    }

    fn known(&self) -> Known {
        let known = self.known.read();
        known.unwrap_or_else(|poison| poison.into_inner()).clone()
    }

    fn set(&self, new: Known) {
        let known = self.known.write();
        *known.unwrap_or_else(|poison| poison.into_inner()) = new;
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let reread_at = self.reread_at.load(Ordering::Relaxed);
        reread_at == 0 || now.since(Timestamp::from_millis(reread_at)) >= REREAD_EVERY
    }
}

impl KeySetSource {
    fn location(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.clone(),
        }
    }

    fn refused(&self, why: String) -> KeyError {
        KeyError::KeySet {
            location: self.location(),
            why,
        }
    }
}

/// Reads the set again and again, until nobody has it any more.
fn keep_reading(set: &Weak<KeySet>, ended: &Receiver<()>, pace: Pace) {
    let mut retry = pace.retry_first;
    let mut is_well = set.upgrade().is_some_and(|set| set.missing().is_none());
    loop {
        let wait = match is_well {
            true => pace.every,
            false => retry.min(pace.every),
        };
        if ended.recv_timeout(with_jitter(wait)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let Some(set) = set.upgrade() else {
            return;
        };
        let turn = set.rereading.blocking_lock();
        is_well = set.read_again();
        drop(turn);
        retry = match is_well {
            true => pace.retry_first,
            false => pace.retry_max.min(retry * 2),
        };
    }
}

/// A tenth more or less: relays that were started together must not all come at once.
fn with_jitter(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let share = f64::from(random) / f64::from(u32::MAX);
    wait.mul_f64(0.9 + 0.2 * share)
}

fn read(source: &KeySetSource) -> Result<Arc<[u8]>, ReadError> {
    let text = match source {
        // Whoever writes a wrong path is to hear of it at start.
        KeySetSource::File(path) => read_file("--jwks", path).map_err(ReadError::Wrong)?,
        KeySetSource::Url(url) => fetch(url).map_err(|why| {
            let error = source.refused(why.to_string());
            match why {
                ureq::Error::BadUri(_)
                | ureq::Error::BodyExceedsLimit(_)
                | ureq::Error::RequireHttpsOnly(_) => ReadError::Wrong(error),
                _ => ReadError::Away(error),
            }
        })?,
    };
    Ok(text.into())
}

/// What a set's text says; one without a key that can be used is none.
fn usable(source: &KeySetSource, text: Arc<[u8]>) -> Result<Known, ReadError> {
    let known = parse_text(source, text)?;
    if let Known::Keys { keys, .. } = &known {
        if keys.is_empty() {
            let why = "no usable public key in it".to_owned();
            return Err(ReadError::Wrong(source.refused(why)));
        }
        for named in &**keys {
            named
                .key
                .self_test_by_refusing()
                .map_err(ReadError::Wrong)?;
        }
    }
    Ok(known)
}

fn parse_text(source: &KeySetSource, text: Arc<[u8]>) -> Result<Known, ReadError> {
    let refused = |why: String| ReadError::Wrong(source.refused(why));
    let set = serde_json::from_slice(&text).map_err(|why| refused(format!("no JSON: {why}")))?;
    let keys = parse(&set).map_err(|why| refused(why.to_owned()))?;
    Ok(Known::Keys { keys, text })
}

fn fetch(url: &str) -> Result<Vec<u8>, ureq::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        // Never from https:// down to http://, wherever a redirect points.
        .https_only(url.starts_with("https://"))
        .max_redirects(FETCH_REDIRECTS_MAX)
        .timeout_global(Some(FETCH_TIMEOUT))
        .user_agent("copresence")
        .build()
        .new_agent()
        .get(url)
        .call()?
        .into_body()
        .into_with_config()
        .limit(KEY_BYTES_MAX)
        .read_to_vec()
}

/// Only exact loopback hosts count; a name that merely begins like one does not.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    host.is_some_and(|host| {
        host == "localhost"
            || host
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    })
}

fn parse(set: &Value) -> Result<Arc<[NamedKey]>, &'static str> {
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("no key set: it has no list \"keys\"")?;
    if keys.len() > KEYS_MAX {
        warn!(
            "--jwks: the key set has {} keys, the first {KEYS_MAX} count",
            keys.len()
        );
    }
    let named = keys.iter().take(KEYS_MAX).filter_map(|jwk| {
        let id = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
        match pin(jwk) {
            Ok(key) => Some(NamedKey { id, key }),
            Err(why) => {
                warn!(
                    kid = id.unwrap_or_default(),
                    "--jwks: a key is not used: {why}"
                );
                None
            }
        }
    });
    Ok(named.collect())
}

/// Pins a key of the set to its algorithm, by its type, its curve and what it says itself.
fn pin(jwk: &Value) -> Result<PinnedKey, &'static str> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    if member("use").is_some_and(|purpose| purpose != "sig") {
        return Err("it is not for signatures");
    }
    if let Some(operations) = jwk.get("key_ops").and_then(Value::as_array)
        && !operations.iter().any(|operation| operation == "verify")
    {
        return Err("it is not for verifying");
    }
    let asked = match jwk.get("alg") {
        None => None,
        Some(name) => Some(
            name.as_str()
                .and_then(|name| name.parse::<Algorithm>().ok())
                .ok_or("an algorithm that is not known")?,
        ),
    };
    let need = |name: &str| member(name).ok_or("a member is missing");
    let (key, algorithm) = match (need("kty")?, member("crv")) {
        ("oct", _) => return Err("a symmetric key in a key set is no secret"),
        ("RSA", _) => {
            let modulus = need("n")?;
            if modulus.len() < RSA_2048_MODULUS_CHARS {
                return Err("an RSA key shorter than 2048 bits");
            }
            let key = DecodingKey::from_rsa_components(modulus, need("e")?);
            let algorithm = asked.unwrap_or(Algorithm::RS256);
            if algorithm.family() != AlgorithmFamily::Rsa {
                return Err("its algorithm is not one of its type");
            }
            (key, algorithm)
        }
        ("EC", Some("P-256")) => {
            let key = DecodingKey::from_ec_components(need("x")?, need("y")?);
            (key, Algorithm::ES256)
        }
        ("EC", Some("P-384")) => {
            let key = DecodingKey::from_ec_components(need("x")?, need("y")?);
            (key, Algorithm::ES384)
        }
        ("OKP", Some("Ed25519")) => (
            DecodingKey::from_ed_components(need("x")?),
            Algorithm::EdDSA,
        ),
        _ => return Err("a type or curve that is not supported"),
    };
    if asked.is_some_and(|asked| asked != algorithm) {
        return Err("its algorithm is not the one of its curve");
    }
    let key = key.map_err(|_| "a member is not base64url")?;
    let has_right_length = match algorithm {
        Algorithm::ES256 => has_length(&key, 1 + 2 * 32),
        Algorithm::ES384 => has_length(&key, 1 + 2 * 48),
        Algorithm::EdDSA => has_length(&key, 32),
        _ => true,
    };
    if !has_right_length {
        return Err("a member has the wrong length");
    }
    Ok(PinnedKey::new(key, algorithm))
}

fn has_length(key: &DecodingKey, length: usize) -> bool {
    key.try_get_as_bytes()
        .is_ok_and(|bytes| bytes.len() == length)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::fixtures::key_path;

    fn algorithms(set: Value) -> Vec<Algorithm> {
        let keys = parse(&set).unwrap();
        keys.iter().map(|named| named.key.algorithm()).collect()
    }

    fn jwk(index: usize, changes: Value) -> Value {
        let text = std::fs::read(key_path("jwks.json")).unwrap();
        let mut jwk = serde_json::from_slice::<Value>(&text).unwrap()["keys"][index].clone();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    #[test]
    fn each_key_is_pinned_by_its_type_curve_and_own_word() {
        let keys = [
            jwk(0, json!({})),
            jwk(0, json!({"alg": "PS256"})),
            jwk(1, json!({})),
            jwk(2, json!({})),
        ];
        assert_eq!(
            algorithms(json!({ "keys": keys })),
            [
                Algorithm::RS256,
                Algorithm::PS256,
                Algorithm::ES256,
                Algorithm::EdDSA
            ]
        );
    }

    #[test]
    fn keys_that_cannot_be_trusted_are_left_out_and_the_others_stay() {
        let keys = [
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
            jwk(0, json!({"alg": "HS256"})),
            jwk(0, json!({"alg": "RSA-OAEP"})),
            jwk(0, json!({"use": "enc"})),
            jwk(0, json!({"key_ops": ["encrypt"]})),
            jwk(0, json!({"n": "AQAB"})),
            jwk(1, json!({"crv": "secp256k1"})),
            jwk(1, json!({"crv": "P-384"})),
            jwk(1, json!({"alg": "ES384"})),
            jwk(1, json!({"x": "AQAB"})),
            jwk(2, json!({"x": "not base64!"})),
            jwk(2, json!({"crv": "Ed448"})),
            json!({"kty": "new"}),
            json!(7),
            jwk(2, json!({})),
        ];
        assert_eq!(algorithms(json!({ "keys": keys })), [Algorithm::EdDSA]);
    }

    #[test]
    fn what_is_no_key_set_is_refused_at_start() {
        for (file, why) in [
            ("README.md", "no JSON"),
            ("absent.json", "--jwks: cannot read"),
        ] {
            let error = KeySet::open(KeySetSource::File(key_path(file)), Pace::default());
            let error = error.err().unwrap().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(parse(&json!([])).is_err());
    }

    #[test]
    fn relays_that_started_together_do_not_ask_together() {
        let second = Duration::from_secs(1);
        let waits: Vec<Duration> = (0..100).map(|_| with_jitter(second)).collect();
        let is_about = |wait: &Duration| second * 9 / 10 <= *wait && *wait <= second * 11 / 10;
        assert!(waits.iter().all(is_about), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }

    #[test]
    fn only_loopback_hosts_are_loopback() {
        for url in [
            "http://127.0.0.1:80/x",
            "http://[::1]/",
            "http://localhost?x",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://127.0.0.1.evil.test/",
            "http://localhost.test",
            "http://10.0.0.1",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
