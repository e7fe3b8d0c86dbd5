//! One credential of a merchant's shop: a token of which only the hash is kept, and a signing
//! secret that is derived and never kept.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::text::{label_required, put};
use super::words::words;
use super::{Invalid, Record};
use crate::http_types::Fields;
use crate::ids::{MerchantId, ProgramId, SecretId};

words!(
    /// What a credential may tell us.
    SecretScope {
        Convert = "convert",
        Reverse = "reverse",
        All = "all",
    }
);

words!(
    /// Where a credential is kept.
    SecretKind {
        Server = "server",
        /// Visible to every visitor: it only creates, and what it creates waits for approval.
        Browser = "browser",
    }
);

/// A token as it is given out, once.
pub struct NewToken {
    /// `pb.<merchant>.<secret>.<43 characters>`
    pub token: String,
    pub hash: [u8; 32],
}

/// The readable part of a token: where to look for its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenParts {
    pub merchant: MerchantId,
    pub secret: SecretId,
}

impl TokenParts {
    /// Reads the front of a token; whether it is authentic, only [`Secret::accepts`] knows.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (prefix, merchant, secret, random) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if prefix != "pb" || random.len() != 43 || parts.next().is_some() {
            return None;
        }
        Some(Self {
            merchant: MerchantId::parse(merchant).ok()?,
            secret: SecretId::parse(secret).ok()?,
        })
    }
}

/// A credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub id: SecretId,
    pub merchant: MerchantId,
    pub label: String,
    /// The programs it may speak for; none is all of the merchant's.
    pub programs: Option<Vec<ProgramId>>,
    pub scope: SecretScope,
    pub kind: SecretKind,
    /// The signing key that the signing secret is derived from.
    pub key_number: u8,
    token_hash: [u8; 32],
    pub ended_at: Option<Timestamp>,
}

impl Secret {
    /// The key of a merchant's credential: ids hold no dot.
    #[must_use]
    pub fn key(merchant: &MerchantId, secret: &SecretId) -> String {
        format!("{merchant}.{secret}")
    }

    /// A token out of 32 random bytes.
    #[must_use]
    pub fn new_token(merchant: &MerchantId, secret: &SecretId, random: [u8; 32]) -> NewToken {
        let token = format!("pb.{merchant}.{secret}.{}", URL_SAFE_NO_PAD.encode(random));
        let hash = Sha256::digest(token.as_bytes()).into();
        NewToken { token, hash }
    }

    /// Reads what an administrator or merchant asks for: `label`, `programs`, `scope`, `kind`.
    ///
    /// # Errors
    /// [`Invalid`], as for every noun.
    pub fn asked_for(
        fields: &mut Fields,
        id: SecretId,
        merchant: MerchantId,
        key_number: u8,
        token_hash: [u8; 32],
    ) -> Result<Self, Invalid> {
        let label = label_required(fields, "label", 100)?;
        let programs = programs(fields)?;
        let scope = SecretScope::take(fields, "scope")?;
        let scope = scope.ok_or_else(|| fields.invalid("scope", "parameter_missing"))?;
        let kind = SecretKind::take(fields, "kind")?;
        let kind = kind.ok_or_else(|| fields.invalid("kind", "parameter_missing"))?;
        if kind == SecretKind::Browser && scope == SecretScope::Reverse {
            // It only creates: this one could do nothing at all, so it is a mistake.
            return Err(fields.invalid("scope", "browser_only_converts"));
        }
        Ok(Self {
            id,
            merchant,
            label,
            programs,
            scope,
            kind,
            key_number,
            token_hash,
            ended_at: None,
        })
    }

    /// The credential that a merchant gets when it is made: for its server, for everything.
    #[must_use]
    pub fn first(id: SecretId, merchant: MerchantId, key_number: u8, token_hash: [u8; 32]) -> Self {
        Self {
            id,
            merchant,
            label: "first".to_owned(),
            programs: None,
            scope: SecretScope::All,
            kind: SecretKind::Server,
            key_number,
            token_hash,
            ended_at: None,
        }
    }

    /// How much it may do, as far as two can be compared: on a server, everything, in all programs.
    #[must_use]
    pub fn reach(&self) -> [bool; 3] {
        [
            self.kind == SecretKind::Server,
            self.scope == SecretScope::All,
            self.programs.is_none(),
        ]
    }

    /// Whether this is its token, and it has not ended. Takes the same time for every wrong one.
    #[must_use]
    pub fn accepts(&self, token: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        bool::from(hash.ct_eq(&self.token_hash)) && self.is_live()
    }

    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Whether it may create conversions.
    #[must_use]
    pub fn may_convert(&self) -> bool {
        self.scope != SecretScope::Reverse
    }

    /// Whether it may take back.
    #[must_use]
    pub fn may_reverse(&self) -> bool {
        self.scope != SecretScope::Convert && self.kind == SecretKind::Server
    }

    /// Whether it may speak for a program of its merchant.
    #[must_use]
    pub fn covers(&self, program: &ProgramId) -> bool {
        self.programs
            .as_ref()
            .is_none_or(|programs| programs.contains(program))
    }

    /// The text that a shop verifies and signs with, as Standard Webhooks writes it.
    #[must_use]
    pub fn signing_text(derived: &[u8; 32]) -> String {
        format!("whsec_{}", STANDARD.encode(derived))
    }

    /// What the API shows: everything but the hash.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut json = self.to_json();
        if let Some(members) = json.as_object_mut() {
            members.remove("token_hash");
            members.remove("key_number");
            members.remove("merchant");
        }
        json
    }
}

impl Record for Secret {
    const KIND: &'static str = "secret";
    const IS_FOUND_AT_ONCE: bool = true;

    fn id(&self) -> String {
        Self::key(&self.merchant, &self.id)
    }

    fn owner(&self) -> Option<String> {
        Some(self.merchant.to_string())
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let id = fields.parsed_required("id", "id_invalid", SecretId::parse)?;
        let merchant = fields.parsed_required("merchant", "id_invalid", MerchantId::parse)?;
        let token_hash = fields.parsed_required("token_hash", "hash_invalid", |text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(drop)?;
            <[u8; 32]>::try_from(bytes).map_err(drop)
        })?;
        let key_number = fields
            .whole("key_number")?
            .and_then(|number| u8::try_from(number).ok());
        let key_number =
            key_number.ok_or_else(|| fields.invalid("key_number", "number_invalid"))?;
        let ended_at = fields.instant("ended_at")?;
        let secret = Self::asked_for(&mut fields, id, merchant, key_number, token_hash)?;
        fields.finish()?;
        Ok(Self { ended_at, ..secret })
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id.as_str(),
            "merchant": self.merchant.as_str(),
            "label": self.label,
            "scope": self.scope.as_str(),
            "kind": self.kind.as_str(),
            "key_number": self.key_number,
            "token_hash": URL_SAFE_NO_PAD.encode(self.token_hash),
        });
        let programs = self.programs.as_ref();
        put(
            &mut json,
            "programs",
            programs.map(|list| list.iter().map(|id| json!(id.as_str())).collect::<Vec<_>>()),
        );
        put(
            &mut json,
            "ended_at",
            self.ended_at.map(|at| at.to_string()),
        );
        json
    }
}

fn programs(fields: &mut Fields) -> Result<Option<Vec<ProgramId>>, Invalid> {
    let Some(texts) = fields.texts("programs")? else {
        return Ok(None);
    };
    if texts.is_empty() {
        return Err(fields.invalid("programs", "length_invalid"));
    }
    let parse = |text: &String| {
        ProgramId::parse(text).map_err(|_| fields.invalid("programs", "id_invalid"))
    };
    texts.iter().map(parse).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (MerchantId, SecretId) {
        (
            MerchantId::parse("shop").unwrap(),
            SecretId::parse("s1").unwrap(),
        )
    }

    fn secret(asked: Value) -> Result<Secret, Invalid> {
        let (merchant, id) = ids();
        let hash = Secret::new_token(&merchant, &id, [7; 32]).hash;
        let mut fields = Fields::from_object(asked)?;
        let secret = Secret::asked_for(&mut fields, id, merchant, 1, hash)?;
        fields.finish()?;
        Ok(secret)
    }

    #[test]
    fn a_token_names_its_merchant_and_is_known_by_its_hash() {
        let (merchant, id) = ids();
        let token = Secret::new_token(&merchant, &id, [7; 32]).token;
        assert_eq!(
            token,
            "pb.shop.s1.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"
        );
        assert_eq!(
            TokenParts::of(&token),
            Some(TokenParts {
                merchant,
                secret: id
            })
        );

        let mut secret =
            secret(json!({"label": "shop", "scope": "all", "kind": "server"})).unwrap();
        assert!(secret.accepts(&token));
        assert!(
            !secret.accepts(&token.replace('B', "C"))
                && !secret.accepts("")
                && !secret.accepts(&format!("{token}."))
        );
        secret.ended_at = Some(Timestamp::UNIX_EPOCH);
        assert!(!secret.accepts(&token));
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for text in [
            "",
            "pb",
            "pb.shop.s1.x",
            "pb.Shop.s1.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
            "xx.shop.s1.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
        ] {
            assert_eq!(TokenParts::of(text), None, "{text}");
        }
    }

    #[test]
    fn a_scope_says_what_a_secret_may_and_a_browser_only_creates() {
        for (kind, scope, convert, reverse) in [
            ("server", "convert", true, false),
            ("server", "reverse", false, true),
            ("server", "all", true, true),
            ("browser", "convert", true, false),
            ("browser", "all", true, false),
        ] {
            let secret = secret(json!({"label": "shop", "kind": kind, "scope": scope})).unwrap();
            assert_eq!(
                (secret.may_convert(), secret.may_reverse()),
                (convert, reverse),
                "{kind} {scope}"
            );
        }
        let asked = json!({"label": "pixel", "kind": "browser", "scope": "reverse"});
        assert_eq!(
            secret(asked),
            Err(Invalid::new("scope", "browser_only_converts"))
        );
    }

    #[test]
    fn it_is_stored_with_its_hash_and_shown_without() {
        let asked =
            json!({"label": "shop", "programs": ["shoes"], "scope": "all", "kind": "server"});
        let stored = secret(asked).unwrap();
        assert_eq!(Secret::parse(&stored.to_json()).unwrap(), stored);
        assert_eq!(
            stored.shown(),
            json!({"id": "s1", "label": "shop", "programs": ["shoes"], "scope": "all", "kind": "server"})
        );
        assert!(
            stored.covers(&ProgramId::parse("shoes").unwrap())
                && !stored.covers(&ProgramId::parse("hats").unwrap())
        );
        for (asked, field, code) in [
            (json!({}), "label", "parameter_missing"),
            (json!({"label": "shop"}), "scope", "parameter_missing"),
            (
                json!({"label": "shop", "scope": "all"}),
                "kind",
                "parameter_missing",
            ),
            (
                json!({"label": "shop", "programs": []}),
                "programs",
                "length_invalid",
            ),
            (
                json!({"label": "shop", "programs": ["A"]}),
                "programs",
                "id_invalid",
            ),
        ] {
            assert_eq!(secret(asked), Err(Invalid::new(field, code)));
        }
    }
}
