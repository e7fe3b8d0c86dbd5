//! API keys: made once, shown once, known by their hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Caller, Role};
use crate::http_types::{Fields, Invalid};
use crate::ids::{AffiliateId, KeyId, MerchantId};
use crate::setup::Record;
use crate::setup::text::{label, label_required, put};

/// A key as it is given out, once. It is not printed by `Debug`.
pub struct KeyText {
    pub id: KeyId,
    pub text: String,
    hash: [u8; 32],
}

impl KeyText {
    /// `ck_<id>_<secret>` out of random bytes.
    #[must_use]
    pub fn new(random: &[u8; 40]) -> Self {
        let (name, secret) = random.split_at(8);
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("k{name}");
        let text = format!("ck_{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        Self::given(&text).expect("64 visible characters with an id among them are a key")
    }

    /// A key that somebody chose: 32 to 128 visible ASCII characters.
    #[must_use]
    pub fn given(text: &str) -> Option<Self> {
        let id = key_id_of(text)?;
        Some(Self {
            id,
            text: text.to_owned(),
            hash: Sha256::digest(text.as_bytes()).into(),
        })
    }
}

/// Where to look for a key: the id in `ck_<id>_<secret>`, else `x` and the first 16 hexadecimal
/// digits of its SHA-256. None for a text that cannot be a key.
#[must_use]
pub fn key_id_of(text: &str) -> Option<KeyId> {
    if !(32..=128).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let named = text
        .strip_prefix("ck_")
        .and_then(|rest| rest.split_once('_'));
    if let Some(id) = named.and_then(|(id, _)| KeyId::parse(id).ok()) {
        return Some(id);
    }
    let hash = Sha256::digest(text.as_bytes());
    let digits: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    KeyId::parse(&format!("x{digits}")).ok()
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    pub role: Role,
    pub person: String,
    pub name: Option<String>,
    /// The first instant at which it is no key any more.
    pub expires_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    hash: [u8; 32],
}

impl ApiKey {
    /// Reads what an admin asks for: `role`, `merchant` or `affiliate`, `person`, `name`, `expires_at`.
    ///
    /// # Errors
    /// [`Invalid`], as for every noun.
    pub fn asked_for(fields: &mut Fields, key: &KeyText) -> Result<Self, Invalid> {
        Self::read(fields, key.id.clone(), key.hash)
    }

    /// The first key of an installation.
    #[must_use]
    pub fn admin(key: &KeyText, person: &str) -> Self {
        Self {
            id: key.id.clone(),
            role: Role::Admin,
            person: person.to_owned(),
            name: None,
            expires_at: None,
            ended_at: None,
            hash: key.hash,
        }
    }

    fn read(fields: &mut Fields, id: KeyId, hash: [u8; 32]) -> Result<Self, Invalid> {
        Ok(Self {
            id,
            role: role(fields)?,
            person: label_required(fields, "person", 100)?,
            name: label(fields, "name", 100)?,
            expires_at: fields.instant("expires_at")?,
            ended_at: None,
            hash,
        })
    }

    /// Whoever brings this key now. Takes the same time for every wrong one.
    #[must_use]
    pub fn admits(&self, text: &str, now: Timestamp) -> Option<Caller> {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let is_live = self.ended_at.is_none() && self.expires_at.is_none_or(|end| now < end);
        if !bool::from(hash.ct_eq(&self.hash)) || !is_live {
            return None;
        }
        Some(Caller {
            key: self.id.clone(),
            role: self.role.clone(),
            person: self.person.clone(),
        })
    }

    /// What the API shows: everything but the hash.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut json = self.to_json();
        if let Some(members) = json.as_object_mut() {
            members.remove("hash");
        }
        json
    }
}

impl Record for ApiKey {
    const KIND: &'static str = "key";

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let id = fields.parsed_required("id", "id_invalid", KeyId::parse)?;
        let hash = fields.parsed_required("hash", "hash_invalid", |text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(drop)?;
            <[u8; 32]>::try_from(bytes).map_err(drop)
        })?;
        let ended_at = fields.instant("ended_at")?;
        let key = Self::read(&mut fields, id, hash)?;
        fields.finish()?;
        Ok(Self { ended_at, ..key })
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id.as_str(),
            "role": self.role.as_str(),
            "person": self.person,
            "hash": URL_SAFE_NO_PAD.encode(self.hash),
        });
        match &self.role {
            Role::Admin | Role::Finance => {}
            Role::Merchant(merchant) => json["merchant"] = json!(merchant.as_str()),
            Role::Affiliate(affiliate) => json["affiliate"] = json!(affiliate.as_str()),
        }
        put(&mut json, "name", self.name.as_deref());
        put(
            &mut json,
            "expires_at",
            self.expires_at.map(|at| at.to_string()),
        );
        put(
            &mut json,
            "ended_at",
            self.ended_at.map(|at| at.to_string()),
        );
        json
    }
}

/// The role, with whom it is for and nobody else.
fn role(fields: &mut Fields) -> Result<Role, Invalid> {
    let word = fields.required("role")?;
    let role = match word.as_str() {
        "admin" => Role::Admin,
        "finance" => Role::Finance,
        "merchant" => {
            Role::Merchant(fields.parsed_required("merchant", "id_invalid", MerchantId::parse)?)
        }
        "affiliate" => Role::Affiliate(fields.parsed_required(
            "affiliate",
            "id_invalid",
            AffiliateId::parse,
        )?),
        _ => return Err(fields.invalid("role", "word_unknown")),
    };
    for other in ["merchant", "affiliate"] {
        if fields.text(other)?.is_some() {
            return Err(fields.invalid(other, "role_mismatch"));
        }
    }
    Ok(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(asked: Value) -> Result<(KeyText, ApiKey), Invalid> {
        let text = KeyText::new(&[0xab; 40]);
        let mut fields = Fields::from_object(asked)?;
        let key = ApiKey::asked_for(&mut fields, &text)?;
        fields.finish()?;
        Ok((text, key))
    }

    #[test]
    fn a_generated_key_bears_its_id() {
        let key = KeyText::new(&[0xff; 40]);
        assert_eq!(
            key.text,
            "ck_kffffffffffffffff___________________________________________8"
        );
        assert_eq!(key_id_of(&key.text), Some(key.id));
    }

    #[test]
    fn a_chosen_key_is_found_by_its_digest() {
        let text = "0123456789abcdef0123456789abcdef";
        let id = key_id_of(text).unwrap();
        assert_eq!(id.as_str().len(), 17);
        assert!(id.as_str().starts_with('x'));
        assert_eq!(key_id_of(&format!("ck_{text}")).unwrap().as_str().len(), 17);
        assert!(key_id_of(&"~".repeat(128)).is_some());
        for text in [
            "",
            &"a".repeat(31),
            &"a".repeat(129),
            &format!("{} ", "a".repeat(40)),
            &"ä".repeat(20),
        ] {
            assert_eq!(key_id_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_admits_whoever_brings_it_until_it_ends() {
        let (text, mut key) = asked(json!({"role": "merchant", "merchant": "shop", "person": "Pat", "expires_at": "2026-07-01T00:00:00Z"})).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let before = at("2026-06-30T23:59:59Z");
        let caller = key.admits(&text.text, before).unwrap();
        assert_eq!(
            (caller.person.as_str(), caller.role),
            ("Pat", Role::Merchant(MerchantId::parse("shop").unwrap()))
        );
        assert_eq!(key.admits(&text.text, at("2026-07-01T00:00:00Z")), None);
        assert_eq!(key.admits(&format!("{}x", text.text), before), None);
        key.ended_at = Some(before);
        assert_eq!(key.admits(&text.text, before), None);
    }

    #[test]
    fn a_key_is_stored_with_its_hash_and_shown_without() {
        let (text, key) = asked(
            json!({"role": "affiliate", "affiliate": "anna", "person": "Anna", "name": "laptop"}),
        )
        .unwrap();
        assert_eq!(ApiKey::parse(&key.to_json()).unwrap(), key);
        let shown = key.shown();
        assert_eq!(
            shown,
            json!({"id": text.id.as_str(), "role": "affiliate", "affiliate": "anna", "person": "Anna", "name": "laptop"})
        );
        assert!(!key.to_json().to_string().contains(&text.text));
    }

    #[test]
    fn a_role_is_for_whom_it_is_for_and_nobody_else() {
        for (given, field, code) in [
            (json!({"person": "P"}), "role", "parameter_missing"),
            (
                json!({"role": "root", "person": "P"}),
                "role",
                "word_unknown",
            ),
            (json!({"role": "admin"}), "person", "parameter_missing"),
            (
                json!({"role": "admin", "merchant": "shop", "person": "P"}),
                "merchant",
                "role_mismatch",
            ),
            (
                json!({"role": "merchant", "person": "P"}),
                "merchant",
                "parameter_missing",
            ),
            (
                json!({"role": "merchant", "merchant": "shop", "affiliate": "anna", "person": "P"}),
                "affiliate",
                "role_mismatch",
            ),
            (
                json!({"role": "affiliate", "merchant": "shop", "person": "P"}),
                "affiliate",
                "parameter_missing",
            ),
            (
                json!({"role": "finance", "person": "P", "id": "k1"}),
                "id",
                "parameter_unknown",
            ),
        ] {
            assert_eq!(
                asked(given).map(|(_, key)| key),
                Err(Invalid::new(field, code))
            );
        }
    }
}
