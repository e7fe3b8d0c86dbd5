//! The monthly payout report: its rows, its totals, and the bytes that are signed for.

mod csv;
mod statement;

pub use statement::{StatementLine, statement_csv};

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::ids::{AffiliateId, MerchantId, PayerId};
use crate::ledger::{Kind, Pocket, Sums};
use crate::money::{Currency, Money, parse_sum, sum_text};
use crate::period::Month;

/// A payout that a month's run made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidOut {
    pub id: String,
    pub day: Date,
    pub amount: Money,
}

/// A pocket's month, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    pub opening: i128,
    /// Effects: negative for `reversed`, `withheld` and `paid`.
    pub sums: Sums,
    pub closing: i128,
    /// As at the month's last instant, with its last day's run taken as made; so the next two.
    pub in_payout: i128,
    pub on_hold: i128,
    pub unapproved: i128,
    pub conversions: i64,
    pub payouts: Vec<PaidOut>,
}

impl Figures {
    /// Whether there is anything to report.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// `opening + earned - reversed + adjustments - withheld - paid + returned = closing`.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.opening + self.sums.total() == self.closing
    }

    fn add(&mut self, other: &Self) {
        self.opening += other.opening;
        self.sums = self.sums + other.sums;
        self.closing += other.closing;
        self.in_payout += other.in_payout;
        self.on_hold += other.on_hold;
        self.unapproved += other.unapproved;
        self.conversions += other.conversions;
    }

    /// The columns from `opening` to `unapproved` with their names, as the report shows them:
    /// all positive but `adjustments` and the carries.
    fn columns(&self) -> [(&'static str, i128); 11] {
        let of = |kind| self.sums.get(kind);
        [
            ("opening", self.opening),
            ("earned", of(Kind::Earned)),
            ("reversed", -of(Kind::Reversed)),
            ("adjustments", of(Kind::Adjustment)),
            ("withheld", -of(Kind::Withheld)),
            ("paid", -of(Kind::Paid)),
            ("returned", of(Kind::Returned)),
            ("closing", self.closing),
            ("in_payout", self.in_payout),
            ("on_hold", self.on_hold),
            ("unapproved", self.unapproved),
        ]
    }

    fn put(&self, currency: Currency, json: &mut Value) {
        for (name, minor) in self.columns() {
            json[name] = json!(sum_text(minor, currency));
        }
        json["conversions"] = json!(self.conversions);
    }
}

/// A row of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub affiliate: AffiliateId,
    pub currency: Currency,
    /// As at the month's last instant; so the next two.
    pub legal_name: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Why the closing carry did not leave, by code.
    pub held_reason: Option<String>,
    pub figures: Figures,
}

impl Row {
    /// As the report shows it and as it is sealed.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "affiliate": self.affiliate.as_str(),
            "legal_name": self.legal_name,
            "country": self.country,
            "currency": self.currency.code(),
        });
        self.figures.put(self.currency, &mut json);
        json["held_reason"] = json!(self.held_reason);
        json["payouts"] = self
            .figures
            .payouts
            .iter()
            .map(|payout| {
                json!({
                    "id": payout.id,
                    "day": payout.day.to_string(),
                    "amount": payout.amount.to_string(),
                })
            })
            .collect();
        json
    }

    /// Reads a sealed row; none if it is damaged.
    #[must_use]
    pub fn parse(json: &Value) -> Option<Self> {
        let text = |name: &str| json[name].as_str();
        let currency = Currency::parse(text("currency")?).ok()?;
        let minor = |name: &str| parse_sum(json[name].as_str()?, currency);
        let mut sums = Sums::default();
        for (kind, name, sign) in [
            (Kind::Earned, "earned", 1),
            (Kind::Reversed, "reversed", -1),
            (Kind::Adjustment, "adjustments", 1),
            (Kind::Withheld, "withheld", -1),
            (Kind::Paid, "paid", -1),
            (Kind::Returned, "returned", 1),
        ] {
            sums = sums + Sums::of(kind, sign * minor(name)?);
        }
        let payouts: Option<Vec<PaidOut>> = json["payouts"]
            .as_array()?
            .iter()
            .map(|payout| {
                Some(PaidOut {
                    id: payout["id"].as_str()?.to_owned(),
                    day: crate::http_types::parse_day(payout["day"].as_str()?)?,
                    amount: {
                        let minor = parse_sum(payout["amount"].as_str()?, currency)?;
                        Money::new(i64::try_from(minor).ok()?, currency)
                    },
                })
            })
            .collect();
        Some(Self {
            affiliate: AffiliateId::parse(text("affiliate")?).ok()?,
            currency,
            legal_name: text("legal_name")?.to_owned(),
            country: text("country")?.to_owned(),
            held_reason: text("held_reason").map(str::to_owned),
            figures: Figures {
                opening: minor("opening")?,
                sums,
                closing: minor("closing")?,
                in_payout: minor("in_payout")?,
                on_hold: minor("on_hold")?,
                unapproved: minor("unapproved")?,
                conversions: json["conversions"].as_i64()?,
                payouts: payouts?,
            },
        })
    }
}

/// What a merchant's sales came to in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfMerchant {
    pub earned: i128,
    pub reversed: i128,
    pub conversions: i64,
}

/// A payer's month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub payer: PayerId,
    pub month: Month,
    /// Sorted by affiliate and currency.
    pub rows: Vec<Row>,
    pub by_merchant: BTreeMap<(MerchantId, Currency), OfMerchant>,
}

impl Report {
    /// Sums by currency.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Currency, Figures> {
        let mut totals: BTreeMap<Currency, Figures> = BTreeMap::new();
        for row in &self.rows {
            totals.entry(row.currency).or_default().add(&row.figures);
        }
        totals
    }

    /// Whether every row adds up, and the merchants' sums are the rows'.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let rows_add_up = self.rows.iter().all(|row| row.figures.adds_up());
        let mut merchants: BTreeMap<Currency, (i128, i128)> = BTreeMap::new();
        for ((_, currency), sums) in &self.by_merchant {
            let (earned, reversed) = merchants.entry(*currency).or_default();
            *earned += sums.earned;
            *reversed += sums.reversed;
        }
        let merchants_add_up = self.totals().iter().all(|(currency, total)| {
            let (earned, reversed) = merchants.remove(currency).unwrap_or_default();
            total.sums.get(Kind::Earned) == earned && -total.sums.get(Kind::Reversed) == reversed
        });
        // Merchants whose sums are nothing may stand in a currency that has no row.
        let nothing_else = merchants.into_values().all(|sums| sums == (0, 0));
        rows_add_up && merchants_add_up && nothing_else
    }

    /// The merchants' sums as the report shows them.
    #[must_use]
    pub fn merchants_json(&self) -> Value {
        self.by_merchant
            .iter()
            .map(|((merchant, currency), sums)| {
                json!({
                    "merchant": merchant.as_str(),
                    "currency": currency.code(),
                    "earned": sum_text(sums.earned, *currency),
                    "reversed": sum_text(sums.reversed, *currency),
                    "conversions": sums.conversions,
                })
            })
            .collect()
    }

    /// The totals as the report shows them.
    #[must_use]
    pub fn totals_json(&self) -> Value {
        let totals = self.totals();
        let json = totals.iter().map(|(currency, total)| {
            let mut json = json!({"currency": currency.code()});
            total.put(*currency, &mut json);
            json
        });
        json.collect()
    }

    /// For machines: no byte order mark, lines end in LF. What a closed month's digest is of.
    #[must_use]
    pub fn csv_raw(&self) -> Vec<u8> {
        csv::raw(self)
    }

    /// For people: UTF-8 with a byte order mark, lines end in CR LF, and no text can be taken
    /// for a formula.
    #[must_use]
    pub fn csv_for_people(&self) -> Vec<u8> {
        csv::for_people(self)
    }
}

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Adds a line's effect to its merchant's sums.
pub fn add_to_merchant(sums: &mut OfMerchant, kind: Kind, effect: i128, is_conversion: bool) {
    match kind {
        Kind::Earned => sums.earned += effect,
        Kind::Reversed => sums.reversed -= effect,
        _ => {}
    }
    sums.conversions += i64::from(is_conversion);
}

/// The pocket that a row is about.
#[must_use]
pub fn pocket_of(payer: &PayerId, row: &Row) -> Pocket {
    Pocket {
        payer: payer.clone(),
        affiliate: row.affiliate.clone(),
        currency: row.currency,
    }
}

#[cfg(test)]
mod tests;
