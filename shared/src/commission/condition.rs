//! What a rule may ask about a sale: equality only, so that rules can be compared and looked up.

use std::borrow::Cow;

use crate::commission::Sale;

/// Whether the merchant has sold to this customer before, by the merchant's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Customer {
    New,
    Returning,
}

impl Customer {
    /// Reads `new` or `returning`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            "returning" => Some(Self::Returning),
            _ => None,
        }
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Returning => "returning",
        }
    }
}

/// The goal and the names under `when`; the discriminant is the place in [`Asked`] and [`Facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Goal,
    Affiliate,
    Group,
    Sku,
    Category,
    Customer,
    Country,
    Coupon,
}

pub(super) const CONDITIONS: usize = 8;

/// What stands under `when`, with the code of the refusal of a value that can never hold.
pub(super) const WHEN: [(Condition, &str, &str); CONDITIONS - 1] = [
    (Condition::Affiliate, "affiliate", "affiliate_invalid"),
    (Condition::Group, "group", "group_invalid"),
    (Condition::Sku, "sku", "sku_invalid"),
    (Condition::Category, "category", "category_invalid"),
    (Condition::Customer, "customer", "customer_invalid"),
    (Condition::Country, "country", "country_invalid"),
    (Condition::Coupon, "coupon", "coupon_invalid"),
];

impl Condition {
    /// The text that equality is judged by.
    pub(super) fn folded(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Coupon => Cow::Owned(folded_code(text)),
            Self::Goal => Cow::Owned(text.to_lowercase()),
            _ => Cow::Borrowed(text),
        }
    }
}

/// A coupon's code as it is compared: trimmed, and without case.
pub(crate) fn folded_code(text: &str) -> String {
    text.trim().to_lowercase()
}

/// A rule's conditions: those that are set must all equal the sale's facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked([Option<String>; CONDITIONS]);

impl Asked {
    pub(super) fn set(&mut self, condition: Condition, text: &str) {
        self.0[condition as usize] = Some(condition.folded(text).into_owned());
    }

    pub(super) fn get(&self, condition: Condition) -> Option<&str> {
        self.0[condition as usize].as_deref()
    }

    /// One bit for each condition that is set.
    pub(super) fn mask(&self) -> u8 {
        let bits = self.0.iter().enumerate();
        bits.filter(|(_, text)| text.is_some())
            .map(|(place, _)| 1_u8 << place)
            .sum()
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(Option::as_deref)
    }

    pub(super) fn hold(&self, facts: &Facts<'_>) -> bool {
        self.texts()
            .zip(facts.texts())
            .all(|(asked, fact)| asked.is_none() || asked == fact)
    }

    /// Whether these hold wherever `others` do.
    pub(super) fn hold_wherever(&self, others: &Self) -> bool {
        self.texts()
            .zip(others.texts())
            .all(|(asked, other)| asked.is_none() || asked == other)
    }
}

/// What a sale is, in the order of [`Condition`].
#[derive(Debug)]
pub(super) struct Facts<'a>([Option<Cow<'a, str>>; CONDITIONS]);

impl<'a> Facts<'a> {
    /// The facts of the order; [`Facts::set_line`] adds those of a line.
    pub(super) fn of(sale: &Sale<'a>) -> Self {
        let mut facts = Self(Default::default());
        let mut set = |condition: Condition, text: Option<&'a str>| {
            facts.0[condition as usize] = text.map(|text| condition.folded(text));
        };
        set(Condition::Goal, Some(sale.goal));
        set(Condition::Affiliate, Some(sale.affiliate.as_str()));
        set(Condition::Group, sale.group);
        set(Condition::Customer, sale.customer.map(Customer::as_str));
        set(Condition::Country, sale.country);
        set(Condition::Coupon, sale.coupon);
        facts
    }

    pub(super) fn set_line(&mut self, sku: Option<&'a str>, category: Option<&'a str>) {
        self.0[Condition::Sku as usize] = sku.map(Cow::Borrowed);
        self.0[Condition::Category as usize] = category.map(Cow::Borrowed);
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(Option::as_deref)
    }
}
