//! Short texts: ids, signatures, money, times. Each is read a second time by other means.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shared::click::{Click, ClickRefused};
use shared::conversion::Item;
use shared::http_types::{Cursor, Fields, parse_day, parse_instant, parse_span};
use shared::keys::{KeyRing, Purpose};
use shared::money::{Currency, INPUT_MAX, Money, Percent, Rounding};
use shared::period::Month;
use shared::signature;

use crate::spoilt::Input;
use crate::stage::encoded;

const CURRENCIES: [&str; 4] = ["EUR", "JPY", "KWD", "CLF"];

const ROUNDINGS: [(Rounding, RoundingStrategy); 3] = [
    (Rounding::HalfEven, RoundingStrategy::MidpointNearestEven),
    (Rounding::HalfUp, RoundingStrategy::MidpointAwayFromZero),
    (Rounding::Down, RoundingStrategy::ToZero),
];

fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a currency of the list")
}

/// The bytes of a click id by the alphabet alone: none where a character is no part of it.
fn bytes_by_hand(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = |byte: u8| ALPHABET.iter().position(|own| *own == byte);
    let places: Option<Vec<usize>> = text.bytes().map(place).collect();
    let places = places.filter(|places| places.len() == 64)?;
    let bytes = places.chunks(4).flat_map(|four| {
        let all = four.iter().fold(0, |all, six| all << 6 | six);
        [all >> 16, all >> 8, all].map(|byte| u8::try_from(byte & 0xff).expect("eight bits"))
    });
    Some(bytes.collect())
}

/// Whether these bytes are a click of this ring's, by the layout alone.
fn is_click(bytes: &[u8], keys: &KeyRing) -> bool {
    let (signed, tag) = bytes.split_at(32);
    let number = signed[0] & 0x0f;
    let millisecond = signed[2..8]
        .iter()
        .fold(0, |all, byte| all << 8 | u64::from(*byte));
    keys.mac(number, Purpose::ClickId, signed)
        .is_some_and(|right| right[..16] == *tag)
        && signed[0] >> 4 == 1
        && signed[1] & 0b1100_0000 == 0
        && signed[1] & 3 != 3
        && millisecond <= 253_402_207_200_999
}

pub fn click(input: &Input) -> bool {
    let (keys, _) = KeyRing::generate("prod", [7; 32]).expect("a ring of any bytes");
    let text = input.text();
    let read = Click::verify(&text, &keys);
    let second = bytes_by_hand(&text).filter(|bytes| is_click(bytes, &keys));
    assert_eq!(read.is_ok(), second.is_some(), "{text}: {read:?}");
    if let (Ok(click), Some(bytes)) = (&read, &second) {
        assert_eq!(click.id().as_str(), text);
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), text);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refused = Click::verify(&URL_SAFE_NO_PAD.encode(flipped), &keys);
            assert_eq!(refused, Err(ClickRefused::Forged), "bit {bit}");
        }
    }

    // Whatever bytes the key's owner signs: read if the layout knows them, and then as they are.
    let mut bytes = [0; 48];
    for (byte, own) in bytes.iter_mut().zip(&input.0) {
        *byte = *own;
    }
    bytes[0] = 1 << 4 | keys.signing_number();
    for purpose in [Purpose::ClickId, Purpose::Visitor] {
        let tag = keys.mac(keys.signing_number(), purpose, &bytes[..32]);
        bytes[32..].copy_from_slice(&tag.expect("the signing key is there")[..16]);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        let read = Click::verify(&text, &keys);
        let is_ours = purpose == Purpose::ClickId && is_click(&bytes, &keys);
        assert_eq!(read.is_ok(), is_ours, "{text}: {read:?}");
    }
    second.is_some()
}

/// HMAC-SHA256 by its definition.
fn hmac_by_hand(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad).to_vec();
    let inner = Sha256::digest([padded(0x36), message.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).into()
}

/// The lines of an input are the id, the timestamp, the signatures, the secret and the body. `@now@`
/// is the second it is, and `@right@` the right signature.
pub fn signature(input: &Input) -> bool {
    let now: Timestamp = "2026-07-01T10:00:00Z".parse().expect("an instant");
    let text = input.text().replace("@now@", &now.as_second().to_string());
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().unwrap_or_default().to_owned();
    let (id, timestamp, signatures, secret, body) = (line(), line(), line(), line(), line());
    let signed = format!("{id}.{timestamp}.{body}");
    let right = STANDARD.encode(hmac_by_hand(secret.as_bytes(), signed.as_bytes()));
    let signatures = signatures.replace("@right@", &right);

    let result = signature::verify(
        &id,
        &timestamp,
        &signatures,
        body.as_bytes(),
        secret.as_bytes(),
        now,
    );
    let is_plain = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
    let second = timestamp.parse::<i128>().ok().filter(|_| is_plain);
    let is_in_time = second.is_some_and(|second| {
        let off = second - i128::from(now.as_second());
        (-300..=300).contains(&off)
    });
    let names_it = signatures
        .split(' ')
        .any(|part| part.strip_prefix("v1,") == Some(right.as_str()));
    let is_authentic = !id.is_empty() && is_in_time && names_it;
    assert_eq!(result.is_ok(), is_authentic, "{result:?}");

    let signed_now = signature::sign(&id, now, body.as_bytes(), secret.as_bytes());
    let stamped = format!("{id}.{}.{body}", now.as_second());
    let by_hand = STANDARD.encode(hmac_by_hand(secret.as_bytes(), stamped.as_bytes()));
    assert_eq!(signed_now, format!("v1,{by_hand}"));
    is_authentic
}

/// The number that a text is, if it is digits with at most one point between them, and the digits
/// that count are no more than a `Decimal` holds.
pub fn decimal(text: &str) -> Option<Decimal> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > 64 || whole.is_empty() || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    Decimal::from_str_exact(&format!("0{whole}.{fraction}0")).ok()
}

pub fn amount(input: &Input) -> bool {
    let text = input.text();
    let mut is_taken = false;
    for code in CURRENCIES {
        let currency = currency(code);
        let read = Money::parse(&text, currency).ok();
        let second = decimal(&text).and_then(|number| {
            let minor = number.checked_mul(Decimal::from(10_u64.pow(currency.digits())))?;
            let minor = i64::try_from(minor).ok().filter(|_| minor.is_integer())?;
            (minor <= INPUT_MAX).then_some(minor)
        });
        assert_eq!(read.map(Money::minor), second, "{text} {code}");
        let signed = Money::parse_signed(&format!("-{text}"), currency).ok();
        assert_eq!(
            signed.map(Money::minor),
            second.map(|minor| -minor),
            "-{text} {code}"
        );
        if let Some(read) = read {
            assert_eq!(Money::parse(&read.to_string(), currency), Ok(read));
            is_taken = true;
        }
    }
    is_taken
}

/// A percent, a blank and the amount that it is taken of.
pub fn percent(input: &Input) -> bool {
    let text = input.text();
    let (text, minor) = text.split_once(' ').unwrap_or((&text, "12345"));
    let read = Percent::parse(text).ok();
    let second = decimal(text)
        .map(|number| number.normalize())
        .filter(|number| *number <= Decimal::ONE_HUNDRED && number.scale() <= 10);
    assert_eq!(read.map(Percent::value), second, "{text}");
    let Some(percent) = read else { return false };
    assert_eq!(Percent::parse(&percent.to_string()), Ok(percent));

    let minor = minor
        .parse::<i64>()
        .unwrap_or(0)
        .clamp(-INPUT_MAX, INPUT_MAX);
    let whole = Money::new(minor, currency("EUR"));
    for (rounding, strategy) in ROUNDINGS {
        // OK because 16 digits by 3 with ten behind the point are within a `Decimal`'s 28.
        let exact = Decimal::from(minor) * percent.value() / Decimal::ONE_HUNDRED;
        let rounded = exact.round_dp_with_strategy(0, strategy);
        let share = Decimal::from(whole.percent(percent, rounding).minor());
        assert_eq!(share, rounded, "{text} % of {minor} {rounding}");
    }
    true
}

/// Whether a day is in a plain calendar.
fn is_day(year: i32, month: i32, day: i32) -> bool {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// The numbers of a text of this shape, in which `0` is a digit and all else itself.
fn numbers(text: &str, shape: &str) -> Option<Vec<i32>> {
    let fits = text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, own)| match own {
                b'0' => byte.is_ascii_digit(),
                _ => byte == own,
            });
    let parts = text.split(|c: char| !c.is_ascii_digit());
    fits.then(|| parts.filter_map(|part| part.parse().ok()).collect())
}

pub fn time(input: &Input) -> bool {
    let text = input.text();
    let day = parse_day(&text);
    let second = numbers(&text, "0000-00-00").is_some_and(|n| is_day(n[0], n[1], n[2]));
    assert_eq!(day.is_some(), second, "{text}");
    if let Some(day) = day {
        assert_eq!(text.parse::<Date>().ok(), Some(day));
        assert_eq!(day.to_string(), text);
    }

    let month = Month::parse(&text).ok();
    let second = numbers(&text, "0000-00")
        .is_some_and(|n| (1..=9998).contains(&n[0]) && (1..=12).contains(&n[1]));
    assert_eq!(month.is_some(), second, "{text}");
    if let Some(month) = month {
        assert_eq!(month.to_string(), text);
    }

    let instant = parse_instant(&text);
    assert_eq!(instant.is_some(), is_instant(&text), "{text}");
    if let Some(instant) = instant {
        assert_eq!(text.parse::<Timestamp>().ok(), Some(instant));
        assert_eq!(parse_instant(&instant.to_string()), Some(instant));
    }

    if let Some(cursor) = Cursor::parse(&text) {
        assert_eq!(cursor.to_string(), text);
    }
    day.is_some() || month.is_some() || instant.is_some()
}

/// By the shape of RFC 3339 in UTC.
fn is_instant(text: &str) -> bool {
    let zones = ["Z", "z", "+00:00", "-00:00"];
    let Some(text) = zones.iter().find_map(|zone| text.strip_suffix(zone)) else {
        return false;
    };
    let (text, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_fraction =
        (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.replacen('t', "T", 1);
    numbers(&text, "0000-00-00T00:00:00").is_some_and(|n| {
        // Later than this no instant is, so that it has a local time everywhere.
        let last = [9999, 12, 30, 22, 0, 0];
        let is_in_range = n.as_slice() <= last.as_slice();
        let is_time = n[3] < 24 && n[4] < 60 && n[5] <= 60;
        is_fraction && is_day(n[0], n[1], n[2]) && is_time && is_in_range
    })
}

pub fn span(input: &Input) -> bool {
    let text = input.text();
    let unit = |text: &str| match text.chars().last() {
        Some('d') => Some(86_400),
        Some('h') => Some(3_600),
        _ => None,
    };
    let second = unit(&text).and_then(|unit: u64| {
        let digits = &text[..text.len() - 1];
        let is_plain =
            (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let seconds = digits.parse::<u64>().ok().filter(|_| is_plain)? * unit;
        (seconds <= 36_500 * 86_400).then_some(seconds)
    });
    let read = parse_span(&text);
    assert_eq!(read.map(|span| u64::from(span.seconds())), second, "{text}");
    if let Some(read) = read {
        assert_eq!(parse_span(&read.to_string()), Some(read));
    }
    second.is_some()
}

/// An order's lines by `serde_json`: none where one of them is not what it must be.
fn items_by_serde(text: &str) -> Option<Vec<(String, u64, Decimal)>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let read = |item: &Value| {
        let members = item.as_object()?;
        let text = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Some(""),
            Some(Value::String(text)) => Some(text.as_str()),
            Some(_) => None,
        };
        let is_known = |name: &&str| ["sku", "category", "quantity", "amount"].contains(name);
        members
            .keys()
            .map(String::as_str)
            .all(|name| is_known(&name))
            .then_some(())?;
        let is_name = |text: &&str| text.len() <= 128 && !text.chars().any(char::is_control);
        text("category").filter(is_name)?;
        let quantity = match members.get("quantity") {
            None | Some(Value::Null) => 1,
            Some(Value::String(text)) if text.is_empty() => 1,
            Some(quantity) => quantity.as_u64()?,
        };
        let sku = text("sku").filter(|sku| !sku.is_empty() && is_name(sku))?;
        let amount = decimal(text("amount")?)?.normalize();
        let fits = amount.scale() <= 2 && amount <= Decimal::new(INPUT_MAX, 2);
        fits.then(|| (sku.to_owned(), quantity, amount))
    };
    let lines = value.as_array().filter(|lines| lines.len() <= 200)?;
    lines.iter().map(read).collect()
}

pub fn items(input: &Input) -> bool {
    let text = input.text();
    if text.is_empty() {
        return false;
    }
    let euro = currency("EUR");
    let form = format!("items={}", encoded(&text));
    let mut fields = Fields::from_form(form.as_bytes()).expect("one field");
    let items = fields.objects("items").ok().flatten();
    let read = items.and_then(|items| Item::read_all(items, euro).ok());
    let stands_twice = shared::http_types::parse_json(text.as_bytes())
        .is_err_and(|invalid| invalid.code == "parameter_repeated");
    let second = items_by_serde(&text).filter(|_| !stands_twice);
    let (Some(read), Some(second)) = (&read, &second) else {
        assert_eq!(read.is_some(), second.is_some(), "{text}");
        return false;
    };
    assert_eq!(read.len(), second.len());
    for (item, (sku, quantity, amount)) in read.iter().zip(second) {
        assert_eq!((&item.sku, item.quantity), (sku, *quantity));
        assert_eq!(Decimal::new(item.amount.minor(), 2), *amount);
    }
    let sum: Decimal = second.iter().map(|(_, _, amount)| *amount).sum();
    let total = Item::total(read, euro).map(|total| Decimal::new(total.minor(), 2));
    assert_eq!(total, Some(sum));
    true
}
