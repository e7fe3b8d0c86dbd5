//! How instants, days, lengths of time and list positions are spelt on the wire.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::civil::Date;

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

/// A place in a list is a sort key, of which a table takes 1,024 bytes, with up to 64 before it that
/// say in which part of the list it stands.
const CURSOR_MOST: usize = 1_024 + 64;

/// A length of time in whole hours, at most 36,500 days: `30d`, `12h`, `0d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    seconds: u32,
}

impl Span {
    pub const ZERO: Self = Self { seconds: 0 };

    #[must_use]
    pub const fn days(days: u16) -> Self {
        // At most 65,535 days are 5,662,224,000 s: more than `u32` holds, so what no duration on
        // the wire can be stops here.
        assert!(days <= 36_500, "a span is at most 36,500 days");
        Self {
            seconds: days as u32 * DAY,
        }
    }

    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.seconds == 0
    }

    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.seconds
    }

    #[must_use]
    pub fn milliseconds(self) -> i64 {
        i64::from(self.seconds) * 1_000
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seconds.is_multiple_of(DAY) {
            write!(f, "{}d", self.seconds / DAY)
        } else {
            write!(f, "{}h", self.seconds / HOUR)
        }
    }
}

/// Reads `30d` or `12h`: up to six digits and a unit, nothing else.
#[must_use]
pub fn parse_span(text: &str) -> Option<Span> {
    let unit = match text.as_bytes().last()? {
        b'd' => DAY,
        b'h' => HOUR,
        _ => return None,
    };
    let number = digits(&text[..text.len() - 1], 6)?;
    let seconds = number.checked_mul(unit)?;
    (seconds <= 36_500 * DAY).then_some(Span { seconds })
}

/// Reads an RFC 3339 instant in UTC: `2026-07-01T12:00:00Z`, with up to nine digits of a second.
///
/// Other offsets are refused: the books are in UTC, and a sender who writes local time by
/// mistake should learn of it here, not from a day's totals.
#[must_use]
pub fn parse_instant(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once(['T', 't'])?;
    parse_day(day)?;
    let time = ["Z", "z", "+00:00", "-00:00"]
        .into_iter()
        .find_map(|zone| time.strip_suffix(zone))?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let shape = whole.len() == 8
        && whole.bytes().enumerate().all(|(at, byte)| match at {
            2 | 5 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let fraction_fits =
        (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !(shape && fraction_fits) {
        return None;
    }
    format!("{day}T{time}Z").parse().ok()
}

/// Reads a day, `YYYY-MM-DD`, that exists.
#[must_use]
pub fn parse_day(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let mut number = |length: usize| {
        let part = parts.next()?;
        if part.len() == length {
            digits(part, length)
        } else {
            None
        }
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    Date::new(
        year.try_into().ok()?,
        month.try_into().ok()?,
        day.try_into().ok()?,
    )
    .ok()
}

fn digits(text: &str, most: usize) -> Option<u32> {
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

/// Where the last part of a list ended. Opaque outside; inside, the key of the last item.
///
/// A client may write any cursor it likes, so a list puts the key after its own prefix and never
/// takes a whole key from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// The position just after an item.
    #[must_use]
    pub fn after(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }

    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let key = URL_SAFE_NO_PAD.decode(text).ok()?;
        let key = String::from_utf8(key).ok()?;
        (1..=CURSOR_MOST).contains(&key.len()).then_some(Self(key))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_days_or_hours() {
        for (text, seconds, printed) in [
            ("30d", 2_592_000, "30d"),
            ("12h", 43_200, "12h"),
            ("0d", 0, "0d"),
            ("0h", 0, "0d"),
            ("48h", 172_800, "2d"),
            ("36500d", 3_153_600_000, "36500d"),
        ] {
            let span = parse_span(text).unwrap();
            assert_eq!(
                (span.seconds(), span.to_string().as_str()),
                (seconds, printed),
                "{text}"
            );
        }
        for text in [
            "", "d", "30", "30 d", "-1d", "+1d", "1.5d", "30m", "30D", "36501d", "999999d",
            "1234567h", "é",
        ] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }

    #[test]
    fn instants_are_rfc_3339_in_utc() {
        for (text, printed) in [
            ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z"),
            ("2026-07-01t12:00:00.5z", "2026-07-01T12:00:00.5Z"),
            (
                "2026-07-01T12:00:00.123456789+00:00",
                "2026-07-01T12:00:00.123456789Z",
            ),
            ("2024-02-29T23:59:59-00:00", "2024-02-29T23:59:59Z"),
        ] {
            assert_eq!(parse_instant(text).unwrap().to_string(), printed, "{text}");
        }
        for text in [
            "",
            "2026-07-01",
            "2026-07-01T12:00:00",
            "2026-07-01 12:00:00Z",
            "2026-07-01T12:00Z",
            "2026-07-01T12:00:00+02:00",
            "2026-07-01T12:00:00.Z",
            "2026-07-01T12:00:00.1234567890Z",
            "2026-07-01T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-07-01T12:00:00Z[UTC]",
            "20260701T120000Z",
            "1782907200",
            "-002026-07-01T12:00:00Z",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_written_in_full_and_exist() {
        assert_eq!(
            parse_day("2024-02-29"),
            Some(jiff::civil::date(2024, 2, 29))
        );
        for text in [
            "2023-02-29",
            "2024-2-29",
            "2024-02-29T",
            "24-02-29",
            "2024-13-01",
            "2024-00-01",
            "+024-01-01",
            "2024/01/01",
            "",
        ] {
            assert_eq!(parse_day(text), None, "{text}");
        }
    }

    #[test]
    fn a_cursor_reads_as_it_was_written() {
        let cursor = Cursor::after("2026-07-01#a/b");
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        let longest = Cursor::after("k".repeat(CURSOR_MOST));
        assert_eq!(Cursor::parse(&longest.to_string()), Some(longest));
        let longer = Cursor::after("k".repeat(CURSOR_MOST + 1)).to_string();
        for text in ["", "*", "_w", &longer] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
