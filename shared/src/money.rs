//! Money: whole minor units of one currency, and the one place where they are rounded.

use std::fmt;

use rust_decimal::Decimal;

/// The largest magnitude an amount may have when it comes in, in minor units.
///
/// Ten trillion euros, and still nine thousand of them sum up within an `i64`, so that no
/// sender can bring a balance to its edge with a single line.
pub const INPUT_MAX: i64 = 1_000_000_000_000_000;

/// Longer texts are no amounts, whatever they hold; `INPUT_MAX` has 16 digits.
const TEXT_LENGTH_MAX: usize = 64;

/// Digits after the point that a [`Percent`] may have.
const PERCENT_DIGITS_MAX: u32 = 10;

/// Why a text is not money, a percent or a currency. The text itself is never repeated: it
/// may come from a stranger, and these messages reach the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMoney {
    /// Something else than digits with at most one point between them.
    #[error("not an amount like `12.34`: digits, and a point between digits")]
    Form,
    /// More digits after the point than the currency has, and not all of them zeros.
    #[error("more digits after the point than {0} has ({1})")]
    Digits(Currency, u32),
    /// Beyond [`INPUT_MAX`].
    #[error("an amount of more than 10^15 minor units")]
    Range,
    /// No code of ISO 4217 that anything can be paid in.
    #[error("not the ISO 4217 code of a currency with minor units")]
    Currency,
    /// Not between 0 and 100, or with more than ten digits after the point.
    #[error("not a percent from `0` to `100` with at most ten digits after the point")]
    Percent,
    /// Not the name of a [`Rounding`].
    #[error("not one of `half_even`, `half_up`, `down`")]
    Rounding,
}

/// A currency of ISO 4217 that has minor units.
///
/// Metals, bond units, `XXX` and the other codes that nobody can be paid in are refused.
/// Codes that were superseded are kept: the books outlive the currency they were kept in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Accepts the three capital letters of the code.
    ///
    /// # Errors
    /// [`NotMoney::Currency`] for every other text.
    pub fn parse(text: &str) -> Result<Self, NotMoney> {
        let currency = iso_currency::Currency::from_code(text).ok_or(NotMoney::Currency)?;
        let payable = !currency.is_special() && currency.exponent().is_some();
        if payable {
            Ok(Self(currency))
        } else {
            Err(NotMoney::Currency)
        }
    }

    /// The three letters, `EUR`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits after the point: 2 for EUR, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn digits(self) -> u32 {
        self.0
            .exponent()
            .map(u32::from)
            .expect("`parse` refuses a currency without minor units")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What happens to the part of a minor unit that cannot be paid.
///
/// All three treat a negative amount as the mirror image of the positive one, so what is taken
/// back equals what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// To the nearest; a half goes to the even neighbour, so that many halves cancel out.
    #[default]
    HalfEven,
    /// To the nearest; a half goes away from zero.
    HalfUp,
    /// Toward zero.
    Down,
}

impl Rounding {
    /// Accepts the contract's names.
    ///
    /// # Errors
    /// [`NotMoney::Rounding`] for every other text.
    pub fn parse(text: &str) -> Result<Self, NotMoney> {
        match text {
            "half_even" => Ok(Self::HalfEven),
            "half_up" => Ok(Self::HalfUp),
            "down" => Ok(Self::Down),
            _ => Err(NotMoney::Rounding),
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HalfEven => "half_even",
            Self::HalfUp => "half_up",
            Self::Down => "down",
        }
    }

    /// `numerator / denominator` as a whole number: the only rounding of money there is.
    /// The denominator is positive.
    fn divide(self, numerator: i128, denominator: i128) -> i128 {
        let toward_zero = numerator / denominator;
        let rest = (numerator % denominator).unsigned_abs();
        // Compared with what is missing to the next whole instead of doubling, which might overflow.
        let missing = denominator.unsigned_abs() - rest;
        let away = match self {
            Self::Down => false,
            Self::HalfUp => rest >= missing,
            Self::HalfEven => rest > missing || (rest == missing && toward_zero % 2 != 0),
        };
        if away {
            toward_zero + numerator.signum()
        } else {
            toward_zero
        }
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A share of a hundred: from 0 to 100, both included, exact to ten digits after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(Decimal);

impl Percent {
    /// Accepts `7.5`, `100`, `0.125`; surplus zeros are dropped.
    ///
    /// # Errors
    /// [`NotMoney::Form`] if it isn't a plain decimal number, [`NotMoney::Percent`] if it is
    /// over 100 or finer than ten digits.
    pub fn parse(text: &str) -> Result<Self, NotMoney> {
        plain_decimal(text)?
            .filter(|value| *value <= Decimal::ONE_HUNDRED && value.scale() <= PERCENT_DIGITS_MAX)
            .map(Self)
            .ok_or(NotMoney::Percent)
    }

    /// The number itself, 7.5 for 7.5 %.
    #[must_use]
    pub fn value(self) -> Decimal {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An amount: whole minor units of one currency. May be negative.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// `minor` units of `currency`: 1230 of EUR are 12.30.
    #[must_use]
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in a currency.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// The amount in minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// The currency it is in.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// Whether it is neither owed nor owing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.minor < 0
    }

    /// Reads an amount as it comes in: `12`, `12.3`, `12.30` and `12.3000` are the same in EUR,
    /// `12.345` is refused there and fine in KWD.
    ///
    /// # Errors
    /// [`NotMoney::Form`], [`NotMoney::Digits`] or [`NotMoney::Range`].
    pub fn parse(text: &str, currency: Currency) -> Result<Self, NotMoney> {
        let (whole, fraction) = plain_digits(text)?;
        let digits = currency.digits();
        let kept = usize::try_from(digits).expect("a currency has at most four digits");
        let (kept_fraction, surplus) = fraction.split_at(kept.min(fraction.len()));
        if surplus.bytes().any(|b| b != b'0') {
            return Err(NotMoney::Digits(currency, digits));
        }

        let missing = std::iter::repeat_n(b'0', kept - kept_fraction.len());
        let mut minor: i64 = 0;
        for byte in whole.bytes().chain(kept_fraction.bytes()).chain(missing) {
            minor = minor * 10 + i64::from(byte - b'0'); // OK because it was at most 10^15.
            if minor > INPUT_MAX {
                return Err(NotMoney::Range);
            }
        }
        Ok(Self::new(minor, currency))
    }

    /// Like [`Money::parse`], with a `-` before it allowed: for adjustments only.
    ///
    /// # Errors
    /// As [`Money::parse`].
    pub fn parse_signed(text: &str, currency: Currency) -> Result<Self, NotMoney> {
        match text.strip_prefix('-') {
            Some(magnitude) => {
                let positive = Self::parse(magnitude, currency)?;
                Ok(Self::new(-positive.minor, currency)) // OK because it is at most `INPUT_MAX`.
            }
            None => Self::parse(text, currency),
        }
    }

    /// The sum, unless the currencies differ or it leaves the range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        Some(Self::new(
            self.minor.checked_add(other.minor)?,
            self.currency,
        ))
    }

    /// The difference, unless the currencies differ or it leaves the range.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        Some(Self::new(
            self.minor.checked_sub(other.minor)?,
            self.currency,
        ))
    }

    /// The same amount the other way round.
    #[must_use]
    pub fn checked_neg(self) -> Option<Self> {
        Some(Self::new(self.minor.checked_neg()?, self.currency))
    }

    /// `percent` of it, rounded once.
    #[must_use]
    pub fn percent(self, percent: Percent, rounding: Rounding) -> Self {
        // OK because a percent has at most 13 digits and an `i64` 19.
        let exact = i128::from(self.minor) * percent.0.mantissa();
        let hundredfold = 100 * 10_i128.pow(percent.0.scale());
        self.part_of(rounding.divide(exact, hundredfold))
    }

    /// The sum of several shares, rounded once; none where there are no parts.
    ///
    /// # Panics
    /// Where the parts together are more than an amount can hold.
    #[must_use]
    pub fn shares(parts: &[(Self, Percent)], rounding: Rounding) -> Option<Self> {
        // OK because a percent has at most 13 digits, an `i64` 19, and the parts are one amount's.
        let digits = |percent: &Percent| percent.0.scale();
        let scale = parts.iter().map(|(_, percent)| digits(percent)).max()?;
        let exact: i128 = parts
            .iter()
            .map(|(part, percent)| {
                let missing = 10_i128.pow(scale - digits(percent));
                i128::from(part.minor) * percent.0.mantissa() * missing
            })
            .sum();
        let whole = parts.first()?.0;
        Some(whole.part_of(rounding.divide(exact, 100 * 10_i128.pow(scale))))
    }

    /// `self × part ÷ whole`, rounded once: what of a commission goes with a part of its order.
    ///
    /// `None` unless `0 ≤ part ≤ whole` and `whole` is over zero. It never shrinks as `part`
    /// grows, and the whole of it is exactly `self`; therefore the differences along any series
    /// of refunds add up to the commission.
    #[must_use]
    pub fn portion(self, part: i64, whole: i64, rounding: Rounding) -> Option<Self> {
        if whole <= 0 || !(0..=whole).contains(&part) {
            return None;
        }
        let exact = i128::from(self.minor) * i128::from(part);
        Some(self.part_of(rounding.divide(exact, i128::from(whole))))
    }

    /// Splits it by weights; the parts add up to it exactly.
    ///
    /// Each part is its exact share cut toward zero; what the cuts left over goes, one minor
    /// unit each, to the largest remainders, and among equal ones to the earlier. If all weights
    /// are zero they count as equal. No weights, no parts.
    #[must_use]
    pub fn allocate(self, weights: &[u64]) -> Vec<Self> {
        let total: u128 = weights.iter().copied().map(u128::from).sum();
        if total == 0 && !weights.is_empty() {
            return self.allocate(&vec![1; weights.len()]);
        }

        let magnitude = u128::from(self.minor.unsigned_abs());
        // OK because 2^63 × 2^64 is within an `u128`.
        let exact: Vec<u128> = weights
            .iter()
            .map(|weight| magnitude * u128::from(*weight))
            .collect();
        let mut parts: Vec<u128> = exact.iter().map(|share| share / total).collect();

        let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
        by_remainder.sort_by_key(|index| std::cmp::Reverse(exact[*index] % total)); // Stable: ties stay in order.
        let left_over = magnitude - parts.iter().sum::<u128>();
        let lucky = usize::try_from(left_over).expect("each part leaves over less than one unit");
        for index in by_remainder.into_iter().take(lucky) {
            parts[index] += 1;
        }

        let sign = i128::from(self.minor.signum());
        parts
            .into_iter()
            .map(|part| self.part_of(sign * i128::try_from(part).expect("a part is at most 2^63")))
            .collect()
    }

    /// `minor` units, which the caller knows to be no more than these.
    fn part_of(self, minor: i128) -> Self {
        Self::new(
            i64::try_from(minor).expect("a part is no larger than its whole"),
            self.currency,
        )
    }
}

/// Prints the number with all the currency's digits: `12.30`, `1200`, `-0.05`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sum_text(i128::from(self.minor), self.currency))
    }
}

/// What many amounts come to, in minor units, as an amount is printed. The table keeps 38 digits,
/// so whatever amounts there are, their sum is within an `i128`.
#[must_use]
pub fn sum_text(minor: i128, currency: Currency) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let digits = currency.digits();
    let one = 10_u128.pow(digits);
    let magnitude = minor.unsigned_abs();
    if digits == 0 {
        return format!("{sign}{magnitude}");
    }
    let width = usize::try_from(digits).expect("a currency has at most four digits");
    format!("{sign}{}.{:0width$}", magnitude / one, magnitude % one)
}

/// Reads what [`sum_text`] printed; none of anything else.
#[must_use]
pub fn parse_sum(text: &str, currency: Currency) -> Option<i128> {
    let minor: i128 = text.replacen('.', "", 1).parse().ok()?;
    (sum_text(minor, currency) == text).then_some(minor)
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}", self.currency)
    }
}

/// The number that a text is, without surplus zeros; none where it has more digits than a
/// `Decimal` holds.
///
/// # Errors
/// [`NotMoney::Form`] if it isn't a plain decimal number.
pub(crate) fn plain_decimal(text: &str) -> Result<Option<Decimal>, NotMoney> {
    let (whole, fraction) = plain_digits(text)?;
    // `Decimal` counts surplus zeros as digits that it has to hold.
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    let number = Decimal::from_str_exact(&format!("0{whole}.{fraction}0"));
    Ok(number.ok().map(|number| number.normalize()))
}

/// The digits before and after the point, if the text is `[0-9]+(\.[0-9]+)?`.
fn plain_digits(text: &str) -> Result<(&str, &str), NotMoney> {
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if text.len() > TEXT_LENGTH_MAX {
        return Err(NotMoney::Form);
    }
    match text.split_once('.') {
        None if all_digits(text) => Ok((text, "")),
        Some((whole, fraction)) if all_digits(whole) && all_digits(fraction) => {
            Ok((whole, fraction))
        }
        _ => Err(NotMoney::Form),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn eur(minor: i64) -> Money {
        Money::new(minor, currency("EUR"))
    }

    fn percent(text: &str) -> Percent {
        Percent::parse(text).unwrap()
    }

    #[test]
    fn money_and_its_words_read_as_people_write_them() {
        let euro = currency("EUR");
        assert_eq!(
            (euro.to_string(), format!("{euro:?}")),
            ("EUR".into(), "EUR".into())
        );
        assert_eq!(format!("{:?}", eur(-5)), "-0.05 EUR");
        assert_eq!(Rounding::HalfUp.to_string(), "half_up");
        assert_eq!(percent("7.50").value(), Decimal::new(75, 1));
    }

    #[test]
    fn currencies_have_the_digits_of_iso_4217() {
        let table = [
            ("EUR", 2),
            ("USD", 2),
            ("JPY", 0),
            ("KWD", 3),
            ("BHD", 3),
            ("HUF", 2),
            ("ISK", 0),
            ("CLF", 4),
            ("UYW", 4),
            ("MGA", 2),
            ("MRU", 2),
            ("KRW", 0),
            ("TND", 3),
            ("CLP", 0),
            ("UGX", 0),
            ("VND", 0),
            ("HRK", 2),
            ("BGN", 2),
        ];
        for (code, digits) in table {
            assert_eq!(currency(code).digits(), digits, "{code}");
            assert_eq!(currency(code).code(), code);
        }
    }

    #[test]
    fn what_nobody_can_be_paid_in_is_no_currency() {
        for bad in [
            "XAU", "XAG", "XXX", "XTS", "XDR", "XBA", "XAD", "eur", "EU", "EURO", "", "978", "AAA",
            " EUR",
        ] {
            assert_eq!(Currency::parse(bad), Err(NotMoney::Currency), "{bad}");
        }
    }

    #[test]
    fn amounts_are_read_exactly_and_printed_with_all_digits() {
        let table = [
            ("EUR", "12", "12.00"),
            ("EUR", "12.3", "12.30"),
            ("EUR", "12.30", "12.30"),
            ("EUR", "12.3000", "12.30"),
            ("EUR", "0", "0.00"),
            ("EUR", "0.00000", "0.00"),
            ("EUR", "0.01", "0.01"),
            ("EUR", "0012.5", "12.50"),
            ("JPY", "1200", "1200"),
            ("JPY", "1200.00", "1200"),
            ("KWD", "1.234", "1.234"),
            ("KWD", "1.2", "1.200"),
            ("CLF", "1.2345", "1.2345"),
            ("EUR", "10000000000000.00", "10000000000000.00"),
            ("JPY", "1000000000000000", "1000000000000000"),
        ];
        for (code, text, printed) in table {
            assert_eq!(
                Money::parse(text, currency(code)).map(|m| m.to_string()),
                Ok(printed.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for bad in [
            "", ".", ".5", "5.", "-1", "+1", "1e3", "1E3", "1,000", "1.000,00", "1 000", " 1",
            "1 ", "1.2.3", "0x1", "NaN", "inf", "١", "１", "1_000", "1\n", "--1", "1.-2", "$1",
            "1%",
        ] {
            assert_eq!(
                Money::parse(bad, currency("EUR")),
                Err(NotMoney::Form),
                "{bad:?}"
            );
            assert_eq!(Percent::parse(bad), Err(NotMoney::Form), "{bad:?}");
        }
        for (code, bad) in [
            ("EUR", "12.345"),
            ("EUR", "0.001"),
            ("JPY", "0.5"),
            ("KWD", "1.2345"),
            ("JPY", "1.01"),
        ] {
            let digits = currency(code).digits();
            assert_eq!(
                Money::parse(bad, currency(code)),
                Err(NotMoney::Digits(currency(code), digits)),
                "{bad}"
            );
        }
        for (code, bad) in [
            ("EUR", "10000000000000.01"),
            ("JPY", "1000000000000001"),
            ("EUR", "9223372036854775807"),
        ] {
            assert_eq!(
                Money::parse(bad, currency(code)),
                Err(NotMoney::Range),
                "{bad}"
            );
        }
        assert_eq!(
            Money::parse(&"9".repeat(64), currency("EUR")),
            Err(NotMoney::Range)
        );
        assert_eq!(
            Money::parse(&"0".repeat(65), currency("EUR")),
            Err(NotMoney::Form)
        );
    }

    #[test]
    fn only_an_adjustment_may_be_below_zero() {
        let signed = |text| Money::parse_signed(text, currency("EUR")).map(|m| m.to_string());
        assert_eq!(signed("-0.05"), Ok("-0.05".into()));
        assert_eq!(signed("-12.3"), Ok("-12.30".into()));
        assert_eq!(signed("12.3"), Ok("12.30".into()));
        assert_eq!(signed("-0"), Ok("0.00".into()));
        for bad in ["+1", "--1", "- 1", "-", "-.5"] {
            assert_eq!(signed(bad), Err(NotMoney::Form), "{bad}");
        }
    }

    #[test]
    fn a_percent_is_exact_from_0_to_100() {
        for (text, printed) in [
            ("0", "0"),
            ("7.5", "7.5"),
            ("7.50", "7.5"),
            ("100", "100"),
            ("100.000", "100"),
            ("0.0000000001", "0.0000000001"),
            ("0.00000000010000", "0.0000000001"),
            ("10", "10"),
            ("007", "7"),
            (&format!("10.{}", "0".repeat(40)), "10"),
            (&format!("{}7.5", "0".repeat(40)), "7.5"),
        ] {
            assert_eq!(percent(text).to_string(), printed);
        }
        for bad in [
            "100.0000000001",
            "101",
            "1000",
            "0.00000000001",
            "99999999999999999999999999999999999999",
        ] {
            assert_eq!(Percent::parse(bad), Err(NotMoney::Percent), "{bad}");
        }
    }

    #[test]
    fn roundings_are_read_as_they_are_printed() {
        for rounding in [Rounding::HalfEven, Rounding::HalfUp, Rounding::Down] {
            assert_eq!(Rounding::parse(rounding.as_str()), Ok(rounding));
        }
        assert_eq!(Rounding::parse("up"), Err(NotMoney::Rounding));
        assert_eq!(Rounding::default(), Rounding::HalfEven);
    }

    #[test]
    fn a_percent_of_an_amount_is_rounded_once() {
        // minor, percent, half_even, half_up, down
        let table = [
            (1230, "7.5", 92, 92, 92), // 92.25
            (50, "5", 2, 3, 2),        // 2.5
            (150, "5", 8, 8, 7),       // 7.5
            (250, "5", 12, 13, 12),    // 12.5
            (51, "5", 3, 3, 2),        // 2.55
            (49, "5", 2, 2, 2),        // 2.45
            (-50, "5", -2, -3, -2),    // -2.5
            (-150, "5", -8, -8, -7),   // -7.5
            (-51, "5", -3, -3, -2),    // -2.55
            (1177, "100", 1177, 1177, 1177),
            (1177, "0", 0, 0, 0),
            (9_999, "0.0000000001", 0, 0, 0),
            (3, "33.3333333333", 1, 1, 0),
            (1, "50", 0, 1, 0),
            (3, "50", 2, 2, 1),
        ];
        for (minor, rate, half_even, half_up, down) in table {
            let rounded = |rounding| eur(minor).percent(percent(rate), rounding).minor();
            let got = (
                rounded(Rounding::HalfEven),
                rounded(Rounding::HalfUp),
                rounded(Rounding::Down),
            );
            assert_eq!(got, (half_even, half_up, down), "{rate} % of {minor}");
        }
        assert_eq!(
            eur(i64::MIN)
                .percent(percent("99.9999999999"), Rounding::HalfEven)
                .minor(),
            -9_223_372_036_845_552_436
        );
    }

    #[test]
    fn a_portion_is_the_exact_share_rounded_once() {
        let portion = |minor, part, whole, rounding| {
            eur(minor).portion(part, whole, rounding).map(Money::minor)
        };
        assert_eq!(portion(100, 1, 3, Rounding::HalfEven), Some(33));
        assert_eq!(portion(100, 2, 3, Rounding::HalfEven), Some(67));
        assert_eq!(portion(100, 2, 3, Rounding::Down), Some(66));
        assert_eq!(portion(5, 1, 2, Rounding::HalfEven), Some(2));
        assert_eq!(portion(7, 1, 2, Rounding::HalfEven), Some(4));
        assert_eq!(portion(5, 1, 2, Rounding::HalfUp), Some(3));
        assert_eq!(
            portion(i64::MAX, i64::MAX, i64::MAX, Rounding::HalfEven),
            Some(i64::MAX)
        );
        for (part, whole) in [(1, 0), (0, 0), (-1, 3), (4, 3), (-3, -3)] {
            assert_eq!(
                portion(100, part, whole, Rounding::HalfEven),
                None,
                "{part}/{whole}"
            );
        }
    }

    #[test]
    fn a_split_gives_the_odd_cent_to_the_largest_remainder_then_to_the_earlier() {
        let split = |minor, weights: &[u64]| {
            eur(minor)
                .allocate(weights)
                .iter()
                .map(|m| m.minor())
                .collect::<Vec<_>>()
        };
        assert_eq!(split(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(split(101, &[1, 1, 1]), [34, 34, 33]);
        assert_eq!(split(100, &[1, 2]), [33, 67]);
        assert_eq!(split(5, &[40, 20, 40]), [2, 1, 2]);
        assert_eq!(split(1, &[1, 2, 2]), [0, 1, 0]);
        // 8 1/3 and 1 2/3: what is largest is the remainder, not the part.
        assert_eq!(split(10, &[5, 1]), [8, 2]);
        assert_eq!(split(-100, &[1, 1, 1]), [-34, -33, -33]);
        assert_eq!(split(7, &[0, 1, 0]), [0, 7, 0]);
        assert_eq!(split(3, &[0, 0]), [2, 1]);
        assert_eq!(split(3, &[]), [0_i64; 0]);
        assert_eq!(split(i64::MIN, &[u64::MAX]), [i64::MIN]);
    }

    #[test]
    fn sums_across_currencies_or_beyond_the_range_do_not_exist() {
        assert_eq!(eur(1).checked_add(eur(2)), Some(eur(3)));
        assert_eq!(eur(1).checked_sub(eur(2)), Some(eur(-1)));
        assert_eq!(eur(1).checked_neg(), Some(eur(-1)));
        assert_eq!(eur(1).checked_add(Money::new(1, currency("USD"))), None);
        assert_eq!(eur(1).checked_sub(Money::new(1, currency("USD"))), None);
        assert_eq!(eur(i64::MAX).checked_add(eur(1)), None);
        assert_eq!(eur(i64::MIN).checked_sub(eur(1)), None);
        assert_eq!(eur(i64::MIN).checked_neg(), None);
        assert_eq!(eur(i64::MIN).to_string(), "-92233720368547758.08");
    }

    #[test]
    fn nothing_is_neither_owed_nor_owing() {
        for (minor, is_zero, is_negative) in
            [(-1, false, true), (0, true, false), (1, false, false)]
        {
            let money = eur(minor);
            assert_eq!(
                (money.is_zero(), money.is_negative()),
                (is_zero, is_negative),
                "{minor}"
            );
        }
        assert_eq!(Money::zero(currency("JPY")), Money::new(0, currency("JPY")));
    }

    #[test]
    fn a_sum_reads_as_it_is_printed_and_in_no_other_spelling() {
        for (code, minor, text) in [
            ("EUR", 0, "0.00"),
            ("EUR", -5, "-0.05"),
            ("EUR", 10_i128.pow(20), "1000000000000000000.00"),
            ("JPY", -1_200, "-1200"),
            ("KWD", 1_234, "1.234"),
        ] {
            let currency = Currency::parse(code).unwrap();
            assert_eq!(sum_text(minor, currency), text);
            assert_eq!(parse_sum(text, currency), Some(minor));
        }
        let euro = Currency::parse("EUR").unwrap();
        for text in [
            "", "1", "1.0", "1.000", "007.00", "+1.00", "-0.00", ".05", "1.00 ", "1,00",
        ] {
            assert_eq!(parse_sum(text, euro), None, "{text}");
        }
    }

    #[test]
    fn several_shares_are_added_up_before_they_are_rounded() {
        let shares = |parts: &[(i64, &str)], rounding| {
            let parts: Vec<(Money, Percent)> = parts
                .iter()
                .map(|(minor, text)| (eur(*minor), percent(text)))
                .collect();
            Money::shares(&parts, rounding).map(Money::minor)
        };
        // 2.625, which is 2 where each is rounded by itself; 3.5; 8.25.
        assert_eq!(
            shares(&[(50, "5"), (1, "12.5")], Rounding::HalfEven),
            Some(3)
        );
        assert_eq!(shares(&[(50, "5"), (1, "12.5")], Rounding::Down), Some(2));
        assert_eq!(
            shares(&[(50, "5"), (10, "10")], Rounding::HalfEven),
            Some(4)
        );
        assert_eq!(
            shares(&[(1_000, "0.125"), (100, "7")], Rounding::HalfEven),
            Some(8)
        );
        assert_eq!(
            shares(&[(-50, "5"), (-10, "10")], Rounding::HalfUp),
            Some(-4)
        );
        assert_eq!(shares(&[], Rounding::HalfEven), None);
    }

    fn any_rounding() -> impl Strategy<Value = Rounding> {
        prop_oneof![
            Just(Rounding::HalfEven),
            Just(Rounding::HalfUp),
            Just(Rounding::Down)
        ]
    }

    proptest! {
        #[test]
        fn every_amount_reads_back_as_it_was_printed(minor in -INPUT_MAX..=INPUT_MAX, code in "EUR|JPY|KWD|CLF") {
            let money = Money::new(minor, currency(&code));
            prop_assert_eq!(Money::parse_signed(&money.to_string(), money.currency()), Ok(money));
        }

        #[test]
        fn parts_of_a_split_add_up_and_are_fair(minor: i64, weights in prop::collection::vec(any::<u64>(), 1..20)) {
            let parts = eur(minor).allocate(&weights);
            prop_assert_eq!(parts.iter().map(|p| i128::from(p.minor())).sum::<i128>(), i128::from(minor));
            let total: u128 = weights.iter().copied().map(u128::from).sum();
            prop_assume!(total > 0);
            for (part, weight) in parts.iter().zip(&weights) {
                let cut = u128::from(minor.unsigned_abs()) * u128::from(*weight) / total;
                let more = u128::from(part.minor().unsigned_abs()) - cut;
                prop_assert!(more <= 1);
            }
        }

        #[test]
        fn a_rounded_amount_is_less_than_one_minor_unit_off(minor: i64, mantissa in 0..=100_000_i64, rounding in any_rounding()) {
            let rate = Decimal::new(mantissa, 3).to_string();
            let got = i128::from(eur(minor).percent(percent(&rate), rounding).minor());
            let off = (got * 100_000 - i128::from(minor) * i128::from(mantissa)).abs();
            prop_assert!(off < 100_000);
            if rounding != Rounding::Down {
                prop_assert!(off <= 50_000);
            }
        }

        #[test]
        fn what_is_taken_back_mirrors_what_was_given(minor in -INPUT_MAX..=INPUT_MAX, mantissa in 0..=100_000_i64, rounding in any_rounding()) {
            let rate = percent(&Decimal::new(mantissa, 3).to_string());
            prop_assert_eq!(eur(-minor).percent(rate, rounding).minor(), -eur(minor).percent(rate, rounding).minor());
        }

        #[test]
        fn any_series_of_refunds_gives_back_exactly_the_commission(
            commission in 0..=INPUT_MAX,
            mut steps in prop::collection::vec(0..=INPUT_MAX, 1..10),
            rounding in any_rounding(),
        ) {
            steps.sort_unstable();
            let whole = (*steps.last().unwrap()).max(1);
            let mut before = 0;
            for taken_back in steps.into_iter().chain([whole]) {
                let so_far = eur(commission).portion(taken_back, whole, rounding).unwrap().minor();
                prop_assert!(before <= so_far);
                before = so_far;
            }
            prop_assert_eq!(before, commission);
        }
    }
}
