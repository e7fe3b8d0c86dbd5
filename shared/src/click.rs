//! A click and its id: all that attribution needs, signed, in 64 characters.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ids::ProgramId;
use crate::keys::{KeyRing, Purpose};
use crate::traffic::Class;

// The 48 bytes of an id:
//
//     0       version (high 4 bits) and key number (low 4 bits)
//     1       flags
//     2..8    when, in ms since 1970
//     8..16   link
//     16..24  visitor
//     24..32  random
//     32..48  HMAC-SHA256 of bytes 0..32, cut to 16
//
// 48 bytes fill 64 characters without a bit to spare, so no padding and no second spelling.
const BYTES: usize = 48;
const SIGNED: usize = 32;
const CHARACTERS: usize = 64;
const VERSION: u8 = 1;

const CLASS_MASK: u8 = 0b0000_0011;
const VIEW: u8 = 0b0000_0100;
const TEST: u8 = 0b0000_1000;
const CONSENT_DENIED: u8 = 0b0001_0000;
const PROGRAM_PAUSED: u8 = 0b0010_0000;
const KNOWN_FLAGS: u8 = CLASS_MASK | VIEW | TEST | CONSENT_DENIED | PROGRAM_PAUSED;

/// A link as an id names it: the first bytes of its slug's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId([u8; 8]);

impl LinkId {
    /// The link of this slug. Slugs are never reused, so it is the same link for ever.
    #[must_use]
    pub fn of(slug: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(slug.as_bytes()).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self([a, b, c, d, e, f, g, h])
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

/// One visitor of one program, under a name that no other program shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Visitor([u8; 8]);

impl Visitor {
    /// The visitor that this cookie is to this program.
    ///
    /// Two programs see two visitors, so that their merchants cannot join what they know.
    #[must_use]
    pub fn of(cookie: &[u8; 16], program: &ProgramId, keys: &KeyRing) -> Self {
        let mut data = cookie.to_vec();
        data.extend_from_slice(program.as_str().as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = keys.pseudonym(Purpose::Visitor, &data);
        Self([a, b, c, d, e, f, g, h])
    }
}

/// 16 hexadecimal digits: the visitor's name in the table.
impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

fn hex(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// A click id as it travels: exactly 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickId(String);

impl ClickId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whoever holds a whole id may claim its commission, so logs never do.
impl fmt::Debug for ClickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClickId({}...)", &self.0[..12])
    }
}

/// Why a text is no click of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClickRefused {
    #[error("not a click id that was made here")]
    Forged,
    #[error("a click id under a revoked key")]
    Revoked,
}

/// What the redirect knows of a click that is about to be minted.
#[derive(Debug, Clone, Copy)]
pub struct Clicking {
    pub link: LinkId,
    pub visitor: Visitor,
    /// Kept in whole milliseconds; before 1970 counts as 1970.
    pub now: Timestamp,
    /// Must be random: it is what tells two clicks of one millisecond apart.
    pub random: [u8; 8],
    pub class: Class,
    /// Seen, not clicked.
    pub is_view: bool,
    /// Made to try things out; never earns.
    pub is_test: bool,
    /// The visitor asked not to be followed: no cookie stands behind `visitor`.
    pub is_consent_denied: bool,
    /// Made while the program or the affiliate was not active; never earns.
    pub is_program_paused: bool,
}

/// What is known about a click from its id alone, once the signature holds.
///
/// The only ways to get one are to mint it at a redirect and to verify an id that was minted,
/// so code that holds a `Click` may trust it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    id: ClickId,
    link: LinkId,
    visitor: Visitor,
    random: [u8; 8],
    clicked_at: Timestamp,
    flags: u8,
}

impl Click {
    /// A new click, signed with the ring's signing key.
    #[must_use]
    pub fn mint(clicking: &Clicking, keys: &KeyRing) -> Self {
        let mut flags = match clicking.class {
            Class::Human => 0,
            Class::Suspect => 1,
            Class::Invalid => 2,
        };
        for (is_set, flag) in [
            (clicking.is_view, VIEW),
            (clicking.is_test, TEST),
            (clicking.is_consent_denied, CONSENT_DENIED),
            (clicking.is_program_paused, PROGRAM_PAUSED),
        ] {
            if is_set {
                flags |= flag;
            }
        }

        // OK because the last instant there is, in the year 9999, takes 48 bits.
        let millisecond = u64::try_from(clicking.now.as_millisecond()).unwrap_or(0);
        let key = keys.signing_number();
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION << 4 | key;
        bytes[1] = flags;
        bytes[2..8].copy_from_slice(&millisecond.to_be_bytes()[2..]);
        bytes[8..16].copy_from_slice(&clicking.link.0);
        bytes[16..24].copy_from_slice(&clicking.visitor.0);
        bytes[24..32].copy_from_slice(&clicking.random);
        let tag = keys
            .mac(key, Purpose::ClickId, &bytes[..SIGNED])
            .expect("the signing key is never revoked");
        bytes[SIGNED..].copy_from_slice(&tag[..BYTES - SIGNED]);

        Self::read(&bytes).expect("what was just written can be read")
    }

    /// The click behind an id; without any I/O, and in the same time whatever is wrong with it.
    ///
    /// # Errors
    /// [`ClickRefused::Revoked`] where the id names a revoked key, [`ClickRefused::Forged`] for
    /// every other text that was not minted in this environment, to the last character.
    pub fn verify(text: &str, keys: &KeyRing) -> Result<Self, ClickRefused> {
        let mut bytes = [0; BYTES];
        if text.len() != CHARACTERS || BASE64.decode_slice(text, &mut bytes) != Ok(BYTES) {
            return Err(ClickRefused::Forged);
        }
        let key = bytes[0] & 0x0f;
        let Some(tag) = keys.mac(key, Purpose::ClickId, &bytes[..SIGNED]) else {
            return Err(if keys.is_revoked(key) {
                ClickRefused::Revoked
            } else {
                ClickRefused::Forged
            });
        };
        let is_ours: bool = tag[..BYTES - SIGNED].ct_eq(&bytes[SIGNED..]).into();
        if !is_ours {
            return Err(ClickRefused::Forged);
        }

        Self::read(&bytes)
            .filter(|click| click.id.as_str() == text)
            .ok_or(ClickRefused::Forged)
    }

    /// The number of the key that a text names as the one that signed it, whoever wrote it.
    #[must_use]
    pub fn key_number(text: &str) -> Option<u8> {
        let mut bytes = [0; BYTES];
        let is_read =
            text.len() == CHARACTERS && BASE64.decode_slice(text, &mut bytes) == Ok(BYTES);
        (is_read && bytes[0] >> 4 == VERSION).then_some(bytes[0] & 0x0f)
    }

    /// `None` where a version, a flag or a time stands in it that this code does not know.
    fn read(bytes: &[u8; BYTES]) -> Option<Self> {
        let eight = |from: usize| {
            <[u8; 8]>::try_from(&bytes[from..from + 8]).expect("eight bytes are eight bytes")
        };
        let flags = bytes[1];
        let is_known = bytes[0] >> 4 == VERSION
            && flags & !KNOWN_FLAGS == 0
            && flags & CLASS_MASK != CLASS_MASK;
        if !is_known {
            return None;
        }

        let millisecond = i64::try_from(u64::from_be_bytes(eight(0)) & 0xffff_ffff_ffff)
            .expect("48 bits are no 63");
        // Not by `from_millisecond`, which refuses the last second that there is.
        let nanosecond = i32::try_from(millisecond % 1_000).expect("below 1,000") * 1_000_000;
        let clicked_at = Timestamp::new(millisecond / 1_000, nanosecond).ok()?;

        Some(Self {
            id: ClickId(BASE64.encode(bytes)),
            link: LinkId(eight(8)),
            visitor: Visitor(eight(16)),
            random: eight(24),
            clicked_at,
            flags,
        })
    }

    #[must_use]
    pub fn id(&self) -> &ClickId {
        &self.id
    }

    #[must_use]
    pub fn link(&self) -> LinkId {
        self.link
    }

    #[must_use]
    pub fn visitor(&self) -> Visitor {
        self.visitor
    }

    /// In whole milliseconds.
    #[must_use]
    pub fn clicked_at(&self) -> Timestamp {
        self.clicked_at
    }

    #[must_use]
    pub fn class(&self) -> Class {
        match self.flags & CLASS_MASK {
            0 => Class::Human,
            1 => Class::Suspect,
            _ => Class::Invalid,
        }
    }

    #[must_use]
    pub fn is_view(&self) -> bool {
        self.flags & VIEW != 0
    }

    #[must_use]
    pub fn is_test(&self) -> bool {
        self.flags & TEST != 0
    }

    #[must_use]
    pub fn is_consent_denied(&self) -> bool {
        self.flags & CONSENT_DENIED != 0
    }

    #[must_use]
    pub fn is_program_paused(&self) -> bool {
        self.flags & PROGRAM_PAUSED != 0
    }

    /// What tells it from another click of the same millisecond: 16 hexadecimal digits.
    #[must_use]
    pub fn random(&self) -> String {
        hex(self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> KeyRing {
        KeyRing::generate("prod", [7; 32]).unwrap().0
    }

    fn clicking(number: u64) -> Clicking {
        Clicking {
            link: LinkId::of(&format!("slug-{number}")),
            visitor: Visitor::of(&[3; 16], &ProgramId::parse("shoes").unwrap(), &keys()),
            now: Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(number).unwrap())
                .unwrap(),
            random: (number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes(),
            class: [Class::Human, Class::Suspect, Class::Invalid]
                [usize::try_from(number % 3).unwrap()],
            is_view: number & 1 != 0,
            is_test: number & 2 != 0,
            is_consent_denied: number & 4 != 0,
            is_program_paused: number & 8 != 0,
        }
    }

    /// An id of these bytes under a tag that is right: only its maker could have made it.
    fn signed(bytes: &mut [u8; BYTES], keys: &KeyRing, purpose: Purpose) -> String {
        let tag = keys
            .mac(keys.signing_number(), purpose, &bytes[..SIGNED])
            .unwrap();
        bytes[SIGNED..].copy_from_slice(&tag[..BYTES - SIGNED]);
        BASE64.encode(bytes)
    }

    fn bytes_of(click: &Click) -> [u8; BYTES] {
        BASE64
            .decode(click.id().as_str())
            .unwrap()
            .try_into()
            .unwrap()
    }

    #[test]
    fn an_id_names_its_key_whoever_wrote_it() {
        let minted = Click::mint(&clicking(1), &keys());
        let id = minted.id().as_str();
        assert_eq!(Click::key_number(id), Some(keys().signing_number()));
        let mut bytes = [0; BYTES];
        for number in [0, 1, 15] {
            bytes[0] = VERSION << 4 | number;
            assert_eq!(Click::key_number(&BASE64.encode(bytes)), Some(number));
        }
        bytes[0] = (VERSION + 1) << 4;
        let other_version = BASE64.encode(bytes);
        let (shorter, spelt_otherwise) = (&id[..60], format!("{}*", &id[..63]));
        for text in [
            "",
            shorter,
            &format!("{id}AAAA"),
            &spelt_otherwise,
            &other_version,
        ] {
            assert_eq!(Click::key_number(text), None, "{text}");
        }
    }

    #[test]
    fn a_minted_id_says_what_was_put_into_it() {
        let keys = keys();
        for number in 0..48 {
            let clicking = clicking(number);
            let click = Click::mint(&clicking, &keys);
            assert_eq!(
                Click::verify(click.id().as_str(), &keys).as_ref(),
                Ok(&click)
            );

            assert_eq!(click.id().as_str().len(), 64);
            assert!(
                click
                    .id()
                    .as_str()
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            );
            assert_eq!(
                (click.link(), click.visitor()),
                (clicking.link, clicking.visitor)
            );
            assert_eq!(
                (click.clicked_at(), click.class()),
                (clicking.now, clicking.class)
            );
            assert_eq!(
                (click.is_view(), click.is_test()),
                (clicking.is_view, clicking.is_test)
            );
            assert_eq!(click.is_consent_denied(), clicking.is_consent_denied);
            assert_eq!(click.is_program_paused(), clicking.is_program_paused);
        }
    }

    /// Reckoned apart from this code; ids of years ago must stay readable.
    #[test]
    fn the_layout_never_changes() {
        let click = Click::mint(&clicking(5), &keys());
        assert_eq!(
            click.id().as_str(),
            "ERYBi8_laAVtOmpDxwpjVHzwKwnlYgqDFxVgn3x0bGlyEj_5dYM4sf9GScbUqK2z"
        );
        assert_eq!(click.link().to_string(), "6d3a6a43c70a6354");
        assert_eq!(click.visitor().to_string(), "7cf02b09e5620a83");
        assert_eq!(click.random(), "1715609f7c746c69");
    }

    #[test]
    fn a_log_shows_the_beginning_of_an_id() {
        let click = Click::mint(&clicking(5), &keys());
        assert_eq!(format!("{:?}", click.id()), "ClickId(ERYBi8_laAVt...)");
    }

    #[test]
    fn an_id_with_any_bit_flipped_is_refused() {
        let keys = keys();
        for number in 0..1_000 {
            let bytes = bytes_of(&Click::mint(&clicking(number), &keys));
            for bit in 0..BYTES * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                let text = BASE64.encode(flipped);
                assert_eq!(
                    Click::verify(&text, &keys),
                    Err(ClickRefused::Forged),
                    "id {number}, bit {bit}"
                );
            }
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let keys = keys();
        let mut with_two_alphabets = 0;
        for number in 0..1_000 {
            let id = Click::mint(&clicking(number), &keys).id().to_string();
            let other_alphabet = id.replace('-', "+").replace('_', "/");
            with_two_alphabets += usize::from(other_alphabet != id);
            let mut spellings = vec![
                String::new(),
                id[..63].to_owned(),
                id[1..].to_owned(),
                format!("{id}="),
                format!("{id}=="),
                format!("{id}A"),
                format!(" {id}"),
                format!("{id} "),
                format!("{id}\n"),
                format!("{}\n{}", &id[..32], &id[32..]),
                format!("{}=", &id[..63]),
                format!("{} ", &id[..63]),
                format!("{}ä", &id[..62]),
                format!("{id}{id}"),
                id.to_ascii_lowercase(),
                id.to_ascii_uppercase(),
                format!("%{:02x}{}", id.as_bytes()[0], &id[1..]),
            ];
            if other_alphabet != id {
                spellings.push(other_alphabet);
            }
            for spelling in spellings {
                assert_eq!(
                    Click::verify(&spelling, &keys),
                    Err(ClickRefused::Forged),
                    "{spelling}"
                );
            }
        }
        assert!(with_two_alphabets > 100);
    }

    /// Every character stands for six bits that count, so none at the end is free to vary.
    #[test]
    fn no_other_character_fits_anywhere() {
        let keys = keys();
        let id = Click::mint(&clicking(1), &keys).id().to_string();
        for position in 0..CHARACTERS {
            for other in (0..=0x7f_u8)
                .map(char::from)
                .filter(|other| !id[position..].starts_with(*other))
            {
                let mut text = id.clone();
                text.replace_range(position..=position, &other.to_string());
                assert_eq!(
                    Click::verify(&text, &keys),
                    Err(ClickRefused::Forged),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn a_tag_of_another_purpose_environment_or_secret_is_refused() {
        let keys = keys();
        let bytes = bytes_of(&Click::mint(&clicking(1), &keys));
        assert!(Click::verify(&signed(&mut bytes.clone(), &keys, Purpose::ClickId), &keys).is_ok());

        for purpose in [
            Purpose::Visitor,
            Purpose::Customer,
            Purpose::Email,
            Purpose::Webhook,
        ] {
            let text = signed(&mut bytes.clone(), &keys, purpose);
            assert_eq!(
                Click::verify(&text, &keys),
                Err(ClickRefused::Forged),
                "{purpose:?}"
            );
        }
        for (environment, secret) in [("staging", [7; 32]), ("prod", [8; 32])] {
            let foreign = KeyRing::generate(environment, secret).unwrap().0;
            let text = Click::mint(&clicking(1), &foreign).id().to_string();
            assert_eq!(Click::verify(&text, &keys), Err(ClickRefused::Forged));
        }
    }

    #[test]
    fn what_this_code_does_not_know_is_refused_even_if_well_signed() {
        let keys = keys();
        let bytes = bytes_of(&Click::mint(&clicking(0), &keys));
        let versions = (0..16_u8)
            .filter(|version| *version != VERSION)
            .map(|version| (0, version << 4 | 1));
        let flags = [0b11, 0b0100_0000, 0b1000_0000, 0b1100_0000].map(|flags| (1, flags));
        let too_late = [(2, 0xff)];
        for (position, value) in versions.chain(flags).chain(too_late) {
            let mut changed = bytes;
            changed[position] = value;
            let text = signed(&mut changed, &keys, Purpose::ClickId);
            assert_eq!(
                Click::verify(&text, &keys),
                Err(ClickRefused::Forged),
                "byte {position} is {value}"
            );
        }
    }

    #[test]
    fn ids_outlive_a_rotation_but_not_a_revocation() {
        let before = keys();
        let old = Click::mint(&clicking(1), &before).id().to_string();
        let rotated = before.rotated([8; 32]).unwrap();
        let new = Click::mint(&clicking(1), &rotated).id().to_string();
        assert_ne!(old, new);
        assert!(Click::verify(&old, &rotated).is_ok() && Click::verify(&new, &rotated).is_ok());
        assert_eq!(Click::verify(&new, &before), Err(ClickRefused::Forged));

        let revoked = rotated.revoked(1).unwrap();
        assert_eq!(Click::verify(&old, &revoked), Err(ClickRefused::Revoked));
        assert!(Click::verify(&new, &revoked).is_ok());
    }

    #[test]
    fn a_visitor_is_another_one_to_every_program() {
        let of = |cookie: u8, program: &str| {
            Visitor::of(&[cookie; 16], &ProgramId::parse(program).unwrap(), &keys())
        };
        assert_eq!(of(1, "shoes"), of(1, "shoes"));
        assert_ne!(of(1, "shoes"), of(1, "hats"));
        assert_ne!(of(1, "shoes"), of(2, "shoes"));
    }

    #[test]
    fn instants_that_no_id_can_hold_do_no_harm() {
        for (now, expected) in [
            (Timestamp::MIN, 0),
            (Timestamp::MAX, Timestamp::MAX.as_millisecond()),
        ] {
            let click = Click::mint(&Clicking { now, ..clicking(0) }, &keys());
            assert_eq!(click.clicked_at().as_millisecond(), expected);
        }
    }

    #[test]
    fn a_printed_click_gives_no_id_away() {
        let click = Click::mint(&clicking(1), &keys());
        assert!(!format!("{click:?}").contains(&click.id().as_str()[..13]));
    }
}
