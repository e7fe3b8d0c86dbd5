//! The secrets everything is signed with: numbered, derived per purpose, revocable.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::ids::{MerchantId, SecretId};

/// What a tag is for. No key serves two purposes, so a tag of one is never a tag of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signs click ids.
    ClickId,
    /// Makes a visitor of a cookie.
    Visitor,
    /// Makes a pseudonym of a merchant's customer number.
    Customer,
    /// Makes a pseudonym of an e-mail address.
    Email,
    /// Makes the signing secrets of merchants, so that none is stored.
    Webhook,
}

impl Purpose {
    const ALL: [Self; 5] = [
        Self::ClickId,
        Self::Visitor,
        Self::Customer,
        Self::Email,
        Self::Webhook,
    ];

    /// Part of the derivation: a changed label is a changed key.
    fn label(self) -> &'static str {
        match self {
            Self::ClickId => "click-id",
            Self::Visitor => "visitor",
            Self::Customer => "customer",
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }
}

/// A key text that cannot be used. Names the field, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    #[error("the keys are not JSON: see line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("the keys have a field `{0}` that is unknown, missing, or there twice")]
    Fields(String),
    #[error("`{field}` of the keys is not {expected}")]
    Field {
        field: String,
        expected: &'static str,
    },
    #[error("`keys` has the number {0} twice")]
    NumberTwice(u8),
    #[error("`signing` names no key of `keys`")]
    SigningUnknown,
    #[error("`signing` names a revoked key")]
    SigningRevoked,
    #[error("all 15 key numbers are used")]
    Full,
    #[error("there is no key {0}")]
    Unknown(u8),
    #[error("key {0} signs: rotate first, then revoke it")]
    Signs(u8),
}

/// The keys of one environment.
///
/// At least one key; numbers are 1 to 15, each once, in rising order; the signing key is one of
/// them and is not revoked. A number is never given a second secret: ids of years ago carry it.
#[derive(Clone, Debug)]
pub struct KeyRing {
    environment: String,
    signing: u8,
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    number: u8,
    secret: [u8; 32],
    revoked: bool,
    /// The key's state for each [`Purpose`], ready to be cloned: deriving it again for every
    /// click would cost ten times the tag itself.
    states: [Hmac<Sha256>; Purpose::ALL.len()],
}

impl KeyRing {
    /// Reads the text that `KEYS` or the parameter store holds.
    ///
    /// # Errors
    /// [`KeysRefused`] names what to mend.
    pub fn parse(text: &str) -> Result<Self, KeysRefused> {
        let fields = strict_fields(text)?;

        let environment = environment(fields.environment.as_str().unwrap_or_default())?;
        let mut keys = Vec::<Key>::with_capacity(fields.keys.len());
        for (position, key) in fields.keys.iter().enumerate() {
            let number = number(&key.number, || format!("keys[{position}].number"))?;
            let secret = secret(&key.secret, || format!("keys[{position}].secret"))?;
            let revoked = match &key.revoked {
                None => false,
                Some(Value::Bool(revoked)) => *revoked,
                Some(_) => return Err(field(format!("keys[{position}].revoked"), "true or false")),
            };
            if keys.iter().any(|other| other.number == number) {
                return Err(KeysRefused::NumberTwice(number));
            }
            keys.push(Key::new(number, secret, revoked, &environment));
        }
        keys.sort_by_key(|key| key.number);

        let signing = number(&fields.signing, || "signing".to_owned())?;
        let ring = Self {
            environment,
            signing,
            keys,
        };
        ring.signed_by(signing)
    }

    /// A first ring of one key, and the text to keep. The secret is `random`, so it must be.
    ///
    /// # Errors
    /// [`KeysRefused::Field`] where `environment_name` is not 1 to 64 of `[A-Za-z0-9._-]`.
    pub fn generate(
        environment_name: &str,
        random: [u8; 32],
    ) -> Result<(Self, String), KeysRefused> {
        let environment = environment(environment_name)?;
        let keys = vec![Key::new(1, random, false, &environment)];
        let ring = Self {
            environment,
            signing: 1,
            keys,
        };
        let text = ring.to_json();
        Ok((ring, text))
    }

    /// The same ring with one more key, which verifies and does not sign yet.
    ///
    /// # Errors
    /// [`KeysRefused::Full`] where the number 15 is taken.
    pub fn extended(&self, random: [u8; 32]) -> Result<Self, KeysRefused> {
        let last = self.newest_number();
        if last == 15 {
            return Err(KeysRefused::Full);
        }
        let mut ring = self.clone();
        let key = Key::new(last + 1, random, false, &self.environment);
        ring.keys.push(key);
        Ok(ring)
    }

    /// The highest number.
    #[must_use]
    pub fn newest_number(&self) -> u8 {
        let newest = self.keys.last();
        newest.expect("a ring has at least one key").number
    }

    /// The number of the key that was added and does not sign yet.
    #[must_use]
    pub fn waiting_number(&self) -> Option<u8> {
        let newest = self.keys.last()?;
        (self.signing < newest.number && !newest.revoked).then_some(newest.number)
    }

    /// The same ring with the key of that number signing; the others go on verifying.
    ///
    /// Wherever a ring is read by many, each of them must know the key before the first one signs
    /// with it: an id that one mints would be a forgery to another.
    ///
    /// # Errors
    /// [`KeysRefused::SigningUnknown`], [`KeysRefused::SigningRevoked`]
    pub fn signed_by(mut self, number: u8) -> Result<Self, KeysRefused> {
        match self.keys.iter().find(|key| key.number == number) {
            None => Err(KeysRefused::SigningUnknown),
            Some(key) if key.revoked => Err(KeysRefused::SigningRevoked),
            Some(_) => {
                self.signing = number;
                Ok(self)
            }
        }
    }

    /// The same ring with one more key, which signs at once.
    ///
    /// # Errors
    /// [`KeysRefused::Full`] where the number 15 is taken.
    pub fn rotated(&self, random: [u8; 32]) -> Result<Self, KeysRefused> {
        let ring = self.extended(random)?;
        let newest = ring.newest_number();
        ring.signed_by(newest)
    }

    /// The same ring with the key of that number revoked: nothing it signed counts any more.
    ///
    /// # Errors
    /// [`KeysRefused::Signs`] where it is the key that signs; [`KeysRefused::Unknown`].
    pub fn revoked(&self, number: u8) -> Result<Self, KeysRefused> {
        if number == self.signing {
            return Err(KeysRefused::Signs(number));
        }
        let mut ring = self.clone();
        let key = ring.keys.iter_mut().find(|key| key.number == number);
        key.ok_or(KeysRefused::Unknown(number))?.revoked = true;
        Ok(ring)
    }

    /// The text that [`Self::parse`] reads. It holds the secrets.
    #[must_use]
    pub fn to_json(&self) -> String {
        let keys = self.keys.iter().map(|key| {
            let mut item = json!({ "number": key.number, "secret": BASE64.encode(key.secret) });
            if key.revoked {
                item["revoked"] = Value::Bool(true);
            }
            item
        });
        json!({ "environment": self.environment, "signing": self.signing, "keys": keys.collect::<Vec<_>>() })
            .to_string()
    }

    /// The environment that the keys belong to: part of every derivation.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The number of the key that signs.
    #[must_use]
    pub fn signing_number(&self) -> u8 {
        self.signing
    }

    /// Whether there is a key of this number and it is revoked.
    #[must_use]
    pub fn is_revoked(&self, number: u8) -> bool {
        self.keys
            .iter()
            .any(|key| key.number == number && key.revoked)
    }

    /// Whether there is a key of this number, revoked or not.
    #[must_use]
    pub fn knows(&self, number: u8) -> bool {
        self.keys.iter().any(|key| key.number == number)
    }

    /// The tag of `data` under the key of this number; `None` where it is unknown or revoked.
    #[must_use]
    pub fn mac(&self, number: u8, purpose: Purpose, data: &[u8]) -> Option<[u8; 32]> {
        let key = self
            .keys
            .iter()
            .find(|key| key.number == number && !key.revoked)?;
        Some(key.mac(purpose, data))
    }

    /// A name for `data` that nobody without the ring can make or undo, the same for ever.
    ///
    /// It comes from the first key, revoked or not: it proves nothing, so no thief gains by it,
    /// and a rotation must not turn every returning visitor and customer into a new one.
    #[must_use]
    pub fn pseudonym(&self, purpose: Purpose, data: &[u8]) -> [u8; 32] {
        self.keys
            .first()
            .expect("a ring has at least one key")
            .mac(purpose, data)
    }

    /// The signing secret of one credential of a merchant; `None` where the key of this number
    /// is unknown or revoked. The credential's item keeps the number, so a rotation changes no
    /// secret that a merchant already holds.
    #[must_use]
    pub fn webhook_secret(
        &self,
        number: u8,
        merchant: &MerchantId,
        secret: &SecretId,
    ) -> Option<[u8; 32]> {
        // OK because no id holds a slash: two pairs never make one text.
        self.mac(
            number,
            Purpose::Webhook,
            format!("{merchant}/{secret}").as_bytes(),
        )
    }
}

impl Key {
    fn new(number: u8, secret: [u8; 32], revoked: bool, environment: &str) -> Self {
        let derivation = Hkdf::<Sha256>::new(None, &secret);
        let states = Purpose::ALL.map(|purpose| {
            // OK because no label holds a slash: two pairs never make one text.
            let label = format!("clickledger/1/{}/{environment}", purpose.label());
            let mut derived = [0; 32];
            derivation
                .expand(label.as_bytes(), &mut derived)
                .expect("32 bytes are within what HKDF-SHA256 gives");
            Hmac::new_from_slice(&derived).expect("HMAC accepts a key of any length")
        });
        Self {
            number,
            secret,
            revoked,
            states,
        }
    }

    fn mac(&self, purpose: Purpose, data: &[u8]) -> [u8; 32] {
        let mut state = self.states[purpose as usize].clone();
        state.update(data);
        state.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Key({}{})",
            self.number,
            if self.revoked { ", revoked" } else { "" }
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    environment: Value,
    signing: Value,
    keys: Vec<KeyFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFields {
    number: Value,
    secret: Value,
    revoked: Option<Value>,
}

/// Read twice: the first reading makes sure of the shape, so that all the second can still
/// complain of is a field's name. A complaint of serde's about a value would print the value.
fn strict_fields(text: &str) -> Result<Fields, KeysRefused> {
    let shape: Value = serde_json::from_str(text).map_err(|error| KeysRefused::NotJson {
        line: error.line(),
        column: error.column(),
    })?;
    let shape = shape
        .as_object()
        .ok_or_else(|| field("the text".to_owned(), "an object"))?;
    if let Some(keys) = shape.get("keys") {
        let is_list_of_objects = keys
            .as_array()
            .is_some_and(|keys| keys.iter().all(Value::is_object));
        if !is_list_of_objects {
            return Err(field("keys".to_owned(), "a list of objects"));
        }
    }

    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        KeysRefused::Fields(message.split('`').nth(1).unwrap_or("?").to_owned())
    })
}

fn environment(text: &str) -> Result<String, KeysRefused> {
    let well_formed = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !well_formed || !(1..=64).contains(&text.len()) {
        return Err(field(
            "environment".to_owned(),
            "1 to 64 characters of `[A-Za-z0-9._-]`",
        ));
    }
    Ok(text.to_owned())
}

fn number(value: &Value, name: impl Fn() -> String) -> Result<u8, KeysRefused> {
    value
        .as_u64()
        .and_then(|number| u8::try_from(number).ok())
        .filter(|number| (1..=15).contains(number))
        .ok_or_else(|| field(name(), "a whole number from 1 to 15"))
}

fn secret(value: &Value, name: impl Fn() -> String) -> Result<[u8; 32], KeysRefused> {
    value
        .as_str()
        .and_then(|text| BASE64.decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| field(name(), "32 bytes in base64url without padding"))
}

fn field(field: String, expected: &'static str) -> KeysRefused {
    KeysRefused::Field { field, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn ring() -> KeyRing {
        KeyRing::generate("prod", [7; 32]).unwrap().0
    }

    #[test]
    fn a_ring_is_read_as_it_was_written() {
        let (ring, text) = KeyRing::generate("prod", [7; 32]).unwrap();
        let ring_of_two = ring.rotated([8; 32]).unwrap().revoked(1).unwrap();
        assert_eq!(KeyRing::parse(&text).unwrap().to_json(), text);
        assert_eq!(
            KeyRing::parse(&ring_of_two.to_json()).unwrap().to_json(),
            ring_of_two.to_json()
        );
        assert_eq!(ring_of_two.signing_number(), 2);
        assert_eq!(ring.environment(), "prod");
    }

    #[test]
    fn a_wrong_text_is_refused_by_the_name_of_its_field_and_never_shows_a_value() {
        let with = |text: &str| text.replace("SECRET", SECRET);
        let cases = [
            ("", "the keys are not JSON: see line 1, column 0"),
            (r#""SECRET""#, "`the text` of the keys is not an object"),
            (
                r#"["prod",1,[]]"#,
                "`the text` of the keys is not an object",
            ),
            (
                r#"{"signing":1,"keys":[]}"#,
                "the keys have a field `environment` that is unknown, missing, or there twice",
            ),
            (
                r#"{"environment":"p","environment":"q","signing":1,"keys":[]}"#,
                "the keys have a field `environment` that is unknown, missing, or there twice",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[],"more":"SECRET"}"#,
                "the keys have a field `more` that is unknown, missing, or there twice",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[{"number":1,"secret":"SECRET","Revoked":true}]}"#,
                "the keys have a field `Revoked` that is unknown, missing, or there twice",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":"SECRET"}"#,
                "`keys` of the keys is not a list of objects",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":["SECRET"]}"#,
                "`keys` of the keys is not a list of objects",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[]}"#,
                "`signing` names no key of `keys`",
            ),
            (
                r#"{"environment":"p q","signing":1,"keys":[{"number":1,"secret":"SECRET"}]}"#,
                "`environment` of the keys is not 1 to 64 characters of `[A-Za-z0-9._-]`",
            ),
            (
                r#"{"environment":"p","signing":0,"keys":[{"number":1,"secret":"SECRET"}]}"#,
                "`signing` of the keys is not a whole number from 1 to 15",
            ),
            (
                r#"{"environment":"p","signing":16,"keys":[{"number":1,"secret":"SECRET"}]}"#,
                "`signing` of the keys is not a whole number from 1 to 15",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[{"number":16,"secret":"SECRET"}]}"#,
                "`keys[0].number` of the keys is not a whole number from 1 to 15",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[{"number":1,"secret":"SECRET="}]}"#,
                "`keys[0].secret` of the keys is not 32 bytes in base64url without padding",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[{"number":1,"secret":"AAEC"}]}"#,
                "`keys[0].secret` of the keys is not 32 bytes in base64url without padding",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[{"number":1,"secret":"SECRET","revoked":"no"}]}"#,
                "`keys[0].revoked` of the keys is not true or false",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[{"number":1,"secret":"SECRET"},{"number":1,"secret":"SECRET"}]}"#,
                "`keys` has the number 1 twice",
            ),
            (
                r#"{"environment":"p","signing":1,"keys":[{"number":1,"secret":"SECRET","revoked":true}]}"#,
                "`signing` names a revoked key",
            ),
        ];
        for (text, expected) in cases {
            let message = KeyRing::parse(&with(text)).unwrap_err().to_string();
            assert_eq!(message, expected, "{text}");
            assert!(!message.contains(SECRET));
        }
        assert!(
            KeyRing::parse(&with(
                r#"{"environment":"p","signing":15,"keys":[{"number":15,"secret":"SECRET"}]}"#
            ))
            .is_ok()
        );
    }

    #[test]
    fn no_two_purposes_keys_or_environments_share_a_tag() {
        let rings = [
            ring(),
            KeyRing::generate("staging", [7; 32]).unwrap().0,
            KeyRing::generate("prod", [9; 32]).unwrap().0,
        ];
        let mut tags: Vec<[u8; 32]> = Vec::new();
        for ring in &rings {
            tags.extend(Purpose::ALL.map(|purpose| ring.mac(1, purpose, b"data").unwrap()));
        }
        let count = tags.len();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!((count, tags.len()), (15, 15));
    }

    /// Reckoned apart from this code: HKDF-SHA256 of 32 bytes 07 without salt, then HMAC-SHA256.
    #[test]
    fn the_derivation_never_changes() {
        let tag = ring().mac(1, Purpose::ClickId, b"data").unwrap();
        assert_eq!(
            BASE64.encode(tag),
            "RFNrWx3AjWqzJwu5-n-KT-LzuALZhw2AopDfmlR8_eo"
        );
    }

    #[test]
    fn a_revoked_or_unknown_key_makes_no_tag() {
        let ring = ring().rotated([8; 32]).unwrap();
        assert!(ring.mac(1, Purpose::ClickId, b"data").is_some());
        assert!(ring.mac(3, Purpose::ClickId, b"data").is_none());
        let after = ring.revoked(1).unwrap();
        assert!(after.mac(1, Purpose::ClickId, b"data").is_none());
        assert!(after.is_revoked(1) && !after.is_revoked(2) && !after.is_revoked(3));
        assert_eq!(ring.revoked(2).unwrap_err(), KeysRefused::Signs(2));
        assert_eq!(ring.revoked(3).unwrap_err(), KeysRefused::Unknown(3));
    }

    #[test]
    fn a_new_key_verifies_before_it_signs() {
        let extended = ring().extended([8; 32]).unwrap();
        assert_eq!(
            (extended.signing_number(), extended.waiting_number()),
            (1, Some(2))
        );
        assert!(extended.mac(2, Purpose::ClickId, b"data").is_some());
        assert_eq!(extended.revoked(2).unwrap().waiting_number(), None);

        let rotated = extended.clone().signed_by(2).unwrap();
        assert_eq!(
            (rotated.signing_number(), rotated.waiting_number()),
            (2, None)
        );
        let revoked = extended.revoked(2).unwrap();
        assert_eq!(
            revoked.signed_by(2).unwrap_err(),
            KeysRefused::SigningRevoked
        );
        assert_eq!(
            extended.signed_by(3).unwrap_err(),
            KeysRefused::SigningUnknown
        );
    }

    #[test]
    fn a_pseudonym_outlives_rotation_and_revocation() {
        let before = ring().pseudonym(Purpose::Customer, b"4711");
        let after = ring().rotated([8; 32]).unwrap().revoked(1).unwrap();
        assert_eq!(after.pseudonym(Purpose::Customer, b"4711"), before);
        assert_ne!(after.pseudonym(Purpose::Customer, b"4712"), before);
    }

    #[test]
    fn a_merchants_signing_secret_is_its_own() {
        let ring = ring();
        let secret = |merchant: &str, secret: &str| {
            ring.webhook_secret(
                1,
                &MerchantId::parse(merchant).unwrap(),
                &SecretId::parse(secret).unwrap(),
            )
            .unwrap()
        };
        assert_eq!(secret("acme", "s1"), secret("acme", "s1"));
        assert_ne!(secret("acme", "s1"), secret("acme", "s2"));
        assert_ne!(secret("acme", "s1"), secret("acme2", "s1"));
    }

    #[test]
    fn fifteen_keys_are_all_there_can_be() {
        let mut ring = ring();
        for number in 2..=15 {
            ring = ring.rotated([number; 32]).unwrap();
            assert_eq!(ring.signing_number(), number);
        }
        assert_eq!(ring.rotated([16; 32]).unwrap_err(), KeysRefused::Full);
    }

    #[test]
    fn a_ring_prints_no_secret() {
        let (ring, text) = KeyRing::generate("prod", [7; 32]).unwrap();
        let secret = text.split('"').find(|part| part.len() == 43).unwrap();
        assert_eq!(
            format!("{ring:?}"),
            r#"KeyRing { environment: "prod", signing: 1, keys: [Key(1)] }"#
        );
        assert!(!format!("{ring:?}").contains(secret));
    }
}
