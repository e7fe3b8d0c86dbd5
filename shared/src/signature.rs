//! Requests signed by the Standard Webhooks scheme: `v1`, HMAC-SHA256.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// How far a sender's clock may be off, either way; the edge is included. In whole seconds, as
/// the header is: a request stamped in this second 300 s ago still counts.
const TOLERANCE_SECONDS: i64 = 300;

/// Why a request is not authentic. For the log only: outside, every cause looks the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRefused {
    #[error("`webhook-id` is empty")]
    Id,
    #[error("`webhook-timestamp` is not whole seconds since 1970")]
    Timestamp,
    #[error("`webhook-timestamp` is more than 300 s off")]
    OutOfTime,
    #[error("no `v1` signature in `webhook-signature` matches")]
    NoMatch,
}

/// Whether somebody who holds `secret` signed this body about `now`.
///
/// `signatures` is the header as it came: several may stand in it, parted by spaces, while a
/// sender changes its secret; one that matches is enough, other versions than `v1` are passed
/// over. The time taken does not depend on how much of a signature was right.
///
/// # Errors
/// [`SignatureRefused`] names the first thing that does not hold.
pub fn verify(
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    secret: &[u8],
    now: Timestamp,
) -> Result<(), SignatureRefused> {
    if id.is_empty() {
        return Err(SignatureRefused::Id);
    }
    // A leading `+` would be a second spelling that `parse` lets through.
    let is_plain = timestamp.bytes().all(|b| b.is_ascii_digit());
    let signed_at = timestamp
        .parse::<i64>()
        .ok()
        .filter(|_| is_plain)
        .ok_or(SignatureRefused::Timestamp)?;
    if now.as_second().abs_diff(signed_at) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(SignatureRefused::OutOfTime);
    }

    let expected = tag(id, timestamp, body, secret);
    let mut any_matches = Choice::from(0);
    for signature in signatures.split(' ') {
        if let Some(Ok(given)) = signature
            .strip_prefix("v1,")
            .map(|text| BASE64.decode(text))
        {
            any_matches |= expected.as_slice().ct_eq(&given);
        }
    }
    if any_matches.into() {
        Ok(())
    } else {
        Err(SignatureRefused::NoMatch)
    }
}

/// The value of `webhook-signature` for a body that is sent at `now` (`webhook-timestamp` is
/// `now` in whole seconds).
#[must_use]
pub fn sign(id: &str, now: Timestamp, body: &[u8], secret: &[u8]) -> String {
    format!(
        "v1,{}",
        BASE64.encode(tag(id, &now.as_second().to_string(), body, secret))
    )
}

/// A secret as it is shown to whoever is to sign with it.
#[must_use]
pub fn whsec(secret: &[u8; 32]) -> String {
    format!("whsec_{}", BASE64.encode(secret))
}

/// The bytes behind a `whsec_...` text; `None` where it is none.
#[must_use]
pub fn parse_whsec(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.strip_prefix("whsec_")?).ok()
}

fn tag(id: &str, timestamp: &str, body: &[u8], secret: &[u8]) -> [u8; 32] {
    let mut state =
        Hmac::<Sha256>::new_from_slice(secret).expect("HMAC accepts a key of any length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        state.update(part);
    }
    state.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vector that the scheme's own libraries are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    fn check(
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: i64,
    ) -> Result<(), SignatureRefused> {
        verify(
            ID,
            timestamp,
            signatures,
            body,
            &parse_whsec(SECRET).unwrap(),
            at(now),
        )
    }

    #[test]
    fn the_published_vector_holds() {
        let now = at(1_614_265_330_000);
        assert_eq!(check(TIMESTAMP, SIGNATURE, BODY, 1_614_265_330_000), Ok(()));
        assert_eq!(
            sign(ID, now, BODY, &parse_whsec(SECRET).unwrap()),
            SIGNATURE
        );
    }

    #[test]
    fn the_clock_may_be_300_seconds_off_and_not_301() {
        for (now, expected) in [
            (1_614_265_330_000 - 300_000, Ok(())),
            (1_614_265_330_000 + 300_000, Ok(())),
            (1_614_265_330_000 + 300_999, Ok(())),
            (
                1_614_265_330_000 - 300_001,
                Err(SignatureRefused::OutOfTime),
            ),
            (
                1_614_265_330_000 - 301_000,
                Err(SignatureRefused::OutOfTime),
            ),
            (
                1_614_265_330_000 + 301_000,
                Err(SignatureRefused::OutOfTime),
            ),
        ] {
            assert_eq!(check(TIMESTAMP, SIGNATURE, BODY, now), expected, "{now}");
        }
    }

    #[test]
    fn a_timestamp_is_plain_digits() {
        for text in [
            "",
            "+1614265330",
            "-1614265330",
            " 1614265330",
            "1614265330.0",
            "99999999999999999999",
        ] {
            assert_eq!(
                check(text, SIGNATURE, BODY, 1_614_265_330_000),
                Err(SignatureRefused::Timestamp),
                "{text}"
            );
        }
        assert_eq!(
            check("9223372036854775807", SIGNATURE, BODY, 0),
            Err(SignatureRefused::OutOfTime)
        );
    }

    #[test]
    fn one_matching_signature_of_several_is_enough() {
        let wrong = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for signatures in [
            format!("{wrong} {SIGNATURE}"),
            format!("{SIGNATURE} {wrong}"),
            format!("v1a,Zm9v v1,Zm9v  {SIGNATURE} v2"),
        ] {
            assert_eq!(
                check(TIMESTAMP, &signatures, BODY, 1_614_265_330_000),
                Ok(()),
                "{signatures}"
            );
        }
    }

    #[test]
    fn nothing_but_the_right_signature_matches() {
        let bare = SIGNATURE.strip_prefix("v1,").unwrap();
        let cut = &SIGNATURE[..SIGNATURE.len() - 2];
        for signatures in [
            "",
            " ",
            "v1",
            "v1,",
            bare,
            cut,
            "v2,".to_owned().as_str(),
            &format!("v1a,{bare}"),
        ] {
            let result = check(TIMESTAMP, signatures, BODY, 1_614_265_330_000);
            assert_eq!(result, Err(SignatureRefused::NoMatch), "{signatures}");
        }
        let other_body = check(
            TIMESTAMP,
            SIGNATURE,
            br#"{"test": 2432232315}"#,
            1_614_265_330_000,
        );
        assert_eq!(other_body, Err(SignatureRefused::NoMatch));
        let other_time = check("1614265331", SIGNATURE, BODY, 1_614_265_330_000);
        assert_eq!(other_time, Err(SignatureRefused::NoMatch));
        let secret = parse_whsec(SECRET).unwrap();
        let now = at(1_614_265_330_000);
        assert_eq!(
            verify("", TIMESTAMP, SIGNATURE, BODY, &secret, now),
            Err(SignatureRefused::Id)
        );
        assert_eq!(
            verify("msg", TIMESTAMP, SIGNATURE, BODY, &secret, now),
            Err(SignatureRefused::NoMatch)
        );
        assert_eq!(
            verify(ID, TIMESTAMP, SIGNATURE, BODY, b"other", now),
            Err(SignatureRefused::NoMatch)
        );
    }

    #[test]
    fn a_secret_is_shown_as_it_is_read() {
        let secret = [0xfb; 32];
        assert!(whsec(&secret).starts_with("whsec_+/v7"));
        assert_eq!(parse_whsec(&whsec(&secret)).unwrap(), secret);
        assert_eq!(parse_whsec("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None);
        assert_eq!(parse_whsec("whsec_not base64"), None);
    }
}
