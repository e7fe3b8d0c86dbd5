//! A conversion: what an order is, who is credited with it, and what is given back of it.

mod basket;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::attribution::part_of;
use crate::commission::{Line, Standings};
use crate::http_types::{Fields, Invalid};
use crate::ids::{AffiliateId, MerchantId, PayerId, ProgramId};
use crate::ledger::Pocket;
use crate::money::{Currency, Money, Rounding};

pub use basket::{BasketLine, NotTaken, earned_by_line, take};

/// Where a conversion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waits for the merchant; not in the books.
    Pending,
    Approved,
    Rejected,
    /// All of it was taken back.
    Reversed,
    /// Nobody to credit, yet.
    Unattributed,
    /// Made to try things out; never earns.
    Test,
}

impl Status {
    const ALL: [Self; 6] = [
        Self::Pending,
        Self::Approved,
        Self::Rejected,
        Self::Reversed,
        Self::Unattributed,
        Self::Test,
    ];

    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Reversed => "reversed",
            Self::Unattributed => "unattributed",
            Self::Test => "test",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What makes an order one: `(merchant, order id, goal)`, and the program where the merchant
/// counts its orders within each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderKey {
    pub merchant: MerchantId,
    /// Only under `order_scope: program`.
    pub program: Option<ProgramId>,
    /// 1 to 128 printable characters, byte for byte.
    pub order_id: String,
    /// In lower case.
    pub goal: String,
}

impl OrderKey {
    /// The conversion's id: it says which order it is of, so no index is needed to find it.
    #[must_use]
    pub fn conversion_id(&self) -> String {
        let program = self.program.as_ref().map_or("", ProgramId::as_str);
        // OK because ids and goals hold no slash; the order id, which may, comes last.
        let text = format!(
            "{}/{program}/{}/{}",
            self.merchant, self.goal, self.order_id
        );
        format!("c_{}", BASE64.encode(text))
    }

    /// The order behind an id; none for another text.
    #[must_use]
    pub fn of_conversion_id(id: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(id.strip_prefix("c_")?).ok()?).ok()?;
        let mut parts = text.splitn(4, '/');
        let merchant = MerchantId::parse(parts.next()?).ok()?;
        let program = match parts.next()? {
            "" => None,
            program => Some(ProgramId::parse(program).ok()?),
        };
        let goal = parts.next()?.to_owned();
        let order_id = parts.next()?.to_owned();
        Some(Self {
            merchant,
            program,
            order_id,
            goal,
        })
    }
}

/// Whether a text can be an order id.
#[must_use]
pub fn is_order_id(text: &str) -> bool {
    (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// One line of an order, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub sku: String,
    pub category: Option<String>,
    pub quantity: u64,
    /// The line's total.
    pub amount: Money,
}

/// As many lines as an order may have: with all that explains them it is one item of a table that
/// takes 400 KB.
pub const ITEMS_MOST: usize = 200;

/// Whether a text can name an article or its category: 1 to 128 bytes, none a control character.
#[must_use]
pub fn is_sku(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl Item {
    /// Reads an order's lines, each with `sku`, `category?`, `quantity?` and `amount`.
    ///
    /// # Errors
    /// The first member that cannot be taken; `too_many`.
    pub fn read_all(list: Vec<Fields>, currency: Currency) -> Result<Vec<Self>, Invalid> {
        if list.len() > ITEMS_MOST {
            return Err(Invalid::new("items", "too_many"));
        }
        let items = list.into_iter().map(|item| Self::read(item, currency));
        items.collect()
    }

    fn read(mut fields: Fields, currency: Currency) -> Result<Self, Invalid> {
        let name = |text: &str| is_sku(text).then(|| text.to_owned()).ok_or(());
        let item = Self {
            sku: fields.parsed_required("sku", "text_invalid", name)?,
            category: fields.parsed("category", "text_invalid", name)?,
            quantity: fields.whole("quantity")?.unwrap_or(1),
            amount: fields.parsed_required("amount", "amount_invalid", |text| {
                Money::parse(text, currency)
            })?,
        };
        fields.finish()?;
        Ok(item)
    }

    /// What commission is reckoned on.
    #[must_use]
    pub fn line(&self) -> Line<'_> {
        Line {
            sku: &self.sku,
            category: self.category.as_deref(),
            amount: self.amount,
        }
    }

    /// What the items are worth together; none if that is more than an amount can hold.
    #[must_use]
    pub fn total(items: &[Self], currency: Currency) -> Option<Money> {
        items.iter().try_fold(Money::zero(currency), |sum, item| {
            sum.checked_add(item.amount)
        })
    }
}

/// One affiliate's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    pub affiliate: AffiliateId,
    pub affiliate_version: u64,
    pub group: Option<String>,
    /// The visitor's, which rules may ask for; none where it is not known.
    pub country: Option<String>,
    /// Where the counters that its rules asked for stood before this order.
    pub standings: Standings,
    /// Before anything was taken back.
    pub commission: Money,
    /// Of the commission, with what was taken back of the order. Never more than it.
    pub given_back: Money,
    pub lane: u8,
    /// The day it becomes payable by its terms.
    pub payable_on: Date,
    /// The day of the bucket it was booked into; none while it waits for approval.
    pub booked_on: Option<Date>,
}

/// A conversion as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    pub key: OrderKey,
    pub payer: PayerId,
    pub program: ProgramId,
    pub program_version: u64,
    pub currency: Currency,
    /// What commission is reckoned on; none where a flat rule needs none.
    pub amount: Option<Money>,
    pub fingerprint: String,
    pub rounding: Rounding,
    /// What was decided; see [`Self::stands`].
    pub status: Status,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
    pub credits: Vec<Credit>,
    /// The touches that were credited, in the order that ties go by: whose each is, by its place
    /// among the credits, and its weight.
    pub split: Vec<(usize, u64)>,
    /// The order's lines, if it came with any.
    pub basket: Vec<BasketLine>,
    /// The day whose run approves it, unless somebody decides before; none: it waits for a person,
    /// or does not wait.
    pub approves_on: Option<Date>,
    /// Of the amount, in minor units; of an order without one, 1 of 1.
    pub refunded: i64,
    pub ver: i64,
    /// What rules, statistics and statements may need of the order: `customer`, `coupon`, `meta`,
    /// of the `click` that came last the dimensions, of the `clicks` each affiliate's last, and
    /// what of the post was `ignored`.
    pub facts: Value,
    /// The candidates, the rule and its arithmetic.
    pub why: Value,
    /// What its sender was told first, kept since the first change after it.
    pub said: Option<Value>,
}

impl Conversion {
    /// Where it stands, as everybody sees it: what waits and was taken back whole is reversed. It
    /// waits again should its value be raised, so it stays what it is in the table until it is
    /// decided.
    #[must_use]
    pub fn stands(&self) -> Status {
        if self.status == Status::Pending && self.is_taken_back() {
            Status::Reversed
        } else {
            self.status
        }
    }

    /// Whose money a credit is.
    #[must_use]
    pub fn pocket(&self, credit: &Credit) -> Pocket {
        Pocket {
            payer: self.payer.clone(),
            affiliate: credit.affiliate.clone(),
            currency: self.currency,
        }
    }

    /// Whether all of it was taken back.
    #[must_use]
    pub fn is_taken_back(&self) -> bool {
        self.refunded == self.whole()
    }

    /// What may be taken back in all: the amount, or 1 where there is none.
    #[must_use]
    pub fn whole(&self) -> i64 {
        match self.amount {
            Some(amount) if !amount.is_zero() => amount.minor(),
            _ => 1,
        }
    }

    /// The part of one credit, by its place, in what its affiliate would earn alone.
    #[must_use]
    pub fn part(&self, credit: usize, whole: Money) -> Money {
        let weights: Vec<u64> = self.split.iter().map(|(_, weight)| *weight).collect();
        part_of(whole, &weights, |touch| self.split[touch].0 == credit)
    }

    /// What is left of the order's value; none where it has none.
    #[must_use]
    pub fn remaining(&self) -> Option<Money> {
        let amount = self.amount?;
        Some(if amount.is_zero() {
            amount
        } else {
            Money::new(amount.minor() - self.refunded, amount.currency())
        })
    }

    /// The value that was taken back of the order; none where it has none.
    #[must_use]
    pub fn reversed(&self) -> Option<Money> {
        self.amount?.checked_sub(self.remaining()?)
    }

    /// What each credit has to give back of its commission, by what was taken back of the order.
    #[must_use]
    pub fn due_back(&self) -> Vec<Money> {
        let part = (self.refunded, self.whole());
        let credits = self.credits.iter().enumerate();
        credits
            .map(|(place, credit)| {
                basket::given_back(&self.basket, place, credit.commission, part, self.rounding)
            })
            .collect()
    }

    /// Puts what is due in the place of what was given back so far, which only rises.
    pub fn give_back(&mut self) {
        for (place, due) in self.due_back().into_iter().enumerate() {
            let credit = &mut self.credits[place];
            if credit.given_back.minor() < due.minor() {
                credit.given_back = due;
            }
        }
    }

    /// What each credit still earns, after all that was taken back so far.
    #[must_use]
    pub fn left(&self) -> Vec<Money> {
        let credits = self.credits.iter();
        credits
            .map(|credit| {
                credit
                    .commission
                    .checked_sub(credit.given_back)
                    .expect("no more is given back than was earned")
            })
            .collect()
    }

    /// What a sender is told, the first time and every time after.
    #[must_use]
    pub fn answer(&self) -> Value {
        if let Some(said) = &self.said {
            return said.clone();
        }
        let commissions: Vec<Value> = self
            .credits
            .iter()
            .map(|credit| {
                json!({
                    "affiliate": credit.affiliate.as_str(),
                    "amount": credit.commission.to_string(),
                    "currency": credit.commission.currency().code(),
                })
            })
            .collect();
        let mut answer = json!({
            "conversion": self.key.conversion_id(),
            "status": self.stands().as_str(),
            "commissions": commissions,
        });
        if self.status == Status::Test {
            answer["test"] = json!(true);
        }
        let ignored = self.facts["ignored"].as_array();
        if let Some(ignored) = ignored.filter(|ignored| !ignored.is_empty()) {
            answer["ignored"] = json!(ignored);
        }
        answer
    }
}

/// What makes two posts of one order the same: program, amount, currency and lines, in minor
/// units and without anything taken from a clock or the set-up. 32 hexadecimal digits.
#[must_use]
pub fn fingerprint(
    program: &ProgramId,
    currency: Currency,
    amount: Option<Money>,
    items: &[Item],
) -> String {
    let items: Vec<Value> = items
        .iter()
        .map(|item| json!([item.sku, item.category, item.quantity, item.amount.minor()]))
        .collect();
    let amount = amount.map(Money::minor);
    digest(&json!([program.as_str(), currency.code(), amount, items]).to_string())
}

/// 32 hexadecimal digits of a text's SHA-256.
#[must_use]
pub fn digest(text: &str) -> String {
    let [bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] =
        Sha256::digest(text).into();
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Why a claim that is authentic is not credited: a business answer, with its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    ClickForged,
    ClickUnknown,
    ProgramMismatch,
    WindowClosed,
    ProgramPaused,
    InvalidTraffic,
    CurrencyMismatch,
    /// The customer is the affiliate.
    SelfReferral,
    NoRule,
    /// A budget has no room for it.
    CapReached,
    /// A rule that ends for each customer needs to know which it is.
    CustomerRequired,
    AmountRequired,
    AmountTooLarge,
    /// It meets more steps, rules that end for its customer, and budgets than it can be booked with.
    TooManyCounters,
    /// A reversal that waited for its sale takes back more than the sale.
    ReversalExceeds,
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::ClickForged => "click_forged",
            Self::ClickUnknown => "click_unknown",
            Self::ProgramMismatch => "program_mismatch",
            Self::WindowClosed => "window_closed",
            Self::ProgramPaused => "program_paused",
            Self::InvalidTraffic => "invalid_traffic",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::SelfReferral => "self_referral",
            Self::NoRule => "no_rule",
            Self::CapReached => "cap_reached",
            Self::CustomerRequired => "customer_id_required",
            Self::AmountRequired => "amount_required",
            Self::AmountTooLarge => "amount_too_large",
            Self::TooManyCounters => "too_many_counters",
            Self::ReversalExceeds => "reversal_exceeds",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_order() {
        for (program, order_id) in [(None, "A/1 ä#"), (Some("shoes"), "77")] {
            let key = OrderKey {
                merchant: MerchantId::parse("shop").unwrap(),
                program: program.map(|id| ProgramId::parse(id).unwrap()),
                order_id: order_id.to_owned(),
                goal: "sale".to_owned(),
            };
            assert_eq!(OrderKey::of_conversion_id(&key.conversion_id()), Some(key));
        }
        for text in ["", "c_", "c_*", "x_c2hvcC8vc2FsZS8x"] {
            assert_eq!(OrderKey::of_conversion_id(text), None, "{text}");
        }
    }

    fn euro(minor: i64) -> Money {
        Money::new(minor, Currency::parse("EUR").unwrap())
    }

    /// An approved order of this value, and who earns how much of it.
    fn order(amount: Option<i64>, credits: &[(&str, i64)]) -> Conversion {
        let credit = |(affiliate, commission): &(&str, i64)| Credit {
            affiliate: AffiliateId::parse(affiliate).unwrap(),
            affiliate_version: 1,
            group: None,
            country: None,
            standings: Standings::default(),
            commission: euro(*commission),
            given_back: euro(0),
            lane: 0,
            payable_on: jiff::civil::date(2026, 7, 1),
            booked_on: None,
        };
        Conversion {
            key: OrderKey {
                merchant: MerchantId::parse("shop").unwrap(),
                program: None,
                order_id: "A-1".to_owned(),
                goal: "sale".to_owned(),
            },
            payer: PayerId::parse("house").unwrap(),
            program: ProgramId::parse("shoes").unwrap(),
            program_version: 1,
            currency: Currency::parse("EUR").unwrap(),
            amount: amount.map(euro),
            fingerprint: String::new(),
            rounding: Rounding::HalfEven,
            status: Status::Approved,
            occurred_at: Timestamp::UNIX_EPOCH,
            recorded_at: Timestamp::UNIX_EPOCH,
            credits: credits.iter().map(credit).collect(),
            split: Vec::new(),
            basket: Vec::new(),
            approves_on: None,
            refunded: 0,
            ver: 1,
            facts: json!({}),
            why: json!({}),
            said: None,
        }
    }

    fn minors(amounts: &[Money]) -> Vec<i64> {
        amounts.iter().map(|amount| amount.minor()).collect()
    }

    #[test]
    fn what_is_taken_back_of_an_order_is_given_back_of_each_credit() {
        let mut order = order(Some(10_000), &[("anna", 700), ("bert", 301)]);
        for (refunded, due, left) in [
            (0, [0, 0], [700, 301]),
            (3_000, [210, 90], [490, 211]),
            (5_000, [350, 150], [350, 151]),
            (10_000, [700, 301], [0, 0]),
        ] {
            order.refunded = refunded;
            assert_eq!(minors(&order.due_back()), due);
            order.give_back();
            assert_eq!(minors(&order.left()), left);
            assert_eq!(order.remaining(), Some(euro(10_000 - refunded)));
            assert_eq!(order.reversed(), Some(euro(refunded)));
            assert_eq!(order.is_taken_back(), refunded == 10_000);
        }
        // Worth more since, it owes less than it gave back, and nobody is paid that twice.
        order.amount = Some(euro(20_000));
        assert_eq!(minors(&order.due_back()), [350, 150]);
        order.give_back();
        assert_eq!(minors(&order.left()), [0, 0]);
    }

    #[test]
    fn an_order_without_a_value_is_taken_back_whole_or_not_at_all() {
        for (amount, remaining) in [(None, None), (Some(0), Some(euro(0)))] {
            let mut order = order(amount, &[("anna", 500)]);
            assert_eq!((order.whole(), order.is_taken_back()), (1, false));
            assert_eq!(order.remaining(), remaining);
            assert_eq!(order.reversed(), remaining);
            order.refunded = 1;
            order.give_back();
            assert!(order.is_taken_back());
            assert_eq!(minors(&order.left()), [0]);
            assert_eq!(order.remaining(), remaining);
        }
    }

    #[test]
    fn what_waits_and_was_taken_back_whole_is_reversed() {
        let mut order = order(Some(100), &[("anna", 10)]);
        for (status, refunded, stands) in [
            (Status::Pending, 99, Status::Pending),
            (Status::Pending, 100, Status::Reversed),
            (Status::Approved, 100, Status::Approved),
            (Status::Rejected, 100, Status::Rejected),
        ] {
            (order.status, order.refunded) = (status, refunded);
            assert_eq!(order.stands(), stands);
            assert_eq!(order.answer()["status"], stands.as_str());
        }
    }

    #[test]
    fn each_touch_has_its_part_of_the_whole_that_its_affiliate_would_earn() {
        let mut order = order(Some(100), &[("anna", 7), ("bert", 3)]);
        order.split = vec![(0, 1), (1, 1), (0, 1)];
        // 10 in three: the odd one is the first touch's.
        assert_eq!(order.part(0, euro(10)), euro(7));
        assert_eq!(order.part(1, euro(10)), euro(3));
        assert_eq!(order.part(1, euro(9)), euro(3));
    }

    #[test]
    fn a_sender_is_told_the_same_for_ever() {
        let mut order = order(Some(100), &[("anna", 7), ("bert", 3)]);
        let first = json!({
            "conversion": order.key.conversion_id(),
            "status": "approved",
            "commissions": [
                {"affiliate": "anna", "amount": "0.07", "currency": "EUR"},
                {"affiliate": "bert", "amount": "0.03", "currency": "EUR"},
            ],
        });
        assert_eq!(order.answer(), first);
        order.facts = json!({"ignored": []});
        assert_eq!(order.answer(), first);
        order.said = Some(first.clone());
        order.credits[0].commission = euro(1);
        assert_eq!(order.answer(), first);

        order.said = None;
        order.status = Status::Test;
        order.facts = json!({"ignored": ["meta9"]});
        let told = order.answer();
        assert_eq!(
            (&told["test"], &told["status"]),
            (&json!(true), &json!("test"))
        );
        assert_eq!(told["ignored"], json!(["meta9"]));
        let pocket = order.pocket(&order.credits[1]);
        assert_eq!(
            (
                pocket.payer.as_str(),
                pocket.affiliate.as_str(),
                pocket.currency.code()
            ),
            ("house", "bert", "EUR")
        );
    }

    #[test]
    fn an_order_has_two_hundred_lines_at_most_and_their_sum() {
        let line = |sku: &str| Fields::from_object(json!({"sku": sku, "amount": "0.01"})).unwrap();
        let currency = Currency::parse("EUR").unwrap();
        let lines = |count: usize| (0..count).map(|_| line("a")).collect();
        let items = Item::read_all(lines(ITEMS_MOST), currency).unwrap();
        assert_eq!(Item::total(&items, currency), Some(euro(200)));
        let refused = Item::read_all(lines(ITEMS_MOST + 1), currency).unwrap_err();
        assert_eq!(
            (refused.field.as_str(), refused.code),
            ("items", "too_many")
        );
        let mut item = items[0].clone();
        assert_eq!((item.quantity, item.category.as_deref()), (1, None));
        item.amount = euro(i64::MAX);
        assert_eq!(Item::total(&[item.clone(), item.clone()], currency), None);
        item.category = Some("shoes".to_owned());
        let line = item.line();
        assert_eq!(
            (line.sku, line.category, line.amount),
            ("a", Some("shoes"), euro(i64::MAX))
        );
        for (text, is_one) in [
            (String::new(), false),
            ("a".to_owned(), true),
            ("a b".to_owned(), true),
            ("a\n".to_owned(), false),
            ("a".repeat(128), true),
            ("a".repeat(129), false),
        ] {
            assert_eq!(is_sku(&text), is_one, "{text:?}");
        }
    }

    #[test]
    fn each_status_has_one_word() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("Approved"), None);
    }

    #[test]
    fn an_order_id_is_what_can_be_read() {
        for (text, is_one) in [
            (String::new(), false),
            ("A/1 ä#".to_owned(), true),
            ("A\t1".to_owned(), false),
            ("ä".repeat(128), true),
            ("ä".repeat(129), false),
        ] {
            assert_eq!(is_order_id(&text), is_one, "{text:?}");
        }
    }

    #[test]
    fn a_refusal_says_its_code() {
        assert_eq!(Refusal::ClickForged.to_string(), "click_forged");
        assert_eq!(Refusal::TooManyCounters.code(), "too_many_counters");
    }

    #[test]
    fn content_is_what_is_paid_on() {
        let euro = Currency::parse("EUR").unwrap();
        let program = ProgramId::parse("shoes").unwrap();
        let of = |minor: Option<i64>| {
            fingerprint(
                &program,
                euro,
                minor.map(|minor| Money::new(minor, euro)),
                &[],
            )
        };
        assert_eq!(of(Some(100)), of(Some(100)));
        assert_ne!(of(Some(100)), of(Some(101)));
        assert_ne!(of(Some(0)), of(None));
        assert_eq!(of(None).len(), 32);
    }
}
